"""An AI operator reaches a host elsewhere as itself: by its own key, through the relay, with its own rights and record."""

import pytest

import holdfast as hf
from holdfast import until
from holdfast.client import ai
from holdfast.core.journal import decoded
from holdfast.wire import messages as wire
from tests.remote.places import World, story


@pytest.mark.timeout(200)
def test_an_ai_operator_is_the_same_one_at_a_host_elsewhere(world: World) -> None:
    """Promise M1: it is not the person through whose relay it comes."""

    async def tale() -> None:
        made = ai.ready("far", path=world.socket)
        async with hf.connect("@box", operator="far") as client, hf.connect(world.socket, start=False) as person:
            session = await client.open("its", argv=["sh", "-c", "echo ready; exec cat"], cwd="/")
            await session.wait_for(until.match("ready"), timeout=30, since=0)
            assert (await session.send("typed far away\r")).outcome == "applied"
            with pytest.raises(hf.Refused):
                await session.rename("mine")
            here = await person.attach("its")
            records = (await here._ask(wire.ReadJournal(here._ref(), here.id), wire.Records)).records
            inputs = [each for each in map(decoded, records) if each.kind == "input"]
            assert [each.operator for each in inputs] == [made.id]
            assert all(each.signature for each in inputs)
            await here.take("mine now")
            with pytest.raises(hf.OutOfTurn):
                await session.send("no more\r")
            await here.kill(grace=0)

    with world.chosen():
        story(tale(), within_s=150)
