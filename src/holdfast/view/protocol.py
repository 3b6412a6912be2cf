"""What the host's supervisor and a view worker say to each other over their socketpair: frames and messages, no I/O.

A frame is a 4-byte big-endian length and a msgpack body. The worker works on one order after the other and gives each
exactly one ``Result``, in order: so the order that a dead worker did not answer is the one that killed it.
"""

from typing import Any, Final

import msgspec

from holdfast.view.cells import Row, Style

FRAME_MAX: Final = 64 << 20


class Order(msgspec.Struct, frozen=True, array_like=True, tag_field="t"):
    """Base of what a worker is told. ``seq`` rises by one; ``session`` is the supervisor's own number for it."""

    seq: int
    session: int


class Open(Order, frozen=True, array_like=True, tag="open"):
    """Begin a view at ``offset``, from ``keyframe`` if there is one (its geometry then holds)."""

    rows: int
    cols: int
    offset: int
    keyframe: bytes
    incomplete: bool = False


class Feed(Order, frozen=True, array_like=True, tag="feed"):
    offset: int
    data: bytes


class Skip(Order, frozen=True, array_like=True, tag="skip"):
    """Output ``start``..``end`` will not be seen; ``why``: gone, crashed."""

    start: int
    end: int
    why: str


class Resize(Order, frozen=True, array_like=True, tag="resize"):
    rows: int
    cols: int


class Close(Order, frozen=True, array_like=True, tag="close"):
    pass


class Ask(Order, frozen=True, array_like=True, tag="ask"):
    """``what``: repaint, screen, text, keyframe. ``careful``: make no copy of the engine."""

    what: str
    rows: int = 0
    cols: int = 0
    since: int = 0
    history: int = 0
    careful: bool = False


Orders = Open | Feed | Skip | Resize | Close | Ask


class Said(msgspec.Struct, frozen=True, array_like=True, tag_field="t"):
    """Base of what a worker says."""


class Ready(Said, frozen=True, array_like=True, tag="ready"):
    """The first word of a worker. ``error``: why it cannot work."""

    pid: int
    error: str = ""


class Result(Said, frozen=True, array_like=True, tag="result"):
    """Order ``seq`` was carried out, or ``error``. ``replies`` are (end offset of the query, bytes)."""

    seq: int
    replies: tuple[tuple[int, bytes], ...] = ()
    body: bytes = b""  # of a question: the msgpack form of one of the structs below
    error: str = ""


class Gap(msgspec.Struct, frozen=True, array_like=True):
    """Output the view never saw, so that what is on the screen may be wrong."""

    start: int
    end: int
    why: str


class ViewState(msgspec.Struct, frozen=True, array_like=True):
    """What is worth telling whenever it changes. ``modes`` by the names of ``state.MODE_NAMES``."""

    offset: int
    rows: int
    cols: int
    title: str
    cwd: str  # what OSC 7 said last
    bells: int  # since the view began
    on_alternate: bool
    modes: dict[str, bool]
    incomplete: bool
    gaps: tuple[Gap, ...]


class Changed(Said, frozen=True, array_like=True, tag="changed"):
    session: int
    state: ViewState


class Painted(msgspec.Struct, frozen=True, array_like=True):
    offset: int
    data: bytes
    rows: int
    cols: int
    incomplete: bool


class Rows(msgspec.Struct, frozen=True, array_like=True):
    """Changed rows since the question's ``since``; ``token`` is the next ``since``. ``full``: forget what was there."""

    offset: int
    rows: int
    cols: int
    full: bool
    token: int
    changed: dict[int, Row]
    styles: tuple[Style, ...]
    cursor: tuple[int, int, bool]
    modes: dict[str, bool]
    title: str
    on_alternate: bool
    incomplete: bool


class Text(msgspec.Struct, frozen=True, array_like=True):
    offset: int
    lines: tuple[str, ...]
    cursor: tuple[int, int]
    title: str


class Kept(msgspec.Struct, frozen=True, array_like=True):
    offset: int
    keyframe: bytes


_ENCODER: Final = msgspec.msgpack.Encoder()
ORDERS: Final = msgspec.msgpack.Decoder(Orders)
SAID: Final = msgspec.msgpack.Decoder(Ready | Result | Changed)


def packed(body: Any) -> bytes:
    """Return one of the structs above in msgpack form, without a frame."""
    return _ENCODER.encode(body)


def framed(message: Order | Said) -> bytes:
    """Return ``message`` as a frame."""
    body = _ENCODER.encode(message)
    return len(body).to_bytes(4, "big") + body


class Frames:
    """Bytes in, bodies of frames out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the bodies that ``data`` completes. Raises ValueError for a frame over FRAME_MAX."""
        self._buffer += data
        bodies: list[bytes] = []
        at = 0
        while len(self._buffer) - at >= 4:
            size = int.from_bytes(self._buffer[at : at + 4], "big")
            if size > FRAME_MAX:
                raise ValueError(f"a frame of {size} bytes")
            if len(self._buffer) - at < 4 + size:
                break
            bodies.append(bytes(self._buffer[at + 4 : at + 4 + size]))
            at += 4 + size
        del self._buffer[:at]
        return bodies
