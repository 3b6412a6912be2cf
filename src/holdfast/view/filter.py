"""Cut raw output into whole sequences and keep from the engine what it cannot be trusted with.

The engine only ever sees whole characters and whole control sequences; what output stopped in the middle of is kept
here as ``tail``. So the engine is at rest after every feed, a keyframe's parser state is a few raw bytes, and a viewer
that is given ``tail`` continues exactly where the stream goes on. Source of what is dropped: DESIGN section 3 and the
crash classes found by fuzzing the engine (OSC 8 hyperlinks, DECLRMM). Not here: what a query is answered with
(queries).
"""

import re
from typing import Final, NamedTuple

STRING_MAX: Final = 65536
"""Longest OSC, DCS, APC, PM or SOS body that is looked at; a longer one is skipped up to its end."""
PARAMETERS_MAX: Final = 4096
"""Longest body of a CSI or intermediate run; a longer one is given up, as by CAN. The engine takes 24 parameters."""
CONTROLS_MAX: Final = 256
REPEAT_MAX: Final = 4096
"""Most repetitions REP is passed with: unclamped, eight bytes of output cost the engine half a millisecond."""
OSC_PASSED: Final = frozenset({b"0", b"2", b"4", b"7", b"10", b"11", b"12", b"104", b"110", b"111", b"112"})
"""Title, colours, working directory. Not 8 (crashes), not 133 (the engine would clear prompts when resized; the host
reads command marks itself), nothing that reaches outside the screen (clipboard, notifications)."""
DROPPED: Final = b"\x18"
"""What stands in place of what is dropped: CAN, since its escape character may have ended a sequence before it, which
must not go on with what comes after it."""
MODES_DROPPED: Final = frozenset({40, 69})
"""69, DECLRMM: crashes. 40 lets a program change the number of columns, which is the PTY's to say."""

_C0 = rb"\x00-\x17\x19\x1c-\x1f\x7f"  # executed or ignored inside a sequence without ending it
_INTEREST: Final = re.compile(
    rb"\x1b[" + _C0 + rb"]{0,%d}+(?:" % CONTROLS_MAX
    + rb"\](?P<osc>[^\x07\x18\x1a\x1b]*+)(?P<bel>\x07)?"
    + rb"|(?P<kind>[PX^_])(?P<string>[^\x18\x1a\x1b]*+)"
    + rb"|\[(?P<body>[" + _C0 + rb"\x20-\x3f]{0,%d}+)(?P<final>[bchnpqtu])" % (PARAMETERS_MAX - 1)
    + rb"|(?P<long>\[[" + _C0 + rb"\x20-\x3f]{%d}" % PARAMETERS_MAX
    + rb"|[\x20-\x2f][" + _C0 + rb"\x20-\x2f]{%d}|[" % PARAMETERS_MAX + _C0 + rb"])"
    + rb"|(?P<high>(?:\[[" + _C0 + rb"\x20-\x3f]*+|[\x20-\x2f][" + _C0 + rb"\x20-\x2f]*+)?(?=[\x80-\xff]))"
    + rb")"
)  # fmt: skip
_PLAIN: Final = re.compile(
    rb"(?:[^\x1b]*+\x1b(?:\[[0-9;:]*+[A-Zdfglmrs@]|\[\?(?:25h|[0-9;]{1,9}l)|[=>78M]|\([0B]))*+[^\x1b]*+"
)  # text and what nearly all sequences are; it ends before the first escape that has to be looked at
_UNFINISHED: Final = re.compile(
    rb"\x1b[" + _C0 + rb"]*+(?:\[[" + _C0 + rb"\x20-\x3f]*+|[\x20-\x2f][" + _C0 + rb"\x20-\x2f]*+)?\Z"
)
_STRING_END: Final = {True: re.compile(rb"[\x07\x18\x1a\x1b]"), False: re.compile(rb"[\x18\x1a\x1b]")}
_CONTROLS: Final = bytes(range(32)) + b"\x7f"
_QUERIES: Final = re.compile(rb"\x1b\[(?:[?>=]?[\d;]*[cn]|[?]?[\d;]*\$p|>\d*q|\?u|\d[\d;]*t)\Z")


class Piece(NamedTuple):
    """Whole sequences for the engine, up to raw offset ``end``. ``query`` is the query ``data`` ends with, if any."""

    data: bytes
    end: int
    query: bytes = b""


