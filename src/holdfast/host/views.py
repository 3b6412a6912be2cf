"""Keep a view of every session in worker processes: feed them at a pace, restore them after a crash, ask them things.

The worker may die of what a program prints, or hang on it; nobody but the view notices. It is killed, replaced, given the
last keyframe and fed again from there. Output that killed it twice is skipped and the view says so. Not here: the
process (viewlink), the engine (view).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from holdfast.core.errors import HoldError, NoSuchSession, Timeout
from holdfast.core.ids import SessionId
from holdfast.host.viewlink import Link
from holdfast.view import protocol
from holdfast.view.stored import keyframe_offset
from holdfast.view.protocol import Ask, Close, Feed, Gap, Open, Order, Resize, Result, ViewState
from holdfast.wire import messages as wire

__all__ = ["Gap", "Repaint", "ScreenRows", "Source", "TextLines", "ViewState", "ViewUnavailable", "Views", "keyframe_offset"]

CHUNK: Final = 65536
CAREFUL_CHUNK: Final = 4096
"""Size of what is fed where a worker died before, so that no more than this has to be skipped."""
SESSION_WINDOW: Final = 4 * CHUNK
LINK_WINDOW: Final = 8 * CHUNK
KEYFRAME_BYTES: Final = 1 << 20
KEYFRAME_S: Final = 5.0
KEYFRAME_HISTORY: Final = 1000
"""Lines above the screen that outlive a crash of the worker; ``keyframe`` takes all."""
LAG_MAX: Final = 16 << 20
FLOOD_BYTES: Final = 1 << 20
FLOOD_S: Final = 0.1
START_FAILURES_MAX: Final = 3
RESTART_S: Final = 0.5


class ViewUnavailable(HoldError):
    """There is no terminal engine on this machine, or it does not start. Sessions and raw streams are not touched."""

    code = "view-unavailable"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"this host cannot show screens ({why}); sessions run on and their output can be read as a stream",
            do="`hold doctor` says what is missing; `pip install pyghostty==0.1.3` where a wheel exists",
        )


class Source(Protocol):
    """Where output comes from: the host's archive and ring as one."""

    async def read(self, session: SessionId, offset: int, most: int) -> tuple[int, bytes]:
        """Return up to ``most`` bytes and where they begin: later than ``offset`` if what lies between is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Repaint:
    """``data`` brings a terminal of the size asked for to the state at ``offset``. ``rows``, ``cols``: the session's.

    ``exact``: output from ``offset`` may follow. Otherwise the sizes differ: the picture is cropped, and the next repaint
    has to follow. ``incomplete``: some output was never seen, so the picture may be wrong until the program redraws.
    """

    offset: int
    data: bytes
    rows: int
    cols: int
    exact: bool
    incomplete: bool


@dataclass(frozen=True, slots=True)
class ScreenRows:
    """Rows that changed since the subscriber's last answer. Fields as in wire Rows."""

    offset: int
    size: wire.Size
    full: bool
    rows: dict[int, tuple[wire.Cell, ...]]
    styles: tuple[wire.Style, ...]
    cursor: tuple[int, int, bool]
    modes: dict[str, bool]
    title: str
    alternate: bool
    incomplete: bool

    def message(self, attachment: int) -> wire.Rows:
        """Return the message of the ``screen`` view for ``attachment``."""
        return wire.Rows(
            attachment=attachment, offset=self.offset, size=self.size, full=self.full, rows=self.rows, styles=self.styles,
            cursor=self.cursor, modes=self.modes, title=self.title, alternate=self.alternate,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class TextLines:
    offset: int
    lines: tuple[str, ...]
    cursor: tuple[int, int]
    title: str


class _WorkerLost(Exception):
    """The worker died before it answered; ask the next one."""


@dataclass(slots=True)
class _Resize:
    offset: int
    rows: int
    cols: int


@dataclass(eq=False, slots=True)
class _Session:
    """What the supervisor knows of one view. Offsets: ``sent`` <= ``head``, ``done`` <= ``sent``, ``kept`` <= ``done``."""

    id: SessionId
    number: int
    rows: int
    cols: int
    kept: int  # offset of the keyframe
    keyframe: bytes
    head: int
    sent: int = 0
    done: int = 0
    kept_resizes: int = 0  # how many of ``resizes`` the keyframe has seen
    sent_resizes: int = 0
    incomplete: bool = False
    resizes: list[_Resize] = field(default_factory=list)
    subscribers: dict[str, int] = field(default_factory=dict)
    skips: list[tuple[int, int]] = field(default_factory=list)
    suspect: tuple[int, int] = (0, 0)  # a worker died in this range once
    deaths: dict[str, int] = field(default_factory=dict)  # by kind of order
    replied: int = 0
    life: int = 0  # rises whenever feeding starts over; what was read for an earlier life is dropped
    opened: bool = False
    hurried: int = 0  # how many wait for it
    link: Link | None = None
    work: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    arrivals: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)
    pump: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    keeping: bool = False
    seen_at: float = 0.0  # pace: a mark of when ``seen`` was the head
    seen: int = 0
    flooding: bool = False
    closed: bool = False
    state: ViewState | None = None


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
        self._sessions: dict[SessionId, _Session] = {}
        self._by_number: dict[int, _Session] = {}
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
        start = (offset if keyframe is None else keyframe_offset(keyframe, offset))
        self._numbers += 1
        made = _Session(session, self._numbers, rows, cols, start, keyframe or b"", head=max(start, offset))
        made.sent = made.done = made.seen = made.replied = start
        made.incomplete = keyframe is None and offset > 0
        self._sessions[session] = self._by_number[made.number] = made
        made.pump = asyncio.create_task(self._pump(made), name=f"{session}: view")
        self._place(made)

    def wake(self, session: SessionId, head: int) -> None:
        """There is output up to ``head``. Cheap: called on every doorbell."""
        known = self._sessions.get(session)
        if known is not None and head > known.head:
            known.head = head
            if not known.flooding:
                known.work.set()

    def resized(self, session: SessionId, offset: int, rows: int, cols: int) -> None:
        """The session's terminal changed size exactly at output ``offset``."""
        known = self._sessions.get(session)
        if known is not None:
            known.resizes.append(_Resize(offset, rows, cols))
            known.work.set()

    def close_session(self, session: SessionId) -> None:
        """Drop the view of ``session``; whoever waits for it gets NoSuchSession."""
        known = self._sessions.pop(session, None)
        if known is None:
            return
        known.closed = True
        del self._by_number[known.number]
        if known.pump is not None:
            known.pump.cancel()
        if known.timer is not None:
            known.timer.cancel()
        for _offset, waiting in known.arrivals:
            if not waiting.done():
                waiting.set_exception(NoSuchSession(session))
        if known.link is not None:
            known.link.sessions.discard(known.number)
            known.link.send(Close(known.link.seq(), known.number), lambda _result: None)

    def lag(self, session: SessionId, head: int | None = None) -> int:
        """Return how many bytes of output up to ``head`` (default: the last one told) the view has not seen."""
        known = self._sessions.get(session)
        return 0 if known is None else max(0, (known.head if head is None else head) - known.done)

    def view_state(self, session: SessionId) -> ViewState | None:
        """Return what was told of ``session`` last."""
        known = self._sessions.get(session)
        return known.state if known is not None else None

    def kept(self, session: SessionId) -> tuple[int, bytes] | None:
        """Return the newest keyframe of ``session`` and its offset, for the host to store; None if there is none yet."""
        known = self._sessions.get(session)
        return (known.kept, known.keyframe) if known is not None and known.keyframe else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about views on this machine; empty when all is well."""
        return (f"no screens: {self.unavailable}",) if self.unavailable is not None else ()

    @property
    def pids(self) -> tuple[int, ...]:
        """The worker processes that run now."""
        return tuple(link.pid for link in self._links if link.pid and not link.gone)

    async def close(self) -> None:
        """End all views and their workers."""
        self._closed = True
        for session in list(self._sessions):
            known = self._sessions[session]
            known.link = None
            self.close_session(session)
            if known.pump is not None:
                await asyncio.gather(known.pump, return_exceptions=True)
        for handle in self._restarts:
            handle.cancel()
        for link in self._links:
            await link.close()
        self._links.clear()

    # ---- what the host asks ------------------------------------------------------------------------------------------

    async def repaint(
        self, session: SessionId, *, rows: int = 0, cols: int = 0, at_least: int | None = None, timeout: float = 10.0
    ) -> Repaint:
        """Return what brings a terminal of ``rows`` by ``cols`` (0: the session's size) to the view's present state.

        ``at_least``: not before the view has seen output up to there. A worker that dies meanwhile costs a retry. Raises
        Timeout, NoSuchSession, ViewUnavailable.
        """
        ask = {"what": "repaint", "rows": rows, "cols": cols}
        got = await self._asked(session, ask, protocol.Painted, at_least, timeout)
        exact = (rows or got.rows, cols or got.cols) == (got.rows, got.cols)
        return Repaint(got.offset, got.data, got.rows, got.cols, exact, got.incomplete)

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
        known = self._known(session)
        since = 0 if full or not token else known.subscribers.get(token, 0)
        got = await self._asked(session, {"what": "screen", "since": since}, protocol.Rows, at_least, timeout)
        if token:
            known.subscribers[token] = got.token
        rows = {
            y: tuple(wire.Cell(run.text or " " * run.width, run.style, run.width) for run in row.runs)
            for y, row in got.changed.items()
        }
        return ScreenRows(
            offset=got.offset, size=wire.Size(got.rows, got.cols), full=got.full, rows=rows,
            styles=tuple(wire.Style(*style) for style in got.styles), cursor=got.cursor, modes=got.modes,
            title=got.title, alternate=got.on_alternate, incomplete=got.incomplete,
        )  # fmt: skip

    def unsubscribe(self, session: SessionId, token: str) -> None:
        """Forget what the subscriber ``token`` was given."""
        known = self._sessions.get(session)
        if known is not None:
            known.subscribers.pop(token, None)

    async def text(
        self, session: SessionId, history: int = 0, *, at_least: int | None = None, timeout: float = 10.0
    ) -> TextLines:
        """Return the screen as plain text below up to ``history`` lines of what scrolled off it."""
        got = await self._asked(session, {"what": "text", "history": history}, protocol.Text, at_least, timeout)
        return TextLines(got.offset, got.lines, got.cursor, got.title)

    async def keyframe(
        self, session: SessionId, *, history: int = 10_000, at_least: int | None = None, timeout: float = 10.0
    ) -> bytes:
        """Return the view's state in the form to be stored and given to ``open``; ``keyframe_offset`` reads its offset."""
        got = await self._asked(session, {"what": "keyframe", "history": history}, protocol.Kept, at_least, timeout)
        return bytes(got.keyframe)

    async def _asked(
        self, session: SessionId, ask: dict[str, Any], kind: type[Any], at_least: int | None, timeout: float
    ) -> Any:
        known = self._known(session)
        known.hurried += 1
        known.hurry.set()
        try:
            async with asyncio.timeout(timeout):
                while True:
                    if self.unavailable is not None:
                        raise ViewUnavailable(self.unavailable)
                    try:
                        await self._arrival(known, at_least)
                        return msgspec.msgpack.decode(await self._answer(known, ask), type=kind)
                    except _WorkerLost:
                        continue
        except TimeoutError:
            raise Timeout(
                f"the view of session {session} did not answer within {timeout:.0f} s; the session is not touched",
                do="try again: the view may be catching up with much output, or be restored after a crash",
                session=session,
                lag=self.lag(session),
            ) from None
        finally:
            known.hurried -= 1
            if not known.hurried:
                known.hurry.clear()

    async def _arrival(self, known: _Session, at_least: int | None) -> None:
        """Wait until ``known`` is open in a worker and has seen output up to ``at_least``."""
        while not known.opened or (at_least is not None and known.done < at_least):
            if known.closed:
                raise NoSuchSession(known.id)
            if self.unavailable is not None:
                raise ViewUnavailable(self.unavailable)
            waiting: asyncio.Future[None] = self._loop.create_future()
            known.arrivals.append((at_least or 0, waiting))
            await waiting

    def _arrived(self, known: _Session) -> None:
        """Wake who waits for what is there now."""
        if not known.arrivals:
            return
        still: list[tuple[int, asyncio.Future[None]]] = []
        for offset, waiting in known.arrivals:
            if waiting.done():
                continue
            if (known.opened and known.done >= offset) or self.unavailable is not None:
                waiting.set_result(None)
            else:
                still.append((offset, waiting))
        known.arrivals = still

    async def _answer(self, known: _Session, ask: dict[str, Any]) -> bytes:
        link = known.link
        if link is None or not known.opened:
            raise _WorkerLost
        life = known.life
        waiting: asyncio.Future[Result] = self._loop.create_future()

        def answered(result: Result) -> None:
            if not waiting.done():
                waiting.set_result(result)

        def lost() -> None:
            if not waiting.done():
                waiting.set_exception(_WorkerLost())

        careful = known.deaths.get("ask", 0) >= 2
        link.send(Ask(link.seq(), known.number, careful=careful, **ask), answered, lost)
        result = await waiting
        if result.error:
            if known.life != life:
                raise _WorkerLost
            raise HoldError(
                f"the view of session {known.id} failed ({result.error}); the session is not touched",
                do="please report this with `hold info --json`; the raw stream is not affected",
            )
        return result.body

    def _known(self, session: SessionId) -> _Session:
        known = self._sessions.get(session)
        if known is None:
            raise NoSuchSession(session)
        return known

    # ---- workers -----------------------------------------------------------------------------------------------------

    def _new_link(self) -> Link:
        link = Link(ready=self._ready, lost=self._lost, changed=self._changed)
        self._links.append(link)
        link.start()
        return link

    def _place(self, known: _Session) -> None:
        """Give ``known`` to the worker with the fewest views, or to a new one."""
        link = min((link for link in self._links if not link.gone), key=lambda link: len(link.sessions), default=None)
        if link is None or len(link.sessions) >= self._per_worker:
            if self.unavailable is not None:
                return
            link = self._new_link()
        link.sessions.add(known.number)
        known.link = link
        if link.ready:
            self._begin(known)

    def _ready(self, link: Link) -> None:
        self._failures = 0
        for number in sorted(link.sessions):
            self._begin(self._by_number[number])

    def _begin(self, known: _Session) -> None:
        """Open ``known`` in its worker, from its keyframe, and feed it again from there."""
        link = known.link
        if link is None:
            return
        known.life += 1
        life = known.life
        known.opened = False
        known.sent = known.done = known.kept
        known.sent_resizes = known.kept_resizes

        def opened(result: Result) -> None:
            if known.closed or known.life != life:
                return
            if result.error:
                self._without_keyframe(known)
                self._begin(known)
                return
            known.opened = True
            known.work.set()
            self._arrived(known)

        order = Open(link.seq(), known.number, known.rows, known.cols, known.kept, known.keyframe, known.incomplete)
        link.send(order, opened)

    @staticmethod
    def _without_keyframe(known: _Session) -> None:
        known.keyframe, known.incomplete = b"", True

    def _lost(self, link: Link, order: Order | None, why: str) -> None:
        """A worker is gone. Blame what it worked on, and give its sessions to the next one."""
        if link in self._links:
            self._links.remove(link)
        if self._closed:
            return
        self.crashes += 1
        homeless = [self._by_number[number] for number in sorted(link.sessions) if number in self._by_number]
        for known in homeless:
            known.link, known.opened, known.keeping = None, False, False
            known.life += 1
        if not link.ready and order is None and not link.was_ready:
            self._failures += 1
            if link.error or self._failures >= START_FAILURES_MAX:
                self._give_up(link.error or f"the view worker does not start: {why}", homeless)
                return
        elif order is not None:
            self._blame(order)
        handle: list[asyncio.TimerHandle] = []

        def again() -> None:
            self._restarts.discard(handle[0])
            if not self._links:
                self._new_link()
            for known in homeless:
                if not known.closed and known.link is None:
                    self._place(known)

        handle.append(self._loop.call_later(RESTART_S * self._failures, again))
        self._restarts.add(handle[0])

    def _give_up(self, why: str, homeless: list[_Session]) -> None:
        self.unavailable = why
        for known in homeless:
            self._arrived(known)

    def _blame(self, order: Order) -> None:
        """Note what killed a worker, so that the second time it is done without."""
        known = self._by_number.get(order.session)
        if known is None:
            return
        kind = "feed" if isinstance(order, Feed) else "ask" if isinstance(order, Ask) else "open"
        known.deaths[kind] = known.deaths.get(kind, 0) + 1
        if isinstance(order, Feed):
            start, end = order.offset, order.offset + len(order.data)
            if end - start <= CAREFUL_CHUNK and known.suspect[0] <= start < known.suspect[1]:
                known.skips.append((start, end))
            else:
                known.suspect = start, end
        elif isinstance(order, Resize):
            if known.deaths[kind] >= 2:  # begin anew behind it, in the new size
                at = known.resizes[known.kept_resizes].offset if known.kept_resizes < len(known.resizes) else known.kept
                known.resizes = [later for later in known.resizes if later.offset > at]
                known.kept_resizes = 0
                known.kept, known.rows, known.cols = at, order.rows, order.cols
                self._without_keyframe(known)
        elif isinstance(order, Open) and known.deaths[kind] >= 2:
            self._without_keyframe(known)

    def _changed(self, number: int, state: ViewState) -> None:
        known = self._by_number.get(number)
        if known is not None:
            known.state = state
            self._on_state(known.id, state)

    # ---- feeding -----------------------------------------------------------------------------------------------------

    async def _pump(self, known: _Session) -> None:
        """Feed one view for as long as it lives: at once while output trickles, late while it floods and nobody looks."""
        while True:
            link = known.link
            if link is None or not known.opened:
                await self._until_work(known)
            elif self._resize_due(known, link):
                continue
            elif known.sent >= known.head or self._full(known, link):
                await self._until_work(known)
            elif (delay := self._delay(known)) > 0:
                known.flooding = True
                try:
                    await asyncio.wait_for(known.hurry.wait(), delay)
                except TimeoutError:
                    pass
                known.flooding = False
            elif not await self._feed(known, link):
                await self._until_work(known)

    @staticmethod
    async def _until_work(known: _Session) -> None:
        known.work.clear()
        await known.work.wait()

    @staticmethod
    def _full(known: _Session, link: Link) -> bool:
        return known.sent - known.done >= SESSION_WINDOW or link.bytes_out >= LINK_WINDOW

    def _delay(self, known: _Session) -> float:
        """Return for how many seconds to leave ``known`` behind: while it floods, nobody waits and the lag is bearable."""
        if known.hurried or known.head - known.sent >= self._lag_max:
            return 0.0
        now = self._loop.time()
        age = now - known.seen_at
        if age >= FLOOD_S:
            flood = known.head - known.seen >= FLOOD_BYTES * max(1.0, age / FLOOD_S / 4) and age < 10 * FLOOD_S
            known.seen_at, known.seen = now, known.head
            return FLOOD_S if flood else 0.0
        return FLOOD_S - age if known.head - known.seen >= FLOOD_BYTES else 0.0

    def _resize_due(self, known: _Session, link: Link) -> bool:
        if known.sent_resizes >= len(known.resizes) or known.resizes[known.sent_resizes].offset > known.sent:
            return False
        due = known.resizes[known.sent_resizes]
        known.sent_resizes += 1
        link.send(Resize(link.seq(), known.number, due.rows, due.cols), lambda _result: None)
        return True

    async def _feed(self, known: _Session, link: Link) -> bool:
        """Send the next piece; False if there was none to be had."""
        life, start = known.life, known.sent
        most = self._piece(known)
        if most < 0:
            self._skip(known, link, start, start - most, "crashed")
            return True
        offset, data = await self._source.read(known.id, start, most)
        if known.life != life or known.link is not link:
            return True  # fed anew from the keyframe meanwhile
        if offset > start:
            self._skip(known, link, start, offset, "gone")
        if not data:
            return offset > start
        limit = self._boundary(known, offset)
        data = bytes(data[: limit - offset]) if limit < offset + len(data) else data
        if not data:
            return True
        known.sent = offset + len(data)
        known.head = max(known.head, known.sent)
        link.bytes_out += len(data)
        order = Feed(link.seq(), known.number, offset, data)

        def fed(result: Result) -> None:
            self._fed(known, link, life, order, result)

        link.send(order, fed)
        return True

    def _piece(self, known: _Session) -> int:
        """Return how much may be fed next; negative: that much is to be skipped."""
        for start, end in known.skips:
            if start <= known.sent < end:
                return known.sent - end
        careful = known.suspect[0] <= known.sent < known.suspect[1]
        most = CAREFUL_CHUNK if careful else CHUNK
        return min(most, self._boundary(known, known.sent) - known.sent, known.head - known.sent)

    @staticmethod
    def _boundary(known: _Session, offset: int) -> int:
        """Return the offset that one piece from ``offset`` on must not go beyond."""
        after = [start for start, _end in known.skips if start > offset]
        after += [known.suspect[0]] if known.suspect[0] > offset else []
        after += [resize.offset for resize in known.resizes[known.sent_resizes :][:1]]
        return min(after, default=1 << 62)

    def _skip(self, known: _Session, link: Link, start: int, end: int, why: str) -> None:
        known.sent = end
        life = known.life

        def skipped(_result: Result) -> None:
            if known.life == life:
                known.done = max(known.done, end)
                self._arrived(known)

        link.send(protocol.Skip(link.seq(), known.number, start, end, why), skipped)

    def _fed(self, known: _Session, link: Link, life: int, order: Feed, result: Result) -> None:
        link.bytes_out -= len(order.data)
        if link.bytes_out < LINK_WINDOW <= link.bytes_out + len(order.data):
            for number in link.sessions:
                self._by_number[number].work.set()
        if known.closed or known.life != life:
            return
        if result.error:
            self._blame(order)  # an error of the engine that killed nobody: begin again, then do without
            self._begin(known)
            return
        known.done = order.offset + len(order.data)
        known.work.set()
        for end, reply in result.replies:
            if end > known.replied:
                known.replied = end
                self._on_reply(known.id, end, reply)
        self._arrived(known)
        if known.done - known.kept >= KEYFRAME_BYTES:
            self._keep(known)
        elif known.timer is None:
            known.timer = self._loop.call_later(KEYFRAME_S, self._keep_later, known)

    def _keep_later(self, known: _Session) -> None:
        known.timer = None
        if known.done > known.kept:
            self._keep(known)

    def _keep(self, known: _Session) -> None:
        """Have a keyframe made, so that a crash costs no more than what came after it."""
        link = known.link
        if known.keeping or known.closed or not known.opened or link is None:
            return
        known.keeping = True
        life, resizes = known.life, known.sent_resizes

        def kept(result: Result) -> None:
            if known.life != life:
                return
            known.keeping = False
            if result.error:
                return
            made = msgspec.msgpack.decode(result.body, type=protocol.Kept)
            known.keyframe, known.kept = made.keyframe, made.offset
            done = known.resizes[:resizes]
            if done:
                known.rows, known.cols = done[-1].rows, done[-1].cols
            del known.resizes[:resizes]
            known.sent_resizes -= resizes
            known.kept_resizes = 0
            known.skips = [skip for skip in known.skips if skip[1] > known.kept]

        careful = known.deaths.get("ask", 0) >= 2
        ask = Ask(link.seq(), known.number, "keyframe", history=KEYFRAME_HISTORY, careful=careful)
        link.send(ask, kept)
