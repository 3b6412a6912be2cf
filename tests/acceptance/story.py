"""The story t0 to t5 (R20) as a harness that any system can be put through, ours and those it must tell apart from us.

A client starts a long build, is killed, another kind of client goes on, then one from elsewhere, then one more; nothing
is ever started again, and who did what is known. Every step gives a verdict; one that cannot even be tried has failed.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.acceptance.building import STAGES, UNITS_A_STAGE, Work

START = "t0 a client starts the build and shows it"
SURVIVES = "t2 the client is killed; the build is the same process"
SECOND = "t3 another client shows what was there before it came, and acts"
THIRD = "t4 a client from elsewhere goes on where that one left, and acts"
FOURTH = "t5 a fourth client attaches, observes and acts"
WHOLE = "the build ended by itself, as the process that began"
ONCE = "nothing was built twice"
TUPLE = "what runs in it can be asked for and equals the kernel"
WHO = "every answer is on record with the operator who gave it, and the record verifies"
STEPS = (START, SURVIVES, SECOND, THIRD, FOURTH, WHOLE, ONCE, TUPLE, WHO)


class Face(Protocol):
    """One client of one operator. ``name`` is the operator's."""

    name: str

    def see(self, text: str) -> None:
        """Return once it shows ``text``. Raises AssertionError, OSError."""

    def answer(self, text: str) -> None:
        """Type a line."""

    def leave(self) -> None:
        """Detach, as a user would."""

    def kill(self) -> None:
        """End it by SIGKILL, whatever it is made of."""


class System(Protocol):
    """Something that runs work for clients."""

    name: str

    def start(self, work: Work) -> Face: ...
    def root(self) -> tuple[int, int]:
        """Return pid and start time of the process that runs the work; pid 0 if it is gone."""
        ...

    def attach(self, turn: int) -> Face:
        """Return the client of that turn, 1 to 3, attached to the work. Raises whatever stands against it."""
        ...

    def live(self) -> Mapping[str, object]:
        """Return ``pids`` of the work, and its ``cwd``, as the system tells them."""
        ...

    def who(self) -> Sequence[tuple[str, str]]:
        """Return (operator, line) of everything typed, from a record that was checked. Raises if there is none."""
        ...

    def ended(self) -> int:
        """Wait for the end; return the exit status."""
        ...


@dataclass
class Report:
    """What held and what did not, and why."""

    system: str
    held: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def attempt(self, step: str, what: Callable[[], object]) -> bool:
        """Try a step; True if it held."""
        try:
            what()
        except (AssertionError, OSError, LookupError, ValueError, RuntimeError) as why:
            said = str(why)
            self.failed[step] = (
                f"{type(why).__name__}: {said if len(said) < 1600 else said[:800] + ' ... ' + said[-800:]}"
            )
            return False
        self.held.append(step)
        return True

    def __str__(self) -> str:
        lines = [f"held    {step}" for step in self.held] + [f"FAILED  {s}: {why}" for s, why in self.failed.items()]
        return "\n".join([f"-- {self.system}", *lines])


def started(pid: int) -> int:
    """Return the start time of a process, 0 if it is gone or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def children(pid: int) -> set[int]:
    """Return ``pid`` and everything below it."""
    found, front = {pid}, [pid]
    while front:
        one = front.pop()
        try:
            below = [int(each) for each in Path(f"/proc/{one}/task/{one}/children").read_text().split()]
        except OSError:
            continue
        found |= set(below)
        front += below
    return found


def tell(system: System, work: Work) -> Report:
    """Put ``system`` through the story."""
    report = Report(system.name)
    first: list[Face] = []

    def start() -> None:
        first.append(system.start(work))
        first[0].see(work.said(1))

    if not report.attempt(START, start):
        return report
    root = system.root()

    def survives() -> None:
        first[0].kill()
        until = time.monotonic() + 60
        while not work.stages_s and started(root[0]) == root[1]:  # a stage later, or with its client
            assert time.monotonic() < until
            time.sleep(0.02)
        assert root[0] and system.root() == root == (root[0], started(root[0])), "it is gone or another"

    report.attempt(SURVIVES, survives)

    names: list[str] = []

    def turn(number: int, before: str) -> None:
        """The client of this turn sees what was put out before, the question, answers, and sees it taken."""
        face = system.attach(number)
        try:
            face.see(before)
            face.see(work.question(number))
            assert system.root() == root, "it was started again"
            if number == 1:
                report.attempt(TUPLE, asked)
            face.answer(face.name)
            face.see(work.taken(number, face.name))
        except BaseException:
            face.kill()
            raise
        face.leave()
        names.append(face.name)

    def asked() -> None:
        told, real = system.live(), children(root[0])
        assert told["pids"] == real, f"{told['pids']} instead of {real}"
        assert told["cwd"] == os.readlink(f"/proc/{root[0]}/cwd")

    for number, step in ((1, SECOND), (2, THIRD), (3, FOURTH)):
        before = work.said(1) if number == 1 else work.taken(number - 1, names[-1]) if names else work.said(number)
        held = report.attempt(step, lambda number=number, before=before: turn(number, before))  # type: ignore[misc]
        if not held:
            break

    def whole() -> None:
        assert len(names) == 3, "the work was never finished"
        assert system.ended() == 0

    def once() -> None:
        built, wanted = work.built, STAGES * UNITS_A_STAGE
        assert len(built) == len(set(built)) == wanted, f"{len(built)} built, {len(set(built))} of them once"

    def who() -> None:
        told = [(by, line) for by, line in system.who() if line]
        assert told == [(name, name) for name in names] and names, f"on record: {told}"

    report.attempt(WHOLE, whole)
    report.attempt(ONCE, once)
    report.attempt(WHO, who)
    for step in STEPS:
        if step not in report.held:
            report.failed.setdefault(step, "it never came to that")
    return report
