"""Operators at one line, in any order: people, AIs, a device, a service, whoever only watches. What may never happen is
checked from the story alone (``Story``), which knows nothing of how core.control decides.

The generator is biased: senders mostly know the present term and an AI mostly has a fresh basis, or nothing would pass and
the interesting refusals would never be near an acceptance; then it lies, delays and repeats.
"""

from collections import Counter, deque
from itertools import pairwise
from typing import Final, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.core.control import LINE_S, Act, Bar, Basis, Change, Control, How, Operator, Role
from holdfast.core.errors import OutOfTurn

ALICE, BOB = Operator("local:alice", "human", Role.MANAGE), Operator("o-bob", "human")
AI, AI2 = Operator("o-ai", "ai", Role.OPERATE, "o-bob"), Operator("o-ai2", "ai")
DEVICE, SERVICE = Operator("o-lamp", "device"), Operator("service:s-1", "service")
GUEST, PROPOSER, WATCHER = (
    Operator("o-guest", "guest", Role.PROPOSE), Operator("o-proposer", "ai", Role.PROPOSE),
    Operator("o-watcher", "human", Role.OBSERVE),
)  # fmt: skip
PEOPLE, MACHINES, NEVER = (ALICE, BOB), (AI, AI2, DEVICE, SERVICE), (GUEST, PROPOSER, WATCHER)
EVERYBODY: Final = (*PEOPLE, *MACHINES, *NEVER)
RATE, BURST, SILENT = 5.0, 12.0, 60.0

who = st.sampled_from((*PEOPLE, *MACHINES, AI, AI, ALICE, *NEVER))
persons = st.sampled_from(PEOPLE)
typing = st.sampled_from((b"ls\r", b"l", b"rm x\r", b"abc", b"\x03", b"x\ry", b"\x1b[I", b"\x1b[<0;1;1M", b"pa\nste"))
mostly = st.sampled_from((True,) * 9 + (False,))


class Written(NamedTuple):
    by: Operator
    seen: int  # term its sender named
    term: int  # term in which it was written
    holder: str
    bar: Bar
    position: int
    basis: int
    foreign: int
    data: bytes
    at: float
    line: tuple[Operator, ...]  # who had unsubmitted bytes there before


