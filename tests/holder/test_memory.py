"""The memory of a session: what a holder killed between any two instructions leaves behind is exact or marked."""

import os
import random
from collections.abc import Iterator

import pytest

from holdfast.holder import linux
from holdfast.holder import protocol as p
from holdfast.holder.memory import Memory, size_of, whole_pages
from holdfast.host.ring import Overrun, Ring

RING = p.RING_BYTES_MIN


@pytest.fixture
def pair() -> Iterator[tuple[Memory, Ring]]:
    fd = linux.sealed_memory("hf-test", size_of(RING))
    memory = Memory(fd)
    memory.format({"session": "s-1"}, rows=24, cols=80)
    ring = Ring(os.dup(fd))
    yield memory, ring
    ring.close()
    os.close(fd)


def feed(memory: Memory, data: bytes) -> None:
    """Let the memory read ``data`` as if a terminal had said it."""
    read, write = os.pipe2(os.O_NONBLOCK)
    try:
        while data:
            data = data[os.write(write, data[:60000]) :]
            while memory.fill(read)[0]:
                pass
    finally:
        os.close(read)
        os.close(write)


def die_in_read(memory: Memory, data: bytes) -> None:
    """Leave the memory as a holder does that is killed after the kernel copied ``data``, before the head moved."""
    head = memory.slots[p.S_HEAD]
    for at, byte in enumerate(data, head):
        memory.ring[at % memory.ring_bytes] = byte


@pytest.mark.parametrize("before", [0, 1, 5000, RING - 4096, RING - 10, RING, RING + 4091, 3 * RING + 17])
@pytest.mark.parametrize("size", [0, 1, 64, 4095, 4096])
def test_text_in_flight_at_a_kill_is_recovered_exactly(pair: tuple[Memory, Ring], before: int, size: int) -> None:
    memory, ring = pair
    feed(memory, b"a" * before)
    lost = ("é" * 2048).encode()[:size]
    die_in_read(memory, lost)
    found, unsure = Memory(memory.descriptor).recover(4711)
    assert (found, unsure) == (size, 4096 - size)
    assert ring.read(before, 9999) == lost
    mark = ring.marks()[-1]
    assert (mark.kind, mark.offset, mark.a, mark.b, mark.c) == ("restart", before, 4711, size, 4096 - size)
    feed(memory, b"and on")
    assert ring.read(before, 9999) == lost + b"and on"


def test_binary_in_flight_misses_at_most_what_the_mark_states(pair: tuple[Memory, Ring]) -> None:
    memory, ring = pair
    chance = random.Random(7)
    exact = 0
    for _ in range(300):
        head, data = ring.head, chance.randbytes(chance.randrange(1, 4096))
        die_in_read(memory, data)
        found, unsure = memory.recover(1)
        assert len(data) - unsure <= found <= len(data)
        assert ring.read(head, 9999) == data[:found]
        exact += found == len(data)
    assert exact >= 290  # a last byte equals the poison at its place once in 256 times


def test_output_that_was_overwritten_unarchived_is_one_growing_gap(pair: tuple[Memory, Ring]) -> None:
    memory, ring = pair
    feed(memory, b"x" * (RING // 2))
    memory.archived(1000)
    feed(memory, b"y" * (2 * RING))
    feed(memory, b"z" * RING)
    gaps = [mark for mark in ring.marks() if mark.kind == "gap"]
    assert [(gap.a, gap.b) for gap in gaps] == [(1000, ring.start)]
    with pytest.raises(Overrun) as overrun:
        ring.read(1000, 10)
    assert overrun.value.start == ring.start
    assert set(ring.read(ring.start, 1)) <= set(b"yz")


def test_what_is_archived_is_given_back_but_for_the_last_mebibyte() -> None:
    fd = linux.sealed_memory("hf-test", size_of(whole_pages(8 << 20)))
    memory = Memory(fd)
    memory.format({}, rows=24, cols=80)
    ring = Ring(os.dup(fd))
    for _ in range(20):  # several times around, so that holes are filled again
        feed(memory, os.urandom(700_000))
        memory.archived(ring.head - 1234)
        assert os.fstat(fd).st_blocks * 512 <= p.KEEP_RESIDENT + (512 << 10)
    tail = ring.read(ring.head - p.KEEP_RESIDENT + 65536, 4096)
    assert tail.count(0) < 100
    assert ring.start >= ring.head - p.KEEP_RESIDENT - (512 << 10)
    ring.close()
    os.close(fd)


def test_the_memory_cannot_be_shrunk_or_grown(pair: tuple[Memory, Ring]) -> None:
    for size in (0, size_of(RING) * 2):
        with pytest.raises(PermissionError):
            os.ftruncate(pair[0].descriptor, size)


def test_an_input_that_was_in_flight_is_unknown_and_the_one_before_it_is_not(pair: tuple[Memory, Ring]) -> None:
    memory, ring = pair
    read, write = os.pipe()
    memory.input_begins(5, 3)
    assert memory.type(write, b"abc") == 3
    memory.input_begins(6, 10)
    record = memory.slots[p.S_INPUT_RECORD]
    memory.slots[record + p.I_PROGRESS] = 4 << p.FLIGHT_BITS | 6  # killed inside the second piece
    after = Memory(memory.descriptor)
    assert after.input_of(6) == (4, 10, 6)
    assert after.input_of(5) == (3, 3, 0)
    assert after.input_of(4) is None
    assert (ring.input_position, ring.input_written) == (6, 4)
    os.close(read)
    os.close(write)


def test_a_position_begun_and_not_written_is_never_begun_again(pair: tuple[Memory, Ring]) -> None:
    memory, _ = pair
    memory.input_begins(9, 100)
    assert Memory(memory.descriptor).input_of(9) == (0, 100, 0)
    assert Memory(memory.descriptor).input_position == 9


def test_marks_that_were_pushed_out_show_as_a_jump(pair: tuple[Memory, Ring]) -> None:
    memory, ring = pair
    for _ in range(p.MARKS_MAX + 10):
        memory.mark(p.M_RESIZE, 1, 2)
    marks = ring.marks(0)
    assert [mark.seq for mark in marks] == list(range(11, p.MARKS_MAX + 11))
    assert ring.marks(p.MARKS_MAX + 9) == marks[-1:]


def test_what_is_no_memory_of_a_session_is_refused() -> None:
    fd = os.memfd_create("x")
    os.ftruncate(fd, size_of(RING))
    with pytest.raises(ValueError, match="no session"):
        Ring(fd)
