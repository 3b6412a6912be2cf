"""The faces with the real host, keeper and holders behind them: what a user meets, kill -9 included."""

import asyncio
import hashlib
import subprocess
from collections.abc import Iterator

import pytest

import holdfast as hf
from tests.faces.realhost import HOLD, RealHost, end
from tests.faces.screen import Screen

LINES = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done"
EXPECTED = b"".join(b"line %d\r\n" % number for number in range(20000))


@pytest.fixture
def real() -> Iterator[RealHost]:
    with RealHost() as host:
        yield host


def test_the_first_command_starts_the_host_and_two_at_once_start_one(real: RealHost) -> None:
    both = [
        subprocess.Popen([*HOLD, "new", name, "-d", "--", "cat"], env=real.env, stdout=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    assert [process.communicate(timeout=60)[0] for process in both] == ["one\n", "two\n"]
    assert sorted(line.split()[0] for line in real.hold("ls").stdout.splitlines()[1:]) == ["one", "two"]
    assert real.status()["generation"] == 1


def test_an_attach_survives_kill_9_of_the_host_and_starts_the_next(real: RealHost) -> None:
    """I2, I4, I5: the execution does not notice, and what was typed meanwhile arrives once."""
    real.new("build", "stty raw -echo; echo ready; exec cat -v")
    before = real.session("build")
    with Screen([*HOLD, "attach", "build"], real.env) as screen:
        screen.expect(rb"ready")
        for number in range(3):
            end(real.status()["pid"])
            screen.type(b"<%d>" % number)
            screen.expect(rb"<%d>" % number, timeout=30)
        screen.type(b"\x1cd")
        assert screen.wait() == 120
        assert screen.settings() == screen.before
    after = real.session("build")
    assert (after["root_pid"], after["root_started"]) == (before["root_pid"], before["root_started"])
    assert real.hold("tail", "build").stdout.split() == ["ready", "<0><1><2>"]


def test_a_restart_of_the_host_is_not_felt_by_an_attach(real: RealHost) -> None:
    real.new("build", "stty raw -echo; echo ready; exec cat -v")
    with Screen([*HOLD, "attach", "build"], real.env) as screen:
        screen.expect(rb"ready")
        assert real.hold("host", "restart").returncode == 0
        screen.type(b"again")
        screen.expect(rb"again", timeout=30)


def test_output_is_exact_by_hash_while_hosts_are_killed(
    real: RealHost, soak: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I4, with the SDK: bytes from 0 on, each once, over hosts killed at any moment."""
    for name in ("HOLDFAST_RUNTIME_DIR", "HOLDFAST_STATE_DIR"):
        monkeypatch.setenv(name, real.env[name])
    kills = 20 if soak else 3

    async def story() -> bytes:
        async with hf.connect() as client:
            session = await client.open("flood", argv=["sh", "-c", f"read x; {LINES}"], env={"PATH": "/usr/bin:/bin"})
            await session.send("\n")
            seen, killed = b"", 0
            async for event in session.events():
                assert not isinstance(event, hf.Gap)
                if isinstance(event, hf.Output):
                    assert event.offset == len(seen)
                    seen += event.data
                    if killed < kills and len(seen) > killed * len(EXPECTED) // (kills + 1):
                        killed += 1
                        status = await client.status()
                        await asyncio.to_thread(end, status.pid)
            return seen

    seen = asyncio.run(asyncio.wait_for(story(), 100))
    assert hashlib.sha256(seen.removeprefix(b"\r\n")).digest() == hashlib.sha256(EXPECTED).digest()


def test_a_flood_reaches_the_terminal_whole_and_in_order(real: RealHost) -> None:
    real.new("flood", f"stty -echo; echo ready; read x; {LINES}; echo done; read y")
    with Screen([*HOLD, "attach", "flood"], real.env) as screen:
        screen.expect(rb"ready")
        screen.type(b"\r")
        found = screen.expect(rb"(line 0\r\n.*)done", timeout=60)
    assert found[1] == EXPECTED


def test_an_ended_session_is_told_by_every_command(real: RealHost) -> None:
    real.new("short", "echo the last words; exit 3")
    assert real.hold("wait", "short").returncode == 3
    assert "exited 3" in real.hold("ls", "-a").stdout
    assert "the last words" in real.hold("view", "short").stdout
    assert real.hold("tail", "short").stdout == "the last words\n"
    assert real.hold("forget", "short").returncode == 0
    assert real.hold("wait", "short").returncode == 121


def test_what_cannot_start_is_said_and_makes_no_session(real: RealHost) -> None:
    done = real.hold("new", "-d", "--", "/nonexistent/program")
    assert done.returncode == 122 and "not found" in done.stderr
    assert real.hold("ls", "-a").stdout == ""


def test_down_leaves_sessions_running_and_the_next_command_finds_them(real: RealHost) -> None:
    real.new("a", "exec cat")
    root = real.session("a")["root_pid"]
    assert "1 sessions run on" in real.hold("host", "down").stderr
    assert real.status()["running"] is False
    assert real.session("a")["root_pid"] == root
