"""A relay around the real ``Hub``: mirrors ``relay/server`` without sockets. An honest one; not here: hostile."""

from collections.abc import Iterable

from holdfast.relay.hub import Hub
from holdfast.relay.limits import Limits
from holdfast.relay.rooms import Peer
from tests.core.tenants import seed
from tests.simulation.network import End, Machine, Network

LIMITS = Limits()


class Relay:
    """Keeps nothing: every restart begins with an empty hub."""

    def __init__(self, network: Network, name: str, root: bytes) -> None:
        self.network, self.name, self._root = network, name, root
        self.machine = Machine(network.scheduler, name)
        self._nonces = 0
        self.running = False
        self.start()

    def start(self) -> None:
        if self.running:
            return
        self.running = True
        self.hub = Hub(names=[self.name], served=[self._root], limits=LIMITS)
        self._ends: dict[Peer, End] = {}
        self.network.listen(self.machine, self._accept)
        self.network.scheduler.after(1.0, self._wake, self.hub)

    def stop(self) -> None:
        """As by kill -9: the connections are cut, everything it knew is gone."""
        self.running = False
        self.network.listen(self.machine, None)
        self._ends.clear()
        for each in list(self.network.connections):
            if each.relay.machine is self.machine:
                each.cut()

    # ---- mirrors relay/server ----

    def _accept(self, end: End) -> None:
        self._nonces += 1
        nonce = seed(f"{self.name} {self._nonces}")
        peer = self.hub.connect(end.machine.name, nonce, now=self.machine.instant)
        self._ends[peer] = end
        hub = self.hub
        end.heard = lambda frame: self.from_peer(peer, frame) if hub is self.hub else None
        end.ended = lambda: self._left(peer) if hub is self.hub else None
        self._flush([peer])

    def _left(self, peer: Peer) -> None:
        self._ends.pop(peer, None)
        self._flush(self.hub.leave(peer, now=self.machine.instant))

    def _wake(self, hub: Hub) -> None:
        if hub is self.hub and self.running:
            self._flush(hub.wake(now=self.machine.instant))
            self.network.scheduler.after(1.0, self._wake, hub)

    def from_peer(self, peer: Peer, frame: bytes) -> None:
        self._flush(self.hub.receive(peer, frame, now=self.machine.instant))

    def to_peer(self, peer: Peer, frame: bytes) -> None:
        if (end := self._ends.get(peer)) is not None:
            end.send(frame)

    def _flush(self, touched: Iterable[Peer]) -> None:
        for peer in sorted(touched, key=lambda each: each.number):  # some of these come out of sets
            while (frame := peer.outbox.take()) is not None:
                self.to_peer(peer, frame)
            if peer.over and (end := self._ends.pop(peer, None)) is not None:
                end.close()
                self._flush(self.hub.leave(peer, now=self.machine.instant))
