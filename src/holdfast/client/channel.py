"""One lasting conversation with a host, for asyncio: many requests and attachments over whatever connection there is.

A connection that breaks is replaced: attachments resume at the byte they are at, requests that may be repeated are
asked again, input under its old number (I5), the rest fails with the word that its outcome is unknown. Not here: what
the messages mean to a user (sdk), how a host is started (start).
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from holdfast.client import dial
from holdfast.client.connection import error_of
from holdfast.client.lean import fresh_id
from holdfast.core.errors import BadMessage, HoldError, HostUnreachable, JournalRolledBack, Timeout, WrongVersion
from holdfast.wire import messages as wire
from holdfast.wire.doubts import doubted
from holdfast.wire.framing import client_inbox, framed

if TYPE_CHECKING:
    from holdfast.client.acting import Actor

A = TypeVar("A", bound=wire.Message)
CREDIT: Final = 1 << 20  # bytes of output a feed may hold
EVENTS_MAX: Final = 4096  # events a feed may hold; the oldest are dropped and counted
START_S: Final = 0.3  # seconds without a host before it is started
START_AGAIN_S: Final = 5.0  # seconds before a start that did not help is tried again
GREET_S: Final = 10.0  # seconds for the greeting
RECEIVE: Final = 1 << 18

Item = wire.Output | wire.Gap | wire.Event | wire.Detached | wire.Keyframe | wire.Rows | wire.Shell


@dataclass(eq=False)
class Ask:
    """A request under way. ``again``: it may be asked twice without harm; ``repeated``: it was.

    ``sent``: it was given to a connection.
    """

    request: wire.Message
    answer: asyncio.Future[wire.ToClient]
    again: bool
    sent: bool = False
    repeated: bool = False


@dataclass(eq=False)
class Feed:
    """One attachment: what came and was not taken yet. Output is bounded by credit, events by number."""

    number: int
    session: str
    view: str
    offset: int | None  # the next byte wanted; None: from now on
    cursor: str
    observe: bool
    size: wire.Size | None = None
    items: deque[Item] = field(default_factory=deque)
    missed: int = 0
    events: int = 0
    taken: int = 0
    ref: int = 0  # of the last attach request
    over: bool = False
    error: HoldError | None = None
    attached: asyncio.Future[wire.Attached] | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, item: Item) -> None:
        """Queue ``item``. Output that came twice, from before a reconnect, is cut off."""
        if isinstance(item, wire.Output):
            if self.offset is not None and item.offset < self.offset:
                item = wire.Output(item.attachment, self.offset, item.data[self.offset - item.offset :])
                if not item.data:
                    return
            self.offset = item.offset + len(item.data)
        elif isinstance(item, wire.Gap):
            self.offset = item.end
        elif isinstance(item, wire.Event):
            if self.events >= EVENTS_MAX:
                self.missed += 1
                return
            self.events += 1
        elif isinstance(item, wire.Detached):
            self.over = True
        self.items.append(item)
        self.ready.set()

    def fail(self, error: HoldError) -> None:
        """End the feed with ``error``, which its reader meets after what came before."""
        self.over, self.error = True, error
        if self.attached is not None and not self.attached.done():
            self.attached.set_exception(error)
            self.attached.exception()  # an attach nobody waits for any more is no unhandled error
        self.ready.set()


class Channel:
    """``path`` is the host's socket. ``patience``: seconds of silence after which what waits fails, HostUnreachable."""

    def __init__(
        self, path: str, *, start: bool, patience: float, face: str, inside: str, actor: Actor | None = None
    ) -> None:
        """``actor``: by whose key it acts on this machine; None: as the user, which the kernel vouches for."""
        self.path, self.start, self.patience, self.face, self.inside = path, start, patience, face, inside
        self._actor = actor
        self.client = fresh_id()
        self.welcome: wire.Welcome | None = None
        self.refs = itertools.count(1)
        self.accepted: set[str] = set()  # sessions, by id, of which a record that was set back is accepted
        self._numbers = itertools.count(1)
        self._asks: dict[int, Ask] = {}
        self._feeds: dict[int, Feed] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._start_at = 0.0  # when a host may be started next

    # ---- life ----

    @property
    def acts(self) -> bool:
        """Whether it acts by a key of its own here, not as whoever runs the program."""
        return self._actor is not None

    async def open(self) -> None:
        """Connect, starting a host if allowed and needed. Raises HostUnreachable, WrongVersion."""
        if self._task is not None and not self._task.done():
            return
        async with self._opening:  # whoever else asks meanwhile means the same connection
            if self._task is not None and not self._task.done():
                return
            if self._task is not None:
                await self.close()
            link = await self._link(first=True)
            self._task = asyncio.get_running_loop().create_task(
                self._run(link[0], link[2]), name=f"holdfast channel {self.path}"
            )

    async def close(self) -> None:
        """Hang up. Sessions run on; what waits fails."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._hang_up()
        self._fail_all(HostUnreachable(self.path, "this client was closed"))

    async def _hang_up(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            try:
                await writer.wait_closed()
            except OSError:
                pass

    # ---- asking ----

    async def ask(
        self, request: wire.Message, answer: type[A], *, again: bool = True, timeout: float | None = None
    ) -> A:
        """Send ``request`` and return its answer. ``timeout`` in seconds; then Timeout, and nothing is undone.

        Raises the error the host answers with; HostUnreachable when the connection broke and ``again`` is False.
        """
        await self.open()
        ref: int = request.ref  # type: ignore[attr-defined]
        ask = Ask(request, asyncio.get_running_loop().create_future(), again)
        self._asks[ref] = ask
        ask.sent = self._send(request)
        try:
            async with asyncio.timeout(timeout):
                got = await ask.answer
        except TimeoutError:
            self._send(wire.Cancel(ref))
            raise Timeout(
                f"no answer within {timeout:g} s; nothing was stopped or undone", do="ask again, or allow more time"
            ) from None
        except asyncio.CancelledError:
            self._send(wire.Cancel(ref))
            raise
        finally:
            self._asks.pop(ref, None)
        if not isinstance(got, answer):
            raise BadMessage(f"the host answered {type(request).__name__} with {type(got).__name__}")
        return got

    async def attach(
        self,
        session: str,
        view: str,
        *,
        offset: int | None = None,
        cursor: str = "",
        observe: bool = True,
        size: wire.Size | None = None,
    ) -> Feed:
        """Attach and return the feed once the host let us in."""
        await self.open()
        feed = Feed(next(self._numbers), session, view, offset, cursor, observe, size)
        feed.attached = asyncio.get_running_loop().create_future()
        self._feeds[feed.number] = feed
        self._attach(feed)
        try:
            await asyncio.shield(feed.attached)
        except BaseException:
            self._feeds.pop(feed.number, None)
            self._send(wire.Detach(feed.number))
            raise
        return feed

    def detach(self, feed: Feed) -> None:
        """Ask for the end of ``feed``; its reader meets Detached."""
        if not feed.over:
            self._send(wire.Detach(feed.number))
        if self._writer is None:
            self.drop(feed)

    def drop(self, feed: Feed) -> None:
        """Forget ``feed``: nothing that still comes for it matters."""
        self._feeds.pop(feed.number, None)
        feed.over = True
        feed.ready.set()

    async def take(self, feed: Feed) -> Item | int:
        """Return the next item of ``feed``, or a number: that many events were missed. Grants credit for what is taken.

        Raises what ended the feed when nothing is left; StopAsyncIteration if it ended with a Detached already taken.
        """
        while not feed.items:
            if feed.missed:
                count, feed.missed = feed.missed, 0
                return count
            if feed.over:
                if feed.error is not None:
                    raise feed.error
                raise StopAsyncIteration
            feed.ready.clear()
            await feed.ready.wait()
        item = feed.items.popleft()
        if isinstance(item, wire.Event):
            feed.events -= 1
        elif isinstance(item, wire.Output):
            feed.taken += len(item.data)
            self._grant(feed)
        elif isinstance(item, wire.Shell):
            feed.taken += item.cost
            self._grant(feed)
        elif isinstance(item, wire.Detached):
            self._feeds.pop(feed.number, None)
        return item

    def _grant(self, feed: Feed) -> None:
        if feed.taken >= CREDIT // 4:
            self._send(wire.Credit(feed.number, feed.taken))
            feed.taken = 0

    # ---- the connection ----

    def _send(self, message: wire.Message) -> bool:
        """Send if there is a connection, and tell whether; what matters is said again when there is another."""
        if self._writer is None or self._writer.is_closing():
            return False
        if self._actor is not None and self.welcome is not None:
            message = self._actor.says(message, host=self.welcome.host, client=self.client)  # type: ignore[arg-type]
        self._writer.write(framed(message))
        return True

    def _attach(self, feed: Feed) -> None:
        cursor = feed.cursor if feed.offset is None else ""
        feed.taken, feed.ref = 0, next(self.refs)
        self._send(
            wire.Attach(
                feed.ref, feed.number, feed.session, feed.view, feed.size, feed.offset, feed.observe, CREDIT, cursor
            )
        )

    async def _link(self, *, first: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Any]:
        """Return a greeted connection, trying for ``patience`` seconds."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            try:
                return await self._greeted()
            except dial.Unreachable as error:
                silent, why = loop.time() - began, error
                if error.absent and self.start and (first or silent >= START_S) and loop.time() >= self._start_at:
                    self._start_at = loop.time() + START_AGAIN_S
                    try:
                        await asyncio.to_thread(_start_host)
                        continue
                    except dial.Unreachable as failed:
                        why = failed
                if first or silent > self.patience:
                    raise HostUnreachable(why.where, why.why) from None
                await asyncio.sleep(0.01 if silent < 1 else 0.1)
            except HostUnreachable:  # said on the connection: whoever leads to a host elsewhere does not reach it now
                if first or loop.time() - began > self.patience:
                    raise
                await asyncio.sleep(0.1)

    async def _greeted(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Any]:
        raw = dial.dial(self.path)
        line = socket.socket(fileno=raw.detach())
        try:
            line.setblocking(False)
            reader, writer = await asyncio.open_unix_connection(sock=line)
        except BaseException:
            line.close()
            raise
        inbox = client_inbox()
        try:
            async with asyncio.timeout(GREET_S):
                writer.write(framed(wire.Hello(wire.PROTOCOL, self.client, self.face, self.inside)))
                heard: list[wire.ToClient] = []
                welcome = await self._answer(wire.Welcome, reader, inbox, heard)
                if welcome.version != wire.PROTOCOL:
                    raise WrongVersion(welcome.version, wire.PROTOCOL)
                if self._actor is not None:
                    said = self._actor.present(next(self.refs), welcome=welcome, client=self.client)
                    writer.write(framed(said))
                    await self._answer(wire.Done, reader, inbox, heard)
        except (OSError, TimeoutError) as error:
            writer.close()
            raise dial.Unreachable(self.path, str(error) or "it did not greet") from None
        except BaseException:
            writer.close()
            raise
        self.welcome, self._writer, self._start_at = welcome, writer, 0.0
        for message in heard:
            self._heard(message)
        return reader, writer, inbox

    async def _answer(
        self, kind: type[A], reader: asyncio.StreamReader, inbox: Any, heard: list[wire.ToClient]
    ) -> A:  # fmt: skip
        """Return what the host says next, which is of ``kind``. Raises what it refuses with."""
        while not heard:
            data = await reader.read(RECEIVE)
            if not data:
                raise dial.Unreachable(self.path, "it hung up")
            heard.extend(inbox.receive(data))
        said = heard.pop(0)
        if isinstance(said, wire.Failed):
            raise error_of(said)
        if not isinstance(said, kind):
            raise BadMessage(f"the host did not greet: it said {type(said).__name__}")
        return said

    async def _run(self, reader: asyncio.StreamReader, inbox: Any) -> None:
        """Hear one connection after the other, until the host is silent for too long."""
        try:
            while True:
                try:
                    while data := await reader.read(RECEIVE):
                        for message in inbox.receive(data):
                            self._heard(message)
                except (OSError, BadMessage):
                    pass  # either way this connection is of no further use
                await self._hang_up()
                self._fail_unrepeatable()
                reader, _, inbox = await self._link(first=False)
                self._resume()
        except HoldError as error:
            await self._hang_up()
            self._fail_all(error)
        finally:
            if self._writer is not None:  # a loop that is wound up under us cancels this task and nothing else
                self._writer.close()

    def _resume(self) -> None:
        for feed in list(self._feeds.values()):
            if not feed.over:
                self._attach(feed)
        for ask in list(self._asks.values()):
            ask.repeated = ask.sent
            ask.sent = self._send(ask.request) or ask.sent

    def _fail_unrepeatable(self) -> None:
        for ask in list(self._asks.values()):
            if not ask.again and not ask.answer.done():
                ask.answer.set_exception(
                    HostUnreachable(self.path, "it hung up before it answered; whether this was done is unknown")
                )

    def _fail_all(self, error: HoldError) -> None:
        for ask in list(self._asks.values()):
            if not ask.answer.done():
                ask.answer.set_exception(error)
        for feed in list(self._feeds.values()):
            feed.fail(error)
        self._feeds.clear()

    def _heard(self, message: wire.ToClient) -> None:
        if self._actor is not None:
            self._actor.terms.heard(message)
        match message:
            case wire.Attached():
                if (
                    (feed := self._feeds.get(message.attachment)) is not None
                    and feed.attached is not None
                    and not feed.attached.done()
                ):
                    feed.attached.set_result(message)
            case (
                wire.Output()
                | wire.Gap()
                | wire.Event()
                | wire.Detached()
                | wire.Keyframe()
                | wire.Rows()
                | wire.Shell()
            ):
                self._fed(message)
            case wire.Ping():
                self._send(wire.Pong(message.mark))
            case wire.Pong() | wire.Welcome() | wire.Silent() | wire.Direct():  # nothing here asks to read directly
                pass
            case wire.Failed():
                self._failed(message)
            case wire.SetBack():
                if message.session not in self.accepted:
                    for feed in [each for each in self._feeds.values() if each.session == message.session]:
                        feed.fail(JournalRolledBack(message.session, message.why))
            case _:
                if (ask := self._asks.get(message.ref)) is not None and not ask.answer.done():
                    ask.answer.set_result(message)

    def _fed(self, message: Item) -> None:
        feed = self._feeds.get(message.attachment)
        if feed is None:
            return
        if isinstance(message, wire.Detached) and message.cause in ("host-stopping", "gone") and message.ending is None:
            return  # a pause, not an end: the connection breaks next, and we come back
        feed.put(message)

    def _failed(self, message: wire.Failed) -> None:
        ask = self._asks.get(message.ref)
        if ask is not None and ask.repeated and isinstance(ask.request, wire.Input | wire.Run):
            message = doubted(message, ask.request)  # the first time it may have been typed (I5)
        error = error_of(message)
        assert isinstance(error, HoldError)
        if ask is not None:
            if not ask.answer.done():
                ask.answer.set_exception(error)
            return
        for feed in list(self._feeds.values()):
            if feed.ref == message.ref:
                self._feeds.pop(feed.number, None)
                feed.fail(error)


def _start_host() -> None:
    from holdfast.client.start import start_host

    start_host()
