"""Commands of real shells through a real host: the table of docs/shell-integration.md, for bash, zsh and fish."""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from holdfast.core.commands import Command
from holdfast.core.journal import Kind
from holdfast.host import shells
from holdfast.wire import messages as wire
from tests.host.shells import EACH_SHELL, Shell
from tests.host.talk import Machine, Talk, machine, talk

Story = Callable[[Machine, Talk, Path], Awaitable[None]]
MARK = re.compile(rb"\x1b\]133;[^\x07]*\x07")


def on_a_host(tmp_path: Path, story: Story, *, config: str = "") -> None:
    async def run(one: Machine) -> None:
        async with talk(one) as line:
            await story(one, line, tmp_path)

    with machine() as one:
        one.up(config=config)
        asyncio.run(run(one))


@EACH_SHELL
@pytest.mark.parametrize("options", [(), ("-l",), ("-i",)], ids=["plain", "login", "interactive"])
def test_text_status_place_output_and_author_are_known(kind: str, options: tuple[str, ...], tmp_path: Path) -> None:
    """Promise: a command's record says who submitted it, what, where, how it ended, and what it put out."""
    if "-l" in options and kind == "bash":
        (tmp_path / ".bash_profile").write_text(". ~/.bashrc\nprofile=loaded\n")

    async def story(one: Machine, line: Talk, home: Path) -> None:
        shell = await Shell.start(line, kind, home, *options)
        done = await shell.run("echo one")
        assert (done.id, done.text, done.source, done.status, done.state) == (1, "echo one", "trusted", 0, "done")
        assert (await shell.output(done)).endswith(b"one\r\n")
        assert done.author.startswith("local:")
        assert done.duration_s is not None
        assert 0 <= done.duration_s < 30
        assert (await shell.run("false")).status == 1
        assert (await shell.run("sh -c 'exit 7'")).status == 7
        moved = await shell.run("cd /usr/lib")
        assert (moved.cwd, shell.prompt.cwd) == ("/", "/usr/lib")
        assert (await shell.run("echo $rc")).cwd == "/usr/lib"
        assert b"loaded" in await shell.output(shell.changes[-1])  # the user's own files were read
        assert b"hello" in await shell.output(await shell.run("greet"))
        odd = "echo 'a;b%20c' \"é€\" \\;"
        assert (await shell.run(odd)).text == odd
        assert b"a;b%20c \xc3\xa9\xe2\x82\xac ;" in await shell.output(shell.changes[-1])
        records = await shell.records()
        assert [each["state"] for each in records] == ["running", "done"] * 7
        assert all(each["author"].startswith("local:") for each in records)

    on_a_host(tmp_path, story)


@EACH_SHELL
def test_nothing_runs_for_an_empty_line_and_a_cancelled_one(kind: str, tmp_path: Path) -> None:
    async def story(one: Machine, line: Talk, home: Path) -> None:
        shell = await Shell.start(line, kind, home)
        await shell.nothing(b"\r")
        if kind == "fish":  # it shows its prompt again, and that is no other prompt
            await line.attach(shell.id, "stream", attachment=3)
            drawn = False
            while not drawn:  # a key that comes before it reads keys is a signal, which it does not heed
                with contextlib.suppress(TimeoutError):
                    await line.type(shell.id, b"abc")
                    await line.next(wire.Output, timeout=2)
                    await line.type(shell.id, b"\x03")
                    drawn = bool(await line.until(b"\x1b]133;B", attachment=3, timeout=2))
        else:
            await shell.nothing(b"abc\x03")
        if kind == "bash":
            await shell.nothing(b"foo(\r")
        done = await shell.run("echo after")
        assert (done.id, done.text) == (1, "echo after")

    on_a_host(tmp_path, story)


@EACH_SHELL
def test_a_leading_space_keeps_a_line_out_of_the_history_and_its_text_is_known_all_the_same(
    kind: str, tmp_path: Path
) -> None:
    async def story(one: Machine, line: Talk, home: Path) -> None:
        shell = await Shell.start(line, kind, home)
        await shell.run("echo before")
        done = await shell.run(" echo secret")
        assert (done.text, done.source) == (" echo secret", "screen" if kind == "bash" else "trusted")
        assert (await shell.run("history | tail -3")).status == 0
        assert b"echo secret" not in await shell.output(shell.changes[-1])

    on_a_host(tmp_path, story)


