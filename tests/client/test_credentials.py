"""The store of one user: made silently, renewed silently, nobody else's, and never telling what it keeps."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.client import credentials, naming, private
from holdfast.client.credentials import NoCredentials, Profile, Store, profiles
from holdfast.client.private import Unsafe
from holdfast.core import grants, identity, invitations, sealing
from holdfast.core.errors import Corrupt, HoldError, Refused, StorageFailed, Timeout
from holdfast.core.grants import EVERYTHING, Capability
from holdfast.core.identity import DAY_S, HOUR_S, BadCertificate, Expired, Kind, RolledBack, sign_host_record
from holdfast.core.sealing import SCRYPT_N_MIN, CannotOpen
from holdfast.core.signed import KeyPair
from tests.core.tenants import NOW, S1, Tenant, pair, seed

T = Tenant()
PASSPHRASE = "correct horse"


def counted() -> Callable[[int], bytes]:
    """Bytes that are different every time and the same in every run."""
    numbers = itertools.count()
    return lambda size: (seed(f"random {next(numbers)}") * 2)[:size]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "config" / "keys"


def first(keys: Path) -> Store:
    return Store.first_run(keys, now=NOW, random=counted(), name="Änne", relays=("wss://relay.example",))


def alices(keys: Path) -> Store:
    """The store of a member of a tenant whose issuer is elsewhere."""
    return Store.joined(keys, "work", tenant=T.key, seed=seed("acme/alice"), certificates=T.alice_chain, now=NOW)


def proven(store: Store, now: int) -> tuple[identity.Member, grants.Grant]:
    """What a host would make of what the store presents, from the root key alone."""
    member = identity.verify(store.certificates, tenant=store.tenant, now=now)
    [chain] = store.grant_chains(now=now)
    return member, grants.verify(chain, tenant=store.tenant, now=now, holder=member.key, kind=member.kind)


def use_everything(store: Store) -> None:
    """Read every file there is."""
    store.naming.name_keys()
    store.grant_chains(now=NOW)
    _ = store.certificates, store.operator, store.profile
    store.open_root()
    store.renewed(now=NOW, random=counted())


FILES = pytest.mark.parametrize("name", ["root", "issuer", "operator", "names", "grants", "profile.json"])


# ---- the first run ---------------------------------------------------------------------------------------------------


def test_the_first_run_makes_a_tenant_and_a_human_who_may_everything(keys: Path) -> None:
    store = first(keys)
    member, grant = proven(store, NOW)
    assert (member.kind, grant.capabilities, grant.sessions) == (Kind.HUMAN, EVERYTHING, frozenset())
    assert member.key == store.operator.key
    assert sealing.open_name(member.certificate.name, store.naming.name_keys(), about=member.key) == "Änne"
    assert store.root_state == "plain" and store.issues
    assert store.profile == Profile(store.tenant, ("wss://relay.example",), operator_name="Änne")
    assert profiles(keys) == ["default"]


def test_a_second_first_run_opens_what_there_is(keys: Path) -> None:
    assert first(keys).tenant == Store.first_run(keys, now=NOW, random=os.urandom).tenant == Store(keys).tenant


RACER = """
import os, pathlib, sys
from holdfast.client.credentials import Store
sys.stdin.read(1)
print(Store.first_run(pathlib.Path(sys.argv[1]), now=int(sys.argv[2]), random=os.urandom).tenant.hex())
"""


def test_programs_that_start_at_once_make_one_tenant(keys: Path) -> None:
    ask = [sys.executable, "-c", RACER, str(keys), str(NOW)]
    racers = [subprocess.Popen(ask, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("x")
        racer.stdin.flush()
    found = {racer.communicate(timeout=60)[0].strip() for racer in racers}
    assert found == {Store(keys).tenant.hex()}


def test_a_first_run_that_fails_half_way_leaves_nothing_that_counts(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    real = private.write

    def full(path: Path, data: bytes) -> None:
        if len(written) == 3:
            raise StorageFailed("the disk is full")
        written.append(path)
        real(path, data)

    monkeypatch.setattr(private, "write", full)
    with pytest.raises(StorageFailed):
        first(keys)
    monkeypatch.setattr(private, "write", real)
    assert profiles(keys) == []
    assert proven(first(keys), NOW)
    assert [path.name for path in keys.iterdir() if path.name.startswith(".new")] == []


def test_everything_is_the_users_alone(keys: Path) -> None:
    before = os.umask(0)
    try:
        first(keys)
    finally:
        os.umask(before)
    for path in [keys, *keys.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_nothing_secret_shows_when_a_store_or_its_parts_are_printed(keys: Path) -> None:
    store = first(keys)
    kinds: dict[str, Any] = {
        "root": credentials._Root, "issuer": credentials._Issuer,
        "operator": credentials._Operator, "names": naming.Keys,
    }  # fmt: skip
    kept = [store._needed(name, kind) for name, kind in kinds.items()]
    for shown in (store, store.operator, *store.naming.name_keys(), *kept, kept):
        for number in range(4):
            secret = seed(f"random {number}")
            assert repr(secret)[2:-1] not in repr(shown) and secret.hex() not in repr(shown)
    assert [list(each.__rich_repr__()) for each in kept] == [[]] * 4


# ---- files that are not what they should be --------------------------------------------------------------------------


@FILES
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_file_that_others_can_reach_is_refused_and_not_mended(keys: Path, name: str, mode: int) -> None:
    store = first(keys)
    path = keys / "default" / name
    path.chmod(mode)
    with pytest.raises(Unsafe, match=f"chmod 600 {path}") as refused:
        use_everything(store)
    assert refused.value.details == {"path": str(path), "reason": "mode"}
    assert path.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("which", [".", "default"])
def test_a_folder_that_others_can_reach_is_refused(keys: Path, which: str) -> None:
    first(keys)
    (keys / which).chmod(0o750)
    with pytest.raises(Unsafe, match="chmod 700"):
        Store(keys)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_file_of_another_owner_is_refused(keys: Path) -> None:
    store = first(keys)
    os.chown(keys / "default" / "operator", 65534, 65534)
    with pytest.raises(Unsafe, match="another user"):
        _ = store.operator
    os.chown(keys, 65534, 65534)
    with pytest.raises(Unsafe, match="another user"):
        Store(keys)


def test_a_link_or_a_pipe_in_place_of_a_file_is_refused_without_waiting(keys: Path) -> None:
    store = first(keys)
    path = keys / "default" / "operator"
    path.rename(keys / "elsewhere")
    path.symlink_to(keys / "elsewhere")
    with pytest.raises(Unsafe, match="is a link"):
        _ = store.operator
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(Unsafe, match="not a file"):
        _ = store.operator


@FILES
@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x92\x01\x02", b"{}", b"\x93\x02\xc4\x00\x90"], ids=range(5))
def test_a_damaged_file_is_said_to_be_damaged_and_left_alone(keys: Path, name: str, content: bytes) -> None:
    store = first(keys)
    (keys / "default" / name).write_bytes(content)
    with pytest.raises(Corrupt, match=name):
        use_everything(store)
    assert (keys / "default" / name).read_bytes() == content


def test_a_write_that_fails_leaves_the_file_as_it_was(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = first(keys)
    before = store.profile

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageFailed, match="No space"):
            store.save_profile(relays=("wss://other.example",))
    assert store.profile == before
    assert [path.name for path in (keys / "default").iterdir() if path.name.startswith(".")] == []


def test_a_lock_that_is_never_given_back_is_an_error_in_time(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = first(keys)
    monkeypatch.setattr(private, "LOCK_S", 0.05)
    with private.locked(keys / ".lock"), pytest.raises(Timeout):
        store.save_profile(default_host=T.host.key)
    assert store.save_profile(default_host=T.host.key).default_host == T.host.key


# ---- renewal ---------------------------------------------------------------------------------------------------------


def test_the_operator_is_renewed_silently_before_it_ends_and_not_before_that(keys: Path) -> None:
    store, random = first(keys), counted()
    assert store.renewed(now=NOW + HOUR_S, random=random) == ()
    later = NOW + 20 * HOUR_S
    assert store.renewed(now=later, random=random) == ("operator",)
    member, _ = proven(store, later + 20 * HOUR_S)
    assert member.kind is Kind.HUMAN and member.key == store.operator.key
    assert store.renewed(now=later, random=random) == ()


def test_a_machine_that_slept_for_weeks_comes_back_by_itself(keys: Path) -> None:
    store = first(keys)
    later = NOW + 50 * DAY_S
    with pytest.raises(Expired):
        proven(store, later)
    assert store.renewed(now=later, random=counted()) == ("operator",)
    assert proven(store, later)


def test_with_the_root_at_hand_the_issuer_is_renewed_too_under_a_fresh_key(keys: Path) -> None:
    store = first(keys)
    before = store.member.certificates[0]
    later = NOW + 100 * DAY_S  # even after it expired
    assert store.renewed(now=later, random=os.urandom) == ("issuer", "grant", "operator")
    member, grant = proven(store, later)
    assert member.certificates[0].key != before.key
    assert grant.not_after == member.certificates[0].not_after
    assert member.key == store.operator.key


def test_with_the_root_sealed_renewal_ends_with_the_issuer_and_its_passphrase_brings_it_back(keys: Path) -> None:
    store = first(keys)
    store.seal_root(PASSPHRASE, random=os.urandom, n=SCRYPT_N_MIN)
    end = store.member.certificates[0].not_after
    assert store.renewed(now=end - HOUR_S, random=os.urandom) == ("operator",)
    assert store.member.certificate.not_after == end
    assert store.renewed(now=end - 60, random=os.urandom) == store.renewed(now=end + 1, random=os.urandom) == ()
    root = store.open_root(PASSPHRASE)
    assert store.renewed(now=end + 1, random=os.urandom, root=root) == ("issuer", "grant", "operator")
    assert proven(store, end + 1)


@pytest.mark.parametrize("survives", [1, 2])
def test_a_renewal_that_stops_half_way_is_finished_by_the_next(
    keys: Path, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    store, later = first(keys), NOW + 70 * DAY_S
    written: list[str] = []
    real = Store._write

    def dies(self: Store, name: str, content: Any) -> None:
        if len(written) == survives:
            raise StorageFailed("killed")
        written.append(name)
        real(self, name, content)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "_write", dies)
        with pytest.raises(StorageFailed):
            store.renewed(now=later, random=os.urandom)
    store.renewed(now=later, random=os.urandom)
    assert proven(store, later)


# ---- the root --------------------------------------------------------------------------------------------------------


def every_byte(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_sealing_takes_the_plain_root_away_and_its_passphrase_brings_it_back(keys: Path) -> None:
    store, root = first(keys), seed("random 0")
    assert root in every_byte(keys)
    store.seal_root(PASSPHRASE, random=os.urandom, n=SCRYPT_N_MIN)
    assert root not in every_byte(keys) and store.root_state == "sealed"
    assert store.open_root(PASSPHRASE).key == store.tenant
    with pytest.raises(CannotOpen):
        store.open_root("correct horsf")
    with pytest.raises(NoCredentials):
        store.seal_root(PASSPHRASE, random=os.urandom, n=SCRYPT_N_MIN)


def test_a_seal_that_fails_keeps_the_plain_root(keys: Path) -> None:
    store = first(keys)
    with pytest.raises(sealing.WeakPassphrase):
        store.seal_root("short", random=os.urandom, n=SCRYPT_N_MIN)
    assert store.root_state == "plain"


@pytest.mark.parametrize("sealed", [True, False])
def test_exporting_moves_the_root_out_and_never_over_a_file(keys: Path, tmp_path: Path, sealed: bool) -> None:
    store, root = first(keys), seed("random 0")
    if sealed:
        store.seal_root(PASSPHRASE, random=os.urandom, n=SCRYPT_N_MIN)
    (tmp_path / "taken").write_text("precious")
    for wrong in (tmp_path / "taken", tmp_path / "absent" / "root"):
        with pytest.raises(StorageFailed):
            store.export_root(wrong)
    assert (tmp_path / "taken").read_text() == "precious" and store.root_state != "away"
    out = tmp_path / "stick"
    store.export_root(out)
    assert store.root_state == "away" and root not in every_byte(keys)
    assert out.stat().st_mode & 0o777 == 0o600 and (root in out.read_bytes()) is not sealed
    assert store.open_root(PASSPHRASE, path=out).key == store.tenant
    with pytest.raises(NoCredentials):
        store.open_root(PASSPHRASE)
    with pytest.raises(NoCredentials):
        store.export_root(tmp_path / "again")


def test_the_root_of_another_tenant_is_not_used(keys: Path, tmp_path: Path) -> None:
    store = first(keys)
    other = Store.first_run(tmp_path / "other", now=NOW, random=os.urandom)
    other.export_root(tmp_path / "stick")
    with pytest.raises(Refused, match="another tenant"):
        store.open_root(path=tmp_path / "stick")


# ---- others ----------------------------------------------------------------------------------------------------------


def test_members_are_certified_where_the_issuer_is_and_nowhere_else(keys: Path, tmp_path: Path) -> None:
    store = first(keys)
    chain = store.certify(pair("host").key, kind=Kind.HOST, now=NOW, random=os.urandom, name="build box")
    member = identity.verify(chain, tenant=store.tenant, now=NOW)
    assert sealing.open_name(member.certificate.name, store.naming.name_keys(), about=member.key) == "build box"
    theirs = store.certify(pair("phone").key, kind=Kind.HUMAN, now=NOW, random=os.urandom)
    joined = Store.joined(tmp_path / "phone", "work", tenant=store.tenant, seed=seed("phone"), certificates=theirs,
                          now=NOW, name_keys=store.naming.name_keys())  # fmt: skip
    assert joined.naming.name_keys() == store.naming.name_keys() and not joined.issues
    with pytest.raises(NoCredentials):
        joined.certify(pair("x").key, kind=Kind.HOST, now=NOW, random=os.urandom)
    assert joined.renewed(now=NOW + DAY_S, random=os.urandom) == ()


def test_a_member_keeps_a_profile_for_each_tenant(keys: Path) -> None:
    first(keys)
    work = alices(keys)
    assert profiles(keys) == ["default", "work"]
    assert work.tenant == T.key != Store(keys).tenant
    with pytest.raises(Refused, match="already"):
        alices(keys)
    for name in ("../x", "", ".new-x"):
        with pytest.raises(Refused, match="cannot name"):
            Store.joined(keys, name, tenant=T.key, seed=seed("acme/alice"), certificates=T.alice_chain, now=NOW)
    with pytest.raises(BadCertificate):
        Store.joined(keys, "theirs", tenant=T.key, seed=seed("mallory"), certificates=T.alice_chain, now=NOW)
    with pytest.raises(NoCredentials, match="nowhere"):
        Store(keys, "nowhere")
    assert profiles(keys.parent / "absent") == []


def test_a_share_link_opens_into_a_profile_of_a_guest(keys: Path, tmp_path: Path) -> None:
    store = first(keys)
    [mine] = store.grant_chains(now=NOW)
    link = invitations.share(
        store.operator, store.certificates, mine, relays=store.profile.relays, host=T.host.key, session=S1,
        seed=seed("guest"), serials=(bytes(16), bytes(16)), now=NOW, not_after=NOW + HOUR_S,
    ).url()  # fmt: skip
    it = invitations.parse_share(link)
    guest = Store.joined(tmp_path / "guest", "shared", tenant=it.tenant, seed=it.seed, certificates=it.certificates,
                         now=NOW, grant_chains=[it.grant], relays=it.relays, default_host=it.host)  # fmt: skip
    member, grant = proven(guest, NOW)
    assert (member.kind, grant.sessions, grant.capabilities) == (Kind.GUEST, {S1}, Capability.OBSERVE)
    assert guest.naming.name_keys() == () and guest.grant_chains(now=NOW + HOUR_S) == ()


def test_a_received_grant_is_kept_once_until_it_ends_and_only_if_it_is_good(keys: Path) -> None:
    alice = alices(keys)
    good = T.granted(T.alice, Capability.OPERATE, not_after=NOW + HOUR_S)
    assert alice.receive(good, now=NOW).capabilities == grants.closed(Capability.OPERATE)
    alice.receive(good, now=NOW)
    assert alice.grant_chains(now=NOW) == (good,) and alice.grant_chains(now=NOW + HOUR_S) == ()
    with pytest.raises(grants.BadGrant):
        alice.receive(T.granted(pair("bob")), now=NOW)
    other = T.granted(T.alice, Capability.OBSERVE)
    alice.receive(other, now=NOW + 2 * HOUR_S)
    assert alice.grant_chains(now=NOW) == (other,)


def test_an_older_record_of_a_host_is_refused_also_by_the_next_program(keys: Path) -> None:
    """I8."""
    store = alices(keys)

    def record(version: int, host: KeyPair = T.host) -> bytes:
        return sign_host_record(host, tenant=T.key, channel=seed("x25519"), version=version, now=NOW)

    for _ in range(2):
        assert store.remember_host(record(5), T.host_chain, host=T.host.key, now=NOW).version == 5
    again = Store(keys, "work")
    with pytest.raises(RolledBack):
        again.remember_host(record(4), T.host_chain, host=T.host.key, now=NOW)
    with pytest.raises(HoldError):
        again.remember_host(record(9, T.alice), T.host_chain, host=T.host.key, now=NOW)
    assert [(h.key, h.version) for h in again.hosts()] == [(T.host.key, 5)]
    assert again.remember_host(record(6), T.host_chain, host=T.host.key, now=NOW).version == 6
    assert [h.version for h in again.hosts()] == [6]


def test_what_is_revoked_stays_so_also_after_its_signer_expired(keys: Path) -> None:
    store = alices(keys)

    def listed(signer: KeyPair, version: int, *hit: bytes) -> bytes:
        return identity.revoke(signer, tenant=T.key, version=version, at=NOW, keys=hit)

    store.learn_revocations(listed(T.issuer, 2, T.bot.key), issuer=T.issuer_certificate, now=NOW)
    known = store.learn_revocations(listed(T.root, 1, T.host.key), now=NOW)
    assert known.members == {T.bot.key, T.host.key} and known.issuers == {T.host.key}
    with pytest.raises(RolledBack):
        store.learn_revocations(listed(T.issuer, 1), issuer=T.issuer_certificate, now=NOW)
    assert Store(keys, "work").revocations() == known
    with pytest.raises(Expired):
        store.learn_revocations(listed(T.issuer, 4), issuer=T.issuer_certificate, now=NOW + 91 * DAY_S)
    newer = store.learn_revocations(listed(T.issuer, 3), issuer=T.issuer_certificate, now=NOW)
    assert newer.members == {T.host.key}
    with pytest.raises(identity.Revoked):
        store.remember_host(sign_host_record(T.host, tenant=T.key, channel=seed("x"), version=1, now=NOW), T.host_chain,
                            host=T.host.key, now=NOW)  # fmt: skip


def test_a_newer_chain_made_elsewhere_replaces_the_operators_own_and_no_other(keys: Path) -> None:
    store = alices(keys)
    later = T.issued(Kind.HUMAN, T.alice, now=NOW + HOUR_S)
    store.recertified(later, now=NOW + HOUR_S)
    assert store.certificates == later
    with pytest.raises(BadCertificate):
        store.recertified(T.bot_chain, now=NOW)
    assert store.certificates == later
