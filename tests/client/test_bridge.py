"""The link behind a client's socket pair, against a far end made of the same channel and link: what its user is told."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from holdfast.client import remote
from holdfast.client.meeting import Target
from holdfast.client.remote import Bridge
from holdfast.core.signed import KeyPair
from holdfast.wire import messages as wire
from holdfast.wire.channel import Responder, prologue
from holdfast.wire.facts import Delivered
from holdfast.wire.framing import TO_CLIENT_BYTES_MAX, TO_HOST_BYTES_MAX, client_inbox, framed
from holdfast.wire.introduction import Answered
from holdfast.wire.link import CONTROL, Link
from holdfast.wire.packets import Resume
from tests.core.tenants import S1

TIMEOUT_S = 20
KEY = KeyPair(bytes(range(32)))
_decode = msgspec.msgpack.Decoder(wire.ToHost).decode


@dataclass(eq=False)
class Route:
    """A carrier, as ``client.meeting.Route`` is one, that leads to a ``Far`` in the same loop."""

    far: "Far"
    record: Any
    line: Any = field(default_factory=lambda: SimpleNamespace(doubt=lambda: None))
    over: asyncio.Event = field(default_factory=asyncio.Event)
    heard: Callable[[memoryview], None] = lambda payload: None

    def carry(self, payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            asyncio.get_running_loop().call_soon(self.far.receive, self, payload)

    async def listen(self, heard: Callable[[memoryview], None]) -> None:
        self.heard = heard
        await self.over.wait()

    def put(self, payload: memoryview | None) -> None:
        self.over.set()


class Far:
    """The host's end. ``mute``: what it says on its present carrier after the handshake never arrives. It keeps its link
    until ``forget``, as a host does that ends it or dies."""

    def __init__(self) -> None:
        self.mute = False
        self.refuses = ""  # the code every action is refused with; empty: it is done
        self.done: list[wire.ToHost] = []
        self.refused: list[wire.ToHost] = []
        self.acted = asyncio.Event()
        self.links: dict[bytes, Link] = {}
        self.routes: list[Route] = []
        self._private = X25519PrivateKey.generate()
        self._carriers: dict[Route, Answered] = {}

    # ---- as a Meeting ----

    operator = operator_pair = KEY
    certificates = grants = ()
    person = True

    def mistrust(self, host: bytes) -> None:
        raise AssertionError("the host's record is good")

    @contextlib.asynccontextmanager
    async def route(self, target: Target) -> AsyncIterator[Route]:
        public = self._private.public_key().public_bytes_raw()
        route = Route(self, SimpleNamespace(host=KEY.key, channel=public))
        self._carriers[route] = Answered(
            Responder(static_private=self._private, prologue=prologue(KEY.key)), X25519PrivateKey.generate(),
            name="far", judge=lambda said, binding: None, find=self._find,
        )  # fmt: skip
        self.routes.append(route)
        yield route

    # ---- as a host ----

    def forget(self) -> None:
        """The links and carriers it had are gone, without a word."""
        self.links.clear()
        for route in self.routes:
            route.put(None)
        self._carriers.clear()

    def _find(self, begins: Resume) -> Link:
        now = asyncio.get_running_loop().time()
        fresh = Link(begins.link, dials=False, hears_max=TO_HOST_BYTES_MAX, says_max=TO_CLIENT_BYTES_MAX, now=now)
        return self.links.setdefault(begins.link, fresh)

    def receive(self, route: Route, payload: bytes) -> None:
        if (carrier := self._carriers.get(route)) is None:
            return
        now = asyncio.get_running_loop().time()
        events, first = carrier.receive(payload, now=now)
        for event in events:
            if isinstance(event, Delivered):
                assert carrier.link is not None
                for answer in self._answers(_decode(event.data)):
                    carrier.link.say(CONTROL, msgspec.msgpack.encode(answer))
        for each in (*first, *carrier.outgoing(now=now)):
            if not self.mute or carrier.link is None:
                asyncio.get_running_loop().call_soon(route.heard, memoryview(each))

    def _answers(self, message: wire.ToHost) -> list[wire.Message]:
        if isinstance(message, wire.Hello):
            return [wire.Welcome(1, "h-x", "far", 1, "", 1 << 20)]
        assert isinstance(message, wire.Signed)
        action: Any = _decode(message.action)
        self.acted.set()
        if self.refuses:
            self.refused.append(action)
            return [wire.Failed(action.ref, self.refuses, "no", "")]
        self.done.append(action)
        return [
            wire.Typed(action.ref, action.seq, "applied", len(action.data), 5)
            if isinstance(action, wire.Input)
            else wire.Done(action.ref)
        ]


class Near:
    """Whoever holds the other end of the bridge's socket pair."""

    def __init__(self, mine: socket.socket) -> None:
        mine.setblocking(False)
        self._mine, self._inbox = mine, client_inbox()
        self._heard: list[wire.ToClient] = []

    async def say(self, message: wire.Message) -> None:
        await asyncio.get_running_loop().sock_sendall(self._mine, framed(message))

    async def answer(self, ref: int) -> wire.ToClient:
        return await self.first(lambda message: getattr(message, "ref", None) == ref)

    async def first(self, wanted: Callable[[wire.ToClient], bool]) -> Any:
        while True:
            for each in self._heard:
                if wanted(each):
                    self._heard.remove(each)
                    return each
            data = await asyncio.get_running_loop().sock_recv(self._mine, 1 << 16)
            assert data, "the bridge hung up"
            self._heard += self._inbox.receive(data)


