"""Find out what a session waits for, by asking the kernel, when it went quiet (R25). Not here: the verdict (core.waiting).

Nothing is looked at while output streams or keys are typed: a look takes about a millisecond, in a thread. A session that
does not change is looked at ever more rarely, so that a hundred idle ones cost next to nothing; while somebody waits for
input it is looked at often. Linux tells it by the terminal's settings, its foreground group, and where in the kernel each
of those processes sleeps (proc_pid_syscall(5); where that may not be read, proc_pid_wchan(5)).
"""

import asyncio
import logging
import os
import platform
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from holdfast.core.errors import HoldError
from holdfast.core.ids import SessionId
from holdfast.core.plain import last_line
from holdfast.core.waiting import Evidence, Process, Sleep, Waiting, Wants, judged
from holdfast.host.cgroups import Group
from holdfast.host.tuple import Stat, read_stat
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.host.session import Session

log = logging.getLogger(__name__)

QUIET_S: Final = 0.25  # without output or input before a look
QUIET_WATCHED_S: Final = 0.1  # the same while somebody waits for what it shows
BUSY_S: Final = 2.0  # something that never goes quiet is looked at this often
REST_S: Final = 30.0  # most time between two looks at a session in which nothing happens
REST_WATCHED_S: Final = 1.0
FIRST_REST_S: Final = 0.5
FIRST_REST_WATCHED_S: Final = 0.05
SPARED_MAX: Final = 8  # looks in a row that are spared where nothing moved: other threads and processes may have
TAIL: Final = 4096  # bytes of output in which the line of the cursor is looked for
MEMBERS_MAX: Final = 64  # processes of the foreground that are looked at
THREADS_MAX: Final = 64  # of each
POLLED_MAX: Final = 1024  # descriptors in one poll that are looked at


class State(NamedTuple):
    """``waiting`` was so at ``at`` (monotonic seconds), when ``offset`` bytes of output had been produced."""

    waiting: Waiting
    prompt: str
    at: float
    offset: int


class Mark(NamedTuple):
    """``ran`` is proc_pid_schedstat(5): how long a process has run, and how often."""

    pid: int
    foreground: int
    ran: str
    alternate: bool  # the view may know of it later than the look


