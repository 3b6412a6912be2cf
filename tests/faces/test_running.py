"""`hold run` as a user types it, on a real host."""

import json
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.faces.realhost import HOLD, RealHost

RUN = ("run", "b", "--patience", "30s")


@pytest.fixture
def host() -> Iterator[RealHost]:
    with RealHost() as one:
        one.env |= {"HOME": str(one.folder), "LANG": "C.UTF-8"}
        assert one.hold("new", "b", "-d", "--", "bash", "-i").returncode == 0
        yield one


def started(host: RealHost, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*HOLD, *arguments], env=host.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def test_hold_run_prints_that_commands_output_and_takes_over_its_status(host: RealHost) -> None:
    """Promise U1."""
    done = host.hold(*RUN, "--", "echo", "it's", "a  word")
    assert (done.returncode, done.stdout) == (0, "it's a  word\n"), done.stderr
    done = host.hold(*RUN, "--", "echo $((6*7)); cd /; false")
    assert (done.returncode, done.stdout) == (1, "42\n")
    assert host.hold(*RUN, "--", "pwd").stdout == "/\n"  # it is the shell's own
    assert host.hold(*RUN, "--", "sh -c 'kill -9 $$'").returncode == 137
    done = host.hold(*RUN, "--plain", "--", "printf '\\033[31mred\\033[0m\\n'")
    assert done.stdout == "red\n"
    told = json.loads(host.hold(*RUN, "--json", "--", "printf 'a\\rb\\n'; exit_with() { return 5; }; exit_with").stdout)
    assert (told["status"], told["output"], told["state"]) == (5, "b\n", "done")
    assert told["end"] - told["start"] == 5
    assert told["author"].startswith("local:")


def test_each_way_in_which_a_command_does_not_run_has_a_status_of_its_own(host: RealHost) -> None:
    late = host.hold(*RUN, "--timeout", "0.3s", "--", "echo begun; sleep 30")
    assert (late.returncode, late.stdout) == (124, "begun\n")
    assert "runs on" in late.stderr
    busy = host.hold("run", "b", "--", "echo no")
    assert busy.returncode == 122
    assert "sleep 30" in busy.stderr
    host.hold("send", "b", "--keys", "Ctrl+C")
    quote = host.hold(*RUN, "--", "echo 'open")
    assert quote.returncode == 127
    assert "Ctrl+C" in quote.stderr
    host.hold("send", "b", "--keys", "Ctrl+C")
    assert host.hold(*RUN, "--", "exit 4").returncode == 4
    assert host.hold("run", "b", "--", "echo late").returncode == 122  # it ended
    assert host.hold("run", "nobody", "--", "echo").returncode == 121
    assert host.hold("run", "b").returncode == 2
    assert host.hold("send", "b", "--keys", "NoSuchKey").returncode == 2


def test_a_key_runs_it_once_whoever_asks_again(host: RealHost) -> None:
    log = host.folder / "once"
    for _ in range(2):
        done = host.hold(*RUN, "--key", "once", "--", f"echo x >> {log}; cat {log}")
        assert (done.returncode, done.stdout) == (0, "x\n"), done.stderr


def test_output_comes_while_the_command_runs_and_goes_on_over_a_restart_of_the_host(host: RealHost) -> None:
    with started(host, *RUN, "--", "echo one; read x; echo two; sh -c 'exit 6'") as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "one\n"
        assert host.hold("host", "restart").returncode == 0
        host.hold("send", "b", "y", "--enter")
        rest, errors = running.communicate(timeout=60)
    assert (running.returncode, rest.splitlines()[-1]) == (6, "two"), errors


def test_ctrl_c_interrupts_the_command_and_a_second_one_only_leaves_it(host: RealHost) -> None:
    """R68: as a user expects of Ctrl-C, and nothing is ended by leaving."""
    command = "sh -c 'echo up; exec sleep 300'"  # one process, so it is there to be interrupted once it said so
    with started(host, *RUN, "--", command) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        running.send_signal(signal.SIGINT)
        rest, errors = running.communicate(timeout=60)
    assert running.returncode == 130, (rest, errors)
    stubborn = "sh -c 'trap \"echo no\" INT; echo up; while :; do sleep 0.1; done'"
    with started(host, *RUN, "--", stubborn) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        running.send_signal(signal.SIGINT)
        while "no" not in running.stdout.readline():
            pass
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 120
    assert host.session("b")["waiting"] != "prompt"
    host.hold("kill", "--grace", "0.1s", "b")


def test_where_nothing_is_marked_it_says_so_and_offers_what_there_is(host: RealHost) -> None:
    host.hold("new", "plain", "-d", "--", "sh", "-i")
    refused = host.hold("run", "plain", "--", "echo hi")
    assert refused.returncode == 122
    assert "--unmarked" in refused.stderr
    done = host.hold("run", "plain", "--unmarked", "--plain", "--", "echo hi $((1+1))")
    assert done.returncode == 0
    assert "hi 2\n" in done.stdout


def test_a_terminal_shows_it_as_it_comes(host: RealHost) -> None:
    master, slave = pty.openpty()
    try:
        running = subprocess.Popen(
            [*HOLD, *RUN, "--", "echo on a terminal"], env=host.env, stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)
        seen, until = b"", time.monotonic() + 60
        while b"on a terminal" not in seen and time.monotonic() < until:
            if select.select([master], [], [], 1)[0]:
                seen += os.read(master, 4096)
        assert running.wait(60) == 0
        assert b"$" not in seen.replace(b"\r\n", b"")[len(b"on a terminal") :]  # the shell's prompt is not its output
    finally:
        os.close(master)
