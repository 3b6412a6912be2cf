"""One session on this host: the only writer of its journal, the only sender to its holder. Source: DESIGN 3, 6.

Input has a lane of its own (host/input); everything else here is the control lane and never waits for it. Journal
records are appended in the event loop without awaiting, so their positions are the one order everybody sees (I3).
"""

import asyncio
import contextlib
import logging
import signal as signals
import time
from collections.abc import AsyncIterator, Coroutine, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from holdfast.core import life
from holdfast.core.cursor import Cursor
from holdfast.core.errors import HoldError, Refused, SessionEnded, TooMany
from holdfast.core.ids import SessionId
from holdfast.core.journal import Record
from holdfast.core.life import Execution, Presence, Signal, Traffic
from holdfast.core.sizing import Sizing, clamped
from holdfast.core.waiting import Waiting
from holdfast.host import parting
from holdfast.host.attachments import Attachment, Peer
from holdfast.host.commands import Commands
from holdfast.host.commandviews import KINDS
from holdfast.host.doorbell import Doorbell
from holdfast.host.ending import end_tree, exit_code
from holdfast.host.gate import Gate
from holdfast.host.holders import Holder
from holdfast.host.input import Answer, Lane
from holdfast.host.journal import Journal
from holdfast.host.judge import Judge, act_of
from holdfast.host.notary import Binding
from holdfast.host.output import Output
from holdfast.host.promptly import run_promptly
from holdfast.host.reaping import Watch
from holdfast.host.replies import Replies
from holdfast.host.ring import Mark
from holdfast.host.running import Runs
from holdfast.host.store import LAST_SCREEN, VIEW, Sheet
from holdfast.host.waiting import Observer
from holdfast.host.waits import Waits
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.host.host import Host

log = logging.getLogger(__name__)

REVIEW_BYTES: Final = 4 << 20  # output fed to a view that has no keyframe to begin from
KEEP_S: Final = 3.0  # how long the end of a session waits for its last screen
RETURN_S: Final = 5.0  # how long a holder that vanished has to come back before that is said


