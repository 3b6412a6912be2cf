"""Sign what somebody is to have: for one who joins, once, and for members who renew. Source: docs/identity.md, "Joining".

``python -m holdfast.client.issuing`` is what a host starts for each answer, and it ends with it: question on standard
input, answer on standard output. The host has no key of the tenant and no say in the terms, which lie with the keys
(ledger): it brings a digest, or the key of a member that it proved. Not here: who is invited (inviting).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from holdfast.client import ledger, pairings
from holdfast.client.credentials import Random, Store, profiles
from holdfast.client.ledger import Given, Terms
from holdfast.client.places import here
from holdfast.core import grants, identity
from holdfast.core.errors import HoldError, Refused
from holdfast.core.grants import Capability
from holdfast.core.identity import MEMBER_S_MAX, SKEW_S, VOUCHED_S_MAX, Kind
from holdfast.core.signed import SERIAL_BYTES, is_key
from holdfast.wire.joining import Issue, NotInvited, issues
from holdfast.wire.messages import Failed, Joined

ASK_BYTES_MAX: Final = 4096
GRANTS_MAX: Final = 16
PASSES_ON: Final = frozenset({Kind.HUMAN, Kind.DEVICE})  # operators that may pass on what they have


class NotRenewed(Refused):
    """Revoked, over and never known are said in the same words."""

    code = "not-renewed"

    def __init__(self) -> None:
        super().__init__(
            "this host has nothing to renew for this key; what is held goes on to its end",
            do="ask whoever gave it for a new join code",
        )


def source(store: Store, *, capabilities: int, sessions: tuple[str, ...], now: int) -> bytes:
    """Return the chain held here that reaches this far and may be passed on, the one that lasts longest. Raises Refused."""
    found: list[tuple[int, bytes]] = []
    revoked = store.revocations()
    for chain in store.grant_chains(now=now):
        grant = grants.read(chain)
        wide = (
            not capabilities & ~grants.reaching(grant.capabilities) and grant.depth > 0 and not grant.revoked(revoked)
        )
        if wide and (not grant.sessions or (sessions and grant.sessions.issuperset(sessions))):
            found.append((grant.not_after, chain))
    if not found:
        raise Refused(
            "you cannot pass that on: no grant that you hold reaches as far; nothing was given",
            do="`hold grants` shows what you hold; give less, or name the session",
        )
    return max(found)[1]


def certified(
    store: Store, key: bytes, *, kind: Kind, name: str, on_behalf_of: bytes, life_s: int, now: int, random: Random
) -> tuple[bytes, ...]:  # fmt: skip
    """Return certificates for ``key`` that live ``life_s`` from ``now``: the issuer's, or where that is not, vouched for by
    this profile's human. Raises what ``identity.issue`` raises."""
    if store.issues:
        life_s = min(life_s + SKEW_S, MEMBER_S_MAX)
        return store.certify(
            key, kind=kind, now=now, random=random, name=name, life_s=life_s, on_behalf_of=on_behalf_of
        )
    return identity.issue(
        store.operator, store.certificates, kind=kind, key=key, serial=random(SERIAL_BYTES), now=now,
        life_s=min(life_s + SKEW_S, VOUCHED_S_MAX), on_behalf_of=on_behalf_of,
    )  # fmt: skip


def passed_on(
    store: Store, key: bytes, kind: Kind, *, capabilities: int, sessions: tuple[str, ...], until: int, now: int,
    random: Random,
) -> bytes:  # fmt: skip
    """Return a chain that lets ``key`` do this, out of what is held here; it may end before ``until``. Raises Refused."""
    chain = source(store, capabilities=capabilities, sessions=sessions, now=now)
    held = grants.read(chain)
    return grants.attenuate(
        chain, store.operator, holder=key, serial=random(SERIAL_BYTES), capabilities=Capability(capabilities),
        sessions=sessions, not_after=min(until, held.not_after), depth=held.depth - 1 if kind in PASSES_ON else 0,
    )  # fmt: skip


def answer(ask: Issue, folder: Path, *, now: int, random: Random) -> Joined:
    """Return what ``ask`` is to have, and put it on record. Raises NotInvited, NotRenewed, and what signing raises."""
    if not is_key(ask.key) or (ask.host and not is_key(ask.host)):
        raise Refused("that is no key; nothing was given")
    for store in _stores(folder):
        account = ledger.read(store)
        if ask.digest and (terms := account.invitations.get(ask.digest)) is not None:
            if not pairings.allows(store, ask.digest, ask.key):
                raise NotInvited  # a person has to say yes to this very key, and did not
            return _join(store, terms, ask, now, random)
        if not ask.digest and (member := _member(account, ask.key, store, now)) is not None:
            return _renew(store, member, account, now, random)
    raise NotInvited if ask.digest else NotRenewed


