"""Plain text of output: at any cut the same, bounded, and it can say where it came from."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.core.plain import CARRY_MAX, Plain, last_line, origin, rendered, text_of

_pieces = st.sampled_from(
    [b"ab", b"\r\n", b"\r", b"\n", b"\x1b[1;31m", b"\x1b[0m", b"\x1b]0;title\x07", b"\x1b]8;;http://x\x1b\\", b"\x1bP+q\x1b\\",
     b"\x1b(B", b"\x1b7", b"\x1b", b"\x08", b"\x07", "ü".encode(), b"\x1b[?2004h", b"\x1b[", b"\t", b"\x1b]unfinished"]
)  # fmt: skip
_output = st.lists(_pieces, max_size=12).map(b"".join) | st.binary(max_size=60)


def fed(data: bytes, cuts: list[int]) -> tuple[bytes, bytes, int]:
    plain, output, text = Plain(), b"", b""
    bounds = sorted({0, len(data), *(cut for cut in cuts if 0 < cut < len(data))})
    for start, end in itertools.pairwise(bounds):
        decided, said = plain.feed(data[start:end])
        output, text = output + decided, text + said
    return output, text, plain.pending


@given(_output, st.lists(st.integers(0, 80), max_size=6))
@example(b"\x1b]0;a\x1b\\b", [6])
@example(b"a\r\nb", [2])
@example(b"a\r\r\nb", [2, 3])
@example(b"ab\x1b]unfinished\r\n", [15])
@example(b"\x1b]a\rb\x07c", [4])
@example(b"\r\x1b[1;31m\r\n", [2])
@example(b"\r\x1b[1;31m\n", [8])
@example(b"\x1b]unfinished\r\x1b[1;31mab", [15])
def test_text_does_not_depend_on_the_cuts(data: bytes, cuts: list[int]) -> None:
    assert fed(data, cuts) == fed(data, [])


@given(_output, st.lists(st.integers(0, 80), max_size=6))
def test_what_is_decided_and_what_is_pending_make_up_the_output(data: bytes, cuts: list[int]) -> None:
    output, _, pending = fed(data, cuts)
    assert output + data[len(data) - pending :] == data


@given(_output)
def test_text_has_no_control_characters_but_newline_and_tab(data: bytes) -> None:
    for text in (fed(data, [])[1], text_of(data), rendered(data).encode()):
        assert not set(text) & ({*range(0x20), 0x7F} - {0x09, 0x0A})


@given(_output)
def test_the_origin_of_text_is_the_least_output_that_makes_it(data: bytes) -> None:
    text = Plain().feed(data)[1]
    for at in range(len(text) + 1):
        least = origin(data, at)
        assert len(Plain().feed(data[:least])[1]) >= at
        assert least == 0 or len(Plain().feed(data[: least - 1])[1]) < at


@pytest.mark.parametrize(
    ("start", "end"),
    [(b"\x1b]52;c;", b"\x1b\\"), (b"\x1b]52;c;", b"\x07"), (b"\x1bPq", b"\x1b\\"), (b"\x1b_G", b"\x1b\\")],
)
def test_a_string_however_long_holds_no_memory_and_is_no_text(start: bytes, end: bytes) -> None:
    plain, text = Plain(), b""
    for piece in (b"before", start, *[b"A" * 1000] * 50, end, b"after"):
        text += plain.feed(piece)[1]
        assert plain.pending <= CARRY_MAX
    assert text == b"beforeafter"


def test_a_sequence_that_never_ends_holds_no_memory() -> None:
    plain = Plain()
    for _ in range(100):
        plain.feed(b"\x1b[" + b"1;" * 500)
        assert plain.pending <= CARRY_MAX


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (b"hi\r\nyou\r\n", "hi\nyou\n"),
        (b"10%\r20%\r100%\r\ndone", "100%\ndone"),
        (b"long line\rshort\x1b[K", "short"),
        (b"\x1b[31mred\x1b[0m plain", "red plain"),
        (b"abc\b\b\x1b[KX", "aX"),
        (b"abc\x1b[2DX", "aXc"),
        (b"a\x1b[5Gb", "a   b"),
        (b"a\x1b[3Cb", "a   b"),
        (b"x\x1b[2K\ry", "y"),
        (b"\x1b]0;title\x07text", "text"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"a\x1b[999999999999Gb", None),
        ("bär\r\n".encode(), "bär\n"),
    ],
)
def test_a_line_is_what_it_became(output: bytes, text: str | None) -> None:
    assert text is None or rendered(output) == text
    assert len(rendered(output)) <= 1 << 17


@given(_output)
def test_rendering_never_fails(data: bytes) -> None:
    rendered(data)
    last_line(data)


def test_the_line_of_the_cursor_is_what_is_asked() -> None:
    assert last_line(b"first\r\n\x1b[1mProceed?\x1b[0m [y/N] ") == "Proceed? [y/N]"
    assert last_line(b"done\r\n") == ""
    assert len(last_line(b"x" * 9000)) == 200
