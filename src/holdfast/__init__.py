"""Holdfast: a running execution as an object that outlives every client, the host daemon and the relay.

The public SDK lives in ``holdfast.client``; its names are re-exported here lazily, because the keeper and every holder
import this package too and must not pay for what they never use.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # importing typing costs every holder 8 ms; checkers treat this name as true
if TYPE_CHECKING:
    from holdfast.client.events import (
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
    )
    from holdfast.client.sdk import Client, Session, connect
    from holdfast.core.cursor import Cursor
    from holdfast.core.errors import (
        BadName,
        CannotStart,
        HoldError,
        HostUnreachable,
        InputUnknown,
        LineTooLong,
        NameTaken,
        NoSuchSession,
        Refused,
        SessionEnded,
        Timeout,
    )

_EVENTS = (
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
)
_ERRORS = (
    "BadName", "CannotStart", "HoldError", "HostUnreachable", "InputUnknown", "LineTooLong", "NameTaken",
    "NoSuchSession", "Refused", "SessionEnded", "Timeout",
)  # fmt: skip
_HOMES = {
    **dict.fromkeys(("Client", "Session", "connect"), "holdfast.client.sdk"),
    **dict.fromkeys(_EVENTS, "holdfast.client.events"),
    **dict.fromkeys(_ERRORS, "holdfast.core.errors"),
    "Cursor": "holdfast.core.cursor",
}
__all__ = [
    "BadName", "CannotStart", "Client", "Cursor", "Ended", "Event", "Gap", "Happened", "HoldError", "HostUnreachable",
    "InputUnknown", "Joined", "Left", "LineTooLong", "Missed", "NameTaken", "NoSuchSession", "Output", "Refused",
    "Resized", "Screen", "Sent", "Session", "SessionEnded", "Text", "Timeout", "__version__", "connect",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """Import a name of the SDK when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found
