"""An attach that reads the session's memory itself: the same bytes, whoever dies, and no way round what a viewer may do."""

import os
import re
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faces.realhost import HOLD, RealHost, end
from tests.faces.screen import Screen


@pytest.fixture
def real() -> Iterator[RealHost]:
    with RealHost() as host:
        yield host


def reads_directly(screen: Screen, session: str) -> bool:
    """Whether the attach has the session's memory mapped, as the kernel says."""
    return "memfd:" in Path(f"/proc/{screen.process.pid}/maps").read_text()


def once_it_does(screen: Screen, real: RealHost, *, echo: bytes) -> None:
    """Type until the attach reads directly: it is handed the memory when its socket is empty."""
    for _ in range(100):
        screen.type(echo)
        screen.expect(re.escape(echo))
        if reads_directly(screen, "build"):
            return
    raise AssertionError("it never was handed the memory")


def raw(real: RealHost) -> Screen:
    real.new("build", "stty raw -echo; echo ready; exec cat -v")
    screen = Screen([*HOLD, "attach", "build"], real.env)
    screen.expect(rb"ready")
    once_it_does(screen, real, echo=b"<direct>")
    return screen


def test_an_echo_comes_while_the_host_is_stopped(real: RealHost) -> None:
    """I2: what a session says reaches a viewer on its machine without the host. Only input needs it."""
    with raw(real) as screen:
        session = real.session("build")
        pid = real.status()["pid"]
        terminal = os.open(f"/proc/{session['root_pid']}/fd/1", os.O_WRONLY | os.O_NOCTTY)
        os.kill(pid, signal.SIGSTOP)
        try:
            os.write(terminal, b"<while it is stopped>")
            screen.expect(rb"<while it is stopped>")
        finally:
            os.kill(pid, signal.SIGCONT)
            os.close(terminal)


def test_a_successor_of_a_killed_holder_rings_the_same_bell(real: RealHost) -> None:
    with raw(real) as screen:
        for number in range(3):
            end(real.session("build")["holder_pid"])
            screen.type(b"<%d>" % number)
            screen.expect(rb"<%d>" % number)
        assert reads_directly(screen, "build")


def test_another_host_hands_the_memory_over_again(real: RealHost) -> None:
    with raw(real) as screen:
        end(real.status()["pid"])
        screen.type(b"<again>")
        screen.expect(rb"<again>", timeout=30)
        once_it_does(screen, real, echo=b"<direct again>")


def test_the_end_comes_after_the_last_byte(real: RealHost) -> None:
    real.new("build", "stty -echo; echo ready; while read x; do echo got $x; [ $x = go ] && break; done; "
                      "seq 1 60000; echo the last words; exit 3")  # fmt: skip
    with Screen([*HOLD, "attach", "build"], real.env) as screen:
        screen.expect(rb"ready")
        for _ in range(100):
            screen.type(b"x\r")
            screen.expect(rb"got x")
            if reads_directly(screen, "build"):
                break
        screen.type(b"go\r")
        assert screen.expect(rb"got go\r\n(.*)the last words", timeout=60)[1] == b"".join(
            b"%d\r\n" % number for number in range(1, 60001)
        )
        assert screen.wait() == 3


def test_a_terminal_that_stops_taking_output_gets_state_and_the_present(real: RealHost) -> None:
    """R30: a window that does not read costs nobody anything and is shown the present when it does."""
    real.new("build", "stty -echo; echo ready; while read x; do seq 1 $x; echo done $x; done")
    with Screen([*HOLD, "attach", "build"], real.env) as screen, Screen([*HOLD, "attach", "build"], real.env) as other:
        screen.expect(rb"ready")
        other.expect(rb"ready")
        screen.process.send_signal(signal.SIGSTOP)
        other.type(b"3000000\r")
        other.expect(rb"done 3000000", timeout=90)
        screen.process.send_signal(signal.SIGCONT)
        screen.expect(rb"done 3000000", timeout=60)
        other.type(b"1\r")
        other.expect(rb"done 1")
        screen.expect(rb"done 1")


def test_a_smaller_window_is_shown_states_cut_to_its_size(real: RealHost) -> None:
    """R31: while the window of a viewer has another size than the session, no raw bytes reach it."""
    real.new("build", "stty raw -echo; echo ready; exec cat -v")
    with Screen([*HOLD, "attach", "build"], real.env, rows=24, cols=80) as wide:
        wide.expect(rb"ready")
        once_it_does(wide, real, echo=b"<direct>")
        with Screen([*HOLD, "attach", "build", "--observe"], real.env, rows=10, cols=40) as small:
            small.expect(rb"ready")
            wide.type(b"\r\n" + b"a" * 60 + b"!")
            wide.expect(rb"a{60}!")
            found = small.expect(rb"a{10,}", timeout=10)
            while select.select([small.master], [], [], 0.2)[0]:
                small.read(0)
            assert b"a" * 41 not in found[0] + small.out


def test_an_ended_attach_leaves_no_bell_at_the_holder(real: RealHost) -> None:
    with raw(real) as screen:
        holder = real.session("build")["holder_pid"]
        during = len(os.listdir(f"/proc/{holder}/fd"))
        screen.type(b"\x1cd")
        assert screen.wait() == 120
    for _ in range(200):
        if len(os.listdir(f"/proc/{holder}/fd")) <= during - 2:
            return
        real.hold("ls")
    raise AssertionError(os.listdir(f"/proc/{holder}/fd"))