class Session:
    """A session that runs or ended here. Made by the host, which also adopts or begins it."""

    def __init__(self, host: "Host", sheet: Sheet, journal: Journal, output: Output) -> None:
        self._host, self.sheet, self.journal, self.output = host, sheet, journal, output
        self.id, self.views, self.config = sheet.id, host.views, host.config
        self.state = Execution.STARTING if sheet.ending is None else Execution(sheet.ending.how)
        self.presence = Presence.DETACHED
        self.sizing = Sizing((sheet.rows, sheet.cols))
        self.judge = Judge(self)
        self.gate = Gate(self, host)
        self.lane = Lane(self, journal.inputs)
        self.watch = Watch(self)
        self.replies = Replies(self)
        self.commands = Commands(self)
        self.binding = Binding(self)
        self.waiting, self.waits, self.runs = Observer(self), Waits(), Runs(self)
        self.attachments: dict[int, Attachment] = {}
        self.attaches = 0
        self.output_at = time.monotonic()
        self.group = host.groups.of(sheet.id, sheet.root_pid) if sheet.ending is None else None
        self._holder: Holder | None = None
        self._held = asyncio.Event()
        self._control = asyncio.Lock()
        self._minding: asyncio.Task[None] | None = None
        self.exited = asyncio.Event()  # the root process has ended and its terminal is drained
        self._ended, self._let_gone = asyncio.Event(), asyncio.Event()
        if sheet.ending is not None:
            self._ended.set()
            self._let_gone.set()
        self._verdict: tuple[Signal, str] | None = None  # what an end that comes now is called, and why
        self.bell = Doorbell(self, sheet.output_end)
        self._marks_seen = 0
        self.resized_at = 0  # offset of the last resize
        self._view_kept = -1  # offset of the stored keyframe

    # ---- what it is ----

    @property
    def name(self) -> str:
        return self.sheet.name

    @property
    def over(self) -> bool:
        """Whether the session has ended."""
        return life.over(self.state)

    @property
    def head(self) -> int:
        """The offset after the last byte produced, as far as this host has looked."""
        return self.bell.head

    @property
    def size(self) -> wire.Size:
        return wire.Size(*self.sizing.size)

    @property
    def memory_socket(self) -> Path:
        """Where the holder listens."""
        return self._host.places.holders / f"{self.id}.sock"

    def cursor(self, offset: int) -> str:
        """Return where a client stands that has seen output up to ``offset``."""
        journal = self.journal
        return str(Cursor(SessionId(self.id), self.sheet.incarnation, offset, journal.position, journal.head))

    def info(self) -> wire.SessionInfo:
        """Return what a listing shows."""
        sheet, holder = self.sheet, self._holder
        return wire.SessionInfo(
            id=self.id, name=sheet.name, host=self._host.name, state=self.state.value, incarnation=sheet.incarnation,
            argv=sheet.argv, cwd=sheet.cwd, created_at=sheet.created_at, size=self.size, root_pid=sheet.root_pid,
            root_started=sheet.root_started, holder_pid=holder.hello.holder_pid if holder else 0, output_end=self.head,
            output_start=self.output.start, journal_position=self.journal.position,
            idle_s=time.monotonic() - max(self.output_at, self.lane.last_at), attached=len(self.attachments),
            title=sheet.title, ending=sheet.ending, keep_until=sheet.keep_until, reap_at=self.watch.reap_at,
            policy=sheet.policy, lag=0 if self.over else self.views.lag(SessionId(self.id), self.head),
            waiting=self.waiting.wants, control=self.judge.now(),
            journal_head=self.journal.head,
        )  # fmt: skip

    def gone(self) -> SessionEnded:
        """Return the error that says how this session ended."""
        ending = self.sheet.ending or wire.Ending("lost", time.time(), None, "the host is stopping")
        return SessionEnded(self.name, how=ending.how, status=ending.status, at=ending.at, why=ending.why)

    @property
    def holder(self) -> Holder | None:
        """The link to the holder; None while it is being replaced, and after the end."""
        return self._holder

    # ---- the journal ----

    def record(self, kind: str, operator: str, body: dict[str, Any]) -> Record:
        """Append to the journal and tell those who watch. Raises StorageFailed when the journal cannot take it."""
        record = self.journal.append(kind, operator, body, at_ns=time.time_ns())
        self.announce(record)
        return record

    def note(self, kind: str, body: dict[str, Any]) -> None:
        """Record something of the host's own; a journal that cannot take it is logged."""
        try:
            self.record(kind, "host", body)
        except HoldError as error:
            log.warning("%s: %s", self.id, error)

    def announce(self, record: Record) -> None:
        """Tell those who watch of a record that was appended."""
        for attachment in self.attachments.values():
            if attachment.wants_events or record.kind in ("control", "proposal"):
                at, body = record.at_ns / 1e9, dict(record.body)
                event = wire.Event(attachment.number, record.kind, record.position, at, record.operator, body)
                attachment.peer.send(event)
        self._host.push.recorded(self, record)

    def asks(self, waiting: Waiting) -> None:
        """The session's programs wait for something else from now on."""
        self._host.push.waits(self, waiting)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        """Run ``work`` as a task the host owns; a failure is logged, never lost."""
        self._host.spawn(work, f"{self.id}: {name}")

    def flush(self) -> None:
        """Write what the journal holds in memory because the disk refused it, if the disk takes it now."""
        if self.journal.held:
            with contextlib.suppress(HoldError):
                self.journal.flush()

    def save(self) -> None:
        """Write the sheet; a disk that refuses costs its newest state after a host restart, never the session."""
        try:
            self._host.shelf.save(self.sheet)
        except HoldError as error:
            log.warning("%s: %s", self.id, error)

    # ---- the holder ----

    async def ready(self) -> Holder:
        """Return the link to the holder, waiting while it is being replaced. Raises SessionEnded."""
        while not self.over:
            if self._holder is not None:
                return self._holder
            self._held.clear()
            await self._held.wait()
        raise self.gone()

    def root_lives(self) -> bool:
        """Ask the kernel whether the root process runs."""
        return not self._host.is_dead(self.sheet)

    async def take(self, holder: Holder, *, began: bool = False, found: bool = False) -> None:
        """Work with ``holder`` from now on: of a new session (``began``), of one ``found`` at start, or a successor."""
        self._holder = holder
        sheet, hello = self.sheet, holder.hello
        unwritten = not sheet.root_pid  # by the host that began it
        sheet.root_pid, sheet.root_started = hello.root_pid, hello.root_started
        if not began:  # else it is the group that was just made
            self.group = self._host.groups.of(self.id, sheet.root_pid)
        self.output.attach(holder.ring)
        run_promptly(hello.holder_pid)
        if self.state is Execution.STARTING:
            self.state = life.step(self.state, Signal.STARTED)
        if found:
            self.resized_at = self.head
            self._reconcile(holder)
            self.gate.recover()
        loop = asyncio.get_running_loop()
        if self._minding is None:
            self._minding = loop.create_task(self._mind(), name=f"{self.id}: mind")
            self.lane.start()
            self.watch.start()
            self.waiting.start()
        self.judge.begin(holder.hello.term)
        self._held.set()
        self.bell.answer(holder)
        if began:
            loop.call_soon(self.save)  # nobody waits for that: whoever adopts the holder learns the root from it
        elif unwritten:
            self.save()

    def _reconcile(self, holder: Holder) -> None:
        """Bring the journal up to what the holder knows: positions it has seen, and what became of the last input."""
        ring = holder.ring
        if ring.input_position > self.journal.position:
            self.journal.advance(ring.input_position + 1, "the host's last records were lost; the holder has seen them")
        resolved = self.journal.inputs.resolve(ring.input_position, ring.input_written, in_flight=ring.input_flight)
        for outcome in resolved:
            self.record(
                "typed", "host", {"of": outcome.position, "outcome": outcome.outcome, "written": outcome.written}
            )

    async def _mind(self) -> None:
        """Follow the holder through deaths and successors until the session ends."""
        while not self.over:
            try:
                holder = await self.ready()
            except SessionEnded:
                return
            await holder.lost.wait()
            self._drop(holder)
            await self._close(holder)
            if self.over or self._host.stopping:
                return
            self.record("holder", "host", {"lost": holder.hello.holder_pid})
            await self._recover()

    def _drop(self, holder: Holder) -> None:
        if self._holder is holder:
            self.bell.ignore(holder)
            self._holder = None
            self._held.clear()

    async def _close(self, holder: Holder) -> None:
        """Let a link go that is of no further use: its doorbell, its mapping of the ring."""
        self.output.detach()
        await holder.close()

    async def _recover(self) -> None:
        deadline = time.monotonic() + RETURN_S
        while True:
            try:
                holder = await self._host.adopt(self.id)
            except HoldError as error:
                if self._host.is_dead(self.sheet):
                    await self._host.write_down(self, error)
                    return
                if time.monotonic() > deadline:
                    self._host.estranged(self, error)
                    return
                await asyncio.sleep(0.01)  # the keeper forks the successor; its socket's appearance is the event
                continue
            self.record("holder", "host", {"adopted": holder.hello.holder_pid, "offset": holder.ring.head})
            self._state_restarts(holder)
            await self.take(holder)
            return

    def _state_restarts(self, holder: Holder) -> None:
        """Say where output may be missing because a holder died while it read: never silently (I4)."""
        for mark in holder.ring.marks(self._marks_seen):
            self._marks_seen = mark.seq
            if mark.kind == "restart" and mark.c:
                at = mark.offset + mark.b  # what the successor recovered is whole
                self.note("gap", {"at": at, "most": mark.c, "why": "holder-restart"})
                for attachment in self.attachments.values():
                    attachment.peer.send(wire.Gap(attachment.number, at, at, "holder-restart"))

    async def begin_view(self, marks: Iterable[Mark] = ()) -> None:
        """Give the session a view again, after a host restart or its own end: from the newest keyframe that was kept,
        or else from the output. ``marks`` say where it was resized since.
        """
        shelf, start = self._host.shelf, self.output.start
        stored = (shelf.view_of(self.id, LAST_SCREEN) if self.over else None) or shelf.view_of(self.id, VIEW)
        offset, frame = stored if stored is not None and stored[0] >= start else (start, None)
        if frame is None and self.head - offset > REVIEW_BYTES:
            offset = self.head - REVIEW_BYTES  # its programs redraw sooner than all of that would be read
        size = (self.sheet.born_rows, self.sheet.born_cols) if offset == 0 else (self.sheet.rows, self.sheet.cols)
        session = SessionId(self.id)
        await self.views.open(session, rows=size[0], cols=size[1], offset=offset, keyframe=frame)
        for mark in marks:
            if mark.kind == "resize" and mark.offset >= offset:
                self.views.resized(session, mark.offset, mark.a, mark.b)
        self.views.wake(session, self.head)

    def keep_view(self) -> None:
        """Store the newest keyframe of the view, if it is newer than the stored one."""
        kept = self.views.kept(SessionId(self.id))
        if kept is not None and kept[0] != self._view_kept:
            self._view_kept = kept[0]
            try:
                self._host.shelf.save_view(self.id, VIEW, *kept)
            except HoldError as error:
                log.warning("%s: %s", self.id, error)

    # ---- output ----

    def put_out(self, new: int) -> None:
        """The session put out ``new`` bytes."""
        self.output_at = time.monotonic()
        self.binding.times.note(self.head, time.time_ns())
        for attachment in list(self.attachments.values()):  # first: somebody may be waiting for the echo of a key
            attachment.pump()
        self.replies.saw(self.head - new, self.head, self.output_at)
        self.commands.saw(self.head)
        self.waiting.stir()
        self.waits.saw()

    def root_ended(self, holder: Holder) -> None:
        """The root process has ended and its terminal is drained. Called again at every look until it is let go."""
        self.exited.set()
        if self._verdict is None and not self.over:
            self._verdict = (Signal.ROOT_EXITED, "")
            self.spawn(self._finish_exited(holder), "ended")

    def archive(self) -> None:
        """Have the archiver look at the output."""
        self._host.archive(self)

    # ---- attachments ----

    async def attach(self, ask: wire.Attach, peer: Peer) -> Attachment:
        """Join ``peer`` as ``ask`` says. If the session has ended it is shown what is kept, and then detached."""
        if len(self.attachments) >= self.config.attachments_max:
            raise TooMany(f"{self.config.attachments_max} attachments are on {self.name!r} already", do="detach one")
        offset = Cursor.parse(ask.cursor).offset if ask.cursor else ask.offset
        self.attaches += 1
        attachment = KINDS[ask.view](self, peer, ask, self.attaches)
        if self.over:
            peer.send(
                wire.Attached(ask.ref, ask.attachment, self.info(), self.head, attachment.serial, False, attachment.of)
            )
            self.spawn(parting.show_last(self, attachment, offset), "shown once more")
            return attachment
        wish = clamped(ask.size.rows, ask.size.cols) if ask.size is not None else None
        looks_on = ask.observe or not self.judge.may_size(peer.operator)
        change = self.sizing.join(attachment.serial, wish, observe=looks_on)
        body = {"attachment": attachment.serial, "view": ask.view, "observe": ask.observe}
        self.record("attach", peer.operator, body)
        self.attachments[attachment.serial] = attachment
        self.presence = life.move(self.presence, Traffic.ATTACH)
        self.watch.stir()
        driver = self.sizing.driver == attachment.serial
        peer.send(
            wire.Attached(ask.ref, ask.attachment, self.info(), self.head, attachment.serial, driver, attachment.of)
        )
        if change is not None:
            await self._resize(change, peer.operator, starting=attachment)
        attachment.start(offset)
        return attachment

    def leave(self, attachment: Attachment, cause: str) -> None:
        """An attachment is over. Its size stays, its driving does not."""
        attachment.stop()
        if self.attachments.pop(attachment.serial, None) is None:
            return
        self.sizing.leave(attachment.serial)
        self.presence = life.move(self.presence, Traffic.LEAVE if self.attachments else Traffic.LAST_LEAVES)
        if not self.over:
            try:
                self.record("detach", attachment.peer.operator, {"attachment": attachment.serial, "cause": cause})
            except HoldError as error:
                log.warning("%s: %s", self.id, error)
            self.watch.stir()

    # ---- input and control ----

    def type(
        self, ask: wire.Input, *, client: str, operator: str, attachment: Attachment | None, answer: Answer
    ) -> None:
        """Queue input; ``answer`` is called once with what became of it."""
        if self.over:
            raise self.gone()
        if attachment is not None and attachment.observe:
            raise self._refusal("an observer does not type")
        serial = attachment.serial if attachment is not None else 0
        self.gate.submit(ask, client=client, operator=operator, attachment=serial, answer=answer)

    async def typed_by(self, serial: int) -> None:
        """Attachment ``serial`` types: its size becomes the session's."""
        if (change := self.sizing.typed(serial)) is not None:
            attachment = self.attachments.get(serial)
            await self._resize(change, attachment.peer.operator if attachment else "host")

    async def resize(self, ask: wire.Resize, operator: str, attachment: Attachment | None, *, proposal: int = 0) -> int:
        """Apply a size; return the journal position. An attachment that does not drive changes only its own view."""
        size = clamped(ask.size.rows, ask.size.cols)
        if attachment is None:
            if not proposal:
                self.judge.demand(act_of("resize", operator, rows=size[0], cols=size[1]))
            change = self.sizing.forced(size)
        else:
            attachment.size = wire.Size(*size)  # whatever follows: its own window is that large
            if attachment.serial == self.sizing.driver:
                self.judge.demand(act_of("resize", operator, rows=size[0], cols=size[1]))
            change = None if attachment.observe else self.sizing.wish(attachment.serial, size)
            if change is None:
                attachment.resized(0)
        if change is not None:
            await self._resize(change, operator)
        return self.journal.position

    async def _resize(self, size: tuple[int, int], operator: str, *, starting: Attachment | None = None) -> None:
        async with self._control:
            holder = await self.ready()
            self.record("resize", operator, {"rows": size[0], "cols": size[1]})
            self.sheet.rows, self.sheet.cols = size
            offset = self.resized_at = await holder.resize(*size)
            self.views.resized(SessionId(self.id), offset, *size)
            for attachment in list(self.attachments.values()):
                if attachment is starting:
                    attachment.begins_after(offset)
                else:
                    attachment.resized(offset)

    async def signal(self, number: int, operator: str, *, tree: bool, proposal: int = 0) -> int:
        """Send a signal to the foreground group or the tree; return the journal position."""
        if number not in {int(s) for s in signals.Signals}:
            raise self._refusal(f"{number} is not a signal")
        act = act_of("signal", operator, signal=number, tree=tree)
        await self.gate.consult(act)
        async with self._control:
            holder = await self.ready()
            if not proposal:
                self.judge.demand(act)
            record = self.record("signal", operator, {"signal": number, "tree": tree})
            await holder.signal(number, tree=tree)
            return record.position

    async def upgrade(self, operator: str) -> None:
        """Put this version's code under the holder, in place. Raises HoldError; the holder goes on as it was then."""
        async with self._control:
            holder = await self.ready()
            self.record("holder", operator, {"upgraded": holder.hello.holder_pid})
            await holder.upgrade()

    def _refusal(self, why: str) -> HoldError:
        return Refused(f"{why}; session {self.name!r} was not touched")

    # ---- the end ----

    async def kill(
        self, operator: str, *, grace_s: float, how: Signal = Signal.KILL_DONE, why: str = ""
    ) -> wire.Ending:
        """End the whole tree: HUP, TERM, KILL, ``grace_s`` apart. Return how it ended."""
        if not self.over:
            if self._verdict is None:
                self._verdict = (how, why or f"killed by {operator}")
                self.record("kill", operator, {"why": self._verdict[1]})
                self.spawn(self._kill(grace_s), "kill")
            await self._ended.wait()
        assert self.sheet.ending is not None
        return self.sheet.ending

    async def _kill(self, grace_s: float) -> None:
        assert self._verdict is not None
        status = await end_tree(self, grace_s)
        await self.finish(self._verdict[0], status, self._verdict[1])

    async def _finish_exited(self, holder: Holder) -> None:
        status = holder.ended
        left = await holder.signal(0, tree=True)
        code = exit_code(status.status if status else None)
        kills = self.group.oom().kills if self.group is not None and code == -signals.SIGKILL else None
        why = "the kernel ended it: the session's memory limit was reached" if kills else ""
        await self.finish(Signal.ROOT_EXITED, code, why, left=left)

    async def finish(self, how: Signal, status: int | None, why: str, *, left: tuple[int, ...] = ()) -> None:
        """Write down the end, let every viewer have the rest, keep the last screen, let holder and keeper go."""
        if self.over:
            return
        self.bell.look()
        self.commands.over(how, status)
        if self.state is Execution.STARTING:  # found at the start of this host: it ran, and has ended since
            self.state = life.step(self.state, Signal.STARTED)
        state = life.step(self.state, how)
        ending = wire.Ending(state.value, time.time(), status, why, tuple(left))
        self.sheet.ending, self.sheet.output_end = ending, self.head
        body = {"how": ending.how, "status": status, "why": why, "output": self.head, "left": list(left)}
        self.note("ended", body)
        self.state = state
        self.save()
        self._held.set()
        self.watch.stop()
        self.waiting.stop()
        try:
            await self.lane.stop()
            await self._keep_last()
            await parting.part(self, ending)
        finally:
            self._ended.set()
            try:
                await self._let_go()
            finally:
                self._let_gone.set()

    async def _keep_last(self) -> None:
        try:
            frame = await self.views.keyframe(SessionId(self.id), at_least=self.head, timeout=KEEP_S)
            self._host.shelf.save_view(self.id, LAST_SCREEN, self.head, frame)
        except HoldError as error:
            log.warning("%s: its last screen was not kept: %s", self.id, error)

    async def _let_go(self) -> None:
        holder = self._holder
        await self._host.archive_rest(self)
        self.binding.sign()
        self.views.close_session(SessionId(self.id))
        if holder is not None:
            self._drop(holder)
            self.output.detach()
            try:
                await holder.release()
            except HoldError as error:
                log.warning("%s: %s", self.id, error)
            await holder.close()
        await self._host.let_go(self)

    @contextlib.asynccontextmanager
    async def viewed(self) -> AsyncIterator[None]:
        """Have a view of the session for as long as the block lasts, also when it has ended."""
        if self.over:
            await self._let_gone.wait()  # its living view is closed first
            async with self._host.shown(self):
                yield
        else:
            yield

    async def ended(self) -> wire.Ending:
        """Return how the session ended, once it has."""
        if not self.over:
            await self._ended.wait()
        assert self.sheet.ending is not None
        return self.sheet.ending

    async def settled(self) -> None:
        """Return at once while the session runs; once it ends, when everything of it is kept and let go."""
        if self.over:
            await self._let_gone.wait()

    async def suspend(self) -> None:
        """The host stops; the session does not. Close what is this host's."""
        self.watch.stop()
        self.waiting.stop()
        await self.lane.stop()
        if self._minding is not None:
            self._minding.cancel()
        holder = self._holder
        if holder is not None:
            self._drop(holder)
            await self._close(holder)
        if not self.over:
            self.binding.sign()
        self.journal.close()
