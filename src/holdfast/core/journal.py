"""Chain what happened to a session: records, their one encoding, and how a chain is checked.

Not here: files (host.journal), who may act (admission), what an input id means (core.inputs).

A record's encoding is a msgpack array in the order of ``Record``; its hash is the SHA-256 of those very bytes, and the
next record carries it. Fields are only ever appended, so an older reader still verifies what a newer host wrote.
"""

import enum
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

GENESIS: Final = bytes(32)  # what the first record of a session names as the one before it
RECORD_BYTES_MAX: Final = 2 << 20  # over twice the largest input frame


class Kind(enum.StrEnum):
    """Every kind of record. Closed: a host writes no other, a reader shows an unknown one as it is."""

    BORN = "born"  # argv, cwd, size: the session exists
    HOST_GENERATION = "host-generation"  # another host process took over
    HOLDER = "holder"  # another holder took over the same terminal
    INPUT = "input"  # client, seq, data: written before the terminal sees a byte (I5)
    TYPED = "typed"  # of, outcome, written: what became of the input at position ``of``
    REPLY = "reply"  # the host answered a terminal query
    ATTACH = "attach"
    DETACH = "detach"  # cause
    RESIZE = "resize"  # rows, cols, offset
    SIGNAL = "signal"  # signal, pids
    CONTROL = "control"  # take, give, pause: the line's term changed
    STARTING = "starting"  # steps of core.life, by name of the state that was reached
    RUNNING = "running"
    FROZEN = "frozen"
    THAWED = "thawed"
    ENDED = "ended"  # how, status, why, left_running
    KILL = "kill"  # somebody asked for the end
    KEEP = "keep"  # until
    RENAME = "rename"  # was, name
    POLICY = "policy"
    REAP_WARNING = "reap-warning"  # at, why
    REAP_CANCELLED = "reap-cancelled"  # why
    GAP = "gap"  # start, end, why: output that is not kept
    OUTPUT = "output"  # sums: [start, end, SHA-256] of output as it was archived
    CHECKPOINT = "checkpoint"  # number, signed: the host's word on where the chain stands before this record
    OOM = "oom"  # the kernel killed for memory
    PROPOSAL = "proposal"  # deed, ground, digest, until: somebody asks for something to be done
    DECISION = "decision"  # proposal, verdict: what became of it
    DENIED = "denied"  # verb, rule, why, digest: the policy forbade it and nothing was done
    REFUSED = "refused"  # verb, reason, count: asked for what they may not, so often since the last such record
    CONFLICT = "conflict"  # with, within_s: two operators submitted at once; both were done in this order
    COMMAND = "command"
    EXPORT = "export"
    NOTE = "note"
    RECOVERED_TAIL = "recovered-tail"  # bytes, after, kept: an unfinished write was cut off
    DAMAGED = "damaged"  # position, why: a stored record does not verify
    CARRIED = "carried"  # what core.inputs must know at the head of a segment


_VALUES: Final = {kind.value: kind.value for kind in Kind}  # looking a kind up costs less than making one: a key waits


class Proof(NamedTuple):
    """That an operator asked for this very action: ``signature`` by ``key`` over ``statement`` (docs/channel.md), which
    commits to the action under ``salt``. ``action``: its bytes, as far as the record is to show more than its body says."""

    key: bytes
    statement: bytes
    salt: bytes
    signature: bytes
    action: bytes = b""


