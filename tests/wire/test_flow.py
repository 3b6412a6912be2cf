"""How much is on its way: next to nothing that waits on a slow path, no limit that is felt on a fast one. Virtual time."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.wire.flow import FIRST_TARGET, Flow
from holdfast.wire.link import CONTROL, INPUT, Delivered, lane_of
from tests.wire.linkpaths import LossyPipe, Pair

LANE = lane_of(1)


class Flood:
    """A host that says as much bulk as there is room for, in pieces, and what becomes of it."""

    def __init__(self, pair: Pair, *, piece: int) -> None:
        self.pair, self.piece = pair, piece
        self.said_at: list[float] = []
        self.worst = 0  # bytes said and not delivered
        self.late = 0.0  # seconds from saying to delivery
        self.delivered = 0
        pair.fill = self.fill

    def fill(self) -> None:
        pair = self.pair
        for event in pair.heard_by_client:
            if isinstance(event, Delivered) and event.lane == LANE:
                self.delivered += len(event.data)
                self.late = max(self.late, pair.now - self.said_at[int.from_bytes(event.data[:8], "big")])
        pair.heard_by_client.clear()
        while (room := pair.host.room(now=pair.now)) > 0:
            size = max(8, min(self.piece, room))
            pair.host.say(LANE, len(self.said_at).to_bytes(8, "big") + bytes(size - 8))
            self.said_at.append(pair.now)
        self.worst = max(self.worst, sum(self.sizes_on_the_way()))

    def sizes_on_the_way(self) -> tuple[int, int]:
        pair = self.pair
        return pair.to_client.size, pair.host._unsent

    def settle(self, seconds: float) -> None:
        self.fill()
        self.pair.flush()
        self.pair.run(seconds)
        self.worst, self.late, self.delivered = 0, 0.0, 0


@pytest.mark.parametrize(
    ("rate", "delay", "settle_s", "for_s", "piece"),
    [
        (12_500, 0.02, 4, 40, 4096),  # 100 kbit/s
        (12_500, 0.15, 6, 40, 65_000),
        (125_000, 0.02, 3, 30, 4096),
        (125_000, 0.1, 4, 30, 65_000),
        (1_250_000, 0.05, 3, 20, 65_000),
        (1_250_000, 0.3, 8, 30, 65_000),
    ],
)
def test_a_path_is_filled_and_next_to_nothing_waits(
    rate: float, delay: float, settle_s: float, for_s: float, piece: int
) -> None:
    """At least 90 % of the path is used, and what is on its way beyond what the path itself holds is less than 0.4 s."""
    pair = Pair(rate=rate, delay=delay)
    pair.dial()
    flood = Flood(pair, piece=piece)
    pair.run(0.1 + 4 * delay)
    flood.settle(settle_s)
    pair.run(for_s)
    assert flood.delivered >= 0.9 * rate * for_s
    own = rate * 2 * delay
    assert flood.worst <= own + 0.4 * rate
    assert flood.late <= delay * 4 + 0.5


@pytest.mark.parametrize("delay", [0.0005, 0.002, 0.004])
def test_a_gigabit_is_filled(delay: float) -> None:
    rate = 125e6
    pair = Pair(rate=rate, delay=delay)
    pair.dial()
    flood = Flood(pair, piece=65_000)
    pair.run(0.1)
    flood.settle(0.2)
    pair.run(0.5)
    assert flood.delivered >= 0.9 * rate * 0.5
    assert flood.worst <= (2 << 20) + 100  # the bound of what is kept, and the heads of packets


def test_no_path_at_all_is_no_limit() -> None:
    pair = Pair(delay=0.0001)
    pair.dial()
    pair.run(0.01)
    flood = Flood(pair, piece=65_000)
    flood.fill()
    pair.flush()
    pair.run(0.1)
    assert flood.delivered >= 100 << 20


def test_what_is_said_before_the_path_is_known_is_little() -> None:
    """16 KiB, once per carrier: 1.3 s of 100 kbit/s."""
    pair = Pair(rate=12_500, delay=0.02)
    pair.dial()
    flood = Flood(pair, piece=4096)
    pair.run(0.2)
    flood.fill()
    assert flood.worst <= FIRST_TARGET + 100


def test_a_path_is_measured_by_the_first_that_is_said() -> None:
    pair = Pair(rate=12_500, delay=0.02)
    pair.dial()
    pair.run(3)  # idle, which says nothing about the path
    flood = Flood(pair, piece=4096)
    flood.fill()
    pair.flush()
    pair.run(1)
    assert pair.host.rate == pytest.approx(12_500, rel=0.2)


def test_nobody_waits_for_an_acknowledgement_that_is_held() -> None:
    """Over a short path the first window is followed by the next one at once, not after 25 ms."""
    pair = Pair(delay=0.0005)
    pair.dial()
    pair.run(0.01)
    pair.fill = lambda: None
    pair.host.say(LANE, bytes(100_000))
    pair.flush()
    pair.run(0.01)
    assert any(isinstance(event, Delivered) for event in pair.heard_by_client)


@pytest.mark.parametrize("lane", [CONTROL, INPUT])
def test_what_is_not_bulk_waits_for_nothing_but_what_is_in_flight(lane: int) -> None:
    """Under a flood over 1 Mbit/s and 40 ms: a round trip's worth and QUEUE_S at most, not what waits in the link."""
    pair = Pair(rate=125_000, delay=0.02)
    pair.dial()
    flood = Flood(pair, piece=65_000)
    pair.run(0.2)
    flood.settle(3)
    said = pair.now
    pair.host.say(lane, b"take")
    pair.flush()
    pair.fill = lambda: None
    while Delivered(lane, b"take") not in pair.heard_by_client:
        assert pair.step()
    assert pair.now - said <= 0.02 + 0.04 + 0.1 + 0.05


