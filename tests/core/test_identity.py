"""Who somebody is: what a chain of certificates proves, what hosts say of themselves, what revocation reaches."""

import hashlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import identity, signed
from holdfast.core.errors import HoldError
from holdfast.core.grants import Link
from holdfast.core.identity import (
    DAY_S,
    ISSUER_S_MAX,
    MEMBER_S,
    MEMBER_S_MAX,
    SKEW_S,
    TERMS,
    BadCertificate,
    BadRecord,
    Certificate,
    Expired,
    Kind,
    Principal,
    Revoked,
    RolledBack,
    issue,
    merged,
    revoke,
    sign_host_record,
    verify,
    verify_host_record,
    verify_issuer,
    verify_revocations,
)
from holdfast.core.signed import KeyPair
from tests.core.tenants import NOW, Tenant, pair, seed

T, OTHER = Tenant(), Tenant("evil")
MEMBERS = [kind for kind in Kind if kind is not Kind.ISSUER]


def forged(signer: KeyPair, like: bytes, **changes: object) -> bytes:
    """The certificate ``like`` with fields changed and signed all the same: what a hostile signer could make."""
    certificate = signed.peeked(like, Certificate, most=4096)
    return signed.sign(signer, signed.CERTIFICATE, msgspec.structs.replace(certificate, **changes))


def reason_of(*chain: bytes, tenant: bytes = T.key, now: int = NOW) -> str:
    with pytest.raises(BadCertificate) as refused:
        verify(chain, tenant=tenant, now=now)
    return str(refused.value.details["reason"])


PAGE = " ".join((Path(__file__).parents[2] / "docs" / "identity.md").read_text().split())


@pytest.mark.parametrize("record", [Certificate, identity.HostRecord, identity.RevocationList, Link], ids=str)
def test_the_page_names_every_field_in_its_order(record: type[signed.Body]) -> None:
    assert f"`{record.__name__}` ({', '.join(record.__struct_fields__)}) —" in PAGE


def test_the_page_names_every_kind_with_its_rules_and_every_domain() -> None:
    for kind, terms in TERMS.items():
        says = {Principal.NEVER: "never", Principal.MAY: "allowed", Principal.MUST: "always"}[terms.principal]
        by = "the root" if None in terms.signers else "an issuer"
        by += ", or a human who vouches" if Kind.HUMAN in terms.signers else ""
        assert f"| `{kind.value}` | {by} | {terms.life_s_max // DAY_S} days | {says} |" in PAGE
    for domain in (signed.CERTIFICATE, signed.GRANT, signed.HOST_RECORD, signed.REVOCATIONS):
        assert f"`{domain[:-1].decode()}`" in PAGE


# ---- keys and their names --------------------------------------------------------------------------------------------


def test_an_id_is_the_hash_of_the_key_and_says_of_what_kind() -> None:
    names = [identity.operator_id(T.key), identity.host_id(T.key), identity.tenant_id(T.key)]
    assert [name[:2] for name in names] == ["o-", "h-", "t-"]
    assert len({name[2:] for name in names}) == 1 and all(len(name) == 28 for name in names)
    assert identity.operator_id(OTHER.key) != names[0]
    with pytest.raises(ValueError, match="32 bytes"):
        identity.host_id(b"short")


def test_a_fingerprint_can_be_read_aloud() -> None:
    groups = identity.fingerprint(T.key).split("-")
    assert [len(group) for group in groups] == [4] * 8
    assert identity.fingerprint(OTHER.key) != identity.fingerprint(T.key)


def test_no_secret_shows_when_a_key_is_printed() -> None:
    secret = seed("x")
    for shown in (repr(KeyPair(secret)), str(KeyPair(secret))):
        assert secret.hex()[:8] not in shown and repr(secret)[2:10] not in shown
    with pytest.raises(ValueError, match="32 random bytes") as refused:
        KeyPair(secret[:-1])
    assert secret.hex()[:8] not in str(refused.value)


