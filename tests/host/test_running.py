"""Commands run on real hosts in real shells: at the prompt, as one unit, once, with their own output and status."""

import asyncio
import itertools
import random
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import holdfast as hf
from holdfast.client.running import CommandFailed, StillRunning
from holdfast.core import errors
from holdfast.wire import messages as wire
from tests.host.talk import Machine, Talk, machine, talk
from tests.host.test_sessions import on_a_host

START_S = 30.0  # patience with a shell that starts, on a machine that others use
SHELLS = [
    pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed"))
    for name in ("bash", "zsh", "fish")
]


@asynccontextmanager
async def shell(one: Machine, name: str = "bash") -> AsyncIterator[hf.Session]:
    """Yield a session that runs an interactive shell, without anybody's startup files."""
    home = one.folder / "home"
    home.mkdir(exist_ok=True)
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8", "TERM": "xterm-256color"}
    async with hf.connect(str(one.socket), start=False) as client:
        yield await client.open("s", argv=[name, "-i"], cwd="/", env=env)


def in_a_shell(what: Any, name: str = "bash") -> None:
    async def story(one: Machine) -> None:
        async with shell(one, name) as session:
            await session.run("true", patience=START_S)
            await what(one, session)

    with machine() as one:
        one.up()
        asyncio.run(story(one))


@pytest.mark.parametrize("name", SHELLS)
def test_run_returns_that_commands_own_output_and_its_status(name: str) -> None:
    """R68: neither the echo of the line nor the next prompt is in it; what it does to the shell stays done."""

    async def story(one: Machine, session: hf.Session) -> None:
        done = await session.run("echo hello; echo there")
        assert (done.output.text, done.exit_code, done.ok, done.state) == ("hello\nthere\n", 0, True, "done")
        assert done.text == "echo hello; echo there"
        assert done.author.startswith("local:")
        assert done.duration is not None
        assert (await session.run("cd /usr")).exit_code == 0
        where = await session.run("pwd")
        assert (where.output.text, where.cwd) == ("/usr\n", "/usr")
        failed = await session.run("sh -c 'exit 7'")
        assert (failed.exit_code, failed.output.text, failed.ok) == (7, "", False)
        with pytest.raises(CommandFailed) as no:
            await session.run("sh -c 'echo why; exit 9'", check=True)
        assert (no.value.result.exit_code, no.value.result.output.text) == (9, "why\n")
        assert (await session.run("printf 'ü%s\\n' äß")).output.text == "üäß\n"
        assert (await session.run("printf '10%%\\r50%%\\r100%%\\n'")).output.text == "100%\n"
        if name == "fish":  # which drops tabs from what is pasted
            with pytest.raises(errors.BadLine, match="drops"):
                await session.run("printf 'a\tb'")
        else:
            assert (await session.run("printf 'a\tb'")).output.text == "a\tb"
        assert (await session.run("printf 'no newline'")).output.text == "no newline"
        assert (await session.run("true")).output.text == ""

    in_a_shell(story, name)


@pytest.mark.parametrize(
    ("name", "block"),
    [
        pytest.param("bash", "for i in 1 2\ndo\n\techo n$i\ndone"),
        pytest.param("zsh", "for i in 1 2\ndo\n\techo n$i\ndone", marks=SHELLS[1].marks),
        pytest.param("fish", "for i in 1 2\n\techo n$i\nend", marks=SHELLS[2].marks),
    ],
)
def test_several_lines_are_one_command(name: str, block: str) -> None:
    async def story(one: Machine, session: hf.Session) -> None:
        done = await session.run(block)
        assert done.output.text == "n1\nn2\n"

    in_a_shell(story, name)


@pytest.mark.parametrize("name", SHELLS)
def test_an_open_quote_is_reported_and_the_next_line_is_not_put_into_it(name: str) -> None:
    async def story(one: Machine, session: hf.Session) -> None:
        with pytest.raises(errors.IncompleteLine, match="goes on waiting"):
            await session.run("echo 'open")
        with pytest.raises(errors.NotAtPrompt) as no:
            await session.run("echo inside")
        assert no.value.details["what"] in ("continued", "line")
        await session.send_keys("Ctrl+C")
        assert (await session.run("echo free", patience=10)).output.text == "free\n"

    in_a_shell(story, name)


