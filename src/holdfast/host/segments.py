"""Keep a session's output on disk: compressed, bounded, checked when read, and never in the way of the session.

Not here: when output is archived (host.archive), how it joins the ring (host.output).

A folder holds segments of up to 1 MiB of output, one file each, named by the offset of its first byte and its length:
a listing of the folder is the index. A file says itself what it is: magic, offset, length, SHA-256 of the output, zstd.
An empty ``.gap`` file says which range is not kept and why.
"""

import contextlib
import hashlib
import os
import re
import struct
import threading
import time
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from pathlib import Path
from typing import Final, NamedTuple

import zstandard

SEGMENT_BYTES: Final = 1 << 20  # of output in one file
KEEP_BYTES: Final = 256 << 20  # compressed, per session
CACHE_BYTES: Final = 16 << 20  # of decompressed segments, all sessions together
SUMS_MAX: Final = 1024  # digests that nobody has taken, per session; of more output the oldest stays unbound
GAPS_MAX: Final = 1024  # ranges remembered per session; beyond it neighbours are merged
LEVEL: Final = 1
PIECE: Final = 1 << 17  # of output that is compressed and digested at once
ASIDE_S: Final = 0.00005  # after every piece, for whoever waits for this processor (ADR 0017)
_MAGIC: Final = b"HFA1"
_HEAD: Final = struct.Struct(">4sQI32s")
_SEGMENT = re.compile(r"([0-9]{20})-([0-9]{8})\.hfz", re.ASCII)
_GAP = re.compile(r"([0-9]{20})-([0-9]{1,20})-([a-z-]{1,32})\.gap", re.ASCII)


class Gap(NamedTuple):
    """Output ``start``..``end`` is not kept. ``why``: evicted, overrun, disk, corrupt, holder-restart."""

    start: int
    end: int
    why: str


class Chunk(NamedTuple):
    """``data`` begins at ``offset``; if that is later than asked, what lies between is gone, because ``why``."""

    offset: int
    data: bytes
    why: str = ""


class Sum(NamedTuple):
    """The SHA-256 of output ``start``..``end``."""

    start: int
    end: int
    digest: bytes


class _Segment(NamedTuple):
    start: int
    length: int
    size: int  # of the file

    @property
    def end(self) -> int:
        return self.start + self.length

    @property
    def name(self) -> str:
        return f"{self.start:020d}-{self.length:08d}.hfz"


class Cache:
    """Decompressed segments of every session, the least recently read forgotten first. Safe between threads."""

    def __init__(self, bytes_max: int = CACHE_BYTES) -> None:
        self._bytes_max, self._bytes = bytes_max, 0
        self._kept: OrderedDict[Path, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: Path) -> bytes | None:
        """Return what ``put`` was given for ``path``, if it is still here."""
        with self._lock:
            data = self._kept.get(path)
            if data is not None:
                self._kept.move_to_end(path)
            return data

    def put(self, path: Path, data: bytes) -> None:
        """Remember ``data``."""
        with self._lock:
            self._bytes += len(data) - len(self._kept.pop(path, b""))
            self._kept[path] = data
            while self._bytes > self._bytes_max and len(self._kept) > 1:
                _, gone = self._kept.popitem(last=False)
                self._bytes -= len(gone)

    def drop(self, path: Path) -> None:
        """Forget ``path``."""
        with self._lock:
            self._bytes -= len(self._kept.pop(path, b""))


_cache: Final = Cache()


