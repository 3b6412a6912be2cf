"""Reach the keeper and the holders from the host: spawn, adopt, type, resize, signal. Not here: their output (ring).

Every method either did what its docstring says, or raises and says what still holds. A link that broke is never
repaired here: ``lost`` is set, and the host adopts again.
"""

import asyncio
import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import holdfast
from holdfast.core.errors import CannotStart, HolderLost, HoldError, HostUnreachable, Refused
from holdfast.core.places import Places
from holdfast.holder import protocol as p
from holdfast.host.links import Link
from holdfast.host.ring import Ended, Ring

_START_S: Final = 10.0
_SPAWN_S: Final = 15.0
_LEAVE_S: Final = 2.0
_RETRY_S: Final = 0.005
_OUTCOMES: Final = {p.APPLIED: "applied", p.PARTIAL: "partial", p.UNKNOWN: "unknown"}


def source() -> str:
    """Return the folder that holds the package, for processes that start without any search path."""
    return str(Path(holdfast.__file__).resolve().parent.parent)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start. ``env`` is the whole environment; ``cgroup_procs`` are files the command writes itself into."""

    session: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    rows: int = 24
    cols: int = 80
    ring_bytes: int = 0  # address range of the ring; 0: 64 MiB
    cgroup_procs: tuple[str, ...] = ()
    exit_file: str = ""
    marks: bytes = b""  # what a shell finds at MARKS_FD; only for a keeper with F_MARKS


class Spawned(NamedTuple):
    """A command that runs: its exec succeeded."""

    holder_pid: int
    root_pid: int
    root_started: int  # clock ticks since boot
    socket: Path


class KeptSession(NamedTuple):
    """A session whose descriptors the keeper duplicates. ``holder_pid`` 0: it is being replaced."""

    session: str
    holder_pid: int
    root_pid: int
    root_started: int
    socket: Path


class HolderHello(NamedTuple):
    """What a holder said of itself and its session when it was adopted."""

    session: str
    holder_pid: int
    root_pid: int
    root_started: int
    version: int
    features: int
    generation: int  # the highest host generation before this one
    input_position: int
    input_written: int
    rows: int
    cols: int
    term: int
    status: int | None  # as wait(2) has it
    exited_at: int  # Unix nanoseconds, 0 while it runs
    created_at: int  # Unix nanoseconds
    argv: tuple[str, ...]  # shortened to 4 KiB
    exit_file: str
    terminal: int  # N of /dev/pts/N
    restarts: int
    upgrades: int


class Written(NamedTuple):
    """What became of an input. ``partial``: the terminal took exactly ``written`` bytes, the rest was not typed.

    ``unknown``: ``written`` bytes for certain, and perhaps up to ``flight`` more: the holder died over those.
    """

    position: int
    written: int
    outcome: str  # applied | partial | refused | unknown
    why: str = ""
    flight: int = 0


class Termios(NamedTuple):
    """How the terminal is set by what runs in it."""

    canonical: bool
    echo: bool
    foreground: int  # process group, 0: none


class Fence(NamedTuple):
    """What a change of control met at the holder. ``flushed``: at least so many bytes that the terminal had and no program
    had read were thrown away; -1: this holder is of an older version and cannot."""

    flushed: int
    canonical: bool = False
    foreground: int = 0


class Keeper:
    """The host's link to the keeper."""

    def __init__(self, places: Places, link: Link, welcome: p.Fields) -> None:
        self.places, self._link = places, link
        self.pid = p.number(welcome, "pid")
        self.source = p.text(welcome, "source", "")
        self.features = p.number(welcome, "features", 0)
        self._closed = False

    @property
    def lost(self) -> asyncio.Event:
        """Set when the link ended: the keeper died. ``reach`` again; the next one collects from the living holders."""
        return self._link.lost

    @classmethod
    async def reach(cls, places: Places, *, start: bool = True) -> "Keeper":
        """Connect to the keeper, and start one if none answers. Raises HostUnreachable, WrongVersion."""
        try:
            return await cls._connected(places)
        except (OSError, HolderLost) as failed:
            if not start:
                raise HostUnreachable(str(places.keeper_socket), f"no keeper: {failed}") from None
        await _start_keeper(places)
        try:
            return await cls._connected(places)
        except (OSError, HolderLost) as failed:
            raise HostUnreachable(str(places.keeper_socket), f"the keeper started and is gone: {failed}") from None

    @classmethod
    async def _connected(cls, places: Places) -> "Keeper":
        link = await Link.to(places.keeper_socket, "the keeper", frame_bytes_max=p.KEEPER_FRAME_MAX)
        try:
            async with asyncio.timeout(_START_S):
                return cls(places, link, await link.hello({"role": "host"}))
        except TimeoutError:
            link.close()
            raise HostUnreachable(str(places.keeper_socket), "the keeper does not answer: is it stopped?") from None
        except BaseException:
            link.close()
            raise

    async def spawn(self, plan: Plan) -> Spawned:
        """Start ``plan`` and return when its command runs. Raises CannotStart: nothing runs then, nothing is left."""
        fields: dict[str, p.Value] = {
            "session": plan.session, "argv": list(plan.argv), "cwd": plan.cwd, "rows": plan.rows, "cols": plan.cols,
            "env": [f"{name}={value}" for name, value in plan.env.items()], "ring_bytes": plan.ring_bytes,
            "cgroup_procs": list(plan.cgroup_procs), "exit_file": plan.exit_file, "marks": plan.marks,
        }  # fmt: skip
        try:
            async with asyncio.timeout(_SPAWN_S):
                said = await self._link.ask(p.SPAWN, fields)
        except TimeoutError:
            raise CannotStart("the keeper did not answer in time; whether the command runs is not known",
                              do="look with `hold ls`, then try again") from None  # fmt: skip
        except Refused as no:
            raise _cannot_start(plan, no) from None
        except HolderLost as lost:
            raise CannotStart(f"the keeper died while starting {plan.argv[0]!r}; whether it runs is not known",
                              do="try again: a new keeper is started by itself") from lost  # fmt: skip
        return Spawned(
            p.number(said, "holder_pid"), p.number(said, "root_pid"), p.number(said, "root_started"),
            Path(p.text(said, "socket")),
        )  # fmt: skip

    async def kept(self) -> list[KeptSession]:
        """Return the sessions it keeps; sockets that something removed are put back first, by their holders."""
        said = await self._link.ask(p.KEPT)
        columns = (
            p.texts(said, "sessions"), p.numbers(said, "holders"), p.numbers(said, "roots"),
            p.numbers(said, "started"), [Path(one) for one in p.texts(said, "sockets")],
        )  # fmt: skip
        return [KeptSession(*row) for row in zip(*columns, strict=True)]

    async def forget(self, session: str) -> None:
        """Close the duplicates of ``session``: it is over. Unknown sessions are fine."""
        await self._link.ask(p.FORGET, {"session": session})

    async def leave(self) -> None:
        """Let the keeper end. Raises Refused while it keeps sessions."""
        await self._link.ask(p.LEAVE)
        await self._link.lost.wait()

    async def upgrade(self, *, python: str = "", package: str = "") -> None:
        """Let it continue under this installation's code: same pid, same descriptors. Raises Refused, HolderLost."""
        link = self._link
        await _upgraded(link, python, package)
        try:
            fresh = await self._connected(self.places)
        except OSError as failed:
            raise HolderLost("the keeper", f"it did not come back from its upgrade: {failed}") from None
        self._link, self.pid, self.source, self.features = fresh._link, fresh.pid, fresh.source, fresh.features

    async def close(self) -> None:
        """End the link; the keeper stays."""
        self._link.close()


