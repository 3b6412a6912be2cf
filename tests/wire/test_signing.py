"""Signed actions: whatever is changed, the signature is of something else."""

import hashlib
import re
import struct
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import assume, given
from hypothesis import strategies as st

from holdfast.core.signed import KeyPair
from holdfast.wire import messages as m
from holdfast.wire import signing
from holdfast.wire.signing import COVERED, SIGNED, BadSignature, canonical, commitment, sign, statement, verb_of, verify
from tests.wire.messages_of_all_kinds import TO_HOST, any_of

PAGE: Final = (Path(__file__).resolve().parents[2] / "docs" / "channel.md").read_text()
KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC: Final = KEY.public_key().public_bytes_raw()
SALT: Final = bytes(range(16))
P: Final = 2**255 - 19
ORDER: Final = 2**252 + 27742317777372353535851937790883648493

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
number = st.integers(0, 2**64 - 1)
STATED: Final = st.fixed_dictionaries(
    {
        "session": text, "client": text, "epoch": number, "term": number, "seq": number, "verb": text,
        "commitment": st.binary(min_size=32, max_size=32),
    }
)  # fmt: skip
SIGNED_KINDS: Final = tuple(COVERED)
any_signed = st.one_of(*map(any_of, SIGNED_KINDS))


def a_statement(**changed: Any) -> bytes:
    usual: dict[str, Any] = {
        "session": "s-aaaaaaaaaaaaaaaaaaaaaaaaaa", "client": "c-bbbbbbbbbbbbbbbbbbbbbbbbbb", "epoch": 1, "term": 1,
        "seq": 7, "verb": "input", "commitment": commitment(SALT, canonical(m.Input(3, "build", 7, b"make\r", 2))),
    }  # fmt: skip
    return statement(**{**usual, **changed})


def refuses(public_key: bytes, stated: bytes, signature: bytes) -> None:
    with pytest.raises(BadSignature):
        verify(public_key, stated, signature)


# ---- the statement ---------------------------------------------------------------------------------------------------


def read_back(stated: bytes) -> dict[str, Any]:
    """Take a statement apart, as docs/channel.md says: that this is possible is why no two actions share one."""
    rest = stated.removeprefix(b"holdfast/action/1\0")
    texts = []
    for _ in range(3):
        texts.append(rest[1 : 1 + rest[0]].decode())
        rest = rest[1 + rest[0] :]
    epoch, term, seq = struct.unpack(">QQQ", rest[:24])
    session, client, verb = texts
    return {
        "session": session, "client": client, "epoch": epoch, "term": term, "seq": seq, "verb": verb,
        "commitment": rest[24:],
    }  # fmt: skip


@given(stated=STATED)
def test_no_two_actions_share_a_statement(stated: dict[str, Any]) -> None:
    """Promise S1: everything stated can be read back, so nothing else can have been stated by these bytes."""
    assert read_back(statement(**stated)) == stated


@given(stated=STATED, other=STATED, field=st.sampled_from(sorted(read_back(a_statement()))))
def test_changing_any_field_makes_the_signature_fail(stated: dict[str, Any], other: dict[str, Any], field: str) -> None:
    """Promise S1"""
    assume(stated[field] != other[field])
    signature = sign(KEY, statement(**stated))
    verify(PUBLIC, statement(**stated), signature)
    refuses(PUBLIC, statement(**{**stated, field: other[field]}), signature)


@pytest.mark.parametrize(
    "wrong",
    [
        {"session": "s" * 256},
        {"client": "é" * 128},  # 256 bytes
        {"verb": "\ud800"},  # no UTF-8
        {"seq": -1},
        {"epoch": 2**64},
        {"commitment": bytes(31)},
        {"commitment": b""},
    ],
    ids=str,
)
def test_what_cannot_be_stated_is_a_bad_signature_because_a_peer_may_have_sent_it(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadSignature):
        a_statement(**wrong)


# ---- the commitment --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_a_salt_has_one_length_so_that_it_cannot_end_elsewhere(size: int) -> None:
    with pytest.raises(BadSignature):
        commitment(bytes(size), b"action")


@given(salt=st.binary(min_size=16, max_size=16), other=st.binary(min_size=16, max_size=16), action=st.binary())
def test_a_commitment_is_to_salt_and_action(salt: bytes, other: bytes, action: bytes) -> None:
    """Promise S3: without the salt the same keystrokes look different every time."""
    assert commitment(salt, action) == hashlib.sha256(salt + action).digest()
    assert commitment(salt, action) != commitment(salt, action + b"x")
    assert (commitment(salt, action) == commitment(other, action)) == (salt == other)


