"""End a whole tree: HUP, TERM, KILL, a grace apart, until nothing of it is left (R04). Not here: why (session)."""

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Final

from holdfast.core.errors import HoldError

if TYPE_CHECKING:
    from holdfast.host.holders import Holder
    from holdfast.host.session import Session

STEPS: Final = (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL)
LAST_S: Final = 2.0  # SIGKILL needs no grace, only the time the kernel takes


async def end_tree(session: "Session", grace_s: float) -> int | None:
    """Signal the tree of ``session`` until it is gone. Return the root's exit code or minus its signal, if known."""
    holder = await session.ready()
    for step in STEPS:
        try:
            pids = await holder.signal(step, tree=True)
            if step is not signal.SIGKILL:
                await holder.signal(signal.SIGCONT, tree=True)  # a stopped process takes its signal when it goes on
            elif session.group is not None:
                session.group.kill()
        except HoldError:
            holder = await session.ready()
            continue
        if await _gone(holder, pids, LAST_S if step is signal.SIGKILL else grace_s):
            break
    return await _status(session, holder)


async def _gone(holder: "Holder", pids: tuple[int, ...], within_s: float) -> bool:
    """Wait until the tree is empty; tell whether it is. Each process's pidfd is the event, so nothing is polled."""
    deadline = time.monotonic() + within_s
    while pids:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        waited_for = pids[0]
        await _one_ends(waited_for, left)
        try:
            pids = await holder.signal(0, tree=True)
        except HoldError:
            return False
        if waited_for in pids:
            await asyncio.sleep(0.005)  # a zombie that its parent has yet to collect: no event says when it does
    return True


async def _one_ends(pid: int, within_s: float) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(fd, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), within_s)
    except TimeoutError:
        pass
    finally:
        loop.remove_reader(fd)
        os.close(fd)


async def _status(session: "Session", holder: "Holder") -> int | None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(session.exited.wait(), LAST_S)
    status = holder.ended.status if not holder.lost.is_set() and holder.ended is not None else None
    return None if status is None else os.waitstatus_to_exitcode(status)


def exit_code(status: int | None) -> int | None:
    """Return a raw wait status as exit code, or minus the signal that killed it."""
    return None if status is None else os.waitstatus_to_exitcode(status)
