"""What a relay and its peers (hosts, clients, joiners) say to each other. Sans-I/O. Source: docs/relay.md.

Not here: what travels inside a route (channel, link, messages), and who may be admitted (relay.admission).

A frame is one binary WebSocket message: a type byte, then a control message or a routed payload. Control messages follow
the rules of ``messages``: tagged msgpack arrays, fields only appended with a default, a tag never reused. Nothing here
names a session: a relay learns tenants, keys, sizes and times.

``ref`` numbers a request on its connection, and so does ``route`` in ``OpenRoute``: one counter of the peer gives both.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar, get_args

import msgspec

from holdfast.core.errors import BadMessage, HoldError, Refused
from holdfast.core.identity import CERTIFICATE_BYTES_MAX, CHAIN_MAX, RECORD_BYTES_MAX
from holdfast.core.signed import SIGNATURE_BYTES
from holdfast.wire.messages import Done, Failed, Message, Ping, Pong

PROTOCOL: Final = 1
VERSIONS: Final = (PROTOCOL,)
PATH: Final = "/relay"  # of a relay's URL, beside the pages it serves
DOMAIN: Final = b"holdfast/relay/1\0"
CHALLENGE_BYTES: Final = 32
HEAD: Final = 9  # type byte and 8-byte big-endian route number before each routed payload
PAYLOAD_BYTES_MAX: Final = 65_535  # the largest Noise message
FRAME_BYTES_MAX: Final = HEAD + PAYLOAD_BYTES_MAX
WITNESS_BYTES_MAX: Final = 32 * 1024  # of a host's blob; core.witness makes none as large
LIST_BYTES_MAX: Final = 60_000  # of a revocation list that relays pass on: more than 1,000 entries
NAME_CHARS_MAX: Final = 253  # of a host name in a URL
ROUTE_MAX: Final = (1 << 63) - 1

_CONTROL: Final = b"\x00"
_ROUTED: Final = b"\x01"

Role = Literal["host", "client", "join"]
ROLES: Final[tuple[str, ...]] = get_args(Role)
Why = Literal["asked", "gone", "slow", "spent"]
"""Why a route is over: the other end closed it; its connection ended; it did not read what was sent to it; a joiner's
allowance of bytes is used up."""

Key = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
"""An Ed25519 public key: a host's, or a tenant's root."""
_Route = Annotated[int, msgspec.Meta(ge=1, le=ROUTE_MAX)]
_Ref = Annotated[int, msgspec.Meta(ge=0, le=ROUTE_MAX)]
_Certificate = Annotated[bytes, msgspec.Meta(max_length=CERTIFICATE_BYTES_MAX)]
_Chain = Annotated[tuple[_Certificate, ...], msgspec.Meta(max_length=CHAIN_MAX)]
_List = Annotated[bytes, msgspec.Meta(max_length=LIST_BYTES_MAX)]
_RecordBytes = Annotated[bytes, msgspec.Meta(max_length=RECORD_BYTES_MAX)]


# ---- errors ----------------------------------------------------------------------------------------------------------


class NotAdmitted(Refused):
    """The relay did not let a peer in. Nothing that runs is touched by it."""

    code = "not-admitted"


class BadProof(NotAdmitted):
    """The signature is not one of the certificate's key over this connection's challenge."""

    code = "bad-proof"

    def __init__(self) -> None:
        super().__init__(
            "the relay's challenge was not answered with the key of the certificate; nothing was changed",
            do="check that the certificate belongs to the key in use, and that the relay's address is the one dialled",
        )


class WrongRelay(NotAdmitted):
    """The signature is for another host name: somebody may be passing it on."""

    code = "wrong-relay"

    def __init__(self) -> None:
        super().__init__(
            "this relay does not go by the name that was dialled; nothing was changed",
            do="dial the relay by a name it was started with (`--name`)",
        )


class TenantNotServed(NotAdmitted):
    code = "tenant-not-served"

    def __init__(self) -> None:
        super().__init__(
            "this relay does not serve your tenant; nothing was changed",
            do="ask who runs the relay to add the tenant's root key, or use another relay",
        )


class RelayBusy(NotAdmitted):
    """A bound of the relay was reached (I11)."""

    code = "relay-busy"

    def __init__(self, what: str) -> None:
        super().__init__(f"the relay has no room: {what}; what runs goes on", do="try again in a moment", what=what)


class RelayDraining(NotAdmitted):
    code = "relay-draining"

    def __init__(self) -> None:
        super().__init__("the relay is being restarted; what runs goes on", do="use another relay, or dial again soon")


class Spent(HoldError):
    code = "spent"

    def __init__(self) -> None:
        super().__init__(
            "a joiner's allowance of bytes is used up; nothing was changed",
            do="join again, or use a certificate",
        )


class NoSuchHost(HoldError):
    """Unknown, another tenant's and not taking joiners are said in the same words (I9)."""

    code = "no-such-host"

    def __init__(self) -> None:
        super().__init__("no such host here that you may reach", do="`hold hosts` lists those of your tenant")


