"""Serve what clients say about proposals and decisions. Not here: what is decided (gate)."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from holdfast.core.admission import Act as Asking
from holdfast.core.admission import Owner, objection
from holdfast.core.errors import BadMessage
from holdfast.core.journal import Author
from holdfast.core.policy import Verb
from holdfast.core.proposals import Proposal, Step, Widen
from holdfast.host.judge import Act, Basis, operator_of
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.host.clients import Client
    from holdfast.host.host import Host
    from holdfast.host.session import Session

SETTLED_MAX: Final = 256
DONE_S: Final = 2.0  # how long the answer to an approval waits for the deed


def said(session: "Session", each: Proposal) -> wire.ProposalInfo:
    """Return a proposal as it is told to clients."""
    deed = each.deed
    return wire.ProposalInfo(
        id=each.id, session=session.id, name=session.name, operator=each.operator, kind=each.kind,
        on_behalf_of=each.principal, verb=deed.verb, data=deed.data, digest=each.digest, at=each.at, until=each.until,
        state=each.state.value, holds=session.gate.holds(each), signal=deed.signal, tree=deed.tree, size=deed.size,
        why=each.why, rule=each.rule, reason=each.reason, cwd=each.cwd, by=each.by, answer=each.answer,
        outcome=each.outcome, written=each.written, position=each.position, settled_at=each.settled_at,
        only_proposes=each.only_proposes,
    )  # fmt: skip


def _running(host: "Host", named: str) -> "Session":
    session = host.find(named)
    if session.over:
        raise session.gone()
    return session


async def _propose(host: "Host", ask: wire.Propose, peer: "Client", by: Author) -> wire.Message:
    session = _running(host, ask.session)
    if ask.verb not in (Verb.INPUT, Verb.RUN, Verb.SIGNAL):
        raise BadMessage(f"{ask.verb!r} cannot be proposed; input, run and signal can")
    if bool(ask.data) is (ask.verb == Verb.SIGNAL):
        raise BadMessage("a proposal of input or run needs data, one of a signal has none")
    basis = Basis(ask.basis.input, ask.basis.command) if ask.basis is not None else None
    detail = {"signal": ask.signal, "tree": ask.tree} if ask.verb == Verb.SIGNAL else {}
    act = Act(ask.verb, operator_of(by), ask.data, 0, basis, detail, by)
    only = not isinstance(peer.authority, Owner) and (
        objection(
            Asking("input", session.id, session.id), peer.authority, now=int(time.time()), revoked=host.revocations
        )
        is not None
    )
    made = session.gate.propose(act, client=f"{peer.client}/propose", seq=ask.number, why=ask.why, only=only)
    return wire.Proposed(ask.ref, said(session, made))


async def _proposals(host: "Host", ask: wire.Proposals, peer: "Client", by: Author) -> wire.Message:
    session = host.find(ask.session)
    if not session.over:
        session.gate.expire()
    known = session.gate.proposals
    found = (*known.recent(min(ask.settled, SETTLED_MAX)), *(() if session.over else known.pending))
    return wire.Pending(ask.ref, time.time(), tuple(said(session, each) for each in found))


async def _decide(host: "Host", ask: wire.Decide, peer: "Client", by: Author) -> wire.Message:
    session = _running(host, ask.session)
    try:
        step, widen = {"approve": Step.APPROVE, "deny": Step.DENY}[ask.verdict], Widen(ask.widen)
    except (KeyError, ValueError):
        raise BadMessage("a verdict is approve or deny, and widens to nothing, session or prefix") from None
    gate = session.gate
    gate.decide(by, ask.proposal, ask.digest, step, why=ask.why, widen=widen, words=ask.words, for_s=ask.for_s)
    with contextlib.suppress(TimeoutError):  # a program that reads slowly: the answer says approved, not yet executed
        async with asyncio.timeout(DONE_S):
            await gate.settled(ask.proposal)
    return wire.Decided(ask.ref, said(session, gate.proposals.get(ask.proposal)))


async def _withdraw(host: "Host", ask: wire.Withdraw, peer: "Client", by: Author) -> wire.Message:
    session = _running(host, ask.session)
    session.gate.withdraw(by, ask.proposal)
    return wire.Decided(ask.ref, said(session, session.gate.proposals.get(ask.proposal)))


async def _await(host: "Host", ask: wire.AwaitDecision, peer: "Client", by: Author) -> wire.Message:
    session = host.find(ask.session)
    return wire.Decided(ask.ref, said(session, await session.gate.settled(ask.proposal)))


HANDLERS: Final[dict[type, Callable[["Host", Any, "Client", Author], Awaitable[wire.Message]]]] = {
    wire.Propose: _propose, wire.Proposals: _proposals, wire.Decide: _decide, wire.Withdraw: _withdraw,
    wire.AwaitDecision: _await,
}  # fmt: skip
