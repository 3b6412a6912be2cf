"""Let no client that is a program keep everybody else waiting: so much of it is done in one turn of the loop, the rest later.

A person's key, or their taking over, then waits for some milliseconds of an AI's flood at most, never for all of it (R61).
Not here: how fast an operator may act at all (core.control).
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from holdfast.core.errors import BadMessage
from holdfast.wire import messages as wire

TURN_S: Final = 0.002  # of one client in one turn of the loop; an action that is signed takes a fifth of a millisecond
HUSH_S: Final = 0.1  # that programs wait for a takeover; it takes a few milliseconds
LATER_MAX: Final = 4096  # messages that wait: a carrier that cannot be paused is done at once beyond that


class Hush:
    """While it is held, nothing of programs is done: a person is taking over, in whatever session. For ``HUSH_S`` at most,
    since a takeover may have to wait for a holder that hangs."""

    _held = 0
    _until = 0.0

    def __enter__(self) -> None:
        Hush._held += 1
        Hush._until = time.monotonic() + HUSH_S

    def __exit__(self, *args: object) -> None:
        Hush._held -= 1

    @classmethod
    def on(cls) -> bool:
        """Whether programs have to wait."""
        return cls._held > 0 and time.monotonic() < cls._until


def _nothing(said: object) -> None:
    pass


class Fair:
    """One client's messages, in order. ``pause`` is called with True when no more should come, with False when it may."""

    def __init__(
        self, do: Callable[[wire.ToHost], None], broken: Callable[[BadMessage], None], pause: Callable[[bool], None]
    ) -> None:
        self._do, self._broken, self._pause = do, broken, pause
        self._later: deque[wire.ToHost] = deque()
        self._began: float | None = None  # of this turn's first message
        self._loop = asyncio.get_running_loop()

    def hear(self, message: wire.ToHost) -> None:
        """Do ``message`` now or in a later turn. Raises BadMessage if now."""
        if not self._later:
            now = self._loop.time()
            if self._began is None:
                self._began = now
                self._loop.call_soon(self._turn)
            if now - self._began < TURN_S and not Hush.on():
                self._do(message)
                return
            self._pause(True)
        elif len(self._later) >= LATER_MAX:
            self._do(self._later.popleft())
        self._later.append(message)

    def close(self) -> None:
        """The client is gone, and what it said last with it."""
        self._later.clear()
        self._do = self._broken = self._pause = _nothing  # which lets go of the client

    def _turn(self) -> None:
        self._began = None
        if not self._later:
            return
        if Hush.on():
            self._loop.call_later(TURN_S, self._turn)
            return
        self._began = began = self._loop.time()
        self._loop.call_soon(self._turn)
        try:
            while self._later and self._loop.time() - began < TURN_S:
                self._do(self._later.popleft())
        except BadMessage as error:
            self._later.clear()
            self._broken(error)
            return
        if not self._later:
            self._pause(False)
