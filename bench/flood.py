"""Flood: how long 64 MB of plain, coloured and cursor-addressed output take through one viewer, four viewers, and none.

Two instants: *taken*, when the producer's last byte was accepted by its PTY, and *shown*, when the end is at the outer
terminal (of the slowest viewer). A holder that keeps a screen may show less than everything and so be done earlier.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from common import (
    Bare,
    Contender,
    Dtach,
    Hold,
    Producer,
    Terminal,
    Tmux,
    TooLateError,
    arguments,
    contenders,
    cpu,
    flood_file,
    keep,
    machine,
    pump,
    ratios,
)

LONGEST_S = 300


def once(contender: Contender, folder: Path, flood: Path, viewers: int, number: int) -> dict[str, float]:
    """Run one flood through ``contender`` and return its figures in seconds."""
    producer, name = Producer(folder, flood), f"flood{number}"
    with ExitStack() as stack:
        contender.start(name, producer.argv)
        terminals: list[Terminal] = []
        for _ in range(viewers if contender.keeps else 1):
            terminals.append(Terminal(contender.attach(name), contender.env))
            stack.callback(terminals[-1].close)
            pump(terminals[-1:], b"~READY~", 30)
        pump(terminals, None, 0.2)  # let greetings and redraws settle
        pids = [*contender.servers(), *(terminal.pid for terminal in terminals if contender.keeps)]
        before = cpu(pids)
        producer.fire()
        shown = max(pump(terminals, b"~THE-END~", LONGEST_S), default=0.0)
        began, ended = producer.times(LONGEST_S)
        figures = {"taken": ended - began, "cpu": cpu(pids) - before}
        if shown:
            figures["shown"] = shown - began
        if contender.keeps:
            contender.end(name)
        return figures


def main() -> None:
    args = arguments(__doc__ or "", mb=64, rounds=5)
    size, rounds = (8 << 20, 2) if args.quick else (args.mb << 20, args.rounds)
    print(f"flood: {size >> 20} MB, {rounds} rounds, {machine()}")
    kept: dict[str, dict[str, dict[str, list[float]]]] = {}
    with tempfile.TemporaryDirectory(prefix="hb-") as made, contenders(Bare, Dtach, Tmux, Hold) as ring:
        folder, number = Path(made), 0
        for viewers in (1, 4, 0):
            for kind in ("plain", "coloured", "cursor"):
                flood = flood_file(folder, kind, size)
                figures: dict[str, dict[str, list[float]]] = {}
                for _ in range(rounds):
                    for contender in ring:
                        if viewers > 1 and not contender.many:
                            continue
                        number += 1
                        try:
                            got = once(contender, folder, flood, viewers, number)
                        except TooLateError as late:
                            print(f"  {contender.name}: {late}")
                            continue
                        for what, value in got.items():
                            figures.setdefault(what, {}).setdefault(contender.name, []).append(value)
                who = f"{viewers} viewer{'s' * (viewers != 1)}" if viewers else "detached (bare: one reader)"
                for what in ("taken", "shown") if viewers else ("taken",):
                    ratios(f"{kind}, {who}: {what}", figures.get(what, {}))
                spent = {name: [1000 * s / (size >> 20) for s in values] for name, values in figures["cpu"].items()}
                ratios(f"{kind}, {who}: CPU of servers and clients", spent, unit="ms/MB", base="dtach")
                kept[f"{kind}/{viewers}"] = figures
    keep(args.json, kept)


if __name__ == "__main__":
    main()
