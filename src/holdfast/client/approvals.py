"""Proposals as a program has them: propose, see what waits, decide by exactly what was shown, wait for a decision.

Not here: what has to be approved, which is the host's policy (docs/gate.md). Used through ``Session`` and ``Client`` of sdk.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from holdfast.core.errors import NeedsApproval, Refused
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from holdfast.client.sdk import Session

SETTLED: Final = frozenset(("executed", "stale", "denied", "expired", "withdrawn"))


class Proposal:
    """One proposal, as it was when last heard of. Deciding names its id and the digest of what ``data`` showed then."""

    info: wire.ProposalInfo  # all that the host says of it

    def __init__(self, session: Session, info: wire.ProposalInfo) -> None:
        self._session, self.info = session, info

    def __repr__(self) -> str:
        return f"<Proposal {self.id} of {self.info.operator} in {self.info.name}: {self.state}>"

    @property
    def id(self) -> int:
        return self.info.id

    @property
    def state(self) -> str:
        """proposed, approved, executed, stale, denied, expired or withdrawn."""
        return self.info.state

    @property
    def data(self) -> bytes:
        """Exactly the bytes that would be typed."""
        return self.info.data

    @property
    def digest(self) -> bytes:
        """SHA-256 over the bytes, who proposes them, for which session, and the ground they stand on."""
        return self.info.digest

    @property
    def settled(self) -> bool:
        """Whether nothing more can happen to it."""
        return self.state in SETTLED

    async def approve(
        self, why: str = "", *, for_session: bool = False, prefix: str = "", seconds: float = 3600.0, digest: bytes | None = None
    ) -> Proposal:  # fmt: skip
        """Approve it as a person; the host does it at once if its ground still holds, else it is ``stale``. Safe to repeat.

        ``for_session``: the same again needs no approval, for so many ``seconds``; ``prefix``: nor does any command that
        begins with these words. Raises MayNotDecide, WrongDigest, AlreadyDecided, and OutOfTurn while somebody else types:
        nothing is decided then.
        """
        if for_session and prefix:
            raise Refused("an approval reaches to the session or to a prefix, not both; nothing was decided")
        widen = "session" if for_session else "prefix" if prefix else ""
        return await self._decide("approve", why, widen, tuple(prefix.split()), seconds, digest)

    async def deny(self, why: str = "", *, digest: bytes | None = None) -> Proposal:
        """Deny it. Nothing of it was typed, and nothing will be. Safe to repeat."""
        return await self._decide("deny", why, "", (), 0.0, digest)

    async def _decide(
        self, verdict: str, why: str, widen: str, words: tuple[str, ...], seconds: float, digest: bytes | None
    ) -> Proposal:
        session = self._session
        ask = wire.Decide(
            session._ref(), session.id, self.id, self.digest if digest is None else digest, verdict, why, widen, words, seconds
        )  # fmt: skip
        self.info = (await session._ask(ask, wire.Decided)).proposal
        return self

    async def withdraw(self) -> Proposal:
        """Take it back, as whoever made it. Raises NoSuchProposal if that is somebody else."""
        session = self._session
        self.info = (
            await session._ask(wire.Withdraw(session._ref(), session.id, self.id), wire.Decided, again=False)
        ).proposal
        return self

    async def decided(self, *, timeout: float | None = None) -> Proposal:
        """Return once nothing more can happen to it. Raises Timeout after ``timeout`` seconds; it waits on then."""
        session = self._session
        ask = wire.AwaitDecision(session._ref(), session.id, self.id)
        self.info = (await session._ask(ask, wire.Decided, timeout=timeout)).proposal
        return self


async def pending(session: Session, settled: int = 0) -> tuple[Proposal, ...]:
    """Return what waits in ``session`` for a decision, oldest first; before that the ``settled`` latest that were."""
    found = await session._ask(wire.Proposals(session._ref(), session.id, settled), wire.Pending)
    return tuple(Proposal(session, each) for each in found.proposals)


async def propose(session: Session, data: bytes, why: str, verb: str, signal: int = 0) -> Proposal:
    """Have ``data`` held for a decision."""
    ask = wire.Propose(
        session._ref(), session.id, session._client._next_number(), verb, data, signal, False, why,
        session.seen.basis if session._channel.acts else None,
    )  # fmt: skip
    return Proposal(session, (await session._ask(ask, wire.Proposed)).proposal)


async def held(session: Session, of: NeedsApproval | int) -> Proposal:
    """Return the proposal that an error speaks of, or that has this id. Raises NoSuchProposal."""
    number = of if isinstance(of, int) else int(of.details["proposal"])
    for each in await pending(session, 256):
        if each.id == number:
            return each
    ask = wire.AwaitDecision(session._ref(), session.id, number)
    return Proposal(session, (await session._ask(ask, wire.Decided)).proposal)


def first_number() -> int:
    """Return where a program's proposals begin to be numbered: above those of an earlier one of the same name."""
    return time.time_ns()