def torsion() -> set[bytes]:
    """Encodings of all points of small order, by the curve's own arithmetic (RFC 8032), sign bit cleared."""
    p, order = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
    d = -121665 * pow(121666, -1, p) % p

    def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
        t = d * a[0] * b[0] * a[1] * b[1]
        return (
            (a[0] * b[1] + b[0] * a[1]) * pow(1 + t, -1, p) % p,
            (a[1] * b[1] + a[0] * b[0]) * pow(1 - t, -1, p) % p,
        )

    def times(n: int, a: tuple[int, int]) -> tuple[int, int]:
        total = (0, 1)
        while n:
            total = add(total, a) if n & 1 else total
            a, n = add(a, a), n >> 1
        return total

    def x_of(y: int) -> int | None:
        square = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
        root = pow(square, (p + 3) // 8, p)
        for x in (root, root * pow(2, (p - 1) // 4, p) % p):
            if x * x % p == square:
                return x
        return None

    ys: set[int] = set()
    for y in range(2, 40):  # a random point times the prime order has small order; some of these reach order 8
        if (x := x_of(y)) is not None:
            point = times(order, (x, y))
            ys |= {times(n, point)[1] for n in range(8)}
    return {value.to_bytes(32, "little") for y in ys for value in (y, y + p) if value < 2**255}


def test_a_key_under_which_many_messages_verify_is_no_key() -> None:
    weak = torsion()
    assert len(weak) == 7
    for key in weak:
        flipped = key[:-1] + bytes([key[-1] | 0x80])
        assert not signed.is_key(key) and not signed.is_key(flipped)
    assert signed.is_key(T.key) and not signed.is_key(T.key + b"x") and not signed.is_key(b"")


def test_the_domains_keep_records_apart() -> None:
    domains = [signed.CERTIFICATE, signed.GRANT, signed.HOST_RECORD, signed.REVOCATIONS]
    assert all(a == b or not b.startswith(a) for a in domains for b in domains)
    outer = msgspec.msgpack.decode(T.issuer_certificate)
    for domain in domains:
        assert signed.genuine(T.key, outer[1], domain + outer[0]) is (domain == signed.CERTIFICATE)


def test_a_second_encoding_of_the_same_record_is_refused() -> None:
    """Otherwise one record had two hashes."""
    body = signed.encoded(signed.peeked(T.alice_chain[1], Certificate, most=4096))
    respelled = b"\xdc\x00\x0a" + body[1:]  # the array's length in three bytes instead of one
    assert msgspec.msgpack.decode(respelled) == msgspec.msgpack.decode(body)
    signature = T.issuer.sign(signed.CERTIFICATE + respelled)
    assert reason_of(T.issuer_certificate, signed.encoded([respelled, signature, 0])) == "malformed"


# ---- certificates ----------------------------------------------------------------------------------------------------


def test_a_chain_proves_key_kind_and_principal() -> None:
    member = verify(T.bot_chain, tenant=T.key, now=NOW)
    assert (member.key, member.kind, member.certificate.on_behalf_of) == (T.bot.key, Kind.AI, T.alice.key)
    assert [c.kind for c in member.certificates] == [Kind.ISSUER, Kind.AI]
    assert member.certificate.not_after == NOW - SKEW_S + MEMBER_S


@pytest.mark.parametrize("signer", [None, *Kind], ids=str)
@pytest.mark.parametrize("kind", Kind, ids=str)
def test_who_may_sign_whom_is_the_table_and_nothing_else(signer: Kind | None, kind: Kind) -> None:
    who, key = pair("signer"), pair("subject").key
    if signer is None:
        who, above = T.root, ()
    elif signer is Kind.ISSUER:
        who, above = T.issuer, T.issuer_chain
    else:
        above = T.issued(signer, who, on_behalf_of=T.alice.key if signer is Kind.AI else b"")
    principal = b"" if TERMS[kind].principal is Principal.NEVER else who.key if signer else T.alice.key
    if signer in TERMS[kind].signers:
        chain = issue(who, above, kind=kind, key=key, serial=T.serial(), now=NOW, on_behalf_of=principal)
        assert identity.read(chain).kind is kind
        if kind is not Kind.ISSUER:
            assert verify(chain, tenant=T.key, now=NOW).key == key
    else:
        with pytest.raises(BadCertificate) as refused:
            issue(who, above, kind=kind, key=key, serial=T.serial(), now=NOW, on_behalf_of=principal)
        assert refused.value.details["reason"] == "kind"
        fake = forged(who, T.bot_chain[1], issuer=who.key, kind=kind, key=key, on_behalf_of=principal)
        with pytest.raises(BadCertificate):
            verify([*above, fake], tenant=T.key, now=NOW)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "format"),
        ({"serial": bytes(15)}, "malformed"),
        ({"name": bytes(257)}, "malformed"),
        ({"tenant": OTHER.key}, "tenant"),
        ({"issuer": T.alice.key}, "issuer"),
        ({"issuer": T.key}, "issuer"),
        ({"key": bytes(32)}, "key"),
        ({"key": T.alice.key[:-1]}, "key"),
        ({"key": T.key}, "key"),
        ({"key": T.issuer.key}, "key"),
        ({"on_behalf_of": b""}, "principal"),
        ({"on_behalf_of": T.bot.key}, "principal"),
        ({"on_behalf_of": bytes(32)}, "principal"),
        ({"kind": Kind.HUMAN}, "principal"),
        ({"kind": Kind.GUEST}, "principal"),
        ({"kind": Kind.ISSUER, "on_behalf_of": b""}, "kind"),
        ({"not_before": NOW + MEMBER_S}, "validity"),
        ({"not_before": -1}, "validity"),
        ({"not_after": 1 << 50}, "validity"),
        ({"not_after": NOW - SKEW_S + MEMBER_S_MAX + 1}, "life"),
        ({"not_before": NOW - SKEW_S - 1}, "outlives"),
        ({"not_before": NOW + 1}, "not-yet-valid"),
    ],
    ids=str,
)
def test_a_certificate_is_refused_for_each_thing_that_can_be_wrong_with_it(
    changes: dict[str, object], reason: str
) -> None:
    assert reason_of(T.issuer_certificate, forged(T.issuer, T.bot_chain[1], **changes)) == reason
    assert reason in BadCertificate.WHY


