"""Make commands out of a shell's marks and of what was typed: which ran, who submitted it, how it ended. Pure: no I/O, no clock.

Not here: which bytes are marks, and whether to believe them (marks), where both come from (host.commands).
"""

from typing import NamedTuple

import msgspec


class Command(msgspec.Struct, frozen=True):
    """One command line that a shell accepted (R68). Offsets count output bytes; ``start``..``end`` is what it put out.

    ``author`` is whoever's bytes submitted it, ``others`` also had bytes on that line. ``source`` says where ``text`` is
    from: ``trusted``, the shell's own word; ``screen``, read from what the line looked like; ``unknown``.
    """

    id: int  # counts from 1 in each session
    text: str
    source: str
    author: str  # empty: nobody's input fits, as after a gap
    start: int
    started_at: float  # Unix seconds
    state: str = "running"  # running | done | lost: its end was not seen, and never will be
    end: int | None = None
    duration_s: float | None = None
    status: int | None = None  # exit status as the shell has it; None: not known
    cwd: str = ""
    on_behalf_of: str = ""
    others: tuple[str, ...] = ()
    typeahead: bool = False  # submitted before the shell asked for it: the author is the likeliest one
    position: int = 0  # in the journal, of the input that submitted it
    term: int = 0
    approval: str = ""


class Prompt(NamedTuple):
    """What a session's shell is doing, as far as its marks and the inputs tell. Without ``marked`` only the line is known."""

    marked: bool = False  # the shell's marks are believed: what stands here is known, not guessed
    at_prompt: bool = False  # it waits for a command line
    continued: bool = False  # it waits for the rest of a line that is not complete: a quote or a block is open
    since: int = 0  # offset of output after the prompt: where the line begins
    dirty: bool = False  # something was typed on the line and not submitted
    typists: tuple[str, ...] = ()  # by whom
    running: int = 0  # id of the command that runs, 0: none
    author: str = ""  # whose it is
    last: int = 0  # id of the newest command
    cwd: str = ""  # where the shell was at its last prompt
