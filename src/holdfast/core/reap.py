"""Decide whether an idle session is warned, reaped or left alone. Facts and time in, a verdict out. Source: DESIGN 6.

Not here: how facts are read from the kernel (host/tuple) or how a tree is ended (host/ending).
"""

import enum
from dataclasses import dataclass, field
from typing import Final

RECHECK_S_MAX: Final = 600.0  # counters remember work between looks, so a long window needs few of them


@dataclass(frozen=True, slots=True)
class Policy:
    """Seconds. ``idle_s`` None: never for idleness. ``max_s``: a fixed life after which even a busy tree goes; None: none."""

    idle_s: float | None = 7 * 86400.0
    grace_s: float = 60.0
    max_s: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the kernel says of a session at one instant. Counters only ever rise; their change means work."""

    attached: int
    output_end: int
    input_position: int
    cpu_ticks: int
    io_bytes: int
    foreground_job: bool  # something other than the root shell is in the foreground
    listening: int  # listening sockets in the tree
    processes: int


class Verdict(enum.Enum):
    ALONE = "alone"
    WARN = "warn"  # announce: reaped after the grace unless it becomes busy
    REAP = "reap"
    CALM = "calm"  # it became busy during the grace: take the announcement back


def busy(facts: Facts) -> str | None:
    """Return why the tree is busy at this instant, or None: only a lone shell at its prompt is idle."""
    if facts.attached:
        return "somebody is attached"
    if facts.foreground_job:
        return "a job is in the foreground"
    if facts.listening:
        return "a socket is listening"
    if facts.processes > 1:
        return "background processes are running"
    return None


@dataclass(slots=True)
class Reaper:
    """One session's reaping. Times are seconds on one clock that runs while the machine does."""

    policy: Policy
    idle_since: float
    born: float
    keep_until: float | None = None
    warned_at: float | None = None
    _last: Facts | None = field(default=None, repr=False)

    def keep(self, until: float | None) -> None:
        """Postpone every reaping to ``until`` at the earliest; None takes the postponement back."""
        self.keep_until = until

    def look(self, facts: Facts, *, now: float) -> tuple[Verdict, str]:
        """Return what to do now and why. Call at ``due``, and when somebody comes or goes."""
        why = busy(facts)
        if why is None and self._last is not None and _worked(self._last, facts):
            why = "it did something since the last look"
        self._last = facts
        if self.keep_until is not None and now < self.keep_until:
            why = "an operator keeps it"
        elif self.policy.max_s is not None and now - self.born >= self.policy.max_s:
            return self._count_down(now, f"its fixed life of {self.policy.max_s:g} s is over")
        if why is not None:
            self.idle_since = now
            if self.warned_at is not None:
                self.warned_at = None
                return Verdict.CALM, why
            return Verdict.ALONE, why
        if self.policy.idle_s is None or now - self.idle_since < self.policy.idle_s:
            return Verdict.ALONE, "idle, within its window"
        return self._count_down(now, f"idle for {self.policy.idle_s:g} s")

    def _count_down(self, now: float, why: str) -> tuple[Verdict, str]:
        if self.warned_at is None:
            self.warned_at = now
            return Verdict.WARN, why
        if now - self.warned_at >= self.policy.grace_s:
            return Verdict.REAP, why
        return Verdict.ALONE, "announced, within its grace"

    def due(self, *, now: float) -> float:
        """Return when to look next: at the next instant a verdict can change, often enough to see when work ended."""
        window = self.policy.idle_s if self.policy.idle_s is not None else RECHECK_S_MAX * 20
        instants = [now + min(RECHECK_S_MAX, max(0.25, window / 20))]
        if self.warned_at is not None:
            instants.append(self.warned_at + self.policy.grace_s)
        elif self.policy.idle_s is not None:
            instants.append(self.idle_since + self.policy.idle_s)
        if self.policy.max_s is not None:
            instants.append(self.born + self.policy.max_s)
        return max(min(instants), now + 0.05)


def _worked(before: Facts, after: Facts) -> bool:
    return (
        before.attached != after.attached
        or before.output_end != after.output_end
        or before.input_position != after.input_position
        or after.cpu_ticks - before.cpu_ticks > 1  # a shell that only waits spends less than a tick between looks
        or before.io_bytes != after.io_bytes
    )
