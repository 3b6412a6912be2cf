"""Carry out what clients say about control: take, give, who is here. Not here: what is allowed (core.control), the judge."""

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from holdfast.core.admission import reach
from holdfast.core.control import NOBODY, Operator, Role
from holdfast.core.errors import Refused
from holdfast.core.grants import Capability
from holdfast.core.journal import Author
from holdfast.host.clients import Client
from holdfast.host.judge import operator_of
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.host.host import Host
    from holdfast.host.session import Session

WHY_MAX: Final = 500  # characters of a reason that are kept


async def _control(host: "Host", ask: wire.Control, peer: Client, by: Author) -> wire.Message:
    session = host.find(ask.session)
    if session.over:
        raise session.gone()
    to = _meant(host, session, ask.to) if ask.act == "give" else NOBODY
    cut = await session.judge.change(ask.act, by, to=to, why=ask.why[:WHY_MAX], job=ask.job)
    judge = session.judge
    return wire.Controlled(ask.ref, judge.said(), judge.position, cut.flushed, cut.dropped, cut.cleared, cut.signalled)


async def _who(host: "Host", ask: wire.Who, peer: Client, by: Author) -> wire.Message:
    session = host.find(ask.session)
    now = time.monotonic()
    attached = tuple(
        _presence(attachment, peer, now)
        for attachment in sorted(session.attachments.values(), key=lambda each: each.serial)
    )
    asked = tuple(
        wire.Asked(each.by.id, each.by.kind, each.by.principal, each.why, time.time() - (now - each.at))
        for each in session.judge.control.requests.values()
    )
    return wire.Here(ask.ref, session.judge.said(), attached, asked)


def _presence(attachment: Any, asker: Client, now: float) -> wire.Presence:
    peer = attachment.peer
    who = operator_of(peer.operator)
    return wire.Presence(
        attachment.serial, who.id, who.kind, who.principal, getattr(peer, "face", ""), attachment.view,
        attachment.observe, time.time() - (now - attachment.since), max(0.0, now - getattr(peer, "acted_at", now)),
        peer is asker,
    )  # fmt: skip


def _meant(host: "Host", session: "Session", named: str) -> Operator:
    """Return the operator ``named``: by id, the beginning of one, or a kind, if only one of those here is meant.

    Whoever is attached or has asked for control can be meant: to give it to somebody who is not there would stop everybody.
    """
    found = {each.by.id: each.by for each in session.judge.control.requests.values()}
    for attachment in session.attachments.values():
        who = operator_of(attachment.peer.operator)
        if isinstance(client := attachment.peer, Client):
            may = reach(session.id, client.authority, now=int(time.time()), revoked=host.revocations)
            who = who._replace(role=Role.OPERATE if may & Capability.OPERATE else Role.OBSERVE)
        found[who.id] = who
    exact = [who for who in found.values() if named == who.id]
    near = exact or [who for who in found.values() if named and (who.id.startswith(named) or named == who.kind)]
    if len(near) != 1:
        names = ", ".join(sorted(found)) or "nobody"
        raise Refused(
            f"{named!r} is {'several' if near else 'none'} of those who are here or have asked; control was not changed",
            do=f"name one of them: {names}",
        )
    return near[0]


HANDLERS: Final[dict[type, Callable[["Host", Any, Client, Author], Awaitable[wire.Message]]]] = {
    wire.Control: _control,
    wire.Who: _who,
}
