"""What real programs wait for, as a real host sees it from the kernel (docs/commands.md, "What is it waiting for")."""

import asyncio
import os
import shutil
import sys
import time
from typing import Any

import pytest

from holdfast.host import waiting
from holdfast.host.tuple import read_stat
from holdfast.wire import messages as wire
from tests.host.talk import Machine, Talk
from tests.host.test_sessions import on_a_host
from tests.host.trees import tree


def needs(program: str) -> Any:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


async def seen(line: Talk, wants: str, program: str = "", *, timeout: float = 30) -> dict[str, Any]:
    """Return the next ``waiting`` event that says ``wants``; it must be of ``program``, but for a shell about to run it."""
    async with asyncio.timeout(timeout):
        while True:
            event = await line.next(wire.Event, timeout=timeout)
            if event.kind == "waiting" and event.body["for"] == wants:
                if wants == "running" and event.body["program"] != program:
                    continue
                assert program in ("", event.body["program"])
                assert (event.position, event.operator) == (0, "host")  # it is not of the journal
                return event.body


PROGRAMS = [
    ("cat", "line", "cat", ""),
    ("sh -c 'read x'", "line", "sh", ""),
    ("read -p 'Proceed? [y/N] ' x", "line", "bash", "Proceed? [y/N]"),
    ("read -s -p 'Secret: ' x", "password", "bash", "Secret:"),
    ("read -n 1 -p 'any key' x", "keypress", "bash", "any key"),
    ("python3 -c 'input(\"name: \")'", "line", "python3", "name:"),
    ("python3 -c 'import getpass; getpass.getpass()'", "password", "python3", "Password:"),
    ("sh -c 'sh -c \"sleep 0.1; read x\"; true'", "line", "sh", ""),
    ("printf 'Continue? '; sh -c 'read a < /dev/tty'", "line", "sh", "Continue?"),
    ("sleep 30 | cat", "running", "sleep", ""),
    ("python3 -c 'while 1: pass'", "running", "python3", ""),
    ("sleep 30 & wait", "running", "bash", ""),
]


@pytest.mark.parametrize(("typed", "wants", "program", "prompt"), PROGRAMS, ids=[each[0][:24] for each in PROGRAMS])
def test_what_a_program_waits_for_is_said(typed: str, wants: str, program: str, prompt: str) -> None:
    async def story(one: Machine, line: Talk) -> None:
        await line.open("bash", "--norc", "--noprofile", "-i", name="b")
        await line.attach("b", "events")
        assert (await seen(line, "prompt", "bash"))["prompt"] == "$"
        await line.type("b", typed.encode() + b"\r")
        body = await seen(line, wants, program)
        assert body["prompt"] == prompt
        listed = (await line.ask(wire.List)).sessions[0]
        assert listed.waiting == wants
        await line.type("b", b"\x03")
        if wants not in ("keypress",):
            await line.type("b", b"\r")
        await seen(line, "prompt", "bash")

    on_a_host(story)


def test_what_a_shell_began_since_the_last_look_is_not_called_a_prompt() -> None:
    """A listing that is asked for sooner than the host looks again goes by what the shell says."""

    async def story(one: Machine, line: Talk) -> None:
        await line.open("bash", name="b")
        await line.attach("b", "events")
        await seen(line, "prompt", "bash")
        await line.attach("b", "stream", attachment=2)
        await line.type("b", b"echo up-$((1 + 1)); sleep 30\r")
        await line.until(b"up-2", attachment=2)
        assert (await line.ask(wire.List)).sessions[0].waiting == "running"

    on_a_host(story)


FULL = [
    ("seq 500 | less", "full-screen", "less", b"q"),
    ("vim -u NONE", "full-screen", "vim", b"\x1b:q!\r"),
    ("htop", "full-screen", "htop", b"q"),
    ("top", "keypress", "top", b"q"),
    ("python3 -q", "keypress", "python3", b"\x04"),
]


@pytest.mark.parametrize(
    ("typed", "wants", "program", "leave"), [pytest.param(*each, marks=needs(each[2]), id=each[2]) for each in FULL]
)
def test_programs_that_read_keys_are_told_from_those_that_take_the_screen(
    typed: str, wants: str, program: str, leave: bytes
) -> None:
    async def story(one: Machine, line: Talk) -> None:
        await line.open("bash", "--norc", "--noprofile", "-i", name="b")
        await line.attach("b", "events")
        await seen(line, "prompt", "bash")
        await line.type("b", typed.encode() + b"\r")
        await seen(line, wants, program)
        await line.type("b", leave)
        await seen(line, "prompt", "bash")

    on_a_host(story)


