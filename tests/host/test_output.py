"""I4: archive and ring read as one run of bytes; each byte once and in order, or a gap that says its range and why."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.host.output import Output
from holdfast.host.ring import Overrun
from holdfast.host.segments import Archive, Cache, Gap
from tests.host.rings import FakeRing


def made(folder: Path, size: int = 100) -> tuple[FakeRing, Output]:
    ring, output = FakeRing(size), Output(Archive(folder, cache=Cache()))
    output.attach(ring)
    return ring, output


def text(start: int, end: int) -> bytes:
    return bytes(number % 251 for number in range(start, end))


def test_ring_and_archive_are_one_output(tmp_path: Path) -> None:
    ring, output = made(tmp_path / "a")
    ring.put(text(0, 80))
    output.archive.append(0, text(0, 80))
    ring.put(text(80, 250))
    output.archive.append(80, text(80, 200))
    assert (output.start, output.end, output.gaps) == (0, 250, ())
    data = b""
    while len(data) < 250:
        chunk = output.read(len(data), 33)
        assert chunk.offset == len(data) and chunk.data and not chunk.why
        data += chunk.data
    assert data == text(0, 250)
    assert output.read(250, 10) == (250, b"", "")


def test_a_hole_between_archive_and_ring_is_stated(tmp_path: Path) -> None:
    ring, output = made(tmp_path / "a")
    output.archive.append(0, text(0, 10))
    ring.put(text(0, 300))
    assert output.gaps == (Gap(10, 200, "overrun"),)
    assert output.read(5, 50) == (5, text(5, 10), "")
    assert output.read(10, 5) == (200, text(200, 205), "overrun")


def test_a_gap_in_the_archive_that_the_ring_still_holds_is_none(tmp_path: Path) -> None:
    ring, output = made(tmp_path / "a")
    ring.put(text(0, 50))
    output.archive.note(0, 50, "disk")
    assert output.read(0, 50) == (0, text(0, 50), "") and output.gaps == ()
    ring.drop_before(20)
    assert output.read(0, 50) == (20, text(20, 50), "disk")


def test_what_is_overwritten_while_it_is_read_comes_from_the_archive(tmp_path: Path) -> None:
    ring, output = made(tmp_path / "a")
    ring.put(text(0, 100))
    output.archive.append(0, text(0, 100))

    def read(offset: int, most: int) -> bytes:
        ring.drop_before(60)
        raise Overrun(60)

    ring.read = read  # type: ignore[method-assign]
    assert output.read(10, 20) == (10, text(10, 30), "")


def test_without_a_ring_the_missing_end_is_a_gap(tmp_path: Path) -> None:
    ring, output = made(tmp_path / "a")
    ring.put(text(0, 50))
    output.archive.append(0, text(0, 30))
    output.detach()
    assert output.end == 50 and output.gaps == (Gap(30, 50, "disk"),)
    assert output.read(20, 50) == (20, text(20, 30), "")
    assert output.read(30, 50) == (50, b"", "disk") and output.read(50, 9) == (50, b"", "")


def test_a_ring_that_was_unmapped_under_us_is_done_without(tmp_path: Path) -> None:
    class Closed(FakeRing):
        @property
        def head(self) -> int:  # type: ignore[override]
            raise ValueError("operation forbidden on released memoryview object")

        @head.setter
        def head(self, value: int) -> None:
            pass

    output = Output(Archive(tmp_path / "a", cache=Cache()))
    output.archive.append(0, text(0, 30))
    output.attach(Closed())
    assert output.read(0, 9) == (0, text(0, 9), "") and output.ring is None and output.end == 30


def test_an_offset_nobody_reached_yet_has_no_data(tmp_path: Path) -> None:
    ring, output = made(tmp_path / "a")
    ring.put(text(0, 10))
    assert output.read(500, 10) == (500, b"", "") and output.read(-1, 3) == (0, text(0, 3), "")


moves = st.lists(
    st.tuples(
        st.sampled_from(["put", "archive", "disk", "drop", "lose-file", "restart"]), st.integers(1, 60)
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves, st.integers(1, 70))
def test_every_byte_is_there_once_and_right_or_in_a_gap(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[str, int]], most: int
) -> None:
    folder = tmp_path_factory.mktemp("a")
    ring, output = made(folder)
    for move, size in moves:
        archive = output.archive
        if move == "put":
            ring.put(text(ring.head, ring.head + size))
        elif move == "archive" and archive.end < ring.head:
            at = max(archive.end, ring.start)
            archive.append(at, ring.read(at, size))
        elif move == "disk":
            archive.note(archive.end, min(archive.end + size, ring.head), "disk")
        elif move == "drop":
            ring.drop_before(min(ring.start + size, ring.head))
        elif move == "lose-file":
            for path in sorted(folder.glob("*.hfz"))[:1]:
                path.write_bytes(b"damaged")
            output.archive._cache = Cache()
        else:
            output = Output(Archive(folder, cache=Cache()))
            output.attach(ring)
    at = 0
    while at < ring.head:
        chunk = output.read(at, most)
        assert chunk.offset >= at and bool(chunk.why) == (chunk.offset > at)
        assert chunk.data == text(chunk.offset, chunk.offset + len(chunk.data)) and len(chunk.data) <= most
        assert chunk.data or chunk.offset > at
        at = chunk.offset + len(chunk.data)
    assert at == ring.head and output.read(at, most) == (at, b"", "")
