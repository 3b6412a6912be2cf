"""R11: the life of a session is an explicit machine; what its tables lack is illegal."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import life
from holdfast.core.errors import IllegalStep
from holdfast.core.life import LIFE, PRESENCE, Execution, Presence, Signal, Traffic


@pytest.mark.parametrize(("now", "signal"), list(itertools.product(Execution, Signal)))
def test_every_step_is_in_the_table_or_refused_with_its_story(now: Execution, signal: Signal) -> None:
    """R11: exhaustive over states and signals."""
    if signal in LIFE[now]:
        assert life.step(now, signal) is LIFE[now][signal]
        return
    with pytest.raises(IllegalStep) as refused:
        life.step(now, signal, story=("starting", "running"))
    assert now.value in str(refused.value)
    assert "starting -> running" in str(refused.value)


@given(st.lists(st.sampled_from(Signal), max_size=30))
def test_an_ended_session_never_lives_again(signals: list[Signal]) -> None:
    """R11: ends are absorbing, whatever arrives, and a run of legal steps never leaves the table."""
    now, ended = Execution.STARTING, None
    for signal in signals:
        try:
            now = life.step(now, signal)
        except IllegalStep:
            continue
        assert ended is None
        ended = now if life.over(now) else None


def test_every_state_can_be_reached_from_starting() -> None:
    reached, fresh = {Execution.STARTING}, [Execution.STARTING]
    while fresh:
        for after in LIFE[fresh.pop()].values():
            if after not in reached:
                reached.add(after)
                fresh.append(after)
    assert reached == set(Execution)


@pytest.mark.parametrize(("now", "traffic"), list(itertools.product(Presence, Traffic)))
def test_presence_follows_its_table(now: Presence, traffic: Traffic) -> None:
    if traffic in PRESENCE[now]:
        assert life.move(now, traffic) is PRESENCE[now][traffic]
    else:
        with pytest.raises(IllegalStep):
            life.move(now, traffic)


def test_the_diagram_in_the_docs_is_the_table(pytestconfig: pytest.Config) -> None:
    """The picture of the life cycle cannot drift from the code."""
    text = (pytestconfig.rootpath / "docs" / "architecture.md").read_text()
    assert life.diagram(LIFE) in text
    assert life.diagram(PRESENCE) in text
