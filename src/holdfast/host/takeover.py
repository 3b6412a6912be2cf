"""Cut off whoever lost control: what waits is dropped, what the terminal has and nobody read is thrown away, a line that
stands half typed is cleared, the foreground job is left or signalled as asked. Source: docs/operators.md, "A takeover".

Not here: who may take (core.control), what waits (input), the terminal itself (the holder's TERM).
"""

import asyncio
import logging
import os
import signal as signals
from typing import TYPE_CHECKING, Final, NamedTuple

from holdfast.core.control import Change, How
from holdfast.core.errors import HolderLost, HoldError, Refused
from holdfast.core.journal import Author, Kind
from holdfast.host.fairness import Hush
from holdfast.host.holders import Fence

if TYPE_CHECKING:
    from holdfast.host.session import Session

log = logging.getLogger(__name__)

KILL_LINE: Final = b"\x05\x15"  # to the end of the line, then away with all before it: bash, zsh and fish alike
SHELLS: Final = frozenset(("bash", "zsh", "fish", "sh", "dash", "ksh", "mksh"))
_SIGNALS: Final = {"interrupt": signals.SIGINT, "stop": signals.SIGSTOP}


class Cut(NamedTuple):
    """What became of the bytes of whoever lost control; the fields are those of wire ``controlled``."""

    flushed: int = 0
    dropped: int = 0
    cleared: bool = False
    signalled: tuple[int, ...] = ()


NOTHING: Final = Cut()


class Takeover:
    """Carries out what a change of control means at the terminal, one after the other."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self.foreign_bytes = False  # somebody who is no person typed, and the terminal was not flushed since
        self.latest: asyncio.Task[Cut] | None = None  # the one under way, or the last one

    def begin(self, change: Change, author: Author, position: int, dropped: int) -> None:
        """Begin with ``change``, recorded at ``position``; the lane is cut already if it cuts."""
        signalled = change.job in _SIGNALS and (change.by.person or change.how is How.LAPSE)
        if not (change.cuts or signalled):
            self.latest = None if self.latest is None or self.latest.done() else self.latest
            return
        work = self._carry_out(self.latest, change, author, position, dropped, signalled)
        name = f"{self._session.id}: {change.how.value}"
        self.latest = asyncio.get_running_loop().create_task(work, name=name)

    async def _carry_out(
        self, before: "asyncio.Task[Cut] | None", change: Change, author: Author, position: int, dropped: int,
        signalled: bool,
    ) -> Cut:  # fmt: skip
        session = self._session
        cut = Cut(dropped=dropped)
        try:
            if before is not None and not before.done():
                await asyncio.wait([before])
            with Hush():
                if change.cuts:
                    fence = await self._fence(change.term)
                    cleared = await self._clear_line(change, fence)
                    cut = cut._replace(flushed=fence.flushed, cleared=cleared)
                if signalled:
                    cut = cut._replace(signalled=await self._signal(change, author))
            if any(cut):
                body = {"act": "cut", "of": position, "term": change.term, **cut._asdict()}
                session.note(Kind.CONTROL, body | {"signalled": list(cut.signalled)})
        except HoldError as error:  # the session ended, most likely: then there is nothing left to cut off
            log.info("%s: %s: %s", session.id, change.how.value, error)
        finally:
            if change.cuts:
                session.lane.go_on()
        return cut

    async def _fence(self, term: int) -> Fence:
        """Have the holder obey ``term`` and throw away what was typed and not read. Raises SessionEnded."""
        flush, self.foreign_bytes = self.foreign_bytes, False
        while True:
            holder = await self._session.ready()
            try:
                return await holder.fence(term, flush=flush)
            except HolderLost:
                continue  # its successor has the terminal: asked again, it flushes unless that was done
            except Refused as no:
                if no.details.get("reason") == "older-term":  # a later change was there first, and did it
                    return Fence(0)
                raise

    async def _clear_line(self, change: Change, fence: Fence) -> bool:
        """Take a half-typed line off, if nobody but who lost control typed on it; tell whether it is off.

        A canonical terminal's line was in the kernel, and was thrown away with the rest. A line editor of a shell is asked
        to drop it. Any other program is left alone: nobody can tell what a key means to it.
        """
        if not change.left or any(one.person for one in change.left) or fence.flushed < 0:
            return False
        if fence.canonical:
            return True
        session = self._session
        if not (self._at_prompt(fence) and session.lane.idle):
            return False
        body = {"client": "host", "seq": session.journal.position + 1, "data": KILL_LINE, "attachment": 0,
                "why": f"the half-typed line of {change.left[0].id} is cleared"}  # fmt: skip
        here, position = session.commands.here, session.record(Kind.INPUT, "host", body).position
        session.commands.typed(here, position, "host", KILL_LINE)
        written = await (await session.ready()).write(position, KILL_LINE, term=change.term)
        return written.outcome == "applied"

    def _at_prompt(self, fence: Fence) -> bool:
        session = self._session
        if (prompt := session.commands.state()).marked:
            return prompt.at_prompt
        name = os.path.basename(session.sheet.argv[0]).lstrip("-")
        return name in SHELLS and fence.foreground == session.sheet.root_pid

    async def _signal(self, change: Change, author: Author) -> tuple[int, ...]:
        """Interrupt or stop the foreground job, unless it is the session's own shell that waits for a command."""
        session, number = self._session, _SIGNALS[change.job]
        holder = await session.ready()
        foreground = (await holder.termios()).foreground
        if self._at_prompt(Fence(0, False, foreground)):
            return ()
        who = Author(str(author), principal=change.by.principal, kind=change.by.kind)
        session.record(Kind.SIGNAL, who, {"signal": int(number), "tree": False})
        return await holder.signal(int(number), tree=False)
