"""At a terminal: who has control is shown, typing takes it from an AI, and keys behind the prefix change it (R59, R60)."""

import asyncio
from collections.abc import Iterator

import pytest

import holdfast as hf
from holdfast.client.prefix import GIVE, PAUSE, TAKE
from holdfast.client.typist import banner, short
from holdfast.testing import HOLD, TemporaryHost
from tests.faces.screen import Screen
from tests.host.operators import house, people
from tests.remote.places import story

CAT = ("sh", "-c", "stty -echo; echo ready; cat")


@pytest.fixture(scope="module")
def host() -> Iterator[TemporaryHost]:
    with house() as made:
        yield made


async def seen(screen: Screen, pattern: bytes) -> bytes:
    return (await asyncio.to_thread(screen.expect, pattern, 60)).group()


def test_a_person_at_a_terminal_sees_an_ai_takes_over_by_typing_and_gives_back(host: TemporaryHost) -> None:
    async def told() -> None:
        async with people(host, "ai") as (person, ai):
            await person.open("sits", argv=CAT, cwd="/")
            with Screen([*HOLD, "attach", "sits"], host.env) as screen:
                await seen(screen, rb"ready")
                theirs = await ai.attach("sits")
                async with theirs:
                    await theirs.send("the ai works\r")
                    await seen(screen, rb"AI [^|]*for [^|]* has control \| type, or Ctrl-\\ t, to take it")
                    screen.type(b"mine\r")
                    await seen(screen, rb"mine")
                    with pytest.raises(hf.NotYourTurn):
                        await theirs.send("not now\r")
                    screen.type(b"\x1cg")
                    await seen(screen, rb"AI [^;]*has control")
                    await theirs.text()
                    await theirs.send("thank you\r")
                    await seen(screen, rb"thank you")
                    screen.type(b"\x1cp")
                    await seen(screen, rb"AI operators are kept out \(paused\)")
                    with pytest.raises(hf.Paused):
                        await theirs.send("still?\r")
                    screen.type(b"\x1cp")
                    await seen(screen, rb"nobody has control")
                    await theirs.request("may I go on?")
                    await seen(screen, rb"asks for control: may I go on\? \| Ctrl-\\ g gives it")
                    screen.type(b"\x1ct")
                    await seen(screen, rb"you have control")
                    screen.type(b"\x1cd")
                    assert await asyncio.to_thread(screen.wait) == 120
                assert "not now" not in str(await theirs.text())

    story(told(), within_s=300)


def test_hold_who_names_everybody_and_the_commands_change_control(host: TemporaryHost) -> None:
    async def told() -> None:
        async with people(host, "ai") as (person, ai):
            await person.open("names", argv=CAT, cwd="/")
            theirs = await ai.attach("names")
            async with theirs:
                await theirs.send("x\r")
                for command, said in (
                    (("who", "names"), "names: ai (ai for you) has control"), (("take", "names"), "(human) has control"),
                    (("give", "names", "ai"), "names: ai (ai for you) has control"),
                    (("pause-ai", "names"), "paused AI operators"), (("resume-ai", "names"), "nobody has control"),
                    (("private", "names"), "only people see it"), (("public", "names"), "nobody has control"),
                    (("release", "names"), "nobody has control"),
                ):  # fmt: skip
                    done = await asyncio.to_thread(host.hold, *command)
                    assert done.returncode == 0 and said in done.stdout, (command, done)
                done = await asyncio.to_thread(host.hold, "give", "names", "nobody-here")
                assert done.returncode == 122 and "name one of them" in done.stderr

    story(told(), within_s=300)


@pytest.mark.parametrize(("key", "act"), [(b"t", TAKE), (b"g", GIVE), (b"p", PAUSE), (b"\x1b[116u", TAKE)])
def test_keys_behind_the_prefix(key: bytes, act: str) -> None:
    from holdfast.client.prefix import Prefix

    prefix = Prefix(0x1C)
    assert [*prefix.feed(b"a\x1c", 0), *prefix.feed(key + b"b", 0)] == [b"a", act, b"b"]


def test_banners_say_who_did_what_to_whom() -> None:
    event = {"act": "take", "by": "local:bob", "by_kind": "human", "holder": "local:bob", "kind": "human", "former": "o-ai",
             "former_kind": "ai", "why": "typed"}  # fmt: skip
    assert banner(event, "local:alice") == "bob took control"
    assert banner(event, "local:bob") == ""
    assert banner(event | {"why": "lunch"}, "local:alice") == "bob took control: lunch"
    assert banner({"act": "release", "by": "o-ai", "former_kind": "ai"}, "local:alice") == ""
    assert banner({"act": "cut", "by": ""}, "local:alice") == ""
    assert short("o-abcdefghijkl", "ai", "local:me", "local:me") == "AI o-abcdefgh for you"
