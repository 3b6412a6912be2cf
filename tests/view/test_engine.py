"""The engine behind its adapter: cells, geometry, replies, events, and the outputs that once killed it."""

import subprocess
import sys

import pytest

from holdfast.view import engine as adapter
from holdfast.view.cells import BOLD, PLAIN, RGB, Style, cropped, sgr, text
from holdfast.view.engine import Engine
from holdfast.view.projection import Projection
from holdfast.view.state import CELLS_MAX, clamped


def test_cells_are_laid_out_as_we_read_them() -> None:
    adapter.proven()


@pytest.mark.parametrize("rows", [1, 4, 24, 250, 10_000])
@pytest.mark.parametrize("cols", [1, 20, 80, 500, 10_000])
def test_the_engine_only_ever_has_a_safe_geometry(rows: int, cols: int) -> None:
    height, width = clamped(rows, cols)
    assert 4 <= height <= 250
    assert 20 <= width <= 500
    assert height * width <= CELLS_MAX
    engine = Engine(rows, cols)
    engine.resize(cols, rows)
    assert engine.size == clamped(cols, rows)


def test_rows_that_did_not_change_are_the_same_objects() -> None:
    engine = Engine(24, 80)
    engine.feed(b"one\r\ntwo\r\n")
    before = engine.rows()
    engine.feed(b"three")
    after = engine.rows()
    assert [a is b for a, b in zip(before, after, strict=True)].count(False) == 1
    assert text(after[2]) == "three"


def test_history_is_kept_in_lines_not_in_a_default_of_bytes() -> None:
    """The engine's default of bytes keeps a tenth of the lines asked for."""
    engine = Engine(24, 80, history_lines=10_000)
    engine.feed(b"".join(b"line %d of some length or other\r\n" % i for i in range(12_000)))
    assert len(engine.history(20_000, styled=False)) > 9_000


def test_a_copy_is_changed_without_changing_the_engine() -> None:
    engine = Engine(24, 80)
    engine.feed(b"primary\x1b[?1049halternate")
    twin = engine.copy()
    twin.feed(b"\x1b[?1049l")
    assert (text(twin.rows()[0]), engine.on_alternate) == ("primary", True)
    assert text(engine.rows()[0]).strip() == "alternate"


def test_title_cwd_and_bell_are_noticed_and_hold_no_controls() -> None:
    engine = Engine(24, 80)
    engine.feed(b"\x1b]2;a\xc2\x9btitle\x07\x1b]7;file://h/tmp\x1b\\\x07\x07")
    assert engine.changed == {"title", "cwd", "bell"}
    assert (engine.title, engine.cwd, engine.bells) == ("atitle", "file://h/tmp", 2)


@pytest.mark.parametrize(
    ("query", "reply"),
    [
        (b"\x1b[c", b"\x1b[?62;22c"), (b"\x1b[5n", b"\x1b[0n"), (b"ab\x1b[6n", b"\x1b[1;3R"),
        (b"ab\x1b[?6n", b"\x1b[?1;3R"), (b"\x1b[?2004$p", b"\x1b[?2004;2$y"), (b"\x1b[?u", b"\x1b[?0u"),
        (b"\x1b[>q", b"\x1bP>|holdfast\x1b\\"), (b"\x1b]10;?\x07", b"\x1b]10;rgb:cccc/cccc/cccc\x07"),
        (b"\x1b]11;?\x1b\\", b"\x1b]11;rgb:0000/0000/0000\x1b\\"), (b"\x1bP$qm\x1b\\", b"\x1bP1$r0m\x1b\\"),
        (b"\x1bP+q544E\x1b\\", b"\x1bP1+r544E=787465726D2D323536636F6C6F72\x1b\\"),
        (b"\x1bP+q7878\x1b\\", b"\x1bP0+r7878\x1b\\"), (b"\x1b[18t", b"\x1b[8;24;80t"),
        (b"\x1b[14t", b"\x1b[4;384;640t"), (b"\x1b[?996n", b"\x1b[?997;1n"),
    ],
)  # fmt: skip
def test_queries_are_answered(query: bytes, reply: bytes) -> None:
    view = Projection(rows=24, cols=80, offset=1000, epoch=1, now=0.0)
    given = view.feed(1000, query + b"more", now=0.0)
    end = 1000 + len(query) - (2 if query.endswith(b"\x1b\\") else 0)
    assert given == [(end, reply)]


