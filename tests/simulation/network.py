"""Virtual time and an unreliable network: one seeded scheduler, machines with clocks of their own, connections that die.

Not here: what travels (lines), who says it (hosts, relays, clients). A connection is what TLS over TCP gives: frames in
order, each once, until it is cut; then what was under way is lost, and the two ends learn of it when they do.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from holdfast.relay.rooms import Now
from tests.core.tenants import NOW

PING_S: Final = (
    40.0  # a connection over which nothing comes for so long is given up (websockets: ping and pong, 20 s each)
)
TRACE: Final = 120  # latest things that happened, kept to be printed with a failure


class Timer:
    """Something that happens later, unless it is cancelled."""

    __slots__ = ("act", "args", "at")

    def __init__(self, at: float, act: Callable[..., object] | None, args: tuple[Any, ...]) -> None:
        self.at, self.act, self.args = at, act, args

    def cancel(self) -> None:
        self.act = None


class Scheduler:
    """The only source of time, order and chance in a world."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.trace: deque[tuple[Any, ...]] = deque(maxlen=TRACE)
        self.steps = 0
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = 0

    def after(self, delay: float, act: Callable[..., object], *args: Any) -> Timer:
        return self.at(self.now + delay, act, *args)

    def at(self, when: float, act: Callable[..., object], *args: Any) -> Timer:
        timer = Timer(max(when, self.now), act, args)
        self._count += 1
        heapq.heappush(self._heap, (timer.at, self._count, timer))
        return timer

    def run(self, until: float, *, done: Callable[[], bool] | None = None, steps_max: int = 400_000) -> None:
        """Let things happen up to ``until``, or until ``done``. Raises AssertionError for a world that never rests."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            at, _, timer = heapq.heappop(heap)
            if timer.act is None:
                continue
            self.now = at
            timer.act(*timer.args)
            self.steps += 1
            assert self.steps < steps_max, f"{steps_max} steps and still something to do at {at:.3f} s"
            if done is not None and done():
                return
        self.now = max(self.now, until)

    def say(self, who: str, what: str, *more: Any) -> None:
        """Note what happened, for whoever has to find out why a seed fails."""
        self.trace.append((self.now, who, what, *more))

    def story(self, last: int = TRACE) -> str:
        lines = list(self.trace)[-last:]
        return "\n".join(f"{at:10.4f}  {who:<16} {what} {' '.join(map(str, more))}" for at, who, what, *more in lines)


class Machine:
    """Where one program runs. ``skew``: how far its clock is ahead, in seconds."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.scheduler, self.name, self.skew = scheduler, name, 0.0

    @property
    def unix(self) -> float:
        return NOW + self.scheduler.now + self.skew

    @property
    def instant(self) -> Now:
        return Now(self.scheduler.now, self.unix)


class End:
    """One end of a connection. ``heard`` is called with each frame, ``ended`` once when it is known to be over."""

    __slots__ = ("connection", "ended", "free_at", "heard", "last_at", "machine", "open", "other")

    def __init__(self, connection: "Connection", machine: Machine) -> None:
        self.connection, self.machine = connection, machine
        self.heard: Callable[[bytes], object] = lambda _: None
        self.ended: Callable[[], object] = lambda: None
        self.open = True
        self.free_at = self.last_at = 0.0
        self.other: End

    def send(self, frame: bytes) -> None:
        """Hand a frame to the network; it says nothing about whether that arrives."""
        connection = self.connection
        if not self.open or not connection.alive:
            return
        now = connection.network.scheduler.now
        self.free_at = max(now, self.free_at) + len(frame) / connection.rate
        self.last_at = max(self.free_at + connection.delay, self.last_at)
        connection.network.scheduler.at(self.last_at, self._arrive, frame)

    def close(self) -> None:
        """Hang up: what was sent before still arrives."""
        if self.open:
            self.open = False
            self.connection.network.scheduler.at(
                max(self.last_at, self.connection.network.scheduler.now), self._arrive, None
            )

    def _arrive(self, frame: bytes | None) -> None:
        connection = self.connection
        if not connection.alive:
            return
        scheduler = connection.network.scheduler
        if scheduler.now < connection.stalled_until:
            self.last_at = max(self.last_at, connection.stalled_until)
            scheduler.at(connection.stalled_until, self._arrive, frame)
            return
        if frame is None:
            connection.gone()
            self.other.over()
        elif self.other.open:
            self.other.heard(frame)

    def over(self) -> None:
        if self.open:
            self.open = False
            self.ended()


