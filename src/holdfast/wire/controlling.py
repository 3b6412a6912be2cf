"""What is said about control: who may type now, who else is here. Source: docs/wire.md, "Control". Re-exported by messages."""

import msgspec

from holdfast.wire.parts import ControlState, Message


class Control(Message, frozen=True, tag="control"):
    """Change who may type in a session, or ask for that. Answer: ``Controlled``. Safe to repeat: what is so already stays.

    ``act``: take, give (``to`` an operator), release, request, renew, pause, resume, private, public. ``job``: what
    becomes of the foreground job when control is taken: leave, interrupt, stop. ``why`` is shown to everybody.
    """

    ref: int
    session: str
    act: str
    to: str = ""
    why: str = ""
    job: str = "leave"


class Who(Message, frozen=True, tag="who"):
    """Ask who is attached and who has control. Answer: ``Here``."""

    ref: int
    session: str


class Controlled(Message, frozen=True, tag="controlled"):
    """The answer to ``Control``: control as it is now, and what became of the bytes of whoever lost it.

    ``position``: after this record of the journal no byte of theirs reaches a program. ``flushed``: at least so many bytes
    that the terminal had and no program had read were thrown away, -1: an older holder cannot. ``dropped``: inputs that
    waited and were not typed. ``cleared``: what they had typed of a line was taken off it. ``signalled``: pids of the job
    that was interrupted or stopped.
    """

    ref: int
    control: ControlState
    position: int
    flushed: int = 0
    dropped: int = 0
    cleared: bool = False
    signalled: tuple[int, ...] = ()


class Presence(msgspec.Struct, frozen=True):
    """One attachment of a session. Times are Unix seconds."""

    attachment: int  # its number in the session
    operator: str
    kind: str
    on_behalf_of: str
    face: str
    view: str
    observe: bool
    since: float
    acted_s: float  # seconds since its operator last did something here
    you: bool = False  # it is of the program that asks


class Asked(msgspec.Struct, frozen=True):
    """Somebody asks for control."""

    operator: str
    kind: str
    on_behalf_of: str
    why: str
    at: float


class Here(Message, frozen=True, tag="here"):
    """The answer to ``Who``."""

    ref: int
    control: ControlState
    attached: tuple[Presence, ...]
    asked: tuple[Asked, ...] = ()
