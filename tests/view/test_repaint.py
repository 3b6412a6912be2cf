"""A repaint leaves our engine, xterm.js and tmux in the state of a terminal that saw the whole stream."""

import random
from collections.abc import Iterator

import pytest

from holdfast.view.projection import Projection
from holdfast.view.repaint import GIVE_BACK
from tests.view.looks import difference, state_of, xterm_of
from tests.view.recordings import COLS, ROWS, synthetic
from tests.view.references import Tmux, Xterm

PROGRAMS = ["vim", "less", "top", "htop", "bash", "python", "progress"]
STREAMS = [*PROGRAMS, "wide", "colour"]
LAST_COLUMN = {"top"}
"""Streams that print into the last column and then erase to the end of the line. The engine does what xterm does: it
erases that last cell, and the next letter goes there; xterm.js and tmux erase nothing. (They disagree about a tab
there, too.) The last column is not compared with these two in such a stream.
"""
COLOURED_BLANKS = {"colour"}
"""Streams that scroll and erase in colour: tmux colours other blanks than xterm and the engine do."""
EMOJI = {
    "👨‍👩‍👧‍👦": "a family of four: 8 columns in the engine unless mode 2027 is set, 2 in others",
    "🇩🇪": "a flag: 4 columns in the engine unless mode 2027 is set, 2 in tmux",
    "❤️": "a heart with a variation selector: 1 or 2 columns",
    "👍🏽": "a thumb with a skin tone: 4 or 2 columns",
}
"""Letters about whose width terminals disagree. What follows them on the row is where it belongs all the same."""


def stream(name: str, recordings: dict[str, bytes]) -> bytes:
    found = {**recordings, **synthetic()}.get(name)
    if found is None:
        pytest.skip(f"left out: {name} is not installed")
    return found


def cuts(data: bytes, count: int) -> Iterator[tuple[bytes, int]]:
    """Yield random pieces of ``data``, which may end inside of anything, and where they end."""
    pick = random.Random(len(data))
    last = 0
    for cut in [*sorted(pick.sample(range(1, len(data)), min(count, len(data) - 1))), len(data)]:
        yield data[last:cut], cut
        last = cut


def blank_view() -> Projection:
    return Projection(rows=ROWS, cols=COLS, offset=0, epoch=1, now=0.0)


@pytest.mark.parametrize("name", STREAMS)
def test_our_engine_is_in_the_same_state_at_any_cut_and_after(
    name: str, recordings: dict[str, bytes], soak: bool
) -> None:
    view, before = blank_view(), None
    for piece, cut in cuts(stream(name, recordings), 400 if soak else 40):
        view.feed(view.offset, piece, now=0.0)
        state = viewed(view)
        if before is not None:
            before.feed(before.offset, piece, now=0.0)
            assert difference(state, viewed(before)) == "", f"went on otherwise, up to {cut}"
        before = blank_view()
        before.feed(0, view.repaint(0, 0).data, now=0.0)
        assert difference(state, viewed(before)) == "", f"cut at {cut}"


def viewed(view: Projection) -> dict[str, object]:
    """Return the state without an alternate screen that is not in view: viewers are not given it."""
    state = state_of(view.state())
    return state if state["on_alternate"] else {**state, "alternate": None}


@pytest.mark.parametrize("name", STREAMS)
def test_xterm_js_shows_what_it_shows_after_the_whole_stream(
    name: str, recordings: dict[str, bytes], xterm: Xterm, soak: bool
) -> None:
    view, whole, before = blank_view(), xterm.new(ROWS, COLS), 0
    for piece, cut in cuts(stream(name, recordings), 200 if soak else 20):
        view.feed(view.offset, piece, now=0.0)
        xterm.write(whole, piece)
        wanted = seen(xterm, whole, name)
        if before:
            xterm.write(before, piece)
            assert difference(wanted, seen(xterm, before, name)) == "", f"went on otherwise, up to {cut}"
            xterm.drop(before)
        before = xterm.new(ROWS, COLS)
        xterm.write(before, view.repaint(0, 0).data)
        assert difference(wanted, seen(xterm, before, name)) == "", f"cut at {cut}"
    xterm.drop(before)
    xterm.drop(whole)


def seen(xterm: Xterm, terminal: int, name: str) -> dict[str, object]:
    found = xterm_of(xterm.dump(terminal))
    if name in LAST_COLUMN:
        found["rows"] = [row[:79] for row in found["rows"]]
        found["cursor"] = [found["cursor"][0], min(found["cursor"][1], 79)]
    return found


