"""The filter: what the engine must not see never gets there, wherever the stream was cut."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.view.filter import CONTROLS_MAX, PARAMETERS_MAX, STRING_MAX, Filter

PARTS = [
    b"\x1b", b"[", b"]", b"8", b";", b"69", b"?", b"h", b"6", b"\x07", b"\\", b"\x18", b"\x1a", b"\xe4", b"\xb8\xad",
    b"x", b"P", b"_", b"\n", b"m", b"c", b"n", b"b", b"\x9b", b"\x90", b"(", b"0;", b"10;?", b"$q", b"\x1b]8;;",
    b"\x1b[?6;69h", b"\x1b[6n", b"\x01", b"\xf0\x9f", b"\x98\x80", b"\x1b]0;title", b"\x1b[?69", b"\x1b[31m",
    b"\x1b\\", b"\x7f",
]  # fmt: skip
STREAM = st.lists(st.sampled_from(PARTS), max_size=60).map(b"".join)


def passed(data: bytes, cuts: list[int]) -> tuple[bytes, list[tuple[int, bytes]], bytes]:
    """Return what comes through, the queries with their ends, and the tail."""
    trial = Filter()
    out, queries, last = bytearray(), [], 0
    for cut in [*sorted(cuts), len(data)]:
        for piece in trial.feed(data[last:cut]):
            out += piece.data
            queries += [(piece.end, piece.query)] if piece.query else []
        last = cut
    assert trial.offset == len(data)
    return bytes(out), queries, trial.tail


@settings(max_examples=400, deadline=None)
@given(STREAM, st.lists(st.integers(0, 300), max_size=12))
@example(b"\x1b]8;;http://x\x07link\x1b]8;;\x07", [1, 2, 3, 4, 5])
def test_result_does_not_depend_on_where_the_stream_is_cut(data: bytes, cuts: list[int]) -> None:
    assert passed(data, [min(cut, len(data)) for cut in cuts]) == passed(data, [])


@settings(max_examples=400, deadline=None)
@given(STREAM)
def test_neither_hyperlinks_nor_declrmm_come_through(data: bytes) -> None:
    out, _queries, _tail = passed(data, [])
    assert b"\x1b]8" not in out
    for body in re.findall(rb"\x1b\[\?([0-9;:]*)h", out):
        assert b"69" not in re.split(b"[;:]", body)


def test_what_is_dropped_still_ends_what_it_interrupted() -> None:
    """Else the two halves of a sequence would meet behind the filter."""
    for dropped in (b"\x1b]8;;x\x07", b"\x1b_x\x1b\\", b"\x1b[?69h", b"\x1b]0;" + b"x" * 70_000 + b"\x07"):
        for cuts in ([], [5], [9], [9, 66_000], [70_010]):
            out = passed(b"\x1b[?69" + dropped + b"h", cuts)[0]
            assert re.search(rb"\x1b\[\?69(?:\x1b\\)?h", out) is None


@settings(max_examples=300, deadline=None)
@given(STREAM, st.integers(0, 300))
def test_a_tail_fed_to_a_fresh_filter_is_the_same_state(data: bytes, cut: int) -> None:
    first, second = Filter(), Filter()
    cut = min(cut, len(data))
    first.feed(data[:cut])
    assert second.feed(first.tail) == []
    assert second.tail == first.tail
    assert [p.data for p in first.feed(data[cut:])] == [p.data for p in second.feed(data[cut:])]


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        (b"a\x1b]8;id=1;http://x\x1b\\b\x1b]8;;\x07c", b"a\x18\x1b\\b\x18c"),
        (b"\x1b[?6;69h", b"\x18\x1b[?6h"),
        (b"\x1b[?69;6;2004h", b"\x18\x1b[?6;2004h"),
        (b"\x1b[?0069h|\x1b[?65605h|\x1b[?69h", b"\x18|\x18|\x18"),
        (b"\x1b[?\n69h", b"\x18\n"),
        (b"\x1b\x01]8;;x\x07y", b"\x18y"),
        (b"\x1b]\x018;;x\x07y", b"\x18y"),
        (b"\x1b]133;A\x07$ ", b"\x18$ "),
        (b"\x1b]0;t\x07\x1b]7;file:///\x1b\\", b"\x1b]0;t\x07\x1b]7;file:///\x1b\\\x1b\\"),
        (b"\x1b_Gimage\x1b\\\x1bP1;2q~~\x1b\\x", b"\x18\x1b\\\x18\x1b\\x"),
        (b"x\x1b[429296b", b"x\x18\x1b[4096b"),
        (b"x\x1b[3b", b"x\x1b[3b"),
        (b"\x1b[31;1m\x1b[H\x1b(0q\x1b[?25l", b"\x1b[31;1m\x1b[H\x1b(0q\x1b[?25l"),
        (b"\x1b[1\x9dx", b"\x1b[1\x18\x9dx"),
    ],
)
def test_what_the_engine_sees(raw: bytes, seen: bytes) -> None:
    assert passed(raw, [])[0] == seen


@pytest.mark.parametrize(
    "query",
    [b"\x1b[c", b"\x1b[>c", b"\x1b[=0c", b"\x1b[6n", b"\x1b[?6n", b"\x1b[?2026$p", b"\x1b[4$p", b"\x1b[>0q",
     b"\x1b[?u", b"\x1b[18t", b"\x1b]11;?\x07", b"\x1b]4;1;?\x07", b"\x1b]10;?\x1b\\", b"\x1bP$qm\x1b\\",
     b"\x1bP+q544e\x1b\\"],
)  # fmt: skip
def test_a_query_is_named_by_where_it_ends(query: bytes) -> None:
    end = len(b"text") + len(query) - (2 if query.endswith(b"\x1b\\") else 0)
    out, queries, _tail = passed(b"text" + query + b"more", [])
    assert queries == [(end, query)]
    assert out.startswith(b"text" + query)


@pytest.mark.parametrize("begin", [b"\x1b]0;", b"\x1bP", b"\x1b_", b"\x1b["])
def test_endless_sequences_are_held_within_bounds(begin: bytes) -> None:
    trial = Filter()
    for _ in range(64):
        trial.feed(begin + b"1" * 8192)
        begin = b""
        assert len(trial.tail) <= STRING_MAX + PARAMETERS_MAX + CONTROLS_MAX
    trial.feed(b"\x18")
    assert b"".join(piece.data for piece in trial.feed(b"after")) == b"after"


def test_escapes_followed_by_controls_are_held_within_bounds() -> None:
    trial = Filter()
    trial.feed(b"\x1b" + b"\x00" * 100_000)
    assert len(trial.tail) <= CONTROLS_MAX + 1


def test_skipping_output_forgets_what_was_half_seen() -> None:
    trial = Filter(100)
    trial.feed(b"\x1b]0;half a tit")
    trial.skip(500)
    assert [(p.data, p.end) for p in trial.feed(b"text")] == [(b"text", 504)]


def test_the_crash_inputs_of_the_engine_are_defused(crash_inputs: dict[str, bytes]) -> None:
    for name, data in crash_inputs.items():
        out, _queries, _tail = passed(data, [])
        assert b"]8;" not in out, name
        assert b"[?69h" not in out, name
