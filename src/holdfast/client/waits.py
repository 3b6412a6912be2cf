"""Wait for what happens in a session, for the SDK (sdk). The host decides; this asks, also across its restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.client import events as ev
from holdfast.client.until import Until
from holdfast.core.cursor import Cursor
from holdfast.core.errors import Timeout
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.client.sdk import Session

LATE_S: Final = 2.0  # how much later than asked the host's answer may come before we answer ourselves


async def wait_for(
    session: Session, until: Until, *, timeout: float | None, since: Cursor | str | int | None
) -> ev.Waited:
    """See ``Session.wait_for``."""
    offset = _offset(since, session._since)
    request = wire.WaitFor(
        session._ref(), session.id, until.inputs, until.patterns, until.quiet_s, until.command_id, timeout, offset
    )
    try:
        got = await session._ask(request, wire.Waited, timeout=None if timeout is None else timeout + LATE_S)
    except Timeout:  # the host was replaced meanwhile and began to count anew, or is not there
        return ev.Waited("time", offset, str(session.cursor._replace(offset=offset)))
    session._since = max(offset, got.offset)
    return ev.waited(got)


def _offset(since: Cursor | str | int | None, default: int) -> int:
    if since is None:
        return default
    if isinstance(since, int):
        return since
    return (Cursor.parse(since) if isinstance(since, str) else since).offset
