"""A client of the wire for tests of the host: real socket, real daemon, nothing of client/."""

import asyncio
import builtins
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, TypeVar

from holdfast.core.errors import HoldError, revived
from holdfast.testing.hosts import sweep
from holdfast.wire import messages as wire
from holdfast.wire.framing import client_inbox, framed

T = TypeVar("T")


class Machine:
    """A private machine for one test: its own runtime and state folders, and the daemons that run in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = os.environ | {
            "HOME": str(folder),
            "HOLDFAST_RUNTIME_DIR": str(folder / "r"),
            "HOLDFAST_STATE_DIR": str(folder / "s"),
            "HOLDFAST_CONFIG": str(folder / "host.toml"),
        }
        self.env.pop("HOLDFAST_SESSION", None)
        self.daemon: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "r" / "host.sock"

    @property
    def state(self) -> Path:
        return self.folder / "s"

    def up(self, *, config: str = "") -> int:
        """Start the host and wait until it serves; return its pid."""
        if config:
            (self.folder / "host.toml").write_text(config)
        ready, told = os.pipe()
        self.daemon = subprocess.Popen(
            [sys.executable, "-m", "holdfast.host.daemon", "--ready-fd", str(told)], env=self.env, pass_fds=[told],
            start_new_session=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(told)
        with open(ready, "rb") as pipe:
            assert pipe.read(1) == b"\n", self.log()
        return self.daemon.pid

    def kill(self) -> None:
        """``kill -9`` of the host."""
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait()

    def log(self) -> str:
        path = self.folder / "s" / "host.log"
        return path.read_text() if path.exists() else "(no log)"

    def members(self) -> list[int]:
        """Every process that carries this machine's runtime folder in its environment or command line."""
        found = []
        mark = str(self.folder).encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                if mark in (entry / "cmdline").read_bytes() or mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def clear_processes(self) -> None:
        """End every process that was started here."""
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()
        for _ in range(3):
            for pid in self.members():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def clear(self) -> None:
        """End everything that was started here and remove the folder."""
        self.clear_processes()
        sweep(self.state)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """Yield a private machine and leave nothing of it."""
    one = Machine(Path(tempfile.mkdtemp(prefix="hf-")))
    try:
        yield one
    finally:
        one.clear()


class Talk:
    """One connection. ``ask`` sends a request and returns its answer; what belongs to attachments is queued."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._refs = itertools.count(1)
        self._seqs = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.told: asyncio.Queue[Any] = asyncio.Queue()
        self.hello: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.lost = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._pump())

    async def _pump(self) -> None:
        inbox = client_inbox()
        try:
            while data := await self._reader.read(1 << 18):
                for message in inbox.receive(data):
                    self._sort(message)
        except OSError:
            pass
        self.lost.set()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionError("the host went away"))
        self.told.put_nowait(None)

    def _sort(self, message: Any) -> None:
        if isinstance(message, wire.Welcome) or (isinstance(message, wire.Failed) and message.ref == 0):
            if not self.hello.done():
                self.hello.set_result(message)
            return
        answer = self._answers.pop(getattr(message, "ref", 0), None)
        if answer is None or answer.done():
            self.told.put_nowait(message)
        elif isinstance(message, wire.Failed):
            answer.set_exception(revived(message.code, message.message, message.do, message.details))
        else:
            answer.set_result(message)

    def send(self, message: wire.Message) -> None:
        self._writer.write(framed(message))

    def begin(self, kind: type[wire.Message], /, **fields: Any) -> "asyncio.Future[Any]":
        ref = next(self._refs)
        answer = asyncio.get_running_loop().create_future()
        if self.lost.is_set():
            answer.set_exception(ConnectionError("the host went away"))
            return answer
        self._answers[ref] = answer
        self.send(kind(ref=ref, **fields))
        return answer

    async def ask(self, kind: type[wire.Message], /, timeout: float = 15, **fields: Any) -> Any:
        return await asyncio.wait_for(self.begin(kind, **fields), timeout)

    async def open(
        self, *argv: str, name: str = "", size: wire.Size = wire.Size(24, 80), **fields: Any
    ) -> wire.SessionInfo:
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PS1": "$ "}
        opened = await self.ask(wire.Open, argv=argv, env=env, cwd="/", size=size, name=name, **fields)
        return opened.session

    async def type(self, session: str, data: bytes, *, seq: int | None = None, attachment: int = 0) -> wire.Typed:
        number = next(self._seqs) if seq is None else seq
        return await self.ask(wire.Input, session=session, seq=number, data=data, attachment=attachment)

    async def attach(self, session: str, view: str, *, attachment: int = 1, **fields: Any) -> wire.Attached:
        return await self.ask(wire.Attach, attachment=attachment, session=session, view=view, **fields)

    async def next(self, kind: "builtins.type[T]", timeout: float = 15) -> T:
        """Return the next queued message of ``kind``, passing over others."""
        async with asyncio.timeout(timeout):
            while True:
                message = await self.told.get()
                if message is None:
                    raise ConnectionError("the host went away")
                if isinstance(message, kind):
                    return message

    async def until(self, marker: bytes, *, attachment: int = 1, timeout: float = 20, grant: bool = True) -> bytes:
        """Return the stream up to and including ``marker``, granting credit for it."""
        seen = bytearray()
        async with asyncio.timeout(timeout):
            while marker not in seen:
                message = await self.told.get()
                if message is None:
                    raise ConnectionError("the host went away")
                if isinstance(message, wire.Keyframe):
                    seen += message.repaint
                if isinstance(message, wire.Output):
                    seen += message.data
                    if grant:
                        self.send(wire.Credit(attachment, len(message.data)))
        return bytes(seen)

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        await self._task


@contextlib.asynccontextmanager
async def talk(one: Machine, *, client: str = "c-test", face: str = "test") -> AsyncIterator[Talk]:
    """Yield a greeted connection to the host of ``one``."""
    reader, writer = await asyncio.open_unix_connection(str(one.socket))
    line = Talk(reader, writer)
    try:
        line.send(wire.Hello(wire.PROTOCOL, client, face))
        answer = await asyncio.wait_for(line.hello, 10)
        if isinstance(answer, wire.Failed):
            raise revived(answer.code, answer.message, answer.do, answer.details)
        yield line
    finally:
        await line.close()


def started(pid: int) -> int:
    """Return the start time of a process, which with its pid names it for good; 0 if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = text[text.rindex(")") + 2 :].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


def sheet(one: Machine, session: str) -> dict[str, Any]:
    """Return what the host wrote down about a session."""
    return json.loads((one.state / "sessions" / session / "session.json").read_text())


__all__ = ["HoldError", "Machine", "Talk", "machine", "sheet", "started", "talk"]
