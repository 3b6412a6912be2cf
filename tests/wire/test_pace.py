"""When to dial again: never hammering, never giving up, and at once where that helps."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.wire.pace import RELAYS, Bounds, Pace

BOUNDS = Bounds(first_s=0.2, most_s=20.0, calm_s=10.0)
DRAWS = st.floats(0, 1, exclude_max=True)


def waits(pace: Pace, draws: list[float], now: float = 0.0) -> list[float]:
    """Fail once per draw, each time at the instant that was due; return the waits."""
    found = []
    for draw in draws:
        pace.trying()
        pace.failed(now=now, draw=draw)
        assert pace.due is not None
        found.append(pace.due - now)
        now = pace.due
    return found


def test_the_first_attempt_is_due_at_once() -> None:
    assert Pace(now=7.0).due == 7.0


def test_waits_double_up_to_the_bound_and_stay_there() -> None:
    found = waits(Pace(now=0, bounds=BOUNDS), [1.0] * 10)
    assert found == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20, 20, 20])


@given(st.lists(DRAWS, min_size=1, max_size=80))
def test_every_wait_is_between_half_and_all_of_its_bound_for_ever(draws: list[float]) -> None:
    for index, wait in enumerate(waits(Pace(now=0, bounds=BOUNDS), draws)):
        most = min(20.0, 0.2 * 2**index)
        assert most / 2 * 0.999 <= wait <= most * 1.001


def test_the_first_waits_are_brisk_and_then_they_double() -> None:
    bounds = Bounds(first_s=0.05, most_s=2.0, brisk=4, brisk_s=0.25)
    found = waits(Pace(now=0, bounds=bounds), [1.0] * 9)
    assert found == pytest.approx([0.05, 0.1, 0.2, 0.25, 0.25, 0.5, 1.0, 2.0, 2.0])


def test_a_thousand_failures_are_no_number_too_large() -> None:
    pace = Pace(now=0, bounds=BOUNDS)
    pace.failures = 100_000
    pace.failed(now=0, draw=0.5)
    assert pace.due == pytest.approx(15)


def test_the_loss_of_a_sound_carrier_is_retried_at_once_whatever_failed_before() -> None:
    pace = Pace(now=0, bounds=BOUNDS)
    waits(pace, [0.5] * 12)
    pace.trying()
    pace.up(now=100)
    assert pace.due is None
    pace.lost(now=110, draw=0.5)
    assert pace.due == 110
    assert waits(pace, [1.0], now=110) == pytest.approx([0.2])


def test_a_relay_that_is_back_within_three_seconds_is_met_within_a_quarter_of_one() -> None:
    """R37; whatever the draws: the waits until then are short, and they last for as long as the relay may be away."""
    for draw in (0.0, 0.5, 1.0):
        found = waits(Pace(now=0, bounds=RELAYS), [draw] * 60)
        assert max(wait for at, wait in enumerate(found) if sum(found[:at]) <= 3.0) <= 0.2501
        assert found[-1] >= 1.0  # and one that stays away is not hammered


def test_a_path_that_accepts_and_then_drops_is_not_hammered() -> None:
    pace, now, found = Pace(now=0, bounds=BOUNDS), 0.0, []
    for _ in range(8):
        pace.trying()
        pace.up(now=now)
        pace.lost(now=now + 1, draw=1.0)
        assert pace.due is not None
        found.append(pace.due - now - 1)
        now = pace.due
    assert found == pytest.approx([0, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8])


@settings(max_examples=60, stateful_step_count=40, deadline=None)
class Dialler(RuleBasedStateMachine):
    """Anything may happen in any order; an attempt is always due within the bound."""

    def __init__(self) -> None:
        super().__init__()
        self.pace, self.now, self.state = Pace(now=0, bounds=BOUNDS), 0.0, "waiting"

    @rule(seconds=st.floats(0, 60))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.state == "waiting")
    @rule()
    def dial(self) -> None:
        self.now = max(self.now, self.pace.due or 0.0)
        self.pace.trying()
        self.state = "trying"

    @precondition(lambda self: self.state == "trying")
    @rule(works=st.booleans(), draw=DRAWS)
    def outcome(self, works: bool, draw: float) -> None:
        if works:
            self.pace.up(now=self.now)
        else:
            self.pace.failed(now=self.now, draw=draw)
        self.state = "up" if works else "waiting"

    @precondition(lambda self: self.state == "up")
    @rule(draw=DRAWS)
    def loss(self, draw: float) -> None:
        self.pace.lost(now=self.now, draw=draw)
        self.state = "waiting"

    @invariant()
    def an_attempt_is_due_within_the_bound(self) -> None:
        assert (self.pace.due is None) == (self.state != "waiting")
        assert self.pace.due is None or self.pace.due <= self.now + BOUNDS.most_s


TestDialler = Dialler.TestCase
