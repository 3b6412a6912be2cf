"""Start, find and signal what runs inside a session, and keep how it ended. Not here: when (holder)."""

import errno
import fcntl
import os
import resource
import signal
import struct
import termios
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NoReturn

from holdfast.holder import linux
from holdfast.holder import protocol as p

_OOM_HIGHER: Final = 300
_REPORT = struct.Struct("<ii")  # stage, errno
_SIGNALS: Final = tuple(n for n in range(1, 65) if n not in (signal.SIGKILL, signal.SIGSTOP, 32, 33))
_BOOT: Final = p.BOOT.encode()
_FILES_MAX: Final = 1 << 18
STAGES: Final = ("terminal", "cgroup", "cwd", "exec")


class Inheritance:
    """What the keeper inherited from whoever started it, and gives on to every execution.

    Made once the keeper's own signals are set: ``signals`` are those that must be set back.
    """

    __slots__ = ("files", "oom", "signals", "umask")

    def __init__(self, *, umask: int, files: tuple[int, int], oom: int) -> None:
        self.umask, self.files, self.oom = umask, files, oom  # files: soft and hard limit; oom: oom_score_adj
        self.signals = tuple(number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_DFL)


class StartFailed(Exception):
    """The command does not run: ``stage`` is one of STAGES, ``number`` the errno."""

    def __init__(self, stage: str, number: int) -> None:
        super().__init__(stage, number)
        self.stage, self.number = stage, number


def raise_file_limit() -> tuple[int, int]:
    """Allow this process as many open files as it can need and may have; return the limits as they were."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _FILES_MAX)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    except (OSError, ValueError):
        pass
    return soft, hard


def close_all_but(keep: Iterable[int]) -> None:
    """Close every descriptor but ``keep``."""
    lowest = 0
    for one in sorted(keep):
        if lowest < one:  # an empty range at 0 would reach the kernel as "everything"
            os.closerange(lowest, one)
        lowest = one + 1
    os.closerange(lowest, _FILES_MAX)


def own_oom_score() -> int:
    """Return this process's oom_score_adj, 0 if it cannot be read."""
    try:
        with open("/proc/self/oom_score_adj", "rb", buffering=0) as file:
            return int(file.read(16))
    except (OSError, ValueError):
        return 0


def packed_job(
    argv: Sequence[str], env: bytes, cwd: str, cgroup_procs: Sequence[str], marks: bytes = b""
) -> tuple[int, int]:
    """Return descriptors of what ``start`` is to run, and of the version 2 group it is born in (-1: of none).

    ``env``: ``NAME=value`` and a zero byte, of every variable. ``marks``: what it finds at MARKS_FD. Raises OSError.
    """
    group, born_in, joins = -1, [], []
    for procs in cgroup_procs:
        folder = os.path.dirname(procs)
        if group < 0 and os.path.exists(f"{folder}/cgroup.controllers"):
            try:
                group = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                pass
            else:
                born_in.append(procs)
                continue
        tasks = f"{folder}/tasks"  # of version 1: joining thread by thread needs no lock of all groups
        joins.append(tasks if os.path.exists(tasks) else procs)
    job = -1
    try:
        job = os.memfd_create("hf-job", os.MFD_CLOEXEC)
        recipe: p.Fields = {"argv": argv, "env": env, "cwd": cwd, "joins": joins, "born_in": born_in, "marks": marks}
        os.write(job, p.packed(recipe))
    except OSError:
        for one in {job, group} - {-1}:
            os.close(one)
        raise
    return job, group


def start(slave: int, job: int, group: int, inherited: Inheritance) -> tuple[int, int]:
    """Fork the session leader on ``slave``; return (pid, descriptor that reads how its exec went).

    The descriptor closes on exec: end of file means the command runs, else ``report_of`` explains.
    """
    report, tell = os.pipe2(os.O_CLOEXEC)
    born = True
    try:
        pid = linux.fork_into(group)
    except OSError:  # there is no such call here, or no such group
        born = False
        pid = os.fork()
    if not pid:
        _become(slave, tell, job, inherited, born)
    os.close(tell)
    return pid, report


