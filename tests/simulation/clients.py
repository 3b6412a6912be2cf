"""A client program: mirrors ``client/meeting`` and ``client/remote.Bridge``, and of ``client/channel`` that what was not
answered is asked again under its number. Real are ``Link``, ``Dialled``, ``Doubts``, ``Pace``, ``signing``,
``verify_host_record``.

A program holds its id, its key and a cursor. What outlives it is the profile of its operator's machine: the newest host
record that was seen. ``Program`` dies; another one takes over with the session's id and the offset alone.
"""

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.core import identity
from holdfast.core.errors import HoldError, HostUnreachable
from holdfast.core.grants import Capability
from holdfast.core.identity import HostRecord
from holdfast.wire import messages as wire
from holdfast.wire import relay, signing
from holdfast.wire.channel import Initiator, prologue
from holdfast.wire.doubts import Doubts, doubted
from holdfast.wire.facts import CarrierDead, CarrierEnded, Closed, Delivered, Event, LinkFull, Resumed, Unresumable
from holdfast.wire.framing import TO_CLIENT_BYTES_MAX, TO_HOST_BYTES_MAX
from holdfast.wire.introduction import Dialled, Introduce
from holdfast.wire.link import CONTROL, INPUT, Limits, Link, State
from holdfast.wire.pace import Bounds, Pace
from holdfast.wire.packets import Cause
from tests.simulation import ledger as facts
from tests.simulation.ledger import Following, WatchedInitiator
from tests.simulation.lines import Line, Unreachable
from tests.simulation.network import Machine, Timer
from tests.simulation.people import Operator, exchange, people

if TYPE_CHECKING:
    from tests.simulation.world import World

PACE = Bounds(first_s=0.05, most_s=10.0)
LIMITS = Limits(beat_s=3.0, silence_s_max=9.0)
PASSING = frozenset(
    (
        "relay-unreachable",
        "bad-seal",
        "bad-handshake",
        "peer-closed",
        "superseded",
        "relay-draining",
        "relay-busy",
        "timeout",
    )
)
GONE_FOR_NOW = frozenset(("host-unreachable", "no-such-host"))
OPENING_S = 5.0
AGAIN_S = 1.5  # a stubborn user: whatever the refusal, the program tries again
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(wire.ToClient)


@dataclass
class Profile:
    """What is kept on disk where a client runs: host -> (version, record, as parsed, chain)."""

    known: dict[int, tuple[int, HostRecord]] = field(default_factory=dict)


class RelayLine:
    """A connection to one relay and who waits for what on it: mirrors ``client/meeting._Line``."""

    def __init__(self, program: "Program", name: str) -> None:
        self._program, self.name = program, name
        self.waiting: list[Callable[[HoldError | None], object]] = []
        self._numbers = itertools.count(1)
        self.routes: dict[int, Route] = {}
        self._lists: dict[int, tuple[list[relay.Presence], Callable[[list[relay.Presence] | HoldError], object]]] = {}
        world = program.world
        self.line = Line(
            world.network, program.machine, name, "client", chain=program.operator.chain, signer=program.operator.pair,
            up=lambda _: self._ready(None), heard=self._heard, down=self._down,
        )  # fmt: skip

    def _ready(self, error: HoldError | None) -> None:
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each(error)

    def hosts(self, answer: Callable[[list[relay.Presence] | HoldError], object]) -> None:
        ref = next(self._numbers)
        self._lists[ref] = ([], answer)
        self.line.say(relay.ListHosts(ref))
        self._program.after(10.0, self._late, ref)

    def open(self, route: "Route") -> None:
        route.number, route.line = next(self._numbers), self
        self.routes[route.number] = route
        self.line.say(relay.OpenRoute(route.number, route.record.host))

    def close(self, route: "Route") -> None:
        if self.routes.pop(route.number, None) is not None and not self.line.over:
            self.line.say(relay.Closed(route.number))

    def _late(self, ref: int) -> None:
        if (listing := self._lists.pop(ref, None)) is not None:
            listing[1](Unreachable("the relay did not answer"))

    def _down(self, line: Line, error: HoldError) -> None:
        lists, self._lists = self._lists, {}
        routes, self.routes = self.routes, {}
        if not line.admitted:
            self._ready(error)
        for _, answer in lists.values():
            answer(Unreachable("the connection ended"))
        for route in routes.values():
            route.ended(None)

    def _heard(self, line: Line, said: Any) -> None:
        match said:
            case relay.Routed():
                if (route := self.routes.get(said.route)) is not None:
                    route.came(bytes(said.data))
            case relay.Closed():
                if (over := self.routes.pop(said.route, None)) is not None:
                    over.ended(None)
            case relay.HostsAre():
                if (listing := self._lists.get(said.ref)) is not None:
                    listing[0].extend(said.hosts)
                    if not said.more:
                        del self._lists[said.ref]
                        listing[1](listing[0])
            case wire.Failed():
                error: HoldError = (
                    HostUnreachable("h", said.message) if said.code in GONE_FOR_NOW else Unreachable(said.message)
                )
                if (refused := self.routes.pop(said.ref, None)) is not None:
                    refused.ended(error)
                elif (waits := self._lists.pop(said.ref, None)) is not None:
                    waits[1](error)


