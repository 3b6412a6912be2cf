"""Refused, but perhaps done: what a client is told of an action that a host may have carried out and forgotten (I5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import revived
from holdfast.wire import messages as wire
from holdfast.wire.doubts import Doubts, doubted

INPUT = wire.Input(1, "s-x", 7, b"make\r")
NO = wire.Failed(1, "no-such-session", "no session 's-x' here that you may reach", "")


def told(*, said_for: int, met_on: int, asked: wire.Message = INPUT, answer: wire.Message = NO) -> wire.Message:
    doubts = Doubts()
    doubts.said(asked, carrier=said_for)
    doubts.met(met_on)
    return doubts.told(answer)


@given(said_for=st.integers(1, 9), later=st.integers(0, 9))
def test_a_refusal_is_believed_if_and_only_if_it_was_said_on_one_carrier(said_for: int, later: int) -> None:
    found = told(said_for=said_for, met_on=said_for + later)
    assert (found is NO) == (later == 0)


def test_an_input_that_may_have_been_typed_is_unknown_and_says_with_what_it_was_refused() -> None:
    found = told(said_for=1, met_on=2)
    assert isinstance(found, wire.Failed)
    assert (found.ref, found.code, found.details) == (1, "input-unknown", {"seq": 7, "refused": "no-such-session"})
    assert "whether it was typed is unknown" in found.message and found.do
    assert revived(found.code, found.message, found.do, found.details).code == "input-unknown"


@pytest.mark.parametrize(
    "asked",
    [
        wire.Open(1, ("sh",), {}, "/", wire.Size(24, 80)),
        wire.Signal(1, "s-x", 2),
        wire.Kill(1, "s-x", 2.0),
        wire.Rename(1, "s-x", "y"),
    ],
)
def test_another_action_that_may_have_been_done_is_unknown_too(asked: wire.Message) -> None:
    """A host that did it and forgot the link refuses the repetition as one: "its number was used before"."""
    used = wire.Failed(1, "bad-signature", "its number was used before", "")
    found = told(said_for=1, met_on=3, asked=asked, answer=used)
    assert isinstance(found, wire.Failed)
    assert found.code == "outcome-unknown" and found.details["refused"] == "bad-signature"


@pytest.mark.parametrize(
    "answer", [wire.Typed(1, 7, "applied", 5, 9), wire.Done(1), wire.Failed(2, "forbidden", "", "")]
)
def test_what_was_done_and_what_others_were_refused_is_told_as_it_is(answer: wire.Message) -> None:
    assert told(said_for=1, met_on=2, answer=answer) is answer


def test_what_changes_nothing_is_refused_as_it_is() -> None:
    assert told(said_for=1, met_on=2, asked=wire.Info(1, "s-x")) is NO


def test_what_is_said_after_the_host_was_heard_is_not_doubted() -> None:
    doubts = Doubts()
    doubts.met(2)
    doubts.said(INPUT, carrier=2)
    doubts.met(5)  # a later carrier of a link that both ends know: it tells what arrived
    assert doubts.told(NO) is NO


def test_a_host_that_says_itself_that_nobody_can_tell_is_passed_on() -> None:
    unknown = wire.Failed(1, "input-unknown", "", "")
    assert doubted(unknown, INPUT) is unknown
