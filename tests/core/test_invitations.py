"""Join codes and share links: what is copied wrongly is refused, what is copied rightly is enough, nothing shows."""

import base64
import zlib
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import grants, identity
from holdfast.core.grants import Capability
from holdfast.core.identity import DAY_S, HOUR_S, BadCertificate, Expired, Kind
from holdfast.core.invitations import (
    BadJoinCode,
    BadShare,
    JoinCode,
    Offer,
    parse_join_code,
    parse_offer,
    parse_share,
    share,
)
from tests.core.tenants import NOW, S1, S2, Tenant, pair, seed

T = Tenant()
RELAYS = ("wss://relay.example:8443/r", "wss://two.example")
SECRET = seed("once")[:16]
CHANNEL = seed("channel")
CODE = JoinCode(RELAYS, T.key, T.host.key, CHANNEL, SECRET, NOW + HOUR_S)
TEXT = CODE.text()
LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def test_a_join_code_says_all_of_it_again() -> None:
    assert parse_join_code(TEXT, now=NOW) == CODE
    assert TEXT.isalnum() and TEXT.isupper() and len(TEXT) < 350


def test_case_blanks_breaks_and_lookalikes_do_not_matter() -> None:
    mail = "\n".join(TEXT[at : at + 60].lower() for at in range(0, len(TEXT), 60))
    assert parse_join_code(f"  {mail}\n", now=NOW) == CODE
    confused = "HOLD1" + TEXT[5:].replace("0", "O").replace("1", "l")
    assert parse_join_code(confused, now=NOW) == CODE


@given(st.integers(5, len(TEXT) - 1), st.sampled_from(LETTERS))
def test_a_mistyped_letter_is_refused(at: int, letter: str) -> None:
    if letter == TEXT[at]:
        return
    with pytest.raises(BadJoinCode):
        parse_join_code(TEXT[:at] + letter + TEXT[at + 1 :], now=NOW)


@given(st.integers(5, len(TEXT) - 2))
def test_swapped_missing_and_added_letters_are_refused(at: int) -> None:
    swapped = TEXT[:at] + TEXT[at + 1] + TEXT[at] + TEXT[at + 2 :]
    for wrong in (swapped, TEXT[:at] + TEXT[at + 1 :], TEXT[:at] + "7" + TEXT[at:], TEXT[:at]):
        if wrong != TEXT:
            with pytest.raises(BadJoinCode):
                parse_join_code(wrong, now=NOW)


@given(st.text(max_size=60))
def test_any_other_text_is_no_join_code(text: str) -> None:
    for wrong in (text, "HOLD1" + text):
        with pytest.raises(BadJoinCode):
            parse_join_code(wrong, now=NOW)


def test_an_expired_code_is_told_from_a_wrong_one() -> None:
    assert parse_join_code(TEXT, now=NOW + HOUR_S - 1)
    with pytest.raises(Expired, match="join code"):
        parse_join_code(TEXT, now=NOW + HOUR_S)


@pytest.mark.parametrize(
    "bad",
    [{"relays": ()}, {"relays": ("http://x",)}, {"relays": RELAYS * 5}, {"tenant": bytes(32)}, {"host": b""},
     {"secret": b"short"}, {"channel": bytes(32)}, {"not_after": 0}],
    ids=str,
)  # fmt: skip
def test_a_code_that_makes_no_sense_is_never_made(bad: dict[str, object]) -> None:
    with pytest.raises(BadJoinCode):
        replace(CODE, **bad).text()  # type: ignore[arg-type]


# ---- share links -----------------------------------------------------------------------------------------------------

MINE = T.granted(T.alice)


def shared(**more: object):  # type: ignore[no-untyped-def]
    given = {"relays": RELAYS, "host": T.host.key, "session": S1, "seed": seed("guest"), "now": NOW,
             "serials": (T.serial(), T.serial()), "not_after": NOW + HOUR_S} | more  # fmt: skip
    return share(T.alice, T.alice_chain, MINE, **given)  # type: ignore[arg-type]


def test_whoever_opens_the_link_is_a_guest_who_may_look_and_no_more() -> None:
    """The relay admits by the certificate, the host by the grant; neither needs to know more than the root key."""
    found = parse_share(shared().url())
    assert found == replace(shared(), certificates=found.certificates, grant=found.grant)
    member = identity.verify(found.certificates, tenant=T.key, now=NOW)
    assert member.kind is Kind.GUEST
    grant = grants.verify(found.grant, tenant=T.key, now=NOW, holder=member.key, kind=member.kind)
    assert (grant.sessions, grant.capabilities, grant.depth) == ({S1}, Capability.OBSERVE, 0)
    assert grant.not_after == member.certificate.not_after == NOW + HOUR_S
    assert found.seed == seed("guest")


def test_a_link_may_let_propose_and_never_more() -> None:
    grant = grants.read(parse_share(shared(propose=True).url()).grant)
    assert grant.capabilities == Capability.PROPOSE | Capability.OBSERVE


