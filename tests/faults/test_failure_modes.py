"""Failure modes of docs/failure-modes.md that have no test of their own elsewhere: each card names its tests."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from holdfast.core import errors
from holdfast.wire import messages as wire
from tests.host.talk import Machine, machine, talk

WITHIN_S = 15


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


async def holder_of(one: Machine, name: str, *, other_than: int = 0) -> int:
    """Return the pid of the holder, once there is one that is not ``other_than``."""
    async with asyncio.timeout(WITHIN_S), talk(one) as line:
        while True:
            holder = (await line.ask(wire.Info, session=name)).session.holder_pid
            if holder and holder != other_than:
                return int(holder)
            await asyncio.sleep(0.02)


def test_a_fork_is_refused_and_says_what_two_copies_would_share() -> None:
    """R77: supported or a typed refusal, never a silent duplicate."""

    async def story(one: Machine) -> None:
        with socket.create_server(("127.0.0.1", 0)) as peer:
            async with talk(one) as line:
                port = peer.getsockname()[1]
                await line.open("bash", "-c", f"exec 5<>/dev/tcp/127.0.0.1/{port}; echo joined; read end", name="work")
                await line.attach("work", "stream", offset=0)
                await line.until(b"joined")
                with pytest.raises(errors.NotSupported) as refused:
                    await line.ask(wire.Fork, session="work")
                listing = await line.ask(wire.List)
        assert (refused.value.code, refused.value.details["connections"]) == ("not-supported", 1)
        assert refused.value.details["processes"] >= 1
        assert [each.name for each in listing.sessions] == ["work"]

    with machine() as one:
        one.up()
        asyncio.run(story(one))


def test_a_connection_to_the_outside_outlives_host_and_holder_and_ends_with_the_session() -> None:
    """R48: what the execution has with the outside is the kernel's; nothing of ours stands in between."""

    async def story(one: Machine) -> None:
        with socket.create_server(("127.0.0.1", 0)) as outside:
            port = outside.getsockname()[1]
            async with talk(one) as line:
                script = f"exec 5<>/dev/tcp/127.0.0.1/{port}; while read x <&5; do echo $x >&5; done"
                session = await line.open("bash", "-c", script, name="net")
                peer, _ = await asyncio.to_thread(outside.accept)
            peer.settimeout(WITHIN_S)
            with peer, peer.makefile("rwb", buffering=0) as words:
                for word in (b"before", b"host", b"holder"):
                    if word == b"host":
                        one.kill()
                        one.up()
                    if word == b"holder":
                        holder = await holder_of(one, "net")
                        kill(holder)
                        await holder_of(one, "net", other_than=holder)
                    words.write(word + b"\n")
                    assert await asyncio.to_thread(words.readline) == word + b"\n"
                async with talk(one) as line:
                    assert (await line.ask(wire.Info, session="net")).session.root_pid == session.root_pid
                    await line.ask(wire.Kill, session="net", grace_s=0.2)
                try:
                    severed = await asyncio.to_thread(words.readline)
                except ConnectionResetError:
                    severed = b""
                assert severed == b""

    with machine() as one:
        one.up()
        asyncio.run(story(one))


def test_recovery_never_runs_a_command_again(tmp_path: Path) -> None:
    """R74: whatever dies and comes back, what a command did to the world it did once."""
    effects = tmp_path / "effects"

    async def story(one: Machine) -> None:
        async with talk(one) as line:
            await line.open("sh", name="shell")
            await line.type("shell", b"echo done >> '%s'\n" % os.fsencode(effects))
            async with asyncio.timeout(WITHIN_S):
                while not effects.exists():
                    await asyncio.sleep(0.01)
        for _ in range(3):
            one.kill()
            one.up()
            holder = await holder_of(one, "shell")
            kill(holder)
            await holder_of(one, "shell", other_than=holder)
            async with talk(one) as line:  # and whoever looks again, from the first byte on
                await line.attach("shell", "stream", offset=0)
                await line.until(b"effects")
        async with talk(one) as line:
            await line.type("shell", b"echo after >> '%s'\n" % os.fsencode(effects), seq=2)
            async with asyncio.timeout(WITHIN_S):
                while b"after" not in effects.read_bytes():
                    await asyncio.sleep(0.01)
        assert effects.read_bytes() == b"done\nafter\n"

    with machine() as one:
        one.up()
        asyncio.run(story(one))
