"""Bind an action to the operator who asks for it: what is signed, byte for byte, and how a signature is checked.

Not here: which key belongs to whom (identity), who may do what (admission), who keeps signatures (journal).

The operator signs a *statement*: where, in which order, and a *commitment* to what. The commitment is a salted hash, so
the journal can lose what was typed (a password) and still prove who typed. Source: docs/channel.md, "Signed actions".
"""

import hashlib
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfast.core.errors import HoldError
from holdfast.core.signed import KeyPair, genuine
from holdfast.wire import messages as wire

DOMAIN: Final = b"holdfast/action/1\0"
SALT_BYTES: Final = 16
COMMITMENT_BYTES: Final = 32
TEXT_BYTES_MAX: Final = 255  # of session, client and verb in a statement

_NUMBERS = struct.Struct(">QQQ")
_encoder = msgspec.msgpack.Encoder(order="deterministic")


class BadSignature(HoldError):
    """The operator named did not sign this action as it stands here. It was not, and must not be, carried out."""

    code = "bad-signature"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the signature of this action does not hold: {why}; it was not carried out",
            do="ask again with a client that signs what it sends; if it goes on, somebody in between alters actions",
            why=why,
        )


# ---- what of an action is signed -------------------------------------------------------------------------------------


def _itself(value: Any) -> Any:
    return value


def _size(size: wire.Size) -> tuple[int, int]:
    return size.rows, size.cols


def _policy(policy: wire.ReapPolicy | None) -> tuple[float | None, float, float | None] | None:
    return None if policy is None else (_seconds(policy.idle_s), float(policy.grace_s), _seconds(policy.max_s))


def _basis(basis: wire.Basis | None) -> tuple[int, str] | None:
    return None if basis is None else (basis.input, basis.command)


def _seconds(value: float | None) -> float | None:
    return None if value is None else float(value)


# Message -> the fields its canonical form covers, in this order, and how each is written. Not covered: ``ref`` and
# ``attachment``, which number things on one connection, and ``session``, ``seq`` and ``term``, which stand in the statement
# (the session by its id, whichever name was used). Floats are always written as floats, as the wire makes them. Whoever gives
# one of these messages another field appends it here and leaves it out while it has its default: so older clients'
# signatures hold, and a host that does not know the field refuses rather than carry out half of what was signed.
COVERED: Final[Mapping[type[wire.Message], Mapping[str, Callable[[Any], Any]]]] = {
    wire.Open: {
        "argv": _itself, "env": _itself, "cwd": _itself, "size": _size,
        "name": _itself, "reuse": _itself, "policy": _policy, "key": _itself,
        "integration": _itself,
    },
    wire.Input: {"data": _itself, "basis": _basis},
    wire.Resize: {"size": _size},
    wire.Signal: {"signal": _itself, "tree": _itself},
    wire.Kill: {"grace_s": float},
    wire.Keep: {"for_s": float},
    wire.Rename: {"name": _itself},
    wire.Forget: {},
    wire.Propose: {
        "number": _itself, "verb": _itself, "data": _itself, "signal": _itself, "tree": _itself, "why": _itself, "basis": _basis,
    },
    wire.Decide: {
        "proposal": _itself, "digest": _itself, "verdict": _itself, "why": _itself, "widen": _itself, "words": _itself,
        "for_s": float,
    },
    wire.Withdraw: {"proposal": _itself},
    wire.Run: {"text": _itself, "key": _itself, "patience_s": float, "unmarked": _itself, "basis": _basis},
    wire.Control: {"act": _itself, "to": _itself, "why": _itself, "job": _itself},
}  # fmt: skip

# Of fields that were added later: what each is written as while it is left out, in their order; they come last.
LATER: Final[Mapping[type[wire.Message], tuple[Any, ...]]] = {wire.Input: (None,), wire.Open: (True,)}


