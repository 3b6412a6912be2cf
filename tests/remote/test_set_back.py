"""A host restored from an older copy is noticed over a relay, also by a client that never saw the newer record (I8)."""

import asyncio
import json
import shutil
import time

import pytest

import holdfast as hf
from holdfast.client.meeting import Meeting
from holdfast.core import witness
from tests.remote.places import World, story


async def witnessed(world: World) -> list[tuple[int, bytes]]:
    """What the relay keeps of the host, asked by a member of its tenant."""
    with world.away.chosen():
        meeting = Meeting(world.away.profile)
        try:
            return await meeting.witnessed(await meeting.find("box"))
        finally:
            await meeting.close()


def kept(world: World, session: str, position: int) -> tuple[int, bytes]:
    """The blob at the relay once it holds a checkpoint at ``position`` or later."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for number, blob in story(witnessed(world)):
            found = witness.opened(blob, number, session)
            if found is not None and found.position >= position:
                return number, blob
        time.sleep(0.2)  # the host publishes on its slow clock, which tells nobody
    raise AssertionError("the relay never saw it")


async def attached(world: World) -> None:
    """Follow the session from elsewhere until something is said of its record, for a while."""
    async with world.away.connect() as client, await client.attach("a") as session:
        async with asyncio.timeout(50):
            async for _ in session.events():
                pass


@pytest.mark.timeout(900)
def test_a_client_that_never_saw_the_later_record_is_told_by_a_relay() -> None:
    """Promise J7, I8: and the host itself says so, until its user accepts it."""
    with World(link=False) as world:
        (world.folder / "host.toml").write_text("witness_s = 0.1\n")
        world.link(world.relay.url)
        world.away = world.machine(world.relay.url)
        world.run_in("a", "cat")
        session = json.loads(world.hold("ls", "--json").stdout)[0]["id"]
        world.hold("host", "down")
        older = world.folder / "older"
        shutil.copytree(world.folder / "s" / "sessions", older)
        world.hold("host", "up")
        world.hold("send", "a", "--enter", "typed later")
        done = world.hold("log", "a", "--export", str(world.folder / "a.evidence"))  # which has the host sign
        assert done.returncode == 0, done.stderr
        number, blob = kept(world, session, 5)
        assert session.encode() not in blob and len(blob) == witness.BLOCK * witness.ENTRY_BYTES
        world.hold("host", "down")
        shutil.rmtree(world.folder / "s" / "sessions")
        shutil.copytree(older, world.folder / "s" / "sessions")
        (world.folder / "s" / "witness").unlink()
        world.hold("host", "up")
        with pytest.raises(hf.JournalRolledBack, match="a relay has seen"):
            story(attached(world))
        until = time.monotonic() + 30
        while "restored from an older copy" not in world.hold("host", "status").stdout and time.monotonic() < until:
            time.sleep(0.2)
        assert "hold host accept-rollback" in world.hold("host", "status").stdout
        assert story(witnessed(world)) == [(number, blob)], "the relay went back"
        accepted = world.hold("host", "accept-rollback")
        assert accepted.returncode == 0, accepted.stderr
        assert "restored from an older copy" not in world.hold("host", "status").stdout
