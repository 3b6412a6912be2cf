"""Make commands out of a shell's marks and of what was typed: which ran, who submitted it, how it ended. Pure: no I/O, no clock.

Not here: which bytes are marks, and whether to believe them (marks), where both come from (host.commands).
"""

import re
from collections import deque
from typing import Final, NamedTuple

import msgspec

from holdfast.core.journal import Author
from holdfast.core.marks import Mark

LINE_BYTES_MAX: Final = 8192  # of a typed line that are compared with what the shell says it ran
ENTERED_MAX: Final = 256  # lines that were typed and not yet accounted for
TYPED_MAX: Final = 1024  # inputs that wait for the output before them to be looked at
_TOKEN: Final = re.compile(rb"\x1b\[20[01]~|[\r\n\x03\x15]")
_BLANK: Final = re.compile(r"[\s;]+")  # bash joins the lines of a block with semicolons
_REPORT: Final = re.compile(rb"(?:\x1b\[[IO]|\x1b\[M...|\x1b\[<[\d;]+[Mm])+", re.DOTALL)
"""Focus and mouse: a terminal says them, nobody types them."""


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


class Prompt(msgspec.Struct, frozen=True):
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


class _Typed(NamedTuple):
    offset: int  # of the output when it was typed
    position: int
    author: str
    data: bytes


class _Entered(NamedTuple):
    """A line that somebody ended with Enter."""

    position: int
    author: str
    typists: tuple[str, ...]
    text: str | None  # None: it was edited in ways that only the shell's line editor follows
    early: bool  # before the prompt it may belong to


