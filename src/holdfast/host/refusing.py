"""Write down in a session's journal who was refused what, bounded in rate. Source: docs/operators.md, R63.

Not here: what is refused (core.admission), how often that is written (core.refused).
"""

import asyncio
import logging
from typing import TYPE_CHECKING

from holdfast.core.errors import HoldError
from holdfast.core.journal import Author, Kind
from holdfast.core.refused import Asker, Entry, Refusals

if TYPE_CHECKING:
    from holdfast.host.host import Host

log = logging.getLogger(__name__)


class Refusing:
    """The refusals of all sessions of this host. What could be done and was not is no secret from who may look on."""

    def __init__(self, host: "Host") -> None:
        self._host, self._refusals = host, Refusals()
        self._timer: asyncio.TimerHandle | None = None

    def note(self, session: str, author: Author, verb: str, reason: str) -> None:
        """``author`` asked for ``verb`` in ``session`` and was refused for ``reason``, a stable word."""
        loop = asyncio.get_running_loop()
        # The operator without the process it uses: whoever starts a program for each try has no more records.
        asker = Asker(session, str(author).partition("/")[0], verb, author.principal)
        if (entry := self._refusals.refused(asker, reason, now=loop.time())) is not None:
            self._write(entry)
        self._schedule(loop)

    def close(self) -> None:
        """The host stops; what was counted and is not written yet is not written any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        due = self._refusals.deadline
        if due is None or (self._timer is not None and self._timer.when() <= due):
            return
        self.close()
        self._timer = loop.call_at(due, self._wake)

    def _wake(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for entry in self._refusals.wake(now=loop.time()):
            self._write(entry)
        self._schedule(loop)

    def _write(self, entry: Entry) -> None:
        session = self._host.sessions.get(entry.asker.session)
        if session is None or session.over:
            return
        body = {"verb": entry.asker.verb, "reason": entry.reason, "count": entry.times}
        try:
            session.record(Kind.REFUSED, Author(entry.asker.operator, principal=entry.asker.principal), body)
        except HoldError as error:
            log.warning("%s: %s", session.id, error)
