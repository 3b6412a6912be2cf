"""Let others join this tenant, and join somebody else's: one code, one conversation, a profile. Source: docs/identity.md.

Not here: what is signed for whoever comes with the code (issuing, started by the host that lets them in), shares (sharing).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from holdfast.client import enrolment, ledger
from holdfast.client.connection import Connection
from holdfast.client.credentials import Store, profiles
from holdfast.client.issuing import source
from holdfast.client.ledger import Terms
from holdfast.core import grants, identity, signed
from holdfast.core.errors import HoldError, HostUnreachable, Refused, Timeout, revived
from holdfast.core.grants import Grant
from holdfast.core.identity import HOUR_S, MEMBER_S, MEMBER_S_MAX, VOUCHED_S_MAX, HostRecord, Kind
from holdfast.core.invitations import SECRET_BYTES, JoinCode, parse_join_code
from holdfast.core.sealing import NameKey
from holdfast.core.signed import SEED_BYTES, KeyPair
from holdfast.edge import due
from holdfast.edge.relayline import RelayLine
from holdfast.wire import messages as wire
from holdfast.wire import relay
from holdfast.wire.channel import Initiator, prologue
from holdfast.wire.joining import Joiner, digest

CODE_S: Final = HOUR_S
ANSWER_S: Final = 30.0
SLOW_S: Final = 1.5  # without an answer a person is being asked
COMPARE_S: Final = 115.0  # once the host has spoken: a person may have to compare a number there
ELSEWHERE: Final = frozenset({HostUnreachable.code, relay.NoSuchHost.code})  # another relay may lead there
ACTING: Final = frozenset({Kind.AI, Kind.DEVICE})  # operators that act on behalf of whoever invites them


class Wish(NamedTuple):
    """What an invitation shall give. Times in seconds; ``sessions`` are ids with their names in ``named``, none: all."""

    name: str
    kind: Kind
    capabilities: int = 0
    sessions: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    for_s: int = MEMBER_S_MAX
    life_s: int = MEMBER_S  # of each certificate: for so long it may be away
    machine: bool = False
    code_s: int = CODE_S


class Invited(NamedTuple):
    code: JoinCode
    terms: Terms


class Joined(NamedTuple):
    """What came of joining: a profile. ``host``: what the host that let us in is called."""

    store: Store
    host: str
    name: str
    kind: Kind
    grants: tuple[Grant, ...]
    until: int
    machine: bool


Numbered = Callable[[str], None]
"""Hears the number that a person at the host may have to compare, if the answer does not come at once."""


# ---- letting in ------------------------------------------------------------------------------------------------------


def reachable(host: Connection, store: Store) -> wire.Identity:
    """Return who the host at the other end is. Raises Refused if nobody could reach it as a member of this tenant."""
    who = enrolment.identity_of(host)
    if who.tenant != store.tenant:
        raise Refused(
            "this machine's host is no member of your tenant yet, so nobody could reach it; nothing was given",
            do="`hold up` makes it reachable, or `hold host link URL` if there is a relay",
        )
    if not who.relays:
        raise Refused(
            "this machine's host dials no relay, so nobody could reach it; nothing was given",
            do="`hold up` makes it reachable, or `hold host link URL` if there is a relay",
        )
    return who


def invite(
    host: Connection, store: Store, wish: Wish, *, recognised: Callable[[bytes, int], None] | None = None
) -> Invited:
    """Open an invitation at the host at the other end, which must be this user's own, and return its code.

    ``recognised`` puts on record, before anybody can come, that a person has to recognise who comes (pairing): it gets the
    digest and when the code ends.

    Raises Refused where the tenant's or one's own rights do not reach, TooMany, StorageFailed.
    """
    enrolment.outside()
    who, now = reachable(host, store), int(time.time())
    if not store.issues and (wish.machine or wish.kind not in ACTING):
        raise Refused(
            f"a {wish.kind.value} can only be made a member where the tenant's issuer key is; nothing was given",
            do="do it on the machine where `hold key` says that certificates are made",
        )
    until = now + wish.for_s
    if wish.capabilities:
        chain = source(store, capabilities=wish.capabilities, sessions=wish.sessions, now=now)
        until = min(until, grants.read(chain).not_after)
    most = MEMBER_S_MAX if store.issues else VOUCHED_S_MAX
    secret = os.urandom(SECRET_BYTES)
    terms = Terms(
        digest(secret), store.operator.key, wish.name, wish.kind, wish.capabilities, wish.sessions, wish.named,
        min(wish.life_s, most), until, store.operator.key if wish.kind in ACTING else b"", wish.machine, now,
        now + wish.code_s,
    )  # fmt: skip
    record = signed.peeked(who.record, HostRecord, most=identity.RECORD_BYTES_MAX)
    code = JoinCode(
        tuple(who.relays), store.tenant, who.key, record.channel, secret, terms.not_after, wish.machine
    )  # fmt: skip
    code.text()  # before anything is on record: it may be no code at all
    with ledger.opened(store, now=now) as account:
        account.invitations[terms.digest] = terms
    if recognised is not None:
        recognised(terms.digest, terms.not_after)
    host.ask(wire.Invite(host.ref(), terms.digest, terms.not_after, recognised is not None), wire.Done)
    return Invited(code, terms)


def take_back(host: Connection, store: Store, terms: Terms) -> None:
    """Close an invitation nobody came with."""
    with ledger.opened(store, now=int(time.time())) as account:
        account.invitations.pop(terms.digest, None)
    host.ask(wire.Invite(host.ref(), terms.digest, 0), wire.Done)


# ---- joining ---------------------------------------------------------------------------------------------------------


def join(
    text: str, folder: Path, *, profile: str = "", name: str = "", numbered: Numbered = lambda number: None
) -> Joined:
    """Join with a code, make a profile of what is given, and enrol this machine's host if the code is for that.

    What can be refused here is refused before the code is used up. Raises BadJoinCode, Expired, Refused, NotInvited,
    RelayUnreachable, and what certificates are refused with.
    """
    now = int(time.time())
    code = parse_join_code(text, now=now)
    if profile and profile in profiles(folder):
        raise Refused(f"there is a profile {profile!r} already; nothing was joined", do="choose another name with --as")
    pair = KeyPair(seed := os.urandom(SEED_BYTES))
    machine, called = _own_host(code) if code.machine else (b"", "")
    host_name, answer = asyncio.run(_asked(code, pair, machine, name or called, numbered))
    member = identity.verify(answer.certificates, tenant=code.tenant, now=now)
    found = tuple(
        grants.verify(
            chain, tenant=code.tenant, now=now, holder=pair.key, kind=member.kind,
            principal=member.certificate.on_behalf_of,
        )
        for chain in answer.grants
    )  # fmt: skip
    store = Store.joined(
        folder, profile or free_name(folder, host_name), tenant=code.tenant, seed=seed,
        certificates=answer.certificates, now=now, grant_chains=answer.grants,
        name_keys=tuple(NameKey(version, key) for version, key in answer.names.items()),
        relays=tuple(dict.fromkeys((*code.relays, *answer.relays))), default_host=code.host, name=answer.name,
    )  # fmt: skip
    if machine:
        with Connection() as own:
            enrolment.enrol(own, store, answer.host, code.relays, answer.name or own.welcome.host_name, key=machine)
    due.settle(str(folder), now + 60)
    return Joined(store, host_name, answer.name, member.kind, found, answer.until, bool(machine))


def free_name(folder: Path, wanted: str) -> str:
    """Return ``wanted`` as the name of a profile that is not taken yet."""
    plain = "".join(char if char.isascii() and char.isalnum() else "-" for char in wanted.partition(".")[0]).strip("-")
    stem, taken = plain[:40] or "joined", set(profiles(folder))
    return next(name for name in (stem, *(f"{stem}-{n}" for n in range(2, len(taken) + 3))) if name not in taken)


def _own_host(code: JoinCode) -> tuple[bytes, str]:
    """Return key and name of this machine's host. Raises Refused if it belongs elsewhere already."""
    with Connection() as host:
        who, name = enrolment.identity_of(host), host.welcome.host_name
    if who.tenant not in (b"", code.tenant):
        raise Refused(
            "this machine's host is a member of another tenant; nothing was joined, the code is still good",
            do="`hold host leave` gives that up first; sessions run on",
        )
    if who.key == code.host:
        raise Refused(
            "this is the very host that the code is from; nothing was joined", do="use it on the other machine"
        )
    return who.key, name