def test_a_flood_on_one_attachment_holds_up_no_other_one() -> None:
    pair = Pair(rate=125_000, delay=0.02)
    pair.dial()
    flood = Flood(pair, piece=65_000)
    pair.run(0.2)
    flood.settle(3)
    said, other = pair.now, lane_of(2)
    pair.host.say(other, b"echo")
    pair.flush()
    pair.fill = lambda: None
    while Delivered(other, b"echo") not in pair.heard_by_client:
        assert pair.step()
    assert pair.now - said <= 0.02 + 0.04 + 0.1 + 0.08


def test_a_path_that_becomes_slow_is_followed_down_and_up_again() -> None:
    pair = Pair(rate=1_250_000, delay=0.02)
    pair.dial()
    flood = Flood(pair, piece=4096)
    pair.run(0.2)
    flood.settle(3)
    pair.to_client.rate = 12_500
    pair.run(35)  # what was on its way takes 30 s
    flood.worst, flood.late, flood.delivered = 0, 0.0, 0
    pair.run(20)
    assert flood.worst <= 12_500 * (0.04 + 0.5)
    assert flood.delivered >= 0.9 * 12_500 * 20
    pair.to_client.rate = 1_250_000
    pair.run(3)
    flood.delivered = 0
    pair.run(5)
    assert flood.delivered >= 0.9 * 1_250_000 * 5


@pytest.mark.parametrize("seed", range(8))
def test_a_path_that_loses_packets_is_used_and_little_waits(seed: int) -> None:
    """R30. Nothing arrives for a while, then everything at once: that is not how quick the path is."""
    rate, chance = 12_500, random.Random(seed)
    pair = Pair()
    pair.dial_over(*(LossyPipe(rate, 0.01, loss=0.08, burst=2048, chance=chance) for _ in range(2)))
    flood = Flood(pair, piece=65_000)
    pair.run(2)
    flood.settle(2)
    late, delivered = [], 0
    for _ in range(120):
        flood.late, flood.delivered = 0.0, 0
        pair.run(0.5)
        late.append(flood.late)
        delivered += flood.delivered
    assert sorted(late)[len(late) // 2] <= 0.75
    assert delivered >= 0.75 * rate * 60


@pytest.mark.parametrize("delay", [0.08, 0.1, 0.4])
def test_a_path_that_becomes_long_is_filled_again(delay: float) -> None:
    pair = Pair(rate=1_250_000, delay=0.02)
    pair.dial()
    flood = Flood(pair, piece=65_000)
    pair.run(0.2)
    flood.settle(3)
    pair.to_client.delay = pair.to_host.delay = delay
    pair.run(16)
    flood.delivered = 0
    pair.run(30)
    assert flood.delivered >= 0.9 * 1_250_000 * 30


def test_typing_alone_says_nothing_about_the_path() -> None:
    """Small messages one at a time deliver little; that is no measurement of what the path can do."""
    pair = Pair(rate=1_250_000, delay=0.05)
    pair.dial()
    pair.run(0.3)
    for _ in range(50):
        pair.host.say(LANE, b"x" * 20)
        pair.flush()
        pair.run(0.2)
    assert pair.host.rate is None
    assert pair.host.room(now=pair.now) >= FIRST_TARGET - 1


def test_the_round_trip_is_the_paths_own_under_a_flood_too() -> None:
    pair = Pair(rate=125_000, delay=0.05)
    pair.dial()
    flood = Flood(pair, piece=4096)
    pair.run(0.3)
    flood.settle(25)
    own = pair.host._flow.rtt_min
    assert own is not None and 0.1 <= own <= 0.15
    pair.fill = lambda: None
    pair.run(90)
    assert pair.host.rtt is not None and pair.host.rtt <= 0.15


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["send", "ack", "starved", "filled", "rtt"]), st.integers(1, 70_000), st.floats(0, 30)
        ),
        max_size=60,
    )
)
def test_whatever_is_measured_the_bounds_hold(happenings: list[tuple[str, int, float]]) -> None:
    flow, now, most = Flow(most=1 << 20), 0.0, 1 << 20
    for what, number, seconds in happenings:
        now += seconds / 10
        if what == "send":
            flow.sent(number % 16, number, number, now)
        elif what == "ack" and flow.in_flight:
            flow.acked(1 + number % flow.in_flight, seconds, now)
        elif what == "starved":
            flow.starved()
        elif what == "filled":
            flow.filled(max(0, flow.total - number))
        elif what == "rtt":
            flow.round_trip(seconds - 1, clear=bool(number % 2), now=now)
        assert 1 <= flow.window(now) <= most
        assert 1 <= flow.target(now) <= most
        assert 1 <= flow.chunk <= 65_519
        assert flow.flight == sum(flow.flying) >= 0
