"""Let the window in: the page of a relay that this machine's host dials, and once a code for a key of the window's own.

The window runs as the user on the user's own machine, like `hold mcp`; nobody has to compare numbers for that. Its key never
leaves its browser engine, which makes it. Why: docs/adr/0011-the-desktop-window.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from holdfast.client import enrolment, joining, ledger, pairing, serving
from holdfast.client.connection import Connection
from holdfast.client.credentials import Store
from holdfast.client.joining import Invited, Wish
from holdfast.core.errors import Refused
from holdfast.core.grants import Capability, closed
from holdfast.core.identity import DAY_S, Kind

NAME: Final = "desktop"
LISTEN: Final = "127.0.0.1:0"
JOINED: Final = "joined"  # a file in the engine's own folder: it goes when the key goes
LIFE_S: Final = 365 * DAY_S
AWAY_S: Final = 30 * DAY_S
CODE_S: Final = 600


class Entry(NamedTuple):
    """``page`` is where the web client is; ``invited``: whoever opens it with this code is let in, None: it is in."""

    page: str
    invited: Invited | None

    @property
    def url(self) -> str:
        """What the window opens. It holds the code, which is a secret until it is used."""
        return self.page if self.invited is None else f"{self.page}#{self.invited.code.text()}"


def entry(engine: Path, *, again: bool = False) -> Entry:
    """Return the way in for the browser engine whose folder ``engine`` is; ``again``: also where it has a key already.

    Starts a host and a relay of this user's own if there is none. Raises HoldError.
    """
    store = enrolment.own_store()
    if not store.issues:
        raise Refused(
            f"profile {store.name!r} is of somebody else's tenant; no window was opened",
            do="use the web client of their relay, or leave --profile out",
        )
    with Connection() as host:
        page = pairing.page(_relay(host, store))
        marker = engine / JOINED
        if not again and marker.exists() and marker.read_text() == page:
            return Entry(page, None)
        wish = Wish(NAME, Kind.HUMAN, int(closed(Capability.MANAGE)), for_s=LIFE_S, life_s=AWAY_S, code_s=CODE_S)
        return Entry(page, joining.invite(host, store, wish))


def _relay(host: Connection, store: Store) -> str:
    """Return the relay whose page the window uses: one whose address browsers keep keys for, started if there is none."""
    who = enrolment.identity_of(host)
    linked = list(who.relays) if who.tenant == store.tenant else []
    for url in linked:
        if url.startswith("wss://") or url.partition("://")[2].startswith(("127.0.0.1", "localhost", "[::1]")):
            return url
    made, _, former = serving.serve(None, LISTEN, store)
    serving.link(host, store, made, former)
    return made.url


def used(store: Store, invited: Invited) -> bool:
    """Whether somebody came with the code: then it is used up, and that was the window."""
    return invited.terms.digest not in ledger.read(store).invitations


def settled(engine: Path, page: str) -> None:
    """Note that the engine has a key for ``page``. Raises OSError."""
    marker = engine / JOINED
    marker.touch(mode=0o600)
    marker.write_text(page)
