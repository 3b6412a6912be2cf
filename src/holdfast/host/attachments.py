"""Send one session to one attachment: state, then stream, at the pace its credit allows (I4, I11).

Every class here is a pump: ``pump`` sends what may be sent now and returns. The session calls it when output grew, the
connection when credit came. Who pays when a viewer is slow: the viewer. A ``terminal`` view loses its backlog and gets
a fresh keyframe with the gap stated; a ``stream`` reader is served from the archive at its own pace. Nobody else notices.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from holdfast.core.errors import HoldError, Timeout
from holdfast.core.ids import SessionId
from holdfast.host import veil
from holdfast.host.config import Config
from holdfast.host.journal import Journal
from holdfast.host.looks import LOOKS_MAX, Look
from holdfast.host.output import Output
from holdfast.host.views import Views
from holdfast.view.repaint import GIVE_BACK
from holdfast.wire import messages as wire

log = logging.getLogger(__name__)

CHUNK: Final = 1 << 16  # bytes of output in one message
SEALED: Final = 65_400  # bytes of output in one message over a link: more would take two packets
TURN: Final = 1 << 17  # bytes sent to one attachment before others get their turn
NEAR: Final = 1 << 20  # a view that lags by no more is waited for, so that the first paint is the present
FAR: Final = 1 << 22  # a view that lags by more is no help to a viewer that is behind: it gets the newest bytes instead
BLANK: Final = GIVE_BACK + b"\x1b[H\x1b[2J"  # a terminal as it is at the birth of a session
FRAME_S: Final = 0.033  # least time between two states sent to a viewer that gets state only
HAND_OVER_S: Final = 0.004  # between two tries to hand a viewer what it needs to read by itself


class Peer(Protocol):
    """The connection as an attachment sees it."""

    @property
    def operator(self) -> str: ...
    def send(self, message: wire.Message) -> None: ...
    def pass_on(self, message: wire.Message, *descriptors: int) -> bool:
        """Send ``message`` and descriptors with it; False if that cannot be done now. Never over a network."""
        ...

    def room(self) -> int | None:
        """Bytes of output that may be sent now without waiting in front of what is newer; None: no matter."""
        ...

    def patience(self) -> int | None:
        """Bytes behind which a viewer on this path is better served with state; None: what the settings say."""
        ...


class Source(Protocol):
    """The session as an attachment sees it."""

    id: str
    output: Output
    journal: Journal
    views: Views
    config: Config

    @property
    def head(self) -> int: ...
    @property
    def size(self) -> wire.Size: ...
    @property
    def resized_at(self) -> int: ...
    @property
    def attachments(self) -> Mapping[int, "Attachment"]: ...
    @property
    def memory_socket(self) -> Path: ...
    def cursor(self, offset: int) -> str: ...


class Attachment:
    """One live attach. ``number`` is its number on its connection, ``serial`` its number in the session."""

    wants_events = False
    wants_all = False  # every byte, however long it takes
    wants_view = False  # a view that was fed with the output

    def __init__(self, session: Source, peer: Peer, ask: wire.Attach, serial: int) -> None:
        self.session, self.peer, self.serial = session, peer, serial
        self.number, self.observe = ask.attachment, ask.observe
        self.view, self.size = ask.view, ask.size
        self.credit = ask.credit
        self.position = 0  # offset of the next byte to send
        self.begun = False  # it was said from where on
        self.over = False
        self.since = time.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()
        self._soon: asyncio.Handle | None = None
        self._moved = asyncio.Event()

    @property
    def kind(self) -> str:
        """What its operator is; empty for one that is nobody."""
        return str(getattr(self.peer.operator, "kind", ""))

    @property
    def of(self) -> str:
        """The operator whose it is, as control knows them."""
        return str(self.peer.operator).partition("/")[0]

    def start(self, offset: int | None) -> None:
        """Begin at ``offset`` (None: now). Called once, after ``Attached`` was sent."""
        self.begun = True
        self._start(offset)

    def pump(self) -> None:
        """Send what may be sent now. Before the start that is nothing: nobody knows yet from where on."""
        if self.begun and not self.over:
            self._pump()

    def _start(self, offset: int | None) -> None:
        raise NotImplementedError

    def _pump(self) -> None:
        pass

    def more(self, credit: int) -> None:
        """The viewer has taken ``credit`` bytes more."""
        self.credit += credit
        self.pump()

    def seen(self, offset: int) -> None:
        """A viewer that reads by itself has shown output up to ``offset``."""

    def resized(self, offset: int) -> None:
        """The session has another size from output ``offset`` on."""

    def begins_after(self, offset: int) -> None:
        """The attach itself resized the session at ``offset``: what is shown first must come after that."""

    def drained(self) -> bool:
        """Tell whether everything the session produced has been sent."""
        return self.over or self.position >= self.session.head

    async def drain(self) -> None:
        """Return when everything was sent, or the attachment is over."""
        while not self.drained():
            self._moved.clear()
            await self._moved.wait()

    def close(self, cause: str, ending: wire.Ending | None = None) -> None:
        """End it and say why. Does nothing the second time."""
        if self.over:
            return
        self.stop()
        offset = self.last
        self.peer.send(wire.Detached(self.number, cause, self.session.cursor(offset), ending, offset))

    @property
    def last(self) -> int:
        """The offset after the last byte that the viewer has, or will read by itself."""
        return self.position

    def stop(self) -> None:
        """End it without a word: the peer is gone."""
        self.over = True
        self._moved.set()
        for task in self._tasks:
            task.cancel()
        if self._soon is not None:
            self._soon.cancel()

    def _again(self) -> None:
        if self._soon is None and not self.over:
            self._soon = asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        self._soon = None
        if not self.over:
            self.pump()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=f"{self.session.id}/{self.serial}: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _send_bytes(self, *, until: int | None = None) -> None:
        """Send output from ``position`` on, as far as credit, this turn and ``until`` allow."""
        session, left = self.session, TURN
        head = session.head if until is None else until
        while self.position < head and self.credit > 0 and not self.over:
            if left <= 0:
                self._again()
                return
            room = self.peer.room()
            if room is not None and room <= 0:
                return  # the path is full: the link calls when there is room again
            most = CHUNK if room is None else min(room, SEALED)
            size = min(self.credit, head - self.position, most)
            chunk = veil.read(session.journal.turns, self.kind, session.output, self.position, size)
            if chunk.offset > self.position:
                self.peer.send(wire.Gap(self.number, self.position, chunk.offset, chunk.why or "evicted"))
                self.position = chunk.offset
            size = len(chunk.data)
            if not size:
                return
            self.peer.send(wire.Output(self.number, self.position, chunk.data))
            self.position += size
            self.credit -= size
            left -= size
        self._moved.set()


class Events(Attachment):
    """Only what happens, no output."""

    wants_events = True

    def _start(self, offset: int | None) -> None:
        self.position = self.session.head

    def drained(self) -> bool:
        return True


class Stream(Attachment):
    """Every byte from an offset on, each once, or an explicit gap."""

    wants_events = True
    wants_all = True

    def _start(self, offset: int | None) -> None:
        output = self.session.output
        if offset is None:
            self.position = self.session.head
        elif offset < 0:
            self.position = output.start
        else:
            self.position = min(offset, self.session.head)
        self.pump()

    def _pump(self) -> None:
        self._send_bytes()


class Terminal(Attachment):
    """State as a repaint, then bytes. A window of another size than the session's gets cropped states instead.

    A viewer on this machine may be handed the session's memory, to read the bytes itself; ``position`` is then what it
    says it has seen, and this class only tells it when to jump.
    """

    wants_view = True

    def __init__(self, session: Source, peer: Peer, ask: wire.Attach, serial: int) -> None:
        super().__init__(session, peer, ask, serial)
        self._painting = False
        self._painted = False
        self._timer: asyncio.TimerHandle | None = None
        self._least = 0  # the next repaint must show the output up to here
        self._stale = False  # what was sent may not arrive: the next is to be a state
        self._guessed = False  # shown the newest bytes without the state before them: a state is owed
        self._wants_look = ask.direct
        self._look: Look | None = None  # open, handed over or about to be
        self._direct = False  # handed over

    @property
    def last(self) -> int:
        return self.session.head if self._direct else self.position

    @property
    def _crops(self) -> bool:
        return self.size is not None and self.size != self.session.size

    def _start(self, offset: int | None) -> None:
        session, output = self.session, self.session.output
        if offset is not None and not self._crops and output.start <= offset <= session.head:
            self.position = offset
            self._painted = True
            self.pump()
        elif self._young():
            self._painted = True
            self.peer.send(wire.Keyframe(self.number, 0, BLANK, session.size))
            self.pump()
        else:
            self._paint(lost=0)
        if (
            self._wants_look
            and sum(getattr(a, "_look", None) is not None for a in session.attachments.values()) < LOOKS_MAX
        ):
            self._spawn(self._open_look(), "direct")

    async def _open_look(self) -> None:
        """Hand the viewer the session's memory as soon as it is in step; until then, or if that fails, it is fed."""
        try:
            look = await Look.open(self.session.memory_socket)
        except (HoldError, OSError) as error:
            log.debug("%s: not read directly: %s", self.session.id, error)
            return
        if self.over:
            look.close()
            return
        self._look = look
        while not self.over and not self._direct:
            if not self._painting and self._painted:
                message = look.message(self.number, self.position)
                self._direct = self.peer.pass_on(message, look.memory, look.doorbell)
            if not self._direct:
                await asyncio.sleep(HAND_OVER_S)  # a socket with bytes still to go out cannot take descriptors along
        self._moved.set()

    def restate(self) -> None:
        """What was sent is not delivered any more: go on with a state."""
        self._stale = True
        self.pump()

    def seen(self, offset: int) -> None:
        if self._direct and offset > self.position:
            self.position = min(offset, self.session.head)
            self._moved.set()
            self.pump()

    def _young(self) -> bool:
        """Whether the state at birth, a blank screen, and all of the little output since tell everything.

        So the first attach after a host's start need not wait for the engine to be loaded.
        """
        session = self.session
        few = session.head <= CHUNK and session.output.start == 0 and session.resized_at == 0
        return few and not self._crops and not session.views.ready(SessionId(session.id))

    def begins_after(self, offset: int) -> None:
        self._least = offset

    def resized(self, offset: int) -> None:
        self._least = max(self._least, offset)
        if self.begun and not self._painting and not self.over:
            self._paint(lost=0)

    def _pump(self) -> None:
        if self._painting or self.credit <= 0:
            return
        if self._stale and self.peer.room() != 0:
            self._stale = False
            self._paint(lost=max(1, self.session.head - self.position))
            return
        session = self.session
        if self._crops:
            if self.position < session.head and self._timer is None and self.peer.room() != 0:
                self._timer = asyncio.get_running_loop().call_later(FRAME_S, self._frame)
            return
        behind = session.head - self.position
        patience = self.peer.patience()
        if behind > (session.config.lag_bytes if patience is None else patience) and self._painted:
            if self.peer.room() == 0:
                return
            lag = session.views.lag(SessionId(session.id), session.head)
            middle = self.position + behind // 2
            if lag > FAR:
                self._skip()
            elif session.head - lag > middle or len(session.attachments) > 1:
                # With several viewers, all behind, feeding one view costs less than feeding every one of them.
                self._least = max(self._least, middle)
                self._paint(lost=behind)
                return
        if not self._direct:
            self._send_bytes()

    def drained(self) -> bool:
        return self.over or (
            not self._painting and ((self._direct and not self._crops) or self.position >= self.session.head)
        )

    def stop(self) -> None:
        super().stop()
        if self._timer is not None:
            self._timer.cancel()
        if self._look is not None:
            self._look.close()
            self._look = None

    def _frame(self) -> None:
        self._timer = None
        if not self._painting and not self.over:
            self._paint(lost=0)

    def _skip(self) -> None:
        """Go on with the newest bytes on a blank screen. The program is quicker than both the viewer and the view: waiting
        for a state would freeze the picture, sending every byte would have it grow old. The true state follows.
        """
        session = self.session
        offset = max(session.output.start, session.head - CHUNK)
        if offset <= self.position:
            return
        self.peer.send(wire.Keyframe(self.number, offset, BLANK, session.size, offset - self.position))
        self.credit -= len(BLANK)
        self.position = offset
        if not self._guessed:
            self._guessed = True
            self._spawn(self._make_good(), "make good")

    async def _make_good(self) -> None:
        """Send the state as soon as the view has seen what the viewer was shown."""
        session = self.session
        while not self.over:
            shown = self.position
            try:
                seen = await session.views.reach(SessionId(session.id), shown)
            except Timeout:
                continue
            except HoldError as error:
                log.warning("%s: a viewer that skipped output gets no state: %s", session.id, error)
                break
            if seen >= self.position or session.views.lag(SessionId(session.id), session.head) <= NEAR:
                self._least = max(self._least, self.position)
                if not self._painting and not self.over:
                    self._paint(lost=0)
                break
        self._guessed = False

    def _paint(self, *, lost: int) -> None:
        self._painting = True
        self._spawn(self._repaint(lost), "repaint")

    async def _repaint(self, lost: int) -> None:
        session = self.session
        size = self.size or session.size
        least = self._least
        follow = not self._crops
        if session.views.lag(SessionId(session.id), session.head) <= NEAR:
            least = max(least, session.head)
        try:
            state = await session.views.repaint(
                SessionId(session.id), rows=size.rows, cols=size.cols, at_least=least or None
            )
        except HoldError as error:
            log.warning("%s: no repaint (%s); the raw tail is sent instead", session.id, error)
            offset = max(session.output.start, session.head - CHUNK)
            frame = wire.Keyframe(self.number, offset, b"", session.size, max(0, offset - self.position))
        else:
            skipped = max(0, state.offset - self.position) if lost else 0
            painted = wire.Size(state.rows, state.cols)
            frame = wire.Keyframe(self.number, state.offset, state.data, painted, skipped, follow)
        self._painting = False
        self._moved.set()
        if self.over:
            return
        self._painted = True
        self.peer.send(frame)
        self.credit -= len(frame.repaint)
        self.position = frame.offset
        if self._least > frame.offset or wire.Size(frame.size.rows, frame.size.cols) != session.size:
            self.resized(self._least)  # it was resized meanwhile: what was sent shows the former size
        else:
            self.pump()


