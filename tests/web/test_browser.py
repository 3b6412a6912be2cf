"""The page in a real Chromium, against a real relay and host: it shows, types, comes back, and says what it does not know."""

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest

from holdfast.faces.demo.chromium import Browser, Page
from tests.remote.places import World
from tests.web.conftest import Report
from tests.web.desk import OPENED, PAINTED, Desk, profiles, screen, shows

LATENCY_S_MAX = 0.1  # wanted at p95 during a flood; asserted with room for a machine that others use, too
LOAD = 6.0


@pytest.fixture(scope="module")
def desk(browser: Browser) -> Iterator[Desk]:
    with World() as world:
        world.run_in("build", "bash", "--norc", "--noprofile")
        world.run_in("count", "sh", "-c", "echo ready; cat")
        world.run_in("failed", "sh", "-c", "exit 3")
        one = Desk(world, browser)
        first = one.tab()
        one.join(first, one.code("ben"))
        yield one
        one.close()


@pytest.fixture
def page(desk: Desk) -> Iterator[Page]:
    """A fresh tab of the member's browser."""
    one = desk.tab()
    yield one
    assert one.said == [], "the console said something"
    desk.pages.remove(one)
    one.close()


def test_a_code_in_the_address_lets_in_once_and_leaves_the_address(desk: Desk) -> None:
    first = desk.pages[0]
    assert first.run("location.hash + location.pathname") in ("/", "#//")
    assert "HOLD1" not in first.run("location.href + document.body.innerText")
    text = first.text()
    assert all(name in text for name in ("build", "count", "failed", "exit 3"))
    assert first.said == []
    kept = profiles(first, "[each.secret.extractable, each.secret.type, Object.keys(each).includes('seed')]")
    assert kept == [[False, "private", False]], "the key can be used there and never be read"


def test_what_is_typed_reaches_the_program_and_is_its_operators_in_the_record(desk: Desk, page: Page) -> None:
    desk.open(page, "count")
    shows(page, "ready")
    page.write("hello from a browser\n")
    shows(page, "hello from a browser")
    page.until(
        f"(document.querySelector('{OPENED} .xterm-rows').textContent.match(/hello from a browser/g) ?? []).length >= 2"
    )
    [who] = profiles(page, "(await import('/app/core/ids.js')).operatorId(each.key)")
    typed = [each for each in desk.record("count") if each["kind"] == "input"]
    assert typed and {each["operator"] for each in typed} == {who}


def test_a_reload_needs_nothing_but_the_address_and_the_key(desk: Desk, page: Page, report: Report) -> None:
    desk.open(page, "build")
    page.write("printf '\\033[1;31mred\\033[0m%s\\n' $((40+2))\n")
    shows(page, "red42")
    before = screen(page)
    times = []
    for _ in range(3):
        page.run("localStorage.clear(), sessionStorage.clear()")
        page.run("caches.keys().then((all) => Promise.all(all.map((each) => caches.delete(each))))")
        page.reload()
        page.until(PAINTED, 40)
        times.append(float(page.run("performance.getEntriesByName('holdfast-first-paint')[0].startTime")) / 1000)
        page.until(f"document.querySelector('{OPENED} .xterm-rows')?.textContent.includes('red42')")
        assert screen(page) == before
    report(
        f"reload to first paint of the session: best {min(times):.2f} s of {[f'{each:.2f}' for each in times]} (wanted 1 s)"
    )
    assert min(times) <= 1.0 * LOAD


FLOOD = "seq 1000000 2430000"  # 11 MB
MEASURE = """
window.lags = [];
window.addEventListener('keydown', (event) => {
  const at = event.timeStamp;
  requestAnimationFrame(() => setTimeout(() => window.lags.push(performance.now() - at)));
}, true);
"""


def latencies(page: Page, for_s: float) -> list[float]:
    """Press keys at a person's pace, and return the milliseconds until the frame after each was drawn, sorted."""
    page.run("window.lags.length = 0")
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        page.press("Shift", key_code=16)
        time.sleep(0.05)
    return sorted(page.run("new Promise((done) => setTimeout(() => done(window.lags), 300))"))


