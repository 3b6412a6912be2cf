"""What client and host say to each other. Source: docs/wire.md. Not here: how it is cut into frames (framing).

Structs travel as msgpack arrays behind their tag. Fields are only ever appended, with a default; a tag is never reused.
Nothing in a message assumes a local socket: the same messages travel sealed through relays. Who speaks is proven by the
channel they arrive on, never claimed in a message.

``ref`` numbers a request on its connection; its one answer carries the same number. ``attachment`` numbers an attachment
on its connection. Offsets count output bytes since the birth of the session; positions count journal records.
"""

from typing import Any, Final

import msgspec

from holdfast.wire.commanding import Commands as Commands
from holdfast.wire.commanding import ListCommands as ListCommands
from holdfast.wire.commanding import Shell as Shell
from holdfast.wire.controlling import Asked as Asked
from holdfast.wire.controlling import Control as Control
from holdfast.wire.controlling import Controlled as Controlled
from holdfast.wire.controlling import Here as Here
from holdfast.wire.controlling import Presence as Presence
from holdfast.wire.controlling import Who as Who
from holdfast.wire.enrolling import Enrol as Enrol
from holdfast.wire.enrolling import GetIdentity as GetIdentity
from holdfast.wire.enrolling import Identity as Identity
from holdfast.wire.enrolling import Invite as Invite
from holdfast.wire.enrolling import Joined as Joined
from holdfast.wire.enrolling import Renew as Renew
from holdfast.wire.enrolling import Revoke as Revoke
from holdfast.wire.gating import AwaitDecision as AwaitDecision
from holdfast.wire.gating import Decide as Decide
from holdfast.wire.gating import Decided as Decided
from holdfast.wire.gating import Pending as Pending
from holdfast.wire.gating import ProposalInfo as ProposalInfo
from holdfast.wire.gating import Proposals as Proposals
from holdfast.wire.gating import Propose as Propose
from holdfast.wire.gating import Proposed as Proposed
from holdfast.wire.gating import Withdraw as Withdraw
from holdfast.wire.notifying import Notify as Notify
from holdfast.wire.notifying import Notifying as Notifying
from holdfast.wire.notifying import StopNotifying as StopNotifying
from holdfast.wire.pairing import Asking as Asking
from holdfast.wire.pairing import AwaitJoiner as AwaitJoiner
from holdfast.wire.pairing import LetIn as LetIn
from holdfast.wire.parts import Basis as Basis
from holdfast.wire.parts import Cell as Cell
from holdfast.wire.parts import ControlState as ControlState
from holdfast.wire.parts import Ending as Ending
from holdfast.wire.parts import Message as Message
from holdfast.wire.parts import ReapPolicy as ReapPolicy
from holdfast.wire.parts import SessionInfo as SessionInfo
from holdfast.wire.parts import Size as Size
from holdfast.wire.parts import Style as Style
from holdfast.wire.presenting import Present as Present
from holdfast.wire.recording import AcceptRollback as AcceptRollback
from holdfast.wire.recording import ChainIs as ChainIs
from holdfast.wire.recording import GetChain as GetChain
from holdfast.wire.recording import ReadJournal as ReadJournal
from holdfast.wire.recording import ReadTimes as ReadTimes
from holdfast.wire.recording import Records as Records
from holdfast.wire.recording import SetBack as SetBack
from holdfast.wire.recording import Times as Times
from holdfast.wire.recording import Witness as Witness
from holdfast.wire.recording import Witnessed as Witnessed
from holdfast.wire.running import Ran as Ran
from holdfast.wire.running import Run as Run
from holdfast.wire.waits import Waited as Waited
from holdfast.wire.waits import WaitFor as WaitFor

PROTOCOL: Final = 1


# ---- both ways -------------------------------------------------------------------------------------------------------


class Ping(Message, frozen=True, tag="ping"):
    """Ask for proof of life; ``Pong`` repeats ``mark``."""

    mark: int


class Pong(Message, frozen=True, tag="pong"):
    mark: int


# ---- client to host --------------------------------------------------------------------------------------------------


class Hello(Message, frozen=True, tag="hello"):
    """First message of a client. ``client`` names this running program for idempotency (I5)."""

    version: int
    client: str
    face: str  # cli, attach, sdk, ...: shown to others, decides nothing
    inside: str = ""  # the session this program runs in, if it says so


