"""Keep one session's journal on disk: append-only segments, written before an append returns, synced soon after.

Not here: what a record means and how a chain is checked (core.journal), frames in a file (journalfile), who syncs (syncer).

A folder holds segments named by the position of their first record. A segment is a row of frames: mark, length, CRC-32,
payload. The first is an anchor, the others are records. After a crash of the host nothing is lost, since every append
was written; after a power cut at most the last 200 ms are.
"""

import contextlib
import fcntl
import os
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from holdfast.core.checkpoints import Bound
from holdfast.core.commandlog import CommandLog
from holdfast.core.errors import Corrupt, StorageFailed
from holdfast.core.inputs import Inputs
from holdfast.core.journal import (
    FORMAT,
    GENESIS,
    Anchor,
    Chain,
    Fault,
    Kind,
    Record,
    Sealed,
    Verdict,
    decoded,
    digest,
    encoded,
    is_torn,
    verify,
)
from holdfast.core.proposals import Proposals
from holdfast.core.seqs import Seqs
from holdfast.core.turns import Turns
from holdfast.host.journalfile import ANCHOR, HEAD_BYTES, RECORD, Scan, Segment, framed, is_record, scanned
from holdfast.host.syncer import Syncer, shared

SEGMENT_BYTES: Final = 4 << 20
HELD_BYTES: Final = 1 << 20  # of records kept in memory while the disk refuses them
KEEP_BYTES: Final = 64 << 20
READ_BYTES_MAX: Final = 2 << 20  # of one ``read``
TORN_BYTES_MAX: Final = 4 << 20  # of cut-off bytes kept aside
TORN_KEPT: Final = 8  # such files per journal
CHECKPOINT_BYTES: Final = 1024  # more than one takes, with its record
SUFFIX: Final = ".hfj"

Then = Callable[[Record], None]


class Signing(Protocol):
    """Whoever signs for this host (notary)."""

    def sign(self, journal: "Journal", at_ns: int) -> tuple[int, bytes] | None: ...


class TornTail(NamedTuple):
    """An unfinished write of ``size`` bytes after record ``after`` was cut off; ``kept`` is where it lies now."""

    after: int
    size: int
    kept: Path | None


class Damage(NamedTuple):
    """The record at ``position`` does not verify; the file is left as it is."""

    position: int
    segment: Path
    offset: int
    why: str

    def error(self) -> Corrupt:
        """Return the damage as an error to raise or to show."""
        return Corrupt(
            f"journal record {self.position} does not verify ({self.why}); what stands before and after it is whole or "
            "named apart, and new records go to a fresh segment",
            do="keep a copy of the file; `hold verify` says which records are affected",
            position=self.position,
            path=str(self.segment),
        )


