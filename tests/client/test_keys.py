"""Names of keys and the bytes xterm-256color sends for them."""

import pytest

from holdfast.client.keys import key_bytes

TABLE = {
    "a": b"a",
    "é": "é".encode(),
    "A": b"A",
    "Shift+a": b"A",
    "Ctrl+C": b"\x03",
    "ctrl-c": b"\x03",
    "C-c": b"\x03",
    "^": b"^",
    "-": b"-",
    "+": b"+",
    "Ctrl++": None,
    "Alt+x": b"\x1bx",
    "M-x": b"\x1bx",
    "Ctrl+Alt+d": b"\x1b\x04",
    "Ctrl+Space": b"\x00",
    "Ctrl+\\": b"\x1c",
    "Up": b"\x1b[A",
    "Shift+Up": b"\x1b[1;2A",
    "Ctrl+Right": b"\x1b[1;5C",
    "Home": b"\x1b[H",
    "F1": b"\x1bOP",
    "Shift+F1": b"\x1b[1;2P",
    "F5": b"\x1b[15~",
    "Ctrl+F12": b"\x1b[24;5~",
    "PageUp": b"\x1b[5~",
    "Delete": b"\x1b[3~",
    "Enter": b"\r",
    "Tab": b"\t",
    "Shift+Tab": b"\x1b[Z",
    "Esc": b"\x1b",
    "Backspace": b"\x7f",
    "Space": b" ",
    "Alt+Enter": b"\x1b\r",
    "Nope": None,
    "": None,
    "Ctrl+": None,
}


@pytest.mark.parametrize(("name", "data"), TABLE.items())
def test_the_name_of_a_key_gives_its_bytes(name: str, data: bytes | None) -> None:
    if data is None:
        with pytest.raises(ValueError, match=r"no key|no bytes"):
            key_bytes(name)
    else:
        assert key_bytes(name) == data
