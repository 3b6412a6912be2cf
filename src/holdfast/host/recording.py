"""Answer what is asked about journals: records, heads, and what proves them elsewhere. Not here: writing them (journal)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from holdfast.core.journal import Author
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.host.clients import Client
    from holdfast.host.host import Host
    from holdfast.host.journal import Journal

RECORDS_MAX: Final = 1024
WAIT_S_MAX: Final = 60.0
POINTS_MAX: Final = 4096  # in one answer


async def _records(host: "Host", ask: wire.ReadJournal, peer: "Client", by: Author) -> wire.Message:
    session = host.find(ask.session)
    if ask.wait_s > 0 and not session.over:
        await _grown(session.journal, ask.position, min(ask.wait_s, WAIT_S_MAX))
    records = session.journal.read(ask.position, min(max(ask.limit, 1), RECORDS_MAX))
    return wire.Records(ask.ref, tuple(records), session.journal.position)


async def _grown(journal: "Journal", position: int, wait_s: float) -> None:
    """Return when there is a record ``position``, or after ``wait_s`` seconds."""
    more = asyncio.Event()
    journal.grown.add(more.set)
    try:
        async with asyncio.timeout(wait_s):
            while journal.position < position:
                more.clear()
                await more.wait()
    except TimeoutError:
        pass
    finally:
        journal.grown.discard(more.set)


async def _witness(host: "Host", ask: wire.Witness, peer: "Client", by: Author) -> wire.Message:
    session = host.find(ask.session)
    journal = session.journal
    return wire.Witnessed(
        ask.ref, session.id, ask.position, journal.head_at(ask.position), journal.first, journal.position, journal.head,
        journal.bound.newest,
    )  # fmt: skip


async def _chain(host: "Host", ask: wire.GetChain, peer: "Client", by: Author) -> wire.Message:
    session, mine = host.find(ask.session), host.identity
    if not session.over:
        session.binding.sign()  # so that the host's key stands for all of what is proven
    journal, pair = session.journal, host.notary.pair
    return wire.ChainIs(
        ask.ref, session.id, session.name, pair.key if pair else b"", host.name, mine.tenant, mine.certificates,
        tuple(journal.anchors()), journal.first, journal.position, journal.head,
    )  # fmt: skip


async def _times(host: "Host", ask: wire.ReadTimes, peer: "Client", by: Author) -> wire.Message:
    return wire.Times(ask.ref, tuple(host.find(ask.session).binding.times.points(ask.after, POINTS_MAX)))


async def _accept(host: "Host", ask: wire.AcceptRollback, peer: "Client", by: Author) -> wire.Message:
    host.witness.accept()
    return wire.Done(ask.ref)


HANDLERS: Final[dict[type, Callable[["Host", Any, "Client", Author], Awaitable[wire.Message]]]] = {
    wire.ReadJournal: _records, wire.Witness: _witness, wire.GetChain: _chain, wire.ReadTimes: _times,
    wire.AcceptRollback: _accept,
}  # fmt: skip
