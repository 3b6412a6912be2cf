"""A program inside a session is not its owner: real clients in there try everything (R52, issue 3 item 2)."""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from holdfast.client.connection import Connection
from holdfast.core.journal import decoded
from holdfast.host.cgroups import Groups
from holdfast.wire import messages as wire
from tests.faces.realhost import HOLD
from tests.remote.places import World

# Does one thing after the other over the host's socket and writes down what became of each. ``how``: plain, or away: forks
# twice, in a session of its own, with nothing in its environment.
_ATTEMPTS = r"""
import json, os, sys
how, path, out, own, other, ended = sys.argv[1:7]
if how == "away" and not os.environ.get("AGAIN"):
    if os.fork() == 0:
        os.setsid()
        between = os.getpid()
        if os.fork() == 0:
            for fd in range(3):
                os.close(fd)
            os.open("/dev/null", os.O_RDWR); os.dup(0); os.dup(0)
            while os.getppid() == between:
                pass
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {"AGAIN": "1"})
        os._exit(0)
    while True:
        import time
        time.sleep(60)
from holdfast.client.connection import Connection
from holdfast.core.errors import HoldError
from holdfast.wire import messages as wire
found = {}
with Connection(path, start=False) as c:
    def attempt(name, what):
        try:
            what()
        except HoldError as error:
            found[name] = error.code
        else:
            found[name] = "done"
    ref = c.ref
    def attach(session, observe):
        return lambda: c.ask(wire.Attach(ref(), 100 + ref(), session, "events", None, None, observe, 1 << 16), wire.Attached)
    attempt("kill", lambda: c.kill(other, 0.1))
    attempt("kill own", lambda: c.kill(own, 0.1))
    attempt("keep", lambda: c.keep(other, 60))
    attempt("keep own", lambda: c.keep(own, 60))
    attempt("rename", lambda: c.rename(other, "mine"))
    attempt("rename own", lambda: c.rename(own, "mine"))
    attempt("forget", lambda: c.forget(ended))
    attempt("type into another", lambda: c.type(other, b"rm -rf /\r"))
    attempt("attach to another", attach(other, False))
    attempt("resize another", lambda: c.ask(wire.Resize(ref(), other, wire.Size(5, 5)), wire.Done))
    attempt("signal another", lambda: c.ask(wire.Signal(ref(), other, 9), wire.Done))
    attempt("host-upgrade", lambda: c.upgrade_host())
    attempt("host-stop", lambda: c.ask(wire.HostStop(ref()), wire.Done))
    attempt("enrol", lambda: c.ask(wire.Enrol(ref(), b"t" * 32, (b"x",), ("ws://127.0.0.1:1",)), wire.Identity))
    attempt("list", lambda: c.sessions())
    attempt("view another", lambda: c.text(other))
    attempt("observe another", attach(other, True))
    attempt("read another", lambda: c.read(other, 0))
    attempt("type into own", lambda: c.type(own, b"#"))
    opened = []
    def open_one():
        opened.append(c.ask(wire.Open(ref(), ("sleep", "600"), {"PATH": "/usr/bin:/bin"}, "/", wire.Size(24, 80)), wire.Opened))
    attempt("open", open_one)
    attempt("type into what it opened", lambda: c.type(opened[0].session.id if opened else "none", b"#"))
with open(out + ".new", "w") as file:
    json.dump(found, file)
os.rename(out + ".new", out)
while True:
    import time
    time.sleep(60)
"""
REFUSED = {
    "kill", "kill own", "keep", "keep own", "rename", "rename own", "forget", "type into another", "attach to another",
    "resize another", "signal another", "host-upgrade", "host-stop", "enrol",
}  # fmt: skip
DONE = {"list", "view another", "observe another", "read another", "type into own", "open"}


@pytest.fixture(scope="module")
def home() -> Iterator[World]:
    with World(link=False) as world:
        world.new("victim", "stty -echo; echo ready; exec cat")
        world.new("over", "exit 0")
        assert world.hold("wait", "over").returncode == 0
        yield world


def tried(world: World, how: str) -> tuple[str, dict[str, str]]:
    """Have a program in a session of its own try everything; return the session's id and what became of it."""
    name, out = f"inside-{how}", world.folder / f"tried-{how}"
    script = world.folder / "attempts.py"
    script.write_text(_ATTEMPTS)
    run = (
        'stty -echo; exec "$0" "$1" "$2" "$3" "$4" "$HOLDFAST_SESSION" victim over',
        sys.executable, str(script), how, world.socket, str(out),
    )  # fmt: skip
    world.run_in(name, "sh", "-c", *run)
    until = time.monotonic() + 30
    while not out.exists() and time.monotonic() < until:
        time.sleep(0.02)
    found: dict[str, str] = json.loads(out.read_text())
    return str(world.session(name)["id"]), found


