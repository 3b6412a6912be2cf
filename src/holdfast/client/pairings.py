"""Remember which invitations need a person to recognise who comes, and whom that person said yes to.

It lies with the keys, in the profile's file ``pairings``, and the program that signs looks there (issuing): a host that said
a person had agreed would not be believed. Not here: what an invitation gives (ledger), how one is paired (pairing).
"""

from __future__ import annotations

import time
from typing import Final

import msgspec

from holdfast.client import private
from holdfast.client.credentials import Store
from holdfast.core import signed
from holdfast.core.errors import Corrupt

FILE: Final = "pairings"
FORMAT: Final = 1
KEPT_MAX: Final = 256


class _Pairing(msgspec.Struct, frozen=True, array_like=True):
    digest: bytes
    not_after: int
    key: bytes  # of whom a person said yes to; empty: nobody yet


class _Book(msgspec.Struct, frozen=True, array_like=True):
    format: int
    pairings: tuple[_Pairing, ...]


def allows(store: Store, digest: bytes, key: bytes) -> bool:
    """Tell whether ``key`` may be signed for by this invitation: a person said so, or none has to."""
    return all(each.key == key for each in _read(store) if each.digest == digest)


def _read(store: Store) -> tuple[_Pairing, ...]:
    data = private.read(store.path / FILE)
    if data is None:
        return ()
    try:
        book: _Book = signed.decoded(data, _Book, most=private.FILE_BYTES_MAX)
    except signed.Unsigned:
        book = _Book(0, ())
    if book.format != FORMAT:
        raise Corrupt(
            f"{store.path / FILE} is damaged or of a newer version; it was left as it is, and nobody is let in by a number",
            do="remove it: codes that were given out for pairing end by that, nothing else",
        )
    return book.pairings


def remember(store: Store, digest: bytes, not_after: int, key: bytes = b"") -> None:
    """Put on record that ``digest`` needs a person's word, or with ``key`` that it was given for that key."""
    fresh = _Pairing(digest, not_after, key)
    now = int(time.time())
    with private.locked(store.folder / ".lock"):
        others = [each for each in _read(store) if each.digest != fresh.digest and each.not_after > now]
        private.write(store.path / FILE, signed.encoded(_Book(FORMAT, (*others[-KEPT_MAX + 1 :], fresh))))
