"""A relay that does its worst. Nothing it does is typed, shown or believed; honest again, everything goes on (I8, R52).

Promises of docs/relay.md, "What a hostile relay can do", and of docs/channel.md, each attacked by name.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from holdfast.client.connection import Connection
from holdfast.core import identity
from holdfast.core.errors import HoldError
from holdfast.core.identity import Kind
from holdfast.core.signed import KeyPair
from holdfast.wire import messages as wire
from holdfast.wire import relay as relay_wire
from holdfast.wire.channel import Initiator, Responder, binding, prologue
from holdfast.wire.framing import TO_CLIENT_BYTES_MAX, TO_HOST_BYTES_MAX
from holdfast.wire.introduction import Dialled, Introduce
from holdfast.wire.link import Link
from tests.faces.screen import Screen
from tests.relay.peers import Realm, Someone, admitted
from tests.remote.hostile import Hostile, Route
from tests.remote.places import Away, World, story

ECHO = "stty raw -echo; echo ready; exec cat -v"
FIRST = (
    3  # payloads of a client before the first that may carry input: message 1, introduction, the link's first packet
)


@dataclass
class Scene:
    """A host on two relays, a hostile and an honest one; a client that knows the hostile one alone."""

    world: World
    hostile: Hostile
    away: Away

    def session(self, name: str) -> None:
        self.world.new(name, ECHO)

    def kept(self, name: str) -> bytes:
        """What was typed and echoed, all of it."""
        return self.world.output(name).partition(b"ready\n")[2]

    def attached(self, name: str) -> Screen:
        screen = self.away.attach(f"{name}@box")
        screen.expect(rb"ready", timeout=20)
        return screen

    def is_well(self, name: str, screen: Screen, *said: bytes) -> None:
        """Honest again, the same attach types and sees; an honest relay leads there, too; nothing else was ever typed."""
        self.hostile.be_honest()
        screen.type(b"<after>")
        screen.expect(rb"<after>", timeout=30)
        honest = self.world.machine(self.world.relay.url)
        done = honest.hold("send", f"{name}@box", "<honest>")
        assert done.returncode == 0, done.stderr
        screen.expect(rb"<honest>", timeout=20)
        assert self.kept(name) == b"".join((*said, b"<after>", b"<honest>"))
        assert self.world.session(name)["state"] == "running"


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[World, Hostile]]:
    with Hostile() as hostile, World() as world:
        world.link(hostile.url, world.relay.url)
        yield world, hostile


@pytest.fixture
def scene(place: tuple[World, Hostile]) -> Iterator[Scene]:
    world, hostile = place
    hostile.be_honest()
    hostile.routes.clear()
    until = time.monotonic() + 10
    while not hostile._hosts and time.monotonic() < until:
        time.sleep(0.01)  # the host dials again by itself; its coming has no event here
    yield Scene(world, hostile, world.machine(hostile.url))
    hostile.be_honest()


def the_route(scene: Scene) -> Route:
    """The one route that is open."""
    return [route for route in scene.hostile.routes if not route.over][-1]


# ---- what passes -----------------------------------------------------------------------------------------------------


def test_forged_input_is_not_typed(scene: Scene) -> None:
    """Bytes of a relay on a client's route, whatever they are, end that carrier and nothing else."""
    scene.session("forged")
    plain = wire.Input(1, "forged", 99, b"rm -rf /\r")
    with scene.attached("forged") as screen:
        screen.type(b"<one>")
        screen.expect(rb"<one>")
        for forgery in (os.urandom(64), msgspec.msgpack.encode(plain), b"", b"\x00" * 16, os.urandom(65535)):
            route = the_route(scene)
            route.send(forgery, to_host=True)
            screen.type(b".")
            screen.expect(rb"\.", timeout=20)
            assert route.over
        scene.is_well("forged", screen, b"<one>", b".....")


def test_a_replayed_route_types_nothing_twice(scene: Scene) -> None:
    """Everything a client ever said on a route, said again on another: the host answers the handshake and opens nothing."""
    scene.session("replayed")
    with scene.attached("replayed") as screen:
        screen.type(b"<once>")
        screen.expect(rb"<once>")
        recorded = list(the_route(scene).to_host)
        again = scene.hostile.intrude(scene.world.host_key)
        for payload in recorded:
            again.send(payload, to_host=True)
        answers = []
        while (said := again.heard.get(timeout=10)) is not None:
            answers.append(said)
        assert [len(each) for each in answers[:1]] == [48] and len(answers) == 1, [len(each) for each in answers]
        scene.is_well("replayed", screen, b"<once>")


