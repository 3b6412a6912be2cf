"""What a real host writes down of a session, and what it does not; killed at any instant, set back, asked for proof."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.core import errors
from holdfast.core.checkpoints import opened
from holdfast.core.evidence import Heading, Report, check
from holdfast.core.journal import Kind, Record, decoded, digest
from holdfast.wire import messages as wire
from tests.host.talk import Machine, Talk, machine, talk

PROMPT = "stty -echo; echo ready; read x; stty echo; echo got-${#x}; exec cat"
SECRET = b"hunter2"


async def records_of(line: Talk, name: str) -> list[bytes]:
    found: list[bytes] = []
    while True:
        got = await line.ask(wire.ReadJournal, session=name, position=len(found) + 1, limit=1024)
        if not got.records:
            return found
        found += got.records


async def proven(line: Talk, name: str, **more: Any) -> tuple[list[bytes], Report]:
    """The record of a session and what checking it, with what its host gives to prove it, finds."""
    chain = await line.ask(wire.GetChain, session=name)
    records = await records_of(line, name)
    heading = Heading(1, chain.session, chain.name, chain.host, chain.host_name, chain.tenant, chain.certificates,
                      chain.anchors, decoded(records[-1]).position, digest(records[-1]), 0, **more)  # fmt: skip
    return records, check(heading, records)


def inputs(records: list[bytes]) -> list[Record]:
    return [record for data in records if (record := decoded(data)).kind == Kind.INPUT]


def holding(folder: Path, what: bytes) -> list[str]:
    """The files below ``folder`` that hold ``what``."""
    return [path.name for path in folder.rglob("*") if path.is_file() and what in path.read_bytes()]


async def asks_for_a_password(line: Talk, name: str) -> None:
    await line.open("sh", "-c", PROMPT, name=name)
    await line.attach(name, "stream", offset=0)
    await line.until(b"ready\r\n")


# ---- what is typed without an echo -----------------------------------------------------------------------------------


def test_a_password_is_not_written_down_and_not_even_its_length() -> None:
    """Promise J10."""

    async def shape(one: Machine, name: str, secret: bytes) -> list[int]:
        async with talk(one, client="c-typist") as line:
            await asks_for_a_password(line, name)
            for seq, key in enumerate(secret + b"\r", 1):
                answer = await line.ask(wire.Input, session=name, seq=seq, data=bytes([key]))
                assert answer.outcome == "applied"
            await line.until(b"got-%d\r\n" % len(secret))
            await line.ask(wire.Input, session=name, seq=64, data=b"open\r")
            records, report = await proven(line, name)
            assert report.finding is None and report.withheld == 1
            hidden, shown = inputs(records)
            assert hidden.body == {"client": "c-typist", "seq": 1, "attachment": 0, "withheld": True, "through": 63}
            assert shown.body["data"] == b"open\r"
            return [len(data) for data in records if decoded(data).kind == Kind.INPUT]

    async def story(one: Machine) -> None:
        assert await shape(one, "long", SECRET) == await shape(one, "shor", b"x")

    with machine() as one:
        one.up()
        asyncio.run(story(one))
        assert holding(one.state, SECRET) == []


def test_a_key_of_a_password_is_typed_once_whoever_sends_it_again() -> None:
    """Promise J10, I5: by the same host with its outcome; after a kill it is unknown, and so is the rest of its block."""

    async def story(one: Machine) -> None:
        async with talk(one, client="c-typist") as line:
            await asks_for_a_password(line, "p")
            for seq, key in enumerate(b"abc", 1):
                await line.ask(wire.Input, session="p", seq=seq, data=bytes([key]))
            assert (await line.ask(wire.Input, session="p", seq=2, data=b"b")).outcome == "applied"
        one.kill()
        one.up()
        async with talk(one, client="c-typist") as line:
            await line.attach("p", "stream", offset=0)
            for seq in (2, 3, 4, 63):
                with pytest.raises(errors.InputUnknown):
                    await line.ask(wire.Input, session="p", seq=seq, data=b"?")
            assert (await line.ask(wire.Input, session="p", seq=64, data=b"d\r")).outcome == "applied"
            await line.until(b"got-4\r\n")
            records, report = await proven(line, "p")
            assert report.finding is None and report.withheld == 2
            assert [decoded(data).body["outcome"] for data in records if decoded(data).kind == Kind.TYPED] == [
                "unknown"
            ]

    with machine() as one:
        one.up()
        asyncio.run(story(one))


def test_what_a_second_client_types_at_a_password_prompt_has_a_record_of_its_own() -> None:
    async def story(one: Machine) -> None:
        async with talk(one, client="c-one") as first, talk(one, client="c-two") as second:
            await asks_for_a_password(first, "p")
            for line, seq in ((first, 1), (second, 1), (first, 2), (first, 3)):
                await line.ask(wire.Input, session="p", seq=seq, data=b"x")
            await first.ask(wire.Input, session="p", seq=4, data=b"\r")
            await first.until(b"got-4\r\n")
            found = inputs((await proven(first, "p"))[0])
            assert [record.body["client"] for record in found] == ["c-one", "c-two", "c-one"]

    with machine() as one:
        one.up()
        asyncio.run(story(one))


# ---- what binds it ---------------------------------------------------------------------------------------------------


def test_the_end_of_a_session_and_of_a_host_are_signed_and_output_is_bound() -> None:
    """Promise J8."""

    async def first(one: Machine) -> None:
        async with talk(one) as line:
            await line.open("sh", "-c", "seq 1 20000; sleep 1000", name="a")
            await line.open("sh", "-c", "seq 1 20000", name="b")
            await line.ask(wire.WaitEnd, session="b")
            await line.open("cat", name="c")

    async def second(one: Machine) -> None:
        async with talk(one) as line:
            for name in "ab":
                records, report = await proven(line, name)
                kinds = [decoded(data).kind for data in records]
                assert report.finding is None and Kind.CHECKPOINT in kinds
                if name == "b":
                    sums = [
                        each
                        for data in records
                        if decoded(data).kind == Kind.OUTPUT
                        for each in decoded(data).body["sums"]
                    ]
                    got = await line.ask(wire.ReadOutput, session="b", offset=0, size=1 << 20)
                    assert [sums[0][0], sums[-1][1]] == [0, got.end] == [0, len(got.data)]
            stopped = [decoded(data) for data in (await records_of(line, "a"))]
            before = next(at for at, record in enumerate(stopped) if record.kind == Kind.HOST_GENERATION)
            said = opened(stopped[before - 1].body["signed"])
            assert (said.generation, said.position) == (1, before - 1)

    with machine() as one:
        one.up()
        asyncio.run(first(one))
        assert one.daemon is not None
        one.daemon.terminate()
        one.daemon.wait(30)
        one.up()
        asyncio.run(second(one))


def test_what_a_dead_host_archived_is_bound_by_the_next_one_and_nothing_is_bound_twice() -> None:
    """Promise J8: the digests of what this host archives come with it; only an earlier one's are made again."""
    flood = "yes 0123456789abcdef | head -c 90000000; sleep 1000"

    async def bound(one: Machine) -> list[list[int]]:
        async with talk(one) as line:
            records, report = await proven(line, "a")
            assert report.finding is None
            found = [decoded(data) for data in records]
            return sorted(each[:2] for one in found if one.kind == Kind.OUTPUT for each in one.body["sums"])

    async def until_bound(one: Machine, end: int) -> None:
        """Until all up to ``end`` is bound. What an earlier host archived is read again, so newer output may come first."""
        async with asyncio.timeout(60):
            while True:
                sums = await bound(one)
                starts = [start for start, _ in sums]
                assert len(set(starts)) == len(starts), "a segment was bound twice"
                if sums and sums[-1][1] >= end and starts == [0, *(end for _, end in sums[:-1])]:
                    return
                await asyncio.sleep(0.2)

    async def first(one: Machine) -> None:
        async with talk(one) as line:
            await line.open("sh", "-c", flood, name="a")
        await until_bound(one, 40 << 20)

    with machine() as one:
        one.up()
        asyncio.run(first(one))
        assert one.daemon is not None
        one.daemon.kill()
        one.daemon.wait(30)
        one.up()
        asyncio.run(until_bound(one, 60 << 20))


