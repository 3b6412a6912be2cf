"""Write a state down and read it back: the only form in which the screen leaves a worker to be kept.

The msgpack form of ``state.State`` under zlib, in the envelope of ``stored``. Decoding believes nothing: sizes are
bounded before anything is unpacked, text may hold no controls, and a tail must be what the filter would hold back. A
keyframe is loaded by ordinary terminal output into a fresh engine, so that no version of the engine is tied to it.
"""

import re
import zlib
from typing import Final

import msgspec

from holdfast.core.errors import HoldError
from holdfast.view.cells import BLANK, CLUSTER, FLAGS_MAX, RGB, WIDE, Style, width
from holdfast.view.filter import STRING_MAX, Filter
from holdfast.view.repaint import repaint
from holdfast.view.state import COLS_MAX, COLS_MIN, ROWS_MAX, ROWS_MIN, Pen, Saved, Screen, State
from holdfast.view.stored import opened, sealed

PACKED_MAX: Final = 32 << 20
"""Most bytes a keyframe may unpack to; HISTORY_MAX keeps ours far below."""
HISTORY_MAX: Final = 8 << 20
_LINE: Final = re.compile(rb"(?:[^\x00-\x1f\x7f]|\x1b\[[0-9;:]*m)*+\Z")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CHARSETS: Final = re.compile(rb"(?:\x1b[()*+][0AB]|[\x0e\x0f]|\x1b[no|}~])*\Z")
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(State)


class BadKeyframe(HoldError):
    """These bytes are no keyframe of a version this one reads. The view starts empty and says that it is incomplete."""

    code = "bad-keyframe"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"a stored keyframe cannot be used: {why}; the session and its output are not touched",
            do="nothing: the screen fills again as the program draws, or at a key that makes it redraw (often Ctrl-L)",
        )


def encode(state: State, offset: int) -> bytes:
    """Return ``state`` at output ``offset`` as bytes to be kept; of its history as many of the newest lines as fit
    ``HISTORY_MAX``.
    """
    total = 0
    first = len(state.history)
    while first > 0 and total + len(state.history[first - 1]) <= HISTORY_MAX:
        first -= 1
        total += len(state.history[first])
    if first:
        state = msgspec.structs.replace(state, history=state.history[first:])
    return sealed(offset, zlib.compress(_ENCODER.encode(state), 1))


def decode(raw: bytes) -> State:
    """Return the state in ``raw``. Raises BadKeyframe for anything that ``encode`` cannot have made."""
    body = opened(raw)
    if body is None:
        raise BadKeyframe("it is of another version, cut off or damaged")
    unpacker = zlib.decompressobj()
    try:
        packed = unpacker.decompress(body, PACKED_MAX)
        if not unpacker.eof:
            raise BadKeyframe("it is cut off or unpacks to more than it may")
        state = _DECODER.decode(packed)
    except (zlib.error, msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise BadKeyframe(f"it does not unpack ({error})") from error
    _check(state)
    return state


def _check(state: State) -> None:
    if not (ROWS_MIN <= state.rows <= ROWS_MAX and COLS_MIN <= state.cols <= COLS_MAX):
        raise BadKeyframe(f"it has {state.rows} rows and {state.cols} columns")
    last_row, last_col = state.rows - 1, state.cols - 1
    top, bottom = state.region
    wrong = (
        "styles" if not all(_sound(style) for style in state.styles) or not state.styles
        else "screens" if state.on_alternate and state.alternate is None
        else "cursor" if not (0 <= state.row <= last_row and 0 <= state.col <= last_col)
        else "region" if not 0 <= top <= bottom <= last_row
        else "tab stops" if len(state.tabs) > COLS_MAX or not all(0 <= col < COLS_MAX for col in state.tabs)
        else "modes" if not all(0 <= number < 65536 for number in (*state.modes, *state.ansi)) or len(state.modes) > 256
        else "keyboard" if not 0 <= state.other_keys <= 2
        else "colours" if not all(0 <= n < 256 and 0 <= c < RGB for n, c in state.colours.palette)
        or not all(c is None or 0 <= c < RGB for c in (state.colours.fg, state.colours.bg, state.colours.cursor))
        else "title" if _CONTROL.search(state.title + state.cwd) or len(state.title + state.cwd) > 16384
        else "tail" if not _is_tail(state.tail)
        else "history" if not all(_LINE.match(line) for line in state.history)
        else ""
    )  # fmt: skip
    if wrong:
        raise BadKeyframe(f"its {wrong} cannot be")
    _check_pen(state.pen)
    for screen in (state.primary, state.alternate):
        if screen is not None:
            _check_screen(state, screen)


def _check_screen(state: State, screen: Screen) -> None:
    if len(screen.rows) not in (0, state.rows) or not 0 <= screen.keyboard < 32 or not 0 <= screen.shape <= 6:
        raise BadKeyframe("a screen has another number of rows")
    for row in screen.rows:
        if width(row) > state.cols:
            raise BadKeyframe("a row is wider than the screen")
        for run in row.runs:
            size = len(run.text)
            fits = (
                size == 0 if run.kind == BLANK
                else size in range(1, 65) and run.width in (1, 2) if run.kind == CLUSTER
                else size * (2 if run.kind == WIDE else 1) == run.width
            )  # fmt: skip
            if not fits or run.width < 1 or not BLANK <= run.kind <= CLUSTER or not 0 <= run.style < len(state.styles):
                raise BadKeyframe("a run of cells cannot be")
            if _CONTROL.search(run.text):
                raise BadKeyframe("a cell holds a control character")
    saved = screen.saved or Saved()
    if not (0 <= saved.row < state.rows and 0 <= saved.col < state.cols):
        raise BadKeyframe("a saved cursor is outside the screen")
    _check_pen(saved.pen)


def _check_pen(pen: Pen) -> None:
    if not _sound(pen.style) or not _CHARSETS.match(pen.charsets):
        raise BadKeyframe("a pen cannot be")


def _sound(style: Style) -> bool:
    colours = (style.fg, style.bg, style.underline)
    return 0 <= style.flags <= FLAGS_MAX and all(-1 <= colour < 256 or RGB <= colour < RGB << 1 for colour in colours)


def _is_tail(tail: bytes) -> bool:
    if len(tail) > STRING_MAX + 1024:
        return False
    trial = Filter()
    return not trial.feed(tail) and trial.tail == tail


def history_output(state: State) -> bytes:
    """Return output that scrolls the history of ``state`` through a fresh terminal; ``loading`` comes after."""
    return b"".join(line + b"\x1b[m\r\n" for line in state.history)


def loading(state: State) -> bytes:
    """Return output that brings an engine of the state's size to ``state``, but for its tail, which the filter is
    fed.
    """
    return repaint(msgspec.structs.replace(state, tail=b""), own=True)
