"""Let viewers have the rest of a session that ended, and show it once more to who comes later. Not here: how it ended (session).

The end does not wait long for viewers. One that shows a terminal is served well enough with what it has; one that wants every
byte goes on reading what is kept, at its own pace, and is told of the end when it has come there (I4).
"""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from holdfast.host.attachments import Attachment
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.host.session import Session

PART_S: Final = 2.0  # how long the end waits for viewers to take the rest


async def part(session: "Session", ending: wire.Ending) -> None:
    """Return when every viewer of ``session`` was told how it ended, or reads on by itself."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PART_S):
            for attachment in list(session.attachments.values()):
                await attachment.drain()
    for attachment in list(session.attachments.values()):
        if attachment.wants_all and not attachment.drained():
            del session.attachments[attachment.serial]
            session.spawn(_read_on(attachment, ending), "reads on")
        else:
            attachment.close("ended", ending)
            session.leave(attachment, "ended")


async def show_last(session: "Session", attachment: Attachment, offset: int | None) -> None:
    """Show ``session``, which is over, from ``offset`` (None: as it was at last), and then say how it ended."""
    attachment.begins_after(session.head)
    async with session.viewed() if attachment.wants_view else contextlib.nullcontext():
        if not attachment.over:
            attachment.start(offset)
        await attachment.drain()
    attachment.close("ended", session.sheet.ending)


async def _read_on(attachment: Attachment, ending: wire.Ending) -> None:
    await attachment.drain()
    attachment.close("ended", ending)
