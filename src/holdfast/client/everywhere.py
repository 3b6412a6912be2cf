"""List the sessions of every host that this user can reach, and say of the others since when they cannot be (R39).

Not here: how it is shown (faces). That a host is unreachable is a relay's word; that one is reachable is proven by its answer.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final, NamedTuple

from holdfast.client import enrolment, where
from holdfast.client.connection import Connection
from holdfast.client.credentials import Store, profiles
from holdfast.client.meeting import Meeting, Seen, keys_folder
from holdfast.core.errors import HoldError, HostUnreachable
from holdfast.core.identity import Kind, host_id

LIST_S: Final = 8.0  # for one host; a silent one must not keep the others from being shown


class Listing(NamedTuple):
    """One host. ``sessions`` is None if it did not answer: ``why`` then, and ``since`` when it was last seen (0: unknown).

    ``proof_at``: when it answered. Times are Unix seconds.
    """

    host: str  # its name for people
    id: str
    profile: str  # empty: this machine
    sessions: tuple[Any, ...] | None
    proof_at: float
    since: float
    why: str


async def everywhere(*, ended: bool = False) -> list[Listing]:
    """Return this machine's host first, then those of every profile, or of the chosen one."""
    here, own = await asyncio.to_thread(_here, ended)
    folder = keys_folder()
    names = [where.chosen()] if where.chosen() else profiles(folder)
    seen: dict[bytes, tuple[str, Seen]] = {}
    troubles: list[Listing] = []
    for name in names:
        meeting = Meeting(name)
        try:
            store = Store(folder, name)
            guest = store.member.kind is Kind.GUEST
            for each in await meeting.hosts():
                if each.key != own and (not guest or each.key == store.profile.default_host):
                    seen.setdefault(each.key, (name, each._replace(name=each.name or (name if guest else ""))))
        except HoldError as error:
            troubles.append(Listing(f"@{name}", "", name, None, 0.0, 0.0, error.message))
        finally:
            await meeting.close()
    found = await asyncio.gather(*(_one(name, each, ended) for name, each in seen.values()))
    return [*here, *sorted(found, key=lambda each: (each.sessions is None, each.host)), *troubles]


def _here(ended: bool) -> tuple[list[Listing], bytes]:
    try:
        with Connection(start=False) as host:
            sessions = host.sessions(ended=ended)
            who = enrolment.identity_of(host) if keys_folder().exists() else None
            name, key = host.welcome.host_name, who.key if who is not None and who.tenant else b""
            return [Listing(name, host.welcome.host, "", sessions, time.time(), 0.0, "")], key
    except HostUnreachable:
        return [], b""


async def _one(profile: str, seen: Seen, ended: bool) -> Listing:
    id_ = host_id(seen.key)
    name = seen.name or id_
    if not seen.reachable:
        return Listing(name, id_, profile, None, 0.0, seen.since, "")
    try:
        async with asyncio.timeout(LIST_S):
            sessions = await asyncio.to_thread(_asked, f"@{profile}/{id_}", ended)
        return Listing(name, id_, profile, sessions, time.time(), 0.0, "")
    except TimeoutError:
        return Listing(name, id_, profile, None, 0.0, seen.since, f"it did not answer within {LIST_S:.0f} s")
    except HoldError as error:
        return Listing(name, id_, profile, None, 0.0, seen.since, error.message)


def _asked(path: str, ended: bool) -> tuple[Any, ...]:
    with Connection(path, start=False) as host:
        return host.sessions(ended=ended)
