"""What a chain of grants allows: never more than any link of it, whoever made the links and however they were joined."""

import itertools
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from holdfast.core import identity, signed
from holdfast.core.errors import HoldError
from holdfast.core.grants import (
    DEPTH_MAX,
    EVERYTHING,
    IMPLIES,
    LINKS_MAX,
    BadGrant,
    Capability,
    Grant,
    Link,
    attenuate,
    closed,
    mint,
    reaching,
    verify,
)
from holdfast.core.identity import DAY_S, HOUR_S, SKEW_S, Expired, Kind, Revoked, merged, revoke, verify_revocations
from holdfast.core.signed import KeyPair
from tests.core.tenants import NOW, S1, S2, S3, Tenant, pair

T, OTHER = Tenant(), Tenant("evil")
OBSERVE, PROPOSE, OPERATE, MANAGE, AUDIT = IMPLIES
BOB, CAROL, MALLORY = pair("bob"), pair("carol"), pair("mallory")


def checked(chain: bytes, holder: KeyPair, **more: Any) -> Grant:
    given = {"tenant": T.key, "now": NOW, "kind": Kind.HUMAN} | more
    return verify(chain, holder=holder.key, **given)


def reason_of(chain: bytes, holder: KeyPair, **more: Any) -> str:
    with pytest.raises(BadGrant) as refused:
        checked(chain, holder, **more)
    reason = str(refused.value.details["reason"])
    assert reason in BadGrant.WHY
    return reason


def to(chain: bytes, signer: KeyPair, holder: KeyPair, **more: Any) -> bytes:
    return attenuate(chain, signer, holder=holder.key, serial=T.serial(), **more)


def parts(chain: bytes) -> tuple[bytes, list[bytes]]:
    issuer, links = msgspec.msgpack.decode(chain)
    return issuer, links


def links_of(chain: bytes) -> list[Link]:
    return [signed.peeked(data, Link, most=1 << 16) for data in parts(chain)[1]]


def joined(issuer: bytes, links: Iterable[bytes]) -> bytes:
    return signed.encoded([issuer, list(links)])


def next_link(chain: bytes, by: KeyPair, **changes: Any) -> bytes:
    """``chain`` and a link that repeats the last one's rights for Mallory, with ``changes``, signed by ``by``."""
    issuer, links = parts(chain)
    last = links_of(chain)[-1]
    honest = {
        "signer": by.key,
        "holder": MALLORY.key,
        "depth": last.depth - 1,
        "parent": signed.body_digest(links[-1], most=1 << 16),
    }
    link = msgspec.structs.replace(last, **honest | changes)
    return joined(issuer, [*links, signed.sign(by, signed.GRANT, link)])


# ---- capabilities ----------------------------------------------------------------------------------------------------


def test_each_capability_implies_those_below_it() -> None:
    assert [closed(each) for each in (OBSERVE, PROPOSE, OPERATE, MANAGE, AUDIT)] == [1, 3, 7, 15, 16]
    assert closed(Capability.NONE) == 0 and closed(MANAGE | AUDIT) == EVERYTHING
    for each, implied in IMPLIES.items():
        assert closed(implied) == implied and not implied & each


def test_reading_the_record_is_a_right_of_its_own() -> None:
    """Promise J9, R73: no other right gives it but managing, and it gives none."""
    grant = checked(T.granted(BOB, AUDIT), BOB)
    assert [grant.forbids(each, S1, now=NOW) is None for each in IMPLIES] == [False, False, False, False, True]
    for each in (OBSERVE, PROPOSE, OPERATE):
        assert checked(T.granted(BOB, each), BOB).forbids(AUDIT, S1, now=NOW) == "capability"
    before_there_was_audit = T.granted(BOB, MANAGE)
    assert checked(before_there_was_audit, BOB).forbids(AUDIT, S1, now=NOW) is None
    assert checked(to(before_there_was_audit, BOB, CAROL, capabilities=AUDIT), CAROL).capabilities == AUDIT


# ---- what an honest chain does ---------------------------------------------------------------------------------------