def test_a_reader_waits_for_the_next_record_and_no_longer() -> None:
    async def story(one: Machine) -> None:
        async with talk(one) as line:
            await line.open("cat", name="a")
            end = (await line.ask(wire.ReadJournal, session="a", position=1 << 40)).end
            waiting = line.begin(wire.ReadJournal, session="a", position=end + 1, wait_s=60.0)
            await line.ask(wire.Input, session="a", seq=1, data=b"x")
            got = await asyncio.wait_for(waiting, 30)
            assert [decoded(data).kind for data in got.records][:1] == [Kind.INPUT]
            assert (await line.ask(wire.ReadJournal, session="a", position=1 << 40, wait_s=0.01)).records == ()

    with machine() as one:
        one.up()
        asyncio.run(story(one))


# ---- killed at any instant -------------------------------------------------------------------------------------------


async def typed_until_killed(one: Machine, dice: random.Random, number: int) -> AsyncIterator[tuple[int, bytes]]:
    """Type as fast as answers come until the host is killed; yield what was acknowledged."""
    async with talk(one, client=f"c-{number}") as line:
        kill = asyncio.get_running_loop().call_later(dice.random() * 0.05, one.kill)
        try:
            for seq in range(1, 10_000):
                data = b"<%d.%d>\n" % (number, seq)
                await asyncio.wait_for(line.ask(wire.Input, session="a", seq=seq, data=data), 10)
                yield seq, data
        except (ConnectionError, errors.HoldError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            kill.cancel()


@pytest.mark.timeout(7200)
def test_wherever_the_host_is_killed_the_record_verifies_and_holds_what_was_acknowledged(soak: bool) -> None:
    """Promise J11, I3, I5, R76."""
    rounds = 500 if soak else 25

    async def story(one: Machine) -> None:
        async with talk(one) as line:
            await line.open("sh", "-c", "stty raw -echo; exec cat", name="a")
        dice, acknowledged = random.Random(7), list[bytes]()
        for number in range(1, rounds + 1):
            async for _, data in typed_until_killed(one, dice, number):
                acknowledged.append(data)
            one.kill()
            one.up()
            async with talk(one, client=f"c-{number}") as line:
                records, report = await proven(line, "a")
                assert report.finding is None, report.finding
                kept = [record.body["data"] for record in inputs(records)]
                assert set(acknowledged) - set(kept) == set()
                assert len(set(kept)) == len(kept)
        async with talk(one) as line:
            await line.attach("a", "stream", offset=0)
            await line.ask(wire.Input, session="a", seq=1, data=b"the end\n")
            seen = await line.until(b"the end")
        assert [data for data in set(kept) if seen.count(data) > 1] == []
        assert [data for data in acknowledged if seen.count(data) != 1] == []

    with machine() as one:
        one.up()
        asyncio.run(story(one))


# ---- set back --------------------------------------------------------------------------------------------------------


def test_a_host_whose_journal_was_restored_from_an_older_copy_cannot_show_the_head_that_was_seen() -> None:
    """Promise J7, I8."""

    async def typed(one: Machine, seq: int) -> tuple[str, int, bytes]:
        async with talk(one, client="c-x") as line:
            await line.ask(wire.Input, session="a", seq=seq, data=b"x")
            got = await line.ask(wire.Witness, session="a", position=1)
            assert got.head and got.end_head
            return got.session, got.end, got.end_head

    async def begun(one: Machine) -> None:
        async with talk(one) as line:
            await line.open("cat", name="a")

    async def asked(one: Machine, position: int) -> Any:
        async with talk(one) as line:
            return await line.ask(wire.Witness, session="a", position=position)

    with machine() as one:
        one.up()
        asyncio.run(begun(one))
        session, _, _ = asyncio.run(typed(one, 1))
        journal = one.state / "sessions" / session / "journal"
        older = {path.name: path.read_bytes() for path in journal.iterdir()}
        _, position, head = asyncio.run(typed(one, 2))
        assert asyncio.run(asked(one, position)).head == head
        one.kill()
        for path in journal.iterdir():
            path.unlink()
        for name, data in older.items():
            (journal / name).write_bytes(data)
        one.up()
        got = asyncio.run(asked(one, position))
        assert got.head != head
