"""An AI that floods a session, a program that writes down what it reads and when, and a person who takes over in between.

Run as a program this is the AI (``flood SOCKET SESSION``) or what it types at (``read LOG MODE``).
"""

import asyncio
import os
import random
import select
import struct
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import NamedTuple

import holdfast as hf
from holdfast.core.errors import HoldError, OutOfTurn
from holdfast.testing import TemporaryHost

COMMANDS = 10_000  # of one flood
BATCH = 250  # commands in one of its inputs, every other time one
_READ = struct.Struct("<dI")
MODES = ("raw-slow", "canonical-slow", "raw-quick", "canonical-quick")


class Read(NamedTuple):
    """What one read of the program returned; ``at``: just before it was made. It never waits inside."""

    at: float
    data: bytes


class Taken(NamedTuple):
    """One takeover: seconds from asking to the answer, what was thrown away, what the AI typed too late (must be nothing)."""

    took_s: float
    flushed: int
    dropped: int
    late: bytes


# ---- what runs in the session ----------------------------------------------------------------------------------------


def read(log: str, mode: str) -> None:
    """Read slowly or quickly, raw or in lines, and write down what came when."""
    if mode.startswith("raw"):
        tty.setraw(0)
    else:
        settings = termios.tcgetattr(0)
        settings[3] &= ~termios.ECHO
        termios.tcsetattr(0, termios.TCSANOW, settings)
    os.set_blocking(0, False)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(1, b"ready\r\n")
    while True:
        select.select([0], [], [])
        at = time.monotonic()
        try:
            data = os.read(0, 64 if "slow" in mode else 65536)
        except BlockingIOError:
            continue
        os.write(out, _READ.pack(at, len(data)) + data)
        if "slow" in mode:
            time.sleep(0.002)  # what it is: a program that reads slowly


def reads(log: bytes) -> Iterator[Read]:
    at = 0
    while at + _READ.size <= len(log):
        when, size = _READ.unpack_from(log, at)
        at += _READ.size
        yield Read(when, log[at : at + size])
        at += size


# ---- the AI ----------------------------------------------------------------------------------------------------------


async def flood(socket: str, name: str) -> None:
    """Type floods of commands whenever that is allowed, and say on standard output how many inputs were sent."""
    async with hf.connect(socket, start=False, operator="ai") as client:
        session = await client.attach(name)
        freed = asyncio.Event()

        async def follow() -> None:
            async for event in session.events():
                if isinstance(event, hf.Happened) and event.kind == "control":
                    freed.set()

        following = asyncio.create_task(follow())
        number = 0
        try:
            while True:
                freed.clear()
                size = 1 if number % 2 else BATCH
                count = 200 if number % 2 else COMMANDS // BATCH
                batches = [b"".join(b"A%07d\n" % (at * size + one) for one in range(size)) for at in range(count)]
                sent = await asyncio.gather(*(session.send(each) for each in batches), return_exceptions=True)
                number += 1
                refused = any(isinstance(each, OutOfTurn) or (isinstance(each, HoldError) and each.code == "refused")
                              for each in sent)  # fmt: skip
                if refused:
                    here = await session.who()
                    if here.control.state == "held" and here.control.kind == "human":
                        await freed.wait()
        finally:
            following.cancel()


# ---- the person ------------------------------------------------------------------------------------------------------


class Duel:
    """One session with a flooding AI; ``round`` is one takeover by the person."""

    def __init__(self, host: TemporaryHost, client: hf.Client, mode: str, seed: int) -> None:
        self.host, self.client, self.mode = host, client, mode
        self.name, self.log = f"duel-{mode}", host.folder / f"log-{mode}"
        self.dice = random.Random(seed)
        self.rounds = 0
        self._looked = 0

    async def __aenter__(self) -> "Duel":
        argv = (sys.executable, __file__, "read", str(self.log), self.mode)
        env = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(sys.path)}
        self.session = await self.client.open(self.name, argv=argv, cwd="/", env=env)
        await self.session.wait_for(hf.until.match("ready"), since=0, timeout=60)
        self.ai = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "flood", self.host.socket, self.name, env=env, stdin=subprocess.DEVNULL
        )
        return self

    async def stop_ai(self) -> None:
        if self.ai.returncode is None:
            self.ai.kill()
            await self.ai.wait()

    async def __aexit__(self, *args: object) -> None:
        await self.stop_ai()
        await self.session.kill(grace=0.1)

    async def round(self) -> Taken:
        """Let the AI flood, take over at some moment, type a line, hand back; return what happened."""
        await self._grows(b"A")
        await asyncio.sleep(self.dice.random() * 0.15)
        asked = time.monotonic()
        taken = await self.session.take()
        acknowledged = time.monotonic()
        self.rounds += 1
        mark = b"H%06d" % self.rounds
        await self.session.send(mark + b"\n")
        log = await self._grows(mark)
        after = b"".join(each.data for each in reads(log)).partition(mark)[2]
        late = b"".join(each.data for each in reads(log) if each.at > acknowledged).replace(mark, b"") + after
        await self.session.release()
        self._looked = self.log.stat().st_size
        return Taken(acknowledged - asked, taken.flushed, taken.dropped, late.strip())

    async def _grows(self, wanted: bytes) -> bytes:
        """Return what the program has written down since the last hand-back, once ``wanted`` is in it."""
        async with asyncio.timeout(60):
            while True:
                with open(self.log, "rb") if self.log.exists() else open(os.devnull, "rb") as file:
                    file.seek(self._looked)
                    log = file.read()
                if wanted in b"".join(each.data for each in reads(log)):
                    return log
                await asyncio.sleep(0.002)  # the log is a file: it has no event


if __name__ == "__main__":
    if sys.argv[1] == "read":
        read(sys.argv[2], sys.argv[3])
    else:
        asyncio.run(flood(sys.argv[2], sys.argv[3]))
