"""Run a relay of this user's own and link this machine's host to it. Not here: keeping the process (edge.ownrelay)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from holdfast.client import enrolment
from holdfast.client.connection import Connection
from holdfast.client.credentials import Store
from holdfast.client.places import here
from holdfast.core.errors import Refused
from holdfast.edge import ownrelay
from holdfast.edge.ownrelay import Wanted
from holdfast.wire.messages import Identity

GRACE_S: Final = "1"  # from the word that it stops to its end: its own host need not be waited for
ANYWHERE: Final = ("0.0.0.0", "::", "")


def folder() -> Path:
    """Where the relay keeps what it remembers."""
    return here().state / "relay"


def words(listen: str, names: Sequence[str], cert: str | None, key: str | None) -> list[str]:
    """Return a relay's arguments. Listening everywhere, it goes by this machine's address and name, unless ``names`` say
    otherwise."""
    scheme = "ws" if cert is None else "wss"
    host, _, port = listen.rpartition(":")
    if not names and host.strip("[]") in ANYWHERE:
        if port == "0":
            raise Refused("others must know the port; nothing was started", do="choose one: --listen 0.0.0.0:8440")
        local = (_address(), socket.gethostname(), "localhost", "127.0.0.1")
        names = [f"{scheme}://{name}:{port}" for name in dict.fromkeys(local)]
    found = ["--listen", listen]
    for name in names:
        found += ["--name", name]
    if cert is not None and key is not None:
        found += ["--cert", str(Path(cert).absolute()), "--key", str(Path(key).absolute())]
    return found


def serve(wanted: Sequence[str] | None, listen: str, store: Store) -> tuple[Wanted, bool, str]:
    """Return the relay that runs now, whether it was started, and the address it no longer has, if it had another.

    ``wanted``: arguments, None: whatever runs is well, else one at ``listen``. Raises RelayFailed."""
    mine = ["--tenant", store.tenant.hex(), "--grace", GRACE_S]
    runs = ownrelay.wanted(folder())
    if runs is not None and ownrelay.alive(runs) and (wanted is None or (*wanted, *mine) == runs.words):
        return runs, False, ""
    if wanted is None and runs is not None:
        return ownrelay.start(folder(), runs.words), True, ""
    ownrelay.stop(folder())
    made = ownrelay.start(folder(), [*(wanted if wanted is not None else ["--listen", listen]), *mine])
    return made, True, runs.url if runs is not None and runs.url != made.url else ""


def link(host: Connection, store: Store, it: Wanted, former: str = "") -> Identity:
    """Have the host at the other end dial the relay, beside those it has and no longer at ``former``, and return how the
    links stand soon after."""
    if former:
        store.save_profile(relays=tuple(url for url in store.profile.relays if url != former))
    who = enrolment.identity_of(host)
    if it.url not in who.relays or former in who.relays or who.tenant != store.tenant:
        who = enrolment.link(host, store, (it.url, *(url for url in who.relays if url not in (it.url, former))))
    else:
        store.save_profile(relays=tuple(dict.fromkeys((*store.profile.relays, it.url))), default_host=who.key)
    return enrolment.linked(host, it.url)


def unlink(host: Connection, it: Wanted) -> None:
    """Have the host at the other end hang up on a relay that is no more."""
    store, who = enrolment.own_store(), enrolment.identity_of(host)
    if it.url in who.relays and who.tenant == store.tenant:
        enrolment.link(host, store, tuple(url for url in who.relays if url != it.url))
        store.save_profile(relays=tuple(url for url in store.profile.relays if url != it.url))


def stop() -> tuple[Wanted | None, bool]:
    """Stop the relay; return which it was and whether it ran."""
    it = ownrelay.wanted(folder())
    return it, ownrelay.stop(folder())


def _address() -> str:
    """The address by which this machine reaches others; nothing is sent to find it."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # documentation addresses: nobody is there
        return str(probe.getsockname()[0])
    return "127.0.0.1"
