"""A phone: commands as cards, a field that submits whole lines, keys it has not, and a session that keeps its size."""

import json
import time
from collections.abc import Iterator

import pytest

from holdfast.faces.demo.chromium import Browser, Page
from tests.remote.places import World
from tests.web.desk import OPENED, Desk, screen

FIELD, SEND = f"{OPENED} .compose textarea", f"{OPENED} .send"
LAST = f"[...document.querySelectorAll('{OPENED} .block')].at(-1)"


def key(name: str) -> str:
    return f"{OPENED} .key[aria-label='{name}']"


@pytest.fixture(scope="module")
def desk(browser: Browser) -> Iterator[Desk]:
    with World() as world:
        world.run_in("shell", "bash", "--norc", "--noprofile", "-i")
        world.run_in("build", "bash")
        world.run_in("keys", "sh", "-c", "stty raw -echo; echo ready; exec od -An -tx1 -w1 -v")
        one = Desk(world, browser)
        first = one.tab(width=390, height=844, phone=True)
        one.join(first, one.code("phone"))
        yield one
        one.close()


@pytest.fixture
def page(desk: Desk) -> Iterator[Page]:
    one = desk.tab(width=390, height=844, phone=True)
    yield one
    assert one.said == [], "the console said something"
    desk.pages.remove(one)
    one.close()


def submit(page: Page, text: str) -> None:
    """Type into the field as an on-screen keyboard does, and send."""
    page.tap(FIELD)
    page.do("Input.insertText", text=text)
    page.tap(SEND)


def test_a_list_a_session_and_back(desk: Desk, page: Page) -> None:
    page.go(f"{desk.base}/#/")
    page.until("document.querySelectorAll('button.session').length >= 3", 60)
    assert page.run("getComputedStyle(document.querySelector('.right')).display") == "none"
    page.tap("button.session")
    page.until(f"!!document.querySelector('{OPENED}')", 30)
    assert page.run("getComputedStyle(document.querySelector('.list')).display") == "none"
    page.tap(f"{OPENED} .back")
    page.until("getComputedStyle(document.querySelector('.list')).display !== 'none'")


def test_a_command_is_sent_as_one_and_becomes_a_card(desk: Desk, page: Page) -> None:
    desk.open(page, "build")
    page.until(f"document.querySelector('{OPENED}').dataset.mode === 'blocks'")
    submit(page, "printf 'one\\ntwo\\n'; false")
    page.until(f"{LAST}?.querySelector('pre').textContent === 'one\\ntwo'", 40)
    assert page.run(f"{LAST}.querySelector('code').textContent") == "printf 'one\\ntwo\\n'; false"
    assert page.run(f"{LAST}.querySelector('.status').textContent") == "exit 1"
    assert page.run(f"{LAST}.dataset.state") == "failed"
    assert "you" in page.run(f"{LAST}.querySelector('.block-meta').textContent")
    inputs = [each for each in desk.record("build") if each["kind"] == "input"]
    assert len(inputs) == 1, "one input, by one author, whatever else is typed meanwhile"
    assert page.run(f"document.querySelector('{FIELD}').value") == ""


def test_long_output_is_folded_and_unfolded(desk: Desk, page: Page) -> None:
    desk.open(page, "build")
    submit(page, "seq 1 60")
    page.until(f"{LAST}?.querySelector('.more')?.textContent === 'Show all 60 lines'", 40)
    assert page.run(f"{LAST}.querySelector('pre').textContent.split('\\n').length") < 20
    page.run(f"{LAST}.querySelector('.more').click()")
    assert page.run(f"{LAST}.querySelector('pre').textContent.split('\\n').length") == 60
    page.run(f"{LAST}.querySelector('.command').click()")
    assert page.run(f"getComputedStyle({LAST}.querySelector('pre')).display") == "none"
    assert page.run(f"{LAST}.querySelector('.command').getAttribute('aria-expanded')") == "false"


def test_keys_that_a_phone_has_not(desk: Desk, page: Page) -> None:
    desk.open(page, "keys")
    pressed = [
        ("Escape", "1b"),
        ("Tab", "09"),
        ("Control C", "03"),
        ("Up", "1b 5b 41"),
        ("Pipe", "7c"),
        ("Control D", "04"),
    ]
    for name, _ in pressed:
        page.tap(key(name))
    page.tap(key("Control, for the next key"))
    assert (
        page.run(f"document.querySelector(\"{key('Control, for the next key')}\").getAttribute('aria-pressed')")
        == "true"
    )
    page.tap(FIELD)
    page.write("x")
    page.until(
        f"document.querySelector(\"{key('Control, for the next key')}\").getAttribute('aria-pressed') === 'false'"
    )
    wanted = " ".join(bytes_ for _, bytes_ in pressed) + " 18"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        got = " ".join(desk.world.output("keys").decode().replace("ready", "").split())
        if got == wanted:
            break
        time.sleep(0.2)  # another process's output has no event here
    assert got == wanted


