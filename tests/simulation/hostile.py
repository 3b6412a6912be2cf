"""A relay that does whatever a relay can: it sees, keeps, changes, repeats, mixes up and makes up what goes through it.

It knows all that relays know, one leaked channel key of a host that has a newer one by now, and what another host was
told (``loot``). It does not know the keys of operators, hosts or the tenant. Each world gives it a few tricks.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.core.errors import HoldError
from holdfast.relay.rooms import Peer
from holdfast.wire import relay as wire
from holdfast.wire.channel import Initiator, Responder, prologue
from holdfast.wire.messages import Failed
from tests.simulation.network import Network
from tests.simulation.people import channel_key, exchange, people
from tests.simulation.relays import Relay

if TYPE_CHECKING:
    from tests.simulation.world import World

KEPT = 400  # payloads kept to be played again
OWN = 1 << 40  # route numbers that are this relay's own invention
TRICKS = (
    "duplicate", "drop", "flip", "reorder", "hold", "replay", "swap", "splice", "ghost", "close", "old records",
    "lie about presence", "hide lists", "old lists", "wrong host", "impersonate", "loot", "hold a beginning",
)  # fmt: skip
_encode = msgspec.msgpack.Encoder().encode


class HostileRelay(Relay):
    def __init__(self, network: Network, name: str, root: bytes, world: "World", tricks: tuple[str, ...]) -> None:
        self.world, self.tricks = world, tricks
        self.chance = network.scheduler.random.choice((0.01, 0.03, 0.08))
        self.hostile = True
        self._kept: list[tuple[bool, bytes]] = []  # (towards a host, payload)
        self._begun: dict[tuple[int, int], list[bytes]] = defaultdict(
            list
        )  # a client's route: all that went to the host
        self._held: dict[tuple[int, int], float] = {}  # held until
        self._waits: dict[tuple[int, int], bytes] = {}  # to come after the next
        self._spliced: dict[tuple[int, int], tuple[Peer, int]] = {}
        self._presences: dict[bytes, list[wire.Presence]] = defaultdict(list)
        self._lists: list[wire.Revoked] = []
        self._impostors: dict[tuple[int, int], Any] = {}
        self._own = OWN
        super().__init__(network, name, root)

    def may(self, trick: str, factor: float = 1.0) -> bool:
        if not self.hostile or trick not in self.tricks:
            return False
        did = self.network.scheduler.random.random() < self.chance * factor
        if did:
            self.network.scheduler.say(self.name, "plays", trick)
        return did

    def reform(self) -> None:
        """From now on it is a relay like any other, and knows nothing."""
        self.hostile = False
        self._waits.clear()
        self._impostors.clear()
        self.stop()
        self.start()

    # ---- what peers say ----

    def from_peer(self, peer: Peer, frame: bytes) -> None:
        if not self.hostile or not peer.admitted_role:
            super().from_peer(peer, frame)
            return
        said = wire.said_to_relay(frame)
        match said:
            case wire.Routed():
                if said.route >= OWN:
                    self._answered_ghost(peer, said.route, bytes(said.data))
                elif (impostor := self._impostors.get((peer.number, said.route))) is not None:
                    self._impersonate(peer, said.route, bytes(said.data), impostor)
                else:
                    if peer.admitted_role == "client":
                        self._begun[peer.number, said.route].append(bytes(said.data))
                    super().from_peer(peer, frame)
            case wire.Closed():
                if said.route < OWN and not (peer.admitted_role == "client" and self._keeps_open(peer, said.route)):
                    super().from_peer(peer, frame)
            case wire.OpenRoute():
                self._open(peer, said, frame)
            case wire.Publish():
                super().from_peer(peer, frame)
                if peer.member is not None:
                    found = wire.Presence(peer.member.key, True, self.machine.unix, said.chain, said.record)
                    self._presences[peer.member.key].append(found)
            case wire.Revoke():
                self._lists.append(wire.Revoked(said.revocations, said.issuer))
                if not self.may("hide lists", 20):
                    super().from_peer(peer, frame)
            case _:
                super().from_peer(peer, frame)

    def _open(self, peer: Peer, said: wire.OpenRoute, frame: bytes) -> None:
        if self.may("hold a beginning", 12):
            self._held[peer.number, said.route] = -self.network.scheduler.random.uniform(1, 25)
        if self.may("impersonate", 15):
            self._impostors[peer.number, said.route] = said.host
        elif len(people().hosts) > 1 and self.may("wrong host", 10):
            other = next(each.key for each in people().hosts if each.key != said.host)
            super().from_peer(peer, wire.control(wire.OpenRoute(said.route, other)))
        else:
            super().from_peer(peer, frame)

    def _keeps_open(self, peer: Peer, route: int) -> bool:
        """A route whose beginning is held is not closed towards the host when its client gives it up."""
        return (peer.number, route) in self._held

    # ---- what is passed on ----

    def to_peer(self, peer: Peer, frame: bytes) -> None:
        if not self.hostile or not peer.admitted_role:
            super().to_peer(peer, frame)
            return
        said = wire.said_by_relay(frame)
        match said:
            case wire.Routed():
                self._route(peer, said.route, bytes(said.data))
            case wire.HostsAre():
                hosts = tuple(self._shown(each) for each in said.hosts)
                super().to_peer(peer, wire.control(wire.HostsAre(said.ref, hosts, said.more)))
            case wire.Revoked():
                if self.may("old lists", 20) and self._lists:
                    old = self.network.scheduler.random.choice(self._lists)
                    super().to_peer(peer, wire.control(old))
                if not self.may("hide lists", 20):
                    super().to_peer(peer, frame)
            case _:
                super().to_peer(peer, frame)

    def _shown(self, presence: wire.Presence) -> wire.Presence:
        known = self._presences.get(presence.host, [])
        if known and self.may("old records", 30):
            presence = known[0]
        if self.may("lie about presence", 20):
            presence = msgspec.structs.replace(presence, reachable=not presence.reachable)
        return presence

    def _route(self, peer: Peer, route: int, payload: bytes) -> None:
        draw = self.network.scheduler.random
        to_host = peer.admitted_role == "host"
        if (towards := self._spliced.get((peer.number, route))) is not None:
            peer, route = towards
        if len(self._kept) < KEPT:
            self._kept.append((to_host, payload))
        if self.may("drop"):
            return
        if self.may("flip") and payload:
            at = draw.randrange(len(payload) * 8)
            changed = bytearray(payload)
            changed[at // 8] ^= 1 << at % 8
            payload = bytes(changed)
        if self.may("swap"):
            payload = self._other(to_host, payload)
        if self.may("splice", 0.5):
            self._splice(peer, route)
        if self.may("close", 0.3):
            super().to_peer(peer, wire.control(wire.Closed(route, "gone")))
        if self.may("ghost", 0.3):
            self._ghost()
        if self.may("loot"):
            self._use_loot()
        if self.may("hold", 0.5):
            self._held[peer.number, route] = self.network.scheduler.now + draw.uniform(0.1, 18)
        self._deliver(peer, route, payload)
        if self.may("duplicate"):
            self._deliver(peer, route, payload)
        if self.may("replay"):
            self._deliver(peer, route, self._other(to_host, payload))

    def _deliver(self, peer: Peer, route: int, payload: bytes) -> None:
        key = (peer.number, route)
        scheduler = self.network.scheduler
        if self.may("reorder") and key not in self._waits:
            self._waits[key] = payload
            return
        frames = [payload]
        if (late := self._waits.pop(key, None)) is not None:
            frames.append(late)
        until = self._until(peer, route)
        for each in frames:
            frame = wire.routed(route, each)
            if until > scheduler.now:
                scheduler.at(until, self._release, peer, frame)
            else:
                super().to_peer(peer, frame)

    def _release(self, peer: Peer, frame: bytes) -> None:
        if self.hostile:
            super().to_peer(peer, frame)

    def _until(self, peer: Peer, route: int) -> float:
        """When a payload may go on. A held beginning lets the handshake pass and holds what comes after it."""
        found = self._held.get((peer.number, route), 0.0)
        if peer.admitted_role == "host" and (way := peer.routes.get(route)) is not None:
            client = (way.client.number, way.client_number)
            if self._held.get(client, 0.0) < 0 and len(self._begun[client]) > 1:
                held = self._held[client] = self.network.scheduler.now - self._held[client]
                self._held[peer.number, route] = held
                return held
        return max(found, 0.0)

    def _other(self, to_host: bool, payload: bytes) -> bytes:
        kept = [each for towards, each in self._kept if towards == to_host]
        return self.network.scheduler.random.choice(kept) if kept else payload

    def _splice(self, peer: Peer, route: int) -> None:
        """From now on two routes of the same kind of end have each other's payloads."""
        others = [
            (each, number) for each in self._ends if each.admitted_role == peer.admitted_role for number in each.routes
        ]
        if len(others) > 1:
            other = self.network.scheduler.random.choice(others)
            self._spliced[peer.number, route] = other
            self._spliced[other[0].number, other[1]] = (peer, route)

    # ---- what is made up ----

    def _hosts(self) -> list[Peer]:
        return [each for each in self._ends if each.admitted_role == "host"]

    def _ghost(self) -> None:
        """A client that comes again, made of everything that it once sent."""
        if not self._begun or not self._hosts():
            return
        draw = self.network.scheduler.random
        self._own += 1
        host = draw.choice(self._hosts())
        super().to_peer(host, wire.control(wire.Incoming(self._own, "member")))
        for payload in draw.choice(list(self._begun.values())):
            super().to_peer(host, wire.routed(self._own, payload))

    def _use_loot(self) -> None:
        """A channel of our own to a host, and on it the introduction that a client once made to another."""
        draw, hosts = self.network.scheduler.random, self._hosts()
        said = [each for loot in self.world.loot.values() for each in loot]
        if not hosts or not said:
            return
        host = draw.choice(hosts)
        assert host.member is not None
        number = next(n for n, each in enumerate(people().hosts) if each.key == host.member.key)
        self._own += 1
        channel = self.world.hosts[number].disk.channel
        initiator = Initiator(
            static_private=exchange("thief"), remote_static=channel_key(number, channel).raw,  # type: ignore[arg-type]
            prologue=prologue(host.member.key), ephemeral_private=exchange(f"thief {self._own}"),  # type: ignore[arg-type]
        )  # fmt: skip
        words = _encode(draw.choice(said))
        self._impostors[host.number, self._own] = lambda message2: initiator.finish(message2).seal(words)
        super().to_peer(host, wire.control(wire.Incoming(self._own, "member")))
        super().to_peer(host, wire.routed(self._own, initiator.message1))

    def _answered_ghost(self, peer: Peer, route: int, payload: bytes) -> None:
        goes_on: Callable[[bytes], bytes] | None = self._impostors.pop((peer.number, route), None)
        if goes_on is not None:
            try:
                super().to_peer(peer, wire.routed(route, goes_on(payload)))
            except HoldError:
                pass

    def _impersonate(self, peer: Peer, route: int, payload: bytes, host: Any) -> None:
        """Answer as the host would, with the channel key that leaked."""
        if not isinstance(host, bytes):
            return
        number = next(n for n, each in enumerate(people().hosts) if each.key == host)
        leaked: Any = channel_key(number, 0)
        responder = Responder(static_private=leaked, prologue=prologue(host))
        self._own += 1
        try:
            found = responder.answer(payload, ephemeral_private=exchange(f"impostor {self._own}"))  # type: ignore[arg-type]
        except HoldError:
            super().to_peer(peer, wire.control(Failed(route, "host-unreachable", "gone")))
            return
        self._impostors[peer.number, route] = found.secure
        super().to_peer(peer, wire.routed(route, found.message2))
