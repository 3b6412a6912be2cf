"""Tell people whose page is closed that something happened: keep their subscriptions, and have notices sent (Web Push).

A notice names its kind, the session and the host; nothing of what was typed or shown. Subscriptions are secrets: whoever has
one can make that browser ring. Not here: who is told of what (core.notices), how it is sent (postman). Source: docs/web.md.
"""

import asyncio
import hashlib
import json
import logging
import sys
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from holdfast.core.admission import Granted
from holdfast.core.commandlog import command_of
from holdfast.core.errors import HoldError, Refused, TooMany
from holdfast.core.identity import Kind as OperatorKind
from holdfast.core.journal import Author, Kind, Record
from holdfast.core.notices import LONG_S, Happened, Listener, Pacing, Why, concerns, lasts
from holdfast.core.waiting import Waiting, Wants
from holdfast.edge.files import make_folder, write_durably
from holdfast.host import postman
from holdfast.host.identity import now_s
from holdfast.host.postman import ERRAND_S, Errand, Fate, Letter, Told
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.host.clients import Client
    from holdfast.host.host import Host
    from holdfast.host.session import Session

log = logging.getLogger(__name__)

FORMAT: Final = 1
EACH_MAX: Final = 8  # subscriptions of one operator; the oldest goes
ALL_MAX: Final = 256
ENDPOINT_MAX: Final = 1024
QUEUE_MAX: Final = 256  # letters that wait; the oldest goes
SETTLE_S: Final = 4.0  # a program that waits for input so long waits for a person
TRIES_S: Final = (5.0, 30.0, 120.0)  # between tries; then it is too late to be news
AFTER_MAX_S: Final = 300.0  # a push service that wants more patience is not waited for
PROCESS_S: Final = ERRAND_S + 20.0  # it ends by itself before, unless the machine slept or has much to do
TTL_S: Final = {Why.COMMAND: 4 * 3600, Why.INPUT: 3600, Why.APPROVAL: 3600, Why.CONTROL: 600}
URGENT: Final = frozenset((Why.INPUT, Why.APPROVAL))
LOST: Final = Fate(0, "the process that sends them did not end well")


class _Subscription(msgspec.Struct, frozen=True, array_like=True):
    endpoint: str
    key: bytes
    auth: bytes
    everything: bool
    seen_at: int
    authority: Granted

    def __repr__(self) -> str:
        return "<a subscription>"

    @property
    def listener(self) -> Listener:
        return Listener(self.authority, self.seen_at, self.everything)

    @property
    def name(self) -> str:
        """What stands for the endpoint where it must not."""
        return hashlib.sha256(self.endpoint.encode()).hexdigest()[:16]


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    format: int
    secret: bytes  # P-256, made when somebody first asks
    subscriptions: tuple[_Subscription, ...]

    def __repr__(self) -> str:
        return f"<{len(self.subscriptions)} subscriptions>"


