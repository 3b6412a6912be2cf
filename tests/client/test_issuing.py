"""What is signed for those who join and renew: once, as far as the terms say, and no longer. Lives are short, `now` moves."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from holdfast.client import issuing, ledger, upkeep
from holdfast.client.credentials import Store
from holdfast.client.issuing import NotRenewed
from holdfast.client.ledger import Given, Terms
from holdfast.core import grants, identity
from holdfast.core.errors import HoldError, Refused
from holdfast.core.grants import Capability
from holdfast.core.identity import DAY_S, HOUR_S, SKEW_S, Kind
from holdfast.core.signed import KeyPair
from holdfast.wire.joining import Issue, NotInvited, digest
from holdfast.wire.messages import Joined
from tests.core.tenants import NOW, S1, pair, seed

SECRET = seed("once")[:16]


@dataclass
class Desk:
    """A user's folder of profiles, and whom it lets in."""

    folder: Path
    now: int = NOW
    _count: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.folder.mkdir(mode=0o700)
        self.store = Store.first_run(self.folder, now=NOW, random=self.random, relays=("wss://relay.example",))

    def random(self, size: int) -> bytes:
        return seed(f"{self.folder.name} {next(self._count)}")[:size]

    def invited(self, **more: object) -> Terms:
        given = {
            "digest": digest(SECRET), "by": self.store.operator.key, "name": "bob", "kind": Kind.HUMAN, "capabilities": 7,
            "sessions": (), "named": (), "life_s": HOUR_S, "until": self.now + 30 * DAY_S, "on_behalf_of": b"",
            "machine": False, "at": self.now, "not_after": self.now + HOUR_S,
        } | more  # fmt: skip
        terms = Terms(**given)  # type: ignore[arg-type]
        with ledger.opened(self.store, now=self.now) as account:
            account.invitations[terms.digest] = terms
        return terms

    def asked(self, ask: Issue) -> Joined:
        return issuing.answer(ask, self.folder, now=self.now, random=self.random)

    def joins(self, who: KeyPair, host: bytes = b"") -> Joined:
        return self.asked(Issue(digest(SECRET), who.key, host))

    def proves(self, said: Joined, who: KeyPair) -> tuple[identity.Member, list[grants.Grant]]:
        member = identity.verify(said.certificates, tenant=self.store.tenant, now=self.now)
        return member, [
            grants.verify(
                chain, tenant=self.store.tenant, now=self.now, holder=who.key, kind=member.kind,
                principal=member.certificate.on_behalf_of,
            )
            for chain in said.grants
        ]  # fmt: skip

    def revoke(self, *keys: bytes) -> None:
        signer, certificate = self.store.issuer
        data = identity.revoke(signer, tenant=self.store.tenant, version=self.now, at=self.now, keys=keys)
        self.store.learn_revocations(data, issuer=certificate, now=self.now)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "keys")


BOB, MACHINE = pair("bob"), pair("machine")


def test_an_invitation_gives_what_its_terms_say_and_is_used_up(desk: Desk) -> None:
    desk.invited(sessions=(S1,), capabilities=3)
    member, [grant] = desk.proves(said := desk.joins(BOB), BOB)
    assert (member.kind, member.key, said.name) == (Kind.HUMAN, BOB.key, "bob")
    assert member.certificate.not_after == desk.now + HOUR_S
    assert (grant.sessions, grant.capabilities) == ({S1}, Capability.PROPOSE | Capability.OBSERVE)
    assert said.names and said.host == ()
    with pytest.raises(NotInvited):
        desk.joins(pair("second"))
    assert [each.key for each in ledger.read(desk.store).given] == [BOB.key]


def test_an_expired_an_unknown_and_anothers_invitation_are_refused_alike(desk: Desk) -> None:
    desk.invited(not_after=desk.now)
    with pytest.raises(NotInvited):
        desk.joins(BOB)
    desk.invited(by=pair("somebody else").key)
    with pytest.raises(NotInvited):
        desk.joins(BOB)
    with pytest.raises(NotInvited):
        desk.asked(Issue(bytes(32), BOB.key))


def test_a_code_for_a_person_makes_no_host_and_the_reverse(desk: Desk) -> None:
    desk.invited()
    with pytest.raises(NotInvited):
        desk.joins(BOB, MACHINE.key)
    desk.invited(machine=True, kind=Kind.SERVICE, capabilities=0)
    with pytest.raises(NotInvited):
        desk.joins(BOB)
    said = desk.joins(BOB, MACHINE.key)
    member, given = desk.proves(said, BOB)
    host = identity.verify(said.host, tenant=desk.store.tenant, now=desk.now)
    assert (member.kind, given, host.kind, host.key) == (Kind.SERVICE, [], Kind.HOST, MACHINE.key)


def test_who_was_revoked_lets_nobody_in(desk: Desk) -> None:
    desk.invited()
    desk.revoke(desk.store.operator.key)
    with pytest.raises(HoldError):
        desk.joins(BOB)


