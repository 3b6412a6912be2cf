"""Decide whether an authority may do what a message asks. Pure: a table of needs, rules that can only refuse.

Not here: who somebody is (identity), what a chain of grants is worth (grants), how a host carries anything out.
Source: docs/identity.md, "Admission".
"""

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from holdfast.core.errors import HoldError, NoSuchSession, Refused
from holdfast.core.grants import EVERYTHING, GUEST_MOST, Capability, Grant
from holdfast.core.identity import NOTHING_REVOKED, Kind, Member, Revocations


class Scope(enum.Enum):
    """What an act touches."""

    NONE = "none"  # the conversation itself, or what is filtered by the one who answers
    SESSION = "session"  # one session, which it names
    HOST = "host"  # the host as a whole: only a grant for all sessions reaches that far
    MACHINE = "machine"  # whose tenant's host this is: no grant reaches that far, only the machine's own user


class Need(NamedTuple):
    """What an authority must have. ``capability`` NONE: nothing beyond having been admitted."""

    capability: Capability
    scope: Scope


_ADMITTED: Final = Need(Capability.NONE, Scope.NONE)
_OBSERVE: Final = Need(Capability.OBSERVE, Scope.SESSION)
_PROPOSE: Final = Need(Capability.PROPOSE, Scope.SESSION)
_AUDIT: Final = Need(Capability.AUDIT, Scope.SESSION)
_OPERATE: Final = Need(Capability.OPERATE, Scope.SESSION)
_MANAGE: Final = Need(Capability.MANAGE, Scope.SESSION)

# Every message a client can send, by its tag; a test compares this with wire.messages.ToHost. What is not here is forbidden.
NEEDS: Final[Mapping[str, Need]] = {
    "hello": _ADMITTED, "ping": _ADMITTED, "pong": _ADMITTED, "cancel": _ADMITTED,
    "detach": _ADMITTED, "credit": _ADMITTED, "seen": _ADMITTED,  # name an attachment, admitted when it was made
    "list": _ADMITTED,  # filtered: see visible()
    "open": Need(Capability.OPERATE, Scope.HOST),
    "attach": _OPERATE, "input": _OPERATE, "resize": _OPERATE, "signal": _OPERATE,
    "info": _OBSERVE, "read": _OBSERVE, "get-screen": _OBSERVE, "get-text": _OBSERVE, "wait": _OBSERVE,
    "wait-for": _OBSERVE, "run": _OPERATE, "list-commands": _OBSERVE,
    "witness": _OBSERVE,  # heads are in every cursor
    "read-times": _OBSERVE,
    "read-journal": _AUDIT, "get-chain": _AUDIT,
    "kill": _MANAGE, "keep": _MANAGE, "rename": _MANAGE, "forget": _MANAGE, "fork": _MANAGE,
    "host-status": Need(Capability.OBSERVE, Scope.HOST),
    "host-stop": Need(Capability.MANAGE, Scope.HOST), "host-upgrade": Need(Capability.MANAGE, Scope.HOST),
    "get-identity": Need(Capability.OBSERVE, Scope.HOST),
    "enrol": Need(Capability.MANAGE, Scope.MACHINE),  # whoever changes the tenant takes the host, beyond any revocation
    "revoke-list": _ADMITTED,  # proves itself; the more ways it has, the harder it is to hide
    "await-joiner": Need(Capability.MANAGE, Scope.MACHINE), "let-in": Need(Capability.MANAGE, Scope.MACHINE),
    "invite": Need(Capability.MANAGE, Scope.MACHINE),  # whoever lets others join has the keys that sign for it
    "accept-rollback": Need(Capability.MANAGE, Scope.MACHINE),
    "renew": _ADMITTED,  # gives a member no more than what was given to it
    "present": _ADMITTED,  # proves itself; whoever presents keys gives up what it could do without them
    "notify": _ADMITTED, "stop-notifying": _ADMITTED,  # what is told is filtered: see core.notices
    "control": _OPERATE, "who": _OBSERVE,
    "propose": _PROPOSE, "withdraw": _PROPOSE,
    "decide": _OPERATE,  # and a person: see core.proposals
    "proposals": _OBSERVE, "await-decision": _OBSERVE,
}  # fmt: skip
# What is needed instead if the act is eased (see Act); other verbs need the same either way.
OBSERVING: Final[Mapping[str, Need]] = {"attach": _OBSERVE, "resize": _OBSERVE}  # of an observer's own window
RENEWING: Final[Mapping[str, Need]] = {"enrol": Need(Capability.MANAGE, Scope.HOST)}
# Carry another message. Nobody may these: it is the message within that must be asked about, by its own verb.
WRAPPERS: Final = frozenset({"signed"})


