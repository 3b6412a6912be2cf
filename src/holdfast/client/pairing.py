"""Pair a device with a number that a person compares on both screens. Source: docs/identity.md, "Pairing".

Not here: what is on record about it (pairings), joining itself (joining), how the number comes about (wire.pairing).
"""

from __future__ import annotations

from holdfast.client import pairings
from holdfast.client.connection import Connection
from holdfast.client.credentials import Store
from holdfast.client.joining import Invited, Wish, invite
from holdfast.wire import messages as wire


def begin(host: Connection, store: Store, wish: Wish) -> Invited:
    """Open an invitation whose joiner has to be recognised. Raises as ``joining.invite``."""
    return invite(host, store, wish, recognised=lambda digest, not_after: pairings.remember(store, digest, not_after))


def wait(host: Connection, made: Invited) -> wire.Asking:
    """Return who came with the code, however long that takes. Raises NotInvited once the code is over."""
    return host.ask(wire.AwaitJoiner(host.ref(), made.terms.digest), wire.Asking, timeout=None)


def decide(host: Connection, store: Store, made: Invited, asking: wire.Asking, *, yes: bool) -> None:
    """Say whether that is the one: it is signed for, or refused and the code used up. Raises Refused if it has gone."""
    if yes:
        pairings.remember(store, made.terms.digest, made.terms.not_after, asking.key)
    host.ask(wire.LetIn(host.ref(), made.terms.digest, asking.key, yes), wire.Done)


def page(url: str) -> str:
    """Return the web page of the relay with this URL."""
    scheme, _, rest = url.partition("://")
    return f"{'https' if scheme == 'wss' else 'http'}://{rest.partition('/')[0]}/"