def test_a_flood_keeps_the_page_at_hand(desk: Desk, page: Page, report: Report) -> None:
    """State, not history: what cannot be shown in time is skipped, and a key is drawn in the next frame."""
    desk.open(page, "build")
    page.run(MEASURE)
    idle = latencies(page, 3)
    page.write(f"while :; do {FLOOD}; done\n")
    page.until(f"/^\\d{{7}}$/.test(document.querySelector('{OPENED} .xterm-rows').firstChild?.textContent.trim())", 30)
    began = desk.session("build")["output_end"]
    flooded = latencies(page, 8)
    produced = desk.session("build")["output_end"] - began
    page.press("c", code="KeyC", key_code=67, text="\x03", modifiers=2)
    page.write("\necho the-$((1+1))nd\n")
    shows(page, "the-2nd", 40)
    p50, p95, calm = (each[int(len(each) * part)] for each, part in ((flooded, 0.5), (flooded, 0.95), (idle, 0.95)))
    report(
        f"{produced / 1e6:.0f} MB: a key is drawn after p50 {p50:.0f} ms, p95 {p95:.0f} ms of {len(flooded)} (wanted 100 ms); "
        f"idle p95 {calm:.0f} ms"
    )
    assert produced > 10e6
    assert len(flooded) > 20
    assert p95 <= max(LATENCY_S_MAX * 1000 * LOAD, 3 * calm)


def test_without_a_sign_of_life_the_age_of_the_last_one_is_said(desk: Desk, page: Page) -> None:
    desk.open(page, "count")
    page.until("document.querySelector('.status').dataset.state === 'up'")
    process = desk.world.relay.process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        text = page.until(
            "(() => { const s = document.querySelector('.status'); return ['late', 'down'].includes(s.dataset.state) && s.textContent; })()",
            40,
        )
        assert "last heard" in text and "goes on" in text
    finally:
        os.kill(process.pid, signal.SIGCONT)
    page.until("document.querySelector('.status').dataset.state === 'up'", 40)
    page.write("back again\n")
    shows(page, "back again")


def test_a_relay_that_dies_costs_a_reconnect(desk: Desk, page: Page) -> None:
    desk.open(page, "count")
    desk.world.relay.kill()
    page.write("typed meanwhile\n")
    page.until("document.querySelector('.status').dataset.state !== 'up'", 40)
    desk.world.relay.up()
    shows(page, "typed meanwhile", 60)
    page.until("document.querySelector('.status').dataset.state === 'up'", 40)
    assert desk.world.output("count").count(b"typed meanwhile") == 2, "typed once, echoed once"
    page.said = [
        each for each in page.said if "WebSocket connection" not in each
    ]  # the browser's own word on a dead relay


def test_a_host_that_is_killed_and_comes_back_is_gone_on_with(desk: Desk, page: Page) -> None:
    """Its links are gone with it: a new one is begun, and the attachment goes on from the present."""
    desk.open(page, "count")
    os.kill(desk.world.host_pid, signal.SIGKILL)
    page.until("document.querySelector('.status').dataset.state !== 'up'", 40)
    assert desk.world.hold("ls").returncode == 0, "which starts the host"
    page.until("document.querySelector('.status').dataset.state === 'up'", 60)
    page.write("after the host\n")
    shows(page, "after the host", 40)
    assert desk.world.output("count").count(b"after the host") == 2


QUERIES = r"printf '\033[c\033[>c\033[6n\033[?6n\033[5n\033[?2004$p\033[18t\033]11;?\007\033P$qm\033\\\033[>q\033[?u'"


def test_the_browser_answers_no_question_of_a_program(desk: Desk, page: Page) -> None:
    """The host answers, once: with several viewers each would."""
    desk.world.run_in("asks", "sh", "-c", f"stty raw -echo; {QUERIES}; sleep 2; echo done; cat -v")
    desk.open(page, "asks")
    shows(page, "done", 30)
    time.sleep(1)
    assert "input" not in [each["kind"] for each in desk.record("asks")]
    desk.world.hold("kill", "asks")


def test_a_session_is_begun_from_the_page(desk: Desk, page: Page) -> None:
    desk.open(page, "build")
    page.click("button[aria-label='New session']")
    page.run(
        "(() => { const f = document.querySelector('dialog form'); f.elements.name.value = 'fresh'; f.elements.command.value = 'cat'; })()"
    )
    page.click("dialog button.primary")
    page.until("document.title.startsWith('fresh')", 30)
    assert desk.session("fresh")["argv"] == ["cat"]
    desk.world.hold("kill", "fresh")


