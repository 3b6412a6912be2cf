"""One window a user: the first listens on a socket, whoever comes later hands it what to open and is done."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

ANSWER_S: Final = 5.0
LINE_MAX: Final = 1024
_PEER: Final = struct.Struct("3i")  # pid, uid, gid: unix(7), SO_PEERCRED


class First:
    """This process has the window. ``close`` lets the next one be first."""

    def __init__(self, path: Path, listener: socket.socket, lock: int) -> None:
        self._path, self._listener, self._lock = path, listener, lock

    def listen(self, told: Callable[[str], None]) -> None:
        """Have ``told`` called, on a thread of its own, with whatever others of this user are to open."""
        threading.Thread(target=self._serve, args=(told,), name="links", daemon=True).start()

    def _serve(self, told: Callable[[str], None]) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed
            with connection, contextlib.suppress(OSError, UnicodeDecodeError):
                connection.settimeout(ANSWER_S)
                if not _is_own(connection):
                    continue
                line = connection.makefile("rb").readline(LINE_MAX)
                if line.endswith(b"\n"):
                    told(line.decode().strip())
                    connection.sendall(b"ok\n")

    def close(self) -> None:
        """Listen no more. Safe to repeat."""
        self._listener.close()
        self._path.unlink(missing_ok=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def first(path: Path) -> First | None:
    """Become the one with the window; None: there is one. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    path.unlink(missing_ok=True)  # of one that was killed: its lock went with it
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()
    except OSError:
        listener.close()
        os.close(lock)
        raise
    return First(path, listener, lock)


def hand_over(path: Path, reference: str) -> bool:
    """Have the window that is open show ``reference``; False: there is none, or it does not answer."""
    try:
        with socket.socket(socket.AF_UNIX) as there:
            there.settimeout(ANSWER_S)
            there.connect(str(path))
            if not _is_own(there):
                return False
            there.sendall(f"{reference}\n".encode())
            return there.recv(16) == b"ok\n"
    except OSError:
        return False


def _is_own(connection: socket.socket) -> bool:
    """Whether the other end runs as this user."""
    if not hasattr(socket, "SO_PEERCRED"):  # macOS: the folder is 0700, and nobody else gets this far
        return True
    _, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return bool(uid == os.getuid())
