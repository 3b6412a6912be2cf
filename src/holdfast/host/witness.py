"""Give relays, now and then, a sealed word on where this host's journals stand; notice that they saw a later one.

Not here: what a relay can read of it (nothing: core.witness), checkpoints (notary). A relay that refuses a number because
it saw a higher one means that this host's state was restored from an older copy: that is said, and nothing is published
over it until the user accepts it, so that clients go on noticing too.
"""

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.core import witness
from holdfast.core.errors import HoldError
from holdfast.edge.files import write_durably

if TYPE_CHECKING:
    from holdfast.host.host import Host

log = logging.getLogger(__name__)


class Witness:
    """This host's. ``number`` rises with each blob and is kept in ``path``. ``blob`` is the newest, empty: none yet."""

    def __init__(self, host: "Host", path: Path) -> None:
        self._host, self._path = host, path
        self.number, self.blob = self._stored(), b""
        self.seen = 0  # the highest number that a relay says it saw, if it is above ours
        self._told: dict[str, bytes] = {}  # checkpoints in the newest blob
        self._due = 0.0

    def _stored(self) -> int:
        try:
            return max(0, int(self._path.read_text()))
        except (OSError, ValueError):
            return 0

    @property
    def trouble(self) -> str:
        """What the user has to know; empty: nothing."""
        if not self.seen:
            return ""
        return (
            f"a relay saw this host's journals at {self.seen}, and they are at {self.number}: its state was restored from an "
            "older copy, or is not its own; `hold host accept-rollback` if that was meant"
        )

    def look(self, *, now: bool = False) -> None:
        """Publish if something changed and it is time. Called every few seconds; ``now``: a relay was just linked."""
        if self.seen or not (now or time.monotonic() >= self._due):
            return
        found = {each.id: said for each in self._latest() if (said := each.journal.bound.newest)}
        if found == self._told:
            return
        self._due = time.monotonic() + self._host.config.witness_s
        self._told = found
        self._host.spawn(self._publish(found), "witness")

    async def _publish(self, found: dict[str, bytes]) -> None:
        number = self.number + 1
        try:
            await asyncio.to_thread(
                write_durably, self._path, str(number).encode()
            )  # first: no number means two things
        except HoldError as error:
            log.warning("relays are not told where journals stand: %s", error.message)
            self._told = {}
            return
        self.number, self.blob = number, witness.sealed(list(found.items()), number, os.urandom)
        self._host.relays.witness()

    def _latest(self) -> "list[Session]":
        running = sorted(self._host.running(), key=lambda each: each.journal.position, reverse=True)
        over = [each for each in self._host.sessions.values() if each.over and each.sheet.ending is not None]
        over.sort(key=lambda each: each.sheet.ending.at if each.sheet.ending else 0.0, reverse=True)
        return [*running, *over][: witness.SESSIONS_MAX]

    def refused(self, seen: int) -> None:
        """A relay saw a higher number than ours, or something else under it."""
        if seen >= self.number:
            self.seen = max(self.seen, seen)
            log.error("%s", self.trouble)

    def accept(self) -> None:
        """Go on from the state that is: the user says so. Raises StorageFailed."""
        self.number, self.seen, self._told, self._due = max(self.number, self.seen), 0, {}, 0.0
        write_durably(self._path, str(self.number).encode())
        self.look(now=True)


if TYPE_CHECKING:
    from holdfast.host.session import Session
