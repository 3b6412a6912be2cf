"""Answer the terminal queries that the engine leaves unanswered, and bound how often anything is answered.

A reply is named by the end offset of its query (filter), so the holder can see to it that each is given at most once.
Colours are answered as light grey on black: no viewer's terminal is asked, since there may be none, or many.
"""

import binascii
import re
from typing import Final

FOREGROUND: Final = 0xCCCCCC
BACKGROUND: Final = 0x000000
CELL_WIDTH_PX: Final = 8
CELL_HEIGHT_PX: Final = 16
REPLY_BYTES_MAX: Final = 1024
REPLIES_BURST: Final = 128
REPLIES_PER_S: Final = 256.0
_CAPABILITIES: Final = {
    b"TN": b"xterm-256color",
    b"name": b"xterm-256color",
    b"Co": b"256",
    b"colors": b"256",
    b"RGB": b"8",
}
_VERSION: Final = re.compile(rb"\x1bP>\|[^\x1b]*\x1b\\")


def own_reply(query: bytes, *, rows: int, cols: int, row: int, col: int) -> bytes:
    """Return the reply to a query that the engine does not know, or nothing. ``row`` and ``col`` count from 0."""
    if query == b"\x1b[?6n":  # DECXCPR
        return b"\x1b[?%d;%dR" % (row + 1, col + 1)
    if query == b"\x1b[?996n":  # colour scheme: dark, as the colours we answer with
        return b"\x1b[?997;1n"
    if query == b"\x1b[18t":
        return b"\x1b[8;%d;%dt" % (rows, cols)
    if query == b"\x1b[14t":
        return b"\x1b[4;%d;%dt" % (rows * CELL_HEIGHT_PX, cols * CELL_WIDTH_PX)
    if query == b"\x1b[16t":
        return b"\x1b[6;%d;%dt" % (CELL_HEIGHT_PX, CELL_WIDTH_PX)
    if query.startswith(b"\x1bP+q"):
        return b"".join(_capability(name) for name in query[4:-2].split(b";")[:8])
    return b""


def _capability(name: bytes) -> bytes:
    """Return the XTGETTCAP reply for one capability name in hexadecimal."""
    try:
        value = _CAPABILITIES.get(binascii.unhexlify(name))
    except binascii.Error:
        value = None
    if value is None:
        return b"\x1bP0+r" + name + b"\x1b\\"
    return b"\x1bP1+r" + name + b"=" + binascii.hexlify(value).upper() + b"\x1b\\"


def named(reply: bytes) -> bytes:
    """Return the engine's ``reply`` under our own name: a program must not expect what only one product's users see."""
    return _VERSION.sub(b"\x1bP>|holdfast\x1b\\\\", reply)


class Rate:
    """A budget of replies: ``REPLIES_BURST`` at once, then ``REPLIES_PER_S``. A flood of queries is not a
    conversation.
    """

    def __init__(self, now: float) -> None:
        self._left, self._at = float(REPLIES_BURST), now

    def allows(self, now: float) -> bool:
        """Tell whether one more reply may be given at ``now`` (seconds), and count it."""
        self._left = min(REPLIES_BURST, self._left + max(0.0, now - self._at) * REPLIES_PER_S)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
