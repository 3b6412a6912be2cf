"""What a session waits for, as a table of what the kernel says (docs/commands.md)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.waiting import INPUT, SHELLS, Evidence, Process, Sleep, Waiting, Wants, judged

READ, POLL, NO, UNSEEN = Sleep.READING, Sleep.POLLING, Sleep.ELSEWHERE, Sleep.UNSEEN
T, F = True, False


@pytest.mark.parametrize(
    ("situation", "program", "sleep", "canonical", "echo", "alternate", "busy", "wants"),
    [
        ("bash at its prompt", "bash", POLL, F, F, F, None, Wants.PROMPT),
        ("zsh at its prompt, which reads", "zsh", READ, F, F, F, None, Wants.PROMPT),
        ("a prompt left on the alternate screen by a killed editor", "bash", POLL, F, F, T, None, Wants.PROMPT),
        ("sleep", "sleep", NO, T, T, F, None, Wants.RUNNING),
        ("a silent loop", "python3", NO, T, T, F, None, Wants.RUNNING),
        ("a loop that switched echo off", "python3", NO, T, F, F, None, Wants.RUNNING),
        ("accept()", "python3", NO, T, T, F, None, Wants.RUNNING),
        ("cat", "cat", READ, T, T, F, None, Wants.LINE),
        ("input()", "python3", READ, T, T, F, None, Wants.LINE),
        ("a builtin read of bash", "bash", READ, T, T, F, None, Wants.LINE),
        ("a builtin read -s of bash", "bash", READ, T, F, F, None, Wants.PASSWORD),
        ("read -n 1 of bash, which does not say", "bash", READ, F, T, F, None, Wants.KEYPRESS),
        ("read -s -n 1 of bash, which says that it runs something", "bash", READ, F, F, F, True, Wants.KEYPRESS),
        ("a prompt of a shell that says it runs nothing", "zsh", READ, F, T, F, False, Wants.PROMPT),
        ("getpass", "python3", READ, T, F, F, None, Wants.PASSWORD),
        ("su, another user's", "su", UNSEEN, T, F, F, None, Wants.PASSWORD),
        ("another user's that works", "su", UNSEEN, T, T, F, None, Wants.RUNNING),
        ("the Python prompt", "python3", POLL, F, F, F, None, Wants.KEYPRESS),
        ("node", "node", POLL, F, F, F, None, Wants.KEYPRESS),
        ("top", "top", POLL, F, F, F, None, Wants.KEYPRESS),
        ("less", "less", READ, F, F, T, None, Wants.FULL_SCREEN),
        ("vim, where the kernel tells less", "vim", Sleep.PERHAPS, F, F, T, None, Wants.FULL_SCREEN),
        ("bash, where the kernel tells less", "bash", Sleep.PERHAPS, F, F, F, None, Wants.PROMPT),
        ("a server, where the kernel tells less", "node", Sleep.PERHAPS, T, T, F, None, Wants.RUNNING),
        ("vim", "vim", POLL, F, F, T, None, Wants.FULL_SCREEN),
        ("htop", "htop", POLL, F, F, T, None, Wants.FULL_SCREEN),
        ("a full screen that computes", "vim", NO, F, F, T, None, Wants.RUNNING),
    ],
)  # fmt: skip
def test_each_situation_is_what_it_is(
    situation: str, program: str, sleep: Sleep, canonical: bool, echo: bool, alternate: bool, busy: bool | None, wants: Wants
) -> None:  # fmt: skip
    evidence = Evidence(canonical, echo, (Process(7, program, sleep),), alternate, busy)
    assert judged(evidence) == Waiting(wants, 7, program), situation


def test_the_one_that_reads_is_named_among_many() -> None:
    """``make`` waits for a child that asks: the child is what one answers."""
    pipeline = (Process(1, "make", NO), Process(2, "sh", NO), Process(3, "rm", READ))
    assert judged(Evidence(True, True, pipeline)) == Waiting(Wants.LINE, 3, "rm")


def test_nobody_in_the_foreground_runs() -> None:
    assert judged(Evidence(True, True, ())) == Waiting(Wants.RUNNING)


_sleeps = st.sampled_from(Sleep)
_programs = st.sampled_from(["vim", "python3", "", *sorted(SHELLS)])
_processes = st.lists(st.builds(Process, st.integers(1, 9), _programs, _sleeps), max_size=4).map(tuple)
_evidence = st.builds(
    Evidence, st.booleans(), st.booleans(), _processes, st.booleans(), st.sampled_from([None, True, False])
)


@given(_evidence)
def test_input_is_wanted_only_where_somebody_is_seen_to_want_it(evidence: Evidence) -> None:
    """But for the one case that the settings of the terminal tell of somebody who is not ours to look at."""
    verdict = judged(evidence)
    asks = {READ, POLL} if evidence.canonical else {READ, POLL, Sleep.PERHAPS}
    reading = [each for each in evidence.foreground if each.sleep in asks]
    if verdict.wants in INPUT and not reading:
        assert verdict.wants is Wants.PASSWORD
        assert any(each.sleep is UNSEEN for each in evidence.foreground)
        assert evidence.canonical
        assert not evidence.echo
    if reading:
        assert verdict.wants in INPUT
        assert (verdict.pid, verdict.program) == reading[0][:2]
    if verdict.wants is Wants.PASSWORD:
        assert not evidence.echo
