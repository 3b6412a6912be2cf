"""What is sealed opens for those with the key, for what it was sealed for, and for nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import identity, sealing
from holdfast.core.sealing import (
    SCRYPT_N_MIN,
    CannotOpen,
    NameKey,
    WeakPassphrase,
    open_name,
    open_root,
    seal_name,
    seal_root,
)
from tests.core.tenants import seed

OLD, NEW = NameKey(1, seed("old")), NameKey(2, seed("new"))
NONCE, SALT, HERE, THERE = b"n" * 12, b"s" * 16, seed("here"), seed("there")
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0")).filter(lambda t: len(t.encode()) <= 191)


@given(NAMES)
def test_a_name_opens_for_what_it_is_the_name_of(name: str) -> None:
    sealed = seal_name(name, NEW, about=HERE, nonce=NONCE)
    assert open_name(sealed, [OLD, NEW], about=HERE) == name
    assert len(sealed) <= identity.NAME_BYTES_MAX
    with pytest.raises(CannotOpen, match="altered"):
        open_name(sealed, [OLD, NEW], about=THERE)


def test_names_of_like_length_seal_to_one_length() -> None:
    assert len({len(seal_name("x" * n, NEW, about=HERE, nonce=NONCE)) for n in range(65)}) == 1


def test_a_rotated_key_leaves_old_names_readable_and_says_which_key_is_missing() -> None:
    before = seal_name("build", OLD, about=HERE, nonce=NONCE)
    assert open_name(before, [NEW, OLD], about=HERE) == "build"
    with pytest.raises(CannotOpen) as refused:
        open_name(before, [NEW], about=HERE)
    assert refused.value.details["reason"] == "key"


@given(st.data())
def test_every_altered_byte_of_a_sealed_name_is_noticed(data: st.DataObject) -> None:
    victim = bytearray(seal_name("build", NEW, about=HERE, nonce=NONCE))
    victim[data.draw(st.integers(0, len(victim) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CannotOpen):
        open_name(bytes(victim), [OLD, NEW], about=HERE)


@given(st.binary(max_size=80))
def test_rubbish_is_no_name(rubbish: bytes) -> None:
    with pytest.raises(CannotOpen):
        open_name(rubbish, [OLD, NEW], about=HERE)


@pytest.mark.parametrize(("name", "nonce"), [("x" * 192, NONCE), ("a\0b", NONCE), ("a", b"short")])
def test_what_would_not_open_again_is_not_sealed(name: str, nonce: bytes) -> None:
    with pytest.raises(ValueError, match="at most 191 bytes"):
        seal_name(name, NEW, about=HERE, nonce=nonce)


def test_a_name_key_does_not_show() -> None:
    assert repr(NEW) == "NameKey(version=2)"


ROOT, TENANT = seed("root"), seed("tenant")
SEALED = seal_root(ROOT, "correct horse", tenant=TENANT, salt=SALT, nonce=NONCE, n=SCRYPT_N_MIN)


def test_a_root_opens_under_its_passphrase_alone() -> None:
    assert open_root(SEALED, "correct horse", tenant=TENANT) == ROOT
    assert ROOT not in SEALED
    for wrong, tenant in (("correct horsf", TENANT), ("", TENANT), ("correct horse", HERE)):
        with pytest.raises(CannotOpen, match="passphrase"):
            open_root(SEALED, wrong, tenant=tenant)


def test_one_passphrase_typed_on_two_keyboards_is_one() -> None:
    composed, apart = "caf\u00e9 cr\u00e8me", "cafe\u0301 cre\u0300me"
    sealed = seal_root(ROOT, composed, tenant=TENANT, salt=SALT, nonce=NONCE, n=SCRYPT_N_MIN)
    assert open_root(sealed, apart, tenant=TENANT) == ROOT


def test_a_short_passphrase_and_a_weak_cost_are_refused() -> None:
    with pytest.raises(WeakPassphrase):
        seal_root(ROOT, "1234567", tenant=TENANT, salt=SALT, nonce=NONCE, n=SCRYPT_N_MIN)
    for n in (1 << 14, (1 << 15) + 1, 1 << 21):
        with pytest.raises(ValueError, match="power of two"):
            seal_root(ROOT, "correct horse", tenant=TENANT, salt=SALT, nonce=NONCE, n=n)


@pytest.mark.parametrize("n", [1, 1 << 14, 1 << 21, 1 << 40, 3 << 15], ids=str)
def test_a_file_cannot_make_us_spend_more_or_less_than_is_fair(n: int) -> None:
    fields = sealing.signed.decoded(SEALED, sealing._Sealed, most=512)
    forged = sealing.signed.encoded([1, n, fields.salt, fields.nonce, fields.ciphertext])
    with pytest.raises(CannotOpen, match="malformed"):
        open_root(forged, "correct horse", tenant=TENANT)


@pytest.mark.parametrize("data", [b"", b"x", SEALED[:-1], SEALED + b"x", bytes(600)], ids=range(5))
def test_what_is_no_sealed_root_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(CannotOpen, match="malformed"):
        open_root(data, "correct horse", tenant=TENANT)
