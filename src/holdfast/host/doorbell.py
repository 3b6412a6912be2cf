"""Notice what a holder wrote, at the pace that suits: a key's echo at once, a flood in large bites, unseen output late.

Not here: what is done about it (session, attachments, views, archive); each is told in the order in which somebody waits.
"""

import asyncio
import os
from typing import TYPE_CHECKING, Final

from holdfast.core.ids import SessionId
from holdfast.host.promptly import run_promptly

if TYPE_CHECKING:
    from holdfast.host.holders import Holder
    from holdfast.host.session import Session

COALESCE_S: Final = 0.002  # while output floods, look this often instead of at every ring
UNSEEN_S: Final = 0.025  # the same with nobody attached
AFTER_ECHO_S: Final = 0.003  # how long the view waits for a trickle: every process that wakes at once delays the echo
FLOOD_BYTES: Final = 16384  # output of one look that counts as a flood
ARCHIVE_BYTES: Final = 1 << 18  # new output that the archiver is told of at once


class Doorbell:
    """The doorbell of one session, whichever holder rings it. ``head``: output as far as this host has looked."""

    def __init__(self, session: "Session", head: int) -> None:
        self.head = head
        self._session = session
        self._holder: Holder | None = None
        self._calm: asyncio.TimerHandle | None = None  # set while a flood is looked at by the clock
        self._soon: asyncio.TimerHandle | None = None  # set while the view is about to be told
        self._archived_for = 0  # head when the archiver was last told

    def answer(self, holder: "Holder") -> None:
        """Listen to ``holder`` from now on, beginning with what it has written already."""
        self._holder = holder
        asyncio.get_running_loop().add_reader(holder.doorbell, self._rang)
        self.look()

    def ignore(self, holder: "Holder") -> None:
        """Listen no more to ``holder``."""
        if self._holder is holder:
            asyncio.get_running_loop().remove_reader(holder.doorbell)
            self._holder = None
            for timer in (self._calm, self._soon):
                if timer is not None:
                    timer.cancel()
            self._calm = self._soon = None

    def look(self) -> int:
        """Take notice of what was written since the last look; return how many bytes of output that was."""
        holder, session = self._holder, self._session
        if holder is None:
            return 0
        head = holder.ring.head
        new = head - self.head
        if new > 0:
            self.head = head
            session.put_out(new)
            if new >= FLOOD_BYTES:
                self._tell_view()
            elif self._soon is None:
                self._soon = asyncio.get_running_loop().call_later(AFTER_ECHO_S, self._tell_view)
            if head - self._archived_for >= ARCHIVE_BYTES:
                self.archive()
        if holder.ended is not None:
            session.root_ended(holder)
        return new

    def archive(self) -> None:
        """Have the archiver look at what is new, if anything is."""
        if self.head > self._archived_for:
            self._archived_for = self.head
            self._session.archive()

    def _tell_view(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        self._session.views.wake(SessionId(self._session.id), self.head)

    def _rang(self) -> None:
        holder = self._holder
        if holder is None:
            return
        try:
            os.read(holder.doorbell, 8)
        except BlockingIOError:
            return
        if self.look() >= FLOOD_BYTES and self._holder is holder:
            # A flood rings for every 4 KiB. Looking 500 times a second costs nobody a visible delay and saves a core.
            loop = asyncio.get_running_loop()
            loop.remove_reader(holder.doorbell)
            self._calm = loop.call_later(self._pace, self._look_again)
            run_promptly(holder.hello.holder_pid, promptly=False)  # it may not hold up the keystrokes of others

    @property
    def _pace(self) -> float:
        return COALESCE_S if self._session.attachments else UNSEEN_S

    def _look_again(self) -> None:
        self._calm = None
        holder, loop = self._holder, asyncio.get_running_loop()
        if holder is None:
            return
        if self.look() >= FLOOD_BYTES // 4:
            self._calm = loop.call_later(self._pace, self._look_again)
        elif self._holder is holder:
            loop.add_reader(holder.doorbell, self._rang)
            run_promptly(holder.hello.holder_pid)
