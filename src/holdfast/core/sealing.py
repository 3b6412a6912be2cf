"""Seal what others carry or keep for us: names that relays pass along, a root key under a passphrase.

Not here: the channel between client and host (wire.channel), where sealed things lie (client.credentials). AES-256-GCM and
scrypt are those of ``cryptography``. Nonces and salts are arguments and must be fresh random bytes every time.
Source: docs/identity.md, "Sealed names" and "The root under a passphrase".
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from holdfast.core import signed
from holdfast.core.errors import HoldError

SECRET_BYTES: Final = 32
NONCE_BYTES: Final = 12
SALT_BYTES: Final = 16
TEXT_BYTES_MAX: Final = 191  # of a name; sealed it stays below identity.NAME_BYTES_MAX
VERSION_MAX: Final = (1 << 32) - 1
PASSPHRASE_MIN: Final = 8  # characters
SCRYPT_N: Final = 1 << 17  # 128 MiB and a few tenths of a second for every guess
SCRYPT_N_MIN: Final = 1 << 15
SCRYPT_N_MAX: Final = 1 << 20  # 1 GiB: a file cannot make us take more
_SCRYPT_R, _SCRYPT_P = 8, 1
_BLOCK: Final = 64  # names are padded to this, so that their length does not tell which it is
_NAME_DOMAIN: Final = b"holdfast/name/1\0"
_ROOT_DOMAIN: Final = b"holdfast/sealed-root/1\0"
_SEALED_BYTES_MAX: Final = 512


class CannotOpen(HoldError):
    """What was sealed does not open. ``details["reason"]``: key (not known here), altered, malformed, passphrase."""

    code = "cannot-open"

    def __init__(self, what: str, reason: str, *, do: str) -> None:
        super().__init__(
            f"the {what} cannot be opened ({reason}); nothing was changed", do=do, what=what, reason=reason
        )


class WeakPassphrase(HoldError):
    code = "weak-passphrase"

    def __init__(self) -> None:
        super().__init__(
            f"a passphrase has at least {PASSPHRASE_MIN} characters; nothing was sealed",
            do="use several words",
        )


# ---- names -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NameKey:
    """The tenant's name key of one ``version``; a new one comes with every revocation. Guests never get it."""

    version: int
    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.key) != SECRET_BYTES or not 1 <= self.version <= VERSION_MAX:
            raise ValueError(f"a name key is {SECRET_BYTES} random bytes with a version from 1")


def seal_name(text: str, key: NameKey, *, about: bytes, nonce: bytes) -> bytes:
    """Return ``text`` sealed: version, nonce, ciphertext. ``about`` is the public key or id that the name is of.

    It opens for the same ``about`` only, so a relay cannot give one thing the name of another. Raises ValueError for more
    than 191 bytes, a zero byte, or a nonce of another length than 12.
    """
    plain = text.encode()
    if len(plain) > TEXT_BYTES_MAX or 0 in plain or len(nonce) != NONCE_BYTES:
        raise ValueError(f"a name has at most {TEXT_BYTES_MAX} bytes, none of them zero, and a nonce {NONCE_BYTES}")
    padded = plain.ljust(-(-max(len(plain), 1) // _BLOCK) * _BLOCK, b"\0")
    head = key.version.to_bytes(4, "big")
    return head + nonce + AESGCM(key.key).encrypt(nonce, padded, _NAME_DOMAIN + head + about)


def version_of(sealed: bytes) -> int:
    """Return the version of the key under which a name is sealed."""
    return int.from_bytes(sealed[:4], "big")


def open_name(sealed: bytes, keys: Iterable[NameKey], *, about: bytes) -> str:
    """Return the name of ``about``. Raises CannotOpen: none of ``keys`` has its version, or it was altered."""
    version, nonce = version_of(sealed), sealed[4 : 4 + NONCE_BYTES]
    key = next((key for key in keys if key.version == version), None)
    if key is None:
        raise CannotOpen("name", "key", do="the tenant changed its name key: get the new one")
    try:
        plain = AESGCM(key.key).decrypt(nonce, sealed[4 + NONCE_BYTES :], _NAME_DOMAIN + sealed[:4] + about)
        return plain.rstrip(b"\0").decode()
    except (InvalidTag, ValueError):
        raise CannotOpen("name", "altered", do="whoever passes it along alters it: use another relay") from None


# ---- a secret under a passphrase -------------------------------------------------------------------------------------


class _Sealed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    format: int
    n: int
    salt: bytes
    nonce: bytes
    ciphertext: bytes


def seal_root(seed: bytes, passphrase: str, *, tenant: bytes, salt: bytes, nonce: bytes, n: int = SCRYPT_N) -> bytes:
    """Return the root's ``seed`` sealed under ``passphrase`` (scrypt, r 8, p 1, then AES-256-GCM), bound to ``tenant``.

    Raises WeakPassphrase below 8 characters, ValueError for sizes that are not those above.
    """
    if len(unicodedata.normalize("NFKC", passphrase)) < PASSPHRASE_MIN:
        raise WeakPassphrase
    if len(seed) != signed.SEED_BYTES or len(salt) != SALT_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError(
            f"{signed.SEED_BYTES} bytes of seed, {SALT_BYTES} of salt and {NONCE_BYTES} of nonce are needed"
        )
    if not _fair(n):
        raise ValueError(f"scrypt's n is a power of two from {SCRYPT_N_MIN} to {SCRYPT_N_MAX}")
    locked = AESGCM(_stretched(passphrase, salt, n)).encrypt(nonce, seed, _ROOT_DOMAIN + tenant)
    return signed.encoded(_Sealed(1, n, salt, nonce, locked))


def open_root(sealed: bytes, passphrase: str, *, tenant: bytes) -> bytes:
    """Return the seed. Raises CannotOpen: a wrong passphrase and an altered file cannot be told apart."""
    do = "give the passphrase that it was sealed under, or an exported copy of the root"
    try:
        it: _Sealed = signed.decoded(sealed, _Sealed, most=_SEALED_BYTES_MAX)
    except signed.Unsigned:
        raise CannotOpen("sealed root", "malformed", do=do) from None
    if it.format != 1 or not _fair(it.n) or len(it.salt) != SALT_BYTES or len(it.nonce) != NONCE_BYTES:
        raise CannotOpen("sealed root", "malformed", do=do)
    try:
        return AESGCM(_stretched(passphrase, it.salt, it.n)).decrypt(it.nonce, it.ciphertext, _ROOT_DOMAIN + tenant)
    except InvalidTag:
        raise CannotOpen("sealed root", "passphrase", do=do) from None


def _fair(n: int) -> bool:
    return SCRYPT_N_MIN <= n <= SCRYPT_N_MAX and n & (n - 1) == 0


def _stretched(passphrase: str, salt: bytes, n: int) -> bytes:
    """Two keyboards may compose one letter differently: NFKC makes it one passphrase."""
    given = unicodedata.normalize("NFKC", passphrase).encode("utf-8", "surrogatepass")
    return Scrypt(salt=salt, length=SECRET_BYTES, n=n, r=_SCRYPT_R, p=_SCRYPT_P).derive(given)