def clipped(data: bytes) -> bytes:
    """Return what is kept of a long input: enough to tell whose line it ended, not what the line was."""
    return data if len(data) <= LINE_BYTES_MAX else data[: LINE_BYTES_MAX // 2] + data[-LINE_BYTES_MAX // 2 :]


class Line:
    """What was typed and not yet accounted for. Bounded; forgetting makes an author unknown, never another's."""

    def __init__(self) -> None:
        self.entered: deque[_Entered] = deque(maxlen=ENTERED_MAX)
        self._typists: dict[str, None] = {}
        self._text: bytearray | None = bytearray()
        self._pasting = False
        self._spare: _Entered | None = None  # the line that was taken last, since the prompt

    @property
    def typists(self) -> tuple[str, ...]:
        """Who typed on the line that nobody submitted yet; empty: it is empty."""
        return tuple(self._typists)

    def typed(self, position: int, author: str, data: bytes) -> None:
        """``author`` typed ``data``."""
        if _REPORT.fullmatch(data):
            return
        at = 0
        for token in _TOKEN.finditer(data):
            self._add(author, data[at : token.start()])
            at = token.end()
            what = token.group()
            if len(what) > 1:
                self._pasting = what == b"\x1b[200~"
            elif self._pasting and what in b"\r\n":
                self._add(author, b"\n")
            elif what in b"\r\n":
                text = self._text.decode("utf-8", "replace") if self._text is not None else None
                self.entered.append(_Entered(position, author, self.typists, text, False))
                self._clear()
            else:  # Ctrl-C and Ctrl-U empty the line; Ctrl-C also what the terminal holds for later
                self._clear()
                if what == b"\x03":
                    self.entered.clear()
        self._add(author, data[at:])

    def _add(self, author: str, data: bytes) -> None:
        if not data:
            return
        self._typists[author] = None
        plain = not any((byte < 0x20 and byte != 0x0A) or byte == 0x7F for byte in data[:LINE_BYTES_MAX])
        if self._text is None or not plain or len(self._text) + len(data) > LINE_BYTES_MAX:
            self._text = None
        else:
            self._text += data

    def _clear(self) -> None:
        self._typists, self._text, self._pasting = {}, bytearray(), False

    def prompted(self, *, again: bool) -> None:
        """A prompt came. ``again``: after another one, so that a line was submitted that ran nothing."""
        if again and self.entered:
            self.entered.popleft()
        self.entered = deque((each._replace(early=True) for each in self.entered), maxlen=ENTERED_MAX)
        self._spare = None

    def settled(self) -> None:
        """The shell has been at its prompt for long enough to have run what was typed ahead: what is left was not for it,
        as the answers that a program read."""
        self.entered = deque((each for each in self.entered if not each.early), maxlen=ENTERED_MAX)

    def take(self, text: str | None) -> _Entered | None:
        """Return the line that submitted a command of that ``text``; it and those before it are accounted for then.

        The line that reads so, else (history, completion) the first since the prompt, else one typed before it. Where
        several people's would do, the latest. None: nobody typed one.
        """
        lines = list(self.entered)
        if not lines:
            return self._spare
        first, last = self._reads(lines, text)
        if last < 0:
            fresh = [at for at, each in enumerate(lines) if not each.early] or list(range(len(lines)))
            alike = len({lines[at].author for at in fresh}) == 1
            first = last = fresh[0] if alike else fresh[-1]
        typists = dict.fromkeys(who for each in lines[first : last + 1] for who in (*each.typists, each.author))
        taken = lines[last]._replace(typists=tuple(typists))
        for _ in range(last + 1):
            self.entered.popleft()
        self._spare = taken
        return taken

    @staticmethod
    def _reads(lines: list[_Entered], text: str | None) -> tuple[int, int]:
        wanted = _BLANK.sub("", text) if text else ""
        for first in range(len(lines) if wanted else 0):
            read = ""
            for last in range(first, len(lines)):
                if (part := lines[last].text) is None:
                    break
                read += _BLANK.sub("", part)
                if read == wanted:
                    return first, last
                if not wanted.startswith(read):
                    break
        return -1, -1


class Tracker:
    """Follows one shell. Give it what was typed and the marks that were found, in whatever order they become known."""

    def __init__(
        self, *, last: int = 0, running: Command | None = None, cwd: str = "", marked: bool = False
    ) -> None:  # fmt: skip
        self.last, self.running, self.cwd = last, running, cwd
        self.line = Line()
        self._typed: deque[_Typed] = deque(maxlen=TYPED_MAX)
        self._prompt: int | None = None  # offset after the prompt, while the shell waits there
        self._continued = False
        self._marked = marked

    @property
    def prompt(self) -> int | None:
        """Offset after the prompt at which the shell waits; None: it does not."""
        return self._prompt

    def waits(self, prompt: int) -> None:
        """The shell is known to wait at the prompt that ends at ``prompt``; its marks are not given again."""
        self._settle(prompt)
        self.line.prompted(again=False)
        self._prompt = prompt

    def typed(self, offset: int, position: int, author: str, data: bytes) -> None:
        """``author`` typed ``data``, input ``position``, when the session had put out ``offset`` bytes."""
        self._typed.append(_Typed(offset, position, author, clipped(data)))

    def settle(self, offset: int) -> None:
        """All marks before ``offset`` were given: what was typed up to there need not wait for them any more."""
        self._settle(offset)

    def state(self) -> Prompt:
        """Return what the shell does, all that was typed so far included."""
        self._settle(None)
        now, waits = self.running, self._prompt is not None
        return Prompt(
            marked=self._marked, at_prompt=waits, continued=waits and self._continued, since=self._prompt or 0,
            dirty=bool(self.line.typists) or (waits and bool(self.line.entered)),
            typists=tuple(str(who) for who in self.line.typists),
            running=now.id if now else 0, author=now.author if now else "", last=self.last, cwd=self.cwd,
        )  # fmt: skip

    def marked(self, mark: Mark, at: float, *, shown: str | None = None, filler: int = 0) -> list[Command]:
        """The shell printed ``mark``; return the commands that ended or started by that, in this order.

        ``at``: Unix seconds when that was seen. ``shown``: what the line looked like, for a C without text. ``filler``:
        bytes before a D that are not the command's.
        """
        self._settle(mark.start)
        self._marked = True
        changed: list[Command] = []
        if mark.kind == "A":
            self.cwd = mark.cwd or self.cwd
            changed += self._ended(mark.start, at, state="lost")  # its D was lost: output is missing
        elif mark.kind == "B":
            changed += self._ended(mark.start, at, state="lost")
            self.line.prompted(again=self._prompt is not None)
            self._prompt, self._continued = mark.end, False
        elif mark.kind == "P" and self._prompt is not None:
            self._continued = True
        elif mark.kind == "C":
            changed += self._ended(mark.start, at)  # one of several lines that were pasted at once
            changed.append(self._started(mark, at, shown))
        elif mark.kind == "D":
            changed += self._ended(max(mark.start - filler, 0), at, status=mark.status)
        return changed

    def over(self, offset: int, at: float, status: int | None, *, lost: bool = False) -> list[Command]:
        """The session ended: what ran last (``exit``, or what replaced the shell) has the session's own status."""
        self._prompt = None
        return self._ended(offset, at, status=status, state="lost" if lost else "done")

    def _settle(self, before: int | None) -> None:
        """Take note of what was typed before the output reached ``before``; None: of everything."""
        while self._typed and (before is None or self._typed[0].offset <= before):
            each = self._typed.popleft()
            self.line.typed(each.position, each.author, each.data)

    def _started(self, mark: Mark, at: float, shown: str | None) -> Command:
        text = mark.text if mark.text is not None else shown
        source = "trusted" if mark.text is not None else "screen" if shown is not None else "unknown"
        entered = self.line.take(text)
        author = entered.author if entered else ""
        self.last += 1
        self._prompt = None
        self.running = Command(
            self.last, (text or "") + ("…" if mark.cut else ""), source, str(author), mark.end, at, cwd=self.cwd,
            on_behalf_of=author.principal if isinstance(author, Author) else "",
            others=tuple(str(who) for who in entered.typists if who != author) if entered else (),
            typeahead=entered.early if entered else False, position=entered.position if entered else 0,
        )  # fmt: skip
        return self.running

    def _ended(self, offset: int, at: float, *, status: int | None = None, state: str = "done") -> list[Command]:
        command, self.running = self.running, None
        if command is None:
            return []
        end = max(offset, command.start)
        lasted = max(at - command.started_at, 0.0)
        return [msgspec.structs.replace(command, state=state, end=end, duration_s=lasted, status=status)]
