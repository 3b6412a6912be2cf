"""Waiting and running: what one look at a session's programs costs, what a hundred idle sessions cost the host that looks at
them, how soon a wanted input is noticed, and what `run` costs over a bare shell that is typed to."""

import asyncio
import os
import statistics
import time
from pathlib import Path

from common import Hold, Terminal, arguments, clock, contenders, cpu, keep, machine, percentile, pump
from holdfast.client import until
from holdfast.client.sdk import Client, Session, connect
from holdfast.host.waiting import foreground

RUNS = 100
SETTLE_S = 60.0  # after which looks at an idle session are as rare as they get
IDLE_S = 60.0


def looks(pid: int, terminal: int, rounds: int) -> tuple[float, float]:
    """Return milliseconds of wall and of CPU of one look at the processes in the foreground of ``pid``'s terminal."""
    group = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[5])
    wall, burnt = [], []
    for _ in range(rounds):
        began, before = time.perf_counter(), time.thread_time()
        foreground(group, terminal, None)
        burnt.append(1000 * (time.thread_time() - before))
        wall.append(1000 * (time.perf_counter() - began))
    return statistics.median(wall), statistics.median(burnt)


async def opened(host: Client, name: str, argv: list[str], home: Path) -> Session:
    return await host.open(name, argv=argv, env={"PATH": os.environ["PATH"], "HOME": str(home), "PS1": "$ "}, cwd="/")


async def running(session: Session, count: int) -> list[float]:
    """Return the milliseconds each of ``count`` runs of `true` took, to its result."""
    took = []
    await session.run("true", patience=30)
    for _ in range(count):
        began = clock()
        await session.run("true")
        took.append(1000 * (clock() - began))
    return took


def typing(home: Path, count: int) -> list[float]:
    """Return the milliseconds from Enter to the next line of a bare bash on a PTY of ours: what a shell takes by itself."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PS1": "READY", "INPUTRC": "/dev/null"}
    terminal = Terminal(["bash", "--norc", "-i"], env)
    took = []
    try:
        pump([terminal], b"READY", 20)
        for number in range(count):
            mark = b"n%d!\r\n" % number
            began = clock()
            terminal.write(b"echo n%d\\!\r" % number)
            pump([terminal], mark, 20)
            took.append(1000 * (clock() - began))
    finally:
        terminal.close()
    return took


async def noticing(session: Session, count: int) -> list[float]:
    """Return the milliseconds from a question on the screen to the answer of a wait for wanted input."""
    took = []
    for _ in range(count):
        running = await session.start("read -p 'Proceed? ' x")
        begun = clock()
        got = await session.wait_for(until.input("line"), timeout=30)
        took.append(1000 * (clock() - begun))
        assert got.because == "input", got
        await session.send("y\r")
        await running.wait(30)
    return took


def idle(pid: int, seconds: float) -> float:
    before, began = cpu([pid]), clock()
    time.sleep(seconds)
    return 100 * (cpu([pid]) - before) / (clock() - began)


def main() -> None:
    args = arguments(__doc__ or "", sessions=100)
    count = 10 if args.quick else args.sessions
    rounds = 10 if args.quick else RUNS
    print(f"waiting: {machine()}")
    kept: dict[str, float] = {}
    with contenders(Hold) as ring:
        for hold in ring:
            hold.start("first", ["sleep", "100000"])

            async def measured(hold: Hold = hold) -> dict[str, float]:
                found: dict[str, float] = {}
                async with connect(str(Path(hold.env["HOLDFAST_RUNTIME_DIR"]) / "host.sock"), start=False) as host:
                    shell = await opened(host, "shell", ["bash", "-i"], hold.home)
                    took = await running(shell, rounds)
                    found["run_p50_ms"], found["run_p90_ms"] = statistics.median(took), percentile(took, 0.9)
                    found["noticed_ms"] = statistics.median(await noticing(shell, max(3, rounds // 10)))
                    info = await shell.info()
                    number = int(os.readlink(f"/proc/{info.root_pid}/fd/0").rpartition("/")[2])
                    found["look_ms"], found["look_cpu_ms"] = looks(info.root_pid, number, 200)
                    for each in range(count):
                        await opened(
                            host, f"idle{each}", ["bash", "-i"] if each % 2 else ["sleep", "100000"], hold.home
                        )
                return found

            found = asyncio.run(measured())
            bare = statistics.median(typing(hold.home, rounds))
            print(f"  one look: {found['look_ms']:.2f} ms, of which CPU {found['look_cpu_ms']:.2f} ms")
            print(f"  a wanted line is told {found['noticed_ms']:.0f} ms after the question")
            print(
                f"  run `true`: p50 {found['run_p50_ms']:.1f} ms, p90 {found['run_p90_ms']:.1f} ms; "
                f"bare bash typed to: p50 {bare:.1f} ms"
            )
            time.sleep(2 if args.quick else SETTLE_S)
            used = idle(hold.status()["pid"], 5 if args.quick else IDLE_S)
            print(f"  host with {count} idle sessions: {used:.2f} % of a core")
            kept = {**found, "bare_p50_ms": bare, "host_idle_percent": used}
    keep(args.json, kept)


if __name__ == "__main__":
    main()
