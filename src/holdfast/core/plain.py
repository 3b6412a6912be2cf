"""Make plain text of terminal output: drop control sequences, keep lines. Bounded, at any cut. Not a terminal (view is).

``Plain`` is for searching: streaming, fast, and it can say where in the output a piece of its text came from. ``rendered``
is for reading: what a command printed as it would stand on a wide sheet, with progress that overwrote itself collapsed.
"""

import re
from typing import Final

CARRY_MAX: Final = 4096  # bytes of an unfinished control sequence that are kept to see its rest
LINE_MAX: Final = 1 << 16  # columns of one rendered line; what would be drawn beyond is dropped

# CSI; strings (OSC ends at BEL too, and any other escape cuts a string off); character sets and the like; two-byte escapes.
# Each alternative is linear and begins differently, so no input makes the search slow.
_SEQUENCE: Final = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]+[0-~]|[0-OQ-WYZ\\`-~])"
)
_UNFINISHED: Final = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)\Z")
_NOTHING: Final = re.compile(b"(?:" + _SEQUENCE.pattern + b")*")
_STRING: Final = re.compile(rb"\x1b[\]PX^_]")
_STRING_END: Final = re.compile(rb"\x07|\x1b\\|\x1b(?=[^\\])")
_DROPPED: Final = bytes({*range(0x20), 0x7F} - {0x09, 0x0A})


class Plain:
    """Output in, text out. ``feed`` pieces in order; what is unfinished at the end of one waits for the next.

    Lines end with ``\\n``, whatever ended them in the output; a lone carriage return ends a line too. All other control
    characters are dropped. Text stays bytes: UTF-8 where the program wrote UTF-8.
    """

    def __init__(self) -> None:
        self._carry = b""
        self._in_string = False  # within a string too long to be carried: all is dropped until it ends

    @property
    def pending(self) -> int:
        """How many bytes at the end of what was fed are not in the text yet."""
        return len(self._carry)

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return (the output that was decided now, its text). The former begin where the last ones ended."""
        data = self._carry + data
        self._carry = b""
        skipped = 0
        if self._in_string:
            found = _STRING_END.search(data)
            if found is None:
                keep = 1 if data.endswith(b"\x1b") else 0
                self._carry = data[len(data) - keep :]
                return data[: len(data) - keep], b""
            self._in_string, skipped = False, found.end()
        at = self._unfinished(data, skipped)
        if at >= 0 and len(data) - at <= CARRY_MAX:
            self._carry = data[at:]
            data = data[:at]
        elif at >= 0:
            self._in_string = True
            return data, text_of(data[skipped:at])
        return data, text_of(data[skipped:])

    @staticmethod
    def _unfinished(data: bytes, start: int) -> int:
        """Return where begins what ``data`` does not finish, -1 if nothing: a sequence, or returns of which a line feed may make
        one end of a line, also with sequences in between, which leave nothing. A CSI too long to be kept is none."""
        escape, end = data.rfind(b"\x1b", start), len(data)
        if escape > start:  # it may be the first half of a string's end
            before = data.rfind(b"\x1b", start, escape)
            if before >= 0 and _STRING.match(data, before) and _UNFINISHED.match(data, before):
                escape = before
        if escape >= 0 and _UNFINISHED.match(data, escape):
            if end - escape > CARRY_MAX:
                return escape if _STRING.match(data, escape) else -1
            end = escape
        begin = _returns(data, start, end)
        return begin if begin < len(data) else -1


def _returns(data: bytes, start: int, end: int) -> int:
    """Return where the returns begin that stand before ``end``, with nothing but sequences between and after them."""
    low, begin, probe = max(start, len(data) - CARRY_MAX), end, end
    while (last := data.rfind(b"\r", low, probe)) >= 0:
        escape = data.rfind(b"\x1b", start, last)
        around = _SEQUENCE.match(data, escape) if escape >= 0 else None
        if around is not None and around.end() > last:  # it is part of a string
            probe = last = escape
        elif _NOTHING.fullmatch(data, last + 1, begin):
            begin = probe = last
            continue
        if not _NOTHING.fullmatch(data, last, begin):
            break
    return begin


def text_of(data: bytes) -> bytes:
    """Return the text of ``data``, which is taken as a whole: see ``Plain``."""
    if b"\x1b" in data:
        data = _SEQUENCE.sub(b"", data)
    if b"\r" in data:
        data = _newlines(data)
    return data.translate(None, _DROPPED)


def _newlines(data: bytes) -> bytes:
    while b"\r\r" in data:
        data = data.replace(b"\r\r", b"\r")
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def origin(data: bytes, at: int) -> int:
    """Return how many bytes of ``data`` it takes to make the first ``at`` bytes of its text: the least that do."""
    low, high = min(at, len(data)), len(data)
    while low < high:
        middle = (low + high) // 2
        if len(Plain().feed(data[:middle])[1]) >= at:
            high = middle
        else:
            low = middle + 1
    return low


def last_line(data: bytes, most: int = 200) -> str:
    """Return the text that stands on the line the cursor is on after ``data``: what a program asks, as a rule."""
    line = rendered(data[-4096:]).rpartition("\n")[2]
    return line[-most:].strip()


# ---- for reading -----------------------------------------------------------------------------------------------------

_TOKEN: Final = re.compile(r"\x1b\[([0-9;]*)([CDGK])|[\r\b\n]|[^\x1b\r\b\n]+")


def rendered(data: bytes) -> str:
    """Return ``data`` as text to read: sequences dropped, and within a line carriage returns, backspaces, and the
    sequences that move the cursor in it or erase to its end applied, as a terminal without a right edge would.

    So a progress bar is its last state, and a line that was typed and corrected is what it became. A line begins at the
    left edge. Bytes that are no UTF-8 become U+FFFD.
    """
    moving = _KEPT.sub(_kept, data) if b"\x1b" in data else data
    text = moving.decode("utf-8", "replace")
    if "\r" not in text and "\b" not in text and "\x1b" not in text:
        return text.translate(_NO_CONTROLS)
    text = text.translate(_NO_CONTROLS).replace("\r\n", "\n")
    return "\n".join(_line(line) if _moves(line) else line for line in text.split("\n"))


_KEPT: Final = re.compile(_SEQUENCE.pattern + rb"|\x1b")
_NO_CONTROLS: Final = {code: None for code in (*range(0x20), 0x7F) if code not in (0x08, 0x09, 0x0A, 0x0D, 0x1B)}


def _kept(found: "re.Match[bytes]") -> bytes:
    """Of control sequences only those stay that move within a line."""
    sequence = found.group()
    plain = sequence[:2] == b"\x1b[" and sequence[-1:] in b"CDGK" and not sequence[2:-1].strip(b"0123456789;")
    return sequence if plain and len(sequence) > 2 else b""


def _moves(line: str) -> bool:
    return "\r" in line or "\b" in line or "\x1b" in line


def _line(line: str) -> str:
    cells: list[str] = []
    at = 0
    for found in _TOKEN.finditer(line):
        token, final = found.group(), found.group(2)
        if token == "\r":
            at = 0
        elif token == "\b":
            at = max(0, at - 1)
        elif final:
            at = _moved(cells, at, final, found.group(1))
        else:
            token = token[: max(0, LINE_MAX - at)]
            if len(cells) < at:
                cells += " " * (at - len(cells))
            cells[at : at + len(token)] = token
            at += len(token)
    return "".join(cells).rstrip(" ") if "\x1b" in line or "\r" in line else "".join(cells)


def _moved(cells: list[str], at: int, final: str, parameters: str) -> int:
    first = parameters.partition(";")[0]
    count = min(int(first or 0), LINE_MAX) if len(first) < 9 else LINE_MAX
    if final == "K":
        if count == 0:
            del cells[at:]
        elif count == 1:
            cells[: at + 1] = " " * len(cells[: at + 1])
        else:
            cells.clear()
        return at
    if final == "G":
        return max(1, count) - 1
    step = max(1, count)
    return min(LINE_MAX, at + step) if final == "C" else max(0, at - step)
