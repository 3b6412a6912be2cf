"""The prefix key: as a byte, as keyboard protocols write it, however it is split, and never inside a paste."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.client.prefix import DETACH, HELP, HOLD_S, UNKNOWN, Prefix, key_of, prefix_code, prefix_name

CODE = 0x1C


def meaning(*pieces: bytes, code: int | None = CODE) -> list[bytes | str]:
    """What ``pieces``, typed one after the other, come to; neighbouring bytes joined."""
    scanner, found = Prefix(code), []
    for piece in pieces:
        found += scanner.feed(piece, 0.0)
    found += scanner.wake(1.0)
    joined: list[bytes | str] = []
    for part in found:
        if isinstance(part, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


PRESSES = [
    b"\x1c",
    b"\x1b[92;5u",
    b"\x1b[92;5:1u",
    b"\x1b[92:124;5u",
    b"\x1b[92;133u",
    b"\x1b[92;69u",
    b"\x1b[27;5;92~",
]


@pytest.mark.parametrize("press", PRESSES)
def test_every_way_to_write_the_prefix_is_the_prefix(press: bytes) -> None:
    assert meaning(b"a" + press + b"d") == [b"a", DETACH]
    assert meaning(press + b"?") == [HELP]
    assert meaning(press + press) == [press]
    assert meaning(press + b"\\") == [press]
    assert meaning(press + b"x" + b"y") == [UNKNOWN, b"y"]


@pytest.mark.parametrize("press", PRESSES)
@pytest.mark.parametrize("command", [b"d", b"\x04", b"\x1b[100u", b"\x1b[100;5u"])
def test_it_does_not_depend_on_where_the_bytes_are_cut(press: bytes, command: bytes) -> None:
    typed = b"ab" + press + command
    for cut in range(len(typed) + 1):
        assert meaning(typed[:cut], typed[cut:]) == [b"ab", DETACH]
    assert meaning(*(typed[at : at + 1] for at in range(len(typed)))) == [b"ab", DETACH]


def test_letting_go_of_keys_between_prefix_and_command_is_no_command() -> None:
    assert meaning(b"\x1b[92;5u\x1b[92;5:3u\x1b[57442;1:3ud") == [DETACH]


def test_the_mouse_may_move_between_prefix_and_command() -> None:
    assert meaning(b"\x1c\x1b[<35;1;1M\x1b[Id") == [b"\x1b[<35;1;1M\x1b[I", DETACH]


def test_a_paste_is_never_a_command() -> None:
    paste = b"\x1b[200~ \x1cd \x1b[92;5ud \x1b[201~"
    for cut in range(len(paste) + 1):
        assert meaning(paste[:cut], paste[cut:]) == [paste]
    assert meaning(paste + b"\x1cd") == [paste, DETACH]


def test_escape_after_the_prefix_means_never_mind() -> None:
    assert meaning(b"\x1c", b"\x1b") == []
    assert meaning(b"\x1c\x1b[27ux") == [b"x"]


def test_a_lone_escape_is_typed_after_its_time() -> None:
    scanner = Prefix(CODE)
    assert scanner.feed(b"\x1b", 5.0) == [] and scanner.deadline == 5.0 + HOLD_S
    assert scanner.wake(5.0) == []
    assert scanner.wake(5.0 + HOLD_S) == [b"\x1b"] and scanner.deadline is None


def test_without_a_prefix_everything_is_typed() -> None:
    assert meaning(b"\x1cd", code=None) == [b"\x1cd"]


@given(st.binary(max_size=80).filter(lambda data: b"\x1c" not in data and b"\x1b" not in data), st.integers(0, 80))
def test_what_holds_no_prefix_passes_as_it_is(data: bytes, cut: int) -> None:
    assert b"".join(p for p in meaning(data[:cut], data[cut:]) if isinstance(p, bytes)) == data


KEYS = st.sampled_from(
    [b"a", b"\x1b[A", b"\x1bOP", b"\x1b[1;5R", b"\x1bx", b"\xc3\xa9", b"\x1b[97;3u", b"\x1b[<0;3;4M", b"\x1b[MABC"]
)


@given(st.lists(KEYS), st.lists(st.integers(0, 60)))
def test_every_other_key_passes_however_it_is_cut(keys: list[bytes], cuts: list[int]) -> None:
    typed = b"".join(keys)
    edges = sorted({0, len(typed), *(cut for cut in cuts if cut < len(typed))})
    assert b"".join(p for p in meaning(*(typed[a:b] for a, b in pairwise(edges))) if isinstance(p, bytes)) == typed


@pytest.mark.parametrize(
    ("text", "code"), [("ctrl-\\", 28), ("C-a", 1), ("^]", 29), ("Ctrl+B", 2), ("none", None), ("^^", 30)]
)
def test_prefixes_are_chosen_by_name(text: str, code: int | None) -> None:
    assert prefix_code(text) == code
    assert code is None or prefix_code(prefix_name(code)) == code


@pytest.mark.parametrize("text", ["", "a", "ctrl-", "ctrl-[", "ctrl-é", "^1", "F1"])
def test_what_is_no_prefix_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no prefix key"):
        prefix_code(text)


def test_keys_of_no_protocol_are_none() -> None:
    assert [key_of(data) for data in (b"a", b"\x1b[A", b"\x1b[u", b"\x1b[;;u", b"\x1b[3~")] == [None] * 5
