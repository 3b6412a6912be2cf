"""Attach: a cold client from its start to the final paint, after little and after much output; and creating sessions.

*Paint*: from the start of the client process until the last line the session ever wrote is at the outer terminal.
*Create*: `hold new -d`, `tmux new-session -d`, `dtach -n` as whole processes; and the host's own part, over the SDK.
"""

import asyncio
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from common import (
    Contender,
    Dtach,
    Hold,
    Producer,
    Terminal,
    Tmux,
    TooLateError,
    arguments,
    clock,
    contenders,
    flood_file,
    keep,
    machine,
    pump,
    ratios,
)


def caught_up(hold: Hold, name: str) -> None:
    """Wait until the view has seen everything: a lagging view is a different figure."""
    deadline = clock() + 120
    while hold.session(name)["lag"]:
        if clock() > deadline:
            raise TooLateError(f"the view of {name} still lags")
        time.sleep(0.1)


def painted(contender: Contender, name: str) -> float:
    """Attach once, wait for the end mark, leave; return the seconds from the client's start."""
    terminal = Terminal(contender.attach(name), contender.env)
    try:
        [seen] = pump([terminal], b"~THE-END~", 60)
        return seen - terminal.started
    finally:
        terminal.close()


def history(contender: Contender, folder: Path, size: int) -> str:
    """Make a session that has written ``size`` bytes and then its end mark, and return its name."""
    producer, name = Producer(folder, flood_file(folder, "coloured", size)), f"past{size >> 20}"
    contender.start(name, producer.argv)
    producer.fire()
    producer.times(900)
    if isinstance(contender, Hold):
        caught_up(contender, name)
    return name


def create(contender: Contender, number: int) -> float:
    began = clock()
    contender.start(f"new{number}", ["sleep", "1000"])
    return clock() - began


async def in_host(hold: Hold, count: int) -> list[float]:
    """Return the seconds each of ``count`` creations took over one open SDK connection."""
    from holdfast import connect  # only this figure needs the SDK

    os.environ.update({key: value for key, value in hold.env.items() if key.startswith("HOLDFAST")})
    took = []
    async with connect() as client:
        for number in range(count):
            began = clock()
            await client.open(f"sdk{number}", argv=["sleep", "1000"])
            took.append(clock() - began)
    return took


def main() -> None:
    args = arguments(__doc__ or "", rounds=15, mb=1024, creations=30)
    rounds, much, creations = (3, 32, 5) if args.quick else (args.rounds, args.mb, args.creations)
    print(f"attach: {rounds} rounds, history 1 MB and {much} MB, {creations} creations, {machine()}")
    kept: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="hb-") as made, contenders(Tmux, Hold) as ring:
        for size in (1 << 20, much << 20):
            names = {contender.name: history(contender, Path(made), size) for contender in ring}
            figures: dict[str, list[float]] = {contender.name: [] for contender in ring}
            for _ in range(rounds):
                for contender in ring:
                    figures[contender.name].append(1000 * painted(contender, names[contender.name]))
            kept[f"paint after {size >> 20} MB"] = figures
            ratios(f"cold attach to the final paint, {size >> 20} MB written before", figures, unit="ms", base="tmux")
        for contender in ring:
            for name in {"past1", f"past{much}"}:
                with suppress(RuntimeError):
                    contender.end(name)

    with contenders(Dtach, Tmux, Hold) as ring:
        made_in: dict[str, list[float]] = {contender.name: [] for contender in ring}
        for contender in ring:
            create(contender, 0)  # the server itself starts with the first one
        for number in range(1, creations + 1):
            for contender in ring:
                made_in[contender.name].append(1000 * create(contender, number))
        for contender in ring:
            if isinstance(contender, Hold):
                made_in["in host"] = [1000 * took for took in asyncio.run(in_host(contender, creations))]
        kept["create"] = made_in
        ratios("create a detached session", made_in, unit="ms", base="tmux")
    keep(args.json, kept)


if __name__ == "__main__":
    main()
