"""Notices in a real Chromium: chosen on the page, sent by a real host to a push service, shown by the service worker.

The one thing that is not real is the browser's own push service, which needs its vendor's: the page's ``PushManager`` gives
the test's instead, and what arrives there is handed to the service worker as the browser would.
"""

import base64
import json
import os
import queue
import signal
import time
from collections.abc import Callable, Iterator
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


@pytest.fixture(autouse=True)
def no_tab_outlives_its_test(desk: Desk) -> Iterator[None]:
    """One that knows a profile keeps what it learns of it, also after another tab has forgotten it."""
    yield
    desk.close()
    desk.pages.clear()


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


def choose(page: Page, which: str) -> None:
    """Choose on the page what to be told of, and return when it says that this is so."""
    if not page.run("!!document.querySelector('#notices')"):
        page.click(".account")
        page.until("!!document.querySelector('#notices')")
    page.run(
        f"(() => {{ const it = document.querySelector('#notices'); it.value = {json.dumps(which)};"
        " it.dispatchEvent(new Event('change')); })()"
    )
    said = "tells you from now on" if which else "tells you nothing"
    page.until(f"document.querySelector('dialog').innerText.includes({json.dumps(said)})")


def kept(desk: Desk, service: PushService) -> bool:
    """Whether the host keeps a subscription to ``service``."""
    return service.address.encode() in (desk.world.folder / "s" / "notices").read_bytes()


def forget_it(page: Page) -> None:
    """Press "Forget this key", and say that it is meant: the next test's operator has the browser alone."""
    page.until("document.querySelectorAll('dialog .card .buttons button').length == 1")
    page.click("dialog .card .buttons button")
    page.until("document.querySelector('dialog[open] .danger')?.textContent == 'Forget'")
    page.click("dialog[open] .danger")
    page.until("document.body.innerText.includes('hold pair gives a code')")


def a_member(desk: Desk, service: PushService, name: str) -> Page:
    """A page of a new operator who is told what concerns it."""
    page = desk.tab()
    with_push(page, service, Subscription())
    desk.join(page, desk.code(name))
    page.until(f"document.querySelector('.account').textContent == {json.dumps(name)}")
    choose(page, "mine")
    assert kept(desk, service)
    return page


def opened(page: Page) -> Page:
    """With the dialog open that says who this browser is."""
    if not page.run("!!document.querySelector('dialog[open] #notices')"):
        page.click(".account")
    return page


def asks(desk: Desk, name: str) -> None:
    """Start a session of the machine's own user that asks for a line, and return when it does."""
    desk.world.run_in(name, "sh", "-c", "printf 'which colour? '; read x")
    assert desk.world.hold("wait", name, "--kind", "line", "--for", "30s").returncode == 0


def within(said: Callable[[], bool], within_s: float = 20) -> None:
    """Return once ``said`` is true."""
    deadline = time.monotonic() + within_s
    while not said():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def notices_of(page: Page) -> list[str]:
    return [each for each in registrations(page) if "/notices/" in each]


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

    def said() -> list[str]:
        page.run("1")  # events are read while an answer is awaited
        return [
            str(each["registrationId"])
            for event in page.events
            if event.get("method") == "ServiceWorker.workerRegistrationUpdated"
            for each in event["params"]["registrations"]
            if each["scopeURL"] == scope
        ]

    page.do("ServiceWorker.enable")
    within(lambda: bool(said()))  # it may say so after it has answered
    return said()[-1]


def test_a_page_that_is_not_looked_at_tells_that_a_program_asks(desk: Desk, service: PushService) -> None:
    """Promise R5: from the choice on the page to the notice of the system, and none any more.

    That a notice is pressed cannot be said to a headless browser; what its worker then says to the page can.
    """
    subscription = Subscription()
    page = desk.tab()
    with_push(page, service, subscription)
    desk.join(page, desk.code("maria"))
    choose(page, "mine")
    assert page.run("document.querySelector('#notices').labels[0].textContent").startswith("While this page is closed")
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

    choose(page, "")
    assert page.run("localStorage.getItem('test-unsubscribed')") == "1"
    pressed = json.dumps({"open": session})
    page.run(f"navigator.serviceWorker.dispatchEvent(new MessageEvent('message', {{data: {pressed}}}))")
    page.until(f"location.hash == '#/{session}'")
    assert notices_of(page) == []
    assert page.said == []


def test_a_browser_without_push_says_so(desk: Desk) -> None:
    page = desk.tab()
    page.do("Page.addScriptToEvaluateOnNewDocument", source="delete window.PushManager;")
    page.go(desk.base)
    page.until("document.querySelectorAll('button.session').length > 0", 60)
    page.click(".account")
    page.until("document.querySelector('dialog').innerText.includes('takes no push messages')")
    assert page.run("document.querySelector('#notices').disabled") is True
    forget_it(page)


def test_a_key_that_is_forgotten_is_told_nothing(desk: Desk, service: PushService) -> None:
    """Promise R3: a browser that is given back rings no more; neither it nor the host keeps the subscription."""
    page = a_member(desk, service, "nora")
    assert notices_of(page)
    forget_it(page)
    assert notices_of(page) == []
    assert page.run("localStorage.getItem('test-unsubscribed')") == "1"
    within(lambda: not kept(desk, service))


def test_a_host_that_cannot_send_keeps_no_other_from_it(desk: Desk, service: PushService) -> None:
    """Promise R5: what the first lacks is said, and the second is told all the same."""
    page = desk.tab()
    with_push(page, service, Subscription())
    page.go(desk.base)
    page.until("document.readyState == 'complete'")
    said, told = page.run(
        "import('/app/client/notices.js').then(async ({ Notices }) => {"
        " const told = []; const notices = new Notices();"
        " const host = (id, lacks) => ({ id, up: true,"
        " ask: async (it) => { told.push([id, it.t, Boolean(it.endpoint)]); return { key: new Uint8Array(65), why_not: lacks }; } });"
        " const said = await notices.want('mine', [host('h-a', 'it lacks something'), host('h-b', '')]).then(() => '', (error) => error.message);"
        " await notices.want('', []); return [said, told]; })"
    )
    assert said == "it lacks something"
    assert told == [["h-a", "notify", False], ["h-b", "notify", False], ["h-b", "notify", True]]
    assert notices_of(page) == []


def test_who_was_revoked_is_told_nothing(desk: Desk, service: PushService) -> None:
    """Promise R3, R56: the subscription goes with the operator, and what happens then reaches no push service."""
    page = a_member(desk, service, "olga")
    asks(desk, "before")
    assert service.got.get(timeout=40)
    done = desk.world.hold("revoke", "olga")
    assert done.returncode == 0, done.stderr
    within(lambda: not kept(desk, service))
    asks(desk, "after")
    with pytest.raises(queue.Empty):
        service.got.get(timeout=8)  # twice what the host waits until a question is news
    forget_it(opened(page))


def test_nothing_means_nothing_also_of_a_host_that_is_away(desk: Desk, service: PushService) -> None:
    """Promise R5: what was chosen holds at once in the browser; the host learns of it from the push service."""
    page = a_member(desk, service, "petra")
    page.run("localStorage.removeItem('test-unsubscribed')")
    host = desk.world.host_pid
    os.kill(host, signal.SIGSTOP)
    try:
        choose(page, "")
        assert page.run("localStorage.getItem('test-unsubscribed')") == "1"
        assert notices_of(page) == []
        assert kept(desk, service)
    finally:
        os.kill(host, signal.SIGCONT)
    forget_it(page)
