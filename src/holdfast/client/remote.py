"""Speak to a host elsewhere as if its socket were here: one link through relays behind a local socket pair.

Whoever holds the other end of the pair says and hears the messages of docs/wire.md, as on the machine itself. Carriers
that break are replaced here, unseen; only a link that cannot be resumed ends the pair, and then its user dials again.
Actions are signed here, with the operator's key. Not here: dialling relays (edge.relayline), the link (wire.link).
"""

import asyncio
import functools
import itertools
import logging
import os
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from holdfast.client import where, which
from holdfast.client.acting import Terms, sealed
from holdfast.client.compared import compared
from holdfast.client.meeting import Meeting, Route, Target, acting_folder, keys_folder
from holdfast.core.errors import HoldError, NoSuchSession
from holdfast.core.identity import host_id
from holdfast.core.ids import is_session_id
from holdfast.wire import messages as wire
from holdfast.wire import signing
from holdfast.wire.channel import Initiator, prologue
from holdfast.wire.doubts import Doubts
from holdfast.wire.facts import CarrierDead, CarrierEnded, Closed, Delivered, Event, LinkFull, Resumed, Unresumable
from holdfast.wire.framing import TO_CLIENT_BYTES_MAX, TO_HOST_BYTES_MAX, framed, host_inbox
from holdfast.wire.introduction import Dialled, Introduce
from holdfast.wire.link import CONTROL, INPUT, Limits, Link, State
from holdfast.wire.pace import RELAYS, Pace

log = logging.getLogger(__name__)

RECEIVE: Final = 1 << 16
SILENT_S: Final = 2.0  # seconds without proof of the host after which its user is told
TELL_S: Final = 1.0
FIRST_S: Final = 5.0  # a host that was never reached is given up after so long; one that was, never
PASSING: Final = frozenset(
    (
        "relay-unreachable",
        "bad-seal",
        "bad-handshake",
        "peer-closed",
        "superseded",
        "relay-draining",
        "relay-busy",
        "timeout",
    )
)
GONE_FOR_NOW: Final = frozenset(("host-unreachable", "no-such-host"))  # a host that was there comes back
WARM_S: Final = 0.05  # after a host was reached, until a process is started that keeps the link to its relay warm
OPENING_S: Final = 5.0  # from the first word on a route until the host let us in
OWN_REFS: Final = 1 << 40  # numbers of requests that are ours, above all that a client counts to
LIMITS: Final = Limits(beat_s=3.0, silence_s_max=9.0)
_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(wire.ToClient)


@dataclass
class _Names:
    """Which session a name means, as far as this link has heard; a signature names the id."""

    ids: dict[str, str] = field(default_factory=dict)

    def heard(self, info: wire.SessionInfo) -> None:
        self.ids[info.id] = info.id
        if info.ending is None or info.name not in self.ids:
            self.ids[info.name] = info.id


