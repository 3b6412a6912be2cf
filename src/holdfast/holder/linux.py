"""Ask the kernel for what the standard library has no name for. Every number comes from the Linux headers named."""

import errno
import fcntl
import os
import signal
import socket
import struct
import termios
from collections.abc import Callable
from typing import Final

_TIOCSPTLCK = 0x40045431  # asm-generic/ioctls.h, as all below
_TIOCGPTN = 0x80045430
_TIOCGPTPEER = 0x5441
_F_ADD_SEALS, _F_SEAL_SEAL, _F_SEAL_SHRINK, _F_SEAL_GROW = 1033, 1, 2, 4
_PR_SET_CHILD_SUBREAPER = 36
_PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, 64 bytes); linux/pidfd.h
_PIDFD_INFO_EXIT = 1 << 3
_IUTF8 = 0o40000
_CREDENTIALS = struct.Struct("3i")
_UNIX, _STREAM, _SOL_SOCKET = int(socket.AF_UNIX), int(socket.SOCK_STREAM), int(socket.SOL_SOCKET)
_PEERCRED, _RIGHTS, _CMSG_CLOEXEC = int(socket.SO_PEERCRED), int(socket.SCM_RIGHTS), int(socket.MSG_CMSG_CLOEXEC)
"""Plain numbers: every enumeration that is looked at is a page of memory that a holder no longer shares."""
_SIGCHLD: Final = int(signal.SIGCHLD)
HEEDED = (int(signal.SIGCHLD), int(signal.SIGUSR1), int(signal.SIGUSR2), int(signal.SIGTERM))
_IGNORED = (int(signal.SIGHUP), int(signal.SIGINT), int(signal.SIGQUIT), int(signal.SIGPIPE))
_prctl: Callable[..., int] | None = None
_syscall: Callable[..., int] | None = None
_CLONE3: Final = 435  # the same number on every architecture
_CLONE_INTO_CGROUP: Final = 1 << 33
_CLONE_PARENT: Final = 1 << 15
_CLONE_ARGS: Final = struct.Struct("=11Q")  # flags, pidfd, tids, exit signal, stack, tls, set_tid, cgroup: clone(2)


def open_master() -> int:
    """Return the unlocked, non-blocking, close-on-exec master of a new terminal. Raises OSError (no terminals left)."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    return master


def open_slave(master: int) -> int:
    """Return the other side of ``master``, never as controlling terminal.

    TIOCGPTPEER needs no path, so it works in any mount namespace; the path is for kernels before 4.13.
    """
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return int(fcntl.ioctl(master, _TIOCGPTPEER, flags))
    except OSError:
        return os.open(f"/dev/pts/{terminal_number(master)}", flags)


def terminal_number(master: int) -> int:
    """Return N of /dev/pts/N."""
    return int(struct.unpack("i", fcntl.ioctl(master, _TIOCGPTN, b"\0" * 4))[0])


def set_size(terminal: int, rows: int, cols: int) -> None:
    """Resize; the kernel sends SIGWINCH to the foreground group if the size really changed."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", rows, cols, 0, 0))


def expect_utf8(slave: int) -> None:
    """Let the line editor erase whole characters, as every terminal emulator of today asks for. Raises OSError."""
    try:
        settings = termios.tcgetattr(slave)
        settings[0] |= _IUTF8
        termios.tcsetattr(slave, termios.TCSANOW, settings)
    except termios.error as failed:  # which is no OSError, though it has its arguments
        raise OSError(*failed.args) from None


def foreground(master: int) -> int:
    """Return the foreground process group of the terminal, 0 if there is none."""
    try:
        return max(0, int(struct.unpack("i", fcntl.ioctl(master, termios.TIOCGPGRP, b"\0" * 4))[0]))
    except OSError:
        return 0


def unread(slave: int) -> int:
    """Return how many bytes of input a program could read now. In canonical mode those of whole lines; at most what the
    line editor holds, 4 KiB: what waits behind that the kernel does not tell."""
    try:
        return max(0, int(struct.unpack("i", fcntl.ioctl(slave, termios.FIONREAD, b"\0" * 4))[0]))
    except OSError:
        return 0


def drop_input(master: int, slave: int) -> None:
    """Throw away what was typed and no program has read yet, half a line included. Output is not touched.

    From behind: first what waits in front of the line editor, then what is in it, which else makes room for the former
    (kernels differ in whether the second alone does both).
    """
    for terminal, queue in ((master, termios.TCOFLUSH), (slave, termios.TCIFLUSH)):
        try:
            termios.tcflush(terminal, queue)
        except termios.error:  # no program has it open any more: there is nobody left to read it
            pass


def line_mode(master: int) -> tuple[bool, bool]:
    """Return (canonical, echo) of the terminal as its programs have set it."""
    local = termios.tcgetattr(master)[3]
    return bool(local & termios.ICANON), bool(local & termios.ECHO)


def sealed_memory(name: str, size: int) -> int:
    """Return a memfd of ``size`` bytes that nobody can shrink or grow: a mapping of it can never fault."""
    memory = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(memory, size)
        fcntl.fcntl(memory, _F_ADD_SEALS, _F_SEAL_SHRINK | _F_SEAL_GROW | _F_SEAL_SEAL)
    except OSError:
        os.close(memory)
        raise
    return memory