def test_a_repeated_frame_is_not_typed_twice(scene: Scene) -> None:
    scene.session("repeated")
    with scene.attached("repeated") as screen:
        scene.hostile.tamper = lambda route, to_host, payload: (
            (payload, payload) if to_host and len(route.to_host) > FIRST else (payload,)
        )
        screen.type(b"<one>")
        screen.expect(rb"<one>", timeout=20)
        scene.is_well("repeated", screen, b"<one>")


@pytest.mark.parametrize("to_host", [True, False], ids=["to the host", "to the client"])
def test_reordered_frames_end_the_carrier_and_are_said_again(scene: Scene, to_host: bool) -> None:
    name = f"swapped{to_host}"
    scene.session(name)
    held: dict[Route, bytes] = {}
    swaps = 0

    def swap(route: Route, towards_host: bool, payload: bytes) -> tuple[bytes, ...]:
        nonlocal swaps
        sent = route.to_host if to_host else route.to_client
        if towards_host != to_host or len(sent) <= FIRST or swaps >= 3:
            return (payload,)
        if route in held:
            swaps += 1
            return (payload, held.pop(route))
        held[route] = payload
        return ()

    with scene.attached(name) as screen:
        scene.hostile.tamper = swap
        until = time.monotonic() + 30
        while swaps < 3 and time.monotonic() < until:
            screen.type(b".")
            screen.read(0.2)
        assert swaps == 3
        scene.hostile.be_honest()
        screen.type(b"<end>")
        screen.expect(rb"<end>", timeout=30)
        said = scene.kept(name)
        assert said.strip(b".") == b"<end>"
        scene.is_well(name, screen, said)


@pytest.mark.parametrize("to_host", [True, False], ids=["to the host", "to the client"])
def test_dropped_frames_end_the_carrier_and_are_said_again(scene: Scene, to_host: bool) -> None:
    name = f"dropped{to_host}"
    scene.session(name)
    dropped: set[Route] = set()

    def strip(route: Route, towards_host: bool, payload: bytes) -> tuple[bytes, ...]:
        sent = route.to_host if to_host else route.to_client
        if towards_host == to_host and len(sent) > FIRST and route not in dropped and len(dropped) < 3:
            dropped.add(route)
            return ()
        return (payload,)

    with scene.attached(name) as screen:
        scene.hostile.tamper = strip
        typed = b""
        until = time.monotonic() + 40
        while len(dropped) < 3 and time.monotonic() < until:
            typed += b"."
            screen.type(b".")
            screen.read(0.2)
        assert len(dropped) == 3
        screen.type(b"<end>")
        screen.expect(rb"<end>", timeout=30)
        assert scene.kept(name) == typed + b"<end>"
        scene.is_well(name, screen, typed, b"<end>")


def test_a_flipped_bit_ends_the_carrier_and_reaches_nobody(scene: Scene) -> None:
    scene.session("flipped")
    flips: set[Route] = set()

    def flip(route: Route, to_host: bool, payload: bytes) -> tuple[bytes, ...]:
        if route in flips or len(flips) >= 4 or len(route.to_host) + len(route.to_client) < 3 + len(flips):
            return (payload,)
        flips.add(route)  # a later frame each time, handshake included
        at = len(payload) // 2
        return (payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :],)

    with scene.attached("flipped") as screen:
        scene.hostile.tamper = flip
        typed = b""
        until = time.monotonic() + 40
        while len(flips) < 4 and time.monotonic() < until:
            typed += b"."
            screen.type(b".")
            screen.read(0.2)
        assert len(flips) == 4
        screen.type(b"<end>")
        screen.expect(rb"<end>", timeout=30)
        assert scene.kept("flipped") == typed + b"<end>"
        scene.is_well("flipped", screen, typed, b"<end>")