class Screen(Attachment):
    """Rows of styled cells, only what changed, never more often than a person can see."""

    wants_events = True
    wants_view = True

    def __init__(self, session: Source, peer: Peer, ask: wire.Attach, serial: int) -> None:
        super().__init__(session, peer, ask, serial)
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._token = str(serial)
        self._shown = False
        self._least = 0

    def _start(self, offset: int | None) -> None:
        self._fetch()

    def resized(self, offset: int) -> None:
        self._least = max(self._least, offset)
        self.pump()

    def _pump(self) -> None:
        if self._busy or self._timer is not None or self.credit <= 0 or self.peer.room() == 0:
            return
        if not self._shown or self.position < max(self.session.head, self._least):
            self._timer = asyncio.get_running_loop().call_later(FRAME_S, self._fetch)

    def drained(self) -> bool:
        return self.over or (not self._busy and self._timer is None and self.position >= self.session.head)

    def stop(self) -> None:
        super().stop()
        if self._timer is not None:
            self._timer.cancel()
        self.session.views.unsubscribe(SessionId(self.session.id), self._token)

    def _fetch(self) -> None:
        self._timer = None
        if not self.over:
            self._busy = True
            self._spawn(self._send(), "screen")

    async def _send(self) -> None:
        session = self.session
        try:
            state = await session.views.screen(SessionId(session.id), token=self._token, at_least=self._least or None)
        except HoldError as error:
            log.warning("%s: no screen (%s)", session.id, error)
            self.close("no-view")
            return
        finally:
            self._busy = False
        if self.over:
            return
        self._shown = True
        self.position = state.offset
        self._moved.set()
        self.peer.send(state.message(self.number))
        self.credit -= 64 + sum(len(cell.text) + 8 for row in state.rows.values() for cell in row)
        self.pump()


KINDS: Final[dict[str, type[Attachment]]] = {
    "terminal": Terminal, "stream": Stream, "screen": Screen, "events": Events,
}  # fmt: skip
