"""Hold whoever joins with a code for pairing until a person has compared its number. Source: docs/identity.md, "Pairing".

That the person agreed is on record beside the keys, where this host cannot write it (client.pairing): what is decided here
only saves the program that signs from being started in vain. Not here: which codes are open (invitations).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from holdfast.core.errors import Refused
from holdfast.core.journal import Author
from holdfast.wire import messages as wire
from holdfast.wire.joining import Issue, NotInvited

if TYPE_CHECKING:
    from holdfast.host.clients import Client
    from holdfast.host.host import Host

COMPARE_S: Final = 110.0  # to compare two numbers; a relay ends a joiner after 120 s


class NotRecognised(Refused):
    """The person at the other end said that the numbers differ, or said nothing."""

    code = "not-recognised"

    def __init__(self) -> None:
        super().__init__(
            "the person at the other machine did not recognise this device by its number; nothing was given, the code is used up",
            do="ask for a new code, and compare the numbers while both are shown",
        )


@dataclass(eq=False)
class _Pairing:
    ask: Issue
    number: str
    said: "asyncio.Future[bool]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Pairings:
    """Joiners that wait to be recognised, one for a code."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, _Pairing] = {}
        self._came: dict[bytes, asyncio.Event] = {}

    async def recognised(self, ask: Issue, number: str) -> bool:
        """Return what a person says of a joiner; False if nobody says anything. Raises NotInvited for a second one that
        comes with the code meanwhile: the first is being looked at."""
        if ask.digest in self._waiting:
            raise NotInvited
        it = self._waiting[ask.digest] = _Pairing(ask, number)
        self._event(ask.digest).set()
        try:
            async with asyncio.timeout(COMPARE_S):
                return await it.said
        except TimeoutError:
            return False
        finally:
            del self._waiting[ask.digest]
            self._came.pop(ask.digest, None)

    async def came(self, digest: bytes) -> wire.Asking:
        """Return who came with the code, once somebody did."""
        await self._event(digest).wait()
        it = self._waiting.get(digest)
        if it is None:
            raise NotInvited
        return wire.Asking(0, it.ask.key, it.ask.name, it.number)

    def decide(self, digest: bytes, key: bytes, *, yes: bool) -> None:
        """A person said whether that is the one. Raises Refused if it is not waiting any more."""
        it = self._waiting.get(digest)
        if it is None or it.ask.key != key or it.said.done():
            raise Refused("whoever asked to join has gone; nothing was given", do="begin again with a new code")
        it.said.set_result(yes)

    def _event(self, digest: bytes) -> asyncio.Event:
        return self._came.setdefault(digest, asyncio.Event())


async def _await(host: "Host", ask: wire.AwaitJoiner, peer: "Client", by: Author) -> wire.Message:
    if not host.invitations.known(ask.digest):
        raise NotInvited
    found = await host.invitations.pairings.came(ask.digest)
    return wire.Asking(ask.ref, found.key, found.name, found.number)


async def _let_in(host: "Host", ask: wire.LetIn, peer: "Client", by: Author) -> wire.Message:
    host.invitations.pairings.decide(ask.digest, ask.key, yes=ask.yes)
    return wire.Done(ask.ref)


HANDLERS: Final[dict[type, Callable[["Host", Any, "Client", Author], Awaitable[wire.Message]]]] = {
    wire.AwaitJoiner: _await,
    wire.LetIn: _let_in,
}
