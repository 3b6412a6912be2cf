"""The hub's decisions, without a socket or a clock."""

import itertools
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.identity import Kind, issue
from holdfast.relay.gate import Gate
from holdfast.relay.hub import HOST, REVOCATIONS, Hub
from holdfast.relay.limits import BadLimit, Bucket, Limits, limits_from
from holdfast.relay.outbox import Outbox, Tally
from holdfast.relay.rooms import Now, Peer
from holdfast.wire import relay as wire
from holdfast.wire.messages import Done, Failed
from tests.relay.peers import Realm, Someone, serial

T0 = 1_800_000_000


def at(seconds: float) -> Now:
    return Now(mono=100.0 + seconds, unix=T0 + seconds)


class Floor:
    """A hub with peers that say and hear things at an instant."""

    def __init__(self, **limits: Any) -> None:
        self.now = at(0)
        self.hub = Hub(
            names=["Relay.example."], served=None, limits=limits_from([f"{k}={v}" for k, v in limits.items()])
        )
        self.nonces = itertools.count(1)

    def come(self, who: Someone | None, role: wire.Role) -> Peer:
        nonce = next(self.nonces).to_bytes(32, "big")
        peer = self.hub.connect("198.51.100.7", nonce, now=self.now)
        said = wire.Admit(1, "join") if who is None else who.admit(nonce, role, "relay.example")
        self.say(peer, said)
        return peer

    def come_clean(self, who: Someone | None, role: wire.Role) -> Peer:
        """Come, and forget the greeting."""
        peer = self.come(who, role)
        assert any(isinstance(said, wire.Admitted) for said in self.heard(peer)), peer.over
        return peer

    def say(self, peer: Peer, message: Any) -> list[Peer]:
        return list(self.hub.receive(peer, wire.control(message), now=self.now))

    def send(self, peer: Peer, route: int, data: bytes) -> Iterable[Peer]:
        return self.hub.receive(peer, wire.routed(route, data), now=self.now)

    def heard(self, peer: Peer, most: int = 1 << 30) -> list[Any]:
        found: list[Any] = []
        while len(found) < most and (frame := peer.outbox.take()) is not None:
            said = wire.said_by_relay(frame)
            found.append((said.route, bytes(said.data)) if isinstance(said, wire.Routed) else said)
        return found

    def route(self, client: Peer, host: Peer, number: int, key: bytes) -> int:
        self.say(client, wire.OpenRoute(number, key))
        [incoming] = [said for said in self.heard(host) if isinstance(said, wire.Incoming)]
        return incoming.route


@pytest.fixture
def realm() -> Realm:
    return Realm(now=T0)


def test_a_name_is_compared_as_names_are(realm: Realm) -> None:
    floor = Floor()
    assert not floor.come(realm.human(), "client").over


def test_who_says_nothing_is_ended_at_the_announced_instant() -> None:
    floor = Floor(admission_s_max=10)
    peer = floor.hub.connect("198.51.100.7", b"n" * 32, now=at(0))
    assert [bool(floor.hub.wake(now=at(seconds))) for seconds in (9.9, 10.0, 11.0)] == [False, True, False]
    assert peer.over == "timeout"


def test_a_certificate_that_expires_ends_its_connection_unless_a_newer_one_was_given(realm: Realm) -> None:
    floor = Floor()
    host, human = realm.enrol(Kind.HOST, life_s=3600), realm.enrol(Kind.HUMAN, life_s=3600)
    kept, lost = floor.come_clean(host, "host"), floor.come_clean(human, "client")
    chain = issue(realm.issuer, realm.above, kind=Kind.HOST, key=host.key, serial=serial(), now=T0, life_s=7200)
    floor.say(kept, wire.Publish(1, chain, host.record()))
    assert [type(said) for said in floor.heard(kept)] == [Done]
    floor.hub.wake(now=at(3301))
    assert (kept.over, lost.over) == ("", "expired")
    floor.hub.wake(now=at(7000))
    assert kept.over == "expired"


