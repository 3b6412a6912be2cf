"""Whatever is cut, whenever: each lane's messages arrive exactly once and in order, within bounds, and all in the end."""

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.wire.link import (
    CONTROL,
    INPUT,
    CarrierDead,
    CarrierEnded,
    Closed,
    Delivered,
    Event,
    Limits,
    Link,
    LinkFull,
    Resumed,
    State,
    Unresumable,
)
from holdfast.wire.packets import Cause
from tests.wire.linkpaths import Pair

LIMITS = Limits(small_bytes_max=150_000, bulk_bytes_max=250_000)
SIZES = st.sampled_from([8, 9, 100, 1000, 4097, 30_000, 65_536, 65_537, 180_000])
LANES = st.sampled_from([CONTROL, INPUT, 2, 3, 15])
RATES = st.sampled_from([5e3, 1e5, 1e7, float("inf")])
DELAYS = st.sampled_from([0.0, 0.001, 0.05, 0.4])


class Direction:
    """What one end said and what the other one must hear."""

    def __init__(self) -> None:
        self.count = 0
        self.due: dict[int, list[int]] = defaultdict(list)  # lane -> numbers said, not delivered yet
        self.may_miss: set[int] = set()  # abandoned: may arrive or not
        self.lanes: dict[int, int] = {}

    def said(self, lane: int, size: int) -> bytes:
        self.count += 1
        self.due[lane].append(self.count)
        self.lanes[self.count] = lane
        return self.count.to_bytes(8, "big") + bytes([lane]) * (size - 8)

    def abandoned(self, lane: int) -> None:
        self.may_miss.update(self.due[lane])

    def heard(self, events: list[Event]) -> None:
        for event in events:
            assert isinstance(event, Delivered | Resumed), event
            if not isinstance(event, Delivered):
                continue
            number = int.from_bytes(event.data[:8], "big")
            assert event.data[8:] == bytes([event.lane]) * (len(event.data) - 8)
            due = self.due[event.lane]
            while due and due[0] != number and due[0] in self.may_miss:
                due.pop(0)
            assert due and due[0] == number, f"lane {event.lane}: {number} came, {due[:3]} was due"
            due.pop(0)
            for lower in range(min(event.lane, 2)):  # never before what was said earlier on a lane before it
                assert not self.due[lower] or self.due[lower][0] > number, f"{number} overtook {self.due[lower][0]}"

    @property
    def all_heard(self) -> bool:
        return all(number in self.may_miss for due in self.due.values() for number in due)


@settings(max_examples=100, stateful_step_count=40, deadline=None)
class Cuts(RuleBasedStateMachine):
    """Two ends, and a path that is cut at any instant, in both directions, with all that was on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(limits=LIMITS)
        self.to_host, self.to_client = Direction(), Direction()

    def say(self, link: Link, direction: Direction, lane: int, size: int) -> None:
        kinds = [range(1), range(1, 2), range(2, 16)]
        kept = sum(link.waiting(each) for each in kinds[min(lane, 2)])
        most = LIMITS.bulk_bytes_max if lane > INPUT else LIMITS.small_bytes_max
        body = direction.said(lane, size)
        try:
            link.say(lane, body)
            assert kept < most
        except LinkFull:
            assert kept >= most
            direction.due[lane].pop()
        self.pair.flush()

    @rule(lane=LANES, size=SIZES, times=st.integers(1, 4))
    def client_says(self, lane: int, size: int, times: int) -> None:
        for _ in range(times):
            self.say(self.pair.client, self.to_host, lane, size)

    @rule(lane=LANES, size=SIZES, times=st.integers(1, 4))
    def host_says(self, lane: int, size: int, times: int) -> None:
        for _ in range(times):
            self.say(self.pair.host, self.to_client, lane, size)

    @rule(lane=st.sampled_from([2, 3, 15]))
    def host_abandons(self, lane: int) -> None:
        self.pair.host.abandon(lane)
        self.to_client.abandoned(lane)
        self.pair.flush()

    @precondition(lambda self: self.pair.carrier)
    @rule(steps=st.integers(1, 12))
    def a_few_packets_arrive(self, steps: int) -> None:
        for _ in range(steps):
            self.pair.step()
        self.hear()

    @precondition(lambda self: self.pair.carrier)
    @rule(seconds=st.sampled_from([0.01, 0.2, 3.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.pair.run(seconds)
        self.hear()

    @precondition(lambda self: self.pair.carrier)
    @rule(host_learns=st.booleans())
    def the_carrier_is_cut(self, host_learns: bool) -> None:
        self.pair.cut(host_learns=host_learns)

    @rule(rate=RATES, delay=DELAYS)
    def the_client_dials(self, rate: float, delay: float) -> None:
        """Also in place of a carrier that is up."""
        self.pair.rate, self.pair.delay = rate, delay
        self.pair.dial()

    @precondition(lambda self: self.pair.host.carrier > 1)
    @rule(packet=st.binary(max_size=40))
    def something_comes_late_on_an_old_carrier(self, packet: bytes) -> None:
        told = self.pair.host.receive(self.pair.host.carrier - 1, packet, now=self.pair.now)
        assert told == [CarrierEnded(Cause.SUPERSEDED)]

    def hear(self) -> None:
        for direction, heard in (
            (self.to_host, self.pair.heard_by_host),
            (self.to_client, self.pair.heard_by_client),
        ):
            events = [event for event in heard if not isinstance(event, CarrierDead)]
            assert not any(isinstance(event, Unresumable | Closed) for event in events)
            direction.heard(events)
            heard.clear()

    @invariant()
    def memory_is_bounded(self) -> None:
        for link in (self.pair.client, self.pair.host):
            assert link.kept() <= 2 * LIMITS.small_bytes_max + LIMITS.bulk_bytes_max + 3 * 180_100
            assert link.kept() == sum(link.waiting(lane) for lane in range(16))
            assert link.state is not State.OVER

    def teardown(self) -> None:
        """The path heals: everything said and not abandoned arrives, and nothing is retained for long."""
        self.pair.rate, self.pair.delay = 1e6, 0.01
        self.pair.dial()
        self.pair.run(10)
        self.hear()
        assert self.to_host.all_heard and self.to_client.all_heard
        assert self.pair.client.kept() == self.pair.host.kept() == 0


TestCuts = Cuts.TestCase
