"""R02, R75: the live tuple says what the kernel says, of real processes, also while they come and go."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from holdfast.host import sockets
from holdfast.host.tuple import Machine, live_tuple, members, read_stat, tree_facts
from tests.host.trees import tree

SLEEP = "import time\nready()\ntime.sleep(600)\n"


def process(live: dict[str, Any], pid: int) -> dict[str, Any]:
    return next(each for each in live["processes"] if each["pid"] == pid)


def fd(described: dict[str, Any], number: int) -> dict[str, Any]:
    return next(each for each in described["fds"] if each["fd"] == number)


def test_files_sockets_and_terminal_are_named(tmp_path: Path, short_dir: Path) -> None:
    code = """
import socket, time, os, select
folder, short = sys.argv[1:]
kept = []
def at(number, file):
    os.dup2(file if isinstance(file, int) else file.fileno(), number); kept.append(file)
at(50, open(folder + '/kept', 'w')); at(51, open(folder + '/gone', 'w')); os.unlink(folder + '/gone')
reader, writer = os.pipe(); at(52, reader)
tcp = socket.socket(); tcp.bind(('127.0.0.1', 0)); tcp.listen(); at(53, tcp)
client = socket.create_connection(tcp.getsockname()); at(54, client)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(('127.0.0.1', 0)); at(55, udp)
unix = socket.socket(socket.AF_UNIX); unix.bind(short + '/u'); unix.listen(); at(56, unix)
abstract = socket.socket(socket.AF_UNIX); abstract.bind(chr(0) + short); at(57, abstract)
one, other = socket.socketpair(); at(58, one); at(59, other)
at(60, select.epoll()); at(61, os.memfd_create('scratch'))
six = socket.socket(socket.AF_INET6) if os.path.exists('/proc/net/tcp6') else None
try:
    six.bind(('::1', 0)); six.listen(); at(62, six)
except (OSError, AttributeError):
    six = None
ready('tcp=%d' % tcp.getsockname()[1], 'udp=%d' % udp.getsockname()[1], 'six=%d' % (six.getsockname()[1] if six else 0))
time.sleep(600)
"""
    with tree(code, argv=[str(tmp_path), str(short_dir)]) as root:
        ports = dict(word.split("=") for word in root.said)
        live = live_tuple(root.pid)
        one = process(live, root.pid)
        assert fd(one, 50) == {"kind": "file", "path": str(tmp_path / "kept"), "fd": 50}
        assert fd(one, 51) == {"kind": "file", "path": str(tmp_path / "gone"), "deleted": True, "fd": 51}
        assert fd(one, 52)["kind"] == "pipe" and fd(one, 60)["kind"] == "anon" and fd(one, 60)["what"] == "eventpoll"
        assert fd(one, 61)["kind"] == "memfd" and fd(one, 0)["kind"] == "pty"
        listening, client = fd(one, 53), fd(one, 54)
        assert (listening["proto"], listening["state"], listening["local"]) == (
            "tcp", "listening", f"127.0.0.1:{ports['tcp']}",
        )  # fmt: skip
        assert client["state"] == "established" and client["peer"] == f"127.0.0.1:{ports['tcp']}"
        assert fd(one, 55)["proto"] == "udp" and fd(one, 55)["listening"]
        assert fd(one, 56)["path"] == str(short_dir / "u") and fd(one, 56)["state"] == "listening"
        assert fd(one, 57)["path"] == f"@{short_dir}"
        assert fd(one, 58)["peer_inode"] == fd(one, 59)["inode"] and fd(one, 58)["state"] == "connected"
        where = {(each["proto"], each["port"]) for each in live["listening"]}
        assert {("tcp", int(ports["tcp"])), ("udp", int(ports["udp"])), ("unix", None)} <= where
        if ports["six"] != "0":
            assert ("tcp6", int(ports["six"])) in where and fd(one, 62)["local"] == f"[::1]:{ports['six']}"
        assert live["listening"][0]["pids"] == [root.pid]
        assert live["terminal"]["path"] == os.ttyname(root.master) or live["terminal"]["path"].startswith("/dev/pts/")
        assert live["terminal"]["path"] == fd(one, 0)["path"]
        assert live["terminal"]["foreground_pgid"] == root.pid and live["terminal"]["foreground"] == [root.pid]
        assert tree_facts(root.pid).listening >= 2 and tree_facts(root.pid).listening_unix >= 1


def test_a_tree_has_its_shape_states_and_places(tmp_path: Path) -> None:
    code = """
