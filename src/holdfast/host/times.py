"""Keep when output came: one point in time for every tenth of a second in which there was some, bounded.

A point says that output up to an offset was there at that time. Not here: the output (output), who asks (recording).
Noting one costs the event loop a comparison; the disk sees them every few seconds, so a host that is killed loses those.
"""

import logging
import os
import struct
from bisect import bisect_right
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

EVERY_NS: Final = 100_000_000
POINTS_MAX: Final = 1 << 18  # 4 MiB; beyond it every second one is forgotten, so what is older is known less finely
_POINT: Final = struct.Struct(">QQ")

Point = tuple[int, int]  # offset, Unix time in nanoseconds


class Times:
    """The points of one session, in the file ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fresh: list[Point] = []
        self._due_ns = 0

    def note(self, offset: int, at_ns: int) -> None:
        """Output up to ``offset`` is there at ``at_ns``."""
        if at_ns < self._due_ns and self._fresh:
            self._fresh[-1] = (offset, self._fresh[-1][1])  # of the same tenth of a second
            return
        self._due_ns = at_ns + EVERY_NS
        self._fresh.append((offset, at_ns))

    def flush(self) -> None:
        """Write down what was noted. A disk that refuses costs these points."""
        if not self._fresh:
            return
        fresh, self._fresh = self._fresh, []
        self._due_ns = 0
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, b"".join(_POINT.pack(*each) for each in fresh))
                full = os.fstat(fd).st_size > POINTS_MAX * _POINT.size
            finally:
                os.close(fd)
            if full:
                self._thin()
        except OSError as error:
            log.warning("%s: when output came is not kept: %s", self._path, error)

    def _thin(self) -> None:
        kept = b"".join(_POINT.pack(*each) for each in self._stored()[1::2])
        fresh = self._path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, kept)
        finally:
            os.close(fd)
        os.replace(fresh, self._path)

    def _stored(self) -> list[Point]:
        try:
            data = self._path.read_bytes()
        except OSError:
            return []
        whole = len(data) - len(data) % _POINT.size  # a write that was cut short is the last
        return [(offset, at) for offset, at in _POINT.iter_unpack(data[:whole])]

    def points(self, after: int, most: int) -> list[Point]:
        """Return at most ``most`` points of offsets above ``after``, oldest first."""
        found = [*self._stored(), *self._fresh]
        begin = bisect_right([offset for offset, _ in found], after)
        return found[begin : begin + most]
