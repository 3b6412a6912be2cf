"""Act as an operator by its key: present it to this machine's host, and sign what it does, here as from elsewhere.

Not here: where keys lie and what they may (credentials, ai), how a host elsewhere is reached (remote).
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from typing import Final

import msgspec

from holdfast.client.credentials import Store
from holdfast.core.errors import Refused
from holdfast.core.signed import KeyPair
from holdfast.wire import messages as wire
from holdfast.wire import signing
from holdfast.wire.presenting import presentation

EPOCH: Final = 1
_encode: Final = msgspec.msgpack.Encoder().encode


class Terms:
    """The latest term of control of each session that was heard of on a conversation, by the session's id, and what others
    typed, for programs that do not say themselves what they have seen."""

    def __init__(self) -> None:
        self._latest: dict[str, int] = {}
        self._inputs: dict[str, int] = {}
        self._attached: dict[int, str] = {}

    def heard(self, message: wire.ToClient) -> None:
        """Take note of what the host says."""
        match message:
            case wire.Listing():
                for info in message.sessions:
                    self._saw(info.id, info.control)
            case wire.Attached():
                self._attached[message.attachment] = message.session.id
                self._saw(message.session.id, message.session.control)
            case wire.Opened() | wire.Tuple():
                self._saw(message.session.id, message.session.control)
            case wire.Event() if message.kind == "control":
                session, term = self._attached.get(message.attachment, ""), message.body.get("term")
                if session and isinstance(term, int):
                    self._latest[session] = max(term, self.latest(session))
            case wire.Detached():
                self._attached.pop(message.attachment, None)

    def latest(self, session: str) -> int:
        """Return the latest term of ``session``, 0 if none was heard of."""
        return self._latest.get(session, 0)

    def basis(self, session: str) -> wire.Basis:
        """Return what others typed in ``session``, as far as the host said when it was asked about it."""
        return wire.Basis(self._inputs.get(session, 0))

    def _saw(self, session: str, control: wire.ControlState | None) -> None:
        if control is not None:
            self._latest[session] = control.term
            self._inputs[session] = control.input


def sealed(
    message: wire.ToHost, *, about: str, client: str, seq: int, pair: KeyPair, term: int = 0,
    basis: wire.Basis | None = None,
) -> wire.Signed:  # fmt: skip
    """Return ``message`` with the operator's signature. ``about``: the session's id, or the host's for ``open``.

    ``seq`` is the message's own where it has one that counts inputs; of other verbs it rises with each from ``client``.
    ``term``: the latest that its sender saw, if the message does not say it (0: its program does not follow control);
    ``basis`` likewise of an input.
    """
    if isinstance(message, wire.Input | wire.Run) and message.basis is None:
        message = msgspec.structs.replace(message, basis=basis)
    if not isinstance(message, wire.Open):
        message = msgspec.structs.replace(message, session=about)
    term = int(getattr(message, "term", 0)) or term
    salt = os.urandom(signing.SALT_BYTES)
    statement = signing.statement(
        session=about, client=client, epoch=EPOCH, term=term, seq=seq, verb=signing.verb_of(message),
        commitment=signing.commitment(salt, signing.canonical(message)),
    )  # fmt: skip
    return wire.Signed(about, seq, salt, signing.sign(pair, statement), _encode(message), EPOCH, term)


class Actor:
    """An operator on one conversation with this machine's host. ``store`` is opened anew for each connection, since what it
    holds is renewed meanwhile."""

    def __init__(self, store: Callable[[], Store]) -> None:
        self._store = store
        self._pair: KeyPair | None = None
        self.terms = Terms()
        # Above those of an earlier conversation of the same program, which has the same name.
        self._seqs = itertools.count(time.time_ns())

    def present(self, ref: int, *, welcome: wire.Welcome, client: str) -> wire.Present:
        """Return what says to the host of ``welcome`` who this is. Raises NoCredentials, Refused by an older host."""
        if not welcome.nonce:
            raise Refused(
                "this host takes no keys on its own machine, so an operator could not be told from you; nothing was done",
                do="`hold host restart` replaces it by the installed version; sessions run on",
            )
        store = self._store()
        self._pair = store.operator
        signed = presentation(host=welcome.host, client=client, nonce=welcome.nonce)
        chains = store.grant_chains(now=int(time.time()))
        return wire.Present(ref, store.certificates, chains, self._pair.sign(signed))

    def says(self, message: wire.ToHost, *, host: str, client: str) -> wire.ToHost:
        """Return ``message`` as this operator says it: signed if it changes something. Sessions are named by their ids."""
        if signing.verb_of(message) not in signing.SIGNED:
            return message
        assert self._pair is not None  # presented before anything is said
        about = host if isinstance(message, wire.Open) else str(message.session)  # type: ignore[union-attr]
        seq = message.seq if isinstance(message, wire.Input) else next(self._seqs)
        return sealed(
            message, about=about, client=client, seq=seq, pair=self._pair, term=self.terms.latest(about),
            basis=self.terms.basis(about),
        )  # fmt: skip
