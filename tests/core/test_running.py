"""What is typed to run a command line, and when: by table and by property."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.commands import Command, Prompt
from holdfast.core.errors import BadLine, NotAtPrompt, Unmarked
from holdfast.core.running import TEXT_BYTES_MAX, objection, once, pastes, text_of, unit, unmarked_objection
from holdfast.core.waiting import Waiting, Wants

_lines = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("text", "pasting", "data"),
    [
        ("make", False, b"make\r"),
        ("make\n", True, b"make\r"),
        ("echo ü", False, "echo ü\r".encode()),
        ("echo ü", True, "\x1b[200~echo ü\x1b[201~\r".encode()),
        ("a\nb", True, b"\x1b[200~a\nb\x1b[201~\r"),
        ("a\tb", True, b"\x1b[200~a\tb\x1b[201~\r"),
        ("x" * TEXT_BYTES_MAX, False, b"x" * TEXT_BYTES_MAX + b"\r"),
    ],
)
def test_a_line_becomes_these_bytes(text: str, pasting: bool, data: bytes) -> None:
    assert unit(text, pastes=pasting) == data


@pytest.mark.parametrize(
    ("text", "pasting"),
    [
        ("", True), ("  \n", True), ("a\x1bb", True), ("a\x03", True), ("a\x7f", True), ("a\rb", True), ("a\x9bb", True),
        ("a\nb", False), ("a\tb", False), ("x" * (TEXT_BYTES_MAX + 1), True), ("\ud800", True), ("\x00", True),
    ],
)  # fmt: skip
def test_what_is_no_line_is_refused_and_never_guessed_at(text: str, pasting: bool) -> None:
    with pytest.raises(BadLine, match="nothing was typed"):
        unit(text, pastes=pasting)


def test_a_tab_is_pasted_to_fish_as_indentation_only() -> None:
    assert unit("for i in 1\n\techo $i\nend", pastes=True, tabs=False).count(b"\t") == 1
    with pytest.raises(BadLine, match="drops"):
        unit("printf 'a\tb'", pastes=True, tabs=False)


@given(_lines, st.booleans())
def test_a_unit_submits_once_and_holds_the_text_and_nothing_a_line_editor_obeys(text: str, pasting: bool) -> None:
    try:
        data = unit(text, pastes=pasting)
    except BadLine:
        return
    assert data.endswith(b"\r") and data.count(b"\r") == 1
    assert text_of(data) == text.rstrip("\r\n")
    inside = data.removeprefix(b"\x1b[200~").removesuffix(b"\r").removesuffix(b"\x1b[201~")
    assert not set(inside) & ({*range(0x20), 0x7F} - {0x09, 0x0A})
    assert pasting or b"\n" not in data


@given(st.text(max_size=20), st.text(min_size=1, max_size=20), st.text(max_size=20), st.text(min_size=1, max_size=20))
def test_a_key_is_the_operators_and_not_the_programs(who: str, key: str, other: str, another: str) -> None:
    who, other = who.replace("/", ""), other.replace("/", "")
    assert once(f"{who}/17", key) == once(f"{who}/4711", key)
    assert (once(who, key) == once(other, another)) == ((who, key) == (other, another))


def test_a_key_is_bounded() -> None:
    for key in ("", "k" * 129):
        with pytest.raises(BadLine, match="idempotency key"):
            once("local:me", key)


RUNNING = Command(12, "make -j8", "trusted", "local:ann/1", 100, 0.0)


@pytest.mark.parametrize(
    ("prompt", "what"),
    [
        (Prompt(marked=True, at_prompt=True), None),
        (Prompt(marked=True), "soon"),
        (Prompt(marked=True, running=12), "command"),
        (Prompt(marked=True, at_prompt=True, continued=True), "continued"),
        (Prompt(marked=True, at_prompt=True, dirty=True, typists=("local:ben",)), "line"),
    ],
)
def test_a_line_is_run_at_a_prompt_with_nothing_on_it_and_nowhere_else(prompt: Prompt, what: str | None) -> None:
    no = objection("build", prompt, RUNNING if prompt.running else None)
    assert (None if no is None else no.details["what"]) == what
    if no is not None:
        assert isinstance(no, NotAtPrompt)
        assert "nothing was typed" in no.message and no.do


def test_what_runs_is_named() -> None:
    no = objection("build", Prompt(marked=True, running=12), RUNNING)
    assert "make -j8" in str(no) and "local:ann/1" in str(no) and "hold wait build --command 12" in str(no)


def test_a_shell_that_marks_nothing_is_refused_with_a_way_out() -> None:
    no = objection("build", Prompt(at_prompt=True), None)
    assert isinstance(no, Unmarked)
    assert "hold send build" in no.do and "--unmarked" in no.do


@pytest.mark.parametrize(
    ("waiting", "may"),
    [
        (Waiting(Wants.PROMPT, 1, "bash"), True),
        (Waiting(Wants.LINE, 1, "dash"), True),
        (Waiting(Wants.LINE, 1, "cat"), False),
        (Waiting(Wants.PASSWORD, 1, "bash"), False),
        (Waiting(Wants.RUNNING, 1, "make"), False),
        (Waiting(Wants.FULL_SCREEN, 1, "vim"), False),
        (None, False),
    ],
)
def test_an_unmarked_line_is_typed_only_where_a_shell_is_seen_to_wait_for_one(
    waiting: Waiting | None, may: bool
) -> None:
    assert (unmarked_objection("build", waiting) is None) is may


@pytest.mark.parametrize(
    ("output", "said"),
    [(b"", None), (b"x\x1b[?2004h$ ", True), (b"\x1b[?2004h$ \x1b[?2004l", False), (b"\x1b[?2004l\x1b[?2004h", True)],
)
def test_the_shells_last_word_on_pasting_counts(output: bytes, said: bool | None) -> None:
    assert pastes(output) is said
