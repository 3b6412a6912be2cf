"""Lay journal records out in a file: frames with a checksum, found again whatever a crash or a hand did to the bytes.

Not here: what is appended when, and what is kept (journal). A segment is a row of frames: mark, length, CRC-32, payload.
"""

import contextlib
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from holdfast.core.journal import RECORD_BYTES_MAX, Anchor, decoded, decoded_anchor

RECORD: Final = b"\xf5HFr"
ANCHOR: Final = b"\xf5HFa"
HEAD_BYTES: Final = 12
ANCHOR_BYTES_MAX: Final = 4096
_HEAD: Final = struct.Struct(">4sII")  # mark, payload bytes, CRC-32 of the payload
_EVERY: Final = 64  # one offset in this many records is remembered


class Frame(NamedTuple):
    """One frame of a file: where it stands, and what it holds."""

    offset: int
    end: int
    mark: bytes
    payload: bytes


def framed(mark: bytes, payload: bytes) -> bytes:
    """Return ``payload`` as it stands in a file; ``mark`` is RECORD or ANCHOR."""
    return _HEAD.pack(mark, len(payload), zlib.crc32(payload)) + payload


def frame_at(data: bytes, offset: int) -> Frame | None:
    """Return the whole frame that begins at ``offset``; None if there is none."""
    if offset + _HEAD.size > len(data):
        return None
    mark, size, crc = _HEAD.unpack_from(data, offset)
    start = offset + _HEAD.size
    if mark not in (RECORD, ANCHOR) or size > RECORD_BYTES_MAX or start + size > len(data):
        return None
    payload = data[start : start + size]
    return Frame(offset, start + size, mark, payload) if zlib.crc32(payload) == crc else None


def _next_frame(data: bytes, offset: int) -> Frame | None:
    """Return the first whole record frame at or after ``offset``."""
    while (offset := data.find(RECORD, offset)) >= 0:
        found = frame_at(data, offset)
        if found is not None:
            return found
        offset += 1
    return None


def is_record(payload: bytes) -> bool:
    """Tell whether a record is encoded there."""
    try:
        decoded(payload)
    except ValueError:
        return False
    return True


class Scan(NamedTuple):
    """What a file holds."""

    anchor: Anchor | None
    frames: list[Frame]  # records only
    bad: list[tuple[int, int]]  # ranges of bytes that are no frame; the last may be the tail
    size: int


def scanned(data: bytes) -> Scan:
    """Return what a file holds, also behind damage: every whole frame, and the ranges that are none."""
    anchor: Anchor | None = None
    frames: list[Frame] = []
    bad: list[tuple[int, int]] = []
    offset = 0
    while offset < len(data):
        frame = frame_at(data, offset)
        if frame is None:
            frame = _next_frame(data, offset + 1)
            bad.append((offset, frame.offset if frame else len(data)))
            if frame is None:
                break
        if frame.mark == RECORD:
            frames.append(frame)
        elif offset == 0:
            with contextlib.suppress(ValueError):
                anchor = decoded_anchor(frame.payload)
        offset = frame.end
    return Scan(anchor, frames, bad, len(data))


class Segment:
    """One file. ``marks``: offset of every 64th record, once it has been scanned."""

    def __init__(self, path: Path, first: int, size: int = 0) -> None:
        self.path, self.first, self.size = path, first, size
        self.count = 0
        self.marks: list[int] | None = None
        self.positions: list[int] = []  # of the marked records

    def note(self, position: int, offset: int) -> None:
        """Take note that record ``position`` begins at ``offset``."""
        if self.marks is None:
            self.marks = []
        if self.count % _EVERY == 0:
            self.marks.append(offset)
            self.positions.append(position)
        self.count += 1

    def anchor(self) -> bytes | None:
        """Return the encoding of the anchor that the file begins with; None if there is none, or it cannot be read."""
        try:
            with self.path.open("rb") as file:
                found = frame_at(file.read(ANCHOR_BYTES_MAX), 0)
        except OSError:
            return None
        return found.payload if found is not None and found.mark == ANCHOR else None

    def index(self) -> None:
        """Scan the file for the offsets of its records. Raises OSError."""
        self.count, self.marks, self.positions = 0, [], []
        for frame in scanned(self.path.read_bytes()).frames:
            with contextlib.suppress(ValueError):
                self.note(decoded(frame.payload).position, frame.offset)

    def records(self, position: int) -> Iterator[tuple[int, bytes]]:
        """Yield (position, encoding) from ``position`` on; unreadable ones are passed over. Raises OSError."""
        if self.marks is None:
            self.index()
        marks = self.marks or []
        with self.path.open("rb") as file:
            for at in range(max(bisect_right(self.positions, position) - 1, 0), len(marks)):
                file.seek(marks[at])
                data = file.read(marks[at + 1] - marks[at]) if at + 1 < len(marks) else file.read()
                for frame in scanned(data).frames:
                    with contextlib.suppress(ValueError):
                        found = decoded(frame.payload).position
                        if found >= position:
                            yield found, frame.payload