def test_a_link_ends_with_whoever_made_it() -> None:
    found = shared(not_after=NOW + 3 * DAY_S)
    end = identity.read(T.alice_chain).certificate.not_after
    assert grants.read(found.grant).not_after == identity.read(found.certificates).certificate.not_after == end


def test_only_a_human_with_the_right_shares() -> None:
    observe_s2 = T.granted(T.alice, Capability.OBSERVE, sessions=(S2,))
    with pytest.raises(grants.BadGrant, match="more sessions"):
        share(T.alice, T.alice_chain, observe_s2, relays=RELAYS, host=T.host.key, session=S1, seed=seed("g"), now=NOW,
              serials=(T.serial(), T.serial()), not_after=NOW + HOUR_S)  # fmt: skip
    with pytest.raises(BadCertificate):
        share(T.bot, T.bot_chain, MINE, relays=RELAYS, host=T.host.key, session=S1, seed=seed("g"), now=NOW,
              serials=(T.serial(), T.serial()), not_after=NOW + HOUR_S)  # fmt: skip


def test_everything_is_in_the_fragment_which_browsers_send_to_nobody() -> None:
    url = shared().url()
    page, fragment = url.split("#")
    assert page == "https://relay.example:8443/s"
    assert len(fragment) < 2400, "a QR code holds 2,953 bytes"
    assert shared(relays=("ws://[::1]:80",)).url().startswith("http://[::1]:80/s#")


def test_no_secret_shows_when_an_invitation_is_printed() -> None:
    for printed in (repr(CODE), str(CODE), repr(shared()), f"{shared()}"):
        for secret in (SECRET, seed("guest")):
            assert secret.hex() not in printed and repr(secret)[2:-1] not in printed


URL = shared().url()


@given(st.integers(URL.index("#") + 3, len(URL) - 1), st.sampled_from("AQgw_-09"))
def test_a_mistyped_or_cut_link_is_refused(at: int, letter: str) -> None:
    with pytest.raises(BadShare):
        parse_share(URL[:at])
    spoiled = URL[:at] + letter + URL[at + 1 :]
    try:
        assert parse_share(spoiled) == parse_share(URL)  # the last letter carries bits that mean nothing
    except BadShare:
        pass


@given(st.text(max_size=60))
def test_any_other_text_is_no_share_link(text: str) -> None:
    for wrong in (text, f"https://relay.example/s#{text}", f"https://relay.example/s#1.{text}"):
        with pytest.raises(BadShare):
            parse_share(wrong)


def test_a_link_that_unpacks_to_gigabytes_is_refused_at_the_bound() -> None:
    bomb = base64.urlsafe_b64encode(zlib.compress(bytes(4 << 20), 9)).decode().rstrip("=")
    with pytest.raises(BadShare):
        parse_share(f"https://relay.example/s#1.{bomb}")


@pytest.mark.parametrize("change", [{5: b"rubbish"}, {6: seed("another")}, {1: pair("t").key}, {3: S2}], ids=str)
def test_a_link_whose_parts_do_not_fit_each_other_is_refused(change: dict[int, object]) -> None:
    """Its key must be the one that its certificate and its grant name, its session the granted one."""
    text = URL.partition("#1.")[2]
    fields = msgspec.msgpack.decode(zlib.decompress(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))
    for place, value in change.items():
        fields[place] = value
    packed = base64.urlsafe_b64encode(zlib.compress(msgspec.msgpack.encode(fields))).decode()
    with pytest.raises(BadShare, match="no sense"):
        parse_share(f"https://relay.example/s#1.{packed}")


# ---- offers ----------------------------------------------------------------------------------------------------------


def offered() -> Offer:
    grant = grants.attenuate(
        MINE, T.alice, holder=T.bot.key, serial=T.serial(), sessions=(S1,), capabilities=Capability.OBSERVE, depth=0
    )
    return Offer(RELAYS, T.host.key, S1, grant)


def test_an_offer_says_all_of_it_again_and_holds_no_secret() -> None:
    it = offered()
    assert parse_offer(f" {it.text()}\n") == it
    assert grants.verify(it.grant, tenant=T.key, now=NOW, holder=T.bot.key, kind=Kind.AI, principal=T.alice.key)


@given(st.text(max_size=60))
def test_any_other_text_is_no_offer(text: str) -> None:
    for wrong in (text, "HOLDGRANT1." + text):
        with pytest.raises(BadShare):
            parse_offer(wrong)


@given(st.integers(11, 200), st.sampled_from("AZaz09-_"))
def test_an_offer_with_another_letter_is_refused_or_proves_nothing(at: int, letter: str) -> None:
    text = offered().text()
    wrong = text[:at] + letter + text[at + 1 :]
    if wrong == text:
        return
    try:
        found = parse_offer(wrong)
        grants.verify(found.grant, tenant=T.key, now=NOW, holder=T.bot.key, kind=Kind.AI, principal=T.alice.key)
    except (BadShare, grants.BadGrant, BadCertificate):
        return
    assert found.grant == parse_offer(text).grant  # an address on the way may differ; what it allows may not
