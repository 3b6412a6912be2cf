"""Judge who introduces itself with certificates and grants, from elsewhere or on this machine. Source: docs/identity.md.

Not here: which bytes the signature is over (wire.introduction, wire.presenting), what somebody may then do (core.admission).
"""

import contextlib
import time
from typing import Final, Protocol

from holdfast.core import grants, identity
from holdfast.core.admission import Authority, Granted, Inside
from holdfast.core.errors import BadMessage, HoldError, Refused
from holdfast.core.grants import Grant
from holdfast.core.identity import Kind
from holdfast.core.signed import Form, genuine
from holdfast.host.identity import Identity
from holdfast.wire import messages as wire
from holdfast.wire.presenting import presentation

NO_PERSON: Final = frozenset({Kind.AI, Kind.SERVICE, Kind.GUEST})  # who may be introduced from inside a session


class Introduction(Protocol):
    """What both messages that introduce somebody say."""

    @property
    def certificates(self) -> tuple[bytes, ...]: ...
    @property
    def grants(self) -> tuple[bytes, ...]: ...
    @property
    def signature(self) -> bytes: ...
    @property
    def form(self) -> int: ...


def judged(mine: Identity, said: Introduction, signed: bytes, *, now: int) -> Granted:
    """Return who is introduced, by the key that signed ``signed``. Raises HoldError: nothing was said to them."""
    member = identity.verify(said.certificates, tenant=mine.tenant, now=now, revoked=mine.revocations)
    try:
        form = Form(said.form)
    except ValueError:
        form = Form.PLAIN
    if not genuine(member.key, said.signature, signed, form):
        raise Refused("the key of these certificates did not sign for this channel; nothing was said over it")
    found: list[Grant] = []
    for chain in said.grants:
        with contextlib.suppress(HoldError):  # an expired one is no reason to refuse the others
            found.append(
                grants.verify(
                    chain, tenant=mine.tenant, now=now, holder=member.key, kind=member.kind,
                    principal=member.certificate.on_behalf_of, revoked=mine.revocations,
                )
            )  # fmt: skip
    return Granted(member, tuple(found))


def presented(
    mine: Identity, said: wire.Present, authority: Authority, *, host: str, client: str, nonce: bytes
) -> Granted:
    """Return as whom a local client acts from now on. Raises BadMessage if it said so before, Refused, BadCertificate, ...

    From inside a session nobody becomes a person by reading a person's keys, and nobody manages anything.
    """
    if isinstance(authority, Granted) or not nonce:
        raise BadMessage("who this client is was proven before, and does not change")
    if not mine.tenant:
        raise Refused(
            "this host is a member of no tenant, so it can check no certificate; nothing was changed",
            do="`hold up` or `hold host link` makes it one; `hold mcp` does so by itself",
        )
    try:
        signed = presentation(host=host, client=client, nonce=nonce)
    except ValueError:
        raise BadMessage("the name of this client is too long to be signed") from None
    found = judged(mine, said, signed, now=int(time.time()))
    if not isinstance(authority, Inside):
        return found
    if found.member.kind not in NO_PERSON:
        raise Refused(
            f"a program inside a session is no {found.member.kind.value}, whosever keys it has; it stays who it was",
            do="do it from a terminal outside",
        )
    return Granted(found.member, found.grants, inside=authority.session)
