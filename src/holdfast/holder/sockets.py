"""Listen where only the user can reach, and talk frames to whoever connects. Knows nothing of sessions."""

import os
import select
import socket
import stat
from collections.abc import Callable
from typing import Final

from holdfast.holder import linux
from holdfast.holder import protocol as p

PEERS_MAX: Final = 64
_UNSENT_MAX: Final = 256 * 1024
_PATH_MAX: Final = 107
Message = tuple[int, int, dict[str, p.Value]]


class Unsafe(Exception):
    """A folder for sockets does not belong to this user alone."""


def private_folder(path: str) -> None:
    """Make ``path`` a folder of mode 0700 of this user. Raises Unsafe if it is another's, a link, or not a folder."""
    try:
        os.makedirs(path, 0o700, exist_ok=True)
    except FileExistsError:
        raise Unsafe(f"{path} is not a folder") from None
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise Unsafe(f"{path} is not a folder of uid {os.getuid()}")
    if found.st_mode & 0o077:
        os.chmod(path, 0o700)


def listen(path: str) -> socket.socket:
    """Return a socket listening at ``path``, mode 0600; what was there is replaced in one step.

    Raises OSError, or Unsafe about the folder.
    """
    if len(os.fsencode(path)) > _PATH_MAX - 8:  # room for the temporary name below
        raise OSError(36, "the path of a socket may have 99 bytes", path)
    private_folder(os.path.dirname(path))
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    fresh = f"{path}.{os.getpid() % 10**7}"
    try:
        try:
            os.unlink(fresh)
        except FileNotFoundError:
            pass
        before = os.umask(0o177)
        try:
            sock.bind(fresh)
        finally:
            os.umask(before)
        sock.listen(PEERS_MAX)
        os.rename(fresh, path)
    except OSError:
        sock.close()
        raise
    return sock


def inode(path: str) -> int:
    """Return the inode of ``path`` itself, 0 if there is none: tells whether a socket was removed or replaced."""
    try:
        return os.lstat(path).st_ino
    except OSError:
        return 0


class Peer:
    """One connection: frames in, frames out, never waiting. A peer that does not take its answers is dropped."""

    def __init__(self, sock: socket.SocketType, *, frame_bytes_max: int) -> None:
        sock.setblocking(False)
        self.sock, self.fd = sock, sock.fileno()
        self.pid = linux.peer_of(sock)[0]
        self.role = ""  # what its HELLO said: "host", "keeper", "look"; "" before
        self.generation = 0
        self.doorbell = -1
        self.wants_room = False  # it holds input that the terminal did not take yet
        self.descriptors: list[int] = []  # received, and not yet claimed
        self.unsent = b""
        self.watched = select.EPOLLIN  # what the loop waits for
        self._frames = p.Frames(frame_bytes_max)

    def receive(self) -> list[Message] | None:
        """Return the frames that arrived; None when the peer left. Raises BadFrame."""
        try:
            data, descriptors = linux.receive_with_descriptors(self.sock, 65536, p.DESCRIPTORS_MAX)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            return None
        self.descriptors += descriptors
        if not data:
            return None
        return self._frames.receive(data)

    def send(self, kind: int, request: int = 0, fields: p.Fields | None = None, fds: tuple[int, ...] = ()) -> bool:
        """Send one frame; False if the peer is gone or lets its answers pile up: drop it then.

        True with ``unsent`` left means: call ``flush`` when the socket takes more.
        """
        data = p.frame(kind, request, fields)
        if self.unsent:
            self.unsent += data
            return len(self.unsent) <= _UNSENT_MAX and not fds
        try:
            sent = self.sock.sendmsg((data,), linux.rights(fds))
        except (BlockingIOError, InterruptedError):
            sent = 0
            if fds:
                return False
        except OSError:
            return False
        self.unsent = data[sent:]
        return len(self.unsent) <= _UNSENT_MAX

    def flush(self) -> bool:
        """Send what ``send`` could not; False if the peer is gone."""
        try:
            self.unsent = self.unsent[self.sock.send(self.unsent) :]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            return False
        return True

    def drop_descriptors(self) -> None:
        """Close what came along uninvited."""
        for one in self.descriptors:
            os.close(one)
        self.descriptors.clear()

    def close(self) -> None:
        """Let go of the connection and of everything that came over it."""
        self.drop_descriptors()
        if self.doorbell >= 0:
            os.close(self.doorbell)
            self.doorbell = -1
        self.sock.close()


