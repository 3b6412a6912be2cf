"""What is said about messages that reach a person whose page is closed (Web Push). Source: docs/wire.md, "Notifications".
Re-exported by messages. Not here: who is told what (core.notices), how it is sent (host.push).
"""

from holdfast.wire.parts import Message


class Notify(Message, frozen=True, tag="notify"):
    """Have the host send notices about sessions to this subscription of a browser. Answer: ``Notifying``. Safe to repeat: a
    subscription is known by its ``endpoint``, and saying it again makes it last longer.

    ``key`` and ``auth`` are the browser's (RFC 8291): nobody but it can read what is sent. An empty ``endpoint`` only asks.
    ``everything``: notices of what anybody does, not only of what concerns this operator.
    """

    ref: int
    endpoint: str = ""
    key: bytes = b""
    auth: bytes = b""
    everything: bool = False

    def __repr__(self) -> str:
        return f"<Notify {self.ref}>"


class StopNotifying(Message, frozen=True, tag="stop-notifying"):
    """Send nothing to this subscription any more. Answer: ``Notifying``."""

    ref: int
    endpoint: str

    def __repr__(self) -> str:
        return f"<StopNotifying {self.ref}>"


class Notifying(Message, frozen=True, tag="notifying"):
    """``key``: the host's own for this (RFC 8292), which a browser subscribes with. ``mine``: how many subscriptions this
    operator has here. ``why_not``: what is missing on the host's machine, empty if nothing is."""

    ref: int
    key: bytes
    mine: int
    why_not: str = ""