class Open(Message, frozen=True, tag="open"):
    """Create a session, or with ``reuse`` return the running one of that name."""

    ref: int
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    size: Size
    name: str = ""  # empty: the host names it
    reuse: bool = False
    policy: ReapPolicy | None = None
    key: str = ""  # idempotency key: the same key from the same client makes one session
    integration: bool = True  # let an interactive shell mark its commands: docs/shell-integration.md


class List(Message, frozen=True, tag="list"):
    ref: int
    ended: bool = False


class Info(Message, frozen=True, tag="info"):
    """Ask for the live tuple (R02, R75), read from the kernel at this instant."""

    ref: int
    session: str


class Attach(Message, frozen=True, tag="attach"):
    """Join a session with a view, state first, then stream (I4).

    ``view``: ``terminal`` (keyframe as a repaint for ``size``, then bytes; falling behind yields a fresh keyframe),
    ``stream`` (bytes from ``offset``, each once, at the reader's pace, gaps stated), ``screen`` (rows, only what changed),
    ``events``. ``offset`` None means now; -1 the oldest byte kept. ``observe`` never sizes nor writes.
    """

    ref: int
    attachment: int
    session: str
    view: str
    size: Size | None = None
    offset: int | None = None
    observe: bool = False
    credit: int = 1 << 20  # bytes the host may send before more credit
    cursor: str = ""  # a cursor from an earlier attachment: exact resume and rollback detection
    direct: bool = False  # on this machine: let the viewer read the session's memory itself (``Direct``)


class Detach(Message, frozen=True, tag="detach"):
    attachment: int
    cause: str = "asked"


class Credit(Message, frozen=True, tag="credit"):
    """Allow ``size`` more bytes of output on an attachment."""

    attachment: int
    size: int


class Seen(Message, frozen=True, tag="seen"):
    """A viewer that reads by itself (``Direct``) has shown output up to ``offset``; it may not fall far behind."""

    attachment: int
    offset: int


class Input(Message, frozen=True, tag="input"):
    """Type ``data``. ``seq`` rises by one per input of this client and session and is its idempotency key (I5).

    ``term``: the latest term of control its sender saw; 0: its program does not follow control. A signed input says it in
    ``Signed`` instead. ``basis``: what an AI operator had seen; it is refused if that is no longer so.
    """

    ref: int
    session: str
    seq: int
    data: bytes
    attachment: int = 0
    term: int = 0
    basis: Basis | None = None


class Resize(Message, frozen=True, tag="resize"):
    ref: int
    session: str
    size: Size
    attachment: int = 0


class Signal(Message, frozen=True, tag="signal"):
    """Send a signal to the foreground process group, or to the whole tree."""

    ref: int
    session: str
    signal: int
    tree: bool = False


class Kill(Message, frozen=True, tag="kill"):
    """End the session: HUP, TERM, KILL on the whole tree, ``grace_s`` apart."""

    ref: int
    session: str
    grace_s: float = 2.0


class Keep(Message, frozen=True, tag="keep"):
    """Postpone reaping for ``for_s`` seconds; 0 takes the postponement back."""

    ref: int
    session: str
    for_s: float


class Rename(Message, frozen=True, tag="rename"):
    ref: int
    session: str
    name: str


class Forget(Message, frozen=True, tag="forget"):
    """Remove the record of an ended session."""

    ref: int
    session: str


class Fork(Message, frozen=True, tag="fork"):
    """Ask for a copy of the running execution. Always refused here (``not-supported``), with what a copy would share."""

    ref: int
    session: str


class ReadOutput(Message, frozen=True, tag="read"):
    """Ask for at most ``size`` bytes of output from ``offset`` (-1: the oldest kept)."""

    ref: int
    session: str
    offset: int
    size: int = 65536


class GetScreen(Message, frozen=True, tag="get-screen"):
    ref: int
    session: str
    history: int = 0  # lines above the screen to include in text form


class GetText(Message, frozen=True, tag="get-text"):
    """The screen as plain text, with up to ``history`` lines above it."""

    ref: int
    session: str
    history: int = 0


class WaitEnd(Message, frozen=True, tag="wait"):
    """Answered by ``Ended`` when the session ends; at once if it has."""

    ref: int
    session: str


