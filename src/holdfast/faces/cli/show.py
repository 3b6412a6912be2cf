"""Lay sessions and live tuples out for people. Pure: data and time in, text out. Nothing here wraps a line.

Text of a session (its title, its command) is cleaned of control characters first: a listing must not drive a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from shlex import join
from typing import Any

from holdfast.client.connection import plain
from holdfast.client.endings import span, told


def clean(text: str) -> str:
    """Return ``text`` with everything that is no printable character shown as ``?``."""
    return "".join(char if char.isprintable() else "?" for char in text)


def size(count: float) -> str:
    """Return bytes as ``512B``, ``1.5K``, ``20M``."""
    for unit in "BKMGT":
        if count < 999.5 or unit == "T":
            return f"{count:.0f}{unit}" if unit == "B" or count >= 9.95 else f"{count:.1f}{unit}"
        count /= 1024
    raise AssertionError("unreachable")


def table(rows: Sequence[Sequence[str]], *, width: int | None = None, flexible: int = -1) -> str:
    """Return ``rows`` in columns two spaces apart; column ``flexible`` is cut with an ellipsis to fit ``width``."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    if width is not None and flexible >= 0:
        over = sum(widths) + 2 * (len(widths) - 1) - width
        if over > 0:
            widths[flexible] = max(8, widths[flexible] - over)
    lines = []
    for row in rows:
        cells = [_cut(cell, widths[column]).ljust(widths[column]) for column, cell in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def command(argv: Iterable[str]) -> str:
    """Return the command as it would be typed, its program without the folder."""
    words = [clean(word) for word in argv]
    if words:
        words[0] = words[0].rpartition("/")[2] or words[0]
    return join(words)


def state(session: Any, now: float) -> str:
    """Return the state in a word or two: how an ended session ended, when an idle one will be reaped."""
    ending = session.ending
    if ending is not None:
        if ending.how == "exited" and ending.status is not None:
            return f"exited {ending.status}" if ending.status >= 0 else f"signal {-ending.status}"
        return str(ending.how)
    if session.reap_at is not None:
        return f"{session.state}, reaped in {span(max(0.0, session.reap_at - now))}"
    return str(session.state)


def waits_for(session: Any) -> str:
    """Return what its programs wait for, in a word; ``-`` where nothing that is typed would be read, or nobody knows."""
    return clean(session.waiting) if session.waiting not in ("", "running") else "-"


LISTING = ("NAME", "STATE", "WANTS", "COMMAND", "AGE", "IDLE", "ATTACHED", "OUTPUT")


def listing(sessions: Iterable[Any], now: float, *, width: int | None) -> str:
    """Return the table of `hold ls`."""
    return table([LISTING, *(_listed(session, now) for session in sessions)], width=width, flexible=3)


def everywhere(hosts: Iterable[tuple[str, float, Iterable[Any]]], now: float, *, width: int | None) -> str:
    """Return the table of `hold ls --everywhere`: each host's name, when it proved to be there, and its sessions."""
    rows: list[Sequence[str]] = [("HOST", "PROOF", *LISTING)]
    for name, proof_at, sessions in hosts:
        proof = f"{span(max(0.0, now - proof_at))} ago"
        rows += [(clean(name), proof, *_listed(session, now)) for session in sessions] or [
            (clean(name), proof, "-", "no sessions", "", "", "", "", "", "")
        ]
    return table(rows, width=width, flexible=5)


def _listed(session: Any, now: float) -> tuple[str, ...]:
    over = session.ending is not None
    return (
        clean(session.name),
        state(session, now),
        waits_for(session),
        command(session.argv),
        span(max(0.0, now - session.created_at)),
        f"ended {span(max(0.0, now - session.ending.at))} ago" if over else span(session.idle_s),
        "-" if over else str(session.attached),
        size(session.output_end),
    )


def details(session: Any, now: float) -> str:
    """Return what is known of a session itself, one fact a line."""
    facts = [
        (
            "session",
            f"{clean(session.name)}  {session.id}, incarnation {session.incarnation}, on {clean(session.host)}",
        ),
        (
            "state",
            told(clean(session.name), plain(session.ending), session.created_at)
            if session.ending
            else state(session, now),
        ),
        ("waits for", "nothing that can be typed" if session.waiting == "running" else waits_for(session)),
        ("command", join(clean(word) for word in session.argv)),
        ("folder", clean(session.cwd)),
        ("created", f"{span(max(0.0, now - session.created_at))} ago"),
        (
            "terminal",
            f"{session.size.rows} rows, {session.size.cols} columns"
            + (f", {clean(session.title)!r}" if session.title else ""),
        ),
        ("output", f"{size(session.output_end)} produced, bytes {session.output_start} to {session.output_end} kept"),
        ("attached", f"{session.attached}, idle {span(session.idle_s)}"),
        ("root", f"pid {session.root_pid}, held by {session.holder_pid}"),
    ]
    if session.keep_until is not None and session.keep_until > now:
        facts.append(("kept", f"for {span(session.keep_until - now)} more"))
    return _facts(facts)


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"{name:<14}{text}" for name, text in facts)


