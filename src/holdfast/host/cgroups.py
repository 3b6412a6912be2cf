"""Give every session a control group where the machine allows it: exact membership, one kill, one freeze, OOM facts.

Not here: joining (the forked child writes itself into ``procs_files``), what to do without groups (host.tuple walks).

v2 is used for membership, kill and freeze wherever it is mounted, even beside v1; memory comes from whichever has it.
The group of a session is ``<base>/holdfast-<tag>/<session id>``, where the base is the group this host was started in,
so limits and delegation of that group keep their meaning. One OOM in a session kills the hog alone: groups are never
told to die as a whole (``memory.oom.group`` stays 0).
"""

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PREFIX: Final = "holdfast-"
MEMBERS_MAX: Final = 65536
KILL_PASSES_MAX: Final = 100
_TAKE_PART: Final = os.R_OK | os.W_OK | os.X_OK


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted hierarchy and where this process stands in it. ``version`` 1 or 2; ``controllers`` of v1 by name."""

    version: int
    mount: Path
    own: str
    controllers: frozenset[str] = frozenset()

    def path(self, group: str) -> Path:
        return self.mount / group.lstrip("/")


@dataclass(frozen=True, slots=True)
class Oom:
    """``kills``: processes the kernel killed for memory, ever; None: this machine does not tell."""

    kills: int | None


def hierarchies(*, mountinfo: str, cgroup: str) -> list[Hierarchy]:
    """Return the hierarchies that ``/proc/self/mountinfo`` and ``/proc/self/cgroup`` describe. Source: cgroups(7)."""
    own: dict[frozenset[str], str] = {}
    for line in cgroup.splitlines():
        number, listed, path = line.split(":", 2)
        own[frozenset(listed.split(",")) if number != "0" else frozenset()] = path
    found: list[Hierarchy] = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        place, kind = before.split(), after.split()
        if len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        root, mount = place[3], Path(place[4].replace("\\040", " "))
        if kind[0] == "cgroup2":
            names: frozenset[str] = frozenset()
            where = own.get(names)
        else:
            options = kind[2].split(",")
            names, where = next(((k, v) for k, v in own.items() if k and k <= set(options)), (frozenset(), None))
        if where is None:
            continue
        # A mount inside a container may show a part of the tree only, and our own group may lie outside of it.
        inside = where[len(root) :] if root != "/" and where.startswith(root) else where
        found.append(Hierarchy(2 if kind[0] == "cgroup2" else 1, mount, "/" + inside.lstrip("/"), names))
    return found


def _base(own: str) -> str:
    """Return ``own`` without any group of a session: a host started inside a session must not nest in it."""
    parts = own.strip("/").split("/")
    cut = next((index for index, part in enumerate(parts) if part.startswith(PREFIX)), len(parts))
    return "/" + "/".join(parts[:cut])


def _read(path: Path) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts: list[bytes] = []
        while chunk := os.read(fd, 65536):
            parts.append(chunk)
        return b"".join(parts).decode("ascii", "replace")
    finally:
        os.close(fd)


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _numbers(text: str) -> dict[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


@dataclass
class Group:
    """The group of one session, in one hierarchy or several. What is missing is None, said in ``Groups.notes``."""

    session: str
    unified: Path | None = None
    memory: Path | None = None  # v1, or the same as ``unified`` if v2 has the memory controller
    freezer: Path | None = None  # v1, only without ``unified``

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every folder of this group; the first one answers for membership."""
        every = (self.unified, self.freezer, self.memory)
        return tuple(dict.fromkeys(path for path in every if path is not None))

    @property
    def procs_files(self) -> tuple[str, ...]:
        """The files that a process writes ``0`` to, in order to join. One that fails costs that hierarchy only."""
        return tuple(str(path / "cgroup.procs") for path in self.paths)

    def members(self) -> tuple[int, ...]:
        """Return the pids of this session, also in groups that it made itself; empty if the group is gone."""
        return tuple(_members(self.paths[0])) if self.paths else ()

    def kill(self) -> int:
        """Send SIGKILL to every member, forks under way included; return how many are left (being reaped, mostly)."""
        if self.unified is not None:
            with contextlib.suppress(OSError):
                _write(self.unified / "cgroup.kill", "1")  # since Linux 5.14
                return len(self.members())
        frozen = self.freeze()  # nobody forks while we go through them
        seen: set[int] = set()
        for _ in range(KILL_PASSES_MAX):
            fresh = set(self.members()) - seen - {0}  # 0: a process that has no number here
            if not fresh:
                break
            for pid in fresh:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            seen |= fresh
        if frozen:
            self.thaw()
        return len(self.members())

    def freeze(self, wait_s: float = 0.05) -> bool:
        """Stop every member where it stands; True once all have stopped, False if that is not so after ``wait_s``."""
        try:
            if self.unified is not None:
                _write(self.unified / "cgroup.freeze", "1")
            elif self.freezer is not None:
                _write(self.freezer / "freezer.state", "FROZEN")
            else:
                return False
        except OSError:
            return False
        deadline = time.monotonic() + wait_s
        while not self.frozen:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.001)
        return True

    def thaw(self) -> bool:
        """Let every member go on; False if this group cannot be frozen in the first place."""
        try:
            if self.unified is not None:
                _write(self.unified / "cgroup.freeze", "0")
            elif self.freezer is not None:
                _write(self.freezer / "freezer.state", "THAWED")
            else:
                return False
        except OSError:
            return False
        return True

    @property
    def frozen(self) -> bool:
        """Whether every member has stopped."""
        try:
            if self.unified is not None:
                return _numbers(_read(self.unified / "cgroup.events")).get("frozen") == 1
            if self.freezer is not None:
                return _read(self.freezer / "freezer.state").strip() == "FROZEN"
        except OSError:
            pass
        return False

    def limit_memory(self, most: int) -> bool:
        """Let the session use at most ``most`` bytes; False if this machine does not allow it."""
        if self.memory is None:
            return False
        name = "memory.max" if self.memory == self.unified else "memory.limit_in_bytes"
        try:
            _write(self.memory / name, str(most))
        except OSError:
            return False
        return True

    def memory_bytes(self) -> int | None:
        """Return what the kernel charges to this session, page cache included; None if it does not tell."""
        if self.memory is None:
            return None
        name = "memory.current" if self.memory == self.unified else "memory.usage_in_bytes"
        try:
            return int(_read(self.memory / name))
        except (OSError, ValueError):
            return None

    def oom(self) -> Oom:
        """Return how many members the kernel killed for want of memory."""
        if self.memory is None:
            return Oom(None)
        name = "memory.events" if self.memory == self.unified else "memory.oom_control"
        try:
            return Oom(_numbers(_read(self.memory / name)).get("oom_kill"))
        except OSError:
            return Oom(None)

    def remove(self) -> bool:
        """Remove the group; False while it has members, zombies included."""
        left = [path for path in self.paths if not _remove(path)]
        return not left


