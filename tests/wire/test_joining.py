"""The one conversation of somebody who joins: who is not invited learns nothing, and nobody joins with another's key."""

import hashlib

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import BadMessage, HoldError, Refused, TooMany
from holdfast.core.signed import KeyPair
from holdfast.wire import joining
from holdfast.wire.channel import BadHandshake, BadSeal, Initiator, PeerClosed, Responder, binding, prologue
from holdfast.wire.introduction import Introduce
from holdfast.wire.joining import Issue, Join, Joiner, NotInvited, Usher, digest
from holdfast.wire.messages import Joined


def seed(word: str) -> bytes:
    return hashlib.sha256(word.encode()).digest()


def x25519(word: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(seed(word))


HOST, CHANNEL = KeyPair(seed("host")), x25519("channel")
SECRET, PAIR = seed("secret")[:16], KeyPair(seed("joiner"))
ANSWER = Joined(0, (b"chain",), (b"grant",), (), ("wss://relay",), {1: b"k" * 32}, 99, "bob")


def usher(known: bytes = SECRET) -> Usher:
    return Usher(
        Responder(static_private=CHANNEL, prologue=prologue(HOST.key)), x25519("ephemeral"), name="box",
        known=lambda asked: asked == digest(known),
    )  # fmt: skip


def joiner(secret: bytes = SECRET, channel: X25519PrivateKey = CHANNEL, host: bytes = b"") -> Joiner:
    initiator = Initiator(
        static_private=x25519("static"), remote_static=channel.public_key().public_bytes_raw(),
        prologue=prologue(HOST.key), ephemeral_private=x25519("another"),
    )  # fmt: skip
    return Joiner(initiator, secret=secret, pair=PAIR, host=host, name="bob")


def heard_out(there: Usher, here: Joiner) -> Issue | None:
    """Let both speak until the host has what is asked for; return that."""
    asked, out = None, [here.first()]
    while out:
        back: list[bytes] = []
        for each in out:
            words, ask = there.receive(each)
            back += words
            asked = ask or asked
        out = [words for each in back for words in here.receive(each)]
    return asked


def test_whoever_has_the_secret_is_heard_out_and_answered_once() -> None:
    there, here = usher(), joiner(host=seed("machine"))
    assert heard_out(there, here) == Issue(digest(SECRET), PAIR.key, seed("machine"), "bob")
    answer, close = there.answer(ANSWER)
    assert here.receive(answer) == [] and (here.accepted, here.answer) == ("box", ANSWER)
    with pytest.raises(PeerClosed):
        here.receive(close)
    assert there.answer(ANSWER) == []


def test_without_the_secret_nothing_is_said_but_that() -> None:
    for wrong in (seed("guess")[:16], b""):
        there, here = usher(), joiner(wrong)
        [message2], _ = there.receive(here.first())
        introduction, _ = here.receive(message2)
        with pytest.raises(NotInvited) as refusal:
            there.receive(introduction)
        said, _ = there.answer(refusal.value)
        with pytest.raises(HoldError, match="was used, has expired, or was taken back"):
            here.receive(said)
        assert (here.accepted, here.answer) == ("", None)


def test_a_relay_in_the_hosts_place_gets_neither_secret_nor_key() -> None:
    """The code says which channel key to expect; who has another one cannot even finish the handshake."""
    with pytest.raises(BadHandshake):
        usher().receive(joiner(channel=x25519("relay")).first())
    forged = Responder(static_private=x25519("relay"), prologue=prologue(HOST.key))
    with pytest.raises(BadHandshake):
        forged.answer(joiner().first(), ephemeral_private=x25519("e"))


def test_nobody_has_a_key_certified_that_is_anothers() -> None:
    """Proofs are bound to the channel: one of another conversation fits no other."""
    for proof in (b"", PAIR.sign(joining.DOMAIN + bytes(32)), KeyPair(seed("x")).sign(joining.DOMAIN)):
        there = usher()
        initiator = Initiator(
            static_private=x25519("static"), remote_static=CHANNEL.public_key().public_bytes_raw(),
            prologue=prologue(HOST.key), ephemeral_private=x25519("another"),
        )  # fmt: skip
        [message2], _ = there.receive(initiator.message1)
        secure = initiator.finish(message2)
        there.receive(secure.seal(msgspec.msgpack.encode(Introduce(1, joins=SECRET))))
        with pytest.raises(Refused, match="does not have the key"):
            there.receive(secure.seal(msgspec.msgpack.encode(Join(PAIR.key, proof))))
        assert binding(secure.handshake_hash)


def test_a_joiner_asks_once() -> None:
    there, here = usher(), joiner()
    [message2], _ = there.receive(here.first())
    words = here.receive(message2)
    for each in words:
        there.receive(each)
    with pytest.raises((BadMessage, BadSeal)):
        there.receive(words[1])  # replayed
    assert there.answer(TooMany("x")) == []  # a broken channel says nothing


@given(st.binary(max_size=200))
def test_what_makes_no_sense_ends_the_conversation_and_nothing_else(data: bytes) -> None:
    with pytest.raises(BadHandshake):
        usher().receive(data)
    there, here = usher(), joiner()
    [message2], _ = there.receive(here.first())
    with pytest.raises((BadSeal, PeerClosed)):
        there.receive(data)
    if data != message2:
        with pytest.raises((BadHandshake, BadSeal)):
            joiner().receive(data)


def test_nothing_secret_shows() -> None:
    assert "k" * 32 not in repr(ANSWER) and "chain" not in repr(ANSWER)
    assert SECRET not in digest(SECRET)
