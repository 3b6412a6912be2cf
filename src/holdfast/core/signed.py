"""Sign small records so that a signature can mean one thing only: key pairs, domains, one encoding.

Not here: what the records say (identity, grants). A signed record travels as the msgpack array ``[body, signature, form]``;
``body`` is the record's one encoding, and what is signed is ``domain || body``. Source: docs/identity.md, "Signed records".
"""

import enum
import functools
import hashlib
from typing import Any, Final, Protocol, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_BYTES: Final = 32
SEED_BYTES: Final = 32
SERIAL_BYTES: Final = 16
SIGNATURE_BYTES: Final = 64
TIME_MAX: Final = 1 << 40  # Unix seconds; far enough, and exact in every language we speak

# Every domain ends with a zero byte and holds no other, so none is the beginning of another.
CERTIFICATE: Final = b"holdfast/certificate/1\0"
GRANT: Final = b"holdfast/grant/1\0"
HOST_RECORD: Final = b"holdfast/host-record/1\0"
REVOCATIONS: Final = b"holdfast/revocations/1\0"

SSH_NAMESPACE: Final = b"holdfast"

# Points of order 1, 2, 4 and 8, sign bit cleared, in every encoding of them. A signature under such a key fits more than
# one message: its owner could deny what it did.
_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    )
)

R = TypeVar("R", bound="Body")


class Form(enum.IntEnum):
    """How a signature was made. The bytes that are signed begin differently, so no signature fits both."""

    PLAIN = 0  # Ed25519 over domain || body
    SSH = 1  # Ed25519 over what `ssh-keygen -Y sign -n holdfast` signs for the message domain || body


class Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of what is signed. A field that a reader does not know could be a limit, so it is refused, not ignored."""


class _Signed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    body: bytes
    signature: bytes
    form: int


class Unsigned(ValueError):
    """Not a record signed by the one it should be by. ``reason``: malformed, too-large, signature."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Signer(Protocol):
    """Whoever can sign: ``key`` is the public half, 32 bytes."""

    @property
    def key(self) -> bytes: ...

    @property
    def form(self) -> Form: ...

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of Ed25519 over ``signable(message, form)``."""


class KeyPair:
    """An Ed25519 key in memory. Shows its public half only, also when printed."""

    __slots__ = ("_private", "key")
    form: Final = Form.PLAIN

    def __init__(self, seed: bytes) -> None:
        """Derive the pair from 32 random bytes. Raises ValueError for another length, without repeating them."""
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a key is made of {SEED_BYTES} random bytes, not {len(seed)}")
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.key: bytes = self._private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of ``message`` as it is."""
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"KeyPair({self.key.hex()[:16]})"


def is_key(key: bytes) -> bool:
    """Tell whether ``key`` can be somebody's public key: 32 bytes, and not one under which anything verifies."""
    return len(key) == KEY_BYTES and key[:-1] + bytes([key[-1] & 0x7F]) not in _SMALL_ORDER


def is_span(not_before: int, not_after: int) -> bool:
    """Tell whether these are Unix seconds with time between them."""
    return 0 <= not_before < not_after <= TIME_MAX


def signable(message: bytes, form: Form) -> bytes:
    """Return the bytes that a signature of ``message`` in this ``form`` covers. Source of SSH: OpenSSH, PROTOCOL.sshsig."""
    if form is Form.PLAIN:
        return message
    parts = (SSH_NAMESPACE, b"", b"sha512", hashlib.sha512(message).digest())
    return b"SSHSIG" + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


_public = functools.lru_cache(maxsize=1024)(
    Ed25519PublicKey.from_public_bytes
)  # one operator signs every key that it types


def genuine(key: bytes, signature: bytes, message: bytes, form: Form = Form.PLAIN) -> bool:
    """Tell whether ``key`` signed ``message``."""
    if not is_key(key) or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        _public(key).verify(signature, signable(message, form))
    except InvalidSignature:
        return False
    return True


_encoder = msgspec.msgpack.Encoder()


_decoders: "Final[dict[type[Any], msgspec.msgpack.Decoder[Any]]]" = {}


def encoded(value: Any) -> bytes:
    """Return the one encoding of a struct."""
    return _encoder.encode(value)


def decoded(data: bytes, kind: type[Any], *, most: int) -> Any:
    """Return the ``kind`` that ``data`` is the one encoding of. Raises Unsigned: malformed, or over ``most`` bytes."""
    if len(data) > most:
        raise Unsigned("too-large")
    decoder = _decoders.get(kind) or _decoders.setdefault(kind, msgspec.msgpack.Decoder(kind))
    try:
        value = decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise Unsigned("malformed") from None
    if _encoder.encode(value) != data:  # a second encoding would be a second hash and a second identity of one record
        raise Unsigned("malformed")
    return value


def sign(signer: Signer, domain: bytes, body: Body) -> bytes:
    """Return ``body`` signed in ``domain``."""
    data = encoded(body)
    return encoded(_Signed(data, signer.sign(domain + data), int(signer.form)))


def opened(data: bytes, kind: type[R], *, key: bytes, domain: bytes, most: int, ssh: bool = False) -> R:
    """Return the record that ``key`` signed in ``domain``. ``ssh``: a signature made as SSH makes them counts too.

    The signature is checked before the body is read. Raises Unsigned.
    """
    outer: _Signed = decoded(data, _Signed, most=most)
    if outer.form not in ((Form.PLAIN, Form.SSH) if ssh else (Form.PLAIN,)):
        raise Unsigned("signature")
    if not genuine(key, outer.signature, domain + outer.body, Form(outer.form)):
        raise Unsigned("signature")
    record: R = decoded(outer.body, kind, most=most)
    return record


def peeked(data: bytes, kind: type[R], *, most: int) -> R:
    """Return what a signed record says, whoever signed it: for those who made it or verified it before. Raises Unsigned."""
    outer: _Signed = decoded(data, _Signed, most=most)
    record: R = decoded(outer.body, kind, most=most)
    return record


def body_digest(data: bytes, *, most: int) -> bytes:
    """Return the SHA-256 of the body of a signed record, by which a later one names it. Raises Unsigned."""
    outer: _Signed = decoded(data, _Signed, most=most)
    return hashlib.sha256(outer.body).digest()