def test_a_person_passes_on_part_of_a_right_without_asking_anyone() -> None:
    """From *operate build until Friday* to *observe build for one hour*, for an AI."""
    mine = T.granted(T.alice, OPERATE, sessions=(S1, S2))
    given = to(mine, T.alice, T.bot, capabilities=OBSERVE, sessions=(S1,), not_after=NOW + HOUR_S)
    grant = checked(given, T.bot, kind=Kind.AI, principal=T.alice.key, session=S1, capability=OBSERVE)
    assert (grant.capabilities, grant.sessions, grant.not_after) == (OBSERVE, {S1}, NOW + HOUR_S)
    assert grant.holders == (T.alice.key, T.bot.key)
    for more, reason in (
        ({"session": S1, "capability": PROPOSE}, "capability"),
        ({"session": S2, "capability": OBSERVE}, "session"),
        ({"session": None, "capability": OBSERVE}, "session"),
    ):
        assert reason_of(given, T.bot, kind=Kind.AI, principal=T.alice.key, **more) == reason


def test_the_root_itself_may_grant_and_an_issuer_needs_its_certificate_in_the_chain() -> None:
    by_root = mint(T.root, holder=BOB.key, capabilities=MANAGE, serial=T.serial(), now=NOW, not_after=NOW + 300 * DAY_S)
    assert checked(by_root, BOB).issuer == ()
    by_issuer = T.granted(BOB)
    assert checked(by_issuer, BOB).issuer[0] == T.issuer.key
    assert reason_of(joined(b"", parts(by_issuer)[1]), BOB) == "signature"


def test_a_grant_ends_with_its_issuer_at_the_latest() -> None:
    """What a stolen issuer key minted dies with the issuer's certificate."""
    end = identity.read(T.issuer_chain).certificate.not_after
    assert checked(T.granted(BOB, not_after=end), BOB).not_after == end
    with pytest.raises(BadGrant, match="outside the time"):
        T.granted(BOB, not_after=end + 1)
    with pytest.raises(Expired):
        checked(T.granted(BOB, not_after=end), BOB, now=end)
    with pytest.raises(BadGrant, match="longer than a grant may"):
        mint(T.root, holder=BOB.key, capabilities=OBSERVE, serial=T.serial(), now=NOW, not_after=NOW + 400 * DAY_S)


def test_a_grant_ends_at_the_announced_instant_wherever_in_the_chain_it_stands() -> None:
    mine = mint(T.root, holder=BOB.key, capabilities=OBSERVE, serial=T.serial(), now=NOW, not_after=NOW + HOUR_S)
    theirs = to(mine, BOB, CAROL)
    for chain, holder in ((mine, BOB), (theirs, CAROL)):
        assert checked(chain, holder, now=NOW + HOUR_S - 1) and checked(chain, holder, now=NOW - SKEW_S)
        with pytest.raises(Expired):
            checked(chain, holder, now=NOW + HOUR_S)
        assert reason_of(chain, holder, now=NOW - SKEW_S - 1) == "not-yet-valid"
    grant = checked(mine, BOB)
    at = (NOW - SKEW_S - 1, NOW - SKEW_S, NOW + HOUR_S - 1, NOW + HOUR_S)
    assert [grant.forbids(OBSERVE, S1, now=now) for now in at] == ["not-yet-valid", None, None, "expired"]


# ---- what a dishonest one meets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"capabilities": int(EVERYTHING)}, "wider-capabilities"),
        ({"capabilities": 0}, "capabilities"),
        ({"capabilities": 2}, "capabilities"),
        ({"capabilities": 16}, "wider-capabilities"),
        ({"capabilities": 32}, "capabilities"),
        ({"capabilities": -1}, "capabilities"),
        ({"sessions": ()}, "wider-sessions"),
        ({"sessions": (S1, S3)}, "wider-sessions"),
        ({"sessions": (S3,)}, "wider-sessions"),
        ({"sessions": (S2, S1)}, "sessions"),
        ({"sessions": (S1, S1)}, "sessions"),
        ({"sessions": ("build",)}, "sessions"),
        ({"not_after": NOW + HOUR_S + 1}, "wider-time"),
        ({"not_before": 0, "not_after": 1}, "wider-time"),
        ({"not_before": NOW + HOUR_S}, "validity"),
        ({"depth": 2}, "depth"),
        ({"depth": 3}, "depth"),
        ({"depth": -1}, "depth"),
        ({"tenant": OTHER.key}, "tenant"),
        ({"signer": T.issuer.key}, "signature"),
        ({"parent": b""}, "parent"),
        ({"parent": bytes(32)}, "parent"),
        ({"holder": bytes(32)}, "key"),
        ({"serial": b""}, "malformed"),
        ({"format": 2}, "format"),
    ],
    ids=str,
)
def test_a_holder_cannot_widen_what_it_holds(changes: dict[str, Any], reason: str) -> None:
    sessions = tuple(sorted((S1, S2)))
    mine = T.granted(BOB, OPERATE, sessions=sessions, not_after=NOW + HOUR_S, depth=2)
    assert checked(next_link(mine, BOB), MALLORY).depth == 1
    assert reason_of(next_link(mine, BOB, **changes), MALLORY) == reason


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"capabilities": MANAGE}, "wider-capabilities"),
        ({"sessions": ()}, "wider-sessions"),
        ({"sessions": (S2,)}, "wider-sessions"),
        ({"not_after": NOW + 2 * HOUR_S}, "wider-time"),
        ({"not_after": NOW - DAY_S}, "validity"),
        ({"depth": 3}, "depth"),
    ],
    ids=str,
)
def test_asking_for_more_is_an_error_and_not_cut_silently(asked: dict[str, Any], reason: str) -> None:
    mine = T.granted(BOB, OPERATE, sessions=(S1,), not_after=NOW + HOUR_S, depth=3)
    with pytest.raises(BadGrant) as refused:
        to(mine, BOB, CAROL, **asked)
    assert refused.value.details["reason"] == reason