def test_keyframes_swapped_between_two_clients_are_shown_to_neither(scene: Scene) -> None:
    scene.world.new("left", "stty raw -echo; echo ready; echo LEFT; exec cat -v")
    scene.world.new("right", "stty raw -echo; echo ready; echo RIGHT; exec cat -v")
    first: dict[Route, list[bytes]] = {}
    swapped = []

    def swap(route: Route, to_host: bool, payload: bytes) -> tuple[bytes, ...]:
        if to_host or len(route.to_client) < FIRST or swapped:
            return (payload,)
        first.setdefault(route, []).append(payload)  # held back until both have some
        if len(first) < 2:
            return ()
        (one, ones), (two, twos) = first.items()
        swapped.extend(first)
        for each, (whose, others) in zip((one, two), ((one, twos), (two, ones)), strict=True):
            assert each is whose
            for payload in others:
                each.send(payload, to_host=False)
        return ()

    scene.hostile.tamper = swap
    with scene.away.attach("left@box") as left, scene.world.machine(scene.hostile.url).attach("right@box") as right:
        left.expect(rb"LEFT", timeout=30)
        right.expect(rb"RIGHT", timeout=30)
        assert len(swapped) == 2 and all(route.over for route in swapped)
        assert b"RIGHT" not in left.out and b"LEFT" not in right.out
        scene.is_well("left", left, b"LEFT\n")


def test_two_spliced_routes_carry_nothing_across(scene: Scene) -> None:
    """What one client types is never typed into the session of the other, whatever way the relay leads it."""
    scene.session("here")
    scene.session("there")
    other = scene.world.machine(scene.hostile.url)
    with scene.attached("here") as here, other.attach("there@box") as there:
        there.expect(rb"ready", timeout=20)
        one, two = (route for route in scene.hostile.routes if not route.over)
        crossed: set[tuple[Route, bool]] = set()  # once each way: what stays away for good is silence, tested elsewhere

        def cross(route: Route, to_host: bool, payload: bytes) -> tuple[bytes, ...]:
            if route not in (one, two) or (route, to_host) in crossed:
                return (payload,)
            crossed.add((route, to_host))
            (two if route is one else one).send(payload, to_host=to_host)
            return ()

        scene.hostile.tamper = cross
        here.type(b"<mine>")
        there.type(b"<yours>")
        here.expect(rb"<mine>", timeout=30)
        there.expect(rb"<yours>", timeout=30)
        assert one.over and two.over
        assert (scene.kept("here"), scene.kept("there")) == (b"<mine>", b"<yours>")
        scene.is_well("here", here, b"<mine>")


# ---- who is who ------------------------------------------------------------------------------------------------------


def responding(host: bytes, private: X25519PrivateKey, seen: list[str]) -> "object":
    """Answer handshakes as a host would, with a channel key that is not in its record."""

    def answer(route: Route, payload: bytes) -> list[bytes]:
        try:
            responder = Responder(static_private=private, prologue=prologue(host))
            message2, _, _ = responder.answer(payload, ephemeral_private=X25519PrivateKey.generate())
        except HoldError as error:
            seen.append(error.code)
            return [os.urandom(48)]  # the best that is left
        seen.append("opened")
        return [message2]

    return answer


def test_an_impersonated_host_is_not_believed(scene: Scene) -> None:
    """Whoever lacks the key in the host's signed record cannot open the client's first message, nor answer it."""
    scene.session("posed")
    seen: list[str] = []
    scene.hostile.poses = responding(scene.world.host_key, X25519PrivateKey.generate(), seen)  # type: ignore[assignment]
    began = time.monotonic()
    done = scene.away.hold("send", "posed@box", "secret")
    assert done.returncode in (122, 123) and done.stdout == "", done
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert seen and set(seen) == {"bad-handshake"}
    assert time.monotonic() - began < 20
    scene.hostile.be_honest()
    with scene.attached("posed") as screen:
        scene.is_well("posed", screen)


