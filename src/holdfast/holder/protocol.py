"""Say what holder, keeper and host share: frames on their sockets, and the layout of a session's memory. Pure, no I/O.

Both only ever grow: a new host talks to an old holder, which may be older than it by years. A frame is a 4-byte length,
a 2-byte kind, a 4-byte request number and named fields; unknown fields are ignored, unknown kinds are answered with
UNSUPPORTED. The layout has a version of its own, since one memory can be served by several holders in turn.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Final

VERSION: Final = 1
FEATURES: Final = 0b111111
"""Bits of what this code can do: 1 input with positions, 2 answers, 4 in-place upgrade, 8 handover of descriptors, 16 terms,
32 marks."""
F_TERMS: Final = 16
F_MARKS: Final = 32

# Kinds of frames. A number is never reused.
HELLO: Final = 1  # version, features, role, generation; a host sends its doorbell (eventfd) along
WELCOME: Final = 2  # the answer; a holder sends the ring (read only) along
OK: Final = 3
REFUSED: Final = 4  # code, text; the peer may go on
UNSUPPORTED: Final = 5
FENCED: Final = 6  # a notice: a higher generation took over, this link ends
WRITE: Final = 10  # position, at, total, term, data
WRITTEN: Final = 11  # position, written, outcome, flight
WRITABLE: Final = 12  # a notice: the terminal takes input again
ANSWER: Final = 13  # query_end, data -> OK(answered)
RESIZE: Final = 14  # rows, cols -> OK(offset)
SIGNAL: Final = 15  # signal, tree -> OK(pids)
TERMIOS: Final = 16  # -> OK(canonical, echo, foreground)
ARCHIVED: Final = 17  # upto; no answer
RELEASE: Final = 18  # -> OK, then the holder leaves
UPGRADE: Final = 19  # python, source -> the link ends, the same process continues with other code
HANDOVER: Final = 20  # -> OK with the descriptors master, memory, listening socket
TERM: Final = 21  # term, flush -> OK(flushed, canonical, echo, foreground): control changed hands
SPAWN: Final = 30  # session, argv, env, cwd, rows, cols, ring_bytes, cgroup_procs, exit_file, marks -> OK
KEPT: Final = 31  # -> OK(sessions, pids)
FORGET: Final = 32  # session -> OK
LEAVE: Final = 33  # -> OK if nothing is kept

# Outcomes of input, as in the ``outcome`` field of WRITTEN.
APPLIED: Final = 1  # the terminal took all of it
PARTIAL: Final = 2  # the terminal took exactly ``written`` bytes
UNKNOWN: Final = 3  # ``written`` for certain; the holder died while handing over ``flight`` more, or kept no record

INPUT_PIECE: Final = 4096
"""Most bytes of input in one WRITE, and so the most that are ever unacknowledged."""
HOLDER_FRAME_MAX: Final = 64 * 1024
KEEPER_FRAME_MAX: Final = 4 * 1024 * 1024  # a command line and environment may reach a few MiB
DESCRIPTORS_MAX: Final = 8
MARKS_FD: Final = 4
"""Where the root process finds what SPAWN's ``marks`` says, a file in memory; without it that descriptor is closed."""

Value = int | str | bytes | Sequence[str] | Sequence[int]
Fields = Mapping[str, Value]

_PREFIX = struct.Struct("<IHI")  # bytes that follow the length; kind; request
_FIELD = struct.Struct("<BBI")  # bytes of the name; type; bytes of the value
_INT, _TEXT, _BYTES, _TEXTS, _INTS = range(1, 6)
PREFIX_BYTES: Final = _PREFIX.size


class BadFrame(Exception):
    """The peer sent what is not a frame, or too long a one: close this link; nothing else is affected."""


def _encoded(value: Value) -> tuple[int, bytes]:
    if isinstance(value, int):
        return _INT, struct.pack("<q", value)
    if isinstance(value, str):
        return _TEXT, value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        return _BYTES, value
    if all(isinstance(one, int) for one in value) and value:
        return _INTS, struct.pack(f"<{len(value)}q", *value)
    texts = [str(one).encode("utf-8", "surrogateescape") for one in value]
    return _TEXTS, b"".join(struct.pack("<I", len(one)) + one for one in texts)


def packed(fields: Fields) -> bytes:
    """Return ``fields`` as bytes; names are at most 255 bytes, integers 64 bits signed."""
    parts: list[bytes] = []
    for name, value in fields.items():
        if type(value) is int:  # most are: every key has four
            parts += (_integers.get(name) or _integer(name), _INTEGER.pack(value))
            continue
        kind, data = _encoded(value)
        raw = name.encode()
        parts += (_FIELD.pack(len(raw), kind, len(data)), raw, data)
    return b"".join(parts)


_INTEGER = struct.Struct("<q")
_integers: dict[str, bytes] = {}  # what an integer's field begins with, by its name; names are those in this code