# ---- the canonical form ----------------------------------------------------------------------------------------------

LOCAL: Final = {"ref", "attachment"}  # number things on one connection
STATED_ELSEWHERE: Final = {"session", "seq", "term"}  # in the statement


@pytest.mark.parametrize("kind", SIGNED_KINDS, ids=lambda kind: kind.__struct_config__.tag)
def test_every_field_of_a_signed_message_is_covered_or_left_out_on_purpose(kind: type[m.Message]) -> None:
    """Promise S2: whoever adds a field to one of them decides here whether it is signed."""
    assert set(kind.__struct_fields__) - LOCAL - STATED_ELSEWHERE == set(COVERED[kind])


def test_every_field_of_their_parts_is_written() -> None:
    assert m.Size.__struct_fields__ == ("rows", "cols")
    assert m.ReapPolicy.__struct_fields__ == ("idle_s", "grace_s", "max_s")


def test_the_verbs_that_change_something_are_signed_and_no_others_can_be() -> None:
    assert {"open", "input", "resize", "signal", "kill", "keep", "rename", "forget", "control", "run"} <= SIGNED
    for kind in set(TO_HOST) - set(SIGNED_KINDS):
        with pytest.raises(ValueError, match="is not signed"):
            canonical(kind(**dict.fromkeys(kind.__struct_fields__, 0)))


@given(message=any_signed)
def test_the_canonical_form_survives_the_trip(message: m.Message) -> None:
    """Promise S2: client and host compute the same bytes from what one sent and the other received."""
    arrived = msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=m.ToHost)
    assert canonical(arrived) == canonical(message)


@pytest.mark.parametrize(
    ("sloppy", "exact"),
    [
        (m.Kill(1, "s", 2), m.Kill(1, "s", 2.0)),
        (m.Keep(1, "s", 6), m.Keep(1, "s", 6.0)),
        (
            m.Open(1, ["sh"], {"b": "1", "a": "2"}, "/", m.Size(1, 2), policy=m.ReapPolicy(9, 1, 2)),  # type: ignore[arg-type]
            m.Open(1, ("sh",), {"a": "2", "b": "1"}, "/", m.Size(1, 2), policy=m.ReapPolicy(9.0, 1.0, 2.0)),
        ),
    ],
)
def test_how_a_program_wrote_a_value_does_not_matter(sloppy: m.Message, exact: m.Message) -> None:
    assert canonical(sloppy) == canonical(exact)


@given(one=any_signed, two=any_signed)
def test_different_actions_have_different_canonical_forms(one: m.Message, two: m.Message) -> None:
    """Promise S2: written back from the bytes, the covered fields are what they were; so they differ or are the same."""
    assert msgspec.msgpack.decode(canonical(one))[0] == verb_of(one)
    assert (canonical(one) == canonical(two)) == (covered(one) == covered(two))


def covered(message: m.Message) -> tuple[Any, ...]:
    return type(message), *(msgspec.msgpack.encode(getattr(message, field)) for field in COVERED[type(message)])


@pytest.mark.parametrize("kind", SIGNED_KINDS, ids=lambda kind: kind.__struct_config__.tag)
@given(data=st.data())
def test_each_covered_field_matters_and_no_other_does(kind: type[m.Message], data: st.DataObject) -> None:
    """Promise S2: numbers of one connection do not stop a signed action from being resent over another."""
    message, other = data.draw(any_of(kind)), data.draw(any_of(kind))
    for field in kind.__struct_fields__:
        was, now = getattr(message, field), getattr(other, field)
        if msgspec.msgpack.encode(was) == msgspec.msgpack.encode(now):
            continue
        changed = msgspec.structs.replace(message, **{field: now})
        same = canonical(changed) == canonical(message)
        assert same == (field in LOCAL | STATED_ELSEWHERE) or sorted_alike(was, now)


def sorted_alike(was: Any, now: Any) -> bool:
    return isinstance(was, dict) and was == now  # the same environment, in another order


# ---- the signature ---------------------------------------------------------------------------------------------------


def test_every_flipped_bit_of_a_signature_or_a_statement_is_refused() -> None:
    """Promise S1"""
    stated = a_statement()
    signature = sign(KEY, stated)
    verify(PUBLIC, stated, signature)
    assert sign(KeyPair(bytes(range(32))), stated) == signature  # whichever way the key is held
    for at in range(8 * len(signature)):
        refuses(PUBLIC, stated, flipped(signature, at))
    for at in range(8 * len(stated)):
        refuses(PUBLIC, flipped(stated, at), signature)


