"""A session on a real host: begin, type, attach, end. Real daemon, keeper, holders and shells; private folders each."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from holdfast.core import errors
from holdfast.wire import messages as wire
from tests.host.talk import Machine, Talk, machine, started, talk

Story = Callable[[Machine, Talk], Awaitable[None]]


def on_a_host(story: Story, *, config: str = "") -> None:
    async def run(one: Machine) -> None:
        async with talk(one) as line:
            await story(one, line)

    with machine() as one:
        one.up(config=config)
        asyncio.run(run(one))


def test_what_is_typed_reaches_the_program_and_its_output_the_viewer() -> None:
    async def story(one: Machine, line: Talk) -> None:
        session = await line.open("cat", name="echo")
        assert session.state == "running"
        assert started(session.root_pid) == session.root_started
        await line.attach("echo", "stream", offset=0)
        typed = await line.type("echo", b"hello\n")
        assert (typed.outcome, typed.written) == ("applied", 6)
        assert b"hello\r\nhello" in await line.until(b"hello\r\nhello")

    on_a_host(story)


def test_a_session_ends_with_its_status_and_keeps_its_last_screen() -> None:
    """R16: after the end an attach shows code and last screen, and everybody attached is told."""

    async def story(one: Machine, line: Talk) -> None:
        session = await line.open("sh", "-c", "read x; echo last words; exit 7", name="brief")
        await line.attach("brief", "stream", offset=0)
        await line.type("brief", b"\n")
        assert b"last words" in await line.until(b"last words")
        left = await line.next(wire.Detached)
        assert left.cause == "ended"
        assert left.ending is not None
        assert (left.ending.how, left.ending.status) == ("exited", 7)
        await line.attach(session.id, "terminal", attachment=2, size=wire.Size(24, 80))
        await line.until(b"last words", attachment=2)
        assert (await line.next(wire.Detached)).ending == left.ending
        text = await line.ask(wire.GetText, session=session.id)
        assert "last words" in "\n".join(text.lines)
        with pytest.raises(errors.SessionEnded, match="exited"):
            await line.type(session.id, b"too late\n")
        assert (await line.ask(wire.WaitEnd, session=session.id)).ending.status == 7

    on_a_host(story)


def test_names_are_unique_and_what_cannot_be_is_said() -> None:
    async def story(one: Machine, line: Talk) -> None:
        first = await line.open("cat", name="one")
        with pytest.raises(errors.NameTaken, match="left alone"):
            await line.open("cat", name="one")
        again = await line.ask(
            wire.Open, argv=("cat",), env={}, cwd="/", size=wire.Size(24, 80), name="one", reuse=True
        )
        assert (again.session.id, again.created) == (first.id, False)
        with pytest.raises(errors.BadName):
            await line.open("cat", name="no spaces please")
        with pytest.raises(errors.NoSuchSession):
            await line.ask(wire.Info, session="nobody")
        with pytest.raises(errors.CannotStart, match="no-such-program"):
            await line.open("no-such-program-anywhere")
        with pytest.raises(errors.Refused, match="running"):
            await line.ask(wire.Forget, session="one")
        unnamed = [(await line.open("cat")).name for _ in range(3)]
        assert unnamed == ["cat", "cat-2", "cat-3"]
        await line.ask(wire.Rename, session="one", name="two")
        assert (await line.ask(wire.Info, session="two")).session.id == first.id
        assert len((await line.ask(wire.List)).sessions) == 4

    on_a_host(story)


def test_kill_leaves_no_survivor() -> None:
    """R04: children that made themselves sessions of their own, ignore HUP and TERM, and lost their parents, still go."""
    script = "trap '' HUP TERM; (setsid sh -c 'trap \"\" HUP TERM; sleep 987 & wait' &) ; echo ready; while :; do sleep 0.2; done"

    async def story(one: Machine, line: Talk) -> None:
        session = await line.open("sh", "-c", script, name="stubborn")
        await line.attach("stubborn", "stream", offset=0)
        await line.until(b"ready")
        live = {}
        async with asyncio.timeout(10):
            while not any("987" in " ".join(p["argv"]) for p in live.get("processes", ())):
                live = (await line.ask(wire.Info, session="stubborn")).live
        pids = [p["pid"] for p in live["processes"]]
        assert len(pids) >= 3
        ended = await line.ask(wire.Kill, session="stubborn", grace_s=0.2)
        assert ended.ending.how == "killed"
        assert not [pid for pid in pids if started(pid)]
        assert not started(session.holder_pid) or await gone(session.holder_pid)

    on_a_host(story)


async def gone(pid: int, within: float = 5.0) -> bool:
    """Wait on the pidfd until process ``pid`` is gone."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    done = asyncio.Event()
    asyncio.get_running_loop().add_reader(fd, done.set)
    try:
        await asyncio.wait_for(done.wait(), within)
    except TimeoutError:
        return False
    finally:
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)
    return True


