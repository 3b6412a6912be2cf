"""What works on the machine itself works through a relay, by the same code (R05, R28, I4, I5)."""

import asyncio
import hashlib
import json
import time

import holdfast as hf
from holdfast import until
from holdfast.client.connection import Connection
from holdfast.core.identity import operator_id
from holdfast.core.journal import decoded
from holdfast.wire import messages as wire
from holdfast.wire import signing
from tests.faces.realhost import HOLD
from tests.faces.screen import Screen
from tests.remote.conftest import Report
from tests.remote.places import World, story

LINES = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done"
EXPECTED = b"".join(b"line %d\r\n" % number for number in range(20000))


def test_new_ls_view_send_info_keep_rename_kill_and_wait(world: World) -> None:
    away = world.away
    done = away.hold("new", "job@box", "-d", "--cwd", "/", "--", "sh", "-c", "stty -echo; echo ready; exec cat")
    assert (done.returncode, done.stdout) == (0, "job\n"), done.stderr
    assert away.hold("send", "job@box", "hello there", "--enter").returncode == 0
    seen = ""
    until = time.monotonic() + 10
    while "hello there" not in seen and time.monotonic() < until:
        seen = away.hold("view", "job@box").stdout
    assert seen.splitlines()[:2] == ["ready", "hello there"]
    assert away.hold("keep", "job@box", "6h").returncode == 0
    assert away.hold("rename", "job@box", "work").returncode == 0
    here = world.session("work")
    found = json.loads(away.hold("info", "work@box", "--json").stdout)
    assert (found["session"]["id"], found["session"]["name"]) == (here["id"], "work")
    assert found["live"]["root"] == here["root_pid"]
    assert away.hold("tail", "work@box").stdout == "ready\nhello there\n"
    waiting = away.start("wait", "work@box")
    assert away.hold("kill", "--grace", "0.1s", "work@box").returncode == 0
    _, said = waiting.communicate(timeout=20)
    assert waiting.returncode == 128 + 1 and b"was killed by o-" in said, said
    assert away.hold("forget", "work@box").returncode == 0
    assert all(each["name"] != "work" for each in json.loads(world.hold("ls", "-a", "--json").stdout))


def test_the_host_is_found_by_name_and_by_id(world: World) -> None:
    found = json.loads(world.away.hold("hosts", "--json").stdout)
    assert [(each["id"], each["name"], each["reachable"]) for each in found] == [(world.host_id, "box", True)]
    world.new("named", "echo found; exec sleep 600")
    assert world.away.hold("view", f"named@{world.host_id}").stdout == "found\n"


def test_attach_types_resizes_detaches_and_takes_over_the_exit_status(world: World) -> None:
    world.new("shell", "stty -echo; echo ready; while read x; do case $x in size) stty size;; *) exit $x;; esac; done")
    with world.away.attach("shell@box") as screen:
        screen.expect(rb"ready")
        screen.resize(30, 100)
        while not screen.ask(b"size\r", rb"\d+ \d+").startswith(b"30 100"):
            pass  # typed at once, it may come before the window's new size
        screen.type(b"\x1cd")
        assert screen.wait() == 120
        assert screen.settings() == screen.before
    with world.away.attach("shell@box") as screen:
        screen.expect(rb"30 100")
        screen.type(b"7\r")
        assert screen.wait() == 7
        assert b"shell exited 7" in screen.out


def test_an_observer_elsewhere_sees_and_does_not_type(world: World) -> None:
    world.new("stage", "stty -echo; echo ready; read x; echo got $x; exec sleep 600")
    with world.away.attach("stage@box", "--observe") as screen:
        screen.expect(rb"ready")
        screen.type(b"mine\r")
        screen.expect(rb"is not sent")
        world.hold("send", "stage", "yours", "--enter")
        screen.expect(rb"got yours", timeout=15)


def test_a_new_session_is_started_elsewhere_and_attached_to(world: World) -> None:
    argv = [*HOLD, "new", "fresh@box", "--", "sh", "-c", "echo there; read x; exit 4"]
    with Screen(argv, world.away.env) as screen:
        screen.expect(rb"there")
        screen.type(b"\r")
        assert screen.wait() == 4


def test_what_is_unknown_or_unreachable_reads_well(world: World) -> None:
    away = world.away
    for command in (
        ("view", "nothing@box"),
        ("send", "nothing@box", "x"),
        ("kill", "nothing@box"),
        ("wait", "nothing@box"),
    ):
        done = away.hold(*command)
        assert (done.returncode, done.stdout) == (121, ""), (command, done)
        assert "no session 'nothing'" in done.stderr and done.stderr.count("\n") == 1, done.stderr
        assert "Traceback" not in done.stderr
    done = away.hold("view", "job@nowhere")
    assert done.returncode == 121 and "no host 'nowhere' that you may reach" in done.stderr, done.stderr
    assert "`hold hosts`" in done.stderr and done.stderr.count("\n") == 1
    with away.attach("job@nowhere") as screen:
        assert screen.wait() == 121
        assert b"no host 'nowhere'" in screen.out


