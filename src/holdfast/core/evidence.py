"""Prove a session's record away from its host: what an export holds, how it is checked, and what that does not prove.

An export is a row of frames: a heading, every kept record as it is stored, pieces of output if they were asked for, an
end. Checking needs nothing else. Not here: reading or writing files (client.evidence), a record in words (telling).
Source: docs/journal.md, "Export".
"""

import enum
import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from holdfast.core import checkpoints, identity, signed
from holdfast.core.approved import Approvals, signed_as
from holdfast.core.checkpoints import Checkpoint, sums_of
from holdfast.core.errors import HoldError
from holdfast.core.journal import (
    GENESIS,
    RECORD_BYTES_MAX,
    Anchor,
    Kind,
    Record,
    decoded,
    decoded_anchor,
    digest,
    verify,
)
from holdfast.core.running import text_of
from holdfast.core.seqs import Stated, stated
from holdfast.core.withheld import is_withheld

MAGIC: Final = b"holdfast-evidence/1\n"
FORMAT: Final = 1
FRAME_BYTES_MAX: Final = RECORD_BYTES_MAX + 4096
HEADING, RECORD, OUTPUT, END = b"H", b"R", b"O", b"E"
OUTPUT_BYTES_MAX: Final = 1 << 20  # of one piece
_FRAME: Final = struct.Struct(">cI")
_OFFSET: Final = struct.Struct(">Q")
_encoder = msgspec.msgpack.Encoder(order="deterministic")


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """A head that somebody saw before: ``by`` says who, in words."""

    position: int
    head: bytes
    by: str


class Heading(msgspec.Struct, frozen=True, array_like=True):
    """What an export is of, and whose keys vouch for it. ``names``: of operators, as the exporter knew them: no proof.

    ``end`` and ``end_head``: where the journal stood. ``seen``: heads that were seen before and have to be in it.
    """

    format: int
    session: str
    name: str
    host: bytes  # Ed25519 key
    host_name: str
    tenant: bytes  # root key; empty: the host is a member of none
    certificates: tuple[bytes, ...]
    anchors: tuple[bytes, ...]
    end: int
    end_head: bytes
    at: int  # Unix seconds
    names: dict[str, str] = {}
    seen: tuple[Seen, ...] = ()


class Malformed(HoldError):
    """This is no export, or it ends in the middle."""

    code = "no-evidence"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"this is no whole export: {why}", do="export it again: `hold log NAME --export FILE`", why=why
        )


# ---- the file --------------------------------------------------------------------------------------------------------


def framed(kind: bytes, payload: bytes) -> bytes:
    """Return one frame."""
    return _FRAME.pack(kind, len(payload)) + payload


def heading_frame(heading: Heading) -> bytes:
    """Return how an export begins."""
    return MAGIC + framed(HEADING, _encoder.encode(heading))


def output_frame(offset: int, data: bytes) -> bytes:
    """Return a piece of output, at most 1 MiB, as a frame."""
    return framed(OUTPUT, _OFFSET.pack(offset) + data)


def end_frame(records: int, output: int) -> bytes:
    """Return how an export ends: how many records and bytes of output came before."""
    return framed(END, _encoder.encode([records, output]))


class Contents(NamedTuple):
    """An export, taken apart. ``output`` yields (offset, data) again whenever it is asked."""

    heading: Heading
    records: list[bytes]
    output: list[tuple[int, bytes]]


def contents(data: bytes) -> Contents:
    """Return what an export holds. Raises Malformed; whether any of it is true, ``check`` says."""
    if not data.startswith(MAGIC):
        raise Malformed("it does not begin as one")
    heading: Heading | None = None
    records: list[bytes] = []
    output: list[tuple[int, bytes]] = []
    for kind, payload in _frames(data, len(MAGIC)):
        try:
            if kind == HEADING and heading is None:
                heading = msgspec.msgpack.decode(payload, type=Heading)
            elif kind == RECORD:
                records.append(payload)
            elif kind == OUTPUT and len(payload) >= _OFFSET.size:
                output.append((_OFFSET.unpack_from(payload)[0], payload[_OFFSET.size :]))
            elif kind == END and heading is not None:
                if msgspec.msgpack.decode(payload) != [len(records), sum(len(each) for _, each in output)]:
                    raise Malformed("its end counts other frames than it has")
                return Contents(heading, records, output)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Malformed(f"a frame cannot be read ({error})") from None
    raise Malformed("it has no heading" if heading is None else "it was cut off")


