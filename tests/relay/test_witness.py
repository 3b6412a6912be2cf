"""A relay keeps where a host's journals stood, refuses to go back, and says it to members who ask."""

import asyncio
from pathlib import Path

import pytest

from holdfast.core.identity import Kind
from holdfast.relay.rooms import KeptWitness
from holdfast.wire import relay as wire
from holdfast.wire.messages import Done, Failed
from tests.relay.peers import Realm
from tests.relay.test_clerk import Desk
from tests.relay.test_hub import T0, Floor


@pytest.fixture
def realm() -> Realm:
    return Realm(now=T0)


def test_the_highest_number_is_kept_and_a_lower_one_refused(realm: Realm) -> None:
    """Promise J12."""
    floor, who = Floor(), realm.host()
    host, client = floor.come_clean(who, "host"), floor.come_clean(realm.human(), "client")
    floor.say(host, wire.Witness(1, 5, b"five"))
    floor.say(host, wire.Witness(2, 5, b"five"))  # a host that reconnects says it again
    assert [type(said) for said in floor.heard(host)] == [Done, Done]
    for number, blob in ((4, b"four"), (5, b"another five")):
        floor.say(host, wire.Witness(3, number, blob))
        [refused] = floor.heard(host)
        assert isinstance(refused, Failed) and (refused.code, refused.details["seen"]) == ("rolled-back", 5)
    floor.say(client, wire.GetWitness(7, who.key))
    assert floor.heard(client)[-1] == wire.WitnessIs(7, 5, floor.now.unix, b"five")
    floor.say(host, wire.Witness(4, 9, b"nine"))
    floor.say(client, wire.GetWitness(8, who.key))
    assert floor.heard(client)[-1].blob == b"nine"


def test_no_other_tenant_and_no_host_is_told_and_no_client_writes(realm: Realm) -> None:
    floor, who, other = Floor(), realm.host(), Realm(now=T0)
    host, stranger = floor.come_clean(who, "host"), floor.come_clean(other.human(), "client")
    member = floor.come_clean(realm.human(), "client")
    floor.say(host, wire.Witness(1, 5, b"five"))
    floor.heard(host)
    floor.say(stranger, wire.GetWitness(1, who.key))
    assert floor.heard(stranger)[-1] == wire.WitnessIs(1, 0, 0.0, b"")
    floor.say(host, wire.GetWitness(2, who.key))
    floor.say(member, wire.Witness(2, 6, b"six"))
    for peer in (host, member):
        [refused] = [said for said in floor.heard(peer) if isinstance(said, Failed)]
        assert refused.code == "refused"


def test_it_is_known_after_the_relay_was_killed(tmp_path: Path, realm: Realm) -> None:
    """Promise J12."""

    async def story() -> None:
        desk, who = Desk(tmp_path), realm.enrol(Kind.HOST)
        host = desk.floor.come_clean(who, "host")
        desk.floor.say(host, wire.Witness(1, 5, b"five"))
        await desk.clerk.save()
        hub = await desk.restarted(60)
        [tenant] = hub.tenants.values()
        assert tenant.hosts[who.key].witness == KeptWitness(5, desk.floor.now.unix - 60, b"five")

    asyncio.run(story())


def test_a_peer_is_told_whether_the_relay_keeps_any(realm: Realm) -> None:
    floor = Floor()
    [admitted] = [said for said in floor.heard(floor.come(realm.host(), "host")) if isinstance(said, wire.Admitted)]
    assert admitted.allowance.witness_bytes_max == wire.WITNESS_BYTES_MAX
