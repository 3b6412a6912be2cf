"""Notices in a real Chromium: chosen on the page, sent by a real host to a push service, shown by the service worker.

The one thing that is not real is the browser's own push service, which needs its vendor's: the page's ``PushManager`` gives
the test's instead, and what arrives there is handed to the service worker as the browser would.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.faces.demo.chromium import Browser, Page
from tests.host.pushes import Browser as Subscription
from tests.host.pushes import PushService
from tests.remote.places import World
from tests.web.desk import Desk

PUSH_MANAGER = """
const parts = {{p256dh: {key}, auth: {auth}}};
const made = {{endpoint: {endpoint}, options: null, getKey: (name) => Uint8Array.from(atob(parts[name]), (c) => c.charCodeAt(0)).buffer,
  unsubscribe: async () => {{ localStorage.setItem('test-unsubscribed', '1'); kept = null; return true; }}}};
let kept = null;
PushManager.prototype.subscribe = async (wanted) => {{ window.wanted = wanted; kept = made; return made; }};
PushManager.prototype.getSubscription = async () => kept;
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PushService]:
    with PushService(tmp_path_factory.mktemp("push")) as one:
        yield one


@pytest.fixture(scope="module")
def desk(browser: Browser, service: PushService) -> Iterator[Desk]:
    world = World()
    world.env["SSL_CERT_FILE"] = str(service.ca)
    Path(world.env["HOLDFAST_CONFIG"]).write_text('push_near = ["127.0.0.1"]\n')
    with world:
        world.run_in("idle", "sleep", "600")
        yield Desk(world, browser)


def with_push(page: Page, service: PushService, browser: Subscription) -> None:
    """Have the page's browser subscribe at ``service``, and allow notices."""
    values = {"key": browser.key, "auth": browser.auth}
    told = {name: json.dumps(base64.b64encode(value).decode()) for name, value in values.items()}
    source = PUSH_MANAGER.format(endpoint=json.dumps(f"{service.address}/phone"), **told)
    page.do("Page.addScriptToEvaluateOnNewDocument", source=source)
    page.do("Browser.grantPermissions", permissions=["notifications"])


def registrations(page: Page) -> list[str]:
    found: list[str] = page.run(
        "navigator.serviceWorker.getRegistrations().then((all) => all.map((each) => each.scope))"
    )
    return found


def shown(page: Page, scope: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = page.run(
        f"navigator.serviceWorker.getRegistration({json.dumps(scope)}).then((it) => it.getNotifications())"
        ".then((all) => all.map((each) => ({title: each.title, body: each.body, session: each.data.session})))"
    )
    return found


def registration_id(page: Page, scope: str) -> str:
    """What the browser calls a registration."""
    page.do("ServiceWorker.enable")
    page.run("1")  # what it says of those that are there comes before this answer
    found = [
        each
        for event in page.events
        if event.get("method") == "ServiceWorker.workerRegistrationUpdated"
        for each in event["params"]["registrations"]
        if each["scopeURL"] == scope
    ]
    return str(found[-1]["registrationId"])


def test_a_page_that_is_not_looked_at_tells_that_a_program_asks(desk: Desk, service: PushService) -> None:
    """Promise R5: from the choice on the page to the notice of the system, and none any more.

    That a notice is pressed cannot be said to a headless browser; what its worker then says to the page can.
    """
    subscription = Subscription()
    page = desk.tab()
    with_push(page, service, subscription)
    desk.join(page, desk.code("maria"))
    page.click(".account")
    page.until("!!document.querySelector('#notices')")
    assert page.run("document.querySelector('#notices').labels[0].textContent").startswith("While this page is closed")
    page.run(
        "(() => { const it = document.querySelector('#notices'); it.value = 'mine'; it.dispatchEvent(new Event('change')); })()"
    )
    page.until("document.querySelector('dialog').innerText.includes('tells you from now on')")
    assert page.run("[window.wanted.userVisibleOnly, window.wanted.applicationServerKey.byteLength]") == [True, 65]
    [scope] = [each for each in registrations(page) if "/notices/h-" in each]

    desk.world.run_in("asks", "sh", "-c", "printf 'which colour? '; read x")
    push = service.got.get(timeout=40)
    said = subscription.read(push.body)
    session = desk.session("asks")["id"]
    assert (said["why"], said["session"]) == ("input", session)
    where = {"origin": desk.base, "registrationId": registration_id(page, scope), "data": json.dumps(said)}
    page.do("ServiceWorker.deliverPushMessage", **where)
    page.until(
        f"navigator.serviceWorker.getRegistration({json.dumps(scope)}).then((it) => it.getNotifications()).then((all) => all.length)"
    )
    assert shown(page, scope) == [{"title": "Holdfast", "body": "A session waits for input.", "session": session}]

    page.do("ServiceWorker.deliverPushMessage", **(where | {"data": "no json"}))
    page.until(
        f"navigator.serviceWorker.getRegistration({json.dumps(scope)}).then((it) => it.getNotifications()).then((all) => all.length == 2)"
    )

    page.run(
        "(() => { const it = document.querySelector('#notices'); it.value = ''; it.dispatchEvent(new Event('change')); })()"
    )
    page.until("document.querySelector('dialog').innerText.includes('tells you nothing')")
    assert page.run("localStorage.getItem('test-unsubscribed')") == "1"
    pressed = json.dumps({"open": session})
    page.run(f"navigator.serviceWorker.dispatchEvent(new MessageEvent('message', {{data: {pressed}}}))")
    page.until(f"location.hash == '#/{session}'")
    assert [each for each in registrations(page) if "/notices/" in each] == []
    assert page.said == []


def test_a_browser_without_push_says_so(desk: Desk) -> None:
    page = desk.tab()
    page.do("Page.addScriptToEvaluateOnNewDocument", source="delete window.PushManager;")
    page.go(desk.base)
    page.until("document.querySelectorAll('button.session').length > 0", 60)
    page.click(".account")
    page.until("document.querySelector('dialog').innerText.includes('takes no push messages')")
    assert page.run("document.querySelector('#notices').disabled") is True
