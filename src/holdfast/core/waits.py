"""Decide when a wait is over, and because of what. Pure: output, occurrences and time in, the verdict out.

Not here: how a pattern is searched (host.patterns), where occurrences come from (host.waits).

The first condition that is met ends a wait. First is meant in the order of the output: what happened at an offset counts
only when the output up to there was searched, so a command's last line is matched before its end is told.
"""

import enum
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from holdfast.core.plain import Plain, origin
from holdfast.core.waiting import Wants

SPAN: Final = 8192  # bytes of text a match may span; what began earlier is not found
KEPT_MAX: Final = 1 << 18  # bytes of output that are kept to say where in it a match is
TEXT_MAX: Final = 1024  # bytes of a match, and of each of its groups, that are told


class Because(enum.StrEnum):
    """What ended a wait."""

    EXIT = "exit"  # the session is over
    INPUT = "input"  # a program wants input
    MATCH = "match"
    QUIET = "quiet"  # no output for as long as was asked
    COMMAND = "command"  # the command is over
    TIME = "time"  # nothing of that happened in time; nothing was stopped


class Found(NamedTuple):
    """Where in a text a pattern matched, and its groups."""

    start: int
    end: int
    groups: tuple[bytes, ...] = ()


Search = Callable[[bytes, int], Found | None]
"""Look for a pattern in a text from an index on; what is before it counts for ``^`` and ``\\b``."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is waited for. The end of the session always ends a wait, asked for or not: nothing else can come then."""

    wants: frozenset[Wants] = frozenset()
    searches: tuple[Search, ...] = ()
    quiet_s: float | None = None
    for_s: float | None = None


class Met(NamedTuple):
    """The verdict. ``offset``: after the output that it is about; whoever goes on from there misses nothing.

    ``pattern``: index of the one that matched, else -1, with ``text`` and ``groups``, cut at ``TEXT_MAX``.
    """

    because: Because
    offset: int
    pattern: int = -1
    text: bytes = b""
    groups: tuple[bytes, ...] = ()


class Vigil:
    """One wait, from output ``offset`` on. ``deadline`` is when ``wake`` is next due; None: not before something happens."""

    def __init__(self, wish: Wish, offset: int, *, now: float) -> None:
        self.position = offset  # of the next byte of output to be read here
        self._wish = wish
        self._over_at = None if wish.for_s is None else now + wish.for_s
        self._quiet_at = None if wish.quiet_s is None else now + wish.quiet_s
        self._occurred: tuple[int, Because] | None = None
        self._text = _Text(offset)

    @property
    def searches(self) -> bool:
        """Whether output has to be read at all."""
        return bool(self._wish.searches)

    @property
    def deadline(self) -> float | None:
        due = [at for at in (self._over_at, self._quiet_at) if at is not None]
        return min(due) if due else None

    def put_out(self, *, now: float) -> None:
        """There was output at ``now``, read here or not."""
        if self._wish.quiet_s is not None:
            self._quiet_at = now + self._wish.quiet_s

    def read(self, offset: int, data: bytes) -> Met | None:
        """Take output from ``offset`` on. If that is not where the last ended, what lies between is lost, and no match
        spans it."""
        return self.took(offset + len(data), self.look(offset, data))

    def look(self, offset: int, data: bytes) -> Met | None:
        """The part of ``read`` that takes its time: search. In another thread if need be, one call at a time; ``took``
        follows."""
        if offset != self.position:
            self._text = _Text(offset)
        before = self._text.add(data)
        if before is None:
            return None
        found = [(hit, number) for number, search in enumerate(self._wish.searches)
                 if (hit := search(self._text.text, before)) is not None]  # fmt: skip
        if not found:
            return None
        hit, number = min(found, key=lambda each: (each[0].start, each[1]))
        text = self._text.text[hit.start : hit.end][:TEXT_MAX]
        groups = tuple(group[:TEXT_MAX] for group in hit.groups)
        return Met(Because.MATCH, self._text.origin(hit.end), number, text, groups)

    def took(self, end: int, found: Met | None) -> Met | None:
        """Output up to ``end`` was searched, and this was ``found``."""
        self.position = end
        return found or self._due()

    def occurred(self, because: Because, offset: int) -> Met | None:
        """``because`` happened when ``offset`` bytes had been produced. It counts once those were read here."""
        if self._occurred is None or offset < self._occurred[0]:
            self._occurred = (offset, because)
        return self._due()

    def wants(self, wants: Wants, offset: int) -> Met | None:
        """The session was seen to wait for ``wants`` when ``offset`` bytes had been produced."""
        return self.occurred(Because.INPUT, offset) if wants in self._wish.wants else None

    def wake(self, head: int, *, now: float) -> Met | None:
        """Let time pass; ``head`` bytes have been produced."""
        if self._quiet_at is not None and now >= self._quiet_at:
            self._quiet_at = None
            if (met := self.occurred(Because.QUIET, head)) is not None:
                return met
        if self._over_at is not None and now >= self._over_at:
            return Met(Because.TIME, self.position if self.searches else head)
        return None

    def _due(self) -> Met | None:
        if self._occurred is None or (self.searches and self.position < self._occurred[0]):
            return None
        return Met(self._occurred[1], self._occurred[0])


class _Text:
    """The text of the output, the newest of it, and where each piece came from."""

    def __init__(self, offset: int) -> None:
        self.text = b""
        self._plain = Plain()
        self._next = offset  # of the output that was not made text yet
        self._base = 0  # index, in all text there ever was, of the first byte of ``text``
        self._pieces: deque[tuple[int, int, bytes]] = deque()  # (index of its text, offset, output)
        self._kept = 0  # bytes of output in there

    def add(self, data: bytes) -> int | None:
        """Take more output; return the index in ``text`` from which on a match is new, None if there is no new text."""
        output, text = self._plain.feed(data)
        offset, self._next = self._next, self._next + len(output)
        if not text:
            return None
        drop = max(0, len(self.text) - SPAN - 1)  # one more, so that what a span begins after is known
        searched = min(len(self.text) - drop, SPAN)
        start = len(self.text) - drop - searched
        self._pieces.append((self._base + len(self.text), offset, output))
        self._kept += len(output)
        self.text, self._base = self.text[drop:] + text, self._base + drop
        while len(self._pieces) > 1 and (self._pieces[1][0] <= self._base or self._kept > KEPT_MAX):
            self._kept -= len(self._pieces.popleft()[2])
        lost = self._pieces[0][0] - self._base
        if lost > 0:
            self.text, self._base = self.text[lost:], self._base + lost
            start = max(0, start - lost)
        return start

    def origin(self, end: int) -> int:
        """Return the offset after the output that makes ``text`` up to index ``end``."""
        at = self._base + end
        number = max(0, bisect_right([index for index, _, _ in self._pieces], at - 1) - 1)
        index, offset, output = self._pieces[number]
        return offset + origin(output, at - index)
