"""A relay that is not to be trusted: it lets everybody in, sees everything, and does to what passes whatever a test wants.

It speaks the protocol of docs/relay.md as far as hosts and clients need it. Runs in a thread; its methods are called from
any other.
"""

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

from holdfast.core import identity
from holdfast.wire import relay as wire
from holdfast.wire.messages import Done, Ping, Pong

T = TypeVar("T")
ALLOWANCE = wire.Allowance(wire.FRAME_BYTES_MAX, 64, 1 << 22, 1 << 25, 40.0)


class Peer:
    """One connection to the relay."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.key, self.role = b"", ""
        self.chain: tuple[bytes, ...] = ()
        self.admit: wire.Admit | None = None
        self.top = 0
        self.routes: dict[int, Route] = {}

    def say(self, message: Any) -> None:
        broadcast((self.socket,), wire.control(message))

    def carry(self, number: int, payload: bytes) -> None:
        broadcast((self.socket,), wire.routed(number, payload))


class Route:
    """A route through the relay, with everything that came over it: ``to_host`` and ``to_client``, as it was sent.

    ``client`` is None for one that the relay itself opened to a host; then ``heard`` is what the host answered.
    """

    def __init__(
        self, hostile: "Hostile", client: Peer | None, client_number: int, host: Peer, host_number: int
    ) -> None:
        self._hostile = hostile
        self.client, self.client_number, self.host, self.host_number = client, client_number, host, host_number
        self.to_host: list[bytes] = []
        self.to_client: list[bytes] = []
        self.heard: queue.Queue[bytes | None] = queue.Queue()
        self.over = False

    def send(self, payload: bytes, *, to_host: bool) -> None:
        """Put a payload on the route, whoever is meant to have said it."""
        if to_host:
            self._hostile.call(lambda: self.host.carry(self.host_number, payload))
        elif self.client is not None:
            client = self.client
            self._hostile.call(lambda: client.carry(self.client_number, payload))


class Hostile:
    """Use as a context manager. ``tamper`` gets every payload and returns what is sent on instead of it."""

    def __init__(self) -> None:
        self.tamper: Callable[[Route, bool, bytes], Iterable[bytes]] = lambda route, to_host, payload: (payload,)
        self.show: Callable[[wire.Presence], Iterable[wire.Presence]] = lambda presence: (presence,)
        self.poses: Callable[[Route, bytes], Iterable[bytes]] | None = None  # answers for hosts, if it is set
        self.hides_revocations = False
        self.routes: list[Route] = []
        self.records: list[wire.Publish] = []  # every one that a host gave
        self.admits: list[wire.Admit] = []
        self._hosts: dict[bytes, Peer] = {}
        self._published: dict[bytes, wire.Publish] = {}
        self._peers: set[Peer] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hostile", daemon=True)

    def __enter__(self) -> "Hostile":
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/relay"
        return self

    def __exit__(self, *args: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def call(self, act: Callable[[], T]) -> T:
        """Do ``act`` in the relay's own thread, between two frames."""
        if threading.current_thread() is self._thread:
            return act()

        async def done() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(10)

    def intrude(self, host: bytes, kind: Any = "member") -> Route:
        """Open a route to a host, as the relay itself. What the host says comes to ``heard``."""

        def begin() -> Route:
            peer = self._hosts[host]
            peer.top += 1
            route = peer.routes[peer.top] = Route(self, None, 0, peer, peer.top)
            peer.say(wire.Incoming(peer.top, kind))
            return route

        return self.call(begin)

    def cut(self) -> None:
        """End every connection."""
        self.call(lambda: [peer.socket.transport.abort() for peer in self._peers])

    def be_honest(self) -> None:
        """From now on do what a relay should."""
        self.tamper = lambda route, to_host, payload: (payload,)
        self.show = lambda presence: (presence,)
        self.poses, self.hides_revocations = None, False

    # ---- in the thread ----

    async def _listen(self) -> Any:
        return await serve(
            self._attend, "127.0.0.1", 0, compression=None, max_size=wire.FRAME_BYTES_MAX, ping_interval=None
        )

    async def _close(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _attend(self, socket: ServerConnection) -> None:
        peer = Peer(socket)
        self._peers.add(peer)
        try:
            peer.say(wire.Challenge(os.urandom(32), wire.VERSIONS))
            while True:
                self._heard(peer, wire.said_to_relay(await socket.recv(decode=False)))
        except ConnectionClosed:
            pass
        finally:
            self._peers.discard(peer)
            if self._hosts.get(peer.key) is peer:
                del self._hosts[peer.key]
            for route in list(peer.routes.values()):
                self._end(route, peer)

    def _heard(self, peer: Peer, said: Any) -> None:
        match said:
            case wire.Routed():
                if (route := peer.routes.get(said.route)) is not None:
                    self._routed(route, peer is route.host, bytes(said.data))
            case wire.Admit():
                peer.admit, peer.role, peer.chain = said, said.role, said.chain
                peer.key = identity.read(said.chain).key if said.chain else b""
                self.admits.append(said)
                if said.role == "host":
                    self._hosts[peer.key] = peer
                peer.say(wire.Admitted("hostile", ALLOWANCE))
            case wire.Publish():
                self.records.append(said)
                self._published[peer.key] = said
                peer.say(Done(said.ref))
            case wire.Revoke():
                peer.say(Done(said.ref))
                if not self.hides_revocations:
                    for each in self._peers:
                        each.say(wire.Revoked(said.revocations, said.issuer))
            case wire.ListHosts():
                shown = [
                    seen
                    for key, each in self._published.items()
                    for seen in self.show(wire.Presence(key, key in self._hosts, 1.0, each.chain, each.record))
                ]
                for page in wire.pages(said.ref, shown):
                    peer.say(page)
            case wire.OpenRoute():
                self._open(peer, said)
            case wire.Closed():
                if (route := peer.routes.get(said.route)) is not None:
                    self._end(route, peer)
            case Ping():
                peer.say(Pong(said.mark))

    def _open(self, peer: Peer, said: wire.OpenRoute) -> None:
        host = self._hosts.get(said.host)
        if host is None:
            peer.say(wire.failed(said.route, wire.NoSuchHost()))
            return
        if self.poses is not None:
            peer.routes[said.route] = Route(self, peer, said.route, host, 0)
            self.routes.append(peer.routes[said.route])
            return
        host.top += 1
        route = Route(self, peer, said.route, host, host.top)
        peer.routes[said.route] = host.routes[host.top] = route
        self.routes.append(route)
        host.say(wire.Incoming(host.top, "member"))

    def _routed(self, route: Route, from_host: bool, payload: bytes) -> None:
        (route.to_client if from_host else route.to_host).append(payload)
        if route.client is None:
            route.heard.put(payload)
            return
        if route.host_number == 0:
            for each in self.poses(route, payload) if self.poses is not None else ():
                route.client.carry(route.client_number, each)
            return
        for each in self.tamper(route, not from_host, payload):
            if from_host:
                route.client.carry(route.client_number, each)
            else:
                route.host.carry(route.host_number, each)

    def _end(self, route: Route, by: Peer) -> None:
        route.over = True
        route.heard.put(None)
        for peer, number in ((route.client, route.client_number), (route.host, route.host_number)):
            if peer is not None and peer.routes.pop(number, None) is not None and peer is not by:
                peer.say(wire.Closed(number))
