"""The lean codec says exactly what wire.messages says: held against msgspec, message by message, cut by cut."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.client import lean
from holdfast.core.ids import is_session_id
from holdfast.wire import messages as wire
from holdfast.wire.framing import client_inbox, framed, host_inbox

SIZE = wire.Size(24, 80)
SAID = [
    (lean.hello("c-1", "attach", "s-1"), wire.Hello(1, "c-1", "attach", "s-1")),
    (
        lean.open_session(1, ["sh", "-l"], {"A": "ü"}, "/", (24, 80), "n", False, "k"),
        wire.Open(1, ("sh", "-l"), {"A": "ü"}, "/", SIZE, "n", False, None, "k"),
    ),
    (lean.attach(2, 3, "s", (24, 80), 7, True, 9), wire.Attach(2, 3, "s", "terminal", SIZE, 7, True, 9, "")),
    (lean.attach(2, 3, "s", None, None, False, 9), wire.Attach(2, 3, "s", "terminal", None, None, False, 9, "")),
    (lean.detach(3, "asked"), wire.Detach(3, "asked")),
    (lean.credit(3, 1 << 33), wire.Credit(3, 1 << 33)),
    (lean.typed(4, "s", 5, b"\xff\x00", 3), wire.Input(4, "s", 5, b"\xff\x00", 3)),
    (lean.resize(6, "s", (1, 2), 3), wire.Resize(6, "s", wire.Size(1, 2), 3)),
    (lean.witness(1, "s", 7), wire.Witness(1, "s", 7)),
    (lean.ping(1), wire.Ping(1)),
    (lean.pong(1), wire.Pong(1)),
]


@pytest.mark.parametrize(("frame", "message"), SAID, ids=lambda value: type(value).__name__)
def test_what_is_said_is_the_message_of_wire(frame: bytearray, message: wire.Message) -> None:
    assert list(host_inbox().receive(frame)) == [message]


ENDING = wire.Ending("exited", 2.5, -9, "why", (1, 2))
INFO = wire.SessionInfo(
    "s", "n", "h", "running", 1, ("sh",), "/", 1.5, SIZE, 1, 2, 3, 1 << 40, 0, 7, 0.25, 1, ending=ENDING, keep_until=1e9
)
HEARD = [
    wire.Welcome(1, "h", "name", 2, "soft", 1 << 20),
    wire.Failed(1, "c", "m", "d", {"a": [1, None, True]}),
    wire.Done(1, 2),
    wire.Opened(1, INFO, True),
    wire.Attached(1, 2, INFO, 300, 4, False),
    wire.Keyframe(1, 70000, b"x" * 70000, SIZE, 1 << 33),
    wire.Output(1, 1 << 32, b"y" * 300),
    wire.Gap(1, 2, 3, "evicted"),
    wire.Detached(1, "ended", "cur", ENDING),
    wire.Typed(1, 2, "applied", 3, 4),
    wire.Event(1, "resize", 2, 3.5, "op", {"rows": -1, "n": -200, "big": -(1 << 40)}),
]


@pytest.mark.parametrize("message", HEARD, ids=lambda message: type(message).__name__)
def test_what_is_heard_is_read_as_msgspec_would(message: wire.Message) -> None:
    frame = framed(message)
    expected = msgspec.msgpack.decode(frame[4:])
    assert list(lean.Frames().receive(frame)) == [expected]


@given(st.lists(st.sampled_from(HEARD), max_size=5), st.lists(st.integers(1, 5000), max_size=50))
def test_frames_do_not_depend_on_where_they_are_cut(messages: list[wire.Message], sizes: list[int]) -> None:
    stream = b"".join(framed(message) for message in messages)
    frames, found, at = lean.Frames(), [], 0
    for size in [*sizes, len(stream)]:
        found += frames.receive(stream[at : at + size])
        at += size
    assert found == [msgspec.msgpack.decode(framed(message)[4:]) for message in messages]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
    max_leaves=30,
)


@given(VALUES)
def test_every_value_survives_both_ways(value: Any) -> None:
    out = bytearray()
    lean.pack(value, out)
    assert msgspec.msgpack.decode(out) == value
    theirs = msgspec.msgpack.encode(value)
    assert lean.unpack(memoryview(theirs)) == (value, len(theirs))


@given(st.binary(max_size=60))
def test_garbage_is_garbled_and_nothing_else(data: bytes) -> None:
    frame = len(data).to_bytes(4, "big") + data
    try:
        list(lean.Frames().receive(frame))
    except lean.Garbled:
        pass


def test_a_frame_over_the_limit_is_refused_before_its_body() -> None:
    with pytest.raises(lean.Garbled):
        list(lean.Frames().receive(b"\xff\xff\xff\xff"))


def test_a_client_id_has_the_form_of_core_ids() -> None:
    assert is_session_id(lean.fresh_id("s-")) and lean.fresh_id() != lean.fresh_id()


def test_the_numbers_are_those_of_wire() -> None:
    from holdfast.wire import framing

    assert (lean.PROTOCOL, lean.HEAD, lean.FRAME_BYTES_MAX) == (
        wire.PROTOCOL,
        framing.HEAD,
        framing.TO_CLIENT_BYTES_MAX,
    )
    assert client_inbox().partial == 0
