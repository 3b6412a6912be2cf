"""Join what makes one carrier: the secure channel, who the client is, and the link that outlives it. Sans-I/O.

Not here: what a certificate or grant is worth (core.identity, core.grants), how payloads travel (relay), what is said on
the link (messages). Source: docs/channel.md, "Introduction".

The first frame each way is a message, all later ones are packets of the link. The client sends its own and the link's
first packets without waiting, so a carrier costs one round trip after the handshake's.
"""

from collections.abc import Callable
from typing import Annotated, Final, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from holdfast.core.errors import BadMessage, HoldError, revived
from holdfast.core.identity import CERTIFICATE_BYTES_MAX, CHAIN_MAX
from holdfast.core.signed import SIGNATURE_BYTES
from holdfast.wire.channel import Initiator, PeerClosed, Responder, Secure, binding
from holdfast.wire.facts import Event
from holdfast.wire.link import Link
from holdfast.wire.messages import Failed, Message
from holdfast.wire.packets import Resume, opening

VERSION: Final = 1
GRANTS_MAX: Final = 16
GRANT_BYTES_MAX: Final = 16 * 1024

_Certificate = Annotated[bytes, msgspec.Meta(max_length=CERTIFICATE_BYTES_MAX)]
_Grant = Annotated[bytes, msgspec.Meta(max_length=GRANT_BYTES_MAX)]


class Introduce(Message, frozen=True, tag="introduce"):
    """Who the client is: its chain of certificates, issuer first, and ``signature`` over the binding of this channel.

    ``grants`` are chains for hosts alone: that is why they travel here and not to the relay. ``joins`` is the one-time
    secret of somebody who has no certificates yet; then the rest is empty, and all that can be asked for is to join.
    """

    version: int
    certificates: Annotated[tuple[_Certificate, ...], msgspec.Meta(max_length=CHAIN_MAX)] = ()
    grants: Annotated[tuple[_Grant, ...], msgspec.Meta(max_length=GRANTS_MAX)] = ()
    signature: Annotated[bytes, msgspec.Meta(max_length=SIGNATURE_BYTES)] = b""
    form: int = 0  # core.signed.Form of the signature
    joins: Annotated[bytes, msgspec.Meta(max_length=64)] = b""


class Accepted(Message, frozen=True, tag="accepted"):
    """The host lets the client in. ``host`` is its name for people."""

    version: int
    host: str


_encode = msgspec.msgpack.Encoder().encode
_introduces = msgspec.msgpack.Decoder(Introduce)
_answers = msgspec.msgpack.Decoder(Accepted | Failed)
M = TypeVar("M")


def _decoded(decoder: "msgspec.msgpack.Decoder[M]", data: bytes) -> M:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadMessage(f"an introduction cannot be read: {error}") from None


class Carrier:
    """What both sides do once the channel stands. ``number`` is the link's for this carrier, 0 before it has one."""

    def __init__(self) -> None:
        self.secure: Secure | None = None
        self.link: Link | None = None
        self.number = 0

    def outgoing(self, *, now: float, bytes_max: int = 1 << 18) -> list[bytes]:
        """Return the sealed payloads that the link has to say now; see ``Link.outgoing`` for when to call it."""
        link, secure = self.link, self.secure
        if link is None or secure is None or not secure.writable:
            return []
        return [secure.seal(packet) for packet in link.outgoing(self.number, now=now, bytes_max=bytes_max)]

    def goodbye(self) -> list[bytes]:
        """Return the payload that ends the channel, if it stands."""
        return [self.secure.close()] if self.secure is not None and self.secure.writable else []

    def lost(self, *, now: float) -> None:
        """The carrier is gone: the link waits for the next one."""
        if self.link is not None and self.number:
            self.link.carrier_down(self.number, now=now)

    def _packet(self, payload: bytes | memoryview, *, now: float) -> list[Event]:
        assert self.secure is not None and self.link is not None
        return self.link.receive(self.number, self.secure.open(payload), now=now)


