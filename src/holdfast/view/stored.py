"""The envelope of a keyframe: enough to know where it belongs, without the engine and without believing its contents.

``HFK1``, CRC-32 of what follows, the output offset as 8 bytes, the body; all numbers big-endian.
"""

import zlib
from typing import Final

MAGIC: Final = b"HFK1"
_BODY: Final = 16


def sealed(offset: int, body: bytes) -> bytes:
    """Return ``body``, the state at output ``offset``, in its envelope."""
    rest = offset.to_bytes(8, "big") + body
    return MAGIC + zlib.crc32(rest).to_bytes(4, "big") + rest


def opened(raw: bytes) -> bytes | None:
    """Return the body of an undamaged keyframe of this version, else None."""
    if len(raw) < _BODY or raw[:4] != MAGIC or zlib.crc32(raw[8:]).to_bytes(4, "big") != raw[4:8]:
        return None
    return raw[_BODY:]


def keyframe_offset(raw: bytes, otherwise: int = 0) -> int:
    """Return the output offset an undamaged keyframe belongs to, else ``otherwise``."""
    return int.from_bytes(raw[8:_BODY], "big") if opened(raw) is not None else otherwise