import os, time, signal
os.chdir(sys.argv[1])
child = os.fork()
if child == 0:
    grandchild = os.fork()
    if grandchild == 0:
        os.kill(os.getpid(), signal.SIGSTOP); time.sleep(600)
    while os.waitpid(grandchild, os.WUNTRACED | os.WNOHANG) == (0, 0): time.sleep(0.001)
    ready(os.getpid(), grandchild); time.sleep(600)
zombie = os.fork()
if zombie == 0: os._exit(0)
time.sleep(600)
"""
    with tree(code, argv=[str(tmp_path)]) as root:
        child, grandchild = root.also
        deadline = time.monotonic() + 10
        while True:
            live = live_tuple(root.pid)
            zombies = [each for each in live["processes"] if each["state"] == "Z"]
            if zombies or time.monotonic() > deadline:
                break
        assert live["processes"][0]["pid"] == root.pid and len(live["processes"]) == 4
        assert process(live, child)["ppid"] == root.pid and process(live, grandchild)["ppid"] == child
        assert process(live, grandchild)["state_name"] == "stopped" and zombies[0]["fds"] == []
        one = process(live, root.pid)
        assert one["cwd"] == live["cwd"] == str(tmp_path)
        assert one["exe"] == str(Path(sys.executable).resolve())
        assert one["argv"][1:4] == ["-I", "-S", "-c"] and one["sid"] == one["pgid"] == root.pid
        assert one["threads"] == 1 and one["rss_bytes"] > 1 << 20 and live["memory"]["rss_bytes"] >= one["rss_bytes"]
        assert live["membership"] == "tree" and live["alive"] and live["notes"] == []


def test_environment_is_names_and_never_values(tmp_path: Path) -> None:
    secret = "hunter2-with-a-long-tail"
    env = {
        "PATH": os.environ["PATH"],
        "TOKEN": secret,
        "ODD": f"a=b={secret}",
        "MULTI": f"x\n{secret}=1",
        "HOME": "/nonexistent",
    }
    code = """
import os, time
if os.fork() == 0:
    os.environ['EXTRA'] = '1'; del os.environ['TOKEN']
    then = 'import os, time; os.write(%d, bytes([10])); time.sleep(600)' % TELL
    os.execve(sys.executable, [sys.executable, '-I', '-S', '-c', then], dict(os.environ))
time.sleep(600)
"""
    with tree(code, env=env) as root:
        live = live_tuple(root.pid)
        assert {"PATH", "TOKEN", "ODD", "MULTI", "HOME"} <= set(live["environment"])
        told = next(each for each in live["processes"] if each["pid"] != root.pid)
        assert "EXTRA" in told["env_added"] and told["env_removed"] == ["TOKEN"]
        assert secret not in json.dumps(live)


def test_it_is_plain_data_also_with_names_that_are_no_text(short_dir: Path) -> None:
    code = """
import os, time
folder = os.fsencode(sys.argv[1]) + b'/caf\\xe9-\\xff'
os.mkdir(folder); os.chdir(folder); kept = open(b'\\xfe', 'w')
ready(); time.sleep(600)
"""
    with tree(code, argv=[str(short_dir)]) as root:
        live = live_tuple(root.pid)
        assert json.loads(json.dumps(live)) == live
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(live)) == live
        assert "\ufffd" in live["cwd"]


DOUBLE_FORK = """
import os, time, signal
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (0, 1, 2): os.close(number)
        os.write(writer, b'%d' % os.getpid()); time.sleep(600)
    os._exit(0)
os.wait()
ready(os.read(reader, 99).decode()); time.sleep(600)
"""


def test_a_child_that_left_by_setsid_and_a_double_fork_still_counts() -> None:
    """R04: without a control group the marker in its environment gives it away."""
    env = dict(os.environ, HOLDFAST_SESSION="s-marked")
    with tree(DOUBLE_FORK, env=env) as root, tree(SLEEP, env=dict(os.environ, HOLDFAST_SESSION="s-mark")) as other:
        (left,) = root.also
        stat = read_stat(left)
        assert stat is not None and stat.ppid != root.pid and stat.sid != root.pid and stat.tty == 0
        found = members(root.pid, session="s-marked")
        assert set(found.stats) == {root.pid, left} and found.how == "tree"
        assert other.pid not in found.stats
        assert left not in members(root.pid).stats  # the marker alone knows it
        os.kill(root.pid, signal.SIGKILL)
        root.process.wait()
        assert set(members(root.pid, session="s-marked").stats) == {left}


def test_a_pid_that_means_another_process_by_now_is_not_taken_for_the_root() -> None:
    with tree(SLEEP) as root:
        stat = read_stat(root.pid)
        assert stat is not None and live_tuple(root.pid, root_started=stat.started)["alive"]
        other = live_tuple(root.pid, root_started=stat.started + 1)
        assert not other["alive"] and other["processes"] == [] and other["environment"] == []


def test_a_root_that_is_gone_has_an_empty_tuple() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    live = live_tuple(gone.pid, session="s-nobody")
    assert not live["alive"] and live["processes"] == [] and live["terminal"]["path"] == ""
    assert tree_facts(gone.pid).processes == 0


def test_processes_that_vanish_while_they_are_read_break_nothing(soak: bool) -> None:
    code = """
