"""Follow one session's shell: at its prompt or not, which commands ran, by whom (R68). Not here: the rules (core.commands)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from holdfast.core.commands import Command, Prompt

if TYPE_CHECKING:
    from holdfast.host.session import Session

Told = Callable[[Prompt, Command | None], None]


class Commands:
    """The commands of one session, oldest first, and what its shell does now."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._watchers: list[Told] = []

    def state(self) -> Prompt:
        """Return what the shell does now: everything that the session has put out so far is taken into account."""
        return Prompt()

    def get(self, command: int) -> Command | None:
        """Return the command of that id, None if there is none or it is not kept any more."""
        return None

    def listed(self, after: int = 0, limit: int = 256) -> tuple[Command, ...]:
        """Return at most ``limit`` commands with ids above ``after``, oldest first."""
        return ()

    def watch(self, told: Told) -> Callable[[], None]:
        """Call ``told`` whenever the prompt comes or goes, and with each command that starts or ends. Return what stops that."""
        self._watchers.append(told)
        return lambda: self._watchers.remove(told) if told in self._watchers else None

    def typed(self, position: int, author: str, data: bytes) -> None:
        """``author`` types ``data``, input ``position`` of the journal. Costs microseconds: it stands on a key's way."""

    def saw(self, head: int) -> None:
        """The session has put out everything up to ``head``."""
