"""Turn names of keys (``Ctrl+C``, ``Up``, ``Alt+x``, ``F5``) into what a terminal of type xterm-256color sends. Pure.

Source: xterm ctlseqs, "PC-Style Function Keys" and "VT220-Style Function Keys", in normal cursor-key mode.
"""

from typing import Final

PLAIN: Final = {
    "enter": "\r", "return": "\r", "tab": "\t", "space": " ", "esc": "\x1b", "escape": "\x1b", "backspace": "\x7f",
    "bspace": "\x7f",
}  # fmt: skip
LETTERED: Final = {
    "up": "A",
    "down": "B",
    "right": "C",
    "left": "D",
    "end": "F",
    "home": "H",
    "f1": "P",
    "f2": "Q",
    "f3": "R",
    "f4": "S",
}
NUMBERED: Final = {
    "insert": 2, "ins": 2, "delete": 3, "del": 3, "pageup": 5, "pgup": 5, "pagedown": 6, "pgdn": 6, "f5": 15, "f6": 17,
    "f7": 18, "f8": 19, "f9": 20, "f10": 21, "f11": 23, "f12": 24,
}  # fmt: skip
MODIFIERS: Final = {"shift": 1, "alt": 2, "meta": 2, "ctrl": 4, "control": 4, "c": 4, "s": 1, "m": 2}
_SHIFT, _ALT, _CTRL = 1, 2, 4


def key_bytes(name: str) -> bytes:
    """Return the bytes of the key ``name``: modifiers joined with ``+`` (or ``-``), then one character or a key's name.

    Raises ValueError for what is no key, and for what this terminal type has no bytes for.
    """
    modifiers, key = _split(name)
    lower = key.lower()
    if len(key) == 1 or lower in PLAIN:
        if lower == "tab" and modifiers & _SHIFT:
            return (b"\x1b" if modifiers & _ALT else b"") + b"\x1b[Z"
        return _character(name, PLAIN.get(lower, key) if len(key) > 1 else key, modifiers)
    if lower in LETTERED:
        letter = LETTERED[lower]
        if modifiers:
            return f"\x1b[1;{modifiers + 1}{letter}".encode()
        return f"\x1b{'O' if lower.startswith('f') else '['}{letter}".encode()
    if lower in NUMBERED:
        return (f"\x1b[{NUMBERED[lower]};{modifiers + 1}~" if modifiers else f"\x1b[{NUMBERED[lower]}~").encode()
    raise ValueError(
        f"there is no key {name!r}: use a character, or one of {', '.join(sorted({*PLAIN, *LETTERED, *NUMBERED}))}"
    )


def _split(name: str) -> tuple[int, str]:
    modifiers, rest = 0, name
    while len(rest) > 2:
        at = min((at for at in (rest.find("+", 1), rest.find("-", 1)) if at > 0), default=0)
        if not at or at == len(rest) - 1 or rest[:at].lower() not in MODIFIERS:
            break
        modifiers |= MODIFIERS[rest[:at].lower()]
        rest = rest[at + 1 :]
    return modifiers, rest


def _character(name: str, char: str, modifiers: int) -> bytes:
    escape = b"\x1b" if modifiers & _ALT else b""
    if modifiers & _CTRL:
        if char in (" ", "@"):
            return escape + b"\x00"
        if char == "?":
            return escape + b"\x7f"
        if not "@" <= char.upper() <= "_":
            raise ValueError(f"{name!r} has no bytes in this terminal: Ctrl goes with letters and @ [ \\ ] ^ _ ? space")
        return escape + bytes((ord(char.upper()) & 31,))
    if modifiers & _SHIFT and char.isalpha():
        char = char.upper()
    return escape + char.encode()