@dataclass(frozen=True, slots=True)
class Act:
    """``session`` is the id of the session that the message's own word, ``named``, was found to mean; empty: none.

    ``observe``: the message says that it will only observe. ``renews``: the host found that it leaves its tenant as it is.
    """

    verb: str  # the message's tag
    session: str = ""
    named: str = ""
    observe: bool = False
    renews: bool = False


# ---- who asks --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Owner:
    """The machine's own user, at a terminal outside any session: the last resort, who may everything."""


@dataclass(frozen=True, slots=True)
class Inside:
    """A program inside a session, acting as that session's own service operator."""

    session: str


@dataclass(frozen=True, slots=True)
class Granted:
    """An operator proven by certificates and the grants that were verified for its key. Each grant counts for itself.

    ``inside``: the session in which its program runs, if the kernel says so; empty: none.
    """

    member: Member
    grants: tuple[Grant, ...]
    inside: str = ""


Authority = Owner | Inside | Granted


class Forbidden(Refused):
    """Not allowed, and saying so gives nothing away: the asker may see what it is about. ``details``: ``verb``, ``reason``."""

    code = "forbidden"

    def __init__(self, verb: str, refusal: "Refusal") -> None:
        super().__init__(
            f"{verb} is not allowed here: {refusal.why}; nothing was done",
            do="ask somebody who may, or for a grant",
            verb=verb,
            reason=refusal.reason,
        )


class Refusal(NamedTuple):
    """``reason`` is stable, ``why`` is for the host's own record or, where Forbidden carries it, for the asker."""

    reason: str
    why: str


class _Asked(NamedTuple):
    act: Act
    need: Need
    authority: Authority
    now: int
    revoked: Revocations


# ---- rules: each may refuse, none can allow --------------------------------------------------------------------------


def _names_a_session(ask: _Asked) -> Refusal | None:
    if ask.need.scope is Scope.SESSION and not ask.act.session:
        return Refusal("no-such-session", "there is no such session")
    return None


def _is_an_authority(ask: _Asked) -> Refusal | None:
    if not isinstance(ask.authority, Owner | Inside | Granted):
        return Refusal("authority", "whoever asks is nobody known")
    return None


def _machine_is_its_users(ask: _Asked) -> Refusal | None:
    if ask.need.scope is Scope.MACHINE and not isinstance(ask.authority, Owner):
        return Refusal("machine", "only this machine's own user may")
    return None


def _inside_never_manages(ask: _Asked) -> Refusal | None:
    inside = isinstance(ask.authority, Inside) or (isinstance(ask.authority, Granted) and bool(ask.authority.inside))
    if inside and ask.need.capability & Capability.MANAGE:
        return Refusal("inside", "a program inside a session manages nothing")
    return None


def _inside_operates_its_own(ask: _Asked) -> Refusal | None:
    if not isinstance(ask.authority, Inside) or ask.act.session == ask.authority.session:
        return None
    if ask.need.capability & (Capability.OPERATE | Capability.PROPOSE) and ask.need.scope is Scope.SESSION:
        return Refusal("inside", "a program inside a session operates that session alone")
    return None


def _inside_audits_its_own(ask: _Asked) -> Refusal | None:
    if not isinstance(ask.authority, Inside) or ask.act.session == ask.authority.session:
        return None
    if ask.need.capability & Capability.AUDIT:
        return Refusal("inside", "a program inside a session reads the record of that session alone")
    return None


def _is_still_certified(ask: _Asked) -> Refusal | None:
    if not isinstance(ask.authority, Granted):
        return None
    for certificate in ask.authority.member.certificates:
        if not certificate.not_before <= ask.now < certificate.not_after:
            return Refusal("expired", "the operator's certificate is not valid now")
        if ask.revoked.names(certificate):
            return Refusal("revoked", "the operator's certificate was revoked")
    return None


def _is_an_operator(ask: _Asked) -> Refusal | None:
    if isinstance(ask.authority, Granted) and ask.authority.member.kind in (Kind.HOST, Kind.ISSUER):
        return Refusal("kind", "hosts and issuers operate nothing")
    return None


