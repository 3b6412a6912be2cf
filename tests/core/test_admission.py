"""Who may what: every message of the protocol against every kind of authority, and what nobody can reach."""

from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import grants, identity
from holdfast.core.admission import (
    NEEDS,
    OBSERVING,
    RENEWING,
    WRAPPERS,
    Act,
    Authority,
    Forbidden,
    Granted,
    Inside,
    Owner,
    Scope,
    needed,
    objection,
    reach,
    refusals,
    visible,
)
from holdfast.core.errors import NoSuchSession
from holdfast.core.grants import EVERYTHING, IMPLIES, Capability
from holdfast.core.identity import DAY_S, HOUR_S, Kind, Revocations
from holdfast.core.signed import KeyPair
from holdfast.wire import messages as wire
from tests.core.tenants import NOW, S1, S2, S3, Tenant, pair

T = Tenant()
OBSERVE, PROPOSE, OPERATE, MANAGE, AUDIT = IMPLIES
TAGS = [kind.__struct_config__.tag for kind in get_args(wire.ToHost)]


def granted(who: KeyPair, chain: tuple[bytes, ...], *given: tuple[Capability, tuple[str, ...]]) -> Granted:
    member = identity.verify(chain, tenant=T.key, now=NOW)
    held = []
    for capabilities, sessions in given:
        depth = 0 if member.kind is Kind.GUEST else 3
        if member.certificate.on_behalf_of:
            mine = T.granted(T.alice, EVERYTHING)
            link = grants.attenuate(mine, T.alice, holder=who.key, serial=T.serial(), capabilities=capabilities,
                                    sessions=sessions, depth=depth)  # fmt: skip
        else:
            link = T.granted(who, capabilities, sessions=sessions, depth=depth)
        held.append(grants.verify(link, tenant=T.key, now=NOW, holder=who.key, kind=member.kind,
                                  principal=member.certificate.on_behalf_of))  # fmt: skip
    return Granted(member, tuple(held))


def human(*given: tuple[Capability, tuple[str, ...]]) -> Granted:
    return granted(T.alice, T.alice_chain, *given)


GUEST = granted(pair("guest"), T.issued(Kind.GUEST, pair("guest")), (PROPOSE, (S1,)))

# One column an authority, one letter a verb: y may, . is forbidden, for S1, which the authority can tell from S2.
WHO: dict[str, Authority] = {
    "owner": Owner(),
    "inside S1": Inside(S1),
    "inside S2": Inside(S2),
    "manage, all": human((MANAGE, ())),
    "operate, all": human((OPERATE, ())),
    "observe, all": human((OBSERVE, ())),
    "manage S1": human((MANAGE, (S1,))),
    "operate S1": human((OPERATE, (S1,))),
    "observe S1": human((OBSERVE, (S1,))),
    "manage S2": human((MANAGE, (S2,))),
    "nothing": human(),
    "AI, operate S1": granted(T.bot, T.bot_chain, (OPERATE, (S1,))),
    "guest of S1": GUEST,
}
FREE = "yyyyyyyyyyyyy"
SEES = "yyyyyyyyy..yy"
TABLE = {
    "hello": FREE, "ping": FREE, "pong": FREE, "cancel": FREE, "detach": FREE, "credit": FREE, "seen": FREE,
    "list": FREE,
    "info": SEES, "read": SEES, "get-screen": SEES, "get-text": SEES, "wait": SEES, "witness": SEES, "read-times": SEES,
    "read-journal": "yy.y..y......", "get-chain": "yy.y..y......",
    "attach observing": SEES,
    "attach": "yy.yy.yy...y.", "input": "yy.yy.yy...y.", "run": "yy.yy.yy...y.", "wait-for": SEES, "list-commands": SEES,
    "resize": "yy.yy.yy...y.", "signal": "yy.yy.yy...y.",
    "control": "yy.yy.yy...y.", "who": SEES,
    "propose": "yy.yy.yy...yy", "withdraw": "yy.yy.yy...yy", "decide": "yy.yy.yy...y.",
    "proposals": SEES, "await-decision": SEES,
    "kill": "y..y..y......", "keep": "y..y..y......", "rename": "y..y..y......", "forget": "y..y..y......",
    "fork": "y..y..y......",
    "open": "yyyyy........",
    "host-status": "yyyyyy.......",
    "host-stop": "y..y.........", "host-upgrade": "y..y.........",
    "get-identity": "yyyyyy.......",
    "enrol": "y............", "enrol renewing": "y..y.........",
    "revoke-list": FREE, "renew": FREE, "present": FREE, "notify": FREE, "stop-notifying": FREE, "invite": "y............",
    "await-joiner": "y............", "let-in": "y............", "accept-rollback": "y............",
}  # fmt: skip


