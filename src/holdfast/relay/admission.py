"""Decide whether an answer to a challenge proves a member. Pure. Not here: whether there is room (gate, hub).

A relay admits to itself, never to a session: what a member may do there is the host's to decide, by grants that the
relay never sees.
"""

from collections.abc import Callable, Collection

from holdfast.core.identity import Kind, Member, Revocations, read, verify
from holdfast.core.signed import Form, genuine
from holdfast.wire import relay as wire


class WrongRole(wire.NotAdmitted):
    code = "wrong-role"

    def __init__(self, kind: Kind, role: str) -> None:
        super().__init__(
            f"a certificate of kind {kind.value} does not admit as {role}; nothing was changed",
            do="hosts come with a host's certificate, clients with an operator's",
        )


def member_of(
    said: wire.Admit, nonce: bytes, names: Collection[str], revoked: Callable[[bytes], Revocations], *, now: int
) -> Member:
    """Return the member that ``said`` proves as the answer to ``nonce`` given to one of ``names``.

    ``revoked`` tells what a tenant, given by its root key, has revoked. What is cheap is checked first. Raises
    WrongRelay, WrongRole, BadProof, and what ``core.identity.verify`` raises.
    """
    dialled = wire.dialled_name(said.dialled)
    if dialled not in names:
        raise wire.WrongRelay
    claimed = read(said.chain).certificate
    if (said.role == "host") != (claimed.kind is Kind.HOST) or claimed.kind is Kind.ISSUER:
        raise WrongRole(claimed.kind, said.role)
    member = verify(said.chain, tenant=claimed.tenant, now=now, revoked=revoked(claimed.tenant))
    form = Form.SSH if said.form == Form.SSH and member.kind is Kind.HUMAN else Form.PLAIN
    if not genuine(member.key, said.signature, wire.admission_bytes(nonce, said.role, dialled), form):
        raise wire.BadProof
    return member
