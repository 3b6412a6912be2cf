"""The supervisor with real worker processes: what it promises while they are killed, stopped, poisoned and flooded."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from holdfast.core.errors import NoSuchSession, Timeout
from holdfast.core.ids import SessionId
from holdfast.host import viewlink
from holdfast.host.viewbook import CAREFUL_CHUNK, CHUNK, Book
from holdfast.host.views import Views, ViewState, ViewUnavailable, keyframe_offset
from holdfast.view.projection import Projection
from holdfast.view.protocol import Ask, Feed
from tests.view.looks import row_of
from tests.view.recordings import synthetic

ONE = SessionId("s-one")
TWO = SessionId("s-two")


class Output:
    """Output of sessions in memory; what lies before ``start`` is gone."""

    def __init__(self) -> None:
        self.data: dict[SessionId, bytearray] = {}
        self.start: dict[SessionId, int] = {}
        self.reads: list[int] = []

    async def read(self, session: SessionId, offset: int, most: int) -> tuple[int, bytes]:
        self.reads.append(most)
        offset = max(offset, self.start.get(session, 0))
        return offset, bytes(self.data[session][offset : offset + most])


class Bench:
    """Views over an ``Output``, with what they told."""

    def __init__(self) -> None:
        self.output = Output()
        self.replies: list[tuple[SessionId, int, bytes]] = []
        self.states: list[ViewState] = []
        self.views = Views(
            source=self.output,
            on_reply=lambda *reply: self.replies.append(reply),
            on_state=lambda _s, v: self.states.append(v),
        )

    async def open(self, session: SessionId = ONE, *, rows: int = 24, cols: int = 80) -> None:
        self.output.data[session] = bytearray()
        await self.views.open(session, rows=rows, cols=cols, offset=0)

    def print(self, data: bytes, session: SessionId = ONE) -> int:
        self.output.data[session] += data
        self.views.wake(session, len(self.output.data[session]))
        return len(self.output.data[session])

    async def shown(self, session: SessionId = ONE) -> list[str]:
        return list((await self.views.text(session, at_least=len(self.output.data[session]), timeout=60)).lines)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not true():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    try:
        yield made
    finally:
        pids = made.views.pids
        await made.views.close()
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def run(test: Callable[[Bench], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with bench() as made:
            await test(made)

    asyncio.run(whole())


def expected(data: bytes, *, rows: int = 24, cols: int = 80) -> list[str]:
    view = Projection(rows=rows, cols=cols, offset=0, epoch=1, now=0.0)
    view.feed(0, data, now=0.0)
    return list(view.text(0).lines)


def log_lines(count: int) -> bytes:
    return b"".join(b"line %d of a log, \x1b[3%dmcoloured\x1b[m\r\n" % (i, i % 8) for i in range(count))


def test_output_is_shown_and_queries_are_answered_by_the_offset_they_end_at() -> None:
    async def test(made: Bench) -> None:
        await made.open()
        end = made.print(b"hello \x1b[6n")
        made.print(b"world\x1b]2;title\x07\x07")
        assert (await made.shown())[0] == "hello world"
        assert made.replies == [(ONE, end, b"\x1b[1;7R")]
        await made.until(lambda: bool(made.states) and made.states[-1].title == "title")
        assert made.states[-1].bells == 1
        assert made.views.lag(ONE) == 0

    run(test)


def test_a_resize_applies_exactly_at_its_offset() -> None:
    async def test(made: Bench) -> None:
        await made.open()
        first = b"x" * 100
        made.views.resized(ONE, len(first), 24, 40)
        made.print(first + b"\r\n" + b"y" * 60)
        reference = Projection(rows=24, cols=80, offset=0, epoch=1, now=0.0)
        reference.feed(0, first, now=0.0)
        reference.resize(24, 40)
        reference.feed(reference.offset, b"\r\n" + b"y" * 60, now=0.0)
        assert await made.shown() == list(reference.text(0).lines)
        assert (await made.views.repaint(ONE)).cols == 40

    run(test)


def test_a_session_smaller_than_the_engine_may_be_keeps_its_own_size() -> None:
    async def test(made: Bench) -> None:
        await made.open(rows=2, cols=10)
        made.print(b"tiny")
        painted = await made.views.repaint(ONE, rows=2, cols=10, at_least=4)
        assert (painted.rows, painted.cols, painted.exact) == (2, 10, False)
        made.views.resized(ONE, 4, 3, 12)
        made.print(b"!")
        painted = await made.views.repaint(ONE, rows=3, cols=12, at_least=5)
        assert (painted.rows, painted.cols) == (3, 12)

    run(test)


def test_a_worker_killed_at_any_time_costs_nothing_but_time(soak: bool) -> None:
    """Also while it is asked: a crash during an attach costs a repaint."""

    async def test(made: Bench) -> None:
        await made.open()
        await made.shown()
        data = log_lines(20_000) + synthetic()["colour"]
        for turn in range(20 if soak else 3):
            made.print(data[: len(data) // 2 + turn])
            asking = asyncio.create_task(made.views.repaint(ONE, at_least=len(made.output.data[ONE]), timeout=60))
            await asyncio.sleep(0.02 * turn)
            for pid in made.views.pids:
                os.kill(pid, signal.SIGKILL)
            painted = await asking
            assert painted.offset == len(made.output.data[ONE])
            assert not painted.incomplete
        assert await made.shown() == expected(bytes(made.output.data[ONE]))
        assert made.views.crashes >= 3

    run(test)


def test_a_worker_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewlink, "HANG_S", 0.4)

    async def test(made: Bench) -> None:
        await made.open()
        made.print(b"before")
        await made.shown()
        stopped = made.views.pids[0]
        os.kill(stopped, signal.SIGSTOP)
        made.print(b" after")
        assert (await made.shown())[0] == "before after"
        assert stopped not in made.views.pids

    run(test)


POISON = b"\x1b]2;POISON\x07"
POISONED_WORKER = """
import os, signal, sys
from holdfast.view import engine, worker
feed = engine.Engine.feed
def poisoned(self, data):
    if b"POISON" in data: os.kill(os.getpid(), signal.SIGSEGV)
    return feed(self, data)
