"""Keep what somebody proposed until a person decides: each at most once, by exactly what was seen. Pure; time is given.

Everything here follows from journal records (``learn``): a host that is replaced knows the same proposals. Its methods
check and say what is to be recorded; only ``learn`` changes anything. Not here: what has to be proposed (gate), how an
approved one is typed (host.gate). Source: docs/gate.md, "Proposals"; R67, R76.
"""

import enum
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from holdfast.core.errors import AlreadyDecided, MayNotDecide, NoSuchProposal, TooMany, WrongDigest
from holdfast.core.identity import Kind as OperatorKind
from holdfast.core.journal import Kind, Record
from holdfast.core.policy import Proposing, Subject, Verb

DATA_BYTES_MAX: Final = 16 << 10  # of one proposal: a person is to read it
PENDING_BYTES_MAX: Final = 256 << 10  # of all that wait in a session
PENDING_MAX: Final = 64  # in a session
SETTLED_MAX: Final = 256  # of which the outcome is remembered
WHY_MAX: Final = 500  # characters
WORDS_MAX: Final = 64

_encoder = msgspec.msgpack.Encoder(order="deterministic")


class State(enum.StrEnum):
    PROPOSED = "proposed"
    APPROVED = "approved"  # decided, and not yet done
    EXECUTED = "executed"  # the host typed or did it; ``outcome`` says how far
    STALE = "stale"  # the session moved on, or the host was replaced in between: nothing was typed
    DENIED = "denied"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Step(enum.StrEnum):
    """What can happen to a proposal: the ``verdict`` of a ``decision`` record."""

    APPROVE = "approve"
    DENY = "deny"
    EXPIRE = "expire"
    WITHDRAW = "withdraw"
    EXECUTE = "executed"
    GO_STALE = "stale"


LIFE: Final[Mapping[State, Mapping[Step, State]]] = {
    State.PROPOSED: {
        Step.APPROVE: State.APPROVED, Step.DENY: State.DENIED, Step.EXPIRE: State.EXPIRED,
        Step.WITHDRAW: State.WITHDRAWN, Step.GO_STALE: State.STALE,
    },
    State.APPROVED: {Step.EXECUTE: State.EXECUTED, Step.GO_STALE: State.STALE},
    State.EXECUTED: {}, State.STALE: {}, State.DENIED: {}, State.EXPIRED: {}, State.WITHDRAWN: {},
}  # fmt: skip
SETTLED: Final = frozenset(state for state, steps in LIFE.items() if not steps)


class Widen(enum.StrEnum):
    """How far an approval reaches beyond the proposal."""

    ONCE = ""
    SESSION = "session"  # the same bytes again, by the same operator in the same session
    PREFIX = "prefix"  # commands that begin with the same words


class Ground(NamedTuple):
    """What an operator's proposal stands on; if any of it changed, the bytes may mean something else.

    ``input``: journal position of the latest input of anybody else; ``foreground``: the terminal's foreground process
    group, -1 if it cannot be told; ``incarnation`` of the session.
    """

    input: int
    foreground: int
    incarnation: int


class Deed(NamedTuple):
    """What would be done: exactly this and nothing else. ``data`` for input and run, ``signal`` and ``tree`` for signal,
    ``size`` for resize."""

    verb: str
    data: bytes = b""
    signal: int = 0
    tree: bool = False
    size: tuple[int, int] = (0, 0)


class Proposal(NamedTuple):
    """One proposal. ``id`` is the journal position of its record. Times are Unix seconds."""

    id: int
    operator: str  # without the process it used
    kind: str
    principal: str
    deed: Deed
    ground: Ground
    digest: bytes
    at: float
    until: float
    why: str = ""
    rule: str = ""
    reason: str = ""
    cwd: str = ""
    client: str = ""
    seq: int = 0
    only_proposes: bool = False  # its operator may not operate: an approval cannot widen
    state: State = State.PROPOSED
    by: str = ""  # who decided
    answer: str = ""  # why it was decided so, or went stale
    outcome: str = ""  # of an executed one: applied, partial, refused, unknown, done
    written: int = 0
    position: int = 0  # of the input, signal or resize in the journal
    settled_at: float = 0.0


class Grant(NamedTuple):
    """An approval that reaches further. It is its operator's alone, in this session, until ``until``."""

    proposal: int
    operator: str
    widen: Widen
    deed: Deed
    words: tuple[str, ...]
    until: float
    by: str


def digest_of(session: str, operator: str, deed: Deed, ground: Ground) -> bytes:
    """Return what a decision names: SHA-256 over all that is proposed, by whom, for which session, on what ground."""
    whole = ["holdfast/proposal/1", session, operator, list(deed), list(ground)]
    return hashlib.sha256(_encoder.encode(whole)).digest()


def who(operator: str) -> str:
    """Return the operator without the process it uses (``local:NAME/PID``)."""
    return operator.partition("/")[0]