def _integer(name: str) -> bytes:
    raw = name.encode()
    return _integers.setdefault(name, _FIELD.pack(len(raw), _INT, 8) + raw)


def _decoded(kind: int, data: bytes) -> Value | None:
    if kind == _INT:
        if len(data) != 8:
            raise BadFrame("an integer is 8 bytes")
        return int.from_bytes(data, "little", signed=True)
    if kind == _TEXT:
        return data.decode("utf-8", "surrogateescape")
    if kind == _BYTES:
        return data
    if kind == _INTS:
        if len(data) % 8:
            raise BadFrame("integers are 8 bytes each")
        return struct.unpack(f"<{len(data) // 8}q", data)
    if kind == _TEXTS:
        texts: list[str] = []
        at = 0
        while at < len(data):
            end = at + 4 + int.from_bytes(data[at : at + 4], "little")
            if end > len(data):
                raise BadFrame("a text reaches beyond its list")
            texts.append(data[at + 4 : end].decode("utf-8", "surrogateescape"))
            at = end
        return texts
    return None  # a type of a later version: its field is ignored, like an unknown name


def unpacked(data: bytes) -> dict[str, Value]:
    """Return the fields in ``data``. Raises BadFrame for anything ``packed`` could not have made."""
    fields: dict[str, Value] = {}
    at = 0
    while at < len(data):
        if at + _FIELD.size > len(data):
            raise BadFrame("a field is cut off")
        name_bytes, kind, size = _FIELD.unpack_from(data, at)
        start = at + _FIELD.size + name_bytes
        at = start + size
        if at > len(data):
            raise BadFrame("a field reaches beyond its frame")
        try:
            name = data[start - name_bytes : start].decode()
        except UnicodeDecodeError:
            raise BadFrame("a field's name is not text") from None
        value = _decoded(kind, data[start:at])
        if value is not None:
            fields[name] = value
    return fields


def frame(kind: int, request: int, fields: Fields | None = None) -> bytes:
    """Return one frame; the answer to a request carries the request's number, a notice carries 0."""
    body = packed(fields or {})
    return _PREFIX.pack(len(body) + 6, kind, request) + body


class Frames:
    """Bytes in, frames out, however the socket cuts them. Raises BadFrame before memory is spent on a long one."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._buffer = bytearray()

    def receive(self, data: bytes) -> list[tuple[int, int, dict[str, Value]]]:
        """Return every (kind, request, fields) that ``data`` completes."""
        buffer = self._buffer
        buffer += data
        whole: list[tuple[int, int, dict[str, Value]]] = []
        at = 0
        while len(buffer) - at >= 4:
            size = int.from_bytes(buffer[at : at + 4], "little")
            if not 6 <= size <= self.most:
                raise BadFrame(f"a frame of {size} bytes (6 to {self.most} are possible)")
            if len(buffer) - at < 4 + size:
                break
            _, kind, request = _PREFIX.unpack_from(buffer, at)
            whole.append((kind, request, unpacked(bytes(buffer[at + PREFIX_BYTES : at + 4 + size]))))
            at += 4 + size
        if at:
            del buffer[:at]
        return whole


def number(fields: Fields, name: str, default: int | None = None) -> int:
    """Return the integer called ``name``. Raises BadFrame if it is missing (and has no default) or is no integer."""
    value = fields.get(name, default)
    if not isinstance(value, int):
        raise BadFrame(f"{name} must be an integer")
    return value


def text(fields: Fields, name: str, default: str | None = None) -> str:
    """Return the text called ``name``; like ``number``."""
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise BadFrame(f"{name} must be text")
    return value


def data_of(fields: Fields, name: str = "data") -> bytes:
    """Return the bytes called ``name``; like ``number``."""
    value = fields.get(name)
    if not isinstance(value, bytes):
        raise BadFrame(f"{name} must be bytes")
    return value


def texts(fields: Fields, name: str) -> list[str]:
    """Return the list of texts called ``name``, empty if missing."""
    value = fields.get(name, ())
    if isinstance(value, str | bytes | int):
        raise BadFrame(f"{name} must be a list")
    return [str(one) for one in value]


def numbers(fields: Fields, name: str) -> list[int]:
    """Return the list of integers called ``name``, empty if missing."""
    value = fields.get(name, ())
    if isinstance(value, str | bytes | int):
        raise BadFrame(f"{name} must be a list")
    return [one for one in value if isinstance(one, int)]


# --- the memory of a session -------------------------------------------------------------------------------------
# One sealed memfd: a page of 64-bit slots, a page of poison, what the session is, the marks, the ring.
PAGE: Final = 4096
MAGIC: Final = 0x0001444C4F48  # "HOLD"
LAYOUT: Final = 1
POISON_AT: Final = PAGE
ABOUT_AT: Final = 2 * PAGE
ABOUT_BYTES: Final = 4 * PAGE
MARKS_AT: Final = 8 * PAGE
MARK_BYTES: Final = 64
MARKS_MAX: Final = 1024
RING_AT: Final = 32 * PAGE
RING_BYTES_DEFAULT: Final = 64 * 1024 * 1024
RING_BYTES_MIN: Final = 256 * 1024
READ_MAX: Final = 4096
"""Most bytes one read of the terminal may fetch: the kernel's buffer holds no more, and poison covers this much."""
SLACK: Final = 64 * 1024
"""The holder writes ahead of ``head``: so many of the oldest bytes in the ring must not be trusted."""
KEEP_RESIDENT: Final = 1024 * 1024
"""So many of the last bytes stay in memory after they were archived: attaching and catching up read those."""

