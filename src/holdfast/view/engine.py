"""Drive one terminal of the native engine through a typed adapter over its raw C interface. Nothing else touches cffi.

The C interface takes ``void *`` almost everywhere and a wrong type corrupts the heap, so every key has its C type in a
table here, and the layout of cells is proven against the engine's own accessors before the first use. The engine is fed
only what ``filter`` passed, in geometries that ``state.clamped`` allows. It may crash all the same: it lives in a
worker.
"""

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from holdfast.view.cells import (
    BLANK,
    BLINK,
    BOLD,
    CLUSTER,
    DEFAULT,
    FAINT,
    INVERSE,
    INVISIBLE,
    ITALIC,
    NARROW,
    OVERLINE,
    PLAIN,
    PROTECTED,
    RGB,
    STRIKE,
    UNDERLINE_SHIFT,
    WIDE,
    Row,
    Run,
    Style,
    Styles,
)
from holdfast.view.queries import BACKGROUND, CELL_HEIGHT_PX, CELL_WIDTH_PX, FOREGROUND
from holdfast.view.state import clamped

try:
    from pyghostty._ffi import ffi, lib, union_fn
except (ImportError, OSError) as error:  # no wheel for this machine, or its library does not load
    raise ImportError(f"the terminal engine (pyghostty 0.1.3) cannot be loaded: {error}") from error


class EngineError(RuntimeError):
    """A call of the engine failed; its state is as before."""


HISTORY_LINES: Final = 10_000
HISTORY_BYTES: Final = 64 << 20
STYLES_KEPT: Final = 4096
_TITLE_MAX: Final = 4096

_GET: Final = {
    "COLS": "uint16_t", "ROWS": "uint16_t", "CURSOR_X": "uint16_t", "CURSOR_Y": "uint16_t",
    "CURSOR_PENDING_WRAP": "bool", "ACTIVE_SCREEN": "GhosttyTerminalScreen", "KITTY_KEYBOARD_FLAGS": "uint8_t",
    "TITLE": "GhosttyString", "PWD": "GhosttyString", "SCROLLBACK_ROWS": "size_t",
    "COLOR_FOREGROUND": "GhosttyColorRgb", "COLOR_BACKGROUND": "GhosttyColorRgb", "COLOR_CURSOR": "GhosttyColorRgb",
    "COLOR_PALETTE": "GhosttyColorRgb[256]", "COLOR_PALETTE_DEFAULT": "GhosttyColorRgb[256]",
}  # fmt: skip
"""Every value that is read from a terminal, with the C type the engine writes."""
_SET: Final = {
    "SCROLLBACK_MAX_LINES": "size_t", "SCROLLBACK_MAX_BYTES": "size_t", "CONTINUATION_MAX_BYTES": "size_t",
    "COLOR_FOREGROUND": "GhosttyColorRgb", "COLOR_BACKGROUND": "GhosttyColorRgb",
    "KITTY_IMAGE_STORAGE_LIMIT": "uint64_t",
}  # fmt: skip
_CALLBACKS: Final = {
    "WRITE_PTY": "GhosttyTerminalWritePtyFn", "BELL": "GhosttyTerminalBellFn",
    "TITLE_CHANGED": "GhosttyTerminalTitleChangedFn", "PWD_CHANGED": "GhosttyTerminalPwdChangedFn",
}  # fmt: skip
_SNAPSHOT_HEADER: Final = 10
_SNAPSHOT_READY: Final = 5  # tag of the record after which a snapshot holds both screens; history follows
_CHARSETS_DEFAULT: Final = (b"\x1b(B", b"\x1b)B", b"\x1b*B", b"\x1b+B", b"\x0f")
_FLAGS: Final = (
    ("bold", BOLD), ("faint", FAINT), ("italic", ITALIC), ("blink", BLINK), ("inverse", INVERSE),
    ("invisible", INVISIBLE), ("strikethrough", STRIKE), ("overline", OVERLINE),
)  # fmt: skip
_EXTRAS: Final = ("tabstops", "scrolling_region", "keyboard", "charsets", "protection")
_SCREEN_EXTRAS: Final = ("charsets", "protection")
_TABS: Final = re.compile(rb"\x1b\[(\d+)G\x1bH")
_REGION: Final = re.compile(rb"\x1b\[(\d+);(\d+)r")
_KEYS: Final = re.compile(rb"\x1b\[>4;(\d)m")
_CHARSETS: Final = re.compile(rb"\x1b[()*+][0AB]|[\x0e\x0f]|\x1b[no|}~]")


