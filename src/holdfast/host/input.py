"""Type into a session: one input at a time, journal first, then the holder (I3, I5, I7).

Not here: who may type (admission), whose size applies (core.sizing).
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from holdfast.core.errors import HolderLost, HoldError, InputUnknown, LineTooLong, Refused, TooMany
from holdfast.core.inputs import Inputs, Outcome
from holdfast.host.holders import Written
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.host.session import Session

QUEUE_MAX: Final = 256  # inputs waiting; the sender of one more is refused
LINE_MAX: Final = 4095  # what the kernel's line editor keeps of one line; the rest it drops without a word

Answer = Callable[[wire.Typed | HoldError], None]


@dataclass(frozen=True, slots=True)
class _Waiting:
    ask: wire.Input
    client: str
    operator: str
    attachment: int  # serial in the session, 0: none


class Lane:
    """One session's input lane. Control (kill, signal, resize) does not pass through it and never waits for it."""

    def __init__(self, session: "Session", inputs: Inputs) -> None:
        self._session, self._inputs = session, inputs
        self._waiting: deque[_Waiting] = deque()
        self._answers: dict[tuple[str, int], list[tuple[int, Answer]]] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.last_at = time.monotonic()
        self.typed = 0  # journal position of the newest input

    def start(self) -> None:
        """Begin to type what is submitted."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"{self._session.id}: input")

    async def stop(self) -> None:
        """Stop typing; what waits is answered as not typed."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        while self._waiting:
            waiting = self._waiting.popleft()
            self._settle(waiting.client, waiting.ask.seq, self._session.gone())

    def submit(self, ask: wire.Input, *, client: str, operator: str, attachment: int, answer: Answer) -> None:
        """Queue ``ask`` and call ``answer`` once, now or later. A repeated (client, seq) gets the first one's outcome."""
        key = (client, ask.seq)
        if key in self._answers:  # sent again while the first is under way: one typing, two answers
            self._answers[key].append((ask.ref, answer))
            return
        known = self._inputs.seen(client, ask.seq)
        if known is not None:
            answer(_answered(ask.ref, ask.seq, known))
            return
        if len(self._waiting) >= QUEUE_MAX:
            answer(
                TooMany(f"{QUEUE_MAX} inputs are waiting already; this one was not typed", do="wait for the answers")
            )
            return
        self._answers[key] = [(ask.ref, answer)]
        self._waiting.append(_Waiting(ask, client, operator, attachment))
        self._wake.set()

    async def _run(self) -> None:
        while True:
            while self._waiting:
                waiting = self._waiting[0]
                try:
                    result: Outcome | HoldError = await self._type(waiting)
                except HoldError as error:
                    result = error
                self._waiting.popleft()
                self._settle(waiting.client, waiting.ask.seq, result)
            self._wake.clear()
            await self._wake.wait()

    async def _type(self, waiting: _Waiting) -> Outcome:
        session, ask = self._session, waiting.ask
        await session.ready()
        await self._check_line(ask.data)
        if waiting.attachment:
            await session.typed_by(waiting.attachment)
        self.last_at = time.monotonic()
        body = {"client": waiting.client, "seq": ask.seq, "data": ask.data, "attachment": waiting.attachment}
        record = session.record("input", waiting.operator, body)
        self.typed = record.position
        try:
            written = await self._written(record.position, ask.data)
        except BaseException:
            # The next record of this generation would imply "applied": what is not known must be said.
            session.note("typed", {"of": record.position, "outcome": "unknown", "written": 0})
            raise
        outcome = Outcome(written.outcome, written.written, record.position)
        if written.outcome != "applied":
            session.record(
                "typed", "host", {"of": record.position, "outcome": written.outcome, "written": written.written}
            )
        return outcome

    async def _written(self, position: int, data: bytes) -> Written:
        session = self._session
        while True:
            holder = await session.ready()
            try:
                return await holder.write(position, data)
            except HolderLost:
                # The holder died under the write. Its successor knows from the header what the terminal took of this
                # position: asking again under the same position can only type what was never begun (I5).
                continue
            except Refused:
                if holder.ended is None and session.root_lives():
                    raise
                await session.ended()  # the program ended under the write; how is about to be written down
                raise session.gone() from None

    async def _check_line(self, data: bytes) -> None:
        if len(data) <= LINE_MAX:
            return
        longest = max(len(line) for line in data.replace(b"\r", b"\n").split(b"\n"))
        if longest > LINE_MAX:
            holder = await self._session.ready()
            if (await holder.termios()).canonical:
                raise LineTooLong(longest, LINE_MAX)

    def _settle(self, client: str, seq: int, result: Outcome | HoldError) -> None:
        if isinstance(result, Outcome):
            self._inputs.ended(client, seq, result)
        for ref, answer in self._answers.pop((client, seq), []):
            answer(result if isinstance(result, HoldError) else _answered(ref, seq, result))


def _answered(ref: int, seq: int, outcome: Outcome) -> wire.Typed | HoldError:
    if outcome.outcome == "unknown":
        return InputUnknown(seq)
    return wire.Typed(ref, seq, outcome.outcome, outcome.written, outcome.position)
