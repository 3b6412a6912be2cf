"""One lane of a link: a stream of messages, each way. Knows no carrier's state, no clock, no other lane (wire.link).

A lane is a stream of bytes: each message is its length, 4 bytes big-endian, and its body. Packets carry any stretch of
it, so small messages share one and large ones take several. Positions count these bytes since the birth of the link.
"""

from collections import deque
from typing import Final

from holdfast.wire.packets import BadPacket

HEAD: Final = 4  # bytes of length before each message
LARGE: Final = 1 << 16  # a longer message is large: of those only one at a time is under way in all bulk lanes
_JOINED: Final = 1 << 12  # up to this size copying a body behind its length is cheaper than handling two pieces
_PIECE: Final = 1 << 16  # a large message is cut into these at once, so that what is acknowledged frees its memory


class Outward:
    """What was said on one lane and is not known to have arrived. Retained so that any carrier can go on with it.

    ``acked <= next <= end``; ``next`` is the next byte to send on this carrier, ``top`` the highest that ever was.
    Bytes below ``floor`` were abandoned: they are kept no more, and what of them did not arrive is skipped.
    """

    __slots__ = ("_base", "_cut", "_large", "_sent", "_unsent", "acked", "end", "floor", "next", "top", "turn")

    def __init__(self) -> None:
        self.acked = self.next = self.top = self.end = self.floor = 0
        self.turn = False  # whether the lane stands in the line of those with something to send
        self._sent: deque[memoryview] = deque()  # payloads of packets, from ``_base`` on
        self._unsent: deque[bytes | memoryview] = deque()  # from ``next``, or ``floor`` if that is higher, on
        self._cut = 0  # bytes of the first unsent piece that were sent
        self._base = 0  # position of the first byte retained
        self._large: deque[tuple[int, int]] = deque()  # (start, end) of large messages not wholly acknowledged

    @property
    def kept(self) -> int:
        """Bytes retained."""
        return self.end - max(self.acked, self.floor)

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent on this carrier."""
        return self.end - max(self.next, self.floor)

    @property
    def skips(self) -> bool:
        """Tell whether the other end must be told to leave out a stretch before anything else on this lane."""
        return self.next < self.floor

    @property
    def larges(self) -> bool:
        """Tell whether a large message waits or is under way."""
        return bool(self._large)

    def say(self, body: bytes) -> int:
        """Append a message. Returns the bytes it takes."""
        size = len(body)
        head = size.to_bytes(HEAD, "big")
        if size <= _JOINED:
            self._unsent.append(head + body)
        elif size <= LARGE:
            self._unsent.append(head)
            self._unsent.append(body)
        else:
            self._unsent.append(head)
            self._unsent.extend(body[at : at + _PIECE] for at in range(0, size, _PIECE))
            self._large.append((self.end, self.end + HEAD + size))
        self.end += HEAD + size
        return HEAD + size

    def under_way(self) -> bool:
        """Tell whether a large message has begun to be sent and is not wholly sent."""
        for start, end in self._large:
            if self.next < end:
                return start < self.next
        return False

    def before_large(self) -> int:
        """Return how many bytes may be sent before the next large message begins."""
        for start, _ in self._large:
            if start >= self.next:
                return start - self.next
        return self.unsent

    def take(self, most: int) -> list[bytes | memoryview]:
        """Return the next ``most`` bytes to send, or fewer if there are no more. ``took`` must follow."""
        unsent, pieces, left = self._unsent, [], most
        while left > 0 and unsent:
            piece, cut = unsent[0], self._cut
            size = len(piece) - cut
            if size <= left:
                pieces.append(memoryview(piece)[cut:] if cut else piece)
                unsent.popleft()
                self._cut = 0
                left -= size
            else:
                pieces.append(memoryview(piece)[cut : cut + left])
                self._cut = cut + left
                left = 0
        return pieces

    def took(self, payload: memoryview) -> None:
        """Retain what ``take`` gave, as the payload of its packet."""
        self._sent.append(payload)
        self.next += len(payload)
        self.top = max(self.top, self.next)

    def skipped(self) -> None:
        """Note that the other end was told to go on at ``floor``."""
        self.next = self.floor
        self.top = max(self.top, self.next)

    def rewind(self) -> None:
        """Begin a carrier: everything not acknowledged is unsent again."""
        if self._cut:
            self._unsent[0] = memoryview(self._unsent[0])[self._cut :]
            self._cut = 0
        self._unsent.extendleft(reversed(self._sent))
        self._sent.clear()
        self.next = self.acked

    def arrived(self, to: int) -> None:
        """Forget what is below ``to``: the other end has it. ``acked <= to <= top`` is the caller's to check."""
        if to <= self.acked:
            return
        self.acked = to
        while self._sent and self._base < to:
            size = len(self._sent[0])
            if self._base + size <= to:
                self._sent.popleft()
                self._base += size
            else:
                self._sent[0] = self._sent[0][to - self._base :]
                self._base = to
        if self.next < to:  # it arrived over an earlier carrier: it need not be sent again on this one
            self.take(to - max(self.next, self.floor))
            self.next = to
            self._base = max(to, self.floor)
        while self._large and self._large[0][1] <= to:
            self._large.popleft()

    def abandon(self) -> int:
        """Drop everything said so far. Returns the bytes that were retained."""
        dropped = self.kept
        self._unsent.clear()
        self._sent.clear()
        self._large.clear()
        self._cut = 0
        self.floor = self._base = self.end
        return dropped


class Inward:
    """What arrives on one lane: at most one unfinished message, of which only what arrived takes memory."""

    __slots__ = ("_head", "_left", "_parts", "need", "position")

    def __init__(self) -> None:
        self.position = 0  # of the next byte expected
        self.need = 0  # announced size of the unfinished message; 0: none
        self._head = b""  # the first bytes of a length that was cut
        self._left = 0  # bytes still to come of the unfinished message
        self._parts: list[bytes] = []

    def feed(self, data: bytes, at: int, most: int) -> list[bytes]:
        """Take the bytes from ``at`` on and return the messages they complete. Raises BadPacket for one of 0 or over ``most``.

        The length is judged before the body arrives: no peer may reserve our memory.
        """
        done: list[bytes] = []
        size = len(data)
        self.position += size - at
        while at < size:
            if not self.need:
                if self._head or size - at < HEAD:
                    more = HEAD - len(self._head)
                    self._head += data[at : at + more]
                    at += more
                    if len(self._head) < HEAD:
                        break
                    need, self._head = int.from_bytes(self._head, "big"), b""
                else:
                    need = int.from_bytes(data[at : at + HEAD], "big")
                    at += HEAD
                if not 0 < need <= most:
                    raise BadPacket(f"a message of {need} bytes; 1 to {most} are allowed")
                if at + need <= size:
                    done.append(data[at : at + need])
                    at += need
                    continue
                self.need = self._left = need
            part = data[at : at + self._left]
            at += len(part)
            self._left -= len(part)
            self._parts.append(part)
            if not self._left:
                done.append(b"".join(self._parts))
                self._parts.clear()
                self.need = 0
        return done

    def skip(self, to: int) -> None:
        """Go on at ``to``: the sender abandoned what lies before. An unfinished message is thrown away."""
        self.position = to
        self.need = self._left = 0
        self._head = b""
        self._parts.clear()
