"""The archive on a real disk, and the thread that fills it: bounded, checked, never in anybody's way."""

import asyncio
import hashlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from holdfast.host.archive import Archiver
from holdfast.host.output import Output
from holdfast.host.segments import SEGMENT_BYTES, Archive, Cache, Gap, unpacked
from tests.host.disk import small_disk
from tests.host.rings import FakeRing

MIB = 1 << 20


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)  # does not compress: bounds are counted in compressed bytes


def everything(archive: Archive, at: int = 0, most: int = 300_000) -> bytes:
    data = b""
    while True:
        chunk = archive.read(at, most)
        assert chunk.offset == at
        if not chunk.data:
            return data
        data += chunk.data
        at += len(chunk.data)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_archived_is_read_back_byte_for_byte_also_after_a_new_start(tmp_path: Path) -> None:
    data = noise(2 * MIB + 12345)
    archive = Archive(tmp_path / "a")
    assert (archive.start, archive.end, archive.gaps) == (0, 0, ())
    assert archive.append(0, data[:MIB]) and archive.append(MIB, data[MIB:])
    for one in (archive, Archive(tmp_path / "a", cache=Cache())):
        assert (one.start, one.end, one.gaps) == (0, len(data), ())
        assert everything(one) == data
        assert one.read(MIB - 3, 10).data == data[MIB - 3 : MIB]  # at most one segment at a time
        assert one.read(len(data), 10) == (len(data), b"", "")


def test_a_file_says_itself_what_it_is(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "a")
    archive.append(0, b"hello")
    (name,) = files(tmp_path / "a")
    assert name == "00000000000000000000-00000005.hfz"
    whole = (tmp_path / "a" / name).read_bytes()
    assert whole[:4] == b"HFA1" and unpacked(whole, 0, 5) == b"hello"
    assert (tmp_path / "a" / name).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    assert zstandard.ZstdDecompressor().decompress(whole[48:], max_output_size=5) == b"hello"


