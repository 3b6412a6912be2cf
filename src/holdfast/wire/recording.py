"""What is said of a session's journal: its records, where it stands, and what it takes to prove it elsewhere.

Not here: what a record is (core.journal). Source: docs/wire.md, docs/journal.md.
"""

from holdfast.wire.parts import Message


class ReadJournal(Message, frozen=True, tag="read-journal"):
    """Ask for records from ``position`` on. With ``wait_s`` the answer waits so long for one to be there, a minute at most."""

    ref: int
    session: str
    position: int = 0
    limit: int = 256
    wait_s: float = 0.0


class Records(Message, frozen=True, tag="records"):
    """Journal records as they are stored, oldest first."""

    ref: int
    records: tuple[bytes, ...]
    end: int  # position of the last record there is


class Witness(Message, frozen=True, tag="witness"):
    """Ask for the head of the journal as it was at ``position``, and as it is now. Answer: ``Witnessed``.

    Whoever saw an earlier head compares it: a journal that was rolled back or replaced cannot show it.
    """

    ref: int
    session: str
    position: int = 0


class Witnessed(Message, frozen=True, tag="witnessed"):
    """``head`` is the hash of record ``position``; empty if there is none, or it is not kept: ``first`` to ``end`` are.

    ``checkpoint`` is the newest that the host signed (core.checkpoints); empty: none yet.
    """

    ref: int
    session: str  # its id
    position: int
    head: bytes
    first: int
    end: int
    end_head: bytes
    checkpoint: bytes = b""


class SetBack(Message, frozen=True, tag="set-back"):
    """The host's record of ``session`` is not the one that a relay saw: ``why`` in words. The client's own link says this, no
    host."""

    session: str
    why: str


class AcceptRollback(Message, frozen=True, tag="accept-rollback"):
    """The host's state was restored from an older copy on purpose: have relays witness it from now on. Answer: ``Done``."""

    ref: int


class ReadTimes(Message, frozen=True, tag="read-times"):
    """Ask when output came, from the first point after offset ``after`` on. Answer: ``Times``; the next page follows its
    last offset, and an answer with less than two points is the end."""

    ref: int
    session: str
    after: int = -1


class Times(Message, frozen=True, tag="times"):
    """``points``: (offset, Unix time in nanoseconds): output up to that offset was there by then. One in a tenth of a second
    at most, rarer for what is long ago."""

    ref: int
    points: tuple[tuple[int, int], ...]


class GetChain(Message, frozen=True, tag="get-chain"):
    """Ask for what proves the journal's records to somebody else. Answer: ``ChainIs``."""

    ref: int
    session: str


class ChainIs(Message, frozen=True, tag="chain"):
    """The host's key and certificates, and how each kept stretch of the journal begins (core.journal.Anchor)."""

    ref: int
    session: str
    name: str
    host: bytes
    host_name: str
    tenant: bytes
    certificates: tuple[bytes, ...]
    anchors: tuple[bytes, ...]
    first: int
    end: int
    end_head: bytes
