"""The bytes of a link's packets: made and checked here. Not here: what they mean one after the other (wire.link).

Source: docs/link.md, "Packets". Integers are big-endian. Every packet but ``resume`` begins with the same eight bytes:
kind, lane, time held in units of 0.1 ms, and how many of the peer's counted packets arrived on this carrier (mod 2**32).
"""

import enum
import struct
from typing import Final, NamedTuple

from holdfast.core.errors import HoldError

VERSION: Final = 1
LANES: Final = 16
LINK_ID_BYTES: Final = 16
PACKET_BYTES_MAX: Final = 65_519  # plaintext of one message of the secure channel
POSITION_MAX: Final = 1 << 62  # of a lane; nobody comes near it
TEXT_BYTES_MAX: Final = 200  # of the explanation in ``close``

RESUME: Final = 1
DATA: Final = 2  # counted
SKIP: Final = 3  # counted
ACK: Final = 4
PING: Final = 5
PONG: Final = 6
CLOSE: Final = 7

NEW: Final = 1  # in the flags of ``resume``: the sender keeps nothing from an earlier carrier of this link

COMMON: Final = struct.Struct(">BBHI")
DATA_HEAD: Final = struct.Struct(">BBHIQ")
_SKIP: Final = struct.Struct(">BBHIQQ")
_MARK: Final = struct.Struct(">BBHII")
_RESUME: Final = struct.Struct(f">BBHI{LINK_ID_BYTES}s{LANES}Q")
PAYLOAD_BYTES_MAX: Final = PACKET_BYTES_MAX - DATA_HEAD.size


class BadPacket(HoldError):
    """An authenticated peer sent a packet that no peer following docs/link.md sends. The link is over."""

    code = "bad-packet"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the other end of the link sent a packet that cannot be: {why}; nothing of it was delivered",
            do="reconnect with a new link; if it happens again, one of the two programs is defective: please report it",
            why=why,
        )


class Cause(enum.IntEnum):
    """Why a carrier or a link ended, as ``close`` carries it. A number that is not known here ends the link, too."""

    BYE = 1  # the link is over because its user is done
    SUPERSEDED = 2  # of this carrier only: a later carrier of the same link took over
    MOVING = 3  # of this carrier only: whoever runs it stops soon, dial another one
    GONE = 4  # no such link here: the host restarted, or dropped its state
    FORGOTTEN = 5  # the positions do not meet: one end has lost what the other one knows it had
    VERSION = 6  # of the link's format
    BROKEN = 7  # the peer sent a packet that cannot be
    FULL = 8  # more waited for the peer than may be kept
    LAPSED = 9  # there was no carrier for too long


OF_CARRIER: Final = frozenset({Cause.SUPERSEDED, Cause.MOVING})


class Resume(NamedTuple):
    """The first packet of each end on a carrier: which link, and what of each lane arrived so far."""

    version: int
    new: bool
    carrier: int
    link: bytes
    received: tuple[int, ...]

    def packed(self) -> bytes:
        flags = NEW if self.new else 0
        return _RESUME.pack(RESUME, self.version, flags, self.carrier, self.link, *self.received)


def opening(packet: bytes) -> Resume:
    """Return the ``resume`` a carrier began with. Raises BadPacket.

    One of another version is returned with what every version has, its version, and nothing else of use.
    """
    if len(packet) < 2 or packet[0] != RESUME:
        raise BadPacket("a carrier did not begin with resume")
    if packet[1] != VERSION:
        return Resume(packet[1], False, 0, bytes(LINK_ID_BYTES), (0,) * LANES)
    if len(packet) != _RESUME.size:
        raise BadPacket(f"a resume of {len(packet)} bytes")
    _, version, flags, carrier, link, *received = _RESUME.unpack(packet)
    new = bool(flags & NEW)
    if flags & ~NEW or carrier == 0 or max(received) > POSITION_MAX or (new and any(received)):
        raise BadPacket("a resume that contradicts itself")
    return Resume(version, new, carrier, link, tuple(received))


def skip(held: int, acked: int, lane: int, start: int, end: int) -> bytes:
    return _SKIP.pack(SKIP, lane, held, acked, start, end)


def skipped(packet: bytes) -> tuple[int, int, int]:
    """Return (lane, start, end) of a ``skip``. Raises BadPacket."""
    if len(packet) != _SKIP.size:
        raise BadPacket(f"a skip of {len(packet)} bytes")
    _, lane, _, _, start, end = _SKIP.unpack(packet)
    if not 2 <= lane < LANES or not start < end <= POSITION_MAX:
        raise BadPacket(f"a skip of lane {lane} from {start} to {end}")
    return lane, start, end


def ack(held: int, acked: int) -> bytes:
    return COMMON.pack(ACK, 0, held, acked)


def mark(kind: int, held: int, acked: int, number: int) -> bytes:
    """Return a ``ping`` or a ``pong``."""
    return _MARK.pack(kind, 0, held, acked, number)


def marked(packet: bytes) -> int:
    """Return the mark of a ``ping`` or ``pong``. Raises BadPacket."""
    if len(packet) != _MARK.size:
        raise BadPacket(f"a ping or pong of {len(packet)} bytes")
    number: int = _MARK.unpack(packet)[4]
    return number


def closing(cause: Cause, text: str = "") -> bytes:
    """Return the packet that ends a carrier or, for most causes, the link. ``text`` is for people; no secrets."""
    said = text.encode("utf-8", "replace")[:TEXT_BYTES_MAX]
    return COMMON.pack(CLOSE, cause, 0, 0) + said


def closed(packet: bytes) -> tuple[Cause, str]:
    """Return cause and text of a ``close``. Raises BadPacket."""
    if not COMMON.size <= len(packet) <= COMMON.size + TEXT_BYTES_MAX:
        raise BadPacket(f"a close of {len(packet)} bytes")
    text = packet[COMMON.size :].decode("utf-8", "replace")
    try:
        return Cause(packet[1]), text
    except ValueError:
        return Cause.GONE, text or f"for a cause that is not known here ({packet[1]})"
