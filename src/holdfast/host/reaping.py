"""Watch one session for idleness and carry out what core.reap decides: warn, take back, reap. Never silently (R14, R15)."""

import asyncio
import time
from typing import TYPE_CHECKING

from holdfast.core.life import Signal
from holdfast.core.reap import Facts, Policy, Reaper, Verdict
from holdfast.host.tuple import tree_facts

if TYPE_CHECKING:
    from holdfast.host.session import Session


class Watch:
    """The timer of one session. Its clock is Unix time: idleness counts on through a host restart."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        sheet = session.sheet
        policy = Policy(sheet.policy.idle_s, sheet.policy.grace_s, sheet.policy.max_s)
        self._reaper = Reaper(policy, idle_since=time.time(), born=sheet.created_at, keep_until=sheet.keep_until)
        self._timer: asyncio.TimerHandle | None = None
        self._running = False

    @property
    def reap_at(self) -> float | None:
        """When the announced reaping takes place, Unix seconds; None: none is announced."""
        warned = self._reaper.warned_at
        return None if warned is None else warned + self._reaper.policy.grace_s

    def start(self) -> None:
        """Begin to watch."""
        self._running = True
        self._arm()

    def stop(self) -> None:
        """Stop watching."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def stir(self) -> None:
        """Somebody came, went or changed the policy: look again soon."""
        if self._running:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(0.05, self._look)

    def keep(self, until: float | None) -> None:
        """Postpone reaping to ``until``; None takes it back."""
        self._session.sheet.keep_until = until
        self._reaper.keep(until)
        self._session.save()
        self.stir()

    def _arm(self) -> None:
        now = time.time()
        delay = self._reaper.due(now=now) - now
        self._timer = asyncio.get_running_loop().call_later(max(0.05, delay), self._look)

    def _look(self) -> None:
        self._timer = None
        session = self._session
        if not self._running or session.over:
            return
        verdict, why = self._reaper.look(self._facts(), now=time.time())
        if verdict is Verdict.WARN:
            session.note("reap-warning", {"why": why, "at": self.reap_at})
        elif verdict is Verdict.CALM:
            session.note("reap-cancelled", {"why": why})
        if verdict is Verdict.REAP:
            session.spawn(session.kill("host", grace_s=2.0, how=Signal.REAP_DONE, why=why), "reap")
            return
        self._arm()

    def _facts(self) -> Facts:
        session = self._session
        tree = tree_facts(session.sheet.root_pid, session=session.id, group=session.group)
        return Facts(
            attached=len(session.attachments), output_end=session.head, input_position=session.lane.typed,
            cpu_ticks=tree.cpu_ticks, io_bytes=tree.io_bytes, foreground_job=tree.foreground_job,
            listening=tree.listening, processes=tree.processes,
        )  # fmt: skip