def test_what_is_no_moment_for_a_command_is_refused_and_nothing_is_typed() -> None:
    """R61: a busy shell, a line somebody began, a program that is no shell; each says what, and what to do."""

    async def story(one: Machine, session: hf.Session) -> None:
        busy = await session.start("sleep 60")
        with pytest.raises(errors.NotAtPrompt, match=r"sleep 60.*nothing was typed") as no:
            await session.run("echo no")
        assert (no.value.details["what"], no.value.details["command"]) == ("command", busy.id)
        await busy.interrupt()
        stopped = await busy.wait(20)
        assert stopped.exit_code == 130
        await session.send("half a li")
        with pytest.raises(errors.NotAtPrompt) as no:
            await session.run("echo no")
        assert no.value.details["what"] == "line"
        await session.send_keys("Ctrl+U")
        assert (await session.run("echo yes", patience=5)).output.text == "yes\n"
        for text in ("", "a\x03b", "x" * 70_000):
            with pytest.raises(errors.BadLine):
                await session.run(text)
        with pytest.raises(errors.NothingRan):
            await session.run("# only a comment")
        with pytest.raises(errors.NothingRan):
            await session.run(") syntax")
        seen = b"".join([part.data async for part in session.output() if isinstance(part, hf.Output)])
        assert b"echo no" not in seen

    in_a_shell(story)


def test_an_interrupt_that_the_shell_swallows_reaches_the_command_after_all(tmp_path: Path) -> None:
    """The key came before the shell gave its terminal to what it starts: what bash loses now and then, made certain."""

    async def story(one: Machine, session: hf.Session) -> None:
        go = tmp_path / "go"
        busy = await session.start(f"trap '' INT; until [[ -e {go} ]]; do :; done; trap - INT; sleep 60")
        pressing = asyncio.create_task(busy.interrupt())
        await session.wait_for(hf.until.match(r"\^C"), timeout=30, since=busy.start)
        go.touch()
        await pressing
        assert (await busy.wait(30)).exit_code == 130

    in_a_shell(story)


def test_what_a_program_was_answered_does_not_stand_on_the_next_line() -> None:
    """A line that was typed while a command ran is typed ahead, or the command's input: the shell tells by not running it."""

    async def story(one: Machine, session: hf.Session) -> None:
        for number in range(4):
            asking = await session.start("read -p 'Proceed? ' x; echo got $x")
            wanted = await session.wait_for(hf.until.input("line"), timeout=30)
            assert (wanted.because, wanted.prompt) == ("input", "Proceed?")
            await session.send(f"y{number}\r")
            assert (await asking.wait(30)).output.text == f"Proceed? y{number}\ngot y{number}\n"
        slow = await session.start("sleep 0.5")
        await session.send("echo ahead\r")
        assert (await slow.wait(30)).exit_code == 0
        assert (await session.run("echo after", patience=10)).output.text == "after\n"
        assert [each.text for each in await session.commands(newest=True, limit=2)] == ["echo ahead", "echo after"]

    in_a_shell(story)


def test_a_shell_that_does_not_mark_is_refused_unless_that_is_wanted() -> None:
    async def story(one: Machine, line: Talk) -> None:
        await line.open("sh", "-i", name="plain")
        await line.open("cat", name="cat")
        async with hf.connect(str(one.socket), start=False) as client:
            session = await client.attach("plain")
            with pytest.raises(errors.Unmarked, match="hold send plain"):
                await session.run("echo hi")
            done = await session.run("echo hi $((1+1))", unmarked=True)
            assert (done.state, done.exit_code, done.id) == ("unmarked", None, 0)
            assert "hi 2\n" in done.output.text
            with pytest.raises(errors.LineTooLong):  # what the kernel's line editor would cut
                await session.run("echo " + "x" * 5000, unmarked=True)
            cat = await client.attach("cat")
            with pytest.raises(errors.NotAtPrompt, match="waits for: line"):
                await cat.run("echo hi", unmarked=True)

    on_a_host(story)