def test_a_record_that_the_relay_made_itself_leads_nowhere(scene: Scene) -> None:
    """Its own keys in a record of the same host, and a host of its own tenant under the same name."""
    scene.session("made")
    world, realm = scene.world, Realm()
    real = scene.hostile.records[-1]
    channel = X25519PrivateKey.generate().public_key().public_bytes_raw()
    other = realm.host()
    forged = identity.sign_host_record(
        other.keys, tenant=world.store.tenant, channel=channel, version=1 << 40, now=int(time.time())
    )

    def show(presence: relay_wire.Presence) -> list[relay_wire.Presence]:
        return [
            relay_wire.Presence(presence.host, True, 1.0, presence.chain, forged),  # signed by another key
            relay_wire.Presence(presence.host, True, 1.0, other.chain, forged),  # under another tenant
            relay_wire.Presence(other.key, True, 1.0, other.chain, other.record(1 << 40)),
            relay_wire.Presence(
                presence.host, True, 1.0, presence.chain, real.record[:-1] + bytes([real.record[-1] ^ 1])
            ),
        ]

    fresh = scene.world.machine(scene.hostile.url)
    (fresh.folder / "s" / "keys" / fresh.profile / "hosts").unlink()  # it knows nothing but what this relay shows
    scene.hostile.show = show
    done = fresh.hold("send", "made@box", "secret")
    assert done.returncode == 121 and "no host 'box'" in done.stderr, done
    assert fresh.store.hosts() == ()
    scene.hostile.be_honest()
    assert fresh.hold("send", "made@box", "<seen>").returncode == 0
    with scene.attached("made") as screen:
        scene.is_well("made", screen, b"<seen>")


def test_a_rolled_back_record_is_not_used(scene: Scene) -> None:
    """I8: who has seen a newer record never goes back, whatever is shown."""
    scene.session("rolled")
    world, hostile = scene.world, scene.hostile
    old = hostile.records[-1]
    world.link(hostile.url, world.relay.url)  # signs a newer one
    newest = scene.away.hold("hosts", "--json")
    assert newest.returncode == 0
    [before] = scene.away.store.hosts()
    assert before.version > identity.verify_host_record(
        old.record, old.chain, host=world.host_key, tenant=world.store.tenant, now=int(time.time())
    ).version  # fmt: skip
    hostile.show = lambda presence: [relay_wire.Presence(presence.host, True, 1.0, old.chain, old.record)]
    scene.away.hold("hosts", "--json")
    assert scene.away.store.hosts() == (before,)
    with scene.attached("rolled") as screen:
        scene.is_well("rolled", screen)


def introduced(scene: Scene, introduce: "object") -> str:
    """Dial the host as the relay, say ``introduce(binding)``, and return the code it is refused with, or what it said."""
    record = signed_record(scene)
    route = scene.hostile.intrude(scene.world.host_key)
    link = Link(
        os.urandom(16), dials=True, hears_max=TO_CLIENT_BYTES_MAX, says_max=TO_HOST_BYTES_MAX, now=time.monotonic()
    )
    initiator = Initiator(
        static_private=X25519PrivateKey.generate(), remote_static=record.channel, prologue=prologue(record.host),
        ephemeral_private=X25519PrivateKey.generate(),
    )  # fmt: skip
    carrier = Dialled(initiator, introduce, link)  # type: ignore[arg-type]
    route.send(carrier.first(), to_host=True)
    while (payload := route.heard.get(timeout=10)) is not None:
        try:
            _, first = carrier.receive(payload, now=time.monotonic())
        except HoldError as error:
            return error.code
        for each in first:
            route.send(each, to_host=True)
        if carrier.accepted is not None:
            return "accepted"
    return "cut"


def signed_record(scene: Scene) -> identity.HostRecord:
    said = scene.hostile.records[-1]
    return identity.verify_host_record(
        said.record, said.chain, host=scene.world.host_key, tenant=scene.world.store.tenant, now=int(time.time())
    )


def test_an_impersonated_operator_is_refused(scene: Scene) -> None:
    """With the operator's certificates and without the key; with another channel's signature; with a tenant of its own."""
    scene.session("guarded")
    with scene.attached("guarded") as screen:
        admit = next(each for each in reversed(scene.hostile.admits) if each.role == "client")
        realm = Realm()
        stranger, thief = realm.human(), KeyPair(os.urandom(32))
        assert introduced(scene, lambda bound: Introduce(1, admit.chain, (), thief.sign(bound))) == "refused"
        assert introduced(scene, lambda bound: Introduce(1, admit.chain, (), admit.signature)) == "refused"
        earlier = scene.world.store.operator.sign(binding(os.urandom(32)))
        assert introduced(scene, lambda bound: Introduce(1, admit.chain, (), earlier)) == "refused"
        assert introduced(scene, lambda bound: Introduce(1, stranger.chain, (), stranger.keys.sign(bound))) in (
            "bad-certificate",
        )
        assert introduced(scene, lambda bound: Introduce(1)) != "accepted"
        mine = scene.world.store
        assert (
            introduced(scene, lambda bound: Introduce(1, mine.certificates, (), mine.operator.sign(bound)))
            == "accepted"
        )
        scene.is_well("guarded", screen)


