"""What ``Session.wait_for`` can wait for. Each function makes a value; ``any`` puts several together, and the first wins.

The end of the session ends every wait, whether it is asked for or not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

T = TypeVar("T")
N = TypeVar("N")
Kind = Literal["line", "password", "keypress", "full-screen", "prompt"]
KINDS: Final[tuple[Kind, ...]] = ("line", "password", "keypress", "full-screen", "prompt")


@dataclass(frozen=True, slots=True)
class Until:
    """Conditions, of which the first that is met ends the wait."""

    inputs: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    quiet_s: float | None = None
    command_id: int = 0


def exit() -> Until:
    """The session is over."""
    return Until()


def input(*kinds: Kind) -> Until:
    """A program wants input: one of ``kinds``, by default any. ``prompt`` is a shell that is ready for a command.

    Known from the kernel (docs/commands.md), never guessed from text. Counts from the call on: what was wanted before
    and was answered meanwhile does not end the wait.
    """
    wrong = [kind for kind in kinds if kind not in KINDS]
    if wrong:
        raise ValueError(f"input can be {', '.join(KINDS)}; not {', '.join(wrong)}")
    return Until(inputs=kinds or KINDS)


def match(*patterns: str) -> Until:
    """New output matches one of ``patterns``: regular expressions in the syntax of RE2, in the text without control
    sequences; ``^`` and ``$`` are the ends of lines; a match spans at most 8 KiB."""
    if not patterns:
        raise ValueError("there is no pattern to wait for")
    return Until(patterns=patterns)


def quiet(seconds: float) -> Until:
    """There was no output for ``seconds``, counted from the call on."""
    return Until(quiet_s=seconds)


def command(id: int) -> Until:
    """The command of that number (``CommandResult.id``) is over."""
    return Until(command_id=id)


def any(*untils: Until) -> Until:
    """Whichever of ``untils`` is met first. Raises ValueError for two commands or two times of quiet."""
    return Until(
        inputs=tuple(dict.fromkeys(kind for each in untils for kind in each.inputs)),
        patterns=tuple(pattern for each in untils for pattern in each.patterns),
        quiet_s=_one((each.quiet_s for each in untils if each.quiet_s is not None), "time of quiet", None),
        command_id=_one((each.command_id for each in untils if each.command_id), "command", 0),
    )


def _one(values: Iterable[T], what: str, none: N) -> T | N:
    found = set(values)
    if len(found) > 1:
        raise ValueError(f"one wait has one {what}")
    return found.pop() if found else none
