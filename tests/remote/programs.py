"""Programs that run inside sessions. Their text is given to an interpreter, so nothing need be installed there."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

# Counts every 10 ms, writes each count, keeps what was typed and the longest time it stood still. It never ends.
_COUNTER = r"""
import json, os, select, sys, termios, time, tty
folder, width = sys.argv[1], int(sys.argv[2])
if os.isatty(0):
    tty.setraw(0, termios.TCSANOW)
    typed = os.open(folder + "/typed", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
else:
    typed = None
count, worst, began = 0, 0.0, time.monotonic()
last = due = began
noted = 0.0
while True:
    if typed is not None:
        if select.select([0], [], [], max(0.0, due - time.monotonic()))[0]:
            got = os.read(0, 65536)
            os.write(typed, got)
            os.write(1, b"<" + got.replace(b"\r", b"") + b">\r\n")
    else:
        time.sleep(max(0.0, due - time.monotonic()))
    now = time.monotonic()
    if now < due:
        continue
    count += 1
    if typed is not None:
        os.write(1, b"%d " % count + b"." * width + b"\r\n")
    after = time.monotonic()
    worst, last, due = max(worst, after - last), after, max(due + 0.01, after)
    if after - noted > 0.2:
        noted = after
        with open(folder + "/count.new", "w") as file:
            json.dump({"count": count, "worst": worst, "s": after - began}, file)
        os.rename(folder + "/count.new", folder + "/count")
"""


@dataclass
class Pace:
    """What a counter says of itself."""

    count: int
    worst: float  # seconds it stood still at most
    s: float

    @property
    def per_s(self) -> float:
        return self.count / self.s


class Counter:
    """Where one counter keeps what it saw. ``argv`` starts it, with lines of ``width`` and some bytes."""

    def __init__(self, folder: Path, width: int = 8) -> None:
        self.folder, self.width = folder, width
        folder.mkdir()

    @property
    def argv(self) -> list[str]:
        return [sys.executable, "-c", _COUNTER, str(self.folder), str(self.width)]

    @property
    def typed(self) -> bytes:
        """Every byte that reached the program, in order."""
        path = self.folder / "typed"
        return path.read_bytes() if path.exists() else b""

    @property
    def pace(self) -> Pace:
        """What it last said of itself, waiting for its first word."""
        until = time.monotonic() + 10
        while not (self.folder / "count").exists() and time.monotonic() < until:
            time.sleep(0.02)
        return Pace(**json.loads((self.folder / "count").read_text()))

    def reads(self, line: bytes, within_s: float = 20) -> None:
        """Return once ``line`` reached the program."""
        until = time.monotonic() + within_s
        while line not in self.typed:
            assert time.monotonic() < until, f"{line!r} did not arrive"
            time.sleep(0.01)

    def fresh(self) -> Pace:
        """What it says of itself from now on."""
        at = self.pace.count
        until = time.monotonic() + 20
        while (now := self.pace).count <= at:
            assert time.monotonic() < until, "the counter stands still"
            time.sleep(0.02)
        return now


def strain() -> float:
    """Return how many times longer work takes on this machine now than it would alone: 1 while it is idle. Takes 50 ms of CPU.

    Bounds in seconds are for a machine of one's own; what other work costs is measured beside, not guessed.
    """
    began, used = time.monotonic(), time.thread_time()
    while (worked := time.thread_time() - used) < 0.05:
        pass
    return max(1.0, (time.monotonic() - began) / worked)


# Writes numbered lines as fast as it can, until Ctrl-C; then says so and ends with 3.
FLOOD = r"""
import os, signal, sys
def stop(number, frame):
    os.write(1, b"\r\nINTERRUPTED\r\n")
    os._exit(3)
signal.signal(signal.SIGINT, stop)
n = 0
while True:
    os.write(1, b"".join(b"line %09d\n" % k for k in range(n, n + 200)))
    n += 200
"""
