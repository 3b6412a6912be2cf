"""Swallow what the user's own terminal answers to queries in the output. Pure: bytes and time in, bytes out.

The host answers the queries of a session, once, whoever watches (DESIGN 3). The same query reaches each watching
terminal in the raw output, and its answer comes in as if it had been typed. Nothing is searched while output streams:
the last of it is kept (references, no copies), and looked through only when something is typed that has the form of an
answer. An answer is swallowed only if its query was written here within ``MEMORY_S`` and not answered yet; real keys,
also those that look like answers (Ctrl-F3 and a cursor report), pass.

Written out by hand: `re` and the compilation of such patterns take 45 ms, most of what a whole attach may take.
Sources: ECMA-48, DEC STD 070, xterm's ctlseqs, kitty's keyboard and graphics protocols.
"""

from __future__ import annotations

from collections import deque

MEMORY_S = 2.0  # seconds an answer may take
MEMORY_BYTES = 1 << 19  # of output looked back at: more than kernel and terminal hold between us and the eye
CARRY = 4096  # bytes of an unfinished query looked at again when more output comes
HOLD_S = 0.03  # seconds an unfinished control sequence waits for its rest
HOLD_STRING_S = 0.25  # and an unfinished string, which nobody types
STRING_MAX = 1 << 20  # bytes of one answer (a clipboard); longer ones pass
DUE_MAX = 256  # answers of one kind expected at once

# How a query can go on after ESC: two bytes, or three where two are too common. Everything else is passed over at the
# speed of bytes.split.
_TWO = frozenset((b"[c", b"[?", b"[>", b"[=", b"[x", b"]1", b"]2", b"]4", b"]5", b"P$", b"P+", b"_G"))
_THREE = frozenset(
    b"[%b" % rest
    for rest in (b"0c", b"5n", b"6n", b"0x", b"1x", b"11", b"13", b"14", b"15", b"16", b"18", b"19", b"20", b"21")
) | frozenset(b"[%d$" % digit for digit in range(10))

CSI, STRINGS = b"[", (b"P", b"]", b"_")


def control(data: bytes, at: int) -> tuple[int, bytes, bytes] | None:
    """Return (end, introducer, body) of the CSI, DCS, OSC or APC that begins with the ESC at ``at``.

    ``end`` -1: it is unfinished. None: it is no such sequence.
    """
    intro = data[at + 1 : at + 2]
    if not intro:
        return -1, b"", b""
    if intro == CSI:
        for end in range(at + 2, len(data)):
            if not 0x20 <= data[end] <= 0x3F:
                return (end + 1, CSI, data[at + 2 : end + 1]) if 0x40 <= data[end] <= 0x7E else None
        return -1, CSI, b""
    if intro not in STRINGS:
        return None
    bell, escape = data.find(b"\x07", at + 2), data.find(b"\x1b", at + 2)
    if bell >= 0 and not 0 <= escape < bell:
        return bell + 1, intro, data[at + 2 : bell]
    if escape < 0 or escape + 1 == len(data):
        return -1, intro, b""
    return (escape + 2, intro, data[at + 2 : escape]) if data[escape + 1] == 0x5C else None


def _parts(body: bytes) -> tuple[bytes, bytes]:
    """Split a CSI's body into (its private marker and parameters, its intermediates and final byte)."""
    end = len(body) - 1
    while end and 0x20 <= body[end - 1] <= 0x2F:
        end -= 1
    return body[:end], body[end:]


def _number(text: bytes) -> bytes:
    """The leading digits of ``text``."""
    end = 0
    while end < len(text) and 0x30 <= text[end] <= 0x39:
        end += 1
    return text[:end]


_PLAIN_QUERIES = {
    (b"", b"c"): "da1", (b"0", b"c"): "da1", (b">", b"c"): "da2", (b">0", b"c"): "da2", (b"=", b"c"): "da3",
    (b"=0", b"c"): "da3", (b"5", b"n"): "dsr", (b"6", b"n"): "cpr", (b"?6", b"n"): "decxcpr", (b">", b"q"): "xtversion",
    (b">0", b"q"): "xtversion", (b"?", b"u"): "kitty", (b"20", b"t"): "title", (b"21", b"t"): "title",
    (b"", b"x"): "parameters", (b"0", b"x"): "parameters", (b"1", b"x"): "parameters",
}  # fmt: skip
_WINDOW = frozenset((b"11", b"13", b"14", b"15", b"16", b"18", b"19"))
_OSC = frozenset((b"4", b"5", b"21", b"52", *(b"%d" % number for number in range(10, 20))))


def query(intro: bytes, body: bytes) -> tuple[str, int]:
    """Return (the kind of answer this sequence asks for, how many); ("", 0) if it is no query."""
    if intro == CSI:
        start, final = _parts(body)
        if kind := _PLAIN_QUERIES.get((start, final)):
            return kind, 1
        if final == b"n" and start[:1] == b"?":
            return "decdsr", 1
        kind = {b"$p": "decrqm", b"$w": "state"}.get(final, "")
        if final == b"m" and start[:1] == b"?":
            kind = "modkeys"
        elif final == b"t" and start.partition(b";")[0] in _WINDOW:
            kind = "window"
        return kind, 1 if kind else 0
    if intro == b"]":
        number = _number(body)
        return ("osc" + number.decode(), body.count(b"?")) if number in _OSC and b"?" in body else ("", 0)
    if intro == b"P":
        if body[:2] == b"+q":
            return "xtgettcap", 1 + body.count(b";")
        return ("decrqss", 1) if body[:2] == b"$q" else ("", 0)
    return ("graphics", 1) if body[:1] == b"G" else ("", 0)