@EACH_SHELL
def test_a_block_of_several_lines_is_one_command(kind: str, tmp_path: Path) -> None:
    lines = b"for i in 1 2\necho n$i\nend" if kind == "fish" else b"for i in 1 2\ndo echo n$i\ndone"

    async def story(one: Machine, line: Talk, home: Path) -> None:
        shell = await Shell.start(line, kind, home)
        before = shell.prompt.last
        for each in lines.split(b"\n"):
            await line.type(shell.id, each + b"\r")
        await shell.until(lambda: bool(shell.ended(before)) and shell.prompt.at_prompt)
        (done,) = shell.ended(before)
        assert b"n1\r\nn2\r\n" in await shell.output(done)
        assert re.sub(r"[\s;]+", "", done.text) == re.sub(rb"[\s;]+", b"", lines).decode()
        assert done.author.startswith("local:")
        assert (await shell.run("echo next")).text == "echo next"

    on_a_host(tmp_path, story)


@EACH_SHELL
def test_a_key_that_interrupts_is_told_by_the_status(kind: str, tmp_path: Path) -> None:
    async def story(one: Machine, line: Talk, home: Path) -> None:
        shell = await Shell.start(line, kind, home)
        await line.type(shell.id, b"sleep 60\r")
        await shell.until(lambda: bool(shell.prompt.running))
        assert not shell.prompt.at_prompt
        await asyncio.sleep(
            0.1
        )  # the shell has said that it begins; that the program sits in the foreground has no event
        await line.type(shell.id, b"\x03")
        await shell.until(lambda: shell.prompt.at_prompt)
        assert [(each.text, each.status) for each in shell.ended(0)] == [("sleep 60", 130)]

    on_a_host(tmp_path, story)


@EACH_SHELL
def test_forged_and_copied_marks_change_nothing(kind: str, tmp_path: Path) -> None:
    """The attack: a file with marks, one of them genuine and copied from this very session, is put on the screen."""

    async def story(one: Machine, line: Talk, home: Path) -> None:
        shell = await Shell.start(line, kind, home)
        await shell.run("echo one")
        whole = await line.ask(wire.ReadOutput, session=shell.id, offset=0, size=1 << 20)
        genuine = MARK.findall(whole.data)
        assert len(genuine) >= 5
        ended = b"\x1b]133;D;99;hold=5.0123456789abcdef\x07\x1b]133;D;99\x07"
        (home / "forged").write_bytes(b"".join(genuine) + ended + b"\x1b]133;C;cmdline_url=rm%20-rf\x07")
        done = await shell.run("cat forged; cd ~; cat forged; sh -c 'exit 3'")
        assert (done.id, done.status) == (2, 3)
        output = await shell.output(done)
        assert b"".join(genuine) in output  # and nothing is stripped from the stream
        assert (await shell.run("echo three")).id == 3
        assert len(await shell.records()) == 6

    on_a_host(tmp_path, story)


@EACH_SHELL
def test_the_values_are_in_no_environment_and_no_child_can_read_them(kind: str, tmp_path: Path) -> None:
    async def story(one: Machine, line: Talk, home: Path) -> None:
        shell = await Shell.start(line, kind, home)
        seed = re.search(rb'"seed":"([0-9a-f]{64})"', (one.state / "sessions" / shell.id / "shell").read_bytes())
        assert seed is not None
        assert (one.state / "sessions" / shell.id / "shell").stat().st_mode & 0o777 == 0o600
        root = shell.info.root_pid
        assert seed[1] not in Path(f"/proc/{root}/environ").read_bytes()
        assert seed[1] not in Path(f"/proc/{root}/cmdline").read_bytes()
        done = await shell.run("env; for f in /proc/self/fd/*; do :; done" if kind != "fish" else "env")
        output = await shell.output(done)
        assert b"HOLDFAST_MARKS" not in output
        assert b"HOLDFAST_ZDOTDIR" not in output
        done = await shell.run("sh -c 'ls /proc/self/fd; cat <&4; cat /proc/$PPID/fd/4'")
        assert seed[1][:16] not in await shell.output(done)
        values = {each.split(b".")[1] for each in re.findall(rb"hold=(\d+\.[0-9a-f]{16})", MARK.pattern and output)}
        assert not values

    on_a_host(tmp_path, story)


