"""Decide who may type into a session now: a person over an AI, one at a time, by terms. Pure; time is an argument.

Not here: who may ask at all (admission), what may be typed (gate), how bytes are stopped (host.judge, host.input).
Source: docs/operators.md. The table:

* The line is *free*, or *held* by one operator; besides, a person may have *paused* it (no AI acts) or made it *private*
  (no AI sees or acts). ``term`` rises with every change of that, and every write names the latest its sender saw.
* Whoever is no person (ai, device) claims a free line with the first key; a person does not need to: people share a free
  line, and whoever types has it until Enter or ``LINE_S`` without a key. A service types on a free line and holds nothing.
* A person takes from whoever is none at any time, by asking or just by typing, also where an AI left a line half typed;
  from another person only by asking.
* A guest never types. An AI never takes from anybody, gives, pauses or ends a pause: it may ask (``request``).
"""

import enum
import re
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from holdfast.core.errors import (
    LineBusy,
    NoControl,
    NotYourTurn,
    OutOfTurn,
    Paused,
    Private,
    StaleBasis,
    StaleTerm,
    TooFast,
)

LINE_S: Final = 10.0  # a person's unsubmitted line is theirs for so long after the last key
SILENT_S: Final = 60.0  # control of an operator that does nothing for so long lapses; a person's while they are gone
REQUEST_S: Final = 600.0  # a request for control is remembered so long
REQUESTS_MAX: Final = 16
HISTORY: Final = 64  # changes remembered; a write whose sender saw none of them is stale
RATE: Final = 20.0  # acts a second of an operator that is no person, over time ...
BURST: Final = 200.0  # ... and at once
BUCKETS_MAX: Final = 256
FIRST_TERM: Final = 1
TYPING: Final = ("input", "run")  # verbs that type

_SUBMITS: Final = (0x0D, 0x0A, 0x03, 0x1A, 0x1C)  # Enter, and what throws the line away: ^C ^Z ^\
# Focus and mouse: a terminal says these by itself, nobody types them.
_REPORTS: Final = re.compile(rb"(?:\x1b\[(?:[IO]|M[\x20-\xff]{3}|<[0-9;]{1,20}[Mm]))+")


class Role(enum.IntEnum):
    """What a grant lets an operator do with a session, weakest first."""

    NONE = 0
    OBSERVE = 1
    PROPOSE = 2
    OPERATE = 3
    MANAGE = 4


class Operator(NamedTuple):
    """Who acts. ``kind`` is a word of core.identity.Kind; ``id`` names the operator, not the program it uses."""

    id: str
    kind: str
    role: Role = Role.OPERATE
    principal: str = ""  # on whose behalf

    @property
    def person(self) -> bool:
        return self.kind == "human"


NOBODY: Final = Operator("", "", Role.NONE)


class State(enum.StrEnum):
    FREE = "free"
    HELD = "held"
    PAUSED = "paused"
    PRIVATE = "private"


class Bar(enum.StrEnum):
    """What keeps out whoever is no person."""

    NONE = ""
    PAUSED = "paused"
    PRIVATE = "private"


class How(enum.StrEnum):
    """How control changed."""

    CLAIM = "claim"  # by the first key on a free line
    TAKE = "take"
    GIVE = "give"
    RELEASE = "release"
    LAPSE = "lapse"  # its holder was silent for too long
    PAUSE = "pause"
    RESUME = "resume"
    PRIVATE = "private"
    PUBLIC = "public"
    RECOVER = "recover"  # a host found a later term at the holder than its journal has


_FREEING: Final = frozenset((How.RELEASE, How.LAPSE, How.RESUME, How.PUBLIC))
JOBS: Final = ("leave", "interrupt", "stop")  # what becomes of the foreground job when control is taken or lapses


class Basis(NamedTuple):
    """What an AI operator had seen when it decided: the latest input of somebody else, by its position in the journal,
    and the state of the command line (a word of the host's own; empty: not named)."""

    input: int = 0
    command: str = ""


class Act(NamedTuple):
    """Something that would reach the terminal. ``verb``: input, run, signal, resize. ``term``: latest its sender saw,
    0 if its program does not follow control."""

    verb: str
    by: Operator
    data: bytes = b""
    term: int = 0
    basis: Basis | None = None
    detail: Mapping[str, Any] = {}  # what else the verb says: signal, tree, rows, cols, client, seq, attachment
    author: str = ""  # as the journal is to name them; an Author with a proof, if there is one


