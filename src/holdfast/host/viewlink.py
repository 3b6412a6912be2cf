"""One view worker process as the host sees it: start it, give it orders, notice when it died or hangs.

The worker answers its orders one by one and in order, so the oldest unanswered one is what it works on: if that makes
no progress the process is killed, and whoever holds the link is told which order it was. Not here: what to do then
(views).
"""

import asyncio
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from holdfast.view import protocol
from holdfast.view.protocol import Changed, Order, Ready, Result

START_S_MAX: Final = 30.0
HANG_S: Final = 2.0
STARVED_S_MAX: Final = 20.0
"""A worker that gets no CPU is not hung: it is killed after HANG_S only if it used it, or is stopped or asleep."""
_STATS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class _Pending:
    order: Order
    answered: Callable[[Result], None]
    lost: Callable[[], None]
    since: float = 0.0  # when it became the oldest
    cpu: float = 0.0  # CPU seconds the worker had used then


class Link:
    """A running worker. ``lost`` is called once, with the order that was being worked on and why, when it is no
    more.
    """

    def __init__(
        self,
        *,
        ready: Callable[["Link"], None],
        lost: Callable[["Link", Order | None, str], None],
        changed: Callable[[int, protocol.ViewState], None],
    ) -> None:
        self._on_ready, self._on_lost, self._on_changed = ready, lost, changed
        self._pending: deque[_Pending] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._why = ""
        self.process: asyncio.subprocess.Process | None = None
        self._pidfd = -1
        self.ready = False
        self.started = False  # it was ready once
        self.error = ""  # why the engine cannot be loaded; no other worker will do better
        self.gone = False
        self.bytes_out = 0  # of output fed and not processed yet
        self.sessions: set[int] = set()
        self._seq = 0

    @property
    def pid(self) -> int:
        return self.process.pid if self.process is not None else 0

    def start(self) -> None:
        """Start the process; ``ready`` or ``lost`` is called later."""
        self._task = asyncio.create_task(self._run(), name="view worker")

    async def _run(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self.process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "holdfast.view.worker", "--fd", str(theirs.fileno()),
                    pass_fds=(theirs.fileno(),), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                )  # fmt: skip
            try:
                self._pidfd = os.pidfd_open(self.process.pid)
            except ProcessLookupError:
                pass  # dead and reaped already: its end of the link is closed
            reader, self._writer = await asyncio.open_connection(sock=ours)
            self._watch = asyncio.get_running_loop().call_later(START_S_MAX, self.kill, "it did not start")
            await self._read(reader)
        except OSError as error:
            self._why = self._why or str(error)
        finally:
            ours.close()
            await self._end()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        frames = protocol.Frames()
        while data := await reader.read(1 << 18):
            for body in frames.feed(data):
                said = protocol.SAID.decode(body)
                if isinstance(said, Result):
                    self._answered(said)
                elif isinstance(said, Changed):
                    self._on_changed(said.session, said.state)
                else:
                    self._started(said)

    def _started(self, said: Ready) -> None:
        self._rest()
        self.error = said.error
        if not said.error:
            self.ready = self.started = True
            self._on_ready(self)

    async def _end(self) -> None:
        self._rest()
        if self._writer is not None:
            self._writer.close()
        if self.process is not None:
            if self.process.returncode is None:
                self._signal(signal.SIGKILL)
            status = await self.process.wait()
            self._drop_pidfd()
            self._why = self._why or (f"signal {-status}" if status < 0 else f"exit status {status}")
        self.gone, self.ready = True, False
        pending, self._pending = self._pending, deque()
        self._on_lost(self, pending[0].order if pending else None, self._why)
        for owed in pending:
            owed.lost()

    def send(self, order: Order, answered: Callable[[Result], None], lost: Callable[[], None] = lambda: None) -> None:
        """Give an order; ``answered`` is called with its result, or ``lost`` if the worker is gone first."""
        if self._writer is None or self.gone:
            asyncio.get_running_loop().call_soon(lost)
            return
        self._pending.append(_Pending(order, answered, lost))
        self._writer.write(protocol.framed(order))
        if len(self._pending) == 1:
            self._begin_watch()

    def seq(self) -> int:
        self._seq += 1
        return self._seq

    def _answered(self, result: Result) -> None:
        if not self._pending or self._pending[0].order.seq != result.seq:
            self.kill("it answered what it was not asked")
            return
        done = self._pending.popleft()
        self._rest()
        if self._pending:
            self._begin_watch()
        done.answered(result)

    # ---- watchdog: armed only while something is owed, so an idle worker costs nothing ----

    def _rest(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _begin_watch(self) -> None:
        loop = asyncio.get_running_loop()
        self._pending[0].since = loop.time()
        self._pending[0].cpu = -1.0  # read when the first look comes: most orders take milliseconds
        self._watch = loop.call_later(HANG_S / 4, self._look)

    def _look(self) -> None:
        self._watch = None
        if not self._pending:
            return
        loop = asyncio.get_running_loop()
        oldest = self._pending[0]
        waited = loop.time() - oldest.since
        used, state = _cpu_and_state(self.pid)
        if oldest.cpu < 0:
            oldest.cpu = used
        if waited >= STARVED_S_MAX or (waited >= HANG_S and (state in "TtSDZX" or used - oldest.cpu >= HANG_S / 2)):
            self.kill(f"no progress in {waited:.1f} s")
            return
        self._watch = loop.call_later(HANG_S / 4, self._look)

    def kill(self, why: str) -> None:
        """End the worker now; ``lost`` follows."""
        self._why = self._why or why
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        """Signal the process by descriptor: by number it might be another one by now, and Popen would reap it from under
        asyncio's feet.
        """
        if self._pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                pass

    async def close(self) -> None:
        """End the worker without ``lost`` being of interest, and wait until it is gone."""
        self._on_lost = _nothing
        if self._task is None:
            return
        if self._writer is not None:
            self._writer.close()
        self._signal(signal.SIGKILL)
        self._task.cancel()
        try:
            await self._task
        except asyncio.CancelledError:
            pass
        if self.process is not None:
            self._signal(signal.SIGKILL)
            await self.process.wait()
        self._drop_pidfd()

    def _drop_pidfd(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def _nothing(_link: Link, _order: Order | None, _why: str) -> None:
    pass


def _cpu_and_state(pid: int) -> tuple[float, str]:
    """Return the CPU seconds process ``pid`` has used and its state letter; ``X`` if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
    except OSError:
        return 0.0, "X"
    return (int(fields[11]) + int(fields[12])) / _STATS, fields[0].decode()
