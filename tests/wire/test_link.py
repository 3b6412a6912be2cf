"""A link packet by packet: what each kind looks like, what each end makes of it, and what a hostile end gains: nothing."""

import math
import re
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.wire import packets as p
from holdfast.wire.lanes import LARGE
from holdfast.wire.link import (
    ACK_BYTES,
    ACK_S,
    CONTROL,
    INPUT,
    STEPS,
    BadPacket,
    CarrierDead,
    CarrierEnded,
    Cause,
    Closed,
    Delivered,
    Limits,
    Link,
    LinkFull,
    LinkOver,
    Resumed,
    State,
    Step,
    Superseded,
    Unresumable,
    lane_of,
)
from tests.wire.linkpaths import CLIENT_HEARS, HOST_HEARS, Pair, client_link, host_link

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "link.md").read_text()
ID = bytes(range(16))
BULK = lane_of(1)
HEAD = p.DATA_HEAD.size


def up(*, limits: Limits | None = None, delay: float = 0.01) -> Pair:
    """A pair whose first carrier is up, with nothing left to say."""
    pair = Pair(delay=delay, limits=limits)
    pair.dial()
    pair.run(1)
    assert pair.heard_by_client == pair.heard_by_host == [Resumed(carrier=1, new=True, waiting=0)]
    pair.heard_by_client.clear()
    pair.heard_by_host.clear()
    return pair


def resume(
    carrier: int = 1, *, new: bool = True, link: bytes = bytes(16), received: tuple[int, ...] = (0,) * 16
) -> bytes:
    return p.Resume(p.VERSION, new, carrier, link, received).packed()


def data(lane: int, position: int, payload: bytes, *, acked: int = 0, held: int = 0) -> bytes:
    return p.DATA_HEAD.pack(p.DATA, lane, held, acked, position) + payload


