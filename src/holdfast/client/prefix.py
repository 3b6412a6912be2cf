"""Find the prefix key and its commands in what is typed. Pure: bytes and time in, bytes and acts out.

The prefix is a control key (Ctrl-\\ unless chosen otherwise). It is recognised as its control byte, as kitty's keyboard
protocol writes it (``CSI 92 ; 5 u``) and as xterm's modifyOtherKeys does (``CSI 27 ; 5 ; 92 ~``), however the bytes are
split, and never inside a bracketed paste. Not here: what a command does (terminal).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

DETACH, HELP, UNKNOWN = "detach", "help", "unknown"
TAKE, GIVE, PAUSE = "take", "give", "pause"  # control of the session
APPROVE = "approve"  # show what waits for approval
_COMMANDS = {"t": TAKE, "T": TAKE, "g": GIVE, "G": GIVE, "p": PAUSE, "P": PAUSE, "a": APPROVE, "A": APPROVE}
DEFAULT = "ctrl-\\"
HOLD_S = 0.015  # seconds an unfinished escape sequence waits for its rest; a lone Esc key waits as long
SEQUENCE_MAX = 64  # bytes of one key; longer ones are not keys and pass
PASTE, PASTE_END = b"\x1b[200~", b"\x1b[201~"
_CTRL, _SHIFT, _LOCKS = 4, 1, 64 | 128  # bits of a kitty modifier field less one; caps and num lock are no modifiers
_MODIFIER_KEYS = range(57441, 57455)  # kitty: Shift, Ctrl, ... pressed alone
_RELEASE = 3


def prefix_code(text: str) -> int | None:
    """Return the control code ``text`` names (``ctrl-a``, ``C-a``, ``^A``), None for ``none``. Raises ValueError."""
    if text.lower() == "none":
        return None
    for start in ("ctrl-", "ctrl+", "c-", "^"):
        key = text[len(start) :]
        if text.lower().startswith(start) and len(key) == 1 and "@" < key.upper() <= "_" and key != "[":
            return ord(key.upper()) & 31
    return _no_prefix(text)


def _no_prefix(text: str) -> NoReturn:
    raise ValueError(f"{text!r} is no prefix key: write one as ctrl-a, ctrl-\\ or ^], or none for no prefix at all")


def prefix_name(code: int | None) -> str:
    """Return how people write the prefix: ``Ctrl-\\``."""
    return "no prefix" if code is None else f"Ctrl-{chr(code | 64)}"


def key_of(sequence: bytes) -> tuple[int, int, int] | None:
    """Return (codepoint as typed, modifiers, event) of a CSI u or modifyOtherKeys sequence, else None."""
    if not sequence.startswith(b"\x1b[") or sequence[-1:] not in (b"u", b"~"):
        return None
    fields = sequence[2:-1].split(b";")
    try:
        if sequence.endswith(b"~"):
            if len(fields) != 3 or fields[0] != b"27":
                return None
            return int(fields[2]), (int(fields[1]) - 1) & ~_LOCKS, 1
        keys = fields[0].split(b":")
        state = (fields[1] if len(fields) > 1 else b"1").split(b":")
        modifiers = (int(state[0] or b"1") - 1) & ~_LOCKS
        shifted = len(keys) > 1 and keys[1] and modifiers & _SHIFT
        return int(keys[1] if shifted else keys[0]), modifiers, int(state[1]) if len(state) > 1 and state[1] else 1
    except ValueError:
        return None


def sequence_at(data: bytes, at: int) -> bytes | None:
    """Return the key that begins with the ESC at ``at``; None if its rest is still to come."""
    second = data[at + 1 : at + 2]
    if not second:
        return None
    if second == b"\x1b":
        return b"\x1b"
    if second == b"O":
        return data[at : at + 3] if len(data) > at + 2 else None
    if second != b"[":
        return data[at : at + 2]
    if data[at + 2 : at + 3] == b"M":  # X10 mouse: three bytes of any value follow
        return data[at : at + 6] if len(data) >= at + 6 else None
    for end in range(at + 2, min(len(data), at + SEQUENCE_MAX)):
        if 0x40 <= data[end] <= 0x7E:
            return data[at : end + 1]
        if not 0x20 <= data[end] <= 0x3F:
            return data[at:end]
    return data[at : at + 2] if len(data) >= at + SEQUENCE_MAX else None


class Prefix:
    """The scanner. ``deadline`` is when ``wake`` is next due; None: nothing is held."""

    def __init__(self, code: int | None) -> None:
        self.code = code
        self.deadline: float | None = None
        self._byte = bytes((code,)) if code is not None else b""
        # codepoints a keyboard protocol may give for the key: Ctrl-A is reported as a, Ctrl-\ as \
        self._points = (
            frozenset((code | 64, code | 96))
            if code is not None and code | 64 < 91
            else frozenset((code | 64,) if code else ())
        )
        self._held = b""
        self._first = b""  # the prefix press that armed us, as it was typed; empty: not armed
        self._pasting = False

    @property
    def armed(self) -> bool:
        return bool(self._first)

    def feed(self, data: bytes, now: float) -> list[bytes | str]:
        """Return what ``data`` means, in order: bytes to type and acts (DETACH, HELP, UNKNOWN). DETACH comes last."""
        if self.code is None:
            return [data] if data else []
        data, self._held, self.deadline = self._held + data, b"", None
        if not (self._first or self._pasting or b"\x1b" in data or self._byte in data):
            return [data] if data else []
        found: list[bytes | str] = []
        out = bytearray()
        at = 0
        while at < len(data):
            at, act = self._step(data, at, out, now)
            if act:
                if out:
                    found.append(bytes(out))
                    out.clear()
                found.append(act)
                if act == DETACH:
                    return found
        if out:
            found.append(bytes(out))
        return found

    def wake(self, now: float) -> list[bytes | str]:
        """Return what was held for too long: an Esc key, or an escape sequence whose rest never came."""
        if self.deadline is None or now < self.deadline:
            return []
        held, self._held, self.deadline = self._held, b"", None
        if self._first and held == b"\x1b":  # Esc after the prefix: never mind
            self._first = b""
            return []
        return [held]

    def _hold(self, data: bytes, at: int, now: float) -> int:
        self._held, self.deadline = data[at:], now + HOLD_S
        return len(data)

    def _step(self, data: bytes, at: int, out: bytearray, now: float) -> tuple[int, str]:
        if self._pasting:
            return self._paste(data, at, out, now), ""
        byte = data[at : at + 1]
        if byte == b"\x1b":
            sequence = sequence_at(data, at)
            if sequence is None:
                return self._hold(data, at, now), ""
            return at + len(sequence), self._key(sequence, out)
        if byte == self._byte or self._first:
            return at + 1, self._key(byte, out)
        ends = [end for end in (data.find(b"\x1b", at), data.find(self._byte, at)) if end >= 0]
        end = min(ends, default=len(data))
        out += data[at:end]
        return end, ""

    def _paste(self, data: bytes, at: int, out: bytearray, now: float) -> int:
        end = data.find(PASTE_END, at)
        if end >= 0:
            self._pasting = False
            out += data[at : end + len(PASTE_END)]
            return end + len(PASTE_END)
        for size in range(min(len(PASTE_END) - 1, len(data) - at), 0, -1):
            if data.endswith(PASTE_END[:size]):
                out += data[at : len(data) - size]
                return self._hold(data, len(data) - size, now)
        out += data[at:]
        return len(data)

    def _key(self, sequence: bytes, out: bytearray) -> str:
        key = key_of(sequence)
        ours = sequence == self._byte or (key is not None and key[0] in self._points and key[1] == _CTRL)
        if ours and key is not None and key[2] == _RELEASE:
            return ""  # the release of a press that never reached the session
        if not self._first:
            if ours:
                self._first = sequence
            else:
                self._pasting = sequence == PASTE
                out += sequence
            return ""
        if key is not None and (key[2] == _RELEASE or key[0] in _MODIFIER_KEYS):
            return ""  # letting go of Ctrl is not the command
        if sequence[:3] in (b"\x1b[<", b"\x1b[M", b"\x1b[I", b"\x1b[O"):  # mouse and focus happen in between
            out += sequence
            return ""
        first, self._first = self._first, b""
        if ours:
            out += sequence
            return ""
        return self._command(chr(key[0]) if key else sequence.decode("latin-1"), first, out)

    def _command(self, char: str, first: bytes, out: bytearray) -> str:
        if char in ("d", "D", "\x04"):
            return DETACH
        if char in ("?", "/", "h"):
            return HELP
        if self.code is not None and char.upper() == chr(self.code | 64):
            out += first
            return ""
        return "" if char == "\x1b" else _COMMANDS.get(char, UNKNOWN)
