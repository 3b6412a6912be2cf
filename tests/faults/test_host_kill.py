"""``kill -9`` of the host, at any instant, loses nothing and pauses nothing (R17, I2, I4, I5)."""

import asyncio
import hashlib
import json
import os
import random
import select
import signal
from pathlib import Path

import pytest

from holdfast.core import errors
from holdfast.wire import messages as wire
from tests.host.talk import Machine, machine, started, talk

ECHO = b"\r\n"  # of the newline that lets the flood go
ROUND = b"".join(b"%d\r\n" % n for n in range(1, 40_001))  # one round of the flood, as the terminal gives it out


def expected(rounds: int) -> "hashlib._Hash":
    digest = hashlib.sha256(ECHO)
    for _ in range(rounds):
        digest.update(ROUND)
    return digest


async def follow(one: Machine, name: str, offset: int, digest: "hashlib._Hash", until: int | None) -> tuple[int, bool]:
    """Hash the stream from ``offset`` until ``until`` bytes, the end or the host's death; return where it got to."""
    try:
        async with talk(one, client="c-follow") as line:
            await line.attach(name, "stream", offset=offset, credit=4 << 20)
            while True:
                message = await asyncio.wait_for(line.told.get(), 60)
                match message:
                    case wire.Output():
                        assert message.offset == offset, "not contiguous"
                        digest.update(message.data)
                        offset += len(message.data)
                        line.send(wire.Credit(1, len(message.data)))
                    case wire.Gap():
                        raise AssertionError(f"a gap: {message}")
                    case wire.Detached():
                        return offset, True
                    case None:
                        return offset, False
                if until is not None and offset >= until:
                    return offset, False
    except (ConnectionError, FileNotFoundError):
        return offset, False


def test_twenty_host_kills_during_a_flood_lose_no_byte(soak: bool) -> None:
    """R17: pids constant, output contiguous by hash, the flood never pauses."""
    for seed in range(5 if soak else 1):
        twenty_kills(seed)


def twenty_kills(seed: int) -> None:
    kills = 20

    async def story(one: Machine) -> None:
        stop = one.folder / "stop"
        # About 10 MB a second.
        script = f"read go; while [ ! -e {stop} ]; do seq 1 40000; sleep 0.02; done"
        async with talk(one) as line:
            session = await line.open("sh", "-c", script, name="flood")
            await line.type("flood", b"\n")
        digest, dice = hashlib.sha256(), random.Random(seed)
        offset, ended = 0, False
        for _ in range(kills):
            offset, ended = await follow(one, "flood", offset, digest, offset + dice.randrange(100_000, 2_000_000))
            assert not ended, "the flood was over before the kills were"
            one.kill()
            one.up()
            assert started(session.root_pid) == session.root_started
        stop.touch()
        while not ended:
            offset, ended = await follow(one, "flood", offset, digest, None)
        rounds, rest = divmod(offset - len(ECHO), len(ROUND))
        assert rounds > 0 and not rest
        assert digest.digest() == expected(rounds).digest()
        async with talk(one) as line:
            info = (await line.ask(wire.Info, session="flood")).session
            assert (info.ending.how, info.ending.status) == ("exited", 0)

    with machine() as one:
        one.up()
        asyncio.run(story(one))


def test_an_input_under_way_at_the_kill_is_typed_at_most_once(soak: bool) -> None:
    """I5, R29, R76: resent under its id to the next host it is applied once, or reported, never twice."""
    rounds = 200 if soak else 12

    async def story(one: Machine) -> None:
        async with talk(one) as line:
            await line.open("cat", name="ids")
        dice = random.Random(11)
        for number in range(1, rounds + 1):
            payload = b"<%d>\n" % number
            try:
                async with talk(one, client="c-typist") as line:
                    pending = line.begin(wire.Input, session="ids", seq=number, data=payload)
                    await asyncio.sleep(dice.random() * 0.002)  # the instant of the kill is what is varied
                    one.kill()
                    await asyncio.wait_for(asyncio.gather(pending, return_exceptions=True), 10)
            except ConnectionError:
                pass
            one.up()
            async with talk(one, client="c-typist") as line:
                try:
                    answer = await line.ask(wire.Input, session="ids", seq=number, data=payload)
                    assert answer.outcome in ("applied", "partial", "refused")
                except errors.InputUnknown:
                    pass
        async with talk(one) as line:
            await line.attach("ids", "stream", offset=0)
            await line.type("ids", b"end-of-test\n", seq=1)
            seen = await line.until(b"end-of-test\r\nend-of-test")
        for number in range(1, rounds + 1):
            assert seen.count(b"<%d>\r\n" % number) <= 2, f"input {number} was typed twice"

    with machine() as one:
        one.up()
        asyncio.run(story(one))