@pytest.mark.parametrize(
    "argv",
    [
        pytest.param(("zsh", "-f"), marks=needs("zsh"), id="zsh"),
        pytest.param(("fish", "--no-config"), marks=needs("fish"), id="fish"),
    ],
)
def test_other_shells_have_prompts_too(argv: tuple[str, ...]) -> None:
    async def story(one: Machine, line: Talk) -> None:
        await line.open(*argv, name="b")
        await line.attach("b", "events")
        await seen(line, "prompt", argv[0])
        await line.type("b", b"sleep 30\r")
        await seen(line, "running", "sleep")
        await line.type("b", b"\x03")
        await seen(line, "prompt", argv[0])

    on_a_host(story)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_a_host_that_may_not_look_still_sees_a_password_prompt() -> None:
    """Another user's process, as with su and sudo: the kernel tells an ordinary user's host nothing of where it sleeps."""
    program = (
        "import os, pty, sys, termios, time\n"
        "child, master = pty.fork()\n"
        "if not child:\n"
        "    import getpass; getpass.getpass(); os._exit(0)\n"
        "while b'Password' not in os.read(master, 100): pass\n"
        "sys.path[:0] = [%r]\n"
        "from holdfast.core.waiting import Evidence, Sleep, judged\n"
        "from holdfast.host.waiting import foreground\n"
        "os.setuid(65534)\n"
        "number = 0\n"
        "local = termios.tcgetattr(master)[3]\n"
        "found = foreground(os.tcgetpgrp(master), number, None)\n"
        "print([each.sleep.value for each in found],"
        " judged(Evidence(bool(local & termios.ICANON), bool(local & termios.ECHO), found)).wants.value)\n"
        "os._exit(0)\n"
    )
    import subprocess
    from pathlib import Path

    source = str(Path(waiting.__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", program % source], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    assert done.stdout.strip() == "['unseen'] password", done.stderr


SLEEPS = [
    (["cat"], "reading", "reading"),
    (["bash", "--norc", "--noprofile", "-i"], "polling", "perhaps"),
    (["sleep", "60"], "elsewhere", "elsewhere"),
    ([sys.executable, "-c", "import socket as s; x = s.socket(); x.bind(('127.0.0.1', 0)); x.listen(); x.accept()"],
     "elsewhere", "elsewhere"),
    ([sys.executable, "-c", "import select; select.select([0], [], [])"], "polling", "perhaps"),
    ([sys.executable, "-c", "import select; p = select.poll(); p.register(0, select.POLLIN); p.poll()"], "polling", "perhaps"),
    ([sys.executable, "-c", "import select; p = select.epoll(); p.register(0, select.EPOLLIN); p.poll()"],
     "polling", "perhaps"),
    ([sys.executable, "-c", "import select as s; r, w = __import__('os').pipe(); s.select([r], [], [])"],
     "elsewhere", "perhaps"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(SLEEPS)))
def test_where_a_process_sleeps_is_seen_by_its_call_or_else_by_its_place(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its place in the kernel alone where the kernel shows calls to ancestors only, as on many distributions."""
    argv, by_call, by_place = SLEEPS[number]
    with tree(f"ready()\nos.execvp({argv[0]!r}, {argv!r})") as one:
        terminal = int(os.readlink(f"/proc/{one.pid}/fd/0").rpartition("/")[2])

        def sleep() -> str:
            seen = waiting.foreground(os.tcgetpgrp(one.master), terminal, None)
            return seen[0].sleep.value if seen else ""

        def becomes(wanted: str) -> None:
            until = time.monotonic() + 30
            while sleep() != wanted or read_stat(one.pid).state != "S":  # type: ignore[union-attr]
                assert time.monotonic() < until, sleep()
                time.sleep(0.02)

        becomes(by_call)
        monkeypatch.setattr(waiting, "_HERE", None)
        becomes(by_place)


def test_a_quiet_session_is_hardly_looked_at_and_a_streaming_one_not_at_all() -> None:
    """An idle host with a hundred sessions costs next to nothing; a look never stands in the way of output."""

    class Still:
        id, over, head, attachments = "s", False, 0, {}

        def __init__(self) -> None:
            self.output_at = time.monotonic()
            self.lane = type("L", (), {"last_at": 0.0})()
            self.spawned = 0

        def spawn(self, work: Any, name: str) -> None:
            work.close()
            self.spawned += 1

    async def story() -> None:
        session = Still()
        observer = waiting.Observer(session)  # type: ignore[arg-type]
        observer.start()
        ends = time.monotonic() + waiting.QUIET_S * 3
        while time.monotonic() < ends:
            session.output_at = time.monotonic()
            observer.stir()
            await asyncio.sleep(0.01)
        assert session.spawned == 0
        async with asyncio.timeout(10):
            while not session.spawned:
                await asyncio.sleep(0.01)
        observer.stop()
        assert observer.wants == ""

    asyncio.run(story())
    rest, looks, at = 0.0, 0, 0.0
    while at < 3600:
        rest = min(waiting.REST_S, max(waiting.FIRST_REST_S, 2 * rest))
        at, looks = at + rest, looks + 1
    assert looks < 3600 / waiting.REST_S + 10
