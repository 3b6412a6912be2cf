"""A session's terminal and holder in one: what takes input, puts out bytes, and outlives every host process.

Mirrors what ``host/input`` and ``host/session`` rely on from ``holder``: input under a position, written at most once,
fenced by the host's generation; a header that says how far it came; a ring that forgets its oldest bytes. The program
counts: each byte in is put out with its number, so its output depends on its input and nothing else.
"""

from typing import NamedTuple

from tests.simulation.network import Scheduler

RING = 3000  # bytes of output kept
GULP = 5  # bytes of input the terminal takes at once


class Header(NamedTuple):
    position: int
    written: int
    in_flight: int


class Terminal:
    def __init__(self, scheduler: Scheduler, session: str) -> None:
        self._scheduler, self.session = scheduler, session
        self.out = bytearray()
        self.generation = 0
        self.taken: list[tuple[int, int]] = []  # (position, byte), in the order in which the program got them
        self.signals: list[int] = []  # positions of the records behind each
        self.doubtful: set[int] = set()  # positions of which not even the holder knows how much was taken
        self.header = Header(0, 0, 0)
        self._watcher: tuple[int, object] | None = None

    @property
    def start(self) -> int:
        """Offset of the oldest byte kept."""
        return max(0, len(self.out) - RING)

    def watched_by(self, generation: int, wake: object) -> Header:
        """A host takes over: earlier ones are fenced off. Returns where input stands."""
        self.generation, self._watcher = generation, (generation, wake)
        return self.header

    def write(self, generation: int, position: int, data: bytes) -> int | None:
        """Take some of ``data``, which is the input at ``position``; return how much of it was taken so far, None if
        the host is not the newest or the position is over."""
        if generation < self.generation or position < self.header.position:
            return None
        if position > self.header.position:
            self.header = Header(position, 0, 0)
        elif self.header.in_flight:
            return None
        written = self.header.written
        taken = data[written : written + GULP]
        for byte in taken:
            self.taken.append((position, byte))
            self.out += b"%d=%02x." % (len(self.taken), byte)
        self.header = Header(position, written + len(taken), 0)
        if taken:
            self._grew()
        return self.header.written

    def put_out(self, size: int) -> None:
        """The program says something of its own."""
        self.out += (b"%d:" % len(self.out)) + b"z" * size
        self._grew()

    def lose_holder(self, position: int, data: bytes) -> None:
        """The holder dies while it writes: its successor cannot tell how much of the next gulp was taken."""
        if position != self.header.position or self.header.written >= len(data):
            return
        gulp = data[self.header.written : self.header.written + GULP]
        taken = gulp[: self._scheduler.random.randint(0, len(gulp))]
        self.taken += [(position, byte) for byte in taken]
        for _ in taken:
            self.out += b"?"
        self.header = self.header._replace(in_flight=len(gulp))
        self.doubtful.add(position)

    def _grew(self) -> None:
        if self._watcher is not None:
            self._scheduler.after(0.0001, self._watcher[1])  # type: ignore[arg-type]
