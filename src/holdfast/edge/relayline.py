"""Dial a relay, be admitted, and carry frames: the same for hosts and clients. Not here: when to dial (wire.pace), what the
payloads are (introduction, link). Source: docs/relay.md.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import broadcast
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State

from holdfast.core.errors import BadMessage, HoldError, HostUnreachable, revived
from holdfast.core.signed import Signer
from holdfast.wire import relay as wire
from holdfast.wire.messages import Failed, Message, Ping, Pong

OPEN_S: Final = 10.0
CLOSE_S: Final = 2.0
PING_S: Final = 5.0
QUEUE: Final = 64  # frames received and not looked at; beyond it the socket is not read


class RelayUnreachable(HostUnreachable):
    """No relay answers there, or it hung up. Sessions are not touched by it; the link is dialled again."""

    code = "relay-unreachable"

    def __init__(self, url: str, why: str) -> None:
        HoldError.__init__(
            self,
            f"the relay at {url} cannot be reached ({why}); sessions run on without it",
            do="check the address and the network; it is tried again by itself",
            url=url,
            why=why,
        )


def address(url: str) -> str:
    """Return what to dial for ``url`` as people write it: a relay's path is added where none is given."""
    parts = urlsplit(url)
    return url if parts.path.strip("/") else f"{parts.scheme}://{parts.netloc}{wire.PATH}"


class _Socket(ClientConnection):
    """A connection whose whole binary messages are heard in the turn of the loop in which they arrive, without the queue
    and the two task switches of ``recv``: on the way of a keystroke these cost more than what is done with it.

    How much may be under way is bounded by the links above, so nothing is held back here. Whatever is not a whole binary
    message, and everything until ``hear`` is set, goes the usual way.
    """

    hear: Callable[[bytes], None] | None = None

    def process_event(self, event: Event) -> None:
        hear = self.hear
        if hear is not None and isinstance(event, Frame) and event.opcode is Opcode.BINARY and event.fin:
            hear(bytes(event.data))
        else:
            super().process_event(event)


class RelayLine:
    """One connection that has answered the relay's challenge; ``listen`` tells what it says, until it ends.

    Whether the answer was good comes as the first thing said. Asking need not wait for it: what is said before is in vain
    if it was not, and a round trip is saved if it was.
    """

    def __init__(self, url: str, socket: _Socket) -> None:
        self.url = url
        self._socket = socket

    @classmethod
    async def dial(
        cls, url: str, role: wire.Role, *, chain: Sequence[bytes] = (), signer: Signer | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> "RelayLine":  # fmt: skip
        """Return the line. Raises RelayUnreachable."""
        if url.startswith("wss") and tls is None and (trusted := os.environ.get("HOLDFAST_RELAY_CA")):
            tls = ssl.create_default_context(cafile=trusted)
        options: dict[str, Any] = {"ssl": tls} if tls is not None else {}
        try:
            socket = await connect(
                address(url), compression=None, max_size=wire.FRAME_BYTES_MAX, max_queue=QUEUE, open_timeout=OPEN_S,
                close_timeout=CLOSE_S, ping_interval=PING_S, ping_timeout=PING_S, user_agent_header=None,
                create_connection=_Socket, **options,
            )  # fmt: skip
            assert isinstance(socket, _Socket)
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ssl.SSLError) as error:
            raise RelayUnreachable(url, str(error) or type(error).__name__) from None
        try:
            async with asyncio.timeout(OPEN_S):
                return await cls._admitted(url, socket, role, chain, signer)
        except (TimeoutError, ConnectionClosed) as error:
            await socket.close()
            raise RelayUnreachable(url, str(error) or "it does not answer") from None
        except BaseException:
            await socket.close()
            raise

    @classmethod
    async def _admitted(
        cls, url: str, socket: _Socket, role: wire.Role, chain: Sequence[bytes], signer: Signer | None
    ) -> "RelayLine":
        challenge = wire.said_by_relay(await socket.recv(decode=False))
        if not isinstance(challenge, wire.Challenge) or wire.PROTOCOL not in challenge.versions:
            raise BadMessage("what answers there is no relay of a version that is spoken here")
        dialled = urlsplit(url).hostname or ""
        signature, form = b"", 0
        if signer is not None:
            signature, form = signer.sign(wire.admission_bytes(challenge.nonce, role, dialled)), int(signer.form)
        admit = wire.Admit(wire.PROTOCOL, role, wire.dialled_name(dialled), tuple(chain), signature, form)
        await socket.send(wire.control(admit))
        return cls(url, socket)

    async def listen(self, heard: "Callable[[wire.FromRelay | wire.Routed], None]") -> None:
        """Call ``heard`` with everything that comes until the connection ends. Raises what the relay refuses us with,
        BadMessage for what no relay says, and what ``heard`` raises."""
        failed: list[Exception] = []

        def hear(frame: bytes) -> None:
            if failed:
                return
            try:
                said = wire.said_by_relay(frame)
                if isinstance(said, Ping):
                    self.say(Pong(said.mark))
                elif isinstance(said, Failed) and said.ref == 0:
                    raise revived(said.code, said.message, said.do, said.details)
                else:
                    heard(said)
            except Exception as error:  # it belongs to who listens, not to the library whose callback this is
                failed.append(error)
                self.abort()

        self._socket.hear = hear
        try:
            while True:
                hear(await self._socket.recv(decode=False))  # what came before, and what is no whole binary message
        except ConnectionClosed:
            pass
        if failed:
            raise failed[0]

    def say(self, message: Message) -> None:
        """Send a control message; nothing happens if the connection is gone."""
        broadcast((self._socket,), wire.control(message))

    def carry(self, route: int, payload: bytes) -> None:
        """Send one payload on ``route``."""
        self.carry_all(route, [payload])

    def carry_all(self, route: int, payloads: Sequence[bytes]) -> None:
        """Send ``payloads`` on ``route``, in one write. How much may be under way is the link's to say, end to end."""
        socket = self._socket
        if socket.protocol.state is not State.OPEN:
            return
        for payload in payloads:
            socket.protocol.send_binary(wire.routed(route, payload))
        socket.transport.writelines([data for data in socket.protocol.data_to_send() if data])

    @property
    def backlog(self) -> int:
        """Bytes the network has not taken yet."""
        transport = self._socket.transport
        return 0 if transport.is_closing() else transport.get_write_buffer_size()

    async def close(self) -> None:
        """Hang up."""
        await self._socket.close()

    def abort(self) -> None:
        """Hang up without a word."""
        self._socket.transport.abort()