def test_an_idle_session_is_warned_and_reaped_and_a_busy_one_is_not() -> None:
    """R14, R15."""
    quick = wire.ReapPolicy(idle_s=1.0, grace_s=0.5)

    async def story(one: Machine, line: Talk) -> None:
        idle = await line.open("sh", name="idle", policy=quick)
        busy = await line.open("sh", "-c", "sleep 600", name="busy", policy=quick)
        kept = await line.open("sh", name="kept", policy=quick)
        await line.ask(wire.Keep, session="kept", for_s=3600)
        ended = (await line.ask(wire.WaitEnd, session=idle.id)).ending
        assert (ended.how, ended.why) == ("reaped", "idle for 1 s")
        kinds = await journal_kinds(line, idle.id)
        assert kinds.index("reap-warning") < kinds.index("kill") < kinds.index("ended")
        states = {s.name: s.state for s in (await line.ask(wire.List, ended=True)).sessions}
        assert states == {"idle": "reaped", "busy": "running", "kept": "running"}
        assert started(busy.root_pid) and started(kept.root_pid)

    on_a_host(story)


async def journal_kinds(line: Talk, session: str) -> list[str]:
    from holdfast.core.journal import decoded

    return [decoded(r).kind for r in (await line.ask(wire.ReadJournal, session=session, limit=1000)).records]


def test_an_observer_neither_types_nor_sizes() -> None:
    """R31, R63."""

    async def story(one: Machine, line: Talk) -> None:
        await line.open("cat", name="seen", size=wire.Size(30, 90))
        attached = await line.attach("seen", "terminal", size=wire.Size(10, 40), observe=True)
        assert not attached.driver
        with pytest.raises(errors.Refused, match="observer"):
            await line.type("seen", b"x", attachment=1)
        assert (await line.ask(wire.Info, session="seen")).session.size == wire.Size(30, 90)

    on_a_host(story)


def test_what_an_observer_was_refused_is_on_record_and_does_not_fill_it() -> None:
    """R63: the first at once, of many how many."""
    from holdfast.core.journal import decoded

    async def refused(line: Talk) -> list[dict[str, object]]:
        records = map(decoded, (await line.ask(wire.ReadJournal, session="seen", limit=1000)).records)
        return [each.body for each in records if each.kind == "refused"]

    async def story(one: Machine, line: Talk) -> None:
        await line.open("cat", name="seen")
        await line.attach("seen", "terminal", size=wire.Size(10, 40), observe=True)
        for number in range(200):
            with pytest.raises(errors.Refused, match="observer"):
                await line.type("seen", b"x", attachment=1)
            if not number:
                assert await refused(line) == [{"verb": "input", "reason": "observes", "count": 1}]
        async with asyncio.timeout(30):
            while sum(each["count"] for each in await refused(line)) < 200:  # type: ignore[misc]
                await asyncio.sleep(0.1)
        assert len(await refused(line)) < 20

    on_a_host(story)


