"""Let a viewer on this machine read a session's memory itself: one link to the holder that only rings its bell.

With it a key's echo reaches the screen without waking the host, and a flood is not copied through a socket. Not here:
how the descriptors reach the viewer (server), when it is told to jump (attachments).
"""

import asyncio
import os
from pathlib import Path
from typing import Final

from holdfast.core.errors import HolderLost, HoldError
from holdfast.holder import protocol as p
from holdfast.host.links import Link
from holdfast.wire import messages as wire

LOOKS_MAX: Final = 24  # of one session at once; the holder serves 64 peers, and the host must always find a place
_RETRY_S: Final = 0.02


class Look:
    """A doorbell of its own at the holder of one session, kept ringing across holders. Owns two descriptors."""

    def __init__(self, path: Path, link: Link, memory: int, doorbell: int) -> None:
        self._path, self._link = path, link
        self.memory, self.doorbell = memory, doorbell
        self._keeping: asyncio.Task[None] | None = None
        self._closed = False
        link.on_lost = self._lost

    @classmethod
    async def open(cls, path: Path) -> "Look":
        """Link to the holder at ``path``. Raises HoldError or OSError; the viewer is then fed by the host."""
        doorbell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            link, memory = await _linked(path, doorbell)
        except BaseException:
            os.close(doorbell)
            raise
        return cls(path, link, memory, doorbell)

    def message(self, attachment: int, offset: int) -> wire.Direct:
        """Return what tells the viewer how to read, from output ``offset`` on."""
        ring_bytes = os.fstat(self.memory).st_size - p.RING_AT
        return wire.Direct(attachment, offset, p.S_HEAD * 8, p.S_PUNCHED * 8, p.RING_AT, ring_bytes, p.SLACK)

    def close(self) -> None:
        """Ring no more. What the viewer mapped stays readable to it until it lets go."""
        if self._closed:
            return
        self._closed = True
        if self._keeping is not None:
            self._keeping.cancel()
        self._link.on_lost = lambda: None
        self._link.close()
        os.close(self.memory)
        os.close(self.doorbell)

    def _lost(self) -> None:
        """The holder died: its successor serves the same memory and must know the same bell."""
        if not self._closed:
            self._keeping = asyncio.get_running_loop().create_task(self._keep(), name=f"look {self._path.stem}")

    async def _keep(self) -> None:
        while True:
            try:
                self._link, memory = await _linked(self._path, self.doorbell)
            except (HoldError, OSError):
                await asyncio.sleep(_RETRY_S)  # the successor's socket is about to appear; the session's end closes us
                continue
            os.close(memory)  # the same one
            self._link.on_lost = self._lost
            return


async def _linked(path: Path, doorbell: int) -> tuple[Link, int]:
    link = await Link.to(path, f"the holder of {path.stem}", frame_bytes_max=p.HOLDER_FRAME_MAX)
    try:
        await link.hello({"role": "look"}, doorbell)
        memory, *extra = link.take_descriptors() or [-1]
        for one in extra:
            os.close(one)
        if memory < 0:
            raise HolderLost(link.who, "it sent no memory")
    except BaseException:
        link.close()
        raise
    return link, memory
