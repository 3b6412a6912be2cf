"""Decide whether an input was begun before: each (client, seq) reaches the terminal at most once (I5).

Not here: the typing itself (host.input), the order of records (core.journal).

The index remembers for each client the highest ``seq`` that was begun, and outcomes of the latest ones. What it has no
outcome for but was, or may have been, begun is answered ``unknown``; the answer is never to type again.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from holdfast.core.journal import Kind, Record
from holdfast.core.withheld import is_withheld

CLIENTS_MAX: Final = 4096  # whose highest seq is remembered
CLIENTS_RECENT_MAX: Final = 64  # whose outcomes are remembered
OUTCOMES_MAX: Final = 256  # per client
_CARRIED_OUTCOMES: Final = 16  # per client, at the head of a journal segment
_STRETCHES_MAX: Final = 256  # positions of withheld input whose outcomes are not carried


class Outcome(NamedTuple):
    """``outcome``: applied, partial, refused or unknown; ``written`` bytes reached the terminal; at ``position``."""

    outcome: str
    written: int
    position: int


class Pending(NamedTuple):
    """An input that was journalled and whose outcome is not known."""

    position: int
    client: str
    seq: int
    size: int
    generation: int


class Reserved(NamedTuple):
    """Numbers up to ``through`` of a client may have been used under the record at ``position``, says that host."""

    position: int
    through: int
    generation: int


class Inputs:
    """The index of one session. Bounded: 4,096 clients (I11); forgetting one never makes its inputs look new to
    ``seen`` if the caller gives ``since``."""

    def __init__(
        self,
        *,
        clients_max: int = CLIENTS_MAX,
        recent_max: int = CLIENTS_RECENT_MAX,
        outcomes_max: int = OUTCOMES_MAX,
    ) -> None:
        self._clients_max, self._recent_max, self._outcomes_max = clients_max, recent_max, outcomes_max
        self._tops: OrderedDict[str, tuple[int, int]] = OrderedDict()  # client -> highest seq begun, its position
        self._recent: OrderedDict[str, OrderedDict[int, Outcome]] = OrderedDict()
        self._pending: OrderedDict[int, Pending] = OrderedDict()  # by position
        self._reserved: dict[
            str, Reserved
        ] = {}  # by client: of the newest withheld input, until something is typed openly
        self._withheld: OrderedDict[int, None] = OrderedDict()  # positions of such records
        self.complete_from = 0  # clients whose last input is at or before this position may be forgotten

    @property
    def pending(self) -> tuple[Pending, ...]:
        """Inputs without an outcome, oldest first."""
        return tuple(self._pending.values())

    def seen(self, client: str, seq: int, *, since: int | None = None, generation: int | None = None) -> Outcome | None:
        """Return what became of (client, seq), or None if it was never begun and may be typed now.

        An input under way, or begun in an earlier life of the host without a recorded outcome, is ``unknown``. A
        ``seq`` below the client's highest is never new: seqs rise. ``since`` is a journal position that the client had
        seen when it first sent this input; with it the promise holds even for a client that was forgotten, without it
        for the latest 4,096 clients.

        Withheld input reserves numbers (core.withheld). The host of ``generation`` that reserved them knows which it used;
        to any other all of them are ``unknown``.
        """
        known = self._tops.get(client)
        if known is None:
            forgotten = since is not None and since < self.complete_from
            return Outcome("unknown", 0, 0) if forgotten else None
        if seq > known[0]:
            reserved = self._reserved.get(client)
            if reserved is not None and seq <= reserved.through and reserved.generation != generation:
                return Outcome("unknown", 0, reserved.position)
            return None
        recent = self._recent.get(client)
        return (recent.get(seq) if recent else None) or Outcome("unknown", 0, 0)

    def begun(self, client: str, seq: int, position: int, *, size: int = 0, generation: int = 0) -> None:
        """Note that (client, seq) is in the journal at ``position`` and its typing begins. Twice is harmless."""
        known = self._tops.get(client)
        if known is not None and seq <= known[0]:
            return
        self._tops[client] = (seq, position)
        self._tops.move_to_end(client)
        while len(self._tops) > self._clients_max:
            gone, (_, last) = self._tops.popitem(last=False)
            self._recent.pop(gone, None)
            self._reserved.pop(gone, None)
            self.complete_from = max(self.complete_from, last)
        self._pending[position] = Pending(position, client, seq, size, generation)
        while len(self._pending) > self._clients_max:  # hosts that died without one of them being resolved
            self._pending.popitem(last=False)
        self._keep(client, seq, Outcome("unknown", 0, position))

    def merged(self, client: str, seq: int, position: int) -> None:
        """Note that the typing of (client, seq) begins under the withheld record at ``position``, which stands already."""
        if seq > self._tops.get(client, (0, 0))[0]:
            self._tops[client] = (seq, position)
            self._keep(client, seq, Outcome("unknown", 0, position))

    def ended(self, client: str, seq: int, outcome: Outcome) -> None:
        """Note the outcome of an input that was begun; one that was not, or is forgotten, is left alone."""
        pending = self._pending.get(outcome.position)
        if pending is not None and (pending.client, pending.seq) == (client, seq):
            del self._pending[outcome.position]
        known = self._tops.get(client)
        if known is not None and seq <= known[0]:
            self._keep(client, seq, outcome)

    def learn(self, record: Record) -> None:
        """Take from a journal record what it says about inputs; a record that says nothing is ignored.

        A host types one input at a time and records every outcome but ``applied``. So an input that is followed by
        another one of the same host generation was applied, unless a ``typed`` record says otherwise.
        """
        if record.kind == Kind.INPUT:
            for earlier in self.pending:
                if earlier.position < record.position and earlier.generation == record.generation:
                    self.ended(earlier.client, earlier.seq, Outcome("applied", earlier.size, earlier.position))
            body = record.body
            client, seq, data = body.get("client"), body.get("seq"), body.get("data", b"")
            if isinstance(client, str) and isinstance(seq, int):
                size = len(data) if isinstance(data, bytes) else 0
                self.begun(client, seq, record.position, size=size, generation=record.generation)
                self._reserve(client, record)
        elif record.kind == Kind.TYPED:
            self._settle(record.body)
        elif record.kind == Kind.CARRIED:
            try:
                self._restore(record.body)
            except (TypeError, ValueError, IndexError):  # of no version we know: so we know nothing before it
                self.complete_from = max(self.complete_from, record.position)

    def resolve(self, input_position: int, input_written: int, *, in_flight: int = 0) -> list[Outcome]:
        """Settle what earlier hosts left without outcome, from the holder's header; the holder fences those hosts off.

        ``input_position`` is the last input the holder began, ``input_written`` how much of it the terminal took for
        certain, ``in_flight`` how much more it may have taken when a holder died under it: that is ``unknown``.
        Returns outcomes other than ``applied``: the caller journals them as ``typed``. Call it before typing anything.
        """
        told: list[Outcome] = []
        for left in self.pending:
            reserved = self._reserved.get(left.client)
            withheld = reserved is not None and reserved.position == left.position
            if left.position < input_position:  # the holder began a later one only after this one was done
                outcome = Outcome("applied", left.size, left.position)
            elif left.position > input_position:  # it never arrived there, and now never will
                outcome = Outcome("refused", 0, left.position)
                if withheld:
                    del self._reserved[left.client]
            elif withheld:  # how many of its inputs the holder's bytes are, was written down nowhere, on purpose
                outcome = Outcome("unknown", 0, left.position)
            elif in_flight:
                outcome = Outcome("unknown", input_written, left.position)
            elif input_written >= left.size:
                outcome = Outcome("applied", left.size, left.position)
            else:
                outcome = Outcome("partial", input_written, left.position)
            self.ended(left.client, left.seq, outcome)
            if outcome.outcome != "applied":
                told.append(outcome)
        return told

    def carried(self) -> dict[str, Any]:
        """Return the body of a ``carried`` record: with it a journal segment says all there is to know without the
        segments before it."""
        return {
            "complete_from": self.complete_from,
            "clients": [
                [client, max(top, self._reserved[client].through if client in self._reserved else 0), position]
                for client, (top, position) in self._tops.items()
            ],
            "outcomes": [
                [client, seq, *self._recent[client][seq]]
                for client in self._recent
                for seq in list(self._recent[client])[-_CARRIED_OUTCOMES:]
                if self._recent[client][seq].position not in self._withheld
            ],
            "pending": [list(each) for each in self._pending.values()],
        }

    def _reserve(self, client: str, record: Record) -> None:
        through = record.body.get("through")
        if not is_withheld(record.body) or not isinstance(through, int):
            self._reserved.pop(client, None)  # what it typed before is settled: one input at a time
            return
        self._reserved[client] = Reserved(record.position, through, record.generation)
        self._withheld[record.position] = None
        while len(self._withheld) > _STRETCHES_MAX:
            self._withheld.popitem(last=False)

    def _settle(self, body: Mapping[str, Any]) -> None:
        of, outcome, written = body.get("of"), body.get("outcome"), body.get("written", 0)
        pending = self._pending.get(of) if isinstance(of, int) else None
        if pending is not None and isinstance(outcome, str) and isinstance(written, int):
            self.ended(pending.client, pending.seq, Outcome(outcome, written, pending.position))

    def _restore(self, body: Mapping[str, Any]) -> None:
        self.complete_from = max(self.complete_from, int(body.get("complete_from", 0)))
        pending = {int(each[0]): Pending(*each) for each in body.get("pending", ())}
        for client, top, position in body.get("clients", ()):
            if client not in self._tops:
                self.begun(client, top, position)
                self._pending.pop(position, None)
        for client, seq, outcome, written, position in body.get("outcomes", ()):
            self.ended(client, seq, Outcome(outcome, written, position))
        for position, left in pending.items():
            self._pending.setdefault(position, left)

    def _keep(self, client: str, seq: int, outcome: Outcome) -> None:
        recent = self._recent.setdefault(client, OrderedDict())
        self._recent.move_to_end(client)
        recent[seq] = outcome
        while len(recent) > self._outcomes_max:
            recent.popitem(last=False)
        while len(self._recent) > self._recent_max:
            self._recent.popitem(last=False)