async def _upgraded(link: Link, python: str, package: str) -> None:
    """Ask for an upgrade in place; the end of the link is what success looks like."""
    try:
        await link.ask(p.UPGRADE, {"python": python or sys.executable, "source": package or source()})
    except HolderLost:
        return
    raise HolderLost(link.who, "it answered an upgrade and went on")


async def _start_keeper(places: Places) -> None:
    """Start a keeper and return when it listens, or when it found that another one does. Raises HostUnreachable."""
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        places.runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = _log_of(places)
        try:
            arguments = (
                source(),
                p.KEEPER_MODULE,
                "start",
                str(places.keeper_socket),
                str(places.holders),
                source(),
                str(write),
            )
            starter = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", "-c", p.BOOT, *arguments, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL, stderr=log, pass_fds=(write,), cwd="/", env=_keeper_env(),
            )  # fmt: skip
        finally:
            os.close(log)
        os.close(write)
        write = -1
        try:
            async with asyncio.timeout(_START_S):
                await starter.wait()
                said = await _line(read)
        except TimeoutError:
            said = "it did not say anything in time"
    except OSError as failed:
        said = str(failed)
    finally:
        os.close(read)
        if write >= 0:
            os.close(write)
    if said not in ("ready", "held"):
        where = str(places.runtime / "keeper.log")
        raise HostUnreachable(str(places.keeper_socket), f"the keeper could not start: {said or f'see {where}'}")


