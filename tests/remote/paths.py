"""The network of a test: a TCP path that can be cut, stopped, slowed down and delayed; a network without a way in."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

CHUNK = 4096


class Path:
    """Listens on a free port of 127.0.0.1 and leads to ``port``. Runs in a thread. Use as a context manager.

    ``rate`` in bytes a second each way (None: no bound), ``delay_s`` one way.
    """

    def __init__(self, port: int, *, rate: float | None = None, delay_s: float = 0.0) -> None:
        self.to, self.rate, self.delay_s = port, rate, delay_s
        self.up = True
        self.made = 0  # connections so far
        self.cuts = 0
        self.carried = 0  # bytes, both ways
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="path", daemon=True)
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._hushed: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> "Path":
        self._thread.start()
        self._server = self._do(self._listen)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *args: object) -> None:
        self._do(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/relay"

    def cut(self) -> None:
        """Reset every connection, at whatever byte it is."""
        self._do(self._cut)

    def down(self) -> None:
        """Cut, and refuse new connections until ``again``."""
        self.up = False
        self.cut()

    def again(self) -> None:
        self.up = True

    def hush(self) -> None:
        """Let every connection that is there now fall silent: it stays open, and nothing comes through. New ones are well."""
        self._do(self._hush)

    # ---- in the thread ----

    def _do(self, what: Callable[[], Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what(), self._loop).result(20)

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._attend, "127.0.0.1", 0, limit=CHUNK)

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _cut(self) -> None:
        for pair in list(self._pairs):
            self.cuts += 1
            for writer in pair:
                _reset(writer)

    async def _hush(self) -> None:
        self._hushed |= self._pairs

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not self.up:
                _reset(writer)
                return
            try:
                onward, to = await asyncio.open_connection("127.0.0.1", self.to, limit=CHUNK)
            except OSError:
                _reset(writer)
                return
            if self.rate is not None:  # no hidden room: what is under way is on the path, not in its sockets
                for each in (writer, to):
                    each.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK)
            pair = (writer, to)
            self._pairs.add(pair)
            self.made += 1
            try:
                await asyncio.gather(self._carry(reader, to, pair), self._carry(onward, writer, pair))
            finally:
                self._pairs.discard(pair)
                self._hushed.discard(pair)
                for each in pair:
                    _reset(each)
        except asyncio.CancelledError:
            pass  # the path is taken down; streams of asyncio would log this as an error
        finally:
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: Any) -> None:
        """One way: bytes leave ``delay_s`` after they came, no faster than ``rate``."""
        clock = self._loop.time
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64 if self.rate is None else 8)

        async def out() -> None:
            free = 0.0
            while True:
                at, data = await line.get()
                if not data:
                    with contextlib.suppress(OSError):
                        writer.write_eof()
                    return
                if (wait := at - clock()) > 0:
                    await asyncio.sleep(wait)
                if pair in self._hushed:
                    continue
                writer.write(data)
                self.carried += len(data)
                if self.rate is not None:
                    free = max(free, clock()) + len(data) / self.rate
                    if (wait := free - clock()) > 0:
                        await asyncio.sleep(wait)
                await writer.drain()

        sending = self._loop.create_task(out())
        try:
            size = CHUNK if self.rate is None else max(256, min(CHUNK, int(self.rate * 0.02)))
            while True:
                data = await reader.read(size)
                await line.put((clock() + self.delay_s, data))
                if not data:
                    break
            await sending
        except OSError:
            pass
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            for each in (writer,):
                if not each.is_closing() and reader.exception() is not None:
                    _reset(each)


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def listeners(pid: int) -> list[str]:
    """Return the listening internet sockets of a process, as the kernel names them."""
    from pathlib import Path as File

    inodes = set()
    with contextlib.suppress(OSError):
        for fd in File(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(fd.readlink())
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
    found = []
    for family in ("tcp", "tcp6", "udp", "udp6"):
        with contextlib.suppress(OSError):
            for line in File(f"/proc/{pid}/net/{family}").read_text().splitlines()[1:]:
                fields = line.split()
                listens = fields[3] == "0A" or (family.startswith("udp") and fields[2].endswith(":0000"))
                if listens and fields[9] in inodes:
                    found.append(f"{family} {fields[1]}")
    return found


def descriptors(pid: int) -> list[str]:
    """Return what each descriptor of a process is."""
    from pathlib import Path as File

    found = []
    for fd in File(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(fd.readlink()))
    return found


@contextlib.contextmanager
def path(port: int, **how: Any) -> Iterator[Path]:
    with Path(port, **how) as one:
        yield one
