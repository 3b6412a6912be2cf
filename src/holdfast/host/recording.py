"""Answer what is asked about journals: records, heads, and what proves them elsewhere. Not here: writing them (journal)."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from holdfast.core.journal import Author
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.host.clients import Client
    from holdfast.host.host import Host

RECORDS_MAX: Final = 1024


async def _records(host: "Host", ask: wire.ReadJournal, peer: "Client", by: Author) -> wire.Message:
    session = host.find(ask.session)
    records = session.journal.read(ask.position, min(max(ask.limit, 1), RECORDS_MAX))
    return wire.Records(ask.ref, tuple(records), session.journal.position)


async def _witness(host: "Host", ask: wire.Witness, peer: "Client", by: Author) -> wire.Message:
    session = host.find(ask.session)
    journal = session.journal
    return wire.Witnessed(
        ask.ref, session.id, ask.position, journal.head_at(ask.position), journal.first, journal.position, journal.head,
        journal.bound.newest,
    )  # fmt: skip


async def _chain(host: "Host", ask: wire.GetChain, peer: "Client", by: Author) -> wire.Message:
    session, mine = host.find(ask.session), host.identity
    journal, pair = session.journal, host.notary.pair
    return wire.ChainIs(
        ask.ref, session.id, session.name, pair.key if pair else b"", host.name, mine.tenant, mine.certificates,
        tuple(journal.anchors()), journal.first, journal.position, journal.head,
    )  # fmt: skip


HANDLERS: Final[dict[type, Callable[["Host", Any, "Client", Author], Awaitable[wire.Message]]]] = {
    wire.ReadJournal: _records, wire.Witness: _witness, wire.GetChain: _chain,
}  # fmt: skip