class Connection:
    """A connection of ``dialler`` to a relay. ``delay`` in seconds one way, ``rate`` in bytes per second."""

    def __init__(self, network: "Network", dialler: Machine, relay: Machine, delay: float, rate: float) -> None:
        self.network, self.delay, self.rate = network, delay, rate
        self.alive, self.stalled_until = True, 0.0
        self.dialler, self.relay = End(self, dialler), End(self, relay)
        self.dialler.other, self.relay.other = self.relay, self.dialler

    def gone(self) -> None:
        self.alive = False
        self.network.connections.pop(self, None)

    def cut(self, *, late_s: float = 0.0) -> None:
        """It ends now, with everything on its way; one end learns of it ``late_s`` later."""
        if not self.alive:
            return
        self.gone()
        scheduler = self.network.scheduler
        first, second = (self.dialler, self.relay) if scheduler.random.random() < 0.5 else (self.relay, self.dialler)
        scheduler.at(scheduler.now, first.over)
        scheduler.after(late_s, second.over)

    def stall(self, seconds: float) -> None:
        """Nothing comes through for a while; then everything does, or the connection is given up."""
        until = self.network.scheduler.now + seconds
        if seconds >= PING_S:
            self.network.scheduler.after(PING_S, self.cut)
        self.stalled_until = max(self.stalled_until, until)


class Network:
    """Paths between machines and relays: how long, how fast, and whether at all."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.connections: dict[Connection, None] = {}
        self._listeners: dict[str, Callable[[End], object]] = {}
        self._relays: dict[str, Machine] = {}
        self._blocked: dict[tuple[str, str], float] = {}  # machine, relay -> until
        self.rates: dict[str, float] = {}  # of machines that are behind a slow path

    def listen(self, relay: Machine, accept: Callable[[End], object] | None) -> None:
        """``accept`` is called with each new connection to ``relay``; None: nobody answers there."""
        self._relays[relay.name] = relay
        if accept is None:
            self._listeners.pop(relay.name, None)
        else:
            self._listeners[relay.name] = accept

    def dial(self, machine: Machine, relay: str, answered: Callable[[End | None], object]) -> None:
        """Call ``answered`` with the near end of a connection, or with None when there is none to be had."""
        draw = self.scheduler.random
        delay = draw.choice((0.0005, 0.004, 0.02, 0.02, 0.08))
        self.scheduler.after(2 * delay, self._dialled, machine, relay, delay, answered)

    def _dialled(self, machine: Machine, relay: str, delay: float, answered: Callable[[End | None], object]) -> None:
        accept = self._listeners.get(relay)
        blocked_for = self._blocked.get((machine.name, relay), 0.0) - self.scheduler.now
        if accept is None or blocked_for > 0:
            self.scheduler.after(min(max(blocked_for, 0.0), 10.0), answered, None)
            return
        rate = self.rates.get(machine.name, 12_500_000.0)
        connection = Connection(self, machine, self._relays[relay], delay, rate)
        self.connections[connection] = None
        accept(connection.relay)
        answered(connection.dialler)

    def between(self, machine: str, relay: str) -> list[Connection]:
        ends = (machine, relay)
        return [each for each in self.connections if (each.dialler.machine.name, each.relay.machine.name) == ends]

    def part(self, machine: str, relay: str, seconds: float) -> None:
        """Nothing goes between them for a while."""
        self._blocked[machine, relay] = self.scheduler.now + seconds
        for each in self.between(machine, relay):
            each.stall(seconds)

    def heal(self) -> None:
        """Every path is whole from now on, and as fast as any."""
        self._blocked.clear()
        self.rates.clear()
        for each in list(self.connections):
            each.stalled_until = 0.0
            each.rate = 12_500_000.0
