"""Keep links to relays warm for this user's commands, so that the next attach elsewhere takes milliseconds.

``python -m holdfast.client.warm`` is started by the first command that reached a host elsewhere and ends when nobody
needed it for ``IDLE_S``. It holds nothing that is not on disk: killed at any moment, commands do it themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from holdfast.client.dial import LINKS, OFF
from holdfast.client.places import here
from holdfast.client.remote import Bridges
from holdfast.client.start import private_folder
from holdfast.edge.detach import detached

IDLE_S: Final = 600.0
ASK_S: Final = 5.0
PATH_BYTES_MAX: Final = 512


def start(environment: Mapping[str, str]) -> None:
    """Have a process keep links warm from now on, unless one does or the user does not want it, as ``environment`` says.
    Returns in milliseconds."""
    if environment.get(OFF) == "0" or environment.get("HOLDFAST_SESSION"):
        return
    detached([sys.executable, "-m", "holdfast.client.warm"], env=environment)


class Warm:
    """Serves every local connection with a bridge; ``idle_s`` after the last one it ends."""

    def __init__(self, folder: Path, *, idle_s: float = IDLE_S) -> None:
        self._path, self._idle_s = folder / LINKS, idle_s
        self._bridges = Bridges()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Listen until nobody needs it."""
        fresh = self._path.with_name(f"{LINKS}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.setblocking(False)
            listening.bind(str(fresh))
            os.chmod(fresh, 0o600)
            listening.listen(32)
            os.replace(fresh, self._path)
            mine = self._path.stat().st_ino
            try:
                await self._accept(listening)
            finally:
                with contextlib.suppress(OSError):
                    if self._path.stat().st_ino == mine:
                        self._path.unlink()
        await self._bridges.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(self._idle_s):
                    line, _ = await loop.sock_accept(listening)
            except TimeoutError:
                if self._tasks:
                    continue
                return
            task = loop.create_task(self._serve(line), name="a local command")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, line: socket.socket) -> None:
        line.setblocking(False)
        _, uid, _ = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (os.getuid(), 0):
            line.close()
            return
        loop, asked = asyncio.get_running_loop(), b""
        try:
            async with asyncio.timeout(ASK_S):
                while not asked.endswith(b"\n"):  # a byte at a time: what follows belongs to the conversation
                    more = await loop.sock_recv(line, 1)
                    if not more or len(asked) > PATH_BYTES_MAX:
                        line.close()
                        return
                    asked += more
        except (OSError, TimeoutError):
            line.close()
            return
        await self._bridges.bridge(asked.decode("utf-8", "replace").rstrip("\n"), line)


def main() -> int:
    """Keep links warm; 0 also if another process does already."""
    folder = here().runtime
    private_folder(folder)
    lock = os.open(folder / f"{LINKS}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    os.nice(5)  # whoever started it waits for the first paint
    logging.basicConfig(level=logging.CRITICAL)
    asyncio.run(Warm(folder).run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
