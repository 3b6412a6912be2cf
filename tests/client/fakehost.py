"""A small host for tests: real PTYs behind the real wire messages, in a thread. It keeps no archive and no screen: the
repaint of a session is all its output. What a test wants to go wrong is a switch on it."""

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import tempfile
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import Any

from holdfast.core.cursor import Cursor
from holdfast.core.errors import HoldError, NameTaken, NoSuchSession, SessionEnded
from holdfast.core.ids import session_id
from holdfast.wire import messages as wire
from holdfast.wire.framing import framed, host_inbox


class Session:
    def __init__(self, host: "FakeHost", ask: wire.Open) -> None:
        self.host, self.id = host, session_id(os.urandom(16))
        self.name = ask.name or f"s{len(host.sessions) + 1}"
        self.argv, self.cwd, self.size, self.created_at = ask.argv, ask.cwd, ask.size, time.time()
        self.output, self.ending, self.records = bytearray(), None, 0
        self.typed: dict[tuple[str, int], wire.Typed] = {}
        self.inputs: list[bytes] = []  # what reached the terminal, in order
        self.attached: list[Attachment] = []
        self.waiting: list[Callable[[], None]] = []
        self.attaches, self.keep_until = 0, None
        self.forgotten = 0  # bytes of output no longer kept
        self.master, slave = pty.openpty()
        self._set_size()
        self.process = subprocess.Popen(
            ask.argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ask.cwd,
            start_new_session=True,
            env={**ask.env, "HOLDFAST_SESSION": self.id, "TERM": "xterm-256color"},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        os.set_blocking(self.master, False)
        host.loop.add_reader(self.master, self.readable)

    def _set_size(self) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", self.size.rows, self.size.cols, 0, 0))

    def readable(self) -> None:
        try:
            data = os.read(self.master, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.host.loop.remove_reader(self.master)
            os.close(self.master)
            self.end("exited", self.process.wait())
            return
        self.output += data
        for attachment in list(self.attached):
            attachment.pump()

    def end(self, how: str, status: int) -> None:
        self.ending = wire.Ending(how if self.ending is None else "killed", time.time(), status)
        for attachment in list(self.attached):
            attachment.pump()
            attachment.send(wire.Detached(attachment.number, "ended", f"c{len(self.output)}", self.ending))
        self.attached.clear()
        for wake in self.waiting:
            wake()

    def info(self) -> wire.SessionInfo:
        return wire.SessionInfo(
            id=self.id,
            name=self.name,
            host="h-test",
            state=self.ending.how if self.ending else "running",
            incarnation=1,
            argv=self.argv,
            cwd=self.cwd,
            created_at=self.created_at,
            size=self.size,
            root_pid=self.process.pid,
            root_started=1,
            holder_pid=os.getpid(),
            output_end=len(self.output),
            output_start=0,
            journal_position=self.records,
            idle_s=0.0,
            attached=len(self.attached),
            ending=self.ending,
            keep_until=self.keep_until,
        )

    def resize(self, size: wire.Size, offset: int | None = None) -> None:
        if size != self.size:
            self.size = size
            self._set_size()
            self.event("resize", {"rows": size.rows, "cols": size.cols})

    def event(self, kind: str, body: dict[str, Any]) -> int:
        self.records += 1
        for attachment in self.attached:
            if attachment.view in ("stream", "events"):
                attachment.send(wire.Event(attachment.number, kind, self.records, time.time(), "uid:test", body))
        return self.records

    def type(self, ask: wire.Input, client: str) -> wire.Typed:
        if known := self.typed.get((client, ask.seq)):
            return wire.Typed(ask.ref, ask.seq, known.outcome, known.written, known.position)
        self.inputs.append(ask.data)
        outcome = self.host.outcome
        if outcome == "applied":
            os.write(self.master, ask.data)
        self.typed[client, ask.seq] = wire.Typed(ask.ref, ask.seq, outcome, len(ask.data), self.event("input", {}))
        return self.typed[client, ask.seq]


class Attachment:
    def __init__(self, session: Session, connection: "Connection", ask: wire.Attach) -> None:
        self.session, self.number, self.view, self.credit, self.size = (
            session,
            ask.attachment,
            ask.view,
            ask.credit,
            ask.size,
        )
        self.send = connection.send
        self.observe = ask.observe
        self.position = len(session.output)

    def start(self, offset: int | None) -> None:
        if self.view == "events":
            return
        if self.view == "stream" or offset is not None:
            self.position = len(self.session.output) if offset is None else max(offset, self.session.forgotten)
        else:
            self.repaint()
        self.pump()

    def repaint(self, lost: int = 0) -> None:
        self.position = len(self.session.output)
        paint = b"\x1b[H\x1b[2J" + bytes(self.session.output[-65536:])
        self.credit -= len(paint)
        self.send(wire.Keyframe(self.number, self.position, paint, self.session.size, lost))

    def pump(self) -> None:
        while self.view != "events" and self.credit > 0 and self.position < len(self.session.output):
            data = bytes(self.session.output[self.position : self.position + min(self.credit, 65536)])
            self.send(wire.Output(self.number, self.position, data))
            self.position += len(data)
            self.credit -= len(data)


class Connection(asyncio.Protocol):
    def __init__(self, host: "FakeHost") -> None:
        self.host, self.inbox, self.client = host, host_inbox(), ""
        self.attached: dict[int, Attachment] = {}

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.host.connections.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        for attachment in self.attached.values():
            if attachment in attachment.session.attached:
                attachment.session.attached.remove(attachment)
        if self in self.host.connections:
            self.host.connections.remove(self)

    def send(self, message: wire.Message) -> None:
        self.transport.write(framed(message))

    def data_received(self, data: bytes) -> None:
        for message in self.inbox.receive(data):
            self.host.heard.append(message)
            if type(message) in self.host.deaf:
                continue
            try:
                answer = self.answer(message)
            except HoldError as error:
                answer = wire.Failed(getattr(message, "ref", 0), error.code, error.message, error.do, error.details)
            if answer is not None and not self.transport.is_closing():
                self.send(answer)

    def answer(self, ask: wire.ToHost) -> wire.Message | None:
        host = self.host
        match ask:
            case wire.Hello():
                self.client = ask.client
                return wire.Welcome(1, "h-test", "test", host.generation, "fake 1", 1 << 20)
            case wire.Ping():
                return wire.Pong(ask.mark)
            case wire.Open():
                return self.open(ask)
            case wire.List():
                return wire.Listing(ask.ref, tuple(s.info() for s in host.sessions if ask.ended or not s.ending))
            case wire.HostStatus():
                return wire.Status(
                    ask.ref,
                    os.getpid(),
                    host.generation,
                    1.0,
                    "fake 1",
                    len(host.sessions),
                    1,
                    (),
                    host.runtime,
                    "",
                    ("note",),
                )
            case wire.HostStop():
                host.loop.call_soon(host.close_all)
                return wire.Done(ask.ref)
            case wire.Credit():
                if held := self.attached.get(ask.attachment):
                    held.credit += ask.size
                    held.pump()
            case wire.Detach():
                if (held := self.attached.pop(ask.attachment, None)) and held in held.session.attached:
                    held.session.attached.remove(held)
                    self.send(wire.Detached(ask.attachment, ask.cause, f"c{held.position}"))
            case wire.Pong() | wire.Cancel():
                pass
            case _:
                return self.in_session(host.find(ask.session), ask)
        return None

    def open(self, ask: wire.Open) -> wire.Message:
        for session in self.host.sessions:
            if session.name == ask.name and not session.ending:
                if not ask.reuse:
                    raise NameTaken(ask.name)
                return wire.Opened(ask.ref, session.info(), False)
        session = Session(self.host, ask)
        self.host.sessions.append(session)
        return wire.Opened(ask.ref, session.info(), True)

    def in_session(self, session: Session, ask: Any) -> wire.Message | None:
        match ask:
            case wire.Attach():
                self.attach(session, ask)
            case wire.Input() | wire.Run() if self.host.refuses:
                raise NoSuchSession(session.id)
            case wire.Input():
                answer = session.type(ask, self.client)
                if self.host.mute_typed:
                    self.host.mute_typed -= 1
                    return None
                return answer
            case wire.Resize():
                session.resize(ask.size)
                return wire.Done(ask.ref)
            case wire.Kill():
                session.ending = wire.Ending("killed", time.time(), -9)
                os.killpg(session.process.pid, signal.SIGKILL)
                session.process.wait()
                return wire.Ended(ask.ref, session.ending)
            case wire.Signal():
                os.kill(session.process.pid, ask.signal)
                return wire.Done(ask.ref)
            case wire.Keep():
                session.keep_until = time.time() + ask.for_s
                return wire.Done(ask.ref)
            case wire.Rename():
                session.name = ask.name
                return wire.Done(ask.ref)
            case wire.Forget():
                self.host.sessions.remove(session)
                return wire.Done(ask.ref)
            case wire.Info():
                return wire.Tuple(
                    ask.ref, session.info(), {"processes": [{"pid": session.process.pid, "name": "sh", "state": "S"}]}
                )
            case wire.ReadOutput():
                offset = max(ask.offset, session.forgotten)
                return wire.OutputRange(
                    ask.ref, offset, bytes(session.output[offset : offset + ask.size]), len(session.output)
                )
            case wire.GetText():
                return wire.Text(ask.ref, len(session.output), tuple(session.output.decode().splitlines()), (0, 0), "")
            case wire.GetScreen():
                line = (wire.Cell("hi", 0, 2),)
                rows = wire.Rows(0, len(session.output), session.size, True, {0: line}, (wire.Style(),), (0, 2, True))
                return wire.ScreenState(ask.ref, rows)
            case wire.WaitEnd():
                return self.wait(session, ask)
        return None

    def wait(self, session: Session, ask: wire.WaitEnd) -> wire.Message | None:
        if session.process.poll() is None or session.ending is None or session.ending.status is None:
            session.waiting.append(lambda: self.send(wire.Ended(ask.ref, session.ending)))
            return None
        return wire.Ended(ask.ref, session.ending)

    def attach(self, session: Session, ask: wire.Attach) -> None:
        if session.ending and ask.view != "stream":
            raise SessionEnded(session.name, how=session.ending.how, status=session.ending.status, at=session.ending.at)
        attachment = Attachment(session, self, ask)
        offset = Cursor.parse(ask.cursor).offset if ask.cursor else ask.offset
        driver = not ask.observe and ask.size is not None
        if driver:
            session.resize(ask.size)
        session.attaches += 1
        session.event("attach", {"attachment": session.attaches, "view": ask.view})
        self.attached[ask.attachment] = attachment
        session.attached.append(attachment)
        self.send(wire.Attached(ask.ref, ask.attachment, session.info(), attachment.position, session.attaches, driver))
        attachment.start(offset)
        if session.ending:
            self.send(wire.Detached(ask.attachment, "ended", "", session.ending))


class FakeHost:
    """Use as a context manager. ``run`` calls something in its loop; ``stop`` and ``start`` are a restart."""

    def __init__(self) -> None:
        self.runtime = tempfile.mkdtemp(prefix="hf-")
        self.socket = self.runtime + "/host.sock"
        self.sessions: list[Session] = []
        self.connections: list[Connection] = []
        self.heard: list[wire.Message] = []
        self.deaf: set[type] = set()  # requests that are never answered
        self.generation, self.outcome, self.mute_typed = 0, "applied", 0
        self.refuses = False  # every input, as if its author might not see the session any more
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="fake host")
        self._server: asyncio.Server | None = None

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "HOLDFAST_RUNTIME_DIR": self.runtime, "HOLDFAST_STATE_DIR": self.runtime + "/state"}

    def __enter__(self) -> "FakeHost":
        self._thread.start()
        self.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.stop()
        self.run(self._end_sessions)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        rmtree(self.runtime)

    def _end_sessions(self) -> None:
        for session in self.sessions:
            if session.process.poll() is None:
                os.killpg(session.process.pid, signal.SIGKILL)
                session.process.wait()
                self.loop.remove_reader(session.master)
                os.close(session.master)

    def run(self, work: Callable[[], Any]) -> Any:
        async def call() -> Any:
            result = work()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(10)

    def start(self) -> None:
        async def listen() -> None:
            self.generation += 1
            self._server = await self.loop.create_unix_server(lambda: Connection(self), self.socket)

        self.run(listen)

    def stop(self) -> None:
        """As kill -9 of a host: connections break without a word, sessions run on."""

        async def close() -> None:
            self.close_all()
            await asyncio.sleep(0)

        self.run(close)

    def close_all(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self.connections):
            connection.transport.abort()
        with contextlib.suppress(FileNotFoundError):
            Path(self.socket).unlink()

    def find(self, name: str) -> Session:
        for session in self.sessions:
            if name in (session.id, session.name):
                return session
        raise NoSuchSession(name)

    def wait_for(self, what: Callable[[], Any], timeout: float = 10.0) -> Any:
        """Wait until ``what`` is true. Polled: what tests wait for here are facts of another thread."""
        until = time.monotonic() + timeout
        while not (found := what()):
            if time.monotonic() > until:
                raise AssertionError("it did not come to pass in time")
            time.sleep(0.002)
        return found