def flipped(data: bytes, at: int) -> bytes:
    return data[: at // 8] + bytes([data[at // 8] ^ (1 << at % 8)]) + data[at // 8 + 1 :]


def test_no_second_signature_can_be_made_out_of_a_first() -> None:
    """S + order is the same number to the curve; RFC 8032 5.1.7 refuses it."""
    stated = a_statement()
    signature = sign(KEY, stated)
    s = int.from_bytes(signature[32:], "little") + ORDER
    refuses(PUBLIC, stated, signature[:32] + s.to_bytes(32, "little"))


def small_order_keys() -> list[bytes]:
    """Every 32 bytes that decode to a point of order 1, 2, 4 or 8, canonical or not; computed, not copied."""
    d = -121665 * pow(121666, -1, P) % P

    def double_y(x: int, y: int) -> tuple[int, int]:
        t = d * x * x * y * y % P
        return 2 * x * y * pow(1 + t, -1, P) % P, (y * y + x * x) * pow(1 - t, -1, P) % P

    # order 8: doubling gives y = 0, so y*y = -x*x, so -x*x + y*y = 1 + d*x*x*y*y becomes d*y**4 + 2*y*y - 1 = 0
    root = root_of(1 + d)
    ys = [y for each in (root, -root) if (y := root_of((each - 1) * pow(d, -1, P) % P)) is not None]
    ys = [0, 1, P - 1, *ys, *(P - y for y in ys)]
    for y in ys:
        x = root_of((y * y - 1) * pow(d * y * y + 1, -1, P) % P)
        point = (x, y)
        assert x is not None
        for _ in range(3):
            point = double_y(*point)
        assert point == (0, 1)
    encodings = [y + extra for y in ys for extra in (0, P) if y + extra < 2**255]
    return [(y | sign_bit << 255).to_bytes(32, "little") for y in encodings for sign_bit in (0, 1)]


def root_of(square: int) -> int | None:
    square %= P
    root = pow(square, (P + 3) // 8, P)
    if root * root % P != square:
        root = root * pow(2, (P - 1) // 4, P) % P
    return root if root * root % P == square else None


def test_a_key_under_which_one_signature_fits_many_statements_is_refused() -> None:
    """Promise S4: the primitive would accept these; whoever enrolled one could deny what it signed."""
    weak = small_order_keys()
    assert len(set(weak)) == 14
    fooled = 0
    for key in weak:
        for seq in range(8):
            stated = a_statement(seq=seq)
            for signature in [point + bytes(32) for point in weak]:  # S = 0: R alone must cancel the key
                try:
                    Ed25519PublicKey.from_public_bytes(key).verify(signature, stated)
                    fooled += 1
                except InvalidSignature:
                    pass
                refuses(key, stated, signature)
    assert fooled > 8  # so the check is needed


@given(
    key=st.binary(max_size=40) | st.binary(min_size=32, max_size=32),
    signature=st.binary(max_size=80),
    stated=st.binary(),
)
def test_garbage_is_a_bad_signature_and_nothing_else(key: bytes, signature: bytes, stated: bytes) -> None:
    refuses(key, stated, signature)
    refuses(PUBLIC, stated, signature)


def test_a_signature_of_something_else_of_ours_is_none_of_an_action() -> None:
    """Every domain ends with a zero byte, so none begins another."""
    assert signing.DOMAIN.endswith(b"\0")
    assert signing.DOMAIN.count(b"\0") == 1
    stated = a_statement()
    refuses(PUBLIC, stated, sign(KEY, stated.removeprefix(signing.DOMAIN)))
    refuses(PUBLIC, stated, sign(KEY, b"holdfast/channel-binding/1\0" + stated[:32]))


# ---- the page --------------------------------------------------------------------------------------------------------


def test_the_page_lists_for_every_verb_what_is_covered() -> None:
    said = {
        verb: tuple(re.findall(r"`(\w+)`", fields))
        for verb, fields in re.findall(r"^\| `([a-z]+)` \| ([^|]*) \|$", PAGE, re.MULTILINE)
    }
    assert said == {str(kind.__struct_config__.tag): tuple(fields) for kind, fields in COVERED.items()}


def test_the_example_on_the_page_is_right() -> None:
    shown = dict(re.findall(r"^([a-z]+): +([0-9a-f]+)$", PAGE, re.MULTILINE))
    action = canonical(m.Input(3, "build", 7, b"make\r", 2))
    assert shown == {
        "action": action.hex(),
        "salt": SALT.hex(),
        "commitment": commitment(SALT, action).hex(),
        "statement": a_statement().hex(),
        "key": PUBLIC.hex(),
        "signature": sign(KEY, a_statement()).hex(),
    }