def test_a_long_line_and_much_output_are_whole_and_pages_are_by_offset() -> None:
    async def story(one: Machine, session: hf.Session) -> None:
        word = "".join(random.Random(1).choice("abcdefghij") for _ in range(20_000))
        assert (await session.run(f"echo {word}", timeout=60)).output.text == word + "\n"
        done = await session.run("seq 100000", timeout=60, most=1000)
        assert done.output.missing == done.output.end - done.output.start - 1000
        assert done.output.tail(2) == "99999\n100000"
        everything = "".join(f"{number}\r\n" for number in range(1, 100_001)).encode()
        assert done.output.end - done.output.start == len(everything)
        page = await session._ask(
            wire.ReadOutput(session._ref(), session.id, done.output.start, 1000), wire.OutputRange
        )
        assert page.data == everything[:1000]

    in_a_shell(story)


def test_a_timeout_and_a_leaving_client_end_nothing() -> None:
    """R68: what was started goes on, and is found again by its id."""

    async def story(one: Machine, session: hf.Session) -> None:
        flag = one.folder / "flag"
        with pytest.raises(StillRunning) as late:
            await session.run(f"echo begun; while [ ! -e {flag} ]; do sleep 0.05; done; echo done", timeout=0.5)
        assert (late.value.result.state, late.value.result.output.text) == ("running", "begun\n")
        number = late.value.result.id
        async with hf.connect(str(one.socket), start=False) as other:
            there = await other.attach("s")
            assert (await there.commands(after=number - 1, limit=1))[0].state == "running"
            flag.touch()
            got = await there.wait_for(hf.until.command(number), timeout=20)
            assert (got.because, got.command, got.status) == ("command", number, 0)

    in_a_shell(story)


def test_an_interrupt_reaches_a_program_that_takes_no_keys() -> None:
    """The terminal is full of what nobody reads; the signal does not queue behind it."""

    async def story(one: Machine, session: hf.Session) -> None:
        running = await session.start("stty -isig -icanon; echo up; sleep 300; stty sane")
        async for line in running.lines():
            assert line == "up"
            break
        flood = asyncio.ensure_future(session.send(b"x" * 60_000))
        await running.interrupt()
        done = await running.wait(30)
        assert done.state == "done"
        flood.cancel()
        await asyncio.gather(flood, return_exceptions=True)

    in_a_shell(story)


def test_lines_come_as_they_are_printed_and_end_with_the_command() -> None:
    async def story(one: Machine, session: hf.Session) -> None:
        for _ in range(5):
            running = await session.start("for i in 1 2 3; do echo \x22line $i\x22; sleep 0.05; done; printf end")
            assert [line async for line in running.lines()] == ["line 1", "line 2", "line 3", "end"]
            assert (await running.wait(10)).exit_code == 0
        async with await session.start("while :; do echo more; sleep 0.02; done") as running:
            async for line in running.lines():
                assert line == "more"
                break
            assert (await session.commands(newest=True, limit=1))[0].state == "running"  # leaving ended nothing
            await running.interrupt()
        assert (await running.wait(20)).exit_code == 130

    in_a_shell(story)


def test_the_same_key_is_typed_once_whoever_asks_again_and_however_often() -> None:
    """I5: at once, later, and from another program of the same operator."""

    async def story(one: Machine, session: hf.Session) -> None:
        log = one.folder / "log"
        asked = [session.run(f"echo x >> {log}", key="deploy") for _ in range(5)]
        done = await asyncio.gather(*asked)
        assert len({each.id for each in done}) == 1
        async with hf.connect(str(one.socket), start=False) as other:
            again = await (await other.attach("s")).start(f"echo x >> {log}", key="deploy")
            assert (again.id, again.again) == (done[0].id, True)
            with pytest.raises(errors.Refused, match="another command line"):
                await (await other.attach("s")).run("echo other", key="deploy")
        assert log.read_text() == "x\n"
        await session.run(f"echo x >> {log}", key="another")
        assert log.read_text() == "x\nx\n"

    in_a_shell(story)


