"""Check, away from the host, that what was done on approval is what was proposed, and that it was approved.

Fed with the records of an export in order. Not here: signatures and the chain (evidence), deciding (proposals). Source:
docs/journal.md, docs/gate.md.
"""

from collections.abc import Mapping
from typing import Any, Final

from holdfast.core.journal import Kind, Record
from holdfast.core.proposals import Deed, Ground, digest_of
from holdfast.core.withheld import is_withheld

DONE: Final = frozenset((Kind.INPUT, Kind.SIGNAL, Kind.RESIZE))


class Approvals:
    """What was proposed and decided so far in ``session``. ``first``: position of the first record of the export."""

    def __init__(self, session: str) -> None:
        self._session, self.first = session, 0
        self._proposed: dict[int, Record] = {}
        self._approved: dict[int, bytes] = {}
        self._done: set[int] = set()

    def saw(self, record: Record) -> None:
        """Take note of a record."""
        self.first = self.first or record.position
        body = record.body
        if record.kind == Kind.PROPOSAL:
            self._proposed[record.position] = record
        elif record.kind == Kind.DECISION and body.get("verdict") == "approve":
            number, digest = body.get("proposal"), body.get("digest")
            if isinstance(number, int) and isinstance(digest, bytes):
                self._approved[number] = digest

    def answers(self, record: Record) -> bool:
        """Whether ``record`` says that it was done on approval: then that vouches for it, not a signature of its own."""
        return record.kind in DONE and isinstance(record.body.get("proposal"), int)

    def objection(self, record: Record) -> str | None:
        """Return why ``record`` is not what was proposed and approved; None if it is, or its proposal was rotated away."""
        number = int(record.body["proposal"])
        proposal = self._proposed.get(number)
        if number in self._done:
            return f"proposal {number} was done before"
        self._done.add(number)
        if proposal is None:
            return None if number < self.first else f"there is no proposal {number}"
        if record.operator.partition("/")[0] != proposal.operator.partition("/")[0]:
            return f"proposal {number} is another operator's"
        if self._approved.get(number) != self._digest(proposal):
            return f"proposal {number} was not approved as it stands here"
        return None if _same(record, proposal.body) else f"it is not what proposal {number} says"

    def _digest(self, proposal: Record) -> bytes | None:
        """Return the digest of what a record of a proposal says, whatever it says of that itself."""
        try:
            verb, data, number, tree, size = proposal.body["deed"]
            deed = Deed(verb, data, number, tree, (int(size[0]), int(size[1])))
            ground = Ground(*map(int, proposal.body["ground"]))
        except (KeyError, TypeError, ValueError, IndexError):
            return None
        return digest_of(self._session, proposal.operator.partition("/")[0], deed, ground)


def _same(record: Record, proposal: Mapping[str, Any]) -> bool:
    body, deed = record.body, proposal.get("deed")
    if not isinstance(deed, list) or len(deed) < 5:
        return False
    if record.kind == Kind.INPUT:
        return deed[0] in ("input", "run") and (is_withheld(body) or body.get("data") in (deed[1], deed[1] + b"\r"))
    if record.kind == Kind.SIGNAL:
        return deed[0] == "signal" and [body.get("signal"), body.get("tree")] == deed[2:4]
    return deed[0] == "resize" and [body.get("rows"), body.get("cols")] == list(deed[4])


def signed_as(record: Record, verb: str, fields: list[Any]) -> bool | None:
    """Tell whether a proposal or decision says what was signed as ``verb`` with these fields; None: no such record."""
    body = record.body
    if record.kind == Kind.DECISION:
        if verb == "decide":
            return fields[:3] == [body.get("proposal"), body.get("digest"), body.get("verdict")]
        return fields[:1] == [body.get("proposal")] and body.get("verdict") == "withdraw"
    if record.kind != Kind.PROPOSAL:
        return None
    deed = body["deed"]
    match verb:
        case "input":
            return bool(fields[:1] == [deed[1]])
        case "propose":
            return bool(fields[1:5] == deed[:4])
        case "signal":
            return bool(fields[:2] == deed[2:4])
        case "resize":
            return bool(list(fields[0]) == list(deed[4]))
    return True