def message(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def fresh_host() -> Link:
    """A host's end on carrier 1, which has heard a client's resume."""
    link = host_link()
    link.carrier_up(now=0, number=1)
    assert link.receive(1, resume(), now=0) == [Resumed(1, True, 0)]
    link.outgoing(1, now=0)
    return link


# ---- the bytes -------------------------------------------------------------------------------------------------------


PACKETS = {
    "resume": p.Resume(1, False, 7, ID, (5, *[0] * 14, 258)).packed(),
    "data": data(2, 300, message(b"hi"), acked=9, held=12),
    "skip": p.skip(12, 9, 3, 300, 4396),
    "ack": p.ack(250, 65536),
    "ping": p.mark(p.PING, 0, 9, 4),
    "pong": p.mark(p.PONG, 0, 9, 4),
    "close": p.closing(Cause.MOVING, "restart"),
}


@pytest.mark.parametrize("kind", PACKETS)
def test_the_page_shows_the_very_bytes(kind: str) -> None:
    """Whoever writes the other end from docs/link.md can check against these."""
    shown = re.search(rf"^{kind} *: ([0-9a-f ]+(?:\n +[0-9a-f ]+)*)", PAGE, re.MULTILINE)
    assert shown is not None
    assert bytes.fromhex(shown[1]) == PACKETS[kind]


def test_the_page_names_every_cause_with_its_number() -> None:
    said = {int(number): name for number, name in re.findall(r"^\| (\d+) `([a-z]+)` \|", PAGE, re.MULTILINE)}
    assert said == {cause.value: cause.name.lower() for cause in Cause}


@given(
    st.booleans(),
    st.integers(1, (1 << 32) - 1),
    st.binary(min_size=16, max_size=16),
    st.lists(st.integers(0, p.POSITION_MAX), min_size=16, max_size=16),
)
def test_a_resume_survives_the_trip(new: bool, carrier: int, link: bytes, received: list[int]) -> None:
    said = p.Resume(1, new, carrier, link, (0,) * 16 if new else tuple(received))
    assert p.opening(said.packed()) == said


@given(st.sampled_from(Cause), st.text(max_size=300))
def test_a_close_survives_the_trip_as_far_as_its_text_may_go(cause: Cause, text: str) -> None:
    assert p.closed(p.closing(cause, text))[0] is cause
    assert len(p.closing(cause, text)) <= 8 + p.TEXT_BYTES_MAX


def test_a_cause_of_a_later_version_ends_the_link() -> None:
    link = fresh_host()
    (event,) = link.receive(1, bytes([p.CLOSE, 200]) + bytes(6), now=0)
    assert event == Unresumable(Cause.GONE, "for a cause that is not known here (200)")
    assert link.state is State.OVER


def test_the_table_of_states_is_all_there_is() -> None:
    assert {state: {step.name.lower(): to.value for step, to in steps.items()} for state, steps in STEPS.items()} == {
        State.DOWN: {"carrier": "greeting", "end": "over"},
        State.GREETING: {"carrier": "greeting", "greeted": "up", "lost": "down", "end": "over"},
        State.UP: {"carrier": "greeting", "lost": "down", "end": "over"},
        State.OVER: {},
    }
    assert set(Step) == {step for steps in STEPS.values() for step in steps}


# ---- messages and lanes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 4095, 4096, 4097, 65_499, 65_500, LARGE, LARGE + 1, 1 << 20, 4 << 20])
@pytest.mark.parametrize("lane", [CONTROL, INPUT, BULK])
def test_a_message_of_any_size_arrives_whole(lane: int, size: int) -> None:
    pair = up()
    body = bytes(range(251)) * (size // 251) + bytes(size % 251)
    pair.host.say(lane, body)
    pair.flush()
    pair.run(1)
    assert pair.heard_by_client == [Delivered(lane, body)]
    assert pair.host.kept() == 0


@pytest.mark.parametrize("size", [0, CLIENT_HEARS + 1])
def test_a_message_of_no_size_or_too_much_is_the_callers_error(size: int) -> None:
    with pytest.raises(ValueError, match="can be said"):
        host_link().say(BULK, bytes(size))


def test_small_messages_share_a_packet() -> None:
    pair = up()
    for number in range(20):
        pair.host.say(BULK, bytes([number]) * 50)
    assert len(pair.host.outgoing(1, now=pair.now)) == 1


def test_control_goes_before_input_before_bulk_whatever_the_order_they_were_said_in() -> None:
    pair = up()
    for lane in (BULK, INPUT, CONTROL):
        pair.client.say(lane, bytes([lane]))
    assert [packet[1] for packet in pair.client.outgoing(1, now=pair.now)] == [CONTROL, INPUT, BULK]


def test_bulk_lanes_take_turns_packet_by_packet() -> None:
    pair = up()
    for lane in (2, 3):
        pair.host.say(lane, bytes(9000))
    sent = [packet[1] for packet in pair.host.outgoing(1, now=pair.now)]
    assert sent[:4] == [2, 3, 2, 3]


def test_of_large_messages_only_one_is_under_way_in_the_bulk_lanes_and_small_ones_pass() -> None:
    pair = up(limits=Limits(bulk_bytes_max=4 << 20))
    for lane in (2, 3):
        pair.host.say(lane, bytes([lane]) * 200_000)
    pair.host.say(4, b"small")
    pair.flush()
    pair.run(1)
    assert [(event.lane, len(event.data)) for event in pair.heard_by_client if isinstance(event, Delivered)] == [
        (4, 5), (2, 200_000), (3, 200_000),
    ]  # fmt: skip


def test_large_messages_on_every_lane_at_once_are_within_what_the_other_end_takes() -> None:
    pair = up(limits=Limits(bulk_bytes_max=32 << 20))
    for lane in range(2, 16):
        pair.host.say(lane, b"s" * 60_000)
        pair.host.say(lane, b"L" * (2 << 20))
    pair.flush()
    pair.run(1)
    arrived = [(event.lane, len(event.data)) for event in pair.heard_by_client if isinstance(event, Delivered)]
    assert sorted(arrived) == [(lane, size) for lane in range(2, 16) for size in (60_000, 2 << 20)]
    pair.heard_by_client.clear()


def test_all_of_an_attachment_is_on_one_bulk_lane_and_no_answer_is() -> None:
    assert {lane_of(attachment) for attachment in range(1000)} == set(range(2, 15))


def test_more_than_may_be_kept_is_refused_and_what_was_said_stays() -> None:
    link = host_link(limits=Limits(small_bytes_max=1000, bulk_bytes_max=2000))
    for lane, most in ((CONTROL, 1000), (INPUT, 1000), (BULK, 2000)):
        while link.waiting(lane) < most:
            link.say(lane, bytes(96))
        with pytest.raises(LinkFull) as refused:
            link.say(lane, bytes(96))
        assert refused.value.code == "link-full"
        assert most <= link.waiting(lane) < most + 100
    with pytest.raises(LinkFull):
        link.say(BULK + 1, b"x")  # the bulk lanes share one bound


def test_there_is_no_room_without_a_carrier_or_before_the_other_end_was_heard() -> None:
    link = host_link()
    assert link.room(now=0) == 0
    link.carrier_up(now=0, number=1)
    assert link.room(now=0) == 0
    link.receive(1, resume(), now=0)
    assert link.room(now=0) > 0
    link.carrier_down(1, now=0)
    assert link.room(now=0) == 0


# ---- carriers --------------------------------------------------------------------------------------------------------


def test_the_first_message_travels_with_the_first_packets_of_a_carrier() -> None:
    """No round trip is spent before a new link's first request, nor before what was typed is sent again."""
    client = client_link()
    client.say(CONTROL, b"hello")
    carrier = client.carrier_up(now=0)
    packets = client.outgoing(carrier, now=0)
    host = host_link()
    host.carrier_up(now=0, number=p.opening(packets[0]).carrier)
    assert [host.receive(1, packet, now=0) for packet in packets] == [[Resumed(1, True, 0)], [Delivered(0, b"hello")]]


def test_input_does_not_overtake_control_that_waits_for_the_other_end_to_be_heard() -> None:
    client = client_link()
    client.say(CONTROL, bytes(150_000))
    client.say(INPUT, b"x")
    assert {packet[1] for packet in client.outgoing(client.carrier_up(now=0), now=0)[1:]} == {CONTROL}


def test_what_arrived_of_a_packet_sent_at_a_guess_is_left_out_when_it_is_sent_again() -> None:
    """What arrived ends inside that packet, because it was cut otherwise on the carrier before."""
    pair = up()
    pair.client.say(CONTROL, b"a" * 1000)
    for packet in pair.client.outgoing(1, now=pair.now):
        pair.at_host(packet)
    pair.client.say(CONTROL, b"b" * 1000)
    pair.cut()
    for _ in range(2):
        pair.dial()
        hello, guess = pair.to_host.under_way[0][1], pair.to_host.under_way[-1][1]
        assert len(guess) > 1000
        pair.at_host(hello)
        for packet in pair.host.outgoing(pair.accepted, now=pair.now):
            pair.client.receive(pair.carrier, packet, now=pair.now)
        pair.cut()
    pair.dial()
    pair.run(1)
    assert [event for event in pair.heard_by_host if isinstance(event, Delivered)] == [
        Delivered(CONTROL, b"a" * 1000),
        Delivered(CONTROL, b"b" * 1000),
    ]


def test_bulk_waits_until_the_other_end_said_what_arrived() -> None:
    client = client_link()
    client.say(BULK, b"hello")
    assert len(client.outgoing(client.carrier_up(now=0), now=0)) == 1


def test_at_a_guess_no_more_is_sent_again_than_the_first_window() -> None:
    client = client_link()
    for _ in range(100):
        client.say(INPUT, bytes(1000))
    packets = client.outgoing(client.carrier_up(now=0), now=0)
    assert sum(map(len, packets)) <= (1 << 14) + 4096 + 200


@pytest.mark.parametrize("lost", range(4))
def test_what_was_lost_with_a_carrier_is_sent_again_and_nothing_else(lost: int) -> None:
    pair = up()
    for number in range(3):
        pair.client.say(INPUT, bytes([number]) * 5000)
    packets = pair.client.outgoing(1, now=pair.now)
    assert len(packets) == 4
    for packet in packets[: 4 - lost]:
        pair.at_host(packet)
    heard = len(pair.heard_by_host)
    pair.cut()
    pair.dial()
    assert p.opening(pair.to_host.under_way[0][1]).new is False
    pair.run(1)
    bodies = [event.data for event in pair.heard_by_host if isinstance(event, Delivered)]
    assert bodies == [bytes([number]) * 5000 for number in range(3)]
    assert heard <= len(bodies)


def test_a_packet_that_ends_inside_a_message_is_continued_on_the_next_carrier() -> None:
    pair = up()
    pair.host.say(BULK, bytes(300_000))
    packets = pair.host.outgoing(1, now=pair.now)
    for packet in packets[:2]:
        pair.heard_by_client += pair.client.receive(1, packet, now=pair.now)
    pair.cut()
    pair.dial()
    pair.run(1)
    assert [event for event in pair.heard_by_client if isinstance(event, Delivered)] == [
        Delivered(BULK, bytes(300_000))
    ]
    assert Resumed(2, False, 300_004 - 2 * (len(packets[0]) - HEAD)) in pair.heard_by_host


def test_a_duplicate_changes_nothing() -> None:
    link = fresh_host()
    packet = data(INPUT, 0, message(b"one") + message(b"two"))
    assert link.receive(1, packet, now=0) == [Delivered(1, b"one"), Delivered(1, b"two")]
    assert link.receive(1, packet, now=0) == []
    assert link.receive(1, data(INPUT, 7, message(b"two") + message(b"three")), now=0) == [Delivered(1, b"three")]


def test_a_later_carrier_takes_over_and_the_earlier_one_is_told() -> None:
    pair = up()
    pair.host.say(CONTROL, b"x")
    pair.dial()
    pair.run(1)
    assert pair.host.carrier == 2
    assert pair.host.receive(1, b"whatever", now=pair.now) == [CarrierEnded(Cause.SUPERSEDED)]
    assert pair.host.outgoing(1, now=pair.now) == []
    pair.host.carrier_down(1, now=pair.now)
    assert pair.host.state is State.UP
    assert Delivered(0, b"x") in pair.heard_by_client


@pytest.mark.parametrize("number", [1, 2])
def test_a_carrier_that_comes_late_is_superseded_already(number: int) -> None:
    link = host_link()
    link.carrier_up(now=0, number=2)
    with pytest.raises(Superseded):
        link.carrier_up(now=1, number=number)
    assert link.carrier == 2 and link.state is State.GREETING


@pytest.mark.parametrize("cause", [Cause.SUPERSEDED, Cause.MOVING])
def test_the_end_of_a_carrier_is_not_the_end_of_the_link(cause: Cause) -> None:
    pair = up()
    assert pair.client.receive(1, p.closing(cause, "why"), now=pair.now) == [CarrierEnded(cause, "why")]
    assert pair.client.state is State.DOWN
    pair.dial()
    pair.run(1)
    assert Resumed(2, False, 0) in pair.heard_by_client


@pytest.mark.parametrize("cause", sorted(set(Cause) - {Cause.SUPERSEDED, Cause.MOVING}))
def test_every_other_cause_ends_the_link_and_the_other_end_knows_which(cause: Cause) -> None:
    pair = up()
    pair.host.say(BULK, b"lost")
    pair.host.close(cause, "why")
    pair.host.close(Cause.BYE, "twice is harmless")
    (packet,) = pair.host.outgoing(1, now=pair.now)
    told = Closed("why") if cause is Cause.BYE else Unresumable(cause, "why")
    assert pair.client.receive(1, packet, now=pair.now) == [told]
    for link in (pair.client, pair.host):
        assert (link.state, link.kept(), link.deadline, link.cause) == (State.OVER, 0, None, cause)
        assert link.outgoing(1, now=pair.now) == []
        with pytest.raises(LinkOver):
            link.say(CONTROL, b"x")
        with pytest.raises(LinkOver):
            link.carrier_up(now=pair.now)


def test_a_host_that_lost_the_link_says_so_and_so_does_one_that_made_it_anew() -> None:
    pair = up()
    pair.cut()
    pair.dial()
    hello = pair.to_host.under_way[0][1]
    anew = host_link()
    anew.carrier_up(now=9, number=2)
    assert anew.receive(2, hello, now=9) == [Unresumable(Cause.GONE, "the state of this link is not there any more")]
    (said,) = anew.outgoing(2, now=9)
    assert pair.client.receive(2, said, now=9)[0] == Unresumable(
        Cause.GONE, "the state of this link is not there any more"
    )
    pair = up()
    pair.cut()
    pair.dial()
    (event,) = pair.client.receive(2, resume(2), now=9)  # it plays along, knowing nothing
    assert isinstance(event, Unresumable) and event.cause is Cause.GONE


def test_another_link_is_not_resumed_as_this_one() -> None:
    link = host_link()
    link.carrier_up(now=0, number=1)
    (event,) = link.receive(1, resume(link=ID), now=0)
    assert isinstance(event, Unresumable) and event.cause is Cause.GONE


def test_another_version_is_refused_in_words() -> None:
    link = host_link()
    link.carrier_up(now=0, number=1)
    packet = bytes([p.RESUME, 2]) + bytes(300)
    assert p.opening(packet).version == 2
    (event,) = link.receive(1, packet, now=0)
    assert event == Unresumable(Cause.VERSION, "format 2 there, 1 here")
    assert p.closed(link.outgoing(1, now=0)[0])[0] is Cause.VERSION


def test_an_end_that_forgot_what_it_acknowledged_cannot_go_on() -> None:
    pair = up()
    pair.host.say(BULK, b"12345678")
    pair.flush()
    pair.run(1)
    pair.cut()
    pair.host.carrier_up(now=pair.now, number=2)
    received = [0] * 16
    received[BULK] = 11  # of 12
    (event,) = pair.host.receive(2, resume(2, new=False, received=tuple(received)), now=pair.now)
    assert isinstance(event, Unresumable) and event.cause is Cause.FORGOTTEN


def test_a_link_is_kept_without_a_carrier_for_as_long_as_was_said() -> None:
    pair = up(limits=Limits(lapse_s=60))
    pair.cut()
    at = pair.now + 60
    assert pair.host.deadline == at
    assert pair.host.wake(now=at - 0.1) == []
    assert pair.host.wake(now=at) == [Unresumable(Cause.LAPSED, "no carrier for 60 s")]
    assert pair.host.wake(now=at) == []


# ---- state, not history ----------------------------------------------------------------------------------------------


def test_what_is_abandoned_is_not_sent_and_what_follows_is() -> None:
    pair = up()
    pair.host.say(BULK, b"old")
    pair.host.say(BULK + 1, b"other")
    assert pair.host.abandon(BULK) == 7
    pair.host.say(BULK, b"new")
    assert pair.host.kept() == 16
    pair.flush()
    pair.run(1)
    assert sorted(pair.heard_by_client) == [Delivered(BULK, b"new"), Delivered(BULK + 1, b"other")]
    assert pair.host.kept() == 0


@pytest.mark.parametrize("arrived", range(4))
def test_what_is_abandoned_over_a_cut_is_skipped_wherever_it_was_cut(arrived: int) -> None:
    pair = up()
    pair.host.say(BULK, bytes(9000))
    packets = pair.host.outgoing(1, now=pair.now)
    for packet in packets[:arrived]:
        pair.heard_by_client += pair.client.receive(1, packet, now=pair.now)
    pair.cut()
    pair.host.abandon(BULK)
    pair.host.say(BULK, b"keyframe" * 2000)
    pair.dial()
    sent = pair.host.kept()
    pair.run(1)
    bodies = [event.data for event in pair.heard_by_client if isinstance(event, Delivered)]
    assert bodies == ([bytes(9000)] if arrived == 3 else []) + [b"keyframe" * 2000]
    assert sent == 16_004 and pair.host.kept() == 0


def test_what_is_said_after_abandoning_is_retained_until_it_arrived_itself() -> None:
    pair = up()
    pair.host.say(BULK, bytes(9000))
    old = pair.host.outgoing(1, now=pair.now)
    pair.host.abandon(BULK)
    pair.host.say(BULK, b"keyframe")
    assert pair.host.outgoing(1, now=pair.now) != []
    for packet in old:
        pair.heard_by_client += pair.client.receive(1, packet, now=pair.now)
    for packet in pair.client.outgoing(1, now=pair.now + 1):
        pair.host.receive(1, packet, now=pair.now + 1)
    pair.cut()
    pair.dial()
    pair.run(1)
    assert Delivered(BULK, b"keyframe") in pair.heard_by_client


@pytest.mark.parametrize("begun", [b"\x00", b"\x00\x00\x00", b"\x00\x00\x10\x00", b"\x00\x00\x10\x00abc"])
def test_a_skip_throws_away_what_had_begun(begun: bytes) -> None:
    link = fresh_host()
    assert link.receive(1, data(2, 0, begun), now=0) == []
    assert link.receive(1, p.skip(0, 0, 2, len(begun), 5000), now=0) == []
    assert link.receive(1, data(2, 5000, message(b"next")), now=0) == [Delivered(2, b"next")]


@pytest.mark.parametrize("lane", [CONTROL, INPUT, 16, -1])
def test_control_and_input_are_never_abandoned(lane: int) -> None:
    with pytest.raises(ValueError, match="never abandoned"):
        host_link().abandon(lane)


# ---- time ------------------------------------------------------------------------------------------------------------


def test_an_acknowledgement_is_held_25_ms_at_most_and_says_how_long() -> None:
    link = fresh_host()
    link.receive(1, data(INPUT, 0, message(b"a")), now=5.0)
    assert link.deadline == 5.0 + ACK_S
    assert link.outgoing(1, now=5.02) == []
    (packet,) = link.outgoing(1, now=5.025)
    assert p.COMMON.unpack(packet) == (p.ACK, 0, 249, 1) or p.COMMON.unpack(packet) == (p.ACK, 0, 250, 1)
    assert link.outgoing(1, now=6) == []


def test_an_acknowledgement_of_much_leaves_at_once() -> None:
    link = fresh_host()
    link.receive(1, data(BULK, 0, message(bytes(ACK_BYTES - 5))), now=5.0)
    assert link.outgoing(1, now=5.0) == []
    link.receive(1, data(BULK, ACK_BYTES - 1, message(b"x")), now=5.0)
    assert link.outgoing(1, now=5.0) == [p.ack(0, 2)]


def test_an_answer_carries_the_acknowledgement() -> None:
    link = fresh_host()
    link.receive(1, data(INPUT, 0, message(b"a")), now=5.0)
    link.say(CONTROL, b"typed")
    (packet,) = link.outgoing(1, now=5.001)
    assert p.DATA_HEAD.unpack_from(packet)[3] == 1
    assert link.outgoing(1, now=6) == []


def test_silence_is_asked_about_then_reported_once_at_the_announced_instants() -> None:
    link = fresh_host()
    seen = []
    now = 0.0
    while link.deadline is not None:
        now = link.deadline
        events = link.wake(now=now)
        seen += [(now, packet[0]) for packet in link.outgoing(1, now=now)] + [(now, event) for event in events]
    assert seen == [(5.0, p.PING), (10.0, p.PING), (15.0, CarrierDead(15.0))]
    assert link.state is State.DOWN and link.wake(now=99) == []
    assert link.proof_age(now=99) == 99


def test_a_carrier_over_which_nothing_is_ever_heard_is_given_up() -> None:
    link = client_link()
    link.carrier_up(now=100)
    assert link.deadline == 115
    assert link.wake(now=115) == [CarrierDead(15.0)]
    assert link.proof_age(now=115) == math.inf


def test_an_idle_link_lives_on_few_packets() -> None:
    pair = up()
    heard = 0
    pair.fill = lambda: None
    until = pair.now + 600
    while pair.step(until):
        heard += 1
    assert heard < 600 / 5 * 4
    assert pair.client.state is pair.host.state is State.UP
    assert pair.heard_by_client == pair.heard_by_host == []


def test_the_round_trip_is_known_as_soon_as_a_carrier_is_up() -> None:
    pair = Pair(delay=0.1)
    pair.dial()
    pair.run(0.41)
    assert pair.client.rtt == pytest.approx(0.2, abs=0.002)
    assert pair.host.rtt == pytest.approx(0.2, abs=0.002)
    assert pair.client.proof_age(now=pair.now + 3) == pytest.approx(3.01, abs=0.02)


# ---- a hostile end ---------------------------------------------------------------------------------------------------


FULL = p.PAYLOAD_BYTES_MAX
BAD = {
    "nothing": b"",
    "too much": data(2, 0, bytes(FULL + 1)),
    "an unknown kind": bytes([99]) + bytes(20),
    "kind 0": bytes(20),
    "a resume twice": resume(),
    "a cut head": data(2, 0, b"")[:7],
    "data that brings nothing": data(2, 0, b""),
    "a cut position": data(2, 0, b"")[:12],
    "a lane too many": data(16, 0, message(b"x")),
    "a lane far too many": data(0xFF, 0, message(b"x")),
    "a jump": data(2, 1, message(b"x")),
    "a jump to the end of numbers": data(2, (1 << 64) - 1, message(b"x")),
    "an empty message": data(2, 0, message(b"")),
    "a message too large": data(2, 0, (HOST_HEARS + 1).to_bytes(4, "big")),
    "a message of 4 GiB": data(2, 0, b"\xff\xff\xff\xff" + bytes(100)),
    "an ack of what was never sent": p.ack(0, 1),
    "an ack of the past": p.ack(0, 0xFFFFFFFF),
    "a data packet that acks what was never sent": data(2, 0, message(b"x"), acked=5),
    "a long ack": p.ack(0, 0) + b"x",
    "a pong that was not asked for": p.mark(p.PONG, 0, 0, 77),
    "a short ping": p.mark(p.PING, 0, 0, 1)[:-1],
    "a skip of control": p.skip(0, 0, 0, 0, 9),
    "a skip backwards": p.skip(0, 0, 2, 9, 5),
    "a skip from beyond": p.skip(0, 0, 2, 7, 9),
    "a skip to the end of numbers": p.skip(0, 0, 2, 0, (1 << 64) - 1),
    "a skip with something behind it": p.skip(0, 0, 2, 0, 9) + b"x",
    "a long close": p.closing(Cause.BYE) + bytes(201),
    "a short close": p.closing(Cause.BYE)[:5],
}


@pytest.mark.parametrize("packet", BAD.values(), ids=BAD)
def test_what_cannot_be_ends_the_link_in_words(packet: bytes) -> None:
    link = fresh_host()
    with pytest.raises(BadPacket) as bad:
        link.receive(1, packet, now=0)
    assert bad.value.code == "bad-packet"
    assert link.state is State.OVER and link.kept() == 0
    (said,) = link.outgoing(1, now=0)
    assert p.closed(said) == (Cause.BROKEN, bad.value.details["why"][:200])
    assert link.receive(1, packet, now=0) == []


ZEROS = (0,) * 15
BAD_FIRST = {
    "not a resume": data(0, 0, message(b"x")),
    "a short resume": resume()[:-1],
    "a long resume": resume() + b"x",
    "carrier 0": resume(0),
    "another carrier": resume(2),
    "new, yet something arrived": resume(received=(1, *ZEROS)),
    "what was never sent": resume(new=False, received=(1, *ZEROS)),
    "a flag that is not known": resume()[:2] + b"\x00\x03" + resume()[4:],
    "a position beyond all": resume(new=False, received=((1 << 63), *ZEROS)),
}


@pytest.mark.parametrize("packet", BAD_FIRST.values(), ids=BAD_FIRST)
def test_a_carrier_that_begins_wrongly_ends_the_link(packet: bytes) -> None:
    link = client_link()  # a client has not met the host yet, so the host may know it from an earlier carrier
    link.carrier_up(now=0)
    link.outgoing(1, now=0)
    with pytest.raises(BadPacket):
        link.receive(1, packet, now=0)
    assert link.state is State.OVER


def test_messages_begun_and_never_ended_take_bounded_memory_and_end_the_link() -> None:
    link = fresh_host()
    size = HOST_HEARS
    tracemalloc.start()
    try:
        with pytest.raises(BadPacket, match="begun at once"):
            for lane in range(16):
                at = 0
                for payload in [size.to_bytes(4, "big") + bytes(FULL - 4), *[bytes(FULL)] * 14]:
                    assert link.receive(1, data(lane, at, payload), now=0) == []
                    at += len(payload)
        assert tracemalloc.get_traced_memory()[1] < 5 * HOST_HEARS
    finally:
        tracemalloc.stop()


def test_a_message_byte_by_byte_is_only_slower() -> None:
    link = fresh_host()
    stream = message(b"a" * 3000) + message(b"b")
    events = [event for at in range(len(stream)) for event in link.receive(1, data(5, at, stream[at : at + 1]), now=0)]
    assert events == [Delivered(5, b"a" * 3000), Delivered(5, b"b")]


def test_pings_without_end_are_answered_once_per_turn() -> None:
    link = fresh_host()
    for number in range(1000):
        link.receive(1, p.mark(p.PING, 0, 0, number), now=0)
    assert link.outgoing(1, now=0) == [p.mark(p.PONG, 0, 0, 999)]


def test_an_end_that_never_acknowledges_gets_no_more_than_a_window() -> None:
    link = fresh_host()
    while link.room(now=0):
        link.say(BULK, bytes(1000))
    sent = [packet for turn in range(50) for packet in link.outgoing(1, now=turn / 10)]
    assert sum(map(len, sent)) <= (1 << 14) + 4200
    assert link.room(now=10) == 0


packets = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda kind, rest: bytes([kind]) + rest, st.integers(1, 7), st.binary(min_size=7, max_size=40)
    ),
    st.builds(data, st.integers(0, 17), st.integers(0, 40), st.binary(max_size=30), acked=st.integers(0, 3)),
    st.builds(p.skip, st.just(0), st.integers(0, 3), st.integers(0, 17), st.integers(0, 40), st.integers(0, 50)),
    st.builds(resume, st.integers(1, 2), new=st.booleans()),
    st.builds(
        lambda kind, at, value: (lambda packet: packet[: at % len(packet)] + bytes([value]) + packet[at % len(packet) + 1 :])(
            PACKETS[kind]
        ),
        st.sampled_from(sorted(PACKETS)), st.integers(0, 200), st.integers(0, 255),
    ),
)  # fmt: skip


