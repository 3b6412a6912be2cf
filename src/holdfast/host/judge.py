"""The one judge of a session: everything that would reach its terminal is weighed here, whichever way it came.

First control (core.control: is it this operator's turn), then further ``rules``, of which each can only refuse or hold.
The judge also changes control: recorded first, then told to everybody, then whoever lost it is cut off (takeover).
Not here: who may ask at all (core.admission), how bytes get to the terminal (input). Source: docs/operators.md.
"""

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from holdfast.core.control import NOBODY, Act, Bar, Basis, Change, Control, How, Operator, Role
from holdfast.core.errors import BadMessage, HoldError, Private
from holdfast.core.journal import Author, Kind
from holdfast.core.turns import Turns, body_of
from holdfast.host.takeover import NOTHING, Cut, Takeover
from holdfast.wire.parts import ControlState

if TYPE_CHECKING:
    from holdfast.host.session import Session

log = logging.getLogger(__name__)

HOST: Final = Author("host")
# Verbs whose answers tell nothing of what is on the terminal; what they would do to it is weighed.
_NOTHING_SHOWN: Final = frozenset(("control", "who", "wait", "kill", "keep", "rename", "forget", "list"))


class Held(NamedTuple):
    """Not refused and not done: it waits for a decision. ``error`` is what its sender is answered with meanwhile."""

    proposal: int
    error: HoldError


class Rule(Protocol):
    """One more thing that can stand against an act. It has no way to allow anything (STYLE 6)."""

    def weigh(self, act: Act) -> Held | None:
        """Return None if nothing stands against ``act``, Held if it waits. Raises HoldError to refuse. Never waits."""
        ...

    def lets(self, act: Act) -> bool:
        """Tell whether nothing stands against ``act``, and do nothing about it."""
        ...


def operator_of(author: str, *, role: Role = Role.OPERATE) -> Operator:
    """Return who ``author`` is to control: the operator, without the process it uses (``local:NAME/PID``).

    The text alone (an older record) is nobody's: it has no kind and may nothing.
    """
    kind = author.kind if isinstance(author, Author) else ""
    principal = author.principal if isinstance(author, Author) else ""
    plain = str(author).partition("/")[0]  # as plain text: an Author cannot be encoded
    return Operator(plain, kind, role if kind else Role.NONE, principal)


