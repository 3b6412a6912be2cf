"""Marks in raw output: found however it is cut, believed once, and only with the next value of the right list."""

import hashlib
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import marks
from holdfast.core.marks import Drawn, Mark, Scanner, Values, filler

SEED = bytes(range(32))
VALUES = {drawn: Values(SEED, drawn) for drawn in Drawn}


def spent(number: int, drawn: Drawn = Drawn.CHACHA20) -> bytes:
    return f"hold={number}.{VALUES[drawn].value(number)}".encode()


def mark(kind: str, number: int, more: bytes = b"", *, status: bytes = b"") -> bytes:
    return b"\x1b]133;" + kind.encode() + (b";" + status if status else b"") + b";" + spent(number) + more + b"\x07"


def scanner(**how: int) -> Scanner:
    return Scanner(Values(SEED, Drawn.CHACHA20), **how)


def test_the_list_is_the_key_stream_of_rfc_8439() -> None:
    """Section 2.3.2 has the block 1 of this key under another nonce; block 0 under nonce zero is in appendix A.1 for key 0."""
    zero = Values(bytes(32), Drawn.CHACHA20)
    words = ("ade0b876", "903df1a0", "e56a5d40", "28bd8653", "b819d2bd", "1aed8da0", "ccef36a8", "c70d778b")
    assert [zero.value(n) for n in range(4)] == ["".join(words[at : at + 2]) for at in range(0, 8, 2)]
    assert zero.value(8)[:8] == "bee7079f"  # A.1, test vector 2: block 1


def test_the_list_of_a_shell_without_arithmetic_is_made_of_sha_512() -> None:
    block = hashlib.sha512(SEED.hex().encode() + b":2").hexdigest()
    assert [VALUES[Drawn.SHA512].value(16 + n) for n in range(8)] == [block[at : at + 16] for at in range(0, 128, 16)]


def test_marks_say_what_they_say() -> None:
    data = (
        b"$ " + mark("A", 0, b";cwd=/tmp/a%3Bb%0Ac") + mark("B", 1) + b"ls\r\n"
        + mark("C", 3, b";cmdline_url=echo %27a%3Bb%25c%C3%A9\xc3\xa9%27;cut=1") + b"out" + mark("D", 4, status=b"130")
    )  # fmt: skip
    found = scanner().feed(0, data)
    assert [(each.kind, each.number) for each in found] == [("A", 0), ("B", 1), ("C", 3), ("D", 4)]
    assert found[0].cwd == "/tmp/a;b\nc"
    assert (found[2].text, found[2].cut) == ("echo 'a;b%céé'", True)
    assert (found[3].status, found[1].status) == (130, None)
    assert data[found[2].end : found[3].start] == b"out"


PIECES = st.sampled_from(
    [
        b"plain text\r\n", b"\x1b[31mred\x1b[0m", b"\x1b]0;title\x07", b"\x1b]133;A\x07", b"\x1b]133;D;0\x07", b"\x1b", b"\x1b]",
        b"\x1b]133", b"\x1b]133;", b"\x07", b"\x1b]133;B;hold=0.0123456789abcdef\x07", mark("B", 0),
        mark("C", 1, b";cmdline_url=x"),
        mark("D", 2, status=b"7"), mark("A", 3, b";cwd=/"), mark("B", 9), mark("C", 70), b"\x1b]133;B;" + spent(1) + b"\x1b\\",
        b"\x1b]133;C;" + spent(2) + b"\n\x07",
    ]
)  # fmt: skip


@given(st.lists(PIECES, max_size=12), st.data())
def test_any_cut_gives_the_same_marks_at_the_same_offsets(pieces: list[bytes], draw: st.DataObject) -> None:
    data = b"".join(pieces)
    whole = scanner(offset=1000)
    expected = whole.feed(1000, data)
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    cut = scanner(offset=1000)
    found: list[Mark] = []
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        found += cut.feed(1000 + start, data[start:end])
    assert found == expected
    assert (cut.spent, cut.foreign, cut.repeated, cut.resume) == (
        whole.spent,
        whole.foreign,
        whole.repeated,
        whole.resume,
    )


