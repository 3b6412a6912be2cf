"""Follow one session's output with an engine and answer what is asked about its screen. Runs in a worker, does no
I/O.
"""

from typing import Final

from holdfast.view import cells, keyframe, protocol
from holdfast.view.capture import Capture, renumbered
from holdfast.view.cells import Row, Styles
from holdfast.view.engine import Engine
from holdfast.view.filter import Filter
from holdfast.view.queries import REPLY_BYTES_MAX, Rate, named, own_reply
from holdfast.view.repaint import repaint
from holdfast.view.state import MODE_NAMES, State

GAPS_KEPT: Final = 64
HISTORY_LINES_MAX: Final = 10_000


class Projection:
    """The view of one session. ``offset`` is the first byte of output it has not seen."""

    def __init__(self, *, rows: int, cols: int, offset: int, epoch: int, now: float, stored: bytes = b"") -> None:
        """``stored``: a keyframe to begin from; raises keyframe.BadKeyframe. ``epoch`` tells this view from later
        ones.
        """
        self._filter, self._rate = Filter(offset), Rate(now)
        self._epoch = epoch << 32
        self._version = self._first = 1  # versions of what ``screen`` told; before ``_first`` the layout was another
        self._shown: list[tuple[Row, int]] = []  # each row in view with the version in which it changed last
        self._layout: tuple[int, int, bool, Styles] | None = None
        self._told: protocol.ViewState | None = None
        self.gaps: list[protocol.Gap] = []
        self.incomplete = False
        if not stored:
            self.engine = Engine(rows, cols)
            self._capture = Capture(self.engine)
            return
        state = keyframe.decode(stored)
        self.engine = Engine(state.rows, state.cols)
        self._capture = Capture(self.engine)
        self._load(state)

    def _load(self, state: State) -> None:
        if state.history:
            self.engine.feed(keyframe.history_output(state))
            used = self.engine.cursor[0]
            self.engine.feed(b"\x1b[%d;1H" % state.rows + b"\n" * used)  # what is still on the screen is history too
        self.engine.feed(keyframe.loading(state))
        self._filter.feed(state.tail)
        self._filter.offset -= len(state.tail)  # the tail was counted when it was output
        self.engine.changed.clear()
        self.incomplete = state.incomplete

    @property
    def offset(self) -> int:
        return self._filter.offset

    def close(self) -> None:
        self.engine.close()

    def feed(self, offset: int, data: bytes, *, now: float) -> list[tuple[int, bytes]]:
        """Process output; return replies to queries in it, each with the end offset of its query."""
        if offset != self._filter.offset:
            self.skip(self._filter.offset, offset, "gone")
        replies: list[tuple[int, bytes]] = []
        for piece in self._filter.feed(data):
            given = self.engine.feed(piece.data)
            if not piece.query:
                continue
            if not given:
                rows, cols = self.engine.size
                row, col, _pending = self.engine.cursor
                given = [own_reply(piece.query, rows=rows, cols=cols, row=row, col=col)]
            reply = named(b"".join(given))
            if reply and len(reply) <= REPLY_BYTES_MAX and self._rate.allows(now):
                replies.append((piece.end, reply))
        return replies

    def skip(self, start: int, end: int, why: str) -> None:
        """Go on at ``end``; the view is incomplete from here on."""
        self._filter.skip(end)
        self.incomplete = True
        self.gaps = [*self.gaps[1 - GAPS_KEPT :], protocol.Gap(start, end, why)]

    def resize(self, rows: int, cols: int) -> None:
        self.engine.resize(rows, cols)

    def state(self, *, history: int = 0, careful: bool = False) -> State:
        """Return the whole state at ``offset``."""
        return self._capture.state(
            tail=self._filter.tail, incomplete=self.incomplete, history=min(history, HISTORY_LINES_MAX), careful=careful
        )

    def repaint(self, rows: int, cols: int, *, careful: bool = False) -> protocol.Painted:
        """Return what brings a terminal of ``rows`` by ``cols`` (0: the session's) to the state at ``offset``."""
        state = self.state(careful=careful)
        data = repaint(state, rows=rows or None, cols=cols or None)
        return protocol.Painted(self.offset, data, state.rows, state.cols, state.incomplete)

    def keyframe(self, history: int, *, careful: bool = False) -> protocol.Kept:
        """Return the state in its stored form."""
        return protocol.Kept(self.offset, keyframe.encode(self.state(history=history, careful=careful), self.offset))

    def screen(self, since: int) -> protocol.Rows:
        """Return the rows that changed after the answer whose token was ``since``; all for a token this view never
        gave.
        """
        rows = self.engine.rows()
        height, width = self.engine.size
        layout = (height, width, self.engine.on_alternate, self.engine.styles)
        if self._layout is None or layout[:3] != self._layout[:3] or layout[3] is not self._layout[3]:
            self._layout = layout
            self._version += 1
            self._first = self._version
            self._shown = [(row, self._version) for row in rows]
        elif any(row != shown for row, (shown, _v) in zip(rows, self._shown, strict=True)):
            self._version += 1
            self._shown = [
                (row, v if row == shown else self._version) for row, (shown, v) in zip(rows, self._shown, strict=True)
            ]
        seen = since - self._epoch
        full = not self._first <= seen <= self._version
        numbers = [y for y, (_row, version) in enumerate(self._shown) if full or version > seen]
        styles = Styles()
        picked = renumbered(tuple(rows[y] for y in numbers), self.engine.styles.all(), styles)
        row, col, _pending = self.engine.cursor
        return protocol.Rows(
            offset=self.offset, rows=height, cols=width, full=full, token=self._epoch + self._version,
            changed=dict(zip(numbers, picked, strict=True)), styles=styles.all(),
            cursor=(row, col, bool(self.engine.mode(25))), modes=self._modes(), title=self.engine.title,
            on_alternate=layout[2], incomplete=self.incomplete,
        )  # fmt: skip

    def text(self, history: int) -> protocol.Text:
        """Return the screen as plain text, below up to ``history`` lines of what scrolled off it."""
        above = self.engine.history(min(history, HISTORY_LINES_MAX), styled=False)
        lines = [line.decode("utf-8", "replace").rstrip() for line in above] + [
            cells.text(row) for row in self.engine.rows()
        ]
        row, col, _pending = self.engine.cursor
        return protocol.Text(self.offset, tuple(lines), (row, col), self.engine.title)

    def news(self) -> protocol.ViewState | None:
        """Return what is worth telling if it is not what was told last."""
        rows, cols = self.engine.size
        now = protocol.ViewState(
            offset=self.offset, rows=rows, cols=cols, title=self.engine.title, cwd=self.engine.cwd,
            bells=self.engine.bells, on_alternate=self.engine.on_alternate, modes=self._modes(),
            incomplete=self.incomplete, gaps=tuple(self.gaps),
        )  # fmt: skip
        told, self._told = self._told, now
        same = told is not None and now == protocol.ViewState(now.offset, *(getattr(told, f) for f in _FIELDS))
        return None if same else now

    def _modes(self) -> dict[str, bool]:
        return {name: bool(self.engine.mode(number)) for number, name in MODE_NAMES.items()}


_FIELDS: Final = protocol.ViewState.__struct_fields__[1:]