_CSI_ANSWERS = {
    (b"?", b"c"): "da1", (b">", b"c"): "da2", (b"", b"n"): "dsr", (b"", b"R"): "cpr", (b"?", b"R"): "decxcpr",
    (b"?", b"n"): "decdsr", (b"?", b"$y"): "decrqm", (b"", b"$y"): "decrqm", (b"?", b"u"): "kitty",
    (b">", b"m"): "modkeys", (b"", b"t"): "window", (b"", b"x"): "parameters",
}  # fmt: skip
_DCS_ANSWERS = ((b"!|", "da3"), (b">|", "xtversion"), (b"$r", "decrqss"), (b"+r", "xtgettcap"), (b"$u", "state"))


def answer(intro: bytes, body: bytes) -> str:
    """Return the kind of answer this sequence could be; "" if it cannot be one."""
    if intro == CSI:
        start, final = _parts(body)
        marker = start[:1] if start[:1] in (b"?", b">", b"=") else b""
        return _CSI_ANSWERS.get((marker, final), "")
    if intro == b"P":
        rest = body[len(_number(body)) :]
        return next((kind for mark, kind in _DCS_ANSWERS if rest.startswith(mark)), "")
    if intro == b"]":
        if body[:1] in (b"l", b"L"):
            return "title"
        number = _number(body)
        return "osc" + number.decode() if number in _OSC else ""
    return "graphics" if body[:1] == b"G" else ""


class Replies:
    """The filter. ``deadline`` is when ``wake`` is next due; None: nothing is held."""

    def __init__(self) -> None:
        self.deadline: float | None = None
        self._fresh: deque[tuple[float, bytes]] = deque()  # written and not yet looked through
        self._fresh_bytes = 0
        self._carry = b""
        self._due: dict[str, list[float]] = {}  # kind: until when each outstanding answer is expected
        self._held = b""

    def wrote(self, data: bytes, now: float) -> None:
        """Note that ``data`` was written to the terminal. Constant time: the bytes are looked at only if need be."""
        fresh = self._fresh
        fresh.append((now, data))
        self._fresh_bytes += len(data)
        while self._fresh_bytes - len(fresh[0][1]) > MEMORY_BYTES or fresh[0][0] < now - MEMORY_S:
            self._fresh_bytes -= len(fresh.popleft()[1])
            self._carry = b""

    def typed(self, data: bytes, now: float) -> bytes:
        """Return ``data`` without the answers in it. What may be half an answer is held until ``deadline``."""
        data, self._held, self.deadline = self._held + data, b"", None
        at = data.find(b"\x1b")
        if at < 0:
            return data
        out = bytearray(data[:at])
        while at >= 0:
            end = at + 1
            found = control(data, at)
            if found is not None and found[0] > 0:
                kind = answer(found[1], found[2])
                end = found[0] if kind else end
                if not (kind and self._settled(kind, now)):
                    out += data[at:end]
            elif found is not None and len(data) - at <= STRING_MAX and self.outstanding(now):
                self._held = data[at:]
                self.deadline = now + (HOLD_S if found[1] in (b"", CSI) else HOLD_STRING_S)
                return bytes(out)
            else:
                out += data[at:end]
            at = data.find(b"\x1b", end)
            out += data[end : at if at >= 0 else len(data)]
        return bytes(out)

    def wake(self, now: float) -> bytes:
        """Return what was held in vain."""
        if self.deadline is None or now < self.deadline:
            return b""
        held, self._held, self.deadline = self._held, b"", None
        return held

    def outstanding(self, now: float) -> bool:
        """Tell whether an answer may still come."""
        self._look(now)
        return any(until >= now for expected in self._due.values() for until in expected)

    def _settled(self, kind: str, now: float) -> bool:
        self._look(now)
        expected = [until for until in self._due.get(kind, ()) if until >= now]
        self._due[kind] = expected[1:]
        return bool(expected)

    def _look(self, now: float) -> None:
        """Find the queries in what was written since the last look. 15 ms for the most that is kept, at worst."""
        if not self._fresh:
            return
        until = self._fresh[-1][0] + MEMORY_S
        text = self._carry + b"".join(data for _, data in self._fresh)
        self._fresh.clear()
        self._fresh_bytes = 0
        pieces = text.split(b"\x1b")
        at, unfinished = len(pieces[0]), -1
        for piece in pieces[1:]:
            if piece[:2] in _TWO or piece[:3] in _THREE:
                found = control(text, at)
                if found is not None and found[0] < 0:
                    unfinished = at
                    break
                if found is not None:
                    self._expect(*query(found[1], found[2]), until=until, now=now)
            at += 1 + len(piece)
        last = text.rfind(b"\x1b")
        if unfinished < 0 and last >= 0 and (found := control(text, last)) is not None and found[0] < 0:
            unfinished = last
        self._carry = text[unfinished:] if unfinished >= 0 and len(text) - unfinished <= CARRY else b""

    def _expect(self, kind: str, count: int, *, until: float, now: float) -> None:
        if count:
            waiting = [at for at in self._due.get(kind, ()) if at >= now]
            self._due[kind] = [*waiting, *[until] * count][-DUE_MAX:]