def report_of(report: int) -> None:
    """Wait for the exec of ``start``. Raises StartFailed if it did not come to it."""
    said = os.read(report, _REPORT.size)
    os.close(report)
    if said:
        stage, number = _REPORT.unpack(said) if len(said) == _REPORT.size else (0, 0)
        raise StartFailed(STAGES[stage], number)


def _become(slave: int, tell: int, job: int, inherited: Inheritance, born: bool) -> NoReturn:
    stage = 0
    try:
        recipe = p.unpacked(os.pread(job, os.fstat(job).st_size, 0))
        os.setsid()
        signal.set_wakeup_fd(-1)
        # Before TIOCSCTTY: a hang-up in the first instants must end it, not be ignored.
        for number in inherited.signals:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        if tell < 4:  # 3 is where it moves to, so it must not lie below
            tell = fcntl.fcntl(tell, fcntl.F_DUPFD_CLOEXEC, 10)
        for standard in (0, 1, 2):
            os.dup2(slave, standard)
        os.dup2(tell, 3, inheritable=False)
        tell = 3
        os.closerange(4, _FILES_MAX)
        _lay_out(p.data_of(recipe, "marks"))
        _write("/proc/self/oom_score_adj", str(min(1000, inherited.oom + _OOM_HIGHER)), must=False)
        stage = 1
        for file in p.texts(recipe, "joins") + ([] if born else p.texts(recipe, "born_in")):
            _write(file, "0", must=True)
        stage = 2
        os.chdir(p.text(recipe, "cwd"))
        os.umask(inherited.umask)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, inherited.files)
        except (OSError, ValueError):
            pass
        stage = 3
        env = dict(one.split(b"=", 1) for one in p.data_of(recipe, "env").split(b"\0") if one)
        _exec(p.texts(recipe, "argv"), env)
    except OSError as failed:
        os.write(tell, _REPORT.pack(stage, failed.errno or 0))
    except BaseException:
        os.write(tell, _REPORT.pack(stage, errno.EINVAL))
    finally:
        os._exit(127)


def _lay_out(marks: bytes) -> None:
    """Have what proves a shell's marks at MARKS_FD, if there is any. It is the only descriptor that the command inherits."""
    if not marks:
        return
    file = os.memfd_create("hold-marks", 0)
    os.write(file, marks)
    os.lseek(file, 0, os.SEEK_SET)
    if file != p.MARKS_FD:
        os.dup2(file, p.MARKS_FD)
        os.close(file)


def _write(path: str, text: str, *, must: bool) -> None:
    try:
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, text.encode())
        finally:
            os.close(file)
    except OSError:
        if must:
            raise


