"""One conversation with a host without msgspec or asyncio: greet, ask, answer. For paths that start in milliseconds.

Not here: how a socket is reached (dial), how messages are cut and coded (lean), the attach loop (terminal).
"""

from __future__ import annotations

from holdfast.client import lean
from holdfast.client.dial import Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

RECEIVE = 1 << 18  # bytes taken from the socket at once
ANSWER_S = 30.0  # for one answer; creating a session under load takes 1


class Refusal(Exception):
    """A ``Failed`` of the host: ``code``, ``message``, ``do``, ``details`` as in core.errors."""

    def __init__(self, code: str, message: str, do: str, details: dict[str, Any]) -> None:
        super().__init__(message)
        self.code, self.message, self.do, self.details = code, message, do, details


def refusal(message: list[Any]) -> Refusal:
    """Return the Refusal a ``failed`` message is."""
    _, _, code, text, do, details = [*message, "", "", "", {}][:6]
    return Refusal(str(code), str(text), str(do), details if isinstance(details, dict) else {})


class Line:
    """A greeted connection. ``client`` names this program to the host for idempotency (I5)."""

    def __init__(self, socket: socket, client: str, face: str, inside: str = "") -> None:
        """Greet the host. Raises Refusal, Garbled, or Unreachable when it hangs up."""
        self.socket, self.frames, self.client = socket, lean.Frames(), client
        self.ref = 0
        self.early: list[list[Any]] = []  # messages that arrived before the answer waited for
        socket.settimeout(ANSWER_S)
        socket.sendall(lean.hello(client, face, inside))
        self.welcome = self._next("welcome", None)

    def next_ref(self) -> int:
        self.ref += 1
        return self.ref

    def ask(self, tag: str, request: bytearray, ref: int) -> list[Any]:
        """Send ``request`` numbered ``ref`` and return its answer, which is to be a ``tag``.

        Raises Refusal if it is ``failed``, Unreachable if the host hangs up or is silent for ``ANSWER_S``.
        """
        self.socket.sendall(request)
        return self._next(tag, ref)

    def _next(self, tag: str, ref: int | None) -> list[Any]:
        while True:
            try:
                data = self.socket.recv(RECEIVE)
            except TimeoutError:
                raise Unreachable("its socket", f"silent for {ANSWER_S:.0f} s") from None
            except OSError as error:
                raise Unreachable("its socket", error.strerror or str(error)) from None
            if not data:
                raise Unreachable("its socket", "it hung up")
            found = None
            for message in self.frames.receive(data):
                if found is None and message[0] == "failed" and message[1] in (0, ref):
                    raise refusal(message)
                if found is None and message[0] == tag and (ref is None or message[1] == ref):
                    found = message
                elif message[0] == "ping":
                    self.socket.sendall(lean.pong(message[1]))
                else:
                    self.early.append(message)
            if found is not None:
                return found
