"""The process that waits for the next session, and the nursery it comes from: a convenience that may die at any time."""

import asyncio
import os
import re
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.core.errors import HoldError
from tests.holder.conftest import Story
from tests.holder.rig import WAIT_S, Rig, end, everything, gone, ours, output, replaced

Play = Callable[[Story], None]


async def ahead(made: Rig) -> dict[str, int]:
    """Wait until there is a nursery and a seat, and return their pids."""
    async with asyncio.timeout(WAIT_S):
        while True:
            found = {kind: pid for pid, kind in ours(made.folder).items() if kind in ("nursery", "seat")}
            if len(found) == 2:
                return found
            await made.keeper.kept()


async def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        await gone(pid)


def test_who_holds_a_session_was_there_before_it(play: Play) -> None:
    async def story(made: Rig) -> None:
        for _ in range(3):
            seat = (await ahead(made))["seat"]
            assert (await made.spawn("sleep", "1000")).holder_pid == seat

    play(story)


def test_who_succeeds_a_dead_holder_was_there_before_its_death(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await made.start("sh", "-c", "echo before; cat")
        said = await output(holder, b"before\r\n")
        seat = (await ahead(made))["seat"]
        holder = await replaced(made, holder)
        assert holder.hello.holder_pid == seat
        assert everything(holder) == said

    play(story)


@pytest.mark.parametrize("killed", [("seat",), ("nursery",), ("nursery", "seat")], ids=" and ".join)
def test_a_session_starts_though_that_was_killed(play: Play, killed: tuple[str, ...]) -> None:
    async def story(made: Rig) -> None:
        for _ in range(3):
            waiting = await ahead(made)
            await kill(*(waiting[kind] for kind in killed))
            holder = await made.start("sh", "-c", "exit 3")
            assert await end(holder) == 3 << 8

    play(story)


def test_a_nursery_that_hangs_holds_up_nobody_for_long(play: Play) -> None:
    async def story(made: Rig) -> None:
        os.kill((await ahead(made))["nursery"], signal.SIGSTOP)
        async with asyncio.timeout(WAIT_S):
            started = [await made.spawn("sleep", "1000") for _ in range(4)]
        assert len({one.holder_pid for one in started}) == 4

    play(story)


def test_nursery_and_seat_end_with_their_keeper(play: Play) -> None:
    async def story(made: Rig) -> None:
        waiting = await ahead(made)
        await kill(made.keeper.pid)
        for pid in waiting.values():
            await gone(pid)

    play(story)


def test_nursery_and_seat_hold_nothing_of_any_session(play: Play) -> None:
    """A copy of a terminal there would keep it from hanging up."""

    async def story(made: Rig) -> None:
        await made.spawn("sleep", "1000")
        await ahead(made)
        await made.spawn("sleep", "1000")
        for pid in (await ahead(made)).values():
            left = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if int(entry.name) > 2}
            assert [name for name in left if not name.startswith("socket:")] == []
            assert len(left) == 1

    play(story)


def test_a_keeper_short_of_descriptors_refuses_and_goes_on(play: Play) -> None:
    """Wherever in the course of a start it runs out of them, none is lost."""

    async def story(made: Rig) -> None:
        pid, outcomes = made.keeper.pid, set()
        whole = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        await ahead(made)
        for room in range(14):
            used = len(os.listdir(f"/proc/{pid}/fd"))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + room, whole[1]))
            try:
                await made.spawn("sleep", "1000")
            except HoldError:
                outcomes.add("refused")
                assert len(os.listdir(f"/proc/{pid}/fd")) <= used
            else:
                outcomes.add("started")
            resource.prlimit(pid, resource.RLIMIT_NOFILE, whole)
            await ahead(made)
        assert outcomes == {"refused", "started"}
        assert not made.keeper.lost.is_set()

    play(story)


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="measured with this version; others lay memory out otherwise"
)
def test_an_idle_holder_has_little_memory_of_its_own(play: Play) -> None:
    """1.0 MiB; 0.2 more if the keeper forks it itself, 0.15 more if it was not rehearsed."""

    async def story(made: Rig) -> None:
        for _ in range(2):
            await ahead(made)
            holder = await made.start("sleep", "1000")
        rollup = Path(f"/proc/{holder.hello.holder_pid}/smaps_rollup").read_text()
        assert sum(map(int, re.findall(r"^Private_\w+:\s+(\d+) kB", rollup, re.MULTILINE))) < 1200

    play(story)
