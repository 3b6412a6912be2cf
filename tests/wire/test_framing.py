"""Cutting a byte stream into messages: what the network does changes nothing, and a hostile peer gains nothing."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import BadMessage
from holdfast.wire import framing
from holdfast.wire.framing import HEAD, TO_CLIENT_BYTES_MAX, TO_HOST_BYTES_MAX, client_inbox, framed, host_inbox
from holdfast.wire.messages import Failed, Hello, List, Message, Output, Ping
from tests.wire.messages_of_all_kinds import any_to_client, any_to_host

HELLO = Hello(version=1, client="c-x", face="cli")
INBOXES = pytest.mark.parametrize("inbox", [host_inbox, client_inbox])


def frame_of(body: bytes) -> bytes:
    return len(body).to_bytes(HEAD, "big") + body


@pytest.mark.parametrize("cut", range(len(framed(HELLO)) + 1))
def test_messages_do_not_depend_on_where_the_network_cuts(cut: int) -> None:
    """Promise W1, the smallest case by exhaustion: two messages, one cut at every place of the first."""
    stream, inbox = bytes(framed(HELLO) + framed(List(ref=1))), host_inbox()
    assert [*inbox.receive(stream[:cut]), *inbox.receive(stream[cut:])] == [HELLO, List(ref=1)]
    assert inbox.partial == 0


@given(sent=st.lists(any_to_host, max_size=6), data=st.data())
def test_any_cuts_of_any_messages_to_a_host_give_the_same_messages(sent: list[Message], data: st.DataObject) -> None:
    """Promise W1"""
    assert received(host_inbox(), sent, data) == sent


@given(sent=st.lists(any_to_client, max_size=6), data=st.data())
def test_any_cuts_of_any_messages_to_a_client_give_the_same_messages(sent: list[Message], data: st.DataObject) -> None:
    """Promise W1"""
    assert received(client_inbox(), sent, data) == sent


def received(inbox: framing.Inbox[Any], sent: list[Message], data: st.DataObject) -> list[Message]:
    stream = b"".join(map(framed, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [got for a, b in pairwise([0, *cuts, len(stream)]) for got in inbox.receive(stream[a:b])]


def test_one_byte_at_a_time_is_only_slower() -> None:
    inbox, stream = client_inbox(), framed(Output(attachment=1, offset=7, data=bytes(range(256))))
    assert [got for byte in stream for got in inbox.receive(bytes([byte]))] == [
        Output(attachment=1, offset=7, data=bytes(range(256)))
    ]


@pytest.mark.parametrize(("inbox", "most"), [(host_inbox, TO_HOST_BYTES_MAX), (client_inbox, TO_CLIENT_BYTES_MAX)])
def test_a_length_over_the_bound_is_refused_before_the_body_arrives(inbox: Any, most: int) -> None:
    """Promise W2: no peer may reserve our memory by claiming a size."""
    with pytest.raises(BadMessage, match="over the limit"):
        list(inbox().receive((most + 1).to_bytes(HEAD, "big")))


@pytest.mark.parametrize(("inbox", "most"), [(host_inbox, TO_HOST_BYTES_MAX), (client_inbox, TO_CLIENT_BYTES_MAX)])
def test_a_length_at_the_bound_is_waited_for(inbox: Any, most: int) -> None:
    waiting = inbox()
    assert list(waiting.receive(most.to_bytes(HEAD, "big"))) == []
    assert waiting.partial == HEAD


@INBOXES
def test_what_came_before_a_bad_frame_is_not_lost(inbox: Any) -> None:
    got = inbox().receive(framed(Ping(mark=1)) + framed(Ping(mark=2)) + b"\xff\xff\xff\xff")
    assert [next(got), next(got)] == [Ping(mark=1), Ping(mark=2)]
    with pytest.raises(BadMessage):
        next(got)


@INBOXES
@pytest.mark.parametrize("cut", [1, HEAD - 1, HEAD, HEAD + 1, len(framed(HELLO)) - 1])
def test_a_half_sent_frame_is_no_message_and_is_told_apart_from_a_clean_end(inbox: Any, cut: int) -> None:
    """Promise W4: a stream may only end where ``partial`` is 0."""
    waiting = inbox()
    assert list(waiting.receive(bytes(framed(HELLO)[:cut]))) == []
    assert waiting.partial == cut


@INBOXES
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",  # the one byte msgpack never uses
        b"hello",
        msgspec.msgpack.encode([]),
        msgspec.msgpack.encode({"t": "ping", "mark": 1}),  # right words, wrong shape
        msgspec.msgpack.encode(["no-such-tag", 1]),
        msgspec.msgpack.encode(["ping", "one"]),  # right tag, wrong type
        msgspec.msgpack.encode(["ping"]),  # a field that has no default is missing
        msgspec.msgpack.encode(["ping", 1]) + b"\0",  # something after the end
        b"\x92\xa4ping\xa2\xff\xff",  # no UTF-8
        b"\xdd\xff\xff\xff\xff\xa4ping",  # an array that claims 4 billion members
        b"\xc6\xff\xff\xff\xff",  # bytes that claim 4 GB
    ],
)
def test_a_body_that_is_no_message_is_refused_and_named(inbox: Any, body: bytes) -> None:
    """Promise W3"""
    with pytest.raises(BadMessage, match="no message of this protocol"):
        list(inbox().receive(frame_of(body)))


@given(body=st.binary(max_size=200))
def test_garbage_is_a_message_or_bad_message_and_nothing_else(body: bytes) -> None:
    """Promise W3: no other exception leaves the decoder, whatever the bytes."""
    for inbox in (host_inbox(), client_inbox()):
        try:
            assert all(isinstance(got, Message) for got in inbox.receive(frame_of(body)))
        except BadMessage:
            pass


@given(sent=any_to_client, data=st.data())
def test_a_damaged_message_is_a_message_or_bad_message_and_nothing_else(sent: Message, data: st.DataObject) -> None:
    """Promise W3, closer to the truth than random bytes: one byte of a real message is changed."""
    body = framed(sent)[HEAD:]
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert all(isinstance(got, Message) for got in client_inbox().receive(frame_of(bytes(body))))
    except BadMessage:
        pass


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1k"], ids=["arrays", "maps"])
def test_nesting_100000_deep_is_bad_message_and_no_crash(opening: bytes) -> None:
    """Promise W3: ``details`` may hold anything, so it is where an attacker would nest."""
    head = msgspec.msgpack.encode(Failed(ref=1, code="x", message="y"))[:-1]  # all but the empty map of details
    nested = b"\x81\xa1k" + opening * 100_000 + b"\xc0"
    with pytest.raises(BadMessage):
        list(client_inbox().receive(frame_of(head + nested)))


def test_a_frame_is_its_length_then_its_body() -> None:
    frame = framed(Ping(mark=5))
    assert frame[:HEAD] == (len(frame) - HEAD).to_bytes(4, "big")
    assert msgspec.msgpack.decode(frame[HEAD:]) == ["ping", 5]


def test_a_large_burst_is_cut_in_linear_time() -> None:
    """Many small frames in one read cost one pass: the buffer is not moved once per message (Promise W2)."""
    count = 20_000
    stream = bytes(framed(Ping(mark=1))) * count
    inbox = host_inbox()
    assert sum(1 for _ in inbox.receive(stream)) == count
    assert inbox.partial == 0
