"""Turn a state into the bytes that bring a terminal to it, row by row, and the bytes that give a terminal back.

Rows are addressed, never scrolled into place; rows that soft-wrap are left to the terminal's own autowrap, so that it
knows they belong together. Works on xterm and what follows it, tmux and the engine. Hyperlinks and images of cells
painted before are not repainted. Not here: how the state was read (capture).
"""

from typing import Final

from holdfast.view.cells import BLANK, CLUSTER, PLAIN, PROTECTED, WIDE, Row, Run, Style, cropped, sgr, width
from holdfast.view.state import Pen, Saved, Screen, State

_SPECIAL: Final = frozenset({6, 7, 12, 25, 47, 1047, 1049, 2026, 2027})  # each has its own moment
_LEFT_ALONE: Final = {45: False, 1007: True, 1035: True, 1036: True, 1039: False, 2031: False, 2048: False}
"""Modes whose default is the user's own setting: touched only where the program did."""
_MODES_AT_ONCE: Final = 8
_RESET: Final = (
    b'\x18\x1b[?2026l\x1b[?25l\x1b[?1049l\x1b[?6l\x1b[r\x1b[4l\x1b[20l\x1b[?7h\x1b(B\x1b)B\x0f\x1b[0"q\x1b[m'
    b"\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\\x1b[<8u"
)
_CHARSETS_RESET: Final = b"\x1b(B\x1b)B\x0f"
GIVE_BACK: Final = (
    b'\x18\x1b[?2026l\x1b7\x1b[?1049l\x1b[?6l\x1b[r\x1b[4l\x1b[20l\x1b[?7h\x1b(B\x1b)B\x0f\x1b[0"q\x1b[m'
    b"\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l\x1b[?2004l\x1b[?2031l\x1b[?2048l"
    b"\x1b[?1l\x1b>\x1b[?5l\x1b[?25h\x1b[0 q\x1b[<8u\x1b[>4m"
    b"\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\\x1b[999;1H"
)
"""Put a user's terminal back to sane modes at detach, whatever the session had set: primary screen, mouse, focus and
paste reports off, cursor visible and of its own shape, kitty keyboard and modifyOtherKeys off, colours and pen reset,
cursor on the last row. Changes no text."""


class _Painter:
    """Bytes for one terminal of ``rows`` by ``cols``; remembers the pen so that it is set only when it changes."""

    def __init__(self, styles: tuple[Style, ...], rows: int, cols: int) -> None:
        self.out = bytearray()
        self.styles, self.rows, self.cols = styles, rows, cols
        self._pen: Style | None = PLAIN

    def pen(self, style: Style) -> None:
        if style == self._pen:
            return
        before = self._pen
        if before is None or (before.flags ^ style.flags) & PROTECTED:
            self.out += b'\x1b[1"q' if style.flags & PROTECTED else b'\x1b[0"q'
        self.out += sgr(Style(style.fg, style.bg, style.flags & ~PROTECTED, style.underline))
        self._pen = style

    def forget_pen(self) -> None:
        self._pen = None

    def screen(self, rows: tuple[Row, ...]) -> None:
        """Clear the screen in view and paint ``rows``. Leaves the cursor anywhere."""
        self.pen(PLAIN)
        self.out += b"\x1b[H\x1b[J"
        wrapped = False
        for y, row in enumerate(rows[: self.rows]):
            if wrapped:
                self._wrap_into(row)
            elif row.runs or row.wraps:
                self.out += b"\x1b[%d;1H" % (y + 1)
            self._runs(row)
            wrapped = row.wraps and y + 1 < len(rows)
            if wrapped:
                self._fill(row, rows[y + 1])

    def _wrap_into(self, row: Row) -> None:
        """From the end of a row that wraps into ``row``, get to its first column by printing."""
        first = row.runs[0] if row.runs else None
        if first is None or first.kind == BLANK:
            self.pen(PLAIN)
            self.out += b" \r\x1b[X"

    def _fill(self, row: Row, following: Row) -> None:
        """Bring a row that wraps to where the next letter wraps: its cells up to the last column have to be printed."""
        left = self.cols - width(row)
        if left == 1 and following.runs and following.runs[0].width > 1 and following.runs[0].kind in (WIDE, CLUSTER):
            return  # a wide letter does not fit into the last column and wraps by itself
        if left > 0:
            self.pen(PLAIN)
            self.out += b" " * left

    def _runs(self, row: Row) -> None:
        col = 0
        last = len(row.runs) - 1
        for number, run in enumerate(row.runs):
            style = self.styles[run.style]
            col += run.width
            if run.kind == BLANK:
                if number == last and row.wraps:
                    self.pen(style)
                    self.out += b" " * run.width
                    continue
                if style != PLAIN:
                    self.pen(style)
                    self.out += b"\x1b[%dX" % run.width
                if number != last:
                    self.out += b"\x1b[%dC" % run.width
                continue
            self.pen(style)
            self._letters(run, col)

    def _letters(self, run: Run, end: int) -> None:
        if not _disputed(run):
            self.out += run.text.encode("utf-8", "replace")
            return
        if run.kind == CLUSTER:
            self.out += run.text.encode("utf-8", "replace")
            if end < self.cols:
                self.out += b"\x1b[%dG" % (end + 1)
            return
        each = run.width // len(run.text)
        col = end - run.width
        for letter in run.text:
            col += each
            self.out += letter.encode("utf-8", "replace")
            if col < self.cols:
                self.out += b"\x1b[%dG" % (col + 1)

    def place(self, row: int, col: int, pending: bool, rows: tuple[Row, ...], top: int = 0) -> None:
        """Put the cursor; ``pending``: by printing the last cell once more. ``top``: first row of origin mode."""
        line = max(1, row - top + 1)
        if pending and row < len(rows):
            cells = list(rows[row].runs)
            run = cells[-1] if cells and width(rows[row]) >= self.cols else None
            if run is None or run.kind == BLANK:
                self.pen(PLAIN if run is None else self.styles[run.style])
                self.out += b"\x1b[%d;%dH " % (line, self.cols)
            else:
                each = run.width if run.kind == CLUSTER else run.width // len(run.text)
                letter = run.text if run.kind == CLUSTER else run.text[-1]
                self.pen(self.styles[run.style])
                self.out += b"\x1b[%d;%dH" % (line, self.cols - each + 1) + letter.encode("utf-8", "replace")
            return
        self.out += b"\x1b[%d;%dH" % (line, min(col, self.cols - 1) + 1)

    def saved(self, saved: Saved, rows: tuple[Row, ...]) -> None:
        """Put the cursor, pen and character sets to what was saved; the caller saves them.

        There is no scroll region yet: what is saved is a place on the screen, which need not be in today's region.
        """
        if saved.origin:
            self.out += b"\x1b[?6h"
        self.place(saved.row, saved.col, saved.pending, rows)
        self.pen(saved.pen.style)
        self.out += saved.pen.charsets

    def plain_again(self) -> None:
        self.out += b"\x1b[?6l" + _CHARSETS_RESET
        self.pen(PLAIN)


