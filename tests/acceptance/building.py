"""The work of the story: a real build in four stages; after each but the last somebody must answer a question.

It keeps to the first processor, which is its own (``beside``), so that what it takes tells whether it ever had to wait for
anybody, and not what host and clients computed meanwhile.

The script writes what a stage took into a file beside the project, so that a run with company can be compared with one
that nobody looked at, and how often each unit was built.
"""

import contextlib
import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.faces.demo import workload

STAGES = 4
UNITS_A_STAGE = 20
PROCESSORS = sorted(os.sched_getaffinity(0))  # all that the tests may use


@dataclass(frozen=True)
class Work:
    """``argv`` builds in ``folder``. Question ``n`` is ``question(n)``; an answer is repeated as ``taken(n, answer)``."""

    folder: Path
    argv: tuple[str, ...]

    def question(self, stage: int) -> str:
        return f"stage {stage} done, who goes on?"

    def taken(self, stage: int, answer: str) -> str:
        return f"stage {stage} taken over by {answer}."

    def said(self, stage: int) -> str:
        """A line that only the work of ``stage`` puts out."""
        return f"CC unit{(stage - 1) * UNITS_A_STAGE:03}.c"

    @property
    def stages_s(self) -> list[float]:
        """Seconds that each stage took so far."""
        took = self.folder / "took"
        return [float(line) for line in took.read_text().split()] if took.exists() else []

    @property
    def built(self) -> list[str]:
        """Every unit, as often as it was built."""
        return (self.folder / "built").read_text().split()


def write(folder: Path) -> Work:
    """Write the project into the empty ``folder``. Needs make and a C compiler."""
    project = workload.write(folder)
    assert project.argv[0] == "make", "a C compiler and make are needed"
    makefile = (folder / "Makefile").read_text()
    (folder / "Makefile").write_text(makefile.replace("@echo CC $<", "@echo CC $<; echo $< >> built"))
    work = Work(folder, ())
    lines = [
        "set -e",
        f"taskset -pc {PROCESSORS[0]} $$ > /dev/null",
        "cd " + shlex.quote(str(folder)),
        "echo build $$ began",
    ]
    for stage in range(1, STAGES + 1):
        first = (stage - 1) * UNITS_A_STAGE
        units = " ".join(f"unit{unit:03}.o" for unit in range(first, first + UNITS_A_STAGE))
        lines += [
            "began=$(date +%s%N)",
            f"make -s {units}",  # one at a time: it has one processor
            "echo $began $(date +%s%N) | awk '{ print ($2 - $1) / 1e9 }' >> took",
        ]
        if stage < STAGES:
            lines += [
                f"printf '%s ' {shlex.quote(work.question(stage))}",
                "read who",
                f'echo "stage {stage} taken over by $who."',
            ]
    lines.append("echo the build is whole")
    script = folder / "build.sh"
    script.write_text("\n".join(lines) + "\n")
    return Work(folder, ("bash", str(script)))


@contextlib.contextmanager
def beside() -> Iterator[None]:
    """What is started within leaves the work its processor, unless there is only one."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, PROCESSORS[1:] or PROCESSORS)
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


def undisturbed(folder: Path, answers: Sequence[str]) -> list[float]:
    """Do the same work with nobody watching, each question answered at once; return the seconds of each stage."""
    work = write(folder)
    subprocess.run(work.argv, input="\n".join(answers) + "\n", text=True, check=True, capture_output=True, timeout=300)
    return work.stages_s