class Change(NamedTuple):
    """Control changed. ``cuts``: whoever lost it may have bytes on the way, which must not arrive any more."""

    term: int
    how: How
    by: Operator  # who did it; NOBODY for a lapse
    holder: Operator  # afterwards; NOBODY: nobody
    former: Operator
    bar: Bar
    cuts: bool = False
    why: str = ""
    job: str = "leave"
    left: tuple[Operator, ...] = ()  # who had unsubmitted bytes on the line
    paused_by: str = ""
    private_by: str = ""

    @property
    def state(self) -> State:
        return _state(self.holder, self.bar)


class Request(NamedTuple):
    """Somebody asks for control."""

    by: Operator
    why: str
    at: float


def _state(holder: Operator, bar: Bar) -> State:
    return State(bar.value) if bar else State.HELD if holder.id else State.FREE


def only_reports(data: bytes) -> bool:
    """Tell whether ``data`` is nothing but what a terminal says by itself: focus in and out, the mouse."""
    return data[:1] == b"\x1b" and _REPORTS.fullmatch(data) is not None


def unsubmitted(data: bytes) -> bool:
    """Tell whether something stands on the line after ``data`` was typed on an empty one."""
    return bool(data) and data[-1] not in _SUBMITS


class Line:
    """The line that is being typed: whose bytes stand on it unsubmitted."""

    __slots__ = ("at", "authors")

    def __init__(self) -> None:
        self.authors: tuple[Operator, ...] = ()  # in the order of their first byte
        self.at = 0.0  # of the last byte

    def typed(self, by: Operator, data: bytes, now: float) -> None:
        """``by`` typed ``data``."""
        if not unsubmitted(data):
            self.authors = ()
        else:
            if any(byte in data for byte in _SUBMITS):
                self.authors = ()
            if by not in self.authors:
                self.authors = (*self.authors, by)
        self.at = now

    def of_others(self, than: str, now: float) -> str:
        """Return who else has bytes on it, and typed lately; empty: nobody."""
        if now - self.at >= LINE_S:
            return ""
        return next((one.id for one in self.authors if one.id != than), "")