class Proposals:
    """The proposals of one session. Bounded: 64 that wait, 256 of which the outcome is known, 64 grants."""

    def __init__(self) -> None:
        self._pending: OrderedDict[int, Proposal] = OrderedDict()
        self._settled: OrderedDict[int, Proposal] = OrderedDict()
        self._grants: OrderedDict[int, Grant] = OrderedDict()
        self._asked: dict[tuple[str, int], int] = {}  # (client, seq) -> id, so that asking again proposes nothing twice
        self._inputs = (0, "")  # position and author of the latest input
        self._inputs_before = (0, "")  # and of the latest by anybody else

    # ---- what there is ----

    @property
    def pending(self) -> tuple[Proposal, ...]:
        """What waits for a decision or to be done, oldest first."""
        return tuple(self._pending.values())

    def get(self, proposal: int) -> Proposal:
        """Return it. Raises NoSuchProposal."""
        found = self._pending.get(proposal) or self._settled.get(proposal)
        if found is None:
            raise NoSuchProposal(proposal)
        return found

    def asked(self, client: str, seq: int) -> Proposal | None:
        """Return what (client, seq) proposed, if it did."""
        number = self._asked.get((client, seq)) if client and seq else None
        return None if number is None else self._pending.get(number) or self._settled.get(number)

    def foreign(self, operator: str) -> int:
        """Return the journal position of the latest input of anybody but ``operator``; 0: none."""
        return (self._inputs_before if self._inputs[1] == who(operator) else self._inputs)[0]

    def recent(self, count: int) -> tuple[Proposal, ...]:
        """Return the latest that were settled, oldest first."""
        return tuple(self._settled.values())[-count:] if count > 0 else ()

    def grants(self, operator: str, now: float) -> tuple[Grant, ...]:
        """Return what was granted to ``operator`` beyond single proposals, and still is."""
        return tuple(each for each in self._grants.values() if each.operator == who(operator) and now < each.until)

    def overdue(self, now: float) -> tuple[Proposal, ...]:
        """Return what nobody decided in time."""
        return tuple(each for each in self._pending.values() if each.state is State.PROPOSED and now >= each.until)

    @property
    def deadline(self) -> float | None:
        """When the next one expires."""
        return min((each.until for each in self._pending.values() if each.state is State.PROPOSED), default=None)

    # ---- what may be done ----

    def may_propose(self, subject: Subject, deed: Deed, bounds: Proposing) -> None:
        """Raise TooMany unless one more proposal of ``subject`` is within bounds; nothing is recorded then."""
        own = sum(each.operator == who(subject.operator) for each in self._pending.values())
        held = sum(len(each.deed.data) for each in self._pending.values())
        if len(deed.data) > DATA_BYTES_MAX:
            why, do = f"a proposal has at most {DATA_BYTES_MAX} bytes", "propose less at once, or put it into a file"
        elif own >= bounds.pending_max:
            why, do = f"{own} proposals of yours wait already", "wait for decisions, or withdraw one"
        elif len(self._pending) >= PENDING_MAX or held + len(deed.data) > PENDING_BYTES_MAX:
            why, do = (
                f"{len(self._pending)} proposals of {held} bytes wait already in this session",
                "wait for decisions",
            )
        else:
            return
        raise TooMany(f"{why}; this one was not recorded, and nothing was typed", do=do)

    def may_decide(
        self, subject: Subject, proposal: int, digest: bytes, step: Step, *, now: float, widen: Widen = Widen.ONCE
    ) -> Proposal | None:
        """Return the proposal that ``subject`` may approve or deny now; None: it has decided just so already.

        Raises MayNotDecide, NoSuchProposal, WrongDigest, AlreadyDecided. Who may is asked first: the rest is nobody
        else's business.
        """
        if subject.kind is not OperatorKind.HUMAN or subject.principal:
            raise MayNotDecide(f"only a person decides proposals, and {who(subject.operator)} is {_a(subject.kind)}")
        found = self.get(proposal)
        if who(subject.operator) == found.operator:
            raise MayNotDecide("nobody decides what they proposed themselves")
        if digest != found.digest:
            raise WrongDigest(proposal)
        wanted = {Step.APPROVE: (State.APPROVED, State.EXECUTED, State.STALE), Step.DENY: (State.DENIED,)}[step]
        if found.by == who(subject.operator) and found.state in wanted:
            return None
        if found.state is not State.PROPOSED:
            raise AlreadyDecided(proposal, found.state.value, found.by)
        if now >= found.until:
            raise AlreadyDecided(proposal, State.EXPIRED.value, "")
        if widen is not Widen.ONCE and found.only_proposes:
            raise MayNotDecide(
                f"{found.operator} may only propose, and an approval cannot give it more: give it a grant"
            )
        return found

    def may_withdraw(self, operator: str, proposal: int) -> Proposal | None:
        """Return the proposal that ``operator``, who made it, may take back; None: it did already."""
        found = self.get(proposal)
        if who(operator) != found.operator:
            raise NoSuchProposal(proposal)
        if found.state is State.WITHDRAWN:
            return None
        if found.state is not State.PROPOSED:
            raise AlreadyDecided(proposal, found.state.value, found.by)
        return found

    # ---- what happened ----

    def learn(self, record: Record) -> None:
        """Take from a journal record what it says about proposals; others, and what makes no sense, are ignored."""
        try:
            if record.kind == Kind.PROPOSAL:
                self._proposed(record)
            elif record.kind == Kind.DECISION:
                self._decided(record)
            elif record.kind == Kind.INPUT:
                if self._inputs[1] != (author := who(record.operator)):
                    self._inputs_before = self._inputs
                self._inputs = (record.position, author)
            elif record.kind == Kind.CARRIED:
                self._restore(record.body)
        except (TypeError, ValueError, KeyError, IndexError):  # of no version we know: it can be proposed again
            return

    def _proposed(self, record: Record) -> None:
        body = record.body
        made = Proposal(
            record.position, who(record.operator), str(body["kind"]), str(body.get("on_behalf_of", "")),
            _deed(body["deed"]), Ground(*map(int, body["ground"])), bytes(body["digest"]), record.at_ns / 1e9,
            float(body["until"]), str(body.get("why", "")), str(body.get("rule", "")), str(body.get("reason", "")),
            str(body.get("cwd", "")), str(body.get("client", "")), int(body.get("seq", 0)), bool(body.get("only_proposes")),
        )  # fmt: skip
        self._pending[made.id] = made
        self._note(made)

    def _note(self, made: Proposal) -> None:
        if made.client and made.seq:
            self._asked[(made.client, made.seq)] = made.id

    def _decided(self, record: Record) -> None:
        body = record.body
        found, step = self._pending.get(int(body["proposal"])), Step(body["verdict"])
        if found is None or step not in LIFE[found.state]:
            return
        changed = found._replace(state=LIFE[found.state][step])
        if step in (Step.EXECUTE, Step.GO_STALE):
            changed = changed._replace(
                outcome=str(body.get("outcome", "")), written=int(body.get("written", 0)),
                position=int(body.get("position", 0)), answer=str(body.get("why", "")) or found.answer,
            )  # fmt: skip
        else:
            changed = changed._replace(by=who(record.operator), answer=str(body.get("why", "")))
        if step is Step.APPROVE:
            self._widen(changed, body)
        if changed.state not in SETTLED:
            self._pending[changed.id] = changed
            return
        del self._pending[changed.id]
        self._settle(changed._replace(settled_at=record.at_ns / 1e9))

    def _settle(self, settled: Proposal) -> None:
        self._settled[settled.id] = settled
        while len(self._settled) > SETTLED_MAX:
            _, gone = self._settled.popitem(last=False)
            self._asked.pop((gone.client, gone.seq), None)

    def _widen(self, approved: Proposal, body: Mapping[str, Any]) -> None:
        widen = Widen(body.get("widen", ""))
        if widen is Widen.ONCE or approved.only_proposes:
            return
        words = tuple(str(word) for word in body.get("words", ()))
        if widen is Widen.PREFIX and not words:
            return
        self._grants[approved.id] = Grant(
            approved.id, approved.operator, widen, approved.deed, words, float(body["granted_until"]), approved.by
        )
        while len(self._grants) > PENDING_MAX:
            self._grants.popitem(last=False)

    # ---- over a new segment of the journal ----

    def carried(self) -> dict[str, Any]:
        """Return what a ``carried`` record says of proposals: what waits, and what was granted."""
        return {
            "proposal_ground": [*self._inputs, *self._inputs_before],
            "proposals": [_plain(each) for each in self._pending.values()],
            "proposal_grants": [
                [each.proposal, each.operator, each.widen.value, list(each.deed), list(each.words), each.until, each.by]
                for each in self._grants.values()
            ],
        }  # fmt: skip

    def _restore(self, body: Mapping[str, Any]) -> None:
        if (ground := body.get("proposal_ground")) is not None and int(ground[0]) > self._inputs[0]:
            self._inputs, self._inputs_before = (int(ground[0]), str(ground[1])), (int(ground[2]), str(ground[3]))
        for raw in body.get("proposals", ()):
            values = list(raw)
            values[4], values[5] = _deed(values[4]), Ground(*map(int, values[5]))
            state = list(Proposal._fields).index("state")
            values[state] = State(values[state])
            made = Proposal(*values)
            if made.id not in self._settled:
                self._pending.setdefault(made.id, made)
                self._note(made)
        for number, operator, widen, deed, words, until, by in body.get("proposal_grants", ()):
            grant = Grant(int(number), operator, Widen(widen), _deed(deed), tuple(words), float(until), by)
            self._grants.setdefault(grant.proposal, grant)


def _deed(raw: Any) -> Deed:
    verb, data, signal, tree, size = raw
    return Deed(Verb(verb).value, bytes(data), int(signal), bool(tree), (int(size[0]), int(size[1])))


def _plain(proposal: Proposal) -> list[Any]:
    return [
        list(each) if isinstance(each, tuple) else each.value if isinstance(each, enum.Enum) else each
        for each in proposal
    ]


def _a(kind: str) -> str:
    return f"an {kind} operator" if kind[:1] in "aeiou" else f"a {kind}"
