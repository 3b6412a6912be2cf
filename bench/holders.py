"""Holders: what idle sessions cost. Memory of each holder (PSS: shared pages divided among those who share them), of
host, keeper and view workers, and the CPU all of them together use while nothing happens."""

import re
import statistics
import time
from pathlib import Path

from common import Hold, Tmux, arguments, clock, contenders, cpu, keep, machine, percentile

QUIET_S = 10.0


def pss(pid: int) -> float:
    """Return the proportional set size of ``pid`` in KiB."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def idle(pids: list[int]) -> float:
    """Return the share of one core, in percent, that ``pids`` use over ``QUIET_S`` seconds of nothing."""
    before, began = cpu(pids), clock()
    time.sleep(QUIET_S)
    return 100 * (cpu(pids) - before) / (clock() - began)


def main() -> None:
    args = arguments(__doc__ or "", sessions=500)
    count = 20 if args.quick else args.sessions
    print(f"holders: {count} idle sessions, {machine()}")
    kept: dict[str, float] = {}
    with contenders(Tmux, Hold) as ring:
        for contender in ring:
            took = []
            for number in range(count):
                began = clock()
                contender.start(f"idle{number}", ["sleep", "100000"])
                took.append(1000 * (clock() - began))
            time.sleep(3)  # what follows creation (first archive, first keyframe) is not idling
            servers = contender.servers()
            print(
                f"{contender.name}: created in {statistics.median(took):.1f} ms each (p99 {percentile(took, 0.99):.1f})"
            )
            if isinstance(contender, Hold):
                status = contender.status()
                holders = [session["holder_pid"] for session in contender.sessions()]
                each = [pss(pid) for pid in holders]
                middle = statistics.median(each)
                print(f"  PSS of a holder: median {middle:.0f} KiB, largest {max(each):.0f}, n={len(each)}")
                rest = {"host": [status["pid"]], "keeper": [status["keeper_pid"]], "views": list(status["view_pids"])}
                for what, pids in rest.items():
                    print(f"  PSS of {what}: {sum(map(pss, pids)):.0f} KiB in {len(pids)} process(es)")
                kept["holder_pss_kib"] = middle
                used = idle([status["pid"]])
                print(f"  host alone, idle: {used:.2f} % of a core")
                kept["host_idle_percent"] = used
            else:
                print(f"  PSS of the server: {sum(map(pss, servers)):.0f} KiB")
            kept[f"{contender.name}_idle_percent"] = used = idle(servers)
            print(f"  all {len(servers)} processes, idle: {used:.2f} % of a core")
    keep(args.json, kept)


if __name__ == "__main__":
    main()
