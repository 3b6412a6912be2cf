"""Relay: what routing costs beside a bare WebSocket on this machine, and what an idle connection with TLS weighs.

*bare*: client and server on one loopback WebSocket of the same library. *relay*: client, relay, host, each a process of
its own: twice the hops. Both in turn, plain and with TLS; the ends do the same work in both.
"""

import asyncio
import multiprocessing
import re
import ssl
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.relay.peers import Line, Realm, Relay, Someone, admitted, published, tls_files
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from common import arguments, clock, cpu, keep, machine, percentile
from holdfast.relay.tls import share_read_buffer
from holdfast.wire import relay as wire

CHUNK = 16 * 1024
PIECES = 64  # payloads under way at once: what a link would allow on a quick path
ROOMY = ("tenant_connections_max", "address_connections_max", "address_unadmitted_max", "unadmitted_max")


def resident(pid: int) -> float:
    """Return the private and shared memory of ``pid`` that is in RAM, in KiB."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return float(found[1]) if found else 0.0


# ---- far ends --------------------------------------------------------------------------------------------------------


def bare_echo(port: Any, files: tuple[Path, Path] | None) -> None:
    """Echo what comes, a number of bytes on demand: the server of the bare contender."""

    async def attend(connection: ServerConnection) -> None:
        async for data in connection:
            if len(data) == 8:
                left = int.from_bytes(bytes(data), "big")  # type: ignore[arg-type]
                for _ in range(left // CHUNK):
                    await connection.send(b"x" * CHUNK)
            else:
                await connection.send(data)

    async def run() -> None:
        tls = None
        if files is not None:
            share_read_buffer()
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(*files)
        async with serve(attend, "127.0.0.1", 0, ssl=tls, compression=None) as server:
            port.send(next(iter(server.sockets)).getsockname()[1])
            await server.serve_forever()

    asyncio.run(run())


def host_echo(ready: Any, url: str, who: Someone, trust: Path | None) -> None:
    """The same as a host behind a relay."""

    async def run() -> None:
        share_read_buffer()
        tls = ssl.create_default_context(cafile=trust) if trust else None
        async with published(url, who, tls=tls) as line:
            ready.send(True)
            async for frame in line.socket:
                said = wire.said_by_relay(frame)
                if not isinstance(said, wire.Routed):
                    continue
                if len(said.data) == 8:
                    for number in range(int.from_bytes(said.data, "big") // CHUNK):
                        await line.send(said.route, b"x" * CHUNK)
                        if number % PIECES == PIECES - 1:  # a link waits for acknowledgements; so does this
                            await line.socket.recv()
                else:
                    await line.send(said.route, said.data)

    asyncio.run(run())


def spawned(stack: ExitStack, target: Callable[..., None], *args: Any) -> Any:
    """Start a far end; return what it says when it is ready."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=target, args=(theirs, *args), daemon=True)
    process.start()
    stack.callback(process.join, 5)
    stack.callback(process.kill)
    if not ours.poll(30):
        raise RuntimeError("a far end did not start")
    return ours.recv()


# ---- what is measured ------------------------------------------------------------------------------------------------

Say = Callable[[bytes], Awaitable[None]]
Hear = Callable[[], Awaitable[int]]


async def echoes(say: Say, hear: Hear, count: int) -> list[float]:
    """Return seconds per round trip of 16 bytes."""
    took = []
    for _ in range(count):
        began = clock()
        await say(b"k" * 16)
        await hear()
        took.append(clock() - began)
    return took


async def flood(say: Say, hear: Hear, size: int, acknowledge: Say | None) -> float:
    """Return the seconds until ``size`` bytes came."""
    began, got, pieces = clock(), 0, 0
    await say(size.to_bytes(8, "big"))
    while got < size:
        got += await hear()
        pieces += 1
        if acknowledge is not None and pieces % PIECES == 0:
            await acknowledge(b"")
    return clock() - began


async def through(line: Line, host: Someone) -> tuple[Say, Hear]:
    await line.say(wire.OpenRoute(1, host.key))

    async def say(data: bytes) -> None:
        await line.send(1, data)

    async def hear() -> int:
        while not isinstance(said := wire.said_by_relay(await line.socket.recv()), wire.Routed):
            if isinstance(said, wire.Closed):
                raise RuntimeError(f"the route was closed: {said.why}")
        return len(said.data)

    return say, hear


