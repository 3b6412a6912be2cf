"""The vocabulary: every message survives the trip, and older and newer peers understand each other."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.wire import messages as m
from tests.wire.messages_of_all_kinds import EVERY, TO_CLIENT, TO_HOST, any_of

EACH = pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__struct_config__.tag)


def tag(kind: type[m.Message]) -> str:
    return str(kind.__struct_config__.tag)


def required(kind: type[msgspec.Struct]) -> int:
    return len(kind.__struct_fields__) - len(kind.__struct_defaults__)


@EACH
@given(data=st.data())
def test_every_message_survives_the_trip(kind: type[m.Message], data: st.DataObject) -> None:
    """Promise W5"""
    sent = data.draw(any_of(kind))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=kind) == sent


def test_a_tag_names_one_message() -> None:
    tags = [tag(kind) for kind in EVERY]
    assert sorted(tags) == sorted(set(tags))
    assert set(TO_HOST) & set(TO_CLIENT) == {m.Ping, m.Pong}


def test_no_message_is_left_out_of_both_directions() -> None:
    defined = {kind for kind in vars(m).values() if isinstance(kind, type) and issubclass(kind, m.Message)}
    assert defined - {m.Message} == set(EVERY)


@EACH
@given(data=st.data())
def test_fields_that_a_newer_peer_appended_are_ignored(kind: type[m.Message], data: st.DataObject) -> None:
    """Promise W6: a newer peer may say more."""
    sent = data.draw(any_of(kind))
    longer = [*msgspec.msgpack.decode(msgspec.msgpack.encode(sent)), "from", {"the": "future"}]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(longer), type=kind) == sent


@EACH
@given(data=st.data())
def test_fields_an_older_peer_does_not_know_take_their_defaults(kind: type[m.Message], data: st.DataObject) -> None:
    """Promise W6: an older peer says less; a field that has no default can never have been appended."""
    sent = data.draw(any_of(kind))
    shorter = msgspec.msgpack.decode(msgspec.msgpack.encode(sent))[: 1 + required(kind)]
    got = msgspec.msgpack.decode(msgspec.msgpack.encode(shorter), type=kind)
    known = kind.__struct_fields__[: required(kind)]
    assert [getattr(got, field) for field in known] == [getattr(sent, field) for field in known]


@EACH
def test_messages_are_frozen(kind: type[m.Message]) -> None:
    """A message is a fact: what was checked is what is acted upon."""
    assert kind.__struct_config__.frozen
    assert kind.__struct_config__.array_like


REQUESTS = [kind for kind in TO_HOST if "ref" in kind.__struct_fields__]


@pytest.mark.parametrize("kind", REQUESTS, ids=tag)
def test_a_request_begins_with_its_number(kind: type[m.Message]) -> None:
    """So that even a request whose rest is not understood could be answered by number."""
    assert kind.__struct_fields__[0] == "ref"
