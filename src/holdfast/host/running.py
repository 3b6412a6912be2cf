"""Have a session's shell run a command line: at its prompt, as one unit, once (R61, R68).

Not here: what is typed and when that may be (core.running), who may (admission, judge, gate), the typing (input). One line
at a time is handed to a shell: the next is not looked at before the shell said what it made of the last.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from holdfast.core import running
from holdfast.core.commands import Command
from holdfast.core.errors import HoldError, IncompleteLine, InputUnknown, NothingRan, Refused
from holdfast.core.ids import SessionId
from holdfast.core.inputs import Outcome
from holdfast.core.journal import Author, decoded
from holdfast.core.waiting import Wants
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.host.clients import Client
    from holdfast.host.host import Host
    from holdfast.host.session import Session

SOON_S: Final = 2.0  # a shell that draws its prompt, or a line that is being handed over, is waited for in any case
PATIENCE_MAX_S: Final = 3600.0
TAKEN_S: Final = 10.0  # how long a shell may take to say what became of a line
BEFORE: Final = 4096  # bytes of output before the line in which the shell says whether it takes pasted text
START_S: Final = 20.0  # how old a session may be whose shell has not reached its first prompt
SETTLE_S: Final = 0.15  # after somebody's key
LOOK_S: Final = 0.02  # between two looks at what is over soon
LATE_S: Final = 0.4  # a shell that said nothing for so long of a line is looked at
LOOKS: Final = 2  # so often, before it is believed to go on editing the line
SEEN_S: Final = 5.0  # how long a look at an unmarked shell may take
COMMANDS_MAX: Final = 1 << 16  # commands among which one that was run before is looked for


class Runs:
    """The lines that are handed to one session's shell."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._turn = asyncio.Lock()
        self._handing: dict[str, asyncio.Task[wire.Ran]] = {}
        self._typed = 0  # journal position of the newest line

    async def run(self, ask: wire.Run, by: Author, *, attachment: int) -> wire.Ran:
        """Do what ``wire.Run`` says. Raises BadLine, NotAtPrompt, Unmarked: nothing was typed; IncompleteLine, NothingRan: it
        was, and no command came of it; what the judge and the gate raise.

        Whoever asks may go at any time: what was handed over stays handed over.
        """
        running.unit(ask.text, pastes=True)  # what no shell takes need not wait for one
        name = running.once(by, ask.key)
        if (handing := self._handing.get(name)) is not None:
            return await asyncio.shield(handing)
        if (known := self._session.journal.inputs.seen(name, 1)) is not None:
            return await self._again(ask, known)
        return await self._in_turn(name, ask, by, attachment)

    # ---- its turn ----

    async def _in_turn(self, name: str, ask: wire.Run, by: Author, attachment: int) -> wire.Ran:
        """Hand ``ask`` over once the shell waits for a line and nobody else's is under way."""
        session, loop = self._session, asyncio.get_running_loop()
        until = loop.time() + max(SOON_S, min(ask.patience_s, PATIENCE_MAX_S))
        try:
            async with asyncio.timeout_at(until):
                await self._turn.acquire()
        except TimeoutError:
            raise await self._objection(ask) or running.not_yet() from None
        handing: asyncio.Task[wire.Ran] | None = None
        try:
            if (
                known := session.journal.inputs.seen(name, 1)
            ) is not None:  # asked twice, and this waited for the other
                return await self._again(ask, known)
            await self._ready(ask, until)
            # Typed in the same breath as it was looked at: a key that came in between would stand before it on the line.
            handed = self._hand(name, ask, by, attachment)
            handing = loop.create_task(self._fate(ask, handed), name=f"{session.id}: run")
        finally:
            if handing is None:
                self._turn.release()
        self._handing[name] = handing
        handing.add_done_callback(lambda task: self._handed(name, task))
        return await asyncio.shield(handing)

    def _handed(self, name: str, task: "asyncio.Task[wire.Ran]") -> None:
        self._turn.release()
        del self._handing[name]
        if not task.cancelled():
            task.exception()  # whoever asked may have gone

    async def _ready(self, ask: wire.Run, until: float) -> None:
        """Return when a line can be handed over. Raises why not; what is over soon is waited for, the rest if asked to."""
        session, loop = self._session, asyncio.get_running_loop()
        changed = asyncio.Event()
        unwatch = session.commands.watch(lambda prompt, command: changed.set())
        patient = loop.time() + min(ask.patience_s, PATIENCE_MAX_S)
        try:
            while True:
                changed.clear()
                no = await self._objection(ask)
                if no is None and session.lane.clear and self._settled():
                    return
                soon = no is None or bool(no.details.get("soon"))
                end = until if soon else patient
                if loop.time() >= end:
                    raise no or running.not_yet()
                try:  # the input lane tells nobody when it is clear: that is over in a moment
                    async with asyncio.timeout_at(min(end, loop.time() + LOOK_S) if soon else end):
                        await changed.wait()
                except TimeoutError:
                    pass
                if session.over:
                    raise session.gone()
        finally:
            unwatch()

    async def _objection(self, ask: wire.Run) -> HoldError | None:
        session = self._session
        prompt = session.commands.state()
        no = running.objection(session.name, prompt, session.commands.get(prompt.running))
        if not prompt.marked and session.commands.awaited and time.time() - session.sheet.created_at < START_S:
            return running.not_yet()
        if no is None or not ask.unmarked or (prompt.marked and not prompt.running):
            return no
        return running.unmarked_objection(session.name, await session.waiting.fresh(SEEN_S))

    def _settled(self) -> bool:
        """Whether the shell has had time for what was typed last. A Ctrl-C empties its line a moment after it was typed."""
        lane = self._session.lane
        return lane.typed == self._typed or time.monotonic() - lane.last_at > SETTLE_S

    # ---- handing it over ----

    def _hand(self, name: str, ask: wire.Run, by: Author, attachment: int) -> "_Handed":
        """Type the line of ``ask``. Raises what the judge and the gate raise: then nothing was typed."""
        session = self._session
        prompt = session.commands.state()
        marked = prompt.marked and prompt.at_prompt
        pastes = self._pastes(prompt.since if marked else session.head)
        data = running.unit(ask.text, pastes=pastes, tabs=session.commands.shell != "fish")
        typed: asyncio.Future[wire.Typed | HoldError] = asyncio.get_running_loop().create_future()
        line = wire.Input(ask.ref, session.id, 1, data, attachment, by.term or ask.term, ask.basis)
        handed = _Handed(len(data), marked, session.head, typed, _Watcher(session, prompt.since))
        try:
            session.gate.submit(
                line, client=name, operator=by, attachment=attachment, answer=typed.set_result, verb="run"
            )
        except HoldError:
            handed.watcher.stop()
            raise
        return handed

    async def _fate(self, ask: wire.Run, handed: "_Handed") -> wire.Ran:
        """Return what became of a line that was handed over."""
        try:
            told = await handed.typed
            if isinstance(told, HoldError):
                raise told
            if told.outcome != "applied":
                raise Refused(
                    f"only {told.written} of {handed.size} bytes of the line were typed: {told.outcome}",
                    do="look at the session before you run it again, with another key", outcome=told.outcome,
                )  # fmt: skip
            self._typed = told.position
            if not handed.marked:
                return wire.Ran(ask.ref, "typed", 0, handed.start, told.position)
            return await handed.watcher.fate(ask.ref, told.position, handed.start)
        finally:
            handed.watcher.stop()

    def _pastes(self, at: int) -> bool:
        """Whether the shell's line editor takes pasted text as such, by its own last word on it."""
        session = self._session
        start = max(session.output.start, at - BEFORE)
        said = running.pastes(session.output.read(start, session.head - start).data) if session.head > start else None
        if said is None and (view := session.views.view_state(SessionId(session.id))) is not None:
            said = view.modes.get("paste")
        return bool(said)

    async def _again(self, ask: wire.Run, known: Outcome) -> wire.Ran:
        """Answer what was asked before, perhaps of an earlier host, with the command it was. Nothing is typed."""
        session = self._session
        self._same(ask, known.position)
        watcher = _Watcher(session, session.commands.state().since)
        try:
            command = watcher.command(known.position)
            if command is not None:
                return wire.Ran(ask.ref, "started", command.id, command.start, known.position, True)
            if known.outcome == "unknown":
                raise InputUnknown(1)
            if known.outcome != "applied":
                raise Refused("its line was not typed as a whole, and is not typed again",
                              do="run it with another key", outcome=known.outcome)  # fmt: skip
            return wire.Ran(ask.ref, "unseen", 0, session.head, known.position, True)
        finally:
            watcher.stop()

    def _same(self, ask: wire.Run, position: int) -> None:
        records = self._session.journal.read(position, 1) if position else ()
        data = decoded(records[0]).body.get("data") if records else None
        if isinstance(data, bytes) and running.text_of(data) != ask.text.rstrip("\r\n"):
            raise Refused(
                "that key was used for another command line; nothing was typed", do="give each command a key of its own"
            )


