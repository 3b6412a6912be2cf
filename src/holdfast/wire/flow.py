"""How much may be on its way over one carrier: measured from what its far end acknowledges. Not here: packets (link).

In the spirit of BBR: the path is described by the highest rate it delivered lately and the shortest round trip it had
lately. What is in flight beyond their product only waits somewhere, in front of whatever is said next, so it is kept to
``QUEUE_S`` seconds' worth. Losses are not looked at: the carrier below is reliable and has its own congestion control.
"""

import math
from collections import deque
from typing import Final, NamedTuple

from holdfast.wire.packets import PAYLOAD_BYTES_MAX

QUEUE_S: Final = (
    0.1  # seconds' worth in flight beyond the path's own content; more than any delay of an acknowledgement
)
WAIT_S: Final = 0.25  # seconds' worth in flight or waiting here, beyond the path's own content
FIRST_WINDOW: Final = 1 << 14  # bytes in flight while nothing is known of the path
WINDOW_MIN: Final = 1 << 11
TARGET_MIN: Final = 1 << 12  # 330 ms at 100 kbit/s
CHUNK_S: Final = 0.025  # a packet is no longer on the path than this, so that others get their turn
CHUNK_MIN: Final = 1 << 10
FIRST_CHUNK: Final = 1 << 12
FIRST_TARGET: Final = FIRST_WINDOW + FIRST_CHUNK
RATE_S: Final = 1.0  # the highest rate counts for one to two of these, or of RATE_ROUNDS round trips
RATE_ROUNDS: Final = 6
SLACK_S: Final = 0.01
RTT_S: Final = 10.0  # the shortest round trip counts this long, then the path is drained to measure it anew
RTT_FRESH_S: Final = 5.0  # while little is in flight it is measured anew this often, at no cost
GROWTH: Final = 1.25  # per round; less for three rounds means that the path is full
ELAPSED_MIN: Final = 1e-4  # seconds; clocks are not read more finely than that


class Flown(NamedTuple):
    """One counted packet in flight, and what was known when it left (draft-cheng-iccrg-delivery-rate-estimation)."""

    lane: int
    end: int  # position in the lane after it
    size: int
    at: float
    delivered: int
    delivered_at: float
    first_at: float
    total: int  # bytes sent on this carrier, up to and with it
    starved: bool  # sent after less than the path might take: it says little about what that is
    clear: bool  # sent into a path with next to nothing in flight: its round trip is the path's own


