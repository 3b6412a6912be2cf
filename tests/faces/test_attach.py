"""`hold attach` and `hold new` in real terminals: what goes through, how it ends, and giving the terminal back."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from holdfast.client.tty import RESTORE
from holdfast.wire import messages as wire
from tests.client.fakehost import FakeHost
from tests.faces.screen import Screen

HOLD = (sys.executable, "-m", "holdfast.faces.cli.main")
BACK = (RESTORE % b"").split(b"\x1b[=0u")[1]  # the part of RESTORE that is there on either screen


@pytest.fixture
def host() -> Iterator[FakeHost]:
    with FakeHost() as running:
        yield running


def start(host: FakeHost, *argv: str, name: str = "build") -> None:
    done = subprocess.run(
        [*HOLD, "new", name, "-d", "--", *argv], env=host.env, capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stdout) == (0, name + "\n"), done.stderr


def attached(host: FakeHost, *options: str, **size: int) -> Screen:
    """A screen attached to ``build``, which runs `cat -v` and greets with `ready`."""
    if not host.sessions:
        start(host, "sh", "-c", "stty raw -echo; echo ready; exec cat -v")
    screen = Screen([*HOLD, "attach", "build", *options], host.env, **size)
    screen.expect(rb"ready")
    return screen


def test_the_prefix_detaches_and_the_session_runs_on(host: FakeHost) -> None:
    with attached(host) as screen:
        screen.type(b"\x1cd")
        assert screen.wait() == 120
        assert screen.out.endswith(b"[detached from build (running); hold attach build]\r\n")
        assert screen.settings() == screen.before
    assert host.sessions[0].process.poll() is None


def test_keys_go_through_raw_and_the_doubled_prefix_is_typed(host: FakeHost) -> None:
    with attached(host) as screen:
        screen.type(b"a\x03\x1a\x11\r\x1c\x1c.")
        screen.expect(rb"a\^C\^Z\^Q\^M\^\\\.")


def test_the_exit_status_is_the_sessions_own(host: FakeHost) -> None:
    start(host, "sh", "-c", "echo ready; read x; exit 7")
    with attached(host) as screen:
        screen.type(b"\r")
        assert screen.wait() == 7
        assert b"[build exited 7 after " in screen.out
        assert screen.settings() == screen.before


def test_a_session_that_was_killed_gives_128_and_the_signal(host: FakeHost) -> None:
    with attached(host) as screen:
        subprocess.run([*HOLD, "kill", "build"], env=host.env, check=True, timeout=20)
        assert screen.wait() == 128 + 9
        assert b"[build was killed after " in screen.out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_the_terminal_is_given_back_on_a_signal(host: FakeHost, number: signal.Signals) -> None:
    with attached(host) as screen:
        screen.kill(number)
        assert screen.wait() == 120
        assert BACK in screen.out and number.name.encode() in screen.out
        assert screen.settings() == screen.before


def test_the_terminal_is_given_back_on_hangup_without_a_word(host: FakeHost) -> None:
    with attached(host) as screen:
        screen.kill(signal.SIGHUP)
        assert screen.wait() == 120
        assert screen.settings() == screen.before
        assert b"[" + b"detached" not in screen.out


def test_a_closed_window_ends_the_attach_and_not_the_session(host: FakeHost) -> None:
    with attached(host) as screen:
        screen.hang_up()
        assert screen.process.wait(10) in (120, -signal.SIGHUP)
    host.wait_for(lambda: not host.sessions[0].attached)
    assert host.sessions[0].process.poll() is None


def test_the_terminal_is_given_back_when_the_client_crashes(host: FakeHost) -> None:
    start(host, "sh", "-c", "stty raw -echo; echo ready; exec cat -v")
    crash = "import sys; from holdfast.client import terminal as t; t.Viewer._typed_in = lambda *a: 1 / 0; " \
            "from holdfast.faces.cli.main import main; sys.argv[0] = 'hold'; main()"  # fmt: skip
    with Screen([sys.executable, "-c", crash, "attach", "build"], host.env) as screen:
        screen.expect(rb"ready")
        screen.type(b"x")
        assert screen.wait() == 1
        assert BACK in screen.out and b"ZeroDivisionError" in screen.out.partition(BACK)[2]
        assert screen.settings() == screen.before


def test_the_alternate_screen_is_left_only_if_the_session_was_on_it(host: FakeHost) -> None:
    start(host, "sh", "-c", r"printf '\033[?1049hready'; stty -echo; read x; printf '\033[?1049lback'; read y")
    with attached(host) as screen:
        screen.type(b"\x1cd")
        screen.wait()
        assert b"\x1b[?1049l" in screen.out
    with attached(host) as screen:
        screen.type(b"\r")
        screen.expect(rb"back")
        screen.type(b"\x1cd")
        screen.wait()
        assert b"\x1b[?1049l" not in screen.out


def test_answers_of_the_users_terminal_are_swallowed_and_keys_are_not(host: FakeHost) -> None:
    start(host, "sh", "-c", r"stty raw -echo; printf 'ready\033[6n\033[c\033]11;?\007'; exec cat -v")
    with attached(host) as screen:
        screen.expect(rb"\x1b\]11;\?\x07")
        screen.type(b"\x1b[24;80R\x1b[?62;22c\x1b]11;rgb:0000/0000/0000\x1b\\")
        screen.type(b"\x1b[1;5Rk")  # Ctrl-F3, which looks like a second cursor report
        screen.expect(rb"\^\[\[1;5Rk")
    assert host.sessions[0].inputs == [b"\x1b[1;5Rk"]


def test_a_restart_of_the_host_is_not_seen_and_nothing_is_typed_twice(host: FakeHost) -> None:
    """I4, I5."""
    with attached(host) as screen:
        host.mute_typed = 1
        screen.type(b"one")
        screen.expect(rb"one")
        host.stop()
        host.start()
        screen.type(b"two")
        screen.expect(rb"two")
        screen.type(b"\x1cd")
        assert screen.wait() == 120
    assert b"".join(host.sessions[0].inputs) == b"onetwo"
    resumed = [m for m in host.heard if isinstance(m, wire.Attach)][-1]
    assert resumed.offset == len(b"ready\n") + 1 + len(b"one") or resumed.offset is not None


def test_a_host_that_stays_away_is_said_and_can_be_left(host: FakeHost) -> None:
    with attached(host) as screen:
        host.stop()
        screen.expect(rb"no answer from the host; build runs on")
        screen.type(b"\x1cd")
        assert screen.wait() == 123
        assert b"it may be running" in screen.out
        assert screen.settings() == screen.before


def test_what_was_typed_while_no_host_answered_arrives_once_one_does(host: FakeHost) -> None:
    with attached(host) as screen:
        host.stop()
        screen.type(b"later")
        screen.expect(rb"no answer from the host")
        host.start()
        screen.expect(rb"later")


def test_unknown_input_is_said_and_not_repeated(host: FakeHost) -> None:
    with attached(host) as screen:
        host.outcome = "unknown"
        screen.type(b"x")
        screen.expect(rb"whether your last 1 typed bytes arrived is unknown")
    assert host.sessions[0].inputs == [b"x"]


def test_input_that_is_refused_when_it_is_sent_again_is_unknown(host: FakeHost) -> None:
    """I5: its first answer was lost, so that it is refused now does not say that it was not typed."""
    with attached(host) as screen:
        host.mute_typed = 1
        screen.type(b"x")
        host.wait_for(lambda: host.sessions[0].inputs)
        host.stop()
        host.refuses = True
        host.start()
        screen.expect(rb"whether your last 1 typed bytes arrived is unknown")
        screen.type(b"y")
        screen.expect(rb"not typed: no session")
    assert host.sessions[0].inputs == [b"x"]


def test_help_is_shown_and_any_key_returns_to_the_screen(host: FakeHost) -> None:
    with attached(host) as screen:
        screen.type(b"\x1c?")
        screen.expect(rb"Ctrl-\\ d detach")
        screen.type(b"q")
        screen.expect(rb"\x1b\[H\x1b\[2Jready")
        screen.type(b"z")
        screen.expect(rb"z")
    assert host.sessions[0].inputs == [b"z"]


def test_observing_sends_nothing_and_says_so(host: FakeHost) -> None:
    with attached(host, "--observe", rows=30, cols=90) as screen:
        screen.type(b"x")
        screen.expect(rb"observing build: what you type is not sent")
        screen.type(b"\x1cd")
        assert screen.wait() == 120
    assert host.sessions[0].inputs == [] and host.sessions[0].size == wire.Size(24, 80)


def test_the_window_sizes_the_session_at_once_and_as_it_changes(host: FakeHost) -> None:
    with attached(host, rows=30, cols=100) as screen:
        host.wait_for(lambda: host.sessions[0].size == wire.Size(30, 100))
        screen.resize(40, 120)
        screen.kill(signal.SIGWINCH)
        host.wait_for(lambda: host.sessions[0].size == wire.Size(40, 120))


def test_another_prefix_can_be_chosen(host: FakeHost) -> None:
    with attached(host, "--prefix", "ctrl-a") as screen:
        screen.type(b"\x1c.")
        screen.expect(rb"\^\\\.")
        screen.type(b"\x01d")
        assert screen.wait() == 120


def test_the_prefix_works_as_kitty_sends_it_and_split(host: FakeHost) -> None:
    with attached(host) as screen:
        for piece in (b"\x1b[92", b";5u", b"d"):
            screen.type(piece)
        assert screen.wait() == 120


def test_attaching_inside_a_session_is_refused_with_the_way_out(host: FakeHost) -> None:
    start(host, "cat")
    with Screen([*HOLD, "attach", "build"], {**host.env, "HOLDFAST_SESSION": "s-other"}) as screen:
        assert screen.wait() == 122
        assert b"Ctrl-\\ d" in screen.out


def test_a_session_is_never_attached_to_itself(host: FakeHost) -> None:
    start(host, "cat")
    env = {**host.env, "HOLDFAST_SESSION": host.sessions[0].id}
    with Screen([*HOLD, "attach", "build", "--nested"], env) as screen:
        assert screen.wait() == 122
        assert screen.settings() == screen.before
    with Screen([*HOLD, "attach", "build", "--nested"], {**host.env, "HOLDFAST_SESSION": "s-other"}) as screen:
        screen.expect(rb"\x1b\[H\x1b\[2J")
        screen.type(b"\x1cd")
        assert screen.wait() == 120


def test_without_a_terminal_it_says_what_to_use_instead(host: FakeHost) -> None:
    done = subprocess.run(
        [*HOLD, "attach", "build"], env=host.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 122 and done.stdout == "" and "hold view" in done.stderr


def test_an_unknown_session_is_121_and_leaves_the_terminal_alone(host: FakeHost) -> None:
    with Screen([*HOLD, "attach", "nope"], host.env) as screen:
        assert screen.wait() == 121
        assert screen.out.startswith(b"hold: no session 'nope'") and b"\x1b" not in screen.out


def test_new_attaches_to_what_it_started(host: FakeHost) -> None:
    with Screen([*HOLD, "new", "--", "sh", "-c", "echo ready; read x; exit 4"], host.env) as screen:
        screen.expect(rb"ready")
        screen.type(b"\r")
        assert screen.wait() == 4


def test_a_flood_arrives_whole_and_in_order(host: FakeHost, soak: bool) -> None:
    """I4, through the real loop: credit, partial writes and all."""
    lines = 2_000_000 if soak else 200_000
    start(host, "sh", "-c", f"stty -opost; echo ready; read x; seq 1 {lines}; echo done; read y")
    with attached(host) as screen:
        screen.type(b"\r")
        screen.expect(rb"done\n", timeout=100)
        whole = b"".join(b"%d\n" % i for i in range(1, lines + 1))
    assert whole in bytes(host.sessions[0].output)


def test_a_stopped_viewer_is_brought_to_the_present_by_a_state(host: FakeHost) -> None:
    with attached(host) as screen:
        session = host.sessions[0]

        def skip() -> None:
            session.output += b"x" * 5000 + b"now"
            session.attached[0].repaint(lost=5000)

        host.run(skip)
        screen.expect(rb"\x1b\[H\x1b\[2J.*now")
        screen.type(b"k")
        screen.expect(rb"k")
