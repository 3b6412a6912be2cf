"""The client's link against the host's, in Python: everything once and in order, over carriers that are cut at any time."""

from collections import deque
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.wire.facts import Delivered
from holdfast.wire.framing import TO_CLIENT_BYTES_MAX, TO_HOST_BYTES_MAX
from holdfast.wire.link import Limits, Link, lane_of
from holdfast.wire.pace import RELAYS, Pace
from holdfast.wire.packets import opening
from tests.web.core import Core, Failed

ID = bytes(range(16))
EACH = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

MAKE = "kept.link = new m['wire/link'].Link(a[0], {hearsMax: a[1], saysMax: a[2], now: a[3]})"
HEAR = """
const said = [];
for (const packet of a[0]) said.push(...kept.link.receive(kept.number, packet, a[1]));
return said.map((each) => [each.kind, each.lane ?? 0, each.data ?? null]);
"""


class Path:
    """Both ends and what is between them. ``now`` is theirs alike."""

    def __init__(self, core: Core) -> None:
        self.core, self.now, self.number = core, 100.0, 0
        core.run(MAKE, ID, TO_CLIENT_BYTES_MAX, TO_HOST_BYTES_MAX, self.now)
        self.host: Link | None = None
        self.up: deque[bytes] = deque()
        self.down: deque[bytes] = deque()
        self.heard: list[tuple[int, bytes]] = []  # by the host
        self.shown: list[tuple[int, bytes]] = []  # by the client
        self.dial()

    def dial(self) -> None:
        """Cut what there is, with everything on it, and begin another carrier."""
        self.up.clear()
        self.down.clear()
        self.core.run("kept.link.carrierDown(kept.link.carrier, a[0])", self.now)
        self.number = self.core.run("return kept.number = kept.link.carrierUp(a[0])", self.now)
        self.begun = False
        self.pump()

    def pump(self) -> None:
        self.up.extend(self.core.run("return kept.link.outgoing(kept.number, a[0])", self.now))
        if self.host is not None and self.begun:
            self.down.extend(self.host.outgoing(self.number, now=self.now))

    def carry(self, upwards: bool, count: int = 1) -> None:
        for _ in range(count):
            if upwards and self.up:
                packet = self.up.popleft()
                if not self.begun:
                    begins = opening(packet)
                    if self.host is None:
                        self.host = Link(
                            begins.link, dials=False, hears_max=TO_HOST_BYTES_MAX, says_max=TO_CLIENT_BYTES_MAX, now=self.now,
                            limits=Limits(lapse_s=45),
                        )  # fmt: skip
                    self.host.carrier_down(self.host.carrier, now=self.now)
                    assert self.host.carrier_up(now=self.now, number=begins.carrier) == self.number
                    self.begun = True
                assert self.host is not None
                self.heard += [
                    (each.lane, each.data)
                    for each in self.host.receive(self.number, packet, now=self.now)
                    if isinstance(each, Delivered)
                ]
            elif not upwards and self.down:
                found = self.core.run(HEAR, [self.down.popleft()], self.now)
                self.shown += [(lane, data) for kind, lane, data in found if kind == "delivered"]
        self.pump()

    def settle(self) -> None:
        """Let both say everything they have to say."""
        for _ in range(400):
            self.now += 0.03
            self.carry(True, 50)
            self.carry(False, 50)
            quiet = not self.up and not self.down and self.host is not None and not self.host.kept()
            if quiet and not self.core.run("return kept.link.kept()"):
                return
        raise AssertionError("they never came to an end")

    def tells(self, lane: int, data: bytes) -> None:
        self.core.run("kept.link.say(a[0], a[1])", lane, data)
        self.pump()

    def shows(self, lane: int, data: bytes) -> None:
        assert self.host is not None
        self.host.say(lane, data)
        self.pump()


step = st.one_of(
    st.tuples(st.just("tell"), st.sampled_from((0, 1, 15)), st.integers(1, 3000)),
    st.tuples(
        st.just("show"), st.sampled_from((0, lane_of(1), lane_of(2), 15)), st.sampled_from((1, 40, 5000, 70_000))
    ),
    st.tuples(st.just("up"), st.integers(1, 4)),
    st.tuples(st.just("down"), st.integers(1, 4)),
    st.tuples(st.just("wait"), st.sampled_from((0.001, 0.03, 0.4))),
    st.tuples(st.just("cut")),
)


