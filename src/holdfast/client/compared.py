"""Compare what relays witnessed of a session with what its host shows: one who never saw the later record notices too (I8).

Not here: what the user saw itself (heads, witnessing), the sealed blobs (core.witness).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from holdfast.client import heads
from holdfast.client.meeting import Meeting, Target
from holdfast.core import witness
from holdfast.wire import messages as wire

Ask = Callable[[Callable[[int], wire.ToHost]], Awaitable[wire.ToClient]]


async def compared(meeting: Meeting, target: Target, info: wire.SessionInfo, ask: Ask) -> str:
    """Return in words how the record of the session just attached is not the one that a relay witnessed; empty: it is, or
    no relay saw anything of it. A relay cannot make up what it shows: the host's own key signed it."""
    for number, blob in await meeting.witnessed(target):
        seen = witness.opened(blob, number, info.id)
        if seen is None or seen.host != target.host:
            continue
        head, first, end = info.journal_head, info.journal_position, info.journal_position
        if seen.position < end:
            position = seen.position
            got = await ask(lambda ref, position=position: wire.Witness(ref, info.id, position))  # type: ignore[misc]
            if not isinstance(got, wire.Witnessed):
                continue
            head, first, end = got.head, got.first, got.end
        if why := heads.why_not(heads.Head(info.id, seen.position, seen.head), head=head, first=first, end=end):
            return why.replace("you have seen", "a relay has seen")
    return ""
