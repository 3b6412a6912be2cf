"""Pairing without a browser: the number, who may be let in by it, and one joiner at a time."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.core.errors import Refused
from holdfast.core.signed import KeyPair
from holdfast.host.pairing import Pairings
from holdfast.wire.joining import Issue, NotInvited
from holdfast.wire.pairing import DIGITS, number
from tests.faces.realhost import HOLD
from tests.remote.places import World
from tests.web.desk import Pairing

DIGEST, KEY, OTHER = bytes(32), KeyPair(bytes(32)).key, KeyPair(b"1" * 32).key
ASK = Issue(DIGEST, KEY, b"", "phone")


def test_a_number_is_of_this_channel_and_this_key() -> None:
    found = {number(os.urandom(32), key) for key in (KEY, OTHER) for _ in range(50)}
    assert len(found) > 90 and all(len(each) == DIGITS and each.isdecimal() for each in found)
    assert number(DIGEST, KEY) == number(DIGEST, KEY) != number(DIGEST, OTHER)


def test_a_joiner_waits_for_the_word_on_its_own_key() -> None:
    async def story() -> None:
        pairings = Pairings()
        watching = asyncio.ensure_future(pairings.came(DIGEST))
        await asyncio.sleep(0)
        joining = asyncio.ensure_future(pairings.recognised(ASK, "123456"))
        asking = await watching
        assert (asking.key, asking.name, asking.number) == (KEY, "phone", "123456")
        with pytest.raises(NotInvited):  # a second one with the same code, while the first is looked at
            await pairings.recognised(Issue(DIGEST, OTHER), "654321")
        with pytest.raises(Refused):
            pairings.decide(DIGEST, OTHER, yes=True)
        assert not joining.done()
        pairings.decide(DIGEST, KEY, yes=True)
        assert await joining is True
        with pytest.raises(Refused):
            pairings.decide(DIGEST, KEY, yes=True)

    asyncio.run(story())


def test_silence_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.host.pairing.COMPARE_S", 0.05)
    assert asyncio.run(Pairings().recognised(ASK, "123456")) is False


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World() as one:
        yield one


def test_another_terminal_is_paired_the_same_way(world: World, tmp_path: Path) -> None:
    """`hold join` says the number, too."""
    env = world.env | {"HOLDFAST_STATE_DIR": str(tmp_path / "s"), "HOLDFAST_RUNTIME_DIR": str(tmp_path / "r")}
    pairing = Pairing(world, "laptop", "--operate")
    try:
        with subprocess.Popen(
            [*HOLD, "join", pairing.said["code"], "--json"], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        ) as joining:  # fmt: skip
            assert joining.stdout is not None and joining.stderr is not None
            shown = "".join(each for each in joining.stderr.readline() if each.isdigit())
            assert pairing.asking()["number"] == shown
            assert pairing.answer(f"{shown[:3]} {shown[3:]}") == 0
            given = json.loads(joining.stdout.read())
            assert joining.wait(60) == 0
    finally:
        pairing.end()
    assert (given["name"], given["kind"], given["may"]) == ("laptop", "human", ["operate everything"])
