"""Tell the disk to keep what was written, for every journal of this host, in one thread that nobody waits for."""

import asyncio
import logging
import os
import threading
import time
from typing import Final

log = logging.getLogger(__name__)

SYNC_S: Final = 0.1  # between the first write and its sync; with a sync of as long, 200 ms in all
_TROUBLES_MAX: Final = 256


class Syncer:
    """Group fsync. A descriptor given to ``retire`` belongs to the syncer, which closes it after its last sync; one
    given to ``dirty`` must stay open until it is retired, so that its number cannot come to mean another file."""

    def __init__(self, *, delay_s: float = SYNC_S) -> None:
        self._delay_s = delay_s
        self._lock = threading.Condition()
        self._dirty: dict[int, str] = {}
        self._retired: dict[int, str] = {}
        self._busy = False
        self._due = float("inf")  # monotonic seconds: when what is dirty has been gathered; inf: a delay after waking
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._troubles: dict[str, str] = {}
        self.syncs = 0  # done so far

    def dirty(self, fd: int, owner: str) -> None:
        """Sync ``fd`` soon. ``owner`` names it to ``trouble``."""
        with self._lock:
            fresh = not self._dirty and not self._retired
            self._dirty[fd] = owner
            if fresh:
                self._start_later()

    def retire(self, fd: int, owner: str) -> None:
        """Sync ``fd`` once more if it is dirty, then close it."""
        with self._lock:
            fresh = not self._dirty and not self._retired
            self._retired[fd] = owner
            if fresh:
                self._start()

    def trouble(self, owner: str) -> str:
        """Return why the last sync of ``owner`` failed; empty if none did."""
        return self._troubles.get(owner, "")

    def settle(self, timeout: float = 10.0) -> bool:
        """Wait until everything written so far is synced; False if that took longer than ``timeout`` seconds."""
        with self._lock:
            if self._dirty or self._retired:
                self._start()
            return self._lock.wait_for(lambda: not (self._dirty or self._retired or self._busy), timeout)

    def close(self, timeout: float = 10.0) -> bool:
        """Sync what is left and end the thread."""
        done = self.settle(timeout)
        with self._lock:
            self._stopping = True
            self._lock.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return done

    def _start_later(self) -> None:
        """Wake the thread when it is due. In an event loop by a timer: waking it now would cost the keystroke whose
        record this is some tenths of a millisecond."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._start()
        else:
            self._due = time.monotonic() + self._delay_s
            loop.call_later(self._delay_s, self._wake)

    def _wake(self) -> None:
        with self._lock:
            self._start()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="journal sync", daemon=True)
            self._thread.start()
        self._lock.notify_all()

    def _run(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._dirty or self._retired or self._stopping)
                if not (self._dirty or self._retired):
                    return
                if not self._stopping and time.monotonic() < self._due:
                    self._lock.wait_for(lambda: self._stopping, self._delay_s)  # gather
                dirty, self._dirty = self._dirty, {}
                retired, self._retired = self._retired, {}
                self._busy = True
            for fd, owner in dirty.items():
                self._sync(fd, owner)
            for fd in retired:
                try:
                    os.close(fd)
                except OSError as error:  # a disk may report a late write error here, and the descriptor is gone
                    log.warning("closing a journal file: %s", error)
            with self._lock:
                self._busy = False
                self._lock.notify_all()

    def _sync(self, fd: int, owner: str) -> None:
        self.syncs += 1
        try:
            os.fdatasync(fd)
        except OSError as error:
            if len(self._troubles) < _TROUBLES_MAX:
                self._troubles[owner] = error.strerror or str(error)
        else:
            self._troubles.pop(owner, None)


_shared: Syncer | None = None


def shared() -> Syncer:
    """Return the one syncer of this process; its thread begins with the first write."""
    global _shared
    if _shared is None:
        _shared = Syncer()
    return _shared