@EACH
@given(steps=st.lists(step, max_size=40))
def test_everything_arrives_once_and_in_its_lanes_order_whatever_is_cut(
    core: Core, steps: list[tuple[Any, ...]]
) -> None:
    path = Path(core)
    path.carry(True, 2)
    path.carry(False, 2)
    told: list[tuple[int, bytes]] = []
    shown: list[tuple[int, bytes]] = []
    for number, (what, *more) in enumerate(steps):
        data = number.to_bytes(4, "big")
        match what:
            case "tell":
                told.append((more[0], data + bytes(more[1])))
                path.tells(*told[-1])
            case "show":
                shown.append((more[0], data + bytes(more[1])))
                path.shows(*shown[-1])
            case "up" | "down":
                path.carry(what == "up", more[0])
            case "wait":
                path.now += more[0]
                path.pump()
            case "cut":
                path.dial()
    path.settle()
    for lane in range(16):
        assert [each for each in path.heard if each[0] == lane] == [each for each in told if each[0] == lane]
        assert [each for each in path.shown if each[0] == lane] == [each for each in shown if each[0] == lane]


def test_what_was_abandoned_is_left_out_and_what_follows_is_whole(core: Core) -> None:
    path = Path(core)
    path.carry(True, 2)
    path.carry(False, 2)
    lane = lane_of(1)
    path.shows(lane, bytes(200_000))
    path.carry(False, 1)
    assert path.host is not None
    path.dial()
    path.carry(True, 2)
    assert path.host.abandon(lane) > 0
    path.shows(lane, b"the present")
    path.settle()
    assert path.shown == [(lane, b"the present")]


def test_a_silent_host_is_noticed_by_time_alone(core: Core) -> None:
    path = Path(core)
    path.carry(True, 5)
    path.carry(False, 5)
    path.settle()
    began = path.now
    wake = "return kept.link.wake(a[0]).map((each) => each.kind)"
    assert core.run(wake, began + 8.5) == []
    assert core.run("return kept.link.proofAge(a[0])", began + 8.5) == pytest.approx(8.5, abs=0.5)
    assert core.run(wake, began + 9.5) == ["carrier-dead"]
    assert core.run("return kept.link.state") == "down"


@pytest.mark.parametrize("packet", [b"", b"\x01", b"\x02" + bytes(15), b"\x09" + bytes(7), b"\x03" + bytes(23)])
def test_a_packet_that_cannot_be_ends_the_link(core: Core, packet: bytes) -> None:
    path = Path(core)
    path.carry(True, 5)
    path.carry(False, 5)
    with pytest.raises(Failed) as failed:
        core.run(HEAR, [packet], path.now)
    assert failed.value.code == "bad-packet"
    assert core.run("return kept.link.state") == "over"


@EACH
@given(turns=st.lists(st.tuples(st.sampled_from(("failed", "up")), st.floats(0, 3), st.floats(0, 1)), max_size=60))
def test_both_dial_again_at_the_same_instants(core: Core, turns: list[tuple[str, float, float]]) -> None:
    """The pace of wire/pace.py and of the page are one, whatever fails and for however long what does not fail lasts."""
    pace, now, due = Pace(now=0.0, bounds=RELAYS), 0.0, []
    for what, lasts, draw in turns:
        pace.trying()
        if what == "up":
            pace.up(now=now)
            now += lasts
            pace.lost(now=now, draw=draw)
        else:
            pace.failed(now=now, draw=draw)
        assert pace.due is not None
        now = pace.due
        due.append(now)
    theirs = core.run(
        """const pace = new m['wire/pace'].Pace(0); let now = 0; const due = [];
        for (const [what, lasts, draw] of a[0]) {
          pace.trying();
          if (what === "up") { pace.up(now); now += lasts; pace.lost(now, draw); } else pace.failed(now, draw);
          now = pace.due; due.push(now);
        }
        return due;""",
        [list(each) for each in turns],
    )
    assert theirs == pytest.approx(due)
