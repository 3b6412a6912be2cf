"""Waiting in a real host: the first wins and says which; nothing is consumed, and nobody else is held up."""

import asyncio
import itertools
import time
from typing import Any

import pytest

from holdfast.core import errors
from holdfast.host.waits import WAITS_MAX
from holdfast.wire import messages as wire
from tests.host.talk import Machine, Talk, talk
from tests.host.test_sessions import on_a_host

SHELL = ("bash", "--norc", "--noprofile", "-i")


async def ready(line: Talk, name: str = "b") -> None:
    await line.open(*SHELL, name=name)
    assert (await line.ask(wire.WaitFor, session=name, input=("prompt",), for_s=30)).because == "input"


def test_each_condition_ends_a_wait_and_says_so() -> None:
    """R68: exit, input wanted, match, quiet, time; the answer says which, and where to go on."""

    async def story(one: Machine, line: Talk) -> None:
        await ready(line)
        matched = line.begin(wire.WaitFor, session="b", match=("no such thing", "s(u)m is 4$"), input=("password",))
        await line.type("b", b"echo sum is $((2+2))\r")
        got = await asyncio.wait_for(matched, 15)
        assert (got.because, got.pattern, got.text, got.groups) == ("match", 1, "sum is 4", ("u",))
        page = await line.ask(wire.ReadOutput, session="b", offset=0, size=got.offset)
        assert page.data.endswith(b"sum is 4")  # and not one byte more
        asked = line.begin(wire.WaitFor, session="b", input=("password",))
        await line.type("b", b"read -s -p 'Secret: ' x\r")
        got = await asyncio.wait_for(asked, 15)
        assert (got.because, got.wants, got.program, got.prompt) == ("input", "password", "bash", "Secret:")
        quiet = line.begin(wire.WaitFor, session="b", quiet_s=0.3, for_s=20)
        await line.type("b", b"\r")
        assert (await asyncio.wait_for(quiet, 15)).because == "quiet"
        began = time.monotonic()
        assert (await line.ask(wire.WaitFor, session="b", match=("never",), for_s=0.2)).because == "time"
        assert time.monotonic() - began >= 0.2
        ends = line.begin(wire.WaitFor, session="b", match=("never",))
        await line.type("b", b"exit 7\r")
        got = await asyncio.wait_for(ends, 20)
        assert (got.because, got.ending.status) == ("exit", 7)
        assert (await line.ask(wire.WaitFor, session="b", input=("prompt",))).because == "exit"

    on_a_host(story)


def test_only_new_output_matches_and_from_an_offset_what_came_since() -> None:
    async def story(one: Machine, line: Talk) -> None:
        await ready(line)
        here = (await line.ask(wire.List)).sessions[0].output_end
        await line.type("b", b"echo ab''cd\r")
        await line.ask(wire.WaitFor, session="b", quiet_s=0.3, for_s=10)
        assert (await line.ask(wire.WaitFor, session="b", match=("abcd",), for_s=0.3)).because == "time"
        got = await line.ask(wire.WaitFor, session="b", match=("abcd",), offset=here, for_s=10)
        assert got.because == "match"
        again = await line.ask(wire.WaitFor, session="b", match=("abcd",), cursor=got.cursor, for_s=0.3)
        assert again.because == "time"
        kept = await line.ask(wire.WaitFor, session="b", match=("abcd",), offset=-1, for_s=10)
        assert kept.offset == got.offset

    on_a_host(story)


def test_a_match_is_found_across_control_sequences_and_small_writes() -> None:
    async def story(one: Machine, line: Talk) -> None:
        await ready(line)
        program = r"for c in 'pas' '\033[1ms' 'ed\033' '[0m ok'; do printf $c; sleep 0.05; done"
        found = line.begin(wire.WaitFor, session="b", match=("^passed",), for_s=20)
        await line.type("b", program.encode() + b"\r")
        assert (await asyncio.wait_for(found, 20)).because == "match"

    on_a_host(story)


@pytest.mark.parametrize(
    "pattern", ["(", "a)(b", "(?=x)", r"(a)\1", "a*", "", "x" * 2000, "(a{100}){100}", "(.{1,900}){9}Q"]
)
def test_what_cannot_be_searched_in_bounded_time_is_refused(pattern: str) -> None:
    from holdfast.host.patterns import compiled

    with pytest.raises(errors.BadPattern, match="no pattern that can be waited for"):
        compiled((pattern,))


