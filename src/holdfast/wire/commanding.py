"""Say which commands a session ran, and what its shell does. Source: docs/wire.md, "Commands". Not here: running one (waits)."""

from holdfast.core.commands import Command as Command
from holdfast.core.commands import Prompt as Prompt
from holdfast.wire.parts import Message

__all__ = ["Command", "Commands", "ListCommands", "Prompt", "Shell"]


class ListCommands(Message, frozen=True, tag="list-commands"):
    """Ask for at most ``limit`` commands with ids above ``after``, oldest first. Answer: ``Commands``.

    ``newest``: instead the last ``limit`` of them.
    """

    ref: int
    session: str
    after: int = 0
    limit: int = 256
    newest: bool = False


class Commands(Message, frozen=True, tag="commands"):
    """``last``: id of the newest there is, so that the asker knows whether there are more."""

    ref: int
    commands: tuple[Command, ...]
    prompt: Prompt
    last: int


class Shell(Message, frozen=True, tag="shell"):
    """The ``commands`` view: what the shell does now, and the commands that changed. ``full``: forget what was there."""

    attachment: int
    full: bool
    commands: tuple[Command, ...]
    prompt: Prompt

    @property
    def cost(self) -> int:
        """How many bytes of credit it takes."""
        return 64 + sum(128 + len(each.text) for each in self.commands)
