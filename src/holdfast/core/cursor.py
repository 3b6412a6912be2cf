"""Say how far one client has followed a session, in one line of text that a person can copy."""

import re
from typing import Final, NamedTuple

from holdfast.core.errors import BadCursor
from holdfast.core.ids import SessionId, is_session_id

CURSOR_CHARS_MAX: Final = 256
_NUMBER_MAX: Final = 1 << 63
_CURSOR = re.compile(r"c1:([^:]*):([0-9]{1,19}):([0-9]{1,19}):([0-9]{1,19}):([0-9a-f]{64})", re.ASCII)


class Cursor(NamedTuple):
    """``c1:SESSION:INCARNATION:OFFSET:POSITION:HEAD``.

    ``offset`` is the next output byte wanted, ``position`` the last journal record seen (0: none), ``head`` its hash: a
    client that comes back with it notices a host whose journal was rolled back or replaced (I8). It is no secret and
    no permission. Equal cursors have equal text.
    """

    session: SessionId
    incarnation: int
    offset: int
    position: int
    head: bytes

    def __str__(self) -> str:
        return f"c1:{self.session}:{self.incarnation}:{self.offset}:{self.position}:{self.head.hex()}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Return the cursor that ``text`` is; raises BadCursor for everything ``str`` of a cursor cannot be."""
        found = _CURSOR.fullmatch(text) if len(text) <= CURSOR_CHARS_MAX else None
        if found is None or not is_session_id(found[1]):
            raise BadCursor(text)
        cursor = cls(SessionId(found[1]), int(found[2]), int(found[3]), int(found[4]), bytes.fromhex(found[5]))
        if max(cursor[1:4]) >= _NUMBER_MAX or str(cursor) != text:  # leading zeros: one cursor has one text
            raise BadCursor(text)
        return cursor
