"""`hold attach` and `hold new` on the short way: no click, no asyncio, no msgspec. Both parsers end here.

Not here: which arguments there are (options), the attach itself (client.terminal).
"""

from __future__ import annotations

import os
import sys

from holdfast.client import endings, lean, places, where
from holdfast.client.dial import Unreachable, reach
from holdfast.client.line import Line, Refusal
from holdfast.client.prefix import DEFAULT, prefix_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# What describes the terminal this command happens to run in, or the session it runs in, is not true in the new one.
NOT_INHERITED = frozenset(
    ("HOLDFAST_SESSION", "COLUMNS", "LINES", "WINDOWID", "TMUX", "TMUX_PANE", "STY", "VTE_VERSION", "KITTY_WINDOW_ID",
     "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "TERM_SESSION_ID", "WEZTERM_PANE", "OLDPWD", "_")
)  # fmt: skip
SIZE = (24, 80)  # of a session started where no terminal is


class Complaint(Exception):
    """Said to the user as `hold: what; do`, with this exit status."""

    def __init__(self, status: int, what: str, do: str = "") -> None:
        super().__init__(f"{what}; {do}" if do else what)
        self.status = status


def complain(error: Exception) -> int:
    """Say ``error`` on standard error and return the exit status for it. Raises what it does not know."""
    if isinstance(error, Complaint):
        status, text = error.status, str(error)
    elif isinstance(error, Refusal):
        status, text = endings.exit_code(error.code), f"{error.message}; {error.do}" if error.do else error.message
    elif isinstance(error, Unreachable):
        from holdfast.core.errors import HostUnreachable

        status, text = endings.UNREACHABLE, str(HostUnreachable(error.where, error.why))
    elif isinstance(error, lean.Garbled):
        status, at = endings.UNREACHABLE, places.socket_path()
        text = f"what answers at {at} does not speak our protocol ({error}); `hold host restart` replaces it"
    else:
        raise error
    sys.stderr.write(f"hold: {text}\n")
    return status


def inside() -> str:
    """The session this program runs in, if any."""
    return os.environ.get("HOLDFAST_SESSION", "")


def _check_terminal(nested: bool) -> None:
    if not (os.isatty(0) and os.isatty(1)):
        raise Complaint(
            endings.REFUSED,
            "attach needs a terminal on standard input and output; nothing was changed",
            "`hold send`, `hold view`, `hold tail` and `hold new -d` work without one",
        )
    if inside() and not nested:
        from holdfast.core.errors import Nested

        raise Complaint(endings.REFUSED, str(Nested(inside())))


def _prefix(chosen: str | None) -> int | None:
    try:
        return prefix_code(chosen or os.environ.get("HOLDFAST_PREFIX") or DEFAULT)
    except ValueError as error:
        raise Complaint(2, str(error)) from None


def attach(*, name: str, observe: bool, prefix: str | None, nested: bool, profile: str | None) -> int:
    """`hold attach`. Returns the exit status; raises Complaint, Refusal, Unreachable, Garbled."""
    key = _prefix(prefix)
    _check_terminal(nested)
    from holdfast.client import terminal

    elsewhere: str | None
    if "://" in name:
        name, elsewhere, may_type = _by_link(name)
        observe = observe or not may_type
    else:
        name, elsewhere = where.split(name, profile)
    path = elsewhere or places.socket_path()
    connection = reach(path, start=elsewhere is None)
    return terminal.attach(name, path=path, connection=connection, prefix=key, observe=observe, inside=inside())


def _by_link(url: str) -> tuple[str, str, bool]:
    from holdfast.client import sharing
    from holdfast.core.errors import HoldError

    try:
        return sharing.passes(url)
    except HoldError as error:
        raise Complaint(endings.exit_code(error.code), error.message, error.do) from None


def new(
    *,
    name: str | None,
    command: tuple[str, ...],
    detach: bool,
    cwd: str | None,
    env: tuple[str, ...],
    size: str | None,
    no_integration: bool,
    prefix: str | None,
    nested: bool,
    profile: str | None,
) -> int:
    """`hold new`. With ``detach`` prints the session's name, else attaches to it. Returns and raises as ``attach``."""
    key = _prefix(prefix)
    if not detach:
        _check_terminal(nested)
    words = list(command) or shell()
    if not all(_travels(word) for word in (*words, cwd or "")):
        raise Complaint(
            endings.REFUSED,
            "a word of the command is not UTF-8; nothing was started",
            "put it in a script, and run that",
        )
    name, elsewhere = where.split(name or "", profile)
    path = elsewhere or places.socket_path()
    line = Line(reach(path, start=elsewhere is None), lean.fresh_id(), "cli", inside())
    ref = line.next_ref()
    request = lean.open_session(
        ref,
        words,
        environment(env),
        folder(cwd),
        dimensions(size),
        name,
        False,
        lean.fresh_id("k-"),
        not no_integration,
    )
    info = line.ask("opened", request, ref)[2]
    if detach:
        sys.stdout.write(f"{info['name']}\n")
        return 0
    from holdfast.client import terminal

    return terminal.attach(
        info["id"],
        path=path,
        connection=line.socket,
        frames=line.frames,
        client=line.client,
        prefix=key,
        inside=inside(),
    )


def _travels(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shell() -> list[str]:
    """The user's shell, as a login shell: what a fresh terminal window would run."""
    chosen = os.environ.get("SHELL")
    if not chosen:
        import pwd

        try:
            chosen = pwd.getpwuid(os.getuid()).pw_shell
        except KeyError:
            pass
    return [chosen or "/bin/sh", "-l"]


def environment(changes: tuple[str, ...]) -> dict[str, str]:
    """Our environment for the session, with ``changes`` (NAME=VALUE, or NAME- to leave NAME out).

    Left out are what is true only here and what is not UTF-8, which no message can carry.
    """
    found = {k: v for k, v in os.environ.items() if k not in NOT_INHERITED and _travels(k) and _travels(v)}
    for change in changes:
        name, equals, value = change.partition("=")
        if equals and name:
            found[name] = value
        elif not equals and len(change) > 1 and change.endswith("-"):
            found.pop(change[:-1], None)
        else:
            raise Complaint(
                2, f"{change!r} is no change to an environment", "write NAME=VALUE, or NAME- to leave NAME out"
            )
    return found


def folder(cwd: str | None) -> str:
    """Where the session starts, as an absolute path."""
    try:
        return os.path.abspath(cwd) if cwd else os.getcwd()
    except OSError:
        raise Complaint(endings.REFUSED, "the folder you are in is gone", "give another one with --cwd") from None


def dimensions(size: str | None) -> tuple[int, int]:
    """ROWSxCOLUMNS as numbers; without it those of the first terminal found on our descriptors, else 24x80."""
    if size is not None:
        rows, by, cols = size.partition("x")
        if not (by and rows.isdecimal() and cols.isdecimal() and 0 < int(rows) < 1000 and 0 < int(cols) < 1000):
            raise Complaint(2, f"{size!r} is no size", "write ROWSxCOLUMNS, each 1 to 999, as in 24x80")
        return int(rows), int(cols)
    for fd in (1, 0, 2):
        try:
            columns, lines = os.get_terminal_size(fd)
        except OSError:
            continue
        if columns and lines:
            return lines, columns
    return SIZE


def run(work: Callable[..., int], parameters: dict[str, object]) -> int:
    """Run ``attach`` or ``new`` and return the exit status, errors said."""
    try:
        return work(**parameters)
    except (Complaint, Refusal, Unreachable, lean.Garbled) as error:
        return complain(error)
    except KeyboardInterrupt:
        return 130