@EACH_SHELL
def test_the_record_of_a_command_is_completed_by_the_next_host(kind: str, tmp_path: Path) -> None:
    """The host is killed in the middle of one; more are run while none is there, by whoever had typed ahead."""

    async def first(one: Machine, home: Path) -> str:
        async with talk(one) as line:
            shell = await Shell.start(line, kind, home, cwd=str(home))
            await shell.run("echo before")
            await line.type(shell.id, b"cat go; echo a-is-over; sh -c 'exit 5'\r")
            await shell.until(lambda: bool(shell.prompt.running))
            await line.type(shell.id, b"sh -c 'exit 6'\r")
            one.kill()
            return shell.id

    async def second(one: Machine, session: str, home: Path) -> None:
        async with talk(one, client="c-later") as line:
            opened = await line.ask(wire.List)
            shell = Shell(line, next(each for each in opened.sessions if each.id == session))
            await shell.follow()
            await shell.until(lambda: len(shell.ended(1)) == 2 and shell.prompt.at_prompt)
            two, three = shell.ended(1)
            assert (two.id, two.status, two.state) == (2, 5, "done")
            assert (three.id, three.text, three.status) == (3, "sh -c 'exit 6'", 6)
            assert two.author == three.author
            assert two.author.startswith("local:")
            assert b"a-is-over" in await shell.output(two)
            done = await shell.run("echo after")
            assert (done.id, done.author) != (0, "")
            assert [each["id"] for each in await shell.records()] == [1, 1, 2, 2, 3, 3, 4, 4]

    with machine() as one:
        one.up()
        os.mkfifo(tmp_path / "go")
        session = asyncio.run(first(one, tmp_path))
        with open(tmp_path / "go", "wb"):  # the shell is at its command: now it ends, and nobody looks
            pass
        one.up()
        asyncio.run(second(one, session, tmp_path))


@EACH_SHELL
def test_another_host_goes_on_at_a_prompt_that_waited_there(kind: str, tmp_path: Path) -> None:
    async def first(one: Machine, home: Path) -> str:
        async with talk(one) as line:
            shell = await Shell.start(line, kind, home)
            await shell.run("echo before")
            await line.type(shell.id, b"echo af")
            return shell.id

    async def second(one: Machine, session: str) -> None:
        async with talk(one, client="c-later") as line:
            (info,) = (await line.ask(wire.List)).sessions
            shell = Shell(line, info)
            await shell.follow()
            await shell.until(lambda: shell.prompt.at_prompt)
            assert shell.prompt.dirty
            assert shell.changes[-1].text == "echo before"
            assert (await shell.run("ter")).text == "echo after"

    with machine() as one:
        one.up()
        session = asyncio.run(first(one, tmp_path))
        one.kill()
        one.up()
        asyncio.run(second(one, session))


@EACH_SHELL
def test_a_shell_in_the_shell_marks_nothing_and_is_one_command(kind: str, tmp_path: Path) -> None:
    async def story(one: Machine, line: Talk, home: Path) -> None:
        shell = await Shell.start(line, kind, home)
        await line.type(shell.id, b"sh -i\r")
        await shell.until(lambda: bool(shell.prompt.running))
        for inner in (b"echo in-the-inner\r", b"exit 4\r"):
            await line.type(shell.id, inner)
        await shell.until(lambda: shell.prompt.at_prompt)
        (only,) = shell.ended(0)
        assert (only.text, only.status) == ("sh -i", 4)
        assert b"in-the-inner" in await shell.output(only)

    on_a_host(tmp_path, story)


@EACH_SHELL
def test_what_replaces_the_shell_is_its_last_command_and_has_the_session_s_status(kind: str, tmp_path: Path) -> None:
    async def story(one: Machine, line: Talk, home: Path) -> None:
        shell = await Shell.start(line, kind, home)
        await line.type(shell.id, b"exec sh -c 'exit 9'\r")
        assert (await line.ask(wire.WaitEnd, session=shell.id)).ending.status == 9
        listed = await line.ask(wire.ListCommands, session=shell.id)
        (only,) = listed.commands
        assert (only.text, only.state, only.status) == ("exec sh -c 'exit 9'", "done", 9)
        assert listed.prompt.running == 0

    on_a_host(tmp_path, story)