def read_only(memory: int) -> int:
    """Return another descriptor of ``memory`` that cannot write (the same one again where /proc is missing)."""
    try:
        return os.open(f"/proc/self/fd/{memory}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return os.dup(memory)


def plain_socket(descriptor: int) -> socket.SocketType:
    """Return the Unix stream socket ``descriptor`` without what Python's own class wraps around it."""
    return socket.SocketType(_UNIX, _STREAM, 0, descriptor)


def accept(listener: socket.SocketType) -> socket.SocketType:
    """Return the next connection to ``listener``, close-on-exec. Raises OSError."""
    return plain_socket(listener._accept()[0])  # type: ignore[attr-defined]    # what socket.socket.accept calls


def peer_of(sock: socket.SocketType) -> tuple[int, int]:
    """Return (pid, uid) of the process at the other end of a Unix socket, as the kernel saw it connect."""
    pid, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(_SOL_SOCKET, _PEERCRED, _CREDENTIALS.size))
    return pid, uid


def receive_with_descriptors(sock: socket.SocketType, size: int, most: int) -> tuple[bytes, list[int]]:
    """Return bytes and at most ``most`` descriptors, close-on-exec, that came with them."""
    data, ancillary, _, _ = sock.recvmsg(size, socket.CMSG_SPACE(4 * most), _CMSG_CLOEXEC)
    found: list[int] = []
    for level, kind, content in ancillary:
        if level == _SOL_SOCKET and kind == _RIGHTS:
            found += memoryview(content[: len(content) & ~3]).cast("i")
    return data, found


def rights(descriptors: tuple[int, ...]) -> list[tuple[int, int, bytes]]:
    """Return the ancillary data that makes ``sendmsg`` carry ``descriptors``."""
    if not descriptors:
        return []
    return [(_SOL_SOCKET, _RIGHTS, struct.pack(f"{len(descriptors)}i", *descriptors))]


def stat_fields(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat from the state (index 0) on; empty if there is no such process."""
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(file, 4096).rpartition(b")")[2].split()
        finally:
            os.close(file)
    except OSError:
        return []


def started(pid: int) -> int:
    """Return when the process started, in clock ticks since boot: with its pid, its identity. 0 if it is gone."""
    fields = stat_fields(pid)
    return int(fields[19]) if len(fields) > 19 else 0


def zombie_status(pid: int, start: int) -> int | None:
    """Return the wait status of a process that ended and was not yet reaped by its parent, else None.

    Source: proc(5), field 52; readable for processes of one's own uid, on every kernel.
    """
    fields = stat_fields(pid)
    if len(fields) < 50 or fields[0] not in (b"Z", b"X") or int(fields[19]) != start:
        return None
    return int(fields[49])


def pidfd_status(pidfd: int) -> int | None:
    """Return the wait status of a process that was already reaped by somebody; None where the kernel cannot tell.

    Source: PIDFD_INFO_EXIT of linux/pidfd.h, about Linux 6.15 and later.
    """
    info = bytearray(64)
    struct.pack_into("<Q", info, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    if not struct.unpack_from("<Q", info)[0] & _PIDFD_INFO_EXIT:
        return None
    return int(struct.unpack_from("<i", info, 60)[0])


def _noted(number: int, frame: object) -> None:
    """A signal: its number is already in the wake-up pipe."""


def heed_signals() -> None:
    """Let HEEDED wake the loop through its wake-up pipe, and ignore what must not end us. A fork inherits that."""
    for number in HEEDED:
        signal.signal(number, _noted)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)


def brace_for_exec() -> None:
    """Ignore what would end the new code before it can call ``heed_signals``; SIGCHLD is harmless by default."""
    for number in (*HEEDED, *_IGNORED):
        signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.SIG_IGN)


def check_upgrade(python: str, source: str, module: str) -> None:
    """Look before the leap of an exec. Raises ValueError if program or code are not there."""
    file = os.path.join(source, *module.split(".")) + ".py"
    if not os.access(python, os.X_OK) or not os.path.isfile(file):
        raise ValueError(f"{python} or {file} is not there")


def fork_into(group: int) -> int:
    """Fork a child, born in the version 2 control group open as ``group`` (-1: in our own). Raises OSError.

    Moving a process into a group afterwards makes the kernel wait for every core to have been idle once: ten
    milliseconds and more.
    """
    return _clone(0, _SIGCHLD, 0) if group < 0 else _clone(_CLONE_INTO_CGROUP, _SIGCHLD, group)


def fork_beside() -> int:
    """Fork a sibling: a child of this process's parent, which gets its SIGCHLD. Raises OSError."""
    return _clone(_CLONE_PARENT, 0, 0)


def _clone(flags: int, number: int, group: int) -> int:
    """Fork as os.fork does not: only for a process with one thread, since neither Python nor the C library is told.

    All they would do in the child is to take locks back from threads that are not there.
    """
    if _syscall is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    wish = _CLONE_ARGS.pack(flags, 0, 0, 0, number, 0, 0, 0, 0, 0, group)
    pid = _syscall(_CLONE3, wish, len(wish))
    if pid < 0:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    return pid


def dead_child() -> tuple[int, int] | None:
    """Return pid and status, as wait(2) has it, of a child that ended, leaving it to be reaped; None: there is none."""
    try:
        info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if info is None:
        return None
    return info.si_pid, info.si_status << 8 if info.si_code == os.CLD_EXITED else info.si_status


def load_libc() -> None:
    """Find prctl, once and before any fork: ctypes costs more memory than anything else a holder does."""
    global _prctl, _syscall
    import ctypes

    _prctl = ctypes.CDLL(None).prctl
    _syscall = ctypes.PyDLL(None).syscall  # keeps the interpreter's lock: the child of a clone must not have to take it


def become_subreaper(name: str) -> None:
    """Adopt orphaned descendants instead of init (an exec keeps that), and be called ``name`` in process lists."""
    assert _prctl is not None, "load_libc comes first"
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    call_me(name)


def call_me(name: str) -> None:
    """Be called ``name`` in process lists, without ctypes: an exec forgets the name."""
    try:
        file = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, name.encode()[:15])
        finally:
            os.close(file)
    except OSError:
        pass
