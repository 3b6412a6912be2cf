"""Which refusals are written down: none is lost, and nobody fills a journal by being refused (R63, I11)."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.refused import APART_S, ASKERS_MAX, BURST, REFILL_S, Asker, Entry, Refusals

EVE = Asker("s-x", "op-eve", "input")


def test_the_first_is_written_at_once_and_what_follows_is_counted() -> None:
    refusals = Refusals()
    assert refusals.refused(EVE, "grant", now=0) == Entry(EVE, "grant", 1)
    assert [refusals.refused(EVE, "grant", now=0.1 * n) for n in range(1, 6)] == [None] * 5
    assert refusals.deadline == APART_S
    assert refusals.wake(now=APART_S) == [Entry(EVE, "grant", 5)]
    assert refusals.deadline is None


def test_another_operator_session_or_verb_is_another_matter() -> None:
    refusals = Refusals()
    for asker in (EVE, EVE._replace(operator="op-mal"), EVE._replace(session="s-y"), EVE._replace(verb="kill")):
        assert refusals.refused(asker, "grant", now=0) == Entry(asker, "grant", 1)


@given(gaps=st.lists(st.floats(0, 3 * REFILL_S), max_size=200))
def test_none_is_lost_and_records_are_bounded_whatever_the_rhythm(gaps: list[float]) -> None:
    refusals, now, written = Refusals(), 0.0, []

    def due(upto: float) -> None:
        while (deadline := refusals.deadline) is not None and deadline <= upto:
            found = refusals.wake(now=deadline)
            assert found, "it was due"
            written.extend((deadline, entry) for entry in found)

    for gap in gaps:
        due(now + gap)
        now += gap
        if (entry := refusals.refused(EVE, "grant", now=now)) is not None:
            written.append((now, entry))
    due(now + 2 * REFILL_S)
    assert sum(entry.times for _, entry in written) == len(gaps)
    times = [at for at, _ in written]
    assert all(later - at >= APART_S - 1e-6 for at, later in itertools.pairwise(times))
    for first, at in enumerate(times):
        within = [each for each in times[first:] if each <= at + 600]
        assert len(within) <= BURST + 600 / REFILL_S + 1


def test_many_askers_cost_bounded_memory_and_are_still_counted() -> None:
    refusals = Refusals()
    written = [refusals.refused(EVE._replace(operator=f"op-{n}"), "grant", now=0) for n in range(ASKERS_MAX + 50)]
    assert len(refusals._tallies) <= ASKERS_MAX + 1
    assert all(written[:ASKERS_MAX])
    rest = [entry for entry in written[ASKERS_MAX:] if entry] + refusals.wake(now=APART_S)
    assert sum(entry.times for entry in rest) == 50
    assert {entry.asker.operator for entry in rest} == {"others"}


def test_who_is_quiet_is_forgotten() -> None:
    refusals = Refusals()
    refusals.refused(EVE, "grant", now=0)
    refusals.wake(now=BURST * REFILL_S)
    assert not refusals._tallies