def test_a_stopped_viewer_harms_nobody_and_gets_state_with_the_gap_stated() -> None:
    """R30: one viewer stops reading during a flood; producer and other viewers go on, it gets a keyframe later."""

    async def story(one: Machine) -> None:
        async with talk(one) as line, talk(one, client="c-slow") as slow:
            await line.open("sh", "-c", "read go; seq 1 2000000; echo the-end; read x", name="flood")
            await slow.attach("flood", "terminal", size=wire.Size(24, 80), credit=65536)
            await line.attach("flood", "stream", offset=0, credit=4 << 20)
            await line.type("flood", b"\n")
            await line.until(b"the-end\r\n", timeout=60)
            slow.send(wire.Credit(1, 1 << 20))
            frame = await slow.next(wire.Keyframe)
            while not frame.lost:
                frame = await slow.next(wire.Keyframe)
            assert frame.lost > 1 << 20
            if b"the-end" not in frame.repaint:
                await slow.until(b"the-end")

    with machine() as one:
        one.up()
        asyncio.run(story(one))


def test_a_session_survives_its_holder_and_its_keeper_one_after_the_other() -> None:
    async def story(one: Machine) -> None:
        async with talk(one) as line:
            session = await line.open(
                "sh", "-c", "i=0; while :; do i=$((i+1)); echo n$i; sleep 0.01; done", name="hard"
            )
            await line.attach("hard", "stream", offset=0)
            await line.until(b"n3\r\n")
            os.kill(session.holder_pid, signal.SIGKILL)
            await line.until(b"\r\nn")
            keeper = (await line.ask(wire.HostStatus)).keeper_pid
            os.kill(keeper, signal.SIGKILL)
            async with asyncio.timeout(20):
                while (await line.ask(wire.HostStatus)).keeper_pid == keeper:
                    await asyncio.sleep(0.05)
            now = (await line.ask(wire.Info, session="hard")).session
            assert now.holder_pid != session.holder_pid
            os.kill(now.holder_pid, signal.SIGKILL)
            before = now.output_end
            async with asyncio.timeout(20):
                while (await line.ask(wire.Info, session="hard")).session.output_end <= before:
                    await asyncio.sleep(0.02)
            assert started(session.root_pid) == session.root_started

    with machine() as one:
        one.up()
        asyncio.run(story(one))


def test_a_key_pressed_right_after_the_holder_was_killed_is_typed_once() -> None:
    """I5: whether or not the host has noticed yet."""

    async def story(one: Machine) -> None:
        async with talk(one) as line:
            await line.open("sh", "-c", "stty raw -echo; echo ready; exec cat", name="held")
            await line.attach("held", "stream", offset=0)
            await line.until(b"ready")
            for number in range(12):
                holder = (await line.ask(wire.Info, session="held")).session.holder_pid
                at, was = os.pidfd_open(holder), f"<{number}>".encode()
                try:
                    signal.pidfd_send_signal(at, signal.SIGKILL)
                    select.select([at], [], [])
                finally:
                    os.close(at)
                assert (await line.type("held", was)).outcome == "applied"
                await line.until(was)
            kept = await line.ask(wire.ReadOutput, session="held", offset=0, size=4096)
            assert kept.data == b"ready\n" + b"".join(b"<%d>" % number for number in range(12))

    with machine() as one:
        one.up()
        asyncio.run(story(one))