def test_nothing_is_run_twice_across_kills_of_the_host(soak: bool) -> None:
    """I5, R17: the host dies at any instant of a run; asked again under its key, the next host knows whether it was typed."""
    rounds = 40 if soak else 6
    chance = random.Random(5)

    async def story(one: Machine) -> None:
        log = one.folder / "log"
        told: dict[int, str] = {}
        async with shell(one) as session:
            await session.run("true", patience=START_S)
            for number in range(rounds):
                running = asyncio.ensure_future(
                    session.run(f"echo {number} >> {log}", key=f"k{number}", patience=START_S, timeout=60)
                )
                await asyncio.sleep(chance.uniform(0, 0.4))
                await asyncio.to_thread(one.kill)
                await asyncio.to_thread(one.up)
                try:
                    told[number] = (await running).state
                except (errors.InputUnknown, errors.Timeout):
                    told[number] = "unknown"
                again = None
                try:
                    again = await session.start(f"echo {number} >> {log}", key=f"k{number}", patience=START_S)
                except (errors.InputUnknown, errors.Timeout):
                    pass
                assert again is None or again.again
            await session.run("true", patience=START_S)
        lines = [int(line) for line in log.read_text().split()]
        assert len(lines) == len(set(lines)), f"typed twice: {lines}"
        for number, state in told.items():
            assert number in lines or state == "unknown", (number, state, lines)
        print(f"{rounds} kills: {sum(state == 'done' for state in told.values())} known to be done, told: {told}")

    with machine() as one:
        one.up()
        asyncio.run(story(one))


def test_somebody_who_waits_for_his_turn_gets_it_in_order() -> None:
    """Patience: many at once are run one after the other, each whole."""

    async def story(one: Machine, session: hf.Session) -> None:
        async with hf.connect(str(one.socket), start=False) as other:
            there = await other.attach("s")
            asked = [
                (session, there)[number % 2].run(f"echo {number}; sleep 0.02", patience=60) for number in range(12)
            ]
            done = await asyncio.gather(*asked)
        assert [each.output.text for each in done] == [f"{number}\n" for number in range(12)]
        ids = [each.id for each in done]
        assert len(set(ids)) == 12

    in_a_shell(story)


def test_what_is_typed_beside_runs_is_in_none_of_them() -> None:
    """A person types single keys all the while: no key lands within a unit, and none is lost."""

    async def story(one: Machine, line: Talk) -> None:
        await line.open("bash", "-i", name="s")
        async with hf.connect(str(one.socket), start=False) as client, talk(one, client="c-person") as person:
            session = await client.attach("s")
            await session.run("true", patience=START_S)
            stop = asyncio.Event()

            async def fidget() -> int:
                pressed, chance = 0, random.Random(7)
                while not stop.is_set():
                    await person.type("s", b"q")
                    await person.type("s", b"\x15")  # and takes it back
                    pressed += 1
                    await asyncio.sleep(chance.uniform(0, 0.6))
                return pressed

            fidgeting = asyncio.ensure_future(fidget())
            ran = refused = 0
            for number in itertools.count():
                try:
                    done = await session.run(f"echo unit-{number}-whole", patience=2, timeout=20)
                    assert done.text == f"echo unit-{number}-whole"
                    # What he presses while it runs the terminal itself echoes there: the key, and that it was taken back.
                    assert re.sub(r"q|\^U|\x08 \x08", "", done.output.text) == f"unit-{number}-whole\n"
                    ran += 1
                except (errors.NotAtPrompt, errors.OutOfTurn):
                    refused += 1
                if ran + refused >= 12:
                    break
            stop.set()
            assert await fidgeting > 0
            assert ran
            commands = await session.commands(limit=256)
            assert all(each.text == "true" or each.text.endswith("-whole") for each in commands), commands
            print(f"{ran} run, {refused} refused beside somebody's keys")

    on_a_host(story)


def test_ending_the_session_ends_a_run_with_its_status() -> None:
    async def story(one: Machine, session: hf.Session) -> None:
        done = await session.run("exit 3", timeout=30)
        assert (done.exit_code, done.state) == (3, "done")
        with pytest.raises(errors.SessionEnded):
            await session.run("echo late")

    in_a_shell(story)


def test_the_latency_of_a_run_over_the_bare_shell(capsys: pytest.CaptureFixture[str]) -> None:
    """What one line costs beyond what the shell takes for it; printed, and bounded generously."""

    async def story(one: Machine, session: hf.Session) -> None:
        loop = asyncio.get_running_loop()
        took = []
        for _ in range(30):
            began = loop.time()
            done = await session.run("true")
            took.append(loop.time() - began)
            assert done.ok
        took.sort()
        with capsys.disabled():
            print(f"\n`true` in bash: p50 {took[15] * 1000:.1f} ms, p90 {took[27] * 1000:.1f} ms")
        assert took[15] < 2

    in_a_shell(story)
