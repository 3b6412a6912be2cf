"""Let relays witness where a host's journals stand without telling them anything: one sealed blob a host, numbered.

Each entry is a checkpoint that the host signed, sealed under a key that only who knows the session's id can derive. Which
entry is whose cannot be told, not even from one blob to the next, nor how many there are up to the next multiple of 8. A
relay keeps the blob of the highest number and refuses to go back.

Not here: checkpoints (checkpoints), who publishes (host.witness), who asks (client.compared). Source: docs/journal.md,
"Witnesses".
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from holdfast.core import checkpoints
from holdfast.core.checkpoints import Checkpoint
from holdfast.core.signed import Unsigned

SESSIONS_MAX: Final = 64  # in one blob: those whose journals moved last
BLOCK: Final = 8  # entries are made up to a multiple of it
_DOMAIN: Final = b"holdfast/witness/1\0"
_TAG_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_PLAIN_BYTES: Final = 382  # a signed checkpoint, its length before it, zeros behind
ENTRY_BYTES: Final = _TAG_BYTES + _NONCE_BYTES + _PLAIN_BYTES + 16
BLOB_BYTES_MAX: Final = SESSIONS_MAX * ENTRY_BYTES


def sealed(found: Sequence[tuple[str, bytes]], number: int, random: Callable[[int], bytes]) -> bytes:
    """Return a blob of (session, signed checkpoint), the latest 64 of them. ``random`` gives fresh random bytes."""
    entries = [
        _entry(session, checkpoint, number, random(_NONCE_BYTES)) for session, checkpoint in found[:SESSIONS_MAX]
    ]
    entries += [random(ENTRY_BYTES) for _ in range(-len(entries) % BLOCK)]
    return b"".join(sorted(entries))  # by tag: in an order that says nothing


def opened(blob: bytes, number: int, session: str) -> Checkpoint | None:
    """Return the checkpoint of ``session`` in a blob; None if there is none that its host signed."""
    key = _key(session)
    tag = _tag(key, number)
    for at in range(0, len(blob) - ENTRY_BYTES + 1, ENTRY_BYTES):
        if not hmac.compare_digest(blob[at : at + _TAG_BYTES], tag):
            continue
        nonce = blob[at + _TAG_BYTES : at + _TAG_BYTES + _NONCE_BYTES]
        try:
            plain = AESGCM(key).decrypt(nonce, blob[at + _TAG_BYTES + _NONCE_BYTES : at + ENTRY_BYTES], tag)
            found = checkpoints.opened(plain[2 : 2 + int.from_bytes(plain[:2], "big")])
        except (InvalidTag, Unsigned):
            continue
        if found.session == session:
            return found
    return None


def _entry(session: str, checkpoint: bytes, number: int, nonce: bytes) -> bytes:
    if len(checkpoint) > _PLAIN_BYTES - 2:
        raise ValueError("no checkpoint is as long as that")
    key = _key(session)
    tag = _tag(key, number)
    plain = (len(checkpoint).to_bytes(2, "big") + checkpoint).ljust(_PLAIN_BYTES, b"\0")
    return tag + nonce + AESGCM(key).encrypt(nonce, plain, tag)


def _key(session: str) -> bytes:
    """A session's id holds 128 random bits, and goes to nobody who may not see the session."""
    return hashlib.sha256(_DOMAIN + session.encode()).digest()


def _tag(key: bytes, number: int) -> bytes:
    return hmac.digest(key, _DOMAIN + number.to_bytes(8, "big"), "sha256")[:_TAG_BYTES]
