"""Keep the directory of one relay in an SQLite file. Not highly available, and it says so: one process, one disk.

Writes that a decision rests on (a new epoch, a durable compare-and-set) are flushed to the disk before they return,
about 4 ms; renewals are not, about 0.01 ms: losing one to a power cut costs a lease that lapses early. One thread of
its own does all of it, so that no flush ever holds up the event loop.
"""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from holdfast.core.errors import HoldError, StorageFailed
from holdfast.relay.directory import (
    KEY_CHARS_MAX,
    TTL_S_MAX,
    VALUE_BYTES_MAX,
    Change,
    Compacted,
    Conflict,
    Entry,
    Lease,
    LeaseHeld,
    LeaseLost,
    Listing,
)

FILE: Final = "directory.sqlite"
LOCK: Final = "directory.lock"
VERSION: Final = 1
REMOVED_MAX: Final = 4096  # removals remembered for those who watch
WATCH_BATCH: Final = 256

_SCHEMA: Final = f"""
CREATE TABLE entries (
    key TEXT PRIMARY KEY, value BLOB, revision INTEGER NOT NULL, removed INTEGER NOT NULL DEFAULT 0,
    holder TEXT, epoch INTEGER, renewed_at REAL, expires_at REAL
) WITHOUT ROWID;
CREATE UNIQUE INDEX by_revision ON entries (revision);
CREATE TABLE clock (revision INTEGER NOT NULL, compacted INTEGER NOT NULL);
INSERT INTO clock VALUES (0, 0);
PRAGMA user_version = {VERSION};
"""
_COLUMNS: Final = "key, value, revision, removed, holder, epoch, renewed_at, expires_at"

_UNDER: Final = "key >= ?1 AND key < ?1 || char(1114111)"

T = TypeVar("T")
Row = tuple[Any, ...]
Rows = list[Row]


class StateInUse(HoldError):
    code = "state-in-use"

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"another relay uses {folder}; it was left alone and this one did not start",
            do="stop the other one, or give this one a state directory of its own",
            path=str(folder),
        )