class Superseded(HoldError):
    """A host has one connection to a relay: the newest that proved its key."""

    code = "superseded"

    def __init__(self) -> None:
        super().__init__(
            "this host is connected to the relay anew, and this older connection is closed; what runs goes on",
            do="if it happens over and over, two machines use one host key: enrol one of them again",
        )


# ---- both ways -------------------------------------------------------------------------------------------------------


class Closed(Message, frozen=True, tag="closed"):
    """End a route, or say that it ended. It comes after everything that was sent on the route, unless it was lost."""

    route: _Route
    why: str = "asked"


# ---- relay to peer ---------------------------------------------------------------------------------------------------


class Challenge(Message, frozen=True, tag="challenge"):
    """The relay speaks first. ``nonce`` is fresh for each connection."""

    nonce: Key
    versions: tuple[int, ...]


class Allowance(msgspec.Struct, frozen=True, array_like=True):
    """What this peer may use. A peer that asks for more is refused, or told ``closed``, never surprised."""

    frame_bytes_max: int
    routes_max: int  # at once on this connection
    backlog_bytes_max: int  # sent on one route and not yet read by its other end; beyond it the route is closed
    bytes_per_s: int  # of the whole tenant; beyond it reading is delayed
    silence_s_max: float  # a connection that answers no ping for this long is closed
    witness_bytes_max: int = 0  # of a host's ``witness``; 0: this relay keeps none, and does not know the message


class Admitted(Message, frozen=True, tag="admitted"):
    relay: str  # its name, for people
    allowance: Allowance


class Incoming(Message, frozen=True, tag="incoming"):
    """A route leads to this host now. ``kind``: member (of the tenant) or join. The relay vouches for no more."""

    route: _Route
    kind: Literal["member", "join"]


class Presence(msgspec.Struct, frozen=True, array_like=True):
    """A host as this relay sees it. Unreachable is never the same as dead (R39)."""

    host: Key
    reachable: bool
    since: float  # Unix time, seconds: of the connection, or of the last sign of it
    chain: tuple[bytes, ...] = ()  # its certificates, issuer first, and
    record: bytes = b""  # its signed host record: both empty until it published; who reads them verifies them


class HostsAre(Message, frozen=True, tag="hosts"):
    """A part of the answer to ``ListHosts``; the last part has ``more`` false."""

    ref: int
    hosts: tuple[Presence, ...]
    more: bool = False


class Changed(Message, frozen=True, tag="changed"):
    """Told to who watches: a host came, went, or published a newer record."""

    presence: Presence


class Revoked(Message, frozen=True, tag="revoked"):
    """A revocation list of the own tenant: those known after ``admitted``, and each newer one at once.

    ``issuer`` is the certificate of the issuer that signed it; empty: the root did.
    """

    revocations: bytes
    issuer: bytes = b""


class WitnessIs(Message, frozen=True, tag="witness-is"):
    """What a host had witnessed, at ``at`` (Unix time). ``number`` 0: nothing, or there is no such host."""

    ref: int
    number: int
    at: float
    blob: bytes


class Draining(Message, frozen=True, tag="draining"):
    """The relay closes in ``grace_s`` seconds: move to another one before it does."""

    grace_s: float


# ---- peer to relay ---------------------------------------------------------------------------------------------------


class Admit(Message, frozen=True, tag="admit"):
    """Answer the challenge. ``signature`` is over ``admission_bytes``, by the key of the chain's last certificate.

    A joiner has neither chain nor signature; it may open one route to a host that takes joiners, and nothing else.
    """

    version: int
    role: Role
    dialled: Annotated[str, msgspec.Meta(max_length=NAME_CHARS_MAX)] = ""  # host name in the URL, without the port
    chain: _Chain = ()
    signature: Annotated[bytes, msgspec.Meta(max_length=SIGNATURE_BYTES)] = b""
    form: int = 0  # core.signed.Form of the signature


class Publish(Message, frozen=True, tag="publish"):
    """A host gives its certificates and its signed record. Answer: ``done``, or ``failed`` with ``bad-record``,
    ``rolled-back``, or what is wrong with the certificates. Newer certificates prolong the connection."""

    ref: _Ref
    chain: _Chain
    record: _RecordBytes


class Revoke(Message, frozen=True, tag="revoke"):
    """Any member gives a revocation list of its tenant; ``issuer`` as in ``Revoked``. Answer: ``done`` or ``failed``.

    The relay ends the connections of who is revoked, keeps the list, and passes it on to every member connected.
    """

    ref: _Ref
    revocations: _List
    issuer: _Certificate = b""


class Witness(Message, frozen=True, tag="witness"):
    """A host gives a sealed word on where its journals stand (core.witness). The relay keeps the highest ``number`` and says
    it to members who ask. Answer: ``done``, or ``failed`` with ``rolled-back``: a higher number was seen."""

    ref: _Ref
    number: Annotated[int, msgspec.Meta(ge=1, le=ROUTE_MAX)]
    blob: Annotated[bytes, msgspec.Meta(max_length=WITNESS_BYTES_MAX)]


class GetWitness(Message, frozen=True, tag="get-witness"):
    """Ask for what a host of the own tenant had witnessed last. Answer: ``witness-is``. Clients only."""

    ref: _Ref
    host: Key


