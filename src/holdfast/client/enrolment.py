"""Make this user's host a member of this user's tenant, and renew that: keys stay where they are, certificates travel.

Not here: letting other machines join (joining), what a certificate is (core.identity).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Final

from holdfast.client.connection import Connection
from holdfast.client.credentials import DEFAULT, Store
from holdfast.client.meeting import keys_folder
from holdfast.core import identity, sealing
from holdfast.core.identity import Kind
from holdfast.wire import messages as wire

HOST_S: Final = identity.MEMBER_S_MAX  # of a host's certificate
RENEW_LEFT_S: Final = HOST_S * 2 // 3


def own_store(profile: str = "") -> Store:
    """Return this user's profile, made silently if it is the first run: a tenant of their own, and they may everything."""
    chosen = profile or os.environ.get("HOLDFAST_PROFILE") or DEFAULT
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


def identity_of(host: Connection) -> wire.Identity:
    """Return who the host at the other end is; it gets keys now if it has none."""
    return host.ask(wire.GetIdentity(host.ref()), wire.Identity)


def link(host: Connection, store: Store, relays: Sequence[str] | None = None, *, name: str = "") -> wire.Identity:
    """Certify the host at the other end of ``host``, and have it dial ``relays`` (None: those it has) from now on.

    Raises NoCredentials where the issuer key is not, Refused if it is a member of another tenant.
    """
    who = identity_of(host)
    urls = tuple(dict.fromkeys(relays)) if relays is not None else tuple(who.relays)
    said = name or host.welcome.host_name
    keys = store.name_keys()
    sealed = sealing.seal_name(said, keys[0], about=who.key, nonce=os.urandom(sealing.NONCE_BYTES)) if keys else b""
    chain = store.certify(
        who.key, kind=Kind.HOST, now=int(time.time()), random=os.urandom, name=said, life_s=HOST_S
    )  # fmt: skip
    answer = host.ask(wire.Enrol(host.ref(), store.tenant, chain, urls, sealed), wire.Identity)
    store.remember_host(answer.record, chain, host=who.key, now=int(time.time()))
    known = store.profile.relays
    store.save_profile(relays=tuple(dict.fromkeys((*known, *urls))), default_host=who.key)
    return answer


def renew(host: Connection, store: Store) -> bool:
    """Renew the certificate of a host that has little time left; tell whether that was due."""
    who = identity_of(host)
    if who.tenant != store.tenant or not store.issues:
        return False
    left = identity.read(who.certificates).certificate.not_after - time.time()
    if left > RENEW_LEFT_S:
        return False
    link(host, store)
    return True
