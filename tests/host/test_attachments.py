"""Attaching: state, then stream, with no gap and no duplicate, bounded, and nobody in anybody's way."""

import asyncio
import contextlib

import pytest

from holdfast.core.turns import Turns
from holdfast.host.attachments import Terminal
from holdfast.host.config import Config
from holdfast.host.output import Chunk
from holdfast.host.viewtypes import Repaint
from holdfast.wire import messages as wire
from tests.host.talk import Machine, Talk, talk
from tests.host.test_sessions import on_a_host

FLOOD = "i=0; while :; do seq $i $((i+400)); i=$((i+400)); done"


async def through(line: Talk, attachment: int, size: int) -> tuple[int, bytes, wire.Keyframe | None]:
    """Return offset and bytes of the first ``size`` bytes of an attachment's stream, which must be contiguous."""
    frame: wire.Keyframe | None = None
    first, data = -1, bytearray()
    async with asyncio.timeout(30):
        while len(data) < size:
            message = await line.told.get()
            assert message is not None
            if getattr(message, "attachment", None) != attachment:
                continue
            if isinstance(message, wire.Keyframe):
                frame, first, data = message, message.offset, bytearray()
            elif isinstance(message, wire.Output):
                first = message.offset if first < 0 else first
                assert message.offset == first + len(data), "a gap or a duplicate"
                data += message.data
                line.send(wire.Credit(attachment, len(message.data)))
    return first, bytes(data), frame


def test_what_follows_a_keyframe_is_what_was_produced(soak: bool) -> None:
    """R23: attached again and again under a flood, the bytes after the state are the journal's, from its very offset."""
    attaches = 1000 if soak else 25

    async def story(one: Machine, line: Talk) -> None:
        session = await line.open("sh", "-c", FLOOD, name="flood")
        for number in range(1, attaches + 1):
            await line.attach("flood", "terminal", attachment=number, size=wire.Size(24, 80))
            first, data, frame = await through(line, number, 20_000)
            assert frame is not None
            line.send(wire.Detach(number))
            page = await line.ask(wire.ReadOutput, session=session.id, offset=first, size=len(data))
            assert page.offset == first
            assert page.data == data[: len(page.data)]
            assert page.data

    on_a_host(story)


def test_many_viewers_of_all_kinds_see_the_same(soak: bool) -> None:
    """R26: 32 at once; the exact ones see the same bytes, whoever else looks."""
    viewers = 32

    async def story(one: Machine, line: Talk) -> None:
        await line.open("sh", "-c", "read go; seq 1 30000; read x", name="many")
        others = []
        async with asyncio.timeout(60):
            for number in range(viewers):
                other = talk(one, client=f"c-{number}")
                others.append((other, await other.__aenter__()))
                view = ("stream", "terminal", "screen", "events")[number % 4]
                await others[-1][1].attach("many", view, offset=0 if view == "stream" else None, size=wire.Size(24, 80))
            await line.type("many", b"\n")
            streams = [await o.until(b"30000\r\n") for n, (_, o) in enumerate(others) if n % 4 == 0]
        assert len(set(streams)) == 1
        assert streams[0].endswith(b"29999\r\n30000\r\n")
        for context, _ in others:
            await context.__aexit__(None, None, None)

    on_a_host(story)


def test_the_payload_of_an_attach_does_not_grow_with_history(soak: bool) -> None:
    """R22, I11."""
    sizes: list[int] = []

    async def story(one: Machine, line: Talk) -> None:
        line_of_79 = "x" * 79
        rounds = (1, 1024) if soak else (1, 40)
        await line.open("sh", "-c", f"while read n; do yes {line_of_79} | head -c $((n*1048576)); echo; echo =done=; done",
                        name="long")  # fmt: skip
        for number, rounds_ in enumerate(rounds, start=1):
            await line.attach("long", "stream", attachment=10 + number)
            await line.type("long", b"%d\n" % rounds_)
            await line.until(b"=done=\r\n", attachment=10 + number, timeout=90)
            line.send(wire.Detach(10 + number))
            await line.attach("long", "terminal", attachment=number, size=wire.Size(24, 80))
            frame = await line.next(wire.Keyframe, timeout=60)
            sizes.append(len(frame.repaint))
            line.send(wire.Detach(number))
        assert abs(sizes[0] - sizes[-1]) <= 0.2 * sizes[0] + 64

    on_a_host(story)


