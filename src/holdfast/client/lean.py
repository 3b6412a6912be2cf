"""Speak the messages of wire.messages without msgspec, whose import costs more than a whole attach may take.

Only what the fast paths need: msgpack values, and one builder per message they send. The shapes are those of
wire.messages; tests/client/test_lean.py holds every builder and every answer against them. Not here: sockets (line).
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing costs 8 ms; checkers treat this name as true
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PROTOCOL = 1  # wire.messages.PROTOCOL
HEAD = 4  # wire.framing.HEAD
FRAME_BYTES_MAX = 4 << 20  # wire.framing.TO_CLIENT_BYTES_MAX
BLOCK = 64  # core.withheld.BLOCK
DEPTH_MAX = 32  # of nested values; our deepest message has 6


class Garbled(Exception):
    """The peer sent bytes that are no message of this protocol. Faces say it as errors.BadMessage."""


# ---- msgpack out -----------------------------------------------------------------------------------------------------


def _head(out: bytearray, size: int, short: tuple[int, int], wide: tuple[int, int, int]) -> None:
    """Append the type byte and length: ``short`` is (base, bound), ``wide`` the codes for 8, 16, 32 bits (0: none)."""
    if size < short[1]:
        out.append(short[0] | size)
    elif size < 0x100 and wide[0]:
        out += bytes((wide[0], size))
    elif size < 0x10000:
        out.append(wide[1])
        out += size.to_bytes(2, "big")
    else:
        out.append(wide[2])
        out += size.to_bytes(4, "big")


def _pack_int(value: int, out: bytearray) -> None:
    if 0 <= value < 0x80:
        out.append(value)
    elif -0x20 <= value < 0:
        out.append(0x100 + value)
    elif value >= 0:
        out.append(0xCF)
        out += value.to_bytes(8, "big")
    else:
        out.append(0xD3)
        out += value.to_bytes(8, "big", signed=True)


def pack(value: Any, out: bytearray) -> None:
    """Append ``value`` (None, bool, int, float, str, bytes, list, tuple, dict) to ``out`` as msgpack."""
    if value is None:
        out.append(0xC0)
    elif value is True or value is False:
        out.append(0xC3 if value else 0xC2)
    elif isinstance(value, int):
        _pack_int(value, out)
    elif isinstance(value, float):
        from struct import pack as packed  # policies alone have fractions; the fast paths never come here

        out.append(0xCB)
        out += packed(">d", value)
    elif isinstance(value, str):
        # surrogateescape only in, never out: a name that is no UTF-8 must not become an undecodable frame
        data = value.encode("utf-8", "replace")
        _head(out, len(data), (0xA0, 32), (0xD9, 0xDA, 0xDB))
        out += data
    elif isinstance(value, bytes | bytearray | memoryview):
        _head(out, len(value), (0, 0), (0xC4, 0xC5, 0xC6))
        out += value
    elif isinstance(value, list | tuple):
        _head(out, len(value), (0x90, 16), (0, 0xDC, 0xDD))
        for item in value:
            pack(item, out)
    elif isinstance(value, dict):
        _head(out, len(value), (0x80, 16), (0, 0xDE, 0xDF))
        for key, item in value.items():
            pack(key, out)
            pack(item, out)
    else:
        raise TypeError(f"a {type(value).__name__} does not travel")


def frame(*message: Any) -> bytearray:
    """Return the frame of one message: its tag, then its fields in the order of wire.messages."""
    out = bytearray(HEAD)
    pack(message, out)
    out[:HEAD] = (len(out) - HEAD).to_bytes(HEAD, "big")
    return out


# ---- msgpack in ------------------------------------------------------------------------------------------------------

_UINT = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_INT = {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_STR = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_BIN = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_LIST = {0xDC: 2, 0xDD: 4}
_DICT = {0xDE: 2, 0xDF: 4}
_PLAIN = {0xC0: None, 0xC2: False, 0xC3: True}


def _take(data: memoryview, at: int, size: int) -> tuple[memoryview, int]:
    if at + size > len(data):
        raise Garbled("a frame ends inside a value")
    return data[at : at + size], at + size


def _sized(data: memoryview, at: int, width: int) -> tuple[int, int]:
    piece, at = _take(data, at, width)
    return int.from_bytes(piece, "big"), at


def _items(data: memoryview, at: int, count: int, depth: int) -> tuple[list[Any], int]:
    if count > len(data) - at:  # each item takes a byte at least: no peer may reserve our memory
        raise Garbled(f"a frame promises {count} values and ends before them")
    found = []
    for _ in range(count):
        value, at = unpack(data, at, depth + 1)
        found.append(value)
    return found, at


def _text(data: memoryview, at: int, size: int) -> tuple[str, int]:
    piece, at = _take(data, at, size)
    try:
        return str(piece, "utf-8"), at
    except UnicodeDecodeError as error:
        raise Garbled(f"a frame holds text that is no UTF-8: {error}") from None


def _table(data: memoryview, at: int, count: int, depth: int) -> tuple[dict[Any, Any], int]:
    flat, at = _items(data, at, 2 * count, depth)
    try:
        return dict(zip(flat[::2], flat[1::2], strict=True)), at
    except TypeError:
        raise Garbled("a frame has a key that cannot be one") from None


def _fixed(data: memoryview, at: int, code: int, depth: int) -> tuple[Any, int]:
    """Values whose type byte holds the number or the length itself."""
    if code < 0x80:
        return code, at
    if code < 0x90:
        return _table(data, at, code & 15, depth)
    if code < 0xA0:
        return _items(data, at, code & 15, depth)
    if code < 0xC0:
        return _text(data, at, code & 31)
    return code - 0x100, at


def unpack(data: memoryview, at: int = 0, depth: int = 0) -> tuple[Any, int]:
    """Return the msgpack value at ``at`` and the offset after it. Raises Garbled."""
    if depth > DEPTH_MAX or at >= len(data):
        raise Garbled("a frame is nested too deep" if depth > DEPTH_MAX else "a frame ends where a value should begin")
    code = data[at]
    at += 1
    if code < 0xC0 or code >= 0xE0:
        return _fixed(data, at, code, depth)
    if code in _BIN:
        size, at = _sized(data, at, _BIN[code])
        piece, at = _take(data, at, size)
        return bytes(piece), at
    if code in _UINT:
        return _sized(data, at, _UINT[code])
    if code in _INT:
        piece, at = _take(data, at, _INT[code])
        return int.from_bytes(piece, "big", signed=True), at
    if code in _STR:
        size, at = _sized(data, at, _STR[code])
        return _text(data, at, size)
    if code in _LIST:
        size, at = _sized(data, at, _LIST[code])
        return _items(data, at, size, depth)
    if code in _DICT:
        size, at = _sized(data, at, _DICT[code])
        return _table(data, at, size, depth)
    if code in _PLAIN:
        return _PLAIN[code], at
    if code in (0xCA, 0xCB):
        from struct import unpack as unpacked  # times of a session: once per attach, never in the stream

        piece, at = _take(data, at, 4 if code == 0xCA else 8)
        return unpacked(">f" if code == 0xCA else ">d", piece)[0], at
    raise Garbled(f"a frame holds a value of unknown type {code:#x}")


class Frames:
    """Bytes of the host in, its messages out, as lists of tag and fields. Holds one unfinished frame at most."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes | bytearray | memoryview) -> Iterator[list[Any]]:
        """Yield every message that ``data``, however split, completes. Raises Garbled; the line is of no use then."""
        buffer = self._buffer
        buffer += data
        start, end = 0, len(buffer)
        try:
            while end - start >= HEAD:
                size = int.from_bytes(buffer[start : start + HEAD], "big")
                if size > FRAME_BYTES_MAX:
                    raise Garbled(f"a frame of {size} bytes is over the limit of {FRAME_BYTES_MAX}")
                if end - start < HEAD + size:
                    break
                with memoryview(buffer) as whole, whole[start + HEAD : start + HEAD + size] as body:
                    message, _ = unpack(body)
                if not isinstance(message, list) or not message or not isinstance(message[0], str):
                    raise Garbled("a frame holds no message")
                start += HEAD + size
                yield message
        finally:
            del buffer[:start]


