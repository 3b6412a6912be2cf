"""One session as a host process has it: journal, input lane, attachments. Mirrors ``host/session`` and ``host/input``.

The order of things is theirs: journal first, then the holder; one input at a time; every record announced to everybody
who is attached. Real are ``journal.Chain``, ``Inputs`` and the records; files, views and sizes are left out.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.core.errors import HoldError, InputUnknown, Refused
from holdfast.core.inputs import Inputs, Outcome
from holdfast.core.journal import Chain, Record, decoded, digest
from holdfast.wire import messages as wire
from tests.simulation.terminals import Terminal

if TYPE_CHECKING:
    from tests.simulation.gates import Gate
    from tests.simulation.hosts import Process

CHUNK = 1 << 10
Answer = Callable[[wire.Typed | HoldError], None]


class Waiting(NamedTuple):
    ask: wire.Input
    client: str
    operator: str
    position: int = 0


class Stream:
    """Every byte from an offset on, or a stated gap, and every record: mirrors ``host/attachments.Stream``."""

    def __init__(self, session: "Session", gate: "Gate", ask: wire.Attach) -> None:
        self.session, self.gate = session, gate
        self.number, self.observe = ask.attachment, ask.observe
        head = len(session.terminal.out)
        self.position = head if ask.offset is None else min(max(ask.offset, 0), head)

    def pump(self) -> None:
        terminal, flags = self.session.terminal, self.session.process.world.flags
        while self.position < len(terminal.out):
            room = self.gate.remote.room()
            if room <= 0:
                return
            if (start := terminal.start) > self.position:
                if "gap not stated" not in flags:
                    self.gate.send(wire.Gap(self.number, self.position, start, "evicted"))
                self.position = start
            data = bytes(terminal.out[self.position : self.position + min(CHUNK, room)])
            self.gate.send(wire.Output(self.number, self.position, data))
            self.position += len(data)


class Session:
    def __init__(self, process: "Process", terminal: Terminal, stored: list[bytes]) -> None:
        self.process, self.terminal, self.id = process, terminal, terminal.session
        self._stored = stored
        self.inputs = Inputs()
        self.attachments: dict[int, Stream] = {}
        self._serials = 0
        self._waiting: deque[Waiting] = deque()
        self._answers: dict[tuple[str, int], list[tuple[int, Answer]]] = {}
        self.typing: Waiting | None = None
        records = [decoded(each) for each in stored]
        kept = stored[:-1] if "position reused" in process.world.flags else stored
        self.chain = Chain(position=len(kept), head=digest(kept[-1])) if kept else Chain()
        for each in records:
            self.inputs.learn(each)
            if each.kind == "signal" and "signed seq per process" not in process.world.flags:
                process.remember(each.key, each.body["client"], each.body["seq"])
        header = terminal.watched_by(process.generation, self._woken)
        for outcome in self.inputs.resolve(header.position, header.written, in_flight=header.in_flight):
            body = {"of": outcome.position, "outcome": outcome.outcome, "written": outcome.written}
            self.record("typed", "host", body)

    # ---- the journal ----

    def record(self, kind: str, operator: str, body: dict[str, Any]) -> Record:
        machine = self.process.machine
        sealed = self.chain.seal(
            kind, operator, body, at_ns=int(machine.unix * 1e9), generation=self.process.generation
        )
        self._stored.append(sealed.data)
        self.chain.accept(sealed)
        record = sealed.record
        if kind in ("input", "signal"):
            place = (self.process.number, self.id, record.position)
            self.process.world.ledger.typed_at[place] = (self.process.world.scheduler.now, machine.unix)
        for each in list(self.attachments.values()):
            each.gate.send(
                wire.Event(each.number, kind, record.position, record.at_ns / 1e9, record.operator, dict(record.body))
            )
        return record

    # ---- attachments ----

    def attach(self, ask: wire.Attach, gate: "Gate") -> Stream:
        stream = Stream(self, gate, ask)
        self._serials += 1
        self.record("attach", gate.operator, {"attachment": self._serials, "observe": ask.observe})
        self.attachments[self._serials] = stream
        head = len(self.terminal.out)
        gate.send(wire.Attached(ask.ref, ask.attachment, self.info(), stream.position, self._serials, False))
        gate.process.world.scheduler.say(gate.process.name, "attached", gate.client, "at", stream.position, "of", head)
        stream.pump()
        return stream

    def leave(self, stream: Stream, cause: str) -> None:
        for serial, each in list(self.attachments.items()):
            if each is stream:
                del self.attachments[serial]
                self.record("detach", stream.gate.operator, {"attachment": serial, "cause": cause})

    def info(self) -> wire.SessionInfo:
        return wire.SessionInfo(
            id=self.id, name=self.id[:6], host="h", state="running", incarnation=1, argv=("counter",), cwd="/",
            created_at=0.0, size=wire.Size(24, 80), root_pid=1, root_started=1, holder_pid=1,
            output_end=len(self.terminal.out), output_start=self.terminal.start,
            journal_position=self.chain.position, idle_s=0.0, attached=len(self.attachments),
        )  # fmt: skip

    def _woken(self) -> None:
        if self.process.alive:
            for each in list(self.attachments.values()):
                each.pump()

    # ---- input: one at a time, journal first, then the holder ----

    def submit(self, ask: wire.Input, *, client: str, operator: str, answer: Answer) -> None:
        key = (client, ask.seq)
        if key in self._answers:
            self._answers[key].append((ask.ref, answer))
            return
        known = self.inputs.seen(client, ask.seq)
        if known is not None:
            answer(_answered(ask.ref, ask.seq, known))
            return
        self._answers[key] = [(ask.ref, answer)]
        self._waiting.append(Waiting(ask, client, operator))
        self._next()

    def drop(self, client: str) -> None:
        """What ``client`` submitted and is not being typed is answered as not typed."""
        for each in [each for each in self._waiting if each.client == client]:
            self._waiting.remove(each)
            self._settle(each, Refused("the right to type was taken back; this was not typed"))

    def _next(self) -> None:
        if self.typing is not None or not self._waiting:
            return
        waiting = self._waiting.popleft()
        self.process.world.typing(self.process.number)
        if "written before journaled" in self.process.world.flags:
            position = self.chain.position + 1
            self.typing = waiting._replace(position=position)
            self.process.world.scheduler.after(0.0002, self._write)
            self.process.after(0.004, self._journal, waiting)
            return
        self.typing = waiting._replace(position=self._journal(waiting))
        self.process.world.scheduler.after(0.0002, self._write)

    def _journal(self, waiting: Waiting) -> int:
        body = {"client": waiting.client, "seq": waiting.ask.seq, "data": waiting.ask.data}
        position = self.record("input", waiting.operator, body).position
        self.inputs.begun(waiting.client, waiting.ask.seq, position, size=len(waiting.ask.data))
        return position

    def _write(self) -> None:
        """What was handed to the holder arrives there also when the host is no more."""
        waiting = self.typing
        if waiting is None:
            return
        written = self.terminal.write(self.process.generation, waiting.position, waiting.ask.data)
        self.process.after(0.0002, self._written, waiting, written)

    def _written(self, waiting: Waiting, written: int | None) -> None:
        if self.typing != waiting:
            return
        if written is None:  # fenced: a later host has the terminal
            return
        if written < len(waiting.ask.data):
            self.process.world.scheduler.after(0.003, self._write)
            return
        self.typing = None
        self._settle(waiting, Outcome("applied", written, waiting.position))
        self._next()

    def _settle(self, waiting: Waiting, result: Outcome | HoldError) -> None:
        client, seq = waiting.client, waiting.ask.seq
        if isinstance(result, Outcome):
            self.inputs.ended(client, seq, result)
        for ref, answer in self._answers.pop((client, seq), []):
            answer(result if isinstance(result, HoldError) else _answered(ref, seq, result))


def _answered(ref: int, seq: int, outcome: Outcome) -> wire.Typed | HoldError:
    if outcome.outcome == "unknown":
        return InputUnknown(seq)
    return wire.Typed(ref, seq, outcome.outcome, outcome.written, outcome.position)
