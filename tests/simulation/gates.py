"""What a client may do and gets: mirrors ``host/clients.Client``. Real are ``admission`` and ``signing``."""

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.core import admission, identity
from holdfast.core.admission import Act, Granted
from holdfast.core.errors import BadMessage, HoldError, NoSuchSession
from holdfast.core.journal import Author, Proof
from holdfast.wire import messages as wire
from holdfast.wire import signing
from tests.simulation.sessions import Session, Stream

if TYPE_CHECKING:
    from tests.simulation.hosts import Process, Remote

_decoder = msgspec.msgpack.Decoder(wire.ToHost)


class Gate:
    """What a client may do and gets: mirrors ``host/clients.Client``."""

    def __init__(self, process: "Process", remote: "Remote", authority: Granted) -> None:
        self.process, self.remote, self.authority = process, remote, authority
        principal = authority.member.certificate.on_behalf_of
        self.operator = Author(
            identity.operator_id(authority.member.key),
            principal=str(identity.operator_id(principal)) if principal else "",
        )
        self.client = ""
        self._attached: dict[int, tuple[Session, Stream]] = {}
        self._signed_seq, self.counting = 0, len(authority.grants)

    def send(self, message: wire.Message) -> None:
        held = self._attached.get(getattr(message, "attachment", 0))
        session = held[0].id if held is not None else ""
        if isinstance(message, wire.Attached):
            session = message.session.id
        self.remote.send(message, session)

    def hear(self, message: Any) -> None:
        if not self.client:
            if not isinstance(message, wire.Hello):
                raise BadMessage("a connection begins with hello")
            self.client = message.client
            self.send(wire.Welcome(1, self.process.name, self.process.name, self.process.generation, "", 1 << 20))
        elif isinstance(message, wire.Signed):
            self._unsealed(message)
        elif signing.verb_of(message) in signing.SIGNED:
            self._fail(message.ref, signing.BadSignature("it carries none"))
        else:
            self._handle(message, self.operator)

    def pump(self) -> None:
        for _, stream in list(self._attached.values()):
            stream.pump()

    def gone(self) -> None:
        for session, stream in list(self._attached.values()):
            session.leave(stream, "gone")
        self._attached.clear()

    def reconsider(self) -> None:
        now = int(self.process.machine.unix)
        counting = sum(
            now < each.not_after and not each.revoked(self.process.revoked) for each in self.authority.grants
        )
        lost, self.counting = counting < self.counting, counting
        for number, (session, stream) in list(self._attached.items()):
            act = Act("attach", session.id, session.id, stream.observe)
            if admission.refusals(act, self.authority, now=now, revoked=self.process.revoked):
                session.drop(self.client)
                self._part(number, "revoked")
        for certificate in self.authority.member.certificates:
            if now >= certificate.not_after or self.process.revoked.names(certificate):
                for number in list(self._attached):
                    self._part(number, "revoked")
                self.remote.close()
                return
        if lost and "revoked but said" not in self.process.world.flags:
            self.remote.close()  # what was said and has not left yet is not to leave: the client begins anew

    def _part(self, number: int, cause: str) -> None:
        session, stream = self._attached.pop(number)
        self.remote.send(wire.Detached(number, cause), "")
        session.leave(stream, cause)

    def _handle(self, message: Any, author: Author, seq: int = 0) -> None:
        ref = getattr(message, "ref", 0)
        try:
            match message:
                case wire.Input():
                    self._type(message, author)
                case wire.Ping():
                    self.send(wire.Pong(message.mark))
                case wire.Detach():
                    if message.attachment in self._attached:
                        self._part(message.attachment, message.cause)
                case wire.Revoke():
                    self.process.learn(message.revocations, message.issuer)
                    self.send(wire.Done(ref))
                case wire.Signal():
                    session = self._found(message, "signal")
                    body = {"signal": message.signal, "client": self.client, "seq": seq}
                    position = session.record("signal", author, body).position
                    session.terminal.signals.append(position)
                    self.send(wire.Done(ref, position))
                case wire.Attach():
                    session = self._found(message, "attach")
                    self._attached[message.attachment] = (session, session.attach(message, self))
                case wire.ReadOutput():
                    session = self._found(message, "read")
                    data = bytes(session.terminal.out[message.offset : message.offset + 64])
                    answer = wire.OutputRange(ref, message.offset, data, len(session.terminal.out))
                    self.remote.send(answer, session.id)
                case wire.List():
                    seen = admission.visible(
                        self.process.sessions, self.authority, now=int(self.process.machine.unix),
                        revoked=self.process.revoked,
                    )  # fmt: skip
                    for each in seen or [""]:
                        listed = (self.process.sessions[each].info(),) if each else ()
                        self.remote.send(wire.Listing(ref, listed), each)
        except HoldError as error:
            self._fail(ref, error)

    def _unsealed(self, said: wire.Signed) -> None:
        message = _decoder.decode(said.action)
        try:
            author = self._proven(said, message)
        except HoldError as error:
            self._fail(getattr(message, "ref", 0), error)
            return
        self._handle(message, author, said.seq)

    def _proven(self, said: wire.Signed, message: Any) -> Author:
        verb = signing.verb_of(message)
        if verb not in signing.SIGNED:
            raise BadMessage(f"a {verb} message is not signed here")
        if said.session != self._found(message, verb).id:
            raise signing.BadSignature("it is for another session")
        if isinstance(message, wire.Input):
            if message.seq != said.seq:
                raise signing.BadSignature("it is for another input")
        elif said.seq <= self._top_of_signed():
            raise signing.BadSignature("its number was used before")
        statement = signing.statement(
            session=said.session, client=self.client, epoch=said.epoch, term=said.term, seq=said.seq, verb=verb,
            commitment=signing.commitment(said.salt, signing.canonical(message)),
        )  # fmt: skip
        key = self.authority.member.key
        signing.verify(key, statement, said.signature)
        if said.epoch != 1:
            raise signing.BadSignature("it was given for another home")
        if not isinstance(message, wire.Input):
            self._signed_seq = said.seq
            self.process.remember(key, self.client, said.seq)
        proof = Proof(key, statement, said.salt, said.signature)
        return Author(self.operator, principal=self.operator.principal, proof=proof)

    def _top_of_signed(self) -> int:
        if "signed seq per link" in self.process.world.flags:
            return self._signed_seq
        return self.process.signed_seqs.get((self.authority.member.key, self.client), 0)

    def _found(self, message: Any, verb: str) -> Session:
        named = str(message.session)
        session = self.process.sessions.get(named)
        observe = isinstance(message, wire.Attach) and message.observe
        act = Act(verb, session.id if session else "", named, observe)
        now = int(self.process.machine.unix)
        no = admission.objection(act, self.authority, now=now, revoked=self.process.revoked)
        if no is not None:
            raise no
        if session is None:
            raise NoSuchSession(named)
        return session

    def _type(self, message: wire.Input, author: Author) -> None:
        def answer(result: wire.Typed | HoldError) -> None:
            if isinstance(result, HoldError):
                self._fail(message.ref, result)
            else:
                self.send(result)

        session = self._found(message, "input")
        session.submit(message, client=self.client, operator=author, answer=answer)

    def _fail(self, ref: int, error: HoldError) -> None:
        self.send(wire.Failed(ref, error.code, error.message, error.do))
