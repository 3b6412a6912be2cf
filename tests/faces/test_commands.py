"""The commands one asks and goes: stdout is data, stderr is talk, statuses are the contract's."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.fakehost import FakeHost

HOLD = (sys.executable, "-m", "holdfast.faces.cli.main")


@pytest.fixture
def host() -> Iterator[FakeHost]:
    with FakeHost() as running:
        yield running


def hold(host: FakeHost, *arguments: str, input: str | None = None, **env: str) -> "subprocess.CompletedProcess[str]":
    given = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
    return subprocess.run(
        [*HOLD, *arguments], env={**host.env, **env}, capture_output=True, text=True, timeout=20, **given
    )  # type: ignore[call-overload]


def started(host: FakeHost, *command: str, name: str = "build") -> None:
    assert hold(host, "new", name, "-d", "--", *(command or ("cat",))).stdout == name + "\n"


def test_ls_shows_one_line_a_session_and_says_what_to_do_without_any(host: FakeHost) -> None:
    empty = hold(host, "ls")
    assert empty.stdout == "" and "hold new" in empty.stderr
    started(host, "sh", "-c", "sleep 100 # a command that is rather long and would wrap in a narrow terminal")
    head, line = hold(host, "ls").stdout.splitlines()
    assert head.split() == ["NAME", "STATE", "WANTS", "COMMAND", "AGE", "IDLE", "ATTACHED", "OUTPUT"]
    assert line.startswith("build  running  -      sh -c ")
    assert json.loads(hold(host, "ls", "--json").stdout)[0]["name"] == "build"


def test_ls_shows_how_an_ended_session_ended(host: FakeHost) -> None:
    started(host, "sh", "-c", "exit 3")
    host.wait_for(lambda: host.sessions[0].ending)
    assert hold(host, "ls").stdout == ""
    assert "exited 3" in hold(host, "ls", "-a").stdout


def test_send_types_text_keys_and_standard_input(host: FakeHost) -> None:
    started(host)
    assert hold(host, "send", "build", "hello", "you", "--enter").returncode == 0
    assert hold(host, "send", "build", "--keys", "Up", "Ctrl+A").returncode == 0
    assert hold(host, "send", "build", input="from a pipe\n").returncode == 0
    assert host.sessions[0].inputs == [b"hello you\r", b"\x1b[A\x01", b"from a pipe\n"]
    assert hold(host, "send", "build", "--keys", "Nope").returncode == 2


def test_send_says_when_it_was_not_typed(host: FakeHost) -> None:
    started(host)
    host.outcome = "unknown"
    done = hold(host, "send", "build", "x")
    assert done.returncode == 122 and "unknown" in done.stderr


def test_view_and_tail_print_what_the_session_shows_and_produced(host: FakeHost) -> None:
    started(host, "sh", "-c", "echo one; echo two; read x")
    host.wait_for(lambda: b"two" in host.sessions[0].output)
    assert hold(host, "view", "build").stdout == "one\ntwo\n"
    assert json.loads(hold(host, "view", "build", "--json").stdout)["lines"] == ["one", "two"]
    assert "hi" in hold(host, "view", "build", "--screen").stdout
    assert hold(host, "tail", "build", "-c", "5").stdout == "two\n"
    host.sessions[0].forgotten = 3
    late = hold(host, "tail", "build", "--from", "0")
    assert late.stdout == "\ntwo\n" and "bytes 0 to 3" in late.stderr


def test_tail_follows_over_a_restart_of_the_host_to_the_end(host: FakeHost) -> None:
    """I4."""
    started(host, "sh", "-c", "stty -echo; echo one; read x; echo two; exit 5")
    host.wait_for(lambda: host.sessions[0].output)
    tail = subprocess.Popen([*HOLD, "tail", "-f", "build"], env=host.env, stdout=subprocess.PIPE)
    assert tail.stdout is not None and tail.stdout.readline() == b"one\r\n"
    host.stop()
    host.start()
    assert hold(host, "send", "build", "--enter").returncode == 0
    assert tail.communicate(timeout=20)[0] == b"two\r\n"
    assert tail.returncode == 5


def test_wait_gives_the_sessions_own_status_or_124(host: FakeHost) -> None:
    started(host, "sh", "-c", "read x; exit 6")
    early = hold(host, "wait", "build", "--timeout", "0.05s")
    assert early.returncode == 124 and "runs on" in early.stderr
    hold(host, "send", "build", "--enter")
    done = hold(host, "wait", "build", "--json")
    assert done.returncode == 6 and json.loads(done.stdout)["how"] == "exited"


def test_kill_keep_rename_and_forget(host: FakeHost) -> None:
    started(host)
    assert hold(host, "keep", "build", "6h").returncode == 0
    assert 6 * 3600 - 60 < host.sessions[0].keep_until - time.time() <= 6 * 3600
    assert hold(host, "keep", "build", "6x").returncode == 2
    assert hold(host, "rename", "build", "other").returncode == 0
    assert hold(host, "kill", "other").returncode == 0
    assert host.sessions[0].ending.how == "killed"
    assert hold(host, "wait", "other").returncode == 128 + signal.SIGKILL
    assert hold(host, "forget", "other").returncode == 0 and host.sessions == []


def test_info_shows_the_live_tuple(host: FakeHost) -> None:
    started(host)
    text = hold(host, "info", "build").stdout
    assert "processes" in text and str(host.sessions[0].process.pid) in text
    assert json.loads(hold(host, "info", "build", "--json").stdout)["live"]["processes"]


def test_errors_are_one_line_with_the_next_step(host: FakeHost) -> None:
    for arguments, status in ((("kill", "nope"), 121), (("attach",), 2), (("nope",), 2), (("keep", "x"), 2)):
        done = hold(host, *arguments)
        assert (done.returncode, done.stdout) == (status, "")
        assert done.stderr.startswith("hold: ") and "; " in done.stderr and len(done.stderr.splitlines()) == 1


def test_new_takes_folder_environment_and_size(host: FakeHost, tmp_path: Path) -> None:
    done = hold(host, "new", "-d", "--cwd", str(tmp_path), "--env", "A=1", "--env", "B-", "--size", "10x20", "--",
                "sh", "-c", "pwd; echo $A$B; stty size", B="2", TMUX="x")  # fmt: skip
    assert done.returncode == 0
    host.wait_for(lambda: host.sessions[0].ending)
    assert host.sessions[0].output.decode().split() == [str(tmp_path), "1", "10", "20"]


def test_new_refuses_a_taken_name_and_a_bad_size(host: FakeHost) -> None:
    started(host)
    taken = hold(host, "new", "build", "-d")
    assert taken.returncode == 122 and "hold attach build" in taken.stderr
    assert hold(host, "new", "-d", "--size", "huge").returncode == 2


def test_host_status_knows_pid_and_absence(host: FakeHost) -> None:
    status = json.loads(hold(host, "host", "status", "--json").stdout)
    assert status["running"] and isinstance(status["pid"], int)
    host.stop()
    gone = hold(host, "host", "status", "--json")
    assert gone.returncode == 123 and json.loads(gone.stdout)["running"] is False
    assert hold(host, "host", "status").returncode == 123


def test_doctor_finds_each_thing_and_says_what_to_do(host: FakeHost) -> None:
    found = json.loads(hold(host, "doctor", "--json").stdout)["checks"]
    assert [check["name"] for check in found] == [
        "python",
        "runtime folder",
        "state folder",
        "cgroups",
        "terminal engine",
        "logout",
        "policy",
        "host",
    ]
    assert all(check["verdict"] in ("ok", "warn", "fail") for check in found)
    assert all(check["do"] for check in found if check["verdict"] != "ok" and check["name"] != "host")


def test_doctor_fails_on_a_runtime_folder_too_long_for_sockets(host: FakeHost) -> None:
    done = hold(host, "doctor", HOLDFAST_RUNTIME_DIR="/tmp/" + "x" * 100)
    assert done.returncode == 122 and "HOLDFAST_RUNTIME_DIR" in done.stdout


def test_install_writes_a_unit_that_stops_no_session_and_enables_nothing(host: FakeHost, tmp_path: Path) -> None:
    first = hold(host, "host", "install", XDG_CONFIG_HOME=str(tmp_path))
    unit = tmp_path / "systemd" / "user" / "holdfast.service"
    assert first.returncode == 0 and "systemctl --user enable" in first.stdout
    assert "KillMode=process\n" in unit.read_text() and "Delegate=yes\n" in unit.read_text()
    unit.write_text("changed by hand")
    assert hold(host, "host", "install", XDG_CONFIG_HOME=str(tmp_path)).returncode == 122
    assert unit.read_text() == "changed by hand"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(host: FakeHost, shell: str) -> None:
    assert "_HOLD_COMPLETE" in hold(host, "completion", shell).stdout


def test_names_of_sessions_are_completed(host: FakeHost) -> None:
    started(host)
    done = hold(host, _HOLD_COMPLETE="bash_complete", COMP_WORDS="hold attach b", COMP_CWORD="2")
    assert done.stdout == "plain,build\n"
