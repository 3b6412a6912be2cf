"""Two ends of a link and a path between them, in virtual time: in order, with a rate and a delay, cut at any instant."""

import math
import random
from collections import deque
from collections.abc import Callable

from holdfast.wire import packets as p
from holdfast.wire.link import Event, Limits, Link

HOST_HEARS, CLIENT_HEARS = 1 << 20, 4 << 20
SEAL = 16  # bytes that sealing adds to a packet


def client_link(*, now: float = 0.0, limits: Limits | None = None, link_id: bytes = bytes(16)) -> Link:
    return Link(link_id, dials=True, hears_max=CLIENT_HEARS, says_max=HOST_HEARS, now=now, limits=limits)


def host_link(*, now: float = 0.0, limits: Limits | None = None, link_id: bytes = bytes(16)) -> Link:
    return Link(link_id, dials=False, hears_max=HOST_HEARS, says_max=CLIENT_HEARS, now=now, limits=limits)


class Pipe:
    """One direction of a carrier. ``rate`` in bytes per second, ``delay`` in seconds."""

    def __init__(self, rate: float = math.inf, delay: float = 0.0) -> None:
        self.rate, self.delay = rate, delay
        self.under_way: deque[tuple[float, bytes]] = deque()
        self.free_at = 0.0

    def send(self, packet: bytes, now: float) -> None:
        self.free_at = max(now, self.free_at) + (len(packet) + SEAL) / self.rate
        self.under_way.append((self.free_at + self.delay, packet))

    @property
    def next_at(self) -> float:
        return self.under_way[0][0] if self.under_way else math.inf

    @property
    def size(self) -> int:
        """Bytes on the way, the path's own content included."""
        return sum(len(packet) for _, packet in self.under_way)


class LossyPipe(Pipe):
    """A reliable carrier on a path that loses: what was lost comes again later, and what is behind it waits for it.

    ``loss`` of the packets, by ``chance``; a path that was idle takes ``burst`` bytes at once, as token buckets do.
    """

    def __init__(self, rate: float, delay: float, *, loss: float, burst: int, chance: random.Random) -> None:
        super().__init__(rate, delay)
        self.loss, self.burst, self.chance = loss, burst, chance
        self.there = 0.0

    def send(self, packet: bytes, now: float) -> None:
        self.free_at = max(now - self.burst / self.rate, self.free_at) + (len(packet) + SEAL) / self.rate
        at, again = max(now, self.free_at) + self.delay, 0.2
        while self.chance.random() < self.loss:
            at, again = at + again, again * 2
        self.there = max(self.there, at)
        self.under_way.append((self.there, packet))


class Pair:
    """A client's and a host's end. Each driver does what docs/link.md asks of it and nothing more."""

    def __init__(self, *, rate: float = math.inf, delay: float = 0.0, limits: Limits | None = None) -> None:
        self.now = 0.0
        self.rate, self.delay = rate, delay
        self.client, self.host = client_link(limits=limits), host_link(limits=limits)
        self.to_host, self.to_client = Pipe(), Pipe()
        self.carrier = 0  # the client's, 0: none
        self.accepted = 0  # the host's
        self.heard_by_client: list[Event] = []
        self.heard_by_host: list[Event] = []
        self.fill: Callable[[], None] = lambda: None  # called whenever there may be room

    def dial(self) -> None:
        self.dial_over(Pipe(self.rate, self.delay), Pipe(self.rate, self.delay))

    def dial_over(self, to_host: Pipe, to_client: Pipe) -> None:
        """Dial over these two."""
        self.accepted = 0
        self.to_host, self.to_client = to_host, to_client
        self.carrier = self.client.carrier_up(now=self.now)
        self.flush()

    def cut(self, *, host_learns: bool = True) -> None:
        """Both directions vanish with all that is in them. The client learns of it now, the host now or never."""
        self.to_host, self.to_client = Pipe(), Pipe()
        self.client.carrier_down(self.carrier, now=self.now)
        if host_learns:
            self.host.carrier_down(self.accepted, now=self.now)
        self.carrier = self.accepted = 0

    def flush(self) -> None:
        while packets := self.client.outgoing(self.carrier, now=self.now):
            for packet in packets:
                self.to_host.send(packet, self.now)
        while packets := self.host.outgoing(self.accepted, now=self.now):
            for packet in packets:
                self.to_client.send(packet, self.now)

    def step(self, until: float = math.inf) -> bool:
        """Go to the next thing that happens, if that is before ``until``; tell whether there was one."""
        driven = [link for link, carrier in ((self.client, self.carrier), (self.host, self.accepted)) if carrier]
        due = [link.deadline or math.inf for link in driven]
        at = min([self.to_host.next_at, self.to_client.next_at, *due])
        if at > until or at == math.inf:
            self.now = max(self.now, until) if until < math.inf else self.now
            return False
        self.now = max(self.now, at)
        if self.to_host.next_at <= self.now:
            self.at_host(self.to_host.under_way.popleft()[1])
        if self.to_client.next_at <= self.now:
            packet = self.to_client.under_way.popleft()[1]
            self.heard_by_client += self.client.receive(self.carrier, packet, now=self.now)
        for link, heard in ((self.client, self.heard_by_client), (self.host, self.heard_by_host)):
            if link in driven:
                heard += link.wake(now=self.now)
        self.fill()
        self.flush()
        return True

    def at_host(self, packet: bytes) -> None:
        if not self.accepted:
            self.accepted = self.host.carrier_up(now=self.now, number=p.opening(packet).carrier)
        self.heard_by_host += self.host.receive(self.accepted, packet, now=self.now)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.step(until):
            pass