class Archive:
    """The archive of one session. One thread appends; any may read. Nothing here raises for what a disk does.

    ``start`` is the oldest offset kept, ``end`` the first one not yet accounted for: everything before it is kept or in
    a gap. ``trouble`` says why the last write failed, empty when it did not.
    """

    def __init__(self, folder: Path, *, keep_bytes: int = KEEP_BYTES, cache: Cache = _cache) -> None:
        self.folder, self.keep_bytes = folder, keep_bytes
        self.trouble = ""
        self._cache = cache
        self._lock = threading.Lock()  # guards what follows; never held over I/O
        self._starts: list[int] = []
        self._segments: list[_Segment] = []
        self._gaps: list[Gap] = []  # sorted, none overlaps
        self._unwritten: list[Gap] = []  # markers the disk did not take yet
        self._sums: dict[int, Sum] = {}  # by start: of what was stored and nobody has taken the digest of
        self._list()

    def _list(self) -> None:
        """Rebuild the index from the names in the folder, and clear away what a crash left half done."""
        found: dict[int, _Segment] = {}
        try:
            for entry in os.scandir(self.folder):
                if (named := _SEGMENT.fullmatch(entry.name)) is not None:
                    segment = _Segment(int(named[1]), int(named[2]), entry.stat().st_size)
                    other = found.get(segment.start)
                    if other is None or other.length < segment.length:
                        found[segment.start] = segment
                elif (named := _GAP.fullmatch(entry.name)) is not None:
                    self._gaps.append(Gap(int(named[1]), int(named[1]) + int(named[2]), named[3]))
                elif entry.name.endswith(".new"):
                    os.unlink(entry.path)
        except FileNotFoundError:
            return
        except OSError as error:
            self.trouble = error.strerror or str(error)
        end = 0
        for start in sorted(found):
            if start >= end:  # a shorter one inside another: it was merged, and the crash came before its removal
                self._segments.append(found[start])
                end = found[start].end
        self._starts = [segment.start for segment in self._segments]
        self._gaps.sort()

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def start(self) -> int:
        with self._lock:
            return self._segments[0].start if self._segments else self._end()

    @property
    def end(self) -> int:
        with self._lock:
            return self._end()

    def _end(self) -> int:
        return max(self._segments[-1].end if self._segments else 0, self._gaps[-1].end if self._gaps else 0)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        with self._lock:
            return sum(segment.size for segment in self._segments)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Every range before ``end`` that is not kept, with its reason, oldest first."""
        with self._lock:
            return tuple(self._all_gaps())

    def _all_gaps(self) -> list[Gap]:
        gaps: list[Gap] = []
        at = 0
        for segment in self._segments:
            if segment.start > at:
                gaps += self._reasons(at, segment.start, "evicted" if at == 0 else "disk")
            at = segment.end
        if self._end() > at:
            gaps += self._reasons(at, self._end(), "evicted" if at == 0 else "disk")
        known = {(gap.start, gap.end) for gap in gaps}
        gaps += [gap for gap in self._gaps if gap.why == "corrupt" and (gap.start, gap.end) not in known]
        return sorted(gaps)

    def _reasons(self, start: int, end: int, otherwise: str) -> list[Gap]:
        """Cut a hole into the ranges whose reason is known and the rest."""
        cut: list[Gap] = []
        for gap in self._gaps:
            if gap.end <= start or gap.start >= end:
                continue
            if gap.start > start:
                cut.append(Gap(start, gap.start, otherwise))
            cut.append(Gap(max(gap.start, start), min(gap.end, end), gap.why))
            start = cut[-1].end
        if start < end:
            cut.append(Gap(start, end, otherwise))
        return cut

    def why(self, offset: int) -> str:
        """Return why the byte at ``offset`` is not kept; empty if it is, or nothing is known about it yet."""
        with self._lock:
            at = bisect_right(self._gaps, offset, key=lambda gap: gap.start) - 1
            if at >= 0 and offset < self._gaps[at].end:
                return self._gaps[at].why
            found = bisect_right(self._starts, offset) - 1
            if found >= 0 and offset < self._segments[found].end:
                return ""
            if offset >= self._end():
                return ""
            return "evicted" if found < 0 else "disk"

    # -- writing -------------------------------------------------------------------------------------------------------

    def append(self, offset: int, data: bytes, *, durable: bool = False) -> bool:
        """Keep ``data``, the output from ``offset`` on; False if the disk refused, and nothing changed then.

        What is kept already is passed over; a hole before ``offset`` becomes a gap ("overrun"). ``durable``: return
        only when the disk has it. A short last segment is filled up first: small pieces do not become small files.
        """
        end = self.end
        if offset < end:
            data, offset = data[end - offset :], end
        if not data:
            return True
        if offset > end:
            self.note(end, offset, "overrun")
        with self._lock:
            last = self._segments[-1] if self._segments else None
        if last is not None and last.end == offset and last.length < SEGMENT_BYTES:
            before = self._load(last)
            if before is not None:
                room = SEGMENT_BYTES - last.length
                if not self._store(last.start, before + data[:room], durable, replaces=last):
                    return False
                data, offset = data[room:], offset + room
        while data:
            if not self._store(offset, data[:SEGMENT_BYTES], durable):
                return False
            data, offset = data[SEGMENT_BYTES:], offset + SEGMENT_BYTES
        self._evict()
        return True

    def note(self, start: int, end: int, why: str) -> None:
        """Say that output ``start``..``end`` is not kept. ``why`` is lower-case letters and ``-``."""
        if end <= start:
            return
        with self._lock:
            last = self._gaps[-1] if self._gaps else None
            fresh = Gap(start, end, why)
            merged = last is not None and last.end == start and (last.why == why or len(self._gaps) >= GAPS_MAX)
            if merged and last is not None:
                fresh = Gap(last.start, end, last.why)
                self._gaps[-1] = fresh
                if last in self._unwritten:
                    self._unwritten.remove(last)
            else:
                self._gaps.insert(bisect_left(self._gaps, fresh), fresh)
            self._unwritten.append(fresh)
            del self._gaps[: max(0, len(self._gaps) - GAPS_MAX)]
        self._mark()
        if merged and last is not None and fresh not in self._unwritten:
            with contextlib.suppress(OSError):
                os.unlink(self._marker(last))

    def _marker(self, gap: Gap) -> Path:
        return self.folder / f"{gap.start:020d}-{gap.end - gap.start}-{gap.why}.gap"

    def _mark(self) -> None:
        """Write the markers that are owed, as far as the disk takes them."""
        try:
            while self._unwritten:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(self._marker(self._unwritten[0]), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
                self._unwritten.pop(0)
        except OSError as error:
            self.trouble = error.strerror or str(error)
            del self._unwritten[:-GAPS_MAX]

    def _store(self, start: int, data: bytes, durable: bool, replaces: _Segment | None = None) -> bool:
        whole = _packed(start, data)
        segment = _Segment(start, len(data), len(whole))
        path = self.folder / segment.name
        fresh = path.with_suffix(".new")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                if os.write(fd, whole) < len(whole):
                    raise OSError(28, os.strerror(28))
                if durable:
                    os.fdatasync(fd)
            finally:
                os.close(fd)
            os.replace(fresh, path)
        except OSError as error:
            self.trouble = error.strerror or str(error)
            with contextlib.suppress(OSError):
                os.unlink(fresh)
            return False
        self.trouble = ""
        with self._lock:
            if replaces is not None:
                self._segments[-1] = segment
            else:
                self._segments.append(segment)
                self._starts.append(start)
            self._owe(Sum(start, start + len(data), _HEAD.unpack_from(whole)[3]))
        if replaces is not None:
            self._remove(replaces)
        if self._unwritten:
            self._mark()
        return True

    def _remove(self, segment: _Segment) -> None:
        path = self.folder / segment.name
        self._cache.drop(path)
        with contextlib.suppress(OSError):
            os.unlink(path)

    def _evict(self) -> None:
        """Drop the oldest segments, and gaps before them, until the bound holds; the newest segment stays."""
        while True:
            with self._lock:
                if len(self._segments) < 2 or sum(each.size for each in self._segments) <= self.keep_bytes:
                    return
                oldest = self._segments.pop(0)
                self._starts.pop(0)
                old_gaps = [gap for gap in self._gaps if gap.end <= self._segments[0].start]
                del self._gaps[: len(old_gaps)]
            self._remove(oldest)
            for gap in old_gaps:
                with contextlib.suppress(OSError):
                    os.unlink(self._marker(gap))

    # -- digests, for whoever binds the output to something (notary) -----------------------------------------------------

    def _owe(self, sum_: Sum) -> None:
        self._sums[sum_.start] = sum_
        if len(self._sums) > SUMS_MAX:
            del self._sums[min(self._sums)]

    def take_sums(self, most: int, *, whole: bool) -> list[Sum]:
        """Return digests of what was stored since the last call, oldest first; ``whole``: of full segments alone.

        A segment that grew after its digest was taken is given again, longer.
        """
        with self._lock:
            found = [
                self._sums[start] for start in sorted(self._sums)
                if not whole or self._sums[start].end - start == SEGMENT_BYTES
            ][:most]  # fmt: skip
            for each in found:
                del self._sums[each.start]
        return found

    def owe_sums(self, since: int, end: int) -> None:
        """Have ``take_sums`` give what is kept of output ``since``..``end`` once more. Reads it; for a thread."""
        with self._lock:
            behind = [
                each
                for each in self._segments
                if each.end > since and each.start < end and each.start not in self._sums
            ]
        for segment in behind[-SUMS_MAX:]:
            data = self._load(segment)
            with self._lock:
                if data is not None and segment in self._segments and segment.start not in self._sums:
                    self._owe(Sum(segment.start, segment.end, hashlib.sha256(data).digest()))

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, offset: int, most: int) -> Chunk:
        """Return at most ``most`` bytes from the first kept offset at or after ``offset``.

        Empty data: nothing is kept from there on; ``offset`` is then behind the gap that follows, if one is known.
        Takes a few milliseconds at most per segment: 1 MiB is decompressed and checked, then remembered.
        """
        at, why = max(offset, 0), ""
        while True:
            with self._lock:
                found = bisect_right(self._starts, at) - 1
                segment = self._segments[found] if found >= 0 and at < self._segments[found].end else None
                following = self._starts[found + 1] if segment is None and found + 1 < len(self._starts) else None
                end = self._end()
            if segment is None:
                reason = self.why(at)
                if following is None:
                    return Chunk(max(at, end), b"", why or reason)
                at, why = following, why or reason or "evicted"
                continue
            data = self._load(segment)
            if data is not None:
                return Chunk(at, data[at - segment.start : at - segment.start + most], why)
            with self._lock:
                if segment not in self._segments:
                    continue  # evicted or merged while we looked
            at, why = segment.end, why or "corrupt"

    def _load(self, segment: _Segment) -> bytes | None:
        """Return the output in ``segment``; None if it does not verify, which is remembered, or has gone."""
        path = self.folder / segment.name
        cached = self._cache.get(path)
        if cached is not None:
            return cached
        if Gap(segment.start, segment.end, "corrupt") in self._gaps:
            return None
        try:
            data = unpacked(path.read_bytes(), segment.start, segment.length)
        except FileNotFoundError:
            data = None
            with self._lock:
                if segment not in self._segments:
                    return None
        except (OSError, ValueError):
            data = None
        if data is None:
            with self._lock:
                if segment in self._segments:
                    corrupt = Gap(segment.start, segment.end, "corrupt")
                    self._gaps.insert(bisect_left(self._gaps, corrupt), corrupt)
            return None
        self._cache.put(path, data)
        return data


def _packed(start: int, data: bytes) -> bytes:
    """Return the segment file that holds ``data``, made a piece at a time, since nobody waits for it and others do."""
    packer, digest = zstandard.ZstdCompressor(level=LEVEL).compressobj(size=len(data)), hashlib.sha256()
    parts: list[bytes] = []
    with memoryview(data) as whole:
        for at in range(0, len(data), PIECE):
            piece = whole[at : at + PIECE]
            parts.append(packer.compress(piece))
            digest.update(piece)
            time.sleep(ASIDE_S)
    parts.append(packer.flush())
    return b"".join((_HEAD.pack(_MAGIC, start, len(data), digest.digest()), *parts))


def unpacked(whole: bytes, start: int, length: int) -> bytes:
    """Return the output that a segment file holds; raises ValueError unless it is the one named and verifies."""
    if len(whole) < _HEAD.size:
        raise ValueError("shorter than its own head")
    magic, found, size, digest = _HEAD.unpack_from(whole)
    if magic != _MAGIC or (found, size) != (start, length) or size > SEGMENT_BYTES:
        raise ValueError("not the segment its name says")
    try:
        data = zstandard.ZstdDecompressor().decompress(whole[_HEAD.size :], max_output_size=size)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None
    if len(data) != size or hashlib.sha256(data).digest() != digest:
        raise ValueError("its digest does not match")
    return data