async def compare(
    bare_url: str, one: Relay, realm: Realm, host: Someone, trust: Path | None, args: Any
) -> dict[str, Any]:
    """Measure both contenders in turn; return figures by name."""
    share_read_buffer()
    tls = ssl.create_default_context(cafile=trust) if trust else None
    figures: dict[str, Any] = {"bare": {"echo": [], "flood": []}, "relay": {"echo": [], "flood": []}}
    spent, moved = 0.0, 0
    assert one.process is not None
    async with AsyncExitStack() as stack:
        socket = await stack.enter_async_context(connect(bare_url, ssl=tls, compression=None))
        line = await stack.enter_async_context(admitted(one.url, realm.human(), "client", tls=tls))

        async def bare_hear() -> int:
            return len(await socket.recv())

        ways: dict[str, tuple[Say, Hear]] = {"bare": (socket.send, bare_hear), "relay": await through(line, host)}
        for _ in range(args.rounds):
            for name, (say, hear) in ways.items():
                figures[name]["echo"] += await echoes(say, hear, args.keys)
                before = cpu([one.process.pid])
                took = await flood(say, hear, args.size << 20, say if name == "relay" else None)
                figures[name]["flood"].append((args.size << 20) / took / 1e6)
                if name == "relay":
                    spent += cpu([one.process.pid]) - before
                    moved += args.size
    figures["relay"]["cpu_ms_per_mb"] = 1000 * spent / (moved * 1.048576)
    return figures


def told(title: str, figures: dict[str, Any]) -> None:
    print(title)
    bare = {share: percentile(figures["bare"]["echo"], share) for share in (0.5, 0.99)}
    for name in ("bare", "relay"):
        echo, speed = figures[name]["echo"], statistics.median(figures[name]["flood"])
        marks = "  ".join(
            f"p{100 * share:.0f} {1e6 * percentile(echo, share):6.0f} us ({percentile(echo, share) / bare[share]:.2f}x)"
            for share in (0.5, 0.99)
        )
        ratio = speed / statistics.median(figures["bare"]["flood"])
        print(f"  {name:6} echo {marks}  flood {speed:6.0f} MB/s ({ratio:.2f}x)")
    print(
        f"  relay: {figures['relay']['cpu_ms_per_mb']:.1f} ms of CPU per MB of flood; n={len(figures['relay']['echo'])}"
    )
    sys.stdout.flush()


def routing(args: Any, folder: Path, *, with_tls: bool) -> dict[str, Any]:
    realm = Realm()
    host = realm.host()
    certificate, key, _ = tls_files(folder)
    files = (certificate, key) if with_tls else None
    flags = ("--cert", str(certificate), "--key", str(key)) if with_tls else ()
    with ExitStack() as stack:
        rate = ("--limit", "tenant_bytes_per_s=100000000000", "--limit", "tenant_burst_bytes=100000000000")
        one = Relay(folder / "state", "--open", *rate, *flags).up()
        stack.callback(one.kill)
        port = spawned(stack, bare_echo, files)
        trust = certificate if with_tls else None
        spawned(stack, host_echo, one.url, host, trust)
        bare_url = f"{'wss' if with_tls else 'ws'}://127.0.0.1:{port}"
        return asyncio.run(compare(bare_url, one, realm, host, trust, args))


# ---- memory ----------------------------------------------------------------------------------------------------------


def weighing(count: int, folder: Path, *, with_tls: bool) -> float:
    """Return KiB of the relay per idle, admitted connection, over the empty relay."""
    realm = Realm()
    human = realm.human()
    certificate, key, _ = tls_files(folder)
    flags = [part for name in ROOMY for part in ("--limit", f"{name}={count + 100}")]
    if with_tls:
        flags += ["--cert", str(certificate), "--key", str(key)]
    one = Relay(folder / "state", "--open", *flags).up()
    assert one.process is not None
    pid = one.process.pid

    async def story() -> float:
        share_read_buffer()
        tls = ssl.create_default_context(cafile=certificate) if with_tls else None
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(
                admitted(one.url, human, "client", tls=tls)
            )  # what is made once is not counted
            before = resident(pid)
            for _ in range(count):
                await stack.enter_async_context(admitted(one.url, human, "client", tls=tls, ping_interval=None))
            await asyncio.sleep(2)
            after = resident(pid)
            one.kill()  # quicker than as many goodbyes
            return (after - before) / count

    try:
        return asyncio.run(story())
    finally:
        if one.process.poll() is None:
            one.kill()


def main() -> None:
    args = arguments(__doc__ or "", keys=1000, rounds=5, size=32, connections=1000)
    if args.quick:
        args.keys, args.rounds, args.size, args.connections = 100, 1, 4, 100
    print(f"relay: {machine()}")
    kept: dict[str, Any] = {}
    for name, with_tls in (("plain", False), ("tls", True)):
        with tempfile.TemporaryDirectory(prefix="hb-") as made:
            kept[name] = figures = routing(args, Path(made), with_tls=with_tls)
        told(f"routing, {name}", figures)
    for name, with_tls in (("plain", False), ("tls", True)):
        with tempfile.TemporaryDirectory(prefix="hb-") as made:
            kept[f"idle_{name}_kib"] = weight = weighing(args.connections, Path(made), with_tls=with_tls)
        print(f"idle, {name}: {weight:.1f} KiB of the relay per admitted connection, n={args.connections}")
    keep(args.json, kept)


if __name__ == "__main__":
    main()