def records(world: World, session: str) -> list[Any]:
    with Connection(world.socket) as here:
        return [decoded(each) for each in here.ask(wire.ReadJournal(here.ref(), session, 0, 200), wire.Records).records]


def is_untouched(world: World, root: int) -> None:
    victim = world.session("victim")
    assert (victim["state"], victim["root_pid"], victim["name"]) == ("running", root, "victim")
    assert world.output("victim") == b"ready\r\n"
    assert all(
        not each.operator.startswith("service:") or each.kind in ("attach", "detach", "refused")
        for each in records(world, victim["id"])
    )
    assert world.session("over")["ending"] is not None
    assert world.status()["running"]


@pytest.mark.parametrize("how", ["plain", "away"])
def test_a_program_inside_manages_nothing_and_operates_its_own_session_alone(home: World, how: str) -> None:
    """``away`` is a double fork with an empty environment, which control groups recognize."""
    root, pid = home.session("victim")["root_pid"], home.host_pid
    grouped = bool(Groups.find(str(home.folder / "s")).sessions())
    session, found = tried(home, how)
    if how == "away" and found["kill"] == "done":
        assert not grouped, found  # without control groups this is documented as not recognized (docs/threats.md)
        return
    assert {name for name, outcome in found.items() if outcome == "done"} >= DONE, found
    assert {name: outcome for name, outcome in found.items() if name in REFUSED and outcome not in ("forbidden",)} == {}
    assert found["type into what it opened"] == "forbidden"
    is_untouched(home, root)
    assert home.host_pid == pid
    typed = [each for each in records(home, session) if each.kind == "input"]
    assert typed and all(each.operator.startswith(f"service:{session}/") for each in typed), typed


def test_the_command_line_inside_says_why_and_does_nothing(home: World) -> None:
    root = home.session("victim")["root_pid"]
    out = home.folder / "cli"
    hold = " ".join(HOLD)
    commands = ("kill victim", "keep victim 1h", "rename victim mine", "forget over", "send victim x", "host down",
                "host restart", "host link ws://127.0.0.1:1", "ls", "view victim", "new made -d -- sleep 600")  # fmt: skip
    lines = "".join(f"{hold} {each} </dev/null >>{out}.text 2>&1; echo $? {each} >>{out}.new\n" for each in commands)
    home.run_in("cli", "sh", "-c", f"{lines} mv {out}.new {out}; exec sleep 600")
    until = time.monotonic() + 60
    while not out.exists() and time.monotonic() < until:
        time.sleep(0.02)
    status = {line.partition(" ")[2]: int(line.partition(" ")[0]) for line in out.read_text().splitlines()}
    text = (home.folder / "cli.text").read_text()
    assert {name: code for name, code in status.items() if code == 0} == {
        "ls": 0, "view victim": 0, "new made -d -- sleep 600": 0
    }, (status, text)  # fmt: skip
    assert "not allowed here" in text and "Traceback" not in text, text
    is_untouched(home, root)


def test_a_program_inside_is_nobody_elsewhere_either(home: World) -> None:
    """The raw socket with a lie: another session's name in the environment, or none, changes nothing."""
    root = home.session("victim")["root_pid"]
    out = home.folder / "lies"
    lie = (
        "import os,socket,sys,json\n"
        "from holdfast.client.connection import Connection\nfrom holdfast.core.errors import HoldError\n"
        "found=[]\n"
        "for name in ('', 's-'+'a'*26, None):\n"
        "    os.environ.pop('HOLDFAST_SESSION',None)\n"
        "    if name is not None: os.environ['HOLDFAST_SESSION']=name\n"
        "    with Connection(sys.argv[1]) as c:\n"
        "        try: c.kill('victim',0.1); found.append('done')\n"
        "        except HoldError as error: found.append(error.code)\n"
        "open(sys.argv[2]+'.new','w').write(json.dumps(found)); os.rename(sys.argv[2]+'.new',sys.argv[2])\n"
        "import time; time.sleep(600)\n"
    )
    home.run_in("liar", sys.executable, "-c", lie, home.socket, str(out))
    until = time.monotonic() + 30
    while not out.exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert json.loads(out.read_text()) == ["forbidden"] * 3
    is_untouched(home, root)
