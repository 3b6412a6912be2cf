"""Operators who propose and people who decide, in any order, over host restarts and time. What may never happen is checked
from the story alone, which knows nothing of how core.proposals decides.

``act`` is the host in small: it asks ``may_decide``, records, and types what was approved if the ground still holds.
"""

import contextlib
import hashlib
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.core.errors import HoldError
from holdfast.core.identity import Kind as Who
from holdfast.core.journal import GENESIS, Chain, Kind, decoded
from holdfast.core.policy import Proposing, Subject
from holdfast.core.proposals import Deed, Ground, Proposal, Proposals, State, Step, Widen, digest_of

ALICE, BOB = Subject("o-alice", Who.HUMAN), Subject("o-bob", Who.HUMAN)
AI, AI2 = Subject("o-ai", Who.AI, "o-alice"), Subject("o-ai2", Who.AI)
GUEST, LAMP, INSIDE = Subject("o-guest", Who.GUEST), Subject("o-lamp", Who.DEVICE), Subject("service:s-1", Who.SERVICE)
ODD: Final = Subject("o-odd", Who.HUMAN, "o-alice")  # a person's key that acts for another
PROPOSERS, DECIDERS = (
    (AI, AI, AI2, GUEST, BOB, BOB, LAMP),
    (ALICE, ALICE, ALICE, BOB, BOB, AI, AI2, GUEST, LAMP, INSIDE, ODD, ODD),
)
BOUNDS: Final = Proposing(expire_s=100, pending_max=2)
SESSION: Final = "s-1"

data = st.sampled_from((b"make\r", b"rm x\r", b"ls\r"))
mostly = st.sampled_from((True,) * 9 + (False,))
which = st.integers(0, 5)


class Typed(NamedTuple):
    proposal: int
    data: bytes
    by: str  # who decided, last