def _frames(data: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    while at + _FRAME.size <= len(data):
        kind, size = _FRAME.unpack_from(data, at)
        at += _FRAME.size
        if size > FRAME_BYTES_MAX or at + size > len(data):
            return
        yield kind, data[at : at + size]
        at += size


# ---- checking --------------------------------------------------------------------------------------------------------


class Fault(enum.StrEnum):
    """What is wrong, beyond the faults of a chain (core.journal.Fault)."""

    SIGNATURE = "signature"  # the operator's key did not sign this statement
    STATEMENT = "statement"  # what was signed is about something else than the record
    COMMITMENT = "commitment"  # the record does not hold what was signed
    AUTHOR = "author"  # the key is another operator's, or an operator's action carries no signature
    APPROVAL = "approval"  # what was done on approval was not proposed, or not approved, so
    CHECKPOINT = "checkpoint"  # the host's signed head is not the head here, or not signed by the host
    ROLLED_BACK = "rolled-back"  # a head that was seen before is not in it
    OUTPUT = "output"  # a piece of output has another digest than the record
    HOST = "host"  # the certificates do not make the host's key a host of the tenant


class Finding(NamedTuple):
    """``position``: of the record; 0: of none in particular. ``fault``: a word of Fault or core.journal.Fault."""

    position: int
    fault: str
    why: str


class Report(NamedTuple):
    """What checking found. ``finding`` None: everything that can be checked is as it was recorded.

    ``signed_upto``: the last record that a checkpoint of the host covers; what follows it stands on the chain alone.
    ``unproven``: in words, what no check of this export can show.
    """

    finding: Finding | None
    records: int
    first: int
    last: int
    signed: int  # by operators, each signature checked
    opened: int  # of those: what was signed is in the record
    withheld: int  # inputs of which nothing is kept
    local: int  # actions of local operators, unsigned: the host vouches for them
    checkpoints: int
    signed_upto: int
    lost: tuple[tuple[int, int, str], ...]  # ranges of records that an anchor states as lost, and why
    output: int  # bytes of output that were checked against digests in the record
    unproven: tuple[str, ...]


MUST_BE_SIGNED: Final = frozenset(
    {Kind.INPUT, Kind.SIGNAL, Kind.KILL, Kind.KEEP, Kind.RENAME, Kind.BORN, Kind.PROPOSAL, Kind.DECISION}
)
"""By an operator with a key. Others of its records (attach, a resize by attaching) follow from no signed action."""
# Kind of record -> verbs of the statements that can lead to it. A kind that is not here may come from any.
VERBS: Final[Mapping[str, frozenset[str]]] = {
    Kind.INPUT: frozenset({"input", "run", "propose"}), Kind.RESIZE: frozenset({"resize", "propose"}),
    Kind.SIGNAL: frozenset({"signal", "control", "propose"}), Kind.KILL: frozenset({"kill"}), Kind.KEEP: frozenset({"keep"}),
    Kind.RENAME: frozenset({"rename"}), Kind.BORN: frozenset({"open"}), Kind.CONTROL: frozenset({"control", "input", "run"}),
    Kind.PROPOSAL: frozenset({"propose", "input", "run", "signal", "resize"}), Kind.DECISION: frozenset({"decide", "withdraw"}),
}  # fmt: skip
_NUMBERS: Final = struct.Struct(">QQQ")
_COMMITMENT_BYTES: Final = 32


Claim = tuple[bytes, bytes, bytes]
"""A key, a signature that is said to be its, and what it is said to have signed."""


def believed(claims: Sequence[Claim]) -> list[bool]:
    """Tell of each claim whether it is true."""
    return [signed.genuine(*claim) for claim in claims]


def check(
    heading: Heading, records: Sequence[bytes], output: Iterable[tuple[int, bytes]] = (), *,
    believe: Callable[[Sequence[Claim]], Sequence[bool]] = believed,
) -> Report:  # fmt: skip
    """Check an export: every record against the chain, the operators' signatures and the host's, output against digests.

    The first fault ends it and is named. Most of the time goes into signatures: whoever has several processors may have
    them believed by several, with ``believe``.
    """
    return _Check(heading, believe).run(records, output)


class _Check:
    def __init__(self, heading: Heading, believe: Callable[[Sequence[Claim]], Sequence[bool]]) -> None:
        self.heading, self.believe = heading, believe
        self.operators: dict[bytes, str] = {}  # ids by key
        self.host_id = identity.host_id(heading.host) if signed.is_key(heading.host) else ""
        self.signed = self.opened = self.withheld = self.local = self.checkpoints = self.signed_upto = 0
        self.lost: list[tuple[int, int, str]] = []
        self.heads: dict[int, bytes] = {}  # of the positions that somebody saw
        self.wanted = {each.position: each for each in heading.seen}
        self.sums: list[tuple[int, int, bytes]] = []
        self.output = 0
        self.approvals = Approvals(heading.session)

    def run(self, records: Sequence[bytes], output: Iterable[tuple[int, bytes]]) -> Report:
        chain, broken = self._chained(records)
        finding = self._host()
        first = last = 0
        read = [decoded(data) for data in chain] if finding is None else []
        claims = [(each.key, each.signature, each.statement) for each in read if _claims(each)]
        self.true = iter(self.believe(claims))
        for data, record in zip(chain, read, strict=False):
            first, last = first or record.position, record.position
            if record.position in self.wanted:
                self.heads[record.position] = digest(data)
            if (finding := self._record(record)) is not None:
                break
        finding = finding or broken or self._seen(first, last, chain) or self._output(output)
        return Report(
            finding, len(chain), first, last, self.signed, self.opened, self.withheld, self.local, self.checkpoints,
            self.signed_upto, tuple(self.lost), self.output, tuple(self._unproven(first, last)),
        )  # fmt: skip

    # ---- the chain ----

    def _chained(self, records: Sequence[bytes]) -> tuple[Sequence[bytes], Finding | None]:
        """Return the records that verify as a chain, and what is wrong with the next one."""
        anchors = self._anchors()
        after, head = self._beginning(records, anchors)
        at = 0
        while True:
            verdict = verify(records[at:], after=after, head=head)
            at += verdict.verified
            if verdict.whole:
                return records, None
            hole = next((each for each in anchors if (each.after, each.head) == (verdict.last, verdict.head)
                         and each.first > each.after + 1), None)  # fmt: skip
            if hole is None or verdict.fault != "missing":
                return records[:at], Finding(verdict.position or 0, str(verdict.fault), verdict.why)
            self.lost.append((hole.after + 1, hole.first - 1, hole.why))
            after, head = hole.first - 1, hole.head

    def _anchors(self) -> list[Anchor]:
        found = []
        for data in self.heading.anchors:
            try:
                found.append(decoded_anchor(data))
            except ValueError:
                continue
        return sorted(found, key=lambda each: each.first)

    def _beginning(self, records: Sequence[bytes], anchors: Sequence[Anchor]) -> tuple[int, bytes]:
        """Return what the first record has to follow: an anchor's word, or the birth of the session."""
        try:
            first = decoded(records[0]).position if records else 1
        except ValueError:
            first = 1
        known = next((each for each in anchors if each.first == first), None)
        return (known.first - 1, known.head) if known is not None else (0, GENESIS)

    def _seen(self, first: int, last: int, chain: Sequence[bytes]) -> Finding | None:
        for each in self.heading.seen:
            if each.position > last:
                why = f"the record ends at {last}, but {each.by} saw record {each.position}"
            elif each.position >= first and self.heads.get(each.position) != each.head:
                why = f"{each.by} saw another record {each.position}: it, or one before it, was rewritten"
            else:
                continue
            return Finding(each.position, Fault.ROLLED_BACK, why)
        said = self.heading
        if last < said.end:
            return Finding(last + 1, "cut", f"the heading counts {said.end} records, and they end at {last}")
        if chain and (last, digest(chain[-1])) != (said.end, said.end_head):
            return Finding(last, "altered", f"record {last} does not have the hash that the heading names")
        return None

    # ---- who vouches ----

    def _host(self) -> Finding | None:
        said = self.heading
        if not self.host_id:
            return Finding(0, Fault.HOST, "it names no key of a host") if said.host or said.certificates else None
        if not said.tenant:
            return None
        try:
            member = identity.verify(said.certificates, tenant=said.tenant, now=said.at)
        except HoldError as error:
            return Finding(0, Fault.HOST, error.message)
        if member.kind is not identity.Kind.HOST or member.key != said.host:
            return Finding(0, Fault.HOST, "the certificates are of another key than the host's")
        return None

    def _record(self, record: Record) -> Finding | None:
        if record.kind == Kind.CHECKPOINT:
            return self._checkpoint(record)
        if record.kind == Kind.OUTPUT:
            self.sums += sums_of(record.body)
        if record.kind == Kind.INPUT and is_withheld(record.body):
            self.withheld += 1
        self.approvals.saw(record)
        if self.approvals.answers(record) and not _claims(record):
            why = self.approvals.objection(record)
            return Finding(record.position, Fault.APPROVAL, why) if why is not None else None
        if _claims(record):
            return self._signed(record, genuine=next(self.true))
        if record.operator.startswith("o-") and record.kind in MUST_BE_SIGNED:
            return Finding(record.position, Fault.AUTHOR, f"{record.operator} acts by signature, and this carries none")
        self.local += record.operator.startswith(("local:", "service:"))
        return None

    def _checkpoint(self, record: Record) -> Finding | None:
        def bad(why: str) -> Finding:
            return Finding(record.position, Fault.CHECKPOINT, why)

        data = record.body.get("signed")
        try:
            said: Checkpoint = checkpoints.opened(data if isinstance(data, bytes) else b"")
        except signed.Unsigned:
            return bad("the host's signature does not hold")
        if said.host != self.heading.host:
            return bad("it is signed by another host")
        if (said.session, said.position, said.number) != (
            self.heading.session, record.position - 1, record.body.get("number"),
        ):  # fmt: skip
            return bad("what the host signed is about another place")
        if said.head != record.prev:
            since = f"after {self.signed_upto}" if self.signed_upto else "before it"
            return bad(f"the host signed another head of record {said.position}: a record {since} was altered")
        self.checkpoints += 1
        self.signed_upto = said.position
        return None

    def _signed(self, record: Record, *, genuine: bool) -> Finding | None:
        at = record.position
        if not genuine:
            return Finding(at, Fault.SIGNATURE, "the operator's signature is not of this statement")
        who = self.operators.get(record.key) or self.operators.setdefault(record.key, identity.operator_id(record.key))
        if record.operator.partition("/")[0] != who:
            return Finding(at, Fault.AUTHOR, f"{who} signed it, and the record says {record.operator}")
        try:
            said = stated(record.statement)
        except (ValueError, UnicodeDecodeError):
            return Finding(at, Fault.STATEMENT, "what was signed is no statement of an action")
        if (why := self._other(record, said)) is not None:
            return Finding(at, Fault.STATEMENT, why)
        if (why := self._uncommitted(record, said)) is not None:
            return Finding(at, Fault.COMMITMENT, why)
        self.signed += 1
        return None

    def _other(self, record: Record, said: Stated) -> str | None:
        """Return how the statement differs from the record, None if it does not."""
        about = self.host_id if said.verb == "open" else self.heading.session
        epoch = _NUMBERS.unpack_from(record.statement, len(record.statement) - _COMMITMENT_BYTES - _NUMBERS.size)[0]
        verbs = VERBS.get(record.kind)
        if said.session != about:
            return "what was signed is about another session"
        if epoch != record.epoch:
            return f"what was signed is of epoch {epoch}, the record of {record.epoch}"
        if verbs is not None and said.verb not in verbs:
            return f"what was signed is {said.verb!r}, and the record says {record.kind}"
        if said.verb == "input" and record.kind in (Kind.INPUT, Kind.PROPOSAL):
            body = record.body
            if (said.client, said.seq) != (body.get("client"), body.get("seq")):
                return "what was signed is another input"
        return None

    def _uncommitted(self, record: Record, said: Stated) -> str | None:
        """Return why the record does not hold what was signed, None if it does or does not show it on purpose."""
        body = record.body
        if is_withheld(body):
            return "it says that nothing is kept, and holds a salt or data" if record.salt or "data" in body else None
        if said.verb == "open":
            return None
        action = body.get("action")
        if not isinstance(action, bytes):
            if said.verb != "input":
                return None  # of a host that did not keep it
            data = body["deed"][1] if record.kind == Kind.PROPOSAL else body.get("data")
            action = _encoder.encode(["input", data])
        if hashlib.sha256(record.salt + action).digest() != record.statement[-_COMMITMENT_BYTES:]:
            return "what the record holds is not what was signed"
        self.opened += 1
        return _difference(record, action)

    # ---- output, and what is left ----

    def _output(self, output: Iterable[tuple[int, bytes]]) -> Finding | None:
        pieces = dict(output)
        if not pieces:
            return None
        for start, end, wanted in self.sums:
            data = _piece(pieces, start, end)
            if data is None:
                continue
            if hashlib.sha256(data).digest() != wanted:
                return Finding(0, Fault.OUTPUT, f"output {start} to {end} is not what the record binds")
            self.output += end - start
        return None

    def _unproven(self, first: int, last: int) -> Iterator[str]:
        said = self.heading
        if not said.tenant:
            yield "the host is a member of no tenant: only this export says that the key is the host's"
        if first > 1:
            yield f"records before {first} are not in it: the journal keeps so many and no more"
        if self.local:
            yield f"{self.local} actions of operators at the machine itself are unsigned: the host vouches for them"
        if self.withheld:
            yield f"{self.withheld} inputs were typed without an echo: nothing of them is kept, not even how much it was"
        if last > self.signed_upto:
            yield f"records after {self.signed_upto} are not signed by the host yet: the chain alone holds them"
        if not said.seen:
            yield "that no later record was cut off: nobody's earlier view of the end is in the export"
        yield "that an action which is not here was never asked for, or that nobody else could read the record"


def _claims(record: Record) -> bool:
    return bool(record.signature or record.key or record.statement)


def _piece(pieces: Mapping[int, bytes], start: int, end: int) -> bytes | None:
    """Return output ``start``..``end`` out of consecutive pieces; None if some of it is not there."""
    parts: list[bytes] = []
    begins = [at for at in pieces if at <= start]
    at = max(begins, default=start)
    while at < end:
        data = pieces.get(at)
        if not data:
            return None
        parts.append(data[max(0, start - at) : end - at])
        at += len(data)
    return b"".join(parts)


def _ran(fields: list[Any], record: Record) -> list[Any]:
    """Return what the line that ``record`` says was typed must have been asked for as; the asking may end it with a newline."""
    data = record.body.get("data")
    if record.kind != Kind.INPUT or not isinstance(data, bytes) or fields[0].rstrip("\r\n") == text_of(data):
        return fields[:1]
    return [text_of(data)]


def _difference(record: Record, action: bytes) -> str | None:
    """Return how the body of a record differs from the action that was signed, as far as the record repeats it."""
    body = record.body
    try:
        verb, *fields = msgspec.msgpack.decode(action)
        match verb:
            case _ if (found := signed_as(record, verb, fields)) is not None:
                same = found
            case "input":
                same = fields[:1] == [body.get("data")]
            case "signal":
                same = fields[:2] == [body.get("signal"), body.get("tree")]
            case "rename":
                same = fields[:1] == [body.get("to")]
            case "run":
                same = fields[:1] == _ran(fields, record)
            case "propose":
                same = record.kind != Kind.INPUT or fields[2:3] == [body.get("data")]
            case _:
                same = True
    except (msgspec.MsgspecError, ValueError, TypeError, AttributeError, IndexError):
        return "what was signed is no action"
    return None if same else f"the record says something else than the {verb} that was signed"


def with_seen(heading: Heading, more: Seen) -> Heading:
    """Return ``heading`` with one more head that has to be in the record."""
    return msgspec.structs.replace(heading, seen=(*heading.seen, more))