def _disputed(run: Run) -> bool:
    """Tell whether terminals disagree about how wide the letters of ``run`` are, so that what follows is addressed
    anew.
    """
    if run.kind == CLUSTER:
        return True
    if run.text.isascii():
        return False
    if run.kind == WIDE:
        return any(letter < "\u2e80" or letter >= "\U0001f000" for letter in run.text)
    return any("\u2600" <= letter <= "\u27bf" or letter >= "\U0001f000" for letter in run.text)


def repaint(state: State, *, rows: int | None = None, cols: int | None = None, own: bool = False) -> bytes:
    """Return bytes that bring a terminal of ``rows`` by ``cols`` (default: the session's size) to ``state``.

    Of the session's own size the terminal ends in the same state, and output from the state's offset may follow. Of
    another size it shows the part that fits, around the cursor, and a new repaint has to follow instead of output.
    ``own``: for the engine, with what viewers have no use for (the alternate screen out of view, synchronized output).
    """
    rows, cols = rows or state.rows, cols or state.cols
    if (rows, cols) != (state.rows, state.cols):
        return _fitted(state, rows, cols)
    paint = _Painter(state.styles, rows, cols)
    paint.out += _RESET
    paint.out += b"\x1b[?2027h" if state.modes.get(2027) else b"\x1b[?2027l"
    whole = (0, rows - 1)
    if own and state.alternate is not None and not state.on_alternate:
        paint.out += b"\x1b[?47h"
        paint.screen(state.alternate.rows)
        paint.saved(state.alternate.saved or Saved(), state.alternate.rows)
        paint.out += b"\x1b7"
        paint.plain_again()
        paint.out += b"\x1b[?47l"
    paint.screen(state.primary.rows)
    if state.on_alternate:
        _enter_alternate(paint, state)
        if state.alternate is not None:
            paint.screen(state.alternate.rows)
    _tabs(paint, state.tabs)
    shown = state.shown
    paint.saved(shown.saved or Saved(), shown.rows)
    paint.out += b"\x1b7"
    paint.plain_again()
    if state.region != whole:
        paint.out += b"\x1b[%d;%dr" % (state.region[0] + 1, state.region[1] + 1)
    _modes(paint, state, own=own)
    _surroundings(paint, state, shown)
    origin = state.modes.get(6, False)
    if origin:
        paint.out += b"\x1b[?6h"
    paint.place(state.row, state.col, state.pending, shown.rows, state.region[0] if origin else 0)
    _rest(paint, state, state.pen)
    return bytes(paint.out) + state.tail