class Filter:
    """Raw bytes in, pieces out; the result does not depend on where the bytes were cut. Holds at most one string."""

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset  # of the next raw byte
        self.tail = b""
        self._skipping: bool | None = None  # inside an overlong string: True in an OSC, False in another

    def skip(self, offset: int) -> None:
        """Go on at ``offset``, as after CAN: what lies between will never be seen."""
        self.offset, self.tail, self._skipping = offset, b"", None

    def feed(self, raw: bytes) -> list[Piece]:
        """Return what the engine may see now, split after every query so that a reply can be named by its end."""
        begin = 0
        before: list[Piece] = []
        end = self.offset + len(raw)
        self.offset = end
        if self._skipping is not None:
            found = _STRING_END[self._skipping].search(raw)
            if found is None:
                return []
            begin = found.end() if found.group() == b"\x07" else found.start()
            self.tail, self._skipping = b"", None
            before = [Piece(DROPPED, end - len(raw) + begin)]
        data = self.tail + raw[begin:] if self.tail or begin else raw
        base = end - len(data)  # raw offset of data[0]
        token = _next(data, 0)
        if token is None:  # nearly all output: one pass, no copy
            cut = _resting(data)
            self.tail = data[cut:]
            return [*before, Piece(data[:cut] if cut < len(data) else data, base + cut)] if cut else before
        return before + self._pieces(data, base, token)

    def _pieces(self, data: bytes, base: int, token: re.Match[bytes] | None) -> list[Piece]:
        pieces: list[Piece] = []
        kept: list[bytes] = []
        done = 0
        self.tail = b""
        while token is not None:
            kept.append(data[done : token.start()])
            done = token.end()
            if token["osc"] is not None or token["string"] is not None:
                string, query = self._string(data, token)
                if string is None:
                    self.tail = data[token.start() : token.start() + STRING_MAX + CONTROLS_MAX + 3]
                    break
            else:
                string, query = _control(token)
            kept.append(string)
            if query:
                pieces.append(Piece(b"".join(kept), base + done, query))
                kept.clear()
            token = _next(data, done)
        else:
            rest = data[done:]
            cut = _resting(rest)
            kept.append(rest[:cut])
            self.tail = rest[cut:]
        passed = b"".join(kept)
        if passed:
            pieces.append(Piece(passed, self.offset - len(self.tail) if self._skipping is None else self.offset))
        return pieces

    def _string(self, data: bytes, token: re.Match[bytes]) -> tuple[bytes | None, bytes]:
        """Return what the engine sees of a string and the query it is; None: it has not ended yet."""
        is_osc = token["osc"] is not None
        body = token["osc"] if is_osc else token["string"]
        bell = token["bel"] is not None
        if not bell and token.end() == len(data):
            if len(body) > STRING_MAX:
                self._skipping = is_osc
            return None, b""
        if len(body) > STRING_MAX or not (bell or data[token.end()] == 0x1B):  # CAN and SUB give a string up
            return DROPPED, b""
        if is_osc:
            return _command(body.translate(None, _CONTROLS), b"\x07" if bell else b"\x1b\\")
        if token["kind"] == b"P" and body[:2] in (b"$q", b"+q") and len(body) <= 1024 and body.isascii():
            whole = b"\x1bP" + body.translate(None, _CONTROLS) + b"\x1b\\"
            return whole, whole
        return DROPPED, b""


def _next(data: bytes, at: int) -> re.Match[bytes] | None:
    """Return the next sequence in ``data`` from ``at`` that has to be looked at."""
    while True:
        plain = _PLAIN.match(data, at)
        at = plain.end() if plain else at
        if at >= len(data):
            return None
        token = _INTEREST.match(data, at)
        if token is not None:
            return token
        at += 1


def _command(body: bytes, ending: bytes) -> tuple[bytes, bytes]:
    number = body.partition(b";")[0]
    if number not in OSC_PASSED:
        return DROPPED, b""
    whole = b"\x1b]" + body + ending
    return whole, whole if b"?" in body and number in (b"4", b"10", b"11", b"12") else b""


def _control(token: re.Match[bytes]) -> tuple[bytes, bytes]:
    """Return a control sequence as the engine may see it, and the query it is."""
    if token["high"] is not None:  # a C1 byte would act inside the sequence: end it first, as UTF-8 terminals do
        return token.group() + b"\x18", b""
    if token["long"] is not None:
        return DROPPED, b""
    body, final = token["body"], token["final"]
    plain = body.translate(None, _CONTROLS)
    if final == b"h" and plain[:1] == b"?":
        modes = re.split(rb"[;:]", plain[1:])
        left = [mode for mode in modes if not (mode.isdigit() and int(mode[-9:]) % 65536 in MODES_DROPPED)]
        if len(left) == len(modes):
            return token.group(), b""
        return _executed(token) + (b"\x1b[?" + b";".join(left) + b"h" if left else b""), b""
    if final == b"b" and plain.isdigit() and (len(plain) > 9 or int(plain) > REPEAT_MAX):
        return _executed(token) + b"\x1b[%db" % REPEAT_MAX, b""
    whole = b"\x1b[" + plain + final
    return token.group(), whole if _QUERIES.match(whole) else b""


def _executed(token: re.Match[bytes]) -> bytes:
    """Return the controls inside a sequence that is rewritten: they act on their own."""
    return DROPPED + bytes(byte for byte in token.group() if byte < 0x20 and byte != 0x1B)


def _resting(data: bytes) -> int:
    """Return where in ``data``, which holds no string, the unfinished sequence or character at its end begins."""
    escape = data.rfind(b"\x1b")
    if escape >= 0 and _UNFINISHED.match(data, escape):
        return escape
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if back < wanted and byte <= 0xF4 else len(data)
    return len(data)
