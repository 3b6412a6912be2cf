"""The client in a browser says and believes the same as the one in Python: the same bytes, the same refusals."""

import hashlib
import json
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.core import grants, identity, invitations, sealing
from holdfast.core.errors import HoldError
from holdfast.core.grants import Capability
from holdfast.core.identity import Kind
from holdfast.core.invitations import JoinCode
from holdfast.core.signed import KeyPair
from holdfast.wire import introduction, joining, pairing, relay, signing
from holdfast.wire import messages as wire
from holdfast.wire.channel import Responder, binding, prologue
from tests.core.tenants import NOW, S1, Tenant, pair, seed
from tests.web.core import Core, Failed

EACH = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TENANT = Tenant()


def x25519(word: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(seed(word))


# ---- msgpack ---------------------------------------------------------------------------------------------------------

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text(max_size=40) | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text("abcé", max_size=8), inner, max_size=18),
    max_leaves=30,
)


@EACH
@given(value=plain)
def test_both_write_the_one_encoding(core: Core, value: Any) -> None:
    data = msgspec.msgpack.encode(value)
    assert core.run("return m['core/msgpack'].encode(a[0])", value) == data
    assert core.run("return m['core/msgpack'].encode(m['core/msgpack'].decode(a[0]))", data) == data


@pytest.mark.parametrize("value", [0.5, -1.25, 1e300, 3.0])
def test_floats_stay_floats(core: Core, value: float) -> None:
    data = msgspec.msgpack.encode(value)
    assert core.run("return m['core/msgpack'].encode(new m['core/msgpack'].Float(a[0]))", value) == data
    assert core.run("return m['core/msgpack'].decode(a[0])", data) == value


@EACH
@given(data=st.binary(min_size=1, max_size=60))
def test_what_is_no_msgpack_is_refused_and_never_hangs(core: Core, data: bytes) -> None:
    try:
        msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        with pytest.raises(Failed):
            core.run("return m['core/msgpack'].decode(a[0])", data)


# ---- messages --------------------------------------------------------------------------------------------------------


def fields_of(union: Any) -> dict[str, list[str]]:
    return {str(kind.__struct_config__.tag): list(kind.__struct_fields__) for kind in union.__args__}