def _keeper_env() -> dict[str, str]:
    """Return the environment of the keeper: what the interpreter needs, and nothing that marks a session as its own."""
    return {name: value for name, value in os.environ.items() if name in ("PATH", "LD_LIBRARY_PATH", "LANG", "HOME")}


def _log_of(places: Places) -> int:
    """Return a descriptor for what the keeper and its holders complain of; at most 1 MiB is kept from former ones."""
    path = places.runtime / "keeper.log"
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if os.fstat(fd).st_size > 1 << 20:
        os.ftruncate(fd, 0)
    return fd


async def _line(fd: int) -> str:
    loop, arrived = asyncio.get_running_loop(), asyncio.Event()
    said = b""
    while not said.endswith(b"\n"):
        arrived.clear()
        loop.add_reader(fd, arrived.set)
        try:
            await arrived.wait()
        finally:
            loop.remove_reader(fd)
        if not (more := os.read(fd, 4096)):
            break
        said += more
    return said.decode(errors="replace").strip()


_STAGES: Final = {
    "terminal": "no terminal could be given to it",
    "cgroup": "it could not enter its cgroup",
    "cwd": "the working directory cannot be entered",
    "exec": "the command cannot be run",
    "holder": "the process that was to hold it died",
    "taken": "a session of that id runs already",
}


def _cannot_start(plan: Plan, no: HoldError) -> CannotStart:
    stage, number = str(no.details.get("reason", "")), int(no.details.get("errno", 0))
    command = plan.argv[0] if plan.argv else ""
    why = os.strerror(number) if number else no.message
    do = "try again"
    if stage == "exec" and number == errno.ENOENT:
        why, do = "command not found", "check the name, or give the path; PATH is the one of the session's environment"
    elif stage == "cwd":
        why, do = f"{plan.cwd}: {why}", "choose another directory with --cwd, or create it"
    elif stage == "exec":
        do = "check that it is a program and that you may run it"
    said = f"{_STAGES.get(stage, 'it was refused')} ({why})"
    return CannotStart(f"{command!r} did not start: {said}; no session was made", do=do, stage=stage, errno=number)


