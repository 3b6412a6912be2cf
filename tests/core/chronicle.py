"""A session's record as its host would write it, with every kind of author and proof in it; and as a forger would."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from holdfast.core import checkpoints, identity
from holdfast.core.checkpoints import Checkpoint
from holdfast.core.evidence import Heading
from holdfast.core.journal import Anchor, Author, Chain, Kind, Proof, Record, decoded, digest, encoded
from holdfast.core.signed import KeyPair
from holdfast.core.withheld import body_of
from holdfast.wire import messages as wire
from holdfast.wire import signing
from tests.core.tenants import NOW, S1, Tenant

T = Tenant()
ALICE = str(identity.operator_id(T.alice.key))
CLIENT = "c-" + "b" * 26
SIZE = wire.Size(24, 80)
OUTPUT = b"make: done\r\n" * 20


def proof_of(
    message: wire.Message, *, key: KeyPair = T.alice, session: str = S1, seq: int = 1, epoch: int = 1
) -> Proof:
    """What an operator's client signs for ``message``, as a host keeps it."""
    salt = hashlib.sha256(f"{message}{seq}".encode()).digest()[: signing.SALT_BYTES]
    action = signing.canonical(message)
    statement = signing.statement(
        session=session, client=CLIENT, epoch=epoch, term=1, seq=seq, verb=signing.verb_of(message),
        commitment=signing.commitment(salt, action),
    )  # fmt: skip
    return Proof(key.key, statement, salt, signing.sign(key, statement), signing.kept(message, action))


def alice(message: wire.Message, *, seq: int = 1, session: str = S1) -> Author:
    return Author(ALICE, proof=proof_of(message, seq=seq, session=session), kind="human")


class Chronicle:
    """A record under way. ``at`` counts seconds."""

    def __init__(self, *, chain: Chain | None = None) -> None:
        self.chain, self.records, self.number = chain or Chain(), list[bytes](), 0

    def add(self, kind: Kind, author: str, body: dict[str, Any]) -> Record:
        sealed = self.chain.seal(kind, author, body, at_ns=(NOW + len(self.records)) * 10**9, generation=1)
        self.chain.accept(sealed)
        self.records.append(sealed.data)
        return sealed.record

    def checkpoint(self, key: KeyPair = T.host, **changes: Any) -> None:
        self.number += 1
        said = Checkpoint(1, key.key, S1, self.chain.position, self.chain.head, 1, 1, 1, NOW, self.number)
        data = checkpoints.sign(key, msgspec.structs.replace(said, **changes))
        self.add(Kind.CHECKPOINT, "host", {"number": self.number, "signed": data})

    def heading(self, **more: Any) -> Heading:
        return msgspec.structs.replace(HEADING, **{"end": self.chain.position, "end_head": self.chain.head, **more})


HEADING = Heading(1, S1, "build", T.host.key, "box", T.key, T.host_chain, (), 0, bytes(32), NOW + 60)


def told() -> Chronicle:
    """A story with every way in which a record can be vouched for; its last record is a checkpoint."""
    one = Chronicle()
    host = identity.host_id(T.host.key)
    start = wire.Open(1, ("bash",), {"SECRET": "x"}, "/", SIZE)
    one.add(Kind.BORN, alice(start, session=host), {"name": "build", "argv": ["bash"], "cwd": "/"})
    one.add(Kind.RUNNING, "host", {"pid": 7, "rows": 24, "cols": 80})
    one.add(Kind.ATTACH, ALICE, {"attachment": 1, "view": "terminal", "observe": False})
    for seq, data in enumerate((b"make\r", b"\x1b[A\r"), 2):
        body = {"client": CLIENT, "seq": seq, "data": data, "attachment": 1}
        one.add(Kind.INPUT, alice(wire.Input(1, S1, seq, data), seq=seq), body)
    secret = alice(wire.Input(1, S1, 64, b"hunter2\r"), seq=64)
    assert secret.proof is not None
    one.add(Kind.INPUT, secret.saying(secret.proof._replace(salt=b"")), body_of(CLIENT, 64, 1))
    one.add(Kind.TYPED, "host", {"of": 4, "outcome": "partial", "written": 2})
    one.checkpoint()
    one.add(Kind.RESIZE, alice(wire.Resize(1, S1, SIZE), seq=3), {"rows": 24, "cols": 80})
    one.add(Kind.SIGNAL, alice(wire.Signal(1, S1, 2), seq=4), {"signal": 2, "tree": False})
    one.add(Kind.RENAME, alice(wire.Rename(1, S1, "b2"), seq=5), {"from": "build", "to": "b2"})
    one.add(Kind.KEEP, alice(wire.Keep(1, S1, 9.0), seq=6), {"until": 9.0})
    one.add(Kind.INPUT, "local:root/7", {"client": "c-1", "seq": 1, "data": b"ls\r", "attachment": 0})
    one.add(Kind.OUTPUT, "host", {"sums": [[0, len(OUTPUT), hashlib.sha256(OUTPUT).digest()]]})
    one.add(Kind.KILL, alice(wire.Kill(1, S1), seq=7), {"why": "enough"})
    one.add(Kind.ENDED, "host", {"how": "killed", "status": -9, "why": "enough", "output": 9, "left": []})
    one.checkpoint()
    return one


def rehashed(records: Sequence[bytes], at: int, change: Callable[[Record], Record]) -> tuple[list[bytes], bytes]:
    """``records`` with record number ``at`` (from 0) changed and every later link mended, as who has no key could; and the
    head."""
    forged = list(records[:at])
    prev = decoded(records[at]).prev
    for number, data in enumerate(records[at:]):
        record = decoded(data)
        record = msgspec.structs.replace(change(record) if number == 0 else record, prev=prev)
        forged.append(encoded(record))
        prev = digest(forged[-1])
    return forged, prev


def anchor_of(records: Sequence[bytes], first: int) -> bytes:
    """The anchor of a stretch that begins with record number ``first``."""
    before = decoded(records[first - 2])
    return encoded(Anchor(1, S1, first, before.position, digest(records[first - 2])))
