"""R14, R15: only a shell at its prompt is idle; a reaping is announced, graced, and can be postponed."""

from dataclasses import replace

import pytest

from holdfast.core.reap import Facts, Policy, Reaper, Verdict

IDLE = Facts(
    attached=0,
    output_end=10,
    input_position=3,
    cpu_ticks=5,
    io_bytes=100,
    foreground_job=False,
    listening=0,
    processes=1,
)
POLICY = Policy(idle_s=100.0, grace_s=10.0)


def reaper(policy: Policy = POLICY) -> Reaper:
    return Reaper(policy, idle_since=0.0, born=0.0)


def test_an_idle_shell_is_warned_then_reaped_after_the_grace() -> None:
    one = reaper()
    seen = [one.look(IDLE, now=at)[0] for at in (50.0, 99.9, 100.0, 105.0, 110.0)]
    assert seen == [Verdict.ALONE, Verdict.ALONE, Verdict.WARN, Verdict.ALONE, Verdict.REAP]


@pytest.mark.parametrize(
    "busy",
    [
        replace(IDLE, attached=1), replace(IDLE, foreground_job=True), replace(IDLE, listening=1),
        replace(IDLE, processes=2),
    ],
)  # fmt: skip
def test_a_busy_tree_is_never_reaped_for_idleness(busy: Facts) -> None:
    """R15: a detached build, a server, a background job and an onlooker each keep a session."""
    one = reaper()
    for at in range(0, 2000, 7):
        assert one.look(busy, now=float(at))[0] is Verdict.ALONE


@pytest.mark.parametrize("field", ["output_end", "input_position", "io_bytes"])
def test_work_between_two_looks_starts_the_window_anew(field: str) -> None:
    """A look every ten minutes still sees what happened in between: the counters remember."""
    one = reaper()
    one.look(IDLE, now=1.0)
    worked = replace(IDLE, **{field: getattr(IDLE, field) + 1})
    one.look(worked, now=90.0)
    assert one.look(worked, now=150.0)[0] is Verdict.ALONE
    assert one.look(worked, now=190.0)[0] is Verdict.WARN


def test_leaving_starts_the_window_however_long_somebody_stayed() -> None:
    one = reaper()
    one.look(replace(IDLE, attached=1), now=1.0)
    one.look(IDLE, now=5000.0)
    assert one.look(IDLE, now=5099.0)[0] is Verdict.ALONE


def test_work_during_the_grace_takes_the_warning_back() -> None:
    one = reaper()
    assert one.look(IDLE, now=100.0)[0] is Verdict.WARN
    assert one.look(replace(IDLE, processes=2), now=104.0) == (Verdict.CALM, "background processes are running")
    assert one.look(IDLE, now=111.0)[0] is Verdict.ALONE


def test_keep_postpones_even_the_fixed_life() -> None:
    one = reaper(Policy(idle_s=None, grace_s=0.0, max_s=50.0))
    one.keep(200.0)
    assert one.look(IDLE, now=60.0)[0] is Verdict.ALONE
    assert one.look(IDLE, now=201.0)[0] is Verdict.WARN
    assert one.look(replace(IDLE, attached=1), now=202.0)[0] is Verdict.REAP


def test_without_a_window_nothing_is_ever_reaped() -> None:
    one = reaper(Policy(idle_s=None))
    assert one.look(IDLE, now=1e9)[0] is Verdict.ALONE


@pytest.mark.parametrize("policy", [POLICY, Policy(idle_s=5.0), Policy(idle_s=None), Policy(idle_s=7 * 86400.0)])
def test_the_next_look_is_never_late_and_never_a_busy_loop(policy: Policy) -> None:
    one = Reaper(policy, idle_since=0.0, born=0.0)
    due = one.due(now=0.0)
    assert 0.05 <= due <= 600.0
    assert policy.idle_s is None or due <= policy.idle_s
