"""Start the one keeper of a runtime folder, or take it up again after its upgrade."""

import fcntl
import gc
import os
import socket
from typing import NoReturn

from holdfast.holder import execution, linux, sockets
from holdfast.holder import protocol as p
from holdfast.holder.keeper import Keeper
from holdfast.holder.kept import Kept
from holdfast.holder.rehearsal import rehearse


def _locked(socket_path: str) -> list[int] | None:
    """Take both locks of the one keeper of ``socket_path``; None if there is one already.

    An abstract socket, which no cleaner of /tmp can remove, and a file, which other network namespaces see too.
    """
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    name = "\0hk:" + socket_path
    try:
        lock.bind(name)
        lock.listen(8)
    except OSError:
        with socket.socket(socket.AF_UNIX) as poke:
            poke.settimeout(2.0)
            try:
                poke.connect(name)
                if linux.peer_of(poke)[1] == os.getuid():
                    poke.recv(1)  # its close says that its socket is in place again
                    return None
            except OSError:
                return None
        lock.listen(0) if lock.getsockname() else None  # another user sits on the name: the file decides alone
    file = os.open(socket_path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None
    return [lock.detach(), file]


def _settle_down(umask: int, files: tuple[int, int], oom: int) -> execution.Inheritance:
    """Make what was imported part of every holder without a copy."""
    linux.heed_signals()
    inherited = execution.Inheritance(umask=umask, files=files, oom=oom)
    linux.load_libc()
    linux.become_subreaper("hf-keeper")
    os.chdir("/")
    rehearse(inherited)
    gc.collect()
    gc.freeze()
    return inherited


def _start(socket_path: str, holders: str, source: str, ready: int) -> NoReturn:
    if os.fork():
        os._exit(0)  # whoever started us waits for this one; the keeper is nobody's child
    os.setsid()
    files, oom = execution.raise_file_limit(), execution.own_oom_score()
    umask = os.umask(0o077)
    try:
        sockets.private_folder(os.path.dirname(socket_path))
        locks = _locked(socket_path)
        if locks is None:
            os.write(ready, b"held\n")
            os._exit(0)
        sockets.private_folder(holders)
        inherited = _settle_down(umask, files, oom)
        keeper = Keeper(socket_path=socket_path, holders=holders, source=source, inherited=inherited, locks=locks)
        keeper.listen()
    except (OSError, sockets.Unsafe) as failed:
        os.write(ready, f"{failed}\n".encode())
        os._exit(1)
    keeper.run(ready)


def _resume(state: int) -> NoReturn:
    about = p.unpacked(os.pread(state, os.fstat(state).st_size, 0))
    os.close(state)
    umask, soft, hard, oom = p.numbers(about, "nursery")
    inherited = _settle_down(umask, (soft, hard), oom)
    keeper = Keeper(
        socket_path=p.text(about, "socket"), holders=p.text(about, "holders"), source=p.text(about, "source"),
        inherited=inherited, locks=p.numbers(about, "locks"),
    )  # fmt: skip
    numbers = p.numbers(about, "numbers")
    for at, (session, path) in enumerate(zip(p.texts(about, "sessions"), p.texts(about, "paths"), strict=True)):
        master, descriptor, listener, inode, pid, foreign = numbers[at * 6 : at * 6 + 6]
        kept = Kept(session, path, master=master, memory=descriptor, listener=listener, inode=inode, holder=pid)
        keeper.kept[session] = kept
        if foreign:
            keeper.watch(kept)
    listening = p.number(about, "listener")
    keeper.listen(socket.socket(fileno=listening), inode=p.number(about, "inode"))
    for fd in (
        listening,
        *p.numbers(about, "locks"),
        *(n for at in range(0, len(numbers), 6) for n in numbers[at : at + 3]),
    ):
        os.set_inheritable(fd, False)
    keeper.run()


def main(argv: list[str]) -> NoReturn:
    """``start SOCKET HOLDERS SOURCE READY_FD`` or ``resume SOCKET STATE_FD`` (the socket is for whoever reads process lists)."""
    if argv[0] == "resume":
        _resume(int(argv[2]))
    _start(argv[1], argv[2], argv[3], int(argv[4]))