def test_the_driver_sizes_the_terminal_and_leaving_does_not() -> None:
    """R31."""

    async def story(one: Machine, line: Talk) -> None:
        await line.open("sh", name="sized")
        await line.attach("sized", "terminal", size=wire.Size(33, 111))
        await line.type("sized", b"stty size\n")
        assert b"33 111" in await line.until(b"33 111")
        await line.ask(wire.Resize, session="sized", size=wire.Size(20, 60), attachment=1)
        await line.type("sized", b"stty size\n")
        assert b"20 60" in await line.until(b"20 60")
        line.send(wire.Detach(1))
        await line.next(wire.Detached)
        assert (await line.ask(wire.Info, session="sized")).session.size == wire.Size(20, 60)

    on_a_host(story)


def test_the_same_input_sent_twice_is_typed_once() -> None:
    """R29, I5."""

    async def story(one: Machine, line: Talk) -> None:
        await line.open("cat", name="once")
        first = await line.type("once", b"only-once\n", seq=1)
        second = await line.type("once", b"only-once\n", seq=1)
        assert (second.outcome, second.position) == (first.outcome, first.position)
        await line.attach("once", "stream", offset=0)
        seen = await line.until(b"only-once\r\nonly-once\r\n")  # the echo and cat's own
        await line.type("once", b"done\n", seq=2)
        assert b"only-once" not in (await line.until(b"done\r\ndone")) + seen[len(b"only-once\r\n") * 2 :]

    on_a_host(story)


def test_a_line_longer_than_the_terminal_takes_is_refused_not_cut() -> None:
    async def story(one: Machine, line: Talk) -> None:
        await line.open("cat", name="long")
        with pytest.raises(errors.LineTooLong, match="none of it was typed"):
            await line.type("long", b"x" * 5000 + b"\n")
        fits = b"y" * 4000 + b"\n"
        assert (await line.type("long", fits * 3)).written == 3 * len(fits)

    on_a_host(story)


def test_a_detached_session_goes_on_and_says_so() -> None:
    """R12, R13: nobody is attached, the counter rises; a cut connection only differs in the cause on record."""

    async def story(one: Machine, line: Talk) -> None:
        await line.open("sh", "-c", "i=0; while :; do i=$((i+1)); echo n$i; sleep 0.01; done", name="count")
        async with talk(one, client="c-other") as other:
            await other.attach("count", "stream", offset=0)
            await other.until(b"n3\r\n")
        before = (await line.ask(wire.Info, session="count")).session.output_end
        await line.attach("count", "stream", offset=before)
        await line.until(b"\r\nn")
        causes = [k for k in await journal_kinds(line, "count") if k in ("attach", "detach")]
        assert causes[:2] == ["attach", "detach"]

    on_a_host(story)


def test_reading_by_offset_pages_through_everything() -> None:
    """R24."""

    async def story(one: Machine, line: Talk) -> None:
        session = await line.open("sh", "-c", "seq 1 20000; read x", name="pages")
        await line.attach("pages", "stream", offset=0)
        whole = await line.until(b"20000\r\n")
        offset, parts = 0, b""
        while len(parts) < len(whole):
            page = await line.ask(wire.ReadOutput, session=session.id, offset=offset, size=10_000)
            assert page.offset == offset
            parts += page.data
            offset += len(page.data)
        assert parts == whole

    on_a_host(story)


def test_the_host_needs_nobody_to_stay_and_stops_when_asked() -> None:
    async def story(one: Machine, line: Talk) -> None:
        session = await line.open("cat", name="stays")
        await line.attach("stays", "events")
        await line.ask(wire.HostStop)
        assert (await line.next(wire.Detached)).cause == "host-stopping"
        assert one.daemon is not None
        assert await asyncio.to_thread(one.daemon.wait, 10) == 0
        assert started(session.root_pid) == session.root_started
        assert not one.socket.exists()

    on_a_host(story)


