"""The chain: what is altered, missing or moved is noticed, and the first such record is named."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.journal import (
    GENESIS,
    RECORD_BYTES_MAX,
    Chain,
    Fault,
    Kind,
    Record,
    decoded,
    digest,
    encoded,
    is_torn,
    verify,
)


def chain_of(count: int, chain: Chain | None = None) -> list[bytes]:
    chain = chain or Chain()
    records = []
    for number in range(count):
        sealed = chain.seal(Kind.NOTE, "uid:0", {"n": number, "data": b"\0\xff"}, at_ns=number)
        chain.accept(sealed)
        records.append(sealed.data)
    return records


def altered(data: bytes) -> bytes:
    record = decoded(data)
    return encoded(msgspec.structs.replace(record, operator="somebody-else"))


def test_a_chain_that_was_left_alone_is_whole() -> None:
    verdict = verify(chain_of(5))
    assert verdict.whole and (verdict.verified, verdict.last) == (5, 5)


def test_positions_count_from_one_and_each_record_names_the_one_before() -> None:
    records = [decoded(data) for data in chain_of(3)]
    assert [record.position for record in records] == [1, 2, 3]
    assert records[0].prev == GENESIS and records[2].prev == digest(encoded(records[1]))


def test_a_record_becomes_part_of_the_chain_only_when_it_is_accepted() -> None:
    chain = Chain()
    first, second = (chain.seal(Kind.NOTE, "host", {"try": n}, at_ns=0) for n in (1, 2))
    assert first.record.position == second.record.position == 1
    chain.accept(second)
    with pytest.raises(ValueError, match="another place"):
        chain.accept(first)


@given(st.integers(2, 12), st.data())
def test_the_first_altered_record_is_named(count: int, data: st.DataObject) -> None:
    records = chain_of(count)
    victims = sorted(data.draw(st.sets(st.integers(0, count - 2), min_size=1)))
    for victim in victims:
        records[victim] = altered(records[victim])
    verdict = verify(records)
    assert verdict.fault is Fault.ALTERED
    assert verdict.position == victims[0] + 1


@given(st.integers(2, 12), st.data())
def test_the_first_missing_record_is_named(count: int, data: st.DataObject) -> None:
    records = chain_of(count)
    gone = data.draw(st.integers(0, count - 2))
    del records[gone]
    verdict = verify(records)
    assert (verdict.fault, verdict.position, verdict.verified) == (Fault.MISSING, gone + 1, gone)


@given(st.integers(3, 12), st.data())
def test_the_first_reordered_record_is_named(count: int, data: st.DataObject) -> None:
    records = chain_of(count)
    one = data.draw(st.integers(0, count - 2))
    other = data.draw(st.integers(one + 1, count - 1))
    records[one], records[other] = records[other], records[one]
    verdict = verify(records)
    assert (verdict.fault, verdict.position) == (Fault.REORDERED, one + 1)


def test_a_record_that_comes_twice_is_named() -> None:
    records = chain_of(4)
    assert verify([*records[:3], records[1], records[3]])[3:5] == (2, Fault.REPEATED)


@pytest.mark.parametrize("garbage", [b"", b"\x90", b"\xc1", b"\x9c" + b"\x01" * 12, bytes(100), b"\x81\xa1a\x01"])
def test_bytes_that_are_no_record_are_named(garbage: bytes) -> None:
    records = chain_of(3)
    records[1] = garbage
    assert verify(records)[3:5] == (2, Fault.UNREADABLE)


@given(st.binary(max_size=300))
def test_garbage_decodes_to_a_value_error_and_nothing_else(garbage: bytes) -> None:
    try:
        decoded(garbage)
    except ValueError:
        pass


def test_only_a_witnessed_head_shows_that_the_end_was_cut_or_rewritten() -> None:
    chain = Chain()
    records = chain_of(4, chain)
    cut, rewritten = records[:3], [*records[:3], altered(records[3])]
    assert verify(cut).whole and verify(rewritten).whole
    assert verify(cut, upto=4, upto_head=chain.head)[3:5] == (4, Fault.CUT)
    assert verify(rewritten, upto=4, upto_head=chain.head)[3:5] == (4, Fault.ALTERED)
    assert verify(records, upto=4, upto_head=chain.head).whole


def test_a_rotated_chain_verifies_from_its_first_kept_record() -> None:
    chain = Chain()
    chain_of(7, chain)
    after, head = chain.position, chain.head
    kept = chain_of(3, chain)
    assert verify(kept, after=after, head=head).whole
    assert verify(kept, after=after, head=bytes(32))[3:5] == (8, Fault.ALTERED)
    assert verify(kept[1:], after=after, head=head)[3:5] == (8, Fault.MISSING)


def test_the_encoding_does_not_depend_on_the_order_of_a_body() -> None:
    one = Chain().seal(Kind.NOTE, "host", {"a": 1, "b": 2}, at_ns=0)
    other = Chain().seal(Kind.NOTE, "host", {"b": 2, "a": 1}, at_ns=0)
    assert one.data == other.data


def test_a_reader_of_today_verifies_what_a_later_version_appended_to_a_record() -> None:
    later = msgspec.msgpack.encode([*msgspec.structs.astuple(decoded(chain_of(1)[0])), "a field of the future"])
    record = decoded(later)
    following = encoded(Record(2, 0, 1, 1, 0, "a-kind-of-the-future", "host", {}, digest(later)))
    assert record.position == 1 and verify([later, following]).whole


def test_the_kinds_are_closed_and_a_record_is_bounded() -> None:
    with pytest.raises(ValueError, match="no kind of record"):
        Chain().seal("whatever", "host", {}, at_ns=0)
    with pytest.raises(ValueError, match="over the limit"):
        Chain().seal(Kind.NOTE, "host", {"data": bytes(RECORD_BYTES_MAX)}, at_ns=0)


@pytest.mark.parametrize(
    ("good", "size", "follows", "torn"),
    [(100, 100, False, False), (100, 140, False, True), (100, 140, True, False), (0, 1, False, True)],
)
def test_only_the_end_of_a_file_can_be_torn(good: int, size: int, follows: bool, torn: bool) -> None:
    assert is_torn(good, size, record_follows=follows) is torn