def _exec(argv: list[str], env: Mapping[bytes, bytes]) -> NoReturn:
    """Like execvpe, but the error is the one that explains: a file that may not run beats one that is not there."""
    program = argv[0]
    if "/" in program:
        os.execve(program, argv, env)
    worst = FileNotFoundError(errno.ENOENT, "not found")
    for folder in os.fsdecode(env.get(b"PATH", os.defpath)).split(":"):
        try:
            os.execve(os.path.join(folder or ".", program), argv, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as denied:
            worst = denied  # type: ignore[assignment]    # another subclass of OSError, raised below all the same
    raise worst


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return b"".join(iter(lambda: file.read(1 << 16), b""))
    except OSError:
        return b""


def _children(pid: int) -> set[int]:
    found: set[int] = set()
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        found.update(int(one) for one in _read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def _descendants(seeds: Iterable[int], spare: set[int]) -> set[int]:
    """Return ``seeds`` and everything below them, but neither ``spare``, nor a keeper or holder, nor what is below."""
    found: set[int] = set()
    spare = set(spare)
    front = set(seeds)
    while front:
        spare |= {one for one in front if _BOOT in _read(f"/proc/{one}/cmdline")}
        front -= spare
        found |= front
        front = {child for one in front for child in _children(one)} - found - spare
    return found


def _strays(session: str, root: int, terminal: int) -> set[int]:
    """Return processes of the session that a dead holder left to somebody else: by kernel session, terminal or name.

    A whole scan of /proc: only sessions whose holder was replaced need it.
    """
    device = os.makedev(136, terminal)
    name = f"HOLDFAST_SESSION={session}".encode()
    found: set[int] = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        fields = linux.stat_fields(int(entry))
        if len(fields) < 20 or fields[0] in (b"Z", b"X"):
            continue
        if _belongs(fields, root, device) or name in _read(f"/proc/{entry}/environ").split(b"\0"):
            found.add(int(entry))
    return found


def _belongs(fields: Sequence[bytes], root: int, device: int) -> bool:
    """Tell whether a line of /proc/PID/stat is of the kernel session of ``root`` or of its terminal.

    Root 0 has ended. It is no session: the processes that the kernel numbers so are everybody else's.
    """
    return (root > 0 and int(fields[3]) == root) or int(fields[4]) == device


def members(
    *, session: str, root: int, terminal: int, cgroup_procs: Sequence[str], spare: Iterable[int], replaced: bool
) -> set[int]:
    """Return the pids of the session's processes: its cgroup where it has one, and everything below this holder.

    A host or keeper may have been started inside a session, and is then below its holder: ending that session must
    not end them, or every other session with them. So keepers and holders are never members, and ``spare`` names the
    pids (the host, our own helpers) that are left alone with all that is below them. ``replaced`` says that a former
    holder died, so that some processes may have another parent.
    """
    spared = _descendants(spare, set())
    found: set[int] = set()
    for procs in cgroup_procs:
        found.update(int(one) for one in _read(procs).split())
    seeds = _children(os.getpid()) | ({root} if root > 0 else set()) | found
    if replaced:
        seeds |= _strays(session, root, terminal)
    return _descendants(seeds - spared, spared | {0, 1, os.getpid()})


def send(pids: Iterable[int], number: int) -> list[int]:
    """Signal each process that lives and return those; a pid is never taken for another's.

    All are held by pidfds before the first is signalled: what the first one's death kills (a hang-up of its
    terminal) was reached as well.
    """
    handles: dict[int, int] = {}
    for pid in sorted(pids):
        fields = linux.stat_fields(pid)
        if not fields or fields[0] in (b"Z", b"X"):
            continue
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            continue
        if linux.stat_fields(pid)[19:20] == fields[19:20]:
            handles[pid] = handle
        else:
            os.close(handle)
    reached: list[int] = []
    for pid, handle in handles.items():
        try:
            signal.pidfd_send_signal(handle, number)
            reached.append(pid)
        except ProcessLookupError:
            reached.append(pid)
        except OSError:  # a program of another uid: not ours to signal, and not reached
            pass
        finally:
            os.close(handle)
    return reached


def save_exit(path: str, status: int | None, at_ns: int, by: str) -> int:
    """Write the exit file in a child process and return its pid: its status 0 means the file is on the disk.

    ``status`` is as wait(2) has it, None if nobody could learn it.

    A child, because fsync may take seconds on a slow disk and the one who calls this has a terminal to drain.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.set_wakeup_fd(-1)
        close_all_but((0, 1, 2))  # a copy of the terminal here would keep it from hanging up
        said = "null" if status is None else str(status)
        line = f'{{"status": {said}, "at": {at_ns // 10**9}.{at_ns % 10**9:09d}, "by": "{by}"}}\n'
        fresh = f"{path}.{os.getpid()}"
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, line.encode())
            os.fsync(file)
            os.rename(fresh, path)
        except OSError:
            os.unlink(fresh)
            raise
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fsync(folder)
        os._exit(0)
    finally:
        os._exit(1)