# ---- the messages the fast paths send --------------------------------------------------------------------------------


def hello(client: str, face: str, inside: str) -> bytearray:
    return frame("hello", PROTOCOL, client, face, inside)


def open_session(
    ref: int,
    argv: list[str],
    env: dict[str, str],
    cwd: str,
    size: tuple[int, int],
    name: str,
    reuse: bool,
    key: str,
    integration: bool = True,
) -> bytearray:
    return frame("open", ref, argv, env, cwd, size, name, reuse, None, key, integration)


def attach(
    ref: int,
    attachment: int,
    session: str,
    size: tuple[int, int] | None,
    offset: int | None,
    observe: bool,
    credit: int,
    direct: bool = False,
) -> bytearray:
    """Attach with the ``terminal`` view."""
    return frame("attach", ref, attachment, session, "terminal", size, offset, observe, credit, "", direct)


def detach(attachment: int, cause: str) -> bytearray:
    return frame("detach", attachment, cause)


def credit(attachment: int, size: int) -> bytearray:
    return frame("credit", attachment, size)


def seen(attachment: int, offset: int) -> bytearray:
    return frame("seen", attachment, offset)


def typed(ref: int, session: str, seq: int, data: bytes, attachment: int, term: int = 0) -> bytearray:
    """An ``Input``."""
    return frame("input", ref, session, seq, data, attachment, term)


def control(ref: int, session: str, act: str, to: str = "") -> bytearray:
    return frame("control", ref, session, act, to)


def number_after(seq: int, data: bytes = b"\n") -> int:
    """Return the number that counts as used after input ``seq`` with ``data``: all of its block when a line ends.

    So that the number of the next input does not tell how many keys a line had (core.withheld).
    """
    return seq | BLOCK - 1 if b"\r" in data or b"\n" in data else seq


def resize(ref: int, session: str, size: tuple[int, int], attachment: int) -> bytearray:
    return frame("resize", ref, session, size, attachment)


def witness(ref: int, session: str, position: int) -> bytearray:
    return frame("witness", ref, session, position)


def ping(mark: int) -> bytearray:
    return frame("ping", mark)


def pong(mark: int) -> bytearray:
    return frame("pong", mark)


def fresh_id(tag: str = "c-") -> str:
    """Return an id as core.ids makes it: ``tag`` and 16 random bytes in base32."""
    from os import urandom

    number = int.from_bytes(urandom(16), "big") << 2  # 128 bits, padded to 26 digits of 5
    return tag + "".join("abcdefghijklmnopqrstuvwxyz234567"[number >> shift & 31] for shift in range(125, -1, -5))