# Looked up now, not when needed: a look-up takes a lock of cffi's, and the collector may run ``__del__`` while it is held.
_FREE: Final = lib.ghostty_terminal_free
_FREE_RENDER: Final = lib.ghostty_render_state_free
_FREE_ITERATOR: Final = lib.ghostty_render_state_row_iterator_free
_FREE_CELLS: Final = lib.ghostty_render_state_row_cells_free


def _checked(result: int, what: str) -> None:
    if result != 0:
        raise EngineError(f"{what}: the engine answered {result}")


class Extras(NamedTuple):
    """Tab stops (columns from 0), scroll region (rows from 0), modifyOtherKeys, charsets as bytes, DECSCA of the
    pen.
    """

    tabs: tuple[int, ...]
    region: tuple[int, int]
    other_keys: int
    charsets: bytes
    protects: bool


class Engine:
    """One terminal. ``changed`` collects what happened since it was last emptied: ``title``, ``cwd``, ``bell``."""

    def __init__(
        self, rows: int, cols: int, *, history_lines: int = HISTORY_LINES, history_bytes: int = HISTORY_BYTES
    ) -> None:
        rows, cols = clamped(rows, cols)
        out = ffi.new("GhosttyTerminal *")
        _checked(lib.ghostty_terminal_new(ffi.NULL, out, cols, rows), "new terminal")
        self._prepare(out[0])
        self._set("SCROLLBACK_MAX_LINES", history_lines)
        self._set("SCROLLBACK_MAX_BYTES", history_bytes)  # both: its default of bytes keeps a tenth of the lines
        self._set("CONTINUATION_MAX_BYTES", 1 << 17)
        self._set("KITTY_IMAGE_STORAGE_LIMIT", 0)
        self._set("COLOR_FOREGROUND", _rgb(FOREGROUND))
        self._set("COLOR_BACKGROUND", _rgb(BACKGROUND))
        self._call("WRITE_PTY", lambda _t, _u, data, size: self._replies.append(bytes(ffi.buffer(data, size))))
        self._call("BELL", lambda _t, _u: self._bell())
        self._call("TITLE_CHANGED", lambda _t, _u: self.changed.add("title"))
        self._call("PWD_CHANGED", lambda _t, _u: self.changed.add("cwd"))

    def _prepare(self, handle: Any) -> None:
        self._handle = handle
        self._render: Any = None
        self._kept: list[Any] = []  # callbacks live as long as the terminal
        self._replies: list[bytes] = []
        self.changed: set[str] = set()
        self.bells = 0
        self.styles = Styles()
        self._rows: list[Row] = []
        self._stale = True  # rows have to be read anew, whatever the engine says is dirty

    def close(self) -> None:
        """Free the native terminal; nothing else may be called after."""
        if self._handle is None:
            return
        if self._render is not None:
            state, iterator, cells = self._render
            _FREE_CELLS(cells[0])
            _FREE_ITERATOR(iterator[0])
            _FREE_RENDER(state)
        _FREE(self._handle)
        self._handle = None
        self._kept.clear()

    def __del__(self) -> None:
        self.close()

    # ---- raw access, by table ----------------------------------------------------------------------------------------

    def _get(self, key: str) -> Any:
        kind = _GET[key]
        out = ffi.new(kind if kind.endswith("]") else kind + " *")
        _checked(
            lib.ghostty_terminal_get(self._handle, getattr(lib, "GHOSTTY_TERMINAL_DATA_" + key), out), f"get {key}"
        )
        return out if kind.endswith("]") else out[0]

    def _set(self, key: str, value: Any) -> None:
        given = ffi.new(_SET[key] + " *", value)
        _checked(
            lib.ghostty_terminal_set(self._handle, getattr(lib, "GHOSTTY_TERMINAL_OPT_" + key), given), f"set {key}"
        )

    def _call(self, key: str, function: Callable[..., None]) -> None:
        callback = ffi.callback(_CALLBACKS[key], function)
        self._kept.append(callback)
        _checked(lib.ghostty_terminal_set(self._handle, getattr(lib, "GHOSTTY_TERMINAL_OPT_" + key), callback), key)

    def _bell(self) -> None:
        self.bells += 1
        self.changed.add("bell")

    def _string(self, key: str) -> str:
        found = self._get(key)
        raw = bytes(ffi.buffer(found.ptr, found.len)) if found.len else b""
        kept = raw[:_TITLE_MAX].decode("utf-8", "ignore")
        return "".join(letter for letter in kept if letter >= " " and not "\x7f" <= letter <= "\x9f")

    # ---- what it is told ---------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> list[bytes]:
        """Process whole sequences; return the replies to the queries among them."""
        lib.ghostty_terminal_vt_write(self._handle, data, len(data))
        if not self._replies:
            return []
        replies, self._replies = self._replies, []
        return replies

    def resize(self, rows: int, cols: int) -> None:
        """Take another geometry, clamped; the primary screen reflows."""
        rows, cols = clamped(rows, cols)
        _checked(lib.ghostty_terminal_resize(self._handle, cols, rows, CELL_WIDTH_PX, CELL_HEIGHT_PX), "resize")
        self._stale = True

    # ---- what it knows -----------------------------------------------------------------------------------------------

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self._get("ROWS")), int(self._get("COLS"))

    @property
    def cursor(self) -> tuple[int, int, bool]:
        """Row and column from 0, and whether the next character wraps first."""
        return int(self._get("CURSOR_Y")), int(self._get("CURSOR_X")), bool(self._get("CURSOR_PENDING_WRAP"))

    @property
    def on_alternate(self) -> bool:
        return bool(self._get("ACTIVE_SCREEN") == lib.GHOSTTY_TERMINAL_SCREEN_ALTERNATE)

    @property
    def title(self) -> str:
        return self._string("TITLE")

    @property
    def cwd(self) -> str:
        """What OSC 7 said last, a file: URL as a rule."""
        return self._string("PWD")

    @property
    def keyboard(self) -> int:
        """Flags of the kitty keyboard protocol of the screen in view."""
        return int(self._get("KITTY_KEYBOARD_FLAGS"))

    @property
    def shape(self) -> int:
        """Shape of the cursor as a steady DECSCUSR parameter: 2 block, 4 underline, 6 bar. As of the last ``rows``."""
        if self._render is None:
            return 2
        out = ffi.new("GhosttyRenderStateCursorVisualStyle *")
        state = self._render[0]
        _checked(lib.ghostty_render_state_get(state, lib.GHOSTTY_RENDER_STATE_DATA_CURSOR_VISUAL_STYLE, out), "shape")
        if out[0] == lib.GHOSTTY_RENDER_STATE_CURSOR_VISUAL_STYLE_BAR:
            return 6
        return 4 if out[0] == lib.GHOSTTY_RENDER_STATE_CURSOR_VISUAL_STYLE_UNDERLINE else 2

    @property
    def pen(self) -> Style:
        """What the next character would look like, without DECSCA (see ``extras``)."""
        out = _sized("GhosttyStyle")
        _checked(lib.ghostty_terminal_get(self._handle, lib.GHOSTTY_TERMINAL_DATA_CURSOR_STYLE, out), "pen")
        return _style(out[0], False)

    def mode(self, number: int, *, ansi: bool = False) -> bool | None:
        """Tell whether a mode is set; None if the engine does not know it."""
        out = ffi.new("GhosttyTerminalModeConfig *")
        out.mode = (number & 0x7FFF) | (ansi << 15)
        if lib.ghostty_terminal_get(self._handle, lib.GHOSTTY_TERMINAL_DATA_MODE, out) != 0:
            return None
        return bool(out.value)

    def colour(self, which: str) -> int | None:
        """Return the ``FOREGROUND``, ``BACKGROUND`` or ``CURSOR`` colour in effect as 0xRRGGBB, None if none is set."""
        try:
            return _number(self._get("COLOR_" + which))
        except EngineError:
            return None

    def palette(self) -> tuple[tuple[int, int], ...]:
        """Return the palette entries the program changed: number and 0xRRGGBB."""
        now, own = self._get("COLOR_PALETTE"), self._get("COLOR_PALETTE_DEFAULT")
        if ffi.buffer(now)[:] == ffi.buffer(own)[:]:
            return ()
        return tuple((i, _number(now[i])) for i in range(256) if _number(now[i]) != _number(own[i]))

    # ---- rows --------------------------------------------------------------------------------------------------------

    def rows(self) -> tuple[Row, ...]:
        """Return the rows in view; ``styles`` numbers what their runs look like. Only rows that changed are read."""
        if len(self.styles.known) > STYLES_KEPT:
            self.styles, self._stale = Styles(), True
        if self._render is None:
            self._render = _render_state()
        state, iterator, cells = self._render
        _checked(lib.ghostty_render_state_update(state, self._handle), "render")
        dirty = ffi.new("GhosttyRenderStateDirty *")
        _checked(lib.ghostty_render_state_get(state, lib.GHOSTTY_RENDER_STATE_DATA_DIRTY, dirty), "dirty")
        whole = self._stale or dirty[0] == lib.GHOSTTY_RENDER_STATE_DIRTY_FULL
        if not whole and dirty[0] == lib.GHOSTTY_RENDER_STATE_DIRTY_FALSE:
            return tuple(self._rows)
        _checked(lib.ghostty_render_state_get(state, lib.GHOSTTY_RENDER_STATE_DATA_ROW_ITERATOR, iterator), "rows")
        flag, view, raw = ffi.new("bool *"), ffi.new("GhosttyCellsView *"), ffi.new("GhosttyRow *")
        found: list[Row] = []
        while lib.ghostty_render_state_row_iterator_next(iterator[0]):
            if not whole:
                lib.ghostty_render_state_row_get(iterator[0], lib.GHOSTTY_RENDER_STATE_ROW_DATA_DIRTY, flag)
                if not flag[0]:
                    found.append(self._rows[len(found)])
                    continue
            row = iterator[0]
            _checked(lib.ghostty_render_state_row_get(row, lib.GHOSTTY_RENDER_STATE_ROW_DATA_CELLS_RAW, view), "cells")
            _checked(lib.ghostty_render_state_row_get(row, lib.GHOSTTY_RENDER_STATE_ROW_DATA_RAW, raw), "row")
            _checked(lib.ghostty_render_state_row_get(row, lib.GHOSTTY_RENDER_STATE_ROW_DATA_CELLS, cells), "styles")
            packed = memoryview(ffi.buffer(view.ptr, view.len * 8)).cast("Q").tolist()
            found.append(Row(_runs(packed, cells[0], self.styles), bool(raw[0] >> 32 & 1)))
        lib.ghostty_render_state_clean(state)
        self._rows, self._stale = found, False
        return tuple(found)

    def _place(self, tag: int, row: int, col: int) -> Any:
        point = ffi.new("GhosttyPointS *")
        point.tag, point.value.x, point.value.y = tag, col, row
        found = _sized("GhosttyGridRef")
        function = union_fn(
            "ghostty_terminal_grid_ref", "GhosttyResult(*)(GhosttyTerminal, GhosttyPointS, GhosttyGridRef*)"
        )
        _checked(function(self._handle, point[0], found), f"cell {row}, {col}")
        return found

    def history(self, lines: int, *, styled: bool) -> list[bytes]:
        """Return up to ``lines`` rows above the screen, oldest first, as UTF-8, joined where they soft-wrap.

        ``styled``: with SGR sequences, each line complete in itself; no other controls.
        """
        there = int(self._get("SCROLLBACK_ROWS"))
        if there == 0 or lines <= 0:
            return []
        selection = _sized("GhosttySelection")
        selection.start = self._place(lib.GHOSTTY_POINT_TAG_HISTORY, max(0, there - lines), 0)[0]
        selection.end = self._place(lib.GHOSTTY_POINT_TAG_HISTORY, there - 1, self.size[1] - 1)[0]
        kind = lib.GHOSTTY_FORMATTER_FORMAT_VT if styled else lib.GHOSTTY_FORMATTER_FORMAT_PLAIN
        raw = self._formatted(kind, selection, unwrap=True)
        return raw.replace(b"\r\n", b"\n").split(b"\n")

    def _formatted(self, kind: int, selection: Any, *, unwrap: bool = False, extras: tuple[str, ...] = ()) -> bytes:
        options = _sized("GhosttyFormatterTerminalOptions")
        options.emit, options.unwrap, options.trim, options.selection = kind, unwrap, True, selection
        for name in extras:
            setattr(options.extra.screen if name in _SCREEN_EXTRAS else options.extra, name, True)
        formatter = ffi.new("GhosttyFormatter *")
        _checked(lib.ghostty_formatter_terminal_new(ffi.NULL, formatter, self._handle, options[0]), "formatter")
        data, size = ffi.new("uint8_t **"), ffi.new("size_t *")
        result = lib.ghostty_formatter_format_alloc(formatter[0], ffi.NULL, data, size)
        lib.ghostty_formatter_free(formatter[0])
        _checked(result, "format")
        raw = bytes(ffi.buffer(data[0], size[0])) if size[0] else b""
        lib.ghostty_free(ffi.NULL, data[0], size[0])
        return raw

    def extras(self) -> Extras:
        """Return what only the engine's own formatter tells."""
        rows, _cols = self.size
        cell = _sized("GhosttySelection")
        cell.start = cell.end = self._place(lib.GHOSTTY_POINT_TAG_ACTIVE, 0, 0)[0]
        raw = self._formatted(lib.GHOSTTY_FORMATTER_FORMAT_VT, cell, extras=_EXTRAS)
        region, keys = _REGION.search(raw), _KEYS.search(raw)
        return Extras(
            tabs=tuple(int(col) - 1 for col in _TABS.findall(raw)),
            region=(int(region[1]) - 1, int(region[2]) - 1) if region else (0, rows - 1),
            other_keys=int(keys[1]) if keys else 0,
            charsets=b"".join(found for found in _CHARSETS.findall(raw) if found not in _CHARSETS_DEFAULT),
            protects=b'\x1b[1"q' in raw,
        )

    def copy(self, *, history: bool = False) -> "Engine":
        """Return a copy, without history unless it is wanted, to look at what cannot be asked for (the other screen,
        saved cursors).

        Made through the engine's own snapshot, which is never kept nor let out of this process. Raises EngineError
        where the engine cannot make one (a wide character cut by a resize of the alternate screen, until it is
        redrawn).
        """
        raw = bytearray()
        head = _SNAPSHOT_HEADER  # where the next record begins: tag, length, checksum, body
        enough = False

        def take(_user: Any, data: Any, size: int) -> bool:
            nonlocal head, enough
            if enough:
                return False  # history begins: the engine gives up writing, and that is all it does
            raw.extend(ffi.buffer(data, size))
            while not history and len(raw) >= head + 10 and not enough:
                enough = int.from_bytes(raw[head : head + 2], "little") == _SNAPSHOT_READY
                head += 10 + int.from_bytes(raw[head + 2 : head + 6], "little")
            return True

        writer = ffi.new("GhosttyWriter *")
        callback = ffi.callback("GhosttyWriterFn", take)
        writer.write = callback
        result = lib.ghostty_snapshot_encode(self._handle, writer[0])
        if not enough:
            _checked(result if history else result or -2, "snapshot")
        decoder = ffi.new("GhosttySnapshotDecoder *")
        source = ffi.from_buffer(bytes(raw))
        _checked(lib.ghostty_snapshot_decoder_new_buf(ffi.NULL, decoder, source, len(raw)), "decoder")
        out = ffi.new("GhosttyTerminal *")
        finish = lib.ghostty_snapshot_decoder_decode if history else lib.ghostty_snapshot_decoder_ready
        result = finish(decoder[0], out)
        lib.ghostty_snapshot_decoder_free(decoder[0])
        _checked(result, "copy")
        twin = Engine.__new__(Engine)
        twin._prepare(out[0])
        return twin


