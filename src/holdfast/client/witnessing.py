"""Notice a host whose record of a session was set back or replaced: compare what it shows with what was seen before (I8).

For the fastest paths: nothing heavy is imported. Not here: the file of heads (heads), what relays saw (remote).
"""

from __future__ import annotations

from holdfast.client import heads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from holdfast.client.sdk import Session


def met(info: dict[str, Any]) -> str | int:
    """Take what a host says of a session. Return in words how that is not what was seen before, or the position of the
    record to ask it for (``witness``) because it alone can tell; empty: all is well, and it is remembered."""
    position, head, session = int(info.get("journal_position", 0)), info.get("journal_head", b""), str(info["id"])
    if not head or not position:
        return ""  # an older host, which would not know the question either
    kept = heads.known(session)
    if kept is not None and kept.position < position:
        return kept.position
    return _judged(kept, session, head=head, first=position, end=position, newest=head)


def answered(message: list[Any]) -> str:
    """Return in words what is wrong, from a ``witnessed`` of a host or a ``set-back`` of the own link; empty: nothing."""
    if message[0] == "set-back":
        return said(str(message[2]))
    _, _, session, _, head, first, end, newest = message[:8]
    return _judged(heads.known(session), session, head=head, first=first, end=end, newest=newest)


def _judged(kept: heads.Head | None, session: str, *, head: bytes, first: int, end: int, newest: bytes) -> str:
    why = heads.why_not(kept, head=head, first=first, end=end) if kept is not None else ""
    if not why:
        heads.note(heads.Head(session, end, newest))
    return said(why) if why else ""


def said(why: str) -> str:
    """Return ``why`` with what it means and the next step."""
    return (
        f"the host was set back, or its record was replaced: {why}. What happened since then is not in it; "
        "`hold log NAME --accept` if that was meant"
    )


async def check(session: Session) -> None:
    """Raise JournalRolledBack, detached, if the host's record of ``session``, just attached, is not the one seen before,
    unless that is accepted: then it is remembered instead."""
    from holdfast.core.errors import JournalRolledBack
    from holdfast.wire import messages as wire

    info = session.last
    found = met({"journal_position": info.journal_position, "journal_head": info.journal_head, "id": info.id})
    if isinstance(found, int):
        got = await session._ask(wire.Witness(session._ref(), info.id, found), wire.Witnessed)
        found = answered(["witnessed", got.ref, got.session, got.position, got.head, got.first, got.end, got.end_head])
    if found and session._accept_rollback:
        heads.note(heads.Head(info.id, info.journal_position, info.journal_head), back=True)
    elif found:
        await session.detach()
        raise JournalRolledBack(info.name, found)
