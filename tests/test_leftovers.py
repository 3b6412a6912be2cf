"""Tests leave nothing behind: what a private machine made is gone when it is."""

import asyncio

from holdfast.host.cgroups import Groups
from holdfast.wire import messages as wire
from tests.host.talk import machine, talk


def test_a_host_that_stops_with_nothing_to_keep_removes_its_control_groups() -> None:
    async def story() -> None:
        async with talk(one) as line:
            session = await line.open("cat")
            await line.ask(wire.Kill, session=session.id, grace_s=0.2)
            await line.ask(wire.HostStop)

    with machine() as one:
        groups = Groups.find(str(one.state))
        made = groups.make("s-" + "a" * 26)
        parents = [path.parent for path in made.paths] if made is not None else []
        groups.remove("s-" + "a" * 26)
        one.up()
        asyncio.run(story())
        assert one.daemon is not None
        one.daemon.wait(10)
        assert not [parent for parent in parents if parent.exists()]


def test_a_killed_machine_is_cleared() -> None:
    async def story() -> None:
        async with talk(one) as line:
            await line.open("sleep", "600")

    with machine() as one:
        one.up()
        asyncio.run(story())
        one.kill()
        assert one.members()
    assert not one.members()
    assert not one.folder.exists()
    mine = Groups.find(str(one.state))
    assert mine.sessions() == []