class HostStatus(Message, frozen=True, tag="host-status"):
    ref: int


class HostStop(Message, frozen=True, tag="host-stop"):
    """Stop the host daemon. Sessions run on, held by their holders. ``replace``: the caller starts a successor."""

    ref: int
    replace: bool = False


class HostUpgrade(Message, frozen=True, tag="host-upgrade"):
    """Put the host's own version of the code under the keeper and every holder, in place: same processes, same pids.

    Answered by ``Upgraded``.
    """

    ref: int


class Signed(Message, frozen=True, tag="signed"):
    """An action with its operator's signature: how every verb of wire.signing.SIGNED comes over a network.

    ``action`` is the encoded message. ``session`` is the id of the session it is about, for ``open`` the host's; ``seq`` is
    that of an ``input``, for other verbs a number of its own that rises with each from this client. docs/channel.md says
    what is signed.
    """

    session: str
    seq: int
    salt: bytes
    signature: bytes
    action: bytes
    epoch: int = 1
    term: int = 1


class Cancel(Message, frozen=True, tag="cancel"):
    """Stop waiting for the answer to ``ref``."""

    ref: int


# ---- host to client --------------------------------------------------------------------------------------------------


class Welcome(Message, frozen=True, tag="welcome"):
    version: int
    host: str
    host_name: str
    generation: int
    software: str
    frame_bytes_max: int
    nonce: bytes = b""  # to be signed by who presents keys on this connection; empty where they were proven before it


class Failed(Message, frozen=True, tag="failed"):
    """The answer to ``ref`` is an error of core.errors. ``ref`` 0: the connection as a whole; it is closed next."""

    ref: int
    code: str
    message: str
    do: str = ""
    details: dict[str, Any] = msgspec.field(default_factory=dict)


class Done(Message, frozen=True, tag="done"):
    """``ref`` was carried out; ``position`` is its place in the journal, where it has one."""

    ref: int
    position: int = 0


class Opened(Message, frozen=True, tag="opened"):
    ref: int
    session: SessionInfo
    created: bool


class Listing(Message, frozen=True, tag="listing"):
    ref: int
    sessions: tuple[SessionInfo, ...]


class Tuple(Message, frozen=True, tag="tuple"):
    """The live tuple: plain data, docs/wire.md "Live tuple"."""

    ref: int
    session: SessionInfo
    live: dict[str, Any]


class Attached(Message, frozen=True, tag="attached"):
    """Every later message on ``attachment`` belongs to this attach. The first is state (``Keyframe``, ``Rows``) unless
    exact bytes from ``offset`` were asked for."""

    ref: int
    attachment: int
    session: SessionInfo
    offset: int
    number: int  # of attaches to this session, ever
    driver: bool  # whether this attachment decides the size
    operator: str = ""  # as whom control knows whoever attached


class Keyframe(Message, frozen=True, tag="keyframe"):
    """State at ``offset``: ``repaint`` brings a terminal of ``size`` to it. Bytes from ``offset`` follow as ``Output``,
    unless ``follow`` is false: then only further states do, because the viewer's window has another size.
    ``lost`` > 0: that many bytes before ``offset`` were skipped for this viewer."""

    attachment: int
    offset: int
    repaint: bytes
    size: Size
    lost: int = 0
    follow: bool = True


class Direct(Message, frozen=True, tag="direct"):
    """Output from ``offset`` on comes no more: the viewer reads it itself from two descriptors that came along.

    They are the session's memory, read only, and an eventfd that rings when it grew. In the memory, 64-bit numbers of
    this machine's byte order stand at ``head_at`` (offset after the last byte produced) and ``start_at`` (bytes before
    it are gone); the byte of offset N stands at ``ring_at + N % ring_bytes``, as long as ``head - N`` is at most
    ``ring_bytes - slack``. After a ``Keyframe`` reading goes on at its offset, if it says ``follow``.
    """

    attachment: int
    offset: int
    head_at: int
    start_at: int
    ring_at: int
    ring_bytes: int
    slack: int


class Output(Message, frozen=True, tag="output"):
    attachment: int
    offset: int
    data: bytes


class Gap(Message, frozen=True, tag="gap"):
    """Bytes ``start``..``end`` cannot be had any more; ``why``: evicted, overrun, holder-restart, corrupt, disk."""

    attachment: int
    start: int
    end: int
    why: str


