"""Read a session's memory while its holder writes it: output by offset, marks, what the header says. Never writes.

Not here: output that has left the ring (output), the layout itself (holder.protocol).
"""

import mmap
import os
from collections.abc import Callable
from typing import NamedTuple

from holdfast.holder import protocol as p


class Overrun(Exception):
    """Output before ``start`` is no longer in the ring."""

    def __init__(self, start: int) -> None:
        super().__init__(f"the ring begins at {start} by now")
        self.start = start


class Ended(NamedTuple):
    """The root process ended. ``by`` says who saw it: holder, keeper or kernel."""

    status: int | None  # as wait(2) has it (see os.waitstatus_to_exitcode); None: nobody could learn it
    at_ns: int  # Unix nanoseconds
    by: str


class Mark(NamedTuple):
    """One mark of the holder. ``kind`` says what ``a``, ``b`` and ``c`` are:

    ``resize`` rows, cols · ``input`` position, written, total (grows while the write goes on) · ``gap`` start, end of
    output overwritten before it was archived (grows) · ``restart`` pid of the new holder, bytes it recovered at
    ``offset``, most bytes that may be missing after those · ``exit`` status, 1 if it is known · ``upgrade`` pid.
    """

    seq: int
    offset: int
    at_ns: int  # CLOCK_MONOTONIC
    kind: str
    a: int
    b: int
    c: int = 0


