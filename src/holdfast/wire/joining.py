"""Let somebody without certificates ask a host for them, once, inside a secure channel. Sans-I/O. Source: docs/identity.md,
"Joining".

One conversation: handshake, ``introduce`` with the one-time secret, one ``join``, one answer, close. Not here: what the
secret gives (client.issuing, in a program of its own), which secrets are open (host.invitations), links of members (link).
"""

import hashlib
from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from holdfast.core.errors import BadMessage, HoldError, Refused, revived
from holdfast.core.signed import KEY_BYTES, SIGNATURE_BYTES, KeyPair, genuine
from holdfast.wire.channel import Initiator, Responder, Secure, binding
from holdfast.wire.introduction import VERSION, Accepted, Introduce
from holdfast.wire.messages import Failed, Joined, Message
from holdfast.wire.pairing import number

DOMAIN: Final = b"holdfast/join/1\0"
DIGEST_BYTES: Final = 32
NAME_BYTES_MAX: Final = 128

_Key = Annotated[bytes, msgspec.Meta(max_length=KEY_BYTES)]


class NotInvited(Refused):
    """Used, expired and never given out are said in the same words (I9)."""

    code = "not-invited"

    def __init__(self) -> None:
        super().__init__(
            "this join code is not open here: it was used, has expired, or was taken back; nothing was changed",
            do="ask for a new one",
        )


class Join(Message, frozen=True, tag="join"):
    """Make ``key`` a member, and ``host``, the key of the joining machine's host, if the code is for that too.

    ``proof`` is ``key``'s signature over ``DOMAIN`` and the channel's binding: nobody has a key certified that is another's.
    ``name``: what the joiner calls itself, where whoever invited it did not say.
    """

    key: _Key
    proof: Annotated[bytes, msgspec.Meta(max_length=SIGNATURE_BYTES)]
    host: _Key = b""
    name: Annotated[str, msgspec.Meta(max_length=NAME_BYTES_MAX)] = ""


class Issue(Message, frozen=True, tag="issue"):
    """What a host asks the program that has the tenant's keys. ``digest`` of the secret: a first time; empty: a renewal."""

    digest: bytes
    key: bytes
    host: bytes = b""
    name: str = ""


_encode = msgspec.msgpack.Encoder().encode
_introduces = msgspec.msgpack.Decoder(Introduce)
_joins = msgspec.msgpack.Decoder(Join)
_accepts = msgspec.msgpack.Decoder(Accepted | Failed)
answers: Final = msgspec.msgpack.Decoder(Joined | Failed)
issues: Final = msgspec.msgpack.Decoder(Issue)
_NOT_MSGPACK: Final = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


def digest(secret: bytes) -> bytes:
    """Return what a host keeps of a one-time secret."""
    return hashlib.sha256(DOMAIN + secret).digest()


class Joiner:
    """The end of the one who joins. ``pair`` is its fresh key, ``host`` that of its machine's host or nothing."""

    def __init__(
        self, initiator: Initiator, *, secret: bytes, pair: KeyPair, host: bytes = b"", name: str = ""
    ) -> None:
        self._initiator, self._secret, self._pair, self._host, self._name = initiator, secret, pair, host, name
        self._secure: Secure | None = None
        self.accepted = ""  # the host's name for people, once it let us in
        self.number = ""  # what a person may be asked to compare (pairing)
        self.answer: Joined | None = None

    def first(self) -> bytes:
        """Return the payload that begins the handshake."""
        return self._initiator.message1

    def receive(self, payload: bytes | memoryview) -> list[bytes]:
        """Return the payloads to send next. Raises BadHandshake, BadSeal, PeerClosed, BadMessage, and what the host refuses
        with; afterwards nothing more is to be had from it."""
        if self._secure is None:
            self._secure = self._initiator.finish(bytes(payload))
            bound = binding(self._secure.handshake_hash)
            self.number = number(bound, self._pair.key)
            ask = Join(self._pair.key, self._pair.sign(DOMAIN + bound), self._host, self._name)
            return [self._secure.seal(_encode(each)) for each in (Introduce(VERSION, joins=self._secret), ask)]
        plain = self._secure.open(payload)
        try:
            said = answers.decode(plain) if self.accepted else _accepts.decode(plain)
        except _NOT_MSGPACK as error:
            raise BadMessage(f"an answer to a joiner cannot be read: {error}") from None
        if isinstance(said, Failed):
            raise revived(said.code, said.message, said.do, said.details)
        if isinstance(said, Accepted):
            self.accepted = said.host or "?"
        else:
            self.answer = said
        return []


class Usher:
    """The host's end. ``known`` says whether a digest is that of an open invitation; ``ephemeral_private`` must be fresh."""

    def __init__(
        self, responder: Responder, ephemeral_private: X25519PrivateKey, *, name: str, known: Callable[[bytes], bool]
    ) -> None:
        self._responder, self._ephemeral, self._name, self._known = responder, ephemeral_private, name, known
        self._secure: Secure | None = None
        self._digest = b""
        self._asked = False
        self.number = ""  # what a person compares with the joiner's (pairing)

    def receive(self, payload: bytes | memoryview) -> tuple[list[bytes], Issue | None]:
        """Return the payloads to send next, and what is asked for once that is clear; ``answer`` is owed then.

        Raises BadHandshake, BadSeal, PeerClosed, BadMessage, NotInvited.
        """
        if self._secure is None:
            message2, self._secure, _ = self._responder.answer(bytes(payload), ephemeral_private=self._ephemeral)
            return [message2], None
        plain = self._secure.open(payload)
        try:
            if not self._digest:
                return self._introduced(_introduces.decode(plain)), None
            if self._asked:
                raise BadMessage("a joiner asks once")
            return [], self._wanted(_joins.decode(plain))
        except _NOT_MSGPACK as error:
            raise BadMessage(f"what a joiner says cannot be read: {error}") from None

    def _introduced(self, said: Introduce) -> list[bytes]:
        assert self._secure is not None
        asked = digest(said.joins)
        if not said.joins or not self._known(asked):
            raise NotInvited
        self._digest = asked
        return [self._secure.seal(_encode(Accepted(VERSION, self._name)))]

    def _wanted(self, said: Join) -> Issue:
        assert self._secure is not None
        self._asked = True
        bound = binding(self._secure.handshake_hash)
        if not genuine(said.key, said.proof, DOMAIN + bound):
            raise Refused("whoever joins does not have the key that it names; nothing was changed")
        if said.host == said.key:
            raise Refused("an operator and a host have keys of their own; nothing was changed")
        self.number = number(bound, said.key)
        return Issue(self._digest, said.key, said.host, said.name)

    def answer(self, said: Joined | HoldError) -> list[bytes]:
        """Return the payloads that give the answer and end the channel; none if it cannot be spoken to in private."""
        secure = self._secure
        if secure is None or not secure.writable:
            return []
        if isinstance(said, HoldError):
            said_ = Failed(0, said.code, said.message, said.do)
            return [secure.seal(_encode(said_)), secure.close()]
        return [secure.seal(_encode(said)), secure.close()]