engine.Engine.feed = poisoned
sys.exit(worker.main(sys.argv[3:]))
"""


@pytest.fixture
def poisonable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make workers die of ``POISON`` as of a defect of the engine."""
    program = tmp_path / "python"
    script = tmp_path / "worker.py"
    script.write_text(POISONED_WORKER)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(viewlink.sys, "executable", str(program))


@pytest.mark.usefixtures("poisonable")
def test_output_that_kills_the_worker_twice_is_skipped_and_the_view_says_so() -> None:
    async def test(made: Bench) -> None:
        await made.open()
        await made.open(TWO)
        before, after = log_lines(1500), b"\r\nall is well\r\n" + log_lines(1500)
        made.print(b"neighbour", TWO)
        made.print(before + POISON + after)
        lines = await made.shown()
        assert lines == expected(before + after)
        assert made.views.crashes == 2
        await made.until(lambda: any(state.gaps for state in made.states))
        (gap,) = next(state.gaps for state in reversed(made.states) if state.gaps)
        assert gap.why == "crashed"
        assert gap.start <= len(before) < gap.end <= gap.start + CAREFUL_CHUNK
        assert (await made.views.repaint(ONE)).incomplete
        assert (await made.shown(TWO))[0] == "neighbour"
        assert not (await made.views.repaint(TWO)).incomplete

    run(test)


def test_output_that_is_gone_is_a_stated_gap() -> None:
    async def test(made: Bench) -> None:
        await made.open()
        made.output.data[ONE] = bytearray(b"lost" * 1000 + b"kept")
        made.output.start[ONE] = 4000
        made.views.wake(ONE, 4004)
        assert (await made.shown())[0] == "kept"
        await made.until(lambda: any(state.gaps for state in made.states))
        assert [tuple(getattr(gap, f) for f in ("start", "end", "why")) for gap in made.states[-1].gaps] == [
            (0, 4000, "gone")
        ]

    run(test)


def test_a_stored_keyframe_brings_the_view_back_in_another_host() -> None:
    async def test(made: Bench) -> None:
        await made.open()
        end = made.print(log_lines(3000) + b"\x1b[?1049h\x1b[31min a program\x1b[?2004")
        stored = await made.views.keyframe(ONE, at_least=end)
        assert keyframe_offset(stored) == end
        await made.views.open(ONE, rows=24, cols=80, offset=0, keyframe=stored)
        made.print(b"h\x1b[?1049l$ ")
        assert await made.shown() == expected(bytes(made.output.data[ONE]))
        assert all(read <= CHUNK for read in made.output.reads)
        await made.views.open(TWO, rows=24, cols=80, offset=7, keyframe=b"garbage")
        assert (await made.views.repaint(TWO)).incomplete

    run(test)


