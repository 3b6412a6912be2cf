"""What is said about the gate: what somebody proposes, and what a person decides. Source: docs/wire.md, "Proposals".
Re-exported by messages."""

import msgspec

from holdfast.wire.parts import Basis, Message


class Propose(Message, frozen=True, tag="propose"):
    """Ask a person to have something done: held until it is decided, whatever the policy says. Answer: ``Proposed``.

    ``verb``: input or run (``data``), or signal (``signal``, ``tree``). ``number`` rises by one per proposal of this client
    and session and is its idempotency key. ``basis`` as in ``Input``. ``why`` is shown to whoever decides.
    """

    ref: int
    session: str
    number: int
    verb: str = "input"
    data: bytes = b""
    signal: int = 0
    tree: bool = False
    why: str = ""
    basis: Basis | None = None


class Proposals(Message, frozen=True, tag="proposals"):
    """Ask what waits for a decision, oldest first, and before that for the ``settled`` latest that were. Answer:
    ``Pending``."""

    ref: int
    session: str
    settled: int = 0


class Decide(Message, frozen=True, tag="decide"):
    """A person approves or denies a proposal, by its id and by the ``digest`` of what they saw. Answer: ``Decided``.

    ``verdict``: approve, deny. ``widen``: "" this once; session: the same again, by the same operator; prefix: commands
    that begin with ``words``; both end after ``for_s`` seconds. The host does what is approved if the ground it stands on
    is still there. Safe to repeat.
    """

    ref: int
    session: str
    proposal: int
    digest: bytes
    verdict: str
    why: str = ""
    widen: str = ""
    words: tuple[str, ...] = ()
    for_s: float = 3600.0


class Withdraw(Message, frozen=True, tag="withdraw"):
    """Take back a proposal of one's own. Answer: ``Decided``. Safe to repeat."""

    ref: int
    session: str
    proposal: int


class AwaitDecision(Message, frozen=True, tag="await-decision"):
    """Answered by ``Decided`` once the proposal is settled; at once if it is."""

    ref: int
    session: str
    proposal: int


class ProposalInfo(msgspec.Struct, frozen=True):
    """A proposal (core.proposals). Times are Unix seconds. ``holds``: the session is still as it was then."""

    id: int
    session: str  # its id
    name: str
    operator: str
    kind: str
    on_behalf_of: str
    verb: str
    data: bytes
    digest: bytes  # SHA-256; a decision names it
    at: float
    until: float
    state: str
    holds: bool = True
    signal: int = 0
    tree: bool = False
    size: tuple[int, int] = (0, 0)
    why: str = ""  # the operator's words
    rule: str = ""  # of the policy, or propose
    reason: str = ""  # why the policy asks
    cwd: str = ""
    by: str = ""  # who decided
    answer: str = ""
    outcome: str = ""  # of an executed one: applied, partial, refused, unknown, done
    written: int = 0
    position: int = 0  # of what was done, in the journal
    settled_at: float = 0.0
    only_proposes: bool = False


class Proposed(Message, frozen=True, tag="proposed"):
    ref: int
    proposal: ProposalInfo


class Pending(Message, frozen=True, tag="pending"):
    """The answer to ``Proposals``. ``now``: the host's clock."""

    ref: int
    now: float
    proposals: tuple[ProposalInfo, ...]


class Decided(Message, frozen=True, tag="decided"):
    ref: int
    proposal: ProposalInfo