class Buckets:
    """How fast operators act. Bounded; the longest unused are forgotten, which gives them a full bucket again."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst = rate, burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # operator -> tokens, when

    def wait(self, who: str, now: float) -> float:
        """Return seconds until ``who`` may act, 0: now. Takes nothing."""
        tokens, at = self._left.get(who, (self.burst, now))
        tokens = min(self.burst, tokens + (now - at) * self.rate)
        return 0.0 if tokens >= 1 else (1 - tokens) / self.rate

    def take(self, who: str, now: float) -> None:
        tokens, at = self._left.get(who, (self.burst, now))
        self._left[who] = (min(self.burst, tokens + (now - at) * self.rate) - 1, now)
        self._left.move_to_end(who)
        while len(self._left) > BUCKETS_MAX:
            self._left.popitem(last=False)


class Control:
    """Control of one session. Every method either changes what its docstring says, or raises OutOfTurn and changes
    nothing. Times are seconds on one clock that only rises."""

    def __init__(
        self, *, now: float = 0.0, silent_s: float = SILENT_S, rate: float = RATE, burst: float = BURST
    ) -> None:
        self.term, self.holder = FIRST_TERM, NOBODY
        self.paused_by, self.private_by = "", ""  # which person keeps others out; both may be so at once
        self.heard = now  # the holder did something
        self.on_lapse = "leave"  # what becomes of the holder's job if it lapses
        self.silent_s = silent_s
        self.line = Line()
        self.requests: OrderedDict[str, Request] = OrderedDict()
        self._changes: deque[Change] = deque(maxlen=HISTORY)
        self._known_from = FIRST_TERM  # every change after this term is in _changes
        self._buckets = Buckets(rate, burst)
        self._inputs = (0, "")  # position and author of the last input
        self._inputs_before = (0, "")  # and of the last one by anybody else

    @property
    def bar(self) -> Bar:
        """What keeps out whoever is no person, the stronger if it is both."""
        return Bar.PRIVATE if self.private_by else Bar.PAUSED if self.paused_by else Bar.NONE

    @property
    def barred_by(self) -> str:
        """Which person did that."""
        return self.private_by or self.paused_by

    @property
    def state(self) -> State:
        return _state(self.holder, self.bar)

    @property
    def deadline(self) -> float | None:
        """When control lapses unless its holder does something; None: nobody holds it."""
        return self.heard + self.silent_s if self.holder.id else None

    # ---- what reaches the terminal ----

    def weigh(self, act: Act, *, now: float, command: str = "") -> Change | None:
        """Allow ``act``, which is done next, and return the change of control that it makes, if it makes one."""
        return self.goes(act, self.allows(act, now=now, command=command), now=now)

    def allows(self, act: Act, *, now: float, command: str = "") -> How | None:
        """Return how control changes if ``act`` is done, None if it does not; nothing has changed yet. Raises OutOfTurn.

        ``command``: the state of the command line now. A person who types while somebody who is none has control takes
        it thereby.
        """
        by = act.by
        self._may_type(by, act.verb)
        taking = self._in_the_way(act, now)
        self._barred(by)
        self._current(by, act.term)
        if not by.person:
            self._world_stands(act, command, now)
        if taking:
            return How.TAKE
        claims = not self.holder.id and by.kind in ("ai", "device") and act.verb in TYPING
        return How.CLAIM if claims else None

    def goes(self, act: Act, how: How | None, *, now: float) -> Change | None:
        """``act`` is done now, as ``allows`` said just before; return the change of control."""
        by = act.by
        change = None
        if how is not None:
            taking = how is How.TAKE
            change = self._change(how, by, by, now, cuts=taking, why="typed" if taking else "")
        if not by.person:
            self._buckets.take(by.id, now)
        self.heard_of(by.id, now)
        if act.verb in TYPING and not only_reports(act.data):
            self.line.typed(by, act.data, now)
        return change

    def still(self, by: Operator, term: int) -> None:
        """Raise OutOfTurn if what was allowed in ``term`` must not be done any more, since control changed."""
        self._barred(by)
        self._current(by, term, accepted=True)

    def typed(self, by: str, position: int) -> None:
        """The input of ``by`` stands in the journal at ``position``."""
        if self._inputs[1] != by:
            self._inputs_before = self._inputs
        self._inputs = (position, by)

    @property
    def last_input(self) -> int:
        """Position of the latest input of anybody, 0: none."""
        return self._inputs[0]

    def foreign(self, by: str) -> tuple[int, str]:
        """Return position and author of the latest input of anybody but ``by``; 0: none."""
        return self._inputs_before if self._inputs[1] == by else self._inputs

    def _may_type(self, by: Operator, verb: str) -> None:
        if by.role < Role.OPERATE or by.kind not in ("human", "ai", "device", "service"):
            raise NoControl(
                verb, by.kind, f"{by.id} ({by.kind or 'unknown'}) may not act in this session, only watch or propose"
            )

    def _in_the_way(self, act: Act, now: float) -> bool:
        """Tell whether ``act`` takes control from its holder; raise if holder or line are not to be interrupted so."""
        by, holder = act.by, self.holder
        if holder.id not in ("", by.id):
            if not by.person or holder.person or (act.verb == "input" and only_reports(act.data)):
                raise NotYourTurn(holder.id, holder.kind, self.state, self.term)
            return act.verb in TYPING  # a person's signal or size is let through, and takes nothing
        if act.verb not in TYPING or holder.id:
            return False
        left = self.line.authors
        if by.person and left and not any(one.person for one in left):
            return not only_reports(act.data)  # what an AI left half typed is cleared, not continued
        if other := self.line.of_others(by.id, now):
            raise LineBusy(other, self.line.at + LINE_S - now)
        return False

    def _barred(self, by: Operator) -> None:
        if by.person or not self.bar:
            return
        raise (Private if self.bar is Bar.PRIVATE else Paused)(self.barred_by, self.term)

    def _current(self, by: Operator, term: int, *, accepted: bool = False) -> None:
        """Raise StaleTerm unless every change after ``term`` leaves what ``by`` had decided as it was. ``accepted``: it
        was allowed in that term and waits for its turn, so a claim of the line comes after it."""
        if term == self.term:
            return
        if term == 0:
            if by.kind in ("ai", "device"):
                raise StaleTerm(term, self.term, "", "an AI operator must say which term of control it saw")
            return
        if term > self.term or term < self._known_from:
            raise StaleTerm(term, self.term, "", "it names a term of control that this host does not know")
        for change in self._changes:
            if change.term > term and not (_harmless(change, by) or (accepted and change.how is How.CLAIM)):
                raise StaleTerm(term, self.term, change.by.id or "the host", change.how.value)

    def _world_stands(self, act: Act, command: str, now: float) -> None:
        by, basis = act.by, act.basis
        if by.kind != "service" and act.verb in TYPING:
            position, author = self.foreign(by.id)
            if position > (basis.input if basis else 0):
                raise StaleBasis("input", author, position)
            if basis and basis.command and command and basis.command != command:
                raise StaleBasis("command", "", position)
        if other := self.line.of_others(by.id, now):
            raise LineBusy(other, self.line.at + LINE_S - now)
        if wait := self._buckets.wait(by.id, now):
            raise TooFast(wait)

    # ---- control itself ----

    def take(self, by: Operator, *, now: float, why: str = "", job: str = "leave") -> Change | None:
        """Give control to ``by``, who asks for it; None: has it already. A person may at any time, others a free line.

        ``job``: what becomes of the foreground job: leave, interrupt, stop; of an AI's own take, if it falls silent.
        """
        self._may_type(by, "take")
        if by.kind == "service":
            raise NoControl("take", by.kind, "a service holds no control")
        if job not in JOBS:
            raise NoControl("take", by.kind, f"{job!r} is nothing that can be done with a job ({', '.join(JOBS)})")
        if self.holder.id == by.id:
            self.heard_of(by.id, now)
            return None
        if not by.person:
            self._barred(by)
            if self.holder.id:
                raise NotYourTurn(self.holder.id, self.holder.kind, self.state, self.term)
            if other := self.line.of_others(by.id, now):
                raise LineBusy(other, self.line.at + LINE_S - now)
        return self._change(How.TAKE, by, by, now, cuts=by.person, why=why, job=job)

    def give(self, by: Operator, to: Operator, *, now: float, why: str = "") -> Change | None:
        """A person who has control, or nobody has it, gives it to ``to``; None: ``to`` has it already."""
        self._may_type(by, "give")
        if not by.person:
            raise NoControl("give", by.kind, "only a person gives control; an AI operator releases it")
        self._may_type(to, "give")
        if to.kind == "service":
            raise NoControl("give", to.kind, "a service holds no control")
        if self.holder.id == to.id:
            return None
        if self.holder.person and self.holder.id != by.id:
            raise NotYourTurn(self.holder.id, self.holder.kind, self.state, self.term)
        self._barred(to)
        return self._change(How.GIVE, by, to, now, cuts=bool(self.holder.id) and not self.holder.person, why=why)

    def release(self, by: Operator, *, now: float, why: str = "") -> Change | None:
        """Whoever has control lets the line be free; None: nobody has it. Only the holder can."""
        if not self.holder.id:
            return None
        if self.holder.id != by.id:
            raise NotYourTurn(self.holder.id, self.holder.kind, self.state, self.term)
        return self._change(How.RELEASE, by, NOBODY, now, why=why)

    def bar_others(self, by: Operator, bar: Bar, *, on: bool = True, now: float, why: str = "") -> Change | None:
        """A person pauses whoever is none, or makes the session private; ``on`` False ends that. None: it is so already."""
        how = (How.PRIVATE if on else How.PUBLIC) if bar is Bar.PRIVATE else (How.PAUSE if on else How.RESUME)
        self._may_type(by, how.value)
        if not by.person:
            raise NoControl(how.value, by.kind, "only a person pauses, resumes, or changes what is private")
        private = bar is Bar.PRIVATE
        if on == bool(self.private_by if private else self.paused_by):
            return None
        if private:
            self.private_by = by.id if on else ""
        else:
            self.paused_by = by.id if on else ""
        keeps = self.holder if self.holder.person or not on else NOBODY
        return self._change(how, by, keeps, now, cuts=on, why=why)

    def request(self, by: Operator, *, now: float, why: str = "") -> Request | None:
        """``by`` asks for control; who has it, or a person, may give it. None: it has it, or has asked the same."""
        self._may_type(by, "request")
        if by.kind == "service":
            raise NoControl("request", by.kind, "a service holds no control")
        self._forget_requests(now)
        known = self.requests.get(by.id)
        if self.holder.id == by.id or (known is not None and known.why == why):
            return None
        if not by.person and (wait := self._buckets.wait(by.id, now)):
            raise TooFast(wait)
        self._buckets.take(by.id, now)
        made = self.requests[by.id] = Request(by, why, now)
        while len(self.requests) > REQUESTS_MAX:
            self.requests.popitem(last=False)
        return made

    def lapse(self, *, now: float, present: bool = False) -> Change | None:
        """Time passed: the line is free if its holder has been silent for too long. ``present``: the holder is attached,
        which is enough for a person."""
        if not self.holder.id:
            return None
        if present and self.holder.person:
            self.heard = now
        if now < self.heard + self.silent_s:
            return None
        return self._change(How.LAPSE, NOBODY, NOBODY, now, job=self.on_lapse)

    def gone(self, by: str, *, now: float) -> Change | None:
        """The rights of ``by`` have ended: it holds neither control nor the line any more, and asks for nothing."""
        self.line.authors = tuple(one for one in self.line.authors if one.id != by)
        self.requests.pop(by, None)
        if not by or self.holder.id != by:
            return None
        return self._change(How.LAPSE, NOBODY, NOBODY, now, job=self.on_lapse)

    def heard_of(self, by: str, now: float) -> None:
        """``by`` did something, whatever it is."""
        if by and by == self.holder.id:
            self.heard = now

    def _change(
        self, how: How, by: Operator, holder: Operator, now: float, *, cuts: bool = False, why: str = "", job: str = "leave"
    ) -> Change:  # fmt: skip
        left = self.line.authors if cuts else ()
        if cuts and not any(one.person for one in left):
            self.line.authors = ()  # what stood there is cleared, or it is said that it could not be
        change = Change(
            self.term + 1, how, by, holder, self.holder, self.bar, cuts, why, job, left, self.paused_by, self.private_by
        )
        self.on_lapse = job if how in (How.TAKE, How.CLAIM) and not by.person else "leave"
        self._apply(change, now)
        return change

    def _apply(self, change: Change, now: float) -> None:
        if len(self._changes) == HISTORY:
            self._known_from = self._changes[0].term
        self._changes.append(change)
        self.term, self.holder = change.term, change.holder
        self.heard = now
        self.requests.pop(change.holder.id, None)

    def _forget_requests(self, now: float) -> None:
        for who in [who for who, each in self.requests.items() if now - each.at > REQUEST_S]:
            del self.requests[who]

    # ---- over a restart ----

    def restore(self, change: Change, *, now: float) -> None:
        """Take over a change that an earlier host recorded."""
        if change.term != self.term + 1:
            self._changes.clear()
            self._known_from = change.term
        self.paused_by, self.private_by = change.paused_by, change.private_by
        self._apply(change, now)

    def recover(self, floor: int, *, now: float) -> Change | None:
        """The holder has obeyed term ``floor``: if that is later than what is known, go above it, and let nobody who is no
        person go on as before. None: nothing is missing."""
        if floor <= self.term:
            return None
        self.term = floor
        self._changes.clear()
        self._known_from = floor + 1
        keeps = self.holder if self.holder.person else NOBODY
        return self._change(How.RECOVER, NOBODY, keeps, now, cuts=True)


def _harmless(change: Change, to: Operator) -> bool:
    """Whether what ``to`` sent before ``change`` may still be done after it (DESIGN 8, the rule of acceptance)."""
    if change.how in _FREEING:
        return True
    if change.holder.id == to.id == change.by.id:  # they made it their own: took, claimed, or gave it to themselves
        return True
    if to.person:
        return change.how in (How.PAUSE, How.PRIVATE, How.RECOVER) or (
            change.how is How.CLAIM and not change.holder.person
        )
    return False


__all__ = [
    "FIRST_TERM", "JOBS", "LINE_S", "NOBODY", "SILENT_S", "Act", "Bar", "Basis", "Change", "Control", "How", "Operator",
    "OutOfTurn", "Request", "Role", "State", "only_reports", "unsubmitted",
]  # fmt: skip