class Rows(Message, frozen=True, tag="rows"):
    """The ``screen`` view: changed rows at ``offset``. ``full``: forget what was there."""

    attachment: int
    offset: int
    size: Size
    full: bool
    rows: dict[int, tuple[Cell, ...]]
    styles: tuple[Style, ...]
    cursor: tuple[int, int, bool]  # row, column, visible
    modes: dict[str, bool] = msgspec.field(default_factory=dict)
    title: str = ""
    alternate: bool = False


class Event(Message, frozen=True, tag="event"):
    """Something happened in the session: ``kind`` as in the journal, with its position and author."""

    attachment: int
    kind: str
    position: int
    at: float
    operator: str
    body: dict[str, Any]


class Detached(Message, frozen=True, tag="detached"):
    """The attachment is over. ``cause``: asked, superseded, ended, host-stopping, gone. ``ending`` if the session ended.
    ``offset``: after the last byte of output that belongs to it; who reads by itself (``Direct``) shows the rest first."""

    attachment: int
    cause: str
    cursor: str = ""
    ending: Ending | None = None
    offset: int = 0


class Typed(Message, frozen=True, tag="typed"):
    """The answer to ``Input``. ``outcome``: applied, partial, refused, unknown. ``written`` bytes reached the terminal."""

    ref: int
    seq: int
    outcome: str
    written: int
    position: int


class OutputRange(Message, frozen=True, tag="output-range"):
    """The answer to ``ReadOutput``: ``data`` begins at ``offset``; if that is later than asked, what lies between is gone."""

    ref: int
    offset: int
    data: bytes
    end: int  # offset after the last byte produced so far
    why: str = ""  # why bytes before ``offset`` are missing


class Text(Message, frozen=True, tag="text"):
    ref: int
    offset: int
    lines: tuple[str, ...]
    cursor: tuple[int, int]
    title: str
    control: ControlState | None = None  # as it was before the screen was read: an act may stand on both


class ScreenState(Message, frozen=True, tag="screen-state"):
    """The whole screen at ``offset``, as ``Rows`` with every row."""

    ref: int
    screen: Rows
    control: ControlState | None = None


class Ended(Message, frozen=True, tag="ended"):
    ref: int
    ending: Ending


class Status(Message, frozen=True, tag="status"):
    ref: int
    pid: int
    generation: int
    started_at: float
    software: str
    sessions: int
    keeper_pid: int
    view_pids: tuple[int, ...]
    runtime: str
    state: str
    notes: tuple[str, ...] = ()


class Silent(Message, frozen=True, tag="silent"):
    """Nothing was heard of the host for ``for_s`` seconds; 0: it is heard again. The client's own link says this, no host."""

    for_s: float


class Upgraded(Message, frozen=True, tag="upgraded"):
    """The answer to ``HostUpgrade``: how many holders run the new code, and for which sessions that failed and why."""

    ref: int
    keeper_pid: int
    holders: int
    failed: dict[str, str] = msgspec.field(default_factory=dict)


ToHost = (
    Hello | Ping | Pong | Open | List | Info | Attach | Detach | Credit | Seen | Input | Resize | Signal | Kill | Keep | Rename
    | Forget | Fork | ReadOutput | GetScreen | GetText | WaitEnd | ReadJournal | HostStatus | HostStop | HostUpgrade | Cancel
    | Signed | Present | GetIdentity | Enrol | Revoke | Invite | Renew | Control | Who | WaitFor
    | Propose | Proposals | Decide | Withdraw | AwaitDecision | Witness | GetChain | ReadTimes | AcceptRollback | ListCommands
    | AwaitJoiner | LetIn | Run | Notify | StopNotifying
)  # fmt: skip
ToClient = (
    Welcome | Ping | Pong | Failed | Done | Opened | Listing | Tuple | Attached | Keyframe | Direct | Output | Gap | Rows | Event
    | Detached | Typed | OutputRange | Text | ScreenState | Ended | Records | Status | Upgraded | Identity | Joined
    | Waited | Ran | Silent | Controlled | Here | Proposed | Pending | Decided | Commands | Shell
    | Witnessed | ChainIs | Times | SetBack | Asking | Notifying
)  # fmt: skip
