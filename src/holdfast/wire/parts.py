"""Parts of which messages are made: sizes, sessions, endings, cells. Source: docs/wire.md. Not here: what is said (messages).

Fields are only ever appended, with a default.
"""

import msgspec


class Message(msgspec.Struct, frozen=True, array_like=True, tag_field="t"):
    """Base of everything said on the wire."""


class Size(msgspec.Struct, frozen=True, array_like=True):
    rows: int
    cols: int


class ReapPolicy(msgspec.Struct, frozen=True):
    """When an idle session is reaped (R14, R15). Seconds; ``idle_s`` None means never."""

    idle_s: float | None = 7 * 86400.0
    grace_s: float = 60.0  # between the warning and the reaping
    max_s: float | None = None  # a fixed life after which even a busy tree is reaped; None: none


class Ending(msgspec.Struct, frozen=True):
    """How a session ended. ``how``: exited, killed, reaped, lost. ``status``: a wait status as exit code or -signal."""

    how: str
    at: float  # Unix time, seconds
    status: int | None = None  # 0..255 exit code, negative: killed by that signal, None: unknown
    why: str = ""  # reaping policy, cause of the loss, who killed it
    left_running: tuple[int, ...] = ()  # pids of the tree that outlived the root process


class Basis(msgspec.Struct, frozen=True, array_like=True):
    """What an AI operator had seen when it decided. ``input``: position of the latest input of somebody else; ``command``:
    state of the command line, as the host had named it; empty: it does not matter."""

    input: int = 0
    command: str = ""


class ControlState(msgspec.Struct, frozen=True):
    """Who may type now. ``state``: free, held, paused, private. Times are Unix seconds."""

    term: int
    state: str
    holder: str = ""  # the operator who has control; empty: nobody
    kind: str = ""  # of the holder
    on_behalf_of: str = ""
    since: float = 0.0  # of the last change
    by: str = ""  # who paused it or made it private
    input: int = 0  # position of the latest input, for a Basis
    command: str = ""  # state of the command line, for a Basis


class SessionInfo(msgspec.Struct, frozen=True):
    """A session in a listing. Times are Unix seconds."""

    id: str
    name: str
    host: str
    state: str  # core.life.Execution value: starting, running, frozen, exited, killed, reaped, lost
    incarnation: int
    argv: tuple[str, ...]
    cwd: str
    created_at: float
    size: Size
    root_pid: int
    root_started: int  # start time in clock ticks since boot: with the pid it names the process for good (R01)
    holder_pid: int
    output_end: int  # offset after the last byte produced
    output_start: int  # offset of the oldest byte still kept
    journal_position: int
    idle_s: float  # seconds since output or input
    attached: int
    title: str = ""
    ending: Ending | None = None
    keep_until: float | None = None
    reap_at: float | None = None  # set while a reaping has been announced
    policy: ReapPolicy = ReapPolicy()
    lag: int = 0  # bytes the view has not seen yet
    waiting: str = ""  # core.waiting.Wants value: what its programs wait for, when last looked; empty: not known
    control: ControlState | None = None  # None: it has ended
    journal_head: bytes = b""  # hash of the record at ``journal_position``; empty: of a host that does not say


class Cell(msgspec.Struct, frozen=True, array_like=True):
    """A run of cells that look alike. ``style`` indexes ``Screen.styles``; ``width`` counts columns."""

    text: str
    style: int
    width: int


class Style(msgspec.Struct, frozen=True, array_like=True):
    """Colours are -1 default, 0..255 palette, or 0x1000000 | rgb. ``flags``: view.cells names the bits."""

    fg: int = -1
    bg: int = -1
    flags: int = 0
    underline: int = -1  # underline colour
