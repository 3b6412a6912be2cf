"""What is written down of what the hub learns, and that routing does not care when it cannot be."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.errors import StorageFailed
from holdfast.relay.clerk import PRESENCE_S, Clerk
from holdfast.relay.directory import host_key, presence_key, revocations_key
from holdfast.relay.hub import Hub
from holdfast.relay.limits import Limits
from holdfast.relay.sqlite_store import SqliteStore
from holdfast.wire import relay as wire
from tests.relay.peers import Realm
from tests.relay.test_hub import T0, Floor, at


class Moody(SqliteStore):
    """A store whose disk fails when told to."""

    failing = False

    async def _do(self, act: Callable[[], Any]) -> Any:
        if self.failing:
            raise StorageFailed("the disk is full", do="free space")
        return await super()._do(act)


@pytest.fixture
def realm() -> Realm:
    return Realm(now=T0)


class Desk:
    """A floor, a store and the clerk between them, on one clock."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self.folder, self.floor = folder, Floor(**limits)
        self.store = Moody.opened(folder, lambda: self.floor.now.unix)
        self.clerk = Clerk(self.floor.hub, self.store, relay="r-1")

    async def restarted(self, seconds: float) -> Hub:
        """Return the hub of a relay that starts on the same store at that instant, after a kill."""
        await self.store.close()
        self.floor.now = at(seconds)
        self.store = Moody.opened(self.folder, lambda: self.floor.now.unix)
        hub = Hub(names=["relay.example"], served=None, limits=Limits())
        await Clerk(hub, self.store, relay="r-1").load(now=self.floor.now)
        await self.store.close()
        return hub


def test_a_host_that_was_connected_at_a_kill_is_unreachable_since_it_was_last_seen(
    tmp_path: Path, realm: Realm
) -> None:
    """Promise Y11."""
    host = realm.host()

    async def story() -> None:
        desk = Desk(tmp_path)
        served = desk.floor.come_clean(host, "host")
        desk.floor.say(served, wire.Publish(1, host.chain, host.record(7)))
        await desk.clerk.save()
        desk.floor.now = at(20)
        await desk.clerk._renew()
        hub = await desk.restarted(1000)
        known = hub.tenants[realm.root.key].hosts[host.key]
        assert (known.since, known.version, known.record) == (T0 + 20, 7, host.record(7))
        assert not known.presence.reachable

    asyncio.run(story())


def test_a_host_that_left_is_unreachable_since_then(tmp_path: Path, realm: Realm) -> None:
    host = realm.host()

    async def story() -> None:
        desk = Desk(tmp_path)
        served = desk.floor.come_clean(host, "host")
        await desk.clerk.save()
        desk.floor.now = at(5)
        desk.floor.hub.leave(served, now=desk.floor.now)
        await desk.clerk.save()
        hub = await desk.restarted(1000)
        assert hub.tenants[realm.root.key].hosts[host.key].since == T0 + 5

    asyncio.run(story())


def test_what_the_hub_forgets_leaves_the_store(tmp_path: Path, realm: Realm) -> None:
    host = realm.host()

    async def story() -> None:
        desk = Desk(tmp_path, host_kept_s_max=100)
        served = desk.floor.come_clean(host, "host")
        await desk.clerk.save()
        desk.floor.hub.leave(served, now=desk.floor.now)
        await desk.clerk.save()
        desk.floor.hub.wake(now=at(200))
        await desk.clerk.save()
        assert (await desk.store.list("tenants/")).entries == ()
        await desk.store.close()

    asyncio.run(story())


def test_a_failing_disk_stops_no_routing_and_is_caught_up_with(tmp_path: Path, realm: Realm) -> None:
    """Promise Y14."""
    host, human = realm.host(), realm.human()

    async def story() -> None:
        desk = Desk(tmp_path)
        desk.store.failing = True
        served, client = desk.floor.come_clean(host, "host"), desk.floor.come_clean(human, "client")
        desk.floor.say(client, wire.Revoke(1, realm.revoke(b"\x09" * 32)))
        desk.floor.heard(client)
        for _ in range(2):
            with pytest.raises(StorageFailed):
                await desk.clerk.save()
        number = desk.floor.route(client, served, 1, host.key)
        desk.floor.send(client, 1, b"typed")
        assert desk.floor.heard(served)[-1] == (number, b"typed")
        desk.store.failing = False
        await desk.clerk.save()
        kept = {entry.key for entry in (await desk.store.list("tenants/")).entries}
        root = realm.root.key
        assert kept == {host_key(root, host.key), presence_key(root, host.key), revocations_key(root, root)}
        await desk.store.close()

    asyncio.run(story())


def test_a_relay_that_was_stopped_for_long_takes_its_leases_anew(tmp_path: Path, realm: Realm) -> None:
    host = realm.host()

    async def story() -> None:
        desk = Desk(tmp_path)
        desk.floor.come_clean(host, "host")
        await desk.clerk.save()
        desk.floor.now = at(PRESENCE_S + 1)
        await desk.clerk._renew()
        await desk.clerk.save()
        entry = await desk.store.get(presence_key(realm.root.key, host.key))
        assert entry is not None and entry.lease is not None
        assert entry.lease.expires_at == T0 + PRESENCE_S + 1 + PRESENCE_S
        await desk.store.close()

    asyncio.run(story())


def test_an_entry_that_cannot_be_read_is_left_out_and_the_rest_is_known(tmp_path: Path, realm: Realm) -> None:
    good, bad = realm.host(), realm.host()

    async def story() -> None:
        desk = Desk(tmp_path)
        desk.floor.come_clean(good, "host")
        await desk.clerk.save()
        await desk.store.cas(host_key(realm.root.key, bad.key), b"\xff\x00 not ours", revision=0)
        await desk.store.cas(revocations_key(realm.root.key, bad.key), realm.revoke(good.key), revision=0)
        hub = await desk.restarted(1)
        assert list(hub.tenants[realm.root.key].hosts) == [good.key]
        assert not hub.tenants[realm.root.key].lists

    asyncio.run(story())
