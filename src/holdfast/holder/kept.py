"""What the keeper knows of one session, and how it reads a request to start one. No loop, no decisions."""

import os
import sys
import time
from typing import Final

from holdfast.holder.sockets import Peer, Refusal

_ABOUT_ARGV_BYTES: Final = 4096


class Kept:
    """One session: duplicates of its descriptors, and who holds it now."""

    __slots__ = (
        "asked", "born", "handle", "holder", "inode", "listener", "master", "memory", "quick_deaths", "report",
        "saver", "session", "socket_path",
    )  # fmt: skip

    def __init__(
        self, session: str, socket_path: str, *, master: int = -1, memory: int = -1, listener: int = -1, inode: int = 0,
        holder: int = 0,
    ) -> None:  # fmt: skip
        self.session, self.socket_path = session, socket_path
        self.master, self.memory, self.listener = master, memory, listener
        self.inode = inode  # of the socket's path while ``listener`` was its socket
        self.holder = holder  # pid; 0: none at the moment
        self.handle = -1  # pidfd of a holder that is not our child
        self.report = -1  # where a starting holder tells how it went
        self.asked: tuple[Peer, int] | None = None  # who wants to know
        self.born = time.monotonic()
        self.quick_deaths = self.saver = 0

    def slot(self, index: int) -> int:
        """Return one slot of the session's memory."""
        return int.from_bytes(os.pread(self.memory, 8, index * 8), sys.byteorder)

    def set_slot(self, index: int, value: int) -> None:
        """Write one slot; only those that are the keeper's."""
        os.pwrite(self.memory, value.to_bytes(8, sys.byteorder), index * 8)


class Fetch:
    """A living holder that was asked for its descriptors."""

    __slots__ = ("path", "peer", "pid")

    def __init__(self, peer: Peer, pid: int, path: str) -> None:
        self.peer, self.pid, self.path = peer, pid, path


def environment(texts: list[str]) -> bytes:
    """Return an environment as ``execution.packed_job`` takes it. Raises Refusal."""
    for text in texts:
        if text.find("=") < 1 or "\0" in text:
            raise Refusal("bad-environment", f"{text.partition('=')[0]!r} is no name of an environment variable")
    return "".join(f"{text}\0" for text in texts).encode("utf-8", "surrogateescape")


def shortened(argv: list[str]) -> list[str]:
    """Return as much of the command line as the memory describes a session with."""
    left, kept = _ABOUT_ARGV_BYTES, []
    for one in argv:
        if left <= 0:
            break
        kept.append(one[: left // 4])
        left -= len(kept[-1].encode("utf-8", "surrogateescape")) + 8
    return kept
