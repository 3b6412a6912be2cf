"""How soon is a person's takeover acknowledged while an AI floods the session with commands? (R61: p99 <= 50 ms)

Beside it, in the same run: how soon a key of the person is acknowledged while nothing else goes on, and whether any byte of
the AI's was read by the program after the acknowledgement (there must be none).
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.faults.takeovers import MODES, Duel
from tests.host.operators import house, people

from common import machine, percentile


async def quiet(duel: Duel, keys: int) -> list[float]:
    """Seconds until each of ``keys`` takes is acknowledged while nobody else does anything."""
    found = []
    for _ in range(keys):
        began = time.monotonic()
        await duel.session.take()
        found.append(time.monotonic() - began)
        await duel.session.release()
    return found


async def measure(host: object, mode: str, rounds: int) -> tuple[list[float], list[float], int]:
    async with people(host) as (person,), Duel(host, person, mode, seed=7) as duel:  # type: ignore[arg-type]
        taken = [await duel.round() for _ in range(rounds)]
        await duel.stop_ai()
        idle = await quiet(duel, 100)
        return [each.took_s for each in taken], idle, sum(len(each.late) for each in taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, to see that it works")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    rounds = 5 if args.quick else args.rounds
    print(f"takeover: {rounds} from a flooding AI in each way of reading, {machine()}")
    kept: dict[str, list[float]] = {}
    for mode in MODES:
        with house() as host:
            took, idle, late = asyncio.run(measure(host, mode, rounds))
        kept[mode] = took
        marks = "  ".join(
            f"{p} {1000 * percentile(took, s):7.1f} ms" for p, s in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
        )
        print(f"  {mode:16} {marks}   without a flood p50 {1000 * percentile(idle, 0.5):5.1f} p99 "
              f"{1000 * percentile(idle, 0.99):5.1f} ms   AI bytes read afterwards: {late}")  # fmt: skip
        sys.stdout.flush()
    if args.json:
        Path(args.json).write_text(json.dumps(kept))


if __name__ == "__main__":
    main()
