"""Ask hosts what there is to show: sessions, screens, proposals. One conversation a host, for as long as it answers.

Not here: how it looks (app). Holds no state but connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

import holdfast as hf
from holdfast.client.everywhere import everywhere
from holdfast.client.names import names
from holdfast.core.errors import HoldError

HOSTS_S: Final = 15.0  # between looks at which hosts there are
PATIENCE_S: Final = 2.0  # for a host that went away, before its sessions are not shown any more
ASK_S: Final = 1.0  # for an answer, before what was known is shown once more


class Place(NamedTuple):
    """A host. ``path``: how it is reached, None: it is this machine's. ``why``: why it is not, empty: it is."""

    name: str
    path: str | None
    profile: str = ""
    why: str = ""


class Row(NamedTuple):
    """A session at a host."""

    place: Place
    info: hf.SessionInfo
    names: Mapping[str, str] = {}  # of operators, as this user calls them

    @property
    def key(self) -> str:
        return f"{self.info.id}@{self.place.name}"

    @property
    def controller(self) -> str:
        """Who has control, in a few words."""
        control = self.info.control
        if control is None:
            return ""
        if control.state in ("paused", "private"):
            return f"{control.state} by {self.called(control.by)}"
        return f"{self.called(control.holder)} ({control.kind})" if control.holder else "free"

    def called(self, operator: str) -> str:
        """Return an operator for a narrow column: the name it was given, a local user's, or the beginning of its id."""
        name = operator.partition("/")[0]
        name = self.names.get(name, name.removeprefix("local:"))
        return name if len(name) <= 12 else f"{name[:10]}…"


class Watch:
    """``places`` are the hosts, as they were when last looked at."""

    def __init__(self) -> None:
        self.places: list[Place] = []
        self._clients: dict[str, hf.Client] = {}
        self._asked: dict[str, asyncio.Task[tuple[hf.SessionInfo, ...]]] = {}
        self._known: dict[str, list[Row]] = {}
        self._names: dict[str, str] = {}
        self._looked_at = 0.0
        self._looking: asyncio.Task[None] | None = None

    async def rows(self) -> list[Row]:
        """Return the running sessions of every host that answers, this machine's first."""
        if self._looking is None and time.monotonic() - self._looked_at > HOSTS_S:
            self._looking = asyncio.get_running_loop().create_task(self._look(), name="which hosts there are")
        if not self.places:
            self.places = [Place("this machine", None)]
        found = await asyncio.gather(*(self._of(place) for place in self.places))
        return [row for rows in found for row in rows]

    async def screen(self, row: Row) -> tuple[str, ...]:
        """Return the lines of the session's screen. Raises HoldError."""
        session = await self._session(row)
        return (await session.text()).lines

    async def proposals(self, rows: list[Row]) -> list[tuple[Row, hf.Proposal]]:
        """Return what waits for a person's decision, oldest first."""
        by_id = {row.info.id: row for row in rows}
        found: list[tuple[Row, hf.Proposal]] = []
        for place in self.places:
            with contextlib.suppress(HoldError):
                for each in await self._client(place).approvals():
                    if each.info.session in by_id:
                        found.append((by_id[each.info.session], each))
        return found

    async def take(self, row: Row) -> None:
        await (await self._session(row)).take("from the dashboard")

    async def release(self, row: Row) -> None:
        await (await self._session(row)).release()

    async def pause(self, row: Row) -> None:
        """Pause AI operators, or let them go on."""
        session = await self._session(row)
        paused = row.info.control is not None and row.info.control.state == "paused"
        await (session.resume_ai() if paused else session.pause_ai("from the dashboard"))

    async def kill(self, row: Row) -> None:
        await (await self._session(row)).kill()

    async def close(self) -> None:
        """Hang up. Sessions run on."""
        tasks = [*self._asked.values(), *([self._looking] if self._looking is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in self._clients.values():
            await client.close()
        self._clients.clear()

    # ---- inside ----

    def _client(self, place: Place) -> hf.Client:
        key = place.path or ""
        if key not in self._clients:
            self._clients[key] = hf.connect(place.path, start=False, patience=PATIENCE_S)
        return self._clients[key]

    async def _session(self, row: Row) -> hf.Session:
        return await self._client(row.place).attach(row.info.id)

    async def _of(self, place: Place) -> list[Row]:
        """Ask ``place``; while its answer is under way, what it said before stands, and nobody waits for it for long."""
        if place.why:
            return []
        key = place.path or ""
        if key not in self._asked:
            asking = self._client(place).sessions()
            self._asked[key] = asyncio.get_running_loop().create_task(asking, name=f"sessions of {place.name}")
        task = self._asked[key]
        done, _ = await asyncio.wait([task], timeout=ASK_S)
        if done:
            del self._asked[key]
            try:
                self._known[key] = [Row(place, info, self._names) for info in task.result()]
            except HoldError:
                self._known[key] = []
        return self._known.get(key, [])

    async def _look(self) -> None:
        """Learn which hosts there are; those that are gone are let go."""
        try:
            self._names = await asyncio.to_thread(names, me="you")
            found = await everywhere()
            places = [
                Place(each.host, f"@{each.profile}/{each.id}" if each.profile else None, each.profile,
                      "" if each.sessions is not None else each.why or "unreachable")
                for each in found
            ]  # fmt: skip
            if not any(place.path is None for place in places):
                places.insert(0, Place("this machine", None))
            self.places = places
            for key in [key for key in self._clients if key not in {place.path or "" for place in places}]:
                await self._clients.pop(key).close()
        except HoldError:
            pass  # shown as they were; asked again soon
        finally:
            self._looked_at, self._looking = time.monotonic(), None