class Journal:
    """The journal of one session, open for appending by this process alone.

    ``position`` and ``head`` name the last record (0 and 32 zero bytes: none), ``first`` the oldest kept. ``tail`` and
    ``damage`` say what ``open`` found; both have been recorded, or will be before the next append. ``generation``,
    ``incarnation`` and ``epoch`` go into every record and may be set at any time. ``inputs``, ``seqs``, ``bound`` and
    ``commands`` follow every record.
    """

    def __init__(
        self, folder: Path, *, session: str, segment_bytes: int, keep_bytes: int, held_bytes: int,
        syncer: Syncer,
    ) -> None:  # fmt: skip
        self.folder, self.session = folder, session
        self.segment_bytes, self.keep_bytes, self.held_bytes = segment_bytes, keep_bytes, held_bytes
        self.incarnation, self.epoch, self.generation = 1, 1, 0
        self.inputs, self.seqs, self.bound, self.turns = Inputs(), Seqs(), Bound(), Turns()
        self.proposals, self.commands = Proposals(), CommandLog()
        self.notary: Signing | None = None  # who signs where the chain stands
        self.grown: set[Callable[[], None]] = set()  # called after each record, in the turn of whoever appended it
        self.tail: TornTail | None = None
        self.damage: list[Damage] = []
        self._syncer = syncer
        self._chain = Chain()
        self._stored = (0, GENESIS)  # position and hash of the last record on disk
        self._held: list[Sealed] = []  # part of the chain, not on disk: it refused them so far
        self._segments: list[Segment] = []
        self._owed: list[tuple[str, dict[str, Any]]] = []  # records about ourselves that come before the next one
        self._fd = -1
        self._lock = -1
        self._ragged = False  # bytes of a failed write may stand behind the last record

    # -- opening -------------------------------------------------------------------------------------------------------

    @classmethod
    def open(
        cls, folder: Path, *, session: str = "", incarnation: int = 1, epoch: int = 1, generation: int = 0,
        at_ns: int | None = None, segment_bytes: int = SEGMENT_BYTES, keep_bytes: int = KEEP_BYTES,
        held_bytes: int = HELD_BYTES, syncer: Syncer | None = None,
    ) -> "Journal":  # fmt: skip
        """Open the journal in ``folder``, which is made if it is missing, and recover what a crash left.

        Reads the newest segment only (up to ``segment_bytes``); ``verify`` reads all. Raises StorageFailed if the
        folder cannot be used or another process has this journal open; nothing was changed then.
        """
        journal = cls(
            folder, session=session, segment_bytes=segment_bytes, keep_bytes=keep_bytes, held_bytes=held_bytes,
            syncer=syncer or shared(),
        )  # fmt: skip
        journal.incarnation, journal.epoch, journal.generation = incarnation, epoch, generation
        try:
            journal._open_folder()
            journal._recover()
        except OSError as error:
            journal.close()
            raise _failed("cannot be opened", error, folder) from None
        except StorageFailed:
            journal.close()
            raise
        with contextlib.suppress(StorageFailed):  # a full disk: it stays owed, and is written before the next record
            journal._pay(time.time_ns() if at_ns is None else at_ns)
        return journal

    def _open_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageFailed(
                f"the journal in {self.folder} is open in another process; nothing was changed",
                do="stop the other host first: `hold host down`",
                path=str(self.folder),
            ) from None
        for name in sorted(os.listdir(self.folder)):
            if name.endswith(SUFFIX) and name[: -len(SUFFIX)].isdigit():
                path = self.folder / name
                self._segments.append(Segment(path, int(name[: -len(SUFFIX)]), path.stat().st_size))

    def _recover(self) -> None:
        while self._segments:
            segment = self._segments[-1]
            scan = scanned(segment.path.read_bytes())
            if any(is_record(frame.payload) for frame in scan.frames) or (scan.anchor and not scan.frames):
                self._take_over(segment, scan)
                return
            # A crash while it was begun, or nothing but damage: it holds no record. Kept aside, never in the way.
            aside = segment.path.with_suffix(".torn")
            os.replace(segment.path, aside)
            self.tail = TornTail(segment.first - 1, segment.size, aside)
            self._segments.pop()
            self._owe_tail(self.tail)

    def _take_over(self, segment: Segment, scan: Scan) -> None:
        position, head = (scan.anchor.first - 1, scan.anchor.head) if scan.anchor else (segment.first - 1, b"")
        for frame in scan.frames:
            try:
                record = decoded(frame.payload)
            except ValueError as error:
                self._damaged(position + 1, segment, frame.offset, str(error))
                continue
            if record.position != position + 1 or (head and record.prev != head):
                why = "it does not follow from the record before it"
                self._damaged(min(position + 1, record.position), segment, frame.offset, why)
            segment.note(record.position, frame.offset)
            self._learn(record)
            position, head = record.position, digest(frame.payload)
        self._chain = Chain(position=position, head=head or GENESIS)
        self._stored = (position, head or GENESIS)
        good = scan.bad[-1][0] if scan.bad and scan.bad[-1][1] == scan.size else scan.size
        for start, end in scan.bad:
            if end < scan.size:
                before = [each for each in scan.frames if each.end <= start]
                last = decoded(before[-1].payload).position if before else segment.first - 1
                self._damaged(last + 1, segment, start, "its bytes are damaged")
        segment.size = scan.size
        if is_torn(good, scan.size, record_follows=False):
            self._cut(segment, good)
        if self.damage:
            self._owed.append((Kind.DAMAGED, {"position": self.damage[0].position, "why": self.damage[0].why}))
        else:
            self._fd = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC)

    def _damaged(self, position: int, segment: Segment, offset: int, why: str) -> None:
        if all(each.position != position for each in self.damage):
            self.damage.append(Damage(position, segment.path, offset, why))
            self.damage.sort(key=lambda each: each.position)

    def _cut(self, segment: Segment, good: int) -> None:
        """Cut an unfinished write off, keeping its bytes aside if the disk lets us."""
        kept: Path | None = segment.path.with_name(f"{segment.path.stem}-{good}.torn")
        with segment.path.open("r+b") as file:
            file.seek(good)
            rest = file.read(TORN_BYTES_MAX)
            try:
                assert kept is not None
                kept.write_bytes(rest)
                kept.chmod(0o600)
                for old in sorted(self.folder.glob("*.torn"))[:-TORN_KEPT]:
                    old.unlink()
            except OSError:
                kept = None
            file.truncate(good)
        self.tail = TornTail(self._chain.position, segment.size - good, kept)
        segment.size = good
        self._owe_tail(self.tail)

    def _owe_tail(self, tail: TornTail) -> None:
        body = {"after": tail.after, "bytes": tail.size, "kept": tail.kept.name if tail.kept else ""}
        self._owed.append((Kind.RECOVERED_TAIL, body))

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        return self._chain.position

    @property
    def head(self) -> bytes:
        return self._chain.head

    @property
    def first(self) -> int:
        """Position of the oldest record kept; ``position + 1`` if there is none."""
        return self._segments[0].first if self._segments else self.position + 1

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(each.size for each in self._segments)

    @property
    def unsynced(self) -> str:
        """Why the disk did not confirm what was written, if it refused to; empty: nothing is wrong."""
        return self._syncer.trouble(str(self.folder))

    # -- writing -------------------------------------------------------------------------------------------------------

    def append(
        self, kind: str, operator: str, body: Mapping[str, Any], *, at_ns: int | None = None, then: Then | None = None
    ) -> Record:
        """Write one record and return it; it is with the kernel when this returns, on disk within 200 ms.

        ``at_ns`` is Unix time, now if left out. ``then`` is called once, with the record, the instant the kernel has it and
        before anybody learns of it: what a key waits for comes first. A record that the disk refuses is held in memory, up to
        ``held_bytes`` of them, and written with the next append. Raises StorageFailed beyond that: the chain is as it
        was, and a later append goes on from there. ValueError: see ``Chain.seal``.
        """
        at_ns = time.time_ns() if at_ns is None else at_ns
        try:
            self.flush()
            self._pay(at_ns)
            return self._write(kind, operator, body, at_ns, then)
        except StorageFailed:
            if (held := self._hold(kind, operator, body, at_ns, then)) is None:
                raise
            return held

    @property
    def held(self) -> int:
        """Records of the chain that only memory has, since the disk refuses them; a crash of the host loses those."""
        return len(self._held)

    def flush(self) -> None:
        """Write what is held in memory. Raises StorageFailed if the disk still refuses; nothing is lost by that."""
        try:
            while self._held:
                sealed = self._held[0]
                if self._fd < 0:
                    self._begin(sealed.record.position, "")
                self._file(sealed)
                self._syncer.dirty(self._fd, str(self.folder))
                self._held.pop(0)
        except OSError as error:
            raise _failed("cannot be written", error, self.folder) from None

    def _hold(self, kind: str, operator: str, body: Mapping[str, Any], at_ns: int, then: Then | None) -> Record | None:
        """Take a record into the chain that the disk refuses: a full disk must not keep anybody from typing (I2)."""
        sealed = self._seal(kind, operator, body, at_ns)
        if self._lock < 0 or sum(len(each.data) for each in self._held) + len(sealed.data) > self.held_bytes:
            return None
        self._held.append(sealed)
        self._chain.accept(sealed)
        if then is not None:
            then(sealed.record)
        self._learn(sealed.record)
        return sealed.record

    def _learn(self, record: Record) -> None:
        self.inputs.learn(record)
        self.seqs.learn(record)
        self.commands.learn(record)
        self.bound.learn(record)
        for tell in tuple(self.grown):
            tell()
        self.turns.learn(record)
        self.proposals.learn(record)

    def checkpoint(self, *, at_ns: int | None = None) -> Record | None:
        """Have the host's key sign where the chain stands; None without a key. Raises StorageFailed: see ``append``."""
        at_ns = time.time_ns() if at_ns is None else at_ns
        self.flush()
        self._pay(at_ns)
        try:
            self._make_room(CHECKPOINT_BYTES, at_ns)
            return self._signed(at_ns)
        except OSError as error:
            raise _failed("cannot be written", error, self.folder) from None

    def _signed(self, at_ns: int) -> Record | None:
        """Write a checkpoint of the record before it. Raises OSError."""
        if self._lock < 0 or self.notary is None or (made := self.notary.sign(self, at_ns)) is None:
            return None
        sealed = self._seal(Kind.CHECKPOINT, "host", {"number": made[0], "signed": made[1]}, at_ns)
        self._put(sealed)
        return sealed.record

    def advance(self, position: int, why: str) -> None:
        """Let the next record be ``position``, which is higher than it would be, and say why in an anchor.

        For a journal that lost its end while a holder has seen higher positions: none is used a second time. Raises
        StorageFailed.
        """
        if position <= self.position + 1:
            return
        try:
            self._begin(position, why)
        except OSError as error:
            raise _failed("cannot begin a segment", error, self.folder) from None

    def _pay(self, at_ns: int) -> None:
        while self._owed:
            kind, body = self._owed[0]
            self._write(kind, "host", body, at_ns)
            self._owed.pop(0)

    def _write(self, kind: str, operator: str, body: Mapping[str, Any], at_ns: int, then: Then | None = None) -> Record:
        if self._lock < 0:
            raise StorageFailed(f"the journal in {self.folder} is closed; nothing was recorded")
        try:
            sealed = self._seal(kind, operator, body, at_ns)
            self._make_room(HEAD_BYTES + len(sealed.data), at_ns)
            if sealed.record.position != self.position + 1 or sealed.record.prev != self.head:
                sealed = self._seal(kind, operator, body, at_ns)  # a ``carried`` record came first
            self._put(sealed, then)
        except OSError as error:
            raise _failed("cannot be written", error, self.folder) from None
        return sealed.record

    def _seal(self, kind: str, operator: str, body: Mapping[str, Any], at_ns: int) -> Sealed:
        return self._chain.seal(
            kind, operator, body, at_ns=at_ns,
            incarnation=self.incarnation, epoch=self.epoch, generation=self.generation,
        )  # fmt: skip

    def _put(self, sealed: Sealed, then: Then | None = None) -> None:
        self._file(sealed)
        self._chain.accept(sealed)
        if then is not None:
            then(sealed.record)
        self._syncer.dirty(self._fd, str(self.folder))
        self._learn(sealed.record)

    def _file(self, sealed: Sealed) -> None:
        """Put a sealed record on disk. Raises OSError; the file is as it was then."""
        segment = self._segments[-1]
        frame = framed(RECORD, sealed.data)
        self._store(segment, frame)
        segment.note(sealed.record.position, segment.size - len(frame))
        self._stored = (sealed.record.position, sealed.head)

    def _store(self, segment: Segment, frame: bytes) -> None:
        """Add ``frame`` to the file, whole or not at all. Raises OSError."""
        if self._ragged:
            os.ftruncate(self._fd, segment.size)
            self._ragged = False
        try:
            written = os.pwrite(self._fd, frame, segment.size)
            if written < len(frame):  # the disk filled up in the middle: the rest says why
                os.pwrite(self._fd, frame[written:], segment.size + written)
                if os.fstat(self._fd).st_size < segment.size + len(frame):
                    raise OSError(28, os.strerror(28))
        except OSError:
            self._ragged = True
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, segment.size)
                self._ragged = False
            raise
        segment.size += len(frame)

    def _make_room(self, size: int, at_ns: int) -> None:
        """See to it that the newest segment takes ``size`` more bytes. Raises OSError."""
        if self._fd < 0:
            why = f"record {self.damage[0].position} is damaged" if self.damage else ""
            self._begin(self.position + 1, why)
            return
        segment = self._segments[-1]
        if segment.size + size <= self.segment_bytes or segment.count == 0:
            return
        try:
            self._begin(self.position + 1, "")
        except OSError:
            if segment.size + size > 2 * self.segment_bytes:
                raise
            return  # no new file can be made, but this one still takes records
        self._signed(at_ns)  # of the anchor: what is kept verifies from a head that the host's key stands for
        carried = {**self.inputs.carried(), "bound": self.bound.carried(), "control": self.turns.carried()}
        carried |= {**self.proposals.carried(), "commands": self.commands.carried()}
        if carried["clients"] or carried["control"] or self.bound.output_end or self.bound.number or self.commands.last:
            self._put(self._seal(Kind.CARRIED, "host", carried, at_ns))
        self._prune()

    def _begin(self, first: int, why: str) -> None:
        """Begin a segment whose first record will be ``first``. Raises OSError; nothing changed then."""
        path = self.folder / f"{first:020d}{SUFFIX}"
        anchor = framed(ANCHOR, encoded(Anchor(FORMAT, self.session, first, *self._stored, why)))
        if path.exists():  # of a beginning that failed: had it a record, ours would be higher
            os.replace(path, path.with_suffix(".torn"))
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if os.pwrite(fd, anchor, 0) < len(anchor):
                raise OSError(28, os.strerror(28))
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        if self._fd >= 0:
            self._syncer.retire(self._fd, str(self.folder))
        self._fd, self._ragged = fd, False
        self._segments.append(Segment(path, first, len(anchor)))
        if not self._held:
            self._chain = Chain(position=first - 1, head=self.head)
        self._syncer.dirty(fd, str(self.folder))
        self._syncer.dirty(self._lock, str(self.folder))  # the folder itself: the new name must survive too

    def _prune(self) -> None:
        while len(self._segments) > 1 and self.size > self.keep_bytes:
            with contextlib.suppress(OSError):
                self._segments[0].path.unlink()
            self._segments.pop(0)

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, position: int, limit: int = 256) -> list[bytes]:
        """Return encodings of at most ``limit`` records (and 2 MiB) from ``position`` on, oldest first.

        Positions before ``first`` are gone: the answer begins later then. Raises StorageFailed if the disk refuses.
        """
        found: list[bytes] = []
        size = 0
        start = max(bisect_right([each.first for each in self._segments], position) - 1, 0)
        try:
            for segment in self._segments[start:]:
                for _, data in segment.records(position):
                    if len(found) >= limit or (found and size + len(data) > READ_BYTES_MAX):
                        return found
                    found.append(data)
                    size += len(data)
            found += [each.data for each in self._held if each.record.position >= position][: limit - len(found)]
        except OSError as error:
            raise _failed("cannot be read", error, self.folder) from None
        return found

    def head_at(self, position: int) -> bytes:
        """Return the hash of record ``position``; empty if there is none or it is not kept. Raises StorageFailed."""
        if position == self.position:
            return self.head
        if not self.first <= position < self.position:
            return b""
        found = self.read(position, 1)
        return digest(found[0]) if found and decoded(found[0]).position == position else b""

    def anchors(self) -> list[bytes]:
        """Return what each kept stretch begins with, oldest first. Reads the heads of all segments."""
        return [found for each in self._segments if (found := each.anchor()) is not None]

    def verify(self) -> Verdict:
        """Check every kept record against the chain. Reads all segments: up to 64 MiB, about half a second.

        Positions that an anchor states as lost are no fault. Raises StorageFailed if the disk refuses.
        """
        total = Verdict(0, 0, GENESIS)
        try:
            for index, segment in enumerate(self._segments):
                scan = scanned(segment.path.read_bytes())
                after, head = segment.first - 1, (scan.anchor.head if scan.anchor else total.head)
                if index and (scan.anchor is None or scan.anchor.after != total.last or head != total.head):
                    why = f"segment {segment.path.name} does not continue record {total.last}"
                    return total._replace(position=total.last + 1, fault=Fault.MISSING, why=why)
                verdict = verify((frame.payload for frame in scan.frames), after=after, head=head)
                total = verdict._replace(verified=total.verified + verdict.verified)
                if not verdict.whole:
                    return total
        except OSError as error:
            raise _failed("cannot be read", error, self.folder) from None
        return total

    def close(self) -> None:
        """Hand the files to the syncer to sync and close. Never waits for the disk; closing twice is harmless."""
        with contextlib.suppress(StorageFailed):
            self.flush()
        if self._fd >= 0:
            self._syncer.retire(self._fd, str(self.folder))
            self._fd = -1
        if self._lock >= 0:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            self._syncer.retire(self._lock, str(self.folder))
            self._lock = -1


def _failed(what: str, error: OSError, folder: Path) -> StorageFailed:
    return StorageFailed(
        f"the journal in {folder} {what} ({error.strerror}); the session runs on, this was neither recorded nor done",
        do="free space, or make the state directory writable, then try again",
        path=str(folder),
        errno=error.errno,
    )
