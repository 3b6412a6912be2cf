"""Listen on the host's Unix socket: one connection a client. A peer is known by what the kernel says of it.

Not here: what is done with what it says (clients).
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from holdfast.core.errors import BadMessage
from holdfast.host.clients import Client, plain
from holdfast.host.peers import authority_of, operator_name, peer_of
from holdfast.wire import messages as wire
from holdfast.wire.framing import framed, host_inbox

if TYPE_CHECKING:
    from holdfast.host.host import Host

log = logging.getLogger(__name__)

RECEIVE: Final = 65536
SEND_BUFFER: Final = 1 << 20
BACKLOG_MAX: Final = (
    16 << 20
)  # bytes unsent to one peer before it is dropped: a peer that grants credit and never reads
_received: Final = memoryview(bytearray(RECEIVE))  # of all connections: what arrives is taken in the same turn


class Connection(asyncio.BufferedProtocol):
    """The carrier of one client on this machine: a Unix socket. Who connected is what the kernel says."""

    def __init__(self, host: "Host", gone: Callable[["Connection"], None]) -> None:
        self._host, self._gone = host, gone
        self._inbox = host_inbox()
        self._transport: asyncio.Transport | None = None
        self.client: Client | None = None

    # ---- the transport's side ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        peer = peer_of(sock)
        try:
            if peer.uid not in (os.getuid(), 0):
                log.warning("a connection of uid %d was refused", peer.uid)
                transport.abort()
                return
            authority = authority_of(peer, {s.id: s.sheet.root_pid for s in self._host.running()})
        finally:
            if peer.handle >= 0:
                os.close(peer.handle)
        if authority is None:  # whoever connected has ended, and what it left behind speaks for nobody
            transport.abort()
            return
        operator = operator_name(peer, authority)
        self.client = Client(self._host, self, authority=authority, operator=operator, pid=peer.pid)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _received

    def buffer_updated(self, nbytes: int) -> None:
        client = self.client
        if client is None:
            return
        try:
            for message in self._inbox.receive(_received[:nbytes]):
                client.hear(message)
        except BadMessage as error:
            self.broken(error)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.client is not None:
            self.client.gone()
        self._gone(self)
        self.client = self._transport = None  # who was here goes at once, not when cycles are looked for

    # ---- what the client's part uses ----

    def send(self, message: wire.Message) -> None:
        """Send ``message``; a peer that lets too much pile up is dropped, since nobody waits for it."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(framed(message))
        if transport.get_write_buffer_size() > BACKLOG_MAX:
            log.warning("a client does not read what it asked for; its connection is closed")
            transport.abort()

    def pass_on(self, message: wire.Message, *descriptors: int) -> bool:
        """Send ``message`` with ``descriptors``; False if bytes wait to go out before it, or the peer is gone."""
        transport = self._transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return False
        data = framed(message)
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as same:
            try:
                sent = socket.send_fds(same, [data], descriptors)
            except OSError:
                return False
        if sent < len(data):
            transport.write(data[sent:])
        return True

    def room(self) -> int | None:
        """A local socket is as quick as its reader: credit is all the pacing it needs."""
        return None

    def patience(self) -> int | None:
        return None

    def withhold(self) -> None:
        """What was sent is in the kernel's hands; a local peer whose right ends is closed by what follows."""

    def pause(self, on: bool) -> None:
        """Leave what the client says next in the kernel's hands, or take it again."""
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.pause_reading if on else self._transport.resume_reading)()

    def broken(self, error: BadMessage) -> None:
        """Say what was wrong, then close."""
        log.warning("pid %d: %s", self.client.pid if self.client is not None else 0, error)
        self.send(wire.Failed(0, error.code, error.message, error.do, plain(error.details)))
        self.close()

    def close(self) -> None:
        """Close once what was sent is out."""
        if self._transport is not None:
            self._transport.close()

    def dismiss(self, cause: str) -> None:
        """End every attachment with ``cause``, then close."""
        if self.client is not None:
            self.client.dismiss(cause)


class Listener:
    """The listening socket, which comes back when something removes it from the file system."""

    def __init__(self, path: Path, serve: Callable[[], asyncio.BaseProtocol]) -> None:
        self._path, self._serve = path, serve
        self._server: asyncio.Server | None = None
        self._node: tuple[int, int] | None = None

    async def open(self) -> None:
        """Bind under a private name, then rename: a client never meets a socket nobody listens on."""
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        listening.setblocking(False)
        listening.bind(str(fresh))
        os.chmod(fresh, 0o600)
        listening.listen(128)
        self._server = await asyncio.get_running_loop().create_unix_server(self._serve, sock=listening)
        os.replace(fresh, self._path)
        self._node = self._seen()

    def _seen(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    async def heal(self) -> bool:
        """Listen anew if the socket's name is gone or names something else; tell whether it was."""
        if self._seen() == self._node:
            return False
        former = self._server
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self.open()
        if former is not None:
            former.close()
        return True

    def close(self) -> None:
        """Stop listening. The name is removed only while it is ours."""
        if self._server is not None:
            self._server.close()
        if self._seen() == self._node:
            self._path.unlink(missing_ok=True)
