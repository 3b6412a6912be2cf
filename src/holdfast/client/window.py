"""Read a session's output from its memory, which the host of this machine handed over (docs/wire.md, "Reading directly").

Not here: what is done with the bytes (terminal). Raises nothing: bytes that are gone are None, and the reader attaches anew.
"""

from __future__ import annotations

import os
from array import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

_CMSG_SPACE = 16 + 4 * 8  # a header and room for more descriptors than are ever sent at once


class Window:
    """One session's memory, read only, and the doorbell that says when it grew. Owns both descriptors from now on."""

    def __init__(self, message: list[Any], memory: int, doorbell: int) -> None:
        """Map what a ``direct`` message describes. Raises OSError or ValueError if that cannot be."""
        from mmap import PROT_READ, mmap

        _, _, _, head_at, start_at, ring_at, ring_bytes, slack = message
        self.doorbell = doorbell
        try:
            self._map = mmap(memory, ring_at + ring_bytes, prot=PROT_READ)
        finally:
            os.close(memory)
        whole = memoryview(self._map)
        self._numbers = whole[:4096].cast("Q")
        self._ring = whole[ring_at:]
        self._head, self._start = head_at // 8, start_at // 8
        self._size, self._reach = ring_bytes, ring_bytes - slack

    @property
    def head(self) -> int:
        """The offset after the last byte produced."""
        head: int = self._numbers[self._head]
        return head

    def rang(self) -> None:
        """Take note of the bell."""
        try:
            os.read(self.doorbell, 8)
        except BlockingIOError:
            pass

    def read(self, offset: int, most: int) -> bytes | None:
        """Return at most ``most`` bytes from ``offset``; empty at the head, None if they are gone."""
        wanted = min(most, self.head - offset)
        if wanted <= 0:
            return b""
        at = offset % self._size
        data = bytes(self._ring[at : at + wanted])
        if len(data) < wanted:
            data += bytes(self._ring[: wanted - len(data)])
        if (
            offset < self._numbers[self._start] or self.head - offset > self._reach
        ):  # after the copy: it may be overtaken
            return None
        return data

    def close(self) -> None:
        """Unmap and close."""
        for part in (self._numbers, self._ring):
            part.release()
        self._map.close()
        os.close(self.doorbell)


def receive(line: socket, into: memoryview, found: list[int]) -> int:
    """Receive bytes ``into`` and append descriptors that came along to ``found``; return how many bytes.

    Raises as ``recv_into`` does.
    """
    from _socket import MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOL_SOCKET

    size, extra, _, _ = line.recvmsg_into([into], _CMSG_SPACE, MSG_CMSG_CLOEXEC)
    for level, kind, data in extra:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            descriptors = array("i")
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
            found.extend(descriptors)
    return size