def test_an_issuer_lives_90_days_at_most_and_a_member_30() -> None:
    with pytest.raises(BadCertificate, match="longer"):
        issue(T.root, (), kind=Kind.ISSUER, key=T.issuer.key, serial=T.serial(), now=NOW, life_s=ISSUER_S_MAX + 1)
    long = T.issued(Kind.DEVICE, pair("d"), life_s=MEMBER_S_MAX)
    assert verify(long, tenant=T.key, now=NOW + MEMBER_S_MAX - SKEW_S - 1).kind is Kind.DEVICE
    with pytest.raises(BadCertificate, match="longer"):
        T.issued(Kind.DEVICE, pair("d"), life_s=MEMBER_S_MAX + 1)


def test_a_member_never_outlives_its_issuer() -> None:
    late = NOW + ISSUER_S_MAX - DAY_S // 2
    [issuer, member] = T.issued(Kind.HUMAN, T.alice, now=late)
    ends = [c.not_after for c in identity.read([issuer, member]).certificates]
    assert ends[0] == ends[1]
    assert reason_of(issuer, forged(T.issuer, member, not_after=ends[1] + 1), now=late) == "outlives"


def test_validity_ends_at_the_announced_instant() -> None:
    end = identity.read(T.alice_chain).certificate.not_after
    assert verify(T.alice_chain, tenant=T.key, now=end - 1)
    with pytest.raises(Expired) as over:
        verify(T.alice_chain, tenant=T.key, now=end)
    assert over.value.details == {"what": "certificate of this human", "not_after": end}
    assert reason_of(*T.alice_chain, now=NOW - SKEW_S - 1) == "not-yet-valid"


