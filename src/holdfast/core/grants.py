"""Decide what a chain of grants allows: each link signed by the holder of the one before, each only narrowing.

Not here: who the holder is (identity), which message needs what (admission). Chains are seen by hosts, never by relays.
``now`` and validity are Unix seconds, valid up to, not including, ``not_after``. Source: docs/identity.md, "Grants".
"""

import enum
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from holdfast.core import identity, signed
from holdfast.core.errors import HoldError
from holdfast.core.identity import DAY_S, NOTHING_REVOKED, SKEW_S, Expired, Kind, Revocations, Revoked
from holdfast.core.ids import is_session_id
from holdfast.core.signed import SERIAL_BYTES, Body, Signer, Unsigned, is_key, is_span

FORMAT: Final = 1
LINKS_MAX: Final = 8
DEPTH_MAX: Final = LINKS_MAX - 1
SESSIONS_MAX: Final = 64  # that one link may name
LINK_BYTES_MAX: Final = 4096
CHAIN_BYTES_MAX: Final = 16 * 1024
GRANT_S_MAX: Final = 366 * DAY_S


class Capability(enum.IntFlag):
    """What may be done. A link states every bit it means: ``closed`` adds what ``IMPLIES`` says."""

    NONE = 0
    OBSERVE = 1  # see the session: screen, output, live tuple
    PROPOSE = 2  # offer input that somebody else must approve
    OPERATE = 4  # type, signal, resize; on all sessions: start new ones
    MANAGE = 8  # end, keep, rename, forget; on all sessions: stop and upgrade the host
    AUDIT = 16  # read the journal: who did what. Gives no other right, and none but MANAGE gives it (R73)


IMPLIES: Final[Mapping[Capability, Capability]] = {
    Capability.OBSERVE: Capability.NONE,
    Capability.PROPOSE: Capability.OBSERVE,
    Capability.OPERATE: Capability.PROPOSE | Capability.OBSERVE,
    Capability.MANAGE: Capability.OPERATE | Capability.PROPOSE | Capability.OBSERVE,
    Capability.AUDIT: Capability.NONE,
}
EVERYTHING: Final = Capability(31)
GUEST_MOST: Final = Capability.PROPOSE | Capability.OBSERVE


def closed(capabilities: Capability) -> Capability:
    """Return ``capabilities`` with everything they imply."""
    result = Capability(capabilities)
    for each, implied in IMPLIES.items():
        if each & capabilities:
            result |= implied
    return result


def reaching(capabilities: Capability | int) -> Capability:
    """Return what a link with these may do and pass on: whoever manages also audits, since it may remove the record.

    It is not in the link, so that grants from before there was AUDIT mean the same.
    """
    found = Capability(capabilities)
    return found | Capability.AUDIT if found & Capability.MANAGE else found


@functools.cache  # what is admitted is asked for with every key, and flags of an enumeration are slow to join
def covers(held: Capability, needed: Capability) -> bool:
    """Tell whether a link with ``held`` allows ``needed`` and everything that implies."""
    return not closed(needed) & ~reaching(held)


class BadGrant(HoldError):
    """A chain of grants proves nothing, or not this. ``details["reason"]`` is stable: the keys of ``WHY``."""

    code = "bad-grant"
    WHY: Final[Mapping[str, str]] = {
        "malformed": "it is not the encoding of a chain of grants",
        "too-large": f"it is larger than {CHAIN_BYTES_MAX} bytes",
        "too-long": f"it has more than {LINKS_MAX} links, or none",
        "signature": "a link was not signed by the holder of the link before it",
        "format": "its format is not known to this version",
        "tenant": "it belongs to another tenant",
        "parent": "a link continues another chain than the one it stands in",
        "capabilities": "a link's capabilities are none, unknown, or without what they imply",
        "sessions": "a link names sessions in a way that is not allowed (sorted ids, each once, at most 64)",
        "validity": "a link's end does not come after its beginning, or it lives longer than a grant may",
        "depth": "somebody delegated who may not delegate further",
        "key": "a link's holder is not a key",
        "wider-capabilities": "a link allows more than the link before it",
        "wider-sessions": "a link reaches more sessions than the link before it",
        "wider-time": "a link is valid outside the time of what stands before it",
        "holder": "it was given to another key",
        "principal": "it does not come through the one on whose behalf its holder acts",
        "guest": "guests may only observe or propose, and never delegate",
        "not-yet-valid": "it is not valid yet",
        "session": "it does not reach this session",
        "capability": "it does not allow this",
    }

    def __init__(self, reason: str) -> None:
        do = "compare the clocks of both machines" if reason == "not-yet-valid" else "ask whoever gave it for another"
        super().__init__(f"the grant was refused: {self.WHY[reason]}", do=do, reason=reason)


class Link(Body, frozen=True):
    """``signer`` allows ``holder``. ``sessions`` empty means all of the tenant's; ``depth`` links may still follow."""

    format: int
    tenant: bytes
    signer: bytes
    holder: bytes
    sessions: tuple[str, ...]  # exact ids, sorted, each once
    capabilities: int  # closed
    not_before: int
    not_after: int
    depth: int
    serial: bytes
    parent: bytes  # SHA-256 of the body of the link before; empty for the first