def test_an_evicted_offset_is_answered_with_the_gap(soak: bool) -> None:
    """R24: what is no longer kept is stated as a range, then what is kept follows, exactly."""

    async def story(one: Machine, line: Talk) -> None:
        session = await line.open(
            "sh", "-c", "head -c 12000000 /dev/urandom | od -An -tx1; echo =done=; read x", name="big"
        )
        await line.attach("big", "stream", attachment=9)
        await line.until(b"=done=\r\n", attachment=9, timeout=60)
        async with asyncio.timeout(40):
            while (info := (await line.ask(wire.Info, session=session.id)).session).output_start == 0:
                await asyncio.sleep(0.05)
        await line.attach("big", "stream", offset=0)
        gap = await line.next(wire.Gap)
        assert (gap.start, gap.why) == (0, "evicted")
        assert gap.end >= info.output_start > 0
        first, _, _ = await through(line, 1, 100_000)
        assert first == gap.end

    on_a_host(story, config="archive_bytes = 2097152\nring_bytes = 1048576\n")


@pytest.mark.parametrize("view", ["terminal", "screen"])
def test_a_viewer_of_another_size_sees_the_screen_cropped_and_changes_nothing(view: str) -> None:
    """R31: a small window onto a large session is given states, not bytes that would wrap."""

    async def story(one: Machine, line: Talk) -> None:
        await line.open("sh", name="wide", size=wire.Size(30, 120))
        async with talk(one, client="c-driver") as driver:
            await driver.attach("wide", "terminal", size=wire.Size(30, 120))
            await line.attach("wide", view, size=wire.Size(10, 40))
            await driver.type("wide", b"stty size; printf '%0.sW' $(seq 1 100); echo\n", attachment=1)
            async with asyncio.timeout(15):
                while True:
                    message = await line.told.get()
                    assert not isinstance(message, wire.Output)
                    shown = getattr(message, "repaint", b"") or repr(getattr(message, "rows", "")).encode()
                    if b"30 120" in shown and b"WWWW" in shown:
                        break
            assert (await line.ask(wire.Info, session="wide")).session.size == wire.Size(30, 120)

    on_a_host(story)


def test_a_worker_killed_during_an_attach_costs_a_repaint() -> None:
    """Issue 2, item 5: the view's crash is a non-event for the execution and a short wait for the viewer."""
    import os
    import signal

    async def story(one: Machine, line: Talk) -> None:
        session = await line.open("sh", "-c", "echo marker-line; read x", name="v")
        await line.attach("v", "stream", attachment=5, offset=0)
        await line.until(b"marker-line\r\n", attachment=5)
        for number in range(6, 10):
            for pid in (await line.ask(wire.HostStatus)).view_pids:
                with contextlib.suppress(ProcessLookupError):  # named, and gone since
                    os.kill(pid, signal.SIGKILL)
            await line.attach("v", "terminal", attachment=number, size=wire.Size(24, 80))
            await line.until(b"marker-line", attachment=number, timeout=30)
        assert (await line.ask(wire.Info, session=session.id)).session.state == "running"

    on_a_host(story)


def test_a_terminal_query_is_answered_once_whoever_is_attached() -> None:
    """DESIGN 3: the host answers, with nobody attached and with several, at most once."""
    asks = (
        "import os, sys, termios, tty, select\n"
        "tty.setraw(0)\n"
        "os.read(0, 1)\n"
        "os.write(1, b'\\x1b[6n')\n"
        "got = b''\n"
        "while select.select([0], [], [], 1.0)[0]: got += os.read(0, 100)\n"
        "os.write(1, b'got=' + got.replace(b'\\x1b', b'E') + b'.')\n"
        "os.read(0, 1)\n"
    )

    async def story(one: Machine, line: Talk) -> None:
        import sys

        await line.open(sys.executable, "-c", asks, name="alone")
        await line.ask(wire.GetText, session="alone")  # the view is awake: it may be starting with the host
        await line.attach("alone", "stream", offset=0)
        await line.type("alone", b"x")
        assert b"got=E[1;1R." in await line.until(b".")

    on_a_host(story)