def test_every_message_a_client_can_send_has_a_need_and_nothing_else_has() -> None:
    assert set(NEEDS) | WRAPPERS == set(TAGS) and not set(NEEDS) & WRAPPERS
    assert {row.partition(" ")[0] for row in TABLE} == set(NEEDS)
    assert set(OBSERVING) | set(RENEWING) <= set(NEEDS)


def test_a_verb_names_a_session_just_if_its_message_does() -> None:
    naming = {kind.__struct_config__.tag for kind in get_args(wire.ToHost) if "session" in kind.__struct_fields__}
    assert {verb for verb, need in NEEDS.items() if need.scope is Scope.SESSION} | WRAPPERS == naming | WRAPPERS


def test_the_page_names_every_verb() -> None:
    page = (Path(__file__).parents[2] / "docs" / "identity.md").read_text()
    section = page.partition("## Admission")[2].partition("\n## ")[0]
    assert [verb for verb in (*NEEDS, *WRAPPERS) if f"`{verb}`" not in section] == []


@pytest.mark.parametrize("row", TABLE)
@pytest.mark.parametrize("column", range(len(WHO)), ids=list(WHO))
def test_who_may_what_is_this_table(row: str, column: int) -> None:
    """R52, R57, R59, R63."""
    who = list(WHO.values())[column]
    act = Act(row.partition(" ")[0], S1, "build", observe="observing" in row, renews="renewing" in row)
    found = refusals(act, who, now=NOW)
    assert ("." if found else "y") == TABLE[row][column], found
    assert (objection(act, who, now=NOW) is None) is not found


@pytest.mark.parametrize("who", WHO.values(), ids=list(WHO))
@pytest.mark.parametrize("verb", ["", "take", "approve", "grant", "Attach", "attach ", "welcome"])
def test_an_unknown_verb_is_forbidden_to_everybody(who: Authority, verb: str) -> None:
    assert [no.reason for no in refusals(Act(verb, S1, "build"), who, now=NOW)] == ["unknown-verb"]
    assert isinstance(objection(Act(verb, S1, "build"), who, now=NOW), Forbidden)


@pytest.mark.parametrize("verb", sorted(WRAPPERS))
def test_what_only_carries_an_act_is_never_admitted_in_its_place(verb: str) -> None:
    """A host that forgot to look inside would let anything through."""
    for who in WHO.values():
        assert [no.reason for no in refusals(Act(verb, S1, "build", True, True), who, now=NOW)] == ["wrapper"]


@pytest.mark.parametrize("verb", NEEDS)
def test_an_unknown_authority_may_nothing(verb: str) -> None:
    nobody: Any = object()
    assert "authority" in [no.reason for no in refusals(Act(verb, S1, "build"), nobody, now=NOW)]


@pytest.mark.parametrize("verb", [verb for verb, need in NEEDS.items() if need.scope is Scope.SESSION])
@pytest.mark.parametrize("observe", [True, False])
def test_unknown_and_forbidden_are_answered_alike(verb: str, observe: bool) -> None:
    """I9, R52: whoever may not observe a session cannot tell that it exists."""
    for who in (WHO["manage S2"], WHO["nothing"], granted(T.bot, T.bot_chain, (OPERATE, (S3,)))):
        forbidden = objection(Act(verb, S1, "build", observe), who, now=NOW)
        unknown = objection(Act(verb, "", "build", observe), who, now=NOW)
        assert type(forbidden) is type(unknown) is NoSuchSession
        assert (str(forbidden), forbidden.details) == (str(unknown), unknown.details)
    assert type(objection(Act(verb, "", "build", observe), Owner(), now=NOW)) is NoSuchSession


