"""The protocol of relays: frames, what is signed, and docs/relay.md saying the same as the code."""

import re
import typing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import BadMessage
from holdfast.relay.limits import Limits
from holdfast.wire import relay as wire
from holdfast.wire.messages import Message

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "relay.md").read_text()
TO_RELAY = typing.get_args(wire.ToRelay)
FROM_RELAY = typing.get_args(wire.FromRelay)
EVERY = tuple(dict.fromkeys(TO_RELAY + FROM_RELAY))
SAID = dict(re.findall(r"`([a-z-]+)` \(([a-z_,\s]+)\)", PAGE))
PARTS = dict(re.findall(r"^(\w+) \(\*array\*: ([^)]+)\)", PAGE, re.MULTILINE))


def words(fields: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", fields))


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__struct_config__.tag)
def test_every_message_of_a_relay_is_documented_with_its_fields_in_order(kind: type[Message]) -> None:
    """Promise Y13."""
    assert words(SAID.get(str(kind.__struct_config__.tag), "")) == kind.__struct_fields__


@pytest.mark.parametrize("kind", [wire.Allowance, wire.Presence], ids=lambda kind: kind.__name__)
def test_every_part_is_documented_with_its_fields_in_order(kind: type[msgspec.Struct]) -> None:
    assert words(PARTS.get(kind.__name__, "")) == kind.__struct_fields__


def test_every_limit_stands_in_the_page_with_its_default() -> None:
    said = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", PAGE, re.MULTILINE))
    defaults = dict(zip(Limits.__struct_fields__, Limits.__struct_defaults__, strict=True))
    assert {name: int(value.replace(",", "")) for name, value in said.items()} == {
        name: int(value) for name, value in defaults.items()
    }


KEY = bytes(range(32))
SAMPLES: list[Message] = [
    wire.Challenge(KEY, (1,)),
    wire.Admit(1, "host", "relay.example", (b"a", b"b"), b"s" * 64),
    wire.Admitted("relay.example", Limits().allowance(host=True)),
    wire.Publish(1, (b"a",), b"record"),
    wire.Revoke(2, b"list", b"issuer"),
    wire.Revoked(b"list", b"issuer"),
    wire.Joiners(3, 60.0),
    wire.ListHosts(4, True),
    wire.HostsAre(4, (wire.Presence(KEY, False, 1.5, (b"a",), b"r"),), True),
    wire.Changed(wire.Presence(KEY, True, 2.0)),
    wire.OpenRoute(5, KEY),
    wire.Incoming(6, "join"),
    wire.Closed(7, "slow"),
    wire.Draining(5.0),
    wire.Witness(8, 3, b"blob"),
    wire.GetWitness(9, KEY),
    wire.WitnessIs(9, 3, 1.5, b"blob"),
]


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: str(message.__struct_config__.tag))
def test_every_message_survives_the_trip_to_who_it_is_for_and_to_nobody_else(message: Message) -> None:
    frame = wire.control(message)
    for kinds, decode in ((TO_RELAY, wire.said_to_relay), (FROM_RELAY, wire.said_by_relay)):
        if type(message) in kinds:
            assert decode(frame) == message
        else:
            with pytest.raises(BadMessage):
                decode(frame)


@given(st.integers(1, wire.ROUTE_MAX), st.binary(max_size=300))
def test_a_payload_keeps_its_route_and_its_bytes(route: int, data: bytes) -> None:
    said = wire.said_to_relay(wire.routed(route, data))
    assert isinstance(said, wire.Routed)
    assert (said.route, bytes(said.data)) == (route, data)


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: b"\x00" + data))
def test_garbage_is_a_message_or_bad_message_and_nothing_else(data: bytes) -> None:
    for decode in (wire.said_to_relay, wire.said_by_relay):
        try:
            decode(data)
        except BadMessage:
            pass


def test_a_payload_over_the_limit_is_refused_on_both_sides() -> None:
    most = b"x" * wire.PAYLOAD_BYTES_MAX
    assert len(wire.routed(1, most)) == wire.FRAME_BYTES_MAX
    with pytest.raises(ValueError, match="over the limit"):
        wire.routed(1, most + b"x")
    with pytest.raises(BadMessage, match="over the limit"):
        wire.said_to_relay(wire.routed(1, most) + b"x")


def test_what_is_signed_differs_in_every_part_that_counts() -> None:
    """Promise Y1: by challenge, role and name; names are compared as names are."""
    nonces, roles, names = (KEY, KEY[::-1]), ("host", "client"), ("relay.example", "relay.example2")
    made = {wire.admission_bytes(nonce, role, name) for nonce in nonces for role in roles for name in names}  # type: ignore[arg-type]
    assert len(made) == 8
    assert all(each.startswith(b"holdfast/relay/1\0") for each in made)
    assert wire.admission_bytes(KEY, "host", "Relay.Example.") == wire.admission_bytes(KEY, "host", "relay.example")
    assert wire.dialled_name("[::1]") == "::1"


@given(st.lists(st.tuples(st.integers(0, 4096), st.integers(0, 3)), max_size=60))
def test_a_list_of_hosts_comes_in_parts_that_fit_and_misses_none(sizes: list[tuple[int, int]]) -> None:
    hosts = [wire.Presence(KEY, True, 1.0, (b"c" * 1024,) * links, b"r" * size) for size, links in sizes]
    parts = wire.pages(9, hosts)
    assert [each for part in parts for each in part.hosts] == hosts
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    assert all(len(wire.control(part)) <= wire.FRAME_BYTES_MAX for part in parts)
