"""Decide what the programs of a terminal wait for, from what the kernel says of them. A table; no I/O.

Not here: how the kernel is asked (host.waiting), who waits for whom (waits). Source: docs/commands.md, "What is it
waiting for". Text on the screen decides nothing: what looks like a question may be a log line, and a password prompt may
be in any language.
"""

import enum
from typing import Final, NamedTuple


class Wants(enum.StrEnum):
    """What a session waits for. All but ``RUNNING`` go on only if something is typed."""

    RUNNING = "running"  # nothing that can be typed: it computes, sleeps, or waits for a disk or a network
    LINE = "line"  # a line, edited by the kernel
    PASSWORD = "password"  # a line that is not shown
    KEYPRESS = "keypress"  # single keys, on the normal screen
    FULL_SCREEN = "full-screen"  # single keys, by a program that has taken the whole screen
    PROMPT = "prompt"  # a command, by a shell's own line editor


INPUT: Final = frozenset(Wants) - {Wants.RUNNING}
"""Everything that is ended by typing."""

SHELLS: Final = frozenset(
    ("sh", "bash", "dash", "ash", "zsh", "fish", "ksh", "ksh93", "mksh", "csh", "tcsh", "nu", "elvish", "xonsh")
)
"""Programs whose line editor is a prompt, by the name the kernel has for them."""


class Sleep(enum.Enum):
    """How a process sleeps, as far as the terminal is concerned."""

    READING = "reading"  # inside read(2) on the terminal
    POLLING = "polling"  # inside poll, select or epoll on the terminal, perhaps among others
    PERHAPS = "perhaps"  # inside one of these, of what the kernel does not tell; the terminal is its input
    ELSEWHERE = "elsewhere"  # not for the terminal, or not at all
    UNSEEN = "unseen"  # another user's: the kernel does not tell us


class Process(NamedTuple):
    """One process of the terminal's foreground group. ``program`` is the kernel's name for it, at most 15 characters."""

    pid: int
    program: str
    sleep: Sleep


class Evidence(NamedTuple):
    """What the kernel says of the terminal and its foreground group, in one instant or nearly so."""

    canonical: bool  # the kernel edits lines
    echo: bool
    foreground: tuple[Process, ...]
    alternate: bool = False  # a program draws on the alternate screen
    busy: bool | None = None  # whether the shell says that a command of it runs; None: it does not say


class Waiting(NamedTuple):
    """The verdict. ``pid`` and ``program`` name who waits; for ``RUNNING`` who leads the foreground, 0 if nobody does."""

    wants: Wants
    pid: int = 0
    program: str = ""


def judged(seen: Evidence) -> Waiting:
    """Return what the session waits for. The first row that fits decides."""
    asks = {Sleep.READING, Sleep.POLLING}
    if not seen.canonical:  # who takes keys singly and sleeps in a poll waits for one; others may poll a network
        asks.add(Sleep.PERHAPS)
    asking = next((each for each in seen.foreground if each.sleep in asks), None)
    if asking is None:
        return _silent(seen)
    return Waiting(_wanted(asking, seen), asking.pid, asking.program)


def _silent(seen: Evidence) -> Waiting:
    """Nobody is seen to read the terminal. Of another user's process (su, sudo) its settings still tell of a password."""
    unseen = next((each for each in seen.foreground if each.sleep is Sleep.UNSEEN), None)
    if unseen is not None and seen.canonical and not seen.echo:
        return Waiting(Wants.PASSWORD, unseen.pid, unseen.program)
    first = seen.foreground[0] if seen.foreground else Process(0, "", Sleep.ELSEWHERE)
    return Waiting(Wants.RUNNING, first.pid, first.program)


def _wanted(asking: Process, seen: Evidence) -> Wants:
    if seen.canonical:
        return Wants.LINE if seen.echo else Wants.PASSWORD
    if asking.program in SHELLS and not _asks_a_key(seen):
        return Wants.PROMPT
    return Wants.FULL_SCREEN if seen.alternate else Wants.KEYPRESS


def _asks_a_key(seen: Evidence) -> bool:
    """A shell that reads single keys reads a command, unless a command of its own (``read -n 1``) does. It knows; where it
    does not say, its echo does: line editors draw what is typed themselves, ``read`` leaves that to the kernel."""
    return seen.echo if seen.busy is None else seen.busy
