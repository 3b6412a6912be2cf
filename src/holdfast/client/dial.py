"""Reach the host's Unix socket: connect, check who listens there, start a host where none does. Not here: what is said.

`_socket` instead of `socket`, whose import (selectors, enum) costs a tenth of a whole attach.
"""

from __future__ import annotations

import errno
import os
import sys
from _socket import AF_UNIX, SO_PEERCRED, SO_RCVBUF, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket

from holdfast.client import places

RECEIVE_BUFFER = 1 << 20  # bytes
LINKS = "links.sock"  # in the runtime folder: where links are kept warm
OFF = "HOLDFAST_WARM"  # "0": do without
ABSENT = (errno.ENOENT, errno.ECONNREFUSED)  # nobody listens; anything else is a fault to report


class Unreachable(Exception):
    """No host answers at ``where``. Faces say it as errors.HostUnreachable; ``absent``: nobody listens there at all."""

    def __init__(self, where: str, why: str, *, absent: bool = False) -> None:
        super().__init__(f"no host answers at {where} ({why})")
        self.where, self.why, self.absent = where, why, absent


def dial(path: str) -> socket:
    """Return a blocking connection to the host that listens at ``path``.

    Raises Unreachable; also when the listener is another user's, who could have put a socket in a shared folder. A path
    ``@PROFILE/HOST`` (client.where) leads through relays; what goes wrong there is said on the connection.
    """
    if path.startswith("@"):
        return _elsewhere(path)
    return _connected(path)


def _elsewhere(path: str) -> socket:
    """Through the process that keeps links warm, if one does, else through a thread of this program."""
    if os.environ.get(OFF) != "0":
        try:
            line = _connected(f"{places.folder()}/{LINKS}")
            line.sendall(f"{path}\n".encode())
            return line
        except (Unreachable, OSError):
            pass
    from holdfast.client.remote import dial as dial_elsewhere

    return dial_elsewhere(path)


def _connected(path: str) -> socket:
    line = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        line.setsockopt(SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER)
        line.connect(path)
        peer = line.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)
    except OSError as error:
        line.close()
        why = error.strerror or str(error)
        raise Unreachable(path, why, absent=error.errno in ABSENT) from None
    uid = int.from_bytes(peer[4:8], sys.byteorder)  # struct ucred: pid, uid, gid
    if uid not in (os.getuid(), 0):
        line.close()
        raise Unreachable(path, f"the socket there belongs to uid {uid}, not to you; nothing was said to it")
    return line


def reach(path: str | None = None, *, start: bool = True) -> socket:
    """Return a connection to this user's host, which is started if nobody listens and ``start`` allows it.

    Raises Unreachable.
    """
    path = path or places.socket_path()
    try:
        return dial(path)
    except Unreachable as error:
        if not start or not error.absent:
            raise
    from holdfast.client.start import start_host

    start_host()
    return dial(path)
