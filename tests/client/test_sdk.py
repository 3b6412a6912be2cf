"""The SDK against real PTYs behind the wire protocol: what a program can rely on while hosts come and go."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

import pytest

import holdfast as hf
from holdfast.wire import messages as wire
from tests.client.fakehost import FakeHost

TIMEOUT_S = 20


@pytest.fixture
def host() -> Iterator[FakeHost]:
    with FakeHost() as running:
        yield running


def run(story: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(story, TIMEOUT_S))


async def until(session: hf.Session, text: bytes) -> bytes:
    """Follow ``session`` until its output holds ``text``; return what came."""
    seen = b""
    async for event in session.events():
        if isinstance(event, hf.Output):
            seen += event.data
            if text in seen:
                return seen
    raise AssertionError(f"{text!r} is not in {seen!r}")


def test_open_makes_a_session_once_and_then_returns_it(host: FakeHost) -> None:
    async def story() -> None:
        async with hf.connect(host.socket) as client:
            one = await client.open("build", argv=["sh"])
            two = await client.open("build", argv=["sh"])
            assert one.id == two.id and [s.name for s in await client.sessions()] == ["build"]
            with pytest.raises(hf.NameTaken):
                await client.open("build", argv=["sh"], reuse=False)

    run(story())


def test_a_new_session_is_followed_from_its_first_byte_to_its_end(host: FakeHost) -> None:
    async def story() -> list[object]:
        async with hf.connect(host.socket) as client:
            session = await client.open(argv=["sh", "-c", "printf one; exit 3"])
            return [event async for event in session.events()]

    events = run(story())
    assert b"".join(e.data for e in events if isinstance(e, hf.Output)) == b"one"
    assert isinstance(events[-1], hf.Ended) and events[-1].status == 3


def test_typing_is_told_to_others_with_its_author(host: FakeHost) -> None:
    async def story() -> None:
        async with hf.connect(host.socket) as client, await client.open("a", argv=["cat"]) as session:
            sent = await session.send("hello\n")
            assert (sent.outcome, sent.written) == ("applied", 6)
            await until(session, b"hello\r\nhello")
            await session.send_keys("Ctrl+C")
            assert (await session.wait(timeout=5)).status == -2

    run(story())
    assert host.sessions[0].inputs == [b"hello\n", b"\x03"]


def test_a_cursor_continues_at_the_very_byte_in_another_client(host: FakeHost) -> None:
    async def first() -> tuple[str, bytes]:
        async with hf.connect(host.socket) as client:
            session = await client.open("a", argv=["sh", "-c", "read x; echo $x; read y; echo $y; read z"])
            async with session:
                await session.send("one\n")
                seen = await until(session, b"one\r\none\r\n")
            return str(session.cursor), seen

    async def second(cursor: str) -> tuple[int, bytes]:
        async with hf.connect(host.socket) as client:
            session = await client.attach("a", since=cursor)
            await session.send("two\n")
            return hf.Cursor.parse(cursor).offset, await until(session, b"two\r\ntwo\r\n")

    cursor, before = run(first())
    offset, after = run(second(cursor))
    assert offset == len(before) and before + after == bytes(host.sessions[0].output)


def test_output_is_exact_across_restarts_of_the_host(host: FakeHost) -> None:
    """I4: every byte once, in order, whatever happens to the connection."""
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); [ $((i % 300)) = 0 ] && sleep 0.02; done"

    async def story() -> bytes:
        async with hf.connect(host.socket) as client:
            session = await client.open(argv=["sh", "-c", script])
            seen, restarts = b"", 0
            async for event in session.events():
                if isinstance(event, hf.Output):
                    assert event.offset == len(seen)
                    seen += event.data
                    if restarts < 5 and len(seen) > restarts * 4000:
                        restarts += 1
                        await asyncio.to_thread(host.stop)
                        await asyncio.to_thread(host.start)
            return seen

    assert run(story()) == b"".join(b"line %d\r\n" % i for i in range(3000))
    assert host.generation == 6


def test_unacknowledged_input_is_sent_again_under_its_number_and_typed_once(host: FakeHost) -> None:
    """I5."""

    async def story() -> None:
        async with hf.connect(host.socket) as client:
            session = await client.open("a", argv=["cat"])
            host.mute_typed = 1
            sending = asyncio.create_task(session.send("once\n"))
            await asyncio.to_thread(host.wait_for, lambda: host.sessions[0].inputs)
            await asyncio.to_thread(host.stop)
            await asyncio.to_thread(host.start)
            assert (await sending).outcome == "applied"

    run(story())
    asked = [m.seq for m in host.heard if isinstance(m, wire.Input)]
    assert asked == [1, 1] and host.sessions[0].inputs == [b"once\n"]


def test_input_that_is_refused_when_it_is_sent_again_is_unknown(host: FakeHost) -> None:
    """I5: it was typed, the answer was lost, and who typed may no more when it asks again."""

    async def story() -> None:
        async with hf.connect(host.socket) as client:
            session = await client.open("a", argv=["cat"])
            host.mute_typed = 1
            sending = asyncio.create_task(session.send("once\n"))
            await asyncio.to_thread(host.wait_for, lambda: host.sessions[0].inputs)
            await asyncio.to_thread(host.stop)
            host.refuses = True
            await asyncio.to_thread(host.start)
            with pytest.raises(hf.InputUnknown) as caught:
                await sending
            assert caught.value.details["refused"] == "no-such-session"
            with pytest.raises(hf.NoSuchSession):
                await session.send("never\n")

    run(story())
    assert host.sessions[0].inputs == [b"once\n"]


def test_a_command_line_that_is_refused_when_it_is_sent_again_is_unknown(host: FakeHost) -> None:
    """I5: as input; its key kept it from being typed twice."""

    async def story() -> None:
        async with hf.connect(host.socket) as client:
            session = await client.open("a", argv=["cat"])
            host.deaf.add(wire.Run)
            run_ = wire.Run(next(client._channel.refs), session.id, "make", "r-1")
            asking = asyncio.create_task(client._channel.ask(run_, wire.Ran))
            await asyncio.to_thread(host.wait_for, lambda: any(isinstance(m, wire.Run) for m in host.heard))
            await asyncio.to_thread(host.stop)
            host.deaf.clear()
            host.refuses = True
            await asyncio.to_thread(host.start)
            with pytest.raises(hf.HoldError) as caught:
                await asking
            assert caught.value.code == "outcome-unknown"

    run(story())


def test_input_of_unknown_outcome_is_an_error_that_says_so(host: FakeHost) -> None:
    async def story() -> None:
        async with hf.connect(host.socket) as client:
            session = await client.open("a", argv=["cat"])
            host.outcome = "unknown"
            with pytest.raises(hf.InputUnknown) as caught:
                await session.send("x")
            assert caught.value.code == "input-unknown" and caught.value.do

    run(story())


def test_what_may_not_be_repeated_fails_when_the_connection_breaks(host: FakeHost) -> None:
    async def story() -> None:
        async with hf.connect(host.socket) as client:
            session = await client.open("a", argv=["cat"])
            host.deaf.add(wire.Signal)
            asking = asyncio.create_task(session.signal(10))
            await asyncio.to_thread(host.wait_for, lambda: any(isinstance(m, wire.Signal) for m in host.heard))
            await asyncio.to_thread(host.stop)
            with pytest.raises(hf.HostUnreachable, match="unknown"):
                await asking
            await asyncio.to_thread(host.start)
            assert (await session.info()).name == "a"

    run(story())
    assert sum(isinstance(m, wire.Signal) for m in host.heard) == 1


def test_leaving_never_kills(host: FakeHost) -> None:
    async def story() -> None:
        async with hf.connect(host.socket) as client, await client.open("a", argv=["cat"]):
            pass

    run(story())
    assert host.sessions[0].process.poll() is None


def test_a_wait_that_times_out_stops_nothing(host: FakeHost) -> None:
    async def story() -> None:
        async with hf.connect(host.socket) as client:
            session = await client.open("a", argv=["cat"])
            with pytest.raises(hf.Timeout):
                await session.wait(timeout=0.05)
            assert (await session.kill()).how == "killed"

    run(story())


def test_a_host_that_stays_away_fails_what_waits_after_the_patience(host: FakeHost) -> None:
    async def story() -> None:
        async with hf.connect(host.socket, start=False, patience=0.2) as client:
            session = await client.open("a", argv=["cat"])
            events: AsyncIterator[object] = session.events()
            waiting = asyncio.create_task(session.wait())
            await asyncio.sleep(0)
            await asyncio.to_thread(host.stop)
            with pytest.raises(hf.HostUnreachable):
                await waiting
            with pytest.raises(hf.HostUnreachable):
                await anext(events)
            await asyncio.to_thread(host.start)
            assert (await session.info()).state == "running"

    run(story())


def test_nobody_listening_is_said_at_once_when_no_host_may_be_started() -> None:
    async def story() -> None:
        with pytest.raises(hf.HostUnreachable):
            async with hf.connect("/nonexistent/host.sock", start=False):
                pass

    run(story())


def test_gaps_are_events_with_their_range(host: FakeHost) -> None:
    async def story() -> list[object]:
        async with hf.connect(host.socket) as client:
            session = await client.open("a", argv=["sh", "-c", "printf 0123456789"])
            await session.wait()
            host.sessions[0].forgotten = 4
            return [event async for event in session.output(0)]

    gap, output = run(story())
    assert gap == hf.Gap(0, 4, "evicted") and gap.lost == 4
    assert (output.offset, output.data) == (4, b"456789")


def test_state_can_be_looked_at_without_attaching(host: FakeHost) -> None:
    async def story() -> None:
        async with hf.connect(host.socket) as client:
            session = await client.open("a", argv=["sh", "-c", "echo hi; read x"])
            await until(session, b"hi")
            assert (await session.text()).lines[0] == "hi"
            assert (await session.screen()).text == "hi"
            assert (await session.live())["processes"]
            await session.rename("b")
            assert session.name == "b" and (await client.attach("b")).id == session.id
            await session.keep(60)
            await session.resize(10, 20)
            assert (await session.info()).size == wire.Size(10, 20)

    run(story())


def test_no_output_in_any_repr(host: FakeHost) -> None:
    values = [
        hf.Output(0, b"secret"),
        hf.Text(0, ("secret",), (0, 0), ""),
        hf.Happened("input", 1, 0.0, "", {"data": b"secret"}),
    ]
    assert "secret" not in repr(values)


def test_a_reader_that_sleeps_holds_no_more_than_its_credit(host: FakeHost) -> None:
    """I11: output a program does not read stays on the host."""

    async def story() -> None:
        async with hf.connect(host.socket) as client:
            session = await client.open("a", argv=["sh", "-c", "head -c 8000000 /dev/zero; read x"])
            async with session:
                await asyncio.to_thread(host.wait_for, lambda: len(host.sessions[0].output) >= 8_000_000)
                await asyncio.sleep(0)
                assert session._feed is not None
                assert sum(len(i.data) for i in session._feed.items if isinstance(i, wire.Output)) <= 1 << 20
                total = 0
                async for event in session.events():
                    total += len(event.data) if isinstance(event, hf.Output) else 0
                    if total == 8_000_000:
                        break

    run(story())


def test_whoever_asks_first_together_shares_one_connection(host: FakeHost) -> None:
    async def story() -> None:
        client = hf.connect(host.socket)
        before = sum(isinstance(message, wire.Hello) for message in host.heard)
        await asyncio.gather(*(client.sessions() for _ in range(8)))
        assert sum(isinstance(message, wire.Hello) for message in host.heard) == before + 1
        await client.close()

    run(story())
