"""Show a model a session: the line of state, output within a budget, the screen, commands. Asks the host; changes nothing.

Not here: the words themselves (words), acting (acts).
"""

from __future__ import annotations

import time
from typing import Final, NamedTuple

import holdfast as hf
from holdfast.core.plain import rendered
from holdfast.faces.mcp import words
from holdfast.faces.mcp.desk import Desk, Told

BYTES_PER_TOKEN: Final = 24  # read for each token shown: lines of colour and progress have many bytes and little text
READ_MIN: Final = 1 << 14
READ_MAX: Final = 1 << 20
GREP_MAX: Final = 64 << 20  # bytes that one search goes through
COMMANDS: Final = 20


class Now(NamedTuple):
    """A session at one instant. ``me``: the operator the model is, to say "you"."""

    info: hf.SessionInfo
    prompt: hf.Prompt
    me: str

    @property
    def full_screen(self) -> bool:
        """Whether a program draws on the whole screen, so that the screen says more than what came last."""
        return self.info.waiting == "full-screen"

    @property
    def state(self) -> str:
        """The state in a word: prompt, running, waiting(line), ended(exited), ..."""
        if self.info.ending is not None:
            return f"ended({self.info.ending.how})"
        if self.prompt.marked and self.prompt.continued:
            return "incomplete(an open quote or block: finish it, or keys=['Ctrl+C'])"
        if self.prompt.marked and self.prompt.at_prompt:
            return "prompt"
        if self.info.waiting and self.info.waiting != "running":
            return f"waiting({self.info.waiting})" if self.info.waiting != "prompt" else "prompt"
        return "running"

    @property
    def control(self) -> str:
        """Who has control: free, you, or who else, as it matters for what comes next."""
        control = self.info.control
        if control is None:
            return "none"
        if control.state in ("paused", "private"):
            return f"{control.state}(by {control.by})"
        if not control.holder:
            return "free"
        return "you" if control.holder == self.me else f"{control.holder}({control.kind})"


async def now(session: hf.Session, desk: Desk) -> Now:
    """Return ``session`` as it is now."""
    info = await session.info()
    prompt = await session.prompt() if info.ending is None else hf.Prompt()
    return Now(info, prompt, desk.mine.id if desk.mine is not None else "")


def header(it: Now, told: Told, *more: str) -> str:
    """Return the line of state that every result begins with."""
    parts = [it.info.name, f"rev={told.rev}", f"at={told.offset}", f"state={it.state}"]
    if it.prompt.running:
        whose = "" if not it.prompt.author else " by=you" if it.prompt.author == it.me else f" by={it.prompt.author}"
        parts.append(f"cmd={it.prompt.running}{whose}")
    elif it.info.ending is not None and it.info.ending.status is not None:
        parts.append(f"exit={it.info.ending.status}")
    if cwd := (it.prompt.cwd or it.info.cwd):
        parts.append(f"cwd={cwd}")
    parts.append(f"ctl={it.control}")
    return "[" + " ".join([*parts, *more]) + "]"


async def output(session: hf.Session, start: int, end: int, tokens: int, *, command: int = 0) -> str:
    """Return the output from ``start`` to ``end`` as text: all of it, or its beginning and end with the middle named."""
    if end <= start:
        return "(no output)"
    most = min(READ_MAX, max(READ_MIN, tokens * BYTES_PER_TOKEN))
    if end - start <= 2 * most:
        data, start, gap = await kept(session, start, end)
        first, last = words.within(words.lines(data, start), tokens)
        return _joined(gap, first, last, end, command)
    data, start, gap = await kept(session, start, start + most)
    tail, tail_at, _ = await kept(session, end - most, end)
    head = words.lines(data, start)[:-1]  # where it was cut, and what stands before the first whole line below
    whole = words.lines(tail, tail_at)[1:]
    first, _ = words.within([*head, *whole], tokens)
    first = [each for each in first if each.end <= (head[-1].end if head else 0)]
    _, last = words.within([*head, words.Piece(0, 0, "x" * 4 * tokens), *whole], tokens)
    return _joined(gap, first, [each for each in last if each.start >= tail_at], end, command)


