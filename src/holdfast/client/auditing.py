"""Read and check a session's record for the SDK. Not here: files (record), what is checked (core.evidence)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from holdfast.client import heads
from holdfast.client.names import names
from holdfast.client.record import FOLLOW_S, PAGE
from holdfast.core import evidence
from holdfast.core.evidence import Heading, Report, Seen
from holdfast.core.journal import decoded, digest
from holdfast.core.telling import Told, told
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.client.sdk import Session


async def _page(session: Session, position: int, wait_s: float = 0.0) -> wire.Records:
    ask = wire.ReadJournal(session._ref(), session.id, position, PAGE, wait_s)
    found: wire.Records = await session._ask(ask, wire.Records)
    return found


async def log(session: Session, since: int, *, follow: bool) -> AsyncGenerator[Told, None]:
    """Yield the records of ``session`` from position ``since`` on, in words."""
    known = await asyncio.to_thread(names)
    position = since
    while True:
        got = await _page(session, position, FOLLOW_S if follow else 0.0)
        for data in got.records:
            record = decoded(data)
            position = record.position + 1
            yield told(record, known)
        if not got.records and (not follow or (await session.info()).ending is not None):
            return


async def audit(session: Session) -> Report:
    """Check the whole record of ``session`` as the host has it, and against the newest head that this user saw."""
    chain = await session._ask(wire.GetChain(session._ref(), session.id), wire.ChainIs)
    records: list[bytes] = []
    position = chain.first
    while (got := await _page(session, position)).records:
        records += got.records
        position = decoded(records[-1]).position + 1
    seen = heads.known(session.id)
    heading = Heading(
        evidence.FORMAT, chain.session, chain.name, chain.host, chain.host_name, chain.tenant, chain.certificates,
        chain.anchors, position - 1, digest(records[-1]) if records else bytes(32), int(time.time()), {},
        (Seen(seen.position, seen.head, "this user"),) if seen is not None else (),
    )  # fmt: skip
    return await asyncio.to_thread(evidence.check, heading, records)