@given(st.lists(PIECES, max_size=10), st.data())
def test_a_successor_that_knows_offset_and_spent_finds_the_rest(pieces: list[bytes], draw: st.DataObject) -> None:
    data = b"".join(pieces)
    expected = scanner().feed(0, data)
    at = draw.draw(st.integers(0, len(data)))
    first = scanner()
    found = first.feed(0, data[:at])
    second = scanner(offset=first.resume, spent=first.spent)
    assert found + second.feed(first.resume, data[first.resume :]) == expected


def test_a_mark_is_believed_once() -> None:
    """What was copied from the screen or a recording is worthless: its value, and every one before it, is spent."""
    one = scanner()
    genuine = mark("C", 5, b";cmdline_url=make")
    assert [each.number for each in one.feed(0, genuine)] == [5]
    for copied in (genuine, mark("D", 5, status=b"0"), mark("B", 4), mark("B", 0)):
        assert one.feed(one.offset, copied) == []
    assert (one.repeated, one.foreign) == (4, 0)


@pytest.mark.parametrize(
    "forged",
    [
        b"\x1b]133;D;0\x07", b"\x1b]133;D;0;hold=\x07", b"\x1b]133;D;0;hold=1\x07", b"\x1b]133;D;0;hold=1.\x07",
        b"\x1b]133;D;0;hold=1.0123456789abcdef\x07", b"\x1b]133;D;0;hold=-1.0123456789abcdef\x07", b"\x1b]133;\x07",
        b"\x1b]133;D;0;hold=99999999999999999999.0123456789abcdef\x07",
        b"\x1b]133;D;0;hold=" + "١".encode() + b".0123456789abcdef\x07",
        b"\x1b]133;D;0;" + spent(1, Drawn.SHA512) + b"\x07", b"\x1b]133;D;0;" + spent(1)[:-1] + b"\x07",
    ],
)  # fmt: skip
def test_a_forged_mark_is_ignored_and_counted_and_spends_nothing(forged: bytes) -> None:
    one = scanner()
    assert one.feed(0, forged) == []
    assert (one.foreign, one.spent) == (1, 0)
    assert [each.number for each in one.feed(one.offset, mark("B", 0))] == [0]


def test_values_that_were_lost_with_output_are_passed_over() -> None:
    one = scanner()
    one.feed(0, mark("B", 0))
    assert [each.number for each in one.feed(5000, mark("B", 100_000))] == [100_000]


def test_half_a_mark_before_lost_output_is_not_joined_to_what_follows() -> None:
    one = scanner()
    whole = mark("B", 0)
    one.feed(0, whole[:10])
    assert one.feed(500, whole[10:]) == []


def test_whoever_floods_forged_marks_costs_neither_memory_nor_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each far value that is looked at costs a block: no more than a few in one piece of output."""
    made = 0
    make = Values._made

    def counted(self: Values, block: int) -> tuple[str, ...]:
        nonlocal made
        made += 1
        return make(self, block)

    monkeypatch.setattr(Values, "_made", counted)
    flood = b"".join(f"\x1b]133;B;hold={n * 1000}.0123456789abcdef\x07".encode() for n in range(5000))
    one = scanner()
    assert one.feed(0, flood) == []
    assert one.foreign == 5000
    assert made <= marks.FAR_MAX + 2 * marks.NEAR
    tracemalloc.start()
    for _ in range(64):
        one.feed(one.offset, b"\x1b]133;C;" + b"x" * 65536)
        one.feed(one.offset, b"x" * 65536)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 4 * marks.MARK_BYTES_MAX
    assert one.resume >= one.offset - marks.MARK_BYTES_MAX


@pytest.mark.parametrize(
    ("output", "left"),
    [
        (b"done\r\n\x1b[1m\x1b[7m%\x1b[27m\x1b[1m\x1b[0m" + b" " * 79 + b"\r \r", b"done\r\n"),
        (b"no newline\x1b[7m#\x1b[m" + b" " * 79 + b"\r \r", b"no newline"),
        (b"done\r\n", b"done\r\n"),
        (b"   \r \r but more", b"   \r \r but more"),
        (b"", b""),
    ],
)
def test_what_zsh_puts_before_its_prompt_is_not_the_commands(output: bytes, left: bytes) -> None:
    assert output[: len(output) - filler(output)] == left
