"""Decide which refusals are written down: the first ones at once, of many only how many (R63, I11).

Pure: time is an argument. Whoever may look and keeps asking for more must not push out of a journal what others did, nor
fill a disk. Not here: what is refused (admission), where it is written (host.refusing).
"""

from collections import OrderedDict
from typing import Final, NamedTuple

BURST: Final = 8  # records at once, of one operator about one verb in one session
REFILL_S: Final = 60.0  # until there may be one more
APART_S: Final = 1.0  # least time between two
ASKERS_MAX: Final = 1024  # triples of session, operator and verb; what more come is written down as of "others"


class Asker(NamedTuple):
    session: str
    operator: str  # whoever was refused, as the journal names operators
    verb: str
    principal: str = ""  # on whose behalf it asked


class Entry(NamedTuple):
    """One record to write: ``times`` it was refused since the one before, the last of them for ``reason``."""

    asker: Asker
    reason: str
    times: int


class _Tally:
    __slots__ = ("count", "filled_at", "next_at", "reason", "tokens")

    def __init__(self, now: float) -> None:
        self.tokens, self.filled_at, self.next_at = float(BURST), now, now
        self.count, self.reason = 0, ""

    def due(self) -> float | None:
        """When its refusals may be written down; None: there are none."""
        if not self.count:
            return None
        return max(self.next_at, self.filled_at + (1.0 - self.tokens) * REFILL_S)

    def take(self, asker: Asker, now: float) -> Entry | None:
        due = self.due()
        if due is None or now < due:
            return None
        # Not below: the rounding of the sum above must not leave it owing.
        self.tokens = max(0.0, min(float(BURST), self.tokens + (now - self.filled_at) / REFILL_S) - 1.0)
        self.filled_at, self.next_at = now, now + APART_S
        count, self.count = self.count, 0
        return Entry(asker, self.reason, count)

    def forgettable(self, now: float) -> bool:
        full = self.tokens + (now - self.filled_at) / REFILL_S >= BURST
        return full and not self.count and now >= self.next_at


class Refusals:
    """What was refused and is not written down yet. ``deadline``: when ``wake`` is next due, None: nothing waits."""

    def __init__(self) -> None:
        self._tallies: OrderedDict[Asker, _Tally] = OrderedDict()

    def refused(self, asker: Asker, reason: str, *, now: float) -> Entry | None:
        """Note a refusal; return what is to be written down now, if anything is."""
        if asker not in self._tallies and len(self._tallies) >= ASKERS_MAX:
            self._forget(now)
            if len(self._tallies) >= ASKERS_MAX:
                asker = Asker(asker.session, "others", asker.verb)
                if asker not in self._tallies and len(self._tallies) >= 2 * ASKERS_MAX:
                    return None
        tally = self._tallies.setdefault(asker, _Tally(now))
        tally.count += 1
        tally.reason = reason
        return tally.take(asker, now)

    def wake(self, *, now: float) -> list[Entry]:
        """Return what waited long enough."""
        found = [entry for asker, tally in self._tallies.items() if (entry := tally.take(asker, now)) is not None]
        self._forget(now)
        return found

    @property
    def deadline(self) -> float | None:
        return min((due for tally in self._tallies.values() if (due := tally.due()) is not None), default=None)

    def _forget(self, now: float) -> None:
        for asker in [asker for asker, tally in self._tallies.items() if tally.forgettable(now)]:
            del self._tallies[asker]
