"""What every directory store does. An adapter subclasses ``Conformance`` and gives it a ``store_bench`` fixture."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import pytest

from holdfast.core.errors import StorageFailed
from holdfast.relay.directory import Change, Compacted, Conflict, DirectoryStore, LeaseHeld, LeaseLost

WAIT_S = 10.0


class StoreBench(Protocol):
    """How the suite gets at a store and at its time."""

    removed_max: int  # removals after which the store may compact; 0: it never does while the suite runs

    async def open(self) -> DirectoryStore:
        """Return a store on data that outlives it. The suite closes it before it opens the next one."""

    async def pass_time(self, seconds: float) -> None:
        """Let so many seconds pass on the store's clock."""


def told(story: Callable[[DirectoryStore, StoreBench], Awaitable[None]], bench: StoreBench) -> None:
    async def run() -> None:
        store = await bench.open()
        try:
            await story(store, bench)
        finally:
            await store.close()

    asyncio.run(run())


async def following(changes: AsyncIterator[Change], count: int) -> list[Change]:
    async with asyncio.timeout(WAIT_S):
        return [await anext(changes) for _ in range(count)]


class Conformance:
    """Promise Y12: each test is one sentence of ``DirectoryStore``."""

    @pytest.fixture
    def store_bench(self) -> Any:
        raise NotImplementedError

    def test_a_key_is_absent_then_has_its_value_then_is_absent(self, store_bench: StoreBench) -> None:
        async def story(store: DirectoryStore, _: StoreBench) -> None:
            assert await store.get("a/b") is None
            first = await store.cas("a/b", b"one", revision=0)
            entry = await store.get("a/b")
            assert entry is not None
            assert (entry.value, entry.revision, entry.lease) == (b"one", first, None)
            second = await store.cas("a/b", b"two", revision=first, durable=False)
            assert second > first
            assert await store.cas("a/b", None, revision=second) > second
            assert await store.get("a/b") is None

        told(story, store_bench)

    def test_a_stale_revision_changes_nothing(self, store_bench: StoreBench) -> None:
        async def story(store: DirectoryStore, _: StoreBench) -> None:
            first = await store.cas("k", b"one", revision=0)
            for value, seen in ((b"x", 0), (b"x", first + 1), (None, 0), (None, first + 1)):
                with pytest.raises(Conflict) as found:
                    await store.cas("k", value, revision=seen)
                assert found.value.details["found"] == first
            with pytest.raises(Conflict):
                await store.cas("never was", b"x", revision=3)
            entry = await store.get("k")
            assert entry is not None and entry.value == b"one"

        told(story, store_bench)

    def test_of_many_who_see_the_same_revision_one_wins(self, store_bench: StoreBench) -> None:
        async def story(store: DirectoryStore, _: StoreBench) -> None:
            async def attempt(number: int) -> bool:
                try:
                    await store.cas("race", b"%d" % number, revision=0)
                except Conflict:
                    return False
                return True

            assert sum(await asyncio.gather(*map(attempt, range(16)))) == 1

        told(story, store_bench)

    def test_a_list_is_what_is_under_its_prefix_by_key(self, store_bench: StoreBench) -> None:
        async def story(store: DirectoryStore, _: StoreBench) -> None:
            for key in ("t/1/b", "t/1/a", "t/10/c", "t/2", "u"):
                await store.cas(key, key.encode(), revision=0)
            gone = await store.cas("t/1/z", b"", revision=0)
            last = await store.cas("t/1/z", None, revision=gone)
            listing = await store.list("t/1/")
            assert [entry.key for entry in listing.entries] == ["t/1/a", "t/1/b"]
            assert listing.revision >= last
            assert [entry.key for entry in (await store.list("")).entries] == ["t/1/a", "t/1/b", "t/10/c", "t/2", "u"]

        told(story, store_bench)

    def test_a_lease_is_one_holders_until_it_lapses(self, store_bench: StoreBench) -> None:
        async def story(store: DirectoryStore, bench: StoreBench) -> None:
            lease = await store.acquire("l", "me", 10)
            with pytest.raises(LeaseHeld) as held:
                await store.acquire("l", "you", 10)
            assert (held.value.details["holder"], 0 < held.value.details["free_in_s"] <= 10) == ("me", True)
            await bench.pass_time(6)
            lease = await store.renew(lease, 10)
            await bench.pass_time(6)
            with pytest.raises(LeaseHeld):
                await store.acquire("l", "you", 10)
            await bench.pass_time(6)
            yours = await store.acquire("l", "you", 10)
            assert yours.epoch > lease.epoch
            with pytest.raises(LeaseLost):
                await store.renew(lease, 10)

        told(story, store_bench)

    def test_a_lapsed_lease_cannot_be_renewed_even_if_nobody_took_it(self, store_bench: StoreBench) -> None:
        async def story(store: DirectoryStore, bench: StoreBench) -> None:
            lease = await store.acquire("l", "me", 5)
            await bench.pass_time(6)
            with pytest.raises(LeaseLost):
                await store.renew(lease, 5)

        told(story, store_bench)

    def test_a_released_lease_is_free_and_says_until_when_it_was_held(self, store_bench: StoreBench) -> None:
        async def story(store: DirectoryStore, bench: StoreBench) -> None:
            lease = await store.acquire("l", "me", 100)
            await bench.pass_time(3)
            await store.release(lease)
            await store.release(lease)
            entry = await store.get("l")
            assert entry is not None and entry.lease is not None
            assert 2.9 < entry.lease.expires_at - lease.renewed_at < 4
            yours = await store.acquire("l", "you", 100)
            await store.release(lease)  # of an epoch that is over: not theirs to end
            with pytest.raises(LeaseHeld):
                await store.acquire("l", "me", 100)
            assert yours.epoch > lease.epoch

        told(story, store_bench)

    def test_epochs_never_fall_whatever_was_removed_or_reopened(self, store_bench: StoreBench) -> None:
        async def run() -> None:
            epochs = []
            for _ in range(3):
                store = await store_bench.open()
                epochs.append((await store.acquire("l", "me", 5)).epoch)
                entry = await store.get("l")
                assert entry is not None
                await store.cas("l", None, revision=entry.revision)
                epochs.append((await store.acquire("l", "me", 5)).epoch)
                await store.close()
            assert epochs == sorted(set(epochs))

        asyncio.run(run())

    def test_a_lease_is_no_value_and_a_value_no_lease(self, store_bench: StoreBench) -> None:
        async def story(store: DirectoryStore, _: StoreBench) -> None:
            await store.acquire("l", "me", 5)
            entry = await store.get("l")
            assert entry is not None
            with pytest.raises(Conflict):
                await store.cas("l", b"value", revision=entry.revision)
            await store.cas("v", b"value", revision=0)
            with pytest.raises(Conflict):
                await store.acquire("v", "me", 5)

        told(story, store_bench)

    def test_a_watch_tells_changes_after_a_revision_in_order(self, store_bench: StoreBench) -> None:
        async def story(store: DirectoryStore, _: StoreBench) -> None:
            await store.cas("w/old", b"", revision=0)
            since = (await store.list("w/")).revision
            changes = store.watch("w/", since)
            first = await store.cas("w/a", b"1", revision=0)
            await store.cas("other", b"", revision=0)
            second = await store.cas("w/b", b"2", revision=0)
            got = await following(changes, 2)
            assert [(each.key, each.revision) for each in got] == [("w/a", first), ("w/b", second)]
            third = await store.cas("w/a", None, revision=first)
            assert await following(changes, 1) == [Change("w/a", third, None)]
            waiting = asyncio.create_task(following(changes, 1))  # before it happens
            await asyncio.sleep(0)
            lease = await store.acquire("w/l", "me", 50)
            [told_of] = await waiting
            assert told_of.entry is not None and told_of.entry.lease is not None
            assert told_of.entry.lease.epoch == lease.epoch

        told(story, store_bench)

    def test_a_watch_may_skip_to_the_latest_but_never_misses_it(self, store_bench: StoreBench) -> None:
        async def story(store: DirectoryStore, _: StoreBench) -> None:
            changes = store.watch("k", 0)
            revision = 0
            for number in range(50):
                revision = await store.cas("k", b"%d" % number, revision=revision, durable=False)
            last = None
            while last is None or last.revision < revision:
                [last] = await following(changes, 1)
            assert last.entry is not None and last.entry.value == b"49"

        told(story, store_bench)

    def test_what_is_compacted_is_said_and_never_skipped_in_silence(self, store_bench: StoreBench) -> None:
        if not store_bench.removed_max:
            return

        async def story(store: DirectoryStore, bench: StoreBench) -> None:
            for number in range(bench.removed_max + 1):
                made = await store.cas(f"c/{number}", b"", revision=0, durable=False)
                await store.cas(f"c/{number}", None, revision=made, durable=False)
            with pytest.raises(Compacted):
                await following(store.watch("c/", 0), 1)
            since = (await store.list("c/")).revision
            changes = store.watch("c/", since)
            made = await store.cas("c/new", b"", revision=0)
            assert [each.revision for each in await following(changes, 1)] == [made]

        told(story, store_bench)

    def test_what_was_written_is_there_for_the_next_to_open(self, store_bench: StoreBench) -> None:
        async def run() -> None:
            store = await store_bench.open()
            revision = await store.cas("k", b"v", revision=0, durable=False)
            lease = await store.acquire("l", "me", 50)
            await store.close()
            store = await store_bench.open()
            entry = await store.get("k")
            assert entry is not None and (entry.value, entry.revision) == (b"v", revision)
            assert (await store.renew(lease, 50)).epoch == lease.epoch
            assert await store.cas("n", b"", revision=0) > revision
            await store.close()

        asyncio.run(run())

    def test_a_closed_store_refuses_and_ends_its_watches(self, store_bench: StoreBench) -> None:
        async def story(store: DirectoryStore, _: StoreBench) -> None:
            watching = asyncio.create_task(following(store.watch("w/", 0), 1))
            await asyncio.sleep(0.05)
            await store.close()
            await store.close()
            with pytest.raises((StopAsyncIteration, RuntimeError)):
                await watching
            with pytest.raises(StorageFailed):
                await store.get("k")

        told(story, store_bench)
