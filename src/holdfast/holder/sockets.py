"""Listen where only the user can reach, and talk frames to whoever connects. Knows nothing of sessions."""

import os
import socket
import stat
from typing import Final

from holdfast.holder import linux
from holdfast.holder import protocol as p

PEERS_MAX: Final = 64
_UNSENT_MAX: Final = 256 * 1024
_PATH_MAX: Final = 107
Message = tuple[int, int, dict[str, p.Value]]


class Unsafe(Exception):  # noqa: N818
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

    def __init__(self, sock: socket.socket, *, frame_bytes_max: int) -> None:
        sock.setblocking(False)
        self.sock, self.fd = sock, sock.fileno()
        self.role = ""  # what its HELLO said: "host", "keeper", "look"; "" before
        self.generation = 0
        self.doorbell = -1
        self.wants_room = False  # it holds input that the terminal did not take yet
        self.descriptors: list[int] = []  # received, and not yet claimed
        self.unsent = b""
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


def accepted(listener: socket.socket) -> socket.socket | None:
    """Return the next connection of this very user; None if there was none or it was another's."""
    try:
        sock, _ = listener.accept()
    except OSError:
        return None
    if linux.peer_of(sock)[1] != os.getuid():
        sock.close()
        return None
    return sock


def too_many(peers: dict[int, Peer]) -> Peer | None:
    """Return whom to drop before one more is let in, if any: the oldest that never said who it is, else the oldest."""
    if len(peers) < PEERS_MAX:
        return None
    return next((one for one in peers.values() if not one.role), next(iter(peers.values())))
