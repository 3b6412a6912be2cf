"""Serve one client, whatever carries what it says: greet, admit each act at one gate, answer, attach. Source: docs/wire.md.

Not here: the carrier (server for Unix sockets, remote for links through relays), what a request does (requests, session).
Who speaks is what the carrier proved, never what a message claims.
"""

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from holdfast.core.admission import Act, Authority, Granted, Owner, objection, refusals
from holdfast.core.errors import BadMessage, HoldError, HostFailed, Nested, NoSuchSession, TooMany, WrongVersion
from holdfast.core.identity import Kind, operator_id
from holdfast.core.journal import Author, Proof
from holdfast.core.seqs import Seqs
from holdfast.host.attachments import Attachment, Terminal
from holdfast.host.commandviews import KINDS
from holdfast.host.fairness import Fair
from holdfast.host.gate import TYPIST
from holdfast.host.introductions import presented
from holdfast.host.promptly import run_promptly
from holdfast.wire import messages as wire
from holdfast.wire import signing
from holdfast.wire.framing import TO_HOST_BYTES_MAX
from holdfast.wire.presenting import NONCE_BYTES

if TYPE_CHECKING:
    from holdfast.host.host import Host
    from holdfast.host.session import Session

log = logging.getLogger(__name__)

REQUESTS_MAX: Final = 64  # under way at once for one client
_actions: Final = msgspec.msgpack.Decoder(wire.ToHost)

_Found = tuple["Session", str]
"""A session, and the verb as which somebody was admitted to it."""


class Line(Protocol):
    """What carries messages to the client, in order."""

    def send(self, message: wire.Message) -> None: ...
    def pass_on(self, message: wire.Message, *descriptors: int) -> bool: ...
    def room(self) -> int | None:
        """Bytes of output that may be sent now without waiting in front of what is newer; None: as many as one likes."""
        ...

    def patience(self) -> int | None:
        """Bytes of output behind which state is better; None: as the settings say."""
        ...

    def withhold(self) -> None:
        """A right ended: nothing that was said and may not have arrived is sent from now on (I9)."""
        ...

    def pause(self, on: bool) -> None:
        """Hear nothing more of the client for now, or again. A carrier that bounds what is on its way need not."""
        ...

    def broken(self, error: BadMessage) -> None:
        """What the client said makes no sense: end the conversation with ``error``."""
        ...

    def close(self) -> None: ...


class _Nobody:
    """The line of a client that is gone: what is still said to it is heard by nobody, and its carrier is let go."""

    def send(self, message: wire.Message) -> None:
        pass

    def pass_on(self, message: wire.Message, *descriptors: int) -> bool:
        return False

    def room(self) -> int | None:
        return 0

    def patience(self) -> int | None:
        return None

    def withhold(self) -> None:
        pass

    def pause(self, on: bool) -> None:
        pass

    def broken(self, error: BadMessage) -> None:
        pass

    def close(self) -> None:
        pass


