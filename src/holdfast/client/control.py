"""Take, give, ask for and keep control of a session, for a handle of the SDK; remember what its program has seen.

Not here: what is allowed (core.control), the keys of the raw attach (terminal). Source: docs/operators.md.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from holdfast.core.errors import HoldError, LineBusy, NotYourTurn, Paused, Private, Timeout
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.client.connection import Connection
    from holdfast.client.sdk import Session

RENEW_S: Final = 20.0  # a third of the time after which control of a silent AI operator lapses


class Seen:
    """What a program has seen of control and of others' typing: what its own acts stand on.

    It moves with what the program asked for and with the events that it took, never with what merely arrived.
    """

    def __init__(self, info: wire.SessionInfo) -> None:
        self.term, self.input, self.command = 0, 0, ""
        self.learn(info.control)

    def learn(self, control: wire.ControlState | None) -> None:
        """The program was told how control is."""
        if control is not None:
            self.term, self.command = max(self.term, control.term), control.command
            self.input = max(self.input, control.input)

    def happened(self, event: wire.Event) -> None:
        """The program took ``event``."""
        if event.kind == "input":
            self.input = max(self.input, event.position)
        elif event.kind == "control":
            term = event.body.get("term")
            self.term = max(self.term, term if isinstance(term, int) else 0)

    @property
    def basis(self) -> wire.Basis:
        return wire.Basis(self.input, self.command)


async def act(
    session: Session, what: str, *, to: str = "", why: str = "", job: str = "leave", again: bool = True
) -> wire.Controlled:
    """Do one act of ``control``. Repeating it after a cut is harmless."""
    request = wire.Control(session._ref(), session.id, what, to, why, job)
    done: wire.Controlled = await session._ask(request, wire.Controlled, again=again)
    session.seen.learn(done.control)
    return done


@contextlib.asynccontextmanager
async def held(session: Session, why: str, job: str, timeout: float | None) -> AsyncIterator[wire.Controlled]:
    """Have control for as long as the block lasts, asking for it and waiting where it cannot be taken."""
    async with asyncio.timeout(None) as limit:
        try:
            if timeout is not None:
                limit.reschedule(asyncio.get_running_loop().time() + timeout)
            done = await _gained(session, why, job)
        except asyncio.CancelledError:
            if limit.expired():
                raise Timeout(
                    f"control was not given within {timeout:g} s; nothing was changed",
                    do="ask again, or ask whoever has it: `hold who` names them",
                ) from None
            raise
        limit.reschedule(None)
        keeping = asyncio.get_running_loop().create_task(_keep(session), name=f"control of {session.id}")
        try:
            yield done
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            with contextlib.suppress(HoldError):  # somebody else has it by now: then there is nothing to release
                await act(session, "release")


async def _gained(session: Session, why: str, job: str) -> wire.Controlled:
    feed = await session._channel.attach(session.id, "events", observe=True)
    try:
        asked = False
        while True:
            try:
                return await act(session, "take", why=why, job=job)
            except (NotYourTurn, Paused, Private, LineBusy) as no:
                if not asked:
                    asked = True
                    await act(session, "request", why=why)
                await _changed(session, feed, no)
    finally:
        session._channel.detach(feed)
        session._channel.drop(feed)


async def _changed(session: Session, feed: object, no: HoldError) -> None:
    """Return when trying again may help: control changed, or the line is given up."""
    if isinstance(no, LineBusy):
        await asyncio.sleep(max(0.05, min(1.0, float(no.details.get("free_in_s", 1.0)))))
        return
    while True:
        try:
            item = await session._channel.take(feed)  # type: ignore[arg-type]
        except StopAsyncIteration:
            raise no from None
        if isinstance(item, wire.Detached):
            raise no
        if isinstance(item, wire.Event) and item.kind == "control" and item.body.get("act") not in ("request", "cut"):
            return


async def _keep(session: Session) -> None:
    while True:
        await asyncio.sleep(RENEW_S)
        with contextlib.suppress(HoldError):
            await act(session, "renew")


# ---- for command lines, which ask one thing and go -------------------------------------------------------------------


def here(host: Connection, session: str) -> wire.Here:
    """Return who is attached to ``session`` and who has control of it."""
    return host.ask(wire.Who(host.ref(), session), wire.Here)


def acting(
    host: Connection, session: str, act: str, *, to: str = "", why: str = "", job: str = "leave"
) -> wire.Controlled:  # fmt: skip
    """Do one act of ``control``."""
    return host.ask(wire.Control(host.ref(), session, act, to, why, job), wire.Controlled)
