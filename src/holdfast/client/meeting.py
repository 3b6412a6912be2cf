"""Meet hosts at relays: one connection to each relay of a profile, shared by all links of this program. Async.

Not here: what goes over a route (remote), keys and certificates (credentials). Records of hosts are believed when their
signatures hold and no older version was seen; what a relay says of presence is its word alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from holdfast.client import places
from holdfast.client.credentials import Store
from holdfast.core import identity, signed
from holdfast.core.errors import HoldError, HostUnreachable, NoSuchSession, Refused, Timeout, revived
from holdfast.core.identity import HostRecord
from holdfast.core.signed import KeyPair
from holdfast.edge import due
from holdfast.edge.relayline import RelayLine, RelayUnreachable
from holdfast.wire import relay
from holdfast.wire.messages import Failed, Ping

ANSWER_S: Final = 10.0
DOUBT_S: Final = 2.0  # that a relay has to answer when there is reason to doubt that it is there


class Target(NamedTuple):
    """A host elsewhere, as one profile knows it."""

    profile: str
    host: bytes  # Ed25519 key


class Seen(NamedTuple):
    """A host as relays show it. ``name`` empty: it cannot be read with this profile's keys."""

    key: bytes
    name: str
    reachable: bool
    since: float  # Unix time
    relay: str


class NoSuchHostHere(NoSuchSession):
    """No host of that name or id is known to this profile and its relays."""

    code = "no-such-host"

    def __init__(self, host: str) -> None:
        HoldError.__init__(
            self, f"no host {host!r} that you may reach", do="`hold hosts` lists those of your tenant", host=host
        )


def keys_folder() -> Path:
    """Where this user's profiles are."""
    return places.here().keys


def acting_folder() -> Path:
    """Where the keys of operators are that act for this user: apart from the profiles, which are this user."""
    return keys_folder().parent / "operators"


@dataclass(eq=False)
class Route:
    """A way to one host over one relay, until either closes it."""

    record: HostRecord
    number: int
    line: _Line
    heard: Callable[[memoryview], None] = lambda payload: None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    refusal: HoldError | None = None

    def carry(self, payloads: Sequence[bytes]) -> None:
        """Send ``payloads`` in one write."""
        self.line.wire.carry_all(self.number, payloads)

    async def listen(self, heard: Callable[[memoryview], None]) -> None:
        """Have ``heard`` called with each payload, in the turn in which it arrives, until the route is over.

        Raises what the relay refused the route with, or what ``heard`` raised.
        """
        self.heard = heard
        await self.over.wait()
        if self.refusal is not None:
            raise self.refusal

    def put(self, payload: memoryview | None) -> None:
        if payload is None:
            self.over.set()
        elif not self.over.is_set():
            try:
                self.heard(payload)
            except HoldError as error:  # this route's trouble alone
                self.refusal = error
                self.over.set()