@pytest.mark.parametrize(
    "garbage", [b"\xff" * 64, b"\x00\x00\x00\x05hello", b"\x7f\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"]
)
def test_garbage_closes_that_connection_and_nothing_else(garbage: bytes) -> None:
    async def story(one: Machine, line: Talk) -> None:
        session = await line.open("cat", name="calm")
        reader, writer = await asyncio.open_unix_connection(str(one.socket))
        writer.write(garbage)
        assert b"bad-message" in await asyncio.wait_for(reader.read(), 10)
        writer.close()
        assert (await line.type("calm", b"still here\n")).outcome == "applied"
        assert started(session.root_pid)

    on_a_host(story)


def test_another_version_is_told_so() -> None:
    async def story(one: Machine, line: Talk) -> None:
        reader, writer = await asyncio.open_unix_connection(str(one.socket))
        other = Talk(reader, writer)
        other.send(wire.Hello(999, "c-x", "test"))
        answer = await other.hello
        assert isinstance(answer, wire.Failed)
        assert answer.code == "wrong-version"
        await other.close()

    on_a_host(story)


def test_a_half_sent_frame_holds_nobody_up() -> None:
    async def story(one: Machine, line: Talk) -> None:
        _, writer = await asyncio.open_unix_connection(str(one.socket))
        writer.write(b"\x00\x00\x10")
        await line.open("cat", name="fine")
        writer.close()

    on_a_host(story)


def test_the_socket_comes_back_when_something_removes_it() -> None:
    async def story(one: Machine, line: Talk) -> None:
        await line.open("cat", name="kept")
        one.socket.unlink()
        assert one.daemon is not None
        one.daemon.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(10):
            while not one.socket.exists():
                await asyncio.sleep(0.01)
        async with talk(one, client="c-second") as other:
            assert len((await other.ask(wire.List)).sessions) == 1
        assert (await line.type("kept", b"x\n")).outcome == "applied"

    on_a_host(story)


def test_the_folders_and_sockets_are_private() -> None:
    async def story(one: Machine, line: Talk) -> None:
        session = await line.open("cat", name="mine")
        for folder in (one.folder / "r", one.folder / "s", one.state / "sessions" / session.id):
            assert folder.stat().st_mode & 0o077 == 0, folder
        for path in [one.socket, *(one.state / "sessions" / session.id).rglob("*")]:
            with contextlib.suppress(FileNotFoundError):  # a file that was being replaced has its name by now
                assert path.stat().st_mode & 0o077 == 0, path

    on_a_host(story)


def test_the_live_tuple_equals_the_kernel() -> None:
    """R02, R10, R75: a listening socket and a child appear at once, and are gone at once."""
    server = "import socket, time\ns=socket.create_server(('127.0.0.1', 0))\n"
    server += "print('port', s.getsockname()[1], flush=True); time.sleep(600)"

    async def story(one: Machine, line: Talk) -> None:
        import sys

        session = await line.open(sys.executable, "-c", server, name="server")
        await line.attach("server", "stream", offset=0)
        port = int((await line.until(b"\r\n")).split()[1])
        live = (await line.ask(wire.Info, session="server")).live
        assert port in {entry["port"] for entry in live["listening"]}
        root = next(p for p in live["processes"] if p["pid"] == session.root_pid)
        assert root["cwd"] == os.readlink(f"/proc/{session.root_pid}/cwd")
        assert {"HOLDFAST_SESSION", "PATH"} <= set(live["environment"])
        assert os.environ["PATH"] not in str(live)

    on_a_host(story)


def test_a_policy_in_the_configuration_is_used_and_a_bad_file_is_named() -> None:
    on_a_host(_shows_policy, config="[reap]\nidle_s = 99.0\n")
    with machine() as one, pytest.raises(AssertionError, match="unknown_setting"):
        one.up(config="unknown_setting = 1\n")


async def _shows_policy(one: Machine, line: Talk) -> None:
    await line.open("cat", name="p")
    assert (await line.ask(wire.Info, session="p")).session.policy.idle_s == 99.0


