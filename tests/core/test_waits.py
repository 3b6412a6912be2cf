"""When a wait is over, and because of what: by table and by property, with no clock and no engine of patterns."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.waiting import Wants
from holdfast.core.waits import SPAN, Because, Found, Met, Search, Vigil, Wish


def pattern(text: bytes) -> Search:
    program = re.compile(text, re.MULTILINE)

    def search(data: bytes, start: int) -> Found | None:
        hit = program.search(data, start)
        return None if hit is None else Found(hit.start(), hit.end(), tuple(group or b"" for group in hit.groups()))

    return search


def matching(*patterns: bytes, **rest: object) -> Wish:
    return Wish(searches=tuple(pattern(each) for each in patterns), **rest)  # type: ignore[arg-type]


def test_a_match_says_which_and_where_to_go_on() -> None:
    vigil = Vigil(matching(b"no", b"w(or)ld"), 100, now=0)
    assert vigil.read(100, b"hello ") is None
    assert vigil.read(106, b"\x1b[1mwor") is None
    assert vigil.read(113, b"ld\x1b[0m!") == Met(Because.MATCH, 115, 1, b"world", (b"or",))


def test_of_two_matches_the_one_that_begins_first_wins() -> None:
    assert Vigil(matching(b"b", b"ab"), 0, now=0).read(0, b"xab") == Met(Because.MATCH, 3, 1, b"ab")


def test_only_new_output_matches() -> None:
    vigil = Vigil(matching(b"old"), 50, now=0)
    assert vigil.read(50, b"new") is None
    assert vigil.position == 53


def test_a_line_begins_where_lines_begin_and_not_where_the_text_was_cut() -> None:
    vigil = Vigil(matching(b"^x"), 0, now=0)
    for at in range(0, 30_000, 3):
        assert vigil.read(at, b"yyx") is None


@given(st.lists(st.integers(1, 7), min_size=1, max_size=30), st.integers(0, 60))
def test_a_match_is_found_whatever_the_cuts(sizes: list[int], before: int) -> None:
    data = b"\x1b[32m.\x1b[0m\r\n" * before + b"pass\x1b[1med\x1b[0m in 3s\r\n" + b"tail\r\n" * 10
    whole = Vigil(matching(rb"passed in \d"), 7, now=0).read(7, data)
    vigil, at, met = Vigil(matching(rb"passed in \d"), 7, now=0), 0, None
    while met is None and at < len(data):
        size = sizes[at % len(sizes)]
        met, at = vigil.read(7 + at, data[at : at + size]), at + size
    assert met is not None
    assert whole is not None
    assert (met.text, met.offset) == (whole.text, whole.offset) == (b"passed in 3", 7 + data.index(b" in 3") + 5)


def test_no_match_spans_a_gap() -> None:
    vigil = Vigil(matching(b"ab"), 0, now=0)
    assert vigil.read(0, b"a") is None
    assert vigil.read(500, b"b") is None
    assert vigil.read(501, b"ab") == Met(Because.MATCH, 503, 0, b"ab")


def test_what_is_kept_is_bounded_however_little_text_the_output_has() -> None:
    vigil = Vigil(matching(b"never"), 0, now=0)
    at = 0
    for _ in range(300):
        data = b"\x1b[1m" * 1000 + b"x"
        vigil.read(at, data)
        at += len(data)
    kept = sum(len(output) for _, _, output in vigil._text._pieces)
    assert kept <= (1 << 18) + 5000
    assert len(vigil._text.text) <= SPAN + 2


@pytest.mark.parametrize("because", [Because.EXIT, Because.COMMAND])
def test_what_was_put_out_before_is_matched_before(because: Because) -> None:
    """The last line of a command is not overtaken by the command's end."""
    vigil = Vigil(matching(b"ok"), 0, now=0)
    assert vigil.occurred(because, 4) is None
    assert vigil.read(0, b"ok\r\n") == Met(Because.MATCH, 2, 0, b"ok")
    vigil = Vigil(matching(b"ok"), 0, now=0)
    assert vigil.occurred(because, 4) is None
    assert vigil.read(0, b"no\r\n") == Met(because, 4)


def test_without_patterns_what_happens_counts_at_once() -> None:
    assert Vigil(Wish(), 0, now=0).occurred(Because.EXIT, 9) == Met(Because.EXIT, 9)


def test_only_the_input_that_was_asked_for_counts() -> None:
    vigil = Vigil(Wish(frozenset({Wants.PASSWORD})), 0, now=0)
    assert vigil.wants(Wants.LINE, 3) is None
    assert vigil.wants(Wants.PASSWORD, 5) == Met(Because.INPUT, 5)


def test_quiet_begins_with_the_wait_and_again_with_every_output() -> None:
    vigil = Vigil(Wish(quiet_s=2), 0, now=10)
    assert vigil.deadline == 12
    vigil.put_out(now=11)
    assert vigil.deadline == 13
    assert vigil.wake(40, now=12.9) is None
    assert vigil.wake(40, now=13) == Met(Because.QUIET, 40)


def test_quiet_is_not_said_while_output_waits_to_be_searched() -> None:
    vigil = Vigil(matching(b"x", quiet_s=1.0), 0, now=0)
    assert vigil.wake(3, now=1) is None
    assert vigil.read(0, b"abx") == Met(Because.MATCH, 3, 0, b"x")


def test_time_ends_a_wait_whatever_else_is_not_done() -> None:
    vigil = Vigil(matching(b"x", for_s=5.0), 0, now=0)
    vigil.occurred(Because.EXIT, 100)
    assert vigil.wake(100, now=4.9) is None
    assert vigil.wake(100, now=5) == Met(Because.TIME, 0)  # going on from there, nothing was missed


def test_the_first_of_two_occurrences_wins() -> None:
    vigil = Vigil(matching(b"x"), 0, now=0)
    vigil.occurred(Because.EXIT, 9)
    vigil.occurred(Because.COMMAND, 5)
    assert vigil.read(0, b"abcdefghi") == Met(Because.COMMAND, 5)
