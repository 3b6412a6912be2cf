"""Journal: what recording and signing add to the echo of a key, and how quickly an exported record is checked.

A key's share is everything that happens to it for the journal's sake between client and terminal: signing it (over a network),
checking that, asking the terminal whether it echoes, appending the record. Each is timed on its own, in one thread, on a real
file; the whole echo is in echo.py. Digests of output are timed as the share of a 64 MB flood's own time at 100 MB/s.
"""

import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import arguments, clock, keep, machine, percentile

sys.path.insert(0, str(Path(__file__).parents[1]))

from holdfast.client.record import _believed
from holdfast.core import checkpoints, evidence, identity
from holdfast.core.checkpoints import Checkpoint
from holdfast.core.evidence import Heading
from holdfast.core.journal import Author, Kind, Proof
from holdfast.core.signed import KeyPair
from holdfast.host.journal import Journal
from holdfast.host.linemode import is_secret
from holdfast.wire import messages as wire
from holdfast.wire import signing

SESSION = "s-" + "a" * 26
CLIENT = "c-" + "b" * 26
SALT = bytes(range(16))


def signed(key: KeyPair, seq: int, data: bytes = b"x") -> Proof:
    """One keystroke, signed by its operator."""
    action = signing.canonical(wire.Input(1, SESSION, seq, data))
    statement = signing.statement(
        session=SESSION, client=CLIENT, epoch=1, term=1, seq=seq, verb="input",
        commitment=signing.commitment(SALT, action),
    )  # fmt: skip
    return Proof(key.key, statement, SALT, signing.sign(key, statement))


def checked(proof: Proof, seq: int) -> None:
    """What a host does to believe it."""
    action = signing.canonical(wire.Input(1, SESSION, seq, b"x"))
    statement = signing.statement(
        session=SESSION, client=CLIENT, epoch=1, term=1, seq=seq, verb="input",
        commitment=signing.commitment(proof.salt, action),
    )  # fmt: skip
    signing.verify(proof.key, statement, proof.signature)


def timed(count: int, act: Callable[[int], object]) -> list[float]:
    """Seconds of each of ``count`` calls."""
    took = []
    for number in range(1, count + 1):
        began = clock()
        act(number)
        took.append(clock() - began)
    return took


def of_a_key(count: int, folder: Path) -> dict[str, list[float]]:
    """What one keystroke costs, part by part."""
    key = KeyPair(os.urandom(32))
    operator = str(identity.operator_id(key.key))
    proofs = [signed(key, seq) for seq in range(count + 1)]
    journal = Journal.open(folder / "journal", session=SESSION)
    master, slave = os.openpty()
    terminal = int(os.ttyname(slave).rsplit("/", 1)[1])

    def append(number: int) -> None:
        body = {"client": CLIENT, "seq": number, "data": b"x", "attachment": 1}
        journal.append(Kind.INPUT, Author(operator, proof=proofs[number]), body)

    figures = {
        "client signs": timed(count, lambda number: signed(key, number)),
        "host checks the signature": timed(count, lambda number: checked(proofs[number], number)),
        "host asks for the echo": timed(count, lambda number: is_secret(terminal)),
        "host appends the record": timed(count, append),
    }
    for fd in (master, slave):
        os.close(fd)
    journal.close()
    return figures


def checking(count: int, folder: Path) -> tuple[float, float]:
    """Return records a second of `hold verify`, every one signed by an operator, a checkpoint every 256: by the clock with
    all processors, and by the processor time of one."""
    key, host = KeyPair(os.urandom(32)), KeyPair(os.urandom(32))
    operator = str(identity.operator_id(key.key))
    journal = Journal.open(folder / "verify", session=SESSION)
    for seq in range(1, count + 1):
        body = {"client": CLIENT, "seq": seq, "data": b"x", "attachment": 1}
        journal.append(Kind.INPUT, Author(operator, proof=signed(key, seq)), body)
        if seq % 256 == 0:
            number = seq // 256
            said = Checkpoint(1, host.key, SESSION, journal.position, journal.head, 1, 1, 0, 0, number)
            journal.append(Kind.CHECKPOINT, "host", {"number": number, "signed": checkpoints.sign(host, said)})
    records: list[bytes] = []
    while found := journal.read(len(records) + 1, 4096):
        records += found
    heading = Heading(
        1, SESSION, "bench", host.key, "box", b"", (), tuple(journal.anchors()), journal.position, journal.head, 0
    )
    began = clock()
    report = evidence.check(heading, records, believe=_believed)
    took = clock() - began
    assert report.finding is None and report.signed == count, report
    journal.close()
    began = time.process_time()
    evidence.check(heading, records)
    return len(records) / took, len(records) / (time.process_time() - began)


def main() -> None:
    args = arguments(__doc__ or "", keys=5000, records=20000)
    keys, records = (200, 1000) if args.quick else (args.keys, args.records)
    print(f"journal: {keys} keys, {records} records, {machine()}")
    with tempfile.TemporaryDirectory(prefix="hb-") as made:
        figures = of_a_key(keys, Path(made))
        rate, alone = checking(records, Path(made))
    for name, took in figures.items():
        print(f"  {name:26} p50 {1e6 * percentile(took, 0.5):7.1f} us  p99 {1e6 * percentile(took, 0.99):7.1f} us")
    here = sum(statistics.median(figures[name]) for name in ("host asks for the echo", "host appends the record"))
    whole = sum(statistics.median(took) for took in figures.values())
    print(f"  of a local key {1e3 * here:.3f} ms, with signatures {1e3 * whole:.3f} ms (budget 0.5 ms, p50)")
    print(
        f"  an export is checked at {rate:,.0f} records a second (budget 5,000); {alone:,.0f} in a second of one processor"
    )
    data = os.urandom(64 << 20)
    began = clock()
    for at in range(0, len(data), 1 << 20):
        hashlib.sha256(data[at : at + (1 << 20)]).digest()
    print(
        f"  SHA-256 of 64 MB, in the archive's thread, which does it for its own files anyway: {clock() - began:.3f} s"
    )
    keep(args.json, {"parts": figures, "records_per_s": rate, "records_per_cpu_s": alone})


if __name__ == "__main__":
    main()
