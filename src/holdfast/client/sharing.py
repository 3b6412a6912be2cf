"""Give part of one's own rights away and take it back: guests' links, offers, revocation. Source: docs/sharing.md.

Not here: members (joining, issuing). Giving needs nobody: who holds a right signs one more link. Taking back needs the
tenant's issuer, and reaches whoever an honest relay or host reaches.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import structs

from holdfast.client import enrolment, issuing, joining, ledger, where
from holdfast.client.connection import Connection
from holdfast.client.credentials import Store, profiles
from holdfast.client.ledger import Given
from holdfast.client.meeting import NoSuchHostHere, keys_folder
from holdfast.core import grants, identity, invitations
from holdfast.core.errors import HoldError, NoSuchSession, Refused
from holdfast.core.grants import Capability, Grant, closed
from holdfast.core.identity import DAY_S, Kind
from holdfast.core.invitations import Offer, Share
from holdfast.core.signed import KEY_BYTES, SEED_BYTES, SERIAL_BYTES, KeyPair
from holdfast.edge.relayline import RelayLine
from holdfast.wire import messages as wire
from holdfast.wire import relay

GUEST: Final = "guest"
REVOKED_S: Final = 2 * DAY_S  # what is revoked stays on the list so long after it is over anyway
SERIAL_CHARS_MIN: Final = 6  # of a serial, to name a thing by


class There(NamedTuple):
    """A session to share: its host's key, id and name, and the relays where that host is met."""

    host: bytes
    session: str
    name: str
    relays: tuple[str, ...]


class NothingSuch(NoSuchSession):
    """Nothing that was given goes by that name."""

    code = "nothing-given"

    def __init__(self, what: str) -> None:
        HoldError.__init__(self, f"nothing that was given goes by {what!r}; nothing was changed",
                           do="`hold grants` lists what was given")  # fmt: skip


def find(name: str) -> tuple[Store, There]:
    """Return the session that NAME or NAME@HOST means, and the profile to share it from. Raises NoSuchSession, Refused."""
    enrolment.outside()
    said, path = where.split(name)
    with Connection(path) as host:
        found = next((each for each in host.sessions() if said in (each.id, each.name)), None)
        if path is None:
            store = enrolment.own_store()
            who = joining.reachable(host, store)
            key, relays = who.key, tuple(who.relays)
        else:
            store, key = _knowing(host.welcome.host)
            relays = store.profile.relays
    if found is None:
        raise NoSuchSession(said)
    return store, There(key, found.id, found.name, relays)


def _knowing(host: str) -> tuple[Store, bytes]:
    folder, chosen = keys_folder(), where.chosen()
    for name in [chosen] if chosen else profiles(folder):
        store = Store(folder, name)
        for each in store.hosts():
            if identity.host_id(each.key) == host:
                return store, each.key
    raise NoSuchHostHere(host)


def passes(url: str) -> tuple[str, str, bool]:
    """Return session, path and whether more than looking is allowed, for who attaches with a link. Raises as ``enter``."""
    store, it = enter(url, keys_folder())
    return it.session, f"@{store.name}/{store.name}", bool(grants.read(it.grant).capabilities & Capability.OPERATE)


# ---- giving ----------------------------------------------------------------------------------------------------------


def share(store: Store, there: There, *, propose: bool, for_s: float) -> tuple[Share, Given]:
    """Make a guest of a session; whoever holds the link that this is may look, or also propose. Raises Refused, BadGrant."""
    now = int(time.time())
    store.renewed(now=now, random=os.urandom)
    capabilities = closed(Capability.PROPOSE if propose else Capability.OBSERVE)
    chain = issuing.source(store, capabilities=int(capabilities), sessions=(there.session,), now=now)
    until = min(int(now + for_s), grants.read(chain).not_after)
    issued: tuple[bytes, ...] = ()
    seed = os.urandom(SEED_BYTES)
    if store.issues and until >= store.member.certificate.not_after:  # nobody vouches beyond the own certificate
        key = KeyPair(seed).key
        issued = issuing.certified(
            store, key, kind=Kind.GUEST, name="", on_behalf_of=b"", life_s=until - now, now=now, random=os.urandom
        )  # fmt: skip
    made = invitations.share(
        store.operator, store.certificates, chain, relays=there.relays, host=there.host, session=there.session,
        seed=seed, serials=(os.urandom(SERIAL_BYTES), os.urandom(SERIAL_BYTES)), now=now, not_after=until,
        propose=propose, issued=issued,
    )  # fmt: skip
    grant = grants.read(made.grant)
    given = Given(
        grant.serials[-1], grant.holder, "link", GUEST, Kind.GUEST, int(grant.capabilities), (there.session,),
        (there.name,), now, grant.not_after, store.operator.key,
    )  # fmt: skip
    with ledger.opened(store, now=now) as account:
        account.given.append(given)
    return made, given