def test_what_is_sent_before_a_close_arrives_before_it(realm: Realm) -> None:
    floor, host = Floor(), realm.host()
    served, client = floor.come_clean(host, "host"), floor.come_clean(realm.human(), "client")
    number = floor.route(client, served, 1, host.key)
    for text in (b"a", b"b"):
        floor.send(served, number, text)
    floor.hub.leave(served, now=floor.now)
    assert floor.heard(client) == [(1, b"a"), (1, b"b"), wire.Closed(1, "gone")]


def test_a_slow_route_ends_at_its_bound_and_only_that_route(realm: Realm) -> None:
    """Promise Y9."""
    floor, host = Floor(route_backlog_bytes_max=10_000), realm.host()
    served = floor.come_clean(host, "host")
    slow, quick = (floor.come_clean(realm.human(), "client") for _ in range(2))
    stuck, good = floor.route(slow, served, 1, host.key), floor.route(quick, served, 1, host.key)
    for _ in range(9):
        floor.send(served, stuck, b"x" * 1000)
    assert slow.outbox.waiting == 9 * 1009
    assert list(floor.send(served, stuck, b"x" * 1000)) == [slow, served]
    assert floor.heard(served) == [wire.Closed(stuck, "slow")]
    assert floor.heard(slow) == [wire.Closed(1, "slow")]  # and nothing of what waited: there is a hole in it anyway
    assert floor.send(served, stuck, b"late") == ()
    floor.send(served, good, b"on")
    assert floor.heard(quick) == [(1, b"on")]
    assert floor.hub.tally.waiting == 0


def test_a_full_connection_gives_up_its_fullest_route_and_not_the_one_that_types(realm: Realm) -> None:
    floor, host = Floor(route_backlog_bytes_max=10_000, peer_backlog_bytes_max=12_000), realm.host()
    served = floor.come_clean(host, "host")
    hog, typist = (floor.come_clean(realm.human(), "client") for _ in range(2))
    pasted, typed = floor.route(hog, served, 1, host.key), floor.route(typist, served, 1, host.key)
    for _ in range(9):
        floor.send(hog, 1, b"x" * 1000)
    for _ in range(40):
        floor.send(typist, 1, b"k" * 91)
    assert floor.heard(hog) == [wire.Closed(1, "slow")]
    assert floor.heard(served) == [wire.Closed(pasted, "slow"), *[(typed, b"k" * 91)] * 40]


def test_all_backlogs_together_are_bounded(realm: Realm) -> None:
    floor, host = Floor(backlog_bytes_max=5000), realm.host()
    served = floor.come_clean(host, "host")
    clients = [floor.come_clean(realm.human(), "client") for _ in range(10)]
    routes = [floor.route(client, served, 1, host.key) for client in clients]
    for route in routes:
        floor.send(served, route, b"x" * 991)
    assert floor.hub.tally.waiting == 5000
    for client in clients:
        floor.hub.leave(client, now=floor.now)
    assert floor.hub.tally.waiting == 0


def test_a_drain_admits_and_opens_nothing_more(realm: Realm) -> None:
    """Promise Y10."""
    floor, host = Floor(), realm.host()
    served, client = floor.come_clean(host, "host"), floor.come_clean(realm.human(), "client")
    assert set(floor.hub.drain(5, now=floor.now)) == {served, client}
    assert floor.heard(client) == [wire.Draining(5)]
    assert floor.come(realm.human(), "client").over == "relay-draining"
    floor.say(client, wire.OpenRoute(1, host.key))
    [refused] = floor.heard(client)
    assert isinstance(refused, Failed) and refused.code == "relay-draining"


def test_a_host_that_was_not_seen_for_long_is_forgotten(realm: Realm) -> None:
    floor, host = Floor(host_kept_s_max=1000), realm.host()
    served = floor.come_clean(host, "host")
    floor.hub.leave(served, now=at(0))
    floor.hub.unsaved.clear()
    floor.hub.wake(now=at(999))
    assert floor.hub.tenants[realm.root.key].hosts
    floor.hub.wake(now=at(1059))
    assert not floor.hub.tenants
    assert list(floor.hub.unsaved) == [(HOST, realm.root.key, host.key)]


