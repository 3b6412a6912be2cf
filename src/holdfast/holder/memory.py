"""Write a session's memory: slots, marks and the ring. Not here: the layout (protocol), reading it (host.ring).

Everything that must survive a holder is in this one sealed memfd, and every step is ordered so that a holder killed
between any two instructions leaves it readable: its successor sees what was certain, and marks what is not.
"""

import mmap
import os
import time
from typing import Final

from holdfast.holder import protocol as p

_CLEAN: Final = bytes((0xC0, 0xC1, *range(0xF5, 0x100)))
"""Bytes that no UTF-8 text contains: output that is text can never be mistaken for poison."""
_TO_CLEAN: Final = (_CLEAN * 20)[:256]
_PUNCH_STEP: Final = 256 * 1024
_REMOVE: Final = getattr(mmap, "MADV_REMOVE", 9)
_PASS_BYTES: Final = 64 * 1024


def size_of(ring_bytes: int) -> int:
    """Return the bytes of a memory whose ring holds ``ring_bytes``."""
    return p.RING_AT + ring_bytes


def whole_pages(ring_bytes: int) -> int:
    """Return the ring size that is used when ``ring_bytes`` is asked for (0: the default)."""
    wanted = max(ring_bytes or p.RING_BYTES_DEFAULT, p.RING_BYTES_MIN)
    return -(-wanted // p.PAGE) * p.PAGE


class Memory:
    """One mapped memory, as its only writer sees it. Raises ValueError if ``descriptor`` holds no memory of ours."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
        whole = memoryview(self._map)
        self.slots = whole[: p.PAGE].cast("Q")
        if self.slots[p.S_MAGIC] not in (0, p.MAGIC) or len(whole) <= p.RING_AT:
            raise ValueError("this is no session's memory")
        self._marks = whole[p.MARKS_AT : p.MARKS_AT + p.MARKS_MAX * p.MARK_BYTES].cast("Q")
        self._about = whole[p.ABOUT_AT : p.ABOUT_AT + p.ABOUT_BYTES]
        self.ring = whole[p.RING_AT :]
        self.ring_bytes = len(self.ring)
        self._poison = whole[p.POISON_AT : p.POISON_AT + p.PAGE]
        self.about: dict[str, p.Value] = {}
        if self.slots[p.S_MAGIC]:
            self.about = p.unpacked(bytes(self._about[: self.slots[p.S_ABOUT_BYTES]]))

    def format(self, about: p.Fields, *, rows: int, cols: int) -> None:
        """Make a fresh memory a session's. Raises ValueError if ``about`` is too long."""
        packed = p.packed(about)
        if len(packed) > p.ABOUT_BYTES:
            raise ValueError(f"what describes the session takes {len(packed)} bytes, {p.ABOUT_BYTES} are possible")
        slots = self.slots
        self._about[: len(packed)] = packed
        slots[p.S_ABOUT_BYTES] = len(packed)
        self.about = dict(about)
        slots[p.S_LAYOUT], slots[p.S_RING_BYTES] = p.LAYOUT, self.ring_bytes
        slots[p.S_CREATED_AT] = time.time_ns()
        slots[p.S_ROWS], slots[p.S_COLS] = rows, cols
        self._poison[:] = os.urandom(p.PAGE).translate(_TO_CLEAN)
        self._spread_poison(0, p.READ_MAX)
        slots[p.S_MAGIC] = p.MAGIC

    def _spread_poison(self, at: int, size: int) -> None:
        """Put the pattern at ring offset ``at``, wherever ring and pattern wrap."""
        while size:
            place = at % self.ring_bytes
            phase = place % p.PAGE
            step = min(size, p.PAGE - phase)
            self.ring[place : place + step] = self._poison[phase : phase + step]
            at, size = at + step, size - step

    # --- output ---------------------------------------------------------------------------------------------------

    def fill(self, master: int) -> tuple[int, bool]:
        """Read the terminal into the ring until it is empty or 64 KiB came; return (bytes, end of file).

        After each read: first poison ahead of the new bytes, then the head. Killed before the head moved, the
        successor finds the bytes by the poison that is no longer there (``recover``).
        """
        readv, ring, slots, size, poison = os.readv, self.ring, self.slots, self.ring_bytes, self._poison
        begin = head = slots[p.S_HEAD]
        ended = False
        while head - begin < _PASS_BYTES:
            at = head % size
            room = min(p.READ_MAX, size - at)
            try:
                count = readv(master, (ring[at : at + room],))
            except BlockingIOError:
                break
            except InterruptedError:
                continue
            except OSError:  # EIO: no program has the terminal open any more
                count = 0
            if not count:
                ended = True
                break
            ahead = (at + p.READ_MAX) % size
            phase = ahead % p.PAGE
            step = p.PAGE - phase
            if count <= step:
                ring[ahead : ahead + count] = poison[phase : phase + count]
            else:  # ``_spread_poison``, unrolled
                ring[ahead : ahead + step] = poison[phase:]
                ahead = (ahead + step) % size
                ring[ahead : ahead + count - step] = poison[: count - step]
            head += count
            slots[p.S_HEAD] = head
            if count < 4095 and count < room:  # the line discipline gave all it had
                break
        if head - slots[p.S_ARCHIVED] > size - p.SLACK:
            self._overrun()
        return head - begin, ended

    def _overrun(self) -> None:
        """Mark that output was overwritten before it was archived; the mark grows until the archive has moved on."""
        slots = self.slots
        start, end = slots[p.S_ARCHIVED], p.oldest(slots[p.S_HEAD], 0, self.ring_bytes)
        growing = slots[p.S_GAP_MARK]
        if growing and self.amend(growing, 5, end):
            return
        slots[p.S_GAP_MARK] = self.mark(p.M_GAP, start, end, offset=start)

    def archived(self, upto: int) -> None:
        """Take note that everything before ``upto`` is archived, and give its memory back but for the last MiB."""
        slots = self.slots
        upto = min(upto, slots[p.S_HEAD])
        if upto <= slots[p.S_ARCHIVED]:
            return
        slots[p.S_ARCHIVED] = upto
        slots[p.S_GAP_MARK] = 0
        self._punch(min(upto, slots[p.S_HEAD] - p.KEEP_RESIDENT))

    def _punch(self, upto: int) -> None:
        slots, size, page = self.slots, self.ring_bytes, p.PAGE
        upto -= upto % page
        if upto - slots[p.S_PUNCHED] < _PUNCH_STEP:
            return
        # Pages that the front of the ring has reached again hold new bytes: never those.
        start = max(slots[p.S_PUNCHED], p.oldest(slots[p.S_HEAD], 0, size))
        start += -start % page
        slots[p.S_PUNCHED] = upto  # first: a reader that copied a hole finds its offset gone
        while start < upto:
            at = start % size
            step = min(upto - start, size - at)
            try:
                self._map.madvise(_REMOVE, p.RING_AT + at, step)
            except (OSError, ValueError):
                return  # a kernel that cannot: the memory stays resident, nothing else changes
            start += step

    def recover(self, holder: int) -> tuple[int, int]:
        """After a holder died: take in what a read had put behind the head, and mark it; return (found, may miss).

        Exact for UTF-8, which holds no byte of poison. Binary output may end in bytes that equal the poison at their
        place (1 in 256 per byte): those cannot be told, so the second number is what a read could have held besides.
        """
        head, size = self.slots[p.S_HEAD], self.ring_bytes
        at = head % size
        window = bytes(self.ring[at : at + p.READ_MAX])
        window += bytes(self.ring[: p.READ_MAX - len(window)])
        found = p.READ_MAX
        while found and window[found - 1] == self._poison[((head + found - 1) % size) % p.PAGE]:
            found -= 1
        self._spread_poison(head + found, p.READ_MAX)
        self.mark(p.M_RESTART, holder, found, p.READ_MAX - found)  # before the head moves: never silent
        self.slots[p.S_HEAD] = head + found
        return found, p.READ_MAX - found

    # --- input ----------------------------------------------------------------------------------------------------

    def input_begins(self, position: int, total: int) -> None:
        """Record that input ``position`` of ``total`` bytes is next. From here on it is never typed again."""
        slots = self.slots
        record = p.INPUT_RECORDS[slots[p.S_INPUT_RECORD] == p.INPUT_RECORDS[0]]
        slots[record + p.I_POSITION], slots[record + p.I_TOTAL] = position, total
        slots[record + p.I_PROGRESS] = slots[record + p.I_MARK] = 0
        slots[p.S_INPUT_RECORD] = record

    def type(self, master: int, data: bytes) -> int:
        """Write the next piece of the current input to the terminal; return what it took. Raises OSError but EAGAIN."""
        slots = self.slots
        record = slots[p.S_INPUT_RECORD]
        written = slots[record + p.I_PROGRESS] >> p.FLIGHT_BITS
        slots[record + p.I_PROGRESS] = written << p.FLIGHT_BITS | len(data)
        try:
            count = os.write(master, data)
        except BlockingIOError:
            count = 0
        except OSError:
            slots[record + p.I_PROGRESS] = written << p.FLIGHT_BITS
            raise
        written += count
        slots[record + p.I_PROGRESS] = written << p.FLIGHT_BITS
        if not self.amend(slots[record + p.I_MARK], 5, written):
            position, total = slots[record + p.I_POSITION], slots[record + p.I_TOTAL]
            slots[record + p.I_MARK] = self.mark(p.M_INPUT, position, written, total)
        return count

    def input_of(self, position: int) -> tuple[int, int, int] | None:
        """Return (written, total, flight) of input ``position`` as recorded; None if that is no longer kept."""
        slots = self.slots
        for record in p.INPUT_RECORDS:
            if slots[record + p.I_POSITION] == position and position:
                progress = slots[record + p.I_PROGRESS]
                return progress >> p.FLIGHT_BITS, slots[record + p.I_TOTAL], progress & (1 << p.FLIGHT_BITS) - 1
        last = slots[p.S_MARKS]
        for seq in range(last, max(0, last - p.MARKS_MAX), -1):
            at = (seq - 1) % p.MARKS_MAX * 8
            if self._marks[at] == seq and self._marks[at + 3] == p.M_INPUT and self._marks[at + 4] == position:
                return self._marks[at + 5], self._marks[at + 6], 0
        return None

    @property
    def input_position(self) -> int:
        """The position of the latest input, 0 before the first."""
        record = self.slots[p.S_INPUT_RECORD]
        return self.slots[record + p.I_POSITION] if record else 0

    # --- marks ----------------------------------------------------------------------------------------------------

    def mark(self, kind: int, a: int = 0, b: int = 0, c: int = 0, *, offset: int | None = None) -> int:
        """Append a mark at the head of the output (or ``offset``); return its number. Its number is written last."""
        marks, slots = self._marks, self.slots
        seq = slots[p.S_MARKS] + 1
        at = (seq - 1) % p.MARKS_MAX * 8
        marks[at] = 0
        marks[at + 1] = slots[p.S_HEAD] if offset is None else offset
        marks[at + 2] = time.monotonic_ns()
        marks[at + 3] = kind
        marks[at + 4], marks[at + 5], marks[at + 6] = p.unsigned(a), p.unsigned(b), p.unsigned(c)
        marks[at] = seq
        slots[p.S_MARKS] = seq
        return seq

    def amend(self, seq: int, field: int, value: int) -> bool:
        """Set one field (4 to 6: a, b, c) of mark ``seq``; False if newer marks have taken its place."""
        at = (seq - 1) % p.MARKS_MAX * 8
        if not seq or self._marks[at] != seq:
            return False
        self._marks[at + field] = value
        return True