def offer(store: Store, there: There, to: str, *, capabilities: Capability, for_s: float) -> tuple[Offer, Given]:
    """Pass on a right in a session to an operator that joined, or to a key in hexadecimal. Raises Refused, NothingSuch."""
    now = int(time.time())
    name, key, kind = _operator(store, to)
    chain = issuing.passed_on(
        store, key, kind, capabilities=int(closed(capabilities)), sessions=(there.session,), until=int(now + for_s),
        now=now, random=os.urandom,
    )  # fmt: skip
    grant = grants.read(chain)
    given = Given(
        grant.serials[-1], key, "offer", name, kind, int(grant.capabilities), (there.session,), (there.name,), now,
        grant.not_after, store.operator.key, grant=chain,
    )  # fmt: skip
    with ledger.opened(store, now=now) as account:
        account.given.append(given)
    return Offer(there.relays, there.host, there.session, chain), given


def _operator(store: Store, to: str) -> tuple[str, bytes, Kind]:
    revoked = store.revocations()
    for each in reversed(ledger.read(store).given):
        if each.how == "join" and not each.revoked(revoked) and to in (each.name, identity.operator_id(each.key)):
            return each.name, each.key, each.kind
    try:
        key = bytes.fromhex(to)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise NothingSuch(to)
    return identity.operator_id(key), key, Kind.AI  # of a stranger: it may use it, and not pass it on


# ---- taking what was given to oneself ----------------------------------------------------------------------------------


def enter(url: str, folder: Path, *, profile: str = "") -> tuple[Store, Share]:
    """Return the profile of the guest that a link makes of whoever has it, made now unless it was before.

    Raises BadShare, Expired, BadCertificate, BadGrant: the link proves itself against the tenant's key that stands in it.
    """
    it, now = invitations.parse_share(url), int(time.time())
    pair = KeyPair(it.seed)
    member = identity.verify(it.certificates, tenant=it.tenant, now=now)
    grants.verify(it.grant, tenant=it.tenant, now=now, holder=pair.key, kind=member.kind)
    for name in profiles(folder):
        store = Store(folder, name)
        if store.tenant == it.tenant and store.operator.key == pair.key:
            return store, it
    stem = profile or f"{GUEST}-{it.session[2:8]}"
    taken = set(profiles(folder))
    if profile in taken:
        raise Refused(f"there is a profile {profile!r} already; nothing was opened", do="choose another name with --as")
    name = next(each for each in (stem, *(f"{stem}-{n}" for n in range(2, len(taken) + 3))) if each not in taken)
    store = Store.joined(
        folder, name, tenant=it.tenant, seed=it.seed, certificates=it.certificates, now=now, grant_chains=(it.grant,),
        relays=it.relays, default_host=it.host,
    )  # fmt: skip
    return store, it


def accept(text: str, folder: Path) -> tuple[Store, Offer, Grant]:
    """Keep an offer in the profile whose key it is for. Raises BadShare, Refused, and what ``Store.receive`` raises."""
    it, now = invitations.parse_offer(text), int(time.time())
    holder = grants.read(it.grant).holder
    for name in profiles(folder):
        store = Store(folder, name)
        if store.operator.key == holder:
            grant = store.receive(it.grant, now=now)
            store.save_profile(relays=tuple(dict.fromkeys((*store.profile.relays, *it.relays))))
            return store, it, grant
    raise Refused(
        "this was given to a key that you do not have here; nothing was kept",
        do="open it where the operator's profile is, or give your own key (`hold key`) to whoever shares",
    )


# ---- taking back -----------------------------------------------------------------------------------------------------


class Revoked(NamedTuple):
    """What was taken back, and who was told: relays that answered, whether this machine's host did."""

    given: tuple[Given, ...]
    invitations: int
    told: int