def test_a_text_is_found_on_the_screen(desk: Desk, page: Page) -> None:
    desk.open(page, "count")
    page.write("needle in the hay\n")
    shows(page, "needle")
    page.press("f", code="KeyF", key_code=70, modifiers=2 | 8)
    page.until("document.activeElement.getAttribute('aria-label') === 'Find on the screen'")
    page.do("Input.insertText", text="needle")
    found = f"document.querySelectorAll('{OPENED} .xterm-find-result-decoration, {OPENED} .xterm-find-active-result-decoration').length"
    deadline = time.monotonic() + 20
    while not page.run(found):  # what is put out meanwhile takes the marks away: Enter looks again
        assert time.monotonic() < deadline
        page.press("Enter", code="Enter", key_code=13)
        page.run("new Promise((done) => requestAnimationFrame(done))")
    page.press("Escape", key_code=27)
    page.until("document.activeElement.matches('.xterm-helper-textarea')")


def test_whose_right_was_taken_back_is_cut_off_and_told(desk: Desk) -> None:
    with Browser() as own:
        page = own.page()
        page.go(f"{desk.base}/#{desk.code('leaver')}")
        page.until("document.querySelectorAll('button.session').length > 0", 60)
        desk.open(page, "count")
        shows(page, "ready")
        done = desk.world.hold("revoke", "leaver")
        assert done.returncode == 0, done.stderr
        page.until("document.querySelector('.status').dataset.state === 'refused'", 40)
        assert "revoked" in page.text()
        page.write("not any more\n")
        time.sleep(0.5)
        assert b"not any more" not in desk.world.output("count")
        page.close()


def test_a_device_types_on_what_it_has_seen(desk: Desk) -> None:
    """A device ranks below people: what somebody typed since it last heard of it is looked at first."""
    with Browser() as own:
        page = own.page()
        page.go(f"{desk.base}/#{desk.code('tablet', 'device', '--operate')}")
        page.until("document.querySelectorAll('button.session').length > 0", 60)
        desk.open(page, "count")
        page.write("first\n")
        shows(page, "first")
        assert desk.world.hold("send", "count", "from the terminal", "--enter").returncode == 0
        shows(page, "from the terminal")
        page.until(
            f"document.querySelector('{OPENED} .control').textContent.startsWith('human ')", 30
        )  # by typing: no device holds it
        page.until(
            f"[...document.querySelectorAll('{OPENED} .controls button')].some((each) => each.textContent === 'Ask for control')"
        )
        page.write("too early\n")
        page.until(f"document.querySelector('{OPENED} .note').textContent.length > 0", 20)
        assert desk.world.hold("release", "count").returncode == 0
        page.until(f"document.querySelector('{OPENED} .control').textContent === ''", 30)
        page.write("second\n")
        shows(page, "second")
        assert b"too early" not in desk.world.output("count")
        page.close()


def test_a_guest_looks_and_does_not_type(desk: Desk) -> None:
    done = desk.world.hold("share", "count", "--json")
    link = json.loads(done.stdout)["text"]
    with Browser() as own:
        page = own.page()
        page.go(link.replace(link.partition("/s#")[0], desk.base))
        page.until(f"!!document.querySelector('{OPENED}')", 60)
        shows(page, "ready", 40)
        assert "#1." not in page.run("location.href")
        assert "You look" in page.text()
        page.write("not mine\n")
        time.sleep(0.5)
        assert b"not mine" not in desk.world.output("count")
        assert page.run("document.querySelectorAll('button.session').length") == 1
        page.reload()
        shows(page, "ready", 40)
        assert page.said == []
        page.close()


def test_a_window_that_is_alone_gives_the_session_its_size_and_letters_keep_theirs(desk: Desk, page: Page) -> None:
    desk.world.run_in("sized", "sh", "-c", "echo ready; cat")
    desk.open(page, "sized")
    shows(page, "ready")
    sizes = []
    for width in (1280, 900):
        page.size(width, 800)
        page.until(
            f"(() => {{ const s = document.querySelector('{OPENED} .xterm-screen'); const b = s.getBoundingClientRect();"
            f" return innerWidth === {width} && b.width > innerWidth - 330 && b.right <= innerWidth"
            f" && getComputedStyle(s.querySelector('.xterm-rows')).fontSize === '13px'; }})()"
        )
        sizes.append(desk.session("sized")["size"])
    assert sizes[0] != sizes[1], "the session followed its only window"
    desk.world.hold("kill", "sized")
