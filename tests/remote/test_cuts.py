"""A network that is cut at any instant, on either side of the relay (R27)."""

import asyncio
import random
import time

from tests.remote.conftest import Report
from tests.remote.following import Followed
from tests.remote.paths import path
from tests.remote.places import World, story
from tests.remote.programs import Counter

NOISE_S = 0.35  # that a program may stand still on a machine that others use


def test_cuts_at_random_cost_no_byte_no_key_and_no_time_of_the_program(
    own_world: World, soak: bool, report: Report
) -> None:
    """R27, I2, I4, I5: 200 cuts in 10 minutes under --soak, else 15 in a few seconds; also short outages."""
    world, counter = own_world, Counter(own_world.folder / "counter", width=400)
    cuts, within_s = (200, 600.0) if soak else (15, 6.0)
    chance, last = random.Random(27), list[bytes]()

    async def tell(away, client_side, host_side) -> Followed:  # type: ignore[no-untyped-def]
        mine = Followed()
        async with away.connect() as client:
            session = await client.attach("job")
            async with mine.following(session):
                typing = asyncio.create_task(mine.type(session, 0.02 if not soak else 0.5))
                for number in range(cuts):
                    await asyncio.sleep(chance.uniform(0, 2 * within_s / cuts))
                    side = chance.choice((client_side, host_side))
                    if number % 5 == 4:  # out for a moment, so that dialling fails, too
                        side.down()
                        await asyncio.sleep(chance.uniform(0, 0.3))
                        side.again()
                    else:
                        side.cut()
                typing.cancel()
                await asyncio.gather(typing, return_exceptions=True)
                seen = len(mine.stream)
                began = time.monotonic()
                while not mine.applied or not mine.applied[-1].startswith(
                    b"k99999"
                ):  # the first may meet the last cut: unknown
                    last.append(b"k99999%d" % len(last))
                    await mine.say(session, last[-1])
                await mine.saw(b"<%s>" % last[-1], after=seen)
                report(f"typing again {time.monotonic() - began:.2f} s after the last cut")
        return mine

    with path(world.relay.port) as host_side, path(world.relay.port) as client_side:
        world.link(host_side.url)
        away = world.machine(client_side.url)
        world.count("job", counter)
        found = story(tell(away, client_side, host_side), within_s + 60)
        made = (host_side.cuts, client_side.cuts)
    # The last line that was being typed when the test stopped asking may have arrived; nobody was told.
    typed = counter.typed
    found.unknown.append(typed[: typed.find(b"k99999")].rstrip(b"\r").rpartition(b"\r")[2])
    found.is_right(world.output("job"), typed)
    pace = counter.fresh()
    report(
        f"{cuts} cuts ({made[0]} connections of the host, {made[1]} of the client): {len(found.stream)} bytes contiguous, "
        f"{len(found.applied)} lines typed once, {len(found.unknown) - 1} unknown; program {pace.per_s:.1f} counts/s, "
        f"longest pause {pace.worst * 1000:.0f} ms"
    )
    assert sum(made) >= cuts // 2
    assert pace.worst < NOISE_S


def test_a_terminal_lives_through_cuts_and_types_every_key_once(own_world: World, soak: bool) -> None:
    """R27 at the terminal: the keys of a person, through cuts of both sides."""
    world = own_world
    chance = random.Random(29)
    rounds = 61 if soak else 8  # the last is not one of those that are waited for in the loop
    with path(world.relay.port) as host_side, path(world.relay.port) as client_side:
        world.link(host_side.url)
        away = world.machine(client_side.url)
        world.new("job", "stty raw -echo; echo ready; exec cat -v")
        with away.attach("job@box") as screen:
            screen.expect(rb"ready")
            for number in range(rounds):
                screen.type(b"<%d" % number)
                chance.choice((client_side, host_side)).cut()
                screen.type(b">")
                if number % 3 == 2:
                    screen.expect(rb"<%d>" % number, timeout=30)
            screen.expect(rb"<%d>" % (rounds - 1), timeout=30)
            screen.type(b"\x1cd")
            assert screen.wait() == 120
        expected = b"".join(b"<%d>" % number for number in range(rounds))
        assert world.output("job").split() == [b"ready", expected]


def test_a_path_that_falls_silent_is_left_for_another(own_world: World, report: Report) -> None:
    """R27, R41: no reset, no end, just nothing (a NAT that forgot, a network that was left): the age of the proof tells."""
    world = own_world
    with path(world.relay.port) as client_side:
        away = world.machine(client_side.url)
        world.new("job", "stty raw -echo; echo ready; exec cat -v")
        with away.attach("job@box") as screen:
            screen.expect(rb"ready")
            client_side.hush()
            began = time.monotonic()
            screen.type(b"<into the dark>")
            screen.expect(rb"no sign of the host", timeout=15)
            told = time.monotonic() - began
            screen.expect(rb"<into the dark>", timeout=40)
            back = time.monotonic() - began
            screen.type(b"\x1cd")
            screen.wait()
        assert world.output("job").split() == [b"ready", b"<into", b"the", b"dark>"]
    report(f"silence was told after {told:.1f} s; typing again after {back:.1f} s")
    assert told < 5
    assert back < 20


def test_a_host_whose_path_falls_silent_comes_back(own_world: World, soak: bool, report: Report) -> None:
    """The same on the host's side, whose connection is every client's."""
    world = own_world
    if not soak:
        return  # the host notices by its pings alone, which takes most of a minute
    with path(world.relay.port) as host_side:
        world.link(host_side.url)
        world.new("job", "stty raw -echo; echo ready; exec cat -v")
        with world.away.attach("job@box") as screen:
            screen.expect(rb"ready")
            host_side.hush()
            began = time.monotonic()
            screen.type(b"<dark>")
            screen.expect(rb"<dark>", timeout=80)
            report(f"typing again after {time.monotonic() - began:.1f} s")