def test_a_member_is_renewed_as_long_as_it_was_promised_and_not_after(desk: Desk) -> None:
    desk.invited(until=NOW + 3 * HOUR_S)
    first = desk.joins(BOB)
    for hours in (1, 2):
        desk.now = NOW + hours * HOUR_S - 60
        member, [grant] = desk.proves(desk.asked(Issue(b"", BOB.key)), BOB)
        assert desk.now < member.certificate.not_after <= desk.now + HOUR_S
        assert grant.not_after == NOW + 3 * HOUR_S
    desk.now = NOW + 3 * HOUR_S - 60
    member, _ = desk.proves(desk.asked(Issue(b"", BOB.key)), BOB)
    assert member.certificate.not_after == NOW + 3 * HOUR_S
    desk.now = NOW + 3 * HOUR_S
    for who in (BOB, pair("nobody")):
        with pytest.raises(NotRenewed):
            desk.asked(Issue(b"", who.key))
    assert first.until == NOW + 3 * HOUR_S


def test_who_was_revoked_is_not_renewed(desk: Desk) -> None:
    desk.invited()
    desk.joins(BOB)
    desk.revoke(BOB.key)
    with pytest.raises(NotRenewed):
        desk.asked(Issue(b"", BOB.key))


def test_a_grant_that_had_to_end_with_its_issuer_is_given_anew_by_the_next(desk: Desk) -> None:
    """An issuer lives 90 days, what was promised longer than that goes on under the next one."""
    desk.invited(until=NOW + 120 * DAY_S, life_s=30 * DAY_S)
    [old] = desk.proves(desk.joins(BOB), BOB)[1]
    assert old.not_after < NOW + 90 * DAY_S
    for day in (25, 50, 70):
        desk.now = NOW + day * DAY_S
        said = desk.asked(Issue(b"", BOB.key))
    [fresh] = desk.proves(said, BOB)[1]
    assert fresh.not_after == NOW + 120 * DAY_S
    assert [each.serial for each in ledger.read(desk.store).given] == [fresh.serials[-1]]


def test_nobody_gives_what_they_do_not_hold(desk: Desk, tmp_path: Path) -> None:
    desk.invited(sessions=(S1,))
    said = desk.joins(BOB)
    desk_of_bob = tmp_path / "bobs"
    bobs = Store.joined(
        desk_of_bob, "work", tenant=desk.store.tenant, seed=seed("bob"), certificates=said.certificates, now=desk.now,
        grant_chains=said.grants,
    )  # fmt: skip
    for wider in ({"capabilities": 15, "sessions": (S1,)}, {"capabilities": 1, "sessions": ()}):
        with pytest.raises(Refused, match="no grant that you hold reaches as far"):
            issuing.source(bobs, now=desk.now, **wider)  # type: ignore[arg-type]
    chain = issuing.certified(
        bobs, pair("bot").key, kind=Kind.AI, name="bot", on_behalf_of=BOB.key, life_s=DAY_S, now=desk.now,
        random=desk.random,
    )  # fmt: skip
    member = identity.verify(chain, tenant=desk.store.tenant, now=desk.now)
    assert member.certificate.on_behalf_of == BOB.key
    assert member.certificate.not_after <= desk.now + HOUR_S  # never beyond who vouches
    given = issuing.passed_on(
        bobs, pair("bot").key, Kind.AI, capabilities=7, sessions=(S1,), until=desk.now + DAY_S, now=desk.now,
        random=desk.random,
    )  # fmt: skip
    grant = grants.verify(
        given, tenant=desk.store.tenant, now=desk.now, holder=pair("bot").key, kind=Kind.AI, principal=BOB.key
    )
    assert (grant.depth, grant.sessions) == (0, {S1})


def test_renewal_is_due_after_a_third_of_a_life(desk: Desk) -> None:
    certificate = desk.store.member.certificate
    life = certificate.not_after - certificate.not_before
    assert upkeep.due_at(certificate) == NOW - SKEW_S + life / 3


def test_looking_after_the_own_profile_renews_it_when_it_is_due_and_says_when_to_look_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_RUNTIME_DIR", str(desk.folder / "nobody"))  # no host runs there
    said: list[str] = []
    ends = desk.store.member.certificate.not_after
    assert upkeep.run(desk.folder, now=NOW + HOUR_S, said=said.append) <= NOW + HOUR_S + upkeep.LATE_S
    assert said == [] and desk.store.member.certificate.not_after == ends
    late = ends - HOUR_S
    upkeep.run(desk.folder, now=late, said=said.append)
    assert said == ["default: operator renewed"] and desk.store.member.certificate.not_after > ends


def test_the_account_is_the_users_alone_and_shows_no_secret(desk: Desk) -> None:
    desk.invited()
    path = desk.store.path / ledger.FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert SECRET not in path.read_bytes()


def test_what_is_long_over_leaves_the_account(desk: Desk) -> None:
    desk.invited(until=NOW + HOUR_S)
    desk.joins(BOB)
    with ledger.opened(desk.store, now=NOW + HOUR_S + ledger.KEPT_S) as account:
        [each] = account.given
        assert isinstance(each, Given)
    assert ledger.read(desk.store).given == []


def test_an_account_of_another_version_is_refused_and_left_alone(desk: Desk) -> None:
    path = desk.store.path / ledger.FILE
    path.touch(mode=0o600)
    path.write_bytes(msgspec.msgpack.encode([2, [], []]))
    with pytest.raises(HoldError, match="left as it is"):
        ledger.read(desk.store)
    with pytest.raises(HoldError), ledger.opened(desk.store, now=NOW):
        pass
    assert path.read_bytes() == msgspec.msgpack.encode([2, [], []])