def test_no_chain_of_another_tenant_counts() -> None:
    """R53: neither theirs nor ours with a part of theirs in it."""
    for mixed in (
        OTHER.alice_chain,
        (T.issuer_certificate, OTHER.alice_chain[1]),
        (OTHER.issuer_certificate, T.alice_chain[1]),
    ):
        with pytest.raises(BadCertificate) as refused:
            verify(mixed, tenant=T.key, now=NOW)
        assert refused.value.details["reason"] == "signature"


def test_a_chain_has_two_or_three_links_in_their_order() -> None:
    guest = issue(T.alice, T.alice_chain, kind=Kind.GUEST, key=pair("g").key, serial=T.serial(), now=NOW)
    assert verify(guest, tenant=T.key, now=NOW).kind is Kind.GUEST
    assert reason_of() == reason_of(T.issuer_certificate) == reason_of(*guest, guest[2]) == "chain"
    assert reason_of(guest[0], guest[2]) == reason_of(guest[1], guest[0]) == "signature"
    with pytest.raises(BadCertificate, match="at most one"):
        issue(pair("g"), guest, kind=Kind.GUEST, key=pair("h").key, serial=T.serial(), now=NOW)


def test_a_human_vouches_only_for_who_acts_for_that_human_and_for_a_day() -> None:
    for principal in (b"", T.bot.key):
        with pytest.raises(BadCertificate, match="behalf"):
            issue(T.alice, T.alice_chain, kind=Kind.AI, key=pair("x").key, serial=T.serial(), now=NOW,
                  on_behalf_of=principal)  # fmt: skip
    mine = issue(T.alice, T.alice_chain, kind=Kind.AI, key=pair("x").key, serial=T.serial(), now=NOW,
                 on_behalf_of=T.alice.key)  # fmt: skip
    assert verify(mine, tenant=T.key, now=NOW).certificate.on_behalf_of == T.alice.key
    long = T.issued(Kind.HUMAN, T.alice, life_s=MEMBER_S_MAX)
    with pytest.raises(BadCertificate, match="longer"):
        issue(T.alice, long, kind=Kind.GUEST, key=pair("x").key, serial=T.serial(), now=NOW, life_s=DAY_S + 1)


@given(data=st.data())
def test_every_altered_byte_of_a_chain_is_noticed(data: st.DataObject) -> None:
    which = data.draw(st.integers(0, 1))
    victim = bytearray(T.bot_chain[which])
    victim[data.draw(st.integers(0, len(victim) - 1))] ^= data.draw(st.integers(1, 255))
    chain = list(T.bot_chain)
    chain[which] = bytes(victim)
    with pytest.raises(BadCertificate):
        verify(chain, tenant=T.key, now=NOW)


@given(st.binary(max_size=400) | st.recursive(
    st.none() | st.integers(0, 1 << 40) | st.binary(max_size=40) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=11), max_leaves=20,
).map(msgspec.msgpack.encode))  # fmt: skip
def test_rubbish_is_refused_and_never_a_defect(rubbish: bytes) -> None:
    for chain in ([rubbish, rubbish], [T.issuer_certificate, rubbish]):
        with pytest.raises(BadCertificate):
            verify(chain, tenant=T.key, now=NOW)
    with pytest.raises(BadRecord):
        verify_revocations(rubbish, tenant=T.key, now=NOW)
    with pytest.raises(BadRecord):
        verify_host_record(rubbish, T.host_chain, host=T.host.key, tenant=T.key, now=NOW)


def test_a_certificate_of_unbounded_size_is_refused_before_it_is_read() -> None:
    assert reason_of(T.issuer_certificate, T.alice_chain[1] + bytes(2000)) == "too-large"
    deep = b"\x91" * 900 + b"\x90"
    assert reason_of(T.issuer_certificate, deep) == "malformed"


# ---- revocation ------------------------------------------------------------------------------------------------------


