"""Bring what two terminals show into one form, in which only what a person could see differs."""

from typing import Any

from holdfast.view import cells
from holdfast.view.cells import BLANK, CLUSTER, Style
from holdfast.view.state import Screen, State

_SEEN_ON_BLANKS = cells.INVERSE | cells.STRIKE | cells.OVERLINE | cells.UNDERLINE_MASK | cells.PROTECTED


def _blank(style: Style) -> Style:
    return style if style.flags & _SEEN_ON_BLANKS else Style(bg=style.bg)


def row_of(row: cells.Row, styles: tuple[Style, ...]) -> list[tuple[str, int, Style]]:
    """Return the cells of a row: letter, columns, style; blanks at the end left out."""
    found: list[tuple[str, int, Style]] = []
    for run in row.runs:
        style = styles[run.style]
        if run.kind == BLANK:
            found += [(" ", 1, _blank(style))] * run.width
        elif run.kind == CLUSTER:
            found.append((run.text, run.width, style))
        else:
            each = run.width // len(run.text)
            found += [(letter, each, _blank(style) if letter == " " else style) for letter in run.text]
    while found and found[-1] == (" ", 1, cells.PLAIN):
        found.pop()
    return found


def _screen(screen: Screen | None, state: State) -> Any:
    if screen is None:
        return None
    last = len(screen.rows) - 1  # nothing is below the last row that it could go on in, whatever its mark says
    rows = [(row_of(row, state.styles), row.wraps and y < last) for y, row in enumerate(screen.rows)]
    return rows, screen.saved, screen.keyboard, screen.shape


def state_of(state: State) -> dict[str, Any]:
    """Return all of a state that two terminals in the same state share, by name."""
    names = "rows cols on_alternate row col pending pen modes ansi tabs region other_keys colours title cwd tail"
    found = {name: getattr(state, name) for name in names.split()}
    found["primary"], found["alternate"] = _screen(state.primary, state), _screen(state.alternate, state)
    return found


def xterm_of(dump: dict[str, Any]) -> dict[str, Any]:
    """Return a dump of xterm.js in the same spirit."""
    rows = []
    for row in dump["rows"]:
        seen = []
        for letter, width, style in row["cells"]:
            _fg, bg, flags = style.split(",")
            blank = letter == " " and not set(flags) & set("ruso")
            seen.append((letter, width, f",{bg}," if blank else style))
        rows.append(seen)
    return {"rows": rows, "cursor": dump["cursor"], "kind": dump["kind"], "modes": dump["modes"]}


def difference(one: Any, other: Any, place: str = "") -> str:
    """Return where two of the above differ, and how; empty if nowhere."""
    if one == other:
        return ""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return next(filter(None, (difference(one[name], other[name], f"{place} {name}") for name in one)), "")
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return next(filter(None, (difference(a, b, f"{place} {number}") for number, (a, b) in pairs)), "")
    return f"{place}: {str(one)[:400]} | {str(other)[:400]}"
