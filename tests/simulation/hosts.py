"""A host: what survives it, and its process. Mirrors ``host/relays``, ``host/remote`` and ``host/clients``, no more.

Where those shells were found not to do what their pages say, this does what the pages say, and what they did is a flag
that a checker must find (mutants.py; docs/simulation.md, "What it found").
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.core import grants, identity, signed
from holdfast.core.admission import Granted
from holdfast.core.errors import BadMessage, HoldError, Refused
from holdfast.core.grants import Grant
from holdfast.core.identity import RevocationList, RolledBack
from holdfast.core.signed import Form
from holdfast.wire import messages as wire
from holdfast.wire import packets, relay
from holdfast.wire.channel import Responder, prologue
from holdfast.wire.facts import CarrierDead, Closed, Delivered, Event, LinkFull, LinkOver, Superseded, Unresumable
from holdfast.wire.framing import TO_CLIENT_BYTES_MAX, TO_HOST_BYTES_MAX
from holdfast.wire.introduction import Answered, Introduce
from holdfast.wire.link import ANSWERS, CONTROL, Limits, Link, State, lane_of
from holdfast.wire.pace import Bounds, Pace
from holdfast.wire.packets import Cause, Resume
from tests.simulation.gates import Gate
from tests.simulation.ledger import Judged, Learned, Sent, WatchedResponder
from tests.simulation.lines import Line
from tests.simulation.network import Machine, Timer
from tests.simulation.people import channel_key, exchange, people
from tests.simulation.sessions import Session
from tests.simulation.terminals import Terminal

if TYPE_CHECKING:
    from tests.simulation.world import World

PACE = Bounds(first_s=0.05, most_s=10.0)
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(wire.ToHost)


@dataclass
class Disk:
    """What ``kill -9`` leaves."""

    journals: dict[str, list[bytes]]
    terminals: dict[str, Terminal]
    lists: dict[bytes, tuple[RevocationList, bytes, bytes]] = field(default_factory=dict)
    version: int = 0
    channel: int = 0
    generation: int = 0


class Host:
    """A machine with a host on it. ``process`` is None while none runs."""

    def __init__(self, world: "World", number: int, sessions: tuple[str, ...]) -> None:
        self.world, self.number, self.name = world, number, f"host{number}"
        self.machine = Machine(world.scheduler, self.name)
        self.pair, self.chain = people().hosts[number], people().host_chains[number]
        terminals = {each: Terminal(world.scheduler, each) for each in sessions}
        self.disk = Disk({each: [] for each in sessions}, terminals)
        self.process: Process | None = None
        self.start()

    def start(self) -> None:
        if self.process is None:
            self.disk.generation += 1
            self.process = Process(self)

    def kill(self) -> None:
        """As by kill -9. A holder may die with it."""
        process, self.process = self.process, None
        if process is not None:
            process.die()
            if self.world.scheduler.random.random() < 0.3:
                for session in process.sessions.values():
                    if (typing := session.typing) is not None:
                        session.terminal.lose_holder(typing.position, typing.ask.data)


class Process:
    """One life of a host."""

    def __init__(self, host: Host) -> None:
        self.host, self.world, self.number, self.name = host, host.world, host.number, host.name
        self.machine, self.disk, self.generation = host.machine, host.disk, host.disk.generation
        self.alive = True
        self._ephemerals = self.links = 0
        self.remotes: dict[tuple[bytes, bytes], Remote] = {}
        self.signed_seqs: dict[tuple[bytes, str], int] = {}  # (key, client) -> highest, also of earlier processes
        self.revoked = identity.merged(each for each, _, _ in self.disk.lists.values())
        self.sessions = {
            each: Session(self, self.disk.terminals[each], stored) for each, stored in self.disk.journals.items()
        }
        self.relays = [RelayLink(self, name) for name in self.world.relays]
        self.after(1.0, self._reconsider)

    def after(self, delay: float, act: Any, *args: Any) -> Timer:
        return self.world.scheduler.after(delay, self._if_alive, act, args)

    def _if_alive(self, act: Any, args: tuple[Any, ...]) -> None:
        if self.alive:
            act(*args)

    def die(self) -> None:
        self.alive = False
        for each in self.relays:
            if each.line is not None:
                each.line.close()

    # ---- identity: mirrors host/identity and host/host ----

    def record(self) -> bytes:
        now = int(self.machine.unix)
        self.disk.version = max(self.disk.version + 1, now)
        found = people().record(self.number, self.disk.channel, self.disk.version, now, tuple(self.world.urls))
        self.world.published(self.number, self.disk.version, self.disk.channel)
        return found

    def learn(self, data: bytes, issuer: bytes) -> None:
        names, version = self.world.lists.get(data, ((), 0))
        at = int(self.machine.unix)
        found = identity.verify_revocations(data, issuer=issuer, tenant=people().root, now=at, revoked=self.revoked)
        self.world.ledger.learned.append(Learned(self.world.scheduler.now, self.number, names, version))
        known = self.disk.lists.get(found.signer)
        if known is not None and found.version <= known[0].version and "old list accepted" not in self.world.flags:
            if found.version < known[0].version:
                raise RolledBack("revocation list", found.version, known[0].version)
            return
        self.disk.lists[found.signer] = (found, issuer, data)
        self.revoked = identity.merged(each for each, _, _ in self.disk.lists.values())
        self.world.ledger.lists[self.number].append(found.version)
        for each in self.relays:
            each.revoke(data, issuer)
        self.reconsider()

    def reconsider(self) -> None:
        for each in list(self.remotes.values()):
            each.gate.reconsider()

    def _reconsider(self) -> None:
        self.reconsider()
        self.after(1.0, self._reconsider)

    def remember(self, key: bytes, client: str, seq: int) -> None:
        """That number of a signed action is not taken again."""
        self.signed_seqs[key, client] = max(self.signed_seqs.get((key, client), 0), seq)

    # ---- links: mirrors host/remote.Links ----

    def carrier(self, route: "Route") -> Answered:
        self._ephemerals += 1
        own = channel_key(self.number, self.disk.channel)
        responder = Responder(static_private=own, prologue=prologue(self.host.pair.key))  # type: ignore[arg-type]
        ephemeral = exchange(f"{self.name} {self.generation} {self._ephemerals}")
        watched: Any = WatchedResponder(responder, self.world.ledger, self.number)
        return Answered(watched, ephemeral, name=self.name, judge=route.judge, find=route.find)  # type: ignore[arg-type]

    def judged(self, said: Introduce, binding: bytes) -> Granted:
        now = int(self.machine.unix)
        member = identity.verify(said.certificates, tenant=people().root, now=now, revoked=self.revoked)
        form = Form(said.form) if said.form in (0, 1) else Form.PLAIN
        bound = "binding not checked" in self.world.flags or signed.genuine(member.key, said.signature, binding, form)
        if not bound:
            raise Refused("the key of these certificates did not sign for this channel")
        found: list[Grant] = []
        for chain in said.grants:
            try:
                found.append(
                    grants.verify(
                        chain, tenant=people().root, now=now, holder=member.key, kind=member.kind,
                        principal=member.certificate.on_behalf_of, revoked=self.revoked,
                    )
                )  # fmt: skip
            except HoldError:
                continue
        return Granted(member, tuple(found))

    def remote(self, authority: Granted, begins: Resume) -> "Remote":
        key = (authority.member.key, begins.link)
        remote = self.remotes.get(key)
        if remote is not None and begins.new and "new link forgets" in self.world.flags:
            self.forget(remote)
            remote = None
        if (
            remote is not None
            and len(authority.grants) < remote.gate.counting
            and "revoked but said" not in self.world.flags
        ):
            remote.link.close()  # what was said under a right that is over is not said again
            self.forget(remote)
            remote = None
        if remote is None:
            link = Link(
                begins.link, dials=False, hears_max=TO_HOST_BYTES_MAX, says_max=TO_CLIENT_BYTES_MAX,
                now=self.world.scheduler.now, limits=Limits(lapse_s=600.0),
            )  # fmt: skip
            remote = self.remotes[key] = Remote(self, link, authority)
        remote.gate.authority, remote.gate.counting = authority, len(authority.grants)
        return remote

    def forget(self, remote: "Remote") -> None:
        for key, each in list(self.remotes.items()):
            if each is remote:
                if remote.link.state is not State.OVER:
                    self.world.ledger.thrown_away.append(f"{remote.gate.client} at {self.name}")
                del self.remotes[key]
                remote.end()


class RelayLink:
    """One relay of a host's list: mirrors ``host/relays._Relay``."""

    def __init__(self, process: Process, relay_name: str) -> None:
        self._process, self._relay = process, relay_name
        self.line: Line | None = None
        self._routes: dict[int, Route] = {}
        self._refs = 0
        self._pace = Pace(now=process.world.scheduler.now, bounds=PACE)
        self._again()

    def _again(self) -> None:
        scheduler = self._process.world.scheduler
        self._process.after(max(0.0, (self._pace.due or 0.0) - scheduler.now), self._dial)

    def _dial(self) -> None:
        process = self._process
        self._pace.trying()
        self.line = Line(
            process.world.network, process.machine, self._relay, "host", chain=process.host.chain,
            signer=process.host.pair, up=self._up, heard=self._heard, down=self._down,
        )  # fmt: skip

    def _ref(self) -> int:
        self._refs += 1
        return self._refs

    def _up(self, line: Line) -> None:
        process = self._process
        self._pace.up(now=process.world.scheduler.now)
        line.say(relay.Publish(self._ref(), process.host.chain, process.record()))
        for _, issuer, data in process.disk.lists.values():
            self.revoke(data, issuer)

    def revoke(self, data: bytes, issuer: bytes) -> None:
        if self.line is not None and self.line.admitted:
            self.line.say(relay.Revoke(self._ref(), data, issuer))

    def _down(self, line: Line, error: HoldError) -> None:
        if not self._process.alive:
            return
        scheduler, was_up = self._process.world.scheduler, line.admitted
        self.line = None
        for route in list(self._routes.values()):
            route.end()
        self._routes.clear()
        (self._pace.lost if was_up else self._pace.failed)(now=scheduler.now, draw=scheduler.random.random())
        self._again()

    def _heard(self, line: Line, said: Any) -> None:
        if not self._process.alive:
            return
        match said:
            case relay.Routed():
                if (route := self._routes.get(said.route)) is not None:
                    route.receive(bytes(said.data))
            case relay.Incoming():
                number = said.route

                def close() -> None:
                    if self._routes.pop(number, None) is not None and self.line is line:
                        line.say(relay.Closed(number))

                self._routes[number] = Route(self._process, lambda payload: line.carry(number, payload), close)
            case relay.Closed():
                if (ended := self._routes.pop(said.route, None)) is not None:
                    ended.end()
            case relay.Revoked():
                try:
                    self._process.learn(said.revocations, said.issuer)
                except HoldError:
                    pass