class Machine(RuleBasedStateMachine):
    """One session."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.input = 1000.0, 0
        self.records: list[bytes] = []
        self.chain = Chain(position=0, head=GENESIS)
        self.known = Proposals()
        self.made: list[int] = []
        self.typed: list[Typed] = []
        self.story: dict[int, dict[str, Any]] = {}
        self.ended: dict[int, State] = {}

    # ---- the host in small ----

    def record(self, kind: Kind, operator: str, body: dict[str, Any]) -> int:
        sealed = self.chain.seal(kind, operator, body, at_ns=int(self.now * 1e9))
        self.chain.accept(sealed)
        self.records.append(sealed.data)
        self.known.learn(sealed.record)
        return sealed.record.position

    def ground(self) -> Ground:
        return Ground(self.input, 7, 1)

    def act(self, who: Subject, number: int, digest: bytes, step: Step, widen: Widen) -> None:
        found = self.known.may_decide(who, number, digest, step, now=self.now, widen=widen)
        if found is None:
            return
        body = {"proposal": number, "verdict": step.value, "digest": digest, "widen": widen.value,
                "words": ["make"], "granted_until": self.now + 50}  # fmt: skip
        self.record(Kind.DECISION, f"{who.operator}/123", body)
        if step is Step.APPROVE:
            holds = self.ground() == found.ground
            verdict = Step.EXECUTE if holds else Step.GO_STALE
            if holds:
                self.typed.append(Typed(number, found.deed.data, who.operator))
                self.story[number]["typed_by"] = who
                self.story[number]["named"] = digest
            self.record(Kind.DECISION, "host", {"proposal": number, "verdict": verdict.value, "outcome": "applied"})

    # ---- what happens ----

    @rule(who=st.sampled_from(PROPOSERS), what=data, only=st.booleans(), seq=st.integers(1, 6))
    def propose(self, who: Subject, what: bytes, only: bool, seq: int) -> None:
        deed, ground = Deed("input", what), self.ground()
        if (again := self.known.asked(who.operator, seq)) is not None:
            assert again.id in self.story
            return
        try:
            self.known.may_propose(who, deed, BOUNDS)
        except HoldError:
            return
        number = self.record(Kind.PROPOSAL, f"{who.operator}/7", {
            "kind": who.kind.value, "deed": list(deed), "ground": list(ground), "until": self.now + BOUNDS.expire_s,
            "digest": digest_of(SESSION, who.operator, deed, ground), "client": who.operator, "seq": seq, "only_proposes": only,
        })  # fmt: skip
        self.made.append(number)
        self.story[number] = {
            "by": who,
            "data": what,
            "until": self.now + BOUNDS.expire_s,
            "ground": ground,
            "only": only,
        }

    @precondition(lambda self: self.made)
    @rule(
        who=st.sampled_from(DECIDERS),
        back=which,
        right=st.sampled_from((True, True, False)),
        approve=mostly,
        widen=st.sampled_from(Widen),
        again=st.booleans(),
    )
    def decide(self, who: Subject, back: int, right: bool, approve: bool, widen: Widen, again: bool) -> None:
        number = self.made[-1 - back % len(self.made)]
        digest = self.known_digest(number) if right else hashlib.sha256(b"other").digest()
        for _ in range(2 if again else 1):
            try:
                self.act(who, number, digest, Step.APPROVE if approve else Step.DENY, widen if approve else Widen.ONCE)
            except HoldError:
                return
            self.story[number]["decided"] = True

    @precondition(lambda self: self.made)
    @rule(who=st.sampled_from((ALICE, BOB)))
    def decide_late(self, who: Subject) -> None:
        """The newest, just when its time is over, before anybody has looked at the clock."""
        self.now = max(self.now, self.story[self.made[-1]]["until"])
        self.decide_now(who, self.made[-1])

    @precondition(lambda self: self.made)
    @rule(back=which)
    def decide_own(self, back: int) -> None:
        """Whoever proposed it decides it."""
        number = self.made[-1 - back % len(self.made)]
        self.decide_now(self.story[number]["by"], number)

    def decide_now(self, who: Subject, number: int) -> None:
        with contextlib.suppress(HoldError):
            self.act(who, number, self.known_digest(number), Step.APPROVE, Widen.ONCE)

    def known_digest(self, number: int) -> bytes:
        said = self.story[number]
        return digest_of(SESSION, said["by"].operator, Deed("input", said["data"]), said["ground"])

    @precondition(lambda self: self.made)
    @rule(who=st.sampled_from(PROPOSERS), back=which)
    def withdraw(self, who: Subject, back: int) -> None:
        number = self.made[-1 - back % len(self.made)]
        try:
            found = self.known.may_withdraw(f"{who.operator}/9", number)
        except HoldError:
            return
        if found is not None:
            assert self.story[number]["by"].operator == who.operator
            self.record(Kind.DECISION, f"{who.operator}/9", {"proposal": number, "verdict": Step.WITHDRAW.value})

    @rule(by=st.sampled_from((ALICE, BOB, AI)), seconds=st.sampled_from((0.0, 1.0, 30.0, 150.0)))
    def world_moves(self, by: Subject, seconds: float) -> None:
        self.now += seconds
        if seconds == 1.0:
            self.input = self.record(
                Kind.INPUT, by.operator, {"client": by.operator, "seq": len(self.records), "data": b"x"}
            )

    @rule()
    def time_is_looked_at(self) -> None:
        for late in self.known.overdue(self.now):
            self.record(Kind.DECISION, "host", {"proposal": late.id, "verdict": Step.EXPIRE.value})

    @rule(carried=st.booleans())
    def the_host_is_replaced(self, carried: bool) -> None:
        before = self.known
        self.known = Proposals()
        if carried:  # only a new segment of the journal is read
            self.record(Kind.CARRIED, "host", before.carried())
            del self.records[:-1]
            assert self.known.pending == before.pending
            self.made = [each for each in self.made if each in {one.id for one in self.known.pending}]
        else:
            for each in self.records:
                self.known.learn(decoded(each))
            assert (self.known.pending, self.known.recent(99)) == (before.pending, before.recent(99))
        for who in PROPOSERS:
            assert self.known.grants(who.operator, self.now) == before.grants(who.operator, self.now)

    # ---- what must hold ----

    @invariant()
    def only_what_a_person_saw_is_typed(self) -> None:
        for each in self.typed:
            said = self.story[each.proposal]
            by: Subject = said["typed_by"]
            assert by.kind is Who.HUMAN and not by.principal, "decided by somebody who is no person"
            assert by.operator != said["by"].operator, "approved by whoever proposed it"
            assert each.data == said["data"], "other bytes"
            assert said["named"] == self.known_digest(each.proposal), "approved without having seen it"

    @invariant()
    def each_is_typed_at_most_once(self) -> None:
        assert len({each.proposal for each in self.typed}) == len(self.typed)

    @invariant()
    def what_is_settled_stays_so(self) -> None:
        for each in self.known.recent(999):
            assert self.ended.setdefault(each.id, each.state) is each.state

    @invariant()
    def nothing_is_typed_late(self) -> None:
        for each in self.known.recent(999):
            if each.state is State.EXECUTED:
                assert each.settled_at < each.until

    @invariant()
    def bounds_hold(self) -> None:
        own: dict[str, list[Proposal]] = {}
        for each in self.known.pending:
            own.setdefault(each.operator, []).append(each)
        assert all(len(each) <= BOUNDS.pending_max for each in own.values())

    @invariant()
    def grants_are_their_operators_alone_and_end(self) -> None:
        for who in PROPOSERS:
            for grant in self.known.grants(who.operator, self.now):
                said = self.story[grant.proposal]
                assert said["by"].operator == who.operator and not said["only"]
                assert grant.until > self.now
