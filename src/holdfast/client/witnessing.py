"""Notice a host whose record of a session was set back or replaced: compare what it shows with what was seen before (I8).

For the fastest paths: nothing heavy is imported. Not here: the file of heads (heads), what relays saw (remote).
"""

from __future__ import annotations

from holdfast.client import heads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from holdfast.client.sdk import Session


def met(info: dict[str, Any]) -> heads.Head | None:
    """Take what a host says of a session. Return the head to ask it for (``witness``) where that alone can tell whether its
    record is the one seen before; None: all is well, and it is remembered.

    What it says here never accuses it: another client of the same user may have seen more since it was asked.
    """
    position, head, session = int(info.get("journal_position", 0)), info.get("journal_head", b""), str(info["id"])
    if not head or not position:
        return None  # an older host, which would not know the question either
    kept = heads.known(session)
    if kept is not None and (kept.position != position or kept.head != head):
        return kept
    if kept is None:
        heads.note(heads.Head(session, position, head))
    return None


def answered(asked: heads.Head, *, head: bytes, first: int, end: int, newest: bytes) -> str:
    """Return in words what is wrong, from the ``witnessed`` of a host on ``asked``; empty: nothing, and it is remembered."""
    if why := heads.why_not(asked, head=head, first=first, end=end):
        return said(why)
    heads.note(heads.Head(asked.session, end, newest))
    return ""


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
    asked = met({"journal_position": info.journal_position, "journal_head": info.journal_head, "id": info.id})
    if asked is None:
        return
    got = await session._ask(wire.Witness(session._ref(), info.id, asked.position), wire.Witnessed)
    found = answered(asked, head=got.head, first=got.first, end=got.end, newest=got.end_head)
    if found and session._accept_rollback:
        heads.note(heads.Head(info.id, info.journal_position, info.journal_head), back=True)
    elif found:
        await session.detach()
        raise JournalRolledBack(info.name, found)
