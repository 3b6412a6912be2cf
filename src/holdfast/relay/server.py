"""Carry frames between WebSockets and the hub. Every decision is the hub's or the gate's. Source: docs/relay.md."""

import asyncio
import logging
import os
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import Event, State
from websockets.typing import Origin

from holdfast.core.identity import Kind, host_id, operator_id, tenant_id
from holdfast.relay.clerk import Clerk
from holdfast.relay.gate import Gate, Ticket
from holdfast.relay.hub import Hub
from holdfast.relay.metrics import Figures
from holdfast.relay.pages import Pages
from holdfast.relay.rooms import Now, Peer
from holdfast.relay.sockets import BACKLOG, Address, Listener, Network, address_of, among, counted_as
from holdfast.relay.tls import share_read_buffer
from holdfast.wire.relay import CHALLENGE_BYTES, FRAME_BYTES_MAX, PATH

log = logging.getLogger(__name__)

FRAMES_QUEUED: Final = 8  # received and not yet looked at, per connection; beyond it the socket is not read
TURN: Final = 16  # frames of one connection before others get their turn
WRITE_HIGH: Final = (
    128 * 1024
)  # bytes given to a socket at most; the rest waits in the peer's outbox, where it is counted
CLOSE_S: Final = 5.0  # for a goodbye
TICK_S: Final = 1.0
RESTARTING: Final = 1012  # close codes of RFC 6455 and its registry
POLICY: Final = 1008

_NO_REQUEST: Final = Request(PATH, Headers())
_silent = logging.getLogger("websockets.relay")


class Settings(NamedTuple):
    """How the server meets the network; the hub has its own."""

    origins: Sequence[str] = ()  # of web pages that may dial, beside this relay's own
    trusted: Sequence[Network] = ()  # proxies whose X-Forwarded-For counts
    metrics_from: Sequence[Network] = ()
    grace_s: float = 5.0


