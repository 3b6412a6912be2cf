"""Input that is not written down: what a record of it says, how many inputs it may stand for, and what a next host knows."""

from hypothesis import given
from hypothesis import strategies as st

from holdfast.client.lean import BLOCK as LEAN_BLOCK
from holdfast.client.lean import number_after
from holdfast.core.inputs import Inputs, Outcome
from holdfast.core.journal import Kind, Record
from holdfast.core.withheld import BLOCK, Stretch, block_end, body_of, is_withheld, next_number


def record(position: int, body: dict[str, object], generation: int = 1, kind: str = Kind.INPUT) -> Record:
    return Record(position, 0, 1, 1, generation, kind, "uid:0", body, bytes(32))


@given(st.integers(1, 1 << 40), st.binary(max_size=5))
def test_a_line_ends_its_block_and_a_key_does_not(seq: int, data: bytes) -> None:
    following = next_number(seq, data)
    assert following == (block_end(seq) + 1 if b"\r" in data or b"\n" in data else seq + 1) > seq
    assert number_after(seq, data) + 1 == following and LEAN_BLOCK == BLOCK
    assert block_end(seq) % BLOCK == BLOCK - 1 and block_end(seq) - seq < BLOCK


def test_a_stretch_takes_what_follows_of_one_client_and_operator_within_its_block() -> None:
    stretch = Stretch(9, "c", "o-1", 65)
    assert stretch.takes("c", "o-1", 66) and stretch.takes("c", "o-1", 127)
    assert not stretch.takes("c", "o-1", 128)
    assert not stretch.takes("d", "o-1", 66) and not stretch.takes("c", "o-2", 66)


def test_a_record_of_it_says_neither_what_nor_how_much() -> None:
    body = body_of("c", 65, 3)
    assert is_withheld(body) and body == {"client": "c", "seq": 65, "attachment": 3, "withheld": True, "through": 127}
    assert not is_withheld({"data": b"x"}) and not is_withheld({"withheld": "yes"})


def test_the_host_that_typed_it_knows_each_outcome_and_the_next_host_none() -> None:
    """Promise J10, I5."""
    mine = Inputs()
    mine.learn(record(9, body_of("c", 65, 0)))
    mine.ended("c", 65, Outcome("applied", 1, 9))
    assert mine.seen("c", 66, generation=1) is None
    mine.merged("c", 66, 9)
    assert mine.seen("c", 66, generation=1) == Outcome("unknown", 0, 9)
    mine.ended("c", 66, Outcome("applied", 1, 9))
    assert [mine.seen("c", seq, generation=1) for seq in (65, 66)] == [Outcome("applied", 1, 9)] * 2
    assert mine.seen("c", 67, generation=1) is None

    theirs = Inputs()
    theirs.learn(record(9, body_of("c", 65, 0)))
    assert [theirs.seen("c", seq, generation=2) for seq in (66, 127)] == [Outcome("unknown", 0, 9)] * 2
    assert theirs.seen("c", 128, generation=2) is None


def test_what_is_typed_openly_afterwards_ends_the_doubt() -> None:
    inputs = Inputs()
    inputs.learn(record(9, body_of("c", 65, 0)))
    inputs.learn(record(12, {"client": "c", "seq": 80, "data": b"x"}))
    assert inputs.seen("c", 81, generation=2) is None and inputs.seen("c", 79, generation=2) is not None


def test_what_never_reached_the_holder_reserves_nothing_and_what_did_is_unknown_without_a_count() -> None:
    for at, told, after in (
        (8, [Outcome("refused", 0, 9)], None),
        (9, [Outcome("unknown", 0, 9)], Outcome("unknown", 0, 9)),
    ):
        inputs = Inputs()
        inputs.learn(record(9, body_of("c", 65, 0)))
        assert inputs.resolve(at, 5) == told
        assert inputs.seen("c", 66, generation=2) == after


def test_what_is_carried_into_the_next_segment_does_not_tell_the_count_either() -> None:
    """Promise J10: the same whether one key was typed or thirty."""
    carried = []
    for keys in (1, 30):
        inputs = Inputs()
        inputs.learn(record(9, body_of("c", 65, 0)))
        inputs.ended("c", 65, Outcome("applied", 1, 9))
        for seq in range(66, 65 + keys):
            inputs.merged("c", seq, 9)
            inputs.ended("c", seq, Outcome("applied", 1, 9))
        carried.append(inputs.carried())
        fresh = Inputs()
        fresh.learn(record(20, inputs.carried(), kind=Kind.CARRIED))
        assert fresh.seen("c", 66, generation=2) is not None and fresh.seen("c", 128, generation=2) is None
    assert carried[0] == carried[1]
