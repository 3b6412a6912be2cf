"""Show clients which commands a session ran, and what its shell does: asked once, or followed."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from holdfast.core.commands import Command, Prompt
from holdfast.core.journal import Author
from holdfast.host import attachments
from holdfast.host.attachments import Attachment, Peer, Source
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.host.clients import Client
    from holdfast.host.commands import Commands
    from holdfast.host.host import Host

SHOWN: Final = 256  # commands in the first state of a view, and in one answer


class CommandSource(Source, Protocol):
    """The session as this view sees it."""

    commands: "Commands"


class CommandView(Attachment):
    """State first: the latest commands and the prompt; then each change. A viewer without credit gets the newest state."""

    wants_events = False

    def __init__(self, session: CommandSource, peer: Peer, ask: wire.Attach, serial: int) -> None:
        super().__init__(session, peer, ask, serial)
        self._commands = session.commands
        self._owed: dict[int, Command] = {}
        self._shown = False
        self._due = False
        self._stop: Callable[[], None] = lambda: None

    def _start(self, offset: int | None) -> None:
        self._stop = self._commands.watch(self._told)
        self._due = True
        self.pump()

    def stop(self) -> None:
        super().stop()
        self._stop()

    def drained(self) -> bool:
        return self.over or not self._due

    def _pump(self) -> None:
        self.position = self.session.head
        if not self._due or self.credit <= 0 or self.peer.room() == 0:
            return
        prompt = self._commands.state()  # first: it looks at what was put out, and that may change commands
        full = not self._shown or len(self._owed) > SHOWN
        changed = self._commands.newest(SHOWN) if full else tuple(self._owed.values())
        self._owed.clear()
        self._shown, self._due = True, False
        message = wire.Shell(self.number, full, changed, prompt)
        self.peer.send(message)
        self.credit -= message.cost
        self._moved.set()

    def _told(self, prompt: Prompt, command: Command | None) -> None:
        if command is not None:
            self._owed[command.id] = command
        self._due = True
        self._again()  # what one piece of output changes goes in one message


async def _list(host: "Host", ask: wire.ListCommands, peer: "Client", by: Author) -> wire.Message:
    commands = host.find(ask.session).commands
    prompt, limit = commands.state(), min(max(ask.limit, 1), SHOWN)
    found = commands.newest(limit) if ask.newest else await commands.older(ask.after, limit)
    return wire.Commands(ask.ref, tuple(each for each in found if each.id > ask.after), prompt, commands.last)


KINDS: Final[dict[str, type[Attachment]]] = {**attachments.KINDS, "commands": CommandView}
HANDLERS: Final[dict[type, Callable[["Host", Any, "Client", Author], Awaitable[wire.Message]]]] = {
    wire.ListCommands: _list
}
