"""Move output from every ring of this host to its archive, in one thread, starting late on purpose.

While a session floods, its ring takes the bytes and this thread stays out of the way; only what the ring cannot be left
with is compressed at once. Not here: the files and their index (host.segments).
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from holdfast.host.output import Output, RingLike
from holdfast.host.ring import Overrun
from holdfast.host.segments import SEGMENT_BYTES, Archive

__all__ = ["Archive", "Archiver"]

log = logging.getLogger(__name__)

LATE_BYTES: Final = 32 << 20  # unarchived output of one session below which a flood is left alone
TOTAL_BYTES: Final = 128 << 20  # of all sessions together
INHERITED_BYTES: Final = 4 * SEGMENT_BYTES  # found unarchived at the first look: an earlier host's
IDLE_S: Final = 30.0  # after which an incomplete segment is written too
TICK_S: Final = 0.25  # between two looks at a session that is putting out
CALM_BYTES_S: Final = 8 << 20  # slower output than this is archived as it comes
RETRY_S: Final = 1.0  # after the disk refused

Post = Callable[..., Any]


class _Job:
    """What the thread knows of one output."""

    def __init__(self, output: Output, now: float) -> None:
        self.output = output
        self.hot = True  # being looked at every tick; while it is, requests cost nothing
        self.fresh = True  # its rate is not known yet
        self.inherited = False  # another host left it behind: it may not be left behind again
        self.due: float | None = now
        self.head = -1
        self.looked_at = self.moved_at = now
        self.rate = 0.0  # bytes a second
        self.backlog = 0
        self.late_bytes = 0  # of this ring
        self.retry_at = 0.0
        self.waiting: list[Future[None]] = []


class Archiver:
    """One thread for all sessions. Call ``request`` and ``finish`` from the event loop.

    ``ring.archived`` is called on that loop (through ``post``, by default ``loop.call_soon_threadsafe``), because it
    speaks to the holder. A disk that refuses costs the oldest output beyond ``late_bytes``, as a gap, and nothing else.
    """

    def __init__(self, *, late_bytes: int = LATE_BYTES, idle_s: float = IDLE_S, post: Post | None = None) -> None:
        self.late_bytes, self.idle_s = late_bytes, idle_s
        self._post = post
        self._wake = threading.Condition()
        self._jobs: dict[Output, _Job] = {}
        self._thread: threading.Thread | None = None
        self._stopping = False

    def request(self, output: Output) -> None:
        """There is more output: archive it when that suits everybody. Costs a microsecond."""
        job = self._jobs.get(output)
        if job is not None and job.hot:
            return
        self._add(output)

    async def finish(self, output: Output, timeout: float = 30.0) -> bool:
        """Archive everything up to the head now and have the disk confirm it; forget ``output`` then.

        What a disk refuses is a gap afterwards. False if it took longer than ``timeout`` seconds.
        """
        done: Future[None] = Future()
        self._add(output, done)
        try:
            await asyncio.wait_for(asyncio.wrap_future(done), timeout)
        except TimeoutError:
            return False
        return True

    def backlog(self) -> int:
        """Return how many bytes wait in rings, as of the last look."""
        return sum(job.backlog for job in list(self._jobs.values()))

    def close(self, timeout: float = 10.0) -> None:
        """End the thread after the piece it is at. Rings keep the rest for the next host."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)

    def _add(self, output: Output, done: Future[None] | None = None) -> None:
        if self._post is None:
            self._post = asyncio.get_running_loop().call_soon_threadsafe
        now = time.monotonic()
        with self._wake:
            if self._stopping:
                if done is not None:
                    done.set_result(None)
                return
            job = self._jobs.get(output)
            if job is None:
                job = self._jobs[output] = _Job(output, now)
            if done is not None:
                job.waiting.append(done)
            job.fresh = job.fresh or not job.hot
            job.hot, job.due = True, now
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="archiver", daemon=True)
                self._thread.start()
            self._wake.notify_all()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        # Never at a lower priority: preempted with the interpreter in its hands, it would hold up every keystroke.
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._stopping or self._next() <= time.monotonic(), self._patience())
                if self._stopping:
                    for job in self._jobs.values():
                        self._tell(job)
                    return
                now = time.monotonic()
                due = [job for job in self._jobs.values() if job.due is not None and job.due <= now]
            for job in due:
                if not self._stopping:
                    self._look_safely(job)

    def _look_safely(self, job: _Job) -> None:
        try:
            self._look(job)
        except Exception:  # one session's trouble, whatever it is, must not end the archiving of all others
            log.exception("archiving to %s failed; it is tried again", job.output.archive.folder)
            job.due = time.monotonic() + RETRY_S

    def _next(self) -> float:
        return min((job.due for job in self._jobs.values() if job.due is not None), default=float("inf"))

    def _patience(self) -> float | None:
        following = self._next()
        return None if following == float("inf") else max(0.0, following - time.monotonic())

    def _look(self, job: _Job) -> None:
        """Do at most one piece of work for one session and say when to look again."""
        now = time.monotonic()
        with job.output.lock:
            ring = job.output.ring
            head, start = (ring.head, ring.start) if ring is not None else (0, 0)
            job.late_bytes = min(self.late_bytes, ring.size // 2) if ring is not None else 0
        if ring is None:
            self._rest(job)
            return
        # The first look after a pause cannot tell a flood from a line: the next one, a tick later, can.
        job.rate = float("inf") if job.fresh else (head - job.head) / max(now - job.looked_at, 0.001)
        first = job.head < 0
        if head != job.head:
            job.moved_at, job.head = now, head
        job.looked_at, job.fresh = now, False
        archive = job.output.archive
        if start > archive.end:
            archive.note(archive.end, start, "overrun")
        job.backlog = head - archive.end
        if first:
            job.inherited = job.backlog >= INHERITED_BYTES
        if self._wanted(job, now):
            self._piece(job, ring, archive, now)
        self._schedule(job, now)

    def _wanted(self, job: _Job, now: float) -> bool:
        if job.backlog <= 0 or (now < job.retry_at and not job.waiting and job.backlog <= job.late_bytes):
            return False
        if job.inherited:  # hosts that die young must not each wait for the ring to fill
            job.inherited = job.backlog >= SEGMENT_BYTES
            return True
        if job.waiting or job.backlog >= job.late_bytes or now - job.moved_at >= self.idle_s:
            return True
        return job.backlog >= SEGMENT_BYTES and (job.rate < CALM_BYTES_S or self.backlog() > TOTAL_BYTES)

    def _piece(self, job: _Job, ring: RingLike, archive: Archive, now: float) -> None:
        """Archive up to one segment. What the disk refuses is retried while the ring can be left with it."""
        at = archive.end
        data = self._copy(job.output, ring, at)
        if not data:
            return  # overrun or the ring has gone: the next look sees where it begins now
        if archive.append(at, data, durable=bool(job.waiting) and len(data) < SEGMENT_BYTES):
            job.retry_at = 0.0
        else:
            job.retry_at = now + RETRY_S
            if job.waiting:
                archive.note(at, job.head, "disk")
            elif job.backlog > job.late_bytes:
                archive.note(at, max(at + len(data), job.head - job.late_bytes), "disk")
        job.backlog = job.head - archive.end
        if archive.end > at and self._post is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: so is the link to the holder
                self._post(_say, job.output, ring, archive.end)

    def _copy(self, output: Output, ring: RingLike, at: int) -> bytes:
        """Return up to one segment from ``at``; empty if it is gone."""
        parts: list[bytes] = []
        size = 0
        while size < SEGMENT_BYTES:
            with output.lock:
                if output.ring is not ring or ring.start > at:
                    return b""
                try:
                    data = ring.read(at + size, SEGMENT_BYTES - size)
                except Overrun:
                    return b""
            if not data:
                break
            parts.append(data)
            size += len(data)
        return b"".join(parts)

    def _schedule(self, job: _Job, now: float) -> None:
        with self._wake:
            if job.backlog <= 0 and job.waiting:
                self._tell(job)
                self._jobs.pop(job.output, None)
                return
            if self._wanted(job, now):
                job.due = now
            elif job.backlog > 0 and now < job.retry_at:
                job.due = min(job.retry_at, now + TICK_S)
            elif job.rate > 0 or job.backlog >= SEGMENT_BYTES:
                job.due = now + TICK_S
            else:  # nothing moves: a request wakes us, or the time for the rest
                job.hot = False
                job.due = job.moved_at + self.idle_s if job.backlog > 0 else None
                ring = job.output.ring
                if ring is not None and ring.head != job.head:  # it grew while ``hot`` still turned requests away
                    job.hot, job.due = True, now

    def _rest(self, job: _Job) -> None:
        with self._wake:
            self._tell(job)
            self._jobs.pop(job.output, None)

    def _tell(self, job: _Job) -> None:
        for done in job.waiting:
            if not done.done():
                done.set_result(None)
        job.waiting.clear()


def _say(output: Output, ring: RingLike, upto: int) -> None:
    """On the loop: tell the holder, unless the ring was exchanged or closed meanwhile."""
    if output.ring is ring:
        ring.archived(upto)