@dataclass(eq=False)
class Route:
    record: HostRecord
    came: Callable[[bytes], object]
    ended: Callable[[HoldError | None], object]
    number: int = 0
    line: RelayLine | None = None


class Program:
    """One run of a client that follows one session and types into it."""

    def __init__(
        self, world: "World", name: str, operator: Operator, session: str, *, profile: Profile, machine: Machine,
        offset: int = 0, host: int = 0, honest: bool = True,
    ) -> None:  # fmt: skip
        self.world, self.name, self.operator, self.session = world, name, operator, session
        self.profile, self.machine, self.host = profile, machine, host
        self.client = f"c-{name}"
        self.ledger = world.ledger.programs[name] = facts.Program(name, operator.pair.key, honest)
        self.ledger.version_seen = {at: version for at, (version, _) in profile.known.items()}
        self.offset = offset
        self.following: Following | None = None
        self.unanswered: dict[int, wire.Input] = {}
        self.alive = True
        self._static = exchange(f"static {name}")
        self._seqs, self._signs, self._refs = itertools.count(1), itertools.count(1), itertools.count(1)
        self._asked: dict[int, tuple[str, str, int]] = {}  # ref -> kind, session, seq
        self._lines: dict[str, RelayLine] = {}
        self._stale: set[int] = set()
        self._bridges = self._ephemerals = self._attachments = 0
        self._timer: Timer | None = None
        self._begin()

    def after(self, delay: float, act: Any, *args: Any) -> Timer:
        return self.world.scheduler.after(delay, self._if_alive, act, args)

    def _if_alive(self, act: Any, args: tuple[Any, ...]) -> None:
        if self.alive:
            act(*args)

    @property
    def now(self) -> float:
        return self.world.scheduler.now

    def crash(self) -> None:
        """It is gone, and with it everything but its profile."""
        self.alive = False
        for each in self._lines.values():
            each.line.close()

    @property
    def settled(self) -> bool:
        """Nothing is left to be done: linked, all answered, all seen."""
        terminal = self.world.hosts[self.host].disk.terminals[self.session]
        quiet = self.link.state is State.UP and not self.unanswered and not self._asked
        return quiet and self.offset == len(terminal.out)

    # ---- one link: mirrors client/remote.Bridge ----

    def _begin(self) -> None:
        self._bridges += 1
        link_id = hashlib.sha256(f"{self.name} {self._bridges}".encode()).digest()[:16]
        self.link = Link(
            link_id, dials=True, hears_max=TO_CLIENT_BYTES_MAX, says_max=TO_HOST_BYTES_MAX, now=self.now, limits=LIMITS
        )
        self.world.ledger.links[link_id] = (self.name, self.operator.pair.key)
        self._carrier: Dialled | None = None
        self._route: Route | None = None
        self._up = False
        self._pace = Pace(now=self.now, bounds=PACE)
        self._asked.clear()
        self._doubts = Doubts()
        self._say(wire.Hello(1, self.client, "sim"))
        self.follow()
        for seq, asked in self.unanswered.items():
            self.ledger.resent.add((self.session, seq))
            self._ask(asked, "input", seq)
        self._dial(self._bridges)

    def _over(self) -> None:
        """The link cannot go on: its user begins another, and asks again what was not answered."""
        self.link.close()
        self._flush()
        route, carrier = self._route, self._carrier
        if carrier is not None:
            for each in carrier.goodbye():
                self._carry(each)
        self._route = self._carrier = None
        if route is not None and route.line is not None:
            route.line.close(route)
        self._bridges += 1
        self.after(AGAIN_S * (0.5 + self.world.scheduler.random.random() / 2), self._renew, self._bridges)

    def _renew(self, bridge: int) -> None:
        if bridge == self._bridges:
            self._begin()

    def _dial(self, bridge: int) -> None:
        if bridge != self._bridges or self._route is not None:
            return
        due = self._pace.due
        if due is not None and due > self.now:
            self.after(due - self.now, self._dial, bridge)
            return
        self._pace.trying()
        self._try(bridge, list(self.world.relays), None)

    def _try(self, bridge: int, names: list[str], error: HoldError | None) -> None:
        """Mirrors ``Meeting._way``: a relay after the other until one has the host."""
        if bridge != self._bridges:
            return
        if not names:
            self._failed(bridge, error or HostUnreachable("h", "no relay knows it"))
            return
        name, *rest = names
        line = self._lines.get(name)
        if line is None or line.line.over:
            line = self._lines[name] = RelayLine(self, name)
        if line.line.admitted:
            self._met(bridge, line, rest)
            return
        chosen = line

        def ready(error: HoldError | None) -> None:
            if self.alive and error is None:
                self._met(bridge, chosen, rest)
            elif self.alive:
                self.after(0.0, self._try, bridge, rest, error)

        line.waiting.append(ready)

    def _met(self, bridge: int, line: RelayLine, rest: list[str]) -> None:
        if bridge != self._bridges:
            return
        if self.host not in self._stale and (known := self._record()) is not None:
            self._open(line, known)
            return

        def listed(found: list[relay.Presence] | HoldError) -> None:
            if not self.alive or bridge != self._bridges or self._route is not None:
                return
            if isinstance(found, HoldError):
                self._try(bridge, rest, found)
                return
            for each in found:
                if each.host == people().hosts[self.host].key:
                    self._learn(each)
            if (record := self._record()) is None:
                self._try(bridge, rest, None)
            else:
                self._stale.discard(self.host)
                self._open(line, record)

        line.hosts(listed)

    def _record(self) -> HostRecord | None:
        known = self.profile.known.get(self.host)
        valid = known is not None and known[1].not_before <= int(self.machine.unix) < known[1].not_after
        return known[1] if known is not None and valid else None

    def _learn(self, presence: relay.Presence) -> None:
        """Mirrors ``Store.remember_host``."""
        if not presence.record:
            return
        seen = self.profile.known[self.host][0] if self.host in self.profile.known else 0
        if "stale record accepted" in self.world.flags:
            seen = 0
        try:
            record = identity.verify_host_record(
                presence.record, presence.chain, host=presence.host, tenant=people().root, now=int(self.machine.unix),
                seen=seen,
            )  # fmt: skip
        except HoldError:
            return
        self.profile.known[self.host] = (record.version, record)
        self.world.ledger.records[self.machine.name].append((self.host, record.version))
        self.ledger.version_seen[self.host] = max(self.ledger.version_seen.get(self.host, 0), record.version)

    def _open(self, line: RelayLine, record: HostRecord) -> None:
        self._ephemerals += 1
        initiator = Initiator(
            static_private=self._static, remote_static=record.channel, prologue=prologue(record.host),  # type: ignore[arg-type]
            ephemeral_private=exchange(f"{self.name} {self._ephemerals}"),  # type: ignore[arg-type]
        )  # fmt: skip
        watched: Any = WatchedInitiator(initiator, self.world.ledger, self.name)
        carrier = self._carrier = Dialled(watched, self._introduce, self.link)
        route = self._route = Route(
            record, lambda payload: self._came(route, carrier, payload), lambda error: self._lost(route, error)
        )
        self._up = False
        line.open(route)
        line.line.carry(route.number, carrier.first())
        if "dead carrier kept" not in self.world.flags:
            self.after(OPENING_S, self._patience, route)

    def _patience(self, route: Route) -> None:
        """A carrier whose handshake is never answered is given up, too."""
        if self._route is route and not self._up:
            self._lost(route, Unreachable("no answer"))

    def _introduce(self, binding: bytes) -> Introduce:
        pair = self.operator.pair
        return Introduce(1, self.operator.chain, self.operator.grants, pair.sign(binding), int(pair.form))

    def _came(self, route: Route, carrier: Dialled, payload: bytes) -> None:
        if self._route is not route or not self.alive:
            return
        try:
            events, first = carrier.receive(payload, now=self.now)
        except HoldError as error:
            if error.code == "bad-packet":
                self.world.ledger.broken.append(f"{self.name}: {error.message}")
            self._lost(route, error)
            return
        for each in first:
            self._carry(each)
        if carrier.accepted is not None and not self._up:
            self._up = True
            assert carrier.secure is not None
            if carrier.number > 1:  # and these were perhaps under way on an earlier one
                self.ledger.retried |= {(self.session, seq) for seq in self.unanswered}
            self.ledger.channels[carrier.secure.handshake_hash] = (
                self.host,
                self.ledger.version_seen.get(self.host, 0),
            )
            self._pace.up(now=self.now)
        self._happened(events)
        self._flush()

    def _carry(self, payload: bytes) -> None:
        if self._route is not None and self._route.line is not None:
            self._route.line.line.carry(self._route.number, payload)

    def _lost(self, route: Route, error: HoldError | None) -> None:
        """The carrier is over: the next one is dialled, unless trying again cannot help."""
        if self._route is not route or not self.alive:
            return
        carrier, up = self._carrier, self._up
        self._route = self._carrier = None
        self._up = False
        assert carrier is not None
        carrier.lost(now=self.now)
        if route.line is not None:
            route.line.close(route)
        unanswered = carrier.secure is None and "old record kept" not in self.world.flags
        if unanswered or (error is not None and error.code == "bad-handshake"):
            self._stale.add(self.host)  # a host with a newer channel key cannot answer, not even to say so
        if error is not None:
            self.world.scheduler.say(self.name, "carrier lost:", error.code)
        draw = self.world.scheduler.random.random()
        (self._pace.lost if up else self._pace.failed)(now=self.now, draw=draw)
        self._go_on(error)

    def _failed(self, bridge: int, error: HoldError) -> None:
        self._pace.failed(now=self.now, draw=self.world.scheduler.random.random())
        self._go_on(error)

    def _go_on(self, error: HoldError | None) -> None:
        final = error is not None and error.code not in PASSING | GONE_FOR_NOW
        if self.link.state is State.OVER or final:
            self._over()
        else:
            self._dial(self._bridges)

    def _happened(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Delivered():
                    self.world.ledger.heard[self.link.id, "client"][event.lane].append(event.data)
                    self._hear(_decoder.decode(event.data))
                case Resumed():
                    self._doubts.met(event.carrier)
                case Closed() | Unresumable():
                    if isinstance(event, Unresumable) and event.cause in (Cause.BROKEN, Cause.FORGOTTEN):
                        self.world.ledger.broken.append(f"{self.name}: {event.cause.name} {event.text}")
                    self.world.scheduler.say(self.name, "link over:", event)
                    self._over()
                    return
                case CarrierDead() | CarrierEnded():
                    if self._route is not None and "dead carrier kept" not in self.world.flags:
                        self._lost(self._route, None)

    def _flush(self) -> None:
        carrier = self._carrier
        if carrier is not None:
            while payloads := carrier.outgoing(now=self.now):
                for each in payloads:
                    self._carry(each)
        due = self.link.deadline
        if due is not None and (self._timer is None or self._timer.act is None or self._timer.at > due + 0.002):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.after(max(0.001, due - self.now), self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._happened(self.link.wake(now=self.now))
        self._flush()

    # ---- what its user does ----

    def _say(self, message: wire.Message, lane: int = CONTROL) -> None:
        data = _encode(message)
        if self.link.state is State.OVER:
            return
        try:
            self.link.say(lane, data)
        except LinkFull:
            return
        self.world.ledger.said[self.link.id, "client"][lane].append(data)

    def _ask(self, message: Any, kind: str, seq: int = 0) -> None:
        ref = next(self._refs)
        message = msgspec.structs.replace(message, ref=ref)
        self._asked[ref] = (kind, message.session, seq)
        self._doubts.said(message, carrier=self.link.carrier + (self.link.state is State.DOWN))
        if signing.verb_of(message) in signing.SIGNED:
            message = self.signed(message, seq)
        self._say(message, INPUT if kind == "input" else CONTROL)

    def signed(self, message: Any, seq: int, *, client: str = "", about: str = "") -> wire.Signed:
        """Mirrors ``Bridge._signed``."""
        verb, about = signing.verb_of(message), about or message.session
        seq = seq or next(self._signs)
        salt = hashlib.sha256(f"{self.client} {about} {verb} {seq}".encode()).digest()[:16]
        statement = signing.statement(
            session=about, client=client or self.client, epoch=1, term=1, seq=seq, verb=verb,
            commitment=signing.commitment(salt, signing.canonical(message)),
        )  # fmt: skip
        self.ledger.statements[statement] = verb
        return wire.Signed(about, seq, salt, signing.sign(self.operator.pair, statement), _encode(message))

    def follow(self) -> None:
        self._attachments += 1
        number = self._attachments
        ref = next(self._refs)
        self._asked[ref] = ("attach", self.session, 0)
        self.following = Following(self.name, self.session, self.offset)
        self.world.ledger.followings.append(self.following)
        observe = not self.operator.may(Capability.OPERATE, self.session)
        self._say(wire.Attach(ref, number, self.session, "stream", None, self.offset, observe))

    def type(self) -> None:
        seq = next(self._seqs)
        data = f"{self.name}/{seq};".encode() * (1 + seq % 3)
        self.ledger.typed[self.session, seq] = data
        message = wire.Input(0, self.session, seq, data)
        self.unanswered[seq] = message
        self._ask(message, "input", seq)
        self._flush()

    def signal(self) -> None:
        self._ask(wire.Signal(0, self.session, 10), "signal")
        self._flush()

    def probe(self, session: str) -> None:
        """Ask for a session that may be nobody's, or not this operator's to see."""
        self._ask(wire.ReadOutput(0, session, 0, 64), "probe")
        self._flush()

    def revoke(self, data: bytes) -> None:
        """Give a revocation list to every relay this program is connected to, as an administrator's would."""
        for line in self._lines.values():
            if line.line.admitted and not line.line.over:
                line.line.say(relay.Revoke(next(line._numbers), data, people().tenant.issuer_certificate))

    # ---- what it hears ----

    def _hear(self, message: Any) -> None:
        if "refusal believed" not in self.world.flags:
            message = self._doubts.told(message)
        asked = self._asked.pop(getattr(message, "ref", 0), None)
        match message:
            case wire.Output():
                self._output(message.attachment, message.offset, message.offset + len(message.data), message.data)
            case wire.Gap():
                self._output(message.attachment, message.start, message.end, b"", message.why)
            case wire.Event():
                if self.following is not None and message.attachment == self._attachments:
                    self.following.events.append(message)
            case wire.Attached():
                if self.following is not None and message.attachment == self._attachments:
                    assert message.offset <= max(self.offset, 0), "an attachment begins after the cursor"
            case wire.Detached():
                if message.attachment == self._attachments:
                    self.following = None
                    self.after(AGAIN_S, self._again, self._bridges)
            case wire.Typed():
                if asked is not None:
                    self._answered(asked, message.outcome, message.written, message.position)
            case wire.Failed():
                if asked is not None:
                    self._refused(asked, message)
            case wire.OutputRange():
                if asked is not None:
                    self.ledger.replies.append((asked[1], "shown", ""))

    def _again(self, bridge: int) -> None:
        if bridge == self._bridges and self.following is None:
            self.follow()
            self._flush()

    def _output(self, attachment: int, start: int, end: int, data: bytes, why: str = "") -> None:
        following = self.following
        if following is None or attachment != self._attachments:
            return
        following.order.append((start, end))
        if data:
            following.pieces.append((start, data))
        else:
            following.gaps.append((start, end, why))
        self.offset = end

    def _answered(self, asked: tuple[str, str, int], outcome: str, written: int, position: int) -> None:
        _, session, seq = asked
        self.unanswered.pop(seq, None)
        self.ledger.answers.append(facts.Answer(session, seq, outcome, written, position))

    def _refused(self, asked: tuple[str, str, int], error: wire.Failed) -> None:
        kind, session, seq = asked
        self.world.scheduler.say(self.name, "refused:", kind, error.code)
        if kind == "input":
            if (session, seq) in self.ledger.resent and "refusal of what was repeated believed" not in self.world.flags:
                error = doubted(error, wire.Input(0, session, seq, b""))
            self._answered(asked, "doubted" if "refused" in error.details else error.code, 0, 0)
        elif kind == "attach":
            self.following = None
            self.after(AGAIN_S, self._again, self._bridges)
        elif kind == "probe":
            self.ledger.replies.append((session, error.code, error.message.replace(session, "SESSION") + error.do))