class Flow:
    """One carrier's measurements and bounds. ``most``: bytes never exceeded, whatever the path can do.

    ``flying`` counts bytes in flight of lane 0, lane 1 and all others.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._flown: deque[Flown] = deque()
        self.acked_count = 0  # packets acknowledged
        self.flight = 0
        self.flying = [0, 0, 0]
        self.rtt: float | None = None  # smoothed, for people
        self.rtt_min: float | None = None
        self._rtt_at = 0.0  # when rtt_min was last confirmed
        self._clear = 0  # packets in flight that were sent into an empty path
        self._delivered = 0
        self._delivered_at = self._first_at = 0.0
        self._total = 0
        self._starved_until = 0  # packets sent before this much is delivered are starved
        self._filled: deque[tuple[int, int]] = deque()  # but not those between two such totals: they filled the window
        self._best = self._best_before = 0.0  # highest rate of this period and of the one before
        self._best_at = 0.0
        self._measured = False  # whether the path was ever filled
        self._round_end = self._full_end = 0
        self._ceiling = math.inf  # no rate higher than this is believed in this round
        self._full_rate, self._full_rounds = 0.0, 0

    @property
    def rate(self) -> float | None:
        """Bytes per second the path delivers, None while unknown."""
        return max(self._best, self._best_before) if self._measured else None

    @property
    def chunk(self) -> int:
        """Bytes of one packet, where more than one is wanted."""
        rate = self.rate
        return FIRST_CHUNK if rate is None else max(CHUNK_MIN, min(int(rate * CHUNK_S), PAYLOAD_BYTES_MAX))

    def window(self, now: float) -> int:
        """Return how many bytes may be in flight. More would only wait on the way, where nothing can overtake it."""
        rate, rtt = self.rate, self.rtt_min
        if rate is None or rtt is None:
            return min(FIRST_WINDOW, self._most)
        if now - self._rtt_at > RTT_S and not self._clear and self.flight > self._slack:
            return self._slack + 1  # the round trip is not known any more: let the path run empty once, and look
        ahead = rtt + QUEUE_S
        if self._full_rounds < 3:  # still finding out: double with each round trip
            ahead = max(ahead, 2 * rtt)
        return max(WINDOW_MIN, min(int(rate * ahead), self._most * 3 // 4))

    def target(self, now: float) -> int:
        """Return how many bytes may be in flight or wait here. What waits here can be overtaken, and dropped for state."""
        rate, rtt = self.rate, self.rtt_min
        if rate is None or rtt is None:
            return min(FIRST_TARGET, self._most)
        return max(TARGET_MIN, min(max(int(rate * (rtt + WAIT_S)), self.window(now)), self._most))

    def sent(self, lane: int, end: int, size: int, now: float) -> None:
        """Note that a counted packet of ``size`` bytes left, which ends at position ``end`` of its lane."""
        if not self._flown:
            self._first_at = self._delivered_at = now
        starved = self._starved_until > 0
        clear = self.flight <= self._slack
        self._clear += clear
        self._total += size
        told = (self._delivered, self._delivered_at, self._first_at, self._total, starved, clear)
        self._flown.append(Flown(lane, end, size, now, *told))
        self.flight += size
        self.flying[min(lane, 2)] += size

    @property
    def total(self) -> int:
        """Bytes sent on this carrier."""
        return self._total

    def starved(self) -> None:
        """Note that nothing more waits to be sent although more might be in flight."""
        self._starved_until = self._total or 1

    def filled(self, since: int) -> None:
        """Note that what was sent since ``total`` was ``since`` filled the window, and more waits."""
        if self._filled and self._filled[-1][1] >= since:
            since = self._filled.pop()[0]
        self._filled.append((since, self._total))

    def acked(self, count: int, held_s: float, now: float) -> dict[int, int]:
        """Note that ``count`` more packets arrived; the last one was held for ``held_s`` before it was acknowledged.

        Returns lane -> position up to which it arrived. Raises IndexError if fewer are in flight.
        """
        ends: dict[int, int] = {}
        last = clear = None
        self.acked_count += count
        for _ in range(count):
            last = self._flown.popleft()
            ends[last.lane] = last.end
            self.flight -= last.size
            self.flying[min(last.lane, 2)] -= last.size
            self._delivered += last.size
            if last.clear:
                self._clear -= 1
                clear = clear or last
        if last is not None:
            timed = clear or last
            self.round_trip(now - timed.at - held_s, clear=timed.clear, now=now)
            self._measure(last, now)
        return ends

    @property
    def _slack(self) -> int:
        """Bytes in flight that do not disturb a measurement: no more than the path takes in 10 ms."""
        rate = self.rate
        return 0 if rate is None else min(WINDOW_MIN, int(rate * SLACK_S))

    @property
    def in_flight(self) -> int:
        """Packets sent and not acknowledged."""
        return len(self._flown)

    def round_trip(self, seconds: float, *, clear: bool, now: float) -> None:
        """Take a measured round trip. ``clear``: next to nothing was in flight when it began."""
        seconds = max(seconds, ELAPSED_MIN / 2)
        self.rtt = seconds if self.rtt is None else self.rtt + (seconds - self.rtt) / 4
        stale = clear and now - self._rtt_at > RTT_FRESH_S
        if self.rtt_min is None or seconds <= self.rtt_min or stale:
            if self.rtt_min is not None and seconds > 2 * self.rtt_min:
                self._full_rate, self._full_rounds = 0.0, 0  # it is another path: find out anew what it can do
            self.rtt_min, self._rtt_at = seconds, now

    def _measure(self, last: Flown, now: float) -> None:
        elapsed = max(last.at - last.first_at, now - last.delivered_at, ELAPSED_MIN)
        rate = (self._delivered - last.delivered) / elapsed
        self._first_at, self._delivered_at = last.at, now
        if self._delivered > self._starved_until:
            self._starved_until = 0
        rate, filled = self._plausible(rate, last), self._filled_with(last)
        if last.starved and not filled:
            if rate > self._best:  # the path did at least that
                self._best = rate
            return
        self._measured = True
        if now - self._best_at > max(RATE_S, RATE_ROUNDS * (self.rtt_min or 0.0)):
            self._best_before, self._best, self._best_at = self._best, rate, now
        self._best = max(self._best, rate)
        if last.delivered >= self._full_end:
            self._full_end = self._delivered
            best = max(self._best, self._best_before)
            if best >= self._full_rate * GROWTH:
                self._full_rate, self._full_rounds = best, 0
            else:
                self._full_rounds += 1

    def _filled_with(self, last: Flown) -> bool:
        """Whether ``last`` was one of those that filled the window. Asked in the order in which they were sent."""
        filled = self._filled
        while filled and filled[0][1] < last.total:
            filled.popleft()
        return bool(filled) and filled[0][0] < last.total

    def _plausible(self, rate: float, last: Flown) -> float:
        """Bound how much quicker the path can be found within a round trip. What a bucket on the way let through at once,
        or came in one piece when a lost packet came again, tells little, and would put seconds' worth on its way."""
        if last.delivered >= self._round_end:
            self._round_end = self._delivered
            best = max(self._best, self._best_before)
            self._ceiling = best * (GROWTH if self._full_rounds >= 3 else 2) if self._measured else math.inf
        return min(rate, self._ceiling)
