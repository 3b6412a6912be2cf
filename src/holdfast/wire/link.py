"""Deliver messages exactly once and in order over carriers that come and go. Sans-I/O. Source: docs/link.md.

One ``Link`` per end, outliving its carriers: packets and time in, events and packets out. Below it an ordered, reliable,
authenticated pipe that may vanish at any instant; above it messages on lanes. Not here: the carrier and its handshake
(channel), when to dial again (pace), the bytes of packets (packets), what a path can take (flow).

Who pays when a bound is reached: what is said. ``room`` says how much bulk may be said without waiting in front of what
is newer; ``say`` refuses what cannot be kept with LinkFull. The other end never waits, and is never asked to hold more
than one unfinished large message per kind of lane (I11).
"""

import enum
import math
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from holdfast.wire import packets as p
from holdfast.wire.facts import (
    CarrierDead,
    CarrierEnded,
    Closed,
    Delivered,
    Event,
    LinkFull,
    LinkOver,
    Resumed,
    Superseded,
    Unresumable,
)  # fmt: skip
from holdfast.wire.flow import Flow
from holdfast.wire.lanes import LARGE, Inward, Outward
from holdfast.wire.packets import LANES, BadPacket, Cause

CONTROL: Final = 0  # never waits for another lane
INPUT: Final = 1  # waits for control alone
ANSWERS: Final = LANES - 1  # bulk that belongs to no attachment
_BULK: Final = 2  # the first of the bulk lanes: they take turns, packet by packet

ACK_S: Final = 0.025  # an acknowledgement is never held longer
ACK_BYTES: Final = 1 << 13  # and not at all once so many bytes wait for it: half of what a new carrier may carry
TURN: Final = 1 << 18  # bytes of bulk that one call of ``outgoing`` returns


def lane_of(attachment: int) -> int:
    """Return the lane of every message that belongs to this attachment: one lane, so their order is kept (I4)."""
    return _BULK + attachment % (ANSWERS - _BULK)


class State(enum.Enum):
    DOWN = "down"  # no carrier; what is said waits
    GREETING = "greeting"  # a carrier, but the other end has not said yet what arrived
    UP = "up"
    OVER = "over"


class Step(enum.Enum):
    CARRIER, GREETED, LOST, END = range(4)


STEPS: Final = {
    State.DOWN: {Step.CARRIER: State.GREETING, Step.END: State.OVER},
    State.GREETING: {
        Step.CARRIER: State.GREETING, Step.GREETED: State.UP, Step.LOST: State.DOWN, Step.END: State.OVER,
    },
    State.UP: {Step.CARRIER: State.GREETING, Step.LOST: State.DOWN, Step.END: State.OVER},
    State.OVER: {},
}  # fmt: skip


class Limits(NamedTuple):
    """Bounds in bytes and seconds. Messages are taken while less than the bound is kept, so one more may be kept."""

    small_bytes_max: int = 1 << 20  # kept for CONTROL, and as much for INPUT
    bulk_bytes_max: int = 2 << 20  # kept for all other lanes together
    beat_s: float = 5.0  # of silence after which the other end is asked for a sign of life
    silence_s_max: float = 15.0  # after which the carrier is given up
    lapse_s: float | None = None  # without a carrier after which the link is given up; None: never


