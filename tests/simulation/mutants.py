"""Defects on purpose: each is what somebody could write by mistake, and one checker must see it.

A flag changes a driver of the simulation; a patch changes a pure function of ``src`` for the time of a world. Some flags
were not made up: docs/simulation.md says which of them the shells of host and client were found to have.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

from cryptography.exceptions import InvalidTag

from holdfast.core import admission, grants, identity
from holdfast.core.admission import Act, Forbidden, Refusal
from holdfast.core.identity import NOTHING_REVOKED
from holdfast.core.inputs import Inputs, Outcome
from holdfast.wire import packets, signing
from holdfast.wire.channel import Cipher
from holdfast.wire.facts import Delivered
from holdfast.wire.lanes import Outward
from holdfast.wire.link import Link
from tests.simulation import checkers
from tests.simulation.world import World

Patch = Callable[[], contextlib.AbstractContextManager[Any]]


class Mutant(NamedTuple):
    name: str
    shape: str
    checker: Callable[[World], None]
    within: int  # seeds, from 0 on
    patch: Patch | None = None  # None: the name is a flag of the drivers


# ---- patches ---------------------------------------------------------------------------------------------------------


def _duplicates_delivered() -> Any:
    """A packet of which the beginning came before is taken whole."""

    def on_data(self: Link, packet: bytes, now: float) -> list[Any]:
        _, lane, held, acked, _ = packets.DATA_HEAD.unpack_from(packet)
        self._acked(held, acked, now)
        self._count(len(packet) - packets.DATA_HEAD.size, now)
        messages = self._in[lane].feed(packet, packets.DATA_HEAD.size, self.hears_max)
        return [Delivered(lane, message) for message in messages]

    return mock.patch.object(Link, "_on_data", on_data)


def _resumes_from_sent() -> Any:
    """A new carrier goes on after what was sent, not after what arrived."""
    return mock.patch.object(Outward, "rewind", lambda self: None)


def _session_not_stated() -> Any:
    really = signing.statement
    return mock.patch.object(signing, "statement", lambda **all_: really(**{**all_, "session": ""}))


def _client_not_stated() -> Any:
    really = signing.statement
    return mock.patch.object(signing, "statement", lambda **all_: really(**{**all_, "client": ""}))


def _signature_not_checked() -> Any:
    return mock.patch.object(signing, "verify", lambda *_: None)


def _grants_never_end() -> Any:
    really = grants._grant
    return mock.patch.object(grants, "_grant", lambda *all_: dataclasses.replace(really(*all_), not_after=1 << 40))


def _nothing_revoked() -> Any:
    return mock.patch.object(identity, "merged", lambda _: NOTHING_REVOKED)


def _decrypts(*, from_: int, upto: int) -> Patch:
    """A cipher that takes frames whose number is not the next."""
    really = Cipher.decrypt

    def decrypt(self: Cipher, sealed: Any, ad: bytes | None = None) -> bytes:
        at = self.n
        for number in (at, *range(max(0, at + from_), at + upto + 1)):
            self.n = number
            try:
                plaintext = really(self, sealed, ad)
            except InvalidTag:
                self.n = at
                continue
            self.n = max(self.n, at)
            return plaintext
        raise InvalidTag

    return lambda: mock.patch.object(Cipher, "decrypt", decrypt)


def _tells_forbidden() -> Any:
    def objection(act: Act, authority: Any, **more: Any) -> Any:
        found = admission.refusals(act, authority, **more)
        return (
            Forbidden(act.verb, found[0] if found else Refusal("", ""))
            if found and act.session
            else really(act, authority, **more)
        )

    really = admission.objection
    return mock.patch.object(admission, "objection", objection)


def _seq_not_remembered() -> Any:
    return mock.patch.object(Inputs, "seen", lambda *_, **__: None)


def _says_applied() -> Any:
    """What an earlier host left without outcome is said to have been typed."""

    def resolve(self: Inputs, *_: Any, **__: Any) -> list[Outcome]:
        for left in self.pending:
            self.ended(left.client, left.seq, Outcome("applied", left.size, left.position))
        return []

    return mock.patch.object(Inputs, "resolve", resolve)


# ---- the table -------------------------------------------------------------------------------------------------------

MUTANTS = (
    Mutant("position reused", "faults", checkers.one_order, 60),
    Mutant("gap not stated", "faults", checkers.output_exact, 150),
    Mutant("seq not remembered", "faults", checkers.input_at_most_once, 150, _seq_not_remembered),
    Mutant("says applied", "faults", checkers.input_at_most_once, 300, _says_applied),
    Mutant("written before journaled", "faults", checkers.attributed, 300),
    Mutant("signature not checked", "rights", checkers.attributed, 150, _signature_not_checked),
    Mutant("session not stated", "faults", checkers.attributed, 60, _session_not_stated),
    Mutant("client not stated", "faults", checkers.attributed, 60, _client_not_stated),
    Mutant("signed seq per link", "rights", checkers.attributed, 300),
    Mutant("signed seq per process", "rights", checkers.attributed, 300),
    Mutant("duplicates delivered", "faults", checkers.relay_untrusted, 300, _duplicates_delivered),
    Mutant("resumes from sent", "faults", checkers.comes_to_rest, 150, _resumes_from_sent),
    Mutant("acknowledged before delivered", "hostile", checkers.relay_untrusted, 150),
    Mutant("new link forgets", "hostile", checkers.relay_untrusted, 150),
    Mutant("binding not checked", "hostile", checkers.relay_untrusted, 150),
    Mutant("frames taken again", "hostile", checkers.relay_untrusted, 150, _decrypts(from_=-3, upto=0)),
    Mutant("frames left out", "hostile", checkers.relay_untrusted, 150, _decrypts(from_=0, upto=3)),
    Mutant("stale record accepted", "everything", checkers.relay_untrusted, 150),
    Mutant("old list accepted", "rights", checkers.relay_untrusted, 150),
    Mutant("grants never end", "rights", checkers.admitted_only, 150, _grants_never_end),
    Mutant("nothing revoked", "rights", checkers.admitted_only, 150, _nothing_revoked),
    Mutant("tells forbidden", "rights", checkers.admitted_only, 150, _tells_forbidden),
    Mutant("revoked but said", "hostile", checkers.admitted_only, 150),
    Mutant("dead carrier kept", "rights", checkers.comes_to_rest, 150),
    Mutant("last words unsaid", "faults", checkers.comes_to_rest, 60),
    Mutant("old record kept", "hostile", checkers.comes_to_rest, 150),
    Mutant("refusal of what was repeated believed", "hostile", checkers.input_at_most_once, 150),
)
"""``within`` stays below what the worlds without a mutant are run for (test_worlds.NORMAL)."""


@contextlib.contextmanager
def planted(mutant: Mutant) -> Iterator[frozenset[str]]:
    """Plant it; gives the flags for the world."""
    with mutant.patch() if mutant.patch is not None else contextlib.nullcontext():
        yield frozenset() if mutant.patch is not None else frozenset({mutant.name})