class Route:
    """One carrier: mirrors ``host/remote.Route``."""

    def __init__(self, process: Process, carry: Any, close: Any) -> None:
        self._process, self._carry, self._close = process, carry, close
        self._authority: Granted | None = None
        self._remote: Remote | None = None
        self.over = False
        self._carrier = process.carrier(self)

    def receive(self, payload: bytes) -> None:
        if self.over:
            return
        now = self._process.world.scheduler.now
        try:
            events, first = self._carrier.receive(payload, now=now)
        except HoldError as error:
            self._process.world.scheduler.say(self._process.name, "a carrier ended:", error.code)
            if error.code == "bad-packet":
                self._process.world.ledger.broken.append(f"{self._process.name}: {error.message}")
            for each in self._carrier.refusal(error):
                self._carry(each)
            self.end()
            return
        for each in first:
            self._carry(each)
        if self._remote is not None:
            self._remote.happened(events)
            self._remote.flush_soon()

    def outgoing(self, now: float) -> int:
        payloads = self._carrier.outgoing(now=now)
        for each in payloads:
            self._carry(each)
        if payloads and self._remote is not None and self._carrier.secure is not None:
            sealed = self._process.world.ledger.sealed[self._carrier.secure.handshake_hash, "host"]
            self._remote.left(sealed[-len(payloads) :])
        return len(payloads)

    def end(self) -> None:
        if self.over:
            return
        self.over = True
        self._carrier.lost(now=self._process.world.scheduler.now)
        if self._remote is not None:
            self._remote.lost(self)
        self._close()

    def part(self) -> None:
        for each in self._carrier.goodbye():
            self._carry(each)
        self.end()

    def judge(self, said: Introduce, binding: bytes) -> None:
        self._authority = self._process.judged(said, binding)
        secure = self._carrier.secure
        assert secure is not None
        self._process.world.loot[self._process.number].append(said)
        judged = Judged(self._process.number, self._authority.member.key, secure.handshake_hash)
        self._process.world.ledger.judged.append(judged)

    def find(self, begins: Resume) -> Link:
        assert self._authority is not None
        remote = self._process.remote(self._authority, begins)
        if begins.carrier <= remote.link.carrier:
            raise Superseded(begins.carrier, remote.link.carrier)
        former, remote.route = remote.route, self
        self._remote = remote
        if former is not None and former is not self:
            remote.link.carrier_down(remote.link.carrier, now=self._process.world.scheduler.now)
            former._remote = None
            former.part()
        return remote.link