class Client:
    """One client. Holds its attachments; when it goes, they go. ``operator`` is who it acts as, by ``authority``."""

    def __init__(self, host: "Host", line: Line, *, authority: Authority, operator: str, pid: int = 0) -> None:
        self._host = host
        self._line: Line = line
        self.authority, self.pid = authority, pid
        self.operator = Author(operator, principal=_principal(authority), kind=_kind(authority))
        self._requests: dict[int, asyncio.Task[None]] = {}
        self._attached: dict[int, tuple[Session, Attachment]] = {}
        self.waits = 0  # under way, of all sessions
        self._opened = Seqs()  # of sessions that this client began; the host knows a repetition by its key
        self.client, self.face, self.inside = "", "", ""
        self._nonce = b"" if isinstance(authority, Granted) else os.urandom(NONCE_BYTES)  # what presented keys sign
        self.acted_at = time.monotonic()
        self._fair = Fair(self._hear, line.broken, line.pause)
        host.clients.add(self)

    # ---- what the carrier calls ----

    def hear(self, message: wire.ToHost) -> None:
        """The client said ``message``. Raises BadMessage for what ends the conversation."""
        if not self.client:
            self._greet(message)
        elif self.operator.kind == "human":
            self._hear(message)
        else:
            self._fair.hear(message)

    def _hear(self, message: wire.ToHost) -> None:
        if isinstance(message, wire.Signed):
            self._unsealed(message)
        elif isinstance(message, wire.Present):
            self._present(message)
        elif isinstance(self.authority, Granted) and signing.verb_of(message) in signing.SIGNED:
            self._fail(getattr(message, "ref", 0), signing.BadSignature("it carries none"))
        else:
            self._handle(message, self.operator)

    def gone(self, cause: str = "gone") -> None:
        """The carrier ended for good."""
        self._fair.close()
        for task in self._requests.values():
            task.cancel()
        for session, attachment in self._attached.values():
            session.leave(attachment, cause)
        self._attached.clear()
        self._line = _Nobody()
        self._host.clients.discard(self)

    def pump(self) -> None:
        """The carrier takes more: send what waits for that."""
        for _, attachment in list(self._attached.values()):
            attachment.pump()

    # ---- what attachments, requests and the host use ----

    def send(self, message: wire.Message) -> None:
        self._line.send(message)

    def pass_on(self, message: wire.Message, *descriptors: int) -> bool:
        # Memory that was handed over cannot be taken back, as private asks for: only people read it themselves.
        return self.operator.kind == "human" and self._line.pass_on(message, *descriptors)

    def room(self) -> int | None:
        return self._line.room()

    def patience(self) -> int | None:
        return self._line.patience()

    def restatable(self) -> list[int]:
        """Return the numbers of attachments to which a state is as good as the bytes before it."""
        return [number for number, (_, attachment) in self._attached.items() if isinstance(attachment, Terminal)]

    def restate(self, number: int) -> None:
        """Have that attachment go on with a state."""
        if isinstance(attachment := self.attachment(number), Terminal):
            attachment.restate()

    def dismiss(self, cause: str) -> None:
        """End every attachment with ``cause``, then close."""
        for number in list(self._attached):
            self._part(number, cause)
        self._line.close()

    def attachment(self, number: int) -> Attachment | None:
        """Return the live attachment of that number."""
        held = self._attached.get(number)
        return held[1] if held is not None else None

    def reconsider(self) -> None:
        """Rights may have ended: whoever lost them is cut off now, and what waits to be typed is dropped (R56, R57)."""
        if isinstance(self.authority, Owner):
            return
        for number, (session, attachment) in list(self._attached.items()):
            act = Act("attach", session.id, session.id, attachment.observe)
            if refusals(act, self.authority, now=int(time.time()), revoked=self._host.revocations):
                session.lane.drop(self.client)
                session.judge.gone(self.operator)
                self._line.withhold()
                self._part(number, "revoked")
        if isinstance(self.authority, Granted):
            now = int(time.time())
            for certificate in self.authority.member.certificates:
                if now >= certificate.not_after or self._host.revocations.names(certificate):
                    self.dismiss("revoked")
                    return

    def _part(self, number: int, cause: str) -> None:
        session, attachment = self._attached.pop(number)
        attachment.close(cause)
        session.leave(attachment, cause)

    # ---- messages ----

    def _greet(self, message: wire.ToHost) -> None:
        if not isinstance(message, wire.Hello):
            raise BadMessage(f"a connection begins with hello, not {type(message).__name__.lower()}")
        if message.version != wire.PROTOCOL:
            self._fail(0, WrongVersion(message.version, wire.PROTOCOL))
            self._line.close()
            return
        if message.client.startswith(TYPIST):
            raise BadMessage(f"a client's name cannot begin with {TYPIST!r}: the host types approved input under it")
        self.client, self.face, self.inside = message.client or "?", message.face, message.inside
        host = self._host
        self.send(
            wire.Welcome(
                wire.PROTOCOL, host.id, host.name, host.generation, host.software, TO_HOST_BYTES_MAX, self._nonce
            )
        )

    def _present(self, said: wire.Present) -> None:
        """A local client says by key who it is: from now on it may what that operator may, and signs what it does."""
        if self._requests or self._attached:
            raise BadMessage("keys are presented before anything is asked for")
        host = self._host
        nonce, self._nonce = self._nonce, b""
        try:
            authority = presented(
                host.identity, said, self.authority, host=host.id, client=self.client, nonce=nonce
            )  # fmt: skip
        except BadMessage:
            raise
        except HoldError as error:  # what it asks for next, it asks for as somebody else than it is here
            self._fail(said.ref, error)
            self._line.close()
            return
        operator = str(operator_id(authority.member.key))
        self.authority = authority
        self.operator = Author(operator, principal=_principal(authority), kind=_kind(authority))
        host.relays.watch()
        self.send(wire.Done(said.ref))

    def _handle(self, message: wire.ToHost, author: Author) -> None:
        match message:
            case wire.Input():
                self._type(message, author)
            case wire.Credit():
                if (held := self._attached.get(message.attachment)) is not None and message.size > 0:
                    held[1].more(message.size)
            case wire.Seen():
                if (held := self._attached.get(message.attachment)) is not None:
                    held[1].seen(message.offset)
            case wire.Ping():
                self.send(wire.Pong(message.mark))
            case wire.Detach():
                if message.attachment in self._attached:
                    self._part(message.attachment, message.cause)
            case wire.Cancel():
                if (task := self._requests.get(message.ref)) is not None:
                    task.cancel()
            case wire.Hello() | wire.Pong():
                pass
            case wire.Signed() | wire.Present():
                raise BadMessage("a signed message holds another one")
            case _:
                self._begin(message, author)

    def _unsealed(self, signed: wire.Signed) -> None:
        """Check that the operator signed this very action, for this session, once; then do it as theirs."""
        try:
            message = _actions.decode(signed.action)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise BadMessage(f"a signed action is no message of this protocol: {error}") from None
        ref: int = getattr(message, "ref", 0)
        try:
            author, found = self._proven(signed, message)
        except HoldError as error:
            self._fail(ref, error)
            return
        if isinstance(message, wire.Input):  # its term: what was signed, not what else it says
            self._type(msgspec.structs.replace(message, term=signed.term), author, found)
        else:
            self._handle(message, author)

    def _proven(self, signed: wire.Signed, message: wire.ToHost) -> tuple[Author, _Found | None]:
        """Return whose ``message`` is, with the signature, and as what it was admitted to which session."""
        verb = signing.verb_of(message)
        if not isinstance(self.authority, Granted) or verb not in signing.SIGNED:
            raise BadMessage(f"a {verb} message is not signed here")
        found = None if isinstance(message, wire.Open) else self._admitted(message, verb)
        about, seqs = (found[0].id, found[0].journal.seqs) if found is not None else (self._host.id, self._opened)
        if signed.session != about:
            raise signing.BadSignature("it is for another session")
        key = self.authority.member.key
        if isinstance(message, wire.Input):
            if message.seq != signed.seq:
                raise signing.BadSignature("it is for another input")
        elif not seqs.fresh(key, self.client, signed.seq):
            raise signing.BadSignature("its number was used before")
        action = signing.canonical(message)
        statement = signing.statement(
            session=signed.session, client=self.client, epoch=signed.epoch, term=signed.term, seq=signed.seq, verb=verb,
            commitment=signing.commitment(signed.salt, action),
        )  # fmt: skip
        signing.verify(key, statement, signed.signature)
        if signed.epoch != self._host.epoch(signed.session):
            raise signing.BadSignature("it was given for another home")
        if not isinstance(message, wire.Input):
            seqs.used(key, self.client, signed.seq)
        proof = Proof(key, statement, signed.salt, signed.signature, signing.kept(message, action))
        mine = self.operator
        return Author(mine, principal=mine.principal, proof=proof, kind=mine.kind, term=signed.term), found

    def _found(self, message: wire.ToHost, verb: str) -> "Session":
        """Return the session ``message`` names, if this client may do that to it."""
        return self._admitted(message, verb)[0]

    def _admitted(self, message: wire.ToHost, verb: str) -> _Found:
        """Return the session ``message`` names, if this client may do that to it, and as what: the input of whoever may
        only propose is a proposal. The one gate (I9, STYLE 6)."""
        named = str(getattr(message, "session", ""))
        session = self._host.known(named) if named else None
        if not isinstance(self.authority, Owner):
            act = Act(verb, session.id if session else "", named, self._observes(message))
            now, revoked = int(time.time()), self._host.revocations
            no = objection(act, self.authority, now=now, revoked=revoked)
            if no is not None and verb == "input":
                verb = "propose"
                no = objection(Act(verb, act.session, named), self.authority, now=now, revoked=revoked) and no
            if no is not None:
                # Of a session that the asker may not look on there is no trace, as if there were no session (I9).
                if session is not None and not isinstance(no, NoSuchSession):
                    self._note_refused(session, message, str(no.details.get("reason", no.code)))
                raise no
        if session is None:
            raise NoSuchSession(named)
        session.judge.shows(self.operator, verb)
        return session, verb

    def _note_refused(self, session: "Session", message: wire.ToHost, reason: str) -> None:
        """Have it on record that something was tried that would have changed ``session`` (R63)."""
        verb = signing.verb_of(message)
        if verb in signing.SIGNED:
            self._host.refusing.note(session.id, self.operator, verb, reason)

    def _observes(self, message: wire.ToHost) -> bool:
        """Whether it changes nothing but the asker's own view."""
        if isinstance(message, wire.Resize):
            held = self._attached.get(message.attachment)
            return held is not None and held[1].observe
        return isinstance(message, wire.Attach) and message.observe

    def _admit(self, message: wire.ToHost) -> None:
        """Raise what ``message`` is refused with, before anything is done for it."""
        if isinstance(self.authority, Owner):
            return
        verb = signing.verb_of(message)
        if getattr(message, "session", None) is not None:
            self._found(message, verb)
            return
        no = objection(Act(verb), self.authority, now=int(time.time()), revoked=self._host.revocations)
        if no is not None:
            raise no

    def _begin(self, message: wire.ToHost, author: Author) -> None:
        ref: int = getattr(message, "ref", 0)
        if len(self._requests) >= REQUESTS_MAX:
            self._fail(ref, TooMany(f"{REQUESTS_MAX} requests are under way on this connection", do="wait for answers"))
            return
        task = asyncio.get_running_loop().create_task(
            self._answer(ref, message, author), name=f"request {type(message).__name__}"
        )
        self._requests[ref] = task
        task.add_done_callback(lambda _: self._requests.pop(ref, None))

    async def _answer(self, ref: int, message: wire.ToHost, author: Author) -> None:
        self.acted_at = time.monotonic()
        try:
            self._admit(message)
            if (named := getattr(message, "session", "")) and (session := self._host.known(named)) is not None:
                session.judge.heard(author)
            if isinstance(message, wire.Attach):
                await self._attach(message)
                return
            answer = await self._host.serve(message, self, author)
            if named and session is not None:
                session.judge.shows(self.operator, signing.verb_of(message))  # it may be private by now
        except HoldError as error:
            self._fail(ref, error)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("request %s failed", type(message).__name__)
            self._fail(
                ref,
                HostFailed(
                    "the host met a defect of its own while doing this; sessions are untouched",
                    do="see the end of the host's log (`hold host status` names it) and report it",
                ),
            )
        else:
            if answer is not None:
                self.send(answer)

    async def _attach(self, ask: wire.Attach) -> None:
        if ask.view not in KINDS:
            raise BadMessage(f"there is no view {ask.view!r}; views are {', '.join(KINDS)}")
        self._attached = {number: held for number, held in self._attached.items() if not held[1].over}
        if ask.attachment in self._attached:
            raise BadMessage(f"attachment {ask.attachment} is in use on this connection")
        session = self._host.find(ask.session)
        if self.inside == session.id:
            raise Nested(session.name)
        attachment = await session.attach(ask, self)
        if self.pid:
            run_promptly(self.pid)
        self._attached[ask.attachment] = (session, attachment)

    def _type(self, message: wire.Input, author: Author, found: _Found | None = None) -> None:
        """``found``: as what it was admitted just now, if it was asked already."""

        def answer(result: wire.Typed | HoldError) -> None:
            if isinstance(result, HoldError):
                self._fail(message.ref, result)
            else:
                self.send(result)

        self.acted_at = time.monotonic()
        try:
            held = self._attached.get(message.attachment)
            if held is None or not isinstance(self.authority, Owner):
                session, admitted = found or self._admitted(message, "input")
                if admitted == "propose":
                    answer(session.gate.offered(message, client=self.client, author=author))
                    return
                if held is not None and held[0] is not session:
                    raise BadMessage("the attachment is on another session than the input")
            else:
                session = held[0]
            if held is not None and held[1].observe:
                self._note_refused(session, message, "observes")  # it will be
            session.type(
                message, client=self.client, operator=author, attachment=held[1] if held else None, answer=answer
            )
        except HoldError as error:
            answer(error)

    def _fail(self, ref: int, error: HoldError) -> None:
        self.send(wire.Failed(ref, error.code, error.message, error.do, plain(error.details)))


def _principal(authority: Authority) -> str:
    """Return the id of whom an operator acts for, empty if for itself."""
    principal = authority.member.certificate.on_behalf_of if isinstance(authority, Granted) else b""
    return str(operator_id(principal)) if principal else ""


def _kind(authority: Authority) -> str:
    """Return the kind of operator that control and policy know an authority as."""
    if isinstance(authority, Granted):
        return authority.member.kind.value
    return (Kind.HUMAN if isinstance(authority, Owner) else Kind.SERVICE).value


def plain(details: dict[str, object]) -> dict[str, object]:
    """Return ``details`` as values msgpack knows."""
    # By exact type: an Author is a text that no encoder knows.
    return {k: v if type(v) in (str, int, float, bool, type(None)) else str(v) for k, v in details.items()}
