"""Commands: what it costs that shells mark them. Creating a session, 64 MB of output, a command, beside a shell without marks."""

import asyncio
import os
import shutil
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

from common import Hold, arguments, clock, contenders, cpu, keep, machine, percentile
from holdfast.client.sdk import Client, Session, connect
from holdfast.core.marks import Drawn, Scanner, Values

SIDES = ("marked", "plain")
QUIET_S = 0.5  # of a shell, after which its prompt is there


async def started(host: Client, kind: str, home: Path, side: str) -> tuple[Session, float]:
    """Open a session of ``kind``; return it and the milliseconds that took in the host."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PS1": "$ "}
    began = clock()
    session = await host.open(argv=[kind], env=env, cwd="/", integration=side == "marked", reuse=False)
    return session, 1000 * (clock() - began)


async def took(session: Session, script: str, timeout: float = 300) -> float:
    """Run ``script`` in the shell of ``session``, which prints DONE when it is through; return the seconds."""
    async with session:
        began = clock()
        await session.send(f"{script}; printf 'DO%s\\n' NE\r")
        seen = b""
        async with asyncio.timeout(timeout):
            async for event in session.events():
                seen = (seen + getattr(event, "data", b""))[-100_000:]
                if b"DONE" in seen:
                    return clock() - began
    raise TimeoutError


async def creating(host: Client, kind: str, home: Path, count: int) -> Mapping[str, list[float]]:
    figures: dict[str, list[float]] = {side: [] for side in SIDES}
    for number in range(count):
        for side in SIDES if number % 2 else reversed(SIDES):
            session, ms = await started(host, kind, home, side)
            figures[side].append(ms)
            await session.kill(grace=0.1)
    return figures


async def flooding(host: Client, kind: str, home: Path, pid: int, size: int, rounds: int) -> None:
    figures: dict[str, list[float]] = {side: [] for side in SIDES}
    burnt: dict[str, list[float]] = {side: [] for side in SIDES}
    for number in range(rounds):
        for side in SIDES if number % 2 else reversed(SIDES):
            session, _ = await started(host, kind, home, side)
            await asyncio.sleep(QUIET_S)
            flood = f"head -c {size} /dev/zero | tr '\\0' x | fold -w 80"
            before = cpu([pid])
            figures[side].append(await took(session, flood))
            await asyncio.sleep(0.3)  # what was left alone during the flood is looked at now
            burnt[side].append(cpu([pid]) - before)
            await session.kill(grace=0.1)
    middle = {side: statistics.median(figures[side]) for side in SIDES}
    host_cpu = {side: 1000 * statistics.median(burnt[side]) for side in SIDES}
    print(
        f"flood of {size >> 20} MiB: marked {middle['marked']:.2f} s, plain {middle['plain']:.2f} s "
        f"({100 * (middle['marked'] / middle['plain'] - 1):+.1f} %); CPU of the host "
        f"{host_cpu['marked']:.0f} ms, {host_cpu['plain']:.0f} ms"
    )


async def commanding(host: Client, kind: str, home: Path, count: int) -> None:
    figures: dict[str, list[float]] = {}
    for side in SIDES:
        session, _ = await started(host, kind, home, side)
        await asyncio.sleep(2 * QUIET_S)
        figures[side] = [1000 * await took(session, "true") for _ in range(count)]
        await session.kill(grace=0.1)
    marked, plain = (statistics.median(figures[side]) for side in SIDES)
    print(f"one command in {kind}, keys to output: marked {marked:.2f} ms, plain {plain:.2f} ms")


def scanning() -> float:
    """Return what looking at 64 MiB of lines costs, in milliseconds."""
    piece = b"some output line of a build, 80 columns wide or so, nothing special in it at all\r\n" * 3200
    scanner, best = Scanner(Values(bytes(32), Drawn.CHACHA20)), 1e9
    for _ in range(5):
        began = time.thread_time()
        for _ in range((64 << 20) // len(piece)):
            scanner.feed(scanner.offset, piece)
        best = min(best, time.thread_time() - began)
    return 1000 * best


async def measured(ring: Hold, count: int, size: int, rounds: int) -> dict[str, float]:
    home = ring.home / "home"
    home.mkdir()
    kept: dict[str, float] = {}
    async with connect(str(ring.home / "r" / "host.sock"), start=False) as host:
        for kind in ("bash", "zsh", "fish"):
            if shutil.which(kind) is None:
                print(f"{kind}: not installed")
                continue
            figures = await creating(host, kind, home, count)
            for side in SIDES:
                kept[f"{kind}_{side}_create_p50_ms"] = statistics.median(figures[side])
            said = (
                f"{s} p50 {statistics.median(figures[s]):.1f} p90 {percentile(figures[s], 0.9):.1f} ms" for s in SIDES
            )
            print(f"creating {kind}, in the host: {', '.join(said)}")
            await commanding(host, kind, home, count)
        await flooding(host, "bash", home, ring.status()["pid"], size, rounds)
    return kept


def main() -> None:
    args = arguments(__doc__ or "", count=40, megabytes=64, rounds=5)
    count, size, rounds = (6, 8, 2) if args.quick else (args.count, args.megabytes, args.rounds)
    print(f"commands: {machine()}")
    print(f"looking for marks in 64 MiB of lines: {scanning():.0f} ms of CPU")
    with contenders(Hold) as ring:
        for contender in ring:
            assert isinstance(contender, Hold)
            contender.start("first", ["sleep", "100000"])
            keep(args.json, asyncio.run(measured(contender, count, size << 20, rounds)))


if __name__ == "__main__":
    main()