def without_its_root(one: Machine, session: str) -> Path:
    """As a host leaves a session's sheet that is killed before it wrote down which process the root is."""
    path = one.state / "sessions" / session / "session.json"
    sheet = json.loads(path.read_text())
    path.write_text(json.dumps(sheet | {"root_pid": 0, "root_started": 0}))
    return path


@pytest.mark.parametrize("hangs", [False, True], ids=["at once", "when the holder answers again"])
def test_a_session_whose_root_was_not_written_down_is_taken_up_and_then_it_is(hangs: bool) -> None:
    """Its host was killed in the turn in which it began. A holder that does not answer in time is no proof of death."""

    async def story(one: Machine) -> None:
        async with talk(one) as line:
            session = await line.open("cat", name="new")
        one.kill()
        path = without_its_root(one, session.id)
        if hangs:
            os.kill(session.holder_pid, signal.SIGSTOP)
        one.up()
        async with talk(one) as line:
            if hangs:
                assert (await line.ask(wire.Info, session="new")).session.ending is None
                os.kill(session.holder_pid, signal.SIGCONT)
            async with asyncio.timeout(30):
                while not (now := (await line.ask(wire.Info, session="new")).session).holder_pid:
                    await asyncio.sleep(0.05)
            assert (now.root_pid, now.root_started) == (session.root_pid, session.root_started)
            assert (await line.type("new", b"x\n")).outcome == "applied"
            assert json.loads(path.read_text())["root_pid"] == session.root_pid

    with machine() as one:
        one.up()
        asyncio.run(story(one))


def test_a_session_whose_root_was_not_written_down_and_is_gone_is_a_loss() -> None:
    async def story(one: Machine) -> None:
        async with talk(one) as line:
            session = await line.open("cat", name="new")
            keeper = (await line.ask(wire.HostStatus)).keeper_pid
        one.kill()
        without_its_root(one, session.id)
        for pid in (keeper, session.holder_pid, session.root_pid):
            os.kill(pid, signal.SIGKILL)
        one.up()
        async with talk(one) as line:
            assert (await line.ask(wire.WaitEnd, session="new", timeout=30)).ending.how in ("lost", "exited")

    with machine() as one:
        one.up()
        asyncio.run(story(one))


def test_keeper_and_holder_together_are_a_loss_and_it_is_said() -> None:
    """DESIGN 6: never a bare "not found"."""

    async def story(one: Machine) -> None:
        async with talk(one) as line:
            session = await line.open("sh", "-c", "sleep 600", name="gone")
            keeper = (await line.ask(wire.HostStatus)).keeper_pid
            os.kill(keeper, signal.SIGKILL)
            os.kill(session.holder_pid, signal.SIGKILL)
            ending = (await line.ask(wire.WaitEnd, session="gone", timeout=30)).ending
            assert ending.how in ("lost", "exited")
            assert ending.how != "lost" or ending.why

    with machine() as one:
        one.up()
        asyncio.run(story(one))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to mount a small file system")
def test_a_full_disk_stops_no_execution_and_no_typing() -> None:
    """I2: what cannot be kept is marked; the session goes on, is typed into and ends in order."""

    async def story(one: Machine) -> None:
        async with talk(one) as line:
            session = await line.open("cat", name="full")
            filler = one.state / "filler"
            try:
                filler.write_bytes(b"x" * (64 << 20))
            except OSError:
                pass
            for number in range(50):
                answer = await line.type("full", b"line %d\n" % number)
                assert answer.outcome == "applied"
            await line.attach("full", "stream", offset=0)
            await line.until(b"line 49\r\n")
            filler.unlink()
            await line.type("full", b"room again\n")
            ended = await line.ask(wire.Kill, session="full", grace_s=0.5)
            assert ended.ending.how == "killed"
            assert not started(session.root_pid)

    with machine() as one:
        one.state.mkdir(parents=True)
        assert os.system(f"mount -t tmpfs -o size=8m,mode=700 hf-test {one.state}") == 0
        try:
            one.up()
            asyncio.run(story(one))
        finally:
            one.clear_processes()
            os.system(f"umount -l {one.state}")
