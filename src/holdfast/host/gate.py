"""The gate of one session: the policy's word on every act, what waits for a person, and doing what was approved.

Not here: what is decided (core.gate), whose turn it is (judge), what is said to clients (gating). Everything about
proposals is in the journal before it counts. Source: docs/gate.md; R66, R67, R76.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from holdfast.core import gate as rules
from holdfast.core.control import LINE_S, Act, Bar, Buckets
from holdfast.core.errors import (
    AlreadyDecided,
    Denied,
    HoldError,
    InputUnknown,
    LineBusy,
    NeedsApproval,
    NotYourTurn,
    Paused,
    Private,
    Refused,
    SessionEnded,
    StaleBasis,
    TooFast,
    TooMany,
)
from holdfast.core.gate import Asked, Decision, Written
from holdfast.core.identity import Kind as OperatorKind
from holdfast.core.journal import Author, Kind
from holdfast.core.policy import Effect, Subject, Verb, texts
from holdfast.core.proposals import SETTLED, Deed, Ground, Proposal, State, Step, Widen, digest_of, who
from holdfast.core.waiting import Wants
from holdfast.host.input import Answer, typing
from holdfast.host.judge import Held, operator_of
from holdfast.host.linemode import is_secret
from holdfast.host.policyfile import InForce
from holdfast.host.replies import foreground
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.host.host import Host
    from holdfast.host.session import Session

log = logging.getLogger(__name__)

DENIALS: Final = (0.5, 20.0)  # a second, and at once, of one operator that are recorded
OPERATORS_MAX: Final = 64  # of a session whose use of programs is remembered
PROGRAMS_MAX: Final = 1024  # of one operator
ASKED_MAX: Final = 64  # acts of one client that the external program is asked about and that wait for it
TYPIST: Final = "proposal:"  # the client name under which approved bytes are typed: once each (I5)


class Gate:
    """A rule of the judge, and the keeper of the session's proposals."""

    def __init__(self, session: "Session", host: "Host") -> None:
        self._session, self._host = session, host
        self.proposals = session.journal.proposals
        self._used: OrderedDict[str, set[str]] = OrderedDict()
        self._line = Written()
        self._units: dict[str, float] = {}  # operator -> when it last submitted, within the window
        self._conflicts: dict[tuple[str, str], float] = {}
        self._rate = Buckets(0.5, 10.0)
        self._denials = Buckets(*DENIALS)
        self._verdicts: OrderedDict[bytes, Decision] = OrderedDict()  # of the external program, each for one act
        self._asking: dict[str, list[asyncio.Task[None]]] = {}
        self._in_force: InForce | None = None  # what an input is weighed by, while it is handed on
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        session.judge.rules.append(self)

    # ---- the judge asks ----

    def weigh(self, act: Act) -> Held | None:
        """Return None if nothing stands against ``act``; it is taken as done then. Held: it waits as a proposal. Raises
        Denied, TooMany, TooFast: nothing of it is done, and nothing waits."""
        now = time.monotonic()
        in_force = self._in_force or self._host.policy.current()
        subject = _subject(act)
        conflict = self._conflict(act, in_force, now)
        decision = None
        if in_force.broken or not in_force.policy.silent(subject):
            decision = self._decided(act, subject, in_force, conflict)
            if decision.effect is Effect.DENY:
                raise self._denied(act, decision)
            if decision.effect is Effect.ASK:
                return self._held(act, subject, decision, in_force)
        if act.verb in ("input", "run"):
            self._passed(act.by.id, act.data, act.verb == "run", now)
            self._uses(act.by.id, decision.programs if decision is not None else ())
            if conflict:
                self._note_conflict(act.by.id, conflict, now)
        return None

    def lets(self, act: Act) -> bool:
        """Tell whether nothing stands against ``act``; nothing follows from it."""
        in_force, subject = self._host.policy.current(), _subject(act)
        if not in_force.broken and in_force.policy.silent(subject):
            return True
        return self._decided(act, subject, in_force, "").effect is Effect.ALLOW

    def _decided(self, act: Act, subject: Subject, in_force: InForce, conflict: str, *, only: bool = False) -> Decision:
        asked = self._asked(act, subject, conflict, only)
        operator = who(subject.operator)
        found = rules.decide(
            asked, in_force.policy, grants=self.proposals.grants(operator, time.time()),
            used=self._used.get(operator, frozenset()), broken=in_force.broken,
        )  # fmt: skip
        if self._consults(subject, act.verb, in_force):
            missing = Decision(Effect.ASK, "exec", "the policy's program was not asked about this")
            found = rules.stricter(found, self._verdicts.pop(_key(act), missing))
        return found

    def _asked(self, act: Act, subject: Subject, conflict: str, only: bool) -> Asked:
        session = self._session
        waiting, program = "", ""
        seen = session.waiting.state
        # A look from before the latest input or output tells nothing: a line may be a command then.
        if seen is not None and seen.offset == session.head and session.lane.last_at <= seen.at:
            waiting, program = seen.waiting.wants.value, seen.waiting.program
        if session.holder is not None and is_secret(session.holder.hello.terminal):
            waiting = Wants.PASSWORD.value
        return Asked(subject, session.name, deed_of(act), waiting, program, self._line.clean, conflict, only)

    def _passed(self, operator: str, data: bytes, submits: bool, now: float) -> None:
        """It is typed now: follow what stands on the line, and who submits."""
        self._line = self._line.then(data)
        if submits or rules.submits(data):
            self._units[operator] = now

    def _uses(self, operator: str, programs: tuple[str, ...]) -> None:
        if not programs:
            return
        used = self._used.setdefault(operator, set())
        if len(used) < PROGRAMS_MAX:
            used.update(programs)
        self._used.move_to_end(operator)
        while len(self._used) > OPERATORS_MAX:
            self._used.popitem(last=False)

    def _conflict(self, act: Act, in_force: InForce, now: float) -> str:
        """Return who else submitted within the policy's window, if ``act`` submits too."""
        if act.verb not in ("input", "run") or not (act.verb == "run" or rules.submits(act.data)):
            return ""
        window = in_force.policy.conflict.window_s
        for operator in [one for one, at in self._units.items() if now - at >= window]:
            del self._units[operator]
        return next((one for one in self._units if one != act.by.id), "")

    def _note_conflict(self, operator: str, other: str, now: float) -> None:
        """Both are done, one after the other; that they met is said, once in a window for each two (R66)."""
        pair = (min(operator, other), max(operator, other))
        window = self._host.policy.current().policy.conflict.window_s
        if now - self._conflicts.get(pair, -window) < window:
            return
        self._conflicts = {each: at for each, at in self._conflicts.items() if now - at < window} | {pair: now}
        self._session.note(Kind.CONFLICT, {"first": other, "then": operator, "within_s": window})

    def _denied(self, act: Act, decision: Decision) -> Denied:
        if not self._denials.wait(act.by.id, time.monotonic()):
            self._denials.take(act.by.id, time.monotonic())
            body = {"verb": act.verb, "rule": decision.rule, "why": decision.why}
            with contextlib.suppress(HoldError):
                self._session.record(Kind.DENIED, _author(act), body | {"digest": hashlib.sha256(act.data).digest()})
        return Denied(decision.rule, decision.why)

    # ---- an external program ----

    def consults(self, author: str, verb: str) -> bool:
        """Tell whether the policy's program is to be asked about such an act before the judge is."""
        in_force = self._in_force or self._host.policy.current()
        if in_force.policy.program is None or not isinstance(author, Author) or not author.kind:
            return False
        return self._consults(Subject(who(author), OperatorKind(author.kind), author.principal), verb, in_force)

    def _consults(self, subject: Subject, verb: str, in_force: InForce) -> bool:
        program = in_force.policy.program
        if program is None or not subject.is_one_of(texts(program.who)):
            return False
        return Verb(verb) in ((program.verbs,) if isinstance(program.verbs, Verb) else program.verbs)

    def submit(self, ask: wire.Input, *, client: str, operator: str, attachment: int, answer: Answer,
               verb: str = "input") -> None:  # fmt: skip
        """Hand ``ask`` to the input lane, after the policy's program was asked if it is to be. Raises HoldError."""
        if (known := self.proposals.asked(client, ask.seq)) is not None:
            if known.state in SETTLED:
                raise AlreadyDecided(known.id, known.state.value, known.by)
            raise self._waits(known).error
        lane = self._session.lane
        self._in_force = self._host.policy.current()
        try:
            if not self.consults(operator, verb):
                lane.submit(ask, client=client, operator=operator, attachment=attachment, answer=answer, verb=verb)
                return
        finally:
            self._in_force = None

        def work() -> None:
            try:
                lane.submit(ask, client=client, operator=operator, attachment=attachment, answer=answer, verb=verb)
            except HoldError as error:
                answer(error)

        self._after_consulting(typing(verb, ask, operator, client, attachment), client, work)

    async def consult(self, act: Act) -> None:
        """Ask the program about ``act``, if it is to be; its word counts when the judge weighs the same act next."""
        in_force = self._host.policy.current()
        if in_force.policy.program is None or not act.by.kind:
            return
        subject = _subject(act)
        if not self._consults(subject, act.verb, in_force):
            return
        asked = self._asked(act, subject, "", False)
        found = rules.decide(
            asked, in_force.policy, grants=self.proposals.grants(act.by.id, time.time()),
            used=self._used.get(act.by.id, frozenset()),
        )  # fmt: skip
        if found.effect is not Effect.DENY:
            found = await self._host.consultant.ask(in_force.policy.program, self._question(act, asked, found))
        self._verdicts[_key(act)] = found
        while len(self._verdicts) > ASKED_MAX * 4:
            self._verdicts.popitem(last=False)

    def _question(self, act: Act, asked: Asked, found: Decision) -> dict[str, Any]:
        reading = rules.reading(asked)
        return {
            "version": 1, "session": {"id": self._session.id, "name": self._session.name, "cwd": self._cwd()},
            "operator": {"id": act.by.id, "kind": act.by.kind, "on_behalf_of": act.by.principal},
            "verb": reading.verb.value, "input": reading.form.value if reading.form else "",
            "text": act.data.decode("utf-8", "replace"), "data_hex": act.data.hex(),
            "commands": [[word.text for word in command.words] for command in reading.commands],
            "doubt": reading.doubt, "signal": asked.deed.signal, "waiting": asked.waiting,
            "decision": found.effect.value, "rule": found.rule, "why": found.why,
        }  # fmt: skip

    def _after_consulting(self, act: Act, client: str, work: Any) -> None:
        """Have the program asked about ``act`` and then call ``work``; acts of one client keep their order. Raises
        TooMany."""
        line = self._asking.setdefault(client, [])
        if len(line) >= ASKED_MAX:
            raise TooMany(f"{ASKED_MAX} acts wait for the policy's program already; this one was not done", do="wait")
        before = line[-1] if line else None

        async def in_turn() -> None:
            try:
                if before is not None:
                    await asyncio.wait([before])
                await self.consult(act)
                work()
            finally:
                line.remove(task)
                if not line:
                    self._asking.pop(client, None)

        task = asyncio.get_running_loop().create_task(in_turn(), name=f"{self._session.id}: consult")
        line.append(task)

    # ---- proposing ----

    def offered(self, ask: wire.Input, *, client: str, author: str) -> HoldError:
        """Return what an input of an operator that may only propose is answered with: it waits as a proposal."""
        act = typing("input", ask, author, client, 0)
        made = self.propose(act, client=client, seq=ask.seq, only=True)
        return self._waits(made).error

    def propose(self, act: Act, *, client: str, seq: int, why: str = "", only: bool = False) -> Proposal:
        """Hold ``act`` for a decision because its operator asks for that, or may do no more (``only``).

        Raises Denied, Private, StaleBasis, TooMany, TooFast. The same (client, seq) proposes once.
        """
        if (known := self.proposals.asked(client, seq)) is not None:
            return known
        control = self._session.judge.control
        if control.bar is Bar.PRIVATE and not act.by.person:
            raise Private(control.barred_by, control.term)
        if act.basis is not None and self.proposals.foreign(act.by.id) > act.basis.input:
            raise StaleBasis("input", "somebody else", self.proposals.foreign(act.by.id))
        subject, in_force = _subject(act), self._host.policy.current()
        decision = self._decided(act, subject, in_force, "", only=only)
        if decision.effect is Effect.DENY:
            raise self._denied(act, decision)
        if decision.effect is Effect.ALLOW:
            decision = decision._replace(rule="propose", why="it was asked for")
        detail = dict(act.detail) | {"client": client, "seq": seq}
        held = self._held(act._replace(detail=detail), subject, decision, in_force, why=why, only=only)
        return self.proposals.get(held.proposal)

    def _held(
        self, act: Act, subject: Subject, decision: Decision, in_force: InForce, *, why: str = "", only: bool = False
    ) -> Held:  # fmt: skip
        """Record the proposal that ``act`` becomes."""
        session, now = self._session, time.time()
        client, seq = str(act.detail.get("client", "")), int(act.detail.get("seq", 0))
        if (known := self.proposals.asked(client, seq)) is not None:
            return self._waits(known)
        self.expire()
        bounds, deed, operator = in_force.policy.proposals, deed_of(act), who(act.by.id)
        self.proposals.may_propose(subject, deed, bounds)
        self._rate.rate, self._rate.burst = bounds.per_minute / 60, max(5.0, bounds.per_minute / 3)
        if wait := self._rate.wait(operator, time.monotonic()):
            raise TooFast(wait)
        self._rate.take(operator, time.monotonic())
        ground = self.ground(operator)
        record = session.record(Kind.PROPOSAL, _author(act), {
            "kind": act.by.kind, "deed": [deed.verb, deed.data, deed.signal, deed.tree, list(deed.size)],
            "ground": list(ground), "digest": digest_of(session.id, operator, deed, ground),
            "until": now + bounds.expire_s, "why": why[:500], "rule": decision.rule, "reason": decision.why,
            "cwd": self._cwd(), "client": client, "seq": seq, "only_proposes": only,
        })  # fmt: skip
        self._arm()
        return self._waits(self.proposals.get(record.position))

    def _waits(self, made: Proposal) -> Held:
        error = NeedsApproval(
            self._session.name, made.id, digest=made.digest.hex(), rule=made.rule, reason=made.reason, expires_at=made.until
        )  # fmt: skip
        return Held(made.id, error)

    def ground(self, operator: str) -> Ground:
        """Return what a proposal of ``operator`` stands on now."""
        sheet = self._session.sheet
        return Ground(self.proposals.foreign(operator), foreground(sheet.root_pid), sheet.incarnation)

    def holds(self, proposal: Proposal) -> bool:
        """Tell whether the session still is as it was when this was proposed."""
        return not self._session.over and self.ground(proposal.operator) == proposal.ground

    def _cwd(self) -> str:
        try:
            return os.readlink(f"/proc/{foreground(self._session.sheet.root_pid)}/cwd")
        except OSError:
            return ""

    # ---- deciding ----

    def decide(self, author: Author, proposal: int, digest: bytes, step: Step, *, why: str = "",
               widen: Widen = Widen.ONCE, words: tuple[str, ...] = (), for_s: float = 3600.0) -> None:  # fmt: skip
        """Approve or deny, and have done what is approved. Repeating a decision changes nothing.

        Raises what Proposals.may_decide does; Refused for a prefix that is none; OutOfTurn if what is approved could not be
        typed now: nothing is decided then.
        """
        self.expire()
        subject = Subject(who(author), OperatorKind(author.kind), author.principal)
        found = self.proposals.may_decide(subject, proposal, digest, step, now=time.time(), widen=widen)
        if found is None:
            return
        body: dict[str, Any] = {"proposal": proposal, "verdict": step.value, "digest": found.digest, "why": why[:500]}
        if step is Step.APPROVE:
            self._may_be_done(found, who(author))
            if widen is not Widen.ONCE:
                bound = self._host.policy.current().policy.proposals.grant_s_max
                body |= {"widen": widen.value, "granted_until": time.time() + min(max(for_s, 0.0), bound)}
            if widen is Widen.PREFIX:
                if wrong := rules.prefix_of(found.deed, words):
                    raise Refused(f"the approval cannot reach to {' '.join(words)!r}: {wrong}; nothing was decided")
                body |= {"words": list(words)}
        self._session.record(Kind.DECISION, author, body)
        self._tell()
        if step is Step.APPROVE:
            self._do(self.proposals.get(proposal), who(author))

    def withdraw(self, author: Author, proposal: int) -> None:
        """Take a proposal of ``author``'s own back. Raises NoSuchProposal, AlreadyDecided."""
        if self.proposals.may_withdraw(author, proposal) is not None:
            self._session.record(Kind.DECISION, author, {"proposal": proposal, "verdict": Step.WITHDRAW.value})
            self._tell()

    async def settled(self, proposal: int) -> Proposal:
        """Return the proposal once nothing more can happen to it. Raises SessionEnded, NoSuchProposal."""
        while (found := self.proposals.get(proposal)).state not in SETTLED:
            if self._session.over:
                raise self._session.gone()
            await self._changed.wait()
        return found

    def _may_be_done(self, proposal: Proposal, approver: str) -> None:
        """Raise OutOfTurn if others type now. An approval takes control from nobody."""
        control = self._session.judge.control
        if control.bar and proposal.kind != "human":
            raise (Private if control.bar is Bar.PRIVATE else Paused)(control.barred_by, control.term)
        holder = control.holder
        if holder.id not in ("", proposal.operator, approver):
            raise NotYourTurn(holder.id, holder.kind, control.state, control.term)
        now = time.monotonic()
        if proposal.deed.verb in (Verb.INPUT, Verb.RUN) and (other := control.line.of_others(proposal.operator, now)):
            raise LineBusy(other, control.line.at + LINE_S - now)

    # ---- doing ----

    def _do(self, proposal: Proposal, approver: str) -> None:
        deed, session = proposal.deed, self._session
        if not self.holds(proposal):
            self._close(proposal, Step.GO_STALE, why="the session moved on since it was proposed")
            return
        author = Author(proposal.operator, principal=proposal.principal, kind=proposal.kind)
        if deed.verb in (Verb.INPUT, Verb.RUN):
            data = deed.data if deed.verb == Verb.INPUT or rules.submits(deed.data[-1:]) else deed.data + b"\r"

            def answer(result: wire.Typed | HoldError) -> None:
                self._typed(proposal, result)

            ask = wire.Input(0, session.id, 1, data)
            try:
                session.lane.submit(
                    ask, client=f"{TYPIST}{proposal.id}", operator=author, attachment=0, answer=answer, proposal=proposal.id
                )  # fmt: skip
            except HoldError as error:
                self._typed(proposal, error)
                return
            session.judge.control.line.typed(operator_of(author), data, time.monotonic())
            self._passed(proposal.operator, data, True, time.monotonic())
            commands = rules.reading(Asked(_subject_of(proposal), session.name, deed)).commands
            self._uses(proposal.operator, tuple(each.program for one in commands for each in one.everything()))
        else:
            session.spawn(self._do_signal(proposal, author), "do what was approved")

    async def _do_signal(self, proposal: Proposal, author: Author) -> None:
        deed, session = proposal.deed, self._session
        try:
            if deed.verb == Verb.SIGNAL:
                position = await session.signal(deed.signal, author, tree=deed.tree, proposal=proposal.id)
            else:
                ask = wire.Resize(0, session.id, wire.Size(*deed.size))
                position = await session.resize(ask, author, None, proposal=proposal.id)
        except HoldError as error:
            self._close(proposal, Step.GO_STALE, why=error.message)
        else:
            self._close(proposal, Step.EXECUTE, outcome="done", position=position)

    def _typed(self, proposal: Proposal, result: wire.Typed | HoldError) -> None:
        if isinstance(result, wire.Typed):
            more = {"outcome": result.outcome, "written": result.written, "position": result.position}
            if result.outcome == "refused":
                self._close(proposal, Step.GO_STALE, why="the terminal did not take it", **more)
            else:
                self._close(proposal, Step.EXECUTE, **more)
        elif isinstance(result, SessionEnded) and self._host.stopping:
            return  # the next host finds out what became of it: ``recover``
        elif isinstance(result, InputUnknown):
            self._close(proposal, Step.EXECUTE, outcome="unknown", why=result.message)
        else:
            self._close(proposal, Step.GO_STALE, why=result.message)

    def _close(self, proposal: Proposal, step: Step, **body: Any) -> None:
        self._session.note(Kind.DECISION, {"proposal": proposal.id, "verdict": step.value, **body})
        self._tell()

    # ---- time, restarts, the end ----

    def recover(self) -> None:
        """This host is new to the session: what an earlier one left undone between decision and deed is not done any more
        (R74), and where nobody can tell, that is said (R76)."""
        inputs = self._session.journal.inputs
        for left in self.proposals.pending:
            if left.state is not State.APPROVED:
                continue
            begun = inputs.seen(f"{TYPIST}{left.id}", 1) if left.deed.verb in (Verb.INPUT, Verb.RUN) else None
            if begun is not None:
                more = {"outcome": begun.outcome, "written": begun.written, "position": begun.position}
                self._close(left, Step.EXECUTE, **more)
            elif left.deed.verb in (Verb.INPUT, Verb.RUN):
                self._close(left, Step.GO_STALE, why="the host was replaced before it was typed")
            else:
                self._close(left, Step.EXECUTE, outcome="unknown", why="the host was replaced while it was done")
        self._arm()

    def expire(self) -> None:
        """End what nobody decided in time."""
        for late in self.proposals.overdue(time.time()):
            self._session.note(Kind.DECISION, {"proposal": late.id, "verdict": Step.EXPIRE.value})
            self._tell()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (deadline := self.proposals.deadline) is not None and not self._session.over:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, deadline - time.time()) + 0.01, self._due)

    def _due(self) -> None:
        self.expire()
        self._arm()

    def stop(self) -> None:
        """The session or this host ends: nothing is decided any more, and whoever waits hears it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for line in self._asking.values():
            for task in line:
                task.cancel()
        self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


# ---- what an act is to the gate --------------------------------------------------------------------------------------


def deed_of(act: Act) -> Deed:
    """Return exactly what ``act`` would do."""
    more = act.detail
    size = (int(more.get("rows", 0)), int(more.get("cols", 0)))
    return Deed(act.verb, act.data, int(more.get("signal", 0)), bool(more.get("tree", False)), size)


def _subject(act: Act) -> Subject:
    return Subject(who(act.by.id), OperatorKind(act.by.kind), act.by.principal)


def _subject_of(proposal: Proposal) -> Subject:
    return Subject(proposal.operator, OperatorKind(proposal.kind), proposal.principal)


def _author(act: Act) -> str:
    return act.author or act.by.id


def _key(act: Act) -> bytes:
    whole = repr((act.by.id, deed_of(act), act.detail.get("client", ""), act.detail.get("seq", 0)))
    return hashlib.sha256(whole.encode()).digest()
