"""A wish for short turns changes neither the policy nor the share of a process, and is no error where it is refused."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from holdfast.host.promptly import run_promptly


@pytest.fixture
def idler() -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"], preexec_fn=lambda: os.nice(7)) as process:
        yield process.pid
        process.kill()


def test_priority_and_policy_stay_as_they_were(idler: int) -> None:
    run_promptly(idler)
    assert os.getpriority(os.PRIO_PROCESS, idler) == 7
    assert os.sched_getscheduler(idler) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER


def test_a_process_that_is_gone_is_no_error(idler: int) -> None:
    os.kill(idler, 9)
    os.waitpid(idler, 0)
    assert run_promptly(idler) is False
