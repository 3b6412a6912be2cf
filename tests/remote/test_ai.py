"""An AI operator reaches a host elsewhere as itself: by its own key, through the relay, with its own rights and record."""

import asyncio

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


@pytest.mark.timeout(200)
def test_a_person_takes_from_an_ai_that_floods_from_elsewhere(world: World) -> None:
    """R61, I10, through a relay: behind the take no byte of the AI's reaches the program, and the record says the same."""

    async def tale() -> None:
        ai.ready("flood", path=world.socket)
        async with hf.connect("@box", operator="flood") as client, hf.connect(world.socket, start=False) as person:
            session = await client.open("flooded", argv=["sh", "-c", "stty raw -echo; echo ready; exec cat"], cwd="/")
            await session.wait_for(until.match("ready"), timeout=30, since=0)
            here = await person.attach("flooded")

            async def flood() -> int:
                for number in range(100_000):
                    try:
                        await session.send(f"ai-{number}\n")
                    except hf.OutOfTurn:
                        return number
                return -1

            flooding = [asyncio.create_task(flood()) for _ in range(8)]  # so that some are always on the way
            await here.wait_for(until.match("ai-20"), timeout=60, since=0)
            await here.take("enough")
            await here.send("mine\n")
            reached = await asyncio.gather(*flooding)
            assert all(each >= 0 for each in reached), "it was never refused"
            await here.send("the end\n")
            await here.wait_for(until.match("the end"), timeout=30, since=0)
            put_out = b""
            async for piece in here.output():
                put_out += getattr(piece, "data", b"")
                if b"the end" in put_out:
                    break
            assert b"ai-" not in put_out[put_out.index(b"mine") :]
            records, after, taken = [], 0, 0
            while found := (await here._ask(wire.ReadJournal(here._ref(), here.id, after, 1000), wire.Records)).records:
                records += map(decoded, found)
                after = records[-1].position + 1
            for each in records:
                if each.kind == "control" and each.body.get("act") == "take":
                    taken = each.position
                elif each.kind == "input" and taken:
                    assert b"ai-" not in each.body["data"], f"record {each.position} is behind the take, {taken}"
            assert taken
            await here.kill(grace=0)

    with world.chosen():
        story(tale(), within_s=150)
