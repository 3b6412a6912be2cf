"""Remember a session's commands from its journal, and where its shell's marks were looked at last. Pure.

Not here: how commands come about (commands), files (host.journal).
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from holdfast.core.commands import Command, clipped
from holdfast.core.journal import Author, Kind, Record

KEPT: Final = 256  # commands of one session in memory; older ones are read from the journal
CARRIED: Final = 64  # of those, at the head of a journal segment
INPUTS_MAX: Final = 512  # inputs since the last change of a command: a successor of the host replays those


class Said(NamedTuple):
    """An input, as the journal has it."""

    position: int
    author: Author
    data: bytes
    at_ns: int


class CommandLog:
    """What a journal says about commands. ``offset`` and ``spent``: where its latest record of one leaves the scanner."""

    def __init__(self) -> None:
        self.commands: deque[Command] = deque(maxlen=KEPT)  # oldest first
        self.inputs: deque[Said] = deque(maxlen=INPUTS_MAX)
        self.offset = self.spent = 0

    @property
    def last(self) -> int:
        """The id of the newest command, 0: there was none."""
        return self.commands[-1].id if self.commands else 0

    def find(self, command: int) -> Command | None:
        """Return the command of that id, if it is in memory."""
        return next((each for each in reversed(self.commands) if each.id == command), None)

    def note(self, command: Command) -> None:
        """Take ``command`` as it is now."""
        for at in range(len(self.commands) - 1, -1, -1):
            if self.commands[at].id == command.id:
                self.commands[at] = command
                return
            if self.commands[at].id < command.id:
                break
        self.commands.append(command)

    def learn(self, record: Record) -> None:
        """Take from a journal record what it says about commands; a record that says nothing is ignored."""
        if record.kind == Kind.COMMAND:
            if (command := command_of(record.body)) is not None:
                self.note(command)
                self.offset = max(self.offset, int(record.body.get("offset", 0)))
                self.spent = max(self.spent, int(record.body.get("spent", 0)))
                self.inputs.clear()
        elif record.kind == Kind.INPUT:
            data = record.body.get("data", b"")
            author = Author(record.operator, principal=str(record.body.get("on_behalf_of", "")))
            kept = clipped(data) if isinstance(data, bytes) else b""
            self.inputs.append(Said(record.position, author, kept, record.at_ns))
        elif record.kind == Kind.CARRIED and isinstance(carried := record.body.get("commands"), Mapping):
            self._restore(carried)

    def carried(self) -> dict[str, Any]:
        """Return what the next segment must know to say all this without the ones before it."""
        latest = list(self.commands)[-CARRIED:]
        return {
            "offset": self.offset, "spent": self.spent, "commands": [msgspec.to_builtins(each) for each in latest],
        }  # fmt: skip

    def _restore(self, carried: Mapping[str, Any]) -> None:
        for body in carried.get("commands", ()):
            if (command := command_of(body)) is not None and self.find(command.id) is None:
                self.note(command)
        self.offset = max(self.offset, int(carried.get("offset", 0)))
        self.spent = max(self.spent, int(carried.get("spent", 0)))


def body_of(command: Command, *, offset: int, spent: int) -> dict[str, Any]:
    """Return the body of a record that says how ``command`` stands, and where the scanner stood then."""
    body: dict[str, Any] = msgspec.to_builtins(command)
    return {**body, "offset": offset, "spent": spent}


def command_of(body: Any) -> Command | None:
    """Return the command that a record's body tells of; None for a shape that is not known here."""
    try:
        return msgspec.convert(body, Command)
    except msgspec.ValidationError:
        return None