class _Chain(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    issuer: bytes  # certificate of the issuer that signed the first link; empty: the root did
    links: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Grant:
    """What a verified chain allows its holder: the last link, which is the narrowest."""

    holder: bytes
    sessions: frozenset[str]  # empty: all
    capabilities: Capability
    not_before: int
    not_after: int
    depth: int
    holders: tuple[bytes, ...]  # of every link, first to last
    serials: tuple[bytes, ...]  # of every link
    issuer: tuple[bytes, ...]  # key and serial of the issuer at the root; empty: the root itself

    def forbids(self, capability: Capability, session: str | None, *, now: int) -> str | None:
        """Return the reason of BadGrant (or ``expired``) why not, None if it allows. ``session`` None: all sessions."""
        if now < self.not_before:
            return "not-yet-valid"
        if now >= self.not_after:
            return "expired"
        if self.sessions and session not in self.sessions:
            return "session"
        if not capability or not covers(self.capabilities, capability):
            return "capability"
        return None

    def revoked(self, by: Revocations) -> bool:
        """Tell whether anything this grant stands on was taken back."""
        return by.name_member(*self.holders, *self.serials) or not by.issuers.isdisjoint(self.issuer)


# ---- making ----------------------------------------------------------------------------------------------------------


def mint(
    signer: Signer, *, issuer: bytes = b"", holder: bytes, capabilities: Capability, serial: bytes,
    now: int, not_after: int, sessions: tuple[str, ...] = (), depth: int = DEPTH_MAX,
) -> bytes:  # fmt: skip
    """Return a chain of one link, signed by an issuer whose certificate is ``issuer``, or by the root itself.

    It begins ``SKEW_S`` before ``now``, or with the issuer. Raises BadGrant for what ``verify`` would refuse.
    """
    over = identity.read([issuer]).certificate if issuer else None
    begin = max(now - SKEW_S, over.not_before if over else 0)
    tenant = over.tenant if over else signer.key
    link = Link(
        FORMAT, tenant, signer.key, holder, tuple(sorted(set(sessions))), int(closed(capabilities)),
        begin, not_after, depth, serial, b"",
    )  # fmt: skip
    above = _Above.of_root(over, tenant)
    if (fault := _fault(link, above)) is not None:
        raise BadGrant(fault)
    return signed.encoded(_Chain(issuer, (signed.sign(signer, signed.GRANT, link),)))


def attenuate(
    chain: bytes, signer: Signer, *, holder: bytes, serial: bytes, capabilities: Capability | None = None,
    sessions: tuple[str, ...] | None = None, not_after: int | None = None, depth: int | None = None,
) -> bytes:  # fmt: skip
    """Return ``chain`` with a link by which its holder, ``signer``, lets ``holder`` do less or as much. Needs nobody.

    What is not given stays as it is; ``depth`` falls by one. Asking for more is an error, never cut silently: raises
    BadGrant with the reason that ``verify`` would give.
    """
    outer, links = _read(chain)
    last = links[-1]
    if signer.key != last.holder:
        raise BadGrant("holder")
    if len(links) >= LINKS_MAX:
        raise BadGrant("too-long")
    link = Link(
        FORMAT, last.tenant, signer.key, holder,
        last.sessions if sessions is None else tuple(sorted(set(sessions))),
        last.capabilities if capabilities is None else int(closed(capabilities)),
        last.not_before, last.not_after if not_after is None else not_after,
        last.depth - 1 if depth is None else depth, serial, signed.body_digest(outer.links[-1], most=LINK_BYTES_MAX),
    )  # fmt: skip
    if (fault := _fault(link, _Above.of_link(last, link.parent))) is not None:
        raise BadGrant(fault)
    longer = signed.encoded(_Chain(outer.issuer, (*outer.links, signed.sign(signer, signed.GRANT, link))))
    if len(longer) > CHAIN_BYTES_MAX:
        raise BadGrant("too-large")
    return longer


def read(chain: bytes) -> Grant:
    """Return what a chain says without proving it: for its own holder. Raises BadGrant."""
    outer, links = _read(chain)
    over = identity.read([outer.issuer]).certificate if outer.issuer else None
    return _grant(over, links)


# ---- checking --------------------------------------------------------------------------------------------------------


def verify(
    chain: bytes, *, tenant: bytes, now: int, holder: bytes, kind: Kind, principal: bytes = b"",
    session: str | None = None, capability: Capability = Capability.NONE, revoked: Revocations = NOTHING_REVOKED,
) -> Grant:  # fmt: skip
    """Return what ``chain`` allows ``holder``, an operator of ``kind`` acting on behalf of ``principal`` (or nobody).

    The only trust is in the root key ``tenant``: the chain brings its issuer's certificate along. With a ``capability``
    that one must be allowed too, on ``session`` or, if that is None, on all sessions. Raises BadGrant, Expired, Revoked,
    and for the issuer what ``identity.verify_issuer`` raises.

    An operator with a principal is held to it by the chain itself: an earlier link must be the principal's, so what the
    last one allows is part of what the principal was allowed.
    """
    outer = _outer(chain)
    over = identity.verify_issuer(outer.issuer, tenant=tenant, now=now, revoked=revoked) if outer.issuer else None
    links = _followed(outer, over, tenant)
    grant = _grant(over, links)
    if grant.holder != holder:
        raise BadGrant("holder")
    if principal and principal not in grant.holders[:-1]:
        raise BadGrant("principal")
    if kind is Kind.GUEST and (grant.depth or grant.capabilities & ~GUEST_MOST):
        raise BadGrant("guest")
    if now < grant.not_before:
        raise BadGrant("not-yet-valid")
    if now >= grant.not_after:
        raise Expired("grant", grant.not_after)
    if grant.revoked(revoked):
        raise Revoked("grant")
    if capability and (reason := grant.forbids(capability, session, now=now)) is not None:
        raise BadGrant(reason)
    return grant


class _Above(NamedTuple):
    """What a link may not exceed."""

    tenant: bytes
    signer: bytes
    sessions: frozenset[str]
    capabilities: int
    not_before: int
    not_after: int
    depth: int
    parent: bytes

    @classmethod
    def of_root(cls, issuer: identity.Certificate | None, tenant: bytes) -> "_Above":
        key, begin, end = (issuer.key, issuer.not_before, issuer.not_after) if issuer else (tenant, 0, signed.TIME_MAX)
        return cls(tenant, key, frozenset(), int(EVERYTHING), begin, end, DEPTH_MAX + 1, b"")

    @classmethod
    def of_link(cls, link: Link, digest: bytes) -> "_Above":
        return cls(
            link.tenant, link.holder, frozenset(link.sessions), link.capabilities,
            link.not_before, link.not_after, link.depth, digest,
        )  # fmt: skip


def _fault(it: Link, above: _Above) -> str | None:
    """Return what is wrong with a link under what stands above it, whatever the time."""
    checks = (
        ("format", it.format == FORMAT),
        ("malformed", len(it.serial) == SERIAL_BYTES),
        ("tenant", it.tenant == above.tenant),
        ("signature", it.signer == above.signer),
        ("parent", it.parent == above.parent),
        ("key", is_key(it.holder)),
        ("capabilities", 0 < it.capabilities <= EVERYTHING and closed(Capability(it.capabilities)) == it.capabilities),
        ("sessions", len(it.sessions) <= SESSIONS_MAX and all(map(is_session_id, it.sessions))
         and list(it.sessions) == sorted(set(it.sessions))),
        ("validity", is_span(it.not_before, it.not_after) and it.not_after - it.not_before <= GRANT_S_MAX),
        ("depth", 0 <= it.depth < above.depth),
        ("wider-capabilities", not it.capabilities & ~int(reaching(above.capabilities))),
        # an empty tuple means all, so under a list of sessions it would be wider than any
        ("wider-sessions", not above.sessions or (it.sessions != () and above.sessions.issuperset(it.sessions))),
        ("wider-time", above.not_before <= it.not_before and it.not_after <= above.not_after),
    )  # fmt: skip
    return next((name for name, good in checks if not good), None)


def _followed(outer: _Chain, over: identity.Certificate | None, tenant: bytes) -> list[Link]:
    above = _Above.of_root(over, tenant)
    links: list[Link] = []
    for data in outer.links:
        try:
            # SSH may hold a person's key, never a root's or an issuer's.
            link = signed.opened(
                data, Link, key=above.signer, domain=signed.GRANT, most=LINK_BYTES_MAX, ssh=bool(links)
            )
            digest = signed.body_digest(data, most=LINK_BYTES_MAX)
        except Unsigned as error:
            raise BadGrant(error.reason) from None
        if (fault := _fault(link, above)) is not None:
            raise BadGrant(fault)
        links.append(link)
        above = _Above.of_link(link, digest)
    return links


def _outer(chain: bytes) -> _Chain:
    try:
        outer: _Chain = signed.decoded(chain, _Chain, most=CHAIN_BYTES_MAX)
    except Unsigned as error:
        raise BadGrant(error.reason) from None
    if not 1 <= len(outer.links) <= LINKS_MAX:
        raise BadGrant("too-long")
    return outer


def _read(chain: bytes) -> tuple[_Chain, list[Link]]:
    outer = _outer(chain)
    try:
        return outer, [signed.peeked(data, Link, most=LINK_BYTES_MAX) for data in outer.links]
    except Unsigned as error:
        raise BadGrant(error.reason) from None


def _grant(over: identity.Certificate | None, links: list[Link]) -> Grant:
    last = links[-1]
    return Grant(
        last.holder, frozenset(last.sessions), Capability(last.capabilities), last.not_before, last.not_after,
        last.depth, tuple(link.holder for link in links), tuple(link.serial for link in links),
        (over.key, over.serial) if over else (),
    )  # fmt: skip
