"""Every function that is given bytes from outside, with good input to begin from: what test_fuzz.py and tools/fuzz feed.

A target takes any bytes and returns, or raises one of its own errors. Nothing else may come out of it: a stranger, or a
member who means harm, chooses these bytes.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from holdfast.core import grants, identity, invitations, journal, sealing, signed
from holdfast.core.cursor import Cursor
from holdfast.core.errors import HoldError
from holdfast.core.grants import Capability
from holdfast.core.identity import Kind
from holdfast.core.signed import KeyPair, Unsigned
from holdfast.wire import framing, packets, relay, signing
from holdfast.wire import messages as wire
from holdfast.wire.channel import Cipher, Initiator, Responder, Secure, prologue
from holdfast.wire.facts import LinkOver
from holdfast.wire.introduction import Answered, Dialled, Introduce
from holdfast.wire.link import Link
from tests.core.tenants import NOW, S1, Tenant, seed
from tests.wire.linkpaths import Pair

_encode = msgspec.msgpack.Encoder().encode
_tenant = Tenant("fuzzed")
_X1, _X2, _X3 = (X25519PrivateKey.from_private_bytes(seed(f"x{n}")) for n in range(3))


class Target(NamedTuple):
    feed: Callable[[bytes], Any]
    good: tuple[bytes, ...]  # input that is taken
    errors: tuple[type[Exception], ...] = (HoldError,)


def _messages(inbox: Callable[[], Any], data: bytes) -> None:
    """In two pieces, as the network may cut it."""
    found = inbox()
    list(found.receive(data[: len(data) // 2]))
    list(found.receive(data[len(data) // 2 :]))


def _framed(messages: Iterable[Any]) -> tuple[bytes, ...]:
    return tuple(bytes(framing.framed(each)) for each in messages)


_size = wire.Size(24, 80)
_TO_HOST = (
    wire.Hello(1, "c-fuzz", "cli"), wire.Open(1, ("sh",), {"A": "b"}, "/", _size, policy=wire.ReapPolicy()),
    wire.Attach(2, 1, S1, "stream", _size, 5), wire.Input(3, S1, 1, b"make\r"), wire.Kill(4, S1),
    wire.Signed(S1, 1, bytes(16), bytes(64), b"x"), wire.Enrol(5, bytes(32), (b"c",), ("ws://a",)),
)  # fmt: skip
_TO_CLIENT = (
    wire.Welcome(1, "h", "box", 1, "", 1 << 20), wire.Failed(1, "refused", "no", "", {"a": [1, {"b": None}]}),
    wire.Keyframe(1, 0, b"x", _size), wire.Typed(1, 2, "applied", 3, 4), wire.Records(1, (b"r",), 2),
    wire.Rows(1, 0, _size, True, {0: (wire.Cell("a", 0, 1),)}, (wire.Style(),), (0, 0, True), {"m": True}),
)  # fmt: skip

# ---- packets of a link, each behind its length in two bytes ----------------------------------------------------------


def parts(data: bytes) -> list[bytes]:
    """Cut ``data`` into pieces, each behind its length in two bytes."""
    found = []
    while len(data) > 2:
        size = int.from_bytes(data[:2], "big")
        found.append(data[2 : 2 + size])
        data = data[2 + size :]
    return found


def joined(*pieces: bytes) -> bytes:
    return b"".join(len(each).to_bytes(2, "big") + each for each in pieces)


def _received(link: Link, carrier: int, packets_: list[bytes], now: float) -> None:
    for packet in packets_:
        now += 0.01
        link.receive(carrier, packet, now=now)
        link.wake(now=now)
        link.outgoing(carrier, now=now)


def _link(at_host: bool, data: bytes) -> None:
    """An end that is up, and has said something; the other end proved its key and says anything."""
    pair = Pair(delay=0.001)
    pair.dial()
    pair.client.say(0, b"from the client")
    pair.host.say(3, bytes(5000))
    pair.run(0.2)
    end, carrier = (pair.host, pair.accepted) if at_host else (pair.client, pair.carrier)
    _received(end, carrier, parts(data), pair.now)


_PACKETS = (
    packets.DATA_HEAD.pack(packets.DATA, 0, 0, 0, 19) + b"\0\0\0\2hi",
    packets.skip(0, 0, 5, 0, 100),
    packets.ack(3, 1),
    packets.mark(packets.PING, 0, 0, 4),
    packets.mark(packets.PONG, 0, 0, 1),
    packets.closing(packets.Cause.MOVING, "soon"),
    packets.Resume(1, True, 2, bytes(16), (0,) * 16).packed(),
)


# ---- the channel, and a member inside it -----------------------------------------------------------------------------


def _secure() -> Secure:
    return Secure(outward=Cipher(seed("k1")), inward=Cipher(seed("k2")), handshake_hash=seed("h"))


def _open(data: bytes) -> None:
    secure = _secure()
    for each in parts(data):
        secure.open(each)


_responder = Responder(static_private=_X1, prologue=prologue(_tenant.host.key))


def _initiator() -> Initiator:
    return Initiator(
        static_private=_X2, remote_static=_X1.public_key().public_bytes_raw(), prologue=prologue(_tenant.host.key),
        ephemeral_private=_X3,
    )  # fmt: skip


def _new_link(dials: bool) -> Link:
    return Link(bytes(16), dials=dials, hears_max=1 << 20, says_max=4 << 20, now=0.0)


@functools.cache
def _hello() -> bytes:
    return _initiator().message1


def _insider(data: bytes) -> None:
    """Somebody did the handshake, and seals whatever he likes in the place of introduction and packets."""

    def judge(said: Introduce, binding: bytes) -> None:
        identity.verify(said.certificates, tenant=_tenant.key, now=NOW)
        for chain in said.grants:
            grants.verify(chain, tenant=_tenant.key, now=NOW, holder=_tenant.alice.key, kind=Kind.HUMAN)

    host = Answered(_responder, _X3, name="box", judge=judge, find=lambda _: _new_link(False))
    (message2,) = host.receive(_hello(), now=0.0)[1]
    client = _initiator().finish(message2)
    for number, each in enumerate(parts(data)):
        if each:
            host.receive(client.seal(each[: packets.PACKET_BYTES_MAX]), now=0.01 * number)
            host.outgoing(now=0.01 * number)


def _impostor(data: bytes) -> None:
    """What a host may say to its client, first of all."""
    client = Dialled(_initiator(), lambda binding: Introduce(1), _new_link(True))
    message2, secure, _ = _responder.answer(client.first(), ephemeral_private=_X3)
    client.receive(message2, now=0.0)
    for number, each in enumerate(parts(data)):
        if each:
            client.receive(secure.seal(each[: packets.PACKET_BYTES_MAX]), now=0.01 * number)
            client.outgoing(now=0.01 * number)


def _frames() -> bytes:
    sealer = Cipher(seed("k2"))
    return joined(sealer.encrypt(b"one"), sealer.encrypt(b"two"), sealer.encrypt(b""))


# ---- what is signed --------------------------------------------------------------------------------------------------

_record = identity.sign_host_record(
    _tenant.host, tenant=_tenant.key, channel=_X1.public_key().public_bytes_raw(), version=7, now=NOW,
    relays=("wss://relay.example",),
)  # fmt: skip
_list = identity.revoke(
    _tenant.root, tenant=_tenant.key, version=3, at=NOW, keys=[_tenant.bot.key], serials=[bytes(16)]
)
_issuers_list = identity.revoke(_tenant.issuer, tenant=_tenant.key, version=1, at=NOW, keys=[_tenant.bot.key])
_vouched = identity.issue(
    _tenant.alice, _tenant.alice_chain, kind=Kind.AI, key=_tenant.bot.key, serial=_tenant.serial(), now=NOW,
    on_behalf_of=_tenant.alice.key,
)  # fmt: skip
_grant = _tenant.granted(_tenant.alice)
_less = grants.attenuate(
    _grant,
    _tenant.alice,
    holder=_tenant.bot.key,
    serial=_tenant.serial(),
    capabilities=Capability.OBSERVE,
    sessions=(S1,),
)


def _chain(data: bytes) -> None:
    pieces = parts(data)
    identity.verify(pieces, tenant=_tenant.key, now=NOW)
    identity.read(pieces)


def _read_grant(data: bytes) -> None:
    grants.read(data)


def _verify_grant(data: bytes) -> None:
    grants.verify(
        data, tenant=_tenant.key, now=NOW, holder=_tenant.bot.key, kind=Kind.AI, principal=_tenant.alice.key, session=S1,
        capability=Capability.OBSERVE,
    )  # fmt: skip


def _body(data: bytes) -> bytes:
    return msgspec.msgpack.decode(data)[0]  # type: ignore[no-any-return]


def _wrapped(signer: KeyPair, domain: bytes, body: bytes) -> bytes:
    return signed.encoded((body, signer.sign(domain + body), 0))


def _insider_record(body: bytes) -> None:
    """A host that signs whatever it likes about itself."""
    identity.verify_host_record(
        _wrapped(_tenant.host, signed.HOST_RECORD, body), _tenant.host_chain, host=_tenant.host.key, tenant=_tenant.key,
        now=NOW,
    )  # fmt: skip


def _insider_list(body: bytes) -> None:
    data = _wrapped(_tenant.issuer, signed.REVOCATIONS, body)
    identity.merged([identity.verify_revocations(data, issuer=_tenant.issuer_certificate, tenant=_tenant.key, now=NOW)])


def _insider_certificate(body: bytes) -> None:
    """A person who vouches for whatever he likes."""
    data = _wrapped(_tenant.alice, signed.CERTIFICATE, body)
    identity.verify((*_tenant.alice_chain, data), tenant=_tenant.key, now=NOW)


def _insider_grant(body: bytes) -> None:
    outer = msgspec.msgpack.decode(_grant)
    link = _wrapped(_tenant.alice, signed.GRANT, body)
    _verify_grant(signed.encoded((outer[0], (*outer[1], link))))


def _signed_action(data: bytes) -> None:
    """Mirrors ``host/clients._unsealed``: a member's signed action, opened and put into its canonical form."""
    said = msgspec.msgpack.decode(data, type=wire.Signed)
    message = msgspec.msgpack.decode(said.action, type=wire.ToHost)
    statement = signing.statement(
        session=said.session, client="c-fuzz", epoch=said.epoch, term=said.term, seq=said.seq,
        verb=signing.verb_of(message), commitment=signing.commitment(said.salt, signing.canonical(message)),
    )  # fmt: skip
    signing.verify(_tenant.alice.key, statement, said.signature)