class _Line:
    """One connection to one relay, and who waits for what on it."""

    def __init__(self, wire: RelayLine, revoked: Callable[[bytes, bytes], None]) -> None:
        """``revoked`` hears of revocation lists of the tenant: the list, and the issuer's certificate or nothing."""
        self.wire, self._revoked = wire, revoked
        self.alive = True
        self.error: HoldError = RelayUnreachable(wire.url, "the connection ended")  # what to say once it is not
        self.draining = False
        self._frames = 0  # heard so far
        self._doubt: asyncio.TimerHandle | None = None
        self._numbers = itertools.count(1)
        self._routes: dict[int, Route] = {}
        self._admitted: asyncio.Future[relay.Admitted] = asyncio.get_running_loop().create_future()
        self._witnesses: dict[int, asyncio.Future[relay.WitnessIs]] = {}
        self._lists: dict[int, tuple[list[relay.Presence], asyncio.Future[list[relay.Presence]]]] = {}
        self._task = asyncio.get_running_loop().create_task(self._read(), name=f"relay {wire.url}")

    async def hosts(self) -> list[relay.Presence]:
        """Return every host of the tenant, as this relay shows them."""
        ref = next(self._numbers)
        answer: asyncio.Future[list[relay.Presence]] = asyncio.get_running_loop().create_future()
        self._lists[ref] = ([], answer)
        self.wire.say(relay.ListHosts(ref))
        try:
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError:
            raise Timeout(f"the relay at {self.wire.url} did not answer; nothing was changed", do="try again") from None
        finally:
            self._lists.pop(ref, None)

    async def witness(self, host: bytes) -> tuple[int, bytes]:
        """Return what a host had this relay witness: number and blob; 0: nothing. Raises Timeout."""
        if not await self._keeps():
            return 0, b""
        ref = next(self._numbers)
        answer: asyncio.Future[relay.WitnessIs] = asyncio.get_running_loop().create_future()
        self._witnesses[ref] = answer
        self.wire.say(relay.GetWitness(ref, host))
        try:
            async with asyncio.timeout(ANSWER_S):
                found = await answer
        except TimeoutError:
            raise Timeout(f"the relay at {self.wire.url} did not answer; nothing was changed", do="try again") from None
        finally:
            self._witnesses.pop(ref, None)
        return found.number, found.blob

    async def _keeps(self) -> bool:
        """Whether the relay knows what a witness is; it says so when it admits."""
        try:
            async with asyncio.timeout(ANSWER_S):
                return (await asyncio.shield(self._admitted)).allowance.witness_bytes_max > 0
        except TimeoutError:
            return False

    def open(self, record: HostRecord) -> Route:
        route = Route(record, next(self._numbers), self)
        self._routes[route.number] = route
        self.wire.say(relay.OpenRoute(route.number, record.host))
        return route

    def close(self, route: Route) -> None:
        if self._routes.pop(route.number, None) is not None and self.alive:
            self.wire.say(relay.Closed(route.number))

    def doubt(self) -> None:
        """A route fell silent: if nothing at all comes over this connection any more, end it, so that it is dialled anew."""
        if self._doubt is not None or not self.alive:
            return
        before = self._frames
        self.wire.say(Ping(0))

        def judge() -> None:
            self._doubt = None
            if self.alive and self._frames == before:
                self.wire.abort()

        self._doubt = asyncio.get_running_loop().call_later(DOUBT_S, judge)

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self) -> None:
        try:
            await self.wire.listen(self._heard)
        except HoldError as error:
            self.error = error
        finally:
            self.alive = False
            if self._doubt is not None:
                self._doubt.cancel()
            for route in self._routes.values():
                if not isinstance(self.error, RelayUnreachable):
                    route.refusal = self.error
                route.put(None)
            waiting: list[asyncio.Future[Any]] = [
                *(each for _, each in self._lists.values()),
                *self._witnesses.values(),
            ]
            for answer in waiting:
                if not answer.done():
                    answer.set_exception(self.error)
            await asyncio.shield(self.wire.close())

    def _heard(self, said: relay.FromRelay | relay.Routed) -> None:
        self._frames += 1
        match said:
            case relay.Routed():
                if (route := self._routes.get(said.route)) is not None:
                    route.put(said.data)
            case relay.Closed():
                if (route := self._routes.pop(said.route, None)) is not None:
                    route.put(None)
            case relay.HostsAre():
                if (listing := self._lists.get(said.ref)) is not None:
                    listing[0].extend(said.hosts)
                    if not said.more and not listing[1].done():
                        listing[1].set_result(listing[0])
            case Failed():
                self._failed(said)
            case relay.Admitted():
                if not self._admitted.done():
                    self._admitted.set_result(said)
            case relay.WitnessIs():
                if (asked := self._witnesses.get(said.ref)) is not None and not asked.done():
                    asked.set_result(said)
            case relay.Draining():
                self.draining = True
            case relay.Revoked():
                self._revoked(said.revocations, said.issuer)
            case _:
                pass

    def _failed(self, said: Failed) -> None:
        error = revived(said.code, said.message, said.do, said.details)
        if (route := self._routes.pop(said.ref, None)) is not None:
            route.refusal = error
            route.put(None)
        elif (listing := self._lists.get(said.ref)) is not None and not listing[1].done():
            listing[1].set_exception(error)