# Slots of the first page, by index; each is written by the holder alone, KEEPER_REAPED by the keeper alone.
(
    S_MAGIC,
    S_LAYOUT,
    S_RING_BYTES,
    S_HEAD,  # offset after the last byte of output
    S_PUNCHED,  # everything before this offset was given back to the system
    S_ARCHIVED,  # everything before this offset is safe in the host's archive
    S_GENERATION,  # highest host generation seen
    S_TERM,  # highest control term seen
    S_INPUT_RECORD,  # first slot of the record of the latest input: one of INPUT_RECORDS
    S_QUERY_ANSWERED,  # end offset of the last terminal query answered
    S_ROOT_PID,
    S_ROOT_STARTED,  # field 22 of /proc/PID/stat
    S_STATUS_STATE,
    S_STATUS,  # as wait(2) has it
    S_EXITED_AT,  # Unix nanoseconds
    S_EXIT_BY,
    S_EXIT_DURABLE,  # 1: the exit file is on the disk
    S_EXIT_MARKED,  # 1: output was drained and the exit mark is in place
    S_MARKS,  # seq of the last mark
    S_RESTARTS,  # how many holders died and were replaced
    S_HOLDER_PID,
    S_RELEASED,  # 1: the host collected the status, the holder may leave
    S_CREATED_AT,  # Unix nanoseconds
    S_ROWS,
    S_COLS,
    S_ABOUT_BYTES,
    S_SOCKET_INODE,  # of the path the holder listens on
    S_KEEPER_REAPED,  # 0, or 1 + the wait status of the root that the keeper reaped after a holder's death
    S_GAP_MARK,  # seq of the gap mark that still grows, or 0
    S_UPGRADES,  # how often a holder replaced its code in place
) = range(30)

INPUT_RECORDS: Final = (64, 72)
"""Two records in turn: a new one is complete before S_INPUT_RECORD points to it, in one store."""
I_POSITION, I_TOTAL, I_PROGRESS, I_MARK = range(4)
"""Slots of a record. Progress is ``written << 16 | flight``, one store too: flight, when a successor finds it, is the
number of bytes of which nobody can tell any more whether the terminal took them."""
FLIGHT_BITS: Final = 16

RUNNING: Final = 0  # STATUS_STATE
KNOWN: Final = 1
LOST: Final = 2  # it ended, and nobody could tell its status
BY: Final = {1: "holder", 2: "keeper", 3: "kernel"}

# Kinds of marks.
M_RESIZE: Final = 1  # a rows, b cols
M_INPUT: Final = 2  # a position, b bytes written (grows while the write goes on), c bytes in all
M_GAP: Final = 3  # a start, b end of output that was overwritten before it was archived (b grows)
M_RESTART: Final = 4  # a pid of the new holder, b bytes recovered at ``offset``, c most bytes that may miss after those
M_EXIT: Final = 5  # a status as wait(2) has it, b 1 if it is known
M_UPGRADE: Final = 6  # a pid: the same holder continues with other code; nothing is missing
MARK_KINDS: Final = {
    M_RESIZE: "resize",
    M_INPUT: "input",
    M_GAP: "gap",
    M_RESTART: "restart",
    M_EXIT: "exit",
    M_UPGRADE: "upgrade",
}

MARK: Final = struct.Struct("<8Q")  # seq, offset, monotonic ns, kind, a, b, c, unused
SLOTS: Final = PAGE // 8


def oldest(head: int, punched: int, ring_bytes: int) -> int:
    """Return the oldest offset that can still be read from a ring of ``ring_bytes``."""
    return max(punched, head + SLACK - ring_bytes, 0)


def signed(value: int) -> int:
    """Return the two's complement reading of a slot."""
    return value - (1 << 64) if value >> 63 else value


def unsigned(value: int) -> int:
    """Return ``value`` as a slot holds it."""
    return value & 0xFFFF_FFFF_FFFF_FFFF


KEEPER_MODULE: Final = "holdfast.holder.launch"
HOLDER_MODULE: Final = "holdfast.holder.holder"
"""Where an upgrade in place finds ``main``: names that running keepers and holders know, so they stay."""
BOOT: Final = "import sys; sys.path.append(sys.argv[1]); __import__(sys.argv[2], fromlist=['main']).main(sys.argv[3:])"
"""Program text for ``python -I -S -c``: source folder, module, arguments. Appended, so that nothing shadows the
standard library when the package lives among others."""