def test_what_is_kept_for_all_tenants_together_is_bounded(realm: Realm) -> None:
    floor = Floor(hosts_max=1, revocations_bytes_max=600)
    other = Realm(now=T0)
    first = floor.come_clean(realm.host(), "host")
    assert floor.come(other.host(), "host").over == "relay-busy"
    assert not floor.come(other.human(), "client").over
    floor.say(first, wire.Revoke(1, realm.revoke(b"\x09" * 32)))
    floor.say(first, wire.Revoke(2, realm.revoke(*(bytes([n]) * 32 for n in range(1, 40)), version=2)))
    answers = [said for said in floor.heard(first) if isinstance(said, Done | Failed)]
    assert [type(said) for said in answers] == [Done, Failed]


def test_an_open_relay_that_is_full_forgets_the_tenant_that_was_idle_longest() -> None:
    floor = Floor(tenants_max=2)
    idle, busy, new = (Realm(now=T0) for _ in range(3))
    for seconds, realm in ((1, idle), (2, busy)):
        floor.now = at(seconds)
        peer = floor.come_clean(realm.host(), "host")
        floor.say(peer, wire.Revoke(1, realm.revoke(b"\x09" * 32)))
        if realm is idle:
            floor.hub.leave(peer, now=floor.now)
    floor.hub.unsaved.clear()
    assert not floor.come(new.human(), "client").over
    assert set(floor.hub.tenants) == {busy.root.key, new.root.key}
    assert (REVOCATIONS, idle.root.key, idle.root.key) in floor.hub.unsaved
    assert floor.come(Realm(now=T0).human(), "client").over == "relay-busy"  # nobody left is idle


def test_an_older_revocation_list_changes_nothing(realm: Realm) -> None:
    """Promise Y6."""
    floor, human = Floor(), realm.human()
    admin = floor.come_clean(realm.human(), "client")
    newer, older = realm.revoke(human.key, version=2), realm.revoke(b"\x09" * 32, version=1)
    floor.say(admin, wire.Revoke(1, newer))
    floor.heard(admin)
    floor.say(admin, wire.Revoke(2, older))
    [refused] = floor.heard(admin)
    assert isinstance(refused, Failed) and refused.code == "rolled-back"
    floor.say(admin, wire.Revoke(3, newer))
    assert floor.heard(admin) == [Done(3)]
    assert floor.come(human, "client").over == "revoked"


def test_revoking_an_issuer_ends_everybody_whom_it_enrolled(realm: Realm) -> None:
    floor = Floor()
    peers = [floor.come_clean(realm.host(), "host"), floor.come_clean(realm.human(), "client")]
    floor.say(peers[1], wire.Revoke(1, realm.revoke(realm.issuer.key)))
    assert [peer.over for peer in peers] == ["revoked"] * 2