def _action() -> bytes:
    message = wire.Input(1, S1, 5, b"make\r")
    salt = bytes(16)
    statement = signing.statement(
        session=S1, client="c-fuzz", epoch=1, term=1, seq=5, verb="input",
        commitment=signing.commitment(salt, signing.canonical(message)),
    )  # fmt: skip
    return _encode(wire.Signed(S1, 5, salt, _tenant.alice.sign(statement), _encode(message)))


# ---- text that a person pastes ---------------------------------------------------------------------------------------

_guest = invitations.share(
    _tenant.alice, _tenant.alice_chain, _grant, relays=("wss://relay.example",), host=_tenant.host.key, session=S1,
    seed=seed("guest"), serials=(_tenant.serial(), _tenant.serial()), now=NOW, not_after=NOW + 3600,
)  # fmt: skip
_code = invitations.JoinCode(
    relays=("wss://relay.example",), tenant=_tenant.key, host=_tenant.host.key, channel=_X1.public_key().public_bytes_raw(),
    secret=bytes(16), not_after=NOW + 900,
)  # fmt: skip
_one = grants.attenuate(_grant, _tenant.alice, holder=_tenant.bot.key, serial=_tenant.serial(), sessions=(S1,))
_offer = invitations.Offer(("wss://relay.example",), _tenant.host.key, S1, _one)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