def test_what_may_be_seen_is_refused_with_its_reason() -> None:
    """R63: an observer is told that it is one."""
    refused = objection(Act("input", S1, "build"), WHO["observe S1"], now=NOW)
    assert isinstance(refused, Forbidden)
    assert refused.details == {"verb": "input", "reason": "grant"} and "grant to operate" in str(refused)
    assert isinstance(objection(Act("kill", S1, "build"), Inside(S1), now=NOW), Forbidden)
    assert isinstance(objection(Act("host-stop"), WHO["manage S1"], now=NOW), Forbidden)


def test_observing_eases_attaching_and_renewing_enrolment_and_nothing_else() -> None:
    for verb in NEEDS:
        assert (needed(Act(verb, observe=True)) == needed(Act(verb))) is (verb not in ("attach", "resize"))
        assert (needed(Act(verb, renews=True)) == needed(Act(verb))) is (verb != "enrol")


def test_a_listing_shows_what_may_be_observed() -> None:
    """R53."""
    shown = {name: visible([S1, S2, S3], who, now=NOW) for name, who in WHO.items()}
    assert shown == {
        name: [] if name == "nothing" else [S2] if name == "manage S2" else [S1, S2, S3]
        if name.startswith(("owner", "inside")) or name.endswith("all") else [S1]
        for name in WHO
    }  # fmt: skip


def test_what_is_shown_as_ones_reach_is_what_one_may() -> None:
    assert [reach(S1, WHO[name], now=NOW) for name in ("owner", "inside S1", "inside S2", "guest of S1", "nothing")] == [
        EVERYTHING, OPERATE | PROPOSE | OBSERVE | AUDIT, OBSERVE, PROPOSE | OBSERVE, Capability.NONE,
    ]  # fmt: skip


def test_an_auditor_reads_the_record_and_does_nothing_else() -> None:
    """Promise J9, R73. It is told why more is forbidden, and of other sessions nothing; a listing shows it none."""
    auditor = human((AUDIT, (S1,)))
    may = {verb for verb in NEEDS if not refusals(Act(verb, S1, "build"), auditor, now=NOW)}
    nothing = {verb for verb in NEEDS if not refusals(Act(verb, S1, "build"), WHO["nothing"], now=NOW)}
    assert may - nothing == {"read-journal", "get-chain"} and nothing <= may
    assert isinstance(objection(Act("input", S1, "build"), auditor, now=NOW), Forbidden)
    assert type(objection(Act("read-journal", S2, "other"), auditor, now=NOW)) is NoSuchSession
    assert visible([S1, S2], auditor, now=NOW) == [] and reach(S1, auditor, now=NOW) == AUDIT


def test_two_narrow_grants_do_not_make_a_wide_one() -> None:
    both = human((OPERATE, (S1,)), (OBSERVE, ()))
    assert refusals(Act("input", S1, "a"), both, now=NOW) == []
    assert refusals(Act("input", S2, "b"), both, now=NOW) != []
    assert refusals(Act("open"), both, now=NOW) != []


def test_rights_end_with_the_certificate_the_grant_or_a_revocation_whichever_is_first() -> None:
    """R56, R57."""
    who = human((OPERATE, ()))
    act = Act("input", S1, "build")
    end = who.member.certificate.not_after
    assert [bool(refusals(act, who, now=now)) for now in (end - 1, end)] == [False, True]
    short = Granted(who.member, (grants.verify(T.granted(T.alice, OPERATE, not_after=NOW + HOUR_S), tenant=T.key, now=NOW,
                                               holder=T.alice.key, kind=Kind.HUMAN),))  # fmt: skip
    assert [bool(refusals(act, short, now=NOW + s)) for s in (HOUR_S - 1, HOUR_S)] == [False, True]
    certificate, grant = who.member.certificate, who.grants[0]
    for value in (T.alice.key, certificate.serial, grant.serials[0]):
        revoked = Revocations(members=frozenset({value}))
        assert refusals(act, who, now=NOW, revoked=revoked) != []
        assert type(objection(act, who, now=NOW, revoked=revoked)) is NoSuchSession
    assert refusals(act, who, now=NOW, revoked=Revocations(issuers=frozenset({T.issuer.key}))) != []