def test_joiners_are_counted_at_their_host_and_end_in_time(realm: Realm) -> None:
    """Promise Y7."""
    floor, host = Floor(host_joiners_max=1, join_s_max=30), realm.host()
    served = floor.come_clean(host, "host")
    floor.say(served, wire.Joiners(1, 60))
    first, second = floor.come_clean(None, "join"), floor.come_clean(None, "join")
    floor.say(first, wire.OpenRoute(1, host.key))
    floor.say(second, wire.OpenRoute(1, host.key))
    [refused] = floor.heard(second)
    assert isinstance(refused, Failed) and refused.code == "too-many"
    floor.hub.wake(now=at(30))
    assert (first.over, second.over, served.over, floor.hub.joining) == ("timeout", "timeout", "", 0)
    floor.now = at(61)
    late = floor.come_clean(None, "join")
    floor.say(late, wire.OpenRoute(1, host.key))
    [refused] = floor.heard(late)
    assert isinstance(refused, Failed) and refused.code == "no-such-host"  # the host's offer has lapsed


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["come", "go", "open", "send", "close", "read"])), max_size=60
    )
)
def test_whatever_comes_and_goes_nothing_is_left_behind(steps: list[tuple[int, str]]) -> None:
    """Routes, backlog and tenants are counted right in any order of events (I11)."""
    floor, realm = Floor(route_backlog_bytes_max=3000, peer_backlog_bytes_max=5000), REALM
    people: dict[int, Peer] = {}
    for who, what in steps:
        peer = people.get(who)
        if what == "come" and peer is None:
            people[who] = floor.come(WHO[who], "host" if who == 0 else "client")
        elif peer is None or peer.over:
            people.pop(who, None)
            if peer is not None:
                floor.hub.leave(peer, now=floor.now)
        elif what == "go":
            floor.hub.leave(people.pop(who), now=floor.now)
        elif what == "open" and who:
            floor.say(peer, wire.OpenRoute(peer.top + 1, WHO[0].key))
        elif what == "send" and peer.routes:
            floor.send(peer, max(peer.routes), b"x" * 900)
        elif what == "close" and peer.routes:
            floor.say(peer, wire.Closed(min(peer.routes)))
        elif what == "read":
            floor.heard(peer, 2)
        present = [each for each in people.values() if not each.over]
        routes = {id(route) for each in present for route in each.routes.values()}
        tenant = floor.hub.tenants.get(realm.root.key)
        assert len(routes) == (tenant.routes if tenant else 0)
        assert floor.hub.tally.waiting == sum(each.outbox.waiting for each in people.values())
    for peer in people.values():
        floor.hub.leave(peer, now=floor.now)
    assert (floor.hub.tally.waiting, len(floor.hub.peers)) == (0, 0)
    assert all(not tenant.peers and not tenant.routes for tenant in floor.hub.tenants.values())


REALM = Realm(now=T0)
WHO = [REALM.host(), *(REALM.human() for _ in range(3))]


# ---- outbox, gate, bucket --------------------------------------------------------------------------------------------


def test_routes_take_turns_and_control_goes_first() -> None:
    outbox = Outbox(Tally())
    for frame in (b"a1", b"a2", b"a3"):
        outbox.put(1, frame)
    outbox.put(2, b"b1")
    outbox.say(b"!")
    outbox.finish(2, b"end of b")
    outbox.finish(3, b"end of c")
    order = [outbox.take() for _ in range(8)]
    assert order == [b"!", b"end of c", b"a1", b"b1", b"a2", b"end of b", b"a3", None]
    assert not outbox and outbox.waiting == 0


def test_a_gate_counts_every_socket_until_it_is_closed() -> None:
    out: list[str] = []
    gate = Gate(Limits(connections_max=4, unadmitted_max=2, address_connections_max=3, address_unadmitted_max=2))
    a, b = (gate.enter("a", lambda name=name: out.append(name)) for name in ("a1", "a2"))  # type: ignore[misc]
    assert gate.enter("a", lambda: None) is None  # two of that address wait already
    c = gate.enter("c", lambda: out.append("c"))
    assert (out, gate.unadmitted, gate.inside) == (["a1"], 2, 3)  # the oldest made room
    assert a and b and c
    gate.admit(b)
    assert gate.enter("a", lambda: None) is not None
    assert gate.enter("d", lambda: None) is None  # four in all
    gate.leave(a)
    assert not gate.comes_from(c, "a") or gate.inside == 3
    for ticket in (b, c):
        gate.leave(ticket)
    assert gate.inside == 1


def test_a_bucket_gives_its_burst_then_its_rate() -> None:
    bucket = Bucket(100, 50, now=0)
    assert bucket.take(50, now=0) == 0
    assert bucket.take(100, now=0) == 1
    assert bucket.take(0, now=1) == 0
    assert bucket.take(60, now=100) == pytest.approx(0.1)  # what was not used is worth one burst


@pytest.mark.parametrize("text", ["routes_max", "routes_max=", "routes_max=0", "routes_max=1.5", "frame=1", "=1"])
def test_what_is_no_limit_is_said_to_be_none(text: str) -> None:
    with pytest.raises(BadLimit):
        limits_from([text])
