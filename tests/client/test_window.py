"""Reading a session's memory: every byte once and right, and what is gone is said. A memory as a holder lays it out, here
written by the test; the real one is read in tests/faces/test_direct.py."""

import os
import struct
from collections.abc import Iterator

import pytest

from holdfast.client.window import Window

RING_AT, RING, SLACK = 8192, 4096, 512


class Memory:
    def __init__(self) -> None:
        self.fd = os.memfd_create("test")
        os.ftruncate(self.fd, RING_AT + RING)
        self.head = 0

    def number(self, index: int, value: int) -> None:
        os.pwrite(self.fd, struct.pack("=Q", value), index * 8)

    def write(self, data: bytes) -> None:
        for byte in data:
            os.pwrite(self.fd, bytes((byte,)), RING_AT + self.head % RING)
            self.head += 1
        self.number(3, self.head)


@pytest.fixture
def both() -> Iterator[tuple[Memory, Window]]:
    memory = Memory()
    doorbell = os.eventfd(0, os.EFD_NONBLOCK)
    window = Window(["direct", 1, 0, 24, 32, RING_AT, RING, SLACK], os.dup(memory.fd), doorbell)
    try:
        yield memory, window
    finally:
        window.close()
        os.close(memory.fd)


def test_bytes_are_read_across_the_end_of_the_ring(both: tuple[Memory, Window]) -> None:
    memory, window = both
    memory.write(b"x" * 4000)
    assert window.read(3990, 100) == b"x" * 10
    memory.write(bytes(range(200)))
    assert window.read(4000, 1000) == bytes(range(200))
    assert window.read(4000, 120) == bytes(range(120))
    assert window.read(4200, 10) == b""
    assert window.head == 4200


def test_what_may_have_been_overwritten_is_none(both: tuple[Memory, Window]) -> None:
    memory, window = both
    memory.write(b"y" * (RING - SLACK))
    assert window.read(0, 10) == b"y" * 10
    memory.write(b"z")
    assert window.read(0, 10) is None


def test_what_was_given_back_is_none(both: tuple[Memory, Window]) -> None:
    memory, window = both
    memory.write(b"y" * 100)
    memory.number(4, 50)
    assert window.read(49, 1) is None
    assert window.read(50, 1) == b"y"


def test_a_bell_that_did_not_ring_is_no_trouble(both: tuple[Memory, Window]) -> None:
    _, window = both
    window.rang()
    os.eventfd_write(window.doorbell, 3)
    window.rang()
    with pytest.raises(BlockingIOError):
        os.eventfd_read(window.doorbell)


def test_a_memory_that_is_too_small_is_refused_and_let_go() -> None:
    fd = os.memfd_create("small")
    os.ftruncate(fd, 4096)
    copy = os.dup(fd)
    with pytest.raises(ValueError):
        Window(["direct", 1, 0, 24, 32, RING_AT, RING, SLACK], copy, os.dup(fd))
    with pytest.raises(OSError):
        os.fstat(copy)
    os.close(fd)
