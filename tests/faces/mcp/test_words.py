"""What a model reads, as tables and properties: budgets hold, nothing is dropped silently, errors say the next step."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import errors
from holdfast.core.errors import HoldError
from holdfast.faces.mcp import acts, desk, shapes, words

OUTPUT = st.lists(st.sampled_from([b"word", b"\n", b"\r\n", b"\x1b[1m", "ü€".encode(), b" ", b"x" * 50])).map(b"".join)


@given(OUTPUT, st.integers(0, 1 << 40))
def test_lines_cover_every_byte_once_and_in_order(data: bytes, offset: int) -> None:
    pieces = words.lines(data, offset)
    assert [each.start for each in pieces] == [offset, *(each.end for each in pieces)][: len(pieces)]
    assert (pieces[-1].end if pieces else offset) == offset + len(data)
    assert all("\n" not in each.text and "\x1b" not in each.text for each in pieces)


@given(st.lists(st.text(max_size=40).map(lambda text: text.replace("\n", "")), max_size=60), st.integers(1, 200))
def test_what_is_shown_fits_and_is_the_beginning_and_the_end(texts: list[str], budget: int) -> None:
    pieces = [words.Piece(n, n + 1, text) for n, text in enumerate(texts)]
    first, last = words.within(pieces, budget)
    assert first == pieces[: len(first)]
    assert last == (pieces[len(pieces) - len(last) :] if last else [])
    spent = sum(words.cost(each.text) + 0.5 for each in [*first, *last])
    assert spent <= budget
    if sum(words.cost(each.text) + 0.5 for each in pieces) <= budget:
        assert first == pieces


def test_a_line_without_end_is_cut_in_its_middle() -> None:
    [piece] = words.lines(b"<" + b"x" * 1_000_000 + b">", 0)
    assert len(piece.text) < words.LINE_MAX + 100
    assert piece.text[0] == "<" and piece.text[-1] == ">" and "characters" in piece.text
    assert piece.end == 1_000_002


@pytest.mark.parametrize(
    "error",
    [
        errors.NoSuchSession("x"), errors.NotYourTurn("o-1", "human", "held", 3), errors.StaleTerm(1, 2, "o-1", "take"),
        errors.StaleBasis("input", "o-1", 7), errors.Paused("o-1", 2), errors.Private("o-1", 2), errors.LineBusy("o-1", 3),
        errors.TooFast(0.1), errors.Denied("rule 1", "because"), errors.InputUnknown(3), errors.HostUnreachable("x", "gone"),
        errors.NeedsApproval("x", 4, digest="d", rule="r", reason="why", expires_at=1.0), acts.Unseen(), acts.Secret(),
        acts.NotYours("it is bob's"), desk.LookFirst(), desk.BadBasis("x" * 200),
    ],
    ids=lambda error: error.code,
)  # fmt: skip
def test_every_refusal_says_the_next_step_in_the_words_of_the_tools(error: HoldError) -> None:
    """Promise M4."""
    text = words.refusal(error)
    assert text.startswith(f"{error.code}: ")
    assert "Next: " in text and len(text) < 600
    assert "`hold" not in text.partition("Next: ")[2]
    assert "{" not in text


def test_a_rev_comes_back_as_what_it_was() -> None:
    told = desk.Told(3, 41, "12 idle", 900)
    assert told.at(told.rev) == told
    for text in ("", "3", "3.x.y", "three.1.x", "1.2." + "x" * 200, "-1.2.x"):
        with pytest.raises(desk.BadBasis):
            told.at(text)


@pytest.mark.parametrize(
    ("text", "keys", "data"),
    [
        ("ls", (), b"ls"),
        ("ls\n", (), b"ls\r"),
        ("a\tb", ("Enter",), b"a\tb\r"),
        ("", ("Ctrl+C",), b"\x03"),
        ("ü", ("Up", "Escape"), "ü".encode() + b"\x1b[A\x1b"),
    ],
)
def test_what_is_typed_is_what_was_said(text: str, keys: tuple[str, ...], data: bytes) -> None:
    assert acts.typed(text, keys) == data


@pytest.mark.parametrize(
    ("text", "keys"), [("\x1b[A", ()), ("\x03", ()), ("", ()), ("x", ("Meta+Banana",)), ("x", ("",))]
)
def test_what_is_no_text_or_no_key_is_not_typed(text: str, keys: tuple[str, ...]) -> None:
    with pytest.raises(shapes.BadArguments, match="Nothing was typed"):
        acts.typed(text, keys)


@given(
    st.dictionaries(
        st.text(max_size=12), st.one_of(st.none(), st.integers(), st.text(max_size=5), st.lists(st.text(max_size=3)))
    )
)
def test_arguments_are_taken_or_refused_in_words(said: dict[str, Any]) -> None:
    for name in shapes.BY_NAME:
        try:
            call = shapes.arguments(name, said)
        except shapes.BadArguments as error:
            assert str(error)
        else:
            assert isinstance(call, shapes.BY_NAME[name])
