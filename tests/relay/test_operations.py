"""Running a relay: health, proxies, TLS, logs, draining, being killed."""

import asyncio
import signal
import socket
import sqlite3
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from holdfast.wire import relay as wire
from holdfast.wire.messages import Done, Failed
from tests.relay.peers import Line, Realm, Relay, admitted, dialled, published, refusal, relay, tls_files


@pytest.fixture(scope="module")
def one() -> Iterator[Relay]:
    """One open relay for every test that does not end it."""
    with relay() as running:
        yield running


@pytest.fixture
def realm() -> Realm:
    return Realm()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def page(one: Relay, path: str) -> tuple[int, str]:
    return get(f"http://127.0.0.1:{one.port}{path}")


def test_health_and_metrics_are_there_and_name_nobody(one: Relay, realm: Realm) -> None:
    host = realm.host()

    async def story() -> str:
        async with published(one.url, host), admitted(one.url, realm.human(), "client"):
            status, text = await asyncio.to_thread(page, one, "/metrics")
            assert status == 200
            return text

    text = asyncio.run(story())
    assert 'holdfast_relay_connections{role="client"} 1.0' in text
    assert 'holdfast_relay_admitted_total{role="host"}' in text
    assert realm.root.key.hex() not in text and "t-" not in text
    assert page(one, "/healthz") == (200, "ok\n")
    assert page(one, "/elsewhere")[0] == 404


def test_metrics_are_not_for_everybody() -> None:
    with relay("--open", "--metrics-from", "192.0.2.0/24") as one:
        assert page(one, "/metrics")[0] == 404


def test_a_web_page_of_another_origin_may_not_dial(one: Relay) -> None:
    async def story() -> list[int]:
        refused = []
        for origin in ("https://elsewhere.example", f"http://127.0.0.1:{one.port}"):
            try:
                async with dialled(one.url, origin=origin):
                    refused.append(0)
            except InvalidStatus as error:
                refused.append(error.response.status_code)
        return refused

    assert asyncio.run(story()) == [403, 0]


def test_behind_a_proxy_connections_count_for_whom_the_proxy_names() -> None:
    flags = ("--open", "--trust-proxy", "127.0.0.0/8", "--limit", "address_connections_max=2", "--metrics-from", "::1")

    async def story(one: Relay) -> None:
        async def dial(names: str) -> int:
            try:
                await stack.enter_async_context(dialled(one.url, additional_headers={"X-Forwarded-For": names}))
            except InvalidStatus as error:
                return error.response.status_code
            return 0

        async with AsyncExitStack() as stack:
            assert [await dial("198.51.100.7") for _ in range(3)] == [0, 0, 429]
            assert await dial("198.51.100.8") == 0
            # what stands left of the last untrusted address is that peer's own word, and counts for nothing
            assert await dial("203.0.113.9, 198.51.100.7") == 429

    with relay(*flags) as one:
        asyncio.run(story(one))


def test_a_forwarded_address_of_an_untrusted_peer_counts_for_nothing(realm: Realm) -> None:
    with relay("--open") as one:

        async def story() -> None:
            async with dialled(one.url, additional_headers={"X-Forwarded-For": "198.51.100.7"}) as (line, nonce):
                await line.say(realm.human().admit(nonce, "client"))
                await line.want(wire.Admitted)

        asyncio.run(story())
        [event] = [event for event in one.events() if event["event"] == "admitted"]
        assert event["address"] == "127.0.0.1"


def test_logs_are_lines_of_json_without_keys_or_sizes(realm: Realm) -> None:
    host = realm.host()
    with relay("--open") as one:

        async def story() -> None:
            async with published(one.url, host) as served, admitted(one.url, realm.human(), "client") as line:
                await line.say(wire.OpenRoute(1, host.key))
                await line.send(1, b"k")
                await served.want(tuple)  # type: ignore[type-var]

        asyncio.run(story())
        assert one.kill(signal.SIGTERM) == 0
        events = one.events()
        assert {event["event"] for event in events} == {"serving", "admitted", "left", "draining", "closed"}
        assert host.key.hex() not in one.log()
        known = {
            "at", "level", "event", "number", "address", "role", "tenant", "id", "kind", "why", "url", "pid", "available",
            "grace_s", "connections",
        }  # fmt: skip
        assert {name for event in events for name in event} <= known


