"""Echo: how long a keystroke takes from the outer terminal to the program and back, idle and beside a flooding session.

The program is `cat` on a raw PTY: it reads the key and writes it back, as a shell's line editor does. One key is in
flight at a time; keys come at irregular, human-like distances, so that nothing stays warm that would not in real use.
"""

import random
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from common import (
    Bare,
    Contender,
    Dtach,
    Hold,
    Terminal,
    Tmux,
    TooLateError,
    arguments,
    clock,
    contenders,
    flood_file,
    keep,
    machine,
    percentile,
    pump,
)

ECHO = ["sh", "-c", "stty raw -echo; exec cat"]
KEYS = b"ZVYGQW"  # no escape sequence these contenders send holds one of them
# Drains one flooding program at full speed: what a second terminal window beside the bare one does.
DRAIN = "import pty, sys; pty.spawn(sys.argv[1:], lambda fd: __import__('os').read(fd, 65536) and b' ')"


def typed(terminal: Terminal, count: int, dice: random.Random) -> list[float]:
    """Type ``count`` keys and return the seconds each took to come back."""
    took = []
    for number in range(count):
        pump([terminal], None, dice.uniform(0.004, 0.02))  # also takes what the contender still had to say
        key = KEYS[number % len(KEYS) :][:1]
        sent = clock()
        terminal.write(key)
        [seen] = pump([terminal], key, 10)
        took.append(seen - sent)
    return took


def ready(terminal: Terminal) -> None:
    """Return once keys come back at all."""
    for _ in range(100):
        terminal.write(KEYS[:1])
        try:
            pump([terminal], KEYS[:1], 0.1)
        except TooLateError:
            continue
        pump([terminal], None, 0.1)
        return
    raise TooLateError("no key ever came back")


def flooding(contender: Contender, flood: Path, stack: ExitStack) -> None:
    """Start a session that floods beside the one typed into, with nobody attached to it."""
    loop = ["sh", "-c", f"while :; do cat {flood}; done"]
    if contender.keeps:
        contender.start("noise", loop)
        return
    drain = subprocess.Popen(
        [sys.executable, "-c", DRAIN, *loop],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    stack.callback(drain.wait)
    stack.callback(drain.kill)


def measure(ring: list[Contender], rounds: int, keys: int, flood: Path | None) -> dict[str, list[float]]:
    """Return seconds per key, contenders in turn; with ``flood``, each beside its own flooding session."""
    figures: dict[str, list[float]] = {contender.name: [] for contender in ring}
    dice = random.Random(7)
    for _ in range(rounds):
        for contender in ring:
            with ExitStack() as stack:
                contender.start("typed", ECHO)
                if contender.keeps:
                    stack.callback(contender.end, "typed")
                if flood is not None:
                    flooding(contender, flood, stack)
                    if contender.keeps:
                        stack.callback(contender.end, "noise")
                terminal = Terminal(contender.attach("typed"), contender.env)
                stack.callback(terminal.close)
                ready(terminal)
                figures[contender.name] += typed(terminal, keys, dice)
    return figures


def told(title: str, figures: dict[str, list[float]]) -> None:
    """Print p50, p90 and p99 in milliseconds, and how much they are over the bare PTY."""
    print(title)
    bare = figures.get("bare")
    for name, took in figures.items():
        marks = [1000 * percentile(took, share) for share in (0.5, 0.9, 0.99)]
        over = [1000 * percentile(bare, share) for share in (0.5, 0.9, 0.99)] if bare else [0.0] * 3
        cells = "  ".join(
            f"{p} {m:7.3f} ms ({m - b:+7.3f})" for p, m, b in zip(("p50", "p90", "p99"), marks, over, strict=True)
        )
        print(f"  {name:6} {cells}  mean {1000 * statistics.mean(took):.3f} ms  n={len(took)}")
    sys.stdout.flush()


def main() -> None:
    args = arguments(__doc__ or "", keys=200, rounds=5)
    keys, rounds = (50, 1) if args.quick else (args.keys, args.rounds)
    print(f"echo: {rounds} rounds of {keys} keys, {machine()}; in brackets: over the bare PTY")
    with tempfile.TemporaryDirectory(prefix="hb-") as made, contenders(Bare, Dtach, Tmux, Hold) as ring:
        idle = measure(ring, rounds, keys, None)
        told("idle", idle)
        flooded = measure(ring, rounds, keys, flood_file(Path(made), "plain", 8 << 20))
        told("while another session floods", flooded)
    keep(args.json, {"idle": idle, "flooded": flooded})


if __name__ == "__main__":
    main()
