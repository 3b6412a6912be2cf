"""Who may type now: people before AIs, one at a time, nothing sent before control changed hands (R58, R59, R61, I10)."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from holdfast.core.control import LINE_S, SILENT_S, Act, Bar, Basis, Change, Control, How, Operator, only_reports
from holdfast.core.errors import (
    LineBusy,
    NoControl,
    NotYourTurn,
    OutOfTurn,
    Paused,
    Private,
    StaleBasis,
    StaleTerm,
    TooFast,
)
from tests.core.control_machine import AI, AI2, ALICE, BOB, DEVICE, GUEST, PROPOSER, SERVICE, WATCHER, Machine
from tests.core.control_mutants import MUTANTS, Mutant


def typed(
    control: Control,
    by: Operator,
    data: bytes = b"ls\r",
    *,
    term: int | None = None,
    now: float = 0.0,
    basis: int = 1000,
) -> Change | None:
    act = Act("input", by, data, control.term if term is None else term, Basis(basis))
    return control.weigh(act, now=now)


def refuses(error: type[OutOfTurn], control: Control, by: Operator, data: bytes = b"ls\r", **more: float) -> OutOfTurn:
    with pytest.raises(error) as caught:
        typed(control, by, data, **more)  # type: ignore[arg-type]
    return caught.value


# ---- the table -------------------------------------------------------------------------------------------------------


def test_the_first_key_of_an_ai_on_a_free_line_claims_and_types_in_one_step() -> None:
    control = Control()
    change = typed(control, AI, term=1)
    assert change is not None and (change.how, change.term, change.holder) == (How.CLAIM, 2, AI)
    assert typed(control, AI, term=1) is None, "its own claim does not make what it sent before stale"


def test_people_share_a_free_line_without_claiming_it() -> None:
    control = Control()
    assert typed(control, ALICE) is None and typed(control, BOB) is None
    assert (control.term, control.state) == (1, "free")


def test_a_person_who_types_takes_from_an_ai_and_an_ai_from_nobody() -> None:
    """R59"""
    control = Control()
    typed(control, AI)
    refuses(NotYourTurn, control, AI2)
    change = typed(control, ALICE, b"x")
    assert change is not None and (change.how, change.cuts, change.why) == (How.TAKE, True, "typed")
    error = refuses(NotYourTurn, control, AI)
    assert error.details["holder"] == ALICE.id
    with pytest.raises(NotYourTurn):
        control.take(AI, now=0)


def test_a_person_takes_from_a_person_only_by_asking() -> None:
    control = Control()
    control.take(ALICE, now=0)
    refuses(NotYourTurn, control, BOB)
    change = control.take(BOB, now=0)
    assert change is not None and change.former == ALICE
    assert typed(control, BOB) is None


@pytest.mark.parametrize("by", [GUEST, PROPOSER, WATCHER], ids=lambda by: by.id)
def test_who_may_only_watch_or_propose_never_types_nor_changes_control(by: Operator) -> None:
    """R59, R63"""
    control = Control()
    refuses(NoControl, control, by)
    for act in (control.take, control.request):
        with pytest.raises(NoControl):
            act(by, now=0)
    with pytest.raises(NoControl):
        control.give(ALICE, by, now=0)


@pytest.mark.parametrize("by", [AI, DEVICE, SERVICE], ids=lambda by: by.kind)
def test_nobody_but_a_person_gives_pauses_resumes_or_changes_what_is_private(by: Operator) -> None:
    control = Control()
    control.bar_others(ALICE, Bar.PAUSED, now=0)
    for bar in (Bar.PAUSED, Bar.PRIVATE):
        for on in (True, False):
            with pytest.raises(NoControl):
                control.bar_others(by, bar, on=on, now=0)
    with pytest.raises(NoControl):
        control.give(by, ALICE, now=0)
    assert control.bar is Bar.PAUSED


def test_a_service_types_on_a_free_line_and_holds_nothing() -> None:
    control = Control()
    assert typed(control, SERVICE) is None and not control.holder.id
    for act in (control.take, control.request):
        with pytest.raises(NoControl):
            act(SERVICE, now=0)
    typed(control, AI)
    refuses(NotYourTurn, control, SERVICE)


@pytest.mark.parametrize(("bar", "error"), [(Bar.PAUSED, Paused), (Bar.PRIVATE, Private)])
def test_while_a_person_keeps_them_out_no_ai_acts_and_people_go_on(bar: Bar, error: type[OutOfTurn]) -> None:
    control = Control()
    typed(control, AI)
    control.bar_others(ALICE, bar, now=0)
    assert refuses(error, control, AI).details["by"] == ALICE.id
    assert control.state == bar.value and not control.holder.id
    typed(control, BOB)
    control.take(ALICE, now=0)
    control.release(ALICE, now=0)
    assert control.state == bar.value, "taking and releasing does not let them in again"
    with pytest.raises(error):
        control.give(ALICE, AI, now=0)
    control.request(AI, now=0, why="may I?")
    control.bar_others(BOB, bar, on=False, now=0)
    assert typed(control, AI2) is not None


def test_what_was_private_and_paused_stays_paused_when_it_is_public_again() -> None:
    control = Control()
    control.bar_others(ALICE, Bar.PAUSED, now=0)
    control.bar_others(BOB, Bar.PRIVATE, now=0)
    assert (control.state, control.barred_by) == ("private", BOB.id)
    control.bar_others(BOB, Bar.PRIVATE, on=False, now=0)
    assert (control.state, control.barred_by) == ("paused", ALICE.id)
    refuses(Paused, control, AI)


def test_a_write_from_before_a_takeover_is_dropped_also_when_control_came_back() -> None:
    """I10: a delayed frame cannot reach the terminal, whoever has control by then."""
    control = Control()
    typed(control, AI, term=1)
    late = control.term
    control.take(ALICE, now=0)
    control.give(ALICE, AI, now=0)
    error = refuses(StaleTerm, control, AI, term=late)
    assert (error.details["changed_by"], error.details["how"]) == (ALICE.id, "take")
    assert typed(control, AI) is None


def test_a_release_makes_nothing_stale() -> None:
    control = Control()
    control.take(ALICE, now=0)
    seen = control.term
    control.release(ALICE, now=0)
    assert typed(control, BOB, term=seen) is None


def test_what_a_person_sent_before_giving_control_does_not_take_it_back() -> None:
    control = Control()
    control.take(ALICE, now=0)
    seen = control.term
    control.give(ALICE, AI, now=0)
    refuses(StaleTerm, control, ALICE, term=seen)
    assert control.holder == AI


def test_a_program_that_does_not_follow_control_is_judged_by_the_present() -> None:
    control = Control()
    control.take(ALICE, now=0)
    refuses(NotYourTurn, control, BOB, term=0)
    assert typed(control, ALICE, term=0) is None
    control.release(ALICE, now=0)
    refuses(StaleTerm, control, AI, term=0)
    refuses(StaleTerm, control, ALICE, term=99)


def test_an_ai_that_did_not_see_what_somebody_else_typed_is_refused() -> None:
    control = Control()
    typed(control, ALICE)
    control.typed(ALICE.id, 7)
    assert refuses(StaleBasis, control, AI, basis=6).details == {
        "what": "input", "changed_by": ALICE.id, "position": 7,
    }  # fmt: skip
    with pytest.raises(StaleBasis):
        control.weigh(Act("input", AI, b"x", control.term), now=0)
    typed(control, AI, basis=7)
    control.typed(AI.id, 9)
    assert typed(control, AI, basis=7) is None, "its own input is nothing new to it"


def test_an_ai_that_names_the_command_line_is_refused_when_that_moved() -> None:
    control = Control()
    act = Act("input", AI, b"y\r", 1, Basis(0, "3 running"))
    with pytest.raises(StaleBasis):
        control.weigh(act, now=0, command="3 idle")
    control.weigh(act, now=0, command="3 running")


def test_nobody_types_into_a_line_that_somebody_else_has_begun() -> None:
    control = Control()
    typed(control, ALICE, b"git comm", now=0)
    error = refuses(LineBusy, control, BOB, now=4)
    assert error.details == {"by": ALICE.id, "free_in_s": LINE_S - 4}
    refuses(LineBusy, control, AI, now=4)
    typed(control, ALICE, b"it\r", now=5)
    typed(control, BOB, b"l", now=5)
    assert typed(control, ALICE, b"x\r", now=5 + LINE_S) is None, "a pause gives the line up"


def test_what_an_ai_left_half_typed_is_cleared_not_continued() -> None:
    """R62"""
    control = Control()
    typed(control, AI, b"rm -rf ")
    control.release(AI, now=0)
    change = typed(control, ALICE, b"x", now=100)
    assert change is not None and (change.how, change.left) == (How.TAKE, (AI,))
    assert control.line.authors == (ALICE,)


def test_what_a_terminal_says_by_itself_takes_nothing() -> None:
    control = Control()
    typed(control, AI)
    refuses(NotYourTurn, control, ALICE, b"\x1b[I")
    refuses(NotYourTurn, control, ALICE, b"\x1b[<35;10;10M\x1b[<35;11;10M")
    assert control.holder == AI
    assert not only_reports(b"\x1b[Ix") and not only_reports(b"\x1b[A") and not only_reports(b"")


def test_control_lapses_when_its_holder_is_silent_and_a_persons_only_when_they_are_gone() -> None:
    control = Control()
    typed(control, AI, now=0)
    assert control.lapse(now=SILENT_S - 1) is None
    control.heard_of(AI.id, SILENT_S - 1)
    assert control.lapse(now=SILENT_S + 1) is None
    change = control.lapse(now=2 * SILENT_S)
    assert change is not None and (change.how, control.state) == (How.LAPSE, "free")
    control.take(ALICE, now=200)
    assert control.lapse(now=900, present=True) is None
    assert control.lapse(now=900 + SILENT_S) is not None


def test_whose_rights_ended_holds_neither_control_nor_the_line() -> None:
    """R56"""
    control = Control()
    typed(control, ALICE, b"half a li")
    assert control.gone(ALICE.id, now=0) is None
    typed(control, BOB, b"ls\r")
    control.take(ALICE, now=0)
    change = control.gone(ALICE.id, now=0)
    assert change is not None and (change.how, control.state) == (How.LAPSE, "free")


def test_the_job_of_an_ai_that_fell_silent_is_treated_as_it_asked() -> None:
    control = Control()
    control.take(AI, now=0, job="interrupt")
    change = control.lapse(now=SILENT_S)
    assert change is not None and change.job == "interrupt"


def test_an_ai_acts_no_faster_than_it_may_and_a_person_as_fast_as_they_like() -> None:
    control = Control(rate=2, burst=3)
    for _ in range(3):
        typed(control, AI)
    assert refuses(TooFast, control, AI).details["retry_in_s"] == 0.5
    typed(control, AI, now=0.5)
    control.take(ALICE, now=1)
    for _ in range(100):
        typed(control, ALICE, now=1)


def test_asking_is_remembered_until_it_is_answered() -> None:
    control = Control()
    control.take(ALICE, now=0)
    assert control.request(AI, now=0, why="the build is done") is not None
    assert control.request(AI, now=1, why="the build is done") is None
    assert list(control.requests) == [AI.id]
    control.give(ALICE, AI, now=2)
    assert not control.requests


def test_a_holder_that_obeyed_a_later_term_is_believed() -> None:
    control = Control()
    typed(control, AI)
    change = control.recover(9, now=0)
    assert change is not None and (change.term, change.how, control.state) == (10, How.RECOVER, "free")
    refuses(StaleTerm, control, AI, term=9)
    assert control.recover(10, now=0) is None


def test_taking_twice_changes_nothing_the_second_time() -> None:
    control = Control()
    assert control.take(ALICE, now=0) is not None
    assert control.take(ALICE, now=0) is None
    assert control.bar_others(ALICE, Bar.PAUSED, now=0) is not None
    assert control.bar_others(BOB, Bar.PAUSED, now=0) is None
    assert control.term == 3


# ---- any order of everything -----------------------------------------------------------------------------------------

RUN = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), database=None,
    derandomize=True,
)  # fmt: skip


def test_who_asks_again_with_other_words_asks_no_faster_than_it_may_act() -> None:
    control = Control(rate=1.0, burst=3.0)
    for word in ("one", "two", "three"):
        assert control.request(AI, now=0.0, why=word) is not None
    with pytest.raises(OutOfTurn):
        control.request(AI, now=0.0, why="four")
    assert control.request(AI, now=0.0, why="three") is None
    assert control.request(AI, now=1.0, why="four") is not None


def test_whatever_operators_do_and_in_whatever_order_control_is_kept(soak: bool) -> None:
    run_state_machine_as_test(Machine, settings=settings(RUN, max_examples=6000 if soak else 150))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_planted_defect_is_seen(mutant: Mutant) -> None:
    """The machine must fail on each, or it would not notice that defect either when somebody writes it by mistake."""
    quick = settings(RUN, max_examples=600, phases=[Phase.generate], report_multiple_bugs=False)
    with mutant.patch(), pytest.raises(AssertionError):
        run_state_machine_as_test(Machine, settings=quick)
