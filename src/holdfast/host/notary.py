"""Bind what a session's journal says: digests of its output, checkpoints that the host's own key signs, when output came.

Not here: what a checkpoint is (core.checkpoints), the journal (journal), who keeps a copy of the newest ones (witness).
Everything here runs on the slow clock and at endings, never while somebody waits for an echo.
"""

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from holdfast.core import checkpoints
from holdfast.core.checkpoints import Checkpoint
from holdfast.core.errors import HoldError
from holdfast.core.journal import Kind
from holdfast.core.signed import KeyPair
from holdfast.host.identity import Identity
from holdfast.host.times import Times

if TYPE_CHECKING:
    from holdfast.host.journal import Journal
    from holdfast.host.session import Session

log = logging.getLogger(__name__)

RECORDS: Final = 256  # unsigned records after which the next look signs
EVERY_S: Final = 60.0  # in which a journal that goes on is signed all the same
SUMS_MAX: Final = 128  # digests in one record


class Notary:
    """Signs for this host. A host whose keys cannot be had signs nothing, and says so."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._pair: KeyPair | None = None
        self.trouble = ""

    @property
    def pair(self) -> KeyPair | None:
        """The host's key, made if there is none; None if the disk refuses it."""
        if self._pair is None:
            try:
                self._pair = self._identity.pair
                self.trouble = ""
            except HoldError as error:
                self.trouble = f"journals are not signed: {error.message}"
        return self._pair

    def sign(self, journal: "Journal", at_ns: int) -> tuple[int, bytes] | None:
        """Return the number of a checkpoint of where ``journal`` stands, and the checkpoint; None without a key."""
        if (pair := self.pair) is None:
            return None
        number = journal.bound.number + 1
        said = Checkpoint(
            checkpoints.FORMAT, pair.key, journal.session, journal.position, journal.head, journal.incarnation,
            journal.epoch, journal.generation, at_ns // 10**9, number,
        )  # fmt: skip
        return number, checkpoints.sign(pair, said)


class Binding:
    """One session's: when its journal is bound next. ``look`` is called every few seconds while it runs."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._signed_at = time.monotonic()
        self._unbound = session.journal.bound.output_end, session.output.archive.end  # by an earlier host that died
        self.times = Times(session.journal.folder.with_name("times"))

    def look(self) -> None:
        """Bind output that was archived, and sign if it is time."""
        self._catch_up()
        self.times.flush()
        unsigned = self._unsigned()
        if unsigned >= RECORDS or (unsigned and time.monotonic() - self._signed_at >= EVERY_S):
            self.sign()
        else:
            self._sums(whole=True)

    def sign(self) -> None:
        """Bind all output that is archived, and sign where the journal stands. A journal that refuses is logged."""
        self._sums(whole=False)
        self.times.flush()
        if not self._unsigned():
            return
        self._signed_at = time.monotonic()
        try:
            self._session.journal.checkpoint()
        except HoldError as error:
            log.warning("%s: its journal was not signed: %s", self._session.id, error)

    def _unsigned(self) -> int:
        journal = self._session.journal
        return journal.position - journal.bound.position

    def _sums(self, *, whole: bool) -> None:
        journal, archive = self._session.journal, self._session.output.archive
        while sums := archive.take_sums(SUMS_MAX, whole=whole):
            try:
                journal.append(Kind.OUTPUT, "host", {"sums": [list(each) for each in sums]}, at_ns=time.time_ns())
            except HoldError as error:
                log.warning("%s: its output was not bound: %s", self._session.id, error)
                return

    def _catch_up(self) -> None:
        """After a host that died: what it archived and did not bind. What this one archives comes with its digests."""
        (since, end), self._unbound = self._unbound, (0, 0)
        if since < end:
            archive = self._session.output.archive
            self._session.spawn(asyncio.to_thread(archive.owe_sums, since, end), "digests of its output")