def test_only_the_holder_passes_on_and_only_to_itself_it_is_of_use() -> None:
    mine = T.granted(BOB)
    with pytest.raises(BadGrant, match="another key"):
        to(mine, CAROL, MALLORY)
    assert reason_of(next_link(mine, MALLORY, signer=BOB.key), MALLORY) == "signature"
    assert reason_of(next_link(mine, T.issuer), MALLORY) == "signature"
    assert reason_of(mine, MALLORY) == "holder"
    assert reason_of(to(mine, BOB, CAROL), BOB) == "holder"


def test_no_chain_of_another_tenant_counts() -> None:
    theirs = OTHER.granted(BOB)
    with pytest.raises(identity.BadCertificate):
        checked(theirs, BOB)
    assert reason_of(joined(T.issuer_certificate, parts(theirs)[1]), BOB) == "signature"
    by_root = mint(OTHER.root, holder=BOB.key, capabilities=OBSERVE, serial=T.serial(), now=NOW, not_after=NOW + 9)
    assert reason_of(by_root, BOB) == "signature"


def test_two_chains_of_one_holder_cannot_be_spliced() -> None:
    """A narrow grant that Bob passed on is not attached to the wide one he also has."""
    narrow, wide = T.granted(BOB, OBSERVE, sessions=(S1,)), T.granted(BOB, EVERYTHING)
    passed = parts(to(narrow, BOB, CAROL))[1]
    spliced = joined(T.issuer_certificate, [parts(wide)[1][0], passed[1]])
    assert reason_of(spliced, CAROL) == "parent"
    long = parts(to(to(wide, BOB, CAROL), CAROL, MALLORY))
    for cut in ([long[1][0], long[1][2]], [long[1][1], long[1][2]], [long[1][0], long[1][2], long[1][1]]):
        assert reason_of(joined(long[0], cut), MALLORY) == "signature"
    assert reason_of(joined(long[0], long[1][:2]), MALLORY) == "holder"


def test_depth_bounds_how_far_a_grant_travels_and_eight_links_are_the_most() -> None:
    chain, holder = T.granted(BOB, depth=DEPTH_MAX), BOB
    for number in range(DEPTH_MAX):
        following = pair(f"hop {number}")
        chain, holder = to(chain, holder, following), following
    assert len(links_of(chain)) == LINKS_MAX and checked(chain, holder).depth == 0
    assert reason_of(next_link(chain, holder, depth=0), MALLORY) == "too-long"
    with pytest.raises(BadGrant):
        to(chain, holder, MALLORY)
    last = T.granted(BOB, depth=0)
    assert reason_of(next_link(last, BOB, depth=0), MALLORY) == "depth"
    with pytest.raises(BadGrant, match="may not delegate"):
        to(last, BOB, CAROL)
    with pytest.raises(BadGrant, match="may not delegate"):
        T.granted(BOB, depth=DEPTH_MAX + 1)
    assert reason_of(joined(T.issuer_certificate, []), BOB) == "too-long"


