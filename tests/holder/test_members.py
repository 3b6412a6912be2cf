"""Whose a process is: a session is ended with all that belongs to it, and with nothing else."""

import os
import subprocess
import sys

import pytest

from holdfast.holder import execution

DEVICE = os.makedev(136, 9)


def fields(*, session: int, terminal: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the state on, as far as they are looked at."""
    return [b"S", b"1", b"1", str(session).encode(), str(terminal).encode()]


@pytest.mark.parametrize(
    ("session", "terminal", "root", "belongs"),
    [
        (700, 0, 700, True),
        (701, 0, 700, False),
        (701, DEVICE, 700, True),
        (0, 0, 0, False),  # the root ended: every process outside any kernel session would be ours
        (0, 0, 700, False),
        (0, DEVICE, 0, True),
    ],
)
def test_a_stray_is_of_the_kernel_session_or_the_terminal(
    session: int, terminal: int, root: int, belongs: bool
) -> None:
    assert execution._belongs(fields(session=session, terminal=terminal), root, DEVICE) is belongs


def test_a_session_whose_root_and_holder_died_has_no_members_but_its_own() -> None:
    """Once it had all that the kernel counts to session 0: on some machines everything that the first process started."""
    text = (
        "from holdfast.holder import execution\n"
        "found = execution.members(session='s-none', root=0, terminal=4095, cgroup_procs=(), spare=(), replaced=True)\n"
        "print(sorted(found))"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
