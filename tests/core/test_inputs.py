"""I5: whatever is resent, whenever anything dies, no input is begun twice; what cannot be known is `unknown`."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.core.inputs import Inputs, Outcome
from holdfast.core.journal import Chain, Kind, Record

UNKNOWN = Outcome("unknown", 0, 0)


def test_an_input_is_new_once_then_has_its_outcome() -> None:
    inputs = Inputs()
    assert inputs.seen("c", 1) is None
    inputs.begun("c", 1, 7)
    assert inputs.seen("c", 1) == Outcome("unknown", 0, 7)
    inputs.ended("c", 1, Outcome("applied", 3, 7))
    assert inputs.seen("c", 1) == Outcome("applied", 3, 7)
    assert inputs.seen("c", 2) is None and inputs.seen("other", 1) is None


def test_a_seq_below_the_highest_is_never_new() -> None:
    inputs = Inputs()
    inputs.begun("c", 5, 1)
    assert inputs.seen("c", 4) == UNKNOWN


def test_outcomes_are_bounded_and_older_ones_are_unknown() -> None:
    inputs = Inputs(outcomes_max=2)
    for seq in (1, 2, 3):
        inputs.begun("c", seq, seq)
        inputs.ended("c", seq, Outcome("applied", 1, seq))
    assert [inputs.seen("c", seq) for seq in (1, 2, 3)] == [UNKNOWN, Outcome("applied", 1, 2), Outcome("applied", 1, 3)]


def test_a_forgotten_clients_input_is_unknown_if_it_says_since_when_it_waits() -> None:
    inputs = Inputs(clients_max=1)
    inputs.begun("old", 1, 10)
    inputs.begun("new", 1, 11)
    assert inputs.seen("old", 1, since=9) == UNKNOWN
    assert inputs.seen("fresh", 1, since=11) is None


def record(position: int, kind: str, body: dict[str, object], generation: int = 1) -> Record:
    return Record(position, 0, 1, 1, generation, kind, "uid:0", body, bytes(32))


def test_an_input_followed_by_another_of_the_same_host_was_applied_unless_a_record_says_otherwise() -> None:
    inputs = Inputs()
    for position in (1, 2):
        inputs.learn(record(position, Kind.INPUT, {"client": "c", "seq": position, "data": b"abc"}))
    inputs.learn(record(3, Kind.TYPED, {"of": 2, "outcome": "partial", "written": 1}))
    inputs.learn(record(4, Kind.INPUT, {"client": "c", "seq": 3, "data": b"x"}))
    inputs.learn(record(5, Kind.INPUT, {"client": "c", "seq": 4, "data": b"y"}, generation=2))
    assert inputs.seen("c", 1) == Outcome("applied", 3, 1)
    assert inputs.seen("c", 2) == Outcome("partial", 1, 2)
    assert inputs.seen("c", 3) == Outcome("unknown", 0, 4)  # its host died: the next one's input says nothing of it
    assert [left.seq for left in inputs.pending] == [3, 4]


def test_the_holders_header_settles_what_a_dead_host_left() -> None:
    def left() -> Inputs:
        inputs = Inputs()
        for position in (3, 4):
            inputs.begun("c", position, position, size=10, generation=position)
        return inputs

    for header, third, fourth in (
        ((4, 10), "applied", "applied"),
        ((4, 6), "applied", "partial"),
        ((3, 10), "applied", "refused"),
        ((2, 0), "refused", "refused"),
    ):
        inputs = left()
        told = inputs.resolve(*header)
        answers = [inputs.seen("c", 3), inputs.seen("c", 4)]
        assert [answer and answer.outcome for answer in answers] == [third, fourth]
        assert told == [answer for answer in answers if answer and answer.outcome != "applied"]
        assert inputs.pending == ()


def test_what_a_holder_was_handing_over_when_it_died_is_unknown() -> None:
    inputs = Inputs()
    inputs.begun("c", 1, 3, size=10)
    assert inputs.resolve(3, 4, in_flight=2) == [Outcome("unknown", 4, 3)]
    assert inputs.seen("c", 1) == Outcome("unknown", 4, 3)


def test_a_summary_that_makes_no_sense_makes_everything_before_it_unknown() -> None:
    inputs = Inputs()
    inputs.learn(record(50, Kind.CARRIED, {"clients": [["c"]], "complete_from": None}))
    assert inputs.seen("c", 1, since=49) == UNKNOWN and inputs.seen("c", 1, since=50) is None


@settings(max_examples=60, stateful_step_count=40, deadline=None)
class Host(RuleBasedStateMachine):
    """A host that types what ``seen`` allows, dies between any two of its steps, and is rebuilt from its journal."""

    def __init__(self) -> None:
        super().__init__()
        self.chain = Chain()
        self.records: list[Record] = []
        self.generation = 1
        self.typed: Counter[tuple[str, int]] = Counter()
        self.sent: dict[str, list[int]] = {}
        self.since: dict[tuple[str, int], int] = {}
        self.inputs = self.fresh()

    def fresh(self) -> Inputs:
        return Inputs(clients_max=2, recent_max=2, outcomes_max=2)

    def write(self, kind: Kind, body: dict[str, object]) -> Record:
        sealed = self.chain.seal(kind, "x", body, at_ns=0, generation=self.generation)
        self.chain.accept(sealed)
        self.records.append(sealed.record)
        self.inputs.learn(sealed.record)
        return sealed.record

    def deliver(self, client: str, seq: int, dies: str) -> None:
        if self.inputs.seen(client, seq, since=self.since[client, seq]) is not None:
            return
        written = self.write(Kind.INPUT, {"client": client, "seq": seq, "data": b"x"})
        if dies == "before":
            self.crash()
            return
        self.typed[client, seq] += 1
        if dies == "after":
            self.crash()
            return
        self.inputs.ended(client, seq, Outcome("applied", 1, written.position))
        if dies == "says":
            self.write(Kind.TYPED, {"of": written.position, "outcome": "applied", "written": 1})

    def crash(self) -> None:
        self.generation += 1
        self.inputs = self.fresh()
        for each in self.records:
            self.inputs.learn(each)

    @rule(client=st.sampled_from("abcd"), dies=st.sampled_from(["", "", "before", "after", "says"]))
    def send(self, client: str, dies: str) -> None:
        seqs = self.sent.setdefault(client, [])
        seqs.append(len(seqs) + 1)
        self.since[client, seqs[-1]] = self.chain.position
        self.deliver(client, seqs[-1], dies)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), dies=st.sampled_from(["", "before", "after"]))
    def resend(self, data: st.DataObject, dies: str) -> None:
        client = data.draw(st.sampled_from(sorted(self.sent)))
        self.deliver(client, data.draw(st.sampled_from(self.sent[client])), dies)

    @rule()
    def die(self) -> None:
        self.crash()

    @rule(keep=st.booleans())
    def rotate(self, keep: bool) -> None:
        """A segment begins; what stood before it may be gone at the next start."""
        carried = self.write(Kind.CARRIED, self.inputs.carried())
        if not keep:
            self.records = [carried]

    @invariant()
    def nothing_is_typed_twice(self) -> None:
        assert all(count == 1 for count in self.typed.values())


TestNothingIsTypedTwice = Host.TestCase
