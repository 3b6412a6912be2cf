"""What a session tells those who follow it, as frozen values made for ``match``. No output in any ``repr``.

Offsets count output bytes since the birth of the session; times are Unix seconds; ``operator`` is who did it, as the
journal has it; ``position`` is the place in the journal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.core.commandlog import command_of
from holdfast.core.commands import Command
from holdfast.wire import messages as wire


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes the session produced, from ``offset`` on. Contiguous with the one before, unless a Gap came between."""

    offset: int
    data: bytes = field(repr=False)

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes ``start`` to ``end`` cannot be had any more; ``why``: evicted, overrun, holder-restart, corrupt, disk."""

    start: int
    end: int
    why: str

    @property
    def lost(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Resized:
    rows: int
    cols: int
    position: int
    at: float
    operator: str


@dataclass(frozen=True, slots=True)
class Joined:
    """Somebody attached; ``attachment`` is its number in the session."""

    attachment: int
    view: str
    position: int
    at: float
    operator: str


@dataclass(frozen=True, slots=True)
class Left:
    attachment: int
    cause: str
    position: int
    at: float
    operator: str


@dataclass(frozen=True, slots=True)
class CommandStarted:
    """The session's shell began a command."""

    command: Command
    position: int
    at: float


@dataclass(frozen=True, slots=True)
class CommandEnded:
    """A command is over: done, or lost, when nobody saw its end."""

    command: Command
    position: int
    at: float


@dataclass(frozen=True, slots=True)
class Happened:
    """Everything else the journal records, by its kind: input, rename, keep, reap-warning, host-generation, ..."""

    kind: str
    position: int
    at: float
    operator: str
    body: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Missed:
    """``count`` events were dropped because the reader was behind. Output never is."""

    count: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The last event. ``how``: exited, killed, reaped, lost; ``status``: exit code, -signal, None if nobody knows."""

    how: str
    status: int | None
    at: float
    why: str = ""
    left_running: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one input. ``outcome``: applied, or partial, when only ``written`` bytes reached the terminal."""

    seq: int
    outcome: str
    written: int
    position: int


@dataclass(frozen=True, slots=True)
class Text:
    """The screen as plain text at ``offset``, with the lines above it that were asked for."""

    offset: int
    lines: tuple[str, ...] = field(repr=False)
    cursor: tuple[int, int]
    title: str

    def __str__(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True, slots=True)
class Screen:
    """The styled screen at ``offset``. ``rows`` holds runs of cells that look alike; ``styles`` is indexed by them."""

    offset: int
    size: tuple[int, int]
    rows: Mapping[int, tuple[wire.Cell, ...]] = field(repr=False)
    styles: tuple[wire.Style, ...] = field(repr=False)
    cursor: tuple[int, int, bool]
    modes: Mapping[str, bool] = field(repr=False)
    title: str
    alternate: bool

    @property
    def text(self) -> str:
        """The rows without their looks."""
        lines = ("".join(cell.text for cell in self.rows.get(row, ())).rstrip() for row in range(self.size[0]))
        return "\n".join(lines).rstrip("\n")


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the programs of the session wait for changed. ``wants``: running, line, password, keypress, full-screen or prompt;
    ``prompt`` is the line of the cursor. Not of the journal: it is what the host saw."""

    wants: str
    pid: int
    program: str
    prompt: str = field(repr=False)
    at: float


@dataclass(frozen=True, slots=True)
class Waited:
    """What ended a wait. ``because``: exit, input, match, quiet, command or time. Going on from ``offset`` misses nothing.

    ``input``: ``wants``, ``program`` and ``prompt``, as in Waiting. ``match``: which ``pattern`` by index, its ``text`` and
    ``groups``. ``command``: its id, and ``status``, None if nobody knows. ``exit``: ``ended``.
    """

    because: str
    offset: int
    cursor: str = field(repr=False)
    wants: str = ""
    program: str = ""
    prompt: str = field(default="", repr=False)
    pattern: int = -1
    text: str = field(default="", repr=False)
    groups: tuple[str, ...] = field(default=(), repr=False)
    command: int = 0
    status: int | None = None
    ended: Ended | None = None


Event = Output | Gap | Resized | Joined | Left | CommandStarted | CommandEnded | Happened | Waiting | Missed | Ended


def ended(ending: wire.Ending) -> Ended:
    return Ended(ending.how, ending.status, ending.at, ending.why, ending.left_running)


def waited(message: wire.Waited) -> Waited:
    return Waited(
        message.because, message.offset, message.cursor, message.wants, message.program, message.prompt, message.pattern,
        message.text, message.groups, message.command, message.status,
        ended(message.ending) if message.ending is not None else None,
    )  # fmt: skip


def event_of(message: wire.Event) -> Resized | Joined | Left | CommandStarted | CommandEnded | Waiting | Happened:
    """Return the event a journal record is."""
    body, common = message.body, (message.position, message.at, message.operator)
    try:
        if message.kind == "resize":
            return Resized(int(body["rows"]), int(body["cols"]), *common)
        if message.kind == "attach":
            return Joined(int(body["attachment"]), str(body.get("view", "")), *common)
        if message.kind == "detach":
            return Left(int(body["attachment"]), str(body.get("cause", "")), *common)
        if message.kind == "waiting":
            prompt = str(body.get("prompt", ""))
            return Waiting(str(body["for"]), int(body["pid"]), str(body["program"]), prompt, message.at)
        if message.kind == "command" and (command := command_of(body)) is not None:
            kind = CommandStarted if command.state == "running" else CommandEnded
            return kind(command, message.position, message.at)
    except (KeyError, TypeError, ValueError):
        pass  # a newer host's shape of it: still told, as what it is
    return Happened(message.kind, *common, body)