def test_an_operator_with_a_principal_has_no_right_that_the_principal_did_not_pass_on() -> None:
    """R68: the intersection is the chain itself."""
    straight = T.granted(T.bot, OPERATE)
    through_bob = to(T.granted(BOB), BOB, T.bot)
    for chain in (straight, through_bob):
        assert reason_of(chain, T.bot, kind=Kind.AI, principal=T.alice.key) == "principal"
    mine = to(T.granted(T.alice, OPERATE), T.alice, T.bot)
    assert checked(mine, T.bot, kind=Kind.AI, principal=T.alice.key).capabilities == closed(OPERATE)
    second = to(mine, T.bot, CAROL)  # an AI that the AI engaged, for the same person
    assert checked(second, CAROL, kind=Kind.AI, principal=T.alice.key)
    ends_at_alice = to(T.granted(BOB), BOB, T.alice)
    assert reason_of(ends_at_alice, T.alice, principal=T.alice.key) == "principal"


@pytest.mark.parametrize(
    ("capabilities", "depth", "good"),
    [(OBSERVE, 0, True), (PROPOSE, 0, True), (OPERATE, 0, False), (MANAGE, 0, False), (OBSERVE, 1, False)],
    ids=str,
)
def test_a_guest_observes_or_proposes_and_passes_nothing_on(capabilities: Capability, depth: int, good: bool) -> None:
    chain = to(T.granted(BOB), BOB, CAROL, capabilities=capabilities, depth=depth)
    if good:
        assert checked(chain, CAROL, kind=Kind.GUEST)
    else:
        assert reason_of(chain, CAROL, kind=Kind.GUEST) == "guest"


def test_revoking_any_link_or_key_of_a_chain_revokes_it() -> None:
    """R56."""
    chain = to(to(T.granted(BOB), BOB, CAROL), CAROL, MALLORY)
    grant = checked(chain, MALLORY)
    issuer = identity.read(T.issuer_chain).certificate
    for value in (*grant.holders, *grant.serials, issuer.key, issuer.serial):
        keys, serials = ([value], []) if len(value) == 32 else ([], [value])
        data = revoke(T.root, tenant=T.key, version=1, at=NOW, keys=keys, serials=serials)
        revoked = merged([verify_revocations(data, tenant=T.key, now=NOW)])
        assert grant.revoked(revoked)
        with pytest.raises(Revoked):
            checked(chain, MALLORY, revoked=revoked)


def test_a_chain_of_unbounded_size_is_refused_before_it_is_read() -> None:
    assert reason_of(bytes(17_000), BOB) == "too-large"
    assert reason_of(b"\x91" * 16_000 + b"\x90", BOB) == "malformed"
    many = tuple(sorted(identity.host_id(pair(str(n)).key).replace("h-", "s-") for n in range(65)))
    with pytest.raises(BadGrant, match="64"):
        T.granted(BOB, sessions=many)
    assert len(checked(T.granted(BOB, sessions=many[:64]), BOB).sessions) == 64


# ---- properties ------------------------------------------------------------------------------------------------------

SESSIONS = st.sets(st.sampled_from((S1, S2, S3))).map(lambda found: tuple(sorted(found)))
MASKS = st.integers(1, 31)
TIMES = st.integers(NOW - 2, NOW + 4)


class Plan(msgspec.Struct, frozen=True):
    """A link as somebody may make it, honest or not."""

    sessions: tuple[str, ...]
    mask: int
    not_before: int
    not_after: int
    depth: int


PLANS = st.builds(Plan, SESSIONS, MASKS, TIMES, TIMES, st.integers(0, 4))


def model(plans: list[Plan]) -> bool:
    """Whether a chain of these is in order, said another way: in sets of what is allowed, over everything there is."""

    def allowed(plan: Plan) -> set[tuple[str, int, int]]:
        sessions = plan.sessions or (S1, S2, S3, "any other")
        bits = [bit for bit in (1, 2, 4, 8) if plan.mask & bit] + [16] * bool(plan.mask & 24)
        return {(s, b, t) for s in sessions for b in bits for t in range(plan.not_before, plan.not_after)}

    tidy = all(plan.mask & 15 in (0, 1, 3, 7, 15) and plan.not_before < plan.not_after for plan in plans)
    narrows = all(allowed(later) <= allowed(earlier) for earlier, later in itertools.pairwise(plans))
    return tidy and narrows and all(a.depth > b.depth for a, b in itertools.pairwise(plans))


