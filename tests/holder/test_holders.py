"""One holder, one terminal, real programs: output, input, resize, signals, and how it ends."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.core.errors import CannotStart, Refused
from holdfast.host.holders import source
from tests.holder.conftest import Story
from tests.holder.rig import Rig, end, everything, gone, ours, output, replaced, until

Play = Callable[[Story], None]
RAW_CAT = ("sh", "-c", "stty raw -echo; echo ready; exec cat")


def _umask() -> int:
    os.umask(now := os.umask(0))
    return now


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def test_a_session_runs_on_a_terminal_of_its_own(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await made.start(
            "sh", "-c", "tty; stty size; cut -d' ' -f1,5,6,8 /proc/$$/stat; umask; read x; exit 7"
        )
        said = (await output(holder, b"\r\n0022" if _umask() == 0o22 else b"\r\n00")).decode().split("\r\n")
        root = holder.hello.root_pid
        assert said[0] == f"/dev/pts/{holder.hello.terminal}"
        assert said[1] == "24 80"
        assert said[2].split() == [str(root)] * 4
        assert int(said[3], 8) == _umask()
        assert sorted(os.listdir(f"/proc/{root}/fd")) == ["0", "1", "2"]
        assert (await holder.write(1, b"\n")).outcome == "applied"
        assert os.waitstatus_to_exitcode((await end(holder)) or 0) == 7
        await until(holder, lambda: made.exit_file(1).exists() or holder.ring.exit_durable)
        kept = json.loads(made.exit_file(1).read_text())
        assert (kept["status"], kept["by"]) == (7 << 8, "holder")
        assert abs(kept["at"] - time.time()) < 60

    play(story)


def test_signals_and_limits_are_as_they_were_before_us(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await made.start("cat", "/proc/self/status")
        await end(holder)
        status = dict(line.split(":\t") for line in everything(holder).decode().splitlines() if ":\t" in line)
        assert [status[name] for name in ("SigBlk", "SigIgn", "SigCgt")] == ["0" * 16] * 3
        limits = await made.start("sh", "-c", "ulimit -n; cat /proc/$$/oom_score_adj")
        await end(limits)
        files, oom = everything(limits).split()
        assert int(files) == os.sysconf("SC_OPEN_MAX")
        assert int(oom) == min(1000, int(Path("/proc/self/oom_score_adj").read_text()) + 300)

    play(story)


@pytest.mark.parametrize(
    ("argv", "cwd", "stage", "words"),
    [
        (["no-such-command-here"], "/", "exec", "command not found"),
        (["/no/such/file"], "/", "exec", "command not found"),
        (["/etc/passwd"], "/", "exec", "Permission denied"),
        (["true"], "/no/such/folder", "cwd", "/no/such/folder"),
        (["true"], "/etc/passwd", "cwd", "Not a directory"),
    ],
)
def test_a_command_that_cannot_start_says_why_and_leaves_nothing(
    play: Play, argv: list[str], cwd: str, stage: str, words: str
) -> None:
    async def story(made: Rig) -> None:
        from holdfast.host.holders import Plan

        with pytest.raises(CannotStart) as failed:
            await made.keeper.spawn(Plan(session="s-x", argv=argv, cwd=cwd, env={"PATH": "/usr/bin:/bin"}))
        assert failed.value.details["stage"] == stage
        assert words in failed.value.message
        assert await made.keeper.kept() == []
        assert os.listdir(made.places.holders) == []
        for pid in [pid for pid, kind in ours(made.folder).items() if kind == "holder"]:
            await gone(pid)
        assert set(ours(made.folder).values()) <= {"keeper", "nursery", "seat"}

    play(story)


def test_a_cgroup_that_cannot_be_entered_is_told(play: Play) -> None:
    async def story(made: Rig) -> None:
        with pytest.raises(CannotStart) as failed:
            await made.spawn("true", cgroup_procs=("/no/such/cgroup.procs",))
        assert failed.value.details["stage"] == "cgroup"

    play(story)


def test_the_child_itself_enters_its_cgroups_before_it_runs(play: Play) -> None:
    async def story(made: Rig) -> None:
        files = [made.folder / name for name in ("v1", "v2")]
        for one in files:
            one.touch()
        await end(await made.start("true", cgroup_procs=tuple(map(str, files))))
        assert [one.read_text() for one in files] == ["0", "0"]

    play(story)


def test_a_resize_stands_between_old_size_and_new(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await made.start("sh", "-c", "trap 'stty size' WINCH; echo ready; while :; do sleep 0.02; done")
        before = await output(holder, b"ready\r\n")
        offset = await holder.resize(40, 132)
        await output(holder, b"40 132")
        mark = next(mark for mark in holder.ring.marks() if mark.kind == "resize")
        assert (mark.offset, mark.a, mark.b) == (offset, 40, 132)
        assert offset == len(before)
        assert holder.ring.size_of_terminal == (40, 132)
        with pytest.raises(Refused):
            await holder.resize(0, 5)

    play(story)


def test_a_signal_reaches_the_foreground_group_alone(play: Play) -> None:
    async def story(made: Rig) -> None:
        script = "trap 'echo shell got it' TERM; set -m; sleep 1000 & echo ready; sleep 500; echo after $?; read x"
        holder = await made.start("bash", "-c", script)
        await output(holder, b"ready")
        await until_foreground(holder)
        reached = await holder.signal(signal.SIGTERM, tree=False)
        assert len(reached) == 1
        assert b"shell got it" not in await output(holder, b"after 143")
        assert len(await holder.signal(0, tree=True)) == 2  # bash and the sleep in the background

    play(story)


async def until_foreground(holder: object) -> None:
    """Wait until a program other than the shell has the terminal; its exec is no event of ours."""
    root = holder.hello.root_pid  # type: ignore[attr-defined]
    async with asyncio.timeout(10):
        while (await holder.termios()).foreground == root:  # type: ignore[attr-defined]
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("replace", [False, True])
def test_the_whole_tree_is_found_also_what_has_left_it(play: Play, replace: bool) -> None:
    """setsid, double forks, a closed terminal: they still belong to the session, even when its holder was replaced."""

    async def story(made: Rig) -> None:
        script = (
            "setsid sh -c 'sleep 991 <&- >&- 2>&- & sleep 992 <&- >&- 2>&- &' ; (sleep 993 &) ; echo ready; sleep 994"
        )
        holder = await made.start("bash", "-c", script)
        await output(holder, b"ready")
        if replace:
            holder = await replaced(made, holder)
        async with asyncio.timeout(10):
            pids = await holder.signal(0, tree=True)
            while [_program(pid) for pid in pids] != ["sleep"] * 4:  # until nobody is about to fork or exec
                await asyncio.sleep(0.005)
                pids = await holder.signal(0, tree=True)
        assert set(pids) == {pid for pid, kind in ours(made.folder).items() if kind == "inside"}
        assert set(await holder.signal(signal.SIGKILL, tree=True)) == set(pids)
        assert await end(holder) == signal.SIGKILL
        for pid in pids:
            await gone(pid)

    play(story)


def test_a_keeper_or_host_started_inside_a_session_outlives_it(play: Play) -> None:
    """`hold ls` typed inside a session may start both, and then they are below its holder."""

    async def story(made: Rig) -> None:
        holder = await made.start("sh", "-c", "echo ready; read x")
        await output(holder, b"ready")
        inner = Rig(made.folder / "inner")
        code = (
            "import asyncio, sys; sys.path[:0] = sys.argv[1:3]; from tests.holder.rig import inside;"
            "asyncio.run(inside(sys.argv[3]))"
        )
        root = str(Path(__file__).parents[2])
        starter = await made.start(sys.executable, "-c", code, root, source(), str(inner.folder))
        await output(starter, b"started inside")
        await inner.reach()
        assert os.getpgid(inner.keeper.pid) != os.getpgid(0)
        assert Path(f"/proc/{inner.keeper.pid}/stat").read_text().split(") ")[1].split()[1] == str(
            starter.hello.holder_pid
        )
        kept = await inner.keeper.kept()
        inside = set(await starter.signal(signal.SIGKILL, tree=True))
        assert starter.hello.root_pid in inside
        assert not inside & {inner.keeper.pid, kept[0].holder_pid, kept[0].root_pid}
        await end(starter)
        assert await inner.keeper.kept() == kept
        await inner.close()

    play(story)


def test_a_partial_write_is_counted_to_the_byte(play: Play) -> None:
    """A program that does not read: what the terminal took is exact, and what it did not take was not typed."""

    async def story(made: Rig) -> None:
        os.mkfifo(made.folder / "pipe")
        holder = await made.start("sh", "-c", "stty raw -echo; echo ready; read x < pipe; exec cat")
        start = len(await output(holder, b"ready\n"))
        data = b"".join(b"%07d\n" % n for n in range(40_000))
        typing = asyncio.create_task(holder.write(1, data))
        await until(holder, lambda: holder.ring.input_written >= 4096)
        taken = -1
        while taken != holder.ring.input_written:  # full when it stays full over an answered request
            taken = holder.ring.input_written
            await holder.termios()
            await asyncio.sleep(0.05)
        assert not typing.done()
        assert (await holder.resize(30, 90)) >= 0  # control does not wait behind input
        await holder.abort_write()
        written = await typing
        assert (written.outcome, written.written) == ("partial", taken)
        assert 4096 <= taken < len(data)
        again = await holder.write(1, data)
        assert (again.outcome, again.written) == ("partial", taken)
        (made.folder / "pipe").write_text("")
        await until(holder, lambda: holder.ring.head >= start + taken)
        assert (await holder.write(2, b"the end")).outcome == "applied"
        assert (await output(holder, b"the end"))[start:] == data[:taken] + b"the end"

    play(story)


def test_a_long_write_to_a_slow_reader_arrives_whole(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await made.start(*RAW_CAT)
        start = len(await output(holder, b"ready\n"))
        data = os.urandom(300_000)
        assert await holder.write(1, data) == (1, len(data), "applied", "", 0)
        await until(holder, lambda: holder.ring.head >= start + len(data))
        assert everything(holder, start) == data
        mark = next(mark for mark in holder.ring.marks() if mark.kind == "input")
        assert (mark.a, mark.b, mark.c) == (1, len(data), len(data))

    play(story)


def test_a_position_is_typed_once(play: Play) -> None:
    """I5: sent again, it is answered with what became of it."""

    async def story(made: Rig) -> None:
        holder = await made.start(*RAW_CAT)
        start = len(await output(holder, b"ready\n"))
        first = await holder.write(3, b"abc")
        assert await holder.write(3, b"abc") == first == (3, 3, "applied", "", 0)
        assert (await holder.write(7, b"def")).outcome == "applied"
        assert await holder.write(3, b"abc") == first
        assert (await holder.write(5, b"never typed")).outcome == "unknown"
        with pytest.raises(Refused):
            await holder.write(8, b"x" * 3, term=0)
        assert (await output(holder, b"def", start)) == b"abcdef"

    play(story)


def test_an_older_term_is_refused_and_types_nothing(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await made.start(*RAW_CAT)
        start = len(await output(holder, b"ready\n"))
        assert (await holder.write(1, b"a", term=4)).outcome == "applied"
        with pytest.raises(Refused, match="control has changed hands"):
            await holder.write(2, b"b", term=3)
        assert (await holder.write(2, b"c", term=4)).outcome == "applied"
        assert (await output(holder, b"c", start)) == b"ac"

    play(story)


def test_a_query_is_answered_once_also_across_holders(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await made.start(*RAW_CAT)
        start = len(await output(holder, b"ready\n"))
        assert await holder.answered(100, b"<one>")
        assert not await holder.answered(100, b"<again>")
        assert not await holder.answered(90, b"<older>")
        holder = await replaced(made, holder)
        assert not await holder.answered(100, b"<again>")
        assert await holder.answered(101, b"<two>")
        assert (await output(holder, b"<two>", start)) == b"<one><two>"

    play(story)


def test_the_terminals_mode_is_read_from_the_kernel(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await made.start("sh", "-c", "stty -echo; echo one; read x; stty raw; echo two; read y")
        await output(holder, b"one")
        assert (await holder.termios())[:2] == (True, False)
        await holder.write(1, b"\n")
        await output(holder, b"two")
        assert (await holder.termios()) == (False, False, holder.hello.root_pid)

    play(story)


def test_an_overrun_is_a_stated_gap_and_the_execution_never_waits(play: Play) -> None:
    """I2: nobody reads, nobody archives; the program runs to its end at full speed."""

    async def story(made: Rig) -> None:
        holder = await made.start("sh", "-c", "stty raw; seq 1 500000; echo done", ring_bytes=1)
        assert await end(holder) == 0
        assert everything(holder).endswith(b"499999\n500000\ndone\n")
        gap = next(mark for mark in holder.ring.marks() if mark.kind == "gap")
        assert (gap.a, gap.b) == (0, holder.ring.start)

    play(story)


def test_a_reader_that_archives_sees_every_byte_while_memory_is_given_back(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await made.start("sh", "-c", "stty raw; seq 1 3000000", ring_bytes=16 << 20)
        got: list[bytes] = []
        at = 0

        def read() -> bool:
            nonlocal at
            while data := holder.ring.read(at, 1 << 20):
                got.append(data)
                at += len(data)
                holder.ring.archived(at)
            return holder.ended is not None and at == holder.ring.head

        await until(holder, read)
        whole = b"".join(got)
        assert whole == b"".join(b"%d\n" % n for n in range(1, 3_000_001))
        await holder.termios()  # after every notice before it
        assert holder.ring.start >= holder.ring.head - (2 << 20)
        assert [mark for mark in holder.ring.marks() if mark.kind == "gap"] == []

    play(story)


def test_last_words_are_in_before_the_end_is_said(play: Play) -> None:
    async def story(made: Rig) -> None:
        for number in range(5):
            holder = await made.start("sh", "-c", f"stty raw; seq 1 20000; printf 'last words {number}'; kill -9 $$")
            assert await end(holder) == signal.SIGKILL
            assert everything(holder).endswith(f"last words {number}".encode())
            assert holder.ring.marks()[-1].kind == "exit"

    play(story)


def test_a_natural_end_spares_what_runs_in_the_background(play: Play) -> None:
    async def story(made: Rig) -> None:
        script = "trap '' HUP; (while [ ! -e go ]; do sleep 0.02; done; echo late words; exec sleep 995) & exit 3"
        holder = await made.start("sh", "-c", script)
        assert await end(holder) == 3 << 8
        left = await holder.signal(0, tree=True)
        assert left
        (made.folder / "go").touch()
        await output(holder, b"late words")
        assert await holder.signal(signal.SIGKILL, tree=True)
        await holder.release()
        assert await made.keeper.kept() == []

    play(story)


def test_a_root_without_open_terminal_files_is_no_end(play: Play) -> None:
    async def story(made: Rig) -> None:
        script = (
            "exec 3</dev/tty; exec <&- >&- 2>&- 3<&-; until [ -e go ]; do sleep 0.02; done; echo back >/dev/tty; exit 4"
        )
        holder = await made.start("sh", "-c", script)
        await holder.termios()
        (made.folder / "go").touch()
        assert b"back" in await output(holder, b"back")
        assert await end(holder) == 4 << 8

    play(story)


def test_only_what_has_ended_can_be_released(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await made.start(*RAW_CAT)
        with pytest.raises(Refused, match="not ended"):
            await holder.release()
        await holder.signal(signal.SIGKILL, tree=True)
        await end(holder)
        pid = holder.hello.holder_pid
        await holder.release()
        await gone(pid)
        assert not holder.path.exists()
        assert await made.keeper.kept() == []
        await made.keeper.leave()

    play(story)


def test_an_exit_file_that_cannot_be_written_costs_nothing_but_itself(play: Play) -> None:
    async def story(made: Rig) -> None:
        made.places.state.rmdir()
        holder = await made.start("sh", "-c", "exit 9")
        assert await end(holder) == 9 << 8
        await holder.release()

    play(story)


def test_a_holder_that_idles_uses_no_processor_and_little_memory(play: Play) -> None:
    async def story(made: Rig) -> None:
        pids = [(await made.spawn("sleep", "1000")).holder_pid for _ in range(20)]

        def ticks() -> int:
            stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
            return sum(int(user) + int(system) for *_, user, system in (stat[:13] for stat in stats))

        before = ticks()
        await asyncio.sleep(1)  # the one thing to wait for here is time
        assert ticks() - before <= 1
        private = [
            int(line.split()[1])
            for pid in pids
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            if line.startswith("Private_Dirty")
        ]
        assert sorted(private)[10] <= 1536

    play(story)
