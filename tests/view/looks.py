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
    rows = [(row_of(row, state.styles), row.wraps) for row in screen.rows]
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


def difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Return where two of the above differ, in a few words; empty if nowhere."""
    for name, left in one.items():
        right = other[name]
        if left == right:
            continue
        pairs = list(zip(left, right, strict=False)) if isinstance(left, list) else []
        for y, (a, b) in enumerate(pairs):
            if a != b:
                cell = next((x for x, (p, q) in enumerate(zip(a, b, strict=False)) if p != q), "end")
                return f"{name}, row {y}, from cell {cell}: {str(a)[:300]} | {str(b)[:300]}"
        return f"{name}: {str(left)[:400]} | {str(right)[:400]}"
    return ""
