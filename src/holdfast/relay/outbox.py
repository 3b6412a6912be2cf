"""What is to be sent to one peer, and in which order. Pure; the hub fills it, the server empties it.

Control messages go first, routes take turns, and a route that ends takes what it holds along. Who pays when it is full:
the route whose receiver does not read, never its sender's other routes.
"""

from collections import deque


class Tally:
    """Bytes waiting in every outbox of one relay."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting = 0


class _Lane:
    """Frames of one route that wait for their turn."""

    __slots__ = ("frames", "waiting")

    def __init__(self) -> None:
        self.frames: deque[bytes] = deque()
        self.waiting = 0


class Outbox:
    """Frames for one peer. Sizes are counted; who puts in decides by them (hub)."""

    __slots__ = ("_control", "_lanes", "_tally", "control_waiting", "waiting")

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._control: deque[bytes] | None = (
            None  # made when needed: an empty one weighs 700 bytes, per idle connection
        )
        self._lanes: dict[int, _Lane] = {}  # only routes with something waiting, in the order of their turns
        self.control_waiting = 0
        self.waiting = 0  # bytes in all lanes

    def __bool__(self) -> bool:
        return bool(self._control or self._lanes)

    def say(self, frame: bytes) -> None:
        """Add a control message, before everything that waits on routes."""
        if self._control is None:
            self._control = deque()
        self._control.append(frame)
        self.control_waiting += len(frame)

    def waiting_on(self, route: int) -> int:
        """Return the bytes that wait on ``route``."""
        lane = self._lanes.get(route)
        return lane.waiting if lane is not None else 0

    def fullest(self) -> int:
        """Return the route on which most bytes wait; 0 if there is none."""
        return max(self._lanes, key=lambda route: self._lanes[route].waiting, default=0)

    def put(self, route: int, frame: bytes) -> None:
        """Add ``frame`` to ``route``."""
        lane = self._lanes.get(route)
        if lane is None:
            lane = self._lanes[route] = _Lane()
        lane.frames.append(frame)
        lane.waiting += len(frame)
        self._count(len(frame))

    def finish(self, route: int, last: bytes) -> None:
        """End ``route`` with ``last`` after everything that waits on it."""
        if route in self._lanes:
            self.put(route, last)
        else:
            self.say(last)

    def drop(self, route: int) -> None:
        """Forget what waits on ``route``."""
        lane = self._lanes.pop(route, None)
        if lane is not None:
            self._count(-lane.waiting)

    def clear(self) -> None:
        """Forget everything: the peer is gone."""
        self._count(-self.waiting)
        self._lanes.clear()
        self._control = None
        self.control_waiting = 0

    def take(self) -> bytes | None:
        """Return the next frame to send, or None. Routes take turns, a frame each."""
        if self._control:
            frame = self._control.popleft()
            self.control_waiting -= len(frame)
            if not self._control:
                self._control = None
            return frame
        for route, lane in self._lanes.items():
            frame = lane.frames.popleft()
            lane.waiting -= len(frame)
            self._count(-len(frame))
            if len(self._lanes) > 1 or not lane.frames:
                del self._lanes[route]
                if lane.frames:
                    self._lanes[route] = lane  # to the end of the line
            return frame
        return None

    def _count(self, size: int) -> None:
        self.waiting += size
        self._tally.waiting += size