class Remote:
    """The client at the far end of one link: mirrors ``host/remote.Remote``."""

    def __init__(self, process: Process, link: Link, authority: Granted) -> None:
        process.links += 1
        self.process, self.link = process, link
        self.side = f"host {process.number} {process.generation} {process.links}"
        self.route: Route | None = None
        self._timer: Timer | None = None
        self._flushing = False
        self.gate = Gate(process, self, authority)
        self._ends: dict[int, int] = {}  # lane -> position after what was said
        self._about: dict[int, list[tuple[int, int, str, str]]] = {}  # lane -> (start, end, session, what)
        process.world.ledger.linked.setdefault(link.id, authority.member.key)

    @property
    def now(self) -> float:
        return self.process.world.scheduler.now

    def send(self, message: wire.Message, session: str) -> None:
        number = getattr(message, "attachment", 0)
        bulk = isinstance(message, wire.Listing | wire.OutputRange | wire.Records)
        lane = lane_of(number) if number else ANSWERS if bulk else CONTROL
        data = _encode(message)
        try:
            self.link.say(lane, data)
        except LinkFull:
            self._give_up()
            return
        except LinkOver:
            return
        start = self._ends.get(lane, 0)
        self._ends[lane] = start + 4 + len(data)
        if session and lane > CONTROL:
            self._about.setdefault(lane, []).append((start, self._ends[lane], session, type(message).__name__))
        self.process.world.ledger.said[self.link.id, self.side][lane].append(data)
        self.flush_soon()

    def left(self, plaintexts: list[bytes]) -> None:
        """Write down about which sessions something left the host."""
        for packet in plaintexts:
            if packet[:1] != bytes([packets.DATA]):
                continue
            _, lane, _, _, position = packets.DATA_HEAD.unpack_from(packet)
            end = position + len(packet) - packets.DATA_HEAD.size
            operator = self.gate.authority.member.key
            for start, upto, session, what in self._about.get(lane, ()):
                if start < end and position < upto:
                    entry = Sent(self.now, self.process.machine.unix, self.process.number, operator, session, what)
                    self.process.world.ledger.sent.append(entry)

    def room(self) -> int:
        return self.link.room(now=self.now)

    def close(self) -> None:
        self.link.close()
        self._flush()
        self.process.forget(self)

    def happened(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Delivered():
                    if "acknowledged before delivered" in self.process.world.flags:
                        route = self.route
                        self.process.after(0.02, lambda event=event, route=route: self._late(event, route))
                    else:
                        self._heard(event)
                case CarrierDead():
                    if self.route is not None and "dead carrier kept" not in self.process.world.flags:
                        self.route.end()
                case Unresumable():
                    if event.cause in (Cause.BROKEN, Cause.FORGOTTEN):
                        self.process.world.ledger.broken.append(f"{self.process.name}: {event.cause.name} {event.text}")
                    self.process.forget(self)
                case Closed():
                    self.process.forget(self)
        if self.link.state is State.UP:
            self.gate.pump()

    def lost(self, route: Route) -> None:
        if self.route is route:
            self.route = None
            self._schedule()

    def flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.process.after(0.0, self._flush)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.gate.gone()
        if self.route is not None:
            if "last words unsaid" not in self.process.world.flags:
                self.route.outgoing(self.now)
            self.route.part()

    def _late(self, event: Delivered, route: Route | None) -> None:
        if self.route is route:
            self._heard(event)

    def _heard(self, event: Delivered) -> None:
        self.process.world.ledger.heard[self.link.id, self.side][event.lane].append(event.data)
        try:
            self.gate.hear(_decoder.decode(event.data))
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, BadMessage) as error:
            self.process.world.ledger.broken.append(f"{self.process.name}: {error}")
            self._give_up()

    def _give_up(self) -> None:
        if self.link.state is not State.OVER:
            self.link.close(Cause.BROKEN)
            self._flush()
        self.process.after(0.0, self.process.forget, self)

    def _flush(self) -> None:
        self._flushing = False
        while self.route is not None and self.route.outgoing(self.now):
            pass
        self._schedule()

    def _schedule(self) -> None:
        due = self.link.deadline
        if self._timer is not None:
            if due is not None and self._timer.act is not None and self._timer.at <= due + 0.002:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self.process.after(max(0.0, due - self.now), self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.happened(self.link.wake(now=self.now))
        self._flush()
