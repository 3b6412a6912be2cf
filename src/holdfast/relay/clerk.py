"""Write down what the hub learns, and tell it at the start what was known. Routing never waits for it.

A store that fails costs what a restart would forget, and hosts publish that anew whenever they connect. It is tried again.
"""

import asyncio
import logging
from typing import Final

import msgspec

from holdfast.core.errors import HoldError, StorageFailed
from holdfast.core.identity import REVOCATIONS_BYTES_MAX, RevocationList, verify_revocations
from holdfast.core.signed import Unsigned, peeked
from holdfast.relay.directory import (
    Conflict,
    DirectoryStore,
    Entry,
    Lease,
    LeaseHeld,
    LeaseLost,
    Place,
    host_key,
    place_of,
    presence_key,
    revocations_key,
)
from holdfast.relay.hub import HOST, Hub, Unsaved
from holdfast.relay.rooms import NOTHING_WITNESSED, KeptList, KeptWitness, Now

log = logging.getLogger(__name__)

PRESENCE_S: Final = 30.0  # life of a presence lease: how exact ``since`` is after the relay itself was killed
RENEW_S: Final = 10.0
RETRY_S: Final = 5.0


class StoredHost(msgspec.Struct, frozen=True, array_like=True):
    chain: tuple[bytes, ...]
    record: bytes
    version: int
    since: float  # Unix time, seconds; used if there is no presence lease
    witness: KeptWitness = NOTHING_WITNESSED


class StoredList(msgspec.Struct, frozen=True, array_like=True):
    revocations: bytes
    issuer: bytes


class Clerk:
    """Keeps ``hub`` and ``store`` together for the relay named ``relay``."""

    def __init__(self, hub: Hub, store: DirectoryStore, *, relay: str) -> None:
        self._hub, self._store, self._relay = hub, store, relay
        self._revisions: dict[str, int] = {}  # of what this relay wrote or read; only of what the hub knows
        self._leases: dict[tuple[bytes, bytes], Lease] = {}
        self._work = asyncio.Event()
        self.failures = 0  # since the start

    async def load(self, *, now: Now) -> None:
        """Give the hub what is known. An entry that cannot be read is said, and left out. Raises StorageFailed."""
        listing = await self._store.list("tenants/")
        found = {place: entry for entry in listing.entries if (place := place_of(entry.key)) is not None}
        for place, entry in found.items():
            try:
                self._restore(place, entry, found, now)
            except (msgspec.MsgspecError, HoldError, Unsigned) as error:
                log.warning("an entry of the directory is left out", extra={"key": entry.key, "why": str(error)})

    def _restore(self, place: Place, entry: Entry, found: dict[Place, Entry], now: Now) -> None:
        if place.what == "hosts":
            host = msgspec.msgpack.decode(entry.value, type=StoredHost)
            presence = found.get(place._replace(what="presence"))
            since = presence.lease.renewed_at if presence is not None and presence.lease is not None else host.since
            self._hub.restore_host(
                place.root, place.key, host.chain, host.record, host.version, since=min(since, now.unix), now=now,
                witness=host.witness,
            )  # fmt: skip
        elif place.what == "revocations":
            stored = msgspec.msgpack.decode(entry.value, type=StoredList)
            self._hub.restore_list(place.root, _kept(stored, place.root), now=now)
        else:
            return
        self._revisions[entry.key] = entry.revision

    def wake(self) -> None:
        """Note that the hub has something unsaved."""
        self._work.set()

    async def run(self) -> None:
        """Write down what changes, renew presence, for as long as this task lives."""
        renew_at = 0.0
        clock = asyncio.get_running_loop().time
        while True:
            try:
                await self.save()
                if clock() >= renew_at:
                    await self._renew()
                    renew_at = clock() + RENEW_S
            except StorageFailed as error:
                self.failures += 1
                log.error("the directory failed", extra={"why": error.message})
                await asyncio.sleep(RETRY_S)
                continue
            try:
                async with asyncio.timeout(max(0.0, renew_at - clock())):
                    await self._work.wait()
            except TimeoutError:
                pass

    async def save(self) -> None:
        """Write down everything unsaved. What could not be written stays unsaved. Raises StorageFailed."""
        self._work.clear()
        while self._hub.unsaved:
            what = next(iter(self._hub.unsaved))
            del self._hub.unsaved[what]  # first: what changes during the write is to be written again
            try:
                await (self._save_host(what) if what[0] == HOST else self._save_list(what))
            except Conflict as error:  # only a store that was restored, or written by hand, surprises its only writer
                self._revisions[str(error.details["key"])] = int(error.details["found"])
                self._hub.unsaved[what] = None
            except BaseException:  # failed or interrupted: whether it was written is unknown, so it is written again
                self._hub.unsaved[what] = None
                raise

    async def close(self) -> None:
        """Write down the rest and let go of every presence, as far as the store allows."""
        try:
            await self.save()
            for lease in self._leases.values():
                await self._store.release(lease)
        except StorageFailed as error:
            log.error("the directory failed", extra={"why": error.message})
        self._leases.clear()

    async def _save_host(self, what: Unsaved) -> None:
        _, root, key = what
        tenant = self._hub.tenants.get(root)
        host = tenant.hosts.get(key) if tenant is not None else None
        if host is None:
            await self._put(host_key(root, key), None)
            self._leases.pop((root, key), None)
            if (left := await self._store.get(presence_key(root, key))) is not None:
                await self._store.cas(left.key, None, revision=left.revision, durable=False)
            return
        stored = StoredHost(host.chain, host.record, host.version, host.since, host.witness)
        present = host.peer is not None
        await self._put(host_key(root, key), msgspec.msgpack.encode(stored))
        held = self._leases.get((root, key))
        if present and held is None:
            await self._appear(root, key)
        elif not present and held is not None:
            del self._leases[root, key]
            await self._store.release(held)

    async def _appear(self, root: bytes, key: bytes) -> None:
        try:
            lease = await self._store.acquire(presence_key(root, key), self._relay, PRESENCE_S)
        except LeaseHeld as error:
            log.warning("a host is present at another relay", extra={"holder": error.details["holder"]})
        else:
            self._leases[root, key] = lease

    async def _save_list(self, what: Unsaved) -> None:
        _, root, signer = what
        tenant = self._hub.tenants.get(root)
        kept = tenant.lists.get(signer) if tenant is not None else None
        value = None if kept is None else msgspec.msgpack.encode(StoredList(kept.data, kept.issuer))
        await self._put(revocations_key(root, signer), value, durable=True)

    async def _put(self, key: str, value: bytes | None, *, durable: bool = False) -> None:
        seen = self._revisions.get(key, 0)
        if value is None and not seen:
            return
        self._revisions[key] = await self._store.cas(key, value, revision=seen, durable=durable)
        if value is None:
            del self._revisions[key]

    async def _renew(self) -> None:
        for place, lease in list(self._leases.items()):
            try:
                fresh = await self._store.renew(lease, PRESENCE_S)
            except LeaseLost:  # this process was stopped for long; the host is connected all the same
                self._leases.pop(place, None)
                self._hub.unsaved[HOST, *place] = None
                self._work.set()
            else:
                if place in self._leases:
                    self._leases[place] = fresh


def _kept(stored: StoredList, root: bytes) -> KeptList:
    """Return a list as it was verified when it came: with its own instant as now (identity.verify_revocations)."""
    at = peeked(stored.revocations, RevocationList, most=REVOCATIONS_BYTES_MAX).at
    says = verify_revocations(stored.revocations, issuer=stored.issuer, tenant=root, now=at)
    return KeptList(stored.revocations, stored.issuer, says)