@pytest.mark.parametrize(
    ("module", "table", "union"),
    [
        ("wire/messages", "TO_HOST", wire.ToHost), ("wire/messages", "TO_CLIENT", wire.ToClient),
        ("wire/relay", "TO_RELAY", relay.ToRelay), ("wire/relay", "FROM_RELAY", relay.FromRelay),
        ("wire/introduction", "INTRODUCE", introduction.Introduce | wire.Failed),
        ("wire/introduction", "ANSWERS", introduction.Accepted | wire.Failed),
        ("wire/joining", "JOIN", joining.Join | wire.Failed),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_every_message_has_the_fields_that_python_has(core: Core, module: str, table: str, union: Any) -> None:
    """A field that this client does not know yet stands at the end, where it may be left out."""
    known = fields_of(union)
    for tag, fields in core.run("return m[a[0]][a[1]]", module, table).items():
        assert fields == known[tag][: len(fields)], f"{module} {tag}"


# ---- channel ---------------------------------------------------------------------------------------------------------

BEGIN = """
const channel = m['wire/channel'];
const initiator = await channel.Initiator.begun({
  staticPair: await m.pairOf('X25519', a[0]), ephemeral: await m.pairOf('X25519', a[1]), remoteStatic: a[2],
  prologue: channel.prologue(a[3]), rekeyAfter: a[4],
});
kept.initiator = initiator;
return initiator.message1;
"""


def handshake(core: Core, rekey_after: int = 1 << 16) -> tuple[Any, bytes]:
    """Both ends of a channel: Python's as ``Secure``, JavaScript's kept there. Returns the handshake hash, too."""
    host, static = KeyPair(seed("host")), x25519("channel")
    message1 = core.run(
        BEGIN, seed("static"), seed("ephemeral"), static.public_key().public_bytes_raw(), host.key, rekey_after
    )
    responder = Responder(static_private=static, prologue=prologue(host.key), rekey_after=rekey_after)
    answered = responder.answer(message1, ephemeral_private=x25519("answer"))
    code = "kept.secure = await kept.initiator.finish(a[0]); return kept.secure.handshakeHash"
    hash_ = core.run(code, answered.message2)
    assert hash_ == answered.secure.handshake_hash
    return answered.secure, hash_


def test_a_channel_comes_about_between_the_two_and_survives_rekeying(core: Core) -> None:
    secure, hash_ = handshake(core, rekey_after=3)
    assert core.run("return m['wire/channel'].binding(a[0])", hash_) == binding(hash_)
    for number in range(10):
        frame = core.run("return kept.secure.seal(a[0])", f"up {number}".encode())
        assert secure.open(frame) == f"up {number}".encode()
        assert core.run("return kept.secure.open(a[0])", secure.seal(b"down %d" % number)) == b"down %d" % number
    with pytest.raises(Failed, match="closed") as closed:
        core.run("return kept.secure.open(a[0])", secure.close())
    assert closed.value.code == "peer-closed"


@pytest.mark.parametrize("harm", ["altered", "repeated", "dropped", "short"])
def test_a_frame_that_does_not_verify_ends_the_channel_for_good(core: Core, harm: str) -> None:
    secure, _ = handshake(core)
    first, second = secure.seal(b"one"), secure.seal(b"two")
    if harm in ("repeated", "altered"):
        assert core.run("return kept.secure.open(a[0])", first) == b"one"
    bad = {"altered": second[:-1] + bytes([second[-1] ^ 1]), "repeated": first, "dropped": second, "short": b"x"}[harm]
    with pytest.raises(Failed) as failed:
        core.run("return kept.secure.open(a[0])", bad)
    assert failed.value.code == "bad-seal"
    with pytest.raises(Failed) as failed:
        core.run("return kept.secure.open(a[0])", second)
    assert failed.value.code == "channel-closed"


def test_another_host_than_the_one_expected_is_not_spoken_to(core: Core) -> None:
    static = x25519("channel")
    message1 = core.run(
        BEGIN, seed("static"), seed("ephemeral"), static.public_key().public_bytes_raw(), seed("host"), 1 << 16
    )
    other = Responder(static_private=static, prologue=prologue(KeyPair(seed("other")).key))
    with pytest.raises(HoldError):
        other.answer(message1, ephemeral_private=x25519("answer"))
    with pytest.raises(Failed) as failed:
        core.run("return kept.initiator.finish(a[0])", bytes(48))
    assert failed.value.code == "bad-handshake"


def test_the_number_to_compare_is_the_same_at_both_ends(core: Core) -> None:
    for word in ("one", "two", "three"):
        bound, key = binding(seed(word)), pair(word).key
        assert core.run("return m['wire/joining'].pairingNumber(a[0], a[1])", bound, key) == pairing.number(bound, key)


# ---- identity --------------------------------------------------------------------------------------------------------

VERIFY = "return (await m['core/identity'].verify(a[0], {tenant: a[1], now: a[2]})).at(-1)"


@pytest.mark.parametrize("who", ["alice", "bot", "host"])
def test_a_chain_proves_the_same_member(core: Core, who: str) -> None:
    chain = getattr(TENANT, f"{who}_chain")
    found = core.run(VERIFY, chain, TENANT.key, NOW)
    member = identity.verify(chain, tenant=TENANT.key, now=NOW)
    assert (found["key"], found["kind"], found["notAfter"]) == (member.key, member.kind, member.certificate.not_after)


def refusal(of: Any) -> tuple[str, Any]:
    try:
        of()
    except HoldError as error:
        return error.code, error.details.get("reason")
    except Failed as failed:
        return failed.code, failed.details.get("reason")
    return "", None


def certificate(**changes: Any) -> bytes:
    """A member's certificate, signed by the issuer, whatever it says."""
    over = identity.read(TENANT.issuer_chain).certificate
    good = identity.Certificate(
        1, TENANT.key, Kind.HUMAN, pair("new").key, b"", b"", NOW - 60, NOW + 3600, bytes(16), TENANT.issuer.key
    )
    from holdfast.core import signed

    assert over.key == TENANT.issuer.key
    return signed.sign(TENANT.issuer, signed.CERTIFICATE, msgspec.structs.replace(good, **changes))


BAD: dict[str, dict[str, Any]] = {
    "good": {}, "format": {"format": 2}, "tenant": {"tenant": seed("other")}, "issuer": {"issuer": seed("other")},
    "kind": {"kind": Kind.ISSUER}, "small-order key": {"key": bytes(32)}, "own issuer": {"key": TENANT.issuer.key},
    "principal": {"kind": Kind.AI}, "own principal": {"kind": Kind.AI, "on_behalf_of": pair("new").key},
    "validity": {"not_after": NOW - 60}, "life": {"not_after": NOW + 31 * 86400}, "outlives": {"not_before": NOW - 9999999},
    "serial": {"serial": b"x"}, "name": {"name": bytes(257)}, "future": {"not_before": NOW + 60}, "over": {"not_after": NOW - 1},
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_a_certificate_may_not_say_is_refused_alike(core: Core, what: str) -> None:
    chain = (*TENANT.issuer_chain, certificate(**BAD[what]))
    here = refusal(lambda: identity.verify(chain, tenant=TENANT.key, now=NOW))
    there = refusal(lambda: core.run(VERIFY, chain, TENANT.key, NOW))
    assert here == there
    assert (here == ("", None)) is (what == "good")


@EACH
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7), which=st.integers(0, 1))
def test_a_chain_with_one_bit_altered_proves_nothing(core: Core, at: int, bit: int, which: int) -> None:
    chain = [bytearray(each) for each in TENANT.alice_chain]
    chain[which][at % len(chain[which])] ^= 1 << bit
    with pytest.raises(Failed):
        core.run(VERIFY, [bytes(each) for each in chain], TENANT.key, NOW)


def host_record(**more: Any) -> bytes:
    given_ = {"channel": seed("channel"), "version": 3, "now": NOW, "relays": ("wss://relay.example",)} | more
    return identity.sign_host_record(TENANT.host, tenant=TENANT.key, **given_)


RECORD = """
return m['core/identity'].verifyHostRecord(a[0], a[1], {host: a[2], tenant: a[3], now: a[4], seen: a[5]})
"""


def test_a_host_record_is_believed_for_its_host_its_time_and_no_older_version(core: Core) -> None:
    record, now = host_record(), NOW
    found = core.run(RECORD, record, TENANT.host_chain, TENANT.host.key, TENANT.key, now, 3)
    assert (found["channel"], found["relays"]) == (seed("channel"), ["wss://relay.example"])
    cases = {
        "rolled-back": (record, TENANT.host_chain, TENANT.host.key, now, 4),
        "expired": (record, TENANT.host_chain, TENANT.host.key, now + 86400, 0),
        "bad-certificate": (record, TENANT.alice_chain, TENANT.alice.key, now, 0),
        "bad-record": (record[:-9] + b"x" * 9, TENANT.host_chain, TENANT.host.key, now, 0),
    }
    for code, (data, chain, host, at, seen) in cases.items():
        with pytest.raises(Failed) as failed:
            core.run(RECORD, data, chain, host, TENANT.key, at, seen)
        assert failed.value.code == code


def test_what_was_revoked_is_believed_of_nobody(core: Core) -> None:
    listed = identity.revoke(TENANT.issuer, tenant=TENANT.key, version=1, at=NOW, keys=[TENANT.alice.key])
    code = """
    const i = m['core/identity'];
    const list = await i.verifyRevocations(a[0], {issuer: a[1], tenant: a[2], now: a[3]});
    return (await i.verify(a[4], {tenant: a[2], now: a[3], revoked: i.merged([list])})).at(-1).kind;
    """
    arguments = (listed, TENANT.issuer_certificate, TENANT.key, NOW)
    assert core.run(code, *arguments, TENANT.host_chain) == "host"
    for chain in (TENANT.alice_chain, TENANT.bot_chain):  # the bot acts for alice
        with pytest.raises(Failed) as failed:
            core.run(code, *arguments, chain)
        assert failed.value.code == "revoked"


def test_a_sealed_name_opens_for_what_it_is_of_and_nothing_else(core: Core) -> None:
    key = sealing.NameKey(7, seed("names"))
    sealed = sealing.seal_name("Wörkshop 2", key, about=TENANT.host.key, nonce=bytes(12))
    code = "return m['core/sealing'].openName(a[0], a[1], a[2])"
    assert (
        core.run("return m['core/sealing'].openName(a[0], {7: a[1]}, a[2])", sealed, key.key, TENANT.host.key)
        == "Wörkshop 2"
    )
    assert core.run("return m['core/sealing'].openName(a[0], {7: a[1]}, a[2])", sealed, key.key, TENANT.alice.key) == ""
    assert core.run(code, sealed, {}, TENANT.host.key) == ""


# ---- invitations -----------------------------------------------------------------------------------------------------


def test_a_join_code_says_the_same_and_one_wrong_letter_says_nothing(core: Core) -> None:
    code = JoinCode(("wss://relay.example",), TENANT.key, TENANT.host.key, seed("channel"), bytes(range(16)), NOW + 60)
    text = code.text()
    found = core.run("return m['core/invitations'].parseJoinCode(a[0], a[1])", text.lower() + "\n", NOW)
    assert (tuple(found["relays"]), found["tenant"], found["secret"]) == (code.relays, code.tenant, code.secret)
    for at in range(5, len(text), 17):
        wrong = text[:at] + ("2" if text[at] != "2" else "3") + text[at + 1 :]
        with pytest.raises(Failed) as failed:
            core.run("return m['core/invitations'].parseJoinCode(a[0], a[1])", wrong, NOW)
        assert failed.value.code == "bad-join-code"
    with pytest.raises(Failed) as failed:
        core.run("return m['core/invitations'].parseJoinCode(a[0], a[1])", text, NOW + 60)
    assert failed.value.code == "expired"


def test_a_share_link_makes_the_same_guest(core: Core) -> None:
    chain = TENANT.granted(TENANT.alice)
    made = invitations.share(
        TENANT.alice, TENANT.alice_chain, chain, relays=("wss://relay.example",), host=TENANT.host.key, session=S1,
        seed=seed("guest"), serials=(bytes(16), b"1" * 16), now=NOW, not_after=NOW + 600,
    )  # fmt: skip
    fragment = made.url().partition("#")[2]
    found = core.run(
        "const s = await m['core/invitations'].parseShare(a[0]); return {...s, pair: s.pair.key}", fragment
    )
    assert (found["pair"], found["session"], found["grant"]) == (pair("guest").key, S1, made.grant)
    assert core.run("return m['core/grants'].read(a[0])", made.grant)["capabilities"] == int(Capability.OBSERVE)
    for cut in (10, len(fragment) // 2, len(fragment) - 1):
        with pytest.raises(Failed):
            core.run("return m['core/invitations'].parseShare(a[0])", fragment[:cut])


def test_rights_are_shown_as_the_grants_have_them(core: Core) -> None:
    everything, one = TENANT.granted(TENANT.bot), TENANT.granted(TENANT.bot, Capability.OBSERVE, sessions=(S1,))
    reach = "return m['core/grants'].reach(a[0], a[1], a[2])"
    assert core.run(reach, [everything], None, NOW) == int(grants.EVERYTHING)
    assert core.run(reach, [one], S1, NOW) == int(grants.closed(Capability.OBSERVE))
    assert core.run(reach, [one], None, NOW) == 0
    assert core.run(reach, [one], S1, NOW + 999 * 86400) == 0


# ---- signed actions --------------------------------------------------------------------------------------------------

SIZE, POLICY = wire.Size(50, 120), wire.ReapPolicy(None, 60.0, 3.0)
ACTIONS: list[wire.Message] = [
    wire.Input(1, S1, 7, b"make\r"), wire.Input(1, S1, 7, b"make\r", basis=wire.Basis(9, "")), wire.Resize(1, S1, SIZE), wire.Signal(1, S1, 2, True), wire.Kill(1, S1, 2.0),
    wire.Rename(1, S1, "büild"), wire.Forget(1, S1),
    wire.Open(1, ("sh", "-c", "x"), {"b": "1", "a": "2", "é": "3"}, "/", SIZE, "n", False, POLICY, "k"),
    wire.Open(1, (), {}, "", SIZE),
    wire.Control(1, S1, "take", why="now"), wire.Decide(1, S1, 3, bytes(32), "approve"), wire.Withdraw(1, S1, 3),
    wire.Propose(1, S1, 1, data=b"ls\r", why="look"),
]  # fmt: skip


def said(message: wire.Message) -> dict[str, Any]:
    """A message as the client has it: its tag and its fields."""
    plain = json.loads(json.dumps({}))
    for field in message.__struct_fields__:
        value = getattr(message, field)
        if isinstance(value, wire.Basis):
            value = [value.input, value.command]
        elif isinstance(value, wire.Size):
            value = [value.rows, value.cols]
        elif isinstance(value, wire.ReapPolicy):
            value = {"idle_s": value.idle_s, "grace_s": value.grace_s, "max_s": value.max_s}
        plain[field] = list(value) if isinstance(value, tuple) else value
    return {"t": signing.verb_of(message), **plain}


@pytest.mark.parametrize("message", ACTIONS, ids=lambda each: signing.verb_of(each))
def test_an_action_is_signed_so_that_the_host_believes_it(core: Core, message: wire.Message) -> None:
    fields = said(message)
    assert core.run("return m['wire/signing'].canonical(a[0])", fields) == signing.canonical(message)
    sealed = core.run(
        "const pair = await m['core/signed'].KeyPair.ofSeed(a[1]);"
        "return m['wire/signing'].signedBy(pair, a[0], m['wire/messages'].toHost(a[0]), {about: a[2], client: 'c-x', seq: 7n, term: 4})",
        fields, seed("alice"), S1,
    )  # fmt: skip
    decoded = msgspec.msgpack.decode(sealed["action"], type=wire.ToHost)
    assert signing.canonical(decoded) == signing.canonical(message)
    stated = signing.statement(
        session=S1, client="c-x", epoch=1, term=4, seq=7, verb=fields["t"],
        commitment=signing.commitment(sealed["salt"], signing.canonical(decoded)),
    )  # fmt: skip
    signing.verify(pair("alice").key, stated, sealed["signature"])


def test_every_verb_this_client_says_and_the_host_wants_signed_is_signed(core: Core) -> None:
    says = set(core.run("return Object.keys(m['wire/messages'].TO_HOST)"))
    signs = set(core.run("return Object.keys(m['wire/signing'].COVERED)"))
    assert says & signing.SIGNED == signs


def test_the_example_of_the_page_on_the_channel(core: Core) -> None:
    code = """
    const s = m['wire/signing'];
    const pair = await m['core/signed'].KeyPair.ofSeed(Uint8Array.from({length: 32}, (_, i) => i));
    const salt = Uint8Array.from({length: 16}, (_, i) => i);
    const message = {t: 'input', data: new TextEncoder().encode('make\\r')};
    const said = await s.commitment(salt, s.canonical(message));
    return pair.sign(s.statement({session: a[0], client: a[1], epoch: 1, term: 1, seq: 7, verb: 'input', commitment: said}));
    """
    signature = core.run(code, "s-" + "a" * 26, "c-" + "b" * 26).hex()
    assert signature.startswith("30e5c2ccde0ccd2dd6a8c1f639bbd9a3") and hashlib.sha256(signature.encode()).digest()


# ---- relays ----------------------------------------------------------------------------------------------------------


def test_a_relay_admits_by_the_bytes_that_are_signed(core: Core) -> None:
    for dialled in ("Relay.Example.", "[::1]", "127.0.0.1"):
        here = relay.admission_bytes(bytes(range(32)), "client", dialled)
        assert (
            core.run("return m['wire/relay'].admissionBytes(a[0], 'client', a[1])", bytes(range(32)), dialled) == here
        )


def test_what_is_typed_as_one_is_one_paste_and_control_keys_are_what_they_are(core: Core) -> None:
    submission = "return m['face/keys'].submission(a[0], a[1])"
    assert core.run(submission, "ls -l", {"bracketed": True}) == "ls -l\r"
    assert core.run(submission, "a\nb", {"bracketed": True}) == "\x1b[200~a\rb\x1b[201~\r"
    assert core.run(submission, "a\n\x1b[201~b", {"bracketed": True}) == "\x1b[200~a\r[201~b\x1b[201~\r"
    assert core.run(submission, "a\nb", {"bracketed": False, "enter": False}) == "a\rb"
    assert [core.run("return m['face/keys'].withCtrl(a[0])", each) for each in "cC[?"] == [
        "\x03",
        "\x03",
        "\x1b",
        "\x7f",
    ]
