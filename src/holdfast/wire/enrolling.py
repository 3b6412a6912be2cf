"""What is said about who a host and its members are: enrolment, join codes, renewal, revocation. Source: docs/wire.md.
Re-exported by messages. Not here: what certificates and lists are worth (core.identity), a joiner's own conversation (joining).
"""

from typing import Final

from holdfast.wire.parts import Message

UNDIALLED: Final = "not dialled yet"


class GetIdentity(Message, frozen=True, tag="get-identity"):
    """Ask who this host is; it makes its keys if it has none. Answer: ``Identity``."""

    ref: int


class Enrol(Message, frozen=True, tag="enrol"):
    """Make this host a member of a tenant, or renew it, and have it dial these relays from now on. Answer: ``Identity``.

    ``certificates`` is the chain for its key, issuer first; ``name`` its name, sealed for the tenant's members.
    """

    ref: int
    tenant: bytes
    certificates: tuple[bytes, ...]
    relays: tuple[str, ...]
    name: bytes = b""


class Invite(Message, frozen=True, tag="invite"):
    """Let whoever has the secret of which ``digest`` is the SHA-256 ask to join, once, until ``not_after``; a time that is over
    takes it back. What that gives is kept with the keys that sign it, and not told. Answer: ``Done``."""

    ref: int
    digest: bytes
    not_after: int
    recognise: bool = False  # a person compares a number before whoever comes is signed for (pairing)


class Renew(Message, frozen=True, tag="renew"):
    """Ask for newer certificates and grants for the key that speaks, if it is still to have them. Answer: ``Joined``."""

    ref: int


class Revoke(Message, frozen=True, tag="revoke-list"):
    """Take note of a signed revocation list of the tenant; who falls under it is cut off at once. Answer: ``Done``."""

    ref: int
    revocations: bytes
    issuer: bytes = b""


class Identity(Message, frozen=True, tag="identity"):
    """Who this host is. ``key``: its Ed25519 key; ``tenant`` and ``certificates`` are empty until it was enrolled.

    ``relays``: each relay's URL, and how its link stands: ``up``, or why not, at first ``UNDIALLED``.
    """

    ref: int
    key: bytes
    tenant: bytes
    certificates: tuple[bytes, ...]
    relays: dict[str, str]
    record: bytes = b""


class Joined(Message, frozen=True, tag="joined"):
    """What a member has: ``certificates`` of its key and ``grants``, ``host`` if its machine's host is a member too.

    ``until``: how long it is renewed. ``names``: the tenant's name keys by version, never for guests.
    """

    ref: int
    certificates: tuple[bytes, ...]
    grants: tuple[bytes, ...]
    host: tuple[bytes, ...]
    relays: tuple[str, ...]
    names: dict[int, bytes]
    until: int
    name: str = ""  # what the tenant calls this member

    def __repr__(self) -> str:
        return "<what a member has>"
