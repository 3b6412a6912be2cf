"""Keep talking to a host whatever becomes of it: connect, send what the socket takes, receive, and when it goes away try
again for as long as it takes. Not here: what is said (terminal).
"""

from __future__ import annotations

from os import close
from select import POLLIN, POLLOUT, poll
from time import monotonic

from holdfast.client import heads, lean, where, witnessing
from holdfast.client.dial import Unreachable, dial
from holdfast.client.window import receive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

RECEIVE = 1 << 18  # bytes taken from the socket at once
START_S = 0.3  # seconds without a host before we start one; `hold host restart` is quicker
START_AGAIN_S = 5.0  # seconds before a start that did not help is tried again


class Conversation:
    """One client's side of it, on a poll object that whoever inherits this drives. ``path`` is the host's socket."""

    def __init__(self, path: str, inside: str) -> None:
        self.path, self.inside = path, inside
        self.client = lean.fresh_id()
        self.poll = poll()
        self.socket: socket | None = None
        self.frames = lean.Frames()
        self.received = memoryview(bytearray(RECEIVE))  # one for all: a fresh one costs more than the key it carries
        self.out = bytearray()  # for the host, not yet taken by the socket
        self.ref = 0
        self.ever: bool = False  # the host has let us in at some time
        self.lost_at: float | None = None  # since when no host answers
        self.retry_at = 0.0
        self.starter: Any = None  # the process that starts a host, while it does
        self.started_at = 0.0
        self.compared = 0  # the attachment whose record was compared with what was seen before
        self.asked: heads.Head | None = None  # the head seen before, which the host was asked for
        self.warning = ""  # how the host's record is not the one that was seen before, as a line
        self.descriptors: list[int] = []  # that came with what the host said, and were not claimed yet

    # ---- for whoever inherits this ----

    def _greeted(self) -> None:
        """A connection is there: ask for what is wanted. Asking does not wait for the greeting."""
        raise NotImplementedError

    def _heard(self, message: list[Any]) -> None:
        """The host said ``message``."""
        raise NotImplementedError

    def _parted(self) -> None:
        """The connection is gone."""
        raise NotImplementedError

    def _warn(self, text: str) -> None:
        """The user must know ``text``, now."""
        raise NotImplementedError

    # ---- the conversation ----

    def _compare_once(self, info: dict[str, Any], attachment: int) -> None:
        """Compare the session just attached with what was seen of it before, once its screen is painted."""
        if attachment == self.compared:
            return
        self.compared = attachment
        if (asked := witnessing.met(info)) is not None:
            self.asked = asked
            self.ref += 1
            self.out += lean.witness(self.ref, asked.session, asked.position)
            self._flush()

    def _compare(self, found: str) -> None:
        """Warn of how the host's record is not the one that was seen before, if it is not."""
        if found and not self.warning:
            self.warning = f"hold: {found}\n"
            self._warn(found)

    def begin(self, connection: socket, frames: lean.Frames | None = None) -> None:
        """Attach over ``connection``; ``frames`` if it was greeted already. Asking does not wait for the greeting."""
        self.socket, self.out = connection, bytearray()
        connection.setblocking(False)
        if frames is None:
            self.frames = lean.Frames()
            self.out += lean.hello(self.client, "attach", self.inside)
        else:
            self.frames = frames
        self._greeted()
        self.poll.register(connection.fileno(), POLLIN)
        self._flush()

    def _flush(self) -> None:
        """Give the socket what it takes."""
        if self.socket is None or not self.out:
            return
        try:
            sent = self.socket.send(self.out)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._broken(error.strerror or str(error))
            return
        del self.out[:sent]
        self.poll.modify(self.socket.fileno(), POLLIN | POLLOUT if self.out else POLLIN)

    def _broken(self, why: str) -> None:
        """The host hung up, or said what cannot be understood."""
        if self.socket is not None:
            self.poll.unregister(self.socket.fileno())
            self.socket.close()
            self.socket = None
        for one in self.descriptors:
            close(one)
        self.descriptors.clear()
        self._parted()
        if not self.ever:
            raise Unreachable(self.path, why)
        now = monotonic()
        self.lost_at = self.lost_at if self.lost_at is not None else now
        self.retry_at = now + self._patience(now - self.lost_at)

    @staticmethod
    def _patience(silent: float) -> float:
        """Seconds until the next try: a restart takes 0.2 s, so tries are dense at first."""
        return 0.01 if silent < 1 else 0.05 if silent < 5 else 0.5

    def _reconnect(self, now: float) -> None:
        assert self.lost_at is not None
        silent = now - self.lost_at
        try:
            self.begin(dial(self.path))
        except Unreachable as error:
            self.retry_at = now + self._patience(silent)
            if (
                error.absent
                and not where.elsewhere(self.path)
                and silent >= START_S
                and now - self.started_at > START_AGAIN_S
            ):
                self._start_host(now)

    def _start_host(self, now: float) -> None:
        from holdfast.client.start import has_holders, start_in_background

        self.started_at = now
        if has_holders() and (self.starter is None or self.starter.poll() is not None):
            self.starter = start_in_background()

    def _receive(self) -> None:
        assert self.socket is not None
        try:
            size = receive(self.socket, self.received, self.descriptors)
            if not size:
                self._broken("it hung up")
                return
            for message in self.frames.receive(self.received[:size]):
                self._heard(message)
                if self.socket is None:
                    return
        except BlockingIOError:
            return
        except OSError as error:
            self._broken(error.strerror or str(error))
        except (lean.Garbled, IndexError, TypeError, ValueError) as error:
            self._broken(f"it does not speak this protocol: {error}")
