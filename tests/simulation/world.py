"""One world: hosts, relays, clients and a network, all that happens to them until it heals, and the end of it.

``World(seed, shape).run()`` is a function of its arguments: the same seed gives the same world, event by event.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from holdfast.wire.introduction import Introduce
from tests.simulation.cheats import Cheat
from tests.simulation.checkers import CHECKERS, FALLS, Violation
from tests.simulation.clients import Profile, Program
from tests.simulation.hostile import TRICKS, HostileRelay
from tests.simulation.hosts import Host
from tests.simulation.ledger import Ledger
from tests.simulation.network import Machine, Network, Scheduler
from tests.simulation.people import NOWHERE, SESSIONS, Operator, people, remembered
from tests.simulation.relays import Relay
from tests.simulation.terminals import Terminal

HEAL_S = 20.0  # from then on nothing is in the way
REST_S = 75.0  # and after so long everything must be at rest
NEAR_S = 145.0  # two clocks so far from right differ by less than identity.SKEW_S


@dataclass(frozen=True)
class Shape:
    """What a kind of world has in it. Numbers of things are upper bounds; chance decides."""

    name: str
    hosts: int = 1
    relays: int = 2
    clients: int = 3
    faults: int = 12
    hostile: bool = False
    rights: bool = False  # guests, cheats, rights that end or are taken back
    clocks: bool = False  # some of them far from right


SHAPES = {
    each.name: each
    for each in (
        Shape("faults", clients=2),
        Shape("rights", relays=1, clients=2, faults=4, rights=True),
        Shape("hostile", relays=1, clients=2, faults=3, hostile=True, rights=True),
        Shape("everything", hosts=2, relays=2, clients=4, faults=14, hostile=True, rights=True, clocks=True),
    )
}


@dataclass
class Seat:
    """A machine with a person at it, who always has a client program running, or soon again."""

    machine: Machine
    operator: Operator
    session: str
    host: int
    profile: Profile = field(default_factory=Profile)
    honest: bool = True
    runs: int = 0
    program: Program | None = None


class World:
    def __init__(self, seed: int, shape: Shape, flags: frozenset[str] = frozenset()) -> None:
        self.seed, self.shape, self.flags = seed, shape, flags
        self.scheduler = Scheduler(seed)
        self.network = Network(self.scheduler)
        self.ledger = Ledger()
        self.lists: dict[bytes, tuple[tuple[str, ...], int]] = {}  # revocation list -> whom it takes back, version
        self.loot: dict[int, list[Introduce]] = defaultdict(list)
        self.unsettled: list[str] = []
        self._publications: dict[int, list[tuple[int, int]]] = defaultdict(list)  # host -> (version, channel key)
        self._doomed: set[int] = set()  # hosts that do not survive the next input
        self._gone: tuple[str, ...] = ()
        self._grant_only = False
        self._build()
        self._plan()

    # ---- what is there ----

    def _build(self) -> None:
        draw, shape = self.scheduler.random, self.shape
        count = draw.randint(1, shape.relays)
        self.relays: dict[str, Relay] = {}
        bad = draw.randrange(count) if shape.hostile else -1
        for number in range(count):
            name = f"relay{number}"
            if number == bad:
                tricks = tuple(draw.sample(TRICKS, draw.randint(1, 4)))
                self.relays[name] = HostileRelay(self.network, name, people().root, self, tricks)
            else:
                self.relays[name] = Relay(self.network, name, people().root)
        self.urls = [f"ws://{name}" for name in self.relays]
        sessions = SESSIONS[: draw.randint(1, 2)] if shape.hosts == 1 else SESSIONS[:3]
        count = draw.randint(1, shape.hosts)
        self.hosts: list[Host] = []
        for number in range(count):
            self.hosts.append(Host(self, number, tuple(each for n, each in enumerate(sessions) if n % count == number)))
        self._where = {each: host for host in self.hosts for each in host.disk.terminals}
        self.seats = [self._seat(number, sessions) for number in range(max(2, draw.randint(1, shape.clients)))]
        if shape.clocks:
            far = draw.random() < 0.3
            for machine in self.machines:
                machine.skew = draw.uniform(-900, 900) if far and draw.random() < 0.4 else draw.uniform(-NEAR_S, NEAR_S)
        for seat in self.seats:
            self.scheduler.after(draw.uniform(0, 1.0), self._sit, seat)

    def _seat(self, number: int, sessions: tuple[str, ...]) -> Seat:
        draw, who = self.scheduler.random, people()
        operator = who.alice if number == 0 else draw.choice((who.bob, who.bot, who.alice))
        session, honest = draw.choice(sessions), True
        if number and self.shape.rights:
            operator = draw.choice((who.bob, who.bot, who.ending, who.fading, who.guest, who.narrow))
            if operator.sessions:
                session = next((each for each in sessions if each in operator.sessions), session)
            honest = (operator is not who.bob and operator is not who.bot) or draw.random() < 0.5
        machine = Machine(self.scheduler, f"{operator.name}{number}")
        return Seat(machine, operator, session, self._where[session].number, honest=honest)

    def _sit(self, seat: Seat, offset: int = 0) -> None:
        if seat.program is None:
            seat.runs += 1
            kind = Program if seat.honest else Cheat
            seat.program = kind(
                self, f"{seat.machine.name}.{seat.runs}", seat.operator, seat.session, profile=seat.profile,
                machine=seat.machine, offset=offset, host=seat.host, honest=seat.honest,
            )  # fmt: skip

    @property
    def machines(self) -> list[Machine]:
        found = [each.machine for each in self.relays.values()]
        return [*found, *(each.machine for each in self.hosts), *(each.machine for each in self.seats)]

    def terminal(self, session: str) -> Terminal:
        return self._where[session].disk.terminals[session]

    def published(self, host: int, version: int, channel: int) -> None:
        self._publications[host].append((version, channel))

    def rotated(self, host: int, version: int) -> bool:
        """Whether the host had another channel key than its first in the record of that version."""
        return any(each == version and channel > 0 for each, channel in self._publications[host])

    # ---- what happens to it ----

    def _plan(self) -> None:
        draw = self.scheduler.random
        for seat in self.seats:
            for _ in range(draw.randint(2, 5)):
                self.scheduler.at(draw.uniform(0.2, HEAL_S), self._acts, seat)
        for _ in range(draw.randint(1, 4)):
            self.scheduler.at(draw.uniform(0.2, HEAL_S), self._puts_out)
        faults: list[Any] = [self._cut] * 4 + [
            self._part,
            self._restart_relay,
            self._kill_host,
            self._crash,
            self._slow,
        ]
        if self.shape.rights and draw.random() < 0.6:
            self._grant_only = draw.random() < 0.5
            self.scheduler.at(draw.uniform(3.0, HEAL_S - 1), self._revoke)
        for _ in range(draw.randint(1, self.shape.faults)):
            self.scheduler.at(draw.uniform(0.05, HEAL_S), draw.choice(faults))

    def _acts(self, seat: Seat) -> None:
        program, draw = seat.program, self.scheduler.random
        if program is None:
            return
        if isinstance(program, Cheat):
            program.cheat()
        choice = draw.random()
        if choice < 0.7:
            program.type()
        elif choice < 0.85:
            program.signal()
        else:
            program.probe(draw.choice((NOWHERE, *self._where)))
        if self.shape.rights and draw.random() < 0.3:
            program.probe(draw.choice((NOWHERE, *self._where)))

    def _puts_out(self) -> None:
        draw = self.scheduler.random
        self.terminal(draw.choice(list(self._where))).put_out(draw.choice((20, 300, 1500, 2500)))

    def _cut(self) -> None:
        draw = self.scheduler.random
        if self.network.connections:
            found = draw.choice(list(self.network.connections))
            self.scheduler.say("network", "cuts", found.dialler.machine.name, found.relay.machine.name)
            found.cut(late_s=draw.choice((0.0, 0.0, 0.3, 8.0)))

    def _part(self) -> None:
        draw = self.scheduler.random
        machine, relay = draw.choice([*self.hosts, *self.seats]), draw.choice(list(self.relays))
        for_s = draw.choice((0.3, 2.0, 12.0, 18.0, 30.0, 60.0))
        self.scheduler.say("network", "parts", machine.machine.name, relay, for_s)
        self.network.part(machine.machine.name, relay, for_s)

    def _restart_relay(self) -> None:
        draw = self.scheduler.random
        relay = draw.choice(list(self.relays.values()))
        self.scheduler.say(relay.name, "is killed")
        relay.stop()
        self.scheduler.after(draw.choice((0.05, 1.0, 4.0)), relay.start)

    def _kill_host(self) -> None:
        """Often in the middle of an input, so that some of it is here and some there."""
        draw = self.scheduler.random
        host = draw.choice(self.hosts)
        seat = draw.choice(self.seats)
        if draw.random() < 0.7 and seat.program is not None:
            self._doomed.add(host.number)
            seat.program.type()
        else:
            self._kill(host)

    def typing(self, number: int) -> None:
        """A host begins to type an input; that may be the last it does."""
        if number in self._doomed:
            self._doomed.discard(number)
            self.scheduler.after(self.scheduler.random.uniform(0, 0.02), self._kill, self.hosts[number])

    def _kill(self, host: Host) -> None:
        draw = self.scheduler.random
        self.scheduler.say(host.name, "is killed")
        host.kill()
        if self.shape.hostile and draw.random() < 0.7:
            host.disk.channel += 1
        self.scheduler.after(draw.choice((0.05, 0.5, 3.0)), host.start)

    def _crash(self) -> None:
        draw = self.scheduler.random
        seat = draw.choice(self.seats)
        program, seat.program = seat.program, None
        if program is not None:
            self.scheduler.say(program.name, "crashes")
            program.crash()
            self.scheduler.after(draw.choice((0.05, 0.5, 3.0)), self._sit, seat, program.offset)

    def _slow(self) -> None:
        draw = self.scheduler.random
        machine, rate = draw.choice([*self.hosts, *self.seats]).machine.name, draw.choice((3e3, 2e4))
        self.network.rates[machine] = rate
        for each in self.network.connections:
            if each.dialler.machine.name == machine:
                each.rate = rate

    def _revoke(self) -> None:
        """The tenant takes rights back, one operator more with every list, and says so through its own client."""
        draw = self.scheduler.random
        names = [each for each in FALLS if each not in self._gone and each != "alice"]
        if not names:
            return
        self._gone = tuple(sorted({*self._gone, draw.choice(names)}))
        data = people().revocation(len(self._gone), self._gone, grant_only=self._grant_only)
        self.lists[data] = (self._gone, len(self._gone))
        self.scheduler.say("tenant", "takes back", self._gone)
        self._tell(data)
        if draw.random() < 0.5:
            self.scheduler.after(draw.uniform(0.5, 4), self._revoke)

    def _tell(self, data: bytes) -> None:
        program = self.seats[0].program
        if program is not None:
            program.revoke(data)

    # ---- how it ends ----

    def _heal(self) -> None:
        self.scheduler.say("world", "heals")
        self._doomed.clear()
        self.network.heal()
        for machine in self.machines:
            if abs(machine.skew) > NEAR_S:
                machine.skew = 0.0
        for relay in self.relays.values():
            if isinstance(relay, HostileRelay):
                relay.reform()
            relay.start()
        if self.shape.clocks:  # records and certificates of a wrong clock are replaced when the host connects anew
            for host in self.hosts:
                host.kill()
        for host in self.hosts:
            host.start()
        for seat in self.seats:
            self._sit(seat)

    def _waiting(self) -> list[str]:
        """Who has a right to everything, and has not got it yet."""
        waits = []
        for seat in self.seats:
            fallen = any(seat.operator.name in FALLS[name] for name in self._gone)
            lasting = seat.operator.until > self.seats[0].operator.until - 60 and seat.operator.may_see(seat.session)
            if seat.honest and lasting and not fallen and (seat.program is None or not seat.program.settled):
                waits.append(f"{seat.machine.name} waits")
        return waits

    def run(self, checkers: Iterable[Callable[["World"], None]] = CHECKERS) -> "World":
        """Live it through. Raises Violation for the first of ``checkers`` that fails."""
        self.scheduler.run(HEAL_S)
        self._heal()
        if self.lists:
            self._tell(list(self.lists)[-1])
        self.scheduler.run(HEAL_S + 2.0)
        self.scheduler.run(HEAL_S + REST_S, done=self._rests())
        self.unsettled = self._waiting()
        for check in checkers:
            check(self)
        return self

    def _rests(self) -> Any:
        """Looking at every step is dear, so only each 20th is looked at."""
        scheduler = self.scheduler
        return lambda: scheduler.steps % 20 == 0 and not self._waiting()


def run(
    seed: int,
    shape: str,
    *,
    flags: frozenset[str] = frozenset(),
    checkers: Iterable[Callable[[World], None]] = CHECKERS,
) -> World:
    """Run one world. A failure says how to run it again and what happened last."""
    with remembered():
        world = World(seed, SHAPES[shape], flags)
        try:
            return world.run(checkers)
        except Exception as error:
            again = f"pytest tests/simulation -n0 -k {shape} --seed {seed}"
            error.add_note(f"again: {again}\nlast happened:\n{world.scheduler.story(60)}")
            raise


__all__ = ["SHAPES", "Shape", "Violation", "World", "run"]
