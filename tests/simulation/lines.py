"""One end's conversation with a relay, from dialling to the end: mirrors ``edge/relayline.RelayLine``.

Not here: when to dial (hosts, clients, by ``wire.pace``), what routes carry (``wire.introduction``).
"""

from collections.abc import Callable
from typing import Any

from holdfast.core.errors import BadMessage, HoldError, HostUnreachable, revived
from holdfast.core.signed import Signer
from holdfast.wire import relay as wire
from holdfast.wire.messages import Failed, Message, Ping, Pong
from tests.simulation.network import End, Machine, Network

OPEN_S = 10.0


class Unreachable(HostUnreachable):
    code = "relay-unreachable"

    def __init__(self, why: str) -> None:
        HoldError.__init__(self, why)


class Line:
    """A connection to ``relay``. ``up`` is called when it was admitted, ``down`` once with what went wrong, if it did."""

    def __init__(
        self, network: Network, machine: Machine, relay: str, role: wire.Role, *, chain: tuple[bytes, ...],
        signer: Signer, up: Callable[["Line"], object], heard: Callable[["Line", Any], object],
        down: Callable[["Line", HoldError], object],
    ) -> None:  # fmt: skip
        self.relay, self._role, self._chain, self._signer = relay, role, chain, signer
        self._up, self._heard, self._down = up, heard, down
        self._end: End | None = None
        self._challenged = self.admitted = self.over = False
        self._early: list[Any] = []
        self._scheduler = network.scheduler
        self._patience = self._scheduler.after(OPEN_S, self._late)
        network.dial(machine, relay, self._answered)

    # ---- what its user calls ----

    def say(self, message: Message) -> None:
        if self._end is not None:
            self._end.send(wire.control(message))

    def carry(self, route: int, payload: bytes) -> None:
        if self._end is not None:
            self._end.send(wire.routed(route, payload))

    def close(self) -> None:
        """Hang up without another word of it."""
        self.over = True
        self._patience.cancel()
        if self._end is not None:
            self._end.close()

    # ---- what happens ----

    def _answered(self, end: End | None) -> None:
        if self.over:
            if end is not None:
                end.close()
        elif end is None:
            self._fail(Unreachable("nobody answers"))
        else:
            self._end = end
            end.heard, end.ended = self._frame, lambda: self._fail(Unreachable("the connection ended"))

    def _late(self) -> None:
        if not self.admitted:
            self._fail(Unreachable("it does not answer"))

    def _fail(self, error: HoldError) -> None:
        if not self.over:
            self.close()
            self._down(self, error)

    def _frame(self, frame: bytes) -> None:
        if self.over:
            return
        try:
            said = wire.said_by_relay(frame)
            if self.admitted:
                if isinstance(said, Ping):
                    self.say(Pong(said.mark))
                else:
                    self._heard(self, said)
            elif not self._challenged:
                self._answer(said)
            else:
                self._await(said)
        except BadMessage as error:
            self._fail(error)

    def _answer(self, said: Any) -> None:
        if not isinstance(said, wire.Challenge) or wire.PROTOCOL not in said.versions:
            raise BadMessage("what answers there is no relay")
        self._challenged = True
        signature = self._signer.sign(wire.admission_bytes(said.nonce, self._role, self.relay))
        self.say(wire.Admit(wire.PROTOCOL, self._role, self.relay, self._chain, signature, int(self._signer.form)))

    def _await(self, said: Any) -> None:
        if isinstance(said, wire.Admitted):
            self.admitted = True
            self._patience.cancel()
            self._up(self)
            for each in self._early:
                self._heard(self, each)
        elif isinstance(said, Failed):
            self._fail(revived(said.code, said.message, said.do, said.details))
        else:
            self._early.append(said)
