"""Keep account of what this profile gave to whom: invitations, members, shares, offers. Source: docs/identity.md, "The store".

One file, ``given``, in the profile's folder. Not here: signing (issuing, sharing), who may be told what. A record here gives
nobody anything; it says what was signed, so that it can be shown, renewed and taken back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import msgspec

from holdfast.client import private
from holdfast.client.credentials import Store
from holdfast.core import signed
from holdfast.core.errors import Corrupt, TooMany
from holdfast.core.identity import DAY_S, Kind, Revocations

FILE: Final = "given"
FORMAT: Final = 1
INVITATIONS_MAX: Final = 256
GIVEN_MAX: Final = 4096
KEPT_S: Final = 30 * DAY_S  # what is over is shown so long


class Terms(msgspec.Struct, frozen=True, array_like=True):
    """What an open invitation gives. ``by``: the operator who made it, whose right it passes on."""

    digest: bytes  # of the one-time secret
    by: bytes
    name: str
    kind: Kind
    capabilities: int  # 0: none, as for a machine's host
    sessions: tuple[str, ...]
    named: tuple[str, ...]  # what they were called
    life_s: int  # of each certificate
    until: int  # of the membership
    on_behalf_of: bytes
    machine: bool  # the joining machine's host becomes a member too
    at: int
    not_after: int  # of the invitation


class Given(msgspec.Struct, frozen=True, array_like=True):
    """What somebody has. ``how``: join, link (a guest's), offer (a grant for a key that was known)."""

    serial: bytes  # of the grant, else of the first certificate
    key: bytes
    how: str
    name: str
    kind: Kind
    capabilities: int
    sessions: tuple[str, ...]
    named: tuple[str, ...]
    at: int
    until: int
    by: bytes
    life_s: int = 0
    on_behalf_of: bytes = b""
    grant: bytes = b""  # the chain, for who renews; of use to its holder alone
    host: bytes = b""  # key of the machine's host
    taken_back: int = 0  # when

    def revoked(self, by: Revocations) -> bool:
        """Tell whether it was taken back, by itself or with its holder."""
        return bool(self.taken_back) or by.name_member(self.serial, self.key)


class _Book(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    format: int
    invitations: tuple[Terms, ...]
    given: tuple[Given, ...]


class Ledger:
    """The account while it is open for writing: ``invitations`` by digest, ``given`` in the order it was given."""

    def __init__(self, invitations: dict[bytes, Terms], given: list[Given]) -> None:
        self.invitations, self.given = invitations, given


def read(store: Store) -> Ledger:
    """Return the account as it is. Raises Corrupt, Unsafe."""
    data = private.read(store.path / FILE)
    if data is None:
        return Ledger({}, [])
    try:
        book: _Book = signed.decoded(data, _Book, most=private.FILE_BYTES_MAX)
    except signed.Unsigned:
        book = _Book(0, (), ())
    if book.format != FORMAT:
        raise Corrupt(
            f"{store.path / FILE} is damaged or of a newer version; it was left as it is",
            do="restore it from a backup: without it nothing that was given can be shown or taken back by name",
        )
    return Ledger({each.digest: each for each in book.invitations}, list(book.given))


@contextlib.contextmanager
def opened(store: Store, *, now: int) -> Iterator[Ledger]:
    """Have the account to oneself and write it back when the block ends well. What is long over is left out.

    Nothing of ``store`` that writes may be called in the block. Raises TooMany, StorageFailed.
    """
    with private.locked(store.folder / ".lock"):
        ledger = read(store)
        yield ledger
        invitations = tuple(each for each in ledger.invitations.values() if each.not_after > now)
        given = tuple(each for each in ledger.given if each.until > now - KEPT_S)
        if len(invitations) > INVITATIONS_MAX or len(given) > GIVEN_MAX:
            raise TooMany(
                f"{INVITATIONS_MAX} invitations or {GIVEN_MAX} grants are on record; nothing was added",
                do="`hold revoke` what is not needed any more, or let it expire",
            )
        private.write(store.path / FILE, signed.encoded(_Book(FORMAT, invitations, given)))