def test_creation_is_idempotent_by_key() -> None:
    async def story(one: Machine, line: Talk) -> None:
        first = await line.open("cat", key="k1")
        second = await line.open("cat", key="k1")
        assert first.id == second.id
        assert (await line.open("cat", key="k2")).id != first.id

    on_a_host(story)


def test_a_stalled_program_does_not_hold_up_control() -> None:
    """The control lane never queues behind input: a program that does not read is killed at once."""

    async def story(one: Machine, line: Talk) -> None:
        import sys

        reader = "import os,tty,time; tty.setraw(0); print('raw', flush=True); time.sleep(600)"
        await line.open(sys.executable, "-c", reader, name="deaf")
        await line.attach("deaf", "stream", offset=0)
        await line.until(b"raw")
        stuck = line.begin(wire.Input, session="deaf", seq=1, data=b"z" * 200_000, attachment=0)
        at = time.monotonic()
        ended = await line.ask(wire.Kill, session="deaf", grace_s=5.0)
        assert ended.ending.how == "killed"
        assert time.monotonic() - at < 6
        with pytest.raises(errors.SessionEnded):
            await stuck

    on_a_host(story)


def test_session_folder_holds_what_promises_say(tmp_path: Path) -> None:
    """The sheet says how a session ended, for the next host."""

    async def story(one: Machine, line: Talk) -> None:
        from tests.host.talk import sheet

        session = await line.open("true", name="t")
        await line.ask(wire.WaitEnd, session=session.id)
        assert sheet(one, session.id)["ending"]["status"] == 0

    on_a_host(story)


def test_keeper_and_holders_are_upgraded_in_place_and_nobody_inside_notices() -> None:
    """R17: same pids all over, output goes on, what is typed arrives."""

    async def story(one: Machine, line: Talk) -> None:
        session = await line.open("sh", "-c", "while read x; do echo got-$x; done", name="up")
        await line.attach("up", "stream", offset=0)
        await line.type("up", b"one\n")
        await line.until(b"got-one")
        keeper = (await line.ask(wire.HostStatus)).keeper_pid
        upgraded = await line.ask(wire.HostUpgrade)
        assert (upgraded.keeper_pid, upgraded.holders, upgraded.failed) == (keeper, 1, {})
        after = (await line.ask(wire.Info, session="up")).session
        assert (after.holder_pid, after.root_pid) == (session.holder_pid, session.root_pid)
        await line.type("up", b"two\n")
        await line.until(b"got-two")
        await line.open("cat", name="another")  # and the keeper still starts sessions

    on_a_host(story)


def test_a_state_folder_that_cannot_be_is_named() -> None:
    with machine() as one:
        one.state.write_text("a file where a folder should be")
        with pytest.raises(AssertionError):
            one.up()
        assert one.daemon is not None
        assert one.daemon.wait(10) == 1


def test_a_host_that_stops_with_nothing_to_keep_leaves_no_process() -> None:
    async def story(one: Machine, line: Talk) -> None:
        session = await line.open("cat", name="brief")
        keeper = (await line.ask(wire.HostStatus)).keeper_pid
        await line.ask(wire.Kill, session="brief", grace_s=0.5)
        await line.ask(wire.HostStop)
        assert one.daemon is not None
        assert await asyncio.to_thread(one.daemon.wait, 10) == 0
        assert await gone(keeper)
        assert await gone(session.holder_pid)

    on_a_host(story)


def test_a_thousand_visits_leave_nothing_of_them_in_memory() -> None:
    """Who left is let go at once, with all that was kept for it."""
    visits = 1000

    def resident(pid: int) -> int:
        [line] = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS")]
        return int(line.split()[1]) << 10

    async def story(one: Machine, line: Talk) -> None:
        assert one.daemon is not None
        before = 0
        for visit in range(visits + 100):
            async with talk(one, client=f"c-{visit}") as other:
                await other.ask(wire.List)
            if visit == 99:  # what is loaded at the first visits stays
                before = resident(one.daemon.pid)
        assert resident(one.daemon.pid) - before < visits * 8192

    on_a_host(story)