@EACH_SHELL
def test_five_hundred_commands_later_the_marks_are_still_believed(kind: str, tmp_path: Path) -> None:
    """The list has no end, so nothing is to be refilled: 2,500 values further on it goes on as before."""

    async def story(one: Machine, line: Talk, home: Path) -> None:
        shell = await Shell.start(line, kind, home)
        for first in range(0, 500, 50):
            await line.type(shell.id, b"".join(b"true %d\r" % n for n in range(first, first + 50)))
            await shell.until(lambda upto=first + 50: shell.prompt.last == upto and shell.prompt.at_prompt, 100)
        assert [each.text for each in shell.ended(0)] == [f"true {n}" for n in range(500)]
        assert {(each.status, each.author) for each in shell.ended(0)} == {(0, shell.changes[0].author)}
        everything: list[Command] = []
        while len(everything) < 500:
            after = everything[-1].id if everything else 0
            everything += (await line.ask(wire.ListCommands, session=shell.id, after=after)).commands
        assert [each.id for each in everything] == list(range(1, 501))
        assert {each.state for each in everything} == {"done"}

    on_a_host(tmp_path, story)


@EACH_SHELL
def test_two_operators_on_one_line_are_told_apart(kind: str, tmp_path: Path) -> None:
    async def story(one: Machine, line: Talk, home: Path) -> None:
        shell = await Shell.start(line, kind, home)
        await line.type(shell.id, b"echo mine")
        other = [sys.executable, "-m", "holdfast.faces.cli.main", "send", shell.id, " and-yours", "--enter"]
        await (await asyncio.create_subprocess_exec(*other, env=one.env)).wait()  # another process, another author
        await shell.until(lambda: bool(shell.ended(0)))
        (done,) = shell.ended(0)
        assert done.text == "echo mine and-yours"
        assert len({done.author, *done.others}) == 2
        assert (await shell.run("echo mine")).author == done.others[0]

    on_a_host(tmp_path, story)


def test_no_integration_leaves_a_shell_as_it_is(tmp_path: Path) -> None:
    async def story(one: Machine, line: Talk, home: Path) -> None:
        shell = await Shell.start(line, "bash", home, integration=False)
        await line.attach(shell.id, "stream", attachment=3, offset=0)
        await line.until(b"user> ", attachment=3)
        await line.type(shell.id, b"echo $((6*7))$PS0\r")
        await line.until(b"42", attachment=3)
        listed = await line.ask(wire.ListCommands, session=shell.id)
        assert (listed.commands, listed.prompt.marked) == ((), False)
        whole = await line.ask(wire.ReadOutput, session=shell.id, offset=0, size=1 << 20)
        assert not MARK.search(whole.data)
        assert not (one.state / "sessions" / shell.id / "shell").exists()

    on_a_host(tmp_path, story)


@pytest.mark.parametrize(
    "argv",
    [("sh",), ("bash", "-c", "echo; cat"), ("bash", "--norc"), ("bash", "script"), ("cat",), ("env", "bash")],
    ids=" ".join,
)
def test_what_is_no_plain_interactive_shell_is_started_as_it_is(argv: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "script").write_text("echo; cat\n")

    async def story(one: Machine, line: Talk, home: Path) -> None:
        env = {"PATH": os.environ["PATH"], "HOME": str(home)}
        opened = await line.ask(wire.Open, argv=argv, env=env, cwd=str(home), size=wire.Size(24, 80))
        words = Path(f"/proc/{opened.session.root_pid}/cmdline").read_bytes().split(b"\0")[:-1]
        assert b"hold.bash" not in b" ".join(words)
        assert not (one.state / "sessions" / opened.session.id / "shell").exists()
        assert "4" not in os.listdir(f"/proc/{opened.session.root_pid}/fd")

    on_a_host(tmp_path, story)


def test_the_events_view_tells_when_a_command_starts_and_ends(tmp_path: Path) -> None:
    async def story(one: Machine, line: Talk, home: Path) -> None:
        shell = await Shell.start(line, "bash", home)
        await line.attach(shell.id, "events", attachment=5)
        await line.type(shell.id, b"echo hi\r")
        states = []
        while len(states) < 2:
            event = await line.next(wire.Event)
            if event.kind == Kind.COMMAND:
                states.append((event.body["state"], event.body["text"], event.operator))
        assert states == [("running", "echo hi", "host"), ("done", "echo hi", "host")]

    on_a_host(tmp_path, story)


def test_a_killed_session_s_command_has_no_status(tmp_path: Path) -> None:
    async def story(one: Machine, line: Talk, home: Path) -> None:
        shell = await Shell.start(line, "bash", home)
        await line.type(shell.id, b"sleep 60\r")
        await shell.until(lambda: bool(shell.prompt.running))
        await line.ask(wire.Kill, session=shell.id, grace_s=0.1)
        (only,) = (await line.ask(wire.ListCommands, session=shell.id)).commands
        assert (only.text, only.state, only.status) == ("sleep 60", "done", None)

    on_a_host(tmp_path, story)


