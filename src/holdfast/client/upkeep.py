"""Renew what ends soon, silently: own certificates, this machine's host, memberships in other people's tenants.

``python -m holdfast.client.upkeep`` is started by any `hold` command, and by the host, when it is due (edge.due); nobody
waits for it. What a member has is renewed over the relay by the host that let it in, for as long as it is meant to last.
Not here: who signs (credentials, issuing). Source: docs/identity.md, "Renewal".
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from holdfast.client import enrolment
from holdfast.client.connection import Connection
from holdfast.client.credentials import MEMBER_LEFT_S, Store, profiles
from holdfast.client.places import here
from holdfast.core import identity
from holdfast.core.errors import HoldError
from holdfast.core.identity import Certificate, Kind, host_id
from holdfast.edge import due
from holdfast.wire import messages as wire

SOON_S: Final = 300.0  # after something could not be renewed
LATE_S: Final = 6 * 3600.0  # at the latest
ANSWER_S: Final = 20.0


def due_at(certificate: Certificate) -> float:
    """Return when a member's certificate should be renewed: after a third of its life, so that two thirds are left to try."""
    return certificate.not_before + (certificate.not_after - certificate.not_before) / 3


def run(folder: Path, *, now: float, eager: bool = False, said: Callable[[str], None] = lambda text: None) -> float:
    """Renew in every profile of ``folder`` what is due by ``now``, or everything if ``eager``; ``said`` hears of each.

    Return when to look again. One profile's trouble keeps no other from being renewed.
    """
    again = now + LATE_S
    for name in profiles(folder):
        try:
            again = min(again, _profile(Store(folder, name), now, eager, said))
        except (HoldError, OSError) as error:
            said(f"{name}: not renewed: {error}")
            again = min(again, now + SOON_S)
    return again


def _profile(store: Store, now: float, eager: bool, said: Callable[[str], None]) -> float:
    mine = store.member.certificate
    if store.issues:
        for each in store.renewed(now=int(now), random=os.urandom):
            said(f"{store.name}: {each} renewed")
        _own_host(store, eager, said)
        return store.member.certificate.not_after - MEMBER_LEFT_S
    if mine.kind is Kind.GUEST or now >= mine.not_after or not store.profile.default_host:
        return now + LATE_S  # a guest's time is what the link says; whose time is over has to ask for a new code
    if now < due_at(mine) and not eager and not _behind(store):
        return due_at(mine)
    with Connection(f"@{store.name}/{host_id(store.profile.default_host)}", start=False, face="upkeep") as host:
        answer = host.ask(wire.Renew(host.ref()), wire.Joined, timeout=ANSWER_S)
    renewed(store, answer, now=int(now))
    said(f"{store.name}: {store.member.kind.value} renewed")
    return due_at(store.member.certificate)


def _behind(store: Store) -> bool:
    """Tell whether a host is called by a name key that did not come here yet: whoever renews is given it."""
    return any(store.naming.lacks(each.says) for each in store.hosts())


def one(store: Store) -> list[str]:
    """Renew everything of one profile now; return what was. Raises what keeps it from being renewed."""
    found: list[str] = []
    _profile(store, time.time(), True, found.append)
    return found


def renewed(store: Store, answer: wire.Joined, *, now: int) -> None:
    """Keep what was renewed of a membership, the host's part with this machine's host. Raises what is wrong with it."""
    store.recertified(answer.certificates, now=now)
    store.naming.learn(answer.names)
    for chain in answer.grants:
        store.receive(chain, now=now)
    if answer.relays:
        store.save_profile(relays=tuple(dict.fromkeys((*answer.relays, *store.profile.relays)))[: identity.RELAYS_MAX])
    if not answer.host:
        return
    with Connection(start=False) as own:
        who = enrolment.identity_of(own)
        if who.tenant == store.tenant:
            name = enrolment.name_of(who, store) or answer.name
            enrolment.enrol(own, store, answer.host, tuple(who.relays), name, key=who.key)


def _own_host(store: Store, eager: bool, said: Callable[[str], None]) -> None:
    try:
        with Connection(start=False, face="upkeep") as own:
            if enrolment.renew(own, store, eager=eager):
                said(f"{store.name}: this machine's host renewed")
    except HoldError as error:
        if error.code != "host-unreachable":  # no host runs: nothing of it is used either
            raise


def main() -> int:
    """Renew what is due."""
    parser = argparse.ArgumentParser(prog="python -m holdfast.client.upkeep", description="Renew certificates.")
    parser.add_argument("--eager", action="store_true", help="renew everything, due or not")
    asked = parser.parse_args()
    os.environ["HOLDFAST_WARM"] = "0"
    folder = here().keys
    due.settle(str(folder), run(folder, now=time.time(), eager=asked.eager, said=lambda text: print(text, flush=True)))
    sys.stdout.flush()
    os._exit(0)  # threads of links need no farewell


if __name__ == "__main__":
    sys.exit(main())
