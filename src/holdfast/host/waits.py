"""Wait on behalf of a client for what happens in a session; the first of what it asked for answers it (R25, R68).

Not here: the verdict (core.waits), the search (patterns), what a program waits for (waiting). A wait consumes and changes
nothing; a timeout stops nothing. Each belongs to its client and ends with it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from holdfast.core.commands import Command, Prompt
from holdfast.core.cursor import Cursor
from holdfast.core.errors import BadMessage, Refused, TooMany
from holdfast.core.journal import Author
from holdfast.core.waiting import Wants
from holdfast.core.waits import Because, Met, Vigil, Wish
from holdfast.host.patterns import compiled
from holdfast.host.waiting import State
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.host.clients import Client
    from holdfast.host.host import Host
    from holdfast.host.session import Session

WAITS_MAX: Final = 16  # under way at once for one client
CHUNK: Final = 1 << 16  # bytes of output searched at once
SETTLE_S: Final = 0.005  # output is searched so much later than it came: nobody's echo waits for it
QUIET_MIN_S: Final = 0.01


class Waits:
    """The waits on one session."""

    def __init__(self) -> None:
        self._waiters: set[Waiter] = set()

    def saw(self) -> None:
        """The session put something out. Called for every output: it must cost nothing while nobody waits."""
        for waiter in self._waiters:
            waiter.saw()

    async def wait(self, session: "Session", ask: wire.WaitFor) -> wire.Waited:
        """Return what ended the wait. Raises BadPattern, BadMessage, Refused for a command nobody knows."""
        waiter = Waiter(session, ask)
        self._waiters.add(waiter)
        try:
            return await waiter.run()
        finally:
            self._waiters.discard(waiter)
            waiter.close()


class Waiter:
    """One wait of one client."""

    def __init__(self, session: "Session", ask: wire.WaitFor) -> None:
        self._session, self._ask = session, ask
        self._began = time.monotonic()
        self._vigil = Vigil(_wish(ask), _start(session, ask), now=self._began)
        self._result: asyncio.Future[Met] = asyncio.get_running_loop().create_future()
        self._more = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._state: State | None = None  # the look that ended the wait
        self._stops: list[Callable[[], None]] = []

    async def run(self) -> wire.Waited:
        """Return the answer, once there is one."""
        session, ask, loop = self._session, self._ask, asyncio.get_running_loop()
        if ask.command:
            self._stops.append(session.commands.watch(self._commanded))
            self._commanded(Prompt(), _command(session, ask.command))
        if ask.input and not session.over:
            session.waiting.watch(self._looked)
            self._stops.append(lambda: session.waiting.unwatch(self._looked))
        if self._vigil.searches:
            self._tasks.append(loop.create_task(self._search(), name=f"{session.id}: search"))
            self._more.set()
        self._tasks.append(loop.create_task(self._until_the_end(), name=f"{session.id}: end"))
        self._due()
        return self._answer(await self._result)

    def close(self) -> None:
        """Stop looking."""
        for stop in self._stops:
            stop()
        for task in self._tasks:
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ---- what happens ----

    def saw(self) -> None:
        """There was output."""
        self._vigil.put_out(now=time.monotonic())
        self._more.set()

    def _looked(self, state: State) -> None:
        if state.at < self._began:
            return  # seen before anybody asked: what was typed since may have answered it
        before = self._state
        self._state = state
        if state.waiting.wants not in self._ask.input:
            self._state = before
        self._met(self._vigil.wants(state.waiting.wants, state.offset))

    def _commanded(self, prompt: Prompt, command: Command | None) -> None:
        if command is not None and command.id == self._ask.command and command.state != "running":
            end = command.end if command.end is not None else self._session.head
            self._met(self._vigil.occurred(Because.COMMAND, end))

    async def _until_the_end(self) -> None:
        await self._session.ended()
        self._met(self._vigil.occurred(Because.EXIT, self._session.head))

    async def _search(self) -> None:
        """Read what comes and have it searched, in a thread: it takes no time of the loop that echoes keys."""
        session, vigil = self._session, self._vigil
        while True:
            await self._more.wait()
            self._more.clear()
            await asyncio.sleep(SETTLE_S)
            while vigil.position < session.head:
                chunk = session.output.read(vigil.position, min(CHUNK, session.head - vigil.position))
                found = await asyncio.to_thread(vigil.look, chunk.offset, chunk.data)
                self._met(vigil.took(chunk.offset + len(chunk.data), found))
                if not chunk.data:
                    break

    def _due(self) -> None:
        """Let time pass, and be called again when it matters."""
        self._timer = None
        self._met(self._vigil.wake(self._session.head, now=time.monotonic()))
        if self._vigil.deadline is not None and not self._result.done():
            after = max(0.001, self._vigil.deadline - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(after, self._due)

    def _met(self, met: Met | None) -> None:
        if met is not None and not self._result.done():
            self._result.set_result(met)

    def _answer(self, met: Met) -> wire.Waited:
        session, ask = self._session, self._ask
        offset = max(met.offset, 0)
        answer: dict[str, Any] = {}
        match met.because:
            case Because.INPUT if self._state is not None:
                waiting = self._state.waiting
                answer = {"wants": waiting.wants.value, "program": waiting.program, "prompt": self._state.prompt}
            case Because.MATCH:
                answer = {
                    "pattern": met.pattern, "text": met.text.decode("utf-8", "replace"),
                    "groups": tuple(group.decode("utf-8", "replace") for group in met.groups),
                }  # fmt: skip
            case Because.COMMAND:
                command = session.commands.get(ask.command)
                answer = {"command": ask.command, "status": command.status if command is not None else None}
            case Because.EXIT:
                answer = {"ending": session.sheet.ending}
        return wire.Waited(ask.ref, met.because.value, offset, session.cursor(offset), **answer)


def _wish(ask: wire.WaitFor) -> Wish:
    try:
        wants = frozenset(Wants(name) for name in ask.input)
    except ValueError:
        raise BadMessage(f"what can be waited for is {', '.join(Wants)}; not {', '.join(ask.input)!r}") from None
    quiet = None if ask.quiet_s is None else max(QUIET_MIN_S, ask.quiet_s)
    return Wish(wants, compiled(ask.match), quiet, None if ask.for_s is None else max(0.0, ask.for_s))


def _start(session: "Session", ask: wire.WaitFor) -> int:
    """Return the offset from which on output is new to whoever asks."""
    offset = ask.offset
    if offset is None and ask.cursor:
        offset = Cursor.parse(ask.cursor).offset
    if offset is None:
        return session.head
    return session.output.start if offset < 0 else min(offset, session.head)


def _command(session: "Session", number: int) -> Command:
    found = session.commands.get(number)
    if found is None:
        raise Refused(
            f"session {session.name!r} knows no command {number}; nothing was waited for",
            do=f"`hold commands {session.name}` lists them",
        )
    return found


async def _wait_for(host: "Host", ask: wire.WaitFor, peer: "Client", by: Author) -> wire.Message:
    session = host.find(ask.session)
    if peer.waits >= WAITS_MAX:
        raise TooMany(f"{WAITS_MAX} waits of this client are under way", do="take their answers, or cancel one")
    peer.waits += 1
    try:
        return await session.waits.wait(session, ask)
    finally:
        peer.waits -= 1


HANDLERS: Final[dict[type, Callable[["Host", Any, "Client", Author], Awaitable[wire.Message]]]] = {
    wire.WaitFor: _wait_for,
}