class Line(ServerConnection):
    """One WebSocket. Says when its socket takes more again, and knows when it was last heard."""

    __slots__ = (
        "address",
        "full",
        "hear",
        "heard_at",
        "peer",
        "pump",
        "queued",
    )  # a 31st name in its dictionary would cost 1.5 KiB

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.full = False
        self.heard_at = self.loop.time()
        self.address: Address | None = None
        self.peer: Peer | None = None
        self.pump: Callable[[Peer], None] | None = None
        self.hear: Callable[[bytes], bool] | None = None
        self.queued = 0  # frames that were not heard at once, and wait to be read

    def process_event(self, event: Event) -> None:
        """Have a whole binary message heard in the turn in which it came; the queue and two task switches of ``recv`` cost
        more than routing it. What may not be read yet, or comes after what waits, goes the usual way."""
        if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
            whole = event.fin and event.opcode is Opcode.BINARY and not self.queued
            if whole and self.hear is not None and self.hear(bytes(event.data)):
                return
            self.queued += event.fin
        super().process_event(event)

    def data_received(self, data: bytes) -> None:
        self.heard_at = self.loop.time()
        super().data_received(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.full = True

    def resume_writing(self) -> None:
        super().resume_writing()
        self.full = False
        if self.peer is not None and self.pump is not None:
            self.pump(self.peer)

    def ask_for_life(self) -> None:
        """Send a ping; whatever is heard after it will do as an answer."""
        if self.state is State.OPEN and self.send_in_progress is None:
            self.protocol.send_ping(b"")
            self.send_data()


class RelayServer:
    """A relay on one listening socket, until ``drain``."""

    def __init__(self, hub: Hub, gate: Gate, clerk: Clerk, settings: Settings) -> None:
        self._hub, self._gate, self._clerk, self._settings = hub, gate, clerk, settings
        self._figures = Figures(hub, gate, clerk)
        self._pages = Pages()
        self._lines: dict[Peer, Line] = {}
        self._goodbyes: set[asyncio.Task[None]] = set()
        self._listener: Listener | None = None
        self._server: Server | None = None
        self._clock = asyncio.get_running_loop().time
        self._left = asyncio.Event()  # set when no admitted peer is left while draining

    def _now(self) -> Now:
        return Now(self._clock(), time.time())

    async def open(self, listener: Listener, origins: Iterable[str], tls: ssl.SSLContext | None) -> None:
        """Begin to serve on ``listener``. ``origins`` are those of this relay's own web pages."""
        self._listener = listener
        limits = self._hub.limits
        if tls is not None:
            share_read_buffer()
        allowed = [None, *map(Origin, dict.fromkeys((*origins, *self._settings.origins)))]
        self._server = await serve(
            self._attend,
            sock=listener,
            backlog=BACKLOG,
            origins=allowed,
            compression=None,  # what passes is ciphertext
            process_request=self._request,
            server_header=None,
            open_timeout=limits.admission_s_max,
            ping_interval=None,  # one sweep over all (``tick``) instead of a task for each: 3 KiB a connection
            close_timeout=CLOSE_S,
            max_size=FRAME_BYTES_MAX,
            max_queue=FRAMES_QUEUED,
            write_limit=(WRITE_HIGH, WRITE_HIGH // 2),
            create_connection=Line,
            logger=_silent,
            ssl=tls,
        )

    async def tick(self) -> None:
        """Let time pass for the hub, and ask silent peers for a sign of life, for as long as this task lives."""
        silence_s_max = self._hub.limits.silence_s_max
        while True:
            await asyncio.sleep(TICK_S)
            now = self._now()
            self._after(self._hub.wake(now=now))
            for line in list(self._lines.values()):
                silent_s = now.mono - line.heard_at
                if silent_s >= silence_s_max:
                    line.transport.abort()
                elif silent_s >= silence_s_max / 2:
                    line.ask_for_life()

    async def drain(self) -> None:
        """Say goodbye, wait until everybody left or the grace is over, then close everything."""
        assert self._server is not None
        self._server.close(close_connections=False)
        grace_s = self._settings.grace_s
        log.info("draining", extra={"grace_s": grace_s, "connections": len(self._lines)})
        self._after(self._hub.drain(grace_s, now=self._now()))
        self._leaving()
        try:
            async with asyncio.timeout(grace_s):
                await self._left.wait()
        except TimeoutError:
            pass
        await self.close()

    async def close(self) -> None:
        """Close every connection now."""
        if self._server is not None:
            self._server.close(close_connections=False)
            for line in list(self._lines.values()):
                self._goodbye(line, RESTARTING)
            if self._goodbyes:
                await asyncio.wait(self._goodbyes, timeout=2 * CLOSE_S)
            await self._server.wait_closed()

    # ---- HTTP ----

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer what is not a WebSocket to a relay; None lets the handshake go on."""
        assert isinstance(connection, Line)
        ticket = self._ticket(connection)
        if ticket is None:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "gone\n")
        address = connection.address = self._origin_address(connection, request)
        if not self._gate.comes_from(ticket, counted_as(address)):
            return connection.respond(HTTPStatus.TOO_MANY_REQUESTS, "too many connections from your address\n")
        path = request.path.partition("?")[0]
        if path == PATH:
            return None
        if path == "/healthz":
            if self._hub.draining_until is not None:
                return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "draining\n")
            return connection.respond(HTTPStatus.OK, "ok\n")
        if (page := self._pages.answer(path, request.headers)) is not None:
            return page
        if path == "/metrics" and among(address, self._settings.metrics_from):
            response = connection.respond(HTTPStatus.OK, self._figures.text().decode())
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "text/plain; version=0.0.4; charset=utf-8"
            return response
        return connection.respond(HTTPStatus.NOT_FOUND, "not here\n")

    def _ticket(self, line: Line) -> Ticket | None:
        assert self._listener is not None
        return self._listener.ticket(line.remote_address)

    def _origin_address(self, line: Line, request: Request) -> Address | None:
        """Return where a connection comes from: the last address on the way that is not a trusted proxy's."""
        peername = line.remote_address
        address = address_of(peername[0]) if peername else None
        if not among(address, self._settings.trusted):
            return address
        named = [part.strip() for value in request.headers.get_all("X-Forwarded-For") for part in value.split(",")]
        for text in reversed(named):
            found = address_of(text)
            if found is None:
                break  # whatever stands left of what we cannot read is anybody's word
            address = found
            if not among(found, self._settings.trusted):
                break
        return address

    # ---- WebSockets ----

    async def _attend(self, connection: ServerConnection) -> None:
        assert isinstance(connection, Line)
        ticket = self._ticket(connection)
        if ticket is None:
            return
        peer = self._hub.connect(str(connection.address or "?"), os.urandom(CHALLENGE_BYTES), now=self._now())
        connection.peer, connection.pump = peer, self.pump
        self._lines[peer] = connection
        connection.request, connection.response = _NO_REQUEST, None  # 3 KiB of headers that nobody needs any more
        self.pump(peer)
        try:
            await self._read(connection, peer, ticket)
        except ConnectionClosed:
            pass
        except Exception:
            log.exception("a connection failed by a defect of the relay", extra=_who(peer))
        finally:
            del self._lines[peer]
            self._after(self._hub.leave(peer, now=self._now()))
            if peer.admitted_role:
                log.info("left", extra={**_who(peer), "why": peer.over})
            self._leaving()

    async def _read(self, line: Line, peer: Peer, ticket: Ticket) -> None:
        """Hear frames until the connection ends: most at once (``Line.process_event``), the others here."""

        def hear(frame: bytes) -> bool:
            if peer.resume_at > self._clock() or peer.over:
                return False
            self._heard(peer, frame, ticket)
            return True

        line.hear = hear
        turn = 0
        while True:
            frame = await line.recv(decode=False)
            line.queued -= 1
            self._heard(peer, frame, ticket)
            turn += 1
            if (wait := peer.resume_at - self._clock()) > 0:
                await asyncio.sleep(wait)
            elif turn >= TURN:
                turn = 0
                await asyncio.sleep(0)

    def _heard(self, peer: Peer, frame: bytes | str, ticket: Ticket) -> None:
        admitted = peer.admitted_role
        self._after(self._hub.receive(peer, frame, now=self._now()))
        if peer.admitted_role != admitted:
            self._gate.admit(ticket)
            log.info("admitted", extra=_who(peer))

    def pump(self, peer: Peer) -> None:
        """Give the socket of ``peer`` what waits for it, as far as it takes it."""
        line = self._lines.get(peer)
        if line is None:
            return
        outbox = peer.outbox
        while not line.full and (frame := outbox.take()) is not None:
            broadcast((line,), frame)
        if peer.over:
            self._goodbye(line, POLICY)

    def _after(self, touched: Iterable[Peer]) -> None:
        for peer in touched:
            self.pump(peer)
        if self._hub.unsaved:
            self._clerk.wake()

    def _goodbye(self, line: Line, code: int) -> None:
        if line.peer is not None and line.peer.outbox:
            line.transport.abort()  # it takes nothing, so it would not take a goodbye either
            return
        task = asyncio.get_running_loop().create_task(line.close(code), name="goodbye")
        self._goodbyes.add(task)  # ends within CLOSE_S
        task.add_done_callback(self._goodbyes.discard)

    def _leaving(self) -> None:
        if self._hub.draining_until is not None and not self._lines:
            self._left.set()


def _who(peer: Peer) -> dict[str, Any]:
    """Return what a log may say of a peer."""
    said: dict[str, Any] = {"number": peer.number, "address": peer.address, "role": peer.admitted_role or "none"}
    if peer.member is not None:
        member = peer.member
        named = host_id(member.key) if member.kind is Kind.HOST else operator_id(member.key)
        said |= {"tenant": tenant_id(member.certificate.tenant), "id": named, "kind": member.kind.value}
    return said
