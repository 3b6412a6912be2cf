"""What is said about a joiner whose number a person compares before it is let in. Source: docs/wire.md, "Pairing".
Re-exported by messages. Not here: the joiner's own conversation (joining), who signs (client.issuing)."""

import hashlib
from typing import Final

from holdfast.wire.parts import Message

DOMAIN: Final = b"holdfast/pairing/1\0"
DIGITS: Final = 6


def number(binding: bytes, key: bytes) -> str:
    """Return the short authentication string of a joiner: six digits, the same at both ends of its channel and nowhere else.

    ``binding`` is the channel's (wire.channel), ``key`` the joiner's. Neither end can choose it: each has put a fresh key
    of its own into the channel before it knew the other's.
    """
    value = int.from_bytes(hashlib.sha256(DOMAIN + binding + key).digest()[:8], "big")
    return f"{value % 10**DIGITS:0{DIGITS}}"


class AwaitJoiner(Message, frozen=True, tag="await-joiner"):
    """Answered by ``Asking`` once somebody came with the code of this digest; at once if somebody did."""

    ref: int
    digest: bytes


class LetIn(Message, frozen=True, tag="let-in"):
    """A person compared the numbers. ``yes``: whoever asks with ``key`` is signed for; else it is refused, and the code is
    used up. Answer: ``Done``."""

    ref: int
    digest: bytes
    key: bytes
    yes: bool


class Asking(Message, frozen=True, tag="asking"):
    """Somebody asks to join: its key, what it calls itself, and the number that it shows if it is at the other end."""

    ref: int
    key: bytes
    name: str
    number: str
