"""Read the live tuple of a session from the kernel, at this instant, as plain data (R02, R75). Decides nothing.

Direct reads of /proc and one netlink dump, because the tools that wrap them are ten times slower. What vanishes while
it is read, or is not ours to read, is left out and said: a picture of running processes is never quite one instant.
"""

import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from holdfast.host import sockets
from holdfast.host.cgroups import Group

PROCESSES_MAX: Final = 4096
FDS_MAX: Final = 1024  # described per process; ``fd_count`` counts them all
ENV_NAMES_MAX: Final = 1024
FILES_MAX: Final = 1024  # different targets remembered within one reading
ENVIRONS_MAX: Final = 64  # different environments remembered within one reading
TEXT_MAX: Final = 4096  # characters of a path or of one argument
ARGS_MAX: Final = 256
NOTES_MAX: Final = 32
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
TICKS: Final = os.sysconf("SC_CLK_TCK")
MARKER: Final = "HOLDFAST_SESSION"
_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_.%()-]{0,127}")
_STATES: Final = {
    "R": "running", "S": "sleeping", "D": "waiting for a device", "Z": "zombie", "T": "stopped", "t": "traced",
    "X": "dead", "I": "idle",
}  # fmt: skip


class Stat(NamedTuple):
    """One process as /proc/PID/stat has it. ``started``, in clock ticks since boot, and the pid name it for good."""

    pid: int
    comm: str
    state: str
    ppid: int
    pgid: int
    sid: int
    tty: int
    foreground: int  # process group in the foreground of its terminal, -1 without one
    cpu_ticks: int  # its own, user and system
    waited_ticks: int  # of children it has collected
    threads: int
    started: int
    rss_bytes: int


def read_stat(pid: int) -> Stat | None:
    """Return what the kernel says of ``pid``, or None if it is gone. Source: proc_pid_stat(5)."""
    try:
        raw = _bytes(f"/proc/{pid}/stat")
    except OSError:
        return None
    end = raw.rfind(b")")
    f = raw[end + 2 :].split()
    if end < 0 or len(f) < 22:
        return None
    comm = raw[raw.index(b"(") + 1 : end].decode("utf-8", "replace")
    return Stat(
        pid, comm, f[0].decode(), int(f[1]), int(f[2]), int(f[3]), int(f[4]), int(f[5]), int(f[11]) + int(f[12]),
        int(f[13]) + int(f[14]), int(f[17]), int(f[19]), int(f[21]) * PAGE,
    )  # fmt: skip


def _bytes(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, 65536)
        if len(data) < 4096:  # /proc hands out a page at a time: a short read is the end
            return data
        parts = [data]
        while (more := os.read(fd, 65536)) and len(parts) < 64:
            parts.append(more)
        return b"".join(parts)
    finally:
        os.close(fd)


def _plain(text: str) -> str:
    if not text.isascii():  # bytes that are no UTF-8 arrive as surrogates, which no message can carry
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text[:TEXT_MAX]


# ---- who belongs to the session --------------------------------------------------------------------------------------


@dataclass
class Machine:
    """One look at all processes and sockets, for several sessions that are looked at together. Filled on demand."""

    _stats: dict[int, Stat] | None = None
    _sockets: tuple[sockets.Sockets, str] | None = None

    def stats(self) -> dict[int, Stat]:
        """Return every process of the machine by pid."""
        if self._stats is None:
            every = (read_stat(int(name)) for name in os.listdir("/proc") if name.isdigit())
            self._stats = {stat.pid: stat for stat in every if stat is not None}
        return self._stats

    def sockets(self) -> tuple[sockets.Sockets, str]:
        """Return every socket by inode, and why that is not all."""
        if self._sockets is None:
            self._sockets = sockets.by_inode()
        return self._sockets


class Members(NamedTuple):
    """``how``: cgroup (exact) or tree (by descent, kernel session, terminal and environment marker)."""

    stats: dict[int, Stat]
    how: str


def members(root_pid: int, *, session: str = "", group: Group | None = None, machine: Machine | None = None) -> Members:
    """Return the processes of a session, each once.

    By control group if there is one and the root is in it. Else: descendants of the root; processes of the root's
    kernel session or terminal; processes of this user that carry ``HOLDFAST_SESSION=<session>`` from their start; and
    the descendants of all of these. A process that forked twice *and* called setsid *and* dropped its environment is
    missed without a control group.
    """
    if group is not None:
        pids = group.members()
        if root_pid in pids or (pids and read_stat(root_pid) is None):
            found = (read_stat(pid) for pid in pids[:PROCESSES_MAX])
            return Members({stat.pid: stat for stat in found if stat is not None}, "cgroup")
    return Members(_by_tree(root_pid, session, (machine or Machine()).stats()), "tree")