def _render_state() -> tuple[Any, Any, Any]:
    state, iterator = ffi.new("GhosttyRenderState *"), ffi.new("GhosttyRenderStateRowIterator *")
    cells = ffi.new("GhosttyRenderStateRowCells *")
    _checked(lib.ghostty_render_state_new(ffi.NULL, state), "render state")
    _checked(lib.ghostty_render_state_row_iterator_new(ffi.NULL, iterator), "row iterator")
    _checked(lib.ghostty_render_state_row_cells_new(ffi.NULL, cells), "row cells")
    return state[0], iterator, cells


def _runs(packed: list[int], cells: Any, styles: Styles) -> tuple[Run, ...]:
    """Return the runs of one row from the engine's packed cells.

    Bits: 0-1 content (code point, cluster, palette background, RGB background), 2-22 code point or 2-25 colour,
    26-41 style id, 42-43 wide (narrow, wide, tail, head), 44 protected. ``proven`` checks this against the engine.
    """
    while packed and not packed[-1] & 0x1FFFFFFFFFFF:
        packed.pop()
    runs: list[Run] = []
    numbers: dict[int, int] = {}  # style ids mean something within one row only
    letters: list[str] = []
    run_kind, run_style, run_width = -1, 0, 0
    for col, cell in enumerate(packed):
        wide = cell >> 42 & 3
        if wide == 2 or (wide == 3 and col == len(packed) - 1):
            continue  # the second half of a wide letter; the column at the end that one did not fit into
        content = cell & 3
        key = cell >> 26 & 0x4FFFF  # style id and protected
        if content > 1:
            rgb = cell >> 2 & 0xFFFFFF
            colour = rgb & 255 if content == 2 else RGB | (rgb & 255) << 16 | rgb & 0xFF00 | rgb >> 16
            kind, number = BLANK, styles.number(Style(bg=colour))
        else:
            if key == 0:
                number = 0
            elif (known := numbers.get(key)) is not None:
                number = known
            else:
                number = numbers[key] = styles.number(_cell_style(cells, col, bool(key >> 18)))
            code = cell >> 2 & 0x1FFFFF
            kind = BLANK if code == 0 or wide == 3 else CLUSTER if content == 1 else WIDE if wide else NARROW
            if kind == WIDE and code < 0x300:
                kind = NARROW  # a wide letter printed through a line drawing set: a blank and its second half
        if kind != run_kind or number != run_style or kind == CLUSTER:
            if run_kind >= 0:
                runs.append(Run("".join(letters), run_style, run_width, run_kind))
            letters = []
            run_kind, run_style, run_width = kind, number, 0
        run_width += 2 if wide == 1 else 1
        if kind == CLUSTER:
            letters.append(_cluster(cells, col))
        elif kind != BLANK:
            letters.append(chr(cell >> 2 & 0x1FFFFF) if kind == WIDE or wide != 1 else chr(cell >> 2 & 0x1FFFFF) + " ")
    if run_kind >= 0:
        runs.append(Run("".join(letters), run_style, run_width, run_kind))
    if runs and runs[-1].kind == BLANK and runs[-1].style == 0:
        runs.pop()
    return tuple(runs)


