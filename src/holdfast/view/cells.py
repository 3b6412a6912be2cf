"""Describe what a screen shows: styles, runs of cells, rows. Not here: where they come from (engine), how they are
painted.

Plain tuples of plain values: they cross the socket between worker and host, and live in keyframes, as they are.
"""

from typing import Final, NamedTuple

import msgspec

DEFAULT: Final = -1
"""The colour that the terminal's own foreground or background stands for."""
RGB: Final = 0x1000000
"""Or-ed to 0xRRGGBB; colours without it are 0..255 of the palette."""

BOLD: Final = 1 << 0
FAINT: Final = 1 << 1
ITALIC: Final = 1 << 2
BLINK: Final = 1 << 3
INVERSE: Final = 1 << 4
INVISIBLE: Final = 1 << 5
STRIKE: Final = 1 << 6
OVERLINE: Final = 1 << 7
UNDERLINE_SHIFT: Final = 8
"""Bits 8..10 hold the kind of underline: 0 none, 1 single, 2 double, 3 curly, 4 dotted, 5 dashed."""
UNDERLINE_MASK: Final = 7 << UNDERLINE_SHIFT
PROTECTED: Final = 1 << 11
"""DECSCA: selective erase leaves the cell alone."""
FLAGS_MAX: Final = (1 << 12) - 1

BLANK: Final = 0
"""Kinds of run: no character was written here (erased cells, which may still have a background)."""
NARROW: Final = 1
"""One code point and one column per cell."""
WIDE: Final = 2
"""One code point and two columns per cell."""
CLUSTER: Final = 3
"""One cell of several code points; ``width`` is its columns."""


class Style(NamedTuple):
    """How a cell looks. Colours: -1 default, 0..255 palette, ``RGB | 0xRRGGBB``."""

    fg: int = DEFAULT
    bg: int = DEFAULT
    flags: int = 0
    underline: int = DEFAULT


PLAIN: Final = Style()


class Run(msgspec.Struct, frozen=True, array_like=True):
    """Cells side by side that look alike and are of one kind; ``width`` counts columns."""

    text: str
    style: int  # index into the styles of what holds the run
    width: int
    kind: int


class Row(msgspec.Struct, frozen=True, array_like=True):
    """Runs from the left; trailing blank cells of the default style are left out. ``wraps``: goes on in the next
    row.
    """

    runs: tuple[Run, ...] = ()
    wraps: bool = False


class Styles:
    """Number styles in the order they are first met; 0 is always the plain one."""

    def __init__(self) -> None:
        self.known: dict[Style, int] = {PLAIN: 0}

    def number(self, style: Style) -> int:
        """Return the number of ``style``, giving it the next one if it is new."""
        return self.known.setdefault(style, len(self.known))

    def all(self) -> tuple[Style, ...]:
        """Return every style met, by number."""
        return tuple(self.known)


def width(row: Row) -> int:
    """Return how many columns the runs of ``row`` cover."""
    return sum(run.width for run in row.runs)


def text(row: Row) -> str:
    """Return what ``row`` says, blanks as spaces, without those at its end."""
    return "".join(run.text or " " * run.width for run in row.runs).rstrip(" ")


def cropped(row: Row, cols: int) -> Row:
    """Return the part of ``row`` within the first ``cols`` columns; a wide cell that would be cut is left out."""
    if width(row) <= cols:
        return Row(row.runs)
    kept: list[Run] = []
    left = cols
    for run in row.runs:
        if run.width <= left:
            kept.append(run)
            left -= run.width
            continue
        if run.kind == NARROW:
            kept.append(Run(run.text[:left], run.style, left, NARROW))
        elif run.kind == WIDE:
            kept.append(Run(run.text[: left // 2], run.style, left // 2 * 2, WIDE))
        elif run.kind == BLANK:
            kept.append(Run("", run.style, left, BLANK))
        break
    return Row(tuple(run for run in kept if run.width))


_SIMPLE: Final = (
    (BOLD, "1"), (FAINT, "2"), (ITALIC, "3"), (BLINK, "5"), (INVERSE, "7"), (INVISIBLE, "8"), (STRIKE, "9"),
    (OVERLINE, "53"),
)  # fmt: skip


def sgr(style: Style) -> bytes:
    """Return the escape sequence that sets the pen to exactly ``style``, whatever it was (DECSCA is not part of it)."""
    if style == PLAIN:
        return b"\x1b[m"
    parts = ["0", *(code for bit, code in _SIMPLE if style.flags & bit)]
    kind = (style.flags & UNDERLINE_MASK) >> UNDERLINE_SHIFT
    if kind:
        parts.append("4" if kind == 1 else f"4:{kind}")
    for base, colour in ((38, style.fg), (48, style.bg), (58, style.underline)):
        if colour == DEFAULT:
            continue
        red, green, blue = colour >> 16 & 255, colour >> 8 & 255, colour & 255
        if base == 58:  # colons: old terminals would read 58;5;N as blink and more
            parts.append(f"58:2::{red}:{green}:{blue}" if colour & RGB else f"58:5:{colour}")
        elif colour & RGB:
            parts.append(f"{base};2;{red};{green};{blue}")
        elif colour < 16:
            parts.append(str((base - 8 if colour < 8 else base + 44) + colour))
        else:
            parts.append(f"{base};5;{colour}")
    return f"\x1b[{';'.join(parts)}m".encode()
