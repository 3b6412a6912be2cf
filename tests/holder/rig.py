"""A real keeper with real holders in a private folder, and the certainty that nothing of it outlives the test."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from holdfast.core.places import Places
from holdfast.holder import protocol as p
from holdfast.host.holders import Holder, Keeper, Plan, Spawned
from holdfast.host.ring import Overrun

WAIT_S = 20.0


class Rig:
    """One keeper and what a test starts under it. Generations only rise, as those of hosts do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places = Places(uid=os.getuid(), runtime=folder / "r", state=folder / "s", config=folder / "c")
        self.places.state.mkdir(parents=True, exist_ok=True)
        self.generation = 1
        self.keeper: Keeper
        self._number, self._salt = 0, os.urandom(6).hex()
        self._links: list[Holder] = []

    async def reach(self) -> Keeper:
        self.keeper = await Keeper.reach(self.places)
        return self.keeper

    async def spawn(self, *argv: str, ring_bytes: int = 0, **more: object) -> Spawned:
        self._number += 1
        session = self.session(self._number)
        env = {"PATH": os.environ["PATH"], "HF_RIG": str(self.folder), "HOLDFAST_SESSION": session}
        plan = Plan(
            session=session, argv=argv, env=env, cwd=str(self.folder), ring_bytes=ring_bytes,
            exit_file=str(self.exit_file(self._number)), **more,  # type: ignore[arg-type]
        )  # fmt: skip
        return await self.keeper.spawn(plan)

    def session(self, number: int) -> str:
        """Return the id of the ``number``-th session; unique, as real ones are: strays are looked for machine-wide."""
        return f"s-{self._salt}-{number}"

    def exit_file(self, number: int) -> Path:
        return self.places.state / f"exit-{number}"

    async def adopt(self, spawned: Spawned | Path, *, generation: int = 0) -> Holder:
        path = spawned if isinstance(spawned, Path) else spawned.socket
        holder = await Holder.adopt(path, generation=generation or self.generation, timeout=WAIT_S)
        self._links.append(holder)
        return holder

    async def start(self, *argv: str, **more: object) -> Holder:
        return await self.adopt(await self.spawn(*argv, **more))  # type: ignore[arg-type]

    async def close(self) -> None:
        for holder in self._links:
            await holder.close()
        if hasattr(self, "keeper"):
            await self.keeper.close()
        for _ in range(3):  # a holder killed before its keeper would be replaced: keepers first
            mine = ours(self.folder)
            for pid in sorted(mine, key=lambda pid: mine[pid] != "keeper"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in mine:
                await gone(pid)


@contextlib.asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[Rig]:
    made = Rig(folder)
    try:
        await made.reach()
        yield made
    finally:
        await made.close()


def ours(folder: Path) -> dict[int, str]:
    """Return the living processes of a rig, and what each is: keeper, nursery, seat, holder or inside."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            if state in "ZX":
                continue
            if f"HF_RIG={folder}".encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = "inside"
            elif p.BOOT.encode() in (line := (entry / "cmdline").read_bytes()) and f"{folder}/".encode() in line:
                name = (entry / "comm").read_text().strip()
                found[int(entry.name)] = name[3:] if name in ("hf-holder", "hf-nursery", "hf-seat") else "keeper"
        except OSError:
            continue
    return found


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(handle, ended.set)
        await asyncio.wait_for(ended.wait(), WAIT_S)
    finally:
        asyncio.get_running_loop().remove_reader(handle)
        os.close(handle)


async def until(holder: Holder, true: Callable[[], object]) -> None:
    """Wait for the doorbell until ``true``; the link breaking is looked at too. Raises TimeoutError."""
    rang = asyncio.Event()
    loop = asyncio.get_running_loop()

    def answer() -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(holder.doorbell, 8)
        rang.set()

    loop.add_reader(holder.doorbell, answer)
    try:
        async with asyncio.timeout(WAIT_S):
            while not true():
                rang.clear()
                if true():
                    return
                await rang.wait()
    finally:
        loop.remove_reader(holder.doorbell)


async def output(holder: Holder, wanted: bytes, since: int = 0) -> bytes:
    """Wait until ``wanted`` is in the output and return all of it from ``since``."""
    await until(holder, lambda: wanted in everything(holder, since))
    return everything(holder, since)


def everything(holder: Holder, since: int = 0) -> bytes:
    found = bytearray()
    at = since
    while True:
        try:
            data = holder.ring.read(at, 1 << 20)
        except Overrun as overrun:
            at = overrun.start
            continue
        if not data:
            return bytes(found)
        found += data
        at += len(data)


async def end(holder: Holder) -> int | None:
    """Wait for the end of the execution; return the wait status."""
    await until(holder, lambda: holder.ended is not None)
    assert holder.ended is not None
    return holder.ended.status


async def replaced(made: Rig, holder: Holder) -> Holder:
    """Kill the holder and return the link to its successor."""
    os.kill(holder.hello.holder_pid, signal.SIGKILL)
    await asyncio.wait_for(holder.lost.wait(), WAIT_S)
    return await made.adopt(holder.path)


class Raw:
    """A connection that sends whatever it likes."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(path))  # blocking: a full backlog is waited for
        self.sock.settimeout(WAIT_S)
        self._frames = p.Frames(p.KEEPER_FRAME_MAX)
        self._ready: list[tuple[int, int, dict[str, p.Value]]] = []

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def ask(self, kind: int, fields: p.Fields | None = None) -> tuple[int, dict[str, p.Value]]:
        self.sock.sendall(p.frame(kind, 7, fields))
        said, _, answer = self.next()
        return said, answer

    def next(self) -> tuple[int, int, dict[str, p.Value]]:
        """Return the next frame. Raises EOFError when the other side closed."""
        while not self._ready:
            try:
                data, descriptors, _, _ = socket.recv_fds(self.sock, 65536, 8)
            except ConnectionResetError:
                raise EOFError from None
            for one in descriptors:
                os.close(one)
            if not data:
                raise EOFError
            self._ready += self._frames.receive(data)
        return self._ready.pop(0)

    def closed(self) -> bool:
        """Wait for the next thing and tell whether it is the end."""
        try:
            self.next()
        except EOFError:
            return True
        return False

    def close(self) -> None:
        self.sock.close()


async def inside(folder: str) -> None:
    """What a program inside a session does that starts a keeper and a session of its own, and then waits."""
    made = Rig(Path(folder))
    await made.reach()
    await made.spawn("sleep", "1000")
    print("started inside", flush=True)
    await asyncio.Event().wait()
