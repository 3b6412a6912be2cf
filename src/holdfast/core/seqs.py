"""Remember which numbers of signed actions were used in a session: each is carried out once, whatever is sent again (I7).

Not here: inputs, which have outcomes to answer a repetition with (core.inputs), and the signature (wire.signing).
"""

from collections import OrderedDict
from typing import Final, NamedTuple

from holdfast.core.journal import Record

SIGNERS_MAX: Final = 4096  # pairs of operator and client whose highest number is remembered
_DOMAIN: Final = b"holdfast/action/1\0"
_INPUT: Final = "input"


class Stated(NamedTuple):
    """What a statement says of itself (docs/channel.md, "Signed actions")."""

    session: str
    client: str
    verb: str
    seq: int


def stated(statement: bytes) -> Stated:
    """Return what ``statement`` says; raises ValueError if it is none."""
    if not statement.startswith(_DOMAIN):
        raise ValueError("no statement of an action")
    texts, at = [], len(_DOMAIN)
    for _ in range(3):
        size = statement[at] if at < len(statement) else len(statement)
        texts.append(statement[at + 1 : at + 1 + size].decode())
        at += 1 + size
    if len(statement) != at + 3 * 8 + 32:
        raise ValueError("a statement of another length")
    return Stated(texts[0], texts[1], texts[2], int.from_bytes(statement[at + 16 : at + 24], "big"))


class Seqs:
    """The highest number of each (operator, client) of one session. Bounded: the longest unused is forgotten."""

    def __init__(self) -> None:
        self._tops: OrderedDict[tuple[bytes, str], int] = OrderedDict()

    def fresh(self, key: bytes, client: str, seq: int) -> bool:
        """Tell whether ``seq`` is above every one this client of this operator used here."""
        return seq > self._tops.get((key, client), 0)

    def used(self, key: bytes, client: str, seq: int) -> None:
        """Note that ``seq`` was used."""
        self._tops[key, client] = max(seq, self._tops.get((key, client), 0))
        self._tops.move_to_end((key, client))
        while len(self._tops) > SIGNERS_MAX:
            self._tops.popitem(last=False)

    def learn(self, record: Record) -> None:
        """Note what a record of the journal says was used."""
        if not record.statement:
            return
        try:
            found = stated(record.statement)
        except (ValueError, UnicodeDecodeError):
            return  # of a version that is not known here
        if found.verb != _INPUT:
            self.used(record.key, found.client, found.seq)
