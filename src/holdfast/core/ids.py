"""Name things. Not here: who may reach them (admission) or where they run (home)."""

import base64
import re
from typing import Final, NewType

from holdfast.core.errors import BadName

SessionId = NewType("SessionId", str)
"""``s-`` and 26 characters of base32: 128 random bits, never reused (R01)."""
HostId = NewType("HostId", str)
ClientId = NewType("ClientId", str)
"""One running client program. Names the sender of idempotency keys; it is not a credential."""

RANDOM_BYTES: Final = 16
NAME_MAX: Final = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SESSION_ID = re.compile(r"s-[a-z2-7]{26}")


def _tagged(tag: str, random: bytes) -> str:
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"an id is made of {RANDOM_BYTES} random bytes, not {len(random)}")
    return tag + base64.b32encode(random).decode().rstrip("=").lower()


def session_id(random: bytes) -> SessionId:
    """Return the session id made of 16 ``random`` bytes."""
    return SessionId(_tagged("s-", random))


def host_id(random: bytes) -> HostId:
    """Return the host id made of 16 ``random`` bytes; a public key takes its place when hosts have keys."""
    return HostId(_tagged("h-", random))


def client_id(random: bytes) -> ClientId:
    """Return the client id made of 16 ``random`` bytes."""
    return ClientId(_tagged("c-", random))


def is_session_id(text: str) -> bool:
    """Tell whether ``text`` has the form of a session id, which no session name can have."""
    return _SESSION_ID.fullmatch(text) is not None


def checked_name(text: str) -> str:
    """Return ``text`` if it can name a session: 1 to 64 of ``A-Za-z0-9._-``, the first a letter or digit, and not an id.

    Raises BadName otherwise. ``@`` is kept out because NAME@HOST is how a session on another host is written.
    """
    if _NAME.fullmatch(text) is None or is_session_id(text):
        raise BadName(text)
    return text