# ---- what is withheld ------------------------------------------------------------------------------------------------


def short_lived(scene: Scene, life_s: float) -> Away:
    """A machine of another operator, whose certificate ends in ``life_s`` and who may everything till then."""
    away, now = scene.world.machine(scene.hostile.url), int(time.time())
    for name in ("issuer", "root"):  # it cannot renew itself
        (away.folder / "s" / "keys" / away.profile / name).unlink()
    chain = scene.world.store.certify(
        away.store.operator.key, kind=Kind.HUMAN, now=now, random=os.urandom, life_s=identity.SKEW_S + round(life_s)
    )
    away.store.recertified(chain, now=now)
    return away


def test_a_hidden_revocation_is_bounded_by_the_life_of_the_certificate(scene: Scene) -> None:
    """The relay holds the revocation back and keeps the connection: the host cuts when the certificate ends."""
    scene.session("hidden")
    scene.hostile.hides_revocations = True
    away = short_lived(scene, 5)
    ends = identity.read(away.store.certificates).certificate.not_after
    with away.attach("hidden@box") as screen:
        screen.expect(rb"ready", timeout=20)
        screen.type(b"<while it lasts>")
        screen.expect(rb"<while it lasts>")
        assert screen.wait(timeout=20) in (120, 122)  # detached by the host, or refused when it dialled again
        cut_at = time.time()
        assert b"revoked" in screen.out or b"expired" in screen.out, screen.out[-300:]
    assert ends - 0.5 <= cut_at < ends + 4
    done = away.hold("send", "hidden@box", "too late")
    assert done.returncode == 122 and "expired" in done.stderr, done
    with scene.attached("hidden") as screen:
        scene.is_well("hidden", screen, b"<while it lasts>")


def test_a_revocation_hidden_by_one_relay_arrives_by_another(scene: Scene) -> None:
    """R56: one honest relay is enough; who is attached is cut off within a second or so, and types nothing more."""
    scene.session("taken")
    scene.hostile.hides_revocations = True
    world = scene.world
    away = short_lived(scene, 3600)
    serial = identity.read(away.store.certificates).certificate.serial
    revoked = identity.revoke(
        world.store.open_root(), tenant=world.store.tenant, version=1, at=int(time.time()), serials=[serial]
    )

    async def tell() -> None:
        mine = world.store
        me = Someone(mine.operator, mine.certificates, mine.tenant)
        async with admitted(world.relay.url, me, "client") as line:
            answer = await line.ask(relay_wire.Revoke(1, revoked))
            assert type(answer).__name__ == "Done", answer

    with away.attach("taken@box") as screen:
        screen.expect(rb"ready", timeout=20)
        began = time.monotonic()
        story(tell())
        assert screen.wait(timeout=20) in (120, 122)  # detached by the host, or refused when it dialled again
        assert time.monotonic() - began < 5
        assert b"revoked" in screen.out
    done = away.hold("send", "taken@box", "too late")
    assert done.returncode == 122 and "revoked" in done.stderr, done
    with scene.attached("taken") as screen:
        scene.is_well("taken", screen)


def test_a_host_that_is_shown_nowhere_is_unreachable_and_never_dead(scene: Scene) -> None:
    """R39: a relay that denies a host costs reachability, and that is what is said."""
    scene.session("denied")
    scene.hostile.show = lambda presence: ()
    fresh = scene.world.machine(scene.hostile.url)
    (fresh.folder / "s" / "keys" / fresh.profile / "hosts").unlink()
    done = fresh.hold("view", "denied@box")
    assert done.returncode == 121 and "no host 'box'" in done.stderr
    with Connection(scene.world.socket) as here:
        assert here.text("denied").lines[0] == "ready"
    with scene.attached("denied") as screen:
        scene.is_well("denied", screen)
