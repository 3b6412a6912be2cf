"""Decide who is told that something happened in a session while nobody of theirs looks. Pure: events and time in, notices out.

A notice says that something happened, of what kind and in which session; never what it was. Not here: how a notice reaches
anybody (host.push), what happened (host). Source: docs/web.md, "Notices"; issue: my command ended, input wanted, approval
wanted, control taken.
"""

import enum
from collections import OrderedDict, deque
from typing import Any, Final, NamedTuple

from holdfast.core.admission import Act, Authority, Granted, refusals
from holdfast.core.grants import Capability
from holdfast.core.identity import Kind, Revocations, operator_id

LONG_S: Final = 10.0  # a command that took less is no news: whoever typed it still looks
HERE_S: Final = 30.0  # who acted in a session so recently looks at it
APART_S: Final = 20.0  # between two notices of one kind about one session to one subscription
BURST: Final = 8  # notices to one subscription at once
REFILL_S: Final = 30.0  # until one more is allowed
LASTS_S: Final = 30 * 86400  # a subscription that is not renewed; a page renews it whenever it is opened
REMEMBERED: Final = 1024  # who acted where, and what was told


class Why(enum.StrEnum):
    COMMAND = "command"  # one that this operator began, or had begun, is over
    INPUT = "input"  # a program asks for a line or a password
    APPROVAL = "approval"  # a proposal waits for a person
    CONTROL = "control"  # control was taken from this operator


class Happened(NamedTuple):
    """Something in ``session``. ``by`` and ``principal`` (operator ids): whose command, whose proposal, who took control; empty:
    nobody knows. ``of``: whom it concerns besides, as who lost control."""

    why: Why
    session: str
    by: str = ""
    principal: str = ""
    of: str = ""


class Listener(NamedTuple):
    """Who wants to be told. ``authority`` is what was proven at ``seen_at`` (Unix seconds), when it was last here."""

    authority: Granted
    seen_at: int
    everything: bool = False

    @property
    def id(self) -> str:
        return str(operator_id(self.authority.member.key))

    @property
    def principal(self) -> str:
        key = self.authority.member.certificate.on_behalf_of
        return str(operator_id(key)) if key else ""


def lasts(listener: Listener, *, now: int, revoked: Revocations) -> bool:
    """Whether anything may be told at all. What a notice says is so little that a certificate which merely ran out since, as of
    a phone in a pocket, ends nothing; a revocation does at once (R56)."""
    return now < listener.seen_at + LASTS_S and not any(
        revoked.names(each) for each in listener.authority.member.certificates
    )


def may_know(listener: Listener, session: str, *, now: int, revoked: Revocations) -> bool:
    """Whether ``listener`` may observe ``session``, by grants that hold now."""
    return _may(listener, Act("info", session, session), Capability.OBSERVE, now=now, revoked=revoked)


def concerns(listener: Listener, it: Happened, *, now: int, revoked: Revocations) -> bool:
    """Whether ``it`` is of ``listener``'s concern, and theirs to know. Nobody is told of what they did themselves."""
    if not lasts(listener, now=now, revoked=revoked) or not may_know(listener, it.session, now=now, revoked=revoked):
        return False
    match it.why:
        case Why.APPROVAL:
            decide = Act("decide", it.session, it.session)
            person = listener.authority.member.kind is Kind.HUMAN
            may = _may(listener, decide, Capability.OPERATE, now=now, revoked=revoked)
            return person and may and it.by != listener.id
        case Why.CONTROL:
            return it.by != listener.id and (listener.everything or it.of == listener.id)
        case _:
            return listener.everything or _is_theirs(listener, it, now=now, revoked=revoked)


def _is_theirs(listener: Listener, it: Happened, *, now: int, revoked: Revocations) -> bool:
    """Their own, that of whoever they act for or who acts for them; and a person who manages the host stands for the machine's
    own user, who types there without keys, and for what nobody is known to have begun."""
    mine = {listener.id, listener.principal} - {""}
    if mine & {it.by, it.principal}:
        return True
    if it.by.startswith("o-") or listener.authority.member.kind is not Kind.HUMAN:
        return False
    return _may(listener, Act("host-stop"), Capability.MANAGE, now=now, revoked=revoked)


def _may(listener: Listener, act: Act, capability: Capability, *, now: int, revoked: Revocations) -> bool:
    authority: Authority = listener.authority
    if refusals(act, authority, now=listener.seen_at, revoked=revoked):
        return False
    session = act.session or None
    return any(grant.forbids(capability, session, now=now) is None for grant in listener.authority.grants)


class Pacing:
    """What was told already, and who is there: whether one more notice is worth it. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._acted: OrderedDict[tuple[str, str], float] = OrderedDict()  # session, operator
        self._told: OrderedDict[tuple[str, str, Why], float] = OrderedDict()  # subscription, session, why
        self._burst: OrderedDict[str, deque[float]] = OrderedDict()  # by subscription: when, within BURST * REFILL_S

    def acted(self, session: str, *operators: str, now: float) -> None:
        """``operators``, somebody and on whose behalf, did something in ``session``."""
        for operator in operators:
            _remember(self._acted, (session, operator), now)

    def here(self, session: str, operator: str, *, now: float) -> bool:
        """Whether ``operator`` looks at ``session``, as far as one can tell."""
        return now - self._acted.get((session, operator), -HERE_S) < HERE_S

    def due(self, subscription: str, it: Happened, *, now: float) -> bool:
        """Whether to tell ``subscription`` now; if so, that counts as told."""
        key = (subscription, it.session, it.why)
        if now - self._told.get(key, -APART_S) < APART_S:
            return False
        latest = self._burst.get(subscription, deque())
        while latest and now - latest[0] >= REFILL_S * BURST:
            latest.popleft()
        if len(latest) >= BURST:
            return False
        latest.append(now)
        _remember(self._burst, subscription, latest)
        _remember(self._told, key, now)
        return True


def _remember(where: "OrderedDict[Any, Any]", key: object, value: object) -> None:
    where[key] = value
    where.move_to_end(key)
    if len(where) > REMEMBERED:
        where.popitem(last=False)
