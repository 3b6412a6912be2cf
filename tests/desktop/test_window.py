"""`hold desktop` in a real window on a real screen: one command, real keys, killed and back, one window, links (R19, R31)."""

import json
import stat
import time
from pathlib import Path

import pytest

from holdfast.core.errors import Refused
from holdfast.faces.desktop import references, telling
from tests.desktop.screen import Display, Window, missing
from tests.faces.realhost import RealHost
from tests.web.desk import screen, shows

TALK = "trap 'echo interrupted' INT; echo ready; while :; do read x && echo got $x; done"


@pytest.mark.timeout(300)
def test_a_window_is_one_command_and_takes_no_key_from_the_terminal_and_is_where_it_was_after_a_crash() -> None:
    """Promise I1."""
    assert not missing(), f"{missing()} is not installed, and `./test` could not install it"
    with RealHost() as host, Display() as display:
        host.new("build", TALK)
        host.new("other", "echo another one; exec cat")
        window = Window(host, display)
        root = host.session("build")["root_pid"]

        window.open("build")  # neither a relay nor a key was there before
        page = window.page()
        shows(page, "ready", 60)
        window.into_terminal(page)
        display.do("type", "hello")
        display.do("key", "Return")
        shows(page, "got hello")
        display.do("key", "ctrl+c")
        shows(page, "interrupted")
        assert page.said == [], page.said

        window.kill()
        window.open("build")
        again = window.page()
        shows(again, "interrupted", 60)
        assert "got hello" in screen(again)
        assert host.session("build")["root_pid"] == root
        assert host.hold("operator", "ls").stdout.count("desktop") == 1, "it was given another key"

        pid = window.pid
        window.open("holdfast:other")
        shows(again, "another one", 60)
        assert window.pid == pid, "there are two windows"

        window.close()
        kept = host.folder / "s" / "desktop" / "window.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert set(json.loads(kept.read_text())) == {"width", "height", "x", "y", "session"}
        assert json.loads(kept.read_text())["session"] == host.session("other")["id"]
        assert host.session("build")["root_pid"] == root
        for each in (page, again):
            each.forget()


NOTIFY = """#!/bin/sh
for word do printf '%s\\n' "$word"; done >> "$(dirname "$0")/told"
"""


@pytest.mark.timeout(300)
def test_the_desktop_is_told_what_happens_in_a_session_that_is_not_shown() -> None:
    """Promise I4: by the desktop's own program for that, which here writes down what it was given."""
    with RealHost() as host, Display() as display:
        programs = host.folder / "bin"
        programs.mkdir()
        (programs / "notify-send").write_text(NOTIFY)
        (programs / "notify-send").chmod(0o755)
        host.env["PATH"] = f"{programs}:{host.env['PATH']}"
        host.new("build", TALK)
        window = Window(host, display)
        window.open("build")
        page = window.page()
        shows(page, "ready", 60)
        page.until("Notification.permission === 'granted'", 30)
        host.new("asks", "printf 'which colour? '; read x; exit 3")
        assert told(programs) == ["--app-name", "Holdfast", "--", "Holdfast", "asks waits for input."]
        host.hold("send", "asks", "red", "--enter")
        assert told(programs) == ["--app-name", "Holdfast", "--", "Holdfast", "asks is done: a command has ended."]
        assert page.said == [], page.said
        page.forget()
        window.close()


def told(programs: Path, within_s: float = 30) -> list[str]:
    """Return what the desktop was told next."""
    file, until = programs / "told", time.monotonic() + within_s
    while not file.exists() or file.read_text().count("\n") < 5:
        assert time.monotonic() < until, "the desktop was told nothing"
        time.sleep(0.05)
    words = file.read_text().splitlines()
    file.unlink()
    return words


def test_a_page_cannot_have_the_desktop_say_what_it_likes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Promise I4: four sentences, a name in it without markup or control characters, and not often."""
    (tmp_path / "notify-send").write_text(NOTIFY)
    (tmp_path / "notify-send").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    teller = telling.Teller()
    assert not teller.tell("buy now", "build") and not teller.tell("input", 7)  # type: ignore[arg-type]
    assert teller.tell("input", "<b>x</b>\x1b[31m" + 100 * "y")
    [*_, text] = told(tmp_path)
    assert text.startswith("&lt;b&gt;x&lt;/b&gt;?[31my") and text.endswith("y waits for input.") and len(text) < 120
    assert [teller.tell("input", "build") for _ in range(8)].count(True) == telling.AT_ONCE - 1


def test_without_a_screen_it_says_so() -> None:
    with RealHost() as host:
        for name in ("DISPLAY", "WAYLAND_DISPLAY"):
            host.env.pop(name, None)
        done = host.hold("desktop")
        assert done.returncode == 122 and "there is no screen here" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("build", "build"), ("build@box", "build@box"), ("holdfast:build@box", "build@box"), ("HOLDFAST://build/", "build"),
        ("", ""), ("holdfast:", ""), ("s-pex47zizwajmsl4a4axpdtdkt4", "s-pex47zizwajmsl4a4axpdtdkt4"),
    ],
)  # fmt: skip
def test_a_reference_is_a_name_an_id_or_a_link(text: str, meant: str) -> None:
    assert references.of_link(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        "holdfast:a/b",
        "a@b@c",
        "https://evil.example/",
        "holdfast:javascript:alert(1)//",
        "a b",
        "x" * 300,
        "#code",
        "a?b",
    ],
)
def test_a_link_that_is_anything_else_opens_nothing(text: str) -> None:
    with pytest.raises(Refused, match="names no session"):
        references.of_link(text)
