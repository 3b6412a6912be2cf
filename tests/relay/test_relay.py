"""A relay as a process, hosts and clients on real WebSockets."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidMessage

from holdfast.core.identity import Kind
from holdfast.wire import relay as wire
from holdfast.wire.messages import Done, Failed, Ping, Pong
from tests.relay.peers import Realm, Relay, Someone, admitted, dialled, joining, published, refusal, relay


@pytest.fixture(scope="module")
def one() -> Iterator[Relay]:
    """One open relay for every test that does not end it."""
    with relay() as running:
        yield running


@pytest.fixture
def realm() -> Realm:
    return Realm()


# ---- admission -------------------------------------------------------------------------------------------------------


def test_a_host_and_an_operator_of_any_kind_are_admitted(one: Relay, realm: Realm) -> None:
    """Promise Y1."""

    async def story() -> list[str]:
        kinds = (Kind.HUMAN, Kind.SERVICE, Kind.DEVICE, Kind.GUEST)
        return [
            await refusal(one, realm.host(), "host"),
            *[await refusal(one, realm.enrol(kind), "client") for kind in kinds],
        ]

    assert asyncio.run(story()) == [""] * 5


def test_who_cannot_prove_a_certificate_of_that_role_is_refused(one: Relay, realm: Realm) -> None:
    """Promise Y1."""
    other, human = Realm(), realm.human()
    old = int(time.time()) - 3 * 86400
    stale = Realm(now=old)
    forged = Someone(human.keys, (*realm.above, other.human().chain[-1]), human.tenant)
    borrowed = Someone(other.human().keys, human.chain, human.tenant)

    async def story() -> dict[str, str]:
        return {
            "another key's signature": await refusal(one, borrowed, "client"),
            "a certificate of another tenant under this issuer": await refusal(one, forged, "client"),
            "no chain": await refusal(one, human, "client", chain=()),
            "the issuer alone": await refusal(one, Someone(realm.issuer, realm.above, human.tenant), "client"),
            "an expired certificate": await refusal(one, stale.enrol(Kind.HUMAN), "client"),
            "an operator as host": await refusal(one, human, "host"),
            "a host as client": await refusal(one, realm.host(), "client"),
            "a signature for another role": await refusal(one, human, "client", signature=human.keys.sign(b"x" * 60)),
            "a version nobody speaks": await refusal(one, human, "client", version=99),
        }

    assert asyncio.run(story()) == {
        "another key's signature": "bad-proof",
        "a certificate of another tenant under this issuer": "bad-certificate",
        "no chain": "bad-certificate",
        "the issuer alone": "wrong-role",
        "an expired certificate": "expired",
        "an operator as host": "wrong-role",
        "a host as client": "wrong-role",
        "a signature for another role": "bad-proof",
        "a version nobody speaks": "wrong-version",
    }


def test_an_answer_to_another_challenge_admits_nobody(one: Relay, realm: Realm) -> None:
    """Promise Y1: what was heard once cannot be said again."""
    human = realm.human()

    async def story() -> str:
        async with dialled(one.url) as (_, earlier):
            return await refusal(one, human, "client", nonce=earlier)

    assert asyncio.run(story()) == "bad-proof"


def test_an_answer_made_for_another_relay_is_refused(one: Relay, realm: Realm) -> None:
    """Promise Y1: a relay that passes our challenge on gets an answer that names that relay."""
    human = realm.human()
    signed_for_elsewhere = asyncio.run(refusal(one, human, "client", dialled="relay.example"))

    async def renamed() -> str:
        async with dialled(one.url) as (line, nonce):
            said = human.admit(nonce, "client", "relay.example")
            await line.say(wire.Admit(said.version, said.role, "127.0.0.1", said.chain, said.signature))
            answer = await line.next()
            return answer.code if isinstance(answer, Failed) else ""

    assert (signed_for_elsewhere, asyncio.run(renamed())) == ("wrong-relay", "bad-proof")


def test_a_closed_relay_serves_only_its_tenants() -> None:
    mine, other = Realm(), Realm()
    with relay("--tenant", mine.root.key.hex()) as one:
        assert asyncio.run(refusal(one, mine.human(), "client")) == ""
        assert asyncio.run(refusal(one, other.human(), "client")) == "tenant-not-served"


# ---- finding and reaching --------------------------------------------------------------------------------------------


def test_a_client_finds_a_host_and_bytes_pass_both_ways(one: Relay, realm: Realm) -> None:
    """Promise Y2."""
    host, human = realm.host(), realm.human()

    async def story() -> None:
        async with published(one.url, host) as served, admitted(one.url, human, "client") as line:
            found = (await line.hosts())[host.key]
            assert found.reachable
            assert (found.chain, found.record) == (host.chain, host.record(1))
            await line.say(wire.OpenRoute(7, host.key))
            await line.send(7, b"first")  # without waiting for anything
            incoming = await served.want(wire.Incoming)
            assert incoming.kind == "member"
            assert await served.next() == (incoming.route, b"first")
            await served.send(incoming.route, b"\x00" * wire.PAYLOAD_BYTES_MAX)
            assert await line.next() == (7, b"\x00" * wire.PAYLOAD_BYTES_MAX)
            await served.send(incoming.route, b"last")
            await served.say(wire.Closed(incoming.route))
            assert await line.next() == (7, b"last")
            assert await line.next() == wire.Closed(7, "asked")
            await served.say(Ping(5))
            assert await served.next() == Pong(5)

    asyncio.run(story())


def test_two_clients_of_one_host_do_not_hear_each_other(one: Relay, realm: Realm) -> None:
    host = realm.host()

    async def story() -> None:
        async with (
            published(one.url, host) as served,
            admitted(one.url, realm.human(), "client") as a,
            admitted(one.url, realm.human(), "client") as b,
        ):
            routes = []
            for line in (a, b):
                await line.say(wire.OpenRoute(1, host.key))
                routes.append((await served.want(wire.Incoming)).route)
            for route, text in zip(routes, (b"to a", b"to b"), strict=True):
                await served.send(route, text)
            assert [await a.next(), await b.next()] == [(1, b"to a"), (1, b"to b")]

    asyncio.run(story())


def test_whoever_watches_is_told_who_comes_and_goes(one: Relay, realm: Realm) -> None:
    """Promise Y3: unreachable, since when; never dead."""
    host = realm.host()

    async def story() -> None:
        async with admitted(one.url, realm.human(), "client") as line:
            assert await line.hosts(watch=True) == {}
            async with published(one.url, host):
                came = await line.want(wire.Changed)
                assert (came.presence.host, came.presence.reachable) == (host.key, True)
                assert (await line.want(wire.Changed)).presence.record == host.record(1)
            before = time.time()
            gone = (await line.want(wire.Changed)).presence
            assert not gone.reachable
            assert abs(gone.since - before) < 5
            await line.say(wire.OpenRoute(1, host.key))
            refused = await line.want(Failed)
            assert (refused.ref, refused.code) == (1, "host-unreachable")

    asyncio.run(story())


def test_other_tenants_hosts_are_as_unknown_as_those_that_do_not_exist(one: Relay, realm: Realm) -> None:
    """Promise Y4: list, watch, open, revoke and join tell a stranger nothing."""
    host, stranger = realm.host(), Realm()
    nobody = Realm().host()

    async def answers(key: bytes) -> tuple[object, ...]:
        async with admitted(one.url, stranger.human(), "client") as line:
            listed = await line.hosts(watch=True)
            await line.say(wire.OpenRoute(1, key))
            opened = await line.want(Failed)
            await line.send(1, b"all the same")  # a route that never was is none of the other tenant's
            revoked = await line.ask(wire.Revoke(9, realm.revoke(host.key)))
            return listed, opened, revoked, line.put_by

    async def joins(key: bytes) -> object:
        async with joining(one.url) as line:
            await line.say(wire.OpenRoute(1, key))
            return await line.want(Failed)

    async def story() -> None:
        async with published(one.url, host) as served:
            assert await answers(host.key) == await answers(nobody.key)
            assert await joins(host.key) == await joins(nobody.key)
            await served.say(Ping(1))
            assert await served.next() == Pong(1)  # and the host heard nothing of any of it

    asyncio.run(story())


def test_a_record_that_is_older_or_not_the_hosts_own_is_refused(one: Relay, realm: Realm) -> None:
    """Promise Y5."""
    host, other = realm.host(), realm.host()

    async def story() -> None:
        async with published(one.url, host, version=5) as line:
            cases = {
                "rolled-back": wire.Publish(11, host.chain, host.record(4)),
                "bad-certificate": wire.Publish(12, other.chain, other.record(9)),
                "bad-record": wire.Publish(13, host.chain, other.record(9)),
            }
            for code, message in cases.items():
                answer = await line.ask(message)
                assert isinstance(answer, Failed) and answer.code == code
            two_things = await line.ask(wire.Publish(14, host.chain, host.record(5, channel=b"\x06" * 32)))
            assert isinstance(two_things, Failed) and two_things.code == "bad-record"
            assert isinstance(await line.ask(wire.Publish(15, host.chain, host.record(6))), Done)
        async with admitted(one.url, realm.human(), "client") as client:
            assert (await client.hosts())[host.key].record == host.record(6)

    asyncio.run(story())


def test_the_newest_connection_of_a_host_takes_the_place_of_the_one_before(one: Relay, realm: Realm) -> None:
    host = realm.host()

    async def story() -> None:
        async with published(one.url, host) as former, admitted(one.url, realm.human(), "client") as line:
            await line.say(wire.OpenRoute(1, host.key))
            await former.want(wire.Incoming)
            async with admitted(one.url, host, "host") as newer:
                assert await line.want(wire.Closed) == wire.Closed(1, "gone")
                last = await former.over()
                assert last is not None and last.code == "superseded"
                await line.say(wire.OpenRoute(2, host.key))
                await newer.want(wire.Incoming)

    asyncio.run(story())


def test_revoking_ends_connections_and_bars_the_way(one: Relay, realm: Realm) -> None:
    """Promise Y6."""
    host, human, admin = realm.host(), realm.human(), realm.human()

    async def story() -> None:
        async with (
            published(one.url, host) as served,
            admitted(one.url, human, "client") as line,
            admitted(one.url, admin, "client") as other,
        ):
            await line.say(wire.OpenRoute(1, host.key))
            incoming = await served.want(wire.Incoming)
            revocations = realm.revoke(human.key)
            began = time.monotonic()
            assert isinstance(await other.ask(wire.Revoke(3, revocations)), Done)
            last = await line.over()
            assert last is not None and last.code == "revoked"
            assert await served.want(wire.Closed) == wire.Closed(incoming.route, "gone")
            assert time.monotonic() - began < 1
            assert (await served.want(wire.Revoked)).revocations == revocations
        assert await refusal(one, human, "client") == "revoked"
        async with admitted(one.url, host, "host") as again:
            assert (await again.want(wire.Revoked)).revocations == revocations

    asyncio.run(story())


def test_a_joiner_reaches_only_a_host_that_takes_joiners_now(one: Relay, realm: Realm) -> None:
    """Promise Y7."""
    host = realm.host()

    async def story() -> None:
        async with published(one.url, host) as served:
            await served.ask(wire.Joiners(2, 60))
            async with joining(one.url) as line:
                assert isinstance(await line.ask(wire.Revoke(1, b"")), Failed)
                await line.say(wire.ListHosts(2))
                assert (await line.want(Failed)).code == "refused"
                await line.say(wire.OpenRoute(3, host.key))
                assert (await served.want(wire.Incoming)).kind == "join"
                await line.say(wire.OpenRoute(4, host.key))
                assert (await line.want(Failed)).code == "too-many"
            await served.ask(wire.Joiners(3, 0))
            async with joining(one.url) as late:
                await late.say(wire.OpenRoute(1, host.key))
                assert (await late.want(Failed)).code == "no-such-host"

    asyncio.run(story())


# ---- limits ----------------------------------------------------------------------------------------------------------


def test_limits_refuse_with_a_reason_and_hurt_nobody_else(realm: Realm) -> None:
    """Promise Y8."""
    settings = {"tenant_connections_max": 3, "routes_max": 2, "joiners_max": 1}
    flags = [part for name, value in settings.items() for part in ("--limit", f"{name}={value}")]
    host, other = realm.host(), Realm()

    async def story(one: Relay) -> None:
        async with (
            published(one.url, host),
            admitted(one.url, realm.human(), "client") as line,
            admitted(one.url, realm.human(), "client"),
        ):
            assert await refusal(one, realm.human(), "client") == "relay-busy"
            assert await refusal(one, other.human(), "client") == ""
            for route in (1, 2, 3):
                await line.say(wire.OpenRoute(route, host.key))
            refused = await line.want(Failed)
            assert (refused.ref, refused.code) == (3, "too-many")
            async with joining(one.url), dialled(one.url) as (second, _):
                await second.say(wire.Admit(wire.PROTOCOL, "join"))
                assert (await second.want(Failed)).code == "relay-busy"

    with relay("--open", *flags) as one:
        asyncio.run(story(one))


def test_an_address_has_only_so_many_connections() -> None:
    """Promise Y8: what is over is closed before a byte of it is read."""

    async def story(one: Relay) -> None:
        async with dialled(one.url), dialled(one.url):
            with pytest.raises((OSError, InvalidMessage)):
                async with dialled(one.url):
                    pass
        async with asyncio.timeout(10):
            while True:  # as soon as one is closed another may come
                try:
                    async with dialled(one.url):
                        return
                except (OSError, InvalidMessage):
                    await asyncio.sleep(0.02)

    with relay("--open", "--limit", "address_connections_max=2") as one:
        asyncio.run(story(one))


def test_a_tenant_over_its_rate_is_slowed_down_and_loses_nothing(realm: Realm) -> None:
    """Promise Y8: reading is delayed; no byte is dropped."""
    host = realm.host()
    flags = ("--limit", "tenant_bytes_per_s=400000", "--limit", "tenant_burst_bytes=200000")

    async def story(one: Relay) -> float:
        async with published(one.url, host) as served, admitted(one.url, realm.human(), "client") as line:
            await line.say(wire.OpenRoute(1, host.key))
            began = time.monotonic()
            for number in range(40):
                await line.send(1, number.to_bytes(4, "big") * 4096)
            await served.want(wire.Incoming)
            got = [await served.want(tuple) for _ in range(40)]  # type: ignore[type-var]
            assert [data[:4] for _, data in got] == [number.to_bytes(4, "big") for number in range(40)]
            return time.monotonic() - began

    with relay("--open", *flags) as one:
        assert asyncio.run(story(one)) > 0.8  # 655 KB at 400 KB/s after a burst of 200 KB


def test_a_slow_receiver_loses_its_route_and_stalls_nobody(realm: Realm) -> None:
    """Promise Y9: one host connection, two clients; one of them never reads."""
    host = realm.host()

    async def story(one: Relay) -> None:
        async with (
            published(one.url, host) as served,
            admitted(one.url, realm.human(), "client", max_queue=1) as slow,
            admitted(one.url, realm.human(), "client") as quick,
        ):
            await slow.say(wire.OpenRoute(1, host.key))
            stuck = (await served.want(wire.Incoming)).route
            await quick.say(wire.OpenRoute(1, host.key))
            good = (await served.want(wire.Incoming)).route
            slow.socket.transport.pause_reading()
            closed, worst, sent = None, 0.0, 0
            while closed is None:
                for _ in range(8):
                    await served.send(stuck, b"x" * 60_000)
                    sent += 60_000
                began = time.monotonic()
                await served.send(good, b"tick")
                assert await quick.next() == (1, b"tick")
                worst = max(worst, time.monotonic() - began)
                await served.say(Ping(sent))
                while (said := await served.next()) != Pong(sent):
                    closed = said
                assert sent < 64 << 20, "the relay keeps on buffering"
            assert closed == wire.Closed(stuck, "slow")
            assert worst < 2
            await served.send(good, b"still here")
            assert await quick.next() == (1, b"still here")
            slow.socket.transport.resume_reading()
            assert await slow.want(wire.Closed) == wire.Closed(1, "slow")
            await slow.say(wire.OpenRoute(2, host.key))  # the connection itself is as good as before
            await served.want(wire.Incoming)

    with relay("--open", "--limit", "route_backlog_bytes_max=1000000") as one:
        asyncio.run(story(one))