def test_tls_is_spoken_and_a_renewed_certificate_is_used_at_once(realm: Realm, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    certificate, key, trust = tls_files(old)
    renewed, renewed_key, trust_renewed = tls_files(new)
    host = realm.host()

    async def story(one: Relay, trust: ssl.SSLContext) -> None:
        async with (
            published(one.url, host, tls=trust) as served,
            admitted(one.url, realm.human(), "client", tls=trust) as line,
        ):
            await line.say(wire.OpenRoute(1, host.key))
            await line.send(1, b"x" * wire.PAYLOAD_BYTES_MAX)
            assert len((await served.want(tuple))[1]) == wire.PAYLOAD_BYTES_MAX  # type: ignore[type-var,index]

    with relay("--open", "--cert", str(certificate), "--key", str(key)) as one:
        assert one.url.startswith("wss://") and one.process is not None
        asyncio.run(story(one, trust))
        certificate.write_bytes(renewed.read_bytes())
        key.write_bytes(renewed_key.read_bytes())
        one.process.send_signal(signal.SIGHUP)
        while "the certificate was read again" not in one.log():
            time.sleep(0.02)
        asyncio.run(story(one, trust_renewed))
        with pytest.raises(ssl.SSLCertVerificationError):
            asyncio.run(story(one, trust))


def test_connections_with_tls_share_a_buffer_and_never_their_bytes(realm: Realm, tmp_path: Path) -> None:
    certificate, key, trust = tls_files(tmp_path)
    host = realm.host()

    async def echo(served: Line, count: int) -> None:
        while count:
            said = await served.want(tuple)  # type: ignore[type-var]
            await served.send(*said)
            count -= 1

    async def talk(one: Relay, number: int) -> None:
        async with admitted(one.url, realm.human(), "client", tls=trust) as line:
            await line.say(wire.OpenRoute(1, host.key))
            sent = [bytes([number, turn]) * (1 + 2000 * (number + turn)) for turn in range(6)]
            for data in sent:
                await line.send(1, data)
            assert [await line.next() for _ in sent] == [(1, data) for data in sent]

    async def story(one: Relay) -> None:
        async with published(one.url, host, tls=trust) as served, asyncio.TaskGroup() as group:
            group.create_task(echo(served, 8 * 6))
            for number in range(8):
                group.create_task(talk(one, number))

    with relay("--open", "--cert", str(certificate), "--key", str(key)) as one:
        asyncio.run(story(one))


def test_a_peer_that_gives_no_sign_of_life_is_closed_and_a_quiet_one_is_not(realm: Realm) -> None:
    async def story(one: Relay) -> None:
        async with (
            admitted(one.url, realm.human(), "client", ping_interval=None) as dead,
            admitted(one.url, realm.human(), "client", ping_interval=None) as quiet,
        ):
            dead.socket.transport.pause_reading()  # so that no ping is answered
            async with asyncio.timeout(30):
                while one.events()[-1]["event"] != "left":
                    await asyncio.sleep(0.05)
            assert one.events()[-1]["why"] == "gone"
            await quiet.hosts()

    with relay("--open", "--limit", "silence_s_max=4") as one:
        asyncio.run(story(one))


def test_half_a_tls_handshake_is_closed_in_time_and_counts_meanwhile(tmp_path: Path) -> None:
    certificate, key, _ = tls_files(tmp_path)
    limits = ("--limit", "admission_s_max=1", "--limit", "address_unadmitted_max=2")
    with relay("--open", "--cert", str(certificate), "--key", str(key), *limits) as one:
        peers = [socket.create_connection(("127.0.0.1", one.port), timeout=10) for _ in range(3)]
        for peer in peers:
            peer.sendall(b"\x16\x03\x01")
        began = time.monotonic()
        ends = [gone(peer) for peer in reversed(peers)]
        assert ends == [b""] * 3
        assert time.monotonic() - began < 8
        for peer in peers:
            peer.close()


def gone(peer: socket.socket) -> bytes:
    """Read the end of a socket that may have been reset, since it was closed with bytes unread."""
    try:
        return peer.recv(1)
    except ConnectionResetError:
        return b""


def test_a_drain_is_announced_and_ends_by_itself(realm: Realm) -> None:
    """Promise Y10."""
    host = realm.host()
    with relay("--open", "--grace", "30") as one:
        assert one.process is not None

        async def story() -> None:
            async with published(one.url, host) as served, admitted(one.url, realm.human(), "client") as line:
                await line.say(wire.OpenRoute(1, host.key))
                await served.want(wire.Incoming)
                one.process.terminate()
                assert (await line.want(wire.Draining)).grace_s == 30
                await line.send(1, b"still routed")
                assert (await served.want(tuple))[1] == b"still routed"  # type: ignore[type-var,index]
                await line.say(wire.OpenRoute(2, host.key))
                assert (await line.want(Failed)).code == "relay-draining"

        asyncio.run(story())
        assert one.process.wait(10) == 0  # everybody left: no need to wait out the grace


def test_when_the_grace_is_over_connections_are_closed_as_for_a_restart(realm: Realm) -> None:
    with relay("--open", "--grace", "0.2") as one:
        assert one.process is not None

        async def story() -> int | None:
            async with admitted(one.url, realm.human(), "client") as line:
                one.process.terminate()
                await line.over()
                return line.socket.close_code

        assert asyncio.run(story()) == 1012
        assert one.process.wait(10) == 0


def test_after_kill_9_hosts_come_back_and_nothing_that_matters_is_forgotten(realm: Realm) -> None:
    """Promise Y11."""
    host, away, human = realm.host(), realm.host(), realm.human()
    banned = realm.human()

    async def before(one: Relay) -> None:
        async with published(one.url, away, version=3):
            pass
        async with published(one.url, host), admitted(one.url, human, "client") as line:
            assert isinstance(await line.ask(wire.Revoke(5, realm.revoke(banned.key))), Done)
            await line.hosts()
            await settled(one, hosts=2)
            one.kill()
            await line.over()

    async def after(one: Relay) -> None:
        async with admitted(one.url, human, "client") as line:
            found = await line.hosts(watch=True)
            assert {key: each.reachable for key, each in found.items()} == {host.key: False, away.key: False}
            assert found[away.key].record == away.record(3)
            assert all(abs(each.since - time.time()) < 60 for each in found.values())
            async with admitted(one.url, away, "host") as old:
                answer = await old.ask(wire.Publish(1, away.chain, away.record(2)))
                assert isinstance(answer, Failed) and answer.code == "rolled-back"
            async with published(one.url, host):
                while not (await line.want(wire.Changed)).presence.reachable:
                    pass
        assert await refusal(one, banned, "client") == "revoked"

    async def settled(one: Relay, hosts: int) -> None:
        """Wait until the directory has it: the relay writes behind what it answers."""
        query = "SELECT count(*) FROM entries WHERE NOT removed AND key LIKE ?"
        async with asyncio.timeout(10):
            while True:
                database = sqlite3.connect(f"file:{one.state / 'directory.sqlite'}?mode=ro", uri=True)
                counts = [database.execute(query, (f"%/{what}/%",)).fetchone()[0] for what in ("hosts", "revocations")]
                database.close()
                if counts == [hosts, 1]:
                    return
                await asyncio.sleep(0.05)

    with relay("--open") as one:
        asyncio.run(before(one))
        one.up()
        asyncio.run(after(one))


def test_two_relays_do_not_share_a_state_directory(one: Relay) -> None:
    second = Relay(one.state, "--open")
    try:
        with pytest.raises(RuntimeError, match="state-in-use"):
            second.up()
    finally:
        if second.process is not None and second.process.poll() is None:
            second.kill()


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (["--open", "--cert", "/nonexistent.pem"], "bad-argument"),
        (["--open", "--cert", "/nonexistent.pem", "--key", "/nonexistent.pem"], "bad-tls"),
        (["--tenant", "abc"], "bad-argument"),
        (["--open", "--limit", "nothing=1"], "bad-limit"),
        (["--open", "--limit", "routes_max=-1"], "bad-limit"),
        (["--open", "--trust-proxy", "everybody"], "bad-argument"),
    ],
)
def test_a_wrong_setting_is_said_before_anything_starts(flags: list[str], code: str) -> None:
    with pytest.raises(RuntimeError, match=code), relay(*flags):
        pass