def test_a_hostile_pattern_holds_up_nobody() -> None:
    """What would take a backtracking engine years; meanwhile another client types and gets its echo."""

    async def story(one: Machine, line: Talk) -> None:
        await ready(line)
        await line.open("sh", "-c", "while :; do head -c 60000 /dev/zero | tr '\\0' a; echo b; done", name="flood")
        waits = [
            line.begin(wire.WaitFor, session="flood", match=(pattern,), for_s=5)
            for pattern in ("(a+)+$X", "(a|aa)+Y", "(a*)*Z", "(.*)(.*)(.*)Q")
        ]
        await line.attach("b", "stream")
        slowest = 0.0
        async with talk(one, client="c-other") as other:
            await other.attach("b", "stream")
            for number in range(20):
                began = time.monotonic()
                await other.type("b", b"%d" % (number % 10))
                await other.until(b"%d" % (number % 10))
                slowest = max(slowest, time.monotonic() - began)
        print(f"slowest echo beside four hostile waits on a flood: {slowest * 1000:.0f} ms")
        assert slowest < 2
        assert [(await asyncio.wait_for(each, 20)).because for each in waits] == ["time"] * 4

    on_a_host(story)


def test_waits_of_one_client_are_bounded_and_end_with_it() -> None:
    async def story(one: Machine, line: Talk) -> None:
        await ready(line)
        async with talk(one, client="c-greedy") as greedy:
            for _ in range(WAITS_MAX):
                greedy.begin(wire.WaitFor, session="b", match=("never",))
            with pytest.raises(errors.TooMany, match="16 waits"):
                await greedy.ask(wire.WaitFor, session="b", match=("never",))
            assert (await line.ask(wire.WaitFor, session="b", for_s=0.1)).because == "time"  # nobody else is affected
        async with talk(one, client="c-greedy") as again:
            assert (await again.ask(wire.WaitFor, session="b", for_s=0.1)).because == "time"

    on_a_host(story)


def test_a_wait_can_be_cancelled_and_answers_no_more() -> None:
    async def story(one: Machine, line: Talk) -> None:
        await ready(line)
        for _ in range(3 * WAITS_MAX):
            line.begin(wire.WaitFor, session="b", match=("never",))
            line.send(wire.Cancel(ref=next(line._refs) - 1))
        assert (await line.ask(wire.WaitFor, session="b", for_s=0.1)).because == "time"

    on_a_host(story)


def test_waiting_changes_nothing() -> None:
    """No byte is taken from whoever else reads, no record is made, and no process is touched by a timeout."""

    async def story(one: Machine, line: Talk) -> None:
        await ready(line)
        await line.attach("b", "stream", offset=0)
        await line.until(b"$ ")
        before = (await line.ask(wire.List)).sessions[0]
        for fields in ({"match": ("x",)}, {"input": ("password",)}, {"quiet_s": 9.0}, {}):
            fields_: dict[str, Any] = dict(fields)
            assert (await line.ask(wire.WaitFor, session="b", for_s=0.05, **fields_)).because == "time"
        after = (await line.ask(wire.List)).sessions[0]
        assert (before.journal_position, before.output_end, before.root_pid) == (
            after.journal_position, after.output_end, after.root_pid,
        )  # fmt: skip
        await line.type("b", b"echo it $((1+1))\r")
        assert b"it 2" in await line.until(b"it 2")

    on_a_host(story)


def test_what_was_answered_before_the_wait_does_not_end_it() -> None:
    """The prompt that stands there when a command is typed is not the prompt that comes after it."""

    async def story(one: Machine, line: Talk) -> None:
        await ready(line)
        for number in itertools.count():
            await line.type("b", b"sleep 0.4; echo do''ne%d\r" % number)
            got = await line.ask(wire.WaitFor, session="b", input=("prompt",), for_s=20)
            page = await line.ask(wire.ReadOutput, session="b", offset=0, size=got.offset)
            assert b"done%d" % number in page.data
            if number == 3:
                return

    on_a_host(story)
