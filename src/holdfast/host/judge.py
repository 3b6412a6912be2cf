"""The one judge of a session: everything that would reach its terminal is weighed here, whichever way it came.

First control (core.control: is it this operator's turn), then further ``rules``, of which each can only refuse or hold.
The judge also changes control: recorded first, then told to everybody, then whoever lost it is cut off (``Cut``).
Not here: who may ask at all (core.admission), how bytes get to the terminal (input). Source: docs/operators.md.
"""

import logging
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from holdfast.core.control import NOBODY, Act, Basis, Change, Control, Operator, Role
from holdfast.core.errors import HoldError
from holdfast.core.journal import Author, Kind
from holdfast.wire.parts import ControlState

if TYPE_CHECKING:
    from holdfast.host.session import Session

log = logging.getLogger(__name__)

HOST: Final = Author("host")


class Held(NamedTuple):
    """Not refused and not done: it waits for a decision. ``error`` is what its sender is answered with meanwhile."""

    proposal: int
    error: HoldError


class Rule(Protocol):
    """One more thing that can stand against an act. It has no way to allow anything (STYLE 6)."""

    def weigh(self, act: Act) -> Held | None:
        """Return None if nothing stands against ``act``, Held if it waits. Raises HoldError to refuse. Never waits."""
        ...


def operator_of(author: str, *, role: Role = Role.OPERATE) -> Operator:
    """Return who ``author`` is to control: the operator, without the process it uses (``local:NAME/PID``).

    The text alone (an older record) is nobody's: it has no kind and may nothing.
    """
    kind = author.kind if isinstance(author, Author) else ""
    principal = author.principal if isinstance(author, Author) else ""
    return Operator(author.partition("/")[0], kind, role if kind else Role.NONE, principal)


class Judge:
    """``rules`` are asked in order, after control. ``control`` is what was decided so far."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self.control = Control(now=time.monotonic())
        self.rules: list[Rule] = []
        self._since = time.time()  # of the last change

    # ---- acts ----

    def weigh(self, act: Act) -> Held | None:
        """Return None if ``act`` may be done, and then it is: control follows it. Raises HoldError: it may not."""
        now = time.monotonic()
        how = self.control.allows(act, now=now, command=self.command_state())
        for rule in self.rules:
            if (held := rule.weigh(act)) is not None:
                return held
        if (change := self.control.goes(act, how, now=now)) is not None:
            self.enact(change, act.author)
        return None

    def still(self, author: str, term: int) -> None:
        """Raise if what ``author`` was allowed in ``term`` must not be done any more. Asked again before each write."""
        self.control.still(operator_of(author), term)

    def command_state(self) -> str:
        """Return a word that changes whenever the command line does: what an AI operator's basis names."""
        return ""

    # ---- control ----

    def enact(self, change: Change, author: str) -> int:
        """Record ``change``, tell everybody, cut off who lost control. Return its position in the journal."""
        who = Author(str(author), principal=change.by.principal, kind=change.by.kind) if change.by.id else HOST
        return self._session.record(Kind.CONTROL, who, body_of(change)).position

    def said(self) -> ControlState:
        """Return control as it is told to clients."""
        control = self.control
        holder = control.holder
        return ControlState(
            control.term, control.state.value, holder.id, holder.kind, holder.principal, self._since,
            control.barred_by, control.last_input, self.command_state(),
        )  # fmt: skip

    def typed(self, author: str, position: int) -> None:
        """The input of ``author`` stands in the journal at ``position``."""
        self.control.typed(author.partition("/")[0], position)


def body_of(change: Change) -> dict[str, Any]:
    """Return what the journal keeps of ``change``: enough for ``change_of``."""
    body = {"act": change.how.value, "term": change.term, "state": change.state.value, "by": change.by.id,
            "by_kind": change.by.kind, "holder": change.holder.id, "kind": change.holder.kind,
            "for": change.holder.principal, "former": change.former.id, "former_kind": change.former.kind,
            "bar": change.bar.value}  # fmt: skip
    return body | ({"why": change.why} if change.why else {}) | ({"job": change.job} if change.job != "leave" else {})


def act_of(verb: str, author: str, *, data: bytes = b"", basis: Basis | None = None, **detail: Any) -> Act:
    """Return the act ``verb`` of ``author``, for ``Judge.weigh``."""
    term = author.term if isinstance(author, Author) else 0
    return Act(verb, operator_of(author), data, term, basis, detail, author)


__all__ = ["HOST", "NOBODY", "Act", "Basis", "Held", "Judge", "Operator", "Role", "Rule", "act_of", "operator_of"]