class Behind:
    """A session that put out far more than its view has seen; ``renders`` counts what the view's worker is made to paint."""

    id, config, attachments, resized_at = "s-x", Config(), {}, 0
    size = wire.Size(24, 80)

    def __init__(self) -> None:
        self.views = self.output = self.journal = self
        self.turns = Turns()
        self.start, self.head, self.done, self.renders = 0, 8 << 20, 0, 0
        self.arrived = asyncio.Event()

    def ready(self, session: str) -> bool:
        return True

    def lag(self, session: str, head: int) -> int:
        return head - self.done

    async def reach(self, session: str, offset: int) -> int:
        while self.done < offset:
            self.arrived.clear()
            await self.arrived.wait()
        return self.done

    async def repaint(self, session: str, *, rows: int = 0, cols: int = 0, at_least: int | None = None) -> Repaint:
        self.renders += 1
        return Repaint(await self.reach(session, at_least or 0), b"state", rows, cols, True, False)

    def read(self, offset: int, size: int) -> Chunk:
        return Chunk(offset, bytes(min(size, self.head - offset)), "")


class Watcher:
    operator = "uid:0"

    def __init__(self) -> None:
        self.heard: list[wire.Message] = []

    def send(self, message: wire.Message) -> None:
        self.heard.append(message)

    def room(self) -> None:
        return None

    patience = room


def test_the_state_that_is_owed_after_a_jump_is_rendered_once_and_when_the_view_has_seen_it() -> None:
    async def story() -> None:
        session, peer = Behind(), Watcher()
        ask = wire.Attach(1, 1, "s-x", "terminal", None, 0, True, 64 << 20)
        terminal = Terminal(session, peer, ask, 1)  # type: ignore[arg-type]
        terminal.start(0)
        await asyncio.sleep(0)
        [jump] = [each for each in peer.heard if isinstance(each, wire.Keyframe)]
        assert jump.lost > 0 and session.renders == 0, "it was not far enough behind"
        session.done = session.head - 1  # nearly
        session.arrived.set()
        for _ in range(20):
            await asyncio.sleep(0)
        assert session.renders == 0
        session.done = session.head
        session.arrived.set()
        async with asyncio.timeout(5):
            while not isinstance(peer.heard[-1], wire.Keyframe) or peer.heard[-1] is jump:
                await asyncio.sleep(0)
        assert isinstance(peer.heard[-1], wire.Keyframe)
        assert (peer.heard[-1].repaint, peer.heard[-1].offset, session.renders) == (b"state", session.head, 1)
        terminal.stop()

    asyncio.run(story())


async def whole(line: Talk, attachment: int, offset: int) -> bytes:
    """Return all bytes of an attachment from ``offset`` to the end of its session, which must be contiguous."""
    data = bytearray()
    async with asyncio.timeout(30):
        while not isinstance(message := await line.told.get(), wire.Detached):
            if isinstance(message, wire.Output):
                assert message.offset == offset + len(data), "a gap or a duplicate"
                data += message.data
                line.send(wire.Credit(attachment, len(message.data)))
    assert message.cause == "ended" and message.ending is not None and message.offset == offset + len(data)
    return bytes(data)


NUMBERS = b"".join(b"%d\r\n" % number for number in range(1, 20001))


def test_who_attaches_to_an_ended_session_and_gives_credit_at_once_gets_each_byte_once() -> None:
    """I4: nothing is sent before it is known from where on, whatever the viewer says meanwhile."""

    async def story(one: Machine, line: Talk) -> None:
        await line.open("seq", "20000", name="over")
        await line.ask(wire.WaitEnd, session="over")
        for view, offset in (("stream", 0), ("stream", 6), ("terminal", None)):
            number = 1 if offset is None else offset + 2
            line.send(wire.Attach(900 + number, number, "over", view, None, offset, True, 1 << 20))
            line.send(wire.Credit(number, 1))
            if view == "stream":
                assert offset is not None and await whole(line, number, offset) == NUMBERS[offset:]
            else:
                while isinstance(message := await line.told.get(), wire.Attached):
                    pass
                assert isinstance(message, wire.Keyframe)

    on_a_host(story)


def test_who_reads_every_byte_slowly_has_them_all_after_the_session_ended() -> None:
    """I4: the end of a session does not wait for its readers, and takes nothing from them."""

    async def story(one: Machine, line: Talk) -> None:
        await line.open("sh", "-c", "read x; exec seq 20000", name="brief")
        await line.attach("brief", "stream", offset=0, credit=1000)
        async with talk(one, client="c-other") as other:
            await other.type("brief", b"\n")
            await other.ask(wire.WaitEnd, session="brief")
            await other.ask(wire.ReadOutput, session="brief", offset=0, size=1)
        line.send(wire.Credit(1, 1))
        assert await whole(line, 1, 0) == b"\r\n" + NUMBERS

    on_a_host(story)
