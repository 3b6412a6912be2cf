"""Serve clients that come through relays: one link each, on whatever carrier it has now. Source: docs/channel.md, docs/link.md.

Not here: the connections to relays (relays), what a client may do and gets (clients). A link outlives its carriers for
``LAPSE_S``; its client's attachments go on meanwhile, and are told the present when it comes back (state, not history).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from holdfast.core import identity
from holdfast.core.admission import Granted
from holdfast.core.errors import BadMessage, HoldError, TooMany
from holdfast.host.clients import Client
from holdfast.host.identity import now_s
from holdfast.host.introductions import judged
from holdfast.wire import messages as wire
from holdfast.wire.channel import Responder, prologue
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
)
from holdfast.wire.framing import TO_CLIENT_BYTES_MAX, TO_HOST_BYTES_MAX
from holdfast.wire.introduction import Answered, Introduce
from holdfast.wire.link import ANSWERS, CONTROL, Limits, Link, State, lane_of
from holdfast.wire.packets import Cause, Resume

if TYPE_CHECKING:
    from holdfast.host.host import Host

log = logging.getLogger(__name__)

LAPSE_S: Final = 45.0  # a link without a carrier is kept so long
LINKS_MAX: Final = 512
INTRODUCE_S: Final = 10.0  # for whoever opens a carrier to prove who it is
BACKLOG_MAX: Final = 16 << 20  # bytes of answers that wait for a slow path before the client is given up
STALE_BYTES: Final = 1 << 15  # output that waits at a return: more is replaced by state
PATIENCE_S: Final = 0.5  # seconds' worth of output after which a terminal viewer gets state
PATIENCE_MIN: Final = 1 << 15
SMALL: Final = 4096  # bytes of a message that is sent at once: an echo, an answer
LAZY_S: Final = 0.003  # what nobody waits for may wait so long for company
ROUND: Final = 1 << 17  # bytes handed to a relay before others get their turn
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(wire.ToHost)

Carry = Callable[[Sequence[bytes]], None]


class Route:
    """One carrier, on a route of one relay: handshake, introduction, then the packets of a link."""

    def __init__(self, links: "Links", carry: Carry, close: Callable[[], None]) -> None:
        self._links, self._carry, self._close = links, carry, close
        self._authority: Granted | None = None
        self._remote: Remote | None = None
        self.over = False
        self._carrier = Answered(
            links.responder(), X25519PrivateKey.generate(), name=links.name, judge=self._judge, find=self._find
        )
        self._patience = asyncio.get_running_loop().call_later(INTRODUCE_S, self.end)

    def receive(self, payload: memoryview) -> None:
        """A payload came. What makes no sense ends this carrier and nothing else."""
        if self.over:
            return
        now = self._links.now()
        try:
            events, first = self._carrier.receive(payload, now=now)
        except HoldError as error:
            log.info("a carrier ended: %s", error.code)
            self._carry(self._carrier.refusal(error))
            self.end()
            return
        if first:
            self._carry(first)
        if (remote := self._remote) is not None:
            remote.happened(events)
            remote.flush()

    def outgoing(self, now: float) -> int:
        """Send what the link has to say now; return how many bytes that was."""
        payloads = self._carrier.outgoing(now=now, bytes_max=ROUND)
        if payloads:
            self._carry(payloads)
        return sum(map(len, payloads))

    @property
    def introduced(self) -> bool:
        """Whether whoever is at the far end has proven who it is."""
        return self._authority is not None

    def end(self) -> None:
        """The route is over; the link waits for another."""
        if self.over:
            return
        self.over = True
        self._patience.cancel()
        self._carrier.lost(now=self._links.now())
        remote, self._remote = self._remote, None
        if remote is not None:
            remote.lost(self)
        self._close()

    def part(self) -> None:
        """End the channel with a word, because another carrier took its place or the client is done."""
        self._carry(self._carrier.goodbye())
        self.end()

    def _judge(self, said: Introduce, binding: bytes) -> None:
        self._authority = self._links.judged(said, binding)
        self._patience.cancel()

    def _find(self, begins: Resume) -> Link:
        assert self._authority is not None
        remote = self._links.of(self._authority, begins)
        former, remote.route = remote.route, self
        self._remote = remote
        if former is not None and former is not self:
            remote.link.carrier_down(remote.link.carrier, now=self._links.now())
            former._remote = None
            former.part()
        return remote.link


class Remote:
    """The client at the far end of one link; carries messages for ``Client``."""

    def __init__(self, links: "Links", host: "Host", link: Link, authority: Granted) -> None:
        self._links, self.link = links, link
        self.route: Route | None = None
        self._backlog: deque[bytes] = deque()
        self._hearing = False
        self._lazy: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Handle | None = None
        self._loop = asyncio.get_running_loop()
        operator = str(identity.operator_id(authority.member.key))
        self.client = Client(host, self, authority=authority, operator=operator)

    # ---- what Client uses ----

    def send(self, message: wire.Message) -> None:
        number = getattr(message, "attachment", 0)
        data = _encoder.encode(message)
        if number:
            self._say(lane_of(number), data)
        elif isinstance(
            message, wire.Listing | wire.OutputRange | wire.Records | wire.Text | wire.ScreenState | wire.Tuple
        ):
            self._backlog.append(data)
            self._answer()
            if sum(map(len, self._backlog)) > BACKLOG_MAX:
                self._give_up("answers wait for it that it does not take")
        else:
            self._say(CONTROL, data)
        if self._hearing:
            return  # flushed once with everything else
        if isinstance(message, wire.Typed):  # nobody waits for it, and the echo that follows takes it along
            if self._lazy is None:
                self._lazy = self._loop.call_later(LAZY_S, self.flush)
        elif len(data) <= SMALL:
            self.flush()
        else:
            self.flush_soon()

    def pass_on(self, message: wire.Message, *descriptors: int) -> bool:
        return False

    def room(self) -> int | None:
        return self.link.room(now=self._links.now())

    def patience(self) -> int | None:
        """Bytes of output behind which state is the better thing to send, on a path like this one."""
        rate = self.link.rate
        return None if rate is None else max(PATIENCE_MIN, int(rate * PATIENCE_S))

    def withhold(self) -> None:
        if self.link.kept() or self._backlog:  # it may be on its way to somebody who may not see it any more
            self._backlog.clear()
            self.link.close(Cause.GONE, "rights have ended; say again what is wanted")
            self.flush()
            self._loop.call_soon(self._links.forget, self)

    def pause(self, on: bool) -> None:
        """The link bounds what is on its way by itself."""

    def broken(self, error: BadMessage) -> None:
        self._give_up(error.message)

    def close(self) -> None:
        self.link.close()
        self.flush()
        self._links.forget(self)

    # ---- what happens ----

    def happened(self, events: list[Event]) -> None:
        """Act on what the link says."""
        self._hearing = True
        try:
            for event in events:
                self._happened(event)
            if self.link.state is State.UP:
                self._answer()
                self.client.pump()
        finally:
            self._hearing = False

    def _happened(self, event: Event) -> None:
        match event:
            case Delivered():
                self._heard(event.data)
            case Resumed():
                if not event.new and event.waiting > STALE_BYTES:
                    self._restate()
            case CarrierDead() | CarrierEnded():
                if self.route is not None:
                    self.route.end()  # the link waits for another
            case Closed() | Unresumable():
                self.flush()  # the client is told why, so that it begins a new link and does not dial for ever
                self._links.forget(self)

    def lost(self, route: Route) -> None:
        """The carrier is gone."""
        if self.route is route:
            self.route = None
            self._schedule()

    def flush_soon(self) -> None:
        """Send in this turn of the loop, together with whatever else is said in it."""
        if self._flushing is None:
            self._flushing = self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what the link has to say now, a round at a time."""
        for handle in (self._flushing, self._lazy):
            if handle is not None:
                handle.cancel()
        self._flushing = self._lazy = None
        if self.route is not None and self.route.outgoing(self._links.now()) >= ROUND:
            self.flush_soon()
        self._schedule()

    def end(self) -> None:
        """Let everything go."""
        for handle in (self._timer, self._flushing, self._lazy):
            if handle is not None:
                handle.cancel()
        self.client.gone()
        if self.route is not None:
            self.route.part()

    def _heard(self, data: bytes) -> None:
        try:
            self.client.hear(_decoder.decode(data))
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            self._give_up(f"it said what is no message of this protocol: {error}")
        except BadMessage as error:
            self._give_up(error.message)

    def _give_up(self, why: str) -> None:
        log.warning("a link is closed: %s", why)
        if self.link.state is not State.OVER:
            self.link.close(Cause.BROKEN, why)
            self.flush()
        self._loop.call_soon(self._links.forget, self)

    def _say(self, lane: int, data: bytes) -> None:
        try:
            self.link.say(lane, data)
        except LinkFull as full:
            self._give_up(full.message)
        except LinkOver:
            pass

    def _answer(self) -> None:
        """Say answers that wait, as far as the link takes them."""
        while self._backlog and self.link.state is not State.OVER:
            try:
                self.link.say(ANSWERS, self._backlog[0])
            except LinkFull:
                return
            self._backlog.popleft()

    def _restate(self) -> None:
        """Terminal viewers get the present instead of what waited for them while the path was gone."""
        for number in self.client.restatable():
            self.link.abandon(lane_of(number))
            self.client.restate(number)

    def _schedule(self) -> None:
        due = self.link.deadline
        if self._timer is not None:
            if due is not None and self._timer.when() <= due + 0.002:
                return  # it looks again when it fires
            self._timer.cancel()
            self._timer = None
        if due is not None:
            offset = self._loop.time() - self._links.now()
            self._timer = self._loop.call_at(due + offset, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.happened(self.link.wake(now=self._links.now()))
        self.flush()


class Links:
    """Every link of this host, by operator and link id."""

    def __init__(self, host: "Host") -> None:
        self._host = host
        self._remotes: dict[tuple[bytes, bytes], Remote] = {}
        self.now = asyncio.get_running_loop().time

    @property
    def name(self) -> str:
        return self._host.name

    def responder(self) -> Responder:
        mine = self._host.identity
        return Responder(static_private=mine.channel, prologue=prologue(mine.pair.key))

    def judged(self, said: Introduce, binding: bytes) -> Granted:
        """Return who is introduced. Raises HoldError: nothing of any session was said to them."""
        return judged(self._host.identity, said, binding, now=now_s())

    def of(self, authority: Granted, begins: Resume) -> Remote:
        """Return the client whose link begins a carrier like this: the one that waits for it, or a new one."""
        key = (authority.member.key, begins.link)
        remote = self._remotes.get(key)
        if remote is not None:  # also for one that calls it new: it said things and never heard that they arrived
            if begins.carrier <= remote.link.carrier:
                raise Superseded(begins.carrier, remote.link.carrier)  # before the carrier in use is touched
            remote.client.authority = authority  # certificates and grants may be newer by now, or fewer
            remote.client.reconsider()
            if remote.link.state is not State.OVER:
                return remote
            self.forget(remote)
        if len(self._remotes) >= LINKS_MAX:
            raise TooMany(f"{LINKS_MAX} clients are linked to this host already", do="try again in a moment")
        link = Link(
            begins.link, dials=False, hears_max=TO_HOST_BYTES_MAX, says_max=TO_CLIENT_BYTES_MAX, now=self.now(),
            limits=Limits(lapse_s=LAPSE_S),
        )  # fmt: skip
        made = self._remotes[key] = Remote(self, self._host, link, authority)
        return made

    def forget(self, remote: Remote) -> None:
        """The link is over."""
        for key, each in list(self._remotes.items()):
            if each is remote:
                del self._remotes[key]
                remote.end()

    def close(self) -> None:
        """The host stops: clients find the next one and go on there."""
        for remote in list(self._remotes.values()):
            remote.client.dismiss("host-stopping")
            self.forget(remote)
