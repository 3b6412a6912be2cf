"""The async SDK: connect, open or attach, follow, type, wait. A handle is a session's id and a cursor, nothing more.

Leaving never ends a session: `async with` means attach and detach. Hosts that restart are a pause; output carries on
at the very byte, input is typed at most once or reported as InputUnknown (I4, I5). Every failure is an error of
core.errors with a stable ``code`` and, in ``do``, the next step.
Not here: the connection and its replacement (channel).
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from holdfast.client import approvals, auditing, running, waits, where, witnessing
from holdfast.client import control as controlling
from holdfast.client import events as ev
from holdfast.client.approvals import Proposal
from holdfast.client.channel import Channel, Feed
from holdfast.client.keys import key_bytes
from holdfast.client.lean import fresh_id, number_after
from holdfast.client.places import socket_path
from holdfast.client.running import CommandResult, Running
from holdfast.client.until import Until
from holdfast.core.commands import Command, Prompt
from holdfast.core.cursor import Cursor
from holdfast.core.errors import InputUnknown, NeedsApproval, NoSuchSession, Refused
from holdfast.core.evidence import Report
from holdfast.core.ids import SessionId
from holdfast.core.telling import Told
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.client.acting import Actor

PATIENCE_S: Final = 60.0  # seconds without a host before what waits fails
PIECE: Final = 1 << 16  # bytes in one input


def connect(
    path: str | None = None, *, start: bool = True, patience: float = PATIENCE_S, operator: str = ""
) -> Client:  # fmt: skip
    """Return a client of this user's host, which is started if none runs and ``start``. Use it with ``async with``.

    ``path`` is a host's socket, by default the user's own, or ``@HOST`` or ``@PROFILE/HOST`` for a host elsewhere.
    ``patience``: seconds to wait for a host that went away. ``operator``: act as the AI operator of that name, which
    `hold mcp allow` makes, instead of as yourself: what is done is its doing, with its rights (docs/mcp.md).
    """
    own = socket_path()
    inside = os.environ.get("HOLDFAST_SESSION", "")
    start = start and path in (None, own)  # another user's or a test's host is not ours to start
    if path is not None and "@" in path and "/" not in path:
        path = where.split(path, f"{where.ACTING}{operator}" if operator else None)[1]
    actor = _actor(operator) if operator and not where.elsewhere(path) else None
    return Client(Channel(path or own, start=start, patience=patience, face="sdk", inside=inside, actor=actor))


def _actor(operator: str) -> Actor:
    from holdfast.client.acting import Actor  # with what reads keys: most programs act as who runs them
    from holdfast.client.ai import store

    return Actor(lambda: store(operator))


class Client:
    """One conversation with a host; many sessions over it. Made by ``connect``."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._seqs: dict[str, int] = {}  # input numbers, per session
        self._proposed = approvals.first_number()

    def __repr__(self) -> str:
        welcome = self._channel.welcome
        return f"<Client of {welcome.host_name if welcome else self._channel.path}>"

    async def __aenter__(self) -> Self:
        await self._channel.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up. Sessions run on."""
        await self._channel.close()

    async def sessions(self, *, ended: bool = False) -> tuple[wire.SessionInfo, ...]:
        """Return what runs here, oldest first; with ``ended`` also what is over and still on record."""
        listing: wire.Listing = await self._ask(wire.List(self._ref(), ended), wire.Listing)
        return listing.sessions

    async def open(
        self,
        name: str = "",
        *,
        argv: Sequence[str] | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        size: tuple[int, int] = (24, 80),
        policy: wire.ReapPolicy | None = None,
        reuse: bool = True,
        since: Cursor | str | None = None,
        integration: bool = True,
    ) -> Session:
        """Create the session ``name``, or with ``reuse`` return the running one of that name: safe to repeat.

        ``argv`` defaults to the user's shell, ``cwd`` to the present folder, ``env`` to the present environment;
        ``size`` is (rows, columns). ``integration``: let an interactive shell mark its commands. A new session is followed
        from its first byte, a running one from ``since`` or now. Raises NameTaken without ``reuse``, CannotStart, BadName.
        """
        request = wire.Open(
            self._ref(),
            tuple(argv) if argv else (os.environ.get("SHELL") or "/bin/sh", "-l"),
            dict(os.environ if env is None else env),
            os.fspath(cwd or os.getcwd()),
            wire.Size(*size),
            name,
            reuse,
            policy,
            fresh_id("k-"),
            integration,
        )
        opened = await self._ask(request, wire.Opened)
        return Session(self, opened.session, _cursor(since), 0 if opened.created and since is None else None)

    async def attach(self, name: str, *, since: Cursor | str | None = None, accept_rollback: bool = False) -> Session:
        """Return the session of that name or id, to be followed from ``since``, by default from now.

        Raises NoSuchSession. A session that ended can be attached: its output and its end are still told. Following it
        raises JournalRolledBack if the host's record is not the one this user saw before, unless ``accept_rollback``.
        """
        return Session(self, await self._find(name), _cursor(since), None, accept_rollback=accept_rollback)

    async def status(self) -> wire.Status:
        """Return what the host says of itself."""
        status: wire.Status = await self._ask(wire.HostStatus(self._ref()), wire.Status)
        return status

    async def approvals(self) -> tuple[Proposal, ...]:
        """Return what waits for a person's decision in any session here, oldest first."""
        found = [each for s in await self.sessions() for each in await Session(self, s, None, None).proposals()]
        return tuple(sorted(found, key=lambda each: each.info.at))

    async def _find(self, name: str) -> wire.SessionInfo:
        found = [s for s in await self.sessions(ended=True) if name in (s.id, s.name)]
        if not found:
            raise NoSuchSession(name)
        return next((s for s in found if s.ending is None), max(found, key=lambda s: s.created_at))

    def _ref(self) -> int:
        return next(self._channel.refs)

    async def _ask(
        self, request: wire.Message, answer: type[Any], *, again: bool = True, timeout: float | None = None
    ) -> Any:
        return await self._channel.ask(request, answer, again=again, timeout=timeout)

    def _next_seq(self, session: str, data: bytes) -> int:
        seq = self._seqs.get(session, 0) + 1
        self._seqs[session] = number_after(seq, data)
        return seq

    def _next_number(self) -> int:
        self._proposed += 1
        return self._proposed

    def _spent(self, session: str) -> None:
        """The outcome of an input is unknown: so may that of others in its block of numbers be (core.withheld)."""
        self._seqs[session] = number_after(self._seqs.get(session, 0))


