"""Read the whole state out of an engine. What it cannot be asked for is found out on a throw-away copy of it."""

import msgspec

from holdfast.view.cells import PROTECTED, Row, Run, Style, Styles
from holdfast.view.engine import Engine, EngineError, Extras
from holdfast.view.queries import BACKGROUND, FOREGROUND
from holdfast.view.state import ANSI_MODES, DEC_MODES, Colours, Pen, Saved, Screen, State


class Capture:
    """Reads states of one engine. Keeps what was read of the screen out of view, for when no copy can be made."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._hidden: tuple[Screen, tuple[Style, ...]] | None = None  # primary, read while the alternate was in view

    def state(self, *, tail: bytes = b"", incomplete: bool = False, history: int = 0, careful: bool = False) -> State:
        """Return the state; ``tail`` is the filter's. ``history`` lines come along at most.

        ``careful``: make no copy of the engine (one crashed); saved cursors are then defaults, the screen out of
        view is as it was last read, and the state says that it is incomplete.
        """
        engine = self.engine
        rows, cols = engine.size
        styles = Styles()
        own = renumbered(engine.rows(), engine.styles.all(), styles)
        on_alternate = engine.on_alternate
        extras = engine.extras()
        row, col, pending = engine.cursor
        shown, hidden = Screen(own, Saved(), engine.keyboard, _shape(engine)), None
        above: list[bytes] = []
        try:
            if careful:
                raise EngineError("no copy is wanted")
            saved, hidden, above = self._copied(on_alternate, styles, history)
            shown = msgspec.structs.replace(shown, saved=saved)
        except EngineError:
            incomplete = True
            if on_alternate and self._hidden is not None:
                screen, named = self._hidden
                hidden = msgspec.structs.replace(screen, rows=renumbered(screen.rows, named, styles))
        if on_alternate and hidden is not None:
            self._hidden = hidden, styles.all()
        primary, alternate = (hidden or Screen(), shown) if on_alternate else (shown, hidden)
        if not on_alternate and alternate is not None and _untouched(alternate):
            alternate = None
        dec = {number: found for number in DEC_MODES if (found := engine.mode(number)) is not None}
        return State(
            rows=rows, cols=cols, styles=styles.all(), primary=primary, alternate=alternate, on_alternate=on_alternate,
            row=row, col=col, pending=pending, pen=_pen(engine, extras), modes=dec,
            ansi={number: found for number in ANSI_MODES if (found := engine.mode(number, ansi=True)) is not None},
            tabs=extras.tabs, region=extras.region, other_keys=extras.other_keys, colours=_colours(engine),
            title=engine.title, cwd=engine.cwd, tail=tail, incomplete=incomplete,
            history=tuple(above if on_alternate else engine.history(history, styled=True)),
        )  # fmt: skip

    def _copied(self, on_alternate: bool, styles: Styles, history: int) -> tuple[Saved, Screen, list[bytes]]:
        """Return the saved cursor of the screen in view, the other screen, and, if that is the primary, its history."""
        twin = self.engine.copy(history=on_alternate and history > 0)
        try:
            saved = _saved(twin)
            twin.feed(b"\x1b[?1049l" if on_alternate else b"\x1b[?47h")
            if twin.on_alternate == on_alternate:
                raise EngineError("the copy did not change screens")
            rows = renumbered(twin.rows(), twin.styles.all(), styles)
            above = twin.history(history, styled=True) if on_alternate else []
            return saved, Screen(rows, _saved(twin), twin.keyboard, _shape(twin)), above
        finally:
            twin.close()


def _saved(twin: Engine) -> Saved:
    """Return the cursor that DECRC would bring back on the screen in view of ``twin``, by having it brought back."""
    twin.feed(b"\x1b8")
    row, col, pending = twin.cursor
    return Saved(row, col, pending, bool(twin.mode(6)), _pen(twin, twin.extras()))


def _untouched(screen: Screen) -> bool:
    return screen.saved == Saved() and not screen.keyboard and not any(row.runs for row in screen.rows)


def _pen(engine: Engine, extras: Extras) -> Pen:
    pen = engine.pen
    return Pen(pen._replace(flags=pen.flags | PROTECTED) if extras.protects else pen, extras.charsets)


def _shape(engine: Engine) -> int:
    """Return the DECSCUSR parameter; a steady block, the engine's default, counts as the terminal's own default."""
    shape, blinks = engine.shape, bool(engine.mode(12))
    return 0 if shape == 2 and not blinks else shape - blinks


def _colours(engine: Engine) -> Colours:
    fg, bg = engine.colour("FOREGROUND"), engine.colour("BACKGROUND")
    return Colours(
        fg=None if fg == FOREGROUND else fg,
        bg=None if bg == BACKGROUND else bg,
        cursor=engine.colour("CURSOR"),
        palette=engine.palette(),
    )


def renumbered(rows: tuple[Row, ...], named: tuple[Style, ...], styles: Styles) -> tuple[Row, ...]:
    """Return ``rows`` with style numbers of ``styles`` in place of indices into ``named``."""
    numbers: dict[int, int] = {0: 0}
    found: list[Row] = []
    for row in rows:
        runs: list[Run] = []
        for run in row.runs:
            number = numbers.get(run.style)
            if number is None:
                number = numbers[run.style] = styles.number(named[run.style])
            runs.append(run if number == run.style else Run(run.text, number, run.width, run.kind))
        found.append(Row(tuple(runs), row.wraps))
    return tuple(found)
