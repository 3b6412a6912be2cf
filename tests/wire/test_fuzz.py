"""Whatever bytes come from outside, a decoder takes them or says in its own words why not: no crash, no hang, no flood.

tools/fuzz feeds the same targets (decoders.py) for as long as one likes, guided by coverage where atheris is installed.
"""

import base64
import time
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core import invitations
from holdfast.core.errors import HoldError
from holdfast.wire import packets
from holdfast.wire.link import Link
from tests.wire.decoders import TARGETS, Target, fed, joined

EACH = pytest.mark.parametrize("name", TARGETS)
HEAD = {"share_link": b"https://relay.example/s#1.", "offer": invitations._OFFER_HEAD.encode()}
SECONDS_MAX = 2.0  # of processor time for one input: a thousand times what any takes
HEADS = (
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01", b"\xdc\xff\xff", b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7), b"\xcb\x7f\xf0" + bytes(6),
    b"\xc1", b"\xd6\xff\xff\xff\xff\xff",
)  # fmt: skip
"""Beginnings of msgpack values that promise more than comes, are at an edge, or are none."""


@st.composite
def spoilt(draw: st.DrawFn, good: tuple[bytes, ...]) -> bytes:
    """Good input with a few things wrong in it."""
    data = bytearray(draw(st.sampled_from(good)))
    for _ in range(draw(st.integers(1, 4))):
        at, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        match draw(st.sampled_from(("flip", "cut", "insert", "replace", "repeat", "splice"))):
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at : min(end, at + 40)]
            case "insert":
                data[at:at] = draw(st.binary(max_size=20) | st.sampled_from(HEADS))
            case "replace":
                new = draw(st.binary(max_size=12) | st.sampled_from(HEADS))
                data[at : at + len(new)] = new
            case "repeat":
                data[at:at] = data[at:end]
            case _:
                other = draw(st.sampled_from(good))
                data = data[:at] + other[draw(st.integers(0, len(other))) :]
    return bytes(data[:200_000])


@EACH
def test_what_is_right_is_taken(name: str) -> None:
    """So that the others below begin where a decoder has something to do."""
    reached = {data: fed(name, data) for data in TARGETS[name].good}
    stories = {"insider", "impostor", "link_at_host", "link_at_client", "secure.open"}  # these end with an error
    assert name in stories or all(reached.values()), [data for data, taken in reached.items() if not taken]


@EACH
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_bytes_make_a_decoder_fail_otherwise_than_it_says(name: str, data: st.DataObject) -> None:
    found = data.draw(
        spoilt(TARGETS[name].good)
        | st.binary(max_size=300)
        | st.lists(st.binary(max_size=60)).map(lambda it: joined(*it))
    )
    began = time.process_time()
    fed(name, found)
    assert time.process_time() - began < SECONDS_MAX


def bombs(target: Target) -> list[bytes]:
    """Inputs of up to 200 KB that promise gigabytes, or nest without end."""
    found = [head + bytes(64) for head in HEADS]
    found += [b"\x91" * 100_000, b"\x81\xa1a" * 50_000, b"\xdc\xff\xff" * 60_000, b"\x92\x90" * 90_000]
    found += [(0xFFFFFFFF).to_bytes(4, "big") + bytes(64), bytes(200_000), b"\xff" * 200_000]
    for good in target.good:
        for at in {0, 1, 2, 3, 4, 5, 9, len(good) // 2}:
            found += [good[:at] + head + good[at:] for head in HEADS[:5]]
    return found


@EACH
def test_no_few_bytes_reserve_much_memory(name: str) -> None:
    """I11: what is kept or made of an input is bounded by what arrived, never by what it announces."""
    target = TARGETS[name]
    for data in target.good:
        fed(name, data)
    for bomb in bombs(target):
        for data in (bomb, joined(bomb[:65_000])):
            tracemalloc.start()
            began = time.process_time()
            try:
                fed(name, data)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak < (2 << 20) + 24 * len(data), f"{len(data)} bytes, {data[:16].hex()}..: {peak} bytes of memory"
            assert time.process_time() - began < SECONDS_MAX


@pytest.mark.parametrize("name", ["share_link", "offer"])
def test_a_link_that_would_unpack_to_a_flood_is_refused_early(name: str) -> None:
    """Ten kilobytes that would be eleven megabytes."""
    squeezed = base64.urlsafe_b64encode(zlib.compress(bytes(11_000_000), 9)).rstrip(b"=")
    tracemalloc.start()
    try:
        assert not fed(name, HEAD[name] + squeezed)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_a_link_keeps_no_more_of_unfinished_messages_than_arrived() -> None:
    """A member may begin a message on each lane: only what came of it takes memory, and not too many may be large."""

    def begins(lane: int, announced: int, body: bytes) -> bytes:
        return packets.DATA_HEAD.pack(packets.DATA, lane, 0, 0, 0) + announced.to_bytes(4, "big") + body

    def up() -> Link:
        link = Link(bytes(16), dials=False, hears_max=1 << 20, says_max=4 << 20, now=0.0)
        link.carrier_up(now=0.0, number=1)
        link.receive(1, packets.Resume(1, True, 1, bytes(16), (0,) * 16).packed(), now=0.0)
        return link

    small, large = up(), up()
    tracemalloc.start()
    try:
        for lane in range(2, 16):
            small.receive(1, begins(lane, 65_536, b"x" * 100), now=0.0)
        with pytest.raises(HoldError, match="begun at once"):
            for lane in range(2, 16):
                large.receive(1, begins(lane, 1 << 20, b"x" * 100), now=0.0)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()