class Machine(RuleBasedStateMachine):
    """One line."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.control = Control(now=0.0, silent_s=SILENT, rate=RATE, burst=BURST)
        self.knows = {each.id: 1 for each in EVERYBODY}  # the term each has last heard of
        self.saw = {each.id: 0 for each in EVERYBODY}  # the input each has last seen
        self.changes: list[Change] = []
        self.written: list[Written] = []
        self.queue: deque[tuple[Operator, int]] = deque(maxlen=8)  # accepted, waiting: who, in which term
        self.position = 0
        self.acted: Counter[str] = Counter()
        self.spent: dict[str, list[float]] = {}
        self.heard = 0.0  # when the holder last did something
        self.standing: tuple[Operator, ...] = ()
        self.typed_at = -1e9

    # ---- the world ----

    def _changed(self, change: Change | None) -> None:
        if change is not None:
            self.changes.append(change)
            self.heard = self.now
            if change.cuts and not any(one.person for one in self.standing):
                self.standing = ()  # a takeover takes a half-typed line of an AI off

    def _tell(self, by: Operator) -> None:
        self.knows[by.id], self.saw[by.id] = self.control.term, self.position

    def _act(self, by: Operator, verb: str, data: bytes, term: int, basis: int) -> bool:
        control = self.control
        before = (control.term, control.holder, control.bar, control.line.authors, control.line.at)
        try:
            change = control.weigh(Act(verb, by, data, term, Basis(basis)), now=self.now)
        except OutOfTurn:
            after = (control.term, control.holder, control.bar, control.line.authors, control.line.at)
            assert before == after, "a refusal changed something"
            return False
        self._changed(change)
        if by.id == control.holder.id:
            self.heard = self.now
        self.spent.setdefault(by.id, []).append(self.now)
        if verb == "input":
            self._wrote(by, term, data, basis)
        return True

    def _wrote(self, by: Operator, term: int, data: bytes, basis: int) -> None:
        self.position += 1
        foreign = max((each.position for each in self.written if each.by.id != by.id), default=0)
        control, standing = self.control, self.standing
        self.written.append(
            Written(by, term, control.term, control.holder.id, control.bar, self.position, basis, foreign, data, self.now,
                    standing if self.now - self.typed_at < LINE_S else ())
        )  # fmt: skip
        control.typed(by.id, self.position)
        self.queue.append((by, control.term))
        if not data.startswith(b"\x1b"):
            self.standing = self._after(standing, by, data)
            self.typed_at = self.now
        self.acted[f"{by.kind} typed"] += 1

    @staticmethod
    def _after(standing: tuple[Operator, ...], by: Operator, data: bytes) -> tuple[Operator, ...]:
        ends = [at for at, byte in enumerate(data) if byte in b"\r\n\x03"]
        if ends and ends[-1] == len(data) - 1:
            return ()
        return (by,) if ends else tuple(dict.fromkeys((*standing, by)))

    # ---- what may happen ----

    @rule(by=who, data=typing, knows=mostly, looked=mostly)
    def types(self, by: Operator, data: bytes, knows: bool, looked: bool) -> None:
        if knows:
            self.knows[by.id] = self.control.term
        if looked:
            self.saw[by.id] = self.position
        person_on_machine = by.person and self.control.holder.id and not self.control.holder.person
        done = self._act(by, "input", data, self.knows[by.id], self.saw[by.id])
        if by in PEOPLE and person_on_machine and knows and not data.startswith(b"\x1b"):
            assert done and self.control.holder.id == by.id, "a person who types takes from whoever is none"

    @rule(by=who, back=st.integers(0, 4), data=typing)
    def types_late(self, by: Operator, back: int, data: bytes) -> None:
        """What was sent some changes ago arrives now; 0: the sender's program does not follow control."""
        self._act(by, "input", data, max(0, self.control.term - back) if back else 0, self.position)

    @rule(person=persons, machine=st.sampled_from((AI, AI2, DEVICE)), back=st.integers(0, 3), data=typing)
    def hands_back(self, person: Operator, machine: Operator, back: int, data: bytes) -> None:
        """A person takes and gives back; something of before arrives only now."""
        self.takes(person)
        self.gives(person, machine)
        self._act(machine, "input", data, max(1, self.control.term - back), self.position)

    @rule(one=persons, other=persons, back=st.integers(0, 3))
    def comes_between(self, one: Operator, other: Operator, back: int) -> None:
        """Another person takes and releases; what was sent before arrives only now."""
        self.takes(other)
        self.releases(other)
        self._act(one, "input", b"ls\r", max(1, self.control.term - back), self.position)

    @rule(person=persons, machine=st.sampled_from((AI, AI2, DEVICE)), looks=st.booleans())
    def types_meanwhile(self, person: Operator, machine: Operator, looks: bool) -> None:
        """A person types a line; then an AI does, which may not have seen that."""
        self._tell(machine)
        self._act(person, "input", b"ls\r", self.control.term, self.position)
        if looks:
            self._tell(machine)
        self._act(machine, "input", b"ls\r", self.control.term, self.saw[machine.id])

    @rule(machine=st.sampled_from((AI, AI2, DEVICE, SERVICE)))
    def hurries(self, machine: Operator) -> None:
        for _ in range(int(BURST) + 3):
            self._act(machine, "signal", b"", self.control.term, self.position)

    @rule(by=st.sampled_from((AI, AI2, DEVICE, *PEOPLE)))
    def works_on(self, by: Operator) -> None:
        """Whoever has control does something before they would have been silent for too long."""
        self.takes(by)
        self.time_passes(40.0, present=False)
        self._act(by, "signal", b"", self.control.term, self.position)
        self.time_passes(40.0, present=False)

    @rule(
        one=st.sampled_from((*PEOPLE, AI)), other=st.sampled_from((*PEOPLE, AI)), third=st.sampled_from((*PEOPLE, AI))
    )
    def a_line_of_several(self, one: Operator, other: Operator, third: Operator) -> None:
        """Some begin a line, without looking."""
        for by in (one, other, third):
            self.now += 0.5
            self._act(by, "input", b"ab", self.control.term, self.saw[by.id])

    @rule(by=who)
    def signals(self, by: Operator) -> None:
        if self._act(by, "signal", b"", self.control.term, self.position) and not by.person:
            assert by.role >= Role.OPERATE and not self.control.bar
            assert self.control.holder.id in ("", by.id)

    @rule(by=who)
    def looks(self, by: Operator) -> None:
        self._tell(by)

    @rule(by=who)
    def takes(self, by: Operator) -> None:
        former, bar = self.control.holder, self.control.bar
        try:
            self._changed(self.control.take(by, now=self.now))
        except OutOfTurn:
            assert by not in PEOPLE, "a person can take at any time"
            return
        assert by in (*PEOPLE, AI, AI2, DEVICE)
        assert self.control.holder.id == by.id and self.control.bar is bar
        self.heard = self.now
        if not by.person:
            assert former.id in ("", by.id) and not self.control.bar, "only a person takes from anybody"
        self._tell(by)

    @rule(by=who, to=who)
    def gives(self, by: Operator, to: Operator) -> None:
        former = self.control.holder
        try:
            self._changed(self.control.give(by, to, now=self.now))
        except OutOfTurn:
            return
        assert by in PEOPLE and to in (*PEOPLE, AI, AI2, DEVICE)
        assert not former.person or former.id in (by.id, to.id)
        assert to.person or not self.control.bar or former.id == to.id
        self._tell(by)

    @rule(by=who)
    def releases(self, by: Operator) -> None:
        former = self.control.holder
        try:
            self._changed(self.control.release(by, now=self.now))
        except OutOfTurn:
            assert former.id != by.id
            return
        assert not former.id or (former.id == by.id and not self.control.holder.id)

    @rule(by=who, bar=st.sampled_from((Bar.PAUSED, Bar.PRIVATE)), on=st.booleans())
    def bars(self, by: Operator, bar: Bar, on: bool) -> None:
        before = self.control.paused_by, self.control.private_by
        try:
            self._changed(self.control.bar_others(by, bar, on=on, now=self.now))
        except OutOfTurn:
            assert by not in PEOPLE
            return
        assert by in PEOPLE
        after = self.control.paused_by, self.control.private_by
        at = 1 if bar is Bar.PRIVATE else 0
        assert bool(after[at]) == on and after[1 - at] == before[1 - at]
        assert not on or self.control.holder.person or not self.control.holder.id or before[at]

    @rule(by=who, why=st.sampled_from(("", "please")))
    def asks(self, by: Operator, why: str) -> None:
        was = (self.control.term, self.control.holder)
        try:
            if self.control.request(by, now=self.now, why=why) is not None:
                self.spent.setdefault(by.id, []).append(self.now)
        except OutOfTurn:
            pass
        assert was == (self.control.term, self.control.holder), "asking changes nothing"

    @rule(seconds=st.sampled_from((0.001, 0.001, 0.1, 0.3, 1.0, 9.0, 11.0, 59.0, 61.0)), present=st.booleans())
    def time_passes(self, seconds: float, present: bool) -> None:
        self.now += seconds
        holder = self.control.holder
        silent = self.now - self.heard
        change = self.control.lapse(now=self.now, present=present)
        if holder.id and present and holder.person:
            assert change is None
            self.heard = self.now
        elif holder.id:
            assert (change is not None) == (silent >= SILENT), (
                "control lapses exactly when its holder was silent so long"
            )
        else:
            assert change is None
        self._changed(change)

    @precondition(lambda self: self.queue)
    @rule()
    def comes_to_its_turn(self) -> None:
        """What was accepted is asked about again before it is written."""
        by, term = self.queue.popleft()
        since = [each for each in self.changes if each.term > term]
        try:
            self.control.still(by, term)
        except OutOfTurn:
            assert since, "nothing happened, and yet it may not be written"
            freeing = (How.RELEASE, How.LAPSE, How.RESUME, How.PUBLIC, How.CLAIM)
            assert not all(each.how in freeing or each.holder.id == by.id == each.by.id for each in since)
        else:
            assert by.person or not any(
                each.by.person and each.how in (How.TAKE, How.GIVE, How.PAUSE, How.PRIVATE) for each in since
            ), "what a person cut off is not written"

    @rule(above=st.integers(0, 3))
    def host_restarts(self, above: int) -> None:
        """The next host knows what was recorded; ``above``: the holder has obeyed a later term."""
        now, old = self.now, self.control
        self.control = control = Control(now=now, silent_s=SILENT, rate=RATE, burst=BURST)
        for change in self.changes[-64:]:
            control.restore(change, now=now)
        assert (control.term, control.holder, control.bar) == (old.term, old.holder, old.bar)
        assert control.barred_by == old.barred_by
        for each in self.written[-40:]:
            control.typed(each.by.id, each.position)
        if (change := control.recover(old.term + above, now=now)) is not None:
            assert not control.holder.id or control.holder.person, "nobody who is no person goes on as before"
            self.changes.append(change)
        assert control.term >= old.term + above
        control.line, self.spent, self.heard = old.line, {}, now

    # ---- what is always so ----

    @invariant()
    def terms_rise_one_by_one(self) -> None:
        terms = [each.term for each in self.changes]
        assert all(later > earlier for earlier, later in pairwise(terms))
        assert self.control.term == (terms[-1] if terms else 1)
        assert all(later == earlier + 1 or self.changes[at + 1].how is How.RECOVER
                   for at, (earlier, later) in enumerate(pairwise(terms)))  # fmt: skip

    @invariant()
    def who_is_none_takes_from_nobody(self) -> None:
        if self.changes and (last := self.changes[-1]):
            if last.former.id and last.holder.id not in ("", last.former.id):
                assert last.by.person
            if last.former.person and last.holder.id and not last.holder.person:
                assert last.how is How.GIVE and last.by.id == last.former.id
            if len(self.changes) > 1 and self.changes[-2].bar and not last.bar:
                assert last.by.person, "only a person ends what keeps others out"

    @invariant()
    def what_was_written_last_was_allowed(self) -> None:
        if self.written:
            check(self.written[-1], self.changes)

    @invariant()
    def nobody_acts_faster_than_allowed(self) -> None:
        for by, times in self.spent.items():
            if not any(by == person.id for person in PEOPLE):
                for first in range(max(0, len(times) - 40), len(times)):
                    assert len(times) - first <= BURST + RATE * (times[-1] - times[first]) + 1e-6

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.control._changes) <= 64 and len(self.control.requests) <= 16