def _cursor(since: Cursor | str | None) -> Cursor | None:
    return Cursor.parse(since) if isinstance(since, str) else since


class Session:
    """A handle on one session. Losing it loses nothing: ``Client.attach(id, since=cursor)`` makes another, anywhere.

    ``async with session:`` attaches, so that no output from then on is missed, and detaches at the end.
    """

    last: wire.SessionInfo  # what was last heard of it
    seen: controlling.Seen  # what its program has seen of control and of others' typing

    def __init__(
        self, client: Client, info: wire.SessionInfo, since: Cursor | None, offset: int | None, *,
        accept_rollback: bool = False,
    ) -> None:  # fmt: skip
        self._client, self._channel, self.last = client, client._channel, info
        self.seen = controlling.Seen(info)
        self._cursor = since
        self._offset = since.offset if since is not None else offset  # the next byte for the reader; None: from now on
        self._feed: Feed | None = None
        self._accept_rollback = accept_rollback
        if accept_rollback:
            self._channel.accepted.add(info.id)
        self._since = self._offset if self._offset is not None else info.output_end  # what is new to ``wait_for``

    # ---- what it is ----

    @property
    def id(self) -> SessionId:
        return SessionId(self.last.id)

    @property
    def name(self) -> str:
        """Its name when last heard of."""
        return self.last.name

    def __repr__(self) -> str:
        return f"<Session {self.name} {self.id} {self.last.state} at {self._offset}>"

    @property
    def cursor(self) -> Cursor:
        """How far this handle's reader has come: ``str`` it, keep it, and go on from it elsewhere."""
        offset = self._offset if self._offset is not None else self.last.output_end
        if self._cursor is not None:
            return self._cursor._replace(offset=offset)
        return Cursor(self.id, self.last.incarnation, offset, 0, bytes(32))

    async def info(self) -> wire.SessionInfo:
        """Return what a listing shows of it, now."""
        self.last = await self._client._find(self.id)
        self.seen.learn(self.last.control)
        return self.last

    async def live(self) -> Mapping[str, Any]:
        """Return the live tuple: processes, files, sockets, folder, memory, read from the kernel now."""
        found = await self._ask(wire.Info(self._ref(), self.id), wire.Tuple)
        self.last = found.session
        live: Mapping[str, Any] = found.live
        return live

    # ---- its commands ----

    def log(self, since: int = 1, *, follow: bool = False) -> AsyncGenerator[Told, None]:
        """Yield who did what, oldest first, from journal position ``since`` on; with ``follow`` until the session ends."""
        return auditing.log(self, since, follow=follow)

    async def audit(self) -> Report:
        """Check the whole record: chain, signatures, checkpoints, the newest head this user saw. ``finding`` None: it holds."""
        return await auditing.audit(self)

    async def commands(self, *, after: int = 0, limit: int = 256, newest: bool = False) -> tuple[Command, ...]:
        """Return at most ``limit`` (256) of the commands its shell ran, with ids above ``after``, oldest first.

        ``newest``: the last of them instead of the first. Empty for a shell that does not mark its commands.
        """
        ask = wire.ListCommands(self._ref(), self.id, after, limit, newest)
        found: wire.Commands = await self._ask(ask, wire.Commands)
        return found.commands

    async def prompt(self) -> Prompt:
        """Return what its shell does now: waits at a prompt, since where, with what on the line; or runs what."""
        found: wire.Commands = await self._ask(wire.ListCommands(self._ref(), self.id, 0, 1, True), wire.Commands)
        return found.prompt

    async def follow_commands(self) -> AsyncGenerator[Command, None]:
        """Yield each command when it starts and again when it is over, until the session ends; first what runs now."""
        feed = await self._channel.attach(self.id, "commands", observe=True)
        seen: dict[int, str] = {}
        begun = False
        try:
            while True:
                try:
                    item = await self._channel.take(feed)
                except StopAsyncIteration:
                    return
                if isinstance(item, wire.Detached):
                    return
                for command in item.commands if isinstance(item, wire.Shell) else ():
                    if (begun or command.state == "running") and seen.get(command.id) != command.state:
                        yield command
                    seen[command.id] = command.state
                begun = True
        finally:
            self._channel.detach(feed)
            self._channel.drop(feed)

    # ---- following it ----

    async def __aenter__(self) -> Self:
        await self._attached()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.detach()

    async def _attached(self) -> Feed:
        if self._feed is None:
            cursor = str(self.cursor) if self._cursor is not None else ""
            self._feed = await self._channel.attach(self.id, "stream", offset=self._offset, cursor=cursor)
            assert self._feed.attached is not None
            self.last = self._feed.attached.result().session
            self.seen.learn(self.last.control)
            await witnessing.check(self)
        return self._feed

    async def detach(self) -> None:
        """Leave. The session runs on; ``cursor`` says where to go on."""
        feed, self._feed = self._feed, None
        if feed is None:
            return
        self._channel.detach(feed)
        try:
            while not feed.over:
                feed.ready.clear()
                await feed.ready.wait()
        finally:
            self._channel.drop(feed)
        last = feed.items[-1] if feed.items else None
        if isinstance(last, wire.Detached):
            self._note(last)

    def _note(self, message: wire.Detached) -> None:
        try:
            self._cursor = Cursor.parse(message.cursor)._replace(offset=self.cursor.offset)
        except Exception:  # a cursor of a newer host: ours still says the offset
            return

    async def events(self) -> AsyncGenerator[ev.Event, None]:
        """Yield output and everything else that happens, in order, until the session ends (Ended comes last).

        Begins at the cursor. Stopping early is free: the cursor is after the last event taken. What is no longer kept
        is a Gap, never skipped silently.
        """
        own = self._feed is None
        feed = await self._attached()
        try:
            while True:
                try:
                    item = await self._channel.take(feed)
                except StopAsyncIteration:
                    return
                event = self._event(item)
                if event is None:
                    return
                yield event
        finally:
            if own or feed.over:
                await self.detach()

    def _event(self, item: object) -> ev.Event | None:
        """Return ``item`` as an event, moving the cursor; None at the end without an Ending."""
        match item:
            case int():
                return ev.Missed(item)
            case wire.Output():
                self._offset = item.offset + len(item.data)
                return ev.Output(item.offset, item.data)
            case wire.Gap():
                self._offset = item.end
                return ev.Gap(item.start, item.end, item.why)
            case wire.Event():
                self.seen.happened(item)
                return ev.event_of(item)
            case wire.Detached():
                self._note(item)
                return ev.ended(item.ending) if item.ending is not None else None
        raise AssertionError(f"a stream has no {type(item).__name__}")

    async def output(self, offset: int = 0) -> AsyncIterator[ev.Output | ev.Gap]:
        """Yield what is kept of the output from ``offset`` (-1: the oldest kept) to what is its end now."""
        end: int | None = None
        while end is None or offset < end:
            got = await self._ask(wire.ReadOutput(self._ref(), self.id, offset, 1 << 18), wire.OutputRange)
            end = got.end if end is None else end
            if got.offset > offset >= 0:
                yield ev.Gap(offset, got.offset, got.why or "evicted")
            data = got.data[: max(0, end - got.offset)]
            if not data:
                return
            yield ev.Output(got.offset, data)
            offset = got.offset + len(data)

    async def screen(self) -> ev.Screen:
        """Return the styled screen."""
        got = await self._ask(wire.GetScreen(self._ref(), self.id), wire.ScreenState)
        self.seen.learn(got.control)
        rows = got.screen
        size = (rows.size.rows, rows.size.cols)
        return ev.Screen(rows.offset, size, rows.rows, rows.styles, rows.cursor, rows.modes, rows.title, rows.alternate)

    async def text(self, history: int = 0) -> ev.Text:
        """Return the screen as plain text, with up to ``history`` lines above it."""
        got = await self._ask(wire.GetText(self._ref(), self.id, history), wire.Text)
        self.seen.learn(got.control)
        return ev.Text(got.offset, got.lines, got.cursor, got.title)

    # ---- acting on it ----

    async def send(self, data: bytes | str, *, basis: wire.Basis | None = None) -> ev.Sent:
        """Type ``data``. At most once, across reconnects: a repeated sending carries its number.

        Returns the outcome, applied or partial, of all of it. Raises InputUnknown when nobody can tell whether it was
        typed, Refused when it was not, LineTooLong for a line the terminal would cut, OutOfTurn while others act.

        What an AI operator types stands on what its program has seen: by default of control and of what others typed, with
        ``basis`` also of the command line (``Session.basis``). Raises StaleTerm, StaleBasis if that is no longer so.
        """
        data = data.encode() if isinstance(data, str) else data
        written, typed = 0, None
        for start in range(0, len(data), PIECE) or (0,):
            piece = data[start : start + PIECE]
            seq = self._client._next_seq(self.id, piece)
            feed = self._feed
            number = feed.number if feed is not None and not feed.over and not feed.observe else 0
            term = self.seen.term if self._channel.acts else 0  # a person's program need not follow it
            request = wire.Input(self._ref(), self.id, seq, piece, number, term, basis or wire.Basis(self.seen.input))
            try:
                typed = await self._ask(request, wire.Typed)
            except InputUnknown:
                self._client._spent(self.id)
                raise
            written += typed.written
            if typed.outcome == "unknown":
                raise InputUnknown(seq)
            if typed.outcome == "refused":
                raise Refused(
                    f"the input was refused after {written} of {len(data)} bytes",
                    do="look at the screen before you repeat it",
                    seq=seq,
                    written=written,
                )
            if typed.outcome != "applied":
                break
        assert typed is not None
        return ev.Sent(typed.seq, typed.outcome, written, typed.position)

    async def send_keys(self, *names: str) -> ev.Sent:
        """Press keys by name, in one input: ``Ctrl+C``, ``Up``, ``Enter``, ``Alt+x``, ``F5``. Raises ValueError."""
        return await self.send(b"".join(key_bytes(name) for name in names))

    async def resize(self, rows: int, cols: int) -> None:
        """Give the terminal another size."""
        await self._ask(wire.Resize(self._ref(), self.id, wire.Size(rows, cols)), wire.Done)

    async def signal(self, number: int, *, tree: bool = False) -> None:
        """Send a signal to the foreground job, or to the whole tree. Not repeated when the connection breaks."""
        await self._ask(wire.Signal(self._ref(), self.id, number, tree), wire.Done, again=False)

    # ---- what a person has to approve ----

    async def propose(self, data: bytes | str, why: str = "", *, run: bool = False) -> Proposal:
        """Have ``data`` held until a person decides, whatever the policy says; with ``run`` as a command, Enter included.

        The host types what is approved; nothing is to be sent again. Raises Denied, TooMany, TooFast, StaleBasis.
        """
        data = data.encode() if isinstance(data, str) else data
        return await approvals.propose(self, data, why, "run" if run else "input")

    async def proposals(self, settled: int = 0) -> tuple[Proposal, ...]:
        """Return what waits for a decision here, oldest first; before that the ``settled`` latest that were decided."""
        return await approvals.pending(self, settled)

    async def proposal(self, of: NeedsApproval | int) -> Proposal:
        """Return the proposal of that id, or that a NeedsApproval speaks of, to wait for what becomes of it (``decided``)."""
        return await approvals.held(self, of)

    # ---- who may act ----

    @property
    def basis(self) -> wire.Basis:
        """What this handle's program has seen: what others typed, and the state of the command line."""
        return self.seen.basis

    async def who(self) -> wire.Here:
        """Return who is attached, who has control, and who asks for it."""
        here: wire.Here = await self._ask(wire.Who(self._ref(), self.id), wire.Here)
        self.seen.learn(here.control)
        return here

    async def take(self, why: str = "", *, job: str = "leave") -> wire.Controlled:
        """Take control: a person at any time, an AI operator of a free line. Safe to repeat.

        When it returns, no byte of whoever had control reaches a program any more. ``job``: what becomes of the foreground
        job: leave, interrupt, stop; of an AI operator's own, if it falls silent. Raises OutOfTurn.
        """
        return await controlling.act(self, "take", why=why, job=job)

    async def give(self, to: str, why: str = "") -> wire.Controlled:
        """A person gives control to ``to``, an operator who is attached or has asked: its id, or the beginning of it."""
        return await controlling.act(self, "give", to=to, why=why)

    async def release(self) -> wire.Controlled:
        """Let the line be free. Raises NotYourTurn if somebody else has control."""
        return await controlling.act(self, "release")

    async def request(self, why: str = "") -> wire.Controlled:
        """Ask for control; whoever is attached is told, with ``why``. ``events`` tell the answer."""
        return await controlling.act(self, "request", why=why)

    async def pause_ai(self, why: str = "") -> wire.Controlled:
        """A person keeps every operator that is none from acting; they go on watching."""
        return await controlling.act(self, "pause", why=why)

    async def resume_ai(self) -> wire.Controlled:
        """End ``pause_ai``."""
        return await controlling.act(self, "resume")

    async def private(self, why: str = "") -> wire.Controlled:
        """A person keeps every operator that is none from acting and from seeing anything of the session."""
        return await controlling.act(self, "private", why=why)

    async def public(self) -> wire.Controlled:
        """End ``private``."""
        return await controlling.act(self, "public")

    def control(
        self, why: str = "", *, job: str = "leave", timeout: float | None = None
    ) -> AbstractAsyncContextManager[wire.Controlled]:
        """Have control for as long as the block lasts: ``async with session.control("run the tests"):``.

        Where it cannot be taken it is asked for, and waited for: for ``timeout`` seconds, None: as long as it takes. It is
        renewed meanwhile, and released at the end. A person may take it all the same: then what is sent raises NotYourTurn.
        Raises Timeout.
        """
        return controlling.held(self, why, job, timeout)

    async def wait(self, *, timeout: float | None = None) -> ev.Ended:
        """Return how it ended, once it has. Raises Timeout after ``timeout`` seconds; the session runs on."""
        return ev.ended((await self._ask(wire.WaitEnd(self._ref(), self.id), wire.Ended, timeout=timeout)).ending)

    async def wait_for(
        self, until: Until, *, timeout: float | None = None, since: Cursor | str | int | None = None
    ) -> ev.Waited:
        """Wait for the first of ``until``, for ``timeout`` seconds at most, and return which it was. Nothing is consumed,
        and a timeout stops nothing: it is an answer too.

        Output is new from ``since`` on (a cursor, or an offset); by default from where the last ``wait_for`` or ``run`` of
        this handle ended, at first from where the handle was made. So what comes between sending and waiting is not missed.
        Raises BadPattern, TooMany, HostUnreachable.
        """
        return await waits.wait_for(self, until, timeout=timeout, since=since)

    async def start(
        self,
        text: str,
        *,
        key: str = "",
        patience: float = 0.0,
        unmarked: bool = False,
        basis: wire.Basis | None = None,
    ) -> Running:
        """Have the session's shell run the command line ``text``, and return a handle on it once the shell took it.

        Typed as one unit, at the shell's prompt only; ``patience``: seconds to wait for the prompt. The same ``key`` is
        typed once, however often and by whichever program of yours it is asked for; by default each call has its own.
        ``unmarked``: also where the shell does not mark what it runs (then all that is known is when it is quiet again).
        Raises NotAtPrompt, Unmarked, BadLine: nothing was typed. IncompleteLine, NothingRan: it was, and nothing runs.
        """
        return await running.start(self, text, key=key, patience=patience, unmarked=unmarked, basis=basis)

    async def run(
        self, text: str, *, check: bool = False, timeout: float | None = None, key: str = "", patience: float = 0.0,
        unmarked: bool = False, most: int = running.MOST, basis: wire.Basis | None = None,
    ) -> CommandResult:  # fmt: skip
        """Run ``text`` and return its own output, at most the last ``most`` bytes, and its exit status. See ``start``.

        Raises StillRunning after ``timeout`` seconds, with what there is so far: it goes on. ``check``: CommandFailed
        for an exit status other than 0.
        """
        begun = await running.start(self, text, key=key, patience=patience, unmarked=unmarked, basis=basis)
        return await begun.wait(timeout, check=check, most=most)

    async def kill(self, *, grace: float = 2.0) -> ev.Ended:
        """End it: HUP, TERM, KILL to the whole tree, ``grace`` seconds apart. Returns how it ended."""
        return ev.ended((await self._ask(wire.Kill(self._ref(), self.id, grace), wire.Ended)).ending)

    async def keep(self, seconds: float) -> None:
        """Postpone the reaping of an idle session; 0 takes it back."""
        await self._ask(wire.Keep(self._ref(), self.id, seconds), wire.Done)

    async def rename(self, name: str) -> None:
        """Give it another name. Raises BadName, NameTaken."""
        await self._ask(wire.Rename(self._ref(), self.id, name), wire.Done)
        self.last = await self._client._find(self.id)

    async def fork(self) -> None:
        """Ask for a copy of the running execution. Raises NotSupported: no host makes one yet (R77)."""
        await self._ask(wire.Fork(self._ref(), self.id), wire.Done, again=False)

    async def forget(self) -> None:
        """Remove the record of a session that ended. Raises Refused while it runs."""
        await self._ask(wire.Forget(self._ref(), self.id), wire.Done, again=False)

    def _ref(self) -> int:
        return next(self._channel.refs)

    async def _ask(
        self, request: wire.Message, answer: type[Any], *, again: bool = True, timeout: float | None = None
    ) -> Any:
        return await self._channel.ask(request, answer, again=again, timeout=timeout)