class Meeting:
    """One profile at its relays. Make and use it inside one event loop."""

    def __init__(self, profile: str, *, folder: Path | None = None) -> None:
        self._store = Store(folder or keys_folder(), profile)
        self._lines: dict[str, _Line] = {}
        self._dialling: dict[str, asyncio.Lock] = {}
        self._stale: set[bytes] = set()  # hosts whose record did not lead to them
        self._pair: KeyPair | None = None

    # ---- who this client is ----

    @property
    def operator(self) -> signed.Signer:
        return self.operator_pair

    @property
    def operator_pair(self) -> KeyPair:
        if self._pair is None:
            self._pair = self._store.operator
        return self._pair

    @functools.cached_property
    def person(self) -> bool:
        """Whether this is a person, who may type without having seen who else did. A key's kind never changes."""
        return self._store.member.kind is identity.Kind.HUMAN

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """The chain to present, renewed first where that can be done here."""
        if self._store.issues:
            self._store.renewed(now=int(time.time()), random=os.urandom)
        return self._store.certificates

    @property
    def grants(self) -> tuple[bytes, ...]:
        return self._store.grant_chains(now=int(time.time()))

    # ---- hosts ----

    async def hosts(self) -> list[Seen]:
        """Return the hosts of the tenant, each as the relay that shows it best. Raises what every relay failed with."""
        found: dict[bytes, Seen] = {}
        errors: list[HoldError] = []
        for url in self._relays():
            try:
                presences = await (await self._line(url)).hosts()
            except HoldError as error:
                errors.append(error)
                continue
            for each in presences:
                seen = Seen(each.host, self._learn(each), each.reachable, each.since, url)
                if each.host not in found or (seen.reachable and not found[each.host].reachable):
                    found[each.host] = seen
        if not found and errors:
            raise errors[0]
        return sorted(found.values(), key=lambda each: (each.name, each.key))

    def knows(self, host: str) -> bool:
        """Tell whether a host of this name or id was met before."""
        return any(host in self._names_of(each.key) for each in self._store.hosts())

    async def find(self, host: str) -> Target:
        """Return the host that ``host`` means: its name, or its id. Raises NoSuchHostHere, Refused if it is ambiguous."""
        known = [each.key for each in self._store.hosts() if host in self._names_of(each.key)]
        if not known:
            known = [each.key for each in await self.hosts() if host in (each.name, identity.host_id(each.key))]
        if not known:
            raise NoSuchHostHere(host)
        if len(known) > 1:
            ids = ", ".join(identity.host_id(key) for key in known)
            raise Refused(f"{host!r} is the name of several hosts ({ids}); nothing was done", do="use the id of one")
        return Target(self._store.name, known[0])

    @contextlib.asynccontextmanager
    async def route(self, target: Target) -> AsyncIterator[Route]:
        """Have a route to ``target`` for as long as the block lasts. Raises HostUnreachable, RelayUnreachable, and what
        relays refuse with."""
        line, record = await self._way(target)
        route = line.open(record)
        try:
            yield route
        except HoldError as error:
            if error.code == "bad-handshake":
                self._stale.add(target.host)
            raise
        finally:
            line.close(route)

    async def witnessed(self, target: Target) -> list[tuple[int, bytes]]:
        """Return what relays witnessed of a host: number and blob (core.witness) of each that answers."""
        found = []
        for url in self._relays():
            with contextlib.suppress(HoldError):
                found.append(await (await self._line(url)).witness(target.host))
        return [each for each in found if each[0]]

    def mistrust(self, host: bytes) -> None:
        """The record of ``host`` did not lead to a channel: ask relays for a newer one before it is used again."""
        self._stale.add(host)

    async def close(self) -> None:
        for line in self._lines.values():
            await line.end()
        self._lines.clear()

    # ---- inside ----

    def _relays(self) -> tuple[str, ...]:
        return self._store.profile.relays

    def _names_of(self, key: bytes) -> tuple[str, ...]:
        record = self._record(key, fresh=False)
        return (identity.host_id(key), self._name(record) if record is not None else "")

    def _record(self, key: bytes, *, fresh: bool = True) -> HostRecord | None:
        """Return what is known of a host, if its signatures hold now (``fresh``) or held once."""
        for each in self._store.hosts():
            if each.key == key:
                if not fresh:
                    return each.says
                with contextlib.suppress(HoldError):
                    return identity.verify_host_record(
                        each.record, each.certificates, host=key, tenant=self._store.tenant, now=int(time.time()),
                        revoked=self._store.revocations(),
                    )  # fmt: skip
        return None

    def _name(self, record: HostRecord) -> str:
        return self._store.naming.of(record)

    def _learn(self, presence: relay.Presence) -> str:
        """Keep what a relay shows of a host, if it is genuine; return its name."""
        if not presence.record:
            return ""
        try:
            record = self._store.remember_host(
                presence.record, presence.chain, host=presence.host, now=int(time.time())
            )
        except HoldError:  # it shows an older one, or none of this host's
            return self._names_of(presence.host)[1]
        if self._store.naming.lacks(record):
            due.sooner(str(self._store.folder))
        return self._name(record)

    async def _way(self, target: Target) -> tuple[_Line, HostRecord]:
        """Return a relay that has the host, and the host's record."""
        record = None if target.host in self._stale else self._record(target.host)
        errors: list[HoldError] = []
        urls = self._relays()
        if record is not None:
            urls = (*[url for url in urls if url in record.relays], *[url for url in urls if url not in record.relays])
        for url in sorted(urls, key=self._is_draining):
            try:
                line = await self._line(url)
                if record is not None:
                    return line, record
                for each in await line.hosts():
                    if each.host == target.host:
                        self._learn(each)
                record = self._record(target.host)
                if record is not None:
                    self._stale.discard(target.host)
                    return line, record
            except HoldError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        raise HostUnreachable(identity.host_id(target.host), "no relay of this profile knows it")

    def _take_back(self, revocations: bytes, issuer: bytes) -> None:
        """A relay passed on a revocation list: whom it names, if it is genuine, is not believed any more."""
        with contextlib.suppress(HoldError):
            self._store.learn_revocations(revocations, issuer=issuer, now=int(time.time()))

    def _is_draining(self, url: str) -> bool:
        line = self._lines.get(url)
        return line is not None and line.draining

    async def _line(self, url: str) -> _Line:
        async with self._dialling.setdefault(url, asyncio.Lock()):
            line = self._lines.get(url)
            if line is None or not line.alive:
                wire = await RelayLine.dial(url, "client", chain=self.certificates, signer=self.operator)
                line = self._lines[url] = _Line(wire, self._take_back)
            return line