def _cell_style(cells: Any, col: int, protected: bool) -> Style:
    _checked(lib.ghostty_render_state_row_cells_select(cells, col), "select")
    out = _sized("GhosttyStyle")
    _checked(lib.ghostty_render_state_row_cells_get(cells, lib.GHOSTTY_RENDER_STATE_ROW_CELLS_DATA_STYLE, out), "style")
    return _style(out[0], protected)


def _cluster(cells: Any, col: int) -> str:
    _checked(lib.ghostty_render_state_row_cells_select(cells, col), "select")
    size = ffi.new("uint32_t *")
    key = lib.GHOSTTY_RENDER_STATE_ROW_CELLS_DATA_GRAPHEMES_LEN
    _checked(lib.ghostty_render_state_row_cells_get(cells, key, size), "cluster")
    codes = ffi.new("uint32_t[]", max(1, size[0]))
    key = lib.GHOSTTY_RENDER_STATE_ROW_CELLS_DATA_GRAPHEMES_BUF
    _checked(lib.ghostty_render_state_row_cells_get(cells, key, codes), "cluster")
    return "".join(chr(code) for code in codes[0 : size[0]])


def _style(found: Any, protected: bool) -> Style:
    flags = sum(bit for name, bit in _FLAGS if getattr(found, name)) | (int(found.underline) & 7) << UNDERLINE_SHIFT
    if protected:
        flags |= PROTECTED
    style = Style(_colour(found.fg_color), _colour(found.bg_color), flags, _colour(found.underline_color))
    return PLAIN if style == PLAIN else style


