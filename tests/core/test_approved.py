"""What an export proves of approvals: done as proposed, approved by hash, once; each way to pretend is named (R67, R72)."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from holdfast.core import identity
from holdfast.core.evidence import Fault, check
from holdfast.core.journal import Author, Kind
from holdfast.core.proposals import Deed, Ground, digest_of
from holdfast.core.telling import what
from holdfast.wire import messages as wire
from tests.core.chronicle import ALICE, CLIENT, Chronicle, T, alice, proof_of
from tests.core.tenants import S1

BOT = str(identity.operator_id(T.bot.key))
NONE: Mapping[str, Any] = {}
DEED, GROUND = ["input", b"make\r", 0, False, [0, 0]], [0, 7, 1]
DIGEST = digest_of(S1, BOT, Deed("input", b"make\r"), Ground(0, 7, 1))


def bot(message: wire.Message, seq: int) -> Author:
    return Author(BOT, proof=proof_of(message, key=T.bot, seq=seq), kind="ai", principal=ALICE)


def proposal(**more: Any) -> dict[str, Any]:
    return {"deed": DEED, "ground": GROUND, "digest": DIGEST, "rule": "ask[0]", "client": CLIENT, "seq": 3} | more


def decision(**more: Any) -> tuple[Author, dict[str, Any]]:
    said = {"proposal": 1, "digest": DIGEST, "verdict": "approve"} | more
    return alice(wire.Decide(1, S1, said["proposal"], said["digest"], said["verdict"])), said


def done(**more: Any) -> dict[str, Any]:
    return {"client": "proposal:1", "seq": 1, "data": b"make\r", "attachment": 0, "proposal": 1} | more


def told(
    *, decided: bool = True, decides: Mapping[str, Any] = NONE, typed: Mapping[str, Any] = NONE, by: str = BOT,
    twice: bool = False, proposed: Mapping[str, Any] = NONE,
) -> Chronicle:  # fmt: skip
    one = Chronicle()
    one.add(Kind.PROPOSAL, bot(wire.Input(1, S1, 3, b"make\r"), 3), proposal(**proposed))
    if decided:
        author, body = decision(**decides)
        one.add(Kind.DECISION, author, body)
    for _ in range(2 if twice else 1):
        one.add(Kind.INPUT, by, done(**typed))
    one.add(Kind.DECISION, "host", {"proposal": 1, "verdict": "executed", "outcome": "applied"})
    one.checkpoint()
    return one


def fault(one: Chronicle) -> tuple[int, str] | None:
    finding = check(one.heading(), one.records).finding
    return None if finding is None else (finding.position, str(finding.fault))


def test_what_was_proposed_and_approved_and_done_holds() -> None:
    assert fault(told()) is None
    report = check(told().heading(), told().records)
    assert (report.signed, report.opened) == (2, 2)


@pytest.mark.parametrize(
    ("make", "at"),
    [
        (lambda: told(decided=False), 2),
        (lambda: told(decides={"verdict": "deny"}), 3),
        (lambda: told(decides={"digest": b"e" * 32}), 3),
        (lambda: told(decides={"proposal": 7}), 3),
        (lambda: told(decides={"digest": b"e" * 32}, proposed={"digest": b"e" * 32}), 3),
        (lambda: told(proposed={"ground": [1, 7, 1]}), 3),
        (lambda: told(typed={"data": b"rm x\r"}), 3),
        (lambda: told(typed={"proposal": 2}), 3),
        (lambda: told(by=ALICE), 3),
        (lambda: told(twice=True), 4),
    ],
)
def test_each_way_to_pretend_an_approval_is_named(make: Callable[[], Chronicle], at: int) -> None:
    """Promise G12."""
    assert fault(make()) == (at, Fault.APPROVAL)


def test_proposals_and_decisions_of_operators_are_signed_and_say_what_was_signed() -> None:
    one = Chronicle()
    one.add(Kind.PROPOSAL, BOT, proposal())
    assert fault(one) == (1, Fault.AUTHOR)
    one = Chronicle()
    one.add(Kind.PROPOSAL, bot(wire.Input(1, S1, 3, b"ls\r"), 3), proposal())
    assert fault(one) == (1, Fault.COMMITMENT)
    one = Chronicle()
    one.add(Kind.PROPOSAL, bot(wire.Input(1, S1, 4, b"make\r"), 4), proposal())
    assert fault(one) == (1, Fault.STATEMENT)
    one = Chronicle()
    one.add(
        Kind.PROPOSAL, bot(wire.Propose(1, S1, 9, "run", b"make"), 9), proposal(deed=["run", b"make", 0, False, [0, 0]])
    )
    one.add(
        Kind.DECISION,
        alice(wire.Decide(1, S1, 1, DIGEST, "deny")),
        {"proposal": 1, "digest": DIGEST, "verdict": "approve"},
    )
    assert fault(one) == (2, Fault.COMMITMENT)
    one = Chronicle()
    one.add(
        Kind.PROPOSAL, bot(wire.Propose(1, S1, 9, "run", b"make"), 9), proposal(deed=["run", b"rm x", 0, False, [0, 0]])
    )
    assert fault(one) == (1, Fault.COMMITMENT)
    one = Chronicle()
    one.add(Kind.DECISION, alice(wire.Keep(1, S1, 1.0)), {"proposal": 1, "digest": DIGEST, "verdict": "approve"})
    assert fault(one) == (1, Fault.STATEMENT)


def test_they_are_told_in_words() -> None:
    one = told()
    from holdfast.core.journal import decoded

    said = [what(decoded(each)) for each in one.records]
    assert said[0].startswith("proposed input make") and said[1] == "approved proposal 1"
    assert said[3] == "did what was approved (applied): proposal 1"