@given(st.lists(packets, max_size=12), st.booleans(), st.booleans())
def test_whatever_arrives_is_events_or_bad_packet_and_nothing_else(
    arriving: list[bytes], greeted: bool, dials: bool
) -> None:
    link = client_link() if dials else host_link()
    carrier = link.carrier_up(now=0, number=None if dials else 1)
    link.say(BULK, b"bulk")
    link.say(CONTROL, b"control")
    link.outgoing(carrier, now=0)
    if greeted:
        link.receive(carrier, resume(), now=0)
    now = 0.0
    for packet in arriving:
        now += 0.01
        try:
            events = link.receive(carrier, packet, now=now)
        except BadPacket:
            assert link.state is State.OVER
        else:
            assert sum(len(event.data) for event in events if isinstance(event, Delivered)) <= len(packet) + 200
        link.outgoing(carrier, now=now)
        link.wake(now=now)
        assert link.room(now=now) >= 0


def test_acknowledgements_count_beyond_32_bits() -> None:
    pair = up()
    for link in (pair.client, pair.host):
        link._arrived += (1 << 32) - 3
        link._flow.acked_count += (1 << 32) - 3
    # Each counted what the other one sent; so both counts moved alike.
    for number in range(6):
        pair.client.say(INPUT, bytes([number]))
        pair.flush()
        pair.run(0.1)
    assert [event.data for event in pair.heard_by_host if isinstance(event, Delivered)] == [
        bytes([n]) for n in range(6)
    ]
    assert pair.client.kept() == 0


def test_the_head_of_a_packet_is_what_the_page_says() -> None:
    assert struct.calcsize(">BBHI") == 8 == p.COMMON.size
    assert HEAD == 16 and p.PAYLOAD_BYTES_MAX == 65_503
