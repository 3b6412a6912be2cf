"""Keep a link to every relay of this host's list, dialled from here: nothing ever listens for the network (R35).

Not here: what goes over a relay's routes (remote), what a relay says (wire.relay). A relay is trusted with nothing: what
it says of clients decides nothing, and what it passes on is verified.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from holdfast.core.errors import HoldError
from holdfast.edge.relayline import RelayLine
from holdfast.host.identity import now_s
from holdfast.host.invitations import TAKEN_S, JoinRoute
from holdfast.host.remote import Links, Route
from holdfast.wire import messages, relay
from holdfast.wire.enrolling import UNDIALLED
from holdfast.wire.pace import RELAYS, Pace

if TYPE_CHECKING:
    from holdfast.host.host import Host

log = logging.getLogger(__name__)

REPUBLISH_S: Final = 1800.0
RECONSIDER_S: Final = 1.0  # how long an expired right can go on
STRANGERS_MAX: Final = 64  # routes over one relay on which nobody has proven who it is: a relay may open any number
ROUTES_MAX: Final = 1024
RETRY_S: Final = 10.0  # until a record that a relay refused is offered again


class Relays:
    """The links to relays, and through them the clients. ``follow`` makes them what the membership says."""

    def __init__(self, host: "Host") -> None:
        self._host = host
        self.links = Links(host)
        self._dialled: dict[str, _Relay] = {}
        self._watch: asyncio.Task[None] | None = None

    def follow(self) -> None:
        """Dial what is in the list now, hang up on what is not any more."""
        wanted = self._host.identity.relays if self._host.identity.tenant else ()
        for url in [url for url in self._dialled if url not in wanted]:
            self._dialled.pop(url).stop()
        for url in wanted:
            if url in self._dialled:
                self._dialled[url].renew()
            else:
                self._dialled[url] = _Relay(self._host, self.links, url)
        if self._dialled:
            self.watch()

    def watch(self) -> None:
        """Look from now on whether rights have ended: somebody is here by certificates."""
        if self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._expire(), name="rights that expire")

    def states(self) -> dict[str, str]:
        """Return each relay's URL and how it stands: ``up``, or why not."""
        return {url: each.state for url, each in self._dialled.items()}

    def pass_on(self, revocations: bytes, issuer: bytes) -> None:
        """Give a revocation list to every relay, for other hosts and clients."""
        for each in self._dialled.values():
            each.revoke(revocations, issuer)

    def witness(self) -> None:
        """Give the newest word on where journals stand to every relay."""
        for each in self._dialled.values():
            each.witness()

    def take_joiners(self) -> None:
        """Tell every relay for how long whoever was invited may come."""
        for each in self._dialled.values():
            each.take_joiners()

    async def close(self) -> None:
        """Hang up everywhere."""
        self.links.close()
        tasks = [each.stop() for each in self._dialled.values()]
        self._dialled.clear()
        if self._watch is not None:
            self._watch.cancel()
            tasks.append(self._watch)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(RECONSIDER_S)
            self._host.reconsider()


