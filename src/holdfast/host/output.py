"""Present one session's output, archive on disk and ring in memory, as one run of bytes addressed by offset (I4)."""

import threading
from typing import Final, Protocol

from holdfast.host.ring import Overrun
from holdfast.host.segments import Archive, Chunk, Gap

__all__ = ["Chunk", "Gap", "Output", "RingLike"]

_TRIES: Final = 8  # of reading what is being overwritten


class RingLike(Protocol):
    """What is used of ``host.ring.Ring``."""

    size: int

    @property
    def head(self) -> int: ...
    @property
    def start(self) -> int: ...
    def read(self, offset: int, most: int) -> bytes: ...
    def archived(self, upto: int) -> None: ...


class Output:
    """Everything a session has put out that can still be had. ``read`` never waits and never skips silently.

    Without a ring (the session ended, or its holder is being replaced) the archive alone is read. ``known_end`` is the
    offset after the last byte ever produced, if the caller knows it: what is missing before it is then a gap too.
    """

    def __init__(self, archive: Archive, *, known_end: int = 0) -> None:
        self.archive, self.known_end = archive, known_end
        self.lock: Final = threading.Lock()  # held while ``ring`` is read by another thread, so it is not closed then
        self._ring: RingLike | None = None

    @property
    def ring(self) -> RingLike | None:
        """The ring, unless there is none or it was closed under us."""
        ring = self._ring
        if ring is not None:
            try:
                self.known_end = max(self.known_end, ring.head)
            except ValueError:  # unmapped: its link ended before anybody said ``detach``
                self._ring = ring = None
        return ring

    def attach(self, ring: RingLike) -> None:
        """Read the newest output from ``ring`` from now on."""
        with self.lock:
            self._ring = ring

    def detach(self) -> None:
        """Do without a ring; when this returns nobody reads it any more and it may be closed."""
        with self.lock:
            if self.ring is not None:  # which also notes where it ended
                self._ring = None

    @property
    def start(self) -> int:
        """The oldest offset that can be had."""
        ring, archive = self.ring, self.archive
        if ring is None:
            return archive.start
        return min(archive.start, ring.start) if archive.end > archive.start else ring.start

    @property
    def end(self) -> int:
        """The offset after the last byte."""
        ring = self.ring
        return max(ring.head if ring is not None else 0, self.archive.end, self.known_end)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Ranges before ``end`` that cannot be had, oldest first. What only the ring lacks so far is among them."""
        gaps, ring, end = list(self.archive.gaps), self.ring, self.archive.end
        if ring is not None:
            gaps = [gap for gap in gaps if gap.end <= ring.start or gap.start >= ring.head]
            if ring.start > end:
                gaps.append(Gap(end, ring.start, "overrun"))
        elif self.known_end > end:
            gaps.append(Gap(end, self.known_end, "disk"))
        return tuple(gaps)

    def lost(self, start: int, end: int, why: str) -> None:
        """Note that output ``start``..``end`` was never captured (a holder died under it)."""
        self.archive.note(start, end, why)

    def read(self, offset: int, most: int) -> Chunk:
        """Return at most ``most`` bytes from the first offset at or after ``offset`` that can be had.

        Its ``offset`` is later than asked exactly when what lies between is gone, and ``why`` then says the reason.
        Empty data: there is nothing more yet. From the archive it returns no more than one segment of 1 MiB at a time.
        """
        at, why = max(offset, 0), ""
        for _ in range(_TRIES):
            ring = self.ring
            if ring is not None and at >= ring.start:
                data = self._from(ring, at, most)
                if data is None:
                    continue  # overwritten under us: its start has moved, so the archive is asked
                return Chunk(at, data, why)
            chunk = self.archive.read(at, most)
            if ring is None:
                return self._without_ring(chunk, why)
            begins = ring.start
            if chunk.data and (chunk.offset == at or chunk.offset < begins):
                return Chunk(chunk.offset, chunk.data, why or chunk.why)
            why = why or chunk.why or self.archive.why(at) or "overrun"
            at = begins
        return Chunk(at, b"", why)

    def _without_ring(self, chunk: Chunk, why: str) -> Chunk:
        if not chunk.data and chunk.offset < self.known_end:
            return Chunk(self.known_end, b"", why or chunk.why or "disk")
        return Chunk(chunk.offset, chunk.data, why or chunk.why)

    def _from(self, ring: RingLike, at: int, most: int) -> bytes | None:
        try:
            return ring.read(at, most)
        except (Overrun, ValueError):  # overwritten, or unmapped
            return None
