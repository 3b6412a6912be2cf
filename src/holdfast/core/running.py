"""Decide what is typed to run a command line, and whether now is the time. Pure. Not here: typing it (host.running).

A line is typed as one unit: nothing of anybody else's stands before it on the shell's line or comes in between, and what
the shell is to see is what was asked for, byte for byte. What cannot be typed so is refused, never guessed at.
Source: docs/commands.md, "Running a command".
"""

import hashlib
from typing import Final

from holdfast.core.commands import Command, Prompt
from holdfast.core.errors import BadLine, HoldError, NotAtPrompt, Unmarked
from holdfast.core.waiting import SHELLS, Waiting, Wants

TEXT_BYTES_MAX: Final = 60_000  # of one command line: what fits into one input with room to spare
KEY_CHARS_MAX: Final = 128
PASTE, PASTE_END = b"\x1b[200~", b"\x1b[201~"
_SHOWN: Final = 60  # characters of a command that an error repeats


def unit(text: str, *, pastes: bool, tabs: bool = True) -> bytes:
    """Return the bytes that have a shell run ``text``, with Enter. ``pastes``: its line editor takes pasted text as such;
    ``tabs``: also the tabs in it (fish drops them, which only indentation survives).

    Several lines, and tabs, are pasted: typed, each line would run by itself, and a tab would complete a name. Raises
    BadLine: empty, too long, with control characters, or in need of pasting where that is not possible.
    """
    line = text.rstrip("\r\n")
    if not line.strip():
        raise BadLine("there is no command in it; nothing was typed", do="say what to run")
    try:
        data = line.encode()
    except UnicodeEncodeError:
        raise BadLine("it is no text that a terminal takes; nothing was typed", do="write it in UTF-8") from None
    if len(data) > TEXT_BYTES_MAX:
        raise BadLine(
            f"a command line of {len(data)} bytes is longer than is typed at once ({TEXT_BYTES_MAX}); nothing was typed",
            do="write it to a file and run that",
            size=len(data),
            most=TEXT_BYTES_MAX,
        )
    wrong = next((char for char in line if _controls(char)), None)
    if wrong is not None:
        raise BadLine(
            f"it holds the control character U+{ord(wrong):04X}, which a line editor would obey; nothing was typed",
            do="leave it out, or type what you mean with `hold send`",
        )
    if not tabs and any("\t" in each.lstrip() for each in line.split("\n")):
        raise BadLine(
            "it has a tab within a line, which this shell drops from what is pasted; nothing was typed",
            do="write \\t where the command understands that, or put it into a file",
        )
    if "\n" not in line and "\t" not in line:
        # Beyond ASCII a line editor in a locale of bytes would take what is typed for keys pressed with Alt.
        return PASTE + data + PASTE_END + b"\r" if pastes and not line.isascii() else data + b"\r"
    if not pastes:
        raise BadLine(
            "it has several lines or a tab, and the shell takes no pasted text now; nothing was typed",
            do="run the lines one by one, or write them to a file and run that",
        )
    return PASTE + data + PASTE_END + b"\r"


def _controls(char: str) -> bool:
    return (char < " " and char not in "\n\t") or "\x7f" <= char <= "\x9f"


def text_of(data: bytes) -> str:
    """Return the text that ``unit`` made ``data`` of."""
    line = data.removesuffix(b"\r")
    if line.startswith(PASTE) and line.endswith(PASTE_END):
        line = line[len(PASTE) : -len(PASTE_END)]
    return line.decode("utf-8", "replace")


def once(author: str, key: str) -> str:
    """Return the name under which the index of inputs knows what ``author`` asked for with ``key``: the same for each
    program of that operator, so that another one can ask again after the first died. Raises BadLine for no key."""
    if not 0 < len(key) <= KEY_CHARS_MAX:
        raise BadLine(
            f"its idempotency key has {len(key)} characters, not 1 to {KEY_CHARS_MAX}; nothing was typed",
            do="give each command a key of its own, and the same key when you ask again",
        )
    operator = author.partition("/")[0]  # without the process
    return "run:" + hashlib.sha256(f"{operator}\0{key}".encode("utf-8", "replace")).hexdigest()[:32]


def not_yet() -> NotAtPrompt:
    """Return what is said where nothing runs and the shell is not back, which is over soon."""
    return NotAtPrompt(
        "the shell is not at its prompt; nothing was typed",
        do="ask again in a moment, or with patience",
        what="soon",
        soon=True,
    )


def objection(name: str, prompt: Prompt, command: Command | None) -> HoldError | None:
    """Return why no line can be run in session ``name`` now; None: its shell waits for one. ``command``: what runs."""
    if not prompt.marked:
        return Unmarked(name, "")
    if prompt.continued:
        return NotAtPrompt(
            "the shell waits for the rest of a line: a quote or a block is open; nothing was typed",
            do=f"finish it, or throw it away: `hold send {name} --keys Ctrl+C`",
            what="continued",
        )
    if not prompt.at_prompt:
        if command is None:
            return not_yet()
        shown = command.text if len(command.text) <= _SHOWN else command.text[: _SHOWN - 1] + "…"
        return NotAtPrompt(
            f"command {command.id} of {command.author or 'nobody known'} runs ({shown or 'its text is not known'}); "
            "nothing was typed",
            do=f"wait for it (`hold wait {name} --command {command.id}`), answer it (`hold send`), or use another session",
            what="command",
            command=command.id,
            who=command.author,
        )
    if prompt.dirty:
        who = (
            ", ".join(prompt.typists) or "somebody"
        )  # nobody by name: a line was submitted, and the shell has not said of what
        return NotAtPrompt(
            f"{who} has begun a line and not submitted it; nothing was typed",
            do=f"wait until it is submitted, or throw it away: `hold send {name} --keys Ctrl+C`",
            what="line",
            who=who,
            soon=not prompt.typists,
        )
    return None


def unmarked_objection(name: str, waiting: Waiting | None) -> HoldError | None:
    """The same for a shell that marks nothing: all that is known is what the kernel sees it wait for."""
    if waiting is not None and (
        waiting.wants is Wants.PROMPT or (waiting.wants is Wants.LINE and waiting.program in SHELLS)
    ):
        return None
    what = (
        "is not known to wait for a line"
        if waiting is None
        else f"({waiting.program}) waits for: {waiting.wants.value}"
    )
    return NotAtPrompt(
        f"what runs in {name!r} {what}; nothing was typed",
        do=f"`hold view {name}` shows it, `hold send {name}` types in any case",
        what="program",
    )


def pastes(output: bytes) -> bool | None:
    """Return whether the last word of ``output`` on it is that pasted text is taken as such; None if it says nothing."""
    on, off = output.rfind(b"\x1b[?2004h"), output.rfind(b"\x1b[?2004l")
    return None if on == off else on > off
