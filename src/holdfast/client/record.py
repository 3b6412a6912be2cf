"""Read a session's journal, write what proves it into a file, and check such a file. Source: docs/journal.md.

Not here: what is checked (core.evidence), records in words (core.telling), heads that were seen before (heads).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from holdfast.client import heads
from holdfast.client.connection import ANSWER_S, Connection
from holdfast.client.credentials import Store, profiles
from holdfast.client.meeting import keys_folder
from holdfast.client.names import names
from holdfast.core import evidence
from holdfast.core.errors import HoldError, StorageFailed
from holdfast.core.evidence import Heading, Report
from holdfast.core.journal import Record, decoded, digest
from holdfast.wire import messages as wire

PAGE: Final = 1024  # records asked for at once
FOLLOW_S: Final = 30.0  # that one question waits for a new record
PIECE: Final = 1 << 18  # bytes of output asked for at once
SHARE: Final = 1000  # signatures that one processor checks at a time


class Exported(NamedTuple):
    """What was written: ``records`` from ``first`` to ``last``, ``output`` bytes."""

    records: int
    first: int
    last: int
    output: int


def raw(host: Connection, session: str, position: int = 0, *, upto: int | None = None) -> Iterator[bytes]:
    """Yield records as they are stored, oldest first, from ``position`` on (negative: so many before the end)."""
    at, end = position, upto
    if position < 0:
        at = max(0, host.ask(wire.ReadJournal(host.ref(), session, 1 << 62, 1), wire.Records).end + position + 1)
    while end is None or at <= end:
        got = host.ask(wire.ReadJournal(host.ref(), session, at, PAGE), wire.Records)
        end = got.end if end is None else end
        if not got.records:
            return
        for data in got.records:
            at = decoded(data).position + 1
            if at - 1 <= end:
                yield data


def follow(host: Connection, session: str, position: int) -> Iterator[Record]:
    """Yield records from ``position`` on as they come, until the session has ended and all are told."""
    while True:
        ask = wire.ReadJournal(host.ref(), session, position, PAGE, FOLLOW_S)
        got = host.ask(ask, wire.Records, timeout=FOLLOW_S + ANSWER_S)
        for data in got.records:
            record = decoded(data)
            position = record.position + 1
            yield record
        if not got.records and got.end < position and any(
            each.ending is not None for each in host.sessions(ended=True) if session in (each.id, each.name)
        ):  # fmt: skip
            return


def accept(host: Connection, session: str) -> int:
    """Have later records compared with what the host has now, whatever was seen before; return the position of its end."""
    got = host.ask(wire.Witness(host.ref(), session), wire.Witnessed)
    heads.note(heads.Head(got.session, got.end, got.end_head), back=True)
    return got.end


def export(host: Connection, session: str, path: Path, *, output: bool = False) -> Exported:
    """Write the session's record to ``path``, mode 0600: all that is needed to check it. Raises StorageFailed.

    With ``output`` what is kept of the output too, up to where it is now.
    """
    chain = host.ask(wire.GetChain(host.ref(), session), wire.ChainIs)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            records = list(raw(host, chain.session, 0, upto=chain.end))
            last = records[-1] if records else b""
            end = decoded(last).position if records else 0
            seen = heads.known(chain.session)
            file.write(evidence.heading_frame(Heading(
                evidence.FORMAT, chain.session, chain.name, chain.host, chain.host_name, chain.tenant, chain.certificates,
                chain.anchors, end, digest(last) if records else bytes(32), int(time.time()), names(),
                (evidence.Seen(seen.position, seen.head, "whoever exported it"),) if seen and seen.position <= end else (),
            )))  # fmt: skip
            for data in records:
                file.write(evidence.framed(evidence.RECORD, data))
            size = 0
            for offset, data in _output(host, chain.session) if output else ():
                file.write(evidence.output_frame(offset, data))
                size += len(data)
            file.write(evidence.end_frame(len(records), size))
        os.replace(fresh, path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise StorageFailed(
            f"{path} could not be written ({error.strerror}); nothing was exported",
            do="choose another file, or free space on its disk",
            path=str(path),
        ) from None
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    first = decoded(records[0]).position if records else 0
    return Exported(len(records), first, end, size)


def _output(host: Connection, session: str) -> Iterator[tuple[int, bytes]]:
    at, end = -1, None
    while end is None or at < end:
        got = host.read(session, at, PIECE)
        end = got.end if end is None else end
        if not got.data:
            return
        yield got.offset, got.data
        at = got.offset + len(got.data)


class Checked(NamedTuple):
    """What a file holds, what checking it found, and whose tenant its host's is: a profile's name, or empty."""

    heading: Heading
    records: list[bytes]
    report: Report
    tenant: str


def check(path: Path, *, seen: Mapping[str, tuple[int, bytes]] | None = None) -> Checked:
    """Check an exported file, offline. ``seen``: a head of that session that has to be in it, by session id; by default
    what this user saw of it. Raises StorageFailed, Malformed."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageFailed(
            f"{path} cannot be read ({error.strerror}); nothing was checked",
            do="name the exported file",
            path=str(path),
        ) from None
    heading, records, output = evidence.contents(data)
    kept = heads.known(heading.session) if seen is None else None
    own = (kept.position, kept.head) if kept is not None else (seen or {}).get(heading.session)
    if own is not None and own[0] <= heading.end:
        more = evidence.Seen(own[0], own[1], "this user")
        heading = evidence.with_seen(heading, more)
    report = evidence.check(heading, records, output, believe=_believed)
    return Checked(heading, records, report, _tenant(heading.tenant))


def _believed(claims: Sequence[evidence.Claim]) -> list[bool]:
    """Believe many signatures with all processors: one alone checks some 5,000 a second."""
    workers = len(os.sched_getaffinity(0))
    if len(claims) < 4 * SHARE or workers < 2:
        return evidence.believed(claims)
    from concurrent.futures import ProcessPoolExecutor

    shares = [claims[at : at + SHARE] for at in range(0, len(claims), SHARE)]
    with ProcessPoolExecutor(workers) as pool:
        return [each for share in pool.map(evidence.believed, shares) for each in share]


def _tenant(root: bytes) -> str:
    folder = keys_folder()
    try:
        return next((name for name in profiles(folder) if root and Store(folder, name).tenant == root), "")
    except HoldError:
        return ""