def test_subscribers_get_changed_rows_only_and_everything_after_a_crash() -> None:
    async def test(made: Bench) -> None:
        await made.open()
        made.print(b"one\r\n\x1b[1;31mtwo")
        first = await made.views.screen(ONE, token="a", at_least=len(made.output.data[ONE]))
        assert first.full
        assert len(first.rows) == 24
        made.print(b"\x1b[Hnew")
        second = await made.views.screen(ONE, token="a", at_least=len(made.output.data[ONE]))
        assert list(second.rows) == [0]
        assert (await made.views.screen(ONE, token="b")).full
        for pid in made.views.pids:
            os.kill(pid, signal.SIGKILL)
        await made.until(lambda: made.views.crashes == 1)
        third = await made.views.screen(ONE, token="a", at_least=len(made.output.data[ONE]))
        assert third.full
        assert [cell.text for cell in third.rows[1]] == ["two"]
        message = third.message(5)
        assert (message.attachment, message.size.cols, message.styles[third.rows[1][0].style].fg) == (5, 80, 1)

    run(test)


def test_a_flood_that_nobody_looks_at_is_left_behind_within_bounds() -> None:
    async def test(made: Bench) -> None:
        await made.open()
        await made.shown()
        block = log_lines(20_000)
        made.output.data[ONE] += block
        made.views.wake(ONE, len(block))
        await asyncio.sleep(0)
        lag_seen = 0
        for _ in range(30):
            made.print(block)
            await asyncio.sleep(0.02)
            lag_seen = max(lag_seen, made.views.lag(ONE))
        assert lag_seen > 4 * len(block), "it competed instead of lagging"
        assert await made.shown() == expected(
            block
        )  # whoever asks gets it all the same: the block scrolls everything off

    run(test)


def test_what_is_asked_of_a_session_that_is_closed_ends_with_that_word() -> None:
    async def test(made: Bench) -> None:
        await made.open()
        asking = asyncio.create_task(made.views.repaint(ONE, at_least=1000))
        await asyncio.sleep(0)
        made.views.close_session(ONE)
        with pytest.raises(NoSuchSession):
            await asking
        with pytest.raises(NoSuchSession):
            await made.views.text(ONE)

    run(test)


def test_waiting_for_output_that_never_comes_ends_in_time() -> None:
    async def test(made: Bench) -> None:
        await made.open()
        with pytest.raises(Timeout):
            await made.views.repaint(ONE, at_least=1000, timeout=0.2)

    run(test)


def test_without_an_engine_sessions_go_on_and_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYGHOSTTY_LIB", "/nowhere/libghostty-vt.so")

    async def test(made: Bench) -> None:
        await made.open()
        made.print(b"text")
        with pytest.raises(ViewUnavailable):
            await made.views.repaint(ONE)
        await made.open(TWO)
        with pytest.raises(ViewUnavailable):
            await made.views.text(TWO)
        assert "libghostty-vt" in made.views.notes[0]
        assert made.views.pids == ()

    run(test)


def test_many_sessions_share_workers() -> None:
    async def test(made: Bench) -> None:
        sessions = [SessionId(f"s-{i}") for i in range(70)]
        for session in sessions:
            await made.open(session)
            made.print(session.encode(), session)
        assert [(await made.shown(session))[0] for session in sessions] == sessions
        assert len(made.views.pids) == 2

    run(test)


def test_blame_falls_on_small_pieces_only() -> None:
    """The first death makes later pieces small, the second one of a small piece in that range skips just it."""
    book = Book(ONE, 1, 24, 80, kept=0, keyframe=b"", head=1 << 20)
    book.blame(Feed(1, 1, 65536, bytes(CHUNK)))
    book.sent = 65536
    assert (book.piece(), book.skip_due()) == (CAREFUL_CHUNK, 65536)
    book.blame(Feed(2, 1, 65536 + 8192, bytes(CAREFUL_CHUNK)))
    book.sent = 65536 + 8192
    assert book.skip_due() == book.sent + CAREFUL_CHUNK
    book.sent = 2 * CHUNK
    assert book.piece() == CHUNK


def test_questions_that_kill_workers_are_asked_carefully_for_a_while() -> None:
    book = Book(ONE, 1, 24, 80, kept=0, keyframe=b"", head=1 << 20)
    ask = Ask(1, 1, "repaint")
    book.blame(ask)
    assert not book.careful
    book.blame(ask)
    assert book.careful
    book.done = 1 << 17
    assert not book.careful


def test_rows_told_twice_look_the_same() -> None:
    view = Projection(rows=24, cols=80, offset=0, epoch=1, now=0.0)
    view.feed(0, synthetic()["colour"], now=0.0)
    told = view.screen(0)
    state = view.state()
    assert [row_of(told.changed[y], told.styles) for y in range(24)] == [
        row_of(row, state.styles) for row in state.shown.rows
    ]