class Bridge:
    """One link to one host. ``local`` is our end of the socket pair; ``run`` ends when either side is done."""

    def __init__(
        self, meeting: Meeting, target: Target, local: socket.socket, reached: Callable[[], None] = lambda: None
    ) -> None:
        """``reached`` is called once, when the host was reached for the first time."""
        self._reached = reached
        self._meeting, self._target, self._local = meeting, target, local
        self._loop = asyncio.get_running_loop()
        self._static = X25519PrivateKey.generate()
        self._link = Link(
            os.urandom(16), dials=True, hears_max=TO_CLIENT_BYTES_MAX, says_max=TO_HOST_BYTES_MAX,
            now=self._loop.time(), limits=LIMITS,
        )  # fmt: skip
        self._carrier: Dialled | None = None
        self._route: Route | None = None
        self._carry: Callable[[Sequence[bytes]], None] | None = None
        self._names, self._doubts, self._terms = _Names(), Doubts(), Terms()
        self._client, self._host_id = "", host_id(target.host)
        self._began, self._ever = self._loop.time(), False
        # Of signed verbs other than input: above those of an earlier link of the same program, which has the same name.
        self._seqs = itertools.count(time.time_ns())
        self._refs = itertools.count(OWN_REFS)
        self._asking: dict[int, asyncio.Future[wire.ToClient]] = {}
        self._compared: dict[str, asyncio.Task[str]] = {}  # by session: what relays saw of it is looked at
        self._out: deque[bytes] = deque()  # for the local end, not yet taken
        self._inbox = host_inbox()
        self._queue: deque[wire.ToHost] = deque()  # of the local end, to be passed on in order
        self._wake = asyncio.Event()
        self._over = asyncio.Event()
        self._silent = False
        self._refusal: HoldError | None = None

    async def run(self) -> None:
        """Serve until the local end hangs up or the link is over."""
        self._local.setblocking(False)
        self._loop.add_reader(self._local.fileno(), self._readable)
        tasks = [
            self._loop.create_task(self._carriers(), name="carriers"),
            self._loop.create_task(self._catch_up(), name="what waits"),
            self._loop.create_task(self._beat(), name="time"),
        ]
        over = self._loop.create_task(self._over.wait(), name="over")
        try:
            await asyncio.wait([*tasks, over], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._link.close()
            self._flush()
            if self._carrier is not None and self._carry is not None:
                self._carry(self._carrier.goodbye())
            for task in (*tasks, over, *self._compared.values()):
                task.cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            for error in found:
                if isinstance(error, HoldError):
                    self._refusal = self._refusal or error
                elif isinstance(error, Exception):
                    log.error("a link failed", exc_info=error)
            if self._refusal is not None:
                self._say_locally(wire.Failed(0, self._refusal.code, self._refusal.message, self._refusal.do))
            self._loop.remove_reader(self._local.fileno())
            self._loop.remove_writer(self._local.fileno())
            self._local.close()

    # ---- carriers ----

    async def _carriers(self) -> None:
        pace = Pace(now=self._loop.time(), bounds=RELAYS)
        while True:
            if pace.due is not None and (wait := pace.due - self._loop.time()) > 0:
                await asyncio.sleep(wait)
            pace.trying()
            try:
                async with self._meeting.route(self._target) as route:
                    await self._over_one(route, pace)
            except HoldError as error:
                if self._over.is_set():
                    return  # the link itself is over, and what became of its last carrier is no news
                if self._final(error):
                    raise
                log.info("no carrier: %s", error.message)
                if pace.due is None:
                    pace.failed(now=self._loop.time(), draw=random.random())

    async def _over_one(self, route: Route, pace: Pace) -> None:
        """Have one carrier for as long as it lasts."""
        record = route.record
        initiator = Initiator(
            static_private=self._static, remote_static=record.channel, prologue=prologue(record.host),
            ephemeral_private=X25519PrivateKey.generate(),
        )  # fmt: skip
        carrier = Dialled(initiator, self._introduce, self._link)
        self._carrier, self._carry, self._route = carrier, route.carry, route
        opening = self._loop.call_later(OPENING_S, self._give_up)
        route.carry([carrier.first()])
        up = False

        def heard(payload: memoryview) -> None:
            nonlocal up
            events, first = carrier.receive(payload, now=self._loop.time())
            if first:
                route.carry(first)
            if carrier.accepted is not None and not up:
                up = True
                opening.cancel()
                if not self._ever:
                    self._ever = True
                    self._reached()
                pace.up(now=self._loop.time())
            self._happened(events)
            self._flush()

        try:
            await route.listen(heard)
        finally:
            opening.cancel()
            now = self._loop.time()
            carrier.lost(now=now)
            if carrier.secure is None:  # the host did not know what to make of it: its key may be another one by now
                self._meeting.mistrust(self._target.host)
            if self._carrier is carrier:
                self._carrier = self._carry = self._route = None
            (pace.lost if up else pace.failed)(now=now, draw=random.random())

    def _introduce(self, binding: bytes) -> Introduce:
        operator = self._meeting.operator
        return Introduce(
            1, self._meeting.certificates, self._meeting.grants, operator.sign(binding), int(operator.form)
        )

    def _final(self, error: HoldError) -> bool:
        """Whether trying again cannot help: the host or relay said no, this link is over, or it never began."""
        if self._link.state is State.OVER:
            return True
        if error.code in PASSING:
            return not self._ever and self._loop.time() - self._began > FIRST_S
        return error.code not in GONE_FOR_NOW or not self._ever

    def _happened(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Delivered():
                    self._hear(event.data)
                case Closed() | Unresumable():
                    self._over.set()
                case CarrierEnded() | CarrierDead():
                    self._give_up(doubt=isinstance(event, CarrierDead))
                case Resumed():
                    self._doubts.met(event.carrier)

    def _give_up(self, *, doubt: bool = True) -> None:
        """End the carrier, so that another is dialled; with ``doubt`` its relay is not believed to be there, either."""
        if self._route is not None:
            self._route.put(None)
            if doubt:
                self._route.line.doubt()

    def _flush(self) -> None:
        if self._carrier is None or self._carry is None:
            return
        if payloads := self._carrier.outgoing(now=self._loop.time()):
            self._carry(payloads)

    async def _beat(self) -> None:
        """Let time pass for the link, and tell the local end when the host has not been heard of for a while."""
        told = 0.0
        while True:
            now = self._loop.time()
            due = min(self._link.deadline or now + 1.0, now + 0.5)
            await asyncio.sleep(max(0.001, due - now))
            now = self._loop.time()
            self._happened(self._link.wake(now=now))
            self._flush()
            age = min(self._link.proof_age(now=now), now - self._began)  # never heard is not silent since for ever
            busy = self._link.kept() > 0 or self._link.state is not State.UP
            if age > SILENT_S and busy and now - told >= TELL_S:
                told, self._silent = now, True
                self._say_locally(wire.Silent(age))
            elif self._silent and age < SILENT_S:
                self._silent = False
                self._say_locally(wire.Silent(0.0))

    # ---- what the host says ----

    def _hear(self, data: bytes) -> None:
        message = _decoder.decode(data)
        self._terms.heard(message)
        match message:
            case wire.Listing():
                for info in message.sessions:
                    self._names.heard(info)
            case wire.Attached():
                self._names.heard(message.session)
                self._compare(message.session)
            case wire.Opened() | wire.Tuple():
                self._names.heard(message.session)
        ref = getattr(message, "ref", 0)
        if ref >= OWN_REFS:
            if (asking := self._asking.pop(ref, None)) is not None and not asking.done():
                asking.set_result(message)
            return
        told = self._doubts.told(message)
        self._write(len(data).to_bytes(4, "big") + data if told is message else bytes(framed(told)))

    def _compare(self, info: wire.SessionInfo) -> None:
        """Look, once a session, whether relays saw a later record of it than the host has. Nobody waits for it."""
        if info.journal_head and info.id not in self._compared:
            work = compared(self._meeting, self._target, info, self._ask)
            task = self._compared[info.id] = self._loop.create_task(work, name=f"{info.id}: witnesses")
            task.add_done_callback(lambda done: self._was_compared(info.id, done))

    def _was_compared(self, session: str, done: asyncio.Task[str]) -> None:
        if not done.cancelled() and done.exception() is None and (why := done.result()):
            self._say_locally(wire.SetBack(session, why))

    async def _ask(self, request: Callable[[int], wire.ToHost]) -> wire.ToClient:
        """Ask the host something of our own."""
        ref = next(self._refs)
        answer: asyncio.Future[wire.ToClient] = self._loop.create_future()
        self._asking[ref] = answer
        self._link.say(CONTROL, _encode(request(ref)))
        self._flush()
        return await answer

    def _say_locally(self, message: wire.Message) -> None:
        self._write(bytes(framed(message)))

    def _write(self, data: bytes) -> None:
        if not self._out:
            try:
                sent = self._local.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._over.set()
                return
            if sent == len(data):
                return
            data = data[sent:]
            self._loop.add_writer(self._local.fileno(), self._writable)
        self._out.append(data)

    def _writable(self) -> None:
        try:
            while self._out:
                sent = self._local.send(self._out[0])
                if sent < len(self._out[0]):
                    self._out[0] = self._out[0][sent:]
                    return
                self._out.popleft()
        except BlockingIOError:
            return
        except OSError:
            self._over.set()
        self._loop.remove_writer(self._local.fileno())

    # ---- what the local end says ----

    def _readable(self) -> None:
        """The local end said something. What needs no waiting is passed on in this very turn."""
        try:
            data = self._local.recv(RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._local.fileno())
            self._over.set()
            return
        try:
            for message in self._inbox.receive(data):
                if self._queue or not self._passed_on(message):
                    self._queue.append(message)
        except HoldError as error:
            self._refusal = error
            self._over.set()
        if self._queue:
            self._loop.remove_reader(self._local.fileno())  # the keyboard waits
            self._wake.set()
        self._flush()

    async def _catch_up(self) -> None:
        """Pass on what had to wait: for room in the link, or for the id that a name means."""
        while True:
            await self._wake.wait()
            while self._queue:
                message = self._queue[0]
                try:
                    await self._know(message)
                except HoldError as error:
                    self._fail(message, error)
                    self._queue.popleft()
                    continue
                if self._passed_on(message):
                    self._queue.popleft()
                else:
                    await asyncio.sleep(0.02)  # the link's acknowledgements make room, and tell nobody in particular
                self._flush()
            self._wake.clear()
            self._loop.add_reader(self._local.fileno(), self._readable)

    def _passed_on(self, message: wire.ToHost) -> bool:
        """Say ``message`` on the link; False if it has to wait."""
        if isinstance(message, wire.Hello):
            self._client = message.client
        if isinstance(message, wire.Attach) and message.direct:
            message = msgspec.structs.replace(message, direct=False)
        lane = INPUT if isinstance(message, wire.Input) else CONTROL
        said = message
        if signing.verb_of(message) in signing.SIGNED:
            about = self._about(message)
            if about is None:
                return False
            said = self._signed(message, about)
        try:
            self._link.say(lane, _encode(said))
        except LinkFull:
            return False
        self._doubts.said(message, carrier=self._link.carrier + (self._link.state is State.DOWN))
        return True

    def _fail(self, message: wire.ToHost, error: HoldError) -> None:
        self._say_locally(wire.Failed(getattr(message, "ref", 0), error.code, error.message, error.do, error.details))

    def _about(self, message: wire.ToHost) -> str | None:
        """Return the id that a signature of ``message`` names, None if it is not known yet."""
        if isinstance(message, wire.Open):
            return str(self._host_id)
        name = str(message.session)  # type: ignore[union-attr]
        return name if is_session_id(name) else self._names.ids.get(name)

    def _signed(self, message: wire.ToHost, about: str) -> wire.Signed:
        seq = message.seq if isinstance(message, wire.Input) else next(self._seqs)
        follows = not self._meeting.person
        return sealed(
            message, about=about, client=self._client, seq=seq, pair=self._meeting.operator_pair,
            term=self._terms.latest(about) if follows else 0, basis=self._terms.basis(about) if follows else None,
        )  # fmt: skip

    async def _know(self, message: wire.ToHost) -> None:
        """Learn which session ``message`` means, if a signature has to say so. Raises NoSuchSession."""
        if signing.verb_of(message) not in signing.SIGNED or self._about(message) is not None:
            return
        await self._ask(lambda ref: wire.List(ref, True))
        if self._about(message) is None:
            raise NoSuchSession(str(getattr(message, "session", "")))


# ---- a bridge in a thread, for programs that are not asyncio, or another loop ---------------------------------------


class Bridges:
    """Bridges of one program, in one thread with a loop of its own."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._meetings: dict[tuple[str, str], Meeting] = {}

    def dial(self, path: str) -> socket.socket:
        """Return a connected socket that leads to ``path``. What goes wrong is said on it as ``failed``."""
        ours, theirs = socket.socketpair()
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="links", daemon=True).start()
        reached = functools.partial(_keep_warm, dict(os.environ))  # of now: of this machine, whatever is looked at next
        asyncio.run_coroutine_threadsafe(self.bridge(path, ours, reached), self._loop)
        return theirs

    async def close(self) -> None:
        """Hang up everywhere; in the loop that bridges were served in."""
        for meeting in self._meetings.values():
            await meeting.close()

    def _meeting(self, profile: str) -> Meeting:
        place = (
            str(keys_folder()),
            profile,
        )  # a test's program may look at several machines' keys, one after the other
        if place not in self._meetings:
            acting = profile.removeprefix(where.ACTING)
            self._meetings[place] = Meeting(acting, folder=acting_folder() if acting != profile else None)
        return self._meetings[place]

    async def bridge(self, path: str, local: socket.socket, reached: Callable[[], None] = lambda: None) -> None:
        """Serve ``local`` until it hangs up, in the loop this is called in. Raises nothing: it is said on ``local``."""
        try:
            meeting, target = await which.find(self._meeting, *where.parts(path))
            await Bridge(meeting, target, local, reached).run()
        except HoldError as error:
            with local:
                local.setblocking(True)
                local.sendall(framed(wire.Failed(0, error.code, error.message, error.do)))


def _keep_warm(environment: Mapping[str, str]) -> None:
    from holdfast.client.warm import start  # that module needs this one

    loop = asyncio.get_running_loop()
    # Not now: somebody waits for the first paint.
    loop.call_later(WARM_S, loop.run_in_executor, None, start, environment)


_bridges: Final = Bridges()


def dial(path: str) -> socket.socket:
    """Return a connected socket that leads to a host elsewhere, through a thread of this program."""
    return _bridges.dial(path)
