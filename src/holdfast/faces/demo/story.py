"""The verdicts of a demo, and what they are read from: processes as the kernel sees them, commands as a script reads them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

PATIENCE_S: Final = 60.0  # for each thing that is waited for; the build as a whole may take five times that
CLI: Final = (sys.executable, "-m", "holdfast.faces.cli.main")


class NotHeldError(Exception):
    """Something did not hold, so the rest of the story cannot be told."""


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One verdict. ``evidence``: what was seen, as plain values."""

    what: str
    held: bool
    evidence: dict[str, Any]


class Story:
    """The verdicts so far, said as they come unless ``quiet``."""

    def __init__(self, *, quiet: bool) -> None:
        self.steps: list[Step] = []
        self.left_out: dict[str, str] = {}
        self._quiet, self._began = quiet, time.monotonic()

    def say(self, text: str) -> None:
        if not self._quiet:
            print(text, flush=True)

    def leave_out(self, who: str, why: str) -> None:
        """Say that a part cannot be shown here."""
        self.left_out[who] = why
        self.say(f"left out: {who}, as {why}")

    def check(self, what: str, held: bool, **evidence: Any) -> None:
        """Record and say one verdict. Raises NotHeldError if it does not hold."""
        self.steps.append(Step(what, held, evidence))
        seen = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in evidence.items())
        self.say(f"{'held ' if held else 'BROKE'} {len(self.steps)}. {what}\n         {seen}")
        if not held:
            raise NotHeldError(what)

    def verdict(self, why: str = "") -> int:
        """Say the verdict on the whole and return the exit status: 0 only if every step held."""
        took = time.monotonic() - self._began
        held = not why and bool(self.steps) and all(step.held for step in self.steps)
        text = (
            f"verdict: held. The session outlived its client and its host; {len(self.steps)} checks in {took:.1f} s"
            if held
            else f"verdict: NOT held after {took:.1f} s: {why or 'see above'}"
        )
        if self._quiet:
            steps = [dataclasses.asdict(step) for step in self.steps]
            said = {"held": held, "seconds": round(took, 1), "why": why, "steps": steps, "left_out": self.left_out}
            print(json.dumps(said))
        else:
            print(text)
        return 0 if held else 1


# ---- processes as the kernel sees them -------------------------------------------------------------------------------


def started(pid: int) -> int | None:
    """Return when ``pid`` was started, in clock ticks since boot; None if it is gone or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def until(true: Callable[[], bool], what: str, *, patience: float = PATIENCE_S) -> None:
    """Look every 10 ms until ``true``. Raises NotHeldError after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            raise NotHeldError(f"waited {patience:.0f} s in vain until {what}")
        time.sleep(0.01)


def processes_in(folder: Path) -> list[int]:
    """Return the processes that name ``folder`` in their environment or command line, this one excepted."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                about = Path("/proc") / entry
                if os.fsencode(folder) in (about / "environ").read_bytes() + (about / "cmdline").read_bytes():
                    found.append(int(entry))
    return [pid for pid in found if started(pid) is not None]


def hold_json(*words: str) -> Any:
    """Return what one `hold` command prints with --json. Raises NotHeldError."""
    done = subprocess.run(
        [*CLI, *words, "--json"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_S,
        check=False,
    )
    if done.returncode != 0:
        raise NotHeldError(
            f"`hold {' '.join(words)}` ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
        )
    return json.loads(done.stdout)