def test_a_flood_between_two_marks_hides_neither(tmp_path: Path) -> None:
    """64 MB, more than is looked at in one turn, and as much as the ring holds."""

    async def story(one: Machine, line: Talk, home: Path) -> None:
        shell = await Shell.start(line, "bash", home)
        done = await shell.run("head -c 64000000 /dev/zero | tr '\\0' x; sh -c 'exit 8'")
        assert done.status == 8
        assert done.end is not None
        assert done.end - done.start == 64_000_000

    on_a_host(tmp_path, story)


def test_options_of_bash_that_get_in_the_way_do_no_harm(tmp_path: Path) -> None:
    """errexit would end the shell over a failing prompt, nounset over an unset name, xtrace would fill the screen."""

    async def story(one: Machine, line: Talk, home: Path) -> None:
        shell = await Shell.start(line, "bash", home)
        await shell.run("set -eux; IFS=:")
        traced = await shell.run("echo still here")
        assert (traced.text, traced.status) == ("echo still here", 0)
        assert (await shell.output(traced)).count(b"__hold") <= 2
        assert (await shell.run("unset IFS; set +eux; echo ${PIPESTATUS[@]} $?")).status == 0
        await shell.run("false | true | sh -c 'exit 3'")
        assert b"1 0 3" in await shell.output(await shell.run("echo ${PIPESTATUS[@]}"))
        await shell.run("echo last argument")
        assert b"<argument>" in await shell.output(await shell.run('echo "<$_>"'))
        done = await shell.run("PROMPT_COMMAND='PS1=\"new> \"'")
        assert (await shell.run("echo with another prompt command")).status == done.status == 0

    on_a_host(tmp_path, story)


def test_a_paste_of_several_lines_is_a_command_each(tmp_path: Path) -> None:
    async def story(one: Machine, line: Talk, home: Path) -> None:
        shell = await Shell.start(line, "bash", home)
        await line.type(shell.id, b"\x1b[200~echo p1\necho p2\necho p3\x1b[201~\r")
        await shell.until(lambda: len(shell.ended(0)) == 3 and shell.prompt.at_prompt)
        assert [(each.text, each.status) for each in shell.ended(0)] == [
            ("echo p1", None),
            ("echo p2", None),
            ("echo p3", 0),
        ]
        assert len({each.author for each in shell.ended(0)}) == 1
        assert (await shell.run("echo next")).id == 4

    on_a_host(tmp_path, story)


def test_a_login_shell_is_one_and_logs_out(tmp_path: Path) -> None:
    (tmp_path / ".bash_logout").write_text("echo logged-out > ~/out\n")
    (tmp_path / ".profile").write_text("profile=read\n. ~/.bashrc\n")

    async def story(one: Machine, line: Talk, home: Path) -> None:
        shell = await Shell.start(line, "bash", home, "-l", env={"ENV": "/nowhere"})
        done = await shell.run(
            "shopt login_shell; shopt -o posix; echo $profile $ENV; shopt inherit_errexit; echo $HISTFILE"
        )
        words = (await shell.output(done)).split()
        assert words == [
            b"login_shell", b"on", b"posix", b"off", b"read", b"/nowhere", b"inherit_errexit", b"off",
            str(home / ".bash_history").encode(),
        ]  # fmt: skip
        await line.type(shell.id, b"logout\r")
        assert (await line.ask(wire.WaitEnd, session=shell.id)).ending.how == "exited"
        assert (home / "out").read_text() == "logged-out\n"
        assert "logout" in (home / ".bash_history").read_text()

    on_a_host(tmp_path, story)


def test_a_shell_that_does_not_take_its_seed_is_left_with_none() -> None:
    """As with an /etc/zshenv that sets ZDOTDIR: what it inherited is wiped, and no child reads it one day."""
    script = "import os; os.dup2(os.memfd_create('hold-marks'), 4); os.write(4, b'secret'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        held = Path(f"/proc/{child.pid}/fd/4")
        assert held.read_bytes() == b"secret"
        shells.wipe(child.pid)
        assert held.read_bytes() == b""
        child.kill()
    shells.wipe(child.pid)  # gone: nothing happens