class Link:
    """One end of a link. ``dials``: this end opens and numbers the carriers (the client).

    ``link_id``: 16 random bytes, drawn by the end that dials and never used for another ``Link``. ``hears_max`` and
    ``says_max`` bound a message in bytes, towards this end and from it. Every packet is given with the number of the
    carrier it came on, so that a late one of a superseded carrier changes nothing.
    """

    def __init__(
        self, link_id: bytes, *, dials: bool, hears_max: int, says_max: int, now: float, limits: Limits | None = None
    ) -> None:
        if len(link_id) != p.LINK_ID_BYTES:
            raise ValueError(f"a link id has {p.LINK_ID_BYTES} bytes")
        self.id, self.dials, self.limits = link_id, dials, limits or Limits()
        self.hears_max, self.says_max = hears_max, says_max
        self.state = State.DOWN
        self.carrier = 0  # number of the latest carrier; 0: there was none yet
        self.cause: Cause | None = None  # why the link is over
        self._met = False  # whether an earlier carrier got as far as to agree on positions
        self._out = [Outward() for _ in range(LANES)]
        self._in = [Inward() for _ in range(LANES)]
        self._kept = [0, 0, 0]  # bytes retained: CONTROL, INPUT, bulk
        self._unsent = 0  # bytes of bulk that wait to be sent
        self._turns: deque[int] = deque()  # bulk lanes with something to send, in the order of their turns
        self._abandoned: set[int] = set()  # lanes on which something is to be skipped
        self._flow = Flow(most=self.limits.bulk_bytes_max)
        self._heard_at: float | None = None
        self._since = now  # when the present state of the carrier began: up, or down
        self._greets = False
        self._last_words: bytes | None = None
        self._arrived = 0  # counted packets on this carrier
        self._arrived_at = 0.0
        self._unacked = 0  # bytes of them not acknowledged
        self._ack_at: float | None = None
        self._ping: int | None = None  # to be sent
        self._pong: int | None = None
        self._pings = 0
        self._pinged_at = 0.0
        self._ping_clear = False
        self._on: dict[int, Callable[[bytes, float], list[Event]]] = {
            p.DATA: self._on_data, p.SKIP: self._on_skip, p.ACK: self._on_ack,
            p.PING: self._on_ping, p.PONG: self._on_pong,
        }  # fmt: skip

    # ---- what the layer above asks -----------------------------------------------------------------------------------

    def say(self, lane: int, data: bytes) -> None:
        """Take a message for the other end; it is delivered exactly once, or the link ends, or its lane is abandoned.

        Raises LinkFull when as much is kept as may be, ValueError for a size of 0 or over ``says_max``, LinkOver.
        """
        if self.state is State.OVER:
            raise LinkOver(self._why())
        if not 0 < len(data) <= self.says_max:
            raise ValueError(f"a message of {len(data)} bytes; 1 to {self.says_max} can be said")
        kind = lane if lane < _BULK else _BULK
        if self._kept[kind] >= (self.limits.bulk_bytes_max if kind == _BULK else self.limits.small_bytes_max):
            raise LinkFull(lane, self._kept[kind])
        out = self._out[lane]
        size = out.say(data)
        self._kept[kind] += size
        if kind == _BULK:
            self._unsent += size
            self._queue(lane, out)

    def room(self, *, now: float) -> int:
        """Return how many bytes of bulk may be said now without waiting long. 0 while there is no carrier.

        About 250 ms of what the path delivers, beyond what it holds by itself; never more than ``bulk_bytes_max``.
        A message that cannot be cut, a keyframe for one, may be larger: it is said as soon as there is any room.
        """
        if self.state is not State.UP:
            return 0
        flow = self._flow
        return max(0, min(flow.target(now) - flow.flying[_BULK], self.limits.bulk_bytes_max) - self._unsent)

    def waiting(self, lane: int) -> int:
        """Return how many bytes said on ``lane`` are not known to have arrived and would still be delivered."""
        return self._out[lane].kept

    def kept(self) -> int:
        """Return how many bytes are retained on all lanes together."""
        return sum(self._kept)

    def abandon(self, lane: int) -> int:
        """Drop what was said on a bulk lane: it is not sent (again), newer state follows. Returns the bytes dropped.

        Some of it may arrive all the same, in order and from its beginning on; a message that did not arrive whole is not
        delivered. So it is for lanes where the next message makes earlier ones void, as a keyframe does.
        """
        if not _BULK <= lane < LANES:
            raise ValueError(f"lane {lane} is never abandoned")
        out = self._out[lane]
        self._unsent -= out.unsent
        dropped = out.abandon()
        self._kept[_BULK] -= dropped
        if out.skips:
            self._abandoned.add(lane)
        return dropped

    def proof_age(self, *, now: float) -> float:
        """Return the seconds since the other end was last heard, on any carrier; infinite before the first time."""
        return math.inf if self._heard_at is None else now - self._heard_at

    @property
    def rtt(self) -> float | None:
        """The round trip of the latest carrier in seconds, smoothed; None while unknown."""
        return self._flow.rtt

    @property
    def rate(self) -> float | None:
        """What the latest carrier delivers, in bytes per second; None until it was ever filled."""
        return self._flow.rate

    def close(self, cause: Cause = Cause.BYE, text: str = "") -> None:
        """End the link. What did not arrive is lost; the other end is told with the next ``outgoing``. Twice is harmless."""
        if self.state is not State.OVER:
            tells = self.state is not State.DOWN
            self._end(cause)
            self._last_words = p.closing(cause, text) if tells else None

    # ---- what the carrier's driver calls -----------------------------------------------------------------------------

    def carrier_up(self, *, now: float, number: int | None = None) -> int:
        """Begin a carrier, in place of one that may be up, and return its number. ``outgoing`` says what to send first.

        ``number`` is what the other end's first packet says (packets.opening), None at the end that dials. Raises
        Superseded if a later carrier was there before, LinkOver.
        """
        if self.state is State.OVER:
            raise LinkOver(self._why())
        if (number is None) is not self.dials:
            raise ValueError("carriers are numbered by the end that dials")
        if number is not None and number <= self.carrier:
            raise Superseded(number, self.carrier)
        self._step(Step.CARRIER)
        self.carrier = self.carrier + 1 if number is None else number
        self._flow = Flow(most=self.limits.bulk_bytes_max)
        for out in self._out:
            out.rewind()
        self._line_up()
        self._since = now
        self._greets, self._arrived, self._unacked = True, 0, 0
        self._ack_at = self._ping = self._pong = None
        self._pings = 0
        return self.carrier

    def carrier_down(self, carrier: int, *, now: float) -> None:
        """The carrier is gone. What was in flight is sent again over the next one, where it did not arrive."""
        if carrier == self.carrier and self.state in (State.GREETING, State.UP):
            self._step(Step.LOST)
            self._since = now

    def receive(self, carrier: int, packet: bytes, *, now: float) -> list[Event]:
        """Return what ``packet`` brings about. Call ``outgoing`` after it.

        Raises BadPacket; nothing of that packet was delivered, and the link is over. A packet of a carrier that is over
        changes nothing.
        """
        if carrier != self.carrier:
            return [CarrierEnded(Cause.SUPERSEDED)] if carrier < self.carrier else []
        if self.state is State.DOWN or self.state is State.OVER:
            return []
        try:
            if not 0 < len(packet) <= p.PACKET_BYTES_MAX:
                raise BadPacket(f"it has {len(packet)} bytes")
            kind = packet[0]
            if kind == p.CLOSE:
                return self._on_close(packet, now)
            if self.state is State.GREETING:
                return self._on_resume(packet, now)
            handler = self._on.get(kind)
            if handler is None or len(packet) < p.COMMON.size:
                raise BadPacket(f"{len(packet)} bytes of kind {kind} in this place")
            events = handler(packet, now)
        except BadPacket as bad:
            self.close(Cause.BROKEN, bad.details["why"])
            raise
        self._heard_at = now
        return events

    def outgoing(self, carrier: int, *, now: float, bytes_max: int = TURN) -> list[bytes]:
        """Return the packets to seal and send now, in this order; everything that is due leaves with this call.

        Control first, then input, then about ``bytes_max`` bytes of bulk, as far as the path is not full. Call it after
        ``say``, ``receive`` and ``wake``, while the carrier can take more, until it returns nothing: what it returned
        cannot be overtaken any more.
        """
        found: list[bytes] = []
        if carrier != self.carrier:
            return found
        if self._last_words is not None:
            found.append(self._last_words)
            self._last_words = None
        if self.state is State.DOWN or self.state is State.OVER:
            return found
        if self._greets:
            self._greets = False
            received = tuple(lane.position for lane in self._in)
            found.append(p.Resume(p.VERSION, not self._met, carrier, self.id, received).packed())
        up = self.state is State.UP
        flow = self._flow
        window, since = flow.window(now), flow.total
        if up:
            self._signs(found, now)
        # Until the other end said what arrived, these are sent at a guess: it leaves out what it has.
        self._small(CONTROL, found, now, p.PAYLOAD_BYTES_MAX, math.inf if up else window)
        if not self._out[CONTROL].unsent:
            self._small(INPUT, found, now, flow.chunk, window)
        if up:
            if self._turns or self._abandoned:
                self._bulk(found, now, window, bytes_max)
            if flow.flight >= window:
                flow.filled(since)
            elif not self._turns:
                flow.starved()
            if self._ack_at is not None and now >= self._ack_at:
                found.append(p.ack(self._held(now), self._arrived & 0xFFFFFFFF))
                self._ack_at, self._unacked = None, 0
        return found

    def wake(self, *, now: float) -> list[Event]:
        """Do what time alone brings about. Call it at ``deadline``, and ``outgoing`` after it."""
        limits = self.limits
        if self.state is State.DOWN:
            if limits.lapse_s is not None and now >= self._since + limits.lapse_s:
                self._end(Cause.LAPSED)
                return [Unresumable(Cause.LAPSED, f"no carrier for {limits.lapse_s:g} s")]
        elif self.state is not State.OVER:
            if now >= self._heard_or_up() + limits.silence_s_max:
                silent_s = now - self._heard_or_up()
                self.carrier_down(self.carrier, now=now)
                return [CarrierDead(silent_s)]
            if self.state is State.UP and now >= self._beat_at():
                self._beat(now)
        return []

    @property
    def deadline(self) -> float | None:
        """When ``wake`` and ``outgoing`` are next due, None: only when something happens."""
        if self.state is State.OVER:
            return None
        if self.state is State.DOWN:
            return None if self.limits.lapse_s is None else self._since + self.limits.lapse_s
        due = self._heard_or_up() + self.limits.silence_s_max
        if self.state is State.UP:
            due = min(due, self._beat_at())
            if self._ack_at is not None:
                due = min(due, self._ack_at)
        return due

    # ---- sending -----------------------------------------------------------------------------------------------------

    def _small(self, lane: int, found: list[bytes], now: float, chunk: int, window: float) -> None:
        out, flying = self._out[lane], self._flow.flying
        while out.next < out.end and flying[lane] < window:
            size = min(chunk, out.end - out.next)
            found.append(self._data(lane, out, size, now))

    def _bulk(self, found: list[bytes], now: float, window: int, bytes_max: int) -> None:
        flow, turns, chunk = self._flow, self._turns, self._flow.chunk
        for lane in sorted(self._abandoned):  # first, so that nobody waits for the rest of what was abandoned
            out = self._out[lane]
            if out.skips:
                packet = p.skip(self._held(now), self._arrived & 0xFFFFFFFF, lane, out.next, out.floor)
                out.skipped()
                self._counted(lane, out.next, packet, now)
                found.append(packet)
        self._abandoned.clear()
        left, passed = bytes_max, 0
        larges = any(self._out[lane].larges for lane in turns)
        while turns and left > 0 and flow.flight < window and passed < len(turns):
            lane = turns.popleft()
            out = self._out[lane]
            size = min(chunk, out.unsent)
            if larges and not out.under_way() and any(self._out[each].under_way() for each in turns):
                size = min(size, out.before_large())
            if size:
                passed = 0
                self._unsent -= size
                found.append(self._data(lane, out, size, now))
                left -= size
            if out.next >= out.end:
                out.turn = False
                continue
            turns.append(lane)
            if not size:
                passed += 1

    def _data(self, lane: int, out: Outward, size: int, now: float) -> bytes:
        head = p.DATA_HEAD.pack(p.DATA, lane, self._held(now), self._arrived & 0xFFFFFFFF, out.next)
        packet = b"".join((head, *out.take(size)))
        out.took(memoryview(packet)[p.DATA_HEAD.size :])
        self._counted(lane, out.next, packet, now)
        return packet

    def _counted(self, lane: int, end: int, packet: bytes, now: float) -> None:
        self._flow.sent(lane, end, len(packet), now)
        self._ack_at, self._unacked = None, 0  # every packet acknowledges

    def _signs(self, found: list[bytes], now: float) -> None:
        acked = self._arrived & 0xFFFFFFFF
        if self._pong is not None:
            found.append(p.mark(p.PONG, self._held(now), acked, self._pong))
        if self._ping is not None:
            found.append(p.mark(p.PING, self._held(now), acked, self._ping))
        if self._pong is not None or self._ping is not None:
            self._pong = self._ping = self._ack_at = None
            self._unacked = 0

    def _held(self, now: float) -> int:
        """How long the last counted packet waited for its acknowledgement, in units of 0.1 ms."""
        return min(0xFFFF, int((now - self._arrived_at) * 10_000)) if self._arrived else 0

    def _queue(self, lane: int, out: Outward) -> None:
        if not out.turn:
            out.turn = True
            self._turns.append(lane)

    def _line_up(self) -> None:
        """Count and queue anew what waits, after positions moved otherwise than by sending."""
        self._turns.clear()
        self._unsent = 0
        for lane, out in enumerate(self._out):
            if lane < _BULK:
                self._kept[lane] = out.kept
                continue
            out.turn = False
            self._unsent += out.unsent
            if out.unsent:
                self._queue(lane, out)
            if out.skips:
                self._abandoned.add(lane)
        self._kept[_BULK] = sum(out.kept for out in self._out[_BULK:])

    # ---- receiving ---------------------------------------------------------------------------------------------------

    def _on_resume(self, packet: bytes, now: float) -> list[Event]:
        said = p.opening(packet)
        if said.version != p.VERSION:
            return self._refuse(Cause.VERSION, f"format {said.version} there, {p.VERSION} here")
        if said.carrier != self.carrier:
            raise BadPacket(f"a resume of carrier {said.carrier} on carrier {self.carrier}")
        lost = self.dials and said.new and self._met  # it knew this link on an earlier carrier
        unknown = not self.dials and not said.new and not self._met
        if said.link != self.id or lost or unknown:
            return self._refuse(Cause.GONE, "the state of this link is not there any more")
        for out, position in zip(self._out, said.received, strict=True):
            if position > out.top:
                raise BadPacket(f"a resume at {position} of a lane that was sent up to {out.top}")
            if position < out.acked:
                return self._refuse(Cause.FORGOTTEN, f"{position} is asked for, {out.acked} had been acknowledged")
        for out, position in zip(self._out, said.received, strict=True):
            out.arrived(position)
        new, self._met = not self._met, True
        self._line_up()
        self._step(Step.GREETED)
        self._heard_at = now
        self._beat(now)  # at once: the round trip of an empty path is soon known no more
        return [Resumed(self.carrier, new, self._kept[_BULK])]

    def _on_data(self, packet: bytes, now: float) -> list[Event]:
        size = len(packet) - p.DATA_HEAD.size
        if size <= 0:
            raise BadPacket("data that brings nothing")
        _, lane, held, acked, position = p.DATA_HEAD.unpack_from(packet)
        if lane >= LANES:
            raise BadPacket(f"data on lane {lane}")
        self._acked(held, acked, now)
        into = self._in[lane]
        known = into.position - position  # bytes that came before, over another carrier
        if known < 0 or position + size > p.POSITION_MAX:
            raise BadPacket(f"data from {position} on lane {lane}, where {into.position} is next")
        self._count(size, now)
        if known >= size:
            return []
        messages = into.feed(packet, p.DATA_HEAD.size + known, self.hears_max)
        if into.need and lane >= _BULK:
            self._check_unfinished()
        return [Delivered(lane, message) for message in messages]

    def _on_skip(self, packet: bytes, now: float) -> list[Event]:
        lane, start, end = p.skipped(packet)
        _, _, held, acked = p.COMMON.unpack_from(packet)
        self._acked(held, acked, now)
        into = self._in[lane]
        if start > into.position:
            raise BadPacket(f"a skip from {start} on lane {lane}, where {into.position} is next")
        self._count(len(packet), now)
        if end > into.position:
            into.skip(end)
        return []

    def _on_ack(self, packet: bytes, now: float) -> list[Event]:
        if len(packet) != p.COMMON.size:
            raise BadPacket(f"an ack of {len(packet)} bytes")
        _, _, held, acked = p.COMMON.unpack(packet)
        self._acked(held, acked, now)
        return []

    def _on_ping(self, packet: bytes, now: float) -> list[Event]:
        self._pong = p.marked(packet)
        _, _, held, acked = p.COMMON.unpack_from(packet)
        self._acked(held, acked, now)
        return []

    def _on_pong(self, packet: bytes, now: float) -> list[Event]:
        mark = p.marked(packet)
        _, _, held, acked = p.COMMON.unpack_from(packet)
        if mark > self._pings:
            raise BadPacket(f"a pong to ping {mark}, which was never sent")
        self._acked(held, acked, now)
        if mark == self._pings:
            self._flow.round_trip(now - self._pinged_at, clear=self._ping_clear, now=now)
        return []

    def _on_close(self, packet: bytes, now: float) -> list[Event]:
        cause, text = p.closed(packet)
        if cause in p.OF_CARRIER:
            self.carrier_down(self.carrier, now=now)
            return [CarrierEnded(cause, text)]
        self._end(cause)
        return [Closed(text) if cause is Cause.BYE else Unresumable(cause, text)]

    def _acked(self, held: int, acked: int, now: float) -> None:
        flow = self._flow
        count = (acked - self._flow.acked_count) & 0xFFFFFFFF
        if not count:
            return
        if count > flow.in_flight:
            raise BadPacket(f"{count} packets acknowledged, {flow.in_flight} are in flight")
        for lane, end in flow.acked(count, held / 10_000, now).items():
            out = self._out[lane]
            kept = out.kept
            out.arrived(end)
            self._kept[lane if lane < _BULK else _BULK] -= kept - out.kept

    def _count(self, size: int, now: float) -> None:
        self._arrived += 1
        self._arrived_at = now
        self._unacked += size
        if self._unacked >= ACK_BYTES:
            self._ack_at = now
        elif self._ack_at is None:
            self._ack_at = now + ACK_S

    def _check_unfinished(self) -> None:
        """Bound the memory of messages under way: one large one, and one that is not on each of the other lanes."""
        announced = sum(into.need for into in self._in[_BULK:])
        if announced > self.hears_max + (LANES - _BULK) * LARGE:
            raise BadPacket(f"messages of {announced} bytes begun at once")

    # ---- life --------------------------------------------------------------------------------------------------------

    def _heard_or_up(self) -> float:
        return self._since if self._heard_at is None else max(self._since, self._heard_at)

    def _beat_at(self) -> float:
        return max(self._heard_or_up(), self._pinged_at) + self.limits.beat_s

    def _beat(self, now: float) -> None:
        self._pings += 1
        self._ping, self._pinged_at = self._pings, now
        self._ping_clear = self._flow.flight == 0

    def _step(self, step: Step) -> None:
        self.state = STEPS[self.state][step]

    def _refuse(self, cause: Cause, text: str) -> list[Event]:
        self.close(cause, text)
        return [Unresumable(cause, text)]

    def _end(self, cause: Cause) -> None:
        self._step(Step.END)
        self.cause = cause
        self._out = [Outward() for _ in range(LANES)]
        self._in = [Inward() for _ in range(LANES)]
        self._kept, self._unsent = [0, 0, 0], 0
        self._turns.clear()
        self._abandoned.clear()

    def _why(self) -> str:
        return self.cause.name.lower() if self.cause is not None else "over"