def listed(signer: KeyPair, *values: bytes, version: int = 1, at: int = NOW) -> identity.Revocations:
    keys, serials = [v for v in values if len(v) == 32], [v for v in values if len(v) == 16]
    data = revoke(signer, tenant=T.key, version=version, at=at, keys=keys, serials=serials)
    issuer = b"" if signer.key == T.key else T.issuer_certificate
    return merged([verify_revocations(data, issuer=issuer, tenant=T.key, now=NOW)])


def test_revocation_reaches_keys_serials_those_vouched_for_and_those_who_act_for_them() -> None:
    guest = issue(T.alice, T.alice_chain, kind=Kind.GUEST, key=pair("g").key, serial=T.serial(), now=NOW)
    serial = identity.read(T.alice_chain).certificate.serial
    for signer in (T.root, T.issuer):
        by_key, by_serial = listed(signer, T.alice.key), listed(signer, serial)
        for revoked, hit in ((by_key, (T.alice_chain, guest, T.bot_chain)), (by_serial, (T.alice_chain, guest))):
            for chain in hit:
                with pytest.raises(Revoked):
                    verify(chain, tenant=T.key, now=NOW, revoked=revoked)
        assert verify(T.host_chain, tenant=T.key, now=NOW, revoked=by_key)
        assert verify(T.bot_chain, tenant=T.key, now=NOW, revoked=by_serial)


def test_one_stolen_issuer_key_cannot_shut_out_another_issuer() -> None:
    second = pair("second")
    [certificate] = issue(T.root, (), kind=Kind.ISSUER, key=second.key, serial=T.serial(), now=NOW)
    assert verify_issuer(certificate, tenant=T.key, now=NOW, revoked=listed(T.issuer, second.key))
    with pytest.raises(Revoked):
        verify_issuer(certificate, tenant=T.key, now=NOW, revoked=listed(T.root, second.key))
    with pytest.raises(Revoked):  # but who knows that the own key is stolen may say so, with the root far away
        verify(T.alice_chain, tenant=T.key, now=NOW, revoked=listed(T.issuer, T.issuer.key))


def test_an_older_list_never_replaces_a_newer_one() -> None:
    """I8: a relay may hide a list, it may not take one back."""
    old = revoke(T.root, tenant=T.key, version=1, at=NOW)
    with pytest.raises(RolledBack) as refused:
        verify_revocations(old, tenant=T.key, now=NOW, seen=2)
    assert (refused.value.details["version"], refused.value.details["seen"]) == (1, 2)
    assert verify_revocations(old, tenant=T.key, now=NOW, seen=1).version == 1


def test_a_list_counts_only_from_the_tenants_own_signers() -> None:
    theirs = revoke(OTHER.root, tenant=T.key, version=1, at=NOW, keys=[T.alice.key])
    for issuer in (b"", T.issuer_certificate):
        with pytest.raises(BadRecord):
            verify_revocations(theirs, issuer=issuer, tenant=T.key, now=NOW)
    member = revoke(T.alice, tenant=T.key, version=1, at=NOW)
    with pytest.raises(BadCertificate):
        verify_revocations(member, issuer=T.alice_chain[1], tenant=T.key, now=NOW)
    foreign = revoke(T.root, tenant=OTHER.key, version=1, at=NOW)
    with pytest.raises(BadRecord, match="tenant"):
        verify_revocations(foreign, tenant=T.key, now=NOW)