class Judge:
    """``rules`` are asked in order, after control. ``control`` is what was decided so far."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self.control = Control(
            now=time.monotonic(), silent_s=session.config.control_silent_s, rate=session.config.ai_acts_per_s,
            burst=session.config.ai_acts_at_once,
        )  # fmt: skip
        self.rules: list[Rule] = []
        self.takeover = Takeover(session)
        self.position = 0  # of the latest change of control
        self._since = time.time()  # of the latest change
        self._timer: asyncio.TimerHandle | None = None
        self._restore(session.journal.turns)

    # ---- acts ----

    def weigh(self, act: Act) -> Held | None:
        """Return None if ``act`` may be done, and then it is: control follows it. Raises HoldError: it may not."""
        now = time.monotonic()
        named = act.basis is not None and act.basis.command  # looked up for whoever names it: a key waits for this
        how = self.control.allows(act, now=now, command=self.command_state() if named else "")
        for rule in self.rules:
            if (held := rule.weigh(act)) is not None:
                return held
        if (change := self.control.goes(act, how, now=now)) is not None:
            # Its proof is of the input, which comes next and carries it.
            self._enact(change, Author(str(act.author), principal=act.by.principal, kind=act.by.kind))
        return None

    def demand(self, act: Act) -> None:
        """Return if ``act`` may be done. Raises HoldError, also for one that is held and waits for a decision."""
        if (held := self.weigh(act)) is not None:
            raise held.error

    def still(self, author: str, term: int) -> None:
        """Raise if what ``author`` was allowed in ``term`` must not be done any more. Asked again before each write."""
        if term != self.control.term:
            self.control.still(operator_of(author), term)

    def typed(self, author: str, position: int) -> None:
        """The input of ``author`` stands in the journal at ``position``."""
        self.control.typed(str(author).partition("/")[0], position)
        if not (isinstance(author, Author) and author.kind == "human"):
            self.takeover.foreign_bytes = True

    def heard(self, author: str) -> None:
        """``author`` asked for something: it is there. Keeps its control from lapsing."""
        self.control.heard_of(str(author).partition("/")[0], time.monotonic())

    def may_size(self, author: str) -> bool:
        """Tell whether an attachment of ``author`` may give the terminal its size by coming."""
        act = Act("resize", operator_of(author), term=self.control.term)
        try:
            self.control.allows(act, now=time.monotonic())
        except HoldError:
            return False
        return all(rule.lets(act) for rule in self.rules)

    def shows(self, author: Author, verb: str) -> None:
        """Raise Private if nothing of the session is shown to ``author`` now. A person always sees it."""
        control = self.control
        if control.bar is Bar.PRIVATE and author.kind != "human" and verb not in _NOTHING_SHOWN:
            raise Private(control.barred_by, control.term)

    def command_state(self) -> str:
        """Return a word that changes whenever a command starts or ends: what an AI operator's basis names. Empty: unknown.

        A shell that draws its prompt is as idle as one that has: an AI operator that was told of the end acts on that.
        """
        prompt = self._session.commands.state()
        if not prompt.marked:
            return ""
        return f"{prompt.last} {'running' if prompt.running else 'idle'}"

    # ---- control ----

    async def change(
        self, act: str, author: Author, *, to: Operator = NOBODY, why: str = "", job: str = "leave"
    ) -> Cut:
        """Do ``act`` of wire ``control`` and return when whoever lost control thereby is cut off. Raises HoldError."""
        control, now, by = self.control, time.monotonic(), operator_of(author)
        change: Change | None = None
        match act:
            case "take":
                change = control.take(by, now=now, why=why, job=job)
            case "give":
                change = control.give(by, to, now=now, why=why)
            case "release":
                change = control.release(by, now=now, why=why)
            case "request":
                if control.request(by, now=now, why=why) is not None:
                    body = {"act": "request", "term": control.term, "state": control.state.value, "by": by.id,
                            "by_kind": by.kind, "holder": control.holder.id, "why": why}  # fmt: skip
                    self._session.record(Kind.CONTROL, author, body)
            case "renew":
                control.heard_of(by.id, now)
            case "pause" | "private":
                change = control.bar_others(by, Bar.PAUSED if act == "pause" else Bar.PRIVATE, now=now, why=why)
            case "resume" | "public":
                bar = Bar.PAUSED if act == "resume" else Bar.PRIVATE
                change = control.bar_others(by, bar, on=False, now=now, why=why)
            case _:
                raise BadMessage(f"there is no act {act!r} of control; nothing was changed")
        if change is not None:
            self._enact(change, author)
        with contextlib.suppress(asyncio.CancelledError):
            return await asyncio.shield(self.takeover.latest) if self.takeover.latest is not None else NOTHING
        raise asyncio.CancelledError  # only the one who asked stopped waiting: the takeover goes on

    def _enact(self, change: Change, author: Author) -> None:
        """Record ``change`` and tell everybody, then cut off who lost control. Nothing of theirs is begun from here on."""
        session = self._session
        self._since = time.time()
        dropped = session.lane.cut() if change.cuts else 0
        try:
            body = body_of(change)
            if change.how in (How.PRIVATE, How.PUBLIC):
                session.bell.look()
                body["offset"] = session.head
            self.position = session.record(Kind.CONTROL, author, body).position
        except HoldError as error:  # a full disk must not keep a person from taking over
            log.error("%s: a change of control is not on record: %s", session.id, error)
            self.position = session.journal.position
        if change.how is How.PRIVATE:
            for attachment in list(session.attachments.values()):
                if operator_of(attachment.peer.operator).kind != "human":
                    attachment.close("private")
                    session.leave(attachment, "private")
        self.takeover.begin(change, author, self.position, dropped)
        self._watch()

    def _watch(self) -> None:
        """See to it that control lapses when its holder falls silent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (deadline := self.control.deadline) is not None and not self._session.over:
            delay = max(0.0, deadline - time.monotonic()) + 0.001
            self._timer = asyncio.get_running_loop().call_later(delay, self._lapse)

    def _lapse(self) -> None:
        self._timer = None
        holder = self.control.holder.id
        present = any(operator_of(each.peer.operator).id == holder for each in self._session.attachments.values())
        if (change := self.control.lapse(now=time.monotonic(), present=present)) is not None:
            self._enact(change, HOST)
        else:
            self._watch()

    def now(self) -> ControlState | None:
        """Return control as listings and screens carry it, None once the session is over."""
        return None if self._session.over else self.said()

    def gone(self, author: str) -> None:
        """The rights of ``author`` here have ended."""
        if (change := self.control.gone(operator_of(author).id, now=time.monotonic())) is not None:
            self._enact(change, HOST)

    def said(self) -> ControlState:
        """Return control as it is told to clients."""
        control = self.control
        holder = control.holder
        return ControlState(
            control.term, control.state.value, holder.id, holder.kind, holder.principal, self._since,
            control.barred_by, control.last_input, self.command_state(),
        )  # fmt: skip

    # ---- over a restart ----

    def _restore(self, turns: Turns) -> None:
        now = time.monotonic()
        for told in turns.changes:
            self.control.restore(told.change, now=now)
            self.position, self._since = told.position, told.at_ns / 1e9
        for author, position in turns.inputs:
            self.control.typed(author, position)
        self.takeover.foreign_bytes = bool(turns.inputs)  # whose they are is not known any more

    def begin(self, floor: int) -> None:
        """The holder is there, and has obeyed term ``floor``. Watch over control from now on."""
        if (change := self.control.recover(floor, now=time.monotonic())) is not None:
            self._enact(change, HOST)
        self._watch()

    def end(self) -> None:
        """The session is over, or this host is: nothing lapses any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def act_of(verb: str, author: str, *, data: bytes = b"", basis: Basis | None = None, **detail: Any) -> Act:
    """Return the act ``verb`` of ``author``, for ``Judge.weigh``."""
    term = author.term if isinstance(author, Author) else 0
    return Act(verb, operator_of(author), data, term, basis, detail, author)


__all__ = ["HOST", "NOBODY", "Act", "Basis", "Held", "Judge", "Operator", "Role", "Rule", "act_of", "operator_of"]
