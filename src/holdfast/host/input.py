"""Type into a session: one input at a time, journal first, then the holder (I3, I5, I7).

Not here: who may type (admission, judge), whose size applies (core.sizing).
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from holdfast.core.control import Act, Basis
from holdfast.core.errors import HolderLost, HoldError, InputUnknown, LineTooLong, Refused, TooMany
from holdfast.core.inputs import Inputs, Outcome
from holdfast.core.journal import Author, Record
from holdfast.core.withheld import TOTAL, Stretch, body_of
from holdfast.host.holders import Holder, Written
from holdfast.host.judge import operator_of
from holdfast.host.linemode import is_secret
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.host.session import Session

TOLD_AT_ONCE: Final = 16  # whose input was dropped, in one turn of the loop
QUEUE_MAX: Final = 256  # inputs waiting; the sender of one more is refused
LINE_MAX: Final = 4095  # what the kernel's line editor keeps of one line; the rest it drops without a word

Answer = Callable[[wire.Typed | HoldError], None]


class _Waiting(NamedTuple):
    ask: wire.Input
    client: str
    operator: str
    attachment: int  # serial in the session, 0: none
    term: int  # of control, in which it was allowed
    record: int = 0  # its position in the journal, once it has one
    taken: int = 0  # bytes of it that the terminal took, as far as is known
    stretch: Stretch | None = None  # the withheld input that it is part of
    before: int = 0  # bytes of that stretch before it
    proposal: int = 0  # the approved one that it is; 0: it was not proposed

    @property
    def body(self) -> dict[str, Any]:
        """What the journal keeps of it."""
        body = {"client": self.client, "seq": self.ask.seq, "data": self.ask.data, "attachment": self.attachment}
        return body | {"proposal": self.proposal} if self.proposal else body


class Lane:
    """One session's input lane. Control (kill, signal, resize) does not pass through it and never waits for it."""

    def __init__(self, session: "Session", inputs: Inputs) -> None:
        self._session, self._inputs = session, inputs
        self._waiting: deque[_Waiting] = deque()
        self._answers: dict[tuple[str, int], list[tuple[int, Answer]]] = {}
        self._wake, self._uncut = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._at_once: _Waiting | None = None  # being typed without the task
        self.last_at = time.monotonic()
        self.typed = 0  # journal position of the newest input
        self._stretch: Stretch | None = None  # the newest input was withheld: more may share its record
        self._cuts = 0  # changes of control under way: nothing is begun meanwhile

    def start(self) -> None:
        """Begin to type what is submitted."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"{self._session.id}: input")

    async def stop(self) -> None:
        """Stop typing; what waits is answered as not typed."""
        self._session.judge.end()
        self._session.gate.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if (waiting := self._at_once) is not None:
            self._at_once = None
            self._session.note("typed", {"of": waiting.record, "outcome": "unknown", "written": 0})
            self._settle(waiting.client, waiting.ask.seq, self._session.gone())
        while self._waiting:
            waiting = self._waiting.popleft()
            self._settle(waiting.client, waiting.ask.seq, self._session.gone())

    def drop(self, client: str) -> int:
        """Forget what ``client`` submitted and is not being typed yet; it is answered as not typed. Return how many."""
        dropped = [each for each in self._waiting if each.client == client and not each.record]
        if self._waiting and dropped and dropped[0] is self._waiting[0]:
            del dropped[0]  # the task is at it
        for waiting in dropped:
            self._waiting.remove(waiting)
            self._settle(client, waiting.ask.seq, Refused("the right to type was taken back; this was not typed"))
        return len(dropped)

    def cut(self) -> int:
        """Control changed: what must not be typed any more is answered so, what is being typed ends after its present
        piece, and nothing else begins until ``go_on``. Return how many inputs were dropped, of which no byte was typed."""
        self._cuts += 1
        self._stretch = None
        at_it, holder = self._waiting[0] if self._waiting else None, self._session.holder
        if at_it is not None and holder is not None and self._objection(at_it) is not None:
            holder.stop_writing()
        dropped = [
            (each, no) for each in self._waiting if not each.record and (no := self._objection(each)) is not None
        ]
        if told := [(waiting, no) for waiting, no in dropped if waiting is not at_it]:
            gone = {id(waiting) for waiting, _ in told}  # the task is at the first one, and asks again before it types
            self._waiting = deque(each for each in self._waiting if id(each) not in gone)
            # Whoever takes over waits for this; those who lost it can wait for their answers.
            asyncio.get_running_loop().call_soon(self._tell, deque(told))
        return len(dropped)

    def _tell(self, dropped: "deque[tuple[_Waiting, HoldError]]") -> None:
        for _ in range(min(TOLD_AT_ONCE, len(dropped))):
            waiting, no = dropped.popleft()
            self._settle(waiting.client, waiting.ask.seq, no)
        if dropped:
            asyncio.get_running_loop().call_soon(self._tell, dropped)

    def go_on(self) -> None:
        """A change of control is done with what was on the way."""
        self._cuts -= 1
        if not self._cuts:
            self._uncut.set()
            self._wake.set()

    @property
    def clear(self) -> bool:
        """Whether nothing is being typed and nothing waits to be."""
        return self._at_once is None and not self._waiting

    @property
    def idle(self) -> bool:
        """Whether nothing is being typed."""
        return self._at_once is None and not (self._waiting and self._waiting[0].record)

    def _objection(self, waiting: _Waiting) -> HoldError | None:
        """Return why ``waiting``, which was allowed, must not be typed any more."""
        try:
            self._session.judge.still(waiting.operator, waiting.term)
        except HoldError as no:
            return no
        return None

    def submit(
        self, ask: wire.Input, *, client: str, operator: str, attachment: int, answer: Answer, verb: str = "input",
        proposal: int = 0,
    ) -> None:  # fmt: skip
        """Type ``ask`` in its turn, if the judge allows ``verb``, and call ``answer`` once, now or later. A repeated
        (client, seq) gets the first one's outcome. ``proposal``: a person approved it, and the gate asked all there was to
        ask. Raises HoldError if it may not be typed."""
        key = (client, ask.seq)
        if key in self._answers:  # sent again while the first is under way: one typing, two answers
            self._answers[key].append((ask.ref, answer))
            return
        known = self._inputs.seen(client, ask.seq, generation=self._session.journal.generation)
        if known is not None:
            answer(_answered(ask.ref, ask.seq, known))
            return
        if len(self._waiting) >= QUEUE_MAX:
            answer(
                TooMany(f"{QUEUE_MAX} inputs are waiting already; this one was not typed", do="wait for the answers")
            )
            return
        judge = self._session.judge
        if not proposal and (held := judge.weigh(typing(verb, ask, operator, client, attachment))) is not None:
            raise held.error
        self._answers[key] = [(ask.ref, answer)]
        waiting = _Waiting(ask, client, operator, attachment, judge.control.term, proposal=proposal)
        if not (self._waiting or self._at_once is not None) and self._type_at_once(waiting):
            return
        self._waiting.append(waiting)
        self._wake.set()

    # ---- a key pressed while nothing else is going on: no task is woken, and whoever watches hears of it afterwards ----

    def _type_at_once(self, waiting: _Waiting) -> bool:
        """Begin to type if that can be done without waiting for anything; False: it takes its turn."""
        session, data = self._session, waiting.ask.data
        holder = session.holder
        if holder is None or holder.busy or len(data) > LINE_MAX or not session.sizing.settled(waiting.attachment):
            return False
        if self._cuts:
            return False
        if (secret := is_secret(holder.hello.terminal)) is None:
            return False
        self.last_at = time.monotonic()

        def begin(waiting: _Waiting) -> None:
            self._at_once = waiting
            total = TOTAL if waiting.stretch is not None else None
            term = session.judge.control.term
            holder.write_at_once(
                waiting.record, data, self._typed_at_once, before=waiting.before, total=total, term=term
            )

        try:
            waiting, record = self._recorded(waiting, secret=secret, begin=begin)
        except HoldError as error:
            self._settle(waiting.client, waiting.ask.seq, error)
            return True
        if record is not None:
            session.announce(record)
        return True

    def _recorded(
        self, waiting: _Waiting, *, secret: bool, begin: Callable[[_Waiting], None] | None = None
    ) -> tuple[_Waiting, Record | None]:
        """Journal an input; return it with its position, and the record unless it shares one. Raises StorageFailed.

        ``begin`` is called with what is returned, as soon as it is journalled: all else that follows from it can wait.

        What the terminal does not show is not kept: neither the bytes, nor the salt, without which the signed commitment
        to them cannot be guessed at, nor how many inputs there were.
        """
        session, ask, stretch = self._session, waiting.ask, self._stretch
        if secret and stretch is not None and self._goes_on(stretch, waiting):
            session.waiting.stir()
            self._inputs.merged(waiting.client, ask.seq, stretch.position)
            session.judge.typed(waiting.operator, stretch.position)
            waiting = waiting._replace(record=stretch.position, stretch=stretch, before=stretch.written)
            if begin is not None:
                begin(waiting)
            return waiting, None
        self._stretch = None
        here = session.commands.here

        def stands(record: Record) -> None:
            nonlocal waiting
            if secret:
                self._stretch = Stretch(record.position, waiting.client, waiting.operator, ask.seq)
            waiting = waiting._replace(record=record.position, stretch=self._stretch)
            if begin is not None:
                begin(waiting)

        operator, body = waiting.operator, waiting.body
        if secret:
            operator, body = _without_salt(operator), body_of(waiting.client, ask.seq, waiting.attachment)
        record = session.journal.append("input", operator, body, then=stands)
        session.waiting.stir()
        if not secret:
            session.commands.typed(here, record.position, waiting.operator, ask.data)
        self.typed = record.position
        session.judge.typed(waiting.operator, record.position)
        return waiting, record

    def _goes_on(self, stretch: Stretch, waiting: _Waiting) -> bool:
        """Whether an input may share the record of a stretch: of its client, and nothing else was typed since."""
        holder = self._session.holder
        latest = holder is not None and holder.ring.input_position == stretch.position
        return latest and stretch.takes(waiting.client, waiting.operator, waiting.ask.seq)

    def _typed_at_once(self, written: Written | None) -> None:
        waiting, self._at_once = self._at_once, None
        if waiting is None:
            return
        if written is not None and waiting.stretch is not None:
            waiting.stretch.written = waiting.before + written.written
        if written is not None and written.outcome == "applied":
            self._settle(waiting.client, waiting.ask.seq, Outcome("applied", written.written, written.position))
        else:  # the rest has to wait for room, or what became of it has to be asked
            self._waiting.appendleft(waiting._replace(taken=written.written if written else 0))
        if self._waiting:
            self._wake.set()

    # ---- everything else ----

    async def _run(self) -> None:
        while True:
            while self._waiting and self._at_once is None:
                waiting = self._waiting[0]
                try:
                    result: Outcome | HoldError = await self._type(waiting)
                except HoldError as error:
                    result = error
                self._waiting.popleft()
                self._settle(waiting.client, waiting.ask.seq, result)
            self._wake.clear()
            await self._wake.wait()

    async def _type(self, waiting: _Waiting) -> Outcome:
        session, ask, position = self._session, waiting.ask, waiting.record
        if not position:
            await session.ready()
            await self._check_line(ask.data)
            if waiting.attachment:
                await session.typed_by(waiting.attachment)
            secret = await self._turn(waiting)
            self.last_at = time.monotonic()
            waiting, record = self._recorded(waiting, secret=secret)
            position = waiting.record
            if record is not None:
                session.announce(record)
        try:
            written = await self._written(waiting)
        except BaseException:
            # The next record of this generation would imply "applied": what is not known must be said.
            session.note("typed", {"of": position, "outcome": "unknown", "written": 0})
            raise
        outcome = Outcome(written.outcome, written.written, position)
        if written.outcome != "applied":
            shown = 0 if waiting.stretch is not None else written.written
            session.record("typed", "host", {"of": position, "outcome": written.outcome, "written": shown})
        return outcome

    async def _turn(self, waiting: _Waiting) -> bool:
        """Return when ``waiting`` may be typed, and whether the terminal would not show it. Raises if it may not be."""
        while True:
            self._uncut.clear()
            while self._cuts:
                await self._uncut.wait()
            secret = await self._is_secret()
            if not self._cuts:
                break
        self._session.judge.still(waiting.operator, waiting.term)
        return secret

    async def _is_secret(self) -> bool:
        """Whether what is typed now would not be shown: asked of the holder where it cannot be seen from here."""
        holder = await self._session.ready()
        found = is_secret(holder.hello.terminal)
        return found if found is not None else await _asked(holder)

    async def _written(self, waiting: _Waiting) -> Written:
        session, at, stretch = self._session, waiting.taken, waiting.stretch
        total = TOTAL if stretch is not None else None
        while True:
            holder = await session.ready()
            if self._objection(waiting) is not None:
                return _so_far(holder, waiting)
            try:
                written = await holder.write(
                    waiting.record, waiting.ask.data, at=at, before=waiting.before, total=total,
                    term=session.judge.control.term,
                )  # fmt: skip
                if stretch is not None:
                    stretch.written = waiting.before + written.written
                return written
            except HolderLost:
                # The holder died under the write. Its successor knows from the header what the terminal took of this
                # position: asking again under the same position can only type what was never begun (I5).
                at = 0
            except Refused as no:
                if no.details.get("reason") == "older-term":
                    # Control changed under the write. Not this operator's: the rest goes on in the new term.
                    if (so_far := _so_far(holder, waiting)).outcome in ("unknown", "applied"):
                        return so_far
                    at = so_far.written
                    continue
                if holder.ended is None and session.root_lives():
                    raise
                await session.ended()  # the program ended under the write; how is about to be written down
                raise session.gone() from None

    async def _check_line(self, data: bytes) -> None:
        if len(data) <= LINE_MAX:
            return
        longest = max(len(line) for line in data.replace(b"\r", b"\n").split(b"\n"))
        if longest > LINE_MAX:
            holder = await self._session.ready()
            if (await holder.termios()).canonical:
                raise LineTooLong(longest, LINE_MAX)

    def _settle(self, client: str, seq: int, result: Outcome | HoldError) -> None:
        if isinstance(result, Outcome):
            self._inputs.ended(client, seq, result)
        for ref, answer in self._answers.pop((client, seq), []):
            answer(result if isinstance(result, HoldError) else _answered(ref, seq, result))


def _so_far(holder: Holder, waiting: _Waiting) -> Written:
    """Return what the terminal took of an input that is not typed on, from the holder's own record of it."""
    ring, position = holder.ring, waiting.record
    if ring.input_position != position:
        return Written(position, waiting.taken, "partial" if waiting.taken else "refused", "control changed hands")
    written = max(0, ring.input_written - waiting.before)
    outcome = "applied" if written >= len(waiting.ask.data) else "partial" if written else "refused"
    flight = ring.input_flight
    return Written(position, written, "unknown" if flight else outcome, "control changed hands", flight)


def typing(verb: str, ask: wire.Input, operator: str, client: str, attachment: int) -> Act:
    """Return the act that ``ask`` is, for the judge."""
    basis = Basis(ask.basis.input, ask.basis.command) if ask.basis is not None else None
    detail = {"client": client, "seq": ask.seq, "attachment": attachment}
    return Act(verb, operator_of(operator), ask.data, ask.term, basis, detail, operator)


async def _asked(holder: Holder) -> bool:
    try:
        terms = await holder.termios()
    except HoldError:  # the write that follows meets the same, and says it
        return True
    return terms.canonical and not terms.echo


def _without_salt(operator: str) -> str:
    proof = operator.proof if isinstance(operator, Author) else None
    return (
        operator.saying(proof._replace(salt=b"", action=b""))
        if isinstance(operator, Author) and proof is not None
        else operator
    )


def _answered(ref: int, seq: int, outcome: Outcome) -> wire.Typed | HoldError:
    if outcome.outcome == "unknown":
        return InputUnknown(seq)
    return wire.Typed(ref, seq, outcome.outcome, outcome.written, outcome.position)
