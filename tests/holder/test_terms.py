"""Control changes hands at the holder: older terms type nothing, and what nobody has read is thrown away (I10)."""

import asyncio
import os
from collections.abc import Callable

import pytest

from holdfast.core.errors import Refused
from holdfast.holder import linux
from holdfast.holder import protocol as p
from holdfast.host.holders import Holder
from tests.holder.conftest import Story
from tests.holder.rig import WAIT_S, Raw, Rig, everything, output, replaced, until

Play = Callable[[Story], None]
HELD = "read x < pipe; exec cat"  # does not read the terminal until told


async def sleeper(made: Rig, stty: str) -> Holder:
    os.mkfifo(made.folder / "pipe")
    holder = await made.start("sh", "-c", f"stty {stty} -echo; echo ready; {HELD}")
    await output(holder, b"ready")
    return holder


async def readable(holder: Holder, count: int) -> None:
    """Return once ``count`` bytes wait for a program: the kernel takes typed ones to it in its own time."""
    slave = os.open(f"/dev/pts/{holder.hello.terminal}", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        async with asyncio.timeout(WAIT_S):
            while linux.unread(slave) < count:  # nothing tells when that rises
                await asyncio.sleep(0.001)
    finally:
        os.close(slave)


@pytest.mark.parametrize(
    ("stty", "line"), [("raw", b"x" * 3000), ("cooked", b"ls of the ai\n"), ("cooked", b"half a line")]
)
def test_what_no_program_has_read_is_thrown_away_and_counted(play: Play, stty: str, line: bytes) -> None:
    async def story(made: Rig) -> None:
        holder = await sleeper(made, stty)
        start = holder.ring.head
        assert (await holder.write(1, line, term=2)).outcome == "applied"
        whole = stty == "raw" or line.endswith(b"\n")
        await readable(holder, len(line) if whole else 0)
        fence = await holder.fence(3, flush=True)
        assert fence.flushed == (len(line) if whole else 0)  # the kernel does not count half a line
        assert fence.canonical == (stty == "cooked")
        with pytest.raises(Refused, match="control has changed hands"):
            await holder.write(2, b"late", term=2)
        await holder.write(3, b"mine\n", term=3)
        (made.folder / "pipe").write_text("\n")
        await until(holder, lambda: b"mine" in everything(holder, start))
        assert everything(holder, start).strip() == b"mine"

    play(story)


def test_a_full_terminal_is_emptied_also_of_what_the_line_editor_had_no_room_for(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await sleeper(made, "raw")
        start = holder.ring.head
        typing = asyncio.create_task(holder.write(1, b"A" * 200_000, term=2))
        await until(holder, lambda: holder.ring.input_written >= 8192)
        holder.stop_writing()
        fence = await holder.fence(3, flush=True)
        written = await typing
        assert written.outcome == "partial" and 4000 <= fence.flushed <= written.written
        await holder.write(2, b"mine\n", term=3)
        (made.folder / "pipe").write_text("\n")
        await until(holder, lambda: b"mine" in everything(holder, start))
        assert everything(holder, start) == b"mine\n"

    play(story)


def test_asked_again_it_throws_nothing_away_that_came_meanwhile(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await sleeper(made, "raw")
        start = holder.ring.head
        await holder.fence(3, flush=True)
        await holder.write(1, b"a person's\n", term=3)
        assert (await holder.fence(3, flush=True)).flushed == 0
        with pytest.raises(Refused, match="control has changed hands"):
            await holder.fence(2, flush=True)
        (made.folder / "pipe").write_text("\n")
        await until(holder, lambda: b"person" in everything(holder, start))

    play(story)


def test_a_term_outlives_the_holder(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await sleeper(made, "raw")
        await holder.fence(7, flush=False)
        holder = await replaced(made, holder)
        assert holder.hello.term == 7
        with pytest.raises(Refused, match="control has changed hands"):
            await holder.write(1, b"late", term=6)

    play(story)


def test_what_is_recorded_of_an_input_is_told_in_any_term(play: Play) -> None:
    """A host that asks what became of an input learns it, whoever has control by then; asking types nothing."""

    async def story(made: Rig) -> None:
        holder = await sleeper(made, "raw")
        first = await holder.write(1, b"abc", term=2)
        await holder.fence(5, flush=False)
        assert await holder.write(1, b"abc", term=2) == first

    play(story)


def test_a_holder_of_before_is_not_asked_and_that_is_said(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await sleeper(made, "raw")
        holder.hello = holder.hello._replace(features=holder.hello.features & ~p.F_TERMS)
        assert (await holder.fence(5, flush=True)).flushed == -1
        assert holder.hello.term == 0

    play(story)


def test_only_the_host_of_the_session_changes_the_term(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await sleeper(made, "raw")
        raw = await asyncio.to_thread(Raw, holder.path)
        try:
            await asyncio.to_thread(raw.ask, p.HELLO, {"version": 1, "features": 0, "role": "viewer", "generation": 0})
            kind, said = await asyncio.to_thread(raw.ask, p.TERM, {"term": 9, "flush": 1})
            assert (kind, said["code"]) == (p.REFUSED, "not-host")
        finally:
            raw.close()

    play(story)
