"""`hold wait` as a user types it, on a real host: what ended the wait is its exit status and a line that says so."""

import json
import subprocess

from tests.faces.realhost import HOLD, RealHost


def test_hold_wait_ends_at_the_first_of_what_was_asked_and_its_status_says_which() -> None:
    """Promise U5."""
    with RealHost() as host:
        host.new("ask", "echo one; read -p 'Proceed? ' x; echo two $x; read y; exit 5")
        got = host.hold("wait", "ask", "--input", "--for", "30s")
        assert (got.returncode, got.stdout) == (0, "")
        assert "wants a line: Proceed?" in got.stderr
        assert host.hold("wait", "ask", "--match", "two", "--for", "0.3s").returncode == 124
        assert host.hold("ls", "--json").returncode == 0  # giving up stopped nothing
        assert host.session("ask")["waiting"] == "line"
        waiting = subprocess.Popen(
            [*HOLD, "wait", "ask", "--match", "two (\\w+)", "--match", "never", "--since", "0", "--json"],
            env=host.env, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        host.hold("send", "ask", "yes", "--enter")
        told = json.loads(waiting.communicate(timeout=60)[0])
        assert (waiting.returncode, told["because"], told["groups"], told["pattern"]) == (0, "match", ["yes"], 0)
        assert host.hold("wait", "ask", "--quiet", "0.2s", "--for", "30s").returncode == 0
        ends = subprocess.Popen([*HOLD, "wait", "ask", "--match", "never"], env=host.env, stdin=subprocess.DEVNULL)
        own = subprocess.Popen([*HOLD, "wait", "ask", "--match", "x", "--exit"], env=host.env, stdin=subprocess.DEVNULL)
        host.hold("wait", "ask", "--for", "0.5s", "--match", "nothing")  # long enough for both to be waiting
        host.hold("send", "ask", "--enter")
        assert (ends.wait(60), own.wait(60)) == (126, 5)
        assert host.hold("wait", "ask").returncode == 5


def test_hold_wait_says_what_is_wrong_with_a_pattern() -> None:
    with RealHost() as host:
        host.new("x", "sleep 60")
        got = host.hold("wait", "x", "--match", "(?=a)")
        assert got.returncode == 122
        assert "RE2" in got.stderr
        assert host.hold("wait", "x", "--kind", "nonsense").returncode == 2


def test_hold_wait_carries_on_over_a_restart_of_the_host() -> None:
    with RealHost() as host:
        host.new("long", "read go; echo it is done; sleep 60")
        waiting = subprocess.Popen(
            [*HOLD, "wait", "long", "--match", "it is done", "--for", "60s"], env=host.env, stdin=subprocess.DEVNULL
        )
        host.hold("wait", "long", "--for", "0.5s", "--match", "nothing")
        host.hold("host", "restart")
        host.hold("send", "long", "--enter")
        assert waiting.wait(60) == 0