@pytest.mark.parametrize("silent", [b"\x1b[21t", b"\x1b]52;c;?\x07", b"\x05", b"\x1b_Ga=q,i=1;\x1b\\"])
def test_what_could_leak_or_inject_is_never_answered(silent: bytes) -> None:
    view = Projection(rows=24, cols=80, offset=0, epoch=1, now=0.0)
    assert view.feed(0, b"\x1b]2;secret\x07" + silent, now=0.0) == []


def test_a_flood_of_queries_is_answered_at_a_bounded_rate() -> None:
    view = Projection(rows=24, cols=80, offset=0, epoch=1, now=0.0)
    assert len(view.feed(0, b"\x1b[6n" * 10_000, now=0.0)) == 128
    assert len(view.feed(view.offset, b"\x1b[6n" * 10_000, now=0.25)) == 64


def test_outputs_that_kill_the_bare_engine_do_not_kill_it_behind_the_filter(crash_inputs: dict[str, bytes]) -> None:
    """In a process of its own: if the promise is broken, this process must live to say so."""
    program = (
        "import sys\nfrom holdfast.view.projection import Projection\n"
        "for rows, cols in ((24, 80), (65, 500), (4, 20)):\n"
        "    view = Projection(rows=rows, cols=cols, offset=0, epoch=1, now=0.0)\n"
        "    for data in map(bytes.fromhex, sys.argv[1:]):\n"
        "        view.feed(view.offset, data, now=0.0)\n"
        "        view.resize(4, 20); view.repaint(0, 0); view.resize(rows, cols)\n"
    )
    inputs = [data.hex() for data in crash_inputs.values()]
    assert subprocess.run([sys.executable, "-c", program, *inputs], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize(
    "style",
    [
        PLAIN,
        Style(1, 2, BOLD),
        Style(250, 17),
        Style(RGB | 0x010203, RGB | 0xFFFFFF, 3 << 8, 9),
        Style(flags=0x5FF),
        Style(9, 15),
    ],
)
def test_a_style_survives_its_escape_sequence(style: Style) -> None:
    engine = Engine(4, 20)
    engine.feed(b"\x1b[7;35;45m" + sgr(style))
    assert engine.pen == style


def test_a_row_is_cropped_without_cutting_a_wide_letter() -> None:
    engine = Engine(4, 20)
    engine.feed("ab中文e\u0301\x1b[Cz".encode())
    row = engine.rows()[0]
    assert [text(cropped(row, cols)) for cols in (1, 2, 3, 4, 5, 6, 7, 9)] == [
        "a", "ab", "ab", "ab中", "ab中", "ab中文", "ab中文e\u0301", "ab中文e\u0301 z",
    ]  # fmt: skip


def test_screen_answers_with_changed_rows_only_and_all_for_a_foreign_token() -> None:
    view = Projection(rows=24, cols=80, offset=0, epoch=7, now=0.0)
    view.feed(0, b"one\r\ntwo\r\n\x1b[31mthree", now=0.0)
    first = view.screen(0)
    assert first.full
    assert len(first.changed) == 24
    again = view.screen(first.token)
    assert (again.full, again.changed) == (False, {})
    view.feed(view.offset, b"\x1b[1;1Hnew", now=0.0)
    assert list(view.screen(first.token).changed) == [0]
    assert view.screen(first.token + (1 << 32)).full
    view.resize(30, 90)
    assert view.screen(first.token).full


def test_rows_in_view_follow_a_change_of_screens() -> None:
    view = Projection(rows=24, cols=80, offset=0, epoch=7, now=0.0)
    view.feed(0, b"primary\x1b[?1049h\x1b[Halternate", now=0.0)
    seen = view.screen(0)
    assert (seen.on_alternate, seen.changed[0].runs[0].text) == (True, "alternate")
    view.feed(view.offset, b"\x1b[?1049l", now=0.0)
    assert view.screen(seen.token).changed[0].runs[0].text == "primary"