def built(plans: list[Plan]) -> tuple[bytes, KeyPair]:
    """A chain of just these links, every one signed by whoever has to sign it."""
    links: list[bytes] = []
    signer, parent = T.root, b""
    for number, plan in enumerate(plans):
        holder = pair(f"holder {number}")
        link = Link(1, T.key, signer.key, holder.key, plan.sessions, plan.mask, plan.not_before, plan.not_after,
                    plan.depth, bytes(16), parent)  # fmt: skip
        links.append(signed.sign(signer, signed.GRANT, link))
        signer, parent = holder, signed.body_digest(links[-1], most=1 << 16)
    return joined(b"", links), signer


@given(st.lists(PLANS, min_size=1, max_size=4), TIMES)
def test_whatever_holders_sign_a_chain_is_accepted_just_if_every_link_narrows(plans: list[Plan], now: int) -> None:
    chain, holder = built(plans)
    if not model(plans):
        with pytest.raises(BadGrant):
            checked(chain, holder, now=now)
        return
    last = plans[-1]
    if not last.not_before <= now < last.not_after:
        with pytest.raises(HoldError):
            checked(chain, holder, now=now)
        return
    grant = checked(chain, holder, now=now)
    for session in (S1, S2, S3, None):
        for bit in IMPLIES:
            held = bit | MANAGE if bit == AUDIT else bit
            everybody = all(plan.mask & held and (not plan.sessions or session in plan.sessions) for plan in plans)
            assert (grant.forbids(bit, session, now=now) is None) is everybody


ASKS = st.fixed_dictionaries(
    {},
    optional={
        "capabilities": st.sampled_from(list(IMPLIES)),
        "sessions": SESSIONS,
        "not_after": st.integers(NOW + 1, NOW + HOUR_S),
        "depth": st.integers(0, 7),
    },
)


@given(st.sampled_from(list(IMPLIES)), SESSIONS, st.lists(ASKS, max_size=7))
def test_however_often_a_grant_is_passed_on_it_only_shrinks(
    first: Capability, sessions: tuple[str, ...], asks: list[dict[str, Any]]
) -> None:
    chain, holder = T.granted(BOB, first, sessions=sessions, not_after=NOW + HOUR_S), BOB
    before = checked(chain, holder)
    for number, ask in enumerate(asks):
        following = pair(f"next {number}")
        try:
            longer = to(chain, holder, following, **ask)
        except BadGrant:
            continue  # it asked for more
        after = checked(longer, following)
        assert not reaching(after.capabilities) & ~reaching(before.capabilities)
        assert not before.sessions or (after.sessions and after.sessions <= before.sessions)
        assert before.not_before <= after.not_before < after.not_after <= before.not_after
        assert after.depth < before.depth
        chain, holder, before = longer, following, after


LONG = to(to(T.granted(BOB, OPERATE, sessions=(S1,)), BOB, T.alice), T.alice, T.bot)


@given(st.data())
def test_every_altered_byte_of_a_chain_is_noticed(data: st.DataObject) -> None:
    victim = bytearray(LONG)
    victim[data.draw(st.integers(0, len(victim) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises((BadGrant, identity.BadCertificate)):
        checked(bytes(victim), T.bot)


@given(st.data())
def test_every_altered_field_of_any_link_is_noticed(data: st.DataObject) -> None:
    """Signed again by nobody: the altered body keeps the signature it had."""
    issuer, links = parts(LONG)
    which = data.draw(st.integers(0, 2))
    body, signature, form = msgspec.msgpack.decode(links[which])
    fields = msgspec.msgpack.decode(body)
    place = data.draw(st.integers(0, len(fields) - 1))
    other = {int: st.integers(0, 1 << 40), bytes: st.binary(max_size=32), list: SESSIONS.map(list)}[type(fields[place])]
    value = data.draw(other)
    assume(value != fields[place])
    fields[place] = value
    links[which] = signed.encoded([signed.encoded(fields), signature, form])
    assert reason_of(joined(issuer, links), T.bot) == "signature"


@given(st.binary(max_size=300))
def test_rubbish_is_refused_and_never_a_defect(rubbish: bytes) -> None:
    for chain in (rubbish, joined(b"", [rubbish]), joined(T.issuer_certificate, [rubbish])):
        assert reason_of(chain, BOB) in ("malformed", "signature", "too-long")