def check(it: Written, changes: list[Change]) -> None:
    """What must be true of every write that was let through."""
    by = it.by
    assert by in (*PEOPLE, *MACHINES), "whoever may only watch or propose types nothing"
    assert it.holder in ("", by.id), "one operator at a time"
    since = [each for each in changes if it.seen < each.term <= it.term]
    own = {by.id}
    if not by.person:
        assert not it.bar, "no AI acts while a person keeps them out"
        assert by is SERVICE or it.holder == by.id, "an AI types under its own claim"
        assert by is not SERVICE or not it.holder, "a service holds nothing"
        assert by is SERVICE or it.seen > 0, "an AI says which term it saw"
        if it.seen:
            bad = [each for each in since if each.how in (How.TAKE, How.GIVE, How.PAUSE, How.PRIVATE, How.RECOVER, How.CLAIM)
                   and each.by.id not in own]  # fmt: skip
            assert not bad, "what was sent before control changed hands is dropped"
        if by is not SERVICE:
            assert it.basis >= it.foreign, "what was decided before somebody else typed is dropped"
    elif it.seen:
        bad = [each for each in since if each.how in (How.TAKE, How.GIVE) and not each.by.id == each.holder.id == by.id]
        assert not bad, "what was sent before another person took or gave control is dropped"
    others = [one for one in it.line if one.id != by.id and (one.person or not by.person)]
    held = it.holder == by.id and by.person
    assert not others or held, "nobody types into the line of somebody else"