class Ring:
    """A read-only mapping of one session's memory; owns ``descriptor``. Raises ValueError if it is none of ours."""

    def __init__(self, descriptor: int, tell: Callable[[int], None] | None = None) -> None:
        self.tell = tell
        try:
            size = os.fstat(descriptor).st_size
            if size <= p.RING_AT:
                raise ValueError("too small to be a session's memory")
            self._map = mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)  # the mapping has its own
        whole = memoryview(self._map)
        self._slots = whole[: p.PAGE].cast("Q")
        self._marks = whole[p.MARKS_AT : p.MARKS_AT + p.MARKS_MAX * p.MARK_BYTES]
        self._ring = whole[p.RING_AT :]
        self.size = len(self._ring)
        if self._slots[p.S_MAGIC] != p.MAGIC or self._slots[p.S_LAYOUT] != p.LAYOUT:
            raise ValueError("this is no session's memory of a layout that is known here")

    @property
    def head(self) -> int:
        """Offset after the last byte produced."""
        return self._slots[p.S_HEAD]

    @property
    def start(self) -> int:
        """The oldest offset that can still be read: neither overwritten nor given back."""
        return p.oldest(self._slots[p.S_HEAD], self._slots[p.S_PUNCHED], self.size)

    def read(self, offset: int, most: int) -> bytes:
        """Return at most ``most`` bytes from ``offset`` on; empty at the head. Raises Overrun if they are gone."""
        wanted = min(most, self.head - offset)
        if wanted <= 0:
            if offset < self.start:
                raise Overrun(self.start)
            return b""
        at = offset % self.size
        data = bytes(self._ring[at : at + wanted])
        if len(data) < wanted:
            data += bytes(self._ring[: wanted - len(data)])
        if offset < (start := self.start):  # after the copy: the holder may have been faster
            raise Overrun(start)
        return data

    def view(self, offset: int, most: int) -> memoryview:
        """Return the same without a copy, shorter where the ring wraps. Check ``start`` after use; release it soon."""
        at = offset % self.size
        return self._ring[at : at + max(0, min(most, self.head - offset))]

    def marks(self, since: int = 0) -> list[Mark]:
        """Return the marks after number ``since``. The last 1,024 are kept: a jump in ``seq`` says that some are lost.

        Of a kind that grows, the same number may be read again with a larger value.
        """
        last = self._slots[p.S_MARKS]
        found: list[Mark] = []
        for seq in range(max(since, last - p.MARKS_MAX) + 1, last + 1):
            at = (seq - 1) % p.MARKS_MAX * p.MARK_BYTES
            before, offset, at_ns, kind, a, b, c, _ = p.MARK.unpack_from(self._marks, at)
            if before == seq and p.MARK.unpack_from(self._marks, at)[0] == seq:
                name = p.MARK_KINDS.get(kind, f"kind-{kind}")
                found.append(Mark(seq, offset, at_ns, name, p.signed(a), p.signed(b), p.signed(c)))
        return found

    def archived(self, upto: int) -> None:
        """Tell the holder that everything before ``upto`` is archived; it keeps the last MiB resident all the same."""
        if self.tell is not None:
            self.tell(upto)

    def _input(self, field: int) -> int:
        record = self._slots[p.S_INPUT_RECORD]
        return self._slots[record + field] if record else 0

    @property
    def input_position(self) -> int:
        """Position of the latest input, 0 before the first."""
        return self._input(p.I_POSITION)

    @property
    def input_written(self) -> int:
        """Bytes of the latest input that the terminal took for certain."""
        return self._input(p.I_PROGRESS) >> p.FLIGHT_BITS

    @property
    def input_flight(self) -> int:
        """Bytes of the latest input that were being handed over when a holder died: whether they arrived is unknown."""
        return self._input(p.I_PROGRESS) & ((1 << p.FLIGHT_BITS) - 1)

    @property
    def generation(self) -> int:
        """The highest host generation the holder has seen."""
        return self._slots[p.S_GENERATION]

    @property
    def query_answered(self) -> int:
        """End offset of the last terminal query that was answered."""
        return self._slots[p.S_QUERY_ANSWERED]

    @property
    def root_pid(self) -> int:
        """Pid of the session leader."""
        return self._slots[p.S_ROOT_PID]

    @property
    def root_started(self) -> int:
        """When it started, in clock ticks since boot; with the pid, its identity."""
        return self._slots[p.S_ROOT_STARTED]

    @property
    def holder_pid(self) -> int:
        """Pid of the holder at this moment."""
        return self._slots[p.S_HOLDER_PID]

    @property
    def restarts(self) -> int:
        """How many holders died and were replaced."""
        return self._slots[p.S_RESTARTS]

    @property
    def size_of_terminal(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._slots[p.S_ROWS], self._slots[p.S_COLS]

    @property
    def ended(self) -> Ended | None:
        """How the root ended; None while it runs, and until the terminal is drained.

        So with it, every byte of output is below ``head`` (but for what background processes may still say).
        """
        slots = self._slots
        if not slots[p.S_EXIT_MARKED]:
            return None
        status = slots[p.S_STATUS] if slots[p.S_STATUS_STATE] == p.KNOWN else None
        return Ended(status, slots[p.S_EXITED_AT], p.BY.get(slots[p.S_EXIT_BY], "?"))

    @property
    def status(self) -> int | None:
        """The status as wait(2) has it; None while the root runs, or if nobody could learn it (``ended`` tells)."""
        ended = self.ended
        return ended.status if ended is not None else None

    @property
    def exited_at_ns(self) -> int:
        """When the root ended, Unix nanoseconds; 0 while it runs."""
        return self._slots[p.S_EXITED_AT]

    @property
    def exit_durable(self) -> bool:
        """Whether the exit file is on the disk."""
        return bool(self._slots[p.S_EXIT_DURABLE])

    @property
    def released(self) -> bool:
        """Whether the holder was told that it may leave."""
        return bool(self._slots[p.S_RELEASED])

    @property
    def created_at_ns(self) -> int:
        """When the session was made, Unix nanoseconds."""
        return self._slots[p.S_CREATED_AT]

    def close(self) -> None:
        """Unmap. Views that are still held keep the mapping until they go."""
        for part in (self._slots, self._marks, self._ring):
            part.release()
        try:
            self._map.close()
        except BufferError:
            pass
