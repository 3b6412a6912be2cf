"""The journal on a real disk: what was written stays, what a crash tore is cut and said, a full disk is survived."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.errors import Corrupt, StorageFailed
from holdfast.core.inputs import Outcome
from holdfast.core.journal import Kind, Record, decoded
from holdfast.host.journal import SUFFIX, Journal
from holdfast.host.syncer import Syncer
from tests.host.disk import small_disk


@pytest.fixture
def syncer() -> Iterator[Syncer]:
    syncer = Syncer(delay_s=0.001)
    yield syncer
    assert syncer.close()


def opened(folder: Path, syncer: Syncer, **options: Any) -> Journal:
    return Journal.open(folder, session="s-test", syncer=syncer, **options)


def note(journal: Journal, number: int, size: int = 0) -> Record:
    return journal.append(Kind.NOTE, "uid:0", {"n": number, "pad": bytes(size)}, at_ns=number)


def numbers(journal: Journal, position: int = 0, limit: int = 100_000) -> list[int]:
    every = [decoded(data) for data in journal.read(position, limit)]
    return [record.body["n"] for record in every if record.kind == Kind.NOTE]


def kinds(journal: Journal) -> list[str]:
    return [decoded(data).kind for data in journal.read(0, 1000)]


def newest(folder: Path) -> Path:
    return max(folder.glob(f"*{SUFFIX}"))


def test_what_was_appended_is_there_after_a_new_start(tmp_path: Path, syncer: Syncer) -> None:
    journal = opened(tmp_path / "j", syncer, generation=3, incarnation=2, epoch=4)
    assert (journal.position, journal.head, journal.first) == (0, bytes(32), 1)
    for number in range(5):
        written = note(journal, number)
    assert (written.generation, written.incarnation, written.epoch, written.at_ns) == (3, 2, 4, 4)
    head = journal.head
    journal.close()
    again = opened(tmp_path / "j", syncer)
    assert (again.position, again.head, again.tail, again.damage) == (5, head, None, [])
    assert numbers(again) == [0, 1, 2, 3, 4] and numbers(again, 3, 2) == [2, 3]
    assert note(again, 5).prev == head and again.verify().whole
    again.close()


def test_an_append_is_in_the_file_when_it_returns_and_synced_soon(tmp_path: Path, syncer: Syncer) -> None:
    journal = opened(tmp_path / "j", syncer)
    note(journal, 1, size=500)
    assert newest(tmp_path / "j").read_bytes().count(b"\0" * 500) == 1  # before any sync was waited for
    assert syncer.settle() and syncer.syncs >= 1 and journal.unsynced == ""
    journal.close()


def test_files_are_for_their_owner_alone(tmp_path: Path, syncer: Syncer) -> None:
    journal = opened(tmp_path / "j", syncer)
    note(journal, 1)
    assert (tmp_path / "j").stat().st_mode & 0o777 == 0o700
    assert newest(tmp_path / "j").stat().st_mode & 0o777 == 0o600
    journal.close()


def test_two_hosts_cannot_write_one_journal(tmp_path: Path, syncer: Syncer) -> None:
    journal = opened(tmp_path / "j", syncer)
    with pytest.raises(StorageFailed, match="another process"):
        opened(tmp_path / "j", syncer)
    journal.close()
    opened(tmp_path / "j", syncer).close()


def test_a_closed_journal_says_so(tmp_path: Path, syncer: Syncer) -> None:
    journal = opened(tmp_path / "j", syncer)
    journal.close()
    journal.close()
    with pytest.raises(StorageFailed, match="closed"):
        note(journal, 1)


def test_wherever_a_crash_cuts_the_last_write_the_rest_is_kept_and_the_cut_is_said(
    tmp_path: Path, syncer: Syncer, soak: bool
) -> None:
    journal = opened(tmp_path / "whole", syncer)
    note(journal, 1)
    note(journal, 2)
    before = journal.size
    note(journal, 3)
    whole = newest(tmp_path / "whole").read_bytes()
    journal.close()
    for cut in range(before, len(whole), 1 if soak else 7):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / newest(tmp_path / "whole").name).write_bytes(whole[:cut])
        again = opened(folder, syncer, at_ns=99)
        assert numbers(again) == [1, 2] and again.damage == []
        if cut == before:
            assert again.tail is None and again.position == 2
        else:
            assert again.tail is not None and (again.tail.after, again.tail.size) == (2, cut - before)
            assert again.tail.kept is not None and again.tail.kept.read_bytes() == whole[before:cut]
            assert kinds(again)[-1] == Kind.RECOVERED_TAIL and again.position == 3
        note(again, 3)
        assert numbers(again) == [1, 2, 3] and again.verify().whole
        again.close()


def test_a_tail_of_zeroes_or_garbage_is_torn_too(tmp_path: Path, syncer: Syncer) -> None:
    for name, tail in (("zeroes", bytes(5000)), ("garbage", b"\xf5HFr" * 100)):
        journal = opened(tmp_path / name, syncer)
        note(journal, 1)
        journal.close()
        with newest(tmp_path / name).open("ab") as file:
            file.write(tail)
        again = opened(tmp_path / name, syncer)
        assert again.tail is not None and again.tail.size == len(tail) and numbers(again) == [1]
        assert again.verify().whole
        again.close()


def test_a_segment_whose_beginning_was_torn_is_put_aside(tmp_path: Path, syncer: Syncer) -> None:
    journal = opened(tmp_path / "j", syncer)
    note(journal, 1)
    journal.close()
    (tmp_path / "j" / f"{2:020d}{SUFFIX}").write_bytes(b"\xf5HF")
    again = opened(tmp_path / "j", syncer)
    assert again.tail is not None and again.tail.after == 1 and numbers(again) == [1]
    assert note(again, 2).position == 3 and again.verify().whole  # 2 says what was found
    again.close()


@pytest.mark.parametrize("what", ["content", "length"])
def test_damage_in_the_middle_is_named_and_the_journal_goes_on_in_a_new_segment(
    tmp_path: Path, syncer: Syncer, what: str
) -> None:
    journal = opened(tmp_path / "j", syncer)
    for number in (1, 2, 3):
        start = journal.size
        note(journal, number, size=50)
        if number == 2:
            offset = start + (40 if what == "content" else 5)
    path = newest(tmp_path / "j")
    journal.close()
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)
    again = opened(tmp_path / "j", syncer)
    assert [each.position for each in again.damage] == [2] and again.tail is None
    error = again.damage[0].error()
    assert isinstance(error, Corrupt) and error.details["position"] == 2
    assert numbers(again) == [1, 3] and kinds(again)[-1] == Kind.DAMAGED
    note(again, 4)
    assert newest(tmp_path / "j") != path and path.read_bytes() == data  # evidence is not touched
    verdict = again.verify()
    assert (verdict.position, verdict.whole) == (2, False)
    again.close()
    third = opened(tmp_path / "j", syncer)
    assert third.damage == [] and numbers(third) == [1, 3, 4]
    third.close()


def test_an_altered_record_with_a_mended_checksum_is_noticed_at_the_start(tmp_path: Path, syncer: Syncer) -> None:
    import zlib

    journal = opened(tmp_path / "j", syncer)
    starts = []
    for number in (1, 2, 3):
        starts.append(journal.size)
        note(journal, number)
    path = newest(tmp_path / "j")
    journal.close()
    data = bytearray(path.read_bytes())
    start, end = starts[1], starts[2]
    data[start + 12 : end] = data[start + 12 : end].replace(b"uid:0", b"uid:7")
    data[start + 8 : start + 12] = zlib.crc32(data[start + 12 : end]).to_bytes(4, "big")
    path.write_bytes(data)
    again = opened(tmp_path / "j", syncer)
    assert again.damage and again.verify().position == 2
    again.close()


def test_segments_rotate_the_oldest_go_and_what_is_kept_verifies(tmp_path: Path, syncer: Syncer) -> None:
    journal = opened(tmp_path / "j", syncer, segment_bytes=4096, keep_bytes=16384)
    for number in range(1, 401):
        note(journal, number, size=100)
        assert journal.size <= 16384 + 4096
    assert journal.first > 1 and journal.verify().whole
    assert numbers(journal, 0)[-1] == 400 and numbers(journal, journal.first, 1) == [journal.first]
    files = sorted((tmp_path / "j").glob(f"*{SUFFIX}"))
    assert int(files[0].stem) == journal.first and len(files) <= 6
    position, head = journal.position, journal.head
    journal.close()
    again = opened(tmp_path / "j", syncer, segment_bytes=4096, keep_bytes=16384)
    assert (again.position, again.head) == (position, head) and again.verify().verified > 50
    again.close()


def test_reading_in_pages_gives_every_record_once(tmp_path: Path, syncer: Syncer) -> None:
    journal = opened(tmp_path / "j", syncer, segment_bytes=8192)
    for number in range(1, 701):
        note(journal, number)
    found: list[int] = []
    position = 1
    while page := journal.read(position, 97):
        found += [decoded(data).position for data in page]
        position = found[-1] + 1
    assert found == list(range(1, 701))
    journal.close()


def test_positions_can_be_skipped_when_a_holder_has_seen_higher_ones(tmp_path: Path, syncer: Syncer) -> None:
    journal = opened(tmp_path / "j", syncer)
    note(journal, 1)
    journal.advance(100, "a power cut took the end; the holder knows input 99")
    assert note(journal, 2).position == 100 and journal.verify().whole
    journal.advance(50, "backwards is not possible")
    assert note(journal, 3).position == 101
    journal.close()
    again = opened(tmp_path / "j", syncer)
    assert again.position == 101 and again.verify().whole
    again.close()


def test_the_index_of_inputs_is_rebuilt_also_from_behind_a_rotation(tmp_path: Path, syncer: Syncer) -> None:
    journal = opened(tmp_path / "j", syncer, segment_bytes=2048, keep_bytes=4096, generation=1)
    journal.append(Kind.INPUT, "uid:0", {"client": "c-early", "seq": 5, "data": b"ls\r"})
    journal.append(Kind.TYPED, "host", {"of": 1, "outcome": "partial", "written": 2})
    for number in range(200):
        note(journal, number, size=40)
    journal.append(Kind.INPUT, "uid:0", {"client": "c-last", "seq": 1, "data": b"x"})
    assert journal.first > 2
    journal.close()
    again = opened(tmp_path / "j", syncer, generation=2)
    assert again.inputs.seen("c-early", 5) == Outcome("partial", 2, 1)
    assert again.inputs.seen("c-early", 4) == Outcome("unknown", 0, 0) and again.inputs.seen("c-early", 6) is None
    assert [each.client for each in again.inputs.pending] == ["c-last"]
    again.close()


def test_a_full_disk_is_an_error_and_nothing_of_the_failed_record_stays(short_dir: Path, syncer: Syncer) -> None:
    with small_disk(short_dir / "disk", 256 * 1024) as disk:
        journal = opened(disk.path / "j", syncer, held_bytes=0)
        note(journal, 1)
        disk.fill(leave=4096)
        with pytest.raises(StorageFailed) as refused:
            note(journal, 2, size=20_000)  # part of it fits
        assert refused.value.code == "storage-failed" and "No space left" in str(refused.value)
        assert journal.position == 1 and newest(disk.path / "j").stat().st_size == journal.size
        disk.free()
        assert note(journal, 3).position == 2
        assert numbers(journal) == [1, 3] and journal.verify().whole
        journal.close()
        assert syncer.settle()
        again = opened(disk.path / "j", syncer)
        assert again.tail is None and numbers(again) == [1, 3]
        again.close()
        assert syncer.settle()


def test_what_a_full_disk_refuses_is_held_in_memory_and_written_when_there_is_room(
    short_dir: Path, syncer: Syncer
) -> None:
    """I2: a full disk keeps nobody from typing; the chain on disk has no hole afterwards."""
    with small_disk(short_dir / "disk", 256 * 1024) as disk:
        journal = opened(disk.path / "j", syncer, held_bytes=10_000)
        note(journal, 1)
        disk.fill()
        for number in range(2, 10):
            assert note(journal, number, size=1000).position == number
        assert journal.held
        assert numbers(journal) == list(range(1, 10))
        with pytest.raises(StorageFailed):
            note(journal, 10, size=20_000)
        disk.free()
        note(journal, 10)
        assert journal.held == 0 and journal.verify().whole
        journal.close()
        assert syncer.settle()
        again = opened(disk.path / "j", syncer)
        assert numbers(again) == list(range(1, 11)) and again.verify().whole
        again.close()
        assert syncer.settle()


def test_a_journal_begun_on_a_full_disk_is_whole_once_there_is_room(short_dir: Path, syncer: Syncer) -> None:
    with small_disk(short_dir / "disk", 256 * 1024) as disk:
        (disk.path / "j").mkdir(mode=0o700)
        disk.fill()
        journal = opened(disk.path / "j", syncer)
        note(journal, 1)
        note(journal, 2)
        disk.free()
        note(journal, 3)
        assert numbers(journal) == [1, 2, 3] and journal.verify().whole
        journal.close()
        assert syncer.settle()


def test_a_journal_opens_on_a_full_disk_and_says_what_it_found_when_it_can(short_dir: Path, syncer: Syncer) -> None:
    with small_disk(short_dir / "disk", 256 * 1024) as disk:
        journal = opened(disk.path / "j", syncer)
        note(journal, 1, size=4000)
        journal.close()
        assert syncer.settle()
        with newest(disk.path / "j").open("ab") as file:
            file.write(b"torn" * 2000)
        disk.fill()
        again = opened(disk.path / "j", syncer)
        assert again.tail is not None and numbers(again) == [1]
        disk.free()
        note(again, 2)
        assert kinds(again) == [Kind.NOTE, Kind.RECOVERED_TAIL, Kind.NOTE] and again.verify().whole
        again.close()
        assert syncer.settle()


def test_a_write_cut_short_by_a_limit_leaves_no_trace(tmp_path: Path, syncer: Syncer) -> None:
    """The same as a full disk, for those who may not mount one: the kernel takes a part of the record, then refuses."""
    journal = opened(tmp_path / "j", syncer, held_bytes=0)
    note(journal, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert signal.getsignal(signal.SIGXFSZ) is signal.SIG_IGN
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.size + 500, hard))
    try:
        with pytest.raises(StorageFailed):
            note(journal, 2, size=1000)
        assert newest(tmp_path / "j").stat().st_size == journal.size
        note(journal, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert numbers(journal) == [1, 3] and journal.verify().whole
    journal.close()


def test_an_unwritable_folder_is_refused_with_the_next_step(tmp_path: Path, syncer: Syncer) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageFailed) as refused:
        opened(tmp_path / "file" / "j", syncer)
    assert refused.value.do


WRITER = """
import sys
from pathlib import Path
from holdfast.host.journal import Journal
journal = Journal.open(Path(sys.argv[1]), segment_bytes=32768)
number = journal.position
while True:
    number += 1
    journal.append("note", "uid:0", {"n": number, "pad": bytes(number % 3000)})
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def test_what_an_append_returned_for_survives_kill_9(tmp_path: Path, syncer: Syncer, soak: bool) -> None:
    """Write-ahead: a host that dies at any instant loses no record whose append returned."""
    told = 0
    for _ in range(20 if soak else 3):
        with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / "j"], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(60)]
            writer.send_signal(signal.SIGKILL)
            lines += writer.stdout.readlines()
        told = int([line for line in lines if line.endswith(b"\n")][-1])
        journal = opened(tmp_path / "j", syncer)
        assert journal.position >= told and journal.verify().whole and journal.damage == []
        journal.close()
        assert syncer.settle()
    assert told > 100


def test_closing_waits_for_no_disk_and_leaks_no_descriptor(tmp_path: Path) -> None:
    syncer = Syncer(delay_s=0.001)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        journal = opened(tmp_path / str(number), syncer, segment_bytes=512)
        for each in range(10):
            note(journal, each, size=100)
        journal.close()
    assert syncer.close() and len(os.listdir("/proc/self/fd")) == before


def test_a_disk_that_fails_to_sync_is_said() -> None:
    syncer = Syncer(delay_s=0.001)
    reader, writer = os.pipe()  # what cannot be synced at all stands in for a failing disk
    syncer.dirty(writer, "here")
    syncer.retire(reader, "here")
    assert syncer.settle() and syncer.trouble("here") != "" and syncer.trouble("elsewhere") == ""
    syncer.retire(writer, "")
    assert syncer.close()
