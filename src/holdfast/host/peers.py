"""Say who is at the other end of a local socket, from what the kernel vouches for: which user, and inside which session.

Not here: what such a peer may do (core.admission). DESIGN 8, "Inside is not outside".
"""

import contextlib
import functools
import os
import pwd
import signal
import socket
import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

from holdfast.core.admission import Authority, Inside, Owner
from holdfast.host.tuple import MARKER, read_stat

_SO_PEERPIDFD: Final = 77  # since Linux 6.5: names the very process that connected, whatever becomes of its number
_DEPTH_MAX: Final = 64


class Peer(NamedTuple):
    pid: int
    uid: int
    handle: int  # a pidfd of it, or -1; the caller closes it


@functools.lru_cache(maxsize=64)
def user_name(uid: int) -> str:
    """Return the name of ``uid``, or the number as text."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def peer_of(sock: socket.socket) -> Peer:
    """Return who connected, as the kernel saw it then."""
    pid, uid, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        handle = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            handle = -1
    return Peer(pid, uid, handle)


def authority_of(peer: Peer, roots: Mapping[str, int]) -> Authority | None:
    """Return as whom the peer acts; None if its process is gone and nothing can be said of it.

    ``roots``: the root process of each session by session id. Inside is who is in a session's control group, below its
    root, or started with its name in the environment. Where there are no control groups, a program of the same user that
    forks twice and clears its environment is not recognized (docs/threats.md).
    """
    found = _inside(peer.pid, roots)
    if found is not None:
        return Inside(found)
    if peer.handle >= 0:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(peer.handle, 0)  # it lives: what was read above was read of it, not of another
            return Owner()
    return None


def operator_name(peer: Peer, authority: Authority) -> str:
    """Return the operator a local peer is: ``local:NAME/PID``, or ``service:SESSION/PID`` for one inside a session."""
    if isinstance(authority, Inside):
        return f"service:{authority.session}/{peer.pid}"
    return f"local:{user_name(peer.uid)}/{peer.pid}"


def _inside(pid: int, roots: Mapping[str, int]) -> str | None:
    if not roots:
        return None
    for line in _text(f"/proc/{pid}/cgroup").splitlines():
        for part in line.rpartition(":")[2].split("/"):
            if part in roots:
                return part
    by_root = {root: session for session, root in roots.items() if root}
    at = pid
    for _ in range(_DEPTH_MAX):
        if at in by_root:
            return by_root[at]
        stat = read_stat(at)
        if stat is None or stat.ppid <= 1:
            break
        if stat.sid in by_root:
            return by_root[stat.sid]
        at = stat.ppid
    for entry in _text(f"/proc/{pid}/environ").split("\0"):
        name, _, value = entry.partition("=")
        if name == MARKER and value in roots:
            return value
    return None


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20).decode("utf-8", "replace")
    except OSError:
        return ""