def _guests_only_watch(ask: _Asked) -> Refusal | None:
    if not isinstance(ask.authority, Granted) or ask.authority.member.kind is not Kind.GUEST:
        return None
    if ask.need.capability & ~GUEST_MOST or ask.need.scope is Scope.HOST:
        return Refusal("guest", "guests may only observe or propose")
    return None


def _has_a_grant(ask: _Asked) -> Refusal | None:
    if not isinstance(ask.authority, Granted) or ask.need.capability == Capability.NONE:
        return None
    session = ask.act.session if ask.need.scope is Scope.SESSION else None
    for grant in ask.authority.grants:
        if not _counts(grant, ask.authority.member) or grant.revoked(ask.revoked):
            continue
        if grant.forbids(ask.need.capability, session, now=ask.now) is None:
            return None
    need = ask.need.capability.name or str(ask.need.capability.value)
    return Refusal("grant", f"it needs a grant to {need.lower()}")


def _counts(grant: Grant, member: Member) -> bool:
    """Whether a grant is this member's, and comes through its principal. ``grants.verify`` asked the same before; a host
    that forgot to tell it the principal must not thereby give more."""
    principal = member.certificate.on_behalf_of
    return grant.holder == member.key and (not principal or principal in grant.holders[:-1])


RULES: Final[tuple[Callable[[_Asked], Refusal | None], ...]] = (
    _names_a_session, _is_an_authority, _machine_is_its_users, _inside_never_manages, _inside_operates_its_own,
    _inside_audits_its_own, _is_still_certified, _is_an_operator, _guests_only_watch, _has_a_grant,
)  # fmt: skip


# ---- the gate --------------------------------------------------------------------------------------------------------


def needed(act: Act) -> Need | None:
    """Return what ``act`` needs, None for a verb nobody knows."""
    if act.observe and act.verb in OBSERVING:
        return OBSERVING[act.verb]
    if act.renews and act.verb in RENEWING:
        return RENEWING[act.verb]
    return NEEDS.get(act.verb)


def refusals(act: Act, authority: Authority, *, now: int, revoked: Revocations = NOTHING_REVOKED) -> list[Refusal]:
    """Return every reason why ``act`` may not happen; empty means it may. An unknown verb or authority may nothing."""
    if act.verb in WRAPPERS:
        return [Refusal("wrapper", "what it carries was not asked about")]
    need = needed(act)
    if need is None:
        return [Refusal("unknown-verb", "this host does not know it")]
    ask = _Asked(act, need, authority, now, revoked)
    return [no for rule in RULES if (no := rule(ask)) is not None]


def objection(act: Act, authority: Authority, *, now: int, revoked: Revocations = NOTHING_REVOKED) -> HoldError | None:
    """Return the error to answer ``act`` with, None if it may happen.

    A session that is unknown and one that the asker may neither observe nor audit are answered with the same NoSuchSession (I9);
    Forbidden, with its reason, is said only about what the asker may see.
    """
    found = refusals(act, authority, now=now, revoked=revoked)
    if not found:
        return None
    need = needed(act)
    if need is not None and need.scope is Scope.SESSION and not _may_know(act.session, authority, now, revoked):
        return NoSuchSession(act.named)
    return Forbidden(act.verb, found[0])


def visible(
    sessions: Iterable[str], authority: Authority, *, now: int, revoked: Revocations = NOTHING_REVOKED
) -> list[str]:
    """Return those of ``sessions``, ids, that a listing may show to ``authority``: what it may observe."""
    return [session for session in sessions if _may_observe(session, authority, now, revoked)]


def reach(session: str, authority: Authority, *, now: int, revoked: Revocations = NOTHING_REVOKED) -> Capability:
    """Return what ``authority`` may do with ``session``, for showing it; it decides nothing."""
    found = Capability.NONE
    for capability in EVERYTHING:
        ask = _Asked(Act("", session), Need(capability, Scope.SESSION), authority, now, revoked)
        if all(rule(ask) is None for rule in RULES):
            found |= capability
    return found


def _may_know(session: str, authority: Authority, now: int, revoked: Revocations) -> bool:
    """Whether it is no news to ``authority`` that there is this session."""
    ask = _Asked(Act("", session), _AUDIT, authority, now, revoked)
    return _may_observe(session, authority, now, revoked) or all(rule(ask) is None for rule in RULES)


def _may_observe(session: str, authority: Authority, now: int, revoked: Revocations) -> bool:
    ask = _Asked(Act("", session), _OBSERVE, authority, now, revoked)
    return all(rule(ask) is None for rule in RULES)