def live(found: Mapping[str, Any]) -> str:
    """Return the live tuple: the process tree first, then every other part it has, in the order the host gave them."""
    parts = []
    processes = found.get("processes")
    if isinstance(processes, Sequence) and processes:
        parts.append("processes\n" + "\n".join(f"  {line}" for line in tree(processes)))
    for name, value in found.items():
        if name != "processes" and value not in (None, [], {}, ""):
            parts.append(_part(name, value))
    return "\n".join(parts)


def _part(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return name + "\n" + "\n".join(f"  {clean(str(key))}: {_short(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(item, Mapping) for item in value):
        return name + "\n" + "\n".join(f"  {_short(item)}" for item in value)
    return f"{name:<14}{_short(value)}"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return "  ".join(f"{key}={_short(item)}" for key, item in value.items() if item not in (None, "", [], {}))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(_short(item) for item in value)
    return clean(str(value))


def tree(processes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the processes as an indented tree, each with its state and what else the host told."""
    pids = {process.get("pid") for process in processes}
    children: dict[Any, list[Mapping[str, Any]]] = {}
    for process in processes:
        parent = process.get("ppid")
        children.setdefault(parent if parent in pids and parent != process.get("pid") else None, []).append(process)
    lines: list[str] = []
    stack = [(process, 0) for process in reversed(children.get(None, []))]
    while stack:
        process, depth = stack.pop()
        lines.append("  " * depth + _process(process))
        stack += [(child, depth + 1) for child in reversed(children.get(process.get("pid"), []))]
    return lines


def _process(process: Mapping[str, Any]) -> str:
    argv = process.get("argv") or process.get("cmdline") or process.get("command")
    shown = (
        command(argv)
        if isinstance(argv, Sequence) and not isinstance(argv, str)
        else clean(str(argv or process.get("name") or process.get("comm") or "?"))
    )
    extra = [f"{name} {_short(process[name])}" for name in ("listening", "cwd") if process.get(name)]
    return "  ".join((str(process.get("pid", "?")), str(process.get("state", "?")), shown, *extra))


def painted(screen: Any) -> str:
    """Return a styled screen as lines with SGR codes. Only what the cells hold is written, control characters never."""
    last = max(screen.rows, default=-1)
    lines = []
    for row in range(last + 1):
        line = "".join(_sgr(screen.styles, cell.style) + clean(cell.text) for cell in screen.rows.get(row, ()))
        lines.append(f"{line}\x1b[0m" if line else "")
    return "\n".join(lines).rstrip("\n")


# The bits of Style.flags that a line of text can show, in the order of view.cells, with their SGR codes.
FLAGS = ((1, 1), (2, 2), (4, 3), (8, 5), (16, 7), (32, 8), (64, 9), (128, 53))


def _sgr(styles: Sequence[Any], index: int) -> str:
    if not 0 <= index < len(styles):
        return "\x1b[0m"
    style = styles[index]
    codes = ["0", *(str(code) for bit, code in FLAGS if style.flags & bit)]
    for colour, base in ((style.fg, 38), (style.bg, 48)):
        if colour >= 0x1000000:
            codes.append(f"{base};2;{colour >> 16 & 255};{colour >> 8 & 255};{colour & 255}")
        elif colour >= 0:
            codes.append(f"{base};5;{colour}")
    return f"\x1b[{';'.join(codes)}m"