class _Relay:
    """One relay, dialled for ever."""

    def __init__(self, host: "Host", links: Links, url: str) -> None:
        self._host, self._links, self.url = host, links, url
        self.state = UNDIALLED
        self._line: RelayLine | None = None
        self._routes: dict[int, Route | JoinRoute] = {}
        self._refs = self._published = self._witnessed = (
            0  # numbers of requests: the last, and those of record and witness
        )
        self._keeps = 0  # bytes of a witness that this relay keeps
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"relay {url}")

    def stop(self) -> "asyncio.Task[None]":
        """Hang up for good."""
        self._task.cancel()
        return self._task

    def renew(self) -> None:
        """Certificates, name or list changed: publish them."""
        if self._line is not None:
            self._publish(self._line)

    def revoke(self, revocations: bytes, issuer: bytes) -> None:
        if self._line is not None and len(revocations) <= relay.LIST_BYTES_MAX:
            self._line.say(relay.Revoke(self._ref(), revocations, issuer))

    def witness(self) -> None:
        mine = self._host.witness
        if self._line is not None and 0 < len(mine.blob) <= self._keeps:
            self._witnessed = self._ref()
            self._line.say(relay.Witness(self._witnessed, mine.number, mine.blob))

    def take_joiners(self) -> None:
        if self._line is not None:
            self._line.say(relay.Joiners(self._ref(), min(self._host.invitations.open_s(), TAKEN_S)))

    def _ref(self) -> int:
        self._refs += 1
        return self._refs

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        pace = Pace(now=clock(), bounds=RELAYS)
        while True:
            if pace.due is not None and (wait := pace.due - clock()) > 0:
                await asyncio.sleep(wait)
            pace.trying()
            mine = self._host.identity
            try:
                line = await RelayLine.dial(self.url, "host", chain=mine.certificates, signer=mine.pair)
            except HoldError as error:
                if self.state != error.message:
                    log.warning("relay %s: %s", self.url, error.message)
                self.state = error.message
                pace.failed(now=clock(), draw=random.random())
                continue
            pace.up(now=clock())
            ended = "the connection ended; it is dialled again"
            try:
                await self._serve(line)
            except HoldError as error:  # it refused us, or made no sense
                if self.state != error.message:
                    log.warning("relay %s: %s", self.url, error.message)
                ended = error.message
            except Exception:  # a defect of ours: whoever comes over this relay is to find us again all the same
                log.exception("relay %s: what it said was not taken", self.url)
                ended = "the host failed to take what this relay said; it is dialled again"
            finally:
                self._line, self.state = None, ended
                for route in list(self._routes.values()):
                    route.end()
                self._routes.clear()
                await asyncio.shield(line.close())
            pace.lost(now=clock(), draw=random.random())

    async def _serve(self, line: RelayLine) -> None:
        self._line = line
        self._publish(line)
        for issuer, revocations in self._host.identity.lists:
            self.revoke(revocations, issuer)
        if self._host.invitations.open_s():
            self.take_joiners()
        republish = asyncio.get_running_loop().create_task(self._republish(line), name=f"republish {self.url}")
        try:
            await line.listen(lambda said: self._heard(line, said))
        finally:
            republish.cancel()

    async def _republish(self, line: RelayLine) -> None:
        while True:
            await asyncio.sleep(REPUBLISH_S)
            self._publish(line)

    def _publish(self, line: RelayLine) -> None:
        mine = self._host.identity
        self._published = self._ref()
        line.say(relay.Publish(self._published, mine.certificates, mine.record(now=now_s())))

    def _heard(self, line: RelayLine, said: "relay.FromRelay | relay.Routed") -> None:
        match said:
            case relay.Routed():
                if (route := self._routes.get(said.route)) is not None:
                    route.receive(said.data)
            case relay.Admitted():
                self.state = "up"
                log.info("relay %s: linked", self.url)
                self._keeps = said.allowance.witness_bytes_max
                self.witness()
                self._host.witness.look(now=True)
            case relay.Incoming():
                self._incoming(line, said.route, said.kind)
            case relay.Closed():
                if (route := self._routes.pop(said.route, None)) is not None:
                    route.end()
            case relay.Revoked():
                try:
                    self._host.learn(said.revocations, said.issuer)
                except HoldError as error:
                    log.warning("relay %s passed on a revocation list that is not used: %s", self.url, error.message)
            case relay.Draining():
                self.state = "up, about to restart"
            case messages.Failed() if said.ref == self._witnessed and said.code == "rolled-back":
                self._host.witness.refused(int(said.details.get("seen", 0)))
            case messages.Failed():
                log.warning("relay %s: %s (%s)", self.url, said.message, said.code)
                if said.ref == self._published:
                    self.state = f"up, but it refused this host's record: {said.message}"
                    self._host.identity.resign()
                    asyncio.get_running_loop().call_later(RETRY_S, self.renew)
            case _:
                pass

    def _incoming(self, line: RelayLine, number: int, kind: str) -> None:
        def close() -> None:
            if self._routes.pop(number, None) is not None and self._line is line:
                line.say(relay.Closed(number))

        def carry(payload: bytes) -> None:
            line.carry(number, payload)

        def carry_all(payloads: Sequence[bytes]) -> None:
            line.carry_all(number, payloads)

        strangers = [each for each in self._routes.values() if isinstance(each, Route) and not each.introduced]
        if len(strangers) >= STRANGERS_MAX or len(self._routes) >= ROUTES_MAX:
            line.say(relay.Closed(number))
            return
        # The relay's word decides nothing: a joiner on a member's route, or the reverse, is refused by what it proves.
        joins = kind == "join"
        self._routes[number] = (
            JoinRoute(self._host, self._links.responder(), carry, close)
            if joins
            else Route(self._links, carry_all, close)
        )