@pytest.mark.parametrize(
    "values",
    [[bytes(31)], [T.key], [bytes([n % 256, n // 256]) * 16 for n in range(4097)]],
    ids=["size", "root", "many"],
)
def test_a_list_with_what_does_not_belong_in_it_is_never_made(values: list[bytes]) -> None:
    with pytest.raises(BadRecord):
        revoke(T.root, tenant=T.key, version=1, at=NOW, keys=values)


def test_the_largest_list_is_one_that_is_read() -> None:
    keys = [hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(identity.REVOKED_MAX)]
    data = revoke(T.root, tenant=T.key, version=1, at=NOW, keys=keys)
    assert set(verify_revocations(data, tenant=T.key, now=NOW).keys) == set(keys)


# ---- host records ----------------------------------------------------------------------------------------------------

CHANNEL = seed("x25519")
RELAYS = ("wss://relay.example/r", "ws://[::1]:8080")


def recorded(host: KeyPair = T.host, **more: object) -> bytes:
    given = {"tenant": T.key, "channel": CHANNEL, "version": 3, "now": NOW, "relays": RELAYS} | more
    return sign_host_record(host, **given)  # type: ignore[arg-type]


def test_a_host_record_binds_the_channel_key_to_the_host() -> None:
    found = verify_host_record(recorded(), T.host_chain, host=T.host.key, tenant=T.key, now=NOW, seen=3)
    assert (found.channel, found.relays, found.host) == (CHANNEL, RELAYS, T.host.key)


def test_an_older_host_record_is_refused() -> None:
    """I8: its channel key may be the one that leaked."""
    with pytest.raises(RolledBack):
        verify_host_record(recorded(), T.host_chain, host=T.host.key, tenant=T.key, now=NOW, seen=4)


def test_nobody_but_the_host_itself_makes_its_record() -> None:
    """R55: not another host, not an operator, not a host of another tenant, not one whose chain is another's."""
    attempts = [
        (recorded(OTHER.host), T.host_chain, "bad-record"),
        (recorded(OTHER.host), OTHER.host_chain, "bad-certificate"),
        (recorded(T.alice), T.alice_chain, "bad-certificate"),
        (recorded(OTHER.host), T.issued(Kind.HOST, OTHER.host), "bad-certificate"),
        (recorded(tenant=OTHER.key), T.host_chain, "bad-record"),
    ]
    for record, chain, code in attempts:
        with pytest.raises(HoldError) as refused:
            verify_host_record(record, chain, host=T.host.key, tenant=T.key, now=NOW)
        assert refused.value.code == code
    with pytest.raises(BadCertificate):  # a key that is a member's, but not a host's
        verify_host_record(recorded(T.alice), T.alice_chain, host=T.alice.key, tenant=T.key, now=NOW)


def test_a_host_record_expires_by_itself_and_with_the_hosts_certificate() -> None:
    short, end = recorded(life_s=SKEW_S + 60), identity.read(T.host_chain).certificate.not_after
    with pytest.raises(Expired, match="host record"):
        verify_host_record(short, T.host_chain, host=T.host.key, tenant=T.key, now=NOW + 60)
    with pytest.raises(Expired, match="host"):
        verify_host_record(recorded(life_s=30 * DAY_S), T.host_chain, host=T.host.key, tenant=T.key, now=end)
    with pytest.raises(BadRecord, match="not-yet-valid"):
        verify_host_record(recorded(now=NOW + 2 * SKEW_S), T.host_chain, host=T.host.key, tenant=T.key, now=NOW)


@pytest.mark.parametrize(
    "bad",
    [
        {"version": 0},
        {"channel": bytes(32)},
        {"channel": b"short"},
        {"life_s": 31 * DAY_S},
        {"name": bytes(257)},
        {"relays": ("https://relay.example",)},
        {"relays": ("wss://u:p@relay.example",)},
        {"relays": ("wss://relay.example#x",)},
        {"relays": ("wss://relay.example/\n",)},
        {"relays": ("wss:///path",)},
        {"relays": ("wss://" + "a" * 255,)},
        {"relays": ("wss://a",) * 9},
    ],
    ids=str,
)
def test_a_host_record_that_makes_no_sense_is_never_made(bad: dict[str, object]) -> None:
    with pytest.raises(BadRecord):
        recorded(**bad)


@given(data=st.data())
def test_every_altered_byte_of_a_host_record_is_noticed(data: st.DataObject) -> None:
    victim = bytearray(recorded())
    victim[data.draw(st.integers(0, len(victim) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadRecord):
        verify_host_record(bytes(victim), T.host_chain, host=T.host.key, tenant=T.key, now=NOW)
