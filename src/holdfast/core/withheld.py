"""Decide how much of what was typed without an echo a journal may show: that somebody typed, and nothing else.

What is typed at a password prompt comes as one input a key. Written down one record each, the journal would tell how long
the password is. So one record stands for a whole *stretch* of such inputs, and reserves the rest of a *block* of input
numbers: whoever types a key at a time goes on at the next block after each line, so that not even the next number tells.
Not here: how a terminal is set (host.linemode), the index of inputs (inputs). Source: docs/journal.md, "Withheld input".
"""

from collections.abc import Mapping
from typing import Any, Final

BLOCK: Final = 64  # input numbers of one block: 0 to 63, 64 to 127, ...
TOTAL: Final = 1 << 40  # bytes that a holder is told a stretch has: more than anybody types


def block_end(seq: int) -> int:
    """Return the last number of the block of ``seq``."""
    return seq | (BLOCK - 1)


def next_number(seq: int, data: bytes) -> int:
    """Return the number of the input that follows input ``seq``, which held ``data``."""
    return block_end(seq) + 1 if b"\r" in data or b"\n" in data else seq + 1


def is_withheld(body: Mapping[str, Any]) -> bool:
    """Tell whether the body of an ``input`` record says that what was typed is not in it."""
    return body.get("withheld") is True


class Stretch:
    """Inputs of one client, one after the other, that share the record at ``position``. ``written``: bytes of them so far."""

    def __init__(self, position: int, client: str, operator: str, seq: int) -> None:
        self.position, self.client, self.operator = position, client, operator
        self.through = block_end(seq)
        self.written = 0

    def takes(self, client: str, operator: str, seq: int) -> bool:
        """Tell whether an input may share the record: of the same client and operator, in the block it reserved."""
        return (client, operator) == (self.client, self.operator) and seq <= self.through


def body_of(client: str, seq: int, attachment: int) -> dict[str, Any]:
    """Return what the record of a stretch says that begins with input ``seq``."""
    return {"client": client, "seq": seq, "attachment": attachment, "withheld": True, "through": block_end(seq)}