class SqliteStore:
    """A ``DirectoryStore`` in ``folder``, which is made 0700. ``clock`` gives Unix seconds.

    Open it with ``opened``; the folder is locked until ``close``.
    """

    def __init__(self, database: sqlite3.Connection, lock: int, clock: Callable[[], float]) -> None:
        self._database, self._lock, self._clock = database, lock, clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="directory")
        self._news = asyncio.Event()  # set, and replaced, at every change
        self._closed = False

    @classmethod
    def opened(cls, folder: Path, clock: Callable[[], float]) -> "SqliteStore":
        """Return the store in ``folder``. Raises StateInUse, StorageFailed."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _failed(error) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise StateInUse(folder) from None
        try:
            database = sqlite3.connect(folder / FILE, isolation_level=None, check_same_thread=False, timeout=5)
        except sqlite3.Error as error:
            os.close(lock)
            raise _failed(error) from None
        try:
            _prepare(database)
        except BaseException:
            database.close()
            os.close(lock)
            raise
        return cls(database, lock, clock)

    # ---- reading ----

    async def get(self, key: str) -> Entry | None:
        def read() -> Entry | None:
            row = self._row(key)
            return None if row is None or row[3] else _entry(row)

        return await self._do(read)

    async def list(self, prefix: str) -> Listing:
        def read() -> Listing:
            query = f"SELECT {_COLUMNS} FROM entries WHERE {_UNDER} AND NOT removed ORDER BY key"
            return Listing(tuple(map(_entry, self._database.execute(query, (prefix,)))), self._clocks()[0])

        return await self._do(read)

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Change]:
        query = f"SELECT {_COLUMNS} FROM entries WHERE {_UNDER} AND revision > ?2 ORDER BY revision LIMIT {WATCH_BATCH}"

        def read() -> Rows:
            compacted = self._clocks()[1]
            if after < compacted:
                raise Compacted(after, compacted)
            return self._database.execute(query, (prefix, after)).fetchall()

        while not self._closed:
            news = self._news  # before the look, so that what happens after it is not missed
            rows = await self._do(read)
            for row in rows:
                after = row[2]
                yield Change(row[0], after, None if row[3] else _entry(row))
            if not rows:
                await news.wait()

    # ---- writing ----

    async def cas(self, key: str, value: bytes | None, *, revision: int, durable: bool = True) -> int:
        _check(key, value)

        def write() -> int:
            row = self._row(key)
            found = 0 if row is None or row[3] else row[2]
            leased = row is not None and not row[3] and row[4] is not None
            if found != revision or (leased and value is not None):
                raise Conflict(key, revision, found)
            if value is None:
                return self._remove(key) if found else 0
            return self._put(key, value)

        return await self._change(write, durable=durable)

    async def acquire(self, key: str, holder: str, ttl_s: float) -> Lease:
        _check(key, holder.encode())

        def write() -> Lease:
            now, row = self._clock(), self._row(key)
            if row is not None and not row[3]:
                found = _entry(row)
                if found.lease is None:
                    raise Conflict(key, 0, found.revision)
                if found.lease.holder != holder and now < found.lease.expires_at:
                    raise LeaseHeld(key, found.lease.holder, found.lease.expires_at - now)
            lease = Lease(key, holder, self._next(), now, now + min(ttl_s, TTL_S_MAX))
            self._put(key, b"", lease)
            return lease

        return await self._change(write, durable=True)

    async def renew(self, lease: Lease, ttl_s: float) -> Lease:
        def write() -> Lease:
            now = self._clock()
            fresh = lease._replace(renewed_at=now, expires_at=now + min(ttl_s, TTL_S_MAX))
            done = self._database.execute(
                "UPDATE entries SET renewed_at = ?, expires_at = ? WHERE key = ? AND epoch = ? AND expires_at > ?",
                (fresh.renewed_at, fresh.expires_at, lease.key, lease.epoch, now),
            )
            if done.rowcount != 1:
                raise LeaseLost(lease.key, lease.epoch)
            return fresh

        return await self._change(write, durable=False, told=False)

    async def release(self, lease: Lease) -> None:
        def write() -> None:
            now = self._clock()
            row = self._row(lease.key)
            if row is not None and not row[3] and row[5] == lease.epoch and now < row[7]:
                self._next()
                self._put(lease.key, b"", lease._replace(renewed_at=now, expires_at=now))

        await self._change(write, durable=False)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._news.set()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
        self._thread.shutdown(wait=True)
        os.close(self._lock)

    # ---- in the thread ----

    def _row(self, key: str) -> Row | None:
        row: Row | None = self._database.execute(f"SELECT {_COLUMNS} FROM entries WHERE key = ?", (key,)).fetchone()
        return row

    def _clocks(self) -> tuple[int, int]:
        [found] = self._database.execute("SELECT revision, compacted FROM clock").fetchall()
        return found[0], found[1]

    def _next(self) -> int:
        [(revision,)] = self._database.execute("UPDATE clock SET revision = revision + 1 RETURNING revision").fetchall()
        return int(revision)

    def _put(self, key: str, value: bytes, lease: Lease | None = None) -> int:
        revision = self._clocks()[0] if lease is not None else self._next()
        times = (lease.holder, lease.epoch, lease.renewed_at, lease.expires_at) if lease else (None,) * 4
        self._database.execute(
            f"REPLACE INTO entries ({_COLUMNS}) VALUES (?, ?, ?, 0, ?, ?, ?, ?)", (key, value, revision, *times)
        )
        return revision

    def _remove(self, key: str) -> int:
        revision = self._next()
        self._database.execute(
            f"REPLACE INTO entries ({_COLUMNS}) VALUES (?, NULL, ?, 1, NULL, NULL, NULL, NULL)", (key, revision)
        )
        [(removed,)] = self._database.execute("SELECT count(*) FROM entries WHERE removed").fetchall()
        if removed > REMOVED_MAX:
            query = "SELECT revision FROM entries WHERE removed ORDER BY revision LIMIT 1 OFFSET ?"
            [(upto,)] = self._database.execute(query, (removed - REMOVED_MAX // 2 - 1,)).fetchall()
            self._database.execute("DELETE FROM entries WHERE removed AND revision <= ?", (upto,))
            self._database.execute("UPDATE clock SET compacted = ?", (upto,))
        return revision

    async def _change(self, write: Callable[[], T], *, durable: bool, told: bool = True) -> T:
        def transaction() -> T:
            self._database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            with self._transaction():
                return write()

        done = await self._do(transaction)
        if told:
            news, self._news = self._news, asyncio.Event()
            news.set()
        return done

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    async def _do(self, act: Callable[[], T]) -> T:
        if self._closed:
            raise StorageFailed("the directory is closed; nothing was changed", do="start the relay again")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, act)
        except sqlite3.Error as error:
            raise _failed(error) from None


def _prepare(database: sqlite3.Connection) -> None:
    """Make the tables in a new file. Raises StorageFailed for one that this version does not know."""
    try:
        [(version,)] = database.execute("PRAGMA user_version").fetchall()
        if version == 0:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
    except sqlite3.Error as error:
        raise _failed(error) from None
    if version not in (0, VERSION):
        raise StorageFailed(
            f"{FILE} is of format {version}, this version knows {VERSION}; it was left alone",
            do="run the relay that wrote it, or give this one a new state directory: hosts publish again",
        )


def _check(key: str, value: bytes | None) -> None:
    if not key.isascii() or not 1 <= len(key) <= KEY_CHARS_MAX:
        raise ValueError(f"a key has 1 to {KEY_CHARS_MAX} ASCII characters")
    if value is not None and len(value) > VALUE_BYTES_MAX:
        raise ValueError(f"a value of {len(value)} bytes is over the limit of {VALUE_BYTES_MAX}")


def _entry(row: Row) -> Entry:
    key, value, revision, _, holder, epoch, renewed_at, expires_at = row
    lease = None if holder is None else Lease(key, holder, epoch, renewed_at, expires_at)
    return Entry(key, bytes(value), revision, lease)


def _failed(error: Exception) -> StorageFailed:
    return StorageFailed(
        f"the relay's directory could not be read or written ({error}); hosts and clients that are connected stay so",
        do="free space on, or mend, the disk that holds the state directory",
    )