class Holder:
    """The link of this host's generation to one holder. ``doorbell`` is readable when there is anything new."""

    def __init__(self, path: Path, link: Link, doorbell: int, ring: Ring, hello: HolderHello, generation: int) -> None:
        self.path, self.doorbell, self.ring, self.hello, self.generation = path, doorbell, ring, hello, generation
        self.lost = asyncio.Event()
        self._link = link
        self._writable, self._abort = asyncio.Event(), asyncio.Event()
        self._typing = asyncio.Lock()
        self._watch(link)

    @classmethod
    async def adopt(cls, socket: Path, *, generation: int, timeout: float = 2.0) -> "Holder":
        """Link to the holder at ``socket`` and fence every lower generation. Waits while it is being replaced.

        Raises Fenced (a higher generation was here), WrongVersion, HostUnreachable when nobody answers in ``timeout``.
        """
        doorbell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            link, ring, hello = await _adopted(socket, generation, doorbell, timeout)
        except BaseException:
            os.close(doorbell)
            raise
        return cls(socket, link, doorbell, ring, hello, generation)

    def _watch(self, link: Link) -> None:
        link.on_notice = self._notice
        link.on_lost = self._link_lost
        self.ring.tell = lambda upto: link.send(p.ARCHIVED, 0, {"upto": upto})
        if link.lost.is_set():
            self._link_lost()

    def _notice(self, kind: int, fields: dict[str, p.Value]) -> None:
        if kind == p.WRITABLE:
            self._writable.set()
        elif kind == p.FENCED:
            self._link.why = f"a host of generation {p.number(fields, 'generation', 0)} took over"

    def _link_lost(self) -> None:
        self.lost.set()
        self._writable.set()

    @property
    def ended(self) -> Ended | None:
        """How the root process ended; None while it runs, and until its terminal is drained."""
        return self.ring.ended

    @property
    def busy(self) -> bool:
        """Whether a write is under way, or an upgrade."""
        return self._typing.locked()

    def write_at_once(
        self, position: int, data: bytes, told: Callable[[Written | None], None], *, before: int = 0,
        total: int | None = None, term: int = 1,
    ) -> bool:  # fmt: skip
        """Begin to type ``data``, at most one piece, under ``position``; False: another write is under way, ask later.

        ``told`` is called once with what became of it: ``applied``, or ``partial`` if the terminal took only that much
        so far; None if ``write`` must find that out, since the link broke or the holder refused. ``before``, ``total``: as
        ``write`` has it.
        """
        if self.busy or len(data) > p.INPUT_PIECE:
            return False

        def answered(kind: int, said: dict[str, p.Value]) -> None:
            if kind != p.WRITTEN or p.number(said, "recorded", 0):  # lost, refused, or of an earlier try
                told(None)
                return
            outcome, written = _OUTCOMES.get(p.number(said, "outcome", 0)), p.number(said, "written") - before
            if total is not None and outcome == "partial" and written == len(data):
                outcome = "applied"
            told(Written(position, written, outcome) if outcome in ("applied", "partial") else None)

        fields: dict[str, p.Value] = {
            "position": position, "at": before, "total": len(data) if total is None else total, "term": term, "data": data,
        }  # fmt: skip
        self._link.request(p.WRITE, fields, answered)
        return True

    async def write(
        self, position: int, data: bytes, *, at: int = 0, before: int = 0, total: int | None = None, term: int = 1
    ) -> Written:
        """Type ``data`` once under ``position``, which only rises; waits while the terminal takes nothing.

        ``at``: so much of it was typed under this position before. ``before`` bytes of other inputs that share the
        position were typed before this one, and ``total`` is said to be all of them: see core.withheld.

        A position that was used before is answered with what is recorded of it and types nothing (I5). Raises
        HolderLost when the link breaks: adopt again and ask again with the same position, to learn or to do it.
        Raises Refused (an older term, or the execution ended), Fenced.
        """
        async with self._typing:
            self._abort.clear()
            while True:
                piece = data[at : at + p.INPUT_PIECE]
                self._writable.clear()
                fields: dict[str, p.Value] = {
                    "position": position, "at": before + at, "total": len(data) if total is None else total,
                    "term": term, "data": piece,
                }  # fmt: skip
                said = await self._link.ask(p.WRITE, fields)
                written = p.number(said, "written") - before
                outcome = p.number(said, "outcome")
                if total is not None and outcome == p.PARTIAL and written == len(data):
                    outcome = p.APPLIED
                if outcome != p.PARTIAL or p.number(said, "recorded", 0):
                    return Written(
                        position, written, _OUTCOMES.get(outcome, "unknown"), "", p.number(said, "flight", 0)
                    )
                taken, at = written - at, written
                if taken < len(piece) and not self._abort.is_set():
                    await self._room()
                if self._abort.is_set():
                    return Written(position, written, "partial", "stopped; the rest was not typed")

    async def _room(self) -> None:
        """Wait until the terminal takes input again, or the write is aborted, or the link breaks."""
        tasks = [asyncio.ensure_future(one.wait()) for one in (self._writable, self._abort)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def abort_write(self) -> None:
        """Stop the write in progress after the piece that is on its way; it returns how much was typed, exactly."""
        self._abort.set()
        async with self._typing:
            return

    def stop_writing(self) -> None:
        """Have a write in progress stop after the piece that is on its way; it returns how much was typed, exactly."""
        self._abort.set()

    async def fence(self, term: int, *, flush: bool) -> Fence:
        """Control changed hands: nothing of an older term is typed any more, with ``flush`` nothing of it delivered.

        Safe to repeat. Does not wait for a write in progress. Raises HolderLost: ask the next holder.
        """
        if not self.hello.features & p.F_TERMS:
            return Fence(-1)
        said = await self._link.ask(p.TERM, {"term": term, "flush": int(flush)})
        return Fence(p.number(said, "flushed"), bool(p.number(said, "canonical")), p.number(said, "foreground"))

    async def resize(self, rows: int, cols: int) -> int:
        """Resize the terminal; return the output offset of the mark."""
        return p.number(await self._link.ask(p.RESIZE, {"rows": rows, "cols": cols}), "offset")

    async def signal(self, signal: int, *, tree: bool) -> tuple[int, ...]:
        """Signal the foreground group, or every process of the session; return the pids reached (0: only name them)."""
        return tuple(p.numbers(await self._link.ask(p.SIGNAL, {"signal": signal, "tree": int(tree)}), "pids"))

    async def termios(self) -> Termios:
        """Ask how the terminal is set at this moment."""
        said = await self._link.ask(p.TERMIOS)
        return Termios(bool(p.number(said, "canonical")), bool(p.number(said, "echo")), p.number(said, "foreground"))

    async def answered(self, query_end: int, reply: bytes) -> bool:
        """Type the reply to the query that ended at ``query_end``; False if that or a later one was answered before."""
        return bool(p.number(await self._link.ask(p.ANSWER, {"query_end": query_end, "data": reply}), "answered"))

    async def release(self) -> None:
        """The exit status is collected: return when the holder has left. Raises Refused while the root runs."""
        try:
            await self._link.ask(p.RELEASE)
        except HolderLost:
            if not self.ring.released:
                raise
        try:
            async with asyncio.timeout(_LEAVE_S):
                await self._link.lost.wait()
        except TimeoutError:
            pass  # its disk is slow: it leaves by itself when the exit file is safe

    async def upgrade(self, *, python: str = "", package: str = "") -> None:
        """Let it continue under this installation's code: same pid, children, descriptors, doorbell, ring.

        Raises Refused if that could not be begun (nothing changed then), HolderLost if it did not come back.
        """
        async with self._typing:
            link = self._link
            link.on_lost = lambda: None
            try:
                await _upgraded(link, python, package)
                fresh, ring, hello = await _adopted(self.path, self.generation, self.doorbell, _START_S)
            except BaseException:
                self._watch(link)
                raise
            ring.close()  # the same memory, mapped already
            self._link, self.hello = fresh, hello
            self._watch(fresh)

    async def close(self) -> None:
        """End the link, unmap the ring, close the doorbell. The holder stays. Safe to call twice."""
        self._link.on_lost = lambda: None
        self._link.close()
        self.lost.set()
        if self.doorbell >= 0:
            self.ring.close()
            os.close(self.doorbell)
            self.doorbell = -1


async def _adopted(path: Path, generation: int, doorbell: int, timeout: float) -> tuple[Link, Ring, HolderHello]:
    who = f"the holder of {path.stem}"
    why = "it does not answer"
    try:
        async with asyncio.timeout(timeout):
            while True:
                try:
                    link = await Link.to(path, who, frame_bytes_max=p.HOLDER_FRAME_MAX)
                except OSError as failed:  # nobody listens there: its successor may be about to, and no event says so
                    why = str(failed)
                    await asyncio.sleep(_RETRY_S)
                    continue
                try:
                    welcome = await link.hello({"role": "host", "generation": generation}, doorbell)
                    return link, (ring := _ring(link)), _hello(welcome, ring)
                except HolderLost as lost:
                    why = lost.message
                    link.close()
                except BaseException:
                    link.close()
                    raise
    except TimeoutError:
        raise HostUnreachable(str(path), why) from None


def _ring(link: Link) -> Ring:
    taken = link.take_descriptors()
    for extra in taken[1:]:
        os.close(extra)
    if not taken:
        raise HolderLost(link.who, "it sent no ring")
    return Ring(taken[0])


def _hello(said: p.Fields, ring: Ring) -> HolderHello:
    ended = ring.ended
    rows, cols = ring.size_of_terminal
    return HolderHello(
        session=p.text(said, "session"), holder_pid=p.number(said, "holder_pid"), root_pid=p.number(said, "root_pid"),
        root_started=p.number(said, "root_started"), version=p.number(said, "version"),
        features=p.number(said, "features"), generation=p.number(said, "generation", 0),
        input_position=ring.input_position, input_written=ring.input_written, rows=rows, cols=cols,
        term=p.number(said, "term", 0), status=ended.status if ended else None, exited_at=ring.exited_at_ns,
        created_at=ring.created_at_ns, argv=tuple(p.texts(said, "argv")), exit_file=p.text(said, "exit_file", ""),
        terminal=p.number(said, "terminal", 0), restarts=ring.restarts, upgrades=p.number(said, "upgrades", 0),
    )  # fmt: skip