class Author(str):
    """An operator in a record, on whose behalf it acts if it does (R68), and the proof if the action was signed.

    Equal to the plain text of the operator. ``kind`` is a word of core.identity.Kind, empty for the host itself; ``term``
    the latest term of control that whoever asks had seen, 0 if it does not say.
    """

    principal: str
    proof: Proof | None
    kind: str
    term: int

    def __new__(
        cls, operator: str, *, principal: str = "", proof: Proof | None = None, kind: str = "", term: int = 0
    ) -> "Author":
        made = super().__new__(cls, operator)
        made.principal, made.proof, made.kind, made.term = principal, proof, kind, term
        return made

    def saying(self, proof: Proof) -> "Author":
        """Return the same operator with another proof."""
        return Author(self, principal=self.principal, proof=proof, kind=self.kind, term=self.term)


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One thing that happened. ``position`` counts from 1 without holes; ``prev`` is the hash of the record before.

    ``at_ns`` is Unix time. ``signature``, ``salt``, ``statement`` and ``key`` are the operator's own (``Proof``), empty
    where the kernel vouched for a local operator or the host itself acted. ``body`` holds plain values and bytes.
    """

    position: int
    at_ns: int
    incarnation: int
    epoch: int
    generation: int
    kind: str
    operator: str
    body: dict[str, Any]
    prev: bytes
    signature: bytes = b""
    salt: bytes = b""
    statement: bytes = b""
    key: bytes = b""


class Anchor(msgspec.Struct, frozen=True, array_like=True):
    """What a kept stretch of a chain begins with, so that it verifies without what was rotated away.

    ``first`` is the position of the first record that follows, ``head`` the hash of the one before it, whose position
    is ``after``. ``first`` is ``after + 1`` unless records are known to be lost; ``why`` then says how.
    """

    format: int
    session: str
    first: int
    after: int
    head: bytes
    why: str = ""


FORMAT: Final = 1
_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(Record)
_anchor_decoder = msgspec.msgpack.Decoder(Anchor)


def encoded(record: Record | Anchor) -> bytes:
    """Return the one encoding of ``record``."""
    return _encoder.encode(record)


def decoded(data: bytes) -> Record:
    """Return the record that ``data`` encodes; raises ValueError if it is none."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"no journal record: {error}") from None


def decoded_anchor(data: bytes) -> Anchor:
    """Return the anchor that ``data`` encodes; raises ValueError if it is none."""
    try:
        return _anchor_decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"no journal anchor: {error}") from None


def digest(data: bytes) -> bytes:
    """Return the hash by which the next record names the one that ``data`` encodes."""
    return hashlib.sha256(data).digest()


class Sealed(NamedTuple):
    """A record with its place in the chain fixed, not yet part of it: it may still fail to be stored."""

    record: Record
    data: bytes
    head: bytes


class Chain:
    """Where a chain ends. ``seal`` prepares the next record; only ``accept``, once it is stored, moves the end."""

    def __init__(self, *, position: int = 0, head: bytes = GENESIS) -> None:
        self.position = position  # of the last record; 0: none
        self.head = head  # its hash

    def seal(
        self, kind: str, operator: str, body: Mapping[str, Any], *, at_ns: int,
        incarnation: int = 1, epoch: int = 1, generation: int = 0,
    ) -> Sealed:  # fmt: skip
        """Return the record that would follow.

        Raises ValueError for a kind that is not in ``Kind`` or a record over ``RECORD_BYTES_MAX``: both are defects of
        the caller, since what operators send is bounded before it gets here.
        """
        if (value := _VALUES.get(kind)) is None:
            raise ValueError(f"{kind!r} is no kind of record")
        proof = None
        if isinstance(operator, Author):
            proof = operator.proof
            body = {**body, "on_behalf_of": operator.principal} if operator.principal else body
            body = {**body, "action": proof.action} if proof is not None and proof.action else body
        record = Record(
            self.position + 1, at_ns, incarnation, epoch, generation, value, str(operator), dict(body), self.head,
            *((proof.signature, proof.salt, proof.statement, proof.key) if proof else ()),
        )  # fmt: skip
        data = encoded(record)
        if len(data) > RECORD_BYTES_MAX:
            raise ValueError(f"a {kind} record of {len(data)} bytes is over the limit of {RECORD_BYTES_MAX}")
        return Sealed(record, data, digest(data))

    def accept(self, sealed: Sealed) -> None:
        """Make ``sealed``, which is stored now, the end of the chain."""
        if sealed.record.prev != self.head or sealed.record.position != self.position + 1:
            raise ValueError("this record was sealed for another place in the chain")
        self.position, self.head = sealed.record.position, sealed.head


