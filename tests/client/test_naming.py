"""The names of a tenant's hosts: under a key that changes when somebody is sent away, and readable for everybody else."""

import os
from pathlib import Path

import pytest

from holdfast.client import naming
from holdfast.client.credentials import Store
from holdfast.client.naming import KEYS_MAX
from holdfast.core import identity, sealing
from holdfast.core.errors import BadMessage, Corrupt
from holdfast.core.identity import HostRecord, sign_host_record
from holdfast.core.sealing import CannotOpen, NameKey
from tests.core.tenants import NOW, Tenant, seed

T = Tenant()


def member(folder: Path, *keys: NameKey) -> Store:
    return Store.joined(
        folder, "work", tenant=T.key, seed=seed("acme/alice"), certificates=T.alice_chain, now=NOW, name_keys=keys
    )


def met(store: Store, version: int, name: bytes) -> HostRecord:
    """Have the tenant's host show itself to ``store``."""
    record = sign_host_record(T.host, tenant=T.key, channel=seed("x25519"), version=version, now=NOW, name=name)
    return store.remember_host(record, T.host_chain, host=T.host.key, now=NOW)


def test_a_name_given_after_a_rotation_is_closed_to_who_has_the_former_keys(tmp_path: Path) -> None:
    first, gone = member(tmp_path / "a", NameKey(1, seed("one"))), member(tmp_path / "b", NameKey(1, seed("one")))
    old = first.naming.sealed("old", T.host.key, os.urandom)
    fresh = first.naming.rotate(os.urandom)
    assert [key.version for key in first.naming.name_keys()] == [2, 1] and fresh == first.naming.name_keys()[0]
    new = first.naming.sealed("new", T.host.key, os.urandom)
    for sealed, name in ((old, "old"), (new, "new")):
        assert sealing.open_name(sealed, first.naming.name_keys(), about=T.host.key) == name
    assert sealing.open_name(old, gone.naming.name_keys(), about=T.host.key) == "old"
    with pytest.raises(CannotOpen):
        sealing.open_name(new, gone.naming.name_keys(), about=T.host.key)


def test_a_host_keeps_its_name_until_the_new_key_comes(tmp_path: Path) -> None:
    tenant, store = member(tmp_path / "t", NameKey(1, seed("one"))), member(tmp_path / "m", NameKey(1, seed("one")))
    assert store.naming.of(met(store, 1, tenant.naming.sealed("box", T.host.key, os.urandom))) == "box"
    tenant.naming.rotate(os.urandom)
    record = met(store, 2, tenant.naming.sealed("renamed", T.host.key, os.urandom))
    again = Store(tmp_path / "m", "work")
    assert again.naming.of(record) == "box" and again.naming.lacks(record)
    assert again.naming.learn({key.version: key.key for key in tenant.naming.name_keys()})
    assert again.naming.of(record) == "renamed" and not again.naming.lacks(record)
    assert not again.naming.learn({2: tenant.naming.name_keys()[0].key})


def test_a_name_that_was_altered_or_is_of_another_host_is_none(tmp_path: Path) -> None:
    store = member(tmp_path / "m", NameKey(1, seed("one")))
    sealed = store.naming.sealed("box", T.host.key, os.urandom)
    met(store, 1, sealed)
    altered = sealed[:-1] + bytes([sealed[-1] ^ 1])
    assert store.naming.of(met(store, 2, altered)) == ""
    assert store.naming.of(met(store, 3, store.naming.sealed("box", T.alice.key, os.urandom))) == ""
    assert store.naming.of(met(store, 4, b"")) == ""


def test_a_key_that_is_known_is_not_replaced_and_only_the_newest_are_kept(tmp_path: Path) -> None:
    store = member(tmp_path / "m", NameKey(1, seed("one")))
    assert not store.naming.learn({1: seed("another")})
    assert store.naming.name_keys() == (NameKey(1, seed("one")),)
    for _ in range(KEYS_MAX + 3):
        store.naming.rotate(os.urandom)
    kept = [key.version for key in store.naming.name_keys()]
    assert kept == list(range(KEYS_MAX + 4, 4, -1))
    assert not store.naming.learn({1: seed("one")})  # older than all that are kept


@pytest.mark.parametrize("names", [{0: seed("k")}, {3: b"short"}, {1 << 40: seed("k")}])
def test_what_is_no_name_key_is_refused_and_changes_nothing(tmp_path: Path, names: dict[int, bytes]) -> None:
    store = member(tmp_path / "m", NameKey(1, seed("one")))
    with pytest.raises(BadMessage, match="nothing was changed"):
        store.naming.learn(names)
    assert [key.version for key in store.naming.name_keys()] == [1]


def test_a_guest_has_no_name_key_and_names_nothing(tmp_path: Path) -> None:
    store = member(tmp_path / "m")
    sealed = member(tmp_path / "t", NameKey(1, seed("one"))).naming.sealed("box", T.host.key, os.urandom)
    record = met(store, 1, sealed)
    assert store.naming.of(record) == "" and not store.naming.lacks(record)
    assert store.naming.sealed("box", T.host.key, os.urandom) == b""


@pytest.mark.parametrize("name", [naming.KEYS, naming.CALLED])
def test_a_damaged_file_of_names_is_said_to_be_so(tmp_path: Path, name: str) -> None:
    store = member(tmp_path / "m", NameKey(1, seed("one")))
    record = met(store, 1, store.naming.sealed("box", T.host.key, os.urandom))
    store.naming.rotate(os.urandom)
    foreign = identity.HostRecord(**{
        field: getattr(record, field) for field in record.__struct_fields__
    } | {"name": (3).to_bytes(4, "big") + bytes(60)})  # fmt: skip
    path = tmp_path / "m" / "work" / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Corrupt):
        store.naming.of(foreign)