class Dialled(Carrier):
    """The client's end. ``introduce`` makes the introduction from the channel's binding; ``sent`` are what to send first.

    ``accepted`` is the host's answer once it came. ``link`` gets its carrier as soon as the channel stands.
    """

    def __init__(self, initiator: Initiator, introduce: Callable[[bytes], Introduce], link: Link) -> None:
        super().__init__()
        self._initiator, self._introduce, self.link = initiator, introduce, link
        self.accepted: Accepted | None = None

    def first(self) -> bytes:
        """Return the payload that begins the handshake."""
        return self._initiator.message1

    def receive(self, payload: bytes | memoryview, *, now: float) -> tuple[list[Event], list[bytes]]:
        """Return what ``payload`` brought about, and payloads to send before those of ``outgoing``.

        Raises BadHandshake, BadSeal, PeerClosed, BadPacket, BadMessage, Superseded, LinkOver, and what the host refuses
        with. The carrier is of no further use then.
        """
        if self.secure is None:
            self.secure = self._initiator.finish(bytes(payload))
            words = self.secure.seal(_encode(self._introduce(binding(self.secure.handshake_hash))))
            assert self.link is not None
            self.number = self.link.carrier_up(now=now)
            return [], [words]
        if self.accepted is None:
            answer = _decoded(_answers, self.secure.open(payload))
            if isinstance(answer, Failed):
                raise revived(answer.code, answer.message, answer.do, answer.details)
            self.accepted = answer
            return [], []
        return self._packet(payload, now=now), []


def _nobody(said: Introduce, binding: bytes) -> None:
    raise PeerClosed


def _nothing(begins: Resume) -> Link:
    raise PeerClosed


class Answered(Carrier):
    """The host's end. ``judge`` says whether an introduction with this binding is good, and raises what it is refused with.

    ``find`` gives the link for a client's first packet: one that waits for it, or a fresh one; it raises if that link is
    another operator's. ``ephemeral_private`` must be fresh.
    """

    def __init__(
        self, responder: Responder, ephemeral_private: X25519PrivateKey, *, name: str,
        judge: Callable[[Introduce, bytes], None], find: Callable[[Resume], Link],
    ) -> None:  # fmt: skip
        super().__init__()
        self._responder, self._ephemeral, self._name = responder, ephemeral_private, name
        self._judge, self._find = judge, find
        self._known = False

    def lost(self, *, now: float) -> None:
        super().lost(now=now)
        self._judge, self._find = _nobody, _nothing  # whoever was asked is let go

    def receive(self, payload: bytes | memoryview, *, now: float) -> tuple[list[Event], list[bytes]]:
        """Return what ``payload`` brought about, and payloads to send before those of ``outgoing``.

        Raises as ``Dialled.receive``; ``refusal`` tells the client why before the carrier is closed.
        """
        if self.secure is None:
            message2, self.secure, _ = self._responder.answer(bytes(payload), ephemeral_private=self._ephemeral)
            return [], [message2]
        if not self._known:
            self._judge(_decoded(_introduces, self.secure.open(payload)), binding(self.secure.handshake_hash))
            self._known = True
            return [], [self.secure.seal(_encode(Accepted(VERSION, self._name)))]
        if self.link is None:
            packet = self.secure.open(payload)
            begins = opening(packet)
            link = self._find(begins)
            self.number = link.carrier_up(now=now, number=begins.carrier)
            self.link = link
            return link.receive(self.number, packet, now=now), []
        return self._packet(payload, now=now), []

    def refusal(self, error: HoldError) -> list[bytes]:
        """Return payloads that say ``error`` and end the channel; none if the client cannot be spoken to in private."""
        secure = self.secure
        if secure is None or not secure.writable or isinstance(error, PeerClosed):
            return []
        words: list[bytes] = []
        if not self._known:
            words.append(secure.seal(_encode(Failed(0, error.code, error.message, error.do))))
        return [*words, secure.close()]


__all__ = ["Accepted", "Answered", "Carrier", "Dialled", "Introduce"]
