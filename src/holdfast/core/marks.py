"""Find a shell's marks in raw output, and believe those that spend a value only that shell knows. Pure: bytes in, marks out.

Not here: what they mean (commands), how a shell comes to print them (host.shells). Source: docs/shell-integration.md.

A mark is ``ESC ] 133 ; KIND ; ... ; hold=NUMBER.VALUE ; ... BEL`` without any other control byte in it. Values come from a
list without end that shell and host both make from one seed; each is good once, and with it all before it are spent.
"""

import enum
import hashlib
import hmac
import re
import struct
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

MARK_BYTES_MAX: Final = 64 * 1024  # of one mark; our shells cut a command's text at 4,096 characters
SEED_BYTES: Final = 32
NUMBER_MAX: Final = 1 << 34  # of a value: 2**31 blocks of eight
NEAR: Final = 8  # blocks from the newest value on that are kept at hand; marks that were lost take a shell further
FAR_MAX: Final = (
    64  # looks at values further on in one ``feed``: whoever prints forged marks must not cost us a processor
)
_BEGIN: Final = b"\x1b]133;"
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")
_FILLER: Final = re.compile(rb"(?:\x1b\[[\d;]*m)*[^\x1b\r\n]{1,8}(?:\x1b\[[\d;]*m)* {2,}\r \r\Z")
FILLER_BYTES_MAX: Final = 2048


class Drawn(enum.StrEnum):
    """How a list of values is drawn from its seed: what a shell can compute decides."""

    CHACHA20 = "chacha20"  # the key stream of RFC 8439 under the seed, nonce zero, in the shell's own arithmetic
    SHA512 = "sha512"  # SHA-512 of the seed in hexadecimal, ``:`` and the block's number, by coreutils


class Values:
    """The list of one shell. ``value(n)`` is the same for shell and host, and nobody else can tell the next from the former."""

    def __init__(self, seed: bytes, drawn: Drawn) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed has {SEED_BYTES} bytes")
        self._seed, self._drawn = seed, drawn
        self._blocks: dict[int, tuple[str, ...]] = {}

    def value(self, number: int) -> str:
        """Return value ``number`` (0 to 2**34 - 1), 16 hexadecimal digits."""
        block = number >> 3
        values = self._blocks.get(block)
        if values is None:
            while len(self._blocks) >= 2 * NEAR:
                del self._blocks[next(iter(self._blocks))]
            values = self._blocks[block] = self._made(block)
        return values[number & 7]

    def _made(self, block: int) -> tuple[str, ...]:
        if self._drawn is Drawn.CHACHA20:
            nonce = struct.pack("<IIII", block, 0, 0, 0)  # the block's number, then the nonce of RFC 8439
            stream = Cipher(algorithms.ChaCha20(self._seed, nonce), mode=None).encryptor().update(bytes(64))
            words = struct.unpack("<16I", stream)
            return tuple(f"{words[at]:08x}{words[at + 1]:08x}" for at in range(0, 16, 2))
        text = hashlib.sha512(f"{self._seed.hex()}:{block}".encode()).hexdigest()
        return tuple(text[at : at + 16] for at in range(0, 128, 16))


class Mark(NamedTuple):
    """One mark that is believed. ``start``: offset of its first byte, ``end``: after its last."""

    kind: str  # A a prompt begins, B it ends and the line begins, P the line goes on, C a command begins, D it ended
    start: int
    end: int
    number: int  # of the value it spent
    status: int | None = None  # of D
    text: str | None = None  # of C: the command line as the shell has it
    cut: bool = False  # the text is only its beginning
    cwd: str = ""  # of A


class Scanner:
    """Finds marks however output is cut. Memory: one unfinished mark. ``offset``: everything before it was looked at.

    ``spent``: values below this number are good no more. ``foreign`` counts marks without a value of ours (other tools',
    forged ones), ``repeated`` those whose value was spent (a redrawn prompt, a copy).
    """

    def __init__(self, values: Values, *, offset: int = 0, spent: int = 0) -> None:
        self.offset, self.spent = offset, spent
        self.foreign = self.repeated = 0
        self._values = values
        self._rest = b""  # of a mark that is not complete
        self._far = FAR_MAX

    @property
    def resume(self) -> int:
        """Where another scanner goes on that knows nothing but this and ``spent``: before a mark that is not complete."""
        return self.offset - len(self._rest)

    def feed(self, offset: int, data: bytes) -> list[Mark]:
        """Look at ``data``, the output from ``offset`` on. A jump in ``offset`` drops an unfinished mark: its end is lost."""
        if offset != self.offset:
            self._rest = b""
        begin = offset - len(self._rest)
        self.offset = offset + len(data)
        self._far = FAR_MAX
        found: list[Mark] = []
        if b"\x07" in data:  # nothing ends without it: a flood of text costs one memchr
            whole = self._rest + data
            at = whole.find(_BEGIN)
            while at >= 0:
                stop = _CONTROL.search(whole, at + len(_BEGIN))
                if stop is None:
                    break
                if stop.group() == b"\x07" and stop.end() - at <= MARK_BYTES_MAX:
                    mark = self._believed(whole[at + len(_BEGIN) : stop.start()], begin + at, begin + stop.end())
                    if mark is not None:
                        found.append(mark)
                at = whole.find(_BEGIN, stop.start())
            self._rest = _unfinished(whole)
        else:
            self._rest = _unfinished(self._rest + data if self._rest else data)
        return found

    def _believed(self, body: bytes, start: int, end: int) -> Mark | None:
        kind, *fields = body.split(b";")
        named = dict(field.split(b"=", 1) for field in fields if b"=" in field)
        number, _, value = named.get(b"hold", b"").partition(b".")
        if not number.isdigit() or len(number) > 11 or int(number) >= NUMBER_MAX:
            self.foreign += 1
            return None
        at = int(number)
        if at < self.spent:
            self.repeated += 1
            return None
        far = (at >> 3) - (self.spent >> 3) >= NEAR
        self._far -= far
        if (far and self._far < 0) or not hmac.compare_digest(self._values.value(at).encode(), value):
            self.foreign += 1
            return None
        self.spent = at + 1
        status = fields[0] if kind == b"D" and fields else b""
        text = named.get(b"cmdline_url")
        return Mark(
            kind.decode("ascii", "replace"), start, end, at,
            status=int(status) if status.isdigit() and len(status) < 4 else None,
            text=_text(text) if text is not None else None, cut=b"cut" in named, cwd=_text(named.get(b"cwd", b"")),
        )  # fmt: skip


def _unfinished(data: bytes) -> bytes:
    """Return the end of ``data`` that may be the beginning of a mark. A mark has one ESC, so it begins at the last."""
    at = data.rfind(b"\x1b")
    if at < 0 or len(data) - at > MARK_BYTES_MAX:
        return b""
    tail = data[at:]
    if not (tail.startswith(_BEGIN) or _BEGIN.startswith(tail)):
        return b""
    return b"" if _CONTROL.search(tail, 1) else tail


def _text(quoted: bytes) -> str:
    return unquote_to_bytes(quoted).decode("utf-8", "replace")


def filler(data: bytes) -> int:
    """Return how many bytes at the end of ``data`` zsh put there to bring its prompt to a line of its own (PROMPT_SP)."""
    found = _FILLER.search(data)
    return len(data) - found.start() if found else 0