async def _asked(
    code: JoinCode, pair: KeyPair, machine: bytes, name: str, numbered: Numbered
) -> tuple[str, wire.Joined]:
    """Return what the host of the code gives, over the first of its relays that leads there."""
    errors: list[HoldError] = []
    for url in code.relays:
        try:
            line = await RelayLine.dial(url, "join")
        except HoldError as error:
            errors.append(error)
            continue
        try:
            return await _over(line, code, pair, machine, name, numbered)
        except HoldError as error:
            if error.code not in ELSEWHERE:
                raise  # the host itself spoke
            errors.append(error)
        finally:
            await line.close()
    if errors[0].code == relay.NoSuchHost.code:  # what a relay says of a host that expects nobody
        raise Refused(
            "the host of this code expects nobody there now: the code was used or taken back, or the host is away",
            do="ask for a new code, or try again when that machine is up",
        )
    raise errors[0]


async def _over(
    line: RelayLine, code: JoinCode, pair: KeyPair, machine: bytes, name: str, numbered: Numbered
) -> tuple[str, wire.Joined]:  # fmt: skip
    initiator = Initiator(
        static_private=X25519PrivateKey.generate(), remote_static=code.channel, prologue=prologue(code.host),
        ephemeral_private=X25519PrivateKey.generate(),
    )  # fmt: skip
    joiner = Joiner(initiator, secret=code.secret, pair=pair, host=machine, name=name)
    loop = asyncio.get_running_loop()
    done: asyncio.Future[wire.Joined] = loop.create_future()
    patience, slow = asyncio.timeout(ANSWER_S), list[asyncio.TimerHandle]()

    def settle(error: HoldError) -> None:
        if not done.done():
            done.set_exception(error)

    def heard(said: relay.FromRelay | relay.Routed) -> None:
        match said:
            case relay.Routed():
                try:
                    for each in joiner.receive(said.data):
                        line.carry(1, each)
                except HoldError as error:
                    settle(error)
                if joiner.accepted and not slow:
                    patience.reschedule(loop.time() + COMPARE_S)
                    slow.append(loop.call_later(SLOW_S, numbered, joiner.number))
                if joiner.answer is not None and not done.done():
                    done.set_result(joiner.answer)
            case relay.Closed():
                settle(HostUnreachable(identity.host_id(code.host), "it hung up before it answered"))
            case wire.Failed():
                settle(revived(said.code, said.message, said.do, said.details))
            case _:
                pass

    line.say(relay.OpenRoute(1, code.host))
    line.carry(1, joiner.first())
    listening = loop.create_task(line.listen(heard), name="joining")
    try:
        async with patience:
            either: set[asyncio.Future[Any]] = {done, listening}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not done.done():
                raise HostUnreachable(identity.host_id(code.host), "the relay hung up before it answered")
            return joiner.accepted, await done
    except TimeoutError:
        raise Timeout(
            "the host did not answer in time; whether the code was used up is not known", do="try it once more"
        ) from None
    finally:
        for each in slow:
            each.cancel()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        done.cancel()