_sealed_name = sealing.seal_name("box", sealing.NameKey(1, seed("names")), about=_tenant.host.key, nonce=bytes(12))

_WIRE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)  # what the host's shells catch where they decode

TARGETS: dict[str, Target] = {
    "host_inbox": Target(functools.partial(_messages, framing.host_inbox), _framed(_TO_HOST)),
    "client_inbox": Target(functools.partial(_messages, framing.client_inbox), _framed(_TO_CLIENT)),
    "said_to_relay": Target(relay.said_to_relay, (
        relay.control(relay.Admit(1, "client", "relay.example", _tenant.alice_chain, bytes(64))),
        relay.control(relay.Publish(1, _tenant.host_chain, _record)), relay.routed(7, b"payload"),
        relay.control(relay.OpenRoute(3, _tenant.host.key)), relay.control(relay.Revoke(4, _list)),
    )),
    "said_by_relay": Target(relay.said_by_relay, (
        relay.control(relay.Challenge(bytes(32), (1,))), relay.control(relay.Revoked(_list)),
        relay.control(relay.HostsAre(1, (relay.Presence(_tenant.host.key, True, 1.0, _tenant.host_chain, _record),))),
        relay.control(relay.Incoming(9, "member")), relay.routed(7, b"payload"),
    )),
    "packets.opening": Target(packets.opening, (_PACKETS[-1],)),
    "link_at_host": Target(functools.partial(_link, True), (joined(*_PACKETS), *map(joined, _PACKETS)), (HoldError, LinkOver)),
    "link_at_client": Target(functools.partial(_link, False), (joined(*_PACKETS), *map(joined, _PACKETS))),
    "secure.open": Target(_open, (_frames(),)),
    "responder.answer": Target(lambda data: _responder.answer(data, ephemeral_private=_X3), (_hello(),)),
    "initiator.finish": Target(lambda data: _initiator().finish(data), (_responder.answer(_hello(), ephemeral_private=_X3)[0],)),
    "insider": Target(_insider, (
        joined(_encode(Introduce(1, _tenant.alice_chain, (_grant,), bytes(64))), _PACKETS[-1], _PACKETS[2]),
    )),
    "impostor": Target(_impostor, (
        joined(_encode(wire.Failed(0, "refused", "no", "", {"a": 1}))), joined(_encode(wire.Pong(1)), _PACKETS[-1]),
    )),
    "certificates": Target(_chain, (joined(*_tenant.alice_chain), joined(*_tenant.host_chain))),
    "certificate_of_an_insider": Target(_insider_certificate, (_body(_vouched[-1]),)),
    "host_record": Target(
        lambda data: identity.verify_host_record(
            data, _tenant.host_chain, host=_tenant.host.key, tenant=_tenant.key, now=NOW
        ), (_record,)
    ),
    "host_record_of_an_insider": Target(_insider_record, (_body(_record),)),
    "revocations": Target(lambda data: identity.verify_revocations(data, tenant=_tenant.key, now=NOW), (_list,)),
    "revocations_of_an_insider": Target(_insider_list, (_body(_issuers_list),)),
    "revoked_at": Target(identity.revoked_at, (_list,)),
    "grants.read": Target(_read_grant, (_grant, _less)),
    "grants.verify": Target(_verify_grant, (_less,)),
    "grant_of_an_insider": Target(_insider_grant, (_body(msgspec.msgpack.decode(_less)[1][-1]),)),
    "signed_action": Target(_signed_action, (_action(),), (HoldError, ValueError, *_WIRE)),
    "join_code": Target(lambda data: invitations.parse_join_code(_text(data), now=NOW), (_code.text().encode(),)),
    "share_link": Target(lambda data: invitations.parse_share(_text(data)), (_guest.url().encode(),)),
    "offer": Target(lambda data: invitations.parse_offer(_text(data)), (_offer.text().encode(),)),
    "cursor": Target(lambda data: Cursor.parse(_text(data)), (str(Cursor(S1, 1, 2, 3, bytes(32))).encode(),)),
    "sealed_name": Target(
        lambda data: sealing.open_name(data, [sealing.NameKey(1, seed("names"))], about=_tenant.host.key), (_sealed_name,)
    ),
    "journal_record": Target(
        journal.decoded, (journal.Chain().seal("note", "host", {"a": b"b"}, at_ns=1).data,), (ValueError,)
    ),
    "signed.opened": Target(
        lambda data: signed.opened(data, identity.HostRecord, key=_tenant.host.key, domain=signed.HOST_RECORD, most=4096),
        (_record,), (Unsigned,),
    ),
}  # fmt: skip


def fed(name: str, data: bytes) -> bool:
    """Feed ``data`` to a target; tell whether it was taken. Anything but one of its errors is raised."""
    target = TARGETS[name]
    try:
        target.feed(data)
    except target.errors:
        return False
    return True