class Joiners(Message, frozen=True, tag="joiners"):
    """A host takes joiners for so many seconds from now (at most 900); 0 ends it. It lapses by itself."""

    ref: _Ref
    for_s: Annotated[float, msgspec.Meta(ge=0, le=900)]


class ListHosts(Message, frozen=True, tag="list-hosts"):
    """Ask for every host of the own tenant. With ``watch`` each ``changed`` follows, without gap, until the end."""

    ref: _Ref
    watch: bool = False


class OpenRoute(Message, frozen=True, tag="open-route"):
    """Open ``route``, a number above all that this peer used before, to a host. Payloads may follow at once.

    Refused by ``failed`` with ``ref`` = ``route``: no-such-host, host-unreachable, too-many.
    """

    route: _Route
    host: Key


ToRelay = Admit | Publish | Revoke | Joiners | ListHosts | OpenRoute | Witness | GetWitness | Closed | Ping | Pong
FromRelay = (
    Challenge
    | Admitted
    | Incoming
    | HostsAre
    | Changed
    | Revoked
    | WitnessIs
    | Draining
    | Closed
    | Done
    | Failed
    | Ping
    | Pong
)

M = TypeVar("M")
_encoder = msgspec.msgpack.Encoder()
_to_relay = msgspec.msgpack.Decoder(ToRelay)
_from_relay = msgspec.msgpack.Decoder(FromRelay)


# ---- frames ----------------------------------------------------------------------------------------------------------


class Routed(msgspec.Struct, frozen=True):
    """A payload on a route. ``data`` shares the memory of the frame it came in."""

    route: int
    data: memoryview


def control(message: Message) -> bytes:
    """Return ``message`` as one frame."""
    return _CONTROL + _encoder.encode(message)


def routed(route: int, data: bytes | memoryview) -> bytes:
    """Return a payload of at most 65,535 bytes as one frame on ``route``."""
    if len(data) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"a payload of {len(data)} bytes is over the limit of {PAYLOAD_BYTES_MAX}")
    return b"".join((_ROUTED, route.to_bytes(8, "big"), data))


def said_to_relay(frame: bytes | str) -> ToRelay | Routed:
    """Return what a peer said. Raises BadMessage for anything else; close the connection then."""
    return _said(frame, _to_relay.decode)


def said_by_relay(frame: bytes | str) -> FromRelay | Routed:
    """Return what a relay said. Raises BadMessage for anything else; close the connection then."""
    return _said(frame, _from_relay.decode)


def _said(frame: bytes | str, decode: Callable[[memoryview], M]) -> M | Routed:
    if isinstance(frame, str):
        raise BadMessage("a relay's frames are binary, not text")
    if len(frame) > FRAME_BYTES_MAX:
        raise BadMessage(f"a frame of {len(frame)} bytes is over the limit of {FRAME_BYTES_MAX}")
    whole, kind = memoryview(frame), frame[:1]
    if kind == _ROUTED:
        route = int.from_bytes(whole[1:HEAD], "big")
        if len(whole) < HEAD or not 1 <= route <= ROUTE_MAX:
            raise BadMessage("a payload without a route")
        return Routed(route, whole[HEAD:])
    if kind != _CONTROL:
        raise BadMessage("a frame of no type that this protocol has")
    try:
        return decode(whole[1:])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadMessage(f"a frame of {len(frame)} bytes is no message of this protocol: {error}") from None


def admission_bytes(nonce: bytes, role: Role, dialled: str) -> bytes:
    """Return what a peer signs: what a signature is for, then the challenge, its role and the name it dialled.

    The name is what keeps a relay from passing another relay's challenge on and using the answer there.
    """
    if len(nonce) != CHALLENGE_BYTES:
        raise ValueError(f"a challenge has {CHALLENGE_BYTES} bytes, not {len(nonce)}")
    return b"".join((DOMAIN, nonce, bytes([ROLES.index(role)]), dialled_name(dialled).encode()))


def dialled_name(host: str) -> str:
    """Return a URL's host name as it is signed: lower case, without the dot at the end or the brackets of an address."""
    return host.removeprefix("[").removesuffix("]").removesuffix(".").lower()


def failed(ref: int, error: HoldError) -> Failed:
    """Return ``error`` as the answer to ``ref``."""
    details: dict[str, Any] = {
        name: value if isinstance(value, str | int | float | bool) else str(value)
        for name, value in error.details.items()
    }
    return Failed(ref, error.code, error.message, error.do, details)


def pages(ref: int, hosts: Sequence[Presence]) -> list[HostsAre]:
    """Return the answer to ``ListHosts`` in parts that each fit a frame."""
    parts: list[list[Presence]] = [[]]
    size = 0
    for each in hosts:
        cost = 80 + len(each.record) + sum(map(len, each.chain))  # key, flag, time and all heads of msgpack: under 80
        if size + cost > FRAME_BYTES_MAX - 64:
            parts.append([])
            size = 0
        parts[-1].append(each)
        size += cost
    return [HostsAre(ref, tuple(part), more=part is not parts[-1]) for part in parts]