def _enter_alternate(paint: _Painter, state: State) -> None:
    """From the painted primary screen, go to the alternate one, so that leaving it brings the right cursor back."""
    primary = state.primary
    paint.out += b"\x1b[%d q" % primary.shape
    if primary.keyboard:
        paint.out += b"\x1b[>%du" % primary.keyboard
    paint.saved(primary.saved or Saved(), primary.rows)
    number = next((mode for mode in (1049, 1047, 47) if state.modes.get(mode)), 1049)
    paint.out += b"\x1b[?1049h" if number == 1049 else b"\x1b7\x1b[?%dh" % number
    paint.forget_pen()
    paint.plain_again()


def _tabs(paint: _Painter, tabs: tuple[int, ...]) -> None:
    paint.out += b"\x1b[3g"
    for col in tabs:
        if col < paint.cols:
            paint.out += b"\x1b[%dG\x1bH" % (col + 1)


def _modes(paint: _Painter, state: State, *, own: bool) -> None:
    off: list[int] = []
    on: list[int] = []
    for number, value in sorted(state.modes.items()):
        if number in _SPECIAL or (not own and _LEFT_ALONE.get(number) is value):
            continue
        (on if value else off).append(number)
    for numbers, final in ((off, b"l"), (on, b"h")):
        for at in range(0, len(numbers), _MODES_AT_ONCE):
            paint.out += b"\x1b[?" + b";".join(b"%d" % n for n in numbers[at : at + _MODES_AT_ONCE]) + final
    paint.out += b"\x1b[20h" if state.ansi.get(20) else b""
    if own:
        paint.out += b"\x1b[?12h" if state.modes.get(12) else b"\x1b[?12l"
        paint.out += b"\x1b[2h" if state.ansi.get(2) else b""


def _surroundings(paint: _Painter, state: State, shown: Screen) -> None:
    paint.out += b"\x1b[%d q" % shown.shape
    if shown.keyboard:
        paint.out += b"\x1b[>%du" % shown.keyboard
    paint.out += b"\x1b[>4;%dm" % state.other_keys if state.other_keys else b"\x1b[>4m"
    for number, colour in state.colours.palette:
        paint.out += b"\x1b]4;%d;%s\x1b\\" % (number, _rgb(colour))
    for command, chosen in ((10, state.colours.fg), (11, state.colours.bg), (12, state.colours.cursor)):
        if chosen is not None:
            paint.out += b"\x1b]%d;%s\x1b\\" % (command, _rgb(chosen))
    if state.title:
        paint.out += b"\x1b]2;" + state.title.encode("utf-8", "replace") + b"\x1b\\"
    if state.cwd:
        paint.out += b"\x1b]7;" + state.cwd.encode("utf-8", "replace") + b"\x1b\\"


def _rest(paint: _Painter, state: State, pen: Pen) -> None:
    """What must come after the cursor is in place: printing the last cell again would be changed by it."""
    paint.pen(pen.style)
    paint.out += pen.charsets
    paint.out += b"\x1b[4h" if state.ansi.get(4) else b""
    paint.out += b"" if state.modes.get(7, True) else b"\x1b[?7l"
    paint.out += b"\x1b[?25h" if state.modes.get(25, True) else b"\x1b[?25l"


def _fitted(state: State, rows: int, cols: int) -> bytes:
    """Return the part of the screen that fits ``rows`` by ``cols``, around the cursor, with the modes that steer
    input.
    """
    shown = state.shown
    first = max(0, min(state.row - rows + 1, len(shown.rows) - rows)) if rows < state.rows else 0
    lines = tuple(cropped(row, cols) for row in shown.rows[first : first + rows])
    paint = _Painter(state.styles, rows, cols)
    paint.out += _RESET + b"\x1b[?2027l"
    if state.on_alternate:
        paint.out += b"\x1b[?1049h"
    paint.screen(lines)
    _modes(paint, state, own=False)
    _surroundings(paint, state, shown)
    inside = state.col < cols and 0 <= state.row - first < rows
    paint.place(min(max(state.row - first, 0), rows - 1), min(state.col, cols - 1), False, lines)
    paint.pen(PLAIN)
    paint.out += b"\x1b[?25h" if inside and state.modes.get(25, True) else b"\x1b[?25l"
    return bytes(paint.out)


def _rgb(colour: int) -> bytes:
    return b"rgb:%02x/%02x/%02x" % (colour >> 16 & 255, colour >> 8 & 255, colour & 255)