def _stores(folder: Path) -> Iterator[Store]:
    for name in profiles(folder):
        yield Store(folder, name)


def _able(store: Store, by: bytes, now: int, random: Random) -> None:
    """Check that who gives still may: an invitation ends with whoever made it."""
    store.renewed(now=now, random=random)
    member = identity.verify(store.certificates, tenant=store.tenant, now=now, revoked=store.revocations())
    if member.key != by:
        raise NotInvited


def _join(store: Store, terms: Terms, ask: Issue, now: int, random: Random) -> Joined:
    if not terms.not_after > now or terms.machine is not bool(ask.host):
        raise NotInvited
    _able(store, terms.by, now, random)
    grant = b""
    if terms.capabilities:
        grant = passed_on(
            store, ask.key, terms.kind, capabilities=terms.capabilities, sessions=terms.sessions, until=terms.until,
            now=now, random=random,
        )  # fmt: skip
    name = terms.name or ask.name
    serial = grants.read(grant).serials[-1] if grant else random(SERIAL_BYTES)
    member = Given(
        serial, ask.key, "join", name, terms.kind, terms.capabilities, terms.sessions, terms.named, now, terms.until,
        terms.by, terms.life_s, terms.on_behalf_of, grant, ask.host,
    )  # fmt: skip
    said = _said(store, member, (grant,) if grant else (), now, random)
    with ledger.opened(store, now=now) as account:
        if account.invitations.pop(terms.digest, None) is None:
            raise NotInvited  # somebody was quicker with the same code
        account.given.append(member)
    return said


def _member(account: ledger.Ledger, key: bytes, store: Store, now: int) -> Given | None:
    revoked = store.revocations()
    for each in reversed(account.given):
        if each.key == key and each.how == "join" and each.until > now and not revoked.name_member(key):
            return each
    return None


def _renew(store: Store, member: Given, account: ledger.Ledger, now: int, random: Random) -> Joined:
    _able(store, member.by, now, random)
    revoked = store.revocations()
    if member.grant and not member.revoked(revoked):
        member = _extended(store, member, now, random)
    chains = [member.grant] if member.grant and not member.revoked(revoked) else []
    chains += [
        each.grant
        for each in account.given
        if each.key == member.key and each.how == "offer" and each.until > now and not each.revoked(revoked)
    ]
    return _said(store, member, tuple(chains[:GRANTS_MAX]), now, random)


def _extended(store: Store, member: Given, now: int, random: Random) -> Given:
    """Give a grant anew that had to end before its term, with the issuer of its time."""
    held = grants.read(source(store, capabilities=member.capabilities, sessions=member.sessions, now=now))
    if grants.read(member.grant).not_after >= min(member.until, held.not_after):
        return member
    chain = passed_on(
        store, member.key, member.kind, capabilities=member.capabilities, sessions=member.sessions, until=member.until,
        now=now, random=random,
    )  # fmt: skip
    fresh = msgspec.structs.replace(member, grant=chain, serial=grants.read(chain).serials[-1])
    with ledger.opened(store, now=now) as account:
        account.given[:] = [fresh if each.serial == member.serial else each for each in account.given]
    return fresh


def _said(store: Store, member: Given, chains: tuple[bytes, ...], now: int, random: Random) -> Joined:
    left_s = member.until - now
    chain = certified(
        store, member.key, kind=member.kind, name=member.name, on_behalf_of=member.on_behalf_of,
        life_s=min(member.life_s, left_s), now=now, random=random,
    )  # fmt: skip
    host: tuple[bytes, ...] = ()
    if member.host:
        host = certified(
            store, member.host, kind=Kind.HOST, name=member.name, on_behalf_of=b"", life_s=min(MEMBER_S_MAX, left_s),
            now=now, random=random,
        )  # fmt: skip
    names = {key.version: key.key for key in store.naming.name_keys()}
    return Joined(0, chain, chains, host, store.profile.relays, names, member.until, member.name)


def main() -> int:
    """Answer the one question on standard input."""
    try:
        ask = issues.decode(sys.stdin.buffer.read(ASK_BYTES_MAX))
        said: Joined | Failed = answer(ask, here().keys, now=int(time.time()), random=os.urandom)
    except HoldError as error:
        said = Failed(0, error.code, error.message, error.do)
    sys.stdout.buffer.write(msgspec.msgpack.encode(said))
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