def _colour(found: Any) -> int:
    if found.tag == lib.GHOSTTY_STYLE_COLOR_PALETTE:
        return int(found.value.palette)
    if found.tag == lib.GHOSTTY_STYLE_COLOR_RGB:
        return RGB | _number(found.value.rgb)
    return DEFAULT


def _number(rgb: Any) -> int:
    return int(rgb.r) << 16 | int(rgb.g) << 8 | int(rgb.b)


def _rgb(number: int) -> dict[str, int]:
    return {"r": number >> 16 & 255, "g": number >> 8 & 255, "b": number & 255}


def _sized(kind: str) -> Any:
    """Return a new struct whose ``size`` fields, its own and nested ones, are filled in, as the interface wants."""
    made = ffi.new(kind + " *")
    _fill_sizes(made)
    return made


def _fill_sizes(pointer: Any) -> None:
    kind = ffi.typeof(pointer).item
    for name, field in kind.fields:
        if name == "size":
            pointer.size = ffi.sizeof(kind)
        elif field.type.kind == "struct":
            _fill_sizes(ffi.addressof(pointer[0], name))


def proven() -> None:
    """Compare our reading of packed cells with the engine's own accessors. Raises EngineError if they differ."""
    engine = Engine(4, 20)
    engine.feed(
        b'a\x1b[1;31m\xe4\xb8\xad\x1b[m\x1b[1"qp\x1b[0"qe\xcc\x81\x1b[45m\x1b[X\x1b[C\x1b[48;2;1;2;3m\x1b[X\x1b[m\x1b[3;1H'
        + b"w" * 21
    )
    rows = engine.rows()
    red = engine.styles.number(Style(fg=1, flags=BOLD))
    kept = engine.styles.number(Style(flags=PROTECTED))
    fives, triple = engine.styles.number(Style(bg=5)), engine.styles.number(Style(bg=RGB | 0x010203))
    wanted = (
        Run("a", 0, 1, NARROW), Run("\u4e2d", red, 2, WIDE), Run("p", kept, 1, NARROW), Run("e\u0301", 0, 1, CLUSTER),
        Run("", fives, 1, BLANK), Run("", triple, 1, BLANK),
    )  # fmt: skip
    whole = Row((Run("w" * 20, 0, 20, NARROW),), True)
    if rows[0] != Row(wanted) or rows[2] != whole or engine.pen != PLAIN:
        raise EngineError("cells of this build of the engine are laid out in another way than version 0.1.3")
    twin = engine.copy()
    if [twin.rows()[y].wraps for y in range(4)] != [False, False, True, False]:
        raise EngineError("snapshots of this build of the engine are laid out in another way than version 0.1.3")
