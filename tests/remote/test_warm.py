"""Links kept warm by a process of their own: the next command finds them, and nothing depends on it."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from holdfast.client.dial import LINKS
from holdfast.client.warm import Warm
from tests.remote.places import Away, World


def keepers(away: Away) -> list[int]:
    """The processes that keep links warm for that machine."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words, environ = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except OSError:
            continue
        if b"holdfast.client.warm" in words and str(away.folder).encode() + b"/r" in environ:
            found.append(int(entry.name))
    return found


def warmed(world: World) -> Away:
    away = world.away
    del away.env["HOLDFAST_WARM"]
    with away.attach("echo@box") as screen:
        screen.expect(rb"ready")
        until = time.monotonic() + 20
        while time.monotonic() < until:
            screen.type(b"x")
            screen.expect(rb"x")
            if (away.folder / "r" / LINKS).exists():
                return away
    raise AssertionError("no process began to keep links warm")


def test_the_first_attach_leaves_a_warm_link_and_the_next_commands_use_it(own_world: World) -> None:
    own_world.new("echo", "stty raw -echo; echo ready; exec cat -v")
    away = warmed(own_world)
    [pid] = keepers(away)
    with away.attach("echo@box") as screen:
        screen.expect(rb"ready")
        screen.type(b"<warm>")
        screen.expect(rb"<warm>")
        # A command that reaches the relay by itself has loaded what seals and signs.
        assert "cryptography" not in Path(f"/proc/{screen.process.pid}/maps").read_text()
        screen.type(b"\x1cd")
        assert screen.wait() == 120
    assert keepers(away) == [pid]


def test_commands_do_it_themselves_when_the_keeper_of_links_was_killed(own_world: World) -> None:
    own_world.new("echo", "stty raw -echo; echo ready; exec cat -v")
    away = warmed(own_world)
    with away.attach("echo@box") as screen:
        screen.expect(rb"ready")
        for pid in keepers(away):
            os.kill(pid, signal.SIGKILL)
        screen.type(b"<still here>")
        screen.expect(rb"<still here>", timeout=30)
        screen.type(b"\x1cd")
        assert screen.wait() == 120
    assert "ready" in away.hold("view", "echo@box").stdout


def test_it_ends_when_nobody_needs_it_and_takes_its_socket_along(tmp_path: Path) -> None:
    async def story() -> None:
        await asyncio.wait_for(Warm(tmp_path, idle_s=0.05).run(), 10)

    asyncio.run(story())
    assert not (tmp_path / LINKS).exists()


@pytest.mark.parametrize("said", [b"", b"x" * 600, b"\xff\xfe"], ids=["nothing", "too much", "no text"])
def test_whoever_says_no_path_is_hung_up_on(tmp_path: Path, said: bytes) -> None:
    async def story() -> None:
        warm = asyncio.create_task(Warm(tmp_path, idle_s=5).run())
        while not (tmp_path / LINKS).exists():
            await asyncio.sleep(0.005)
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / LINKS))
        writer.write(said)
        writer.write_eof()
        with contextlib.suppress(ConnectionResetError):  # it did not read all of it
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        warm.cancel()
        await asyncio.gather(warm, return_exceptions=True)

    asyncio.run(story())


def test_its_socket_is_the_users_alone(tmp_path: Path) -> None:
    async def story() -> int:
        warm = asyncio.create_task(Warm(tmp_path, idle_s=5).run())
        while not (tmp_path / LINKS).exists():
            await asyncio.sleep(0.005)
        mode = (tmp_path / LINKS).stat().st_mode & 0o777
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(tmp_path / LINKS))
        warm.cancel()
        await asyncio.gather(warm, return_exceptions=True)
        return mode

    assert asyncio.run(story()) == 0o600
