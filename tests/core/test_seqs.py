"""Signed actions are carried out once, also by the next host: their numbers stand in the journal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.journal import Author, Chain, Proof
from holdfast.core.seqs import SIGNERS_MAX, Seqs, Stated, stated
from holdfast.wire import signing

KEY = b"k" * 32
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(TEXT, TEXT, st.sampled_from(sorted(signing.SIGNED)), st.integers(0, (1 << 64) - 1))
def test_a_statement_is_read_as_it_was_made(session: str, client: str, verb: str, seq: int) -> None:
    made = signing.statement(session=session, client=client, epoch=3, term=4, seq=seq, verb=verb, commitment=b"c" * 32)
    assert stated(made) == Stated(session, client, verb, seq)


@given(st.binary(max_size=200))
def test_what_is_no_statement_is_refused_and_nothing_else_happens(data: bytes) -> None:
    for each in (data, signing.DOMAIN + data):
        try:
            stated(each)
        except ValueError:  # UnicodeDecodeError is one
            pass


def signed(seq: int, *, verb: str = "signal", client: str = "c-1") -> Author:
    statement = signing.statement(
        session="s-1", client=client, epoch=1, term=1, seq=seq, verb=verb, commitment=b"c" * 32
    )
    return Author("o-1", proof=Proof(KEY, statement, b"s" * 16, b"g" * 64))


def test_a_number_is_used_once_also_after_it_was_only_read_from_the_journal() -> None:
    chain, seqs = Chain(), Seqs()
    sealed = chain.seal("signal", signed(7), {}, at_ns=1)
    seqs.learn(sealed.record)
    assert [seqs.fresh(KEY, "c-1", seq) for seq in (6, 7, 8)] == [False, False, True]
    assert seqs.fresh(KEY, "c-2", 7)
    assert seqs.fresh(b"j" * 32, "c-1", 7)


@pytest.mark.parametrize("author", [signed(9, verb="input"), Author("o-1")], ids=["input", "not signed"])
def test_inputs_and_what_is_not_signed_use_no_number(author: Author) -> None:
    seqs = Seqs()
    seqs.learn(Chain().seal("input", author, {}, at_ns=1).record)
    assert seqs.fresh(KEY, "c-1", 1)


def test_what_is_remembered_is_bounded_and_the_longest_unused_goes_first() -> None:
    seqs = Seqs()
    for number in range(SIGNERS_MAX + 1):
        seqs.used(KEY, f"c-{number}", 5)
    assert seqs.fresh(KEY, "c-0", 1)
    assert not seqs.fresh(KEY, "c-1", 5)
