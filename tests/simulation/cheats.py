"""A client program that breaks the rules its operator's key lets it near: each of its tricks must be refused."""

from typing import Any

import msgspec

from holdfast.wire import messages as wire
from holdfast.wire.link import CONTROL, INPUT
from tests.simulation.clients import Program
from tests.simulation.people import SESSIONS


class Cheat(Program):
    """Proven like any other; what it signs is not always what it sends."""

    _kept: wire.Signed | None = None

    def _begin(self) -> None:
        super()._begin()
        if self._kept is not None:
            self._say(self._kept, CONTROL)  # perhaps the host forgot with the link what it carried out

    def cheat(self) -> None:
        self._repeated()
        tricks = (self._unsigned, self._altered, self._elsewhere, self._for_another, self._resent)
        self.world.scheduler.random.choice(tricks)()
        self._flush()

    def _input(self) -> wire.Input:
        seq = next(self._seqs)
        return wire.Input(next(self._refs), self.session, seq, b"cheat %d;" % seq)

    def _unsigned(self) -> None:
        self._say(self._input(), INPUT)

    def _altered(self) -> None:
        message = self._input()
        said = self.signed(message, message.seq)
        at = self.world.scheduler.random.randrange(64)
        wrong = bytes(byte ^ (1 if n == at else 0) for n, byte in enumerate(said.signature))
        self._say(msgspec.structs.replace(said, signature=wrong), INPUT)

    def _elsewhere(self) -> None:
        """Signed for one session, sent about another."""
        message = self._input()
        other = next(each for each in SESSIONS if each != self.session)
        said = self.signed(msgspec.structs.replace(message, session=other), message.seq)
        action: Any = msgspec.msgpack.encode(message)
        self._say(msgspec.structs.replace(said, session=self.session, action=action), INPUT)

    def _for_another(self) -> None:
        """Signed as if another client had said it."""
        message = self._input()
        self._say(self.signed(message, message.seq, client="c-somebody"), INPUT)

    def _resent(self) -> None:
        """An input's signature under the number of another input."""
        message = self._input()
        said = self.signed(message, message.seq)
        later = msgspec.structs.replace(message, seq=next(self._seqs))
        self._say(msgspec.structs.replace(said, seq=later.seq, action=msgspec.msgpack.encode(later)), INPUT)

    def _repeated(self) -> None:
        """A signal's signature a second time."""
        if self._kept is None:
            self._kept = self.signed(wire.Signal(next(self._refs), self.session, 10), 0)
        self._say(self._kept, CONTROL)
