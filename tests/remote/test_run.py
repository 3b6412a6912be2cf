"""Commands run from another machine, through a network that is cut: each once, signed, and with its own output (I5, I7)."""

import asyncio
import random

from holdfast.core import errors
from tests.remote.conftest import Report
from tests.remote.paths import path
from tests.remote.places import World, story


def test_cuts_run_nothing_twice_and_each_key_is_answered_with_its_command(
    own_world: World, soak: bool, report: Report
) -> None:
    """Promise U3."""
    world, rounds = own_world, 60 if soak else 10
    chance, log = random.Random(41), own_world.folder / "log"

    async def tell(away, client_side, host_side) -> dict[int, str]:  # type: ignore[no-untyped-def]
        told: dict[int, str] = {}
        async with away.connect() as client:
            session = await client.attach("job")
            await session.run("true", patience=60)
            for number in range(rounds):
                line, key = f"echo {number} >> {log}; echo said {number}", f"k{number}"
                running = asyncio.ensure_future(session.run(line, key=key, patience=60, timeout=60))
                await asyncio.sleep(chance.uniform(0, 0.15))
                chance.choice((client_side, host_side)).cut()
                try:
                    done = await running
                except (errors.OutcomeUnknown, errors.InputUnknown, errors.HostUnreachable):
                    done = await session.run(line, key=key, patience=60, timeout=60)
                assert (done.output.text, done.exit_code) == (f"said {number}\n", 0)
                told[number] = done.author
        return told

    with path(world.relay.port) as host_side, path(world.relay.port) as client_side:
        world.link(host_side.url)
        away = world.machine(client_side.url)
        world.run_in("job", "bash", "-i")
        told = story(tell(away, client_side, host_side), 60 + 20 * rounds)
        cuts = host_side.cuts + client_side.cuts
    assert [int(line) for line in log.read_text().split()] == list(range(rounds))
    assert len(set(told.values())) == 1 and not next(iter(told.values())).startswith("local:")
    report(f"{rounds} commands through {cuts} cut connections, each run once")


def test_what_is_run_from_elsewhere_is_in_the_record_with_its_operators_signature(world: World) -> None:
    world.run_in("signed", "bash", "-i")
    done = world.away.hold("run", "signed@box", "--patience", "60s", "--", "echo from afar", timeout=120)
    assert (done.returncode, done.stdout) == (0, "from afar\n"), done.stderr
    export = world.folder / "signed.record"
    assert world.hold("log", "signed", "--export", str(export)).returncode == 0
    checked = world.hold("verify", str(export))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    waited = world.away.hold("wait", "signed@box", "--input", "--for", "60s", timeout=120)
    assert waited.returncode == 0
    assert "wants a command" in waited.stderr