class _Handed(NamedTuple):
    """A line that was given to the input lane."""

    size: int  # bytes
    marked: bool  # the shell will say what it made of it
    start: int  # offset of the output before it
    typed: "asyncio.Future[wire.Typed | HoldError]"
    watcher: "_Watcher"


class _Watcher:
    """Waits for the shell to say what became of a line."""

    def __init__(self, session: "Session", since: int) -> None:
        self._session, self._since = session, since
        self._changed = asyncio.Event()
        self.stop = session.commands.watch(lambda prompt, command: self._changed.set())

    async def fate(self, ref: int, position: int, start: int) -> wire.Ran:
        """Return the command that the input at ``position`` submitted. Raises IncompleteLine, NothingRan, SessionEnded."""
        session, looks = self._session, 0
        until = time.monotonic() + TAKEN_S
        while True:
            self._changed.clear()
            prompt = session.commands.state()
            if (command := self.command(position)) is not None:
                return wire.Ran(ref, "started", command.id, command.start, position)
            if prompt.continued:
                raise IncompleteLine(session.name)
            if prompt.at_prompt and prompt.since > self._since:
                raise NothingRan()
            if session.over:
                raise session.gone()
            if (left := until - time.monotonic()) <= 0:
                return wire.Ran(ref, "unseen", 0, start, position)
            try:
                async with asyncio.timeout(min(left, LATE_S)):
                    await self._changed.wait()
            except TimeoutError:
                looks += await self._edits()
                if looks >= LOOKS:
                    raise IncompleteLine(session.name) from None

    async def _edits(self) -> bool:
        """Whether the shell is seen to wait for keys. Fish has no prompt for the rest of a line: it goes on editing it."""
        waiting = await self._session.waiting.fresh(LATE_S)
        return waiting is not None and waiting.wants is Wants.PROMPT and not self._changed.is_set()

    def command(self, position: int) -> Command | None:
        """Return the command that the input at ``position`` submitted, the first of them."""
        newest = self._session.commands.newest(COMMANDS_MAX)
        return next((each for each in newest if each.position == position), None)


async def _run(host: "Host", ask: wire.Run, peer: "Client", by: Author) -> wire.Message:
    session = host.find(ask.session)
    if session.over:
        raise session.gone()
    attachment = peer.attachment(ask.attachment)
    serial = attachment.serial if attachment is not None and attachment.session is session else 0
    ran = await session.runs.run(ask, by, attachment=serial)
    return wire.Ran(ask.ref, ran.outcome, ran.command, ran.start, ran.position, ran.again)


HANDLERS: Final[dict[type, Callable[["Host", Any, "Client", Author], Awaitable[wire.Message]]]] = {wire.Run: _run}
