"""Sign where a journal stands, and remember what a journal has bound so far: checkpoints of the chain, digests of output.

A checkpoint is a host's word, signed with its identity key, that a session's chain had this head at this position. The
chain before it cannot be rewritten without contradicting it. Not here: the chain (journal), when to sign (host.notary).
Source: docs/journal.md, "Checkpoints".
"""

from collections.abc import Mapping
from typing import Any, Final

from holdfast.core import signed
from holdfast.core.journal import GENESIS, Kind, Record
from holdfast.core.signed import Body, Signer, Unsigned

FORMAT: Final = 1
CHECKPOINT: Final = b"holdfast/checkpoint/1\0"
CHECKPOINT_BYTES_MAX: Final = 1024


class Checkpoint(Body, frozen=True):
    """``host`` (its Ed25519 key) says: record ``position`` of ``session`` has the hash ``head``. ``at``: Unix seconds.

    ``number`` counts the checkpoints of this chain.
    """

    format: int
    host: bytes
    session: str
    position: int
    head: bytes
    incarnation: int
    epoch: int
    generation: int
    at: int
    number: int


def sign(signer: Signer, checkpoint: Checkpoint) -> bytes:
    """Return ``checkpoint`` signed by the host it names."""
    return signed.sign(signer, CHECKPOINT, checkpoint)


def opened(data: bytes) -> Checkpoint:
    """Return the checkpoint that ``data`` is, if the key that it names signed it. Whose key that is, the caller asks.

    Raises Unsigned.
    """
    said: Checkpoint = signed.peeked(data, Checkpoint, most=CHECKPOINT_BYTES_MAX)
    found = signed.opened(data, Checkpoint, key=said.host, domain=CHECKPOINT, most=CHECKPOINT_BYTES_MAX)
    if found.format != FORMAT or len(found.head) != len(GENESIS):
        raise Unsigned("malformed")
    return found


class Bound:
    """What the records of one journal say of what is bound by now. Follows every record, like core.inputs."""

    def __init__(self) -> None:
        self.output_end = 0  # output before this offset has digests in the journal, where it was archived
        self.position = 0  # of the newest checkpoint record; 0: none
        self.number = 0  # of checkpoints so far
        self.newest = b""  # that checkpoint, signed

    def learn(self, record: Record) -> None:
        """Take from a record what it binds."""
        if record.kind == Kind.OUTPUT:
            self.output_end = max(self.output_end, _last_end(record.body))
        elif record.kind == Kind.CHECKPOINT:
            said, number = record.body.get("signed"), record.body.get("number")
            self.position = record.position
            self.newest = said if isinstance(said, bytes) else b""
            self.number = max(self.number, number if isinstance(number, int) else 0)
        elif record.kind == Kind.CARRIED and isinstance(found := record.body.get("bound"), Mapping):
            end, number = found.get("output_end"), found.get("number")
            self.output_end = max(self.output_end, end if isinstance(end, int) else 0)
            self.number = max(self.number, number if isinstance(number, int) else 0)

    def carried(self) -> dict[str, Any]:
        """Return what a segment of a journal must say at its head so that the ones before it are not needed."""
        return {"output_end": self.output_end, "number": self.number}


def sums_of(body: Mapping[str, Any]) -> list[tuple[int, int, bytes]]:
    """Return the (start, end, SHA-256) of an ``output`` record; empty for what none of ours has written."""
    try:
        found = [(int(start), int(end), bytes(digest)) for start, end, digest in body["sums"]]
    except (KeyError, TypeError, ValueError):
        return []
    return found if all(0 <= start < end and len(digest) == len(GENESIS) for start, end, digest in found) else []


def _last_end(body: Mapping[str, Any]) -> int:
    return max((end for _, end, _ in sums_of(body)), default=0)
