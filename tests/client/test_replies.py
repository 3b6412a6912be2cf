"""What the user's terminal answers is swallowed, once per query and in time; what the user types never is."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.client.replies import HOLD_S, HOLD_STRING_S, MEMORY_BYTES, MEMORY_S, Replies, answer, control, query

# query in the output -> answer of a terminal. Answers as xterm 390, kitty 0.36 and ghostty 1.1 give them.
PAIRS = [
    (b"\x1b[c", b"\x1b[?62;22c"),
    (b"\x1b[0c", b"\x1b[?1;2c"),
    (b"\x1b[>c", b"\x1b[>41;390;0c"),
    (b"\x1b[>0c", b"\x1b[>1;4000;36c"),
    (b"\x1b[=c", b"\x1bP!|00000000\x1b\\"),
    (b"\x1b[5n", b"\x1b[0n"),
    (b"\x1b[6n", b"\x1b[24;80R"),
    (b"\x1b[?6n", b"\x1b[?24;80;1R"),
    (b"\x1b[?996n", b"\x1b[?997;1n"),
    (b"\x1b[?2026$p", b"\x1b[?2026;2$y"),
    (b"\x1b[4$p", b"\x1b[4;2$y"),
    (b"\x1b[>q", b"\x1bP>|ghostty 1.1.3\x1b\\"),
    (b"\x1b[>0q", b"\x1bP>|XTerm(390)\x1b\\"),
    (b"\x1b[?u", b"\x1b[?0u"),
    (b"\x1b[?4m", b"\x1b[>4;2m"),
    (b"\x1b[14t", b"\x1b[4;600;800t"),
    (b"\x1b[18t", b"\x1b[8;24;80t"),
    (b"\x1b[21t", b"\x1b]ltitle\x1b\\"),
    (b"\x1b]10;?\x07", b"\x1b]10;rgb:ffff/ffff/ffff\x07"),
    (b"\x1b]11;?\x1b\\", b"\x1b]11;rgb:0000/0000/0000\x1b\\"),
    (b"\x1b]4;1;?\x1b\\", b"\x1b]4;1;rgb:cccc/0000/0000\x1b\\"),
    (b"\x1b]52;c;?\x07", b"\x1b]52;c;aGVsbG8=\x07"),
    (b"\x1bP$qm\x1b\\", b"\x1bP1$r0m\x1b\\"),
    (b"\x1bP+q544e\x1b\\", b"\x1bP1+r544e=787465726d\x1b\\"),
    (b"\x1b[x", b"\x1b[2;1;1;128;128;1;0x"),
    (b"\x1b_Gi=31,a=q;AAAA\x1b\\", b"\x1b_Gi=31;OK\x1b\\"),
    (b"\x1b[1$w", b"\x1bP1$u1;1;1;0;@;@;A;0\x1b\\"),
]
EACH = pytest.mark.parametrize(("query_", "answer_"), PAIRS, ids=lambda data: repr(data))


@EACH
def test_query_and_answer_are_of_one_kind(query_: bytes, answer_: bytes) -> None:
    asked, said = control(query_, 0), control(answer_, 0)
    assert asked is not None and said is not None
    assert query(*asked[1:])[0] == answer(*said[1:]) != ""


@EACH
def test_an_answer_is_swallowed_once(query_: bytes, answer_: bytes) -> None:
    replies = Replies()
    replies.wrote(b"text " + query_ + b" text", 0.0)
    assert replies.typed(b"a" + answer_ + b"b", 0.1) == b"ab"
    assert replies.typed(answer_, 0.2) == answer_


@EACH
def test_an_answer_to_nothing_passes(query_: bytes, answer_: bytes) -> None:
    assert Replies().typed(answer_, 0.0) == answer_


@EACH
def test_an_answer_that_is_too_late_passes(query_: bytes, answer_: bytes) -> None:
    replies = Replies()
    replies.wrote(query_, 0.0)
    assert replies.typed(answer_, MEMORY_S + 0.1) == answer_


@EACH
def test_neither_query_nor_answer_depends_on_where_it_is_cut(query_: bytes, answer_: bytes) -> None:
    for cut in range(len(query_) + 1):
        replies = Replies()
        replies.wrote(b"x" * 5000 + query_[:cut], 0.0)
        replies.typed(b"\x1b]12;z\x07", 0.0)  # could be an answer: makes the filter look at half a query
        replies.wrote(query_[cut:] + b"y", 0.0)
        assert replies.typed(answer_, 0.1) == b""
    for cut in range(len(answer_) + 1):
        replies = Replies()
        replies.wrote(query_, 0.0)
        assert replies.typed(answer_[:cut], 0.1) + replies.typed(answer_[cut:] + b"z", 0.1) == b"z"


def test_ctrl_f3_is_a_key_unless_a_cursor_report_is_due() -> None:
    replies = Replies()
    assert replies.typed(b"\x1b[1;5R", 0.0) == b"\x1b[1;5R"
    replies.wrote(b"\x1b[6n", 1.0)
    assert replies.typed(b"\x1b[1;1R\x1b[1;5R", 1.1) == b"\x1b[1;5R"


def test_several_colours_asked_in_one_string_are_each_answered() -> None:
    replies = Replies()
    replies.wrote(b"\x1b]4;1;?;2;?\x07\x1b]10;?;?\x07", 0.0)
    answers = b"\x1b]4;1;rgb:1/1/1\x07\x1b]4;2;rgb:2/2/2\x07\x1b]10;rgb:3/3/3\x07"
    assert replies.typed(answers, 0.1) == b""


def test_half_an_answer_that_never_ends_was_typed() -> None:
    replies = Replies()
    replies.wrote(b"\x1b[6n\x1b]11;?\x07", 0.0)
    assert replies.typed(b"\x1b", 0.1) == b"" and replies.deadline == 0.1 + HOLD_S
    assert replies.wake(0.1) == b"" and replies.wake(0.1 + HOLD_S) == b"\x1b" and replies.deadline is None
    assert replies.typed(b"\x1b]1", 0.2) == b"" and replies.deadline == 0.2 + HOLD_STRING_S
    assert replies.wake(9.0) == b"\x1b]1"


def test_nothing_is_held_when_nothing_was_asked() -> None:
    replies = Replies()
    replies.wrote(b"\x1b[31mred\x1b[0m", 0.0)
    assert replies.typed(b"\x1b", 0.1) == b"\x1b" and replies.deadline is None


def test_memory_is_bounded_however_much_is_written() -> None:
    """I11."""
    replies = Replies()
    for at in range(100):
        replies.wrote(b"x" * (1 << 20), at / 1000)
    assert sum(len(data) for _, data in replies._fresh) <= MEMORY_BYTES + (1 << 20)


KEYS = st.sampled_from(
    [
        b"a",
        b"\x1b",
        b"\x1b[A",
        b"\x1bOP",
        b"\x1b[1;5C",
        b"\x1b[1;5R",
        b"\x1b[97;5u",
        b"\x1b[<0;1;2M",
        b"\x1b[I",
        b"\x1b[200~",
        b"\x1b]",
        b"\xff",
        b"\x1b[3~",
        b"\x1b[15~",
    ]
)


@given(st.lists(KEYS), st.lists(st.integers(0, 80)))
def test_typing_is_never_changed_when_nothing_was_asked(keys: list[bytes], cuts: list[int]) -> None:
    typed, replies = b"".join(keys), Replies()
    replies.wrote(b"\x1b[1;31mno query\x1b[?2004h\x1b]0;title\x07", 0.0)
    edges = sorted({0, len(typed), *(cut for cut in cuts if cut < len(typed))})
    assert b"".join(replies.typed(typed[a:b], 0.1) for a, b in pairwise(edges)) == typed


@given(
    st.lists(st.sampled_from(PAIRS), max_size=6),
    st.lists(st.sampled_from([b"a", b"\x1b[A", b"\r", b"\x1bOP"]), max_size=6),
    st.randoms(),
)
def test_answers_among_keys_are_taken_out_and_the_keys_kept(
    pairs: list[tuple[bytes, bytes]], keys: list[bytes], random: object
) -> None:
    replies = Replies()
    for asked, _ in pairs:
        replies.wrote(asked, 0.0)
    stream = [said for _, said in pairs] + keys
    random.shuffle(stream)  # type: ignore[attr-defined]
    expected = b"".join(part for part in stream if part in keys)
    assert replies.typed(b"".join(stream), 0.1) == expected