def _by_tree(root_pid: int, session: str, every: dict[int, Stat]) -> dict[int, Stat]:
    children: dict[int, list[int]] = {}
    for stat in every.values():
        children.setdefault(stat.ppid, []).append(stat.pid)
    root = every.get(root_pid)
    seeds = [root_pid] if root else []
    if root is not None and root.sid == root.pid:  # it leads its kernel session: nobody else's is in there
        seeds += [s.pid for s in every.values() if s.sid == root.sid or (root.tty and s.tty == root.tty)]
    found: dict[int, Stat] = {}
    _descend(seeds, children, every, found)
    if session:
        since = root.started if root is not None else 0
        strangers = [s.pid for s in every.values() if s.pid not in found and s.started >= since and s.state != "Z"]
        _descend([pid for pid in strangers if _marked(pid, session)], children, every, found)
    return found


def _descend(
    seeds: Iterable[int], children: dict[int, list[int]], every: dict[int, Stat], found: dict[int, Stat]
) -> None:
    stack = list(seeds)
    while stack and len(found) < PROCESSES_MAX:
        pid = stack.pop()
        if pid in every and pid not in found:
            found[pid] = every[pid]
            stack += children.get(pid, ())


def _marked(pid: int, session: str) -> bool:
    try:
        if os.stat(f"/proc/{pid}").st_uid != os.geteuid():
            return False
        environ = b"\0" + _bytes(f"/proc/{pid}/environ")
    except OSError:
        return False
    return f"\0{MARKER}={session}\0".encode() in environ


# ---- the tuple -------------------------------------------------------------------------------------------------------


@dataclass
class _Reading:
    """What one reading gathers besides the processes."""

    known: sockets.Sockets
    listening: dict[int, dict[str, Any]] = field(default_factory=dict)  # by inode
    environs: dict[bytes, frozenset[str]] = field(default_factory=dict)  # most processes share one environment
    files: dict[str, dict[str, Any]] = field(default_factory=dict)  # many descriptors lead to the same few
    notes: list[str] = field(default_factory=list)
    vanished: int = 0
    hidden: int = 0
    elsewhere: bool = False  # a network namespace of its own was read already

    def say(self, note: str) -> None:
        if note and note not in self.notes and len(self.notes) < NOTES_MAX:
            self.notes.append(note)