def test_a_key_that_is_held_repeats_and_control_c_ends_what_runs(desk: Desk, page: Page) -> None:
    desk.open(page, "build")
    submit(page, "sleep 600")
    page.until(f"{LAST}?.dataset.state === 'running' && {LAST}.querySelector('code').textContent === 'sleep 600'", 40)
    page.tap(key("Control C"))
    page.until(f"{LAST}.querySelector('.status').textContent === 'exit 130'", 40)


def test_the_session_keeps_its_size_unless_asked(desk: Desk, page: Page) -> None:
    before = desk.session("shell")["size"]
    desk.open(page, "shell")
    submit(page, "echo typed")
    page.run(f"document.querySelector('{OPENED} [data-mode=screen]').click()")
    page.until(f"document.querySelector('{OPENED} .xterm-rows').textContent.includes('typed')", 30)
    assert desk.session("shell")["size"] == before
    wide = page.run(f"document.querySelector('{OPENED} .xterm-screen').getBoundingClientRect().right")
    assert wide <= 390, "every column is to be seen"
    page.tap(f"{OPENED} button[aria-label='Use my size']")
    deadline = time.monotonic() + 20
    while desk.session("shell")["size"] == before and time.monotonic() < deadline:
        time.sleep(0.2)  # another process's state has no event here
    after = desk.session("shell")["size"]
    assert after != before
    assert "typed" in screen(page)


def test_a_pinch_makes_the_screen_larger_and_it_scrolls(desk: Desk, page: Page) -> None:
    desk.open(page, "shell")
    page.run(f"document.querySelector('{OPENED} [data-mode=screen]').click()")
    width = f"document.querySelector('{OPENED} .xterm-screen').getBoundingClientRect().width"
    page.until(f"{width} > 0")
    before = page.run(width)
    for kind, apart in (("touchStart", 40), ("touchMove", 60), ("touchMove", 100)):
        page.do(
            "Input.dispatchTouchEvent",
            type=kind,
            touchPoints=[{"x": 195 - apart, "y": 300}, {"x": 195 + apart, "y": 300}],
        )
    page.do("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    page.until(f"{width} > {before * 1.8}", 10)
    assert page.run(
        f"(() => {{ const s = document.querySelector('{OPENED} .screen'); return s.scrollWidth > s.clientWidth; }})()"
    )


def test_a_keyboard_that_covers_the_page_leaves_the_field_in_view(desk: Desk, page: Page) -> None:
    """What phones without resizing keyboards do: only the visual viewport tells."""
    desk.open(page, "build")
    page.run(
        "(() => { const v = window.visualViewport; Object.defineProperty(v, 'height', {get: () => 500, configurable: true});"
        " v.dispatchEvent(new Event('resize')); })()"
    )
    bottom = page.until(
        f"(() => {{ const b = document.querySelector('{FIELD}').getBoundingClientRect().bottom; return b <= 500 && b; }})()"
    )
    assert 400 < bottom <= 500


def test_it_installs_as_an_app_and_keeps_only_its_shell(desk: Desk, page: Page) -> None:
    page.go(f"{desk.base}/#/")
    page.until("navigator.serviceWorker.ready.then(() => true)", 40)
    manifest = page.do("Page.getAppManifest")
    assert manifest["errors"] == []
    said = json.loads(manifest["data"])
    assert (said["display"], said["start_url"]) == ("standalone", "/")
    assert page.do("Page.getInstallabilityErrors")["installabilityErrors"] == []
    cached = page.until(
        "caches.open('holdfast-shell-1').then((c) => c.keys()).then((all) => all.length > 20 && all.map((r) => new URL(r.url).pathname))",
        40,
    )
    assert all(each == "/" or each.startswith("/app/") for each in cached)


def test_without_any_network_the_page_opens_and_says_so(desk: Desk, page: Page) -> None:
    page.go(f"{desk.base}/#/")
    page.until("caches.open('holdfast-shell-1').then((c) => c.keys()).then((all) => all.length > 20)", 40)
    page.until("!!navigator.serviceWorker.controller", 20)
    desk.world.relay.kill()
    try:
        page.reload()
        page.until("!!document.querySelector('.work:not([hidden])')", 40)
        page.until("document.querySelector('.status').textContent.includes('not reached')", 40)
    finally:
        desk.world.relay.up()
    page.until("document.querySelectorAll('button.session').length >= 3", 60)
    page.said = [each for each in page.said if "WebSocket connection" not in each and "ERR_CONNECTION" not in each]