def _members(path: Path) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        found += [int(pid) for pid in _read(path / "cgroup.procs").split()[:MEMBERS_MAX]]
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False) and len(found) < MEMBERS_MAX:
                found += _members(Path(entry.path))
    return [pid for pid in found if pid > 0]  # 0 is a process of another pid namespace


def _remove(path: Path) -> bool:
    try:
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                _remove(Path(entry.path))
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


@dataclass
class Groups:
    """The groups of one host. ``notes`` says what this machine lacks and why; ``hold doctor`` shows it."""

    tag: str
    bases: dict[str, tuple[Hierarchy, str]] = field(default_factory=dict)  # unified, memory, freezer
    notes: list[str] = field(default_factory=list)
    _lingering: dict[str, Group] = field(default_factory=dict)  # to be removed once their last zombie is collected

    @classmethod
    def find(cls, state: str, *, proc: Path = Path("/proc/self")) -> "Groups":
        """Look at the machine and return what can be done; never raises. ``state``, a folder, tells hosts apart."""
        groups = cls(hashlib.sha256(os.fsencode(state)).hexdigest()[:12])
        try:
            seen = hierarchies(mountinfo=(proc / "mountinfo").read_text(), cgroup=(proc / "cgroup").read_text())
        except (OSError, ValueError) as error:
            groups.notes.append(f"no control groups: {error}; sessions are followed by process tree and marker instead")
            return groups
        groups._choose(seen)
        return groups

    @property
    def exact(self) -> bool:
        """Whether membership is exact: also of processes that forked twice and dropped their environment."""
        return "unified" in self.bases or "freezer" in self.bases or "memory" in self.bases

    def make(self, session: str, *, memory_max: int | None = None) -> Group | None:
        """Make the group of ``session``, or as much of it as the machine allows; None if that is nothing at all."""
        self._retry()
        group = Group(session)
        for role, (hierarchy, base) in self.bases.items():
            path = self._parent(hierarchy, base) / session
            try:
                path.mkdir(mode=0o755, parents=True, exist_ok=True)
            except OSError as error:
                self._say(f"no {role} group for a session: {error.strerror} ({path})")
                continue
            setattr(group, role, path)
        self._share_memory(group)
        if memory_max is not None and not group.limit_memory(memory_max):
            self._say("memory of a session cannot be limited here")
        return group if group.paths else None

    def of(self, session: str, pid: int = 0) -> Group | None:
        """Return the group of ``session`` that this or an earlier host made; None if there is none.

        With the ``pid`` of its root it is found even if the earlier host was started in another place.
        """
        if pid and (found := self._holding(session, pid)) is not None:
            return found
        group = Group(session)
        for role, (hierarchy, base) in self.bases.items():
            path = self._parent(hierarchy, base) / session
            if path.is_dir():
                setattr(group, role, path)
        self._share_memory(group)
        return group if group.paths else None

    def _holding(self, session: str, pid: int) -> Group | None:
        group = Group(session)
        try:
            seen = hierarchies(
                mountinfo=Path("/proc/self/mountinfo").read_text(), cgroup=Path(f"/proc/{pid}/cgroup").read_text()
            )
        except (OSError, ValueError):
            return None
        for hierarchy in seen:
            parts = hierarchy.own.strip("/").split("/")
            if session not in parts:
                continue
            path = hierarchy.path("/".join(parts[: parts.index(session) + 1]))
            if hierarchy.version == 2:
                group.unified = path
            elif "memory" in hierarchy.controllers:
                group.memory = path
            elif "freezer" in hierarchy.controllers:
                group.freezer = path
        self._share_memory(group)
        return group if group.paths else None

    def remove(self, session: str, group: Group | None = None) -> bool:
        """Remove the group of ``session``, and the parent if it was the last one.

        False while it has members, zombies included: it is tried again with every later ``make`` and ``remove``.
        """
        group = group or self.of(session)
        if group is not None:
            self._lingering[session] = group
        self._retry()
        return session not in self._lingering

    def sweep(self) -> None:
        """Remove every group that is empty. For the start of a host, before sessions are made: a dead one left them."""
        for session in self.sessions():
            group = self.of(session)
            if group is not None:
                group.remove()
        self._retry()

    def _retry(self) -> None:
        for session, group in list(self._lingering.items()):
            if group.remove():
                del self._lingering[session]
            for path in group.paths:
                with contextlib.suppress(OSError):
                    path.parent.rmdir()
        for hierarchy, base in self.bases.values():
            with contextlib.suppress(OSError):
                self._parent(hierarchy, base).rmdir()

    def sessions(self) -> list[str]:
        """Return the sessions that have a group."""
        found: set[str] = set()
        for hierarchy, base in self.bases.values():
            with contextlib.suppress(OSError):
                found |= {entry.name for entry in os.scandir(self._parent(hierarchy, base)) if entry.is_dir()}
        return sorted(found)

    def leave(self, pid: int = 0) -> bool:
        """Move process ``pid`` (0: this one) out of any session's group, to the base.

        A host or keeper that is started from inside a session must not be counted, frozen or killed with it.
        """
        done = True
        for hierarchy, base in self.bases.values():
            try:
                _write(hierarchy.path(base) / "cgroup.procs", str(pid))
            except OSError:
                done = False
        return done

    def _parent(self, hierarchy: Hierarchy, base: str) -> Path:
        return hierarchy.path(base) / f"{PREFIX}{self.tag}"

    def _share_memory(self, group: Group) -> None:
        if group.memory is None and group.unified is not None and (group.unified / "memory.current").exists():
            group.memory = group.unified

    def _say(self, note: str) -> None:
        if note not in self.notes and len(self.notes) < 16:
            self.notes.append(note)

    def _choose(self, seen: Iterable[Hierarchy]) -> None:
        every = list(seen)
        unified = next((each for each in every if each.version == 2), None)
        if unified is None:
            self._say("no v2 control groups are mounted here")
        else:
            base = self._usable(unified)
            if base is not None:
                self.bases["unified"] = (unified, base)
        for role in ("memory", "freezer"):
            hierarchy = next((each for each in every if role in each.controllers), None)
            if hierarchy is None or (role == "freezer" and "unified" in self.bases):
                continue
            base = self._usable(hierarchy)
            if base is not None:
                self.bases[role] = (hierarchy, base)
        if "memory" not in self.bases and not self._v2_memory():
            self._say("memory of sessions is neither limited nor counted: no memory controller can be used")
        if not self.exact:
            self._say("sessions have no control group: a process that leaves its tree is found by tty and marker only")

    def _usable(self, hierarchy: Hierarchy) -> str | None:
        """Return the base in which groups can be made and joined, or None with a note."""
        own = _base(hierarchy.own)
        candidates = [own]
        if own != "/":
            candidates.append(str(Path(own).parent))  # delegated with a subgroup of its own for the daemon
        if os.geteuid() == 0 and "/" not in candidates:
            candidates.append("/")
        why = ""
        for base in candidates:
            path = hierarchy.path(base)
            parent = self._parent(hierarchy, base)
            made = not parent.exists()
            try:
                if not os.access(path, _TAKE_PART) or not os.access(path / "cgroup.procs", os.W_OK):
                    raise PermissionError(13, "this group is not delegated to us")
                parent.mkdir(mode=0o755, exist_ok=True)
                kind = _read(parent / "cgroup.type").strip() if hierarchy.version == 2 else "domain"
                if kind not in ("domain", "domain threaded"):
                    raise OSError(95, "a threaded group cannot hold sessions")
            except OSError as error:
                why = why or f"{error.strerror} ({path})"
                continue
            finally:
                if made:
                    with contextlib.suppress(OSError):
                        parent.rmdir()
            return base
        self._say(f"v{hierarchy.version} control groups cannot be used: {why}")
        return None

    def _v2_memory(self) -> bool:
        """Have the v2 memory controller passed down to sessions, if the kernel lets us."""
        if "unified" not in self.bases:
            return False
        hierarchy, base = self.bases["unified"]
        path = hierarchy.path(base)
        try:
            if "memory" not in _read(path / "cgroup.controllers").split():
                return False
            for level in (path, self._parent(hierarchy, base)):
                level.mkdir(mode=0o755, exist_ok=True)
                if "memory" not in _read(level / "cgroup.subtree_control").split():
                    _write(level / "cgroup.subtree_control", "+memory")
        except OSError:
            return False  # EBUSY: this very process stands in the base, which v2 forbids for groups with controllers
        return True
