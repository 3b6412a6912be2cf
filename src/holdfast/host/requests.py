"""Carry out what a client asks: one function a message, all of them short. Not here: framing, attaching, typing (server)."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from holdfast.core.admission import Granted, visible
from holdfast.core.errors import BadMessage, NameTaken, NotSupported, Refused
from holdfast.core.ids import SessionId, checked_name
from holdfast.core.journal import Author
from holdfast.host import commandviews, controlling, gating, pairing, push, recording, running, veil, waits
from holdfast.host.tuple import live_tuple
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.host.clients import Client
    from holdfast.host.host import Host

READ_MAX: Final = 1 << 20
HISTORY_MAX: Final = 10_000


async def serve(host: "Host", message: wire.ToHost, peer: "Client", by: Author) -> wire.Message | None:
    """Return the answer to ``message``. Raises HoldError for what cannot be done."""
    handler = HANDLERS.get(type(message))
    if handler is None:
        raise BadMessage(f"{type(message).__name__} is not a request")
    return await handler(host, message, peer, by)


async def _open(host: "Host", ask: wire.Open, peer: "Client", by: Author) -> wire.Message:
    session, created = await host.open(_at_home(ask), peer.client, by)
    return wire.Opened(ask.ref, session.info(), created)


def _at_home(ask: wire.Open) -> wire.Open:
    """Fill in what the asker left out because it knows nothing of this machine (a browser): its user's login shell, home
    folder and environment, as this host was started with."""
    home = os.path.expanduser("~")
    return structs.replace(
        ask, argv=ask.argv or (os.environ.get("SHELL") or "/bin/sh", "-l"), env=ask.env or dict(os.environ),
        cwd=ask.cwd or home,
    )  # fmt: skip


async def _list(host: "Host", ask: wire.List, peer: "Client", by: Author) -> wire.Message:
    there = {s.id: s for s in host.sessions.values() if ask.ended or not s.over}
    ids = visible(there, peer.authority, now=int(time.time()), revoked=host.revocations)
    shown = [there[session] for session in ids]
    return wire.Listing(ask.ref, tuple(s.info() for s in sorted(shown, key=lambda s: s.sheet.created_at)))


async def _info(host: "Host", ask: wire.Info, peer: "Client", by: Author) -> wire.Message:
    session = host.find(ask.session)
    live: dict[str, Any] = {}
    if not session.over:
        sheet = session.sheet
        live = await asyncio.to_thread(  # a tenth of a millisecond a process: too long for the loop with a big tree
            live_tuple, sheet.root_pid, root_started=sheet.root_started, session=session.id, group=session.group
        )
    return wire.Tuple(ask.ref, session.info(), live)


async def _resize(host: "Host", ask: wire.Resize, peer: "Client", by: Author) -> wire.Message:
    session = host.find(ask.session)
    attachment = peer.attachment(ask.attachment)
    return wire.Done(ask.ref, await session.resize(ask, by, attachment))


async def _signal(host: "Host", ask: wire.Signal, peer: "Client", by: Author) -> wire.Message:
    return wire.Done(ask.ref, await host.find(ask.session).signal(ask.signal, by, tree=ask.tree))


async def _kill(host: "Host", ask: wire.Kill, peer: "Client", by: Author) -> wire.Message:
    session = host.find(ask.session)
    if session.over:
        raise session.gone()
    grace_s = min(max(ask.grace_s, 0.0), 60.0)
    return wire.Ended(ask.ref, await session.kill(by, grace_s=grace_s))


async def _keep(host: "Host", ask: wire.Keep, peer: "Client", by: Author) -> wire.Message:
    session = host.find(ask.session)
    if session.over:
        raise session.gone()
    until = time.time() + ask.for_s if ask.for_s > 0 else None
    record = session.record("keep", by, {"until": until})
    session.watch.keep(until)
    return wire.Done(ask.ref, record.position)


async def _rename(host: "Host", ask: wire.Rename, peer: "Client", by: Author) -> wire.Message:
    session = host.find(ask.session)
    name = checked_name(ask.name)
    if any(s.name == name and s is not session for s in host.running()):
        raise NameTaken(name)
    position = session.journal.position
    if not session.over:
        position = session.record("rename", by, {"from": session.name, "to": name}).position
    session.sheet.name = name
    session.save()
    return wire.Done(ask.ref, position)


async def _forget(host: "Host", ask: wire.Forget, peer: "Client", by: Author) -> wire.Message:
    session = host.find(ask.session)
    if not session.over:
        raise Refused(
            f"session {session.name!r} is running; its record was kept", do=f"`hold kill {session.name}` ends it"
        )
    host.forget(session)
    return wire.Done(ask.ref)


async def _fork(host: "Host", ask: wire.Fork, peer: "Client", by: Author) -> wire.Message:
    """Refuse, and say what two copies would have shared: no checkpoint can be made here, and a copy that only looks like
    one (the command begun again) would repeat its effects (R77)."""
    session = host.find(ask.session)
    if session.over:
        raise session.gone()
    sheet = session.sheet
    live = await asyncio.to_thread(
        live_tuple, sheet.root_pid, root_started=sheet.root_started, session=session.id, group=session.group
    )
    files = [each for process in live["processes"] for each in process.get("fds", ())]
    outside = {
        each["inode"] for each in files if each.get("proto") in ("tcp", "tcp6") and each["state"] == "established"
    }
    raise NotSupported(
        f"a running execution cannot be copied on this host; session {session.name!r} goes on and no copy was made",
        do="start a second session for the second line of work (`hold new`)",
        processes=len(live["processes"]),
        connections=len(outside),
    )


async def _read(host: "Host", ask: wire.ReadOutput, peer: "Client", by: Author) -> wire.Message:
    session = host.find(ask.session)
    start = session.output.start if ask.offset < 0 else ask.offset
    if start >= session.head:
        return wire.OutputRange(ask.ref, session.head, b"", session.head)
    chunk = veil.read(session.journal.turns, by.kind, session.output, start, min(max(ask.size, 1), READ_MAX))
    return wire.OutputRange(ask.ref, chunk.offset, chunk.data, session.head, chunk.why if chunk.offset > start else "")


async def _screen(host: "Host", ask: wire.GetScreen, peer: "Client", by: Author) -> wire.Message:
    session = host.find(ask.session)
    control = session.judge.now()
    async with session.viewed():
        state = await session.views.screen(SessionId(session.id), at_least=session.head)
    return wire.ScreenState(ask.ref, state.message(0), control)


async def _text(host: "Host", ask: wire.GetText, peer: "Client", by: Author) -> wire.Message:
    session = host.find(ask.session)
    control = session.judge.now()
    async with session.viewed():
        text = await session.views.text(
            SessionId(session.id), min(max(ask.history, 0), HISTORY_MAX), at_least=session.head
        )
    return wire.Text(ask.ref, text.offset, tuple(text.lines), text.cursor, text.title, control)


async def _wait(host: "Host", ask: wire.WaitEnd, peer: "Client", by: Author) -> wire.Message:
    return wire.Ended(ask.ref, await host.find(ask.session).ended())


async def _status(host: "Host", ask: wire.HostStatus, peer: "Client", by: Author) -> wire.Message:
    return host.status(ask.ref)


async def _stop(host: "Host", ask: wire.HostStop, peer: "Client", by: Author) -> wire.Message:
    host.replaced = ask.replace
    host.stop_asked.set()
    return wire.Done(ask.ref)


async def _identity(host: "Host", ask: wire.GetIdentity, peer: "Client", by: Author) -> wire.Message:
    return host.identity_said(ask.ref)


async def _enrol(host: "Host", ask: wire.Enrol, peer: "Client", by: Author) -> wire.Message:
    host.enrol(ask)
    return host.identity_said(ask.ref)


async def _revoke(host: "Host", ask: wire.Revoke, peer: "Client", by: Author) -> wire.Message:
    host.learn(ask.revocations, ask.issuer)
    return wire.Done(ask.ref)


async def _invite(host: "Host", ask: wire.Invite, peer: "Client", by: Author) -> wire.Message:
    host.invitations.invite(ask.digest, ask.not_after, recognise=ask.recognise)
    return wire.Done(ask.ref)


async def _renew(host: "Host", ask: wire.Renew, peer: "Client", by: Author) -> wire.Message:
    if not isinstance(peer.authority, Granted):
        raise Refused("whoever is at this machine renews its keys itself; nothing was changed", do="`hold key renew`")
    answer = await host.invitations.renew(peer.authority.member.key)
    return structs.replace(answer, ref=ask.ref)


async def _upgrade(host: "Host", ask: wire.HostUpgrade, peer: "Client", by: Author) -> wire.Message:
    keeper, holders, failed = await host.upgrade(by)
    return wire.Upgraded(ask.ref, keeper, holders, failed)


HANDLERS: Final[dict[type, Callable[["Host", Any, "Client", Author], Awaitable[wire.Message]]]] = {
    wire.Open: _open, wire.List: _list, wire.Info: _info, wire.Resize: _resize, wire.Signal: _signal, wire.Kill: _kill,
    wire.Keep: _keep, wire.Rename: _rename, wire.Forget: _forget, wire.Fork: _fork,
    wire.ReadOutput: _read, wire.GetScreen: _screen,
    wire.GetText: _text, wire.WaitEnd: _wait, wire.HostStatus: _status, wire.HostStop: _stop,
    wire.HostUpgrade: _upgrade, wire.GetIdentity: _identity, wire.Enrol: _enrol, wire.Revoke: _revoke,
    wire.Invite: _invite, wire.Renew: _renew, **waits.HANDLERS, **running.HANDLERS, **gating.HANDLERS, **controlling.HANDLERS,
    **recording.HANDLERS, **commandviews.HANDLERS, **pairing.HANDLERS, **push.HANDLERS,
}  # fmt: skip
