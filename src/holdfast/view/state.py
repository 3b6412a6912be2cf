"""Hold everything a terminal would have to know to be where the session's is: the state that repaint and keyframes
share.

Not here: how it is read out of an engine (capture), written down (keyframe) or painted (repaint).
"""

from typing import Final

import msgspec

from holdfast.view.cells import PLAIN, Row, Style

ROWS_MIN, ROWS_MAX, COLS_MIN, COLS_MAX, CELLS_MAX = 4, 250, 20, 500, 32768
"""Geometry that the engine is given; source: notes on its crash classes. A session of another size is viewed
clamped.
"""

DEC_MODES: Final = (
    1, 5, 6, 7, 9, 12, 25, 45, 47, 66, 1000, 1002, 1003, 1004, 1005, 1006, 1007, 1015, 1016, 1035, 1036, 1039, 1047,
    1049, 2004, 2026, 2027, 2031, 2048,
)  # fmt: skip
"""Private modes that are read, kept and repainted. Not 3 and 40 (they clear the screen), not 69 (filtered)."""
ANSI_MODES: Final = (2, 4, 12, 20)
ALTERNATE_MODES: Final = (47, 1047, 1049)
MODE_NAMES: Final = {
    1: "cursor-keys", 5: "reverse", 7: "wrap", 25: "cursor", 66: "keypad", 1000: "mouse", 1002: "mouse-drag",
    1003: "mouse-motion", 1004: "focus", 1006: "mouse-sgr", 2004: "paste", 2026: "synchronized",
}  # fmt: skip
"""What the modes are called in the ``screen`` view; others are not shown."""


def clamped(rows: int, cols: int) -> tuple[int, int]:
    """Return the nearest geometry that the engine is safe with."""
    cols = min(max(cols, COLS_MIN), COLS_MAX)
    return min(max(rows, ROWS_MIN), ROWS_MAX, CELLS_MAX // cols), cols


class Pen(msgspec.Struct, frozen=True, array_like=True):
    """What the next character would look like: its style and the character sets (designations and shifts, as bytes)."""

    style: Style = PLAIN
    charsets: bytes = b""


class Saved(msgspec.Struct, frozen=True, array_like=True):
    """A cursor put away by DECSC, which DECRC or leaving the alternate screen brings back."""

    row: int = 0
    col: int = 0
    pending: bool = False
    origin: bool = False
    pen: Pen = Pen()


class Screen(msgspec.Struct, frozen=True, array_like=True):
    """One of the two screens: its rows, its saved cursor, its kitty keyboard flags, its cursor's shape (0..6)."""

    rows: tuple[Row, ...] = ()
    saved: Saved | None = None
    keyboard: int = 0
    shape: int = 0  # DECSCUSR parameter


class Colours(msgspec.Struct, frozen=True, array_like=True):
    """Colours the program changed, as 0xRRGGBB; None and absent: the terminal's own."""

    fg: int | None = None
    bg: int | None = None
    cursor: int | None = None
    palette: tuple[tuple[int, int], ...] = ()  # (number, colour)


class State(msgspec.Struct, frozen=True, array_like=True):
    """The terminal at one output offset. ``row`` and ``col`` count from 0, ``tabs`` are columns from 0.

    ``tail``: raw bytes of the sequence or character that output stopped in the middle of. ``history``: logical lines
    above the primary screen, oldest first, as UTF-8 with SGR sequences and nothing else. ``incomplete``: something
    before this point was never seen (output gone, a skipped chunk, a screen that could not be read).
    """

    rows: int
    cols: int
    styles: tuple[Style, ...]
    primary: Screen
    alternate: Screen | None
    on_alternate: bool
    row: int
    col: int
    pending: bool
    pen: Pen
    modes: dict[int, bool]  # DEC private
    ansi: dict[int, bool]
    tabs: tuple[int, ...]
    region: tuple[int, int]  # first and last row, from 0
    other_keys: int  # xterm's modifyOtherKeys, 0..2
    colours: Colours
    title: str
    cwd: str
    tail: bytes
    incomplete: bool = False
    history: tuple[bytes, ...] = ()

    @property
    def shown(self) -> Screen:
        """The screen in view."""
        return self.alternate if self.on_alternate and self.alternate is not None else self.primary