def _joined(gap: str, first: list[words.Piece], last: list[words.Piece], end: int, command: int) -> str:
    parts = [gap] if gap else []
    parts += [each.text for each in first]
    cut = first[-1].end if first else (last[0].start if last else end)
    resume = last[0].start if last else end
    if last and resume > cut:
        parts.append(words.elided(cut, resume, command))
    elif not last and first and first[-1].end < end:
        parts.append(words.elided(first[-1].end, end, command))
    parts += [each.text for each in last]
    return "\n".join(parts).rstrip("\n") or "(no text)"


async def kept(session: hf.Session, start: int, end: int) -> tuple[bytes, int, str]:
    """Return what is kept of ``start`` to ``end``, where it begins, and what to say if the beginning is gone."""
    data, begin, gap = bytearray(), start, ""
    async for piece in session.output(start):
        if isinstance(piece, hf.Gap):
            if not data:
                begin = piece.end
            gap = f"[bytes {piece.start} to {piece.end} are not kept any more: {piece.why}]"
        else:
            data += piece.data
        if begin + len(data) >= end:
            break
    return bytes(data[: max(0, end - begin)]), begin, gap


async def screen(session: hf.Session, tokens: int) -> str:
    """Return the screen as text, blank lines at its end left out."""
    text = await session.text()
    lines = list(text.lines)
    while lines and not lines[-1].strip():
        lines.pop()
    shown, last = words.within([words.Piece(0, 0, each) for each in lines], tokens)
    body = [each.text for each in shown] + (["[…]", *(each.text for each in last)] if last else [])
    row, column = text.cursor
    return "\n".join([f"(screen, cursor at row {row + 1}, column {column + 1})", *body])


async def commands(session: hf.Session, me: str) -> str:
    """Return the latest commands, one a line."""
    found = await session.commands(limit=COMMANDS, newest=True)
    if not found:
        return "(no commands: the shell did nothing yet, or does not mark its commands)"
    return "\n".join(command_line(each, me) for each in found)


def command_line(it: hf.Command, me: str) -> str:
    """Return a command in a line: id, how it ended, whose it was, what it was."""
    by = "you" if it.author == me else it.author or "unknown"
    status = f"exit={it.status}" if it.status is not None else it.state
    took = f" {it.duration_s:.1f}s" if it.duration_s is not None else ""
    text = it.text if len(it.text) <= 200 else it.text[:197] + "..."
    return (
        f"{it.id} {status}{took} by={by} bytes={it.start}-{'' if it.end is None else it.end} {text or '(text unknown)'}"
    )


async def grep(session: hf.Session, start: int, end: int, what: str, tokens: int) -> str:
    """Return the lines of ``start`` to ``end`` that contain ``what``, each with the offset where it begins."""
    found: list[str] = []
    spent, seen, carry, at = 0.0, 0, b"", start
    async for piece in session.output(start):
        if isinstance(piece, hf.Gap):
            carry, at = b"", piece.end
            continue
        carry += piece.data[: max(0, end - piece.offset)]
        whole, newline, carry_ = carry.rpartition(b"\n")
        for line in words.lines(whole + newline, at):
            if what in line.text:
                spent += words.cost(line.text) + 4
                if spent > tokens:
                    return "\n".join(
                        [*found, f"[… more from byte {line.start}: read_output(offset={line.start}, grep=…) …]"]
                    )
                found.append(f"{line.start}: {line.text}")
        at, carry = at + len(whole) + len(newline), carry_
        seen += len(piece.data)
        if piece.end >= end:
            break
        if seen >= GREP_MAX:
            return "\n".join([*found, f"[searched {words.size(seen)}; go on with read_output(offset={at}, grep=…)]"])
    if what in (last := rendered(carry)):
        found.append(f"{at}: {last}")
    return "\n".join(found) or f"(no line contains {what!r})"


def age(at: float) -> str:
    """Return how long ago ``at`` is, for reading."""
    seconds = max(0.0, time.time() - at)
    return f"{seconds:.0f}s" if seconds < 90 else f"{seconds / 60:.0f}m" if seconds < 5400 else f"{seconds / 3600:.0f}h"