def verb_of(message: wire.Message) -> str:
    """Return the verb of ``message``: its tag on the wire."""
    return str(type(message).__struct_config__.tag)


SIGNED: Final = frozenset(str(kind.__struct_config__.tag) for kind in COVERED)
"""The verbs that travel with a signature when they come from outside the host's machine."""


def canonical(message: wire.Message) -> bytes:
    """Return the bytes an operator commits to: a msgpack array of the verb and the fields ``COVERED`` lists.

    Equal for a message before and after its trip over the wire; different for any two that ask for different things.
    Raises ValueError for a verb that is not signed: the caller asks ``SIGNED`` first.
    """
    covered = COVERED.get(type(message))
    if covered is None:
        raise ValueError(f"a {verb_of(message)!r} message is not signed")
    fields = [write(getattr(message, field)) for field, write in covered.items()]
    later = LATER.get(type(message), ())
    while later and len(fields) > len(covered) - len(later) and fields[-1] == later[len(fields) - len(covered) - 1]:
        fields.pop()
    return _encoder.encode([verb_of(message), *fields])


def kept(message: wire.Message, action: bytes) -> bytes:
    """Return what of the ``action`` bytes of ``message`` a journal keeps beside what its record says anyway.

    Nothing of an input, which the record holds itself; nothing of ``open``, whose environment is no business of a reader
    of the journal. The commitment stands in the statement all the same.
    """
    if isinstance(message, wire.Input):
        return b"" if message.basis is None else action
    return b"" if isinstance(message, wire.Open) else action


# ---- commitment, statement, signature --------------------------------------------------------------------------------


def commitment(salt: bytes, action: bytes) -> bytes:
    """Return SHA-256(``salt`` || ``action``), ``action`` being its canonical bytes.

    The salt is 16 fresh random bytes, never used twice: with it gone, what was committed to cannot be guessed. Raises
    BadSignature for a salt of another length: where it ends would then be open to choice.
    """
    if len(salt) != SALT_BYTES:
        raise BadSignature(f"its salt has {len(salt)} bytes, not {SALT_BYTES}")
    return hashlib.sha256(salt + action).digest()


def statement(*, session: str, client: str, epoch: int, term: int, seq: int, verb: str, commitment: bytes) -> bytes:
    """Return what an operator signs for one action. No two different actions share a statement.

    ``session`` is the session's id, not its name, which may be another's tomorrow; for ``open``, which has no session
    yet, the id of the host that is asked. ``client`` and ``seq`` make it this once: a host that has the signature cannot
    show it for a second action. ``epoch``, ``term``, ``seq``: 0 to 2**64 - 1. Raises BadSignature for what cannot be
    stated, since on a host these come from the peer.
    """
    try:
        texts = [text.encode() for text in (session, client, verb)]
        numbers = _NUMBERS.pack(epoch, term, seq)
    except (UnicodeEncodeError, struct.error):
        raise BadSignature("a text or number of it cannot be stated") from None
    if max(map(len, texts)) > TEXT_BYTES_MAX or len(commitment) != COMMITMENT_BYTES:
        raise BadSignature("a text of it is too long, or its commitment has another length")
    return b"".join([DOMAIN, *(bytes([len(text)]) + text for text in texts), numbers, commitment])


def sign(private_key: Ed25519PrivateKey | KeyPair, statement: bytes) -> bytes:
    """Return the operator's signature of ``statement``, 64 bytes. Ed25519 draws no randomness (RFC 8032)."""
    return private_key.sign(statement)


def verify(public_key: bytes, statement: bytes, signature: bytes) -> None:
    """Return if the holder of ``public_key`` (32 bytes) signed exactly ``statement``; raise BadSignature if not.

    Strict: the key is not of small order, S is below the group order, R is compared as bytes. So nobody, not even the
    signer, can make a second signature pass for a statement out of the first, or one for two statements.
    """
    if not genuine(public_key, signature, statement):
        raise BadSignature("it is not of this key and this action")
