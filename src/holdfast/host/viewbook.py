"""What is known of one view and what follows from it: how far it is, what is fed next, who is to blame for a dead
worker.

Offsets of one view: ``kept`` (its keyframe) <= ``done`` (the worker has seen it) <= ``sent`` <= ``head`` (it exists).
No I/O, and time is an argument. Not here: the worker (viewlink), the tasks (views).
"""

from dataclasses import dataclass, field
from typing import Final

from holdfast.core.ids import SessionId
from holdfast.view.protocol import Ask, Feed, Open, Order, Resize, ViewState
from holdfast.view.state import clamped

CHUNK: Final = 65536
CAREFUL_CHUNK: Final = 4096
"""Size of what is fed where a worker died before, so that no more than this has to be skipped."""
WINDOW: Final = 4 * CHUNK
"""Most bytes of one view on the way to the worker."""
FLOOD_BYTES: Final = 1 << 20
FLOOD_S: Final = 0.1
"""Output that grows by FLOOD_BYTES within FLOOD_S is a flood: nobody reads it, so the view may come later."""
CAREFUL_FOR: Final = 1 << 16
"""For so many bytes of output no copy of the engine is made after two deaths while it was asked something."""


@dataclass(slots=True)
class Sized:
    """The session took another size exactly at ``offset``."""

    offset: int
    rows: int
    cols: int


@dataclass(eq=False, slots=True)
class Book:
    """The supervisor's book of one view. ``number`` names it to workers, ``rows`` and ``cols`` hold at ``kept``."""

    id: SessionId
    number: int
    rows: int
    cols: int
    kept: int
    keyframe: bytes = field(repr=False)
    head: int
    incomplete: bool = False
    sent: int = 0
    done: int = 0
    replied: int = 0  # end of the last query whose reply was passed on; fed again, it is not replied to again
    life: int = 0  # rises whenever feeding begins anew; what was read for an earlier life is dropped
    opened: bool = False
    keeping: bool = False  # a keyframe has been asked for
    hurried: int = 0  # how many wait for this view
    state: ViewState | None = None
    sizes: list[Sized] = field(default_factory=list)  # since ``kept``, oldest first
    sizes_sent: int = 0
    skips: list[tuple[int, int]] = field(default_factory=list)
    suspect: tuple[int, int] = (0, 0)  # a worker died in this range once
    deaths: dict[str, int] = field(default_factory=dict)  # by kind of order
    careful_until: int = 0
    subscribers: dict[str, int] = field(default_factory=dict)
    _seen_at: float = 0.0  # when ``_seen`` was the head
    _seen: int = 0

    def __post_init__(self) -> None:
        self.sent = self.done = self.replied = self._seen = self.kept

    def begin(self) -> None:
        """Feed from the keyframe on, again or for the first time."""
        self.life += 1
        self.opened = self.keeping = False
        self.sent = self.done = self.kept
        self.sizes_sent = 0

    # ---- what comes next ---------------------------------------------------------------------------------------------

    def size_due(self) -> Sized | None:
        """Return the change of size that comes before any more output, counting it as sent."""
        if self.sizes_sent >= len(self.sizes) or self.sizes[self.sizes_sent].offset > self.sent:
            return None
        self.sizes_sent += 1
        return self.sizes[self.sizes_sent - 1]

    def skip_due(self) -> int:
        """Return up to where output is to be left out at ``sent``; ``sent`` itself if it is not."""
        return max((end for start, end in self.skips if start <= self.sent < end), default=self.sent)

    def piece(self) -> int:
        """Return how many bytes may be fed next."""
        careful = self.suspect[0] <= self.sent < self.suspect[1]
        most = CAREFUL_CHUNK if careful else CHUNK
        return min(most, self.boundary(self.sent) - self.sent, self.head - self.sent)

    def boundary(self, offset: int) -> int:
        """Return the offset which a piece that begins at ``offset`` must not go beyond."""
        after = [start for start, _end in self.skips if start > offset]
        after += [edge for edge in self.suspect if edge > offset]
        after += [size.offset for size in self.sizes[self.sizes_sent : self.sizes_sent + 1]]
        return min(after, default=offset + CHUNK)

    def size_of(self, rows: int, cols: int) -> tuple[int, int]:
        """Return the session's own size for one the engine reports: it is given safe ones only."""
        sizes = [(size.rows, size.cols) for size in reversed(self.sizes[: self.sizes_sent])]
        return next((size for size in (*sizes, (self.rows, self.cols)) if clamped(*size) == (rows, cols)), (rows, cols))

    def full(self) -> bool:
        return self.sent - self.done >= WINDOW

    def delay(self, now: float, lag_max: int) -> float:
        """Return for how many seconds to leave the view behind: while it floods, nobody waits, and the lag is
        bearable.
        """
        if self.hurried or self.head - self.sent >= lag_max:
            return 0.0
        grown, age = self.head - self._seen, now - self._seen_at
        if age < FLOOD_S:
            return FLOOD_S - age if grown >= FLOOD_BYTES else 0.0
        floods = grown >= FLOOD_BYTES * age / FLOOD_S
        self._seen_at, self._seen = now, self.head
        return FLOOD_S if floods else 0.0

    # ---- what happened -----------------------------------------------------------------------------------------------

    def keep(self, offset: int, keyframe: bytes, sizes: int) -> None:
        """Take a new keyframe, made at ``offset`` after the first ``sizes`` changes of size."""
        self.keeping = False
        self.kept, self.keyframe = offset, keyframe
        if sizes:
            self.rows, self.cols = self.sizes[sizes - 1].rows, self.sizes[sizes - 1].cols
            del self.sizes[:sizes]
            self.sizes_sent -= sizes
        self.skips = [skip for skip in self.skips if skip[1] > offset]
        self.deaths.pop("open", None)

    def without_keyframe(self) -> None:
        """Begin empty next time: the keyframe cannot be loaded."""
        self.keyframe, self.incomplete = b"", True

    @property
    def careful(self) -> bool:
        """Whether questions are answered without a copy of the engine."""
        return self.done < self.careful_until

    def blame(self, order: Order) -> None:
        """Note that ``order`` killed a worker; the second time, it is done without."""
        kind = type(order).__name__
        deaths = self.deaths[kind] = self.deaths.get(kind, 0) + 1
        if isinstance(order, Feed):
            start, end = order.offset, order.offset + len(order.data)
            if end - start <= CAREFUL_CHUNK and self.suspect[0] <= start < self.suspect[1]:
                self.skips.append((start, end))
            else:
                self.suspect = start, end
        elif isinstance(order, Ask) and deaths >= 2:
            self.careful_until = self.done + CAREFUL_FOR
        elif isinstance(order, Open) and deaths >= 2:
            self.without_keyframe()
        elif isinstance(order, Resize) and deaths >= 2:
            self._begin_after(order)

    def answered(self, order: Ask) -> None:
        """A question was answered: what went wrong with earlier ones was not the question."""
        if not order.careful:
            self.deaths.pop(type(order).__name__, None)

    def _begin_after(self, order: Resize) -> None:
        """Begin empty behind a change of size that kills workers, in the new size."""
        for place, size in enumerate(self.sizes):
            if (size.rows, size.cols) == (order.rows, order.cols):
                self.kept, self.rows, self.cols = size.offset, size.rows, size.cols
                del self.sizes[: place + 1]
                break
        self.without_keyframe()
