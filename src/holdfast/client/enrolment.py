"""Make this user's host a member of this user's tenant, and renew that: keys stay where they are, certificates travel.

Not here: letting other machines join (joining), what a certificate is (core.identity).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Final

from holdfast.client import where
from holdfast.client.connection import Connection
from holdfast.client.credentials import DEFAULT, Store
from holdfast.client.meeting import keys_folder
from holdfast.core import identity, signed
from holdfast.core.errors import Refused
from holdfast.core.identity import Kind
from holdfast.wire import messages as wire
from holdfast.wire.enrolling import UNDIALLED

HOST_S: Final = identity.MEMBER_S_MAX  # of a host's certificate
RENEW_LEFT_S: Final = HOST_S * 2 // 3
LINKED_S: Final = 5.0  # that links are given to come up


def own_store(profile: str = "") -> Store:
    """Return this user's profile, made silently if it is the first run: a tenant of their own, and they may everything."""
    chosen = profile or where.chosen() or DEFAULT
    folder = keys_folder()
    if chosen != DEFAULT:
        return Store(folder, chosen)
    store = Store.first_run(folder, now=int(time.time()), random=os.urandom, name=_user())
    if store.issues:
        store.renewed(now=int(time.time()), random=os.urandom)
    return store


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def outside() -> None:
    """Raise Refused inside a session: its programs give nothing away and take nothing back, whoever sits there."""
    if os.environ.get("HOLDFAST_SESSION"):
        raise Refused(
            "this is inside a session, and what runs there decides nothing about access; nothing was changed",
            do="do it from a terminal outside (Ctrl-\\ d leaves this one)",
        )


def identity_of(host: Connection) -> wire.Identity:
    """Return who the host at the other end is; it gets keys now if it has none."""
    return host.ask(wire.GetIdentity(host.ref()), wire.Identity)


def linked(host: Connection, url: str = "") -> wire.Identity:
    """Return who the host at the other end is, once the link to ``url`` is up, or without ``url`` once any is and of all
    others it is known how they stand; after 5 s at most."""
    until = time.monotonic() + LINKED_S
    while True:
        states = (who := identity_of(host)).relays
        known = "up" in states.values() and UNDIALLED not in states.values()
        if (states.get(url) == "up" if url else known) or time.monotonic() > until:
            return who
        time.sleep(0.05)  # a relay answers in milliseconds or not at all; its state has no event of its own


def link(host: Connection, store: Store, relays: Sequence[str] | None = None, *, name: str = "") -> wire.Identity:
    """Certify the host at the other end of ``host``, and have it dial ``relays`` (None: those it has) from now on.

    Raises NoCredentials where the issuer key is not, Refused if it is a member of another tenant.
    """
    who = identity_of(host)
    urls = tuple(dict.fromkeys(relays)) if relays is not None else tuple(who.relays)
    said = name or name_of(who, store) or host.welcome.host_name
    chain = store.certify(
        who.key, kind=Kind.HOST, now=int(time.time()), random=os.urandom, name=said, life_s=HOST_S
    )  # fmt: skip
    answer = enrol(host, store, chain, urls, said, key=who.key)
    store.remember_host(answer.record, chain, host=who.key, now=int(time.time()))
    known = store.profile.relays
    store.save_profile(relays=tuple(dict.fromkeys((*known, *urls))), default_host=who.key)
    return answer


def enrol(
    host: Connection, store: Store, chain: tuple[bytes, ...], urls: tuple[str, ...], name: str, *, key: bytes
) -> wire.Identity:
    """Give the host at the other end, whose key is ``key``, its certificates, name and relays. Raises Refused."""
    sealed = store.naming.sealed(name, key, os.urandom)
    return host.ask(wire.Enrol(host.ref(), store.tenant, chain, urls, sealed), wire.Identity)


def leave(host: Connection) -> None:
    """Have the host at the other end give up its tenant. Raises Forbidden for anybody but its own user."""
    host.ask(wire.Enrol(host.ref(), b"", (), ()), wire.Identity)


def name_of(who: wire.Identity, store: Store) -> str:
    """Return the name that the host goes by in this tenant; empty: none yet."""
    if not who.record or who.tenant != store.tenant:
        return ""
    record = signed.peeked(who.record, identity.HostRecord, most=identity.RECORD_BYTES_MAX)
    return store.naming.of(record)


def renew(host: Connection, store: Store, *, eager: bool = False) -> bool:
    """Renew the certificate of a host that has little time left, or in any case if ``eager``; tell whether it was."""
    who = identity_of(host)
    if who.tenant != store.tenant or not store.issues:
        return False
    left = identity.read(who.certificates).certificate.not_after - time.time()
    if left > RENEW_LEFT_S and not eager:
        return False
    link(host, store)
    return True
