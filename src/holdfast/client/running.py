"""Run command lines in a session, for the SDK (sdk): a value, or a handle on what runs. Leaving either never ends a command.

The host types the line, once for each key, and knows where the command's output begins and ends; this collects it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from holdfast.client import until
from holdfast.client.following import Following, Part
from holdfast.client.lean import fresh_id
from holdfast.core.commands import Command
from holdfast.core.errors import HoldError, SessionEnded, Timeout
from holdfast.core.plain import Plain, rendered
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.client.sdk import Session

PAGE: Final = 1 << 18  # bytes asked for at once
MOST: Final = 8 << 20  # bytes of output that a result holds, unless the caller says otherwise
UNMARKED_QUIET_S: Final = 2.0  # after so long without output an unmarked command is taken to be over
PRESS_S: Final = 2.0  # for a key to be taken
MISSED_S: Final = 2.0  # for so long it is watched whether Ctrl-C reached whom it was meant for
LOOK_S: Final = 0.2  # and this is how often
ANSWER_S: Final = 30.0  # for the shell to take a line, beyond the patience that is asked for


@dataclass(frozen=True, slots=True)
class Printed:
    """What a command put out: output ``start`` to ``end`` of the session. ``bytes`` are the last of it, as they came;
    ``missing`` of the first are left out or not kept any more."""

    bytes: bytes = field(repr=False)
    start: int
    end: int
    missing: int = 0

    @property
    def text(self) -> str:
        """It as text to read: without control sequences, what overwrote itself as it became."""
        return rendered(self.bytes)

    def tail(self, lines: int = 20) -> str:
        """Return the last ``lines`` lines of the text."""
        return "\n".join(self.text.rstrip("\n").split("\n")[-lines:]) if lines > 0 else ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class CommandResult:
    """A command and what came of it. ``state``: done, running (it goes on), lost (its end was not seen), unmarked (nobody
    knows what it was or how it ended: the output is what came after the line was typed).

    ``exit_code`` is as the shell has it, None if nobody knows; ``author`` is who submitted it; ``text`` what the shell says
    it ran; ``duration`` in seconds.
    """

    id: int
    text: str
    output: Printed
    exit_code: int | None
    duration: float | None
    cwd: str
    author: str
    state: str

    @property
    def ok(self) -> bool:
        """Whether it is over and succeeded."""
        return self.exit_code == 0


class CommandFailed(HoldError):
    """It ran and its exit status is not 0, which ``check`` makes an error. ``result`` is what came of it."""

    code = "command-failed"

    def __init__(self, result: CommandResult) -> None:
        status = result.exit_code
        super().__init__(
            f"command {result.id} ({result.text}) "
            + (f"exited {status}" if status is not None else "has no known status"),
            do="its output is in the error's `result`",
            command=result.id,
            status=status,
        )
        self.result = result


class StillRunning(Timeout):
    """It was not over in time, and goes on. ``result`` is what came of it so far; wait for it by its id."""

    code = "still-running"

    def __init__(self, result: CommandResult, timeout: float) -> None:
        super().__init__(
            f"command {result.id} ({result.text}) is not over after {timeout:g} s; it goes on",
            do=f"wait for it: `wait_for(until.command({result.id}))`, or interrupt it",
            command=result.id,
        )
        self.result = result


class Running:
    """A command that runs, or ran: a reference, nothing lives in it. ``async with`` changes nothing for the command."""

    def __init__(self, session: Session, ran: wire.Ran, text: str) -> None:
        self._session, self._text = session, text
        self.id: int = ran.command  # 0: the shell does not say what runs
        self.start: int = ran.start  # where its output begins
        self.again: bool = ran.again  # the same key had been run before: this is that command

    def __repr__(self) -> str:
        return f"<Running {self.id} in {self._session.name}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def wait(self, timeout: float | None = None, *, check: bool = False, most: int = MOST) -> CommandResult:
        """Return what came of it, once it is over, with the last ``most`` bytes of its output.

        Raises StillRunning after ``timeout`` seconds (it goes on), and with ``check`` CommandFailed. A session that ends
        takes the command along: its state is then lost, or done if the shell itself was what ended.
        """
        ended = await self._session.wait_for(self._over(), timeout=timeout, since=self.start)
        result = await self._result(ended.offset, most)
        if ended.because == "time" and timeout is not None:
            raise StillRunning(result, timeout)
        if check and self.id and not result.ok:
            raise CommandFailed(result)
        return result

    async def lines(self) -> AsyncGenerator[str, None]:
        """Yield its output as it comes, a line at a time: text without control sequences, without the newline.

        Ends with the command. What redraws a line (a progress bar) gives a line each time. Stopping early is free.
        """
        plain, rest = Plain(), b""
        async for data in self.output():
            *whole, rest = (rest + plain.feed(data)[1]).split(b"\n")
            for line in whole:
                yield line.decode("utf-8", "replace")
        if rest:
            yield rest.decode("utf-8", "replace")

    async def output(self) -> AsyncGenerator[bytes, None]:
        """Yield its output as it comes, as it is. What is not kept any more is left out."""
        session, channel = self._session, self._session._channel
        follow = Following(self.id, self.start)
        feed = await channel.attach(session.id, "stream", offset=self.start, observe=True)
        waiting: dict[str, asyncio.Future[Any]] = {
            "output": asyncio.ensure_future(channel.take(feed)),
            "end": asyncio.ensure_future(session.wait_for(self._over(), since=self.start)),
        }
        try:
            while not follow.over:
                if follow.asks:
                    request = wire.ListCommands(session._ref(), session.id, self.id - 1, 1)
                    follow.asked = request.ref
                    waiting["command"] = asyncio.ensure_future(session._ask(request, wire.Commands))
                await asyncio.wait(waiting.values(), return_when=asyncio.FIRST_COMPLETED)
                for what in [name for name, task in waiting.items() if task.done()]:
                    for part in self._take(follow, what, waiting.pop(what)):
                        if isinstance(part, wire.Output):
                            yield part.data
                    if what == "output" and not (feed.over and not feed.items):
                        waiting["output"] = asyncio.ensure_future(channel.take(feed))
        finally:
            for task in waiting.values():
                task.cancel()
            await asyncio.gather(*waiting.values(), return_exceptions=True)
            channel.detach(feed)
            channel.drop(feed)

    @staticmethod
    def _take(follow: Following, what: str, task: asyncio.Future[Any]) -> list[Part]:
        if what == "end":
            return list(follow.waited(task.result().because, task.result().offset))
        return list(follow.heard(task.result())) if not isinstance(task.exception(), StopAsyncIteration) else []

    async def interrupt(self) -> None:
        """Press Ctrl-C for it; where the terminal takes no more keys, SIGINT to what runs in the foreground. Nothing if it is
        over. Returns when it is over, or after 2 s at most: what it does with the key is its own affair.

        A shell that is about to start a command, and has not handed it the terminal, may swallow the key (bash does, once
        in a hundred times in the first half millisecond): then it is pressed once more, for the command.
        """
        command = await self._command()
        if command is not None and command.state != "running":
            return
        reached = await self._foreground()
        await self._press()
        for _ in range(round(MISSED_S / LOOK_S)):
            looked = await self._session.wait_for(self._over(), timeout=LOOK_S, since=self.start)
            if looked.because != "time":
                return
            if await self._foreground() != reached:
                await self._press()
                return

    async def _press(self) -> None:
        try:  # the key and not the signal: the kernel finds who is in the foreground in the very instant
            async with asyncio.timeout(PRESS_S):
                await self._session.send(b"\x03")
        except TimeoutError:
            await self._session.signal(signal.SIGINT)

    async def _foreground(self) -> object:
        """The process group that keys reach now."""
        return (await self._session.live()).get("terminal", {}).get("foreground_pgid")

    # ---- how it is found out ----

    def _over(self) -> until.Until:
        """What it is over with."""
        if self.id:
            return until.command(self.id)
        return until.any(until.input("prompt", "line", "password"), until.quiet(UNMARKED_QUIET_S))

    async def _command(self) -> Command | None:
        if not self.id:
            return None
        found = await self._session.commands(after=self.id - 1, limit=1)
        return found[0] if found and found[0].id == self.id else None

    async def _result(self, offset: int, most: int) -> CommandResult:
        command = await self._command()
        end = command.end if command is not None and command.end is not None else offset
        printed = await self._printed(end, most)
        if command is None:
            return CommandResult(self.id, self._text, printed, None, None, "", "", "lost" if self.id else "unmarked")
        return CommandResult(
            command.id,
            command.text,
            printed,
            command.status,
            command.duration_s,
            command.cwd,
            command.author,
            command.state,
        )

    async def _printed(self, end: int, most: int) -> Printed:
        start = max(self.start, end - max(0, most))
        parts: list[bytes] = []
        at = start
        while at < end:
            got = await self._session._ask(
                wire.ReadOutput(self._session._ref(), self._session.id, at, min(PAGE, end - at)), wire.OutputRange
            )
            if not got.data:
                break
            start = (
                got.offset if got.offset > at else start
            )  # what lay before is not kept: the last of it is what counts
            parts = [] if got.offset > at else parts
            parts.append(got.data[: max(0, end - got.offset)])
            at = got.offset + len(got.data)
        return Printed(b"".join(parts), self.start, end, start - self.start)


async def start(
    session: Session, text: str, *, key: str, patience: float, unmarked: bool, basis: wire.Basis | None
) -> Running:
    """See ``Session.start``."""
    term = session.seen.term if session._channel.acts else 0  # a person's program need not follow it
    basis = basis or wire.Basis(session.seen.input)
    request = wire.Run(session._ref(), session.id, text, key or fresh_id("r-"), patience, unmarked, 0, term, basis)
    ran: wire.Ran = await session._ask(request, wire.Ran, timeout=patience + ANSWER_S)
    if ran.outcome == "unseen":
        info = await session.info()
        if info.ending is not None:
            raise SessionEnded(session.name, how=info.ending.how, status=info.ending.status, at=info.ending.at)
        raise Timeout(
            "the line was typed, and the shell has not said what became of it",
            do="look at the screen; with the same key it is not typed again",
        )
    return Running(session, ran, text)