def test_small_pieces_do_not_become_small_files(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "a")
    data = noise(3 * MIB // 2)
    for at in range(0, len(data), 50_000):
        assert archive.append(at, data[at : at + 50_000])
    assert len(files(tmp_path / "a")) == 2 and everything(archive) == data


def test_what_is_there_already_is_not_stored_twice(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "a")
    archive.append(0, b"abcdef")
    archive.append(3, b"defghi")
    archive.append(0, b"abc")
    assert everything(archive) == b"abcdefghi"


def test_a_crash_between_two_names_leaves_the_longer_segment(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "a")
    archive.append(0, b"abc")
    (name,) = files(tmp_path / "a")
    short = (tmp_path / "a" / name).read_bytes()
    archive.append(3, b"def")
    (tmp_path / "a" / name).write_bytes(short)
    (tmp_path / "a" / "00000000000000000000-00000009.new").write_bytes(b"half written")
    again = Archive(tmp_path / "a", cache=Cache())
    assert everything(again) == b"abcdef"
    assert not [left for left in files(tmp_path / "a") if left.endswith(".new")]


def test_the_oldest_go_when_the_bound_is_reached(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "a", keep_bytes=3 * MIB)
    data = noise(6 * MIB)
    for at in range(0, len(data), MIB):
        archive.append(at, data[at : at + MIB])
        assert archive.size <= 3 * MIB + 4096
    assert archive.start >= 3 * MIB and archive.end == 6 * MIB
    assert archive.gaps == (Gap(0, archive.start, "evicted"),)
    chunk = archive.read(0, 10)
    assert chunk == (archive.start, data[archive.start : archive.start + 10], "evicted")


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "swap", "gone"])
def test_a_corrupt_segment_is_a_stated_gap_and_its_neighbours_are_whole(tmp_path: Path, damage: str) -> None:
    data = noise(3 * MIB)
    Archive(tmp_path / "a").append(0, data)
    first, second, _ = (tmp_path / "a" / name for name in files(tmp_path / "a"))
    whole = bytearray(second.read_bytes())
    whole[MIB // 2] ^= 1
    archive = Archive(tmp_path / "a", cache=Cache())
    if damage == "gone":
        second.unlink()
    else:
        new = {"flip": whole, "cut": whole[: MIB // 2], "empty": b"", "swap": first.read_bytes()}[damage]
        second.write_bytes(new)
    assert archive.read(MIB - 5, 10).data == data[MIB - 5 : MIB]
    chunk = archive.read(MIB + 17, 10)
    assert chunk == (2 * MIB, data[2 * MIB : 2 * MIB + 10], "corrupt")
    assert Gap(MIB, 2 * MIB, "corrupt") in archive.gaps and archive.why(MIB + 17) == "corrupt"


def test_gaps_keep_their_reason_over_a_new_start(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "a")
    archive.append(0, b"x" * 100)
    archive.note(100, 150, "disk")
    archive.note(150, 200, "disk")
    archive.append(300, b"y" * 100)
    expected = (Gap(100, 200, "disk"), Gap(200, 300, "overrun"))
    for one in (archive, Archive(tmp_path / "a", cache=Cache())):
        assert one.gaps == expected
        assert one.read(120, 5) == (300, b"yyyyy", "disk")
        assert one.read(250, 5) == (300, b"yyyyy", "overrun")
    archive.note(400, 500, "disk")
    assert archive.end == 500 and archive.read(400, 5) == (500, b"", "disk")


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("README", "1-2.hfz", "00000000000000000000-00000005.hfz.bak"):
        (tmp_path / "a" / name).write_bytes(b"?")
    archive = Archive(tmp_path / "a")
    archive.append(0, b"abc")
    assert everything(archive) == b"abc" and len(files(tmp_path / "a")) == 4


def test_a_full_disk_is_false_then_a_gap_and_never_an_exception(short_dir: Path) -> None:
    with small_disk(short_dir / "disk", 1 * MIB) as disk:
        archive = Archive(disk.path / "a")
        assert archive.append(0, noise(200_000))
        disk.fill()
        assert not archive.append(200_000, noise(100_000, 2))
        assert archive.trouble and archive.end == 200_000 and everything(archive) == noise(200_000)
        archive.note(200_000, 300_000, "disk")
        disk.free()
        assert archive.append(300_000, b"after") and not archive.trouble
        again = Archive(disk.path / "a", cache=Cache())
        assert again.gaps == (Gap(200_000, 300_000, "disk"),)
        assert again.read(250_000, 100) == (300_000, b"after", "disk")


def test_an_impossible_folder_is_said_and_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    archive = Archive(tmp_path / "file" / "a")
    assert not archive.append(0, b"x") and archive.trouble
    archive.note(0, 1, "disk")
    assert archive.read(0, 1) == (1, b"", "disk")


def test_the_cache_is_bounded_and_forgets_the_least_recently_read(tmp_path: Path) -> None:
    cache = Cache(bytes_max=250)
    one, two, three = (Path(name) for name in "abc")
    cache.put(one, bytes(100))
    cache.put(two, bytes(100))
    assert cache.get(one) is not None
    cache.put(three, bytes(100))
    assert cache.get(two) is None and cache.get(one) is not None and cache.get(three) is not None


# ---- the thread ------------------------------------------------------------------------------------------------------


@pytest.fixture
def archiver() -> Iterator[Archiver]:
    archiver = Archiver(late_bytes=8 * MIB, idle_s=0.05)
    yield archiver
    archiver.close()


def session(tmp_path: Path, name: str = "a", size: int = 64 * MIB) -> tuple[FakeRing, Output]:
    ring, output = FakeRing(size), Output(Archive(tmp_path / name, cache=Cache()))
    output.attach(ring)
    return ring, output


async def until(true: "object", within_s: float = 20.0) -> None:
    assert callable(true)
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.002)


def test_finish_archives_everything_and_the_holder_is_told_on_the_loop(tmp_path: Path, archiver: Archiver) -> None:
    ring, output = session(tmp_path)
    data = noise(3 * MIB + 7)
    ring.put(data)
    told_in: list[int] = []
    ring.archived = lambda upto: told_in.append(threading.get_ident())  # type: ignore[method-assign]

    async def run() -> None:
        assert await archiver.finish(output)
        await until(lambda: len(told_in) >= 4)

    asyncio.run(run())
    assert everything(output.archive) == data and set(told_in) == {threading.get_ident()}


def test_an_idle_tail_is_archived_after_a_while_and_the_mark_only_rises(tmp_path: Path, archiver: Archiver) -> None:
    ring, output = session(tmp_path)

    async def run() -> None:
        for number in range(3):
            ring.put(b"prompt %d$ " % number)
            archiver.request(output)
            await until(lambda: ring.marks[-1:] == [ring.head])

    asyncio.run(run())
    assert ring.marks == sorted(set(ring.marks)) and output.archive.end == ring.head
    assert len(files(tmp_path / "a")) == 1


def test_output_that_comes_just_as_the_thread_looks_away_is_not_forgotten(tmp_path: Path, soak: bool) -> None:
    """A request is turned away while its session is watched; what came with it must be seen all the same."""
    archiver = Archiver(idle_s=0.0)
    ring, output = session(tmp_path)

    async def run() -> None:
        for _ in range(60 if soak else 6):
            ring.put(b"x")
            archiver.request(output)
            await until(lambda: output.archive.end > 0)
            await asyncio.sleep(0)
            ring.put(b"y")
            archiver.request(output)
            await until(lambda: output.archive.end == ring.head)

    asyncio.run(run())
    archiver.close()


def test_a_flood_is_left_alone_until_the_ring_cannot_be_left_with_it(tmp_path: Path, archiver: Archiver) -> None:
    ring, output = session(tmp_path)
    backlogs: list[int] = []

    async def run() -> None:
        piece = noise(MIB)
        for _ in range(40):
            ring.put(piece)
            archiver.request(output)
            backlogs.append(ring.head - output.archive.end)
            await asyncio.sleep(0.01)  # 100 MB/s, if nothing else runs
        assert output.archive.end > 0
        await until(lambda: output.archive.end == ring.head)

    asyncio.run(run())
    assert output.archive.gaps == () and backlogs[6] == 7 * MIB  # nothing was touched before it was late
    assert len(files(tmp_path / "a")) == 40


def test_calm_output_is_archived_as_whole_segments_come(tmp_path: Path) -> None:
    archiver = Archiver(late_bytes=64 * MIB, idle_s=3600)
    ring, output = session(tmp_path)

    async def run() -> None:
        ring.put(noise(SEGMENT_BYTES * 2 + 10))
        archiver.request(output)
        await until(lambda: output.archive.end == 2 * SEGMENT_BYTES)

    asyncio.run(run())
    archiver.close()
    assert ring.marks[-1] == 2 * SEGMENT_BYTES


def test_what_the_ring_lost_before_it_was_archived_is_a_gap(tmp_path: Path, archiver: Archiver) -> None:
    ring, output = session(tmp_path, size=MIB)
    ring.put(noise(3 * MIB))
    assert asyncio.run(archiver.finish(output))
    assert output.archive.gaps == (Gap(0, 2 * MIB, "overrun"),)
    assert output.read(0, 4) == (2 * MIB, noise(3 * MIB)[2 * MIB : 2 * MIB + 4], "overrun")


def test_one_thread_serves_many_sessions(tmp_path: Path, archiver: Archiver) -> None:
    sessions = [session(tmp_path, str(number)) for number in range(20)]

    async def run() -> None:
        for number, (ring, output) in enumerate(sessions):
            ring.put(b"%d" % number * 1000)
            archiver.request(output)
        await asyncio.gather(*[archiver.finish(output) for _, output in sessions])

    asyncio.run(run())
    threads = [thread for thread in threading.enumerate() if thread.name == "archiver"]
    assert len(threads) == 1
    for number, (_, output) in enumerate(sessions):
        assert everything(output.archive) == b"%d" % number * 1000


def test_a_full_disk_costs_the_oldest_output_and_blocks_nobody(short_dir: Path) -> None:
    archiver = Archiver(late_bytes=2 * MIB, idle_s=0.02)
    with small_disk(short_dir / "disk", 1 * MIB) as disk:
        ring, output = session(disk.path)
        disk.fill()

        async def run() -> None:
            slowest = 0.0
            for _ in range(24):
                ring.put(noise(MIB // 2))
                begun = time.monotonic()
                archiver.request(output)
                slowest = max(slowest, time.monotonic() - begun)
                await asyncio.sleep(0.002)
            await until(lambda: output.archive.end >= ring.head - 2 * MIB)
            disk.free()
            ring.put(b"after")
            archiver.request(output)
            assert slowest < 0.05

        asyncio.run(run())
        assert {gap.why for gap in output.archive.gaps} == {"disk"}
        assert asyncio.run(archiver.finish(output))
        assert output.end == ring.head
        ring.drop_before(ring.head)
        chunk = output.read(0, 8)
        assert chunk.why == "disk" and chunk.offset == output.archive.gaps[0].end
        archiver.close()


def test_the_end_of_a_session_on_a_full_disk_is_a_gap_and_not_a_wait(short_dir: Path, archiver: Archiver) -> None:
    with small_disk(short_dir / "disk", 256 * 1024) as disk:
        ring, output = session(disk.path)
        disk.fill()
        ring.put(b"last words")
        assert asyncio.run(archiver.finish(output, timeout=10))
        output.detach()
        assert output.read(0, 100) == (10, b"", "disk") and output.gaps == (Gap(0, 10, "disk"),)


def test_a_ring_that_goes_away_ends_its_job(tmp_path: Path, archiver: Archiver) -> None:
    ring, output = session(tmp_path)
    ring.put(noise(100))
    output.detach()
    assert asyncio.run(archiver.finish(output)) and output.archive.end == 0


def test_one_session_that_fails_does_not_end_the_archiving_of_others(
    tmp_path: Path, archiver: Archiver, caplog: pytest.LogCaptureFixture
) -> None:
    broken_ring, broken = session(tmp_path, "broken")
    ring, output = session(tmp_path, "whole")

    def read(offset: int, most: int) -> bytes:
        raise RuntimeError("a defect")

    broken_ring.read = read  # type: ignore[method-assign]
    for each in (broken_ring, ring):
        each.put(noise(2 * MIB))

    async def run() -> None:
        archiver.request(broken)
        archiver.request(output)
        await until(lambda: "a defect" in caplog.text)
        assert await archiver.finish(output)

    asyncio.run(run())
    assert output.archive.end == 2 * MIB and broken.archive.end == 0


def test_closing_ends_the_thread_with_work_left(tmp_path: Path) -> None:
    archiver = Archiver(late_bytes=MIB)
    ring, output = session(tmp_path)
    ring.put(noise(32 * MIB))

    async def run() -> None:
        archiver.request(output)
        await until(lambda: output.archive.end > 0)
        await asyncio.to_thread(archiver.close)

    asyncio.run(run())
    assert not [thread for thread in threading.enumerate() if thread.name == "archiver" and thread is archiver._thread]
    everything(output.archive)


def test_what_an_earlier_host_left_unarchived_is_archived_though_it_floods(tmp_path: Path) -> None:
    """Hosts that are killed one after the other must not each wait until the ring is nearly full."""
    archiver = Archiver(late_bytes=64 * MIB, idle_s=3600)
    ring = FakeRing(128 * MIB)
    ring.put(noise(10 * MIB))
    output = Output(Archive(tmp_path))
    output.attach(ring)

    async def run() -> None:
        for _ in range(40):  # 50 MiB in all: less than what is late
            archiver.request(output)
            ring.put(noise(MIB))
            await asyncio.sleep(0.01)
        assert output.archive.end >= 10 * MIB

    asyncio.run(run())
    archiver.close()


def test_digests_of_what_is_stored_are_given_once_and_again_when_a_segment_grew(tmp_path: Path) -> None:
    """Promise J8."""
    archive = Archive(tmp_path / "out")
    data = bytes(range(256)) * (SEGMENT_BYTES // 256) + b"rest"
    assert archive.append(0, data)
    [whole] = archive.take_sums(10, whole=True)
    assert whole == (0, SEGMENT_BYTES, hashlib.sha256(data[:SEGMENT_BYTES]).digest())
    assert archive.take_sums(10, whole=True) == []
    assert archive.take_sums(10, whole=False) == [(SEGMENT_BYTES, len(data), hashlib.sha256(b"rest").digest())]
    assert archive.append(len(data), b"more")
    assert archive.take_sums(10, whole=False) == [(SEGMENT_BYTES, len(data) + 4, hashlib.sha256(b"restmore").digest())]
    fresh = Archive(tmp_path / "out")
    fresh.owe_sums(SEGMENT_BYTES, fresh.end)
    assert fresh.take_sums(10, whole=False) == [(SEGMENT_BYTES, len(data) + 4, hashlib.sha256(b"restmore").digest())]
    fresh.owe_sums(0, SEGMENT_BYTES)  # what is behind that is not an earlier host's
    assert [each.start for each in fresh.take_sums(10, whole=False)] == [0]
