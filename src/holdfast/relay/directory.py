"""What relays remember together, and the store that keeps it. Not here: a store (sqlite_store), who uses it (clerk).

A store is a map from short text keys to small values, with compare-and-set, leases and a revision that rises with every
change and never falls. Decide from a compare-and-set or an acquire, never from a read. Every adapter passes the same
suite, ``tests/relay/conformance.py``.
"""

from collections.abc import AsyncIterator
from typing import Final, NamedTuple, Protocol

from holdfast.core.errors import HoldError

KEY_CHARS_MAX: Final = 512
VALUE_BYTES_MAX: Final = 1 << 20
TTL_S_MAX: Final = 86400.0


class Conflict(HoldError):
    """The key is not at the revision that the caller saw; nothing was changed."""

    code = "conflict"

    def __init__(self, key: str, seen: int, found: int) -> None:
        super().__init__(
            f"{key} is at revision {found}, not {seen}; nothing was changed",
            do="read it again, decide again",
            key=key,
            found=found,
        )


class LeaseHeld(HoldError):
    code = "lease-held"

    def __init__(self, key: str, holder: str, free_in_s: float) -> None:
        super().__init__(
            f"{key} is held by {holder}; it was left there",
            do=f"try again in {free_in_s:.0f} s if {holder} is really gone",
            key=key,
            holder=holder,
            free_in_s=free_in_s,
        )


class LeaseLost(HoldError):
    """The lease lapsed, or is another's by now: whoever held it stops acting on it."""

    code = "lease-lost"

    def __init__(self, key: str, epoch: int) -> None:
        super().__init__(f"epoch {epoch} of {key} is over", do="acquire it anew", key=key, epoch=epoch)


class Compacted(HoldError):
    """Changes after that revision are not known any more one by one."""

    code = "compacted"

    def __init__(self, after: int, oldest: int) -> None:
        super().__init__(
            f"changes after revision {after} are gone (the oldest kept comes after {oldest})",
            do="list anew and watch from there",
        )


class Lease(NamedTuple):
    """``epoch`` is the fencing number: the next holder's is higher, for ever. Times are Unix seconds of the store."""

    key: str
    holder: str
    epoch: int
    renewed_at: float
    expires_at: float


class Entry(NamedTuple):
    """``lease`` is set for a key that was acquired, also after it lapsed or was released: it says until when it was held."""

    key: str
    value: bytes
    revision: int
    lease: Lease | None = None


class Listing(NamedTuple):
    entries: tuple[Entry, ...]
    revision: int  # of the whole store: watch from here


class Change(NamedTuple):
    """``entry`` None: the key was removed."""

    key: str
    revision: int
    entry: Entry | None


class DirectoryStore(Protocol):
    """What any store does. Every method raises StorageFailed when the store cannot be reached or refuses.

    After StorageFailed a change may have happened all the same: read before trying again.
    """

    async def get(self, key: str) -> Entry | None:
        """Return what is there now."""

    async def list(self, prefix: str) -> Listing:
        """Return every entry whose key begins with ``prefix``, by key."""

    async def cas(self, key: str, value: bytes | None, *, revision: int, durable: bool = True) -> int:
        """Set ``key``, or with None remove it, if it is at ``revision`` (0: absent); return its new revision.

        ``durable``: it survives a power cut once this returned; otherwise it may be lost to one, in order. A key that was
        acquired can only be removed this way. Raises Conflict.
        """

    async def acquire(self, key: str, holder: str, ttl_s: float) -> Lease:
        """Take ``key`` for ``ttl_s`` seconds under a new epoch, durably. A holder that asks again gets a new epoch too.

        Raises LeaseHeld while another holds it, Conflict if the key holds a value.
        """

    async def renew(self, lease: Lease, ttl_s: float) -> Lease:
        """Prolong a lease that is still held, to ``ttl_s`` from now. Raises LeaseLost."""

    async def release(self, lease: Lease) -> None:
        """End a lease now. Harmless if it is over."""

    def watch(self, prefix: str, after: int) -> AsyncIterator[Change]:
        """Yield changes of keys that begin with ``prefix`` after revision ``after``, in order, for as long as wanted.

        Of several changes to one key only the latest may be told. Renewals are no changes. Raises Compacted.
        """

    async def close(self) -> None:
        """Give everything back; watches end."""


def host_key(root: bytes, host: bytes) -> str:
    """Return where the record of a tenant's host is kept."""
    return f"tenants/{root.hex()}/hosts/{host.hex()}"


def presence_key(root: bytes, host: bytes) -> str:
    """Return the lease that a relay holds while a host is connected to it."""
    return f"tenants/{root.hex()}/presence/{host.hex()}"


def revocations_key(root: bytes, signer: bytes) -> str:
    """Return where a signer's newest revocation list is kept."""
    return f"tenants/{root.hex()}/revocations/{signer.hex()}"


class Place(NamedTuple):
    """What a key of ours names: the tenant's root, ``hosts``, ``presence`` or ``revocations``, and whose."""

    root: bytes
    what: str
    key: bytes


def place_of(key: str) -> Place | None:
    """Return what ``key`` names; None for one that is not of the three above."""
    parts = key.split("/")
    if len(parts) != 4 or parts[0] != "tenants" or parts[2] not in ("hosts", "presence", "revocations"):
        return None
    try:
        return Place(bytes.fromhex(parts[1]), parts[2], bytes.fromhex(parts[3]))
    except ValueError:
        return None