class Push:
    """The subscriptions of one host, in ``path``. Told of every record and every wait; does nothing while nobody subscribed."""

    def __init__(self, host: "Host", path: Path) -> None:
        self._host, self._path = host, path
        self._secret = b""
        self._kept: dict[str, _Subscription] = {}  # by endpoint, the one seen last at the end
        self._pacing = Pacing()
        self._born: dict[str, str] = {}  # session -> who began it
        # Session -> what it asks, and when that is news.
        self._asked: dict[str, tuple[Waiting, asyncio.TimerHandle]] = {}
        self._queue: list[tuple[str, Letter, int]] = []  # endpoint, letter, tries so far
        self._sending = False
        self._read()

    # ---- subscriptions ----

    @property
    def key(self) -> bytes:
        """The public key that a browser subscribes with, made now if there is none."""
        if not self._secret:
            number = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
            self._secret = number.to_bytes(32, "big")
            self._write()
        secret = ec.derive_private_key(int.from_bytes(self._secret, "big"), ec.SECP256R1())
        return secret.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def keep(self, ask: wire.Notify, authority: Granted) -> None:
        """Take a subscription, or make one last longer. Raises Refused, TooMany."""
        if authority.member.kind in (OperatorKind.GUEST, OperatorKind.SERVICE, OperatorKind.AI) or authority.inside:
            raise Refused(
                "notices are for people and their devices; nothing was kept", do="subscribe from a paired phone"
            )
        good = len(ask.endpoint) <= ENDPOINT_MAX and postman.well_formed(ask.endpoint)
        if not good or len(ask.auth) != 16 or not _is_point(ask.key):
            raise Refused("that is no subscription of a browser; nothing was kept", do="subscribe anew")
        others = [each for each in self._kept.values() if each.endpoint != ask.endpoint]
        mine = [each.endpoint for each in others if each.authority.member.key == authority.member.key]
        gone = mine[: max(0, len(mine) - EACH_MAX + 1)]
        if len(others) - len(gone) >= ALL_MAX:
            raise TooMany(f"this host keeps {ALL_MAX} subscriptions already", do="have others stop theirs")
        for endpoint in (*gone, ask.endpoint):
            self._kept.pop(endpoint, None)
        self._kept[ask.endpoint] = _Subscription(ask.endpoint, ask.key, ask.auth, ask.everything, now_s(), authority)
        self._write()

    def drop(self, endpoint: str, holder: bytes | None = None) -> None:
        """Give a subscription up; with ``holder`` only if it is theirs."""
        found = self._kept.get(endpoint)
        if found is not None and (holder is None or found.authority.member.key == holder):
            del self._kept[endpoint]
            self._write()

    def count(self, holder: bytes) -> int:
        """Return how many subscriptions ``holder`` has."""
        return sum(each.authority.member.key == holder for each in self._kept.values())

    def reconsider(self) -> None:
        """Rights may have ended: who was revoked is told nothing more (R56)."""
        now, revoked = now_s(), self._host.revocations
        over = [e for e, each in self._kept.items() if not lasts(each.listener, now=now, revoked=revoked)]
        for endpoint in over:
            del self._kept[endpoint]
        if over:
            self._queue = [each for each in self._queue if each[0] in self._kept]
            self._write()

    # ---- what happens ----

    def recorded(self, session: "Session", record: Record) -> None:
        """``record`` was appended. Called for each: while nobody subscribed it costs a look."""
        if record.kind == Kind.ENDED and (asked := self._asked.pop(session.id, None)) is not None:
            asked[1].cancel()  # also when the last subscription went meanwhile: a timer holds the session
        if not self._kept:
            return
        body, by = record.body, record.operator.partition("/")[0]
        match record.kind:
            case Kind.BORN:
                self._born = dict([*list(self._born.items())[-QUEUE_MAX:], (session.id, by)])
            case Kind.INPUT:
                behalf = str(body.get("on_behalf_of", ""))
                self._pacing.acted(session.id, by, *([behalf] if behalf else []), now=time.monotonic())
            case Kind.COMMAND:
                command = command_of(body)
                if command is not None and command.state == "done" and (command.duration_s or 0.0) >= LONG_S:
                    author = command.author.partition("/")[0]
                    self._happened(Happened(Why.COMMAND, session.id, author, command.on_behalf_of))
            case Kind.ENDED:
                if time.time() - session.sheet.created_at >= LONG_S:
                    self._happened(Happened(Why.COMMAND, session.id, self._born.get(session.id, "")))
            case Kind.PROPOSAL:
                self._happened(Happened(Why.APPROVAL, session.id, by))
            case Kind.CONTROL:
                former, holder = str(body.get("former", "")), str(body.get("holder", ""))
                if body.get("act") == "take" and former and former != holder:
                    self._happened(Happened(Why.CONTROL, session.id, holder, of=former))
            case _:
                pass

    def waits(self, session: "Session", waiting: Waiting) -> None:
        """``session`` waits for something, or what its last line says has changed meanwhile: that is no second question, or a
        program that shows its progress would ring without end."""
        former = self._asked.get(session.id)
        if former is not None and former[0] == waiting:
            return
        if former is not None:
            former[1].cancel()
            del self._asked[session.id]
        if self._kept and waiting.wants in (Wants.LINE, Wants.PASSWORD):
            timer = asyncio.get_running_loop().call_later(SETTLE_S, self._still, session, waiting)
            self._asked[session.id] = (waiting, timer)

    def _still(self, session: "Session", waiting: Waiting) -> None:
        state = session.waiting.state
        if session.over or self._host.stopping or state is None or state.waiting != waiting:
            return
        prompt = session.commands.state()
        command = session.commands.get(prompt.running) if prompt.running else None
        control = session.judge.now()
        if command is not None and command.author:
            by, principal = command.author.partition("/")[0], command.on_behalf_of
        elif control is not None and control.holder:
            by, principal = control.holder, control.on_behalf_of
        else:
            by, principal = self._born.get(session.id, ""), ""
        self._happened(Happened(Why.INPUT, session.id, by, principal))

    def _happened(self, it: Happened) -> None:
        now, clock, revoked = now_s(), time.monotonic(), self._host.revocations
        for each in list(self._kept.values()):
            listener = each.listener
            if not concerns(listener, it, now=now, revoked=revoked):
                continue
            looks = any(
                self._pacing.here(it.session, who, now=clock) for who in (listener.id, listener.principal) if who
            )
            if (looks and it.why in (Why.COMMAND, Why.INPUT)) or not self._pacing.due(each.name, it, now=clock):
                continue
            self._post(each, it)

    # ---- sending ----

    def _post(self, to: _Subscription, it: Happened) -> None:
        said = {"why": it.why.value, "session": it.session, "host": self._host.id}
        topic = urlsafe_b64encode(hashlib.sha256(f"{it.session}{it.why}".encode()).digest()[:18]).decode()
        urgency = "high" if it.why in URGENT else "normal"
        letter = Letter(to.endpoint, to.key, to.auth, json.dumps(said).encode(), TTL_S[it.why], urgency, topic)
        self._enqueue(to.endpoint, letter, 0)

    def _enqueue(self, endpoint: str, letter: Letter, tries: int) -> None:
        if endpoint not in self._kept or self._host.stopping:
            return
        self._queue.append((endpoint, letter, tries))
        del self._queue[:-QUEUE_MAX]
        if not self._sending:
            self._sending = True
            self._host.spawn(self._send(), "notices")

    async def _send(self) -> None:
        """Have what waits sent, one process at a time."""
        try:
            while self._queue:
                batch, self._queue = self._queue, []
                fates = await self._carried(tuple(letter for _, letter, _ in batch))
                for at, (endpoint, letter, tries) in enumerate(batch):
                    self._sent(endpoint, letter, tries, fates.get(at, LOST))
        finally:
            self._sending = False

    async def _carried(self, letters: tuple[Letter, ...]) -> dict[int, Fate]:
        """Return what is known of each letter. What was told before the process failed counts: it must not be sent twice."""
        config = self._host.config
        errand = Errand(self._secret, config.push_contact, config.push_near, letters)
        found: dict[int, Fate] = {}
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "holdfast.host.postman", stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, cwd="/",
            )  # fmt: skip
            assert process.stdin is not None and process.stdout is not None
            try:
                async with asyncio.timeout(PROCESS_S):
                    process.stdin.write(msgspec.msgpack.encode(errand))
                    process.stdin.close()
                    async for line in process.stdout:
                        told = msgspec.json.decode(line, type=Told)
                        found[told.letter] = told.fate
                    await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        except (OSError, TimeoutError, msgspec.MsgspecError) as error:
            log.warning("notices were not all sent: %s", type(error).__name__)
        return found

    def _sent(self, endpoint: str, letter: Letter, tries: int, fate: Fate) -> None:
        if fate.sent:
            return
        if fate.gone:
            log.info("%s: a browser has given up its subscription", letter.service)
            self.drop(endpoint)
        elif fate.passing and tries < len(TRIES_S) and fate.after_s <= AFTER_MAX_S:
            wait = max(TRIES_S[tries], fate.after_s)
            asyncio.get_running_loop().call_later(wait, self._enqueue, endpoint, letter, tries + 1)
        else:
            log.warning("%s: a notice was not taken: %d %s", letter.service, fate.status, fate.why)

    # ---- on disk ----

    def _read(self) -> None:
        try:
            kept = msgspec.msgpack.decode(self._path.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("subscriptions for notices are lost (%s): whoever opens the page subscribes anew", error)
            return
        self._secret = kept.secret
        self._kept = {each.endpoint: each for each in kept.subscriptions}

    def _write(self) -> None:
        make_folder(self._path.parent)
        kept = _Kept(FORMAT, self._secret, tuple(self._kept.values()))
        try:
            write_durably(self._path, msgspec.msgpack.encode(kept))
        except HoldError as error:
            log.warning("subscriptions for notices were not kept: %s", error.message)


def _is_point(key: bytes) -> bool:
    """Whether ``key`` is an uncompressed point of P-256: nothing can be sealed for another (RFC 8291)."""
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
    except ValueError:
        return False
    return len(key) == 65


async def _notify(host: "Host", ask: wire.Notify, peer: "Client", by: Author) -> wire.Message:
    authority = _with_keys(peer)
    if ask.endpoint and not postman.missing():
        host.push.keep(ask, authority)
    return _said(host, ask.ref, authority)


async def _stop(host: "Host", ask: wire.StopNotifying, peer: "Client", by: Author) -> wire.Message:
    authority = _with_keys(peer)
    host.push.drop(ask.endpoint, authority.member.key)
    return _said(host, ask.ref, authority)


def _with_keys(peer: "Client") -> Granted:
    if not isinstance(peer.authority, Granted):
        raise Refused("notices go to operators with a key of their own; nothing was kept", do="`hold pair` makes one")
    return peer.authority


def _said(host: "Host", ref: int, authority: Granted) -> wire.Notifying:
    return wire.Notifying(ref, host.push.key, host.push.count(authority.member.key), postman.missing())


HANDLERS: "Final[dict[type, Callable[[Host, Any, Client, Author], Awaitable[wire.Message]]]]" = {
    wire.Notify: _notify,
    wire.StopNotifying: _stop,
}