@pytest.mark.parametrize("name", STREAMS)
def test_tmux_shows_what_it_shows_after_the_whole_stream(
    name: str, recordings: dict[str, bytes], tmux: Tmux, soak: bool
) -> None:
    lenient = {"within": 79 if name in LAST_COLUMN else None, "blanks": name not in COLOURED_BLANKS}
    view, whole, before = blank_view(), tmux.new(ROWS, COLS), ""
    for piece, cut in cuts(stream(name, recordings), 60 if soak else 4):
        view.feed(view.offset, piece, now=0.0)
        tmux.write(whole, piece)
        if before:
            tmux.write(before, piece)
            left, right = tmux.settled(whole, before, **lenient)
            assert left == right, f"went on otherwise, up to {cut}"
            tmux.drop(before)
        before = tmux.new(ROWS, COLS)
        tmux.write(before, view.repaint(0, 0).data)
        left, right = tmux.settled(whole, before, **lenient)
        assert left == right, f"cut at {cut}"


@pytest.mark.parametrize("letter", EMOJI, ids=ascii)
def test_what_follows_a_letter_of_disputed_width_is_in_its_place(letter: str, xterm: Xterm) -> None:
    view = blank_view()
    view.feed(0, letter.encode() + b"\x1b[1;20H|end", now=0.0)
    terminal = xterm.new(ROWS, COLS)
    xterm.write(terminal, view.repaint(0, 0).data)
    cells = xterm.dump(terminal)["rows"][0]["cells"]
    columns = [sum(width for _letter, width, _style in cells[:place]) for place in range(len(cells))]
    assert columns[[cell[0] for cell in cells].index("|")] == 19
    xterm.drop(terminal)


@pytest.mark.parametrize(("rows", "cols"), [(10, 40), (24, 40), (50, 132), (5, 200)])
def test_a_viewer_of_another_size_sees_the_part_that_fits_around_the_cursor(rows: int, cols: int, xterm: Xterm) -> None:
    view = blank_view()
    view.feed(0, b"".join(b"\x1b[%d;1Hrow %d " % (y, y) + b"x" * 60 for y in range(1, 25)) + b"\x1b[20;5H", now=0.0)
    terminal = xterm.new(rows, cols)
    xterm.write(terminal, view.repaint(rows, cols).data)
    shown = xterm.dump(terminal)
    lines = ["".join(letter for letter, _w, _s in row["cells"]).rstrip() for row in shown["rows"]]
    first = max(0, 20 - rows)
    assert shown["cursor"] == [19 - first, 4]
    wanted = [f"row {y} {'x' * 60}"[:cols] for y in range(first + 1, min(24, first + rows) + 1)]
    assert lines[: len(wanted)] == wanted
    assert not any(lines[len(wanted) :])
    xterm.drop(terminal)


def test_giving_a_terminal_back_ends_every_mode_a_program_can_leave_on(xterm: Xterm) -> None:
    fresh, used = xterm.new(ROWS, COLS), xterm.new(ROWS, COLS)
    xterm.write(
        used,
        b"shell\r\n\x1b]0;half\x1b[?1049h\x1b[?1h\x1b=\x1b[?1003h\x1b[?1006h\x1b[?1004h\x1b[?2004h\x1b[?25l\x1b[4h\x1b[?7l\x1b[?45h",
    )
    xterm.write(used, b"\x1b[31m\x1b[3;5r\x1b[?6hfull screen program\x1b]2;cut off")
    xterm.write(used, GIVE_BACK)
    after = xterm.dump(used)
    assert {**after["modes"], "reverseWraparoundMode": False} == xterm.dump(fresh)["modes"]
    assert after["kind"] == "normal"
    assert "".join(cell[0] for cell in after["rows"][0]["cells"]).strip() == "shell"
    xterm.write(used, b"x")
    assert xterm.dump(used)["rows"][ROWS - 1]["cells"][0] == ["x", 1, "-1,-1,"]
    for terminal in (fresh, used):
        xterm.drop(terminal)


def test_a_repaint_of_much_history_is_as_small_as_the_screen() -> None:
    view = blank_view()
    for _ in range(12):
        view.feed(
            view.offset, b"".join(b"\x1b[3%dmline %d\x1b[m of a log\r\n" % (i % 8, i) for i in range(1000)), now=0.0
        )
    assert len(view.repaint(0, 0).data) < 4096