import os
os.nice(19)
def churn():
    while True:
        if os.fork() == 0: os._exit(0)
        os.wait()
for _ in range(3):
    if os.fork() == 0: churn()
ready(); churn()
"""
    with tree(code) as root:
        for _ in range(500 if soak else 40):
            live = live_tuple(root.pid)
            assert process(live, root.pid) and len(live["processes"]) >= 4
            tree_facts(root.pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else for a moment")
def test_what_is_not_ours_to_read_is_left_out_and_said() -> None:
    with tree(SLEEP) as root:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgid(65534)
                os.setuid(65534)
                os.write(writer, json.dumps(live_tuple(root.pid)).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            live = json.loads(file.read())
        os.waitpid(child, 0)
        one = process(live, root.pid)
        assert one["fd_count"] is None and one["cwd"] == "" and one["comm"]
        assert any("not ours to read" in note for note in live["notes"])


def test_facts_tell_a_shell_at_its_prompt_from_work() -> None:
    code = """
import os, signal, time, tty, termios
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
mine = os.getpid()
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    nowhere = os.open('/dev/null', os.O_WRONLY)
    while os.getppid() == mine: os.write(nowhere, b'x' * 1000)
    os._exit(0)
os.setpgid(child, child)
if sys.argv[1] == 'fg': os.tcsetpgrp(0, child)
ready(); os.waitpid(child, 0)
"""
    with tree(SLEEP) as root:
        first, second = tree_facts(root.pid), tree_facts(root.pid)
        assert first == second and (first.processes, first.foreground_job, first.listening) == (1, False, 0)
    with tree(code, argv=["fg"]) as root:
        first = tree_facts(root.pid)
        assert first.foreground_job and first.processes == 2
        deadline = time.monotonic() + 10
        while (now := tree_facts(root.pid)).cpu_ticks <= first.cpu_ticks or now.io_bytes <= first.io_bytes:
            assert time.monotonic() < deadline
    with tree(code, argv=["bg"]) as root:
        assert not tree_facts(root.pid).foreground_job


def test_one_look_at_the_machine_serves_several_sessions() -> None:
    with tree(SLEEP) as one, tree(SLEEP) as other:
        machine = Machine()
        assert set(members(one.pid, machine=machine).stats) == {one.pid}
        assert set(members(other.pid, machine=machine).stats) == {other.pid}
        assert machine.stats() is machine.stats()


def test_netlink_and_proc_tell_the_same_about_listening_sockets() -> None:
    code = """
import socket, time
tcp = socket.socket(); tcp.bind(('127.0.0.1', 0)); tcp.listen()
ready('port=%d' % tcp.getsockname()[1]); time.sleep(600)
"""
    with tree(code) as root:
        address = "127.0.0.1:" + root.said[0].partition("=")[2]
        found, trouble = sockets.by_inode()
        from_proc = sockets.of_namespace("self")
        assert trouble == ""
        for each in (found, from_proc):
            assert [one["state"] for one in each.values() if one.get("local") == address] == ["listening"]


@pytest.mark.bench
def test_a_hundred_processes_are_read_in_milliseconds(capsys: pytest.CaptureFixture[str]) -> None:
    code = """
import os, socket, time
for _ in range(99):
    if os.fork() == 0:
        kept = [socket.socket() for _ in range(4)] + [open('/dev/null') for _ in range(4)]
        time.sleep(600)
ready(); time.sleep(600)
"""
    with tree(code) as root:
        took = sorted(live_tuple(root.pid)["read_ms"] for _ in range(5))
        assert len(live_tuple(root.pid)["processes"]) == 100
    with capsys.disabled():
        print(f"\nlive tuple of 100 processes: median {took[2]} ms")
