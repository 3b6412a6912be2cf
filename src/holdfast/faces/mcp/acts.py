"""What the eight tools do. Each returns text for a model; what goes wrong is raised as it is, and said in words by ``serve``.

Not here: what a call may say (shapes), how things are said (words, views), what is remembered (desk). Every wait ends by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import holdfast as hf
from holdfast.client import until
from holdfast.client.keys import key_bytes
from holdfast.core.errors import Refused, Timeout
from holdfast.faces.mcp import shapes, views, words
from holdfast.faces.mcp.desk import Desk, Told

SETTLE_S: Final = 0.6  # without output after something was typed: then what changed is shown
OPEN_S: Final = 5.0  # for a new session to show its prompt
SETTLE_MAX_S: Final = 3.0
INTERRUPT_S: Final = 4.0  # for a job to end after each signal
SIGNALS: Final = ((2, "SIGINT"), (15, "SIGTERM"), (9, "SIGKILL"))
SECRET: Final = "password"


class Unseen(Refused):
    """Something was typed that the model was not told of: also its own, when an answer was lost. Nothing is typed twice."""

    code = "unseen"

    def __init__(self) -> None:
        super().__init__(
            "something was typed here since the result you decide on, perhaps by your own earlier call; nothing was typed now",
            do="observe, then decide anew",
        )


class NotYours(Refused):
    code = "not-yours"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; nothing was interrupted", do="ask the person: control(request_human) with a reason")


class Secret(Refused):
    code = "secret"

    def __init__(self) -> None:
        super().__init__(
            "a program asks for a password, which an AI does not type; nothing was typed",
            do="control(request_human) with a reason; then wait",
        )


class Acts:
    """The tools of one desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._turns: dict[str, asyncio.Lock] = {}  # by session: what is typed stands on what was shown before
        self._tools: dict[type[shapes.Tool], Callable[[Any], Awaitable[str]]] = {
            shapes.ListSessions: self.list_sessions, shapes.OpenSession: self.open_session, shapes.Observe: self.observe,
            shapes.Run: self.run, shapes.Send: self.send, shapes.Wait: self.wait, shapes.ReadOutput: self.read_output,
            shapes.Control: self.control,
        }  # fmt: skip

    async def do(self, call: shapes.Tool) -> str:
        """Do what ``call`` says and return what to tell the model. Raises HoldError."""
        return await self._tools[type(call)](call)

    # ---- looking ----

    async def list_sessions(self, call: shapes.ListSessions) -> str:
        client = await self._desk.client(call.host)
        found = await client.sessions(ended=call.ended)
        where = f"@{call.host}" if call.host else ""
        if not found:
            return "(no sessions that you may see; open_session starts one)"
        rows = []
        for each in found[:100]:
            state = each.state if each.ending is not None else each.waiting or "running"
            control = each.control.state if each.control is not None else "-"
            if each.control is not None and each.control.holder:
                control = f"held by {'you' if each.control.holder == self._me else each.control.holder}"
            rows.append(
                f"{each.name}{where} state={state} ctl={control} idle={each.idle_s:.0f}s cwd={each.cwd} "
                f"cmd={' '.join(each.argv)[:80]}"
            )  # fmt: skip
        return "\n".join(rows + ([f"[… {len(found) - 100} more …]"] if len(found) > 100 else []))

    async def open_session(self, call: shapes.OpenSession) -> str:
        name, _, host = call.name.partition("@")
        client = await self._desk.client(host)
        argv = call.command or (os.environ.get("SHELL") or "/bin/sh", "-l")
        cwd = call.cwd or ("/" if host else os.getcwd())
        session = await client.open(name, argv=argv, cwd=cwd, size=(call.rows, call.cols))
        with contextlib.suppress(hf.HoldError):
            ready = until.any(until.input(), until.match(r"\S"))
            waited = await session.wait_for(ready, timeout=OPEN_S, since=0)
            if waited.because == "match":
                await session.wait_for(until.any(until.input(), until.quiet(SETTLE_S)), timeout=OPEN_S)
        return await self._screen(session, shapes.TOKENS)

    async def observe(self, call: shapes.Observe) -> str:
        session = await self._desk.session(call.session)
        it = await views.now(session, self._desk)
        told = self._desk.told.get(session.id)
        if call.view == "commands":
            text = await views.commands(session, it.me)
            return f"{views.header(it, self._desk.tell(session))}\n{text}"
        fresh = told is None and call.since < 0
        if call.view == "screen" or (call.view == "auto" and (it.full_screen or fresh) and it.info.ending is None):
            return await self._screen(session, call.max_tokens)
        start = call.since if call.since >= 0 else told.offset if told is not None else it.info.output_start
        return await self._since(session, start, call.max_tokens)

    async def read_output(self, call: shapes.ReadOutput) -> str:
        session = await self._desk.session(call.session)
        it = await views.now(session, self._desk)
        start, end = it.info.output_start, it.info.output_end
        if call.command_id:
            found = [
                each
                for each in await session.commands(after=call.command_id - 1, limit=1)
                if each.id == call.command_id
            ]
            if not found:
                return f"(there is no command {call.command_id}; observe(view='commands') lists the latest)"
            start, end = found[0].start, found[0].end if found[0].end is not None else end
        start = max(start, call.offset) if call.offset >= 0 else start
        told = self._desk.told.get(session.id) or self._desk.tell(session)
        head = views.header(it, told, f"bytes={start}-{end}")
        if call.grep:
            return f"{head}\n{await views.grep(session, start, end, call.grep, call.max_tokens)}"
        return f"{head}\n{await self._page(session, start, end, call.max_tokens)}"

    async def _page(self, session: hf.Session, start: int, end: int, tokens: int) -> str:
        """From ``start`` on, as much as fits, and where to go on: pages follow each other, nothing is left out between."""
        most = min(views.READ_MAX, max(views.READ_MIN, tokens * views.BYTES_PER_TOKEN))
        data, begin, gap = await views.kept(session, start, min(end, start + most))
        shown: list[str] = [gap] if gap else []
        spent, at = 0.0, begin
        for line in words.lines(data, begin):
            spent += words.cost(line.text) + 0.5
            if spent > tokens and at > begin:
                break
            shown.append(line.text)
            at = line.end
        if at < end:
            shown.append(f"[… {words.size(end - at)} follow: read_output(offset={at}) …]")
        return "\n".join(shown) or "(no output)"

    # ---- acting ----

    async def run(self, call: shapes.Run) -> str:
        seconds = min(call.timeout_s, shapes.WAIT_S_MAX)
        session = await self._desk.session(call.session)
        async with self._turn(session):
            told = self._desk.stands(session, call.basis)
            # The same line on the same ground is the same command: if an answer was lost, asking again types nothing.
            key = hashlib.sha256(f"{told.rev}\0{call.command}".encode()).hexdigest()[:32]
            began = time.monotonic()
            started = await session.start(call.command, key=f"mcp-{key}", basis=_basis(session))
            command = started.id
            left = max(0.0, seconds - (time.monotonic() - began))
            ended = until.any(until.command(command), until.input("line", "password", "keypress", "full-screen"))
            waited = await session.wait_for(ended, timeout=left, since=started.start)
        return await self._ran(session, command, waited, call, told)

    async def _ran(
        self, session: hf.Session, command: int, waited: hf.Waited, call: shapes.Run, told: Told
    ) -> str:  # fmt: skip
        it = await views.now(session, self._desk)
        [found] = await session.commands(after=command - 1, limit=1)
        end = found.end if found.end is not None else it.info.output_end
        over = found.state != "running"
        state = f"exited exit={found.status}" if over and found.status is not None else found.state
        if not over and waited.because == "input":
            state = f"waiting({waited.wants})"
        took = f" {found.duration_s:.1f}s" if found.duration_s is not None else ""
        shown = self._desk.tell(session, max(end, it.info.output_end if over else end))
        head = views.header(it, shown, f"command={command} {state}{took}")
        if not over and waited.wants == "full-screen":
            return f"{head}\n{await views.screen(session, call.max_tokens)}"
        text = await views.output(session, found.start, end, call.max_tokens, command=command)
        if over:
            return f"{head}\n{text}"
        more = (
            f"[still running: wait(until=['command','input'], command_id={command}, since={end})]"
            if waited.because != "input"
            else f"[it waits for input ({waited.wants}): {waited.prompt!r}; send answers it]"
        )
        return f"{head}\n{text}\n{more}"

    async def send(self, call: shapes.Send) -> str:
        data = typed(call.text, call.keys)
        session = await self._desk.session(call.session)
        async with self._turn(session):
            told = self._desk.stands(session, call.basis)
            it = await views.now(session, self._desk)
            if it.info.control is not None and it.info.control.input > told.input:
                raise Unseen
            if it.info.waiting == SECRET:
                raise Secret
            self._desk.stands(session, call.basis)  # looking moved it
            before = it.info.output_end
            sent = await session.send(data, basis=_basis(session))
            with contextlib.suppress(hf.SessionEnded):
                settled = until.any(until.quiet(SETTLE_S), until.input("line", "password", "full-screen", "prompt"))
                await session.wait_for(settled, timeout=SETTLE_MAX_S, since=before)
        note = "" if sent.outcome == "applied" else f"[only {sent.written} of {len(data)} bytes were taken]"
        return await self._since(session, before, call.max_tokens, note=note)

    # ---- waiting ----

    async def wait(self, call: shapes.Wait) -> str:
        seconds = min(call.timeout_s, shapes.WAIT_S_MAX)
        session = await self._desk.session(call.session)
        told = self._desk.told.get(session.id)
        since = call.since if call.since >= 0 else told.offset if told is not None else session.last.output_end
        waits: list[Awaitable[str]] = []
        conditions = self._conditions(call)
        if conditions:
            waits.append(self._happens(session, until.any(*conditions), seconds, since))
        if "human" in call.until:
            waits.append(self._control_changes(session))
        if "approval" in call.until:
            waits.append(self._decided(session, call.proposal, seconds))
        why = await first(waits, seconds)
        cut = f"[timeout_s was cut to {shapes.WAIT_S_MAX:.0f}]\n" if call.timeout_s > shapes.WAIT_S_MAX else ""
        said = why or f"time: {seconds:.0f}s passed and none of {', '.join(call.until)} happened; call wait again"
        it = await views.now(session, self._desk)
        if it.full_screen:
            return f"{cut}{said}\n{await self._screen(session, call.max_tokens)}"
        return f"{cut}{said}\n{await self._since(session, since, call.max_tokens)}"

    @staticmethod
    def _conditions(call: shapes.Wait) -> list[hf.Until]:
        found: list[hf.Until] = []
        if "exit" in call.until:
            found.append(until.exit())
        if "input" in call.until:
            found.append(until.input())
        if "match" in call.until or call.match:
            if not call.match:
                raise shapes.BadArguments(
                    "until has match, so match must be a regular expression. Nothing was done; call again"
                )
            found.append(until.match(call.match))
        if "quiet" in call.until:
            found.append(until.quiet(call.quiet_s))
        if "command" in call.until or call.command_id:
            if not call.command_id:
                raise shapes.BadArguments(
                    "until has command, so command_id must name one. Nothing was done; call again"
                )
            found.append(until.command(call.command_id))
        return found

    @staticmethod
    async def _happens(session: hf.Session, what: hf.Until, seconds: float, since: int) -> str:
        waited = await session.wait_for(what, timeout=seconds, since=since)
        match waited.because:
            case "time":
                return ""
            case "input":
                return f"input: {waited.program or 'a program'} waits for {waited.wants}: {waited.prompt!r}"
            case "match":
                return f"match: {waited.text!r}"
            case "command":
                return f"command {waited.command} ended, exit={waited.status}"
            case "exit":
                ended = waited.ended
                return f"exit: the session {ended.how}, status {ended.status}" if ended is not None else "exit"
        return waited.because

    async def _control_changes(self, session: hf.Session) -> str:
        """Return what a person did about control, once somebody did."""
        follow = await (await self._desk.session(session.id)).__aenter__()
        try:
            async for event in follow.events():
                if self._of_a_person(event):
                    assert isinstance(event, hf.Happened)
                    how = event.body.get("how") or event.body.get("act")
                    return f"human: control {how} by {event.operator}"
        finally:
            await follow.detach()
        return "human: the session ended"

    def _of_a_person(self, event: hf.Event) -> bool:
        """Whether somebody else changed who may type."""
        if not isinstance(event, hf.Happened) or event.kind != "control" or event.body.get("act") in ("request", "cut"):
            return False
        return event.operator.partition("/")[0] != self._me

    async def _decided(self, session: hf.Session, number: int, seconds: float) -> str:
        if not number:
            raise shapes.BadArguments(
                "until has approval, so proposal must be its number. Nothing was done; call again"
            )
        proposal = await session.proposal(number)
        with contextlib.suppress(Timeout):
            await proposal.decided(timeout=seconds)
        if not proposal.settled:
            return ""
        info = proposal.info
        answer = f" ({info.answer})" if info.answer else ""
        return f"approval: proposal {number} is {proposal.state}{answer}" + (
            f", {info.outcome}" if info.outcome else ""
        )

    # ---- control ----

    async def control(self, call: shapes.Control) -> str:
        session = await self._desk.session(call.session)
        said = ""
        match call.action:
            case "acquire":
                await session.take(call.reason)
                said = "you have control"
            case "release":
                await session.release()
                said = "released"
            case "interrupt":
                said = await self._interrupt(session)
            case "request_human":
                said = await self._request_human(session, call)
        here = await session.who()
        it = await views.now(session, self._desk)
        rows = [
            f"{each.operator.partition('/')[0]} ({each.kind}) by {each.face}{', watching' if each.observe else ''}"
            + (" (you)" if each.operator.partition("/")[0] == self._me else "")
            for each in here.attached
        ]
        asked = [f"{each.operator} asks for control: {each.why}" for each in here.asked]
        head = views.header(it, self._desk.tell(session))
        return "\n".join([head, *([said] if said else []), f"attached: {', '.join(rows) or 'nobody'}", *asked])

    async def _interrupt(self, session: hf.Session) -> str:
        """End the command that runs, if this operator submitted it: ask, then insist."""
        prompt = await session.prompt()
        if not prompt.running:
            raise NotYours("no command runs here that is known to be yours")
        if prompt.author.partition("/")[0] != self._me:
            raise NotYours(f"command {prompt.running} is {prompt.author or 'somebody'}'s")
        for number, name in SIGNALS:
            await session.signal(number)
            waited = await session.wait_for(until.command(prompt.running), timeout=INTERRUPT_S)
            if waited.because in ("command", "exit"):
                return f"command {prompt.running} ended after {name}, exit={waited.status}"
        return f"command {prompt.running} did not end after SIGKILL; tell the person"

    async def _request_human(self, session: hf.Session, call: shapes.Control) -> str:
        """Ask people to act here, and wait until one did."""
        seconds = min(call.timeout_s, shapes.WAIT_S_MAX)
        if session.last.control is not None and session.last.control.holder == self._me:
            await session.release()
        await session.request(f"a person is needed: {call.reason or 'no reason was given'}")
        found = await first([self._control_changes(session)], seconds)
        return found or f"people were asked; none acted within {seconds:.0f}s: wait(until=['human'])"

    # ---- shared ----

    @property
    def _me(self) -> str:
        return self._desk.mine.id if self._desk.mine is not None else ""

    def _turn(self, session: hf.Session) -> asyncio.Lock:
        return self._turns.setdefault(session.id, asyncio.Lock())

    async def _since(self, session: hf.Session, start: int, tokens: int, note: str = "") -> str:
        """What came since ``start``, or the screen where that says more."""
        it = await views.now(session, self._desk)
        if it.full_screen:
            return await self._screen(session, tokens)
        end = it.info.output_end
        text = await views.output(session, start, end, tokens)
        parts = [views.header(it, self._desk.tell(session, end)), text]
        return "\n".join([*parts, note] if note else parts)

    async def _screen(self, session: hf.Session, tokens: int) -> str:
        it = await views.now(session, self._desk)
        text = await views.screen(session, tokens)
        return f"{views.header(it, self._desk.tell(session, it.info.output_end))}\n{text}"


def typed(text: str, keys: Sequence[str]) -> bytes:
    """Return the bytes of a send. Raises BadArguments for control characters in the text, and for unknown keys."""
    odd = sorted({repr(each) for each in text if ord(each) < 0x20 and each not in "\n\t"})
    if odd:
        raise shapes.BadArguments(f"text has {', '.join(odd)}: press keys instead. Nothing was typed; call again")
    if not text and not keys:
        raise shapes.BadArguments("send needs text or keys. Nothing was typed; call again")
    try:
        pressed = b"".join(key_bytes(each) for each in keys)
    except ValueError as error:
        raise shapes.BadArguments(f"{error}. Nothing was typed; call again") from None
    return text.replace("\n", "\r").encode() + pressed


async def first(waits: list[Awaitable[str]], seconds: float) -> str:
    """Return what the first of ``waits`` says within ``seconds``, empty if none does. All are over then."""
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        done, _ = await asyncio.wait(tasks, timeout=seconds + 1.0, return_when=asyncio.FIRST_COMPLETED)
        said = [task.result() for task in done]
        return next((each for each in said if each), "")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _basis(session: hf.Session) -> Any:
    return session.basis


__all__ = ["Acts", "NotYours", "Secret", "Unseen", "first", "typed"]