def named(store: Store, what: str) -> tuple[list[Given], list[ledger.Terms]]:
    """Return what was given that ``what`` names: the beginning of a serial, an operator's id or name, a host's id, or a
    session. Raises NothingSuch."""
    account, revoked = ledger.read(store), store.revocations()
    living = [each for each in account.given if not each.revoked(revoked)]
    by_serial = [each for each in living if len(what) >= SERIAL_CHARS_MIN and each.serial.hex().startswith(what)]
    codes = [each for each in account.invitations.values() if what in (each.digest.hex()[:8], each.name)]
    by_holder = [
        each for each in living
        if what == each.name != GUEST
        or what == identity.operator_id(each.key) or (each.host and what == identity.host_id(each.host))
    ]  # fmt: skip
    by_session = [each for each in living if what in each.sessions or what in each.named]
    found = by_serial or by_holder or ([] if codes else by_session)
    if not found and not codes:
        raise NothingSuch(what)
    return found, codes


def revoke(store: Store, gone: Sequence[Given], codes: Sequence[ledger.Terms] = ()) -> Revoked:
    """Take back what was given: members and guests by their keys, offers alone by their serials. Raises NoCredentials where
    the issuer is not, StorageFailed, and what the host refuses with."""
    enrolment.outside()
    now, data = int(time.time()), b""
    signer, certificate = store.issuer
    if gone:
        keys, serials = _listed(store, now)
        for each in gone:
            if each.how == "offer":
                serials.add(each.serial)
            else:
                keys |= {key for key in (each.key, each.host) if key}
        version = max([now, *(each.version + 1 for each in store.lists() if each.signer == signer.key)])
        data = identity.revoke(
            signer, tenant=store.tenant, version=version, at=now, keys=keys, serials=serials
        )  # fmt: skip
        store.learn_revocations(data, issuer=certificate, now=now)
    knew = any(each.how == "join" and each.kind is not Kind.GUEST for each in gone)
    if knew:  # what is named from now on is none of theirs, though they have a relay's help
        store.naming.rotate(os.urandom)
    taken = {each.serial for each in gone}
    with ledger.opened(store, now=now) as account:
        for code in codes:
            account.invitations.pop(code.digest, None)
        account.given[:] = [
            structs.replace(each, taken_back=now) if each.serial in taken else each for each in account.given
        ]  # fmt: skip
    told = 0
    with Connection() as host:
        mine = enrolment.identity_of(host).tenant == store.tenant
        if mine:
            for code in codes:
                host.ask(wire.Invite(host.ref(), code.digest, 0), wire.Done)
            if gone:
                host.ask(wire.Revoke(host.ref(), data, certificate), wire.Done)
                told += 1
    if gone:
        told += asyncio.run(_tell(store, data, certificate))
    if knew and mine:
        with Connection() as host:
            enrolment.link(host, store)  # under the new key
    return Revoked(tuple(gone), len(codes), told)


def _listed(store: Store, now: int) -> tuple[set[bytes], set[bytes]]:
    """What this issuer has revoked so far, less what is over for long: its certificates and grants end nothing any more."""
    signer = store.issuer[0].key
    keys = {key for each in store.lists() if each.signer == signer for key in each.keys}
    serials = {serial for each in store.lists() if each.signer == signer for serial in each.serials}
    account = ledger.read(store)
    living = {each.key for each in account.given if each.until > now - REVOKED_S}
    past = [each for each in account.given if each.until <= now - REVOKED_S]
    keys -= {each.key for each in past if each.key not in living}
    return keys, serials - {each.serial for each in past}


async def _tell(store: Store, data: bytes, issuer: bytes) -> int:
    """Give the list to every relay of the profile by ourselves too: the more ways, the harder it is to hide."""

    async def one(url: str) -> bool:
        try:
            line = await RelayLine.dial(url, "client", chain=store.certificates, signer=store.operator)
        except HoldError:
            return False
        heard = asyncio.Event()

        def hear(said: relay.FromRelay | relay.Routed) -> None:
            if isinstance(said, wire.Done | wire.Failed) and said.ref == 1:
                heard.set()

        listening = asyncio.get_running_loop().create_task(line.listen(hear), name="revoking")
        try:
            line.say(relay.Revoke(1, data, issuer))
            async with asyncio.timeout(5.0):
                await heard.wait()
            return True
        except TimeoutError:
            return False
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await line.close()

    return sum(await asyncio.gather(*(one(url) for url in store.profile.relays)))