def live_tuple(
    root_pid: int, *, root_started: int | None = None, session: str = "", group: Group | None = None,
    machine: Machine | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return the live tuple of the session with root process ``root_pid``. Plain values only; docs/wire.md has them.

    ``root_started`` guards against a pid that means another process by now. Environment variables appear by name
    only, as each process was started with them; values never leave the kernel's page. About 5 ms for 100 processes.
    """
    begun = time.perf_counter()
    machine = machine or Machine()
    root = read_stat(root_pid)
    alive = root is not None and (root_started is None or root.started == root_started)
    found = members(root_pid if alive else 0, session=session, group=group, machine=machine)
    known, trouble = machine.sockets()
    reading = _Reading(known)
    reading.say(trouble)
    base = _env_names(root_pid, reading) if alive else None
    processes = []
    for stat in sorted(found.stats.values(), key=lambda each: (each.started, each.pid)):
        if (described := _process(stat, base, reading)) is not None:
            processes.append(described)
    if len(found.stats) >= PROCESSES_MAX:
        reading.say(f"more than {PROCESSES_MAX} processes; the rest is left out")
    if reading.vanished:
        reading.say(f"{reading.vanished} processes ended while they were read")
    if reading.hidden:
        reading.say(f"{reading.hidden} processes are not ours to read: their files, cwd and environment are left out")
    return {
        "root": root_pid, "alive": alive, "membership": found.how, "processes": processes,
        "listening": sorted(reading.listening.values(), key=lambda each: (each["proto"], each["address"])),
        "terminal": _terminal(root if alive else None, found.stats),
        "cwd": _link(f"/proc/{root_pid}/cwd") if alive else "",
        "environment": sorted(base or ()), "cgroup": _cgroup(group, root_pid if alive else 0),
        "memory": {
            "rss_bytes": sum(stat.rss_bytes for stat in found.stats.values()),
            "cgroup_bytes": group.memory_bytes() if group is not None else None,
            "oom_kills": group.oom().kills if group is not None else None,
        },
        "cpu_s": round(sum(stat.cpu_ticks for stat in found.stats.values()) / TICKS, 2),
        "notes": reading.notes, "read_ms": round((time.perf_counter() - begun) * 1e3, 2),
    }  # fmt: skip


def _process(stat: Stat, base: frozenset[str] | None, reading: _Reading) -> dict[str, Any] | None:
    at = f"/proc/{stat.pid}"
    try:
        argv = _bytes(f"{at}/cmdline")
    except OSError:
        reading.vanished += 1
        return None
    args = argv.rstrip(b"\0").split(b"\0")[:ARGS_MAX] if argv else []
    described: dict[str, Any] = {
        "pid": stat.pid, "ppid": stat.ppid, "pgid": stat.pgid, "sid": stat.sid, "state": stat.state,
        "state_name": _STATES.get(stat.state, stat.state), "started": stat.started, "comm": stat.comm,
        "argv": [arg[:TEXT_MAX].decode("utf-8", "replace") for arg in args], "threads": stat.threads,
        "rss_bytes": stat.rss_bytes, "cpu_s": round(stat.cpu_ticks / TICKS, 2),
        "foreground": stat.foreground == stat.pgid,
    }  # fmt: skip
    if stat.state in "ZX":  # a zombie has no files, and its other links are not readable for anybody
        return described | {"cwd": "", "exe": "", "fds": [], "fd_count": 0}
    described["cwd"], described["exe"] = _link(f"{at}/cwd"), _link(f"{at}/exe")
    names = _env_names(stat.pid, reading)
    if names is not None and base is not None:
        described["env_added"], described["env_removed"] = sorted(names - base), sorted(base - names)
    try:
        numbers = os.listdir(f"{at}/fd")
    except PermissionError:
        reading.hidden += 1
        return described | {"fds": [], "fd_count": None}
    except OSError:
        reading.vanished += 1
        return None
    described["fd_count"] = len(numbers)
    described["fds"] = _fds(stat.pid, numbers[:FDS_MAX], reading)
    return described


def _link(path: str) -> str:
    try:
        return _plain(os.readlink(path))
    except OSError:
        return ""


def _env_names(pid: int, reading: _Reading) -> frozenset[str] | None:
    """Names that ``pid`` was started with; None if they are not ours to read. A program may have overwritten them."""
    try:
        environ = _bytes(f"/proc/{pid}/environ")
    except OSError:
        return None
    known = reading.environs.get(environ)
    if known is None:
        names = {entry.partition(b"=")[0] for entry in environ.split(b"\0")[:ENV_NAMES_MAX] if b"=" in entry}
        known = frozenset(name.decode() for name in names if _NAME.fullmatch(name))
        if len(reading.environs) < ENVIRONS_MAX:
            reading.environs[environ] = known
    return known


def _fds(pid: int, numbers: list[str], reading: _Reading) -> list[dict[str, Any]]:
    described: list[dict[str, Any]] = []
    base = f"/proc/{pid}/fd/"
    for number in numbers:
        try:
            target = os.readlink(base + number)
        except OSError:
            continue  # closed meanwhile
        if target.startswith("socket:["):
            one = _socket(pid, int(target[8:-1]), reading)
            if one.get("listening"):
                _listens(pid, int(number), one, reading)
        else:
            known = reading.files.get(target)
            if known is None:
                known = _file(target)
                if len(reading.files) < FILES_MAX:
                    reading.files[target] = known
            one = known.copy()
        one["fd"] = int(number)
        described.append(one)
    return described


def _file(target: str) -> dict[str, Any]:
    if target.startswith("pipe:["):
        return {"kind": "pipe", "inode": int(target[6:-1])}
    if target.startswith("anon_inode:"):
        return {"kind": "anon", "what": target[11:].strip("[]")}
    deleted = target.endswith(" (deleted)")
    path = _plain(target[:-10] if deleted else target)
    if path.startswith(("/dev/pts/", "/dev/tty")) or path in ("/dev/ptmx", "/dev/console"):
        kind = "pty"
    elif path.startswith("/memfd:"):
        kind, deleted = "memfd", False  # always called deleted, never was anywhere
    elif path.startswith("/dev/") and not path.startswith(("/dev/shm/", "/dev/mqueue/")):
        kind = "device"
    elif path.startswith("/"):
        kind = "file"
    else:
        kind = "other"
    return {"kind": kind, "path": path, "deleted": True} if deleted else {"kind": kind, "path": path}


def _socket(pid: int, inode: int, reading: _Reading) -> dict[str, Any]:
    known = reading.known.get(inode)
    if known is None and not reading.elsewhere:
        reading.elsewhere = True  # once: a session has one foreign network namespace, if any
        if _link(f"/proc/{pid}/ns/net") != _link("/proc/self/ns/net"):
            reading.say("some sockets are in another network namespace; those were read from /proc")
            reading.known = sockets.of_namespace(pid) | reading.known
            known = reading.known.get(inode)
    if known is None:
        return {"kind": "socket", "inode": inode, "proto": "other"}
    return {"kind": "socket", "inode": inode, **known}


def _listens(pid: int, fd: int, one: dict[str, Any], reading: _Reading) -> None:
    unix = one["proto"] == "unix"
    address = one["path"] if unix else one["local"]
    if (known := reading.listening.get(one["inode"])) is not None:  # inherited: one socket, several holders
        if pid not in known["pids"]:
            known["pids"].append(pid)
        return
    reading.listening[one["inode"]] = {
        "proto": one["proto"], "address": address, "port": None if unix else int(address.rpartition(":")[2]),
        "pids": [pid], "fd": fd, "inode": one["inode"],
    }  # fmt: skip


def _terminal(root: Stat | None, stats: dict[int, Stat]) -> dict[str, Any]:
    if root is None or not root.tty:
        return {"path": "", "foreground_pgid": None, "foreground": []}
    major, minor = os.major(root.tty), os.minor(root.tty)
    path = f"/dev/pts/{minor + ((major - 136) << 8)}" if 136 <= major <= 143 else f"{major}:{minor}"
    group = [stat.pid for stat in stats.values() if stat.pgid == root.foreground]
    return {"path": path, "foreground_pgid": root.foreground, "foreground": sorted(group)}


def _cgroup(group: Group | None, pid: int) -> dict[str, Any]:
    own = [str(path) for path in group.paths] if group is not None else []
    try:
        lines = _bytes(f"/proc/{pid}/cgroup").decode("utf-8", "replace").splitlines() if pid else []
    except OSError:
        lines = []
    return {"session": own, "root": [line for line in lines if not line.endswith(":/")][:32]}


# ---- facts for reaping -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TreeFacts:
    """What the kernel says about the work of a session, at one instant. Counters rise while nothing ends; any change of
    one between two looks means that something ran. ``cpu_ticks`` are clock ticks (mostly 10 ms)."""

    processes: int
    cpu_ticks: int
    io_bytes: int  # read and written by system calls, terminals and pipes included
    foreground_job: bool  # the terminal's foreground group is not the root's own
    listening: int  # TCP sockets listening and UDP sockets bound
    listening_unix: int  # such as a tmux server or a key store
    membership: str


def tree_facts(
    root_pid: int, *, session: str = "", group: Group | None = None, machine: Machine | None = None
) -> TreeFacts:
    """Return what reaping must know: 0.2 ms for a small tree with a control group; share ``machine`` otherwise."""
    machine = machine or Machine()
    found = members(root_pid, session=session, group=group, machine=machine)
    cpu = io = 0
    inodes: set[int] = set()
    for stat in found.stats.values():
        cpu += stat.cpu_ticks + stat.waited_ticks
        io += _io_bytes(stat.pid)
        inodes |= _socket_inodes(stat.pid)
    listening = [machine.sockets()[0].get(inode, {}) for inode in inodes] if inodes else []
    root = found.stats.get(root_pid)
    foreground = root is not None and root.tty != 0 and root.foreground > 0 and root.foreground != root.pgid
    return TreeFacts(
        processes=len(found.stats), cpu_ticks=cpu, io_bytes=io, foreground_job=foreground,
        listening=sum(1 for each in listening if each.get("listening") and each["proto"] != "unix"),
        listening_unix=sum(1 for each in listening if each.get("listening") and each["proto"] == "unix"),
        membership=found.how,
    )  # fmt: skip


def _io_bytes(pid: int) -> int:
    try:
        fields = _bytes(f"/proc/{pid}/io").split()
        return int(fields[1]) + int(fields[3])  # rchar, wchar
    except (OSError, IndexError, ValueError):
        return 0


def _socket_inodes(pid: int) -> set[int]:
    base = f"/proc/{pid}/fd/"
    found: set[int] = set()
    try:
        for number in os.listdir(base):
            target = os.readlink(base + number)
            if target.startswith("socket:["):
                found.add(int(target[8:-1]))
    except OSError:
        pass
    return found
