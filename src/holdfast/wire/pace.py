"""Decide when to dial again: at once after a loss, then ever more rarely up to a bound, for ever. Not here: whom to dial.

Pure: time and the random draw are arguments. A carrier that is lost soon after it came up counts as a failure, so a path
that accepts and then drops is not hammered either; a host or relay that comes back is not met by everybody in one instant,
because each waits between half and all of its time.
"""

from typing import Final, NamedTuple

_DOUBLINGS_MAX: Final = 32


class Bounds(NamedTuple):
    """Seconds. ``first_s`` doubles with each failure up to ``most_s``; the first ``brisk`` waits are no longer than
    ``brisk_s``, since what was only restarted is back soon, and then somebody waits to type."""

    first_s: float = 0.2
    most_s: float = 20.0
    calm_s: float = 10.0  # a carrier that lasted so long was sound: its loss is retried at once
    brisk: int = 0
    brisk_s: float = 0.0


RELAYS: Final = Bounds(first_s=0.05, most_s=2.0, calm_s=1.0, brisk=28, brisk_s=0.25)
"""For whoever dials a relay, host or client: one that is back within three seconds is met within a quarter of one (R37)."""


class Pace:
    """When the next attempt is due: ``due``, or None while one is under way or a carrier is up."""

    def __init__(self, *, now: float, bounds: Bounds | None = None) -> None:
        self.bounds = bounds or Bounds()
        self.due: float | None = now
        self.failures = 0  # since the last sound carrier
        self._up_at: float | None = None

    def trying(self) -> None:
        """An attempt begins."""
        self.due = None

    def up(self, *, now: float) -> None:
        """The attempt succeeded: the link was resumed or begun over it, not only a socket opened."""
        self.due, self._up_at = None, now

    def lost(self, *, now: float, draw: float) -> None:
        """The carrier that was up is gone. ``draw``: a fresh random number from 0 to 1."""
        if self._up_at is not None and now - self._up_at >= self.bounds.calm_s:
            self.failures = 0
        self._up_at = None
        self.due = now if not self.failures else now + self._wait(draw)
        self.failures += 1

    def failed(self, *, now: float, draw: float) -> None:
        """The attempt failed. ``draw``: a fresh random number from 0 to 1."""
        self.failures = max(self.failures, 1)
        self.due = now + self._wait(draw)
        self.failures += 1

    def _wait(self, draw: float) -> float:
        it, before = self.bounds, self.failures - 1
        if before < it.brisk:
            most: float = min(it.brisk_s, it.first_s * 2 ** min(before, _DOUBLINGS_MAX))
        else:
            most = min(it.most_s, (it.brisk_s or it.first_s) * 2 ** min(before - it.brisk, _DOUBLINGS_MAX))
        return most * (0.5 + 0.5 * draw)
