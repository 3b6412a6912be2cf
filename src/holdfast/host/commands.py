"""Follow one session's shell: at its prompt or not, which commands ran, by whom (R68). Not here: the rules (core.commands).

Output is looked at once, soon after it came: a little of it at once, a flood in pieces when it pauses. What one host has not
seen, its successor finds in the ring or the archive, and believes by the same values.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from msgspec import structs

from holdfast.core.commandlog import CommandLog, body_of, command_of
from holdfast.core.commands import Command, Prompt, Tracker
from holdfast.core.errors import HoldError
from holdfast.core.journal import Kind, decoded
from holdfast.core.life import Signal
from holdfast.core.linetext import BYTES_MAX, line_text
from holdfast.core.marks import FILLER_BYTES_MAX, Mark, Scanner, filler
from holdfast.host import shells
from holdfast.host.ring import Mark as HolderMark

if TYPE_CHECKING:
    from holdfast.host.session import Session

log = logging.getLogger(__name__)

AT_ONCE: Final = 1 << 16  # bytes of new output that are looked at without delay
BEHIND_MAX: Final = 8 << 20  # a flood is left alone until so much of it was not looked at
PIECE: Final = 1 << 18
TURN_S: Final = 0.004  # of looking, before others get theirs
PAUSE_S: Final = 0.025  # between two looks at a flood ...
LATE_S: Final = 0.1  # ... which is looked at all the same when it went on for so long
OFTEN: Final = 8  # looks within PAUSE_S: more pieces of output than that are looked at together
TAKE_S: Final = 30.0  # a shell that did not mark until then did not take its seed
AHEAD_S: Final = 0.3  # after its prompt, in which a shell runs what was typed ahead
READ_MAX: Final = 256  # journal records read at once

Told = Callable[[Prompt, Command | None], None]


class Commands:
    """The commands of one session, oldest first, and what its shell does now."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._log: CommandLog = session.journal.commands
        self._watchers: list[Told] = []
        self._shell: shells.Shell | None = None
        self._scanner: Scanner | None = None
        self._folder = session.journal.folder.parent
        self._tracker = Tracker(last=self._log.last)
        self._prompted_at = 0.0  # when the newest prompt was seen, monotonic seconds
        self._since = 0  # output before it came before this host: when it came is not known
        self._timer: asyncio.TimerHandle | None = None
        self._looked_for = 0  # head at the last look at a flood
        self._late_at = 0.0  # when a flood that goes on is looked at all the same
        self._window, self._looks = 0.0, 0  # since when so many looks were taken

    # ---- what it is asked ----

    def state(self) -> Prompt:
        """Return what the shell does now: everything that the session has put out so far is taken into account."""
        self._look(self._session.output.end, until=time.monotonic() + TURN_S)
        if self._tracker.prompt is not None and time.monotonic() - self._prompted_at > AHEAD_S:
            self._tracker.line.settled()
        return self._tracker.state()

    @property
    def shell(self) -> str:
        """Which shell it is that marks; empty: none does."""
        return self._shell.kind if self._shell is not None else ""

    @property
    def awaited(self) -> bool:
        """Whether the shell was started so that it marks, and has not done so yet."""
        scanner = self._scanner
        return scanner is not None and not scanner.spent

    @property
    def marks_ignored(self) -> tuple[int, int]:
        """How many marks were not believed: without a value of ours, and with one that was spent."""
        scanner = self._scanner
        return (scanner.foreign, scanner.repeated) if scanner is not None else (0, 0)

    def get(self, command: int) -> Command | None:
        """Return the command of that id, None if there is none or it is not in memory any more (``older``)."""
        return self._log.find(command)

    def listed(self, after: int = 0, limit: int = 256) -> tuple[Command, ...]:
        """Return at most ``limit`` commands with ids above ``after``, oldest first; of those in memory."""
        return tuple(each for each in self._log.commands if each.id > after)[:limit]

    def newest(self, limit: int) -> tuple[Command, ...]:
        """Return at most ``limit`` of the newest commands in memory, oldest first."""
        return tuple(self._log.commands)[-limit:]

    @property
    def last(self) -> int:
        """The id of the newest command, 0: there was none."""
        return self._log.last

    async def older(self, after: int, limit: int) -> tuple[Command, ...]:
        """Return what ``listed`` does, with commands that only the journal still has. Raises StorageFailed."""
        kept = self._log.commands
        if not kept or after + 1 >= kept[0].id:
            return self.listed(after, limit)
        found: dict[int, Command] = {}
        journal, position = self._session.journal, 1
        while len(found) <= limit and (records := journal.read(position, READ_MAX)):
            for record in map(decoded, records):
                position = record.position + 1
                told = command_of(record.body) if record.kind == Kind.COMMAND else None
                if told is not None and told.id > after:
                    found[told.id] = told
            await asyncio.sleep(0)  # a long journal is read in turns
        found |= {each.id: each for each in kept if each.id in found or each.id > max(found, default=after)}
        return tuple(found[each] for each in sorted(found))[:limit]

    def watch(self, told: Told) -> Callable[[], None]:
        """Call ``told`` whenever the prompt comes or goes, and with each command that starts or ends. Return what stops that."""
        self._watchers.append(told)
        return lambda: self._watchers.remove(told) if told in self._watchers else None

    # ---- what it is told ----

    def begin(self, marks: Iterable[HolderMark] = ()) -> None:
        """The session's holder is there. ``marks``, of a session that was found, say where in the output inputs came."""
        session, past = self._session, self._log
        shell = shells.kept(self._folder)
        if shell is None or self._scanner is not None:
            return
        self._shell, self._since = shell, session.head
        running = past.commands[-1] if past.commands and past.commands[-1].state == "running" else None
        ahead = shell.offset >= past.offset and shell.spent >= past.spent
        offset, spent = (shell.offset, shell.spent) if ahead else (past.offset, past.spent)
        self._scanner = Scanner(shell.values, offset=offset, spent=spent)
        cwd = past.commands[-1].cwd if past.commands else ""
        self._tracker = tracker = Tracker(last=past.last, running=running, cwd=cwd, marked=spent > 0)
        places = {mark.a: mark.offset for mark in marks if mark.kind == "input"}
        at = past.offset
        for said in past.inputs:
            at = max(at, places.get(said.position, at))
            tracker.typed(at, said.position, said.author, said.data)
        if ahead and running is None and shell.prompt is not None:
            tracker.waits(shell.prompt)
        if not spent:
            asyncio.get_running_loop().call_later(TAKE_S, self._untaken)
        self.saw(session.head)

    @property
    def here(self) -> int:
        """The offset at which what is typed now stands: all that was put out comes before it."""
        holder = self._session.holder
        try:
            return holder.ring.head if holder is not None else self._session.head
        except ValueError:  # its link ended a moment ago
            return self._session.head

    def typed(self, offset: int, position: int, author: str, data: bytes) -> None:
        """``author`` types ``data``, input ``position`` of the journal, at ``offset`` of the output."""
        self._tracker.typed(offset, position, author, data)
        if self._scanner is None:
            self._tracker.settle(offset)  # no marks will come: only the line is of interest

    def saw(self, head: int) -> None:
        """The session has put out everything up to ``head``."""
        scanner = self._scanner
        if scanner is None or self._timer is not None:
            return
        now = time.monotonic()
        if now - self._window > PAUSE_S:
            self._window, self._looks = now, 0
        self._looks += 1
        if head - scanner.offset <= AT_ONCE and self._looks <= OFTEN:
            self._look(head)
            return
        self._looked_for, self._late_at = head, now + LATE_S
        self._timer = asyncio.get_running_loop().call_later(PAUSE_S, self._look_later)

    def over(self, how: Signal, status: int | None) -> None:
        """The session ends: look at all the rest, and close what ran. Its own ``exit`` has the session's status."""
        if self._scanner is None:  # it ended while no host was there
            self.begin()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        head = self._session.output.end
        self._look(head)
        if how is not Signal.ROOT_EXITED:
            status = None
        elif status is not None and status < 0:
            status = 128 - status  # as a shell says that a signal ended something
        for command in self._tracker.over(head, time.time(), status, lost=how is Signal.LOSE):
            self._changed(command, offset=head, spent=self._scanner.spent if self._scanner is not None else 0)

    def keep(self) -> None:
        """Write down how far the output was looked at, if that is news: a successor begins there."""
        shell, scanner = self._shell, self._scanner
        if shell is None or scanner is None or self._session.over or scanner.resume - shell.offset < AT_ONCE:
            return
        shell.offset, shell.spent, shell.prompt = scanner.resume, scanner.spent, self._tracker.prompt
        try:
            shell.save(self._folder)
        except HoldError as error:
            log.warning("%s: %s", self._session.id, error)

    def _untaken(self) -> None:
        scanner, session = self._scanner, self._session
        if scanner is not None and not scanner.spent and not session.over:
            shells.wipe(session.sheet.root_pid)

    # ---- looking ----

    def _look_later(self) -> None:
        self._timer = None
        scanner, head = self._scanner, self._session.head
        if scanner is None:
            return
        pause, now = PAUSE_S, time.monotonic()
        if head == self._looked_for or now >= self._late_at or head - scanner.offset > BEHIND_MAX:
            self._look(head, until=now + TURN_S)
            pause, self._late_at = 0.001 if scanner.offset < head else PAUSE_S, now + LATE_S
        self._looked_for = head
        if scanner.offset < self._session.head:
            self._timer = asyncio.get_running_loop().call_later(pause, self._look_later)

    def _look(self, head: int, *, until: float | None = None) -> None:
        """Look for marks in the output up to ``head``; no longer than ``until``."""
        scanner, output = self._scanner, self._session.output
        if scanner is None or scanner.offset >= head:
            return
        was = self._tracker.prompt
        while scanner.offset < head:
            chunk = output.read(scanner.offset, min(PIECE, head - scanner.offset))
            if not chunk.data and chunk.offset <= scanner.offset:
                break
            for mark in scanner.feed(chunk.offset, chunk.data):
                self._take(mark)
            if until is not None and time.monotonic() >= until:
                break
        self._tracker.settle(scanner.offset)
        if self._tracker.prompt != was:
            self._tell(self._tracker.state(), None)

    def _take(self, mark: Mark) -> None:
        tracker, now = self._tracker, time.time()
        if mark.kind == "B":
            self._prompted_at = time.monotonic()
        shown, blank = None, 0
        if mark.kind == "C" and mark.text is None and tracker.prompt is not None:
            shown = line_text(self._between(tracker.prompt, mark.start, BYTES_MAX))
        elif mark.kind == "D" and self._shell is not None and self._shell.kind == "zsh":
            blank = filler(self._between(mark.start - FILLER_BYTES_MAX, mark.start, FILLER_BYTES_MAX))
        changed = tracker.marked(mark, now, shown=shown, filler=blank)
        for at, command in enumerate(changed, 1):
            # A mark that says more than this one change is read again by a successor that knows only of the change.
            whole = mark.kind in "CD" and at == len(changed)
            offset, spent = (mark.end, mark.number + 1) if whole else (mark.start, mark.number)
            self._changed(self._dated(command, mark), offset=offset, spent=spent)

    def _dated(self, command: Command, mark: Mark) -> Command:
        """Return ``command`` with no times that nobody saw: an earlier host was to see this mark, and died."""
        if mark.end > self._since:
            return command
        if command.state != "running":
            return structs.replace(command, duration_s=None)
        said = next((each for each in self._log.inputs if each.position == command.position), None)
        self._tracker.running = structs.replace(command, started_at=said.at_ns / 1e9 if said else 0.0)
        return self._tracker.running

    def _between(self, start: int, end: int, most: int) -> bytes:
        start = max(start, 0)
        if not 0 < end - start <= most:
            return b""
        chunk = self._session.output.read(start, end - start)
        return chunk.data if chunk.offset == start else b""

    def _changed(self, command: Command, *, offset: int, spent: int) -> None:
        self._log.note(command)
        try:
            self._session.record(Kind.COMMAND, "host", body_of(command, offset=offset, spent=spent))
        except HoldError as error:
            log.warning("%s: %s", self._session.id, error)
        self._tell(self._tracker.state(), command)

    def _tell(self, prompt: Prompt, command: Command | None) -> None:
        for told in list(self._watchers):
            told(prompt, command)