def accepted(listener: socket.SocketType) -> socket.SocketType | None:
    """Return the next connection of this very user; None if there was none or it was another's."""
    try:
        sock = linux.accept(listener)
    except OSError:
        return None
    if linux.peer_of(sock)[1] != os.getuid():
        sock.close()
        return None
    return sock


class Refusal(Exception):
    """Understood and not done: ``code`` for programs, the text for people."""

    def __init__(self, code: str, text: str, **fields: p.Value) -> None:
        super().__init__(text)
        self.code, self.fields = code, fields


Serve = Callable[[Peer, int, int, dict[str, p.Value]], bool]


class Peers:
    """Everybody who is connected, on the loop's ``epoll``. ``serve`` handles one frame; False: no such kind.

    What ``serve`` raises as Refusal, or because a frame makes no sense or the kernel said no, is the answer to that
    frame: one request that cannot be served must not cost a session its holder.
    """

    def __init__(self, epoll: select.epoll, serve: Serve, *, frame_bytes_max: int) -> None:
        self.all: dict[int, Peer] = {}
        self._epoll, self._serve, self._most = epoll, serve, frame_bytes_max

    def accept(self, listener: socket.SocketType) -> None:
        """Let the next one in. One too many costs the oldest that never said who it is its place, else the oldest."""
        sock = accepted(listener)
        if sock is None:
            return
        if len(self.all) >= PEERS_MAX:
            nameless = (one for one in self.all.values() if not one.role)
            self.drop(next(nameless, next(iter(self.all.values()))))
        peer = Peer(sock, frame_bytes_max=self._most)
        self.all[peer.fd] = peer
        self._epoll.register(peer.fd, select.EPOLLIN)

    def drop(self, peer: Peer) -> None:
        """End a connection; once is enough."""
        if self.all.get(peer.fd) is peer:
            del self.all[peer.fd]
            self._epoll.unregister(peer.fd)
            peer.close()

    def close(self) -> None:
        """Let everybody go."""
        for peer in list(self.all.values()):
            self.drop(peer)

    def event(self, fd: int, event: int) -> None:
        """Serve whatever the peer at ``fd`` sent, and send it what is left for it."""
        peer = self.all[fd]
        if event & select.EPOLLOUT and not peer.flush():
            self.drop(peer)
            return
        try:
            messages = peer.receive() if event & ~select.EPOLLOUT else []
        except p.BadFrame:
            messages = None
        if messages is None:
            self.drop(peer)
            return
        for kind, request, fields in messages:
            if self.all.get(fd) is peer:
                self._one(peer, kind, request, fields)
        if self.all.get(fd) is peer:
            self._watch(peer)

    def _watch(self, peer: Peer) -> None:
        wanted = select.EPOLLIN | (select.EPOLLOUT if peer.unsent else 0)
        if wanted != peer.watched:
            peer.watched = wanted
            self._epoll.modify(peer.fd, wanted)

    def _one(self, peer: Peer, kind: int, request: int, fields: dict[str, p.Value]) -> None:
        try:
            if not peer.role and kind != p.HELLO:
                raise Refusal("no-hello", "the first frame must be a hello")
            if not self._serve(peer, kind, request, fields):
                self.say(peer, p.UNSUPPORTED, request, {"kind": kind, "version": p.VERSION})
        except Refusal as no:
            self.say(peer, p.REFUSED, request, {"code": no.code, "text": str(no), **no.fields})
        except (p.BadFrame, Unsafe, OSError, ValueError, OverflowError) as failed:
            number = (failed.errno or 0) if isinstance(failed, OSError) else 0
            text = f"{type(failed).__name__}: {failed}"
            self.say(peer, p.REFUSED, request, {"code": "failed", "text": text, "errno": number})
        finally:
            peer.drop_descriptors()

    def say(self, peer: Peer, kind: int, request: int, fields: p.Fields | None = None, *fds: int) -> None:
        """Send a frame to a peer that may have left meanwhile."""
        if self.all.get(peer.fd) is not peer:
            return
        if not peer.send(kind, request, fields, fds):
            self.drop(peer)
        else:
            self._watch(peer)
