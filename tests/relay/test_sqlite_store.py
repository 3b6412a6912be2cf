"""The SQLite directory: what every store does, and what a file on one disk adds."""

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest

from holdfast.core.errors import StorageFailed
from holdfast.relay import sqlite_store
from holdfast.relay.directory import DirectoryStore
from holdfast.relay.sqlite_store import FILE, SqliteStore, StateInUse
from tests.relay.conformance import Conformance


class SqliteBench:
    removed_max = 40

    def __init__(self, folder: Path) -> None:
        self._folder, self.now = folder, 1_000_000.0

    async def open(self) -> DirectoryStore:
        return SqliteStore.opened(self._folder, lambda: self.now)

    async def pass_time(self, seconds: float) -> None:
        self.now += seconds


class TestSqlite(Conformance):
    @pytest.fixture
    def store_bench(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SqliteBench:
        monkeypatch.setattr(sqlite_store, "REMOVED_MAX", SqliteBench.removed_max)
        return SqliteBench(tmp_path / "state")


def test_a_state_directory_has_one_user(tmp_path: Path) -> None:
    async def story() -> None:
        store = SqliteStore.opened(tmp_path, time.time)
        with pytest.raises(StateInUse):
            SqliteStore.opened(tmp_path, time.time)
        await store.close()
        await SqliteStore.opened(tmp_path, time.time).close()

    asyncio.run(story())


def test_a_file_of_a_later_format_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(StorageFailed, match="format 99"):
        SqliteStore.opened(tmp_path, time.time)
    assert (tmp_path / FILE).read_bytes()[100:] == before[100:]  # the head says how the file was opened


def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"this is not a database" * 100)
    with pytest.raises(StorageFailed):
        SqliteStore.opened(tmp_path, time.time)


def test_epochs_are_flushed_and_renewals_are_not(tmp_path: Path) -> None:
    said: list[str] = []

    async def story() -> None:
        store = SqliteStore.opened(tmp_path, time.time)
        store._database.set_trace_callback(said.append)
        lease = await store.acquire("l", "me", 60)
        await store.renew(lease, 60)
        await store.cas("k", b"", revision=0)
        await store.cas("n", b"", revision=0, durable=False)
        store._database.set_trace_callback(None)
        await store.close()

    asyncio.run(story())
    levels = [text.rpartition(" ")[2] for text in said if "synchronous" in text]
    assert levels == ["FULL", "NORMAL", "FULL", "NORMAL"]
