"""Holdfast: a running execution as an object that outlives every client, the host daemon and the relay.

The public SDK lives in ``holdfast.client``; its names are re-exported here lazily, because the keeper and every holder
import this package too and must not pay for what they never use.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # importing typing costs every holder 8 ms; checkers treat this name as true
if TYPE_CHECKING:
    from holdfast.client import until
    from holdfast.client.approvals import Proposal
    from holdfast.client.events import (
        CommandEnded,
        CommandStarted,
        Ended,
        Event,
        Gap,
        Happened,
        Joined,
        Left,
        Missed,
        Output,
        Resized,
        Screen,
        Sent,
        Text,
        Waited,
        Waiting,
    )
    from holdfast.client.running import CommandFailed, CommandResult, Printed, Running, StillRunning
    from holdfast.client.sdk import Client, Session, connect
    from holdfast.client.until import Until
    from holdfast.core.commands import Command, Prompt
    from holdfast.core.cursor import Cursor
    from holdfast.core.errors import (
        BadLine,
        BadName,
        BadPattern,
        CannotStart,
        Denied,
        Gated,
        HoldError,
        HostUnreachable,
        IncompleteLine,
        InputUnknown,
        JournalRolledBack,
        LineBusy,
        LineTooLong,
        MayNotDecide,
        NameTaken,
        NeedsApproval,
        NoSuchSession,
        NotAtPrompt,
        NothingRan,
        NotYourTurn,
        OutOfTurn,
        Paused,
        Private,
        Refused,
        SessionEnded,
        StaleBasis,
        StaleTerm,
        Timeout,
        TooFast,
        Unmarked,
    )
    from holdfast.core.evidence import Report
    from holdfast.core.telling import Told
    from holdfast.wire.messages import SessionInfo

_EVENTS = (
    "CommandEnded",
    "CommandStarted",
    "Ended",
    "Event",
    "Gap",
    "Happened",
    "Joined",
    "Left",
    "Missed",
    "Output",
    "Resized",
    "Screen",
    "Sent",
    "Text",
    "Waited",
    "Waiting",
)
_ERRORS = (
    "BadLine", "BadName", "BadPattern", "CannotStart", "Denied", "Gated", "HoldError", "HostUnreachable",
    "IncompleteLine", "InputUnknown", "JournalRolledBack", "LineBusy", "LineTooLong", "MayNotDecide", "NameTaken",
    "NeedsApproval", "NoSuchSession", "NotAtPrompt", "NotYourTurn", "NothingRan", "OutOfTurn", "Paused", "Private",
    "Refused", "SessionEnded", "StaleBasis", "StaleTerm", "Timeout", "TooFast", "Unmarked",
)  # fmt: skip
_HOMES = {
    **dict.fromkeys(("Client", "Session", "connect"), "holdfast.client.sdk"),
    **dict.fromkeys(_EVENTS, "holdfast.client.events"),
    **dict.fromkeys(_ERRORS, "holdfast.core.errors"),
    **dict.fromkeys(("Command", "Prompt"), "holdfast.core.commands"),
    **dict.fromkeys(
        ("CommandFailed", "CommandResult", "Printed", "Running", "StillRunning"), "holdfast.client.running"
    ),
    "Cursor": "holdfast.core.cursor",
    "Proposal": "holdfast.client.approvals",
    "Report": "holdfast.core.evidence",
    "SessionInfo": "holdfast.wire.messages",
    "Told": "holdfast.core.telling",
    "Until": "holdfast.client.until",
    "until": "holdfast.client",
}
__all__ = [
    "BadLine", "BadName", "BadPattern", "CannotStart", "Client", "Command", "CommandEnded", "CommandFailed",
    "CommandResult", "CommandStarted", "Cursor", "Denied", "Ended", "Event", "Gap", "Gated", "Happened",
    "HoldError", "HostUnreachable", "IncompleteLine", "InputUnknown", "Joined", "JournalRolledBack", "Left",
    "LineBusy", "LineTooLong", "MayNotDecide", "Missed", "NameTaken", "NeedsApproval", "NoSuchSession",
    "NotAtPrompt", "NotYourTurn", "NothingRan", "OutOfTurn", "Output", "Paused", "Printed", "Private", "Prompt",
    "Proposal", "Refused", "Report", "Resized", "Running", "Screen", "Sent", "Session", "SessionEnded",
    "SessionInfo", "StaleBasis", "StaleTerm", "StillRunning", "Text", "Timeout", "Told", "TooFast", "Unmarked",
    "Until", "Waited", "Waiting", "__version__", "connect", "until",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """Import a name of the SDK when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
    from importlib import import_module

    home = import_module(_HOMES[name])
    found: object = import_module(f"{_HOMES[name]}.{name}") if name == "until" else getattr(home, name)
    globals()[name] = found
    return found
