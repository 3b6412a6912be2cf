"""Who may say what to a holder and a keeper: generations, versions, garbage; and how both come back from everything."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.core.errors import Fenced, HostUnreachable, Refused, WrongVersion
from holdfast.holder import protocol as p
from holdfast.host.holders import Holder, Keeper, source
from tests.holder.conftest import Story
from tests.holder.rig import WAIT_S, Raw, Rig, end, everything, gone, ours, output, replaced, until

Play = Callable[[Story], None]
RAW_CAT = ("sh", "-c", "stty raw -echo; echo ready; exec cat")


def test_a_stale_generation_is_fenced(play: Play) -> None:
    async def story(made: Rig) -> None:
        spawned = await made.spawn(*RAW_CAT)
        old = await made.adopt(spawned, generation=5)
        start = len(await output(old, b"ready\n"))
        new = await made.adopt(spawned, generation=6)
        assert new.hello.generation == 5
        await asyncio.wait_for(old.lost.wait(), WAIT_S)
        with pytest.raises(Fenced) as fenced:
            await made.adopt(spawned, generation=5)
        assert fenced.value.details["theirs"] == 6
        await new.write(1, b"x")
        assert await output(new, b"x", start) == b"x"
        again = await replaced(made, new) if made.generation >= 6 else await Holder.adopt(new.path, generation=6)
        await again.close()

    play(story)


def test_the_fence_stands_across_a_new_holder(play: Play) -> None:
    async def story(made: Rig) -> None:
        made.generation = 9
        holder = await replaced(made, await made.start(*RAW_CAT))
        assert holder.hello.generation == 9
        with pytest.raises(Fenced):
            await made.adopt(holder.path, generation=8)

    play(story)


def test_sockets_are_the_users_alone(play: Play) -> None:
    async def story(made: Rig) -> None:
        spawned = await made.spawn("sleep", "1000")
        for path in (made.places.keeper_socket, spawned.socket):
            assert stat.S_IMODE(path.lstat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.lstat().st_mode) == 0o700

    play(story)


@pytest.mark.skipif(os.getuid() != 0, reason="takes another uid, and only root can become one")
def test_another_uid_is_turned_away_even_where_the_folder_is_open(play: Play) -> None:
    async def story(made: Rig) -> None:
        spawned = await made.spawn("sleep", "1000")
        for path in (made.folder, made.places.runtime, made.places.holders):
            path.chmod(0o755)
        for path in (made.places.keeper_socket, spawned.socket):
            path.chmod(0o666)
            code = (
                "import os,socket,sys; os.setuid(65534); s=socket.socket(socket.AF_UNIX); s.settimeout(10);"
                "s.connect(sys.argv[1]); sys.exit(len(s.recv(1)))"
            )
            child = await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", "-c", code, str(path))
            assert await child.wait() == 0  # end of file before a word was said

    play(story)


def bad_frames() -> list[bytes]:
    whole = p.frame(p.HELLO, 1, {"version": 1, "role": "host"})
    return [
        b"\0" * 64,
        b"GET / HTTP/1.0\r\n\r\n" * 9,
        (1 << 20).to_bytes(4, "little") + b"x" * 100,
        whole[:-3] + b"\xff" * 90,
    ]


@pytest.mark.parametrize("bad", bad_frames(), ids=("zeros", "http", "long", "torn"))
@pytest.mark.parametrize("where", ["holder", "keeper"])
def test_garbage_closes_that_link_and_nothing_else(play: Play, bad: bytes, where: str) -> None:
    async def story(made: Rig) -> None:
        holder = await made.start(*RAW_CAT)
        start = len(await output(holder, b"ready\n"))
        path = holder.path if where == "holder" else made.places.keeper_socket
        raw = Raw(path)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may be closed before all is said
            raw.send(bad + b"\xff" * (5 << 20))
            raw.sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(EOFError):
            while True:
                assert (await asyncio.to_thread(raw.next))[0] in (p.REFUSED, p.UNSUPPORTED)
        raw.close()
        await holder.write(1, b"still here")
        assert await output(holder, b"here", start) == b"still here"
        assert len(await made.keeper.kept()) == 1

    play(story)


def test_half_a_frame_holds_nobody_up(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await made.start(*RAW_CAT)
        await output(holder, b"ready\n")
        raws = [Raw(path) for path in (holder.path, made.places.keeper_socket) for _ in range(80)]
        for raw in raws:
            with contextlib.suppress(OSError):  # more than may stay: the oldest are dropped
                raw.send(p.frame(p.HELLO, 1, {"version": 1})[:9])
        assert (await holder.write(1, b"x")).outcome == "applied"
        assert len(await made.keeper.kept()) == 1
        for raw in raws:
            raw.close()

    play(story)


def test_unknown_and_unwelcome_requests_are_answered(play: Play) -> None:
    async def story(made: Rig) -> None:
        spawned = await made.spawn("sleep", "1000")
        for path in (spawned.socket, made.places.keeper_socket):
            raw = Raw(path)
            said, answer = raw.ask(p.RESIZE if path == spawned.socket else p.KEPT)
            assert (said, answer["code"]) == (p.REFUSED, "no-hello")
            assert raw.ask(p.HELLO, {"version": 99, "role": "look"})[0] == p.WELCOME
            said, answer = raw.ask(4711)
            assert (said, answer["kind"], answer["version"]) == (p.UNSUPPORTED, 4711, p.VERSION)
            raw.close()
        raw = Raw(spawned.socket)
        assert raw.ask(p.HELLO, {"version": 0, "role": "host", "generation": 1})[1]["code"] == "wrong-version"
        assert raw.ask(p.HELLO, {"version": 1, "role": "look"})[0] == p.WELCOME
        assert raw.ask(p.RELEASE)[1]["code"] == "not-host"
        assert raw.ask(p.SIGNAL, {"signal": 9, "tree": 1})[1]["code"] == "not-host"
        assert raw.ask(p.TERMIOS)[0] == p.OK
        raw.close()
        holder = await made.adopt(spawned)
        with pytest.raises(Refused):
            await holder.signal(99, tree=True)

    play(story)


def test_a_holder_of_a_version_we_do_not_speak_is_said_so(short_dir: Path, listener: socket.socket) -> None:
    """A version that has left ours behind; it answers, so this is no silence."""

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        sock, _ = await loop.sock_accept(listener)
        with sock:
            await loop.sock_recv(sock, 4096)
            await loop.sock_sendall(sock, p.frame(p.WELCOME, 1, {"version": 9, "oldest": 7}))
            await loop.sock_recv(sock, 1)

    async def story() -> None:
        serving = asyncio.create_task(serve())
        with pytest.raises(WrongVersion) as wrong:
            await Holder.adopt(short_dir / "l", generation=1)
        assert wrong.value.details == {"theirs": 9, "ours": p.VERSION}
        await serving

    asyncio.run(story())


def test_a_socket_nobody_serves_is_unreachable_in_bounded_time(short_dir: Path, listener: socket.socket) -> None:
    async def story() -> None:
        for path in (short_dir / "l", short_dir / "none"):
            with pytest.raises(HostUnreachable):
                await Holder.adopt(path, generation=1, timeout=0.2)

    asyncio.run(story())


def test_a_removed_socket_comes_back(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await made.start(*RAW_CAT)
        await output(holder, b"ready\n")
        holder.path.unlink()
        await made.keeper.kept()  # the keeper looks first, and wakes the holder
        again = await made.adopt(holder.path)
        assert again.hello.holder_pid == holder.hello.holder_pid
        holder.path.unlink()
        os.kill(holder.hello.holder_pid, signal.SIGUSR1)
        await made.adopt(holder.path)

    play(story)


def test_a_wiped_runtime_folder_costs_nothing(play: Play) -> None:
    """Whatever cleans /tmp: a second keeper must not start, and everything is reachable again."""

    async def story(made: Rig) -> None:
        spawned = await made.spawn(*RAW_CAT)
        pid = made.keeper.pid
        await made.keeper.close()
        shutil.rmtree(made.places.runtime)
        await made.reach()
        assert made.keeper.pid == pid
        assert [one.session for one in await made.keeper.kept()] == [made.session(1)]
        holder = await made.adopt(spawned)
        assert b"ready" in await output(holder, b"ready")
        holder = await replaced(made, holder)
        assert b"ready" in everything(holder)

    play(story)


def test_a_folder_that_is_not_ours_is_refused(short_dir: Path) -> None:
    (short_dir / "elsewhere").mkdir()
    (short_dir / "r").symlink_to(short_dir / "elsewhere")

    async def story() -> None:
        with pytest.raises(HostUnreachable, match="is not a folder"):
            await Rig(short_dir).reach()
        for pid in ours(short_dir):  # the keeper that said so
            await gone(pid)

    asyncio.run(story())
    assert ours(short_dir) == {}


def test_there_is_one_keeper_however_many_start_at_once(play: Play) -> None:
    async def story(made: Rig) -> None:
        await made.keeper.leave()
        keepers = await asyncio.gather(*(Keeper.reach(made.places) for _ in range(4)))
        assert len({keeper.pid for keeper in keepers}) == 1
        for keeper in keepers:
            await keeper.close()

    play(story)


def test_a_dead_holder_is_replaced_and_nobody_inside_notices(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await made.start("sh", "-c", "trap 'echo HUP' HUP; echo ready; read x; echo got $x; read y; exit 5")
        said = await output(holder, b"ready\r\n")
        before = holder.hello
        holder = await replaced(made, holder)
        assert holder.hello.holder_pid != before.holder_pid
        assert (holder.hello.root_pid, holder.hello.root_started) == (before.root_pid, before.root_started)
        assert everything(holder) == said
        mark = holder.ring.marks()[-1]
        assert (mark.kind, mark.offset, mark.a, mark.b) == ("restart", len(said), holder.hello.holder_pid, 0)
        await holder.write(1, b"me\n")
        await output(holder, b"got me")
        holder = await replaced(made, holder)
        await holder.write(2, b"\n")
        assert await end(holder) == 5 << 8
        assert b"HUP" not in everything(holder)
        await holder.release()

    play(story)


@pytest.mark.parametrize("keeper_too", [False, True])
def test_the_exit_status_is_known_whoever_was_the_parent(play: Play, keeper_too: bool) -> None:
    """The holder that started it died, and the keeper that adopted it as well: the status is still the real one."""

    async def story(made: Rig) -> None:
        holder = await replaced(made, await made.start("sh", "-c", "read x; exit 41"))
        if keeper_too:
            os.kill(made.keeper.pid, signal.SIGKILL)
            await asyncio.wait_for(made.keeper.lost.wait(), WAIT_S)
            await made.reach()
        await holder.write(1, b"\n")
        assert await end(holder) == 41 << 8
        await until(holder, lambda: holder.ring.exit_durable or made.exit_file(1).exists())
        assert json.loads(made.exit_file(1).read_text())["status"] == 41 << 8

    play(story)


def test_a_root_that_ends_while_its_holder_is_dead_keeps_its_status(play: Play) -> None:
    async def story(made: Rig) -> None:
        for number in range(4):
            holder = await made.start("sh", "-c", f"read x; exit {number + 1}")
            os.kill(holder.hello.holder_pid, signal.SIGSTOP)
            os.kill(holder.hello.root_pid, signal.SIGKILL)
            os.kill(holder.hello.holder_pid, signal.SIGKILL)
            await asyncio.wait_for(holder.lost.wait(), WAIT_S)
            holder = await made.adopt(holder.path)
            assert await end(holder) == signal.SIGKILL
            await holder.release()

    play(story)


def test_a_new_keeper_collects_from_the_living_holders(play: Play) -> None:
    async def story(made: Rig) -> None:
        holders = [await made.start(*RAW_CAT) for _ in range(3)]
        for holder in holders:
            await output(holder, b"ready\n")
        old = made.keeper.pid
        os.kill(old, signal.SIGKILL)
        await asyncio.wait_for(made.keeper.lost.wait(), WAIT_S)
        await made.reach()
        assert made.keeper.pid != old
        kept = {one.session: one for one in await made.keeper.kept()}
        assert {one.holder_pid for one in kept.values()} == {holder.hello.holder_pid for holder in holders}
        for holder in holders:
            again = await replaced(made, holder)
            assert everything(again) == b"ready\n"
            await again.write(1, b"x")
            await output(again, b"x")
        holder = await made.start("true")  # and it is a whole keeper
        assert await end(holder) == 0

    play(story)


def test_a_socket_whose_holder_died_with_its_keeper_is_cleared_away(play: Play) -> None:
    """Keeper and holder together: the terminal hangs up, the command ends, and nothing pretends otherwise."""

    async def story(made: Rig) -> None:
        spawned = await made.spawn("sleep", "1000")
        for pid in (made.keeper.pid, spawned.holder_pid):
            os.kill(pid, signal.SIGKILL)
        await gone(spawned.root_pid)
        await made.reach()
        assert await made.keeper.kept() == []
        assert not spawned.socket.exists()

    play(story)


def test_a_holder_upgrades_in_place(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await made.start("sh", "-c", "stty raw -echo; echo ready; cat; exit 6")
        await output(holder, b"ready\n")
        before = holder.hello
        await holder.write(1, b"one")
        await holder.upgrade()
        assert not holder.lost.is_set()
        assert (holder.hello.holder_pid, holder.hello.root_pid) == (before.holder_pid, before.root_pid)
        assert holder.hello.upgrades == 1
        assert holder.ring.marks()[-1].kind == "upgrade"
        await holder.write(1, b"one")
        await holder.write(2, b"two")
        assert await output(holder, b"two") == b"ready\nonetwo"
        holder = await replaced(made, holder)  # the keeper still guards it
        await holder.upgrade()
        assert len(await holder.signal(signal.SIGKILL, tree=True)) == 2
        assert await end(holder) == signal.SIGKILL
        await holder.release()

    play(story)


def test_an_upgrade_that_cannot_be_begun_changes_nothing(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await made.start(*RAW_CAT)
        await output(holder, b"ready\n")
        not_python = made.folder / "python"
        not_python.write_text("no program")
        not_python.chmod(0o755)
        for thing in (holder, made.keeper):
            for python, package in (
                ("/no/python", source()),
                (sys.executable, "/nowhere"),
                (str(not_python), source()),
            ):
                with pytest.raises(Exception, match=r"refused|could not"):
                    await thing.upgrade(python=python, package=package)
        assert (await holder.write(1, b"x")).outcome == "applied"
        assert len(await made.keeper.kept()) == 1
        os.kill(holder.hello.holder_pid, signal.SIGUSR1)  # its signals are heeded as before
        assert await holder.termios()

    play(story)


def test_an_upgrade_to_broken_code_ends_with_the_keepers_successor(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await made.start(*RAW_CAT)
        await output(holder, b"ready\n")
        broken = made.folder / "broken" / "holdfast" / "holder"
        broken.mkdir(parents=True)
        (broken / "holder.py").write_text("raise SystemExit(1)\n")
        await holder.upgrade(package=str(made.folder / "broken"))
        assert holder.ring.restarts == 1
        assert (await holder.write(1, b"x")).outcome == "applied"
        assert await output(holder, b"x") == b"ready\nx"

    play(story)


def test_a_keeper_upgrades_in_place(play: Play) -> None:
    async def story(made: Rig) -> None:
        first = await made.start(*RAW_CAT)
        await output(first, b"ready\n")
        os.kill(made.keeper.pid, signal.SIGKILL)
        await asyncio.wait_for(made.keeper.lost.wait(), WAIT_S)
        await made.reach()
        second = await made.start(*RAW_CAT)  # a child of this keeper; the first is not
        await output(second, b"ready\n")
        pid = made.keeper.pid
        await made.keeper.upgrade()
        assert made.keeper.pid == pid
        assert not made.keeper.lost.is_set()
        assert {one.session for one in await made.keeper.kept()} == {made.session(1), made.session(2)}
        for holder in (first, second):
            assert everything(await replaced(made, holder)) == b"ready\n"
        third = await made.start("sh", "-c", "umask; ulimit -n")
        await end(third)
        assert everything(third).split() == [b"%04o" % os.umask(os.umask(0o22)), b"%d" % os.sysconf("SC_OPEN_MAX")]
        await made.keeper.upgrade()
        assert len(await made.keeper.kept()) == 3

    play(story)


def test_what_is_forgotten_is_not_guarded_any_more(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await made.start("sleep", "1000")
        await made.keeper.forget(made.session(1))
        await made.keeper.forget(made.session(1))
        os.kill(holder.hello.holder_pid, signal.SIGKILL)
        await gone(holder.hello.root_pid)  # the last copy of the terminal is gone: hang-up

    play(story)


def test_keeper_and_holder_hold_no_descriptor_they_should_not(play: Play) -> None:
    async def story(made: Rig) -> None:
        def count(pid: int) -> int:
            return len(os.listdir(f"/proc/{pid}/fd"))

        empty = count(made.keeper.pid)
        for _ in range(6):
            holder = await made.start("sh", "-c", "read x")
            holder = await replaced(made, holder)
            await holder.write(1, b"\n")
            await end(holder)
            await holder.release()
            await holder.close()
        async with asyncio.timeout(WAIT_S):
            while count(made.keeper.pid) != empty:  # it reaps the last holder in its own time
                assert await made.keeper.kept() == []
        first, *_, last = [await made.spawn("sleep", "1000") for _ in range(5)]
        async with asyncio.timeout(WAIT_S):
            while count(last.holder_pid) != count(first.holder_pid):  # what it told that on is closed after
                await made.keeper.kept()
        assert count(first.holder_pid) <= 14

    play(story)


def test_sigterm_lets_a_keeper_go_only_when_it_keeps_nothing(play: Play) -> None:
    async def story(made: Rig) -> None:
        holder = await made.start(*RAW_CAT)
        await output(holder, b"ready\n")
        for pid in (made.keeper.pid, holder.hello.holder_pid):
            os.kill(pid, signal.SIGTERM)
        assert (await holder.write(1, b"x")).outcome == "applied"
        await holder.signal(signal.SIGKILL, tree=True)
        await gone(made.keeper.pid)
        await gone(holder.hello.holder_pid)
        assert json.loads(made.exit_file(1).read_text())["status"] == signal.SIGKILL

    play(story)
