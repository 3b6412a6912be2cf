"""Keep a view of every session in worker processes: feed them at a pace, restore them after a crash, ask them things.

The worker may die of what a program prints, or hang on it; nobody but the view notices. It is killed, replaced, given
the last keyframe and fed again from there. Output that killed it twice is skipped and the view says so. Not here: the
process (viewlink), the engine (view).
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from holdfast.core.errors import HoldError, NoSuchSession, Timeout
from holdfast.core.ids import SessionId
from holdfast.host.viewbook import CHUNK, Book, Sized
from holdfast.host.viewlink import Link
from holdfast.host.viewtypes import Repaint, ScreenRows, Source, TextLines, ViewUnavailable
from holdfast.view import protocol
from holdfast.view.protocol import Ask, Close, Feed, Gap, Open, Order, Resize, Result, Skip, ViewState
from holdfast.view.stored import keyframe_offset
from holdfast.wire import messages as wire

__all__ = [
    "Gap", "Repaint", "ScreenRows", "Source", "TextLines", "ViewState", "ViewUnavailable", "Views", "keyframe_offset",
]  # fmt: skip

log = logging.getLogger(__name__)

LINK_WINDOW: Final = 8 * CHUNK
"""Most bytes of output on the way to one worker."""
KEYFRAME_BYTES: Final = 8 << 20
KEYFRAME_S: Final = 5.0
KEYFRAME_HISTORY: Final = 1000
"""Lines above the screen that outlive a crash of the worker; ``keyframe`` takes all."""
LAG_MAX: Final = 28 << 20
START_FAILURES_MAX: Final = 3
RESTART_S: Final = 0.5


class _WorkerLost(Exception):
    """The worker died before it answered; ask the next one."""


@dataclass(eq=False, slots=True)
class _Followed:
    """A view with what runs for it."""

    book: Book
    link: Link | None = None
    work: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    arrivals: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)
    pump: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    resting: bool = False  # left behind on purpose: doorbells do not wake it
    closed: bool = False


class Views:
    """The views of all sessions of this host. Make it inside a running loop: it starts its first worker at once."""

    def __init__(
        self,
        *,
        source: Source,
        on_reply: Callable[[SessionId, int, bytes], None],
        on_state: Callable[[SessionId, ViewState], None],
        sessions_per_worker: int = 64,
        lag_bytes_max: int = LAG_MAX,
    ) -> None:
        self._source, self._on_reply, self._on_state = source, on_reply, on_state
        self._per_worker, self._lag_max = sessions_per_worker, lag_bytes_max
        self._sessions: dict[SessionId, _Followed] = {}
        self._by_number: dict[int, _Followed] = {}
        self._links: list[Link] = []
        self._restarts: set[asyncio.TimerHandle] = set()
        self._numbers = 0
        self._failures = 0
        self._closed = False
        self.unavailable: str | None = None
        """Why there are no views on this machine, once that is known; a note for `hold doctor`."""
        self.crashes = 0
        """Workers lost since the start, however."""
        self._loop = asyncio.get_running_loop()
        self._new_link()

    # ---- what the host says ------------------------------------------------------------------------------------------

    async def open(
        self, session: SessionId, *, rows: int, cols: int, offset: int, keyframe: bytes | None = None
    ) -> None:
        """Begin a view of ``session`` at ``offset``, or from ``keyframe``, which knows its own offset.

        Returns at once; what is asked later waits. A keyframe that cannot be read costs an incomplete view.
        """
        self.close_session(session)
        start = offset if keyframe is None else keyframe_offset(keyframe, offset)
        self._numbers += 1
        lacks = keyframe is None and offset > 0
        book = Book(session, self._numbers, rows, cols, start, keyframe or b"", max(start, offset), lacks)
        view = self._sessions[session] = self._by_number[book.number] = _Followed(book)
        view.pump = asyncio.create_task(self._pump(view), name=f"{session}: view")
        self._place(view)

    def wake(self, session: SessionId, head: int) -> None:
        """There is output up to ``head``. Cheap: called on every doorbell."""
        view = self._sessions.get(session)
        if view is not None and head > view.book.head:
            view.book.head = head
            if not view.resting:
                view.work.set()

    def resized(self, session: SessionId, offset: int, rows: int, cols: int) -> None:
        """The session's terminal changed size exactly at output ``offset``."""
        view = self._sessions.get(session)
        if view is not None:
            view.book.sizes.append(Sized(offset, rows, cols))
            view.work.set()

    def close_session(self, session: SessionId) -> None:
        """Drop the view of ``session``; whoever waits for it gets NoSuchSession."""
        view = self._sessions.pop(session, None)
        if view is None:
            return
        view.closed = True
        del self._by_number[view.book.number]
        if view.pump is not None:
            view.pump.cancel()
        if view.timer is not None:
            view.timer.cancel()
        for _offset, waiting in view.arrivals:
            if not waiting.done():
                waiting.set_exception(NoSuchSession(session))
        if view.link is not None:
            view.link.sessions.discard(view.book.number)
            view.link.send(Close(view.link.seq(), view.book.number), _ignored)

    def lag(self, session: SessionId, head: int | None = None) -> int:
        """Return how many bytes of output up to ``head`` (default: the last one told) the view has not seen."""
        view = self._sessions.get(session)
        return 0 if view is None else max(0, (view.book.head if head is None else head) - view.book.done)

    def view_state(self, session: SessionId) -> ViewState | None:
        """Return what was told of ``session`` last."""
        view = self._sessions.get(session)
        return view.book.state if view is not None else None

    def unsubscribe(self, session: SessionId, token: str) -> None:
        """Forget what the subscriber ``token`` of ``screen`` was given."""
        view = self._sessions.get(session)
        if view is not None:
            view.book.subscribers.pop(token, None)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about views on this machine; empty when all is well."""
        return (f"no screens: {self.unavailable}",) if self.unavailable is not None else ()

    def ready(self, session: SessionId) -> bool:
        """Tell whether the view of ``session`` is open in a worker: what is asked of it is answered at once."""
        view = self._sessions.get(session)
        return view is not None and view.book.opened

    def kept(self, session: SessionId) -> tuple[int, bytes] | None:
        """Return the newest keyframe of ``session`` and its offset, for the host to store; None if there is none
        yet.
        """
        view = self._sessions.get(session)
        return (view.book.kept, view.book.keyframe) if view is not None and view.book.keyframe else None

    @property
    def pids(self) -> tuple[int, ...]:
        """The worker processes that run now."""
        return tuple(link.pid for link in self._links if link.pid and not link.gone)

    async def close(self) -> None:
        """End all views and their workers."""
        self._closed = True
        pumps = [view.pump for view in self._sessions.values() if view.pump is not None]
        for session in list(self._sessions):
            self.close_session(session)
        await asyncio.gather(*pumps, return_exceptions=True)
        for handle in self._restarts:
            handle.cancel()
        for link in self._links:
            await link.close()
        self._links.clear()

    # ---- what the host asks ------------------------------------------------------------------------------------------

    async def reach(self, session: SessionId, offset: int, *, timeout: float = 10.0) -> int:
        """Wait until the view has seen output up to ``offset``, and return how far it is by then. Nothing is rendered.

        Raises Timeout, NoSuchSession, ViewUnavailable.
        """
        view = self._known(session)
        async with self._hurried(view, timeout):
            await self._arrival(view, offset)
        return view.book.done

    async def repaint(
        self, session: SessionId, *, rows: int = 0, cols: int = 0, at_least: int | None = None, timeout: float = 10.0
    ) -> Repaint:
        """Return what brings a terminal of ``rows`` by ``cols`` (0: the session's size) to the view's present state.

        ``at_least``: not before the view has seen output up to there. A worker that dies meanwhile costs a retry.
        Raises Timeout, NoSuchSession, ViewUnavailable.
        """
        ask = {"what": "repaint", "rows": rows, "cols": cols}
        got: protocol.Painted = await self._asked(session, ask, protocol.Painted, at_least, timeout)
        size = self._known(session).book.size_of(got.rows, got.cols)
        exact = (rows or got.rows, cols or got.cols) == size == (got.rows, got.cols)
        return Repaint(got.offset, got.data, *size, exact, got.incomplete)

    async def screen(
        self,
        session: SessionId,
        *,
        token: str = "",
        full: bool = False,
        at_least: int | None = None,
        timeout: float = 10.0,
    ) -> ScreenRows:
        """Return the rows that changed since the last answer to the subscriber ``token``; all if ``full`` or its first.

        A worker that died since then costs the subscriber a full screen. ``unsubscribe`` forgets the token.
        """
        subscribers = self._known(session).book.subscribers
        since = 0 if full or not token else subscribers.get(token, 0)
        ask = {"what": "screen", "since": since}
        got: protocol.Rows = await self._asked(session, ask, protocol.Rows, at_least, timeout)
        if token:
            subscribers[token] = got.token
        rows = {
            y: tuple(wire.Cell(run.text or " " * run.width, run.style, run.width) for run in row.runs)
            for y, row in got.changed.items()
        }
        return ScreenRows(
            offset=got.offset, size=wire.Size(got.rows, got.cols), full=got.full, rows=rows,
            styles=tuple(wire.Style(*style) for style in got.styles), cursor=got.cursor, modes=got.modes,
            title=got.title, alternate=got.on_alternate, incomplete=got.incomplete,
        )  # fmt: skip

    async def text(
        self, session: SessionId, history: int = 0, *, at_least: int | None = None, timeout: float = 10.0
    ) -> TextLines:
        """Return the screen as plain text below up to ``history`` lines of what scrolled off it."""
        ask = {"what": "text", "history": history}
        got: protocol.Text = await self._asked(session, ask, protocol.Text, at_least, timeout)
        return TextLines(got.offset, got.lines, got.cursor, got.title)

    async def keyframe(
        self, session: SessionId, *, history: int = 10_000, at_least: int | None = None, timeout: float = 10.0
    ) -> bytes:
        """Return the view's state in the form to be stored and given to ``open``; ``keyframe_offset`` reads where."""
        ask = {"what": "keyframe", "history": history}
        got: protocol.Kept = await self._asked(session, ask, protocol.Kept, at_least, timeout)
        return got.keyframe

    async def _asked(
        self, session: SessionId, ask: dict[str, Any], kind: type[Any], at_least: int | None, timeout: float
    ) -> Any:
        view = self._known(session)
        async with self._hurried(view, timeout):
            while True:
                await self._arrival(view, at_least)
                try:
                    return msgspec.msgpack.decode(await self._answer(view, ask), type=kind)
                except _WorkerLost:
                    continue

    @contextlib.asynccontextmanager
    async def _hurried(self, view: _Followed, timeout: float) -> AsyncIterator[None]:
        """Somebody waits for ``view`` while this lasts. Raises Timeout."""
        view.book.hurried += 1
        view.hurry.set()
        try:
            async with asyncio.timeout(timeout):
                yield
        except TimeoutError:
            raise Timeout(
                f"the view of session {view.book.id} did not answer within {timeout:.0f} s; the session is not touched",
                do="try again: the view may be catching up with much output, or be restored after a crash",
                session=view.book.id,
                lag=self.lag(view.book.id),
            ) from None
        finally:
            view.book.hurried -= 1
            if not view.book.hurried:
                view.hurry.clear()

    async def _arrival(self, view: _Followed, at_least: int | None) -> None:
        """Wait until ``view`` is open in a worker and has seen output up to ``at_least``."""
        while True:
            if self.unavailable is not None:
                raise ViewUnavailable(self.unavailable)
            if view.closed:
                raise NoSuchSession(view.book.id)
            if view.book.opened and (at_least is None or view.book.done >= at_least):
                return
            waiting: asyncio.Future[None] = self._loop.create_future()
            view.arrivals.append((at_least or 0, waiting))
            await waiting

    def _arrived(self, view: _Followed) -> None:
        """Wake who waits for what is there now."""
        book = view.book
        still: list[tuple[int, asyncio.Future[None]]] = []
        for offset, waiting in view.arrivals:
            if waiting.done():
                continue
            if (book.opened and book.done >= offset) or self.unavailable is not None:
                waiting.set_result(None)
            else:
                still.append((offset, waiting))
        view.arrivals = still

    async def _answer(self, view: _Followed, ask: dict[str, Any]) -> bytes:
        link, book = view.link, view.book
        if link is None:
            raise _WorkerLost
        life = book.life
        waiting: asyncio.Future[Result] = self._loop.create_future()
        order = Ask(link.seq(), book.number, careful=book.careful, **ask)

        def answered(result: Result) -> None:
            if not waiting.done():
                waiting.set_result(result)

        def lost() -> None:
            if not waiting.done():
                waiting.set_exception(_WorkerLost())

        link.send(order, answered, lost)
        result = await waiting
        if result.error:
            if book.life != life:
                raise _WorkerLost
            raise HoldError(
                f"the view of session {book.id} failed ({result.error}); the session is not touched",
                do="please report this with `hold info --json`; the raw stream is not affected",
            )
        book.answered(order)
        return result.body

    def _known(self, session: SessionId) -> _Followed:
        view = self._sessions.get(session)
        if view is None:
            raise NoSuchSession(session)
        return view

    # ---- workers -----------------------------------------------------------------------------------------------------

    def _new_link(self) -> Link:
        link = Link(ready=self._ready, lost=self._lost, changed=self._changed)
        self._links.append(link)
        link.start()
        return link

    def _place(self, view: _Followed) -> None:
        """Give ``view`` to the worker with the fewest views, or to a new one."""
        if self.unavailable is not None:
            return
        link = min((link for link in self._links if not link.gone), key=lambda link: len(link.sessions), default=None)
        if link is None or len(link.sessions) >= self._per_worker:
            link = self._new_link()
        link.sessions.add(view.book.number)
        view.link = link
        if link.ready:
            self._begin(view)

    def _ready(self, link: Link) -> None:
        self._failures = 0
        for number in sorted(link.sessions):
            self._begin(self._by_number[number])

    def _begin(self, view: _Followed) -> None:
        """Open ``view`` in its worker, from its keyframe, and feed it again from there."""
        link, book = view.link, view.book
        if link is None:
            return
        book.begin()
        life = book.life

        def opened(result: Result) -> None:
            if view.closed or book.life != life:
                return
            if result.error:
                if not book.keyframe:  # an empty view that cannot be opened is our own defect: say so to who asks
                    log.error("%s: no view (%s)", book.id, result.error)
                    return
                book.without_keyframe()
                self._begin(view)
                return
            book.opened = True
            view.work.set()
            self._arrived(view)

        link.send(
            Open(link.seq(), book.number, book.rows, book.cols, book.kept, book.keyframe, book.incomplete), opened
        )

    def _lost(self, link: Link, order: Order | None, why: str) -> None:
        """A worker is gone. Blame what it worked on, and give its views to the next one."""
        self._links.remove(link)
        if self._closed:
            return
        self.crashes += 1
        homeless = [self._by_number[number] for number in sorted(link.sessions) if number in self._by_number]
        for view in homeless:
            view.link = None
            view.book.begin()
        if not link.started:
            self._failures += 1
            if link.error or self._failures >= START_FAILURES_MAX:
                self.unavailable = link.error or f"the view worker does not start: {why}"
                log.error("no views: %s", self.unavailable)
                for view in self._sessions.values():
                    self._arrived(view)
                return
        if order is not None:
            guilty = self._by_number.get(order.session)
            log.warning("a view worker is gone (%s) at %s of %s", why, type(order).__name__, guilty and guilty.book.id)
            if guilty is not None:
                guilty.book.blame(order)
        self._later(RESTART_S * self._failures, lambda: self._resettle(homeless))

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        def due() -> None:
            self._restarts.discard(handle)
            act()

        handle = self._loop.call_later(seconds, due)
        self._restarts.add(handle)

    def _resettle(self, homeless: list[_Followed]) -> None:
        if not self._links:
            self._new_link()
        for view in homeless:
            if not view.closed and view.link is None:
                self._place(view)

    def _changed(self, number: int, state: ViewState) -> None:
        view = self._by_number.get(number)
        if view is not None:
            view.book.state = state
            self._on_state(view.book.id, state)

    # ---- feeding -----------------------------------------------------------------------------------------------------

    async def _pump(self, view: _Followed) -> None:
        """Feed one view for as long as it lives: at once while output trickles, late while it floods unseen."""
        book = view.book
        while True:
            link = view.link
            if link is None or not book.opened:
                await self._until_work(view)
                continue
            size = book.size_due()
            if size is not None:
                link.send(Resize(link.seq(), book.number, size.rows, size.cols), _ignored)
            elif book.skip_due() > book.sent:
                self._skip(view, link, book.skip_due(), "crashed")
            elif book.sent >= book.head or book.full() or link.bytes_out >= LINK_WINDOW:
                await self._until_work(view)
            elif (delay := book.delay(self._loop.time(), self._lag_max)) > 0:
                await self._rest(view, delay)
            elif not await self._feed(view, link):
                await self._until_work(view)

    @staticmethod
    async def _until_work(view: _Followed) -> None:
        view.work.clear()
        await view.work.wait()

    @staticmethod
    async def _rest(view: _Followed, seconds: float) -> None:
        """Leave a flooding view behind for a moment, unless somebody begins to wait for it."""
        view.resting = True
        try:
            await asyncio.wait_for(view.hurry.wait(), seconds)
        except TimeoutError:
            pass
        finally:
            view.resting = False

    async def _feed(self, view: _Followed, link: Link) -> bool:
        """Send the next piece; False if there was none to be had."""
        book = view.book
        life, start = book.life, book.sent
        offset, data = await self._source.read(book.id, start, book.piece())
        if book.life != life or view.link is not link:
            return True  # fed anew from the keyframe meanwhile
        if offset > start:
            self._skip(view, link, offset, "gone")
        data = bytes(data[: book.boundary(offset) - offset])
        if not data:
            return offset > start
        book.sent = offset + len(data)
        book.head = max(book.head, book.sent)
        link.bytes_out += len(data)
        order = Feed(link.seq(), book.number, offset, data)
        link.send(order, lambda result: self._fed(view, link, life, order, result))
        return True

    def _skip(self, view: _Followed, link: Link, end: int, why: str) -> None:
        book = view.book
        start, life = book.sent, book.life
        book.sent = end

        def skipped(_result: Result) -> None:
            if book.life == life:
                book.done = max(book.done, end)
                self._arrived(view)

        link.send(Skip(link.seq(), book.number, start, end, why), skipped)

    def _fed(self, view: _Followed, link: Link, life: int, order: Feed, result: Result) -> None:
        was_full = link.bytes_out >= LINK_WINDOW
        link.bytes_out -= len(order.data)
        if was_full and link.bytes_out < LINK_WINDOW:
            for number in link.sessions:
                self._by_number[number].work.set()
        book = view.book
        if view.closed or book.life != life:
            return
        if result.error:  # it killed nobody, but the view is not what it should be: begin again, then do without
            log.warning("%s: its view failed at %d (%s)", book.id, order.offset, result.error)
            book.blame(order)
            self._begin(view)
            return
        book.done = order.offset + len(order.data)
        view.work.set()
        for end, reply in result.replies:
            if end > book.replied:
                book.replied = end
                self._on_reply(book.id, end, reply)
        self._arrived(view)
        if book.done - book.kept >= KEYFRAME_BYTES:
            self._keep(view)
        elif view.timer is None:
            view.timer = self._loop.call_later(KEYFRAME_S, self._keep_later, view)

    def _keep_later(self, view: _Followed) -> None:
        view.timer = None
        if view.book.done > view.book.kept:
            self._keep(view)

    def _keep(self, view: _Followed) -> None:
        """Have a keyframe made, so that a crash costs no more than what came after it."""
        link, book = view.link, view.book
        if book.keeping or view.closed or not book.opened or link is None:
            return
        book.keeping = True
        life, sizes = book.life, book.sizes_sent
        order = Ask(link.seq(), book.number, "keyframe", history=KEYFRAME_HISTORY, careful=book.careful)

        def kept(result: Result) -> None:
            if view.closed or book.life != life:
                return
            book.keeping = False
            if not result.error:
                made = msgspec.msgpack.decode(result.body, type=protocol.Kept)
                book.keep(made.offset, made.keyframe, sizes)
                book.answered(order)

        link.send(order, kept)


def _ignored(_result: Result) -> None:
    pass
