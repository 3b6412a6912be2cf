"""Answer terminal queries on behalf of whoever is not there: at most once, never late, never into another program.

A reply is named by the end offset of its query. Source: DESIGN 3 (view worker). Not here: what the answer is (view).
"""

import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from holdfast.core.errors import HoldError
from holdfast.host.tuple import read_stat

if TYPE_CHECKING:
    from holdfast.host.session import Session

log = logging.getLogger(__name__)

AGE_MAX_S: Final = 0.5  # a program that asked longer ago has given up, and would read the answer as typing
SAMPLES: Final = 256
GLANCE: Final = 4096  # bytes of output that are looked through for an escape at all


def foreground(root_pid: int) -> int:
    """Return the foreground process group of the terminal ``root_pid`` is on, -1 if it cannot be told."""
    stat = read_stat(root_pid)
    return -1 if stat is None else stat.foreground


class Replies:
    """Remembers when output was produced and who was in the foreground, as far as a reply can need it."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._seen: deque[tuple[int, float, int]] = deque(maxlen=SAMPLES)  # (head, when, foreground group)
        self._asked = (0.0, -1)

    def saw(self, start: int, head: int, at: float) -> None:
        """Output ``start``..``head`` had been produced at ``at`` (monotonic seconds)."""
        if head - start <= GLANCE and b"\x1b" not in self._session.output.read(start, head - start).data:
            return  # no query in it: nothing to remember, as with nearly every echo of a key
        if self._seen and at - self._seen[-1][1] < 0.002:
            _, first, group = self._seen[-1]
            self._seen[-1] = (head, first, group)  # the earlier time: a reply may only look older than it is
            return
        if at - self._asked[0] > 0.02:
            self._asked = (at, foreground(self._session.sheet.root_pid))
        self._seen.append((head, at, self._asked[1]))

    def give(self, query_end: int, reply: bytes) -> None:
        """The view knows the answer to the query that ended at ``query_end``: type it if that is still right."""
        if (why := self._stale(query_end)) is not None:
            log.debug("%s: no answer to the query at %d: %s", self._session.id, query_end, why)
            return
        self._session.spawn(self._type(query_end, reply), "answer a query")

    def _stale(self, query_end: int) -> str | None:
        for head, at, group in self._seen:
            if head >= query_end:
                if time.monotonic() - at > AGE_MAX_S:
                    return "too old"
                now = foreground(self._session.sheet.root_pid)
                return None if now == group else "another program is in the foreground"
        return "from before this host"

    async def _type(self, query_end: int, reply: bytes) -> None:
        session = self._session
        try:
            holder = await session.ready()
            session.record("reply", "host", {"query_end": query_end, "data": reply})
            await holder.answered(query_end, reply)
        except HoldError as error:
            log.warning("%s: a terminal query stays without answer: %s", session.id, error)
