"""Keep the keys of AI operators that act for this user: made at the first use, renewed, limited, taken back.

An AI that a person starts on their own machine is an operator of its own, on that person's behalf, with less than they have:
what it does is told apart, can be stopped, and ends with a key (DESIGN 8). Not here: what it says (acting, the MCP face).
Source: docs/mcp.md, "Who it is".
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from holdfast.client import enrolment, issuing, ledger, sharing
from holdfast.client.connection import Connection
from holdfast.client.credentials import Store, profiles
from holdfast.client.ledger import Given
from holdfast.client.meeting import acting_folder, keys_folder
from holdfast.core import grants, identity
from holdfast.core.errors import Refused
from holdfast.core.grants import Capability, closed
from holdfast.core.identity import DAY_S, MEMBER_S, Kind
from holdfast.core.signed import SEED_BYTES, KeyPair
from holdfast.wire import messages as wire

NAME: Final = "ai"  # of the operator, where nobody chose another
HOW: Final = "ai"  # in the account of what was given
GRANT_S: Final = 30 * DAY_S
LEFT: Final = 1 / 3  # renewed when so much of the time is left


class Limits(NamedTuple):
    """What an AI operator may. ``sessions`` are ids with their names in ``named``; none: every session, and to open some."""

    capability: Capability = Capability.OPERATE
    sessions: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    for_s: int = GRANT_S


class Operator(NamedTuple):
    """An AI operator whose keys are ready. ``until``: when its right ends unless it is used before and so renewed."""

    name: str
    id: str
    store: Store
    person: str  # on whose behalf
    capabilities: int
    named: tuple[str, ...]
    until: int


def store(name: str = NAME) -> Store:
    """Return the keys of the AI operator ``name`` as they are. Raises NoCredentials."""
    return Store(acting_folder(), name)


def ready(name: str = NAME, *, path: str | None = None) -> Operator:
    """Return the AI operator ``name`` of this user, with keys that this machine's host accepts: made now if it is the first
    use, renewed if little time is left.

    Makes the host a member of the user's own tenant if it is of none. ``path``: another socket than this user's host has.
    Raises Refused if the operator was taken back, or this machine's tenant has no person of this user.
    """
    with Connection(path) as host:
        who = enrolment.identity_of(host)
        person = _person(host, who)
    now = int(time.time())
    if name not in profiles(acting_folder()):
        _make(person, name, Limits(), now)
    return _renewed(person, store(name), name, now)


def allow(name: str, limits: Limits, *, path: str | None = None) -> Operator:
    """Make the AI operator ``name`` anew, with these limits; what it had before is taken back. Raises Refused."""
    enrolment.outside()
    with Connection(path) as host:
        person = _person(host, enrolment.identity_of(host))
    _forget(person, name)
    now = int(time.time())
    _make(person, name, limits, now)
    return _renewed(person, store(name), name, now)


def forget(name: str, *, path: str | None = None) -> None:
    """Take back what the AI operator ``name`` has, if there is one, and remove its keys. What it started runs on."""
    enrolment.outside()
    with Connection(path) as host:
        person = _person(host, enrolment.identity_of(host))
    _forget(person, name)


def _forget(person: Store, name: str) -> None:
    if name not in profiles(acting_folder()):
        return
    mine = store(name)
    if (entry := _entry(person, mine.operator.key)) is not None and not entry.revoked(person.revocations()):
        sharing.revoke(person, [entry])
    mine.remove()


def _person(host: Connection, who: wire.Identity) -> Store:
    """Return the profile of the person that AI operators at this host act for; the host is enrolled if it is not yet."""
    if not who.tenant:
        person = enrolment.own_store("default")
        enrolment.link(host, person)
        return person
    for name in profiles(keys_folder()):
        found = Store(keys_folder(), name)
        if found.tenant == who.tenant and found.member.kind is Kind.HUMAN:
            if found.issues:
                found.renewed(now=int(time.time()), random=os.urandom)
                enrolment.renew(host, found)
            return found
    raise Refused(
        "this machine's host is of a tenant in which you are no person, so no AI can act for you here; nothing was made",
        do="use it on the machine where you are one, and reach this one as NAME@HOST",
    )


def _entry(person: Store, key: bytes) -> Given | None:
    return next((each for each in reversed(ledger.read(person).given) if each.key == key), None)


def _make(person: Store, name: str, limits: Limits, now: int) -> None:
    """Make keys and what proves them. Whoever is quicker makes them; the other one uses those."""
    enrolment.outside()
    seed = os.urandom(SEED_BYTES)
    key, mine = KeyPair(seed).key, person.operator.key
    chain = issuing.certified(
        person, key, kind=Kind.AI, name=name, on_behalf_of=mine, life_s=MEMBER_S, now=now, random=os.urandom
    )  # fmt: skip
    grant = _granted(person, key, limits.capability, limits.sessions, now + limits.for_s, now)
    try:
        Store.joined(
            acting_folder(), name, tenant=person.tenant, seed=seed, certificates=chain, now=now, grant_chains=(grant,),
            name_keys=person.naming.name_keys(), relays=person.profile.relays, default_host=person.profile.default_host,
            name=name,
        )  # fmt: skip
    except Refused:
        return
    _record(person, key, name, grant, limits.named, limits.for_s, now)


def _granted(
    person: Store, key: bytes, capability: Capability | int, sessions: Sequence[str], until: int, now: int
) -> bytes:  # fmt: skip
    return issuing.passed_on(
        person, key, Kind.AI, capabilities=int(closed(Capability(capability))), sessions=tuple(sessions), until=until,
        now=now, random=os.urandom,
    )  # fmt: skip


def _record(
    person: Store, key: bytes, name: str, chain: bytes, named: tuple[str, ...], for_s: int, now: int
) -> Given:  # fmt: skip
    """Write down what was given, so that it is shown and can be taken back; ``life_s`` is for how long at a time."""
    grant = grants.read(chain)
    given = Given(
        grant.serials[-1], key, HOW, name, Kind.AI, int(grant.capabilities), tuple(sorted(grant.sessions)), named, now,
        grant.not_after, person.operator.key, for_s, person.operator.key, chain,
    )  # fmt: skip
    with ledger.opened(person, now=now) as account:
        account.given[:] = [*(each for each in account.given if not (each.key == key and each.how == HOW)), given]
    return given


def _renewed(person: Store, mine: Store, name: str, now: int) -> Operator:
    key = mine.operator.key
    entry = _entry(person, key)
    if (entry is not None and entry.revoked(person.revocations())) or person.revocations().name_member(key):
        raise Refused(
            f"the AI operator {name!r} was taken back, and its key is good for nothing any more",
            do=f"`hold mcp allow --as {name}` makes it anew, if you mean it",
            name=name,
        )
    held = [grants.read(chain) for chain in mine.grant_chains(now=now)]
    if entry is None:  # whoever made it was interrupted before it was on record
        given = _granted(person, key, Capability.OPERATE, (), now + GRANT_S, now)
        entry = _record(person, key, name, given, (), GRANT_S, now)
        mine.receive(given, now=now)
    elif not held or max(grant.not_after for grant in held) - now < entry.life_s * LEFT:
        chain = _granted(person, key, entry.capabilities, entry.sessions, now + entry.life_s, now)
        if not held or grants.read(chain).not_after > max(grant.not_after for grant in held):
            entry = _record(person, key, name, chain, entry.named, entry.life_s, now)
            mine.receive(chain, now=now)
    if mine.member.certificate.not_after - now < MEMBER_S * LEFT:
        chain_ = issuing.certified(
            person, key, kind=Kind.AI, name=name, on_behalf_of=person.operator.key, life_s=MEMBER_S, now=now,
            random=os.urandom,
        )  # fmt: skip
        mine.recertified(chain_, now=now)
    kept = person.profile
    mine.save_profile(relays=kept.relays, default_host=kept.default_host)
    who = kept.operator_name or str(identity.operator_id(person.operator.key))
    return Operator(
        name, str(identity.operator_id(key)), mine, who, entry.capabilities, entry.named, entry.until
    )  # fmt: skip


__all__ = ["Limits", "Operator", "allow", "forget", "ready", "store"]