def bridged(story: Callable[[Far, Near], Coroutine[Any, Any, None]]) -> None:
    async def play() -> None:
        far = Far()
        ours, theirs = socket.socketpair()
        bridge = Bridge(far, Target("p", KEY.key), ours)  # type: ignore[arg-type]
        running = asyncio.create_task(bridge.run())
        try:
            near = Near(theirs)
            await near.say(wire.Hello(1, f"c-{os.urandom(4).hex()}", "test"))
            await story(far, near)
        finally:
            theirs.close()
            await running

    asyncio.run(asyncio.wait_for(play(), TIMEOUT_S))


def test_what_was_typed_and_is_refused_when_the_link_says_it_again_is_unknown() -> None:
    """I5: the host typed it, ended the link before its client ever heard of it, and then refuses the repetition."""

    async def story(far: Far, near: Near) -> None:
        far.mute = True
        await near.say(wire.Input(1, S1, 1, b"make\r"))
        await near.say(wire.Kill(2, S1, 2.0))
        while len(far.done) < 2:
            far.acted.clear()
            await far.acted.wait()
        far.mute, far.refuses = False, "no-such-session"
        far.forget()
        typed, killed = await near.answer(1), await near.answer(2)
        assert len(far.done) == len(far.refused) == 2, "it was said twice"
        assert isinstance(typed, wire.Failed) and typed.code == "input-unknown"
        assert isinstance(killed, wire.Failed) and killed.code == "outcome-unknown"
        await near.say(wire.Input(3, S1, 2, b"x"))
        later = await near.answer(3)
        assert isinstance(later, wire.Failed) and later.code == "no-such-session", "this one was never typed"

    bridged(story)


def test_what_the_first_carrier_brought_is_refused_as_it_is() -> None:
    async def story(far: Far, near: Near) -> None:
        far.refuses = "no-such-session"
        await near.say(wire.Input(1, S1, 1, b"make\r"))
        answer = await near.answer(1)
        assert isinstance(answer, wire.Failed) and answer.code == "no-such-session"

    bridged(story)


def test_what_is_done_when_the_link_says_it_again_is_done() -> None:
    async def story(far: Far, near: Near) -> None:
        far.mute = True
        await near.say(wire.Input(1, S1, 1, b"make\r"))
        await far.acted.wait()
        far.mute = False
        far.forget()
        answer = await near.answer(1)
        assert isinstance(answer, wire.Typed) and answer.outcome == "applied"

    bridged(story)


def test_a_host_that_was_never_heard_is_silent_for_as_long_as_it_was_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was said to be silent for ever, which no face can show."""
    monkeypatch.setattr(remote, "SILENT_S", 0.2)

    async def story(far: Far, near: Near) -> None:
        far.mute = True
        await near.say(wire.Input(1, S1, 1, b"x"))
        silent = await near.first(lambda message: isinstance(message, wire.Silent))
        assert 0.2 < silent.for_s < TIMEOUT_S

    bridged(story)
