"""Swallow what the user's own terminal answers to queries in the output. Pure: bytes and time in, bytes out.

The host answers the queries of a session, once, whoever watches (DESIGN 3). The same query reaches each watching
terminal in the raw output, and its answer comes in as if it had been typed. Nothing is searched while output streams:
the last of it is kept (references, no copies), and looked through only when something is typed that has the form of an
answer. An answer is swallowed only if its query was written here within ``MEMORY_S`` and not answered yet; real keys,
also those that look like answers (Ctrl-F3 and a cursor report), pass.
"""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from re import Match, Pattern

MEMORY_S = 2.0  # seconds an answer may take
MEMORY_BYTES = 2 << 20  # of output looked back at: more than terminal, kernel and ssh hold between us and the eye
CARRY = 4096  # bytes looked at again when more output comes: the longest query
HOLD_S = 0.03  # seconds an unfinished control sequence waits for its rest
HOLD_STRING_S = 0.25  # and an unfinished string, which nobody types
STRING_MAX = 1 << 20  # bytes of one answer (a clipboard); longer ones pass

_ST = rb"(?:\x1b\\|\x07)"
# kind: (query in the output, answer in the input). Sources: ECMA-48, DEC STD 070, xterm ctlseqs, kitty's protocols.
TABLE = {
    "da1": (rb"\x1b\[0?c", rb"\x1b\[\?[\d;]*c"),
    "da2": (rb"\x1b\[>0?c", rb"\x1b\[>[\d;]*c"),
    "da3": (rb"\x1b\[=0?c", rb"\x1bP!\|[^\x1b\x07]*" + _ST),
    "dsr": (rb"\x1b\[5n", rb"\x1b\[[03]n"),
    "cpr": (rb"\x1b\[6n", rb"\x1b\[\d+;\d+R"),
    "decxcpr": (rb"\x1b\[\?6n", rb"\x1b\[\?\d+;\d+(?:;\d+)?R"),
    "decdsr": (rb"\x1b\[\?(?:15|2[56]|5[356]|6[23]|75|85|996)(?:;\d+)?n", rb"\x1b\[\?[\d;]+n"),
    "decrqm": (rb"\x1b\[\??\d*\$p", rb"\x1b\[\??\d+;\d+\$y"),
    "xtversion": (rb"\x1b\[>0?q", rb"\x1bP>\|[^\x1b\x07]*" + _ST),
    "kitty": (rb"\x1b\[\?u", rb"\x1b\[\?\d*u"),
    "modkeys": (rb"\x1b\[\?[0-4]m", rb"\x1b\[>[\d;]+m"),
    "window": (rb"\x1b\[1[1345689](?:;\d+)*t", rb"\x1b\[\d+(?:;\d+)*t"),
    "title": (rb"\x1b\[2[01]t", rb"\x1b\][lL][^\x1b\x07]*" + _ST),
    "parameters": (rb"\x1b\[[01]?x", rb"\x1b\[[23];[\d;]*x"),
    "decrqss": (rb"\x1bP\$q[^\x1b\x07]*" + _ST, rb"\x1bP[01]\$r[^\x1b\x07]*" + _ST),
    "xtgettcap": (rb"\x1bP\+q[^\x1b\x07]*" + _ST, rb"\x1bP[01]\+r[^\x1b\x07]*" + _ST),
    "state": (rb"\x1b\[[12]\$w", rb"\x1bP[12]\$u[^\x1b\x07]*" + _ST),
    "checksum": (rb"\x1b\[[\d;]*\*y", rb"\x1bP\d+!~[^\x1b\x07]*" + _ST),
    "graphics": (rb"\x1b_G[^\x1b]*\x1b\\", rb"\x1b_G[^\x1b]*\x1b\\"),
    "osc": (
        rb"\x1b\](?:4|5|1\d|21|52|104)(?:;[^\x1b\x07]*)?\?[^\x1b\x07]*" + _ST,
        rb"\x1b\](?:4|5|1\d|21|52);[^\x1b\x07]*" + _ST,
    ),
}
_PARTIAL = rb"\x1b(?:\[[?>=]?[\d;]*\$?|[P\]_][^\x1b\x07]*\x1b?)?\Z"

_compiled: list[Pattern[bytes]] = []


def _patterns() -> list[Pattern[bytes]]:
    """Return the query, answer and partial patterns. Compiled at the first need: `re` costs 5 ms of a 60 ms attach."""
    if not _compiled:
        import re

        _compiled.extend(re.compile(_joined(side)) for side in (0, 1))
        _compiled.append(re.compile(_PARTIAL))
    return _compiled


def _joined(side: int) -> bytes:
    """One pattern for one side of the table, branching on what follows ESC: 20 times the speed of a flat alternative."""
    found: dict[bytes, list[bytes]] = {}
    for kind, pair in TABLE.items():
        start = 3 if pair[side][4:5] == b"\\" else 2  # ESC is written in four characters, an escaped bracket in two
        found.setdefault(pair[side][4 : 3 + start], []).append(b"(?P<%s>%s)" % (kind.encode(), pair[side][3 + start :]))
    return rb"\x1b(?:%s)" % b"|".join(rb"%s(?:%s)" % (after, b"|".join(ways)) for after, ways in found.items())


def _kind(found: Match[bytes]) -> str:
    kind = found.lastgroup or ""
    if kind == "osc":  # each colour is asked and answered under its own number
        return "osc" + found.group()[2:].partition(b";")[0].decode("latin-1")
    return kind


def _answers(kind: str, query: bytes) -> int:
    """How many answers ``query`` may bring: one string can ask for several colours or capabilities."""
    if kind.startswith("osc"):
        return max(1, query.count(b"?"))
    return 1 + query.count(b";") if kind == "xtgettcap" else 1


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
        _, answer, partial = _patterns()
        out = bytearray(data[:at])
        while at >= 0:
            end = at + 1
            if found := answer.match(data, at):
                end = found.end()
                if not self._settled(_kind(found), now):
                    out += data[at:end]
            elif partial.match(data, at) and len(data) - at <= STRING_MAX and self.outstanding(now):
                self._held = data[at:]
                self.deadline = now + (HOLD_S if data[at + 1 : at + 2] in (b"", b"[") else HOLD_STRING_S)
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
        """Find the queries in what was written since the last look."""
        if not self._fresh:
            return
        until = self._fresh[-1][0] + MEMORY_S
        text = self._carry + b"".join(data for _, data in self._fresh)
        self._fresh.clear()
        self._fresh_bytes = 0
        end = 0
        for found in _patterns()[0].finditer(text):
            kind, end = _kind(found), found.end()
            expected = [at for at in self._due.get(kind, ()) if at >= now]
            self._due[kind] = [*expected, *[until] * _answers(kind, found.group())][-256:]
        self._carry = text[max(end, len(text) - CARRY) :]
