"""No port on the host's side, ever (R35); TLS to relays; nothing is left of clients that came and went."""

import asyncio
import contextlib
import os
import time
from pathlib import Path

import pytest

from tests.relay.peers import tls_files
from tests.remote.conftest import Report
from tests.remote.networks import namespace
from tests.remote.paths import descriptors, listeners
from tests.remote.places import World, story

# ---- no listening port -----------------------------------------------------------------------------------------------


def test_no_process_of_a_host_listens_on_the_network(world: World) -> None:
    """R35, read from the kernel while clients are connected; the relay is the only one that listens."""
    world.new("seen", "echo ready; exec sleep 600")
    with world.away.attach("seen@box") as screen:
        screen.expect(rb"ready")
        ours = set(world.processes())
        assert world.host_pid in ours and len(ours) >= 4
        assert world.relay.process is not None
        listening = {pid: found for pid in ours if (found := listeners(pid))}
        assert set(listening) == {world.relay.process.pid}, listening


def test_a_host_behind_a_network_without_a_way_in_is_reachable(report: Report) -> None:
    """R35: in a namespace of its own nothing at all listens, and the relay outside still leads to it."""
    with contextlib.ExitStack() as stack:
        try:
            inside = stack.enter_context(namespace())
        except (OSError, FileNotFoundError) as why:
            report(f"no network namespaces here ({why}); the test above read the same from /proc")
            return
        world = stack.enter_context(World(link=False, relay_args=("--open", "--listen", f"{inside.near}:0")))
        world.prefix = inside.prefix
        assert world.link(world.relay.url) == {world.relay.url: "up"}
        away = world.machine(world.relay.url)
        world.new("inside", "stty -echo; echo ready; exec cat")
        net = os.readlink(f"/proc/{world.host_pid}/ns/net")
        assert net != os.readlink("/proc/self/ns/net")
        with away.attach("inside@box") as screen:
            screen.expect(rb"ready", timeout=20)
            screen.type(b"hello\r")
            screen.expect(rb"hello")
            for family in ("tcp", "tcp6", "udp", "udp6"):
                with open(f"/proc/{world.host_pid}/net/{family}") as file:
                    states = [line.split()[3] for line in file.readlines()[1:]]
                assert "0A" not in states and not (family.startswith("udp") and states), (family, states)


# ---- TLS -------------------------------------------------------------------------------------------------------------


def test_tls_with_a_certificate_from_files_and_a_wrong_ca_is_refused() -> None:
    with contextlib.ExitStack() as stack:
        world = World(link=False)
        certificate, key, _ = tls_files(world.folder)
        wrong = world.folder / "wrong"
        wrong.mkdir()
        other, _, _ = tls_files(wrong)
        world._relay_args = ("--open", "--cert", str(certificate), "--key", str(key))
        stack.enter_context(world)
        assert world.relay.url.startswith("wss://")
        world.env["HOLDFAST_RELAY_CA"] = str(certificate)
        assert world.link(world.relay.url) == {world.relay.url: "up"}
        world.new("safe", "stty -echo; echo ready; exec cat")
        good = world.machine(world.relay.url)
        with good.attach("safe@box") as screen:
            screen.expect(rb"ready", timeout=20)
            screen.type(b"sealed\r")
            screen.expect(rb"sealed")
        bad = world.machine(world.relay.url)
        bad.env["HOLDFAST_RELAY_CA"] = str(other)
        done = bad.hold("view", "safe@box")
        assert done.returncode == 123 and done.stdout == "", done
        assert "certificate verify failed" in done.stderr and "Traceback" not in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1


def test_a_host_that_does_not_trust_the_relay_says_so(own_world: World) -> None:
    world = own_world
    certificate, key, _ = tls_files(world.folder)
    secure = world.another_relay("--open", "--cert", str(certificate), "--key", str(key))
    states = world.link(world.relay.url, secure.url)
    until = time.monotonic() + 10
    while "verify" not in states[secure.url] and time.monotonic() < until:
        states = world.link(world.relay.url, secure.url)
    assert states[world.relay.url] == "up"
    assert "certificate verify failed" in states[secure.url], states


# ---- nothing is left -------------------------------------------------------------------------------------------------


@pytest.mark.timeout(600)
def test_clients_that_come_and_go_leave_nothing(own_world: World, soak: bool, report: Report) -> None:
    """I11: fifty at a time; descriptors of host and relay, routes, attachments, and the host's memory stay what they were."""
    world = own_world
    rounds = 200 if soak else 4
    world.new("job", "stty -echo; echo ready; exec cat")
    machines = [world.machine(world.relay.url) for _ in range(5)]
    assert world.relay.process is not None

    async def visit(client: object, number: int) -> None:
        session = await client.attach("job", since=None)  # type: ignore[attr-defined]
        async with session:
            if number % 5 == 0:
                await session.send("x\n")
            assert (await session.text()).lines

    async def all_at_once() -> None:
        # One after the other by machine: which machine this process is, is a matter of its environment.
        for away in machines:
            with away.chosen():
                import holdfast as hf

                clients = [hf.connect("@box") for _ in range(10)]
                async with contextlib.AsyncExitStack() as stack:
                    for client in clients:
                        await stack.enter_async_context(client)
                    await asyncio.gather(*(visit(client, number) for number, client in enumerate(clients)))

    def count() -> tuple[int, int, int]:
        host, relay = world.host_pid, world.relay.process.pid  # type: ignore[union-attr]
        status = Path(f"/proc/{host}/status").read_text()
        rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        return len(descriptors(host)), len(descriptors(relay)), rss

    def settled(wanted: tuple[int, int, int]) -> tuple[int, int, int]:
        until = time.monotonic() + 15
        while (now := count())[:2] > wanted[:2] and time.monotonic() < until:
            time.sleep(0.1)
        return now

    story(all_at_once())
    before = settled((0, 0, 0)) if soak else count()
    for _ in range(rounds - 1):
        story(all_at_once())
    after = settled(before)
    report(f"{rounds * 50} visits: descriptors host {before[0]} -> {after[0]}, relay {before[1]} -> {after[1]}; "
           f"host {before[2]} -> {after[2]} KiB")  # fmt: skip
    assert after[0] <= before[0] and after[1] <= before[1]
    assert after[2] - before[2] < (64 if soak else 32) * 1024  # tables that fill up to their bounds
    until = time.monotonic() + 10
    while world.session("job")["attached"] and time.monotonic() < until:
        time.sleep(0.05)
    assert world.session("job")["attached"] == 0