def test_a_grant_of_somebody_else_or_past_the_principal_counts_for_nothing() -> None:
    """Even if a host forgot to check it when it was shown."""
    bobs = grants.read(T.granted(pair("bob"), EVERYTHING))
    straight = grants.read(T.granted(T.bot, EVERYTHING))
    bot = identity.verify(T.bot_chain, tenant=T.key, now=NOW)
    for who in (Granted(human().member, (bobs,)), Granted(bot, (straight,))):
        assert refusals(Act("input", S1, "build"), who, now=NOW) != []


@pytest.mark.parametrize("kind", [Kind.HOST, Kind.ISSUER])
def test_a_host_or_issuer_operates_nothing_whatever_it_was_granted(kind: Kind) -> None:
    key, chain = (T.host, T.host_chain) if kind is Kind.HOST else (T.issuer, T.issuer_chain)
    who = Granted(identity.read(chain), (grants.read(T.granted(key, EVERYTHING)),))
    assert refusals(Act("info", S1, "build"), who, now=NOW) != []


ACTS = st.builds(
    Act, st.sampled_from(list(NEEDS)), st.sampled_from(["", S1, S2, S3]), st.just("x"), st.booleans(), st.booleans()
)


@given(
    ACTS,
    st.sampled_from([S1, S2]),
    st.lists(st.tuples(st.sampled_from(list(IMPLIES)), st.sets(st.sampled_from([S1, S2]))), max_size=3),
)
def test_nobody_inside_and_no_guest_ever_reaches_manage(
    act: Act, session: str, held: list[tuple[Capability, set[str]]]
) -> None:
    """Whatever grants a guest was given by mistake, and however the message is put together."""
    need = needed(act)
    assert need is not None
    guest = Granted(
        GUEST.member,
        tuple(grants.read(T.granted(pair("guest"), mask, sessions=tuple(sessions))) for mask, sessions in held),
    )
    inside = Inside(session)
    if need.capability & MANAGE:
        assert refusals(act, inside, now=NOW) and refusals(act, guest, now=NOW)
    if need.capability & OPERATE or need.scope in (Scope.HOST, Scope.MACHINE):
        assert refusals(act, guest, now=NOW)
    if need.capability & OPERATE and need.scope is Scope.SESSION and act.session != session:
        assert refusals(act, inside, now=NOW)


@given(ACTS, st.sampled_from([S1, S2]), st.integers(NOW, NOW + 2 * DAY_S))
def test_whoever_may_less_is_refused_whatever_those_who_may_more_are(act: Act, session: str, now: int) -> None:
    """Among humans: a narrower grant never allows what a wider one refuses."""
    for narrow, wide in ((OBSERVE, PROPOSE), (PROPOSE, OPERATE), (OPERATE, MANAGE)):
        for less, more in (((session,), (session,)), ((session,), ()), ((), ())):
            if refusals(act, human((wide, more)), now=now):
                assert refusals(act, human((narrow, less)), now=now)
        if refusals(act, Owner(), now=now):
            assert refusals(act, human((wide, ())), now=now)


def test_an_operator_presented_from_inside_a_session_manages_nothing() -> None:
    """Promise M1: whatever its grants say, and only because of where it is."""
    outside = one_who_manages(False)
    inside = one_who_manages(True)
    for verb, need in NEEDS.items():
        act = Act(verb, S1, "build")
        before, after = refusals(act, outside, now=NOW), refusals(act, inside, now=NOW)
        if need.capability & Capability.MANAGE:
            assert "inside" in {each.reason for each in after}, verb
        else:
            assert after == before, verb


def one_who_manages(inside: bool) -> Granted:
    key = T.alice
    member = identity.read(T.issued(Kind.HUMAN, key))
    grant = grants.verify(T.granted(key), tenant=T.key, now=NOW, holder=key.key, kind=Kind.HUMAN)
    return Granted(member, (grant,), inside="s-somewhere" if inside else "")