# ---- checking --------------------------------------------------------------------------------------------------------


class Fault(enum.StrEnum):
    """What is wrong with a chain."""

    UNREADABLE = "unreadable"  # these bytes are no record
    ALTERED = "altered"  # its hash is not what the next record, or the expected head, names
    MISSING = "missing"
    REORDERED = "reordered"  # it is there, later than its place
    REPEATED = "repeated"  # a position comes a second time
    CUT = "cut"  # the chain ends before the expected head


class Verdict(NamedTuple):
    """``position`` and ``fault`` name the first record that does not verify; both None: all ``verified`` are whole.

    ``why`` says it in words. ``last`` and ``head`` are of the last record that verified.
    """

    verified: int
    last: int
    head: bytes
    position: int | None = None
    fault: Fault | None = None
    why: str = ""

    @property
    def whole(self) -> bool:
        return self.fault is None


def verify(
    records: Iterable[bytes], *, after: int = 0, head: bytes = GENESIS, upto: int | None = None, upto_head: bytes = b""
) -> Verdict:
    """Check the encodings of a chain that continues position ``after`` with hash ``head`` (an anchor says both).

    ``upto`` and ``upto_head``, from a cursor or a witness, prove that the end was neither cut off nor rewritten;
    without them the last record of a chain can be altered, and records after it removed, unnoticed.
    """
    chain = list(records)
    position, count = after, 0
    for index, data in enumerate(chain):
        try:
            record = decoded(data)
        except ValueError as error:
            return Verdict(count, position, head, position + 1, Fault.UNREADABLE, str(error))
        if record.position != position + 1:
            return _misplaced(record.position, position, chain[index:], Verdict(count, position, head))
        if record.prev != head:
            return _altered(record, Verdict(count, position, head))
        position, head, count = record.position, digest(data), count + 1
        if position == upto and upto_head and head != upto_head:
            return Verdict(count - 1, position - 1, record.prev, position, Fault.ALTERED, _REWRITTEN.format(position))
    if upto is not None and position < upto:
        why = f"the chain ends at {position}, but {upto} records were seen"
        return Verdict(count, position, head, position + 1, Fault.CUT, why)
    return Verdict(count, position, head)


_REWRITTEN: Final = "the hash of record {} is not the one that was seen: it, or a record before it, was rewritten"


def _misplaced(found: int, position: int, rest: list[bytes], good: Verdict) -> Verdict:
    if found <= position:
        return good._replace(position=found, fault=Fault.REPEATED, why=f"record {found} comes again after {position}")
    wanted = position + 1
    for data in rest:
        try:
            if decoded(data).position == wanted:
                why = f"record {found} stands before record {wanted}"
                return good._replace(position=wanted, fault=Fault.REORDERED, why=why)
        except ValueError:
            continue
    upto = "" if found == wanted + 1 else f" to {found - 1}"
    return good._replace(position=wanted, fault=Fault.MISSING, why=f"record {wanted}{upto} is missing")


def _altered(record: Record, good: Verdict) -> Verdict:
    """Two neighbours disagree. The earlier is named: altering its content is what breaks the link, and from there on
    nothing is proven, even if it was the link itself that somebody altered."""
    if good.verified:
        position = record.position - 1
        why = f"record {position} does not have the hash that record {record.position} names"
        return Verdict(good.verified - 1, position - 1, b"", position, Fault.ALTERED, why)
    why = f"record {record.position} does not name the hash of what stands before it"
    return good._replace(position=record.position, fault=Fault.ALTERED, why=why)


def is_torn(good_bytes: int, file_bytes: int, *, record_follows: bool) -> bool:
    """Decide whether what follows the last good record of the newest file is a write that a crash cut short.

    Only the end of a file can be torn: a record was promised to nobody before its write returned, so cutting it off
    loses nothing. Where a whole record follows the bad bytes, something was altered after it was written: that is
    damage, to be kept and said, never cut.
    """
    return good_bytes < file_bytes and not record_follows
