"""Listen on the host's Unix socket and answer: one connection a client, one answer a request. Source: docs/wire.md.

Not here: what a request does (host, session). A peer is known by what the kernel says of it, never by what it says.
"""

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from holdfast.core.errors import BadMessage, HoldError, HostFailed, Nested, TooMany, WrongVersion
from holdfast.host.attachments import KINDS, Attachment
from holdfast.host.peers import operator_name
from holdfast.host.promptly import run_promptly
from holdfast.wire import messages as wire
from holdfast.wire.framing import TO_HOST_BYTES_MAX, framed, host_inbox

if TYPE_CHECKING:
    from holdfast.host.host import Host
    from holdfast.host.session import Session

log = logging.getLogger(__name__)

REQUESTS_MAX: Final = 64  # under way at once on one connection
RECEIVE: Final = 65536
SEND_BUFFER: Final = 1 << 20
BACKLOG_MAX: Final = (
    16 << 20
)  # bytes unsent to one peer before it is dropped: a peer that grants credit and never reads


class Connection(asyncio.BufferedProtocol):
    """One client. Holds its attachments; when it goes, they go."""

    def __init__(self, host: "Host", gone: Callable[["Connection"], None]) -> None:
        self._host, self._gone = host, gone
        self._inbox = host_inbox()
        self._received = memoryview(bytearray(RECEIVE))
        self._transport: asyncio.Transport | None = None
        self._requests: dict[int, asyncio.Task[None]] = {}
        self._attached: dict[int, tuple[Session, Attachment]] = {}
        self.client, self.face, self.inside = "", "", ""
        self.pid, self.operator = 0, ""

    # ---- the transport's side ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer: socket.socket = transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.pid, uid, _ = struct.unpack("iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (os.getuid(), 0):
            log.warning("a connection of uid %d was refused", uid)
            transport.abort()
            return
        self.operator = operator_name(uid, self.pid)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._received

    def buffer_updated(self, nbytes: int) -> None:
        try:
            for message in self._inbox.receive(self._received[:nbytes]):
                self._handle(message)
        except BadMessage as error:
            log.warning("pid %d: %s", self.pid, error)
            self._fail(0, error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self._requests.values():
            task.cancel()
        for session, attachment in self._attached.values():
            session.leave(attachment, "gone")
        self._attached.clear()
        self._gone(self)

    # ---- what attachments and requests use ----

    def send(self, message: wire.Message) -> None:
        """Send ``message``; a peer that lets too much pile up is dropped, since nobody waits for it."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(framed(message))
        if transport.get_write_buffer_size() > BACKLOG_MAX:
            log.warning("pid %d does not read what it asked for; its connection is closed", self.pid)
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

    def close(self) -> None:
        """Close once what was sent is out."""
        if self._transport is not None:
            self._transport.close()

    def dismiss(self, cause: str) -> None:
        """End every attachment with ``cause``, then close."""
        for session, attachment in list(self._attached.values()):
            attachment.close(cause)
            session.leave(attachment, cause)
        self._attached.clear()
        self.close()

    def attachment(self, number: int) -> Attachment | None:
        """Return the live attachment of that number on this connection."""
        held = self._attached.get(number)
        return held[1] if held is not None else None

    # ---- messages ----

    def _handle(self, message: wire.ToHost) -> None:
        if not self.client:
            self._greet(message)
            return
        match message:
            case wire.Input():
                self._type(message)
            case wire.Credit():
                if (held := self._attached.get(message.attachment)) is not None and message.size > 0:
                    held[1].more(message.size)
            case wire.Seen():
                if (held := self._attached.get(message.attachment)) is not None:
                    held[1].seen(message.offset)
            case wire.Ping():
                self.send(wire.Pong(message.mark))
            case wire.Detach():
                if (held := self._attached.pop(message.attachment, None)) is not None:
                    held[1].close(message.cause)
                    held[0].leave(held[1], message.cause)
            case wire.Cancel():
                if (task := self._requests.get(message.ref)) is not None:
                    task.cancel()
            case wire.Hello() | wire.Pong():
                pass
            case _:
                self._begin(message)

    def _greet(self, message: wire.ToHost) -> None:
        if not isinstance(message, wire.Hello):
            raise BadMessage(f"a connection begins with hello, not {type(message).__name__.lower()}")
        if message.version != wire.PROTOCOL:
            self._fail(0, WrongVersion(message.version, wire.PROTOCOL))
            self.close()
            return
        self.client, self.face, self.inside = message.client or "?", message.face, message.inside
        host = self._host
        self.send(wire.Welcome(wire.PROTOCOL, host.id, host.name, host.generation, host.software, TO_HOST_BYTES_MAX))

    def _begin(self, message: wire.ToHost) -> None:
        ref: int = getattr(message, "ref", 0)
        if len(self._requests) >= REQUESTS_MAX:
            self._fail(ref, TooMany(f"{REQUESTS_MAX} requests are under way on this connection", do="wait for answers"))
            return
        task = asyncio.get_running_loop().create_task(
            self._answer(ref, message), name=f"request {type(message).__name__}"
        )
        self._requests[ref] = task
        task.add_done_callback(lambda _: self._requests.pop(ref, None))

    async def _answer(self, ref: int, message: wire.ToHost) -> None:
        try:
            answer = await self._serve(message)
        except HoldError as error:
            self._fail(ref, error)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("request %s failed", type(message).__name__)
            self._fail(
                ref,
                HostFailed(
                    "the host met a defect of its own while doing this; sessions are untouched",
                    do="see the end of the host's log (`hold host status` names it) and report it",
                ),
            )
        else:
            if answer is not None:
                self.send(answer)

    async def _serve(self, message: wire.ToHost) -> wire.Message | None:
        if isinstance(message, wire.Attach):
            await self._attach(message)
            return None
        return await self._host.serve(message, self)

    async def _attach(self, ask: wire.Attach) -> None:
        if ask.view not in KINDS:
            raise BadMessage(f"there is no view {ask.view!r}; views are {', '.join(KINDS)}")
        if ask.attachment in self._attached:
            raise BadMessage(f"attachment {ask.attachment} is in use on this connection")
        session = self._host.find(ask.session)
        if self.inside == session.id:
            raise Nested(session.name)
        attachment = await session.attach(ask, self)
        if attachment is not None:
            run_promptly(self.pid)
            self._attached[ask.attachment] = (session, attachment)

    def _type(self, message: wire.Input) -> None:
        def answer(result: wire.Typed | HoldError) -> None:
            if isinstance(result, HoldError):
                self._fail(message.ref, result)
            else:
                self.send(result)

        try:
            held = self._attached.get(message.attachment)
            session = held[0] if held is not None else self._host.find(message.session)
            session.type(
                message, client=self.client, operator=self.operator, attachment=held[1] if held else None, answer=answer
            )
        except HoldError as error:
            answer(error)

    def _fail(self, ref: int, error: HoldError) -> None:
        self.send(wire.Failed(ref, error.code, error.message, error.do, plain(error.details)))


def plain(details: dict[str, object]) -> dict[str, object]:
    """Return ``details`` as values msgpack knows."""
    return {k: v if isinstance(v, (str, int, float, bool, type(None))) else str(v) for k, v in details.items()}


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
