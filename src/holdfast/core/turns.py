"""Write changes of control down for the journal, and read them back. Pure. Not here: what they mean (control)."""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from holdfast.core.control import HISTORY, NOBODY, Bar, Change, How, Operator, Role
from holdfast.core.journal import Kind, Record

VEILS_MAX: Final = 256  # stretches remembered apart


def body_of(change: Change) -> dict[str, Any]:
    """Return what the journal keeps of ``change``: enough for ``change_of``."""
    body = {"act": change.how.value, "term": change.term, "state": change.state.value, "by": change.by.id,
            "by_kind": change.by.kind, "holder": change.holder.id, "kind": change.holder.kind,
            "for": change.holder.principal, "former": change.former.id, "former_kind": change.former.kind,
            "bar": change.bar.value, "paused_by": change.paused_by, "private_by": change.private_by}  # fmt: skip
    return body | ({"why": change.why} if change.why else {}) | ({"job": change.job} if change.job != "leave" else {})


def change_of(body: Mapping[str, Any]) -> Change | None:
    """Return the change that ``body_of`` wrote down; None for a record that changed nothing (request, cut)."""
    try:
        how, text = How(body["act"]), {key: str(body.get(key, "")) for key in body}
        by = Operator(text["by"], text["by_kind"])
        holder = Operator(text["holder"], text["kind"], Role.OPERATE, text["for"]) if text["holder"] else NOBODY
        former = Operator(text["former"], text["former_kind"]) if text["former"] else NOBODY
        paused, private = text["paused_by"], text["private_by"]
        return Change(
            int(body["term"]), how, by, holder, former, Bar(text["bar"]), paused_by=paused, private_by=private
        )
    except (KeyError, ValueError, TypeError):
        return None


class Told(NamedTuple):
    """A change as the journal has it."""

    change: Change
    position: int
    at_ns: int


class Turns:
    """What a journal says of control: the latest changes, and the latest inputs of two operators. Follows every record."""

    def __init__(self) -> None:
        self.changes: deque[Told] = deque(maxlen=HISTORY)
        self.inputs: list[tuple[str, int]] = []  # author, position; at most two, the latest last
        self.private: list[tuple[int, int | None]] = []  # stretches of output while nobody but people saw it
        self._latest: list[Any] = []  # the latest change, as it is carried over

    def learn(self, record: Record) -> None:
        """Take from ``record`` what it says; a record that says nothing is ignored."""
        if record.kind == Kind.INPUT:
            self._typed(record.operator.partition("/")[0], record.position)
        elif record.kind == Kind.CONTROL:
            self._changed(record.body, record.position, record.at_ns)
        elif record.kind == Kind.CARRIED and isinstance(told := record.body.get("control"), Mapping):
            for author, position in told.get("inputs", ()):
                self._typed(str(author), int(position))
            self.private = [(int(start), end) for start, end in told.get("private", ())]
            if not self.changes and len(change := told.get("change", ())) == 3:
                self._changed(*change)

    def carried(self) -> dict[str, Any]:
        """Return what a ``carried`` record says of control; empty: nothing happened."""
        found = {"change": self._latest, "inputs": [list(each) for each in self.inputs],
                 "private": [list(each) for each in self.private]}  # fmt: skip
        return {name: value for name, value in found.items() if value}

    def _typed(self, author: str, position: int) -> None:
        others = [each for each in self.inputs if each[0] != author]
        self.inputs = [*others[-1:], (author, position)]

    def _changed(self, body: Mapping[str, Any], position: int, at_ns: int) -> None:
        if (change := change_of(body)) is None:
            return
        self._veil(change.how, body.get("offset"))
        self.changes.append(Told(change, position, at_ns))
        self._latest = [body_of(change), position, at_ns]

    def _veil(self, how: How, offset: object) -> None:
        if not isinstance(offset, int):
            return
        if how is How.PRIVATE:
            self.private.append((offset, None))
        elif how is How.PUBLIC and self.private:
            self.private[-1] = (self.private[-1][0], offset)
        if len(self.private) > VEILS_MAX:  # what lies between is hidden too: rather too much than too little
            self.private[:2] = [(self.private[0][0], self.private[1][1])]
