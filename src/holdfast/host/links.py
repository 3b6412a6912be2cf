"""One frame link of the host to a keeper or holder, on asyncio: requests, answers, notices. Knows no session."""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from holdfast.core.errors import BadMessage, Fenced, HolderLost, HostFailed, Refused, WrongVersion
from holdfast.holder import protocol as p

_CREDENTIALS: Final = struct.Struct("3i")
_OLDEST: Final = 1
"""The oldest protocol version this host still speaks."""
LOST: Final = -1
"""Instead of the kind of an answer: the link ended before it came."""
Told = Callable[[int, dict[str, p.Value]], None]


class Link:
    """Frames both ways over one Unix socket. Every request is answered, or fails with HolderLost when the link ends."""

    def __init__(self, sock: socket.socket, who: str, *, frame_bytes_max: int) -> None:
        self.who = who
        self.lost = asyncio.Event()
        self.pid = _peer(sock)[0]
        self.on_notice: Callable[[int, dict[str, p.Value]], None] = lambda kind, fields: None
        self.on_lost: Callable[[], None] = lambda: None
        self.descriptors: list[int] = []
        self.why = "the link ended"
        self._sock, self._loop = sock, asyncio.get_running_loop()
        self._frames = p.Frames(frame_bytes_max)
        self._waiting: dict[int, Told] = {}
        self._last = 0
        self._unsent = b""
        self._loop.add_reader(sock.fileno(), self._readable)

    @classmethod
    async def to(cls, path: Path, who: str, *, frame_bytes_max: int) -> "Link":
        """Connect. Raises OSError, and PermissionError if another user listens there."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            await asyncio.get_running_loop().sock_connect(sock, str(path))
            if _peer(sock)[1] != os.getuid():
                raise PermissionError(1, "another user listens there", str(path))
            return cls(sock, who, frame_bytes_max=frame_bytes_max)
        except BaseException:
            sock.close()
            raise

    def _readable(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._sock, 1 << 18, p.DESCRIPTORS_MAX, socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, descriptors = b"", []
        self.descriptors += descriptors
        try:
            frames = self._frames.receive(data)
        except p.BadFrame as bad:
            self.why, data, frames = f"it sent no frame: {bad}", b"", []
        for kind, request, fields in frames:
            told = self._waiting.pop(request, None)
            if told is not None:
                told(kind, fields)
            elif not request:
                self.on_notice(kind, fields)
        if not data:
            self.close()

    def _writable(self) -> None:
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if not self._unsent:
            self._loop.remove_writer(self._sock.fileno())

    def send(self, kind: int, request: int, fields: p.Fields, *fds: int) -> None:
        """Send one frame, without waiting. What the socket does not take at once follows later."""
        if self.lost.is_set():
            return
        data = p.frame(kind, request, fields)
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = socket.send_fds(self._sock, [data], list(fds)) if fds else self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.close()
            return
        self._unsent = data[sent:]
        if self._unsent:
            self._loop.add_writer(self._sock.fileno(), self._writable)

    def request(self, kind: int, fields: p.Fields, told: Told, *fds: int) -> int:
        """Send a request; ``told`` is called once with its answer, or with LOST. Return its number."""
        self._last += 1
        if self.lost.is_set():
            told(LOST, {})
            return self._last
        self._waiting[self._last] = told
        self.send(kind, self._last, fields, *fds)
        return self._last

    async def ask(self, kind: int, fields: p.Fields | None = None, *fds: int) -> dict[str, p.Value]:
        """Send a request and return its answer. Raises HolderLost, Fenced, Refused (its code in ``details``)."""
        answered: asyncio.Future[tuple[int, dict[str, p.Value]]] = self._loop.create_future()

        def told(kind: int, fields: dict[str, p.Value]) -> None:
            if not answered.done():
                answered.set_result((kind, fields))

        request = self.request(kind, fields or {}, told, *fds)
        try:
            said, answer = await answered
        finally:
            self._waiting.pop(request, None)
        if said == LOST:
            raise HolderLost(self.who, self.why)
        if said == p.REFUSED:
            raise refusal(self.who, answer)
        if said == p.UNSUPPORTED:
            raise Refused(
                f"{self.who} is of a version that cannot do this; nothing was changed", do="upgrade it in place"
            )
        return answer

    async def hello(self, fields: p.Fields, *fds: int) -> dict[str, p.Value]:
        """Say who we are and return the welcome. Raises WrongVersion if no version is spoken by both."""
        welcome = await self.ask(p.HELLO, {"version": p.VERSION, "features": p.FEATURES, **fields}, *fds)
        theirs = p.number(welcome, "version")
        if theirs < _OLDEST or p.number(welcome, "oldest", theirs) > p.VERSION:
            raise WrongVersion(theirs, p.VERSION)
        return welcome

    def take_descriptors(self) -> list[int]:
        """Return the descriptors that came, now the caller's."""
        taken, self.descriptors = self.descriptors, []
        return taken

    def close(self) -> None:
        """End the link: every request in progress fails with HolderLost."""
        if self.lost.is_set():
            return
        self.lost.set()
        if self._unsent:
            self._loop.remove_writer(self._sock.fileno())
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for fd in self.take_descriptors():
            os.close(fd)
        waiting, self._waiting = self._waiting, {}
        for told in waiting.values():
            told(LOST, {})
        self.on_lost()


def _peer(sock: socket.socket) -> tuple[int, int]:
    """Return (pid, uid) of the process at the other end, as the kernel saw it."""
    pid, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


def refusal(who: str, answer: p.Fields) -> Exception:
    """Return the error that a REFUSED answer stands for."""
    code, said = p.text(answer, "code", "refused"), p.text(answer, "text", "")
    if code == "fenced":
        return Fenced(who, p.number(answer, "generation", 0))
    if code == "wrong-version":
        return WrongVersion(p.number(answer, "version", 0), p.VERSION)
    if code in ("bad-input", "no-hello"):
        return BadMessage(f"{who} did not understand: {said}; nothing was changed", code=code)
    if code == "failed":
        return HostFailed(f"{who} could not do it: {said}; the session runs on", do="try again", why=said)
    return Refused(f"{who} refused: {said}; nothing was changed", reason=code, errno=p.number(answer, "errno", 0))
