"""Proposals: decided by exactly what was seen, by a person who did not make them, once (R67, R76)."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from holdfast.core.errors import AlreadyDecided, MayNotDecide, NoSuchProposal, TooMany, WrongDigest
from holdfast.core.journal import Kind, Record
from holdfast.core.policy import Proposing
from holdfast.core.proposals import (
    DATA_BYTES_MAX,
    LIFE,
    PENDING_BYTES_MAX,
    SETTLED,
    Deed,
    Ground,
    Proposals,
    State,
    Step,
    Widen,
    digest_of,
)
from tests.core.proposals_machine import AI, ALICE, BOB, GUEST, SESSION, Machine
from tests.core.proposals_mutants import MUTANTS, Mutant

GROUND = Ground(3, 7, 1)


def record(position: int, what: str, operator: str, **body: object) -> Record:
    return Record(position, position * 10**9, 1, 1, 1, what, operator, dict(body), bytes(32))


def proposed(known: Proposals, position: int = 5, data: bytes = b"make\r", **more: object) -> bytes:
    deed = Deed("input", data)
    digest = digest_of(SESSION, AI.operator, deed, GROUND)
    given = {"kind": "ai", "deed": list(deed), "ground": list(GROUND), "digest": digest, "until": 100.0} | more
    known.learn(record(position, Kind.PROPOSAL, AI.operator, **given))
    return digest


def test_the_machine_holds() -> None:
    run_state_machine_as_test(Machine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_the_machine_sees(mutant: Mutant) -> None:
    with mutant.patch(), pytest.raises(BaseException):  # noqa: B017 - whatever hypothesis wraps it in
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=1000, stateful_step_count=40, deadline=None, database=None, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )  # fmt: skip


def test_each_step_is_in_the_table_or_changes_nothing() -> None:
    for state in State:
        assert (state in SETTLED) is (not LIFE[state])
    known = Proposals()
    proposed(known)
    for step in (Step.EXECUTE, "nonsense", Step.DENY, Step.APPROVE, Step.EXECUTE):
        known.learn(record(6, Kind.DECISION, ALICE.operator, proposal=5, verdict=step))
    assert known.get(5).state is State.DENIED


def test_who_decides_what() -> None:
    """Promise G2."""
    known = Proposals()
    digest = proposed(known)
    for who in (AI, GUEST, AI._replace(operator="o-other"), ALICE._replace(principal="o-x")):
        with pytest.raises(MayNotDecide):
            known.may_decide(who, 5, digest, Step.APPROVE, now=10)
    with pytest.raises(MayNotDecide):
        known.may_decide(ALICE._replace(operator=f"{AI.operator}/99"), 5, digest, Step.APPROVE, now=10)
    with pytest.raises(WrongDigest):
        known.may_decide(ALICE, 5, bytes(32), Step.APPROVE, now=10)
    with pytest.raises(NoSuchProposal):
        known.may_decide(ALICE, 6, digest, Step.APPROVE, now=10)
    with pytest.raises(AlreadyDecided):
        known.may_decide(ALICE, 5, digest, Step.APPROVE, now=100)
    assert known.may_decide(ALICE, 5, digest, Step.APPROVE, now=99.9) is known.get(5)
    known.learn(record(6, Kind.DECISION, "o-alice/44", proposal=5, verdict="approve"))
    assert known.may_decide(ALICE, 5, digest, Step.APPROVE, now=10) is None
    for who, step in ((BOB, Step.APPROVE), (ALICE, Step.DENY)):
        with pytest.raises(AlreadyDecided):
            known.may_decide(who, 5, digest, step, now=10)


def test_a_digest_names_everything() -> None:
    deed = Deed("input", b"make\r")
    first = digest_of(SESSION, AI.operator, deed, GROUND)
    others = {
        digest_of("s-2", AI.operator, deed, GROUND), digest_of(SESSION, "o-x", deed, GROUND),
        digest_of(SESSION, AI.operator, deed._replace(data=b"make\n"), GROUND),
        digest_of(SESSION, AI.operator, deed._replace(verb="run"), GROUND),
        digest_of(SESSION, AI.operator, deed._replace(signal=2), GROUND),
        digest_of(SESSION, AI.operator, deed, GROUND._replace(input=4)),
        digest_of(SESSION, AI.operator, deed, GROUND._replace(foreground=8)),
        digest_of(SESSION, AI.operator, deed, GROUND._replace(incarnation=2)),
    }  # fmt: skip
    assert len(first) == 32 and len(others) == 8 and first not in others


def test_what_waits_is_bounded() -> None:
    known, bounds = Proposals(), Proposing(pending_max=3)
    with pytest.raises(TooMany):
        known.may_propose(AI, Deed("input", b"x" * (DATA_BYTES_MAX + 1)), bounds)
    for number in range(3):
        known.may_propose(AI, Deed("input", b"x"), bounds)
        proposed(known, 5 + number)
    with pytest.raises(TooMany):
        known.may_propose(AI, Deed("input", b"x"), bounds)
    known.may_propose(BOB, Deed("input", b"x"), bounds)
    full = Proposals()
    for number in range(PENDING_BYTES_MAX // DATA_BYTES_MAX):
        proposed(full, 5 + number, b"x" * DATA_BYTES_MAX)
    with pytest.raises(TooMany):
        full.may_propose(BOB, Deed("input", b"x"), bounds)


def test_a_grant_needs_an_approval_that_says_so() -> None:
    known = Proposals()
    proposed(known)
    known.learn(
        record(6, Kind.DECISION, ALICE.operator, proposal=5, verdict="approve", widen="prefix", granted_until=50.0)
    )
    assert known.grants(AI.operator, 10) == ()  # a prefix without words
    proposed(known, 7)
    known.learn(
        record(8, Kind.DECISION, ALICE.operator, proposal=7, verdict="approve", widen="session", granted_until=50.0)
    )
    (grant,) = known.grants(f"{AI.operator}/3", 49.9)
    assert (grant.widen, grant.by) == (Widen.SESSION, ALICE.operator)
    assert known.grants(AI.operator, 50.0) == () and known.grants(BOB.operator, 10) == ()