class Observer:
    """The eye on one session. ``state`` is the newest look; None before the first."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self.state: State | None = None
        self.looks = 0
        self._watchers: list[Callable[[State], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._looking = False
        self._running = False
        self._rest = 0.0  # until the next look, while nothing happens; 0: something does
        self._stirred_at = 0.0
        self._mark: Mark | None = None  # of whom the last look saw, if nothing of it moved during that look
        self._spared = 0  # looks that were not taken since, as nothing had moved

    @property
    def wants(self) -> str:
        """What a listing shows; empty while that is not known."""
        if self.state is None or self._session.over:
            return ""
        wants = self.state.waiting.wants
        if wants is Wants.PROMPT and self._busy():  # the look was before that command, and the shell knows better
            return Wants.RUNNING.value
        return wants.value

    # ---- when to look ----

    def stir(self) -> None:
        """There was output or input. Called for each: it must cost nothing."""
        if self._rest and not self._looking:
            self._rest, self._stirred_at = 0.0, time.monotonic()
            self._arm(self._quiet)

    def start(self) -> None:
        """Begin to look, as soon as it is quiet."""
        self._running, self._rest, self._stirred_at = True, 0.0, time.monotonic()
        self._arm(self._quiet)

    def stop(self) -> None:
        """Look no more."""
        self._running, self._rest = False, 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def watch(self, told: Callable[[State], None]) -> None:
        """Have ``told`` called after every look from now on, and look more often."""
        self._watchers.append(told)
        if self._running and not self._looking:
            self._rest, self._stirred_at = 0.0, time.monotonic()
            self._arm(0.0)

    def unwatch(self, told: Callable[[State], None]) -> None:
        """Take that back."""
        if told in self._watchers:
            self._watchers.remove(told)

    async def fresh(self, within_s: float) -> Waiting | None:
        """Return what is waited for, by a look that begins from now on; None if there is none in ``within_s`` seconds,
        as while output streams."""
        began = time.monotonic()
        looked: asyncio.Future[Waiting] = asyncio.get_running_loop().create_future()

        def told(state: State) -> None:
            if state.at >= began and not looked.done():
                looked.set_result(state.waiting)

        self.watch(told)
        try:
            async with asyncio.timeout(within_s):
                return await looked
        except TimeoutError:
            return None
        finally:
            self.unwatch(told)

    @property
    def _quiet(self) -> float:
        return QUIET_WATCHED_S if self._watchers else QUIET_S

    def _arm(self, after: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(after, self._due)

    def _due(self) -> None:
        session, now = self._session, time.monotonic()
        quiet = now - max(session.output_at, session.lane.last_at)
        if quiet < self._quiet and now - self._stirred_at < BUSY_S:
            self._arm(self._quiet - quiet)
            return
        self._timer = None
        if self._rest and self._spared < SPARED_MAX and self._mark is not None and self._marked() == self._mark:
            self._spared += 1
            self._again()
            return
        self._looking, self._spared = True, 0
        session.spawn(self._look(), "what it waits for")

    def _marked(self) -> Mark | None:
        """Return what changes if whoever was seen last runs at all, or another job comes to the foreground."""
        pid = self.state.waiting.pid if self.state is not None else 0
        root = read_stat(self._session.sheet.root_pid)
        if not pid or root is None:
            return None
        try:
            return Mark(pid, root.foreground, _text(f"/proc/{pid}/schedstat"), self._alternate())
        except OSError:
            return None

    def _again(self) -> None:
        most = REST_WATCHED_S if self._watchers else REST_S
        first = FIRST_REST_WATCHED_S if self._watchers else FIRST_REST_S
        self._rest = min(most, max(first, 2 * self._rest))
        self._arm(self._rest)

    async def _look(self) -> None:
        before, self._mark = self._marked(), None
        try:
            await self._take()
            mark = self._marked()
            self._mark = mark if mark == before else None
        except HoldError as error:  # the holder is being replaced, or the session ends
            log.debug("%s: not looked at: %s", self._session.id, error)
        finally:
            self._looking = False
            if self._running:
                self._again()

    # ---- looking ----

    async def _take(self) -> None:
        session = self._session
        holder = await session.ready()
        at, offset = time.monotonic(), session.head
        terms = await holder.termios()
        group, terminal = session.group, holder.hello.terminal
        found = await asyncio.to_thread(foreground, terms.foreground, terminal, group)
        waiting = judged(Evidence(terms.canonical, terms.echo, found, self._alternate(), self._busy()))
        self.looks += 1
        stirred = session.head != offset or session.lane.last_at > at
        if stirred and waiting.wants is not Wants.RUNNING:
            return  # the world moved under the look: what it saw may be over
        self._tell(State(waiting, self._asked(waiting, offset), at, offset))

    def _alternate(self) -> bool:
        """Whether a program draws on the alternate screen, as far as the view has come."""
        view = self._session.views.view_state(SessionId(self._session.id))
        return view is not None and view.on_alternate

    def _busy(self) -> bool | None:
        """Whether the shell says that a command of it runs; None if its word is not had, or is older than what it does."""
        prompt = self._session.commands.state()
        return None if not prompt.marked else bool(prompt.running)

    def _asked(self, waiting: Waiting, offset: int) -> str:
        if waiting.wants in (Wants.RUNNING, Wants.FULL_SCREEN):
            return ""
        start = max(self._session.output.start, offset - TAIL)
        return last_line(self._session.output.read(start, offset - start).data) if offset > start else ""

    def _tell(self, state: State) -> None:
        session, before = self._session, self.state
        self.state = state
        if session.over:
            return
        if before is None or (before.waiting, before.prompt) != (state.waiting, state.prompt):
            self._rest = 0.0
            session.asks(state.waiting)
            message = body(state)
            for attachment in session.attachments.values():
                if attachment.wants_events:
                    # Not of the journal: it is what was seen, and whoever doubts it can look again.
                    attachment.peer.send(wire.Event(attachment.number, "waiting", 0, time.time(), "host", message))
        for told in list(self._watchers):
            told(state)


def body(state: State) -> dict[str, object]:
    """Return ``state`` as the body of a ``waiting`` event."""
    waiting = state.waiting
    return {
        "for": waiting.wants.value, "pid": waiting.pid, "program": waiting.program, "prompt": state.prompt,
        "offset": state.offset,
    }  # fmt: skip


# ---- what the kernel says --------------------------------------------------------------------------------------------


def foreground(group: int, terminal: int, members: Group | None) -> tuple[Process, ...]:
    """Return the processes of process group ``group``, its leader first, and how each sleeps; ``terminal`` is N of
    /dev/pts/N. As soon as one is found that reads the terminal, no other is looked at: none of them tells more."""
    found: list[Process] = []
    for stat in _of_group(group, members):
        sleep = _sleep(stat, terminal)
        found.append(Process(stat.pid, stat.comm, sleep))
        if sleep in (Sleep.READING, Sleep.POLLING) or len(found) >= MEMBERS_MAX:
            break
    return tuple(found)


def _of_group(group: int, members: Group | None) -> Iterator[Stat]:
    if group <= 0:
        return
    leader = read_stat(group)
    if leader is not None and leader.pgid == group:
        yield leader
    pids: Iterable[int] = members.members() if members is not None else ()
    if group not in pids:  # no control group, or the foreground is not in it
        pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    for pid in pids:
        if pid != group and (stat := read_stat(pid)) is not None and stat.pgid == group:
            yield stat


def _sleep(stat: Stat, terminal: int) -> Sleep:
    if stat.state not in ("S", "D"):
        return Sleep.ELSEWHERE
    try:
        threads = os.listdir(f"/proc/{stat.pid}/task")[:THREADS_MAX] if stat.threads > 1 else [str(stat.pid)]
        os.readlink(f"/proc/{stat.pid}/fd/0")
    except PermissionError:
        return Sleep.UNSEEN
    except OSError:
        threads = [str(stat.pid)]  # it has no such descriptor, or is gone
    for thread in threads:
        sleep = _thread_sleep(stat.pid, thread, _Terminal(stat.pid, terminal))
        if sleep is not Sleep.ELSEWHERE:
            return sleep
    return Sleep.ELSEWHERE


class _Terminal:
    """Which descriptors of one process are the terminal."""

    def __init__(self, pid: int, number: int) -> None:
        self._pid, self._names = pid, (f"/dev/pts/{number}", "/dev/tty")

    def __contains__(self, descriptor: int) -> bool:
        try:
            return os.readlink(f"/proc/{self._pid}/fd/{descriptor}") in self._names
        except OSError:
            return False


class _Calls(NamedTuple):
    """System call numbers of one kind of machine, by what they sleep for."""

    reads: frozenset[int]
    polls: frozenset[int]
    selects: frozenset[int]
    epolls: frozenset[int]


_CALLS: Final = {
    "x86_64": _Calls(frozenset((0, 19)), frozenset((7, 271)), frozenset((23, 270)), frozenset((232, 281, 441))),
    "aarch64": _Calls(frozenset((63, 65)), frozenset((73,)), frozenset((72,)), frozenset((22, 441))),
}
_HERE: Final = _CALLS.get(platform.machine())
# Where the kernel sleeps for each, for machines that show this but not the call: names of functions, which may change.
_READS_IN: Final = frozenset(("wait_woken", "n_tty_read", "tty_read"))
_POLLS_IN: Final = frozenset(("poll_schedule_timeout", "do_poll", "do_sys_poll", "do_select", "core_sys_select", "ep_poll",
                              "do_epoll_wait", "schedule_hrtimeout_range_clock"))  # fmt: skip


def _thread_sleep(pid: int, thread: str, terminal: _Terminal) -> Sleep:
    folder = f"/proc/{pid}/task/{thread}"
    try:
        words = _text(f"{folder}/syscall").split()
    except PermissionError:
        return _by_place(folder, terminal)
    except OSError:
        return Sleep.ELSEWHERE
    if _HERE is None:
        return _by_place(folder, terminal)
    if len(words) < 3 or not words[0].isdigit():  # "running", or -1: in no call
        return Sleep.ELSEWHERE
    call, first, second = int(words[0]), int(words[1], 16), int(words[2], 16)
    if call in _HERE.reads:
        return Sleep.READING if first in terminal else Sleep.ELSEWHERE
    try:
        if call in _HERE.polls:
            polled = _polled(pid, first, second)
        elif call in _HERE.selects:
            polled = _selected(pid, second, first)
        elif call in _HERE.epolls:
            polled = _in_epoll(pid, first)
        else:
            return Sleep.ELSEWHERE
    except PermissionError:
        return _by_place(folder, terminal)
    except OSError:
        return Sleep.ELSEWHERE
    return Sleep.POLLING if any(one in terminal for one in polled) else Sleep.ELSEWHERE


def _by_place(folder: str, terminal: _Terminal) -> Sleep:
    """Judge by where in the kernel it sleeps, and by its standard input being the terminal."""
    try:
        place = _text(f"{folder}/wchan").partition(".")[0]  # compilers add .constprop.0 and the like
    except OSError:
        return Sleep.UNSEEN
    if 0 not in terminal:
        return Sleep.ELSEWHERE
    return Sleep.READING if place in _READS_IN else Sleep.PERHAPS if place in _POLLS_IN else Sleep.ELSEWHERE


def _polled(pid: int, address: int, count: int) -> list[int]:
    """Return the descriptors of a ``struct pollfd[count]`` that are polled for reading. Source: poll(2)."""
    raw = _memory(pid, address, 8 * min(count, POLLED_MAX))
    return [fd for fd, events, _ in struct.iter_unpack("=ihh", raw[: len(raw) // 8 * 8]) if fd >= 0 and events & 1]


def _selected(pid: int, address: int, count: int) -> list[int]:
    """Return the descriptors of a read set of ``count`` bits. Source: select(2)."""
    if not address:
        return []
    raw = _memory(pid, address, (min(count, POLLED_MAX) + 63) // 64 * 8)
    return [fd for fd in range(min(count, 8 * len(raw))) if raw[fd // 8] >> (fd % 8) & 1]


def _in_epoll(pid: int, descriptor: int) -> list[int]:
    """Return the descriptors an epoll watches. Source: proc_pid_fdinfo(5)."""
    lines = _text(f"/proc/{pid}/fdinfo/{descriptor}").splitlines()
    return [int(line.split()[1]) for line in lines if line.startswith("tfd:")][:POLLED_MAX]


def _memory(pid: int, address: int, size: int) -> bytes:
    fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, size, address)
    finally:
        os.close(fd)


def _text(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 65536).decode("ascii", "replace")
    finally:
        os.close(fd)