def test_no_relay_that_answers_is_said_within_seconds(world: World) -> None:
    lost = world.machine("ws://127.0.0.1:1")
    began = time.monotonic()
    done = lost.hold("view", "job@box")
    assert done.returncode == 123, done
    assert "cannot be reached" in done.stderr and "check the address" in done.stderr and done.stderr.count("\n") == 1, (
        done.stderr
    )
    assert time.monotonic() - began < 15


def test_tail_follows_elsewhere_to_the_end_byte_for_byte(world: World) -> None:
    world.new("long", f"stty -echo; read x; {LINES}; exit 5")
    tail = world.away.start("tail", "-f", "long@box", "--from", "0")
    world.reads("long")
    world.hold("send", "long", "--enter")
    seen, said = tail.communicate(timeout=60)
    assert tail.returncode == 5 and said == b"", said
    assert hashlib.sha256(seen).digest() == hashlib.sha256(EXPECTED).digest()


def test_an_ended_session_is_read_elsewhere_and_here_byte_for_byte(world: World) -> None:
    """More than a first window of a path, and more than a viewer's credit."""
    world.new("over", f"stty -echo; read x; {LINES}; seq 300000; exit 5")
    world.reads("over")
    world.hold("send", "over", "--enter")
    session = world.session("over")
    world.hold("wait", "over")
    expected = hashlib.sha256(EXPECTED + b"".join(b"%d\r\n" % number for number in range(1, 300001))).digest()
    there = world.away.hold("tail", f"{session['id']}@box", "--from", "0").stdout
    assert hashlib.sha256(there.replace("\n", "\r\n").encode()).digest() == expected
    here = world.hold("tail", session["id"], "--from", "0").stdout
    assert hashlib.sha256(here.replace("\n", "\r\n").encode()).digest() == expected


def test_the_sdk_opens_types_follows_and_waits_elsewhere(world: World, report: Report) -> None:
    async def tell() -> bytes:
        async with world.away.connect() as client:
            session = await client.open(
                "sdk", argv=["sh", "-c", f"stty -echo; read x; {LINES}; exit 9"], env={"PATH": "/usr/bin:/bin"}, cwd="/"
            )
            await session.wait_for(until.input("password"), timeout=30)  # before its stty, the line would be echoed
            sent = await session.send("\n")
            assert sent.outcome == "applied"
            seen = bytearray()
            began = time.monotonic()
            async for event in session.events():
                assert not isinstance(event, hf.Gap)
                if isinstance(event, hf.Output):
                    assert event.offset == len(seen)
                    seen += event.data
                if isinstance(event, hf.Ended):
                    assert event.status == 9
            report(f"{len(seen)} bytes through the relay in {time.monotonic() - began:.2f} s")
            ended = await session.wait()
            assert (ended.how, ended.status) == ("exited", 9)
            return bytes(seen)

    assert hashlib.sha256(story(tell())).digest() == hashlib.sha256(EXPECTED).digest()


def test_errors_of_the_sdk_are_the_local_ones(world: World) -> None:
    async def tell() -> list[str]:
        codes = []
        async with world.away.connect() as client:
            try:
                await client.attach("nothing")
            except hf.HoldError as error:
                codes.append(error.code)
            await client.open("taken", argv=["sleep", "600"], env={"PATH": "/usr/bin:/bin"}, cwd="/")
            try:
                await client.open("taken", argv=["sleep", "600"], reuse=False, cwd="/")
            except hf.HoldError as error:
                codes.append(error.code)
            try:
                await client.open("bad", argv=["/nonexistent/program"], env={}, cwd="/")
            except hf.HoldError as error:
                codes.append(error.code)
        return codes

    assert story(tell()) == ["no-such-session", "name-taken", "cannot-start"]


def test_what_was_typed_elsewhere_is_on_record_with_the_operators_signature(world: World) -> None:
    world.new("signed", "stty -echo; echo ready; exec cat")
    assert world.away.hold("send", "signed@box", "by hand\n").returncode == 0
    assert world.hold("send", "signed", "at home\n").returncode == 0
    with Connection(world.socket) as here:
        found = here.ask(wire.ReadJournal(here.ref(), world.session("signed")["id"], 0, 100), wire.Records).records
    inputs = [each for each in map(decoded, found) if each.kind == "input"]
    mine = world.store.operator.key
    assert [each.operator.partition(":")[0] for each in inputs] == [operator_id(mine), "local"]
    remote, local = inputs
    assert remote.key == mine and not local.signature
    signing.verify(mine, remote.statement, remote.signature)


def test_many_attach_at_once_and_each_sees_the_same(world: World) -> None:
    world.new("crowd", "stty -echo; read x; echo hello all; exec sleep 600")

    async def one(away_client: hf.Client, ready: asyncio.Barrier) -> str:
        session = await away_client.attach("crowd")
        async with session:
            await ready.wait()
            async for event in session.events():
                if isinstance(event, hf.Output) and b"hello all" in event.data:
                    return event.data.decode().strip()
        return ""

    async def tell() -> list[str]:
        ready = asyncio.Barrier(7)
        async with world.away.connect() as a, world.away.connect() as b:
            tasks = [asyncio.create_task(one(each, ready)) for each in (a, a, a, b, b, b)]
            await ready.wait()
            await (await a.attach("crowd")).send("\n")
            return await asyncio.gather(*tasks)

    assert story(tell()) == ["hello all"] * 6
