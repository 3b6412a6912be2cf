"""Keep one user's keys, certificates, grants, and what is known of hosts. Source: docs/identity.md, "The store".

Not here: what any of it is worth (core.identity, core.grants), file handling (private). Time and randomness are arguments.
One folder a profile; everything is read when it is asked for, so no secret stays in memory for longer than it is used.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from holdfast.client import private, storefiles
from holdfast.client.naming import KEYS, Keys, Naming
from holdfast.client.storefiles import FORMAT, F, File, corrupt
from holdfast.core import grants, identity, sealing, signed
from holdfast.core.errors import BadName, HoldError, Refused, TooMany
from holdfast.core.grants import EVERYTHING, Grant
from holdfast.core.identity import DAY_S, MEMBER_S, HostRecord, Kind, Member, RevocationList, Revocations
from holdfast.core.ids import checked_name
from holdfast.core.sealing import NameKey
from holdfast.core.signed import SEED_BYTES, SERIAL_BYTES, KeyPair

Random = Callable[[int], bytes]  # so many fresh random bytes: os.urandom

DEFAULT: Final = "default"
GRANTS_MAX: Final = 256
HOSTS_MAX: Final = 4096
EXPORT_BYTES_MAX: Final = 4096  # a root, plain or sealed, has a tenth of it
MEMBER_LEFT_S: Final = MEMBER_S // 3  # renewed when less is left
ISSUER_LEFT_S: Final = 30 * DAY_S


class NoCredentials(HoldError):
    """What is asked for is not kept here. ``details``: ``what``."""

    code = "no-credentials"

    def __init__(self, what: str, *, do: str) -> None:
        super().__init__(f"there is no {what} here; nothing was changed", do=do, what=what)


# ---- files -----------------------------------------------------------------------------------------------------------


class _Root(File, frozen=True):
    format: int
    seed: bytes


class _Issuer(File, frozen=True):
    format: int
    seed: bytes
    certificate: bytes


class _Operator(File, frozen=True):
    format: int
    seed: bytes
    certificates: tuple[bytes, ...]


class _Grants(File, frozen=True):
    format: int
    own: bytes  # the manage grant that the issuer here gave to the operator here; empty: none
    received: tuple[bytes, ...]


class _Host(File, frozen=True):
    key: bytes
    version: int
    record: bytes
    certificates: tuple[bytes, ...]


class _Hosts(File, frozen=True):
    format: int
    hosts: tuple[_Host, ...]


class _Lists(File, frozen=True):
    format: int
    lists: tuple[tuple[bytes, bytes], ...]  # certificate of the issuer (or empty), the list


class Profile(msgspec.Struct, frozen=True):
    """Whose tenant, and where to meet it. Kept as JSON, for people to read."""

    tenant: bytes
    relays: tuple[str, ...] = ()
    default_host: bytes = b""
    operator_name: str = ""


class KnownHost(NamedTuple):
    """What was last verified of a host, still signed: it is verified again when it is used."""

    key: bytes
    version: int
    record: bytes
    certificates: tuple[bytes, ...]

    @property
    def says(self) -> HostRecord:
        """The record, read but not verified."""
        return signed.peeked(self.record, HostRecord, most=identity.RECORD_BYTES_MAX)


# ---- the store -------------------------------------------------------------------------------------------------------


def profiles(folder: Path) -> list[str]:
    """Return the names of the profiles in ``folder``. Raises Unsafe."""
    if not folder.exists():
        return []
    private.folder(folder)
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


class Store:
    """One profile. Every method raises Unsafe for files that others can reach, Corrupt for what is none of ours."""

    def __init__(self, folder: Path, profile: str = DEFAULT) -> None:
        """Open what ``first_run`` or ``joined`` made in ``folder``. Raises NoCredentials."""
        self.folder, self.name = folder, profile
        self._path = folder / _checked(profile)
        if not self._path.is_dir():
            raise NoCredentials(f"profile {profile!r}", do="`hold join` makes one, or leave the choice out")
        private.folder(folder)
        private.folder(self._path)

    def __repr__(self) -> str:
        return f"Store({str(self._path)!r})"

    @classmethod
    def first_run(
        cls, folder: Path, *, now: int, random: Random, name: str = "", relays: tuple[str, ...] = (),
        profile: str = DEFAULT,
    ) -> Store:  # fmt: skip
        """Return the profile, made now if there is none: a tenant of one's own, its issuer, a human who may everything.

        All or nothing, and two programs that do it at once make one tenant.
        """
        if (folder / _checked(profile)).is_dir():
            return cls(folder, profile)
        root, issuer, operator = random(SEED_BYTES), random(SEED_BYTES), random(SEED_BYTES)
        key = NameKey(1, random(sealing.SECRET_BYTES))
        tenant, own = KeyPair(root), KeyPair(operator)
        top = identity.issue(
            tenant, (), kind=Kind.ISSUER, key=KeyPair(issuer).key, serial=random(SERIAL_BYTES), now=now
        )  # fmt: skip
        chain = identity.issue(
            KeyPair(issuer), top, kind=Kind.HUMAN, key=own.key, serial=random(SERIAL_BYTES), now=now,
            name=sealing.seal_name(name, key, about=own.key, nonce=random(sealing.NONCE_BYTES)) if name else b"",
        )  # fmt: skip
        files = {
            "profile.json": msgspec.json.encode(Profile(tenant.key, relays, operator_name=name)),
            "root": signed.encoded(_Root(FORMAT, root)),
            "issuer": signed.encoded(_Issuer(FORMAT, issuer, top[0])),
            "operator": signed.encoded(_Operator(FORMAT, operator, chain)),
            KEYS: signed.encoded(Keys(FORMAT, ((key.version, key.key),))),
            "grants": signed.encoded(_Grants(FORMAT, _own_grant(issuer, top[0], own.key, now, random), ())),
        }
        return cls._made(folder, profile, files, existing=True)

    @classmethod
    def joined(
        cls, folder: Path, profile: str, *, tenant: bytes, seed: bytes, certificates: Sequence[bytes], now: int,
        grant_chains: Sequence[bytes] = (), name_keys: Sequence[NameKey] = (), relays: tuple[str, ...] = (),
        default_host: bytes = b"", name: str = "",
    ) -> Store:  # fmt: skip
        """Return a new profile for a member of somebody's tenant: a join code or share link led here.

        Raises what ``identity.verify`` raises, BadCertificate for a chain of another key, Refused if the name is taken.
        """
        if identity.verify(certificates, tenant=tenant, now=now).key != KeyPair(seed).key:
            raise identity.BadCertificate("key")
        names = tuple((key.version, key.key) for key in name_keys)
        files = {
            "profile.json": msgspec.json.encode(Profile(tenant, relays, default_host, name)),
            "operator": signed.encoded(_Operator(FORMAT, seed, tuple(certificates))),
            KEYS: signed.encoded(Keys(FORMAT, names)),
            "grants": signed.encoded(_Grants(FORMAT, b"", tuple(grant_chains))),
        }
        return cls._made(folder, profile, files, existing=False)

    @classmethod
    def _made(cls, folder: Path, profile: str, files: dict[str, bytes], *, existing: bool) -> Store:
        path = folder / _checked(profile)
        private.folder(folder)
        with private.locked(folder / ".lock"):
            for stale in folder.glob(".new-*"):  # under the lock, so whoever began it is dead
                shutil.rmtree(stale)
            if path.is_dir():
                if existing:
                    return cls(folder, profile)
                raise Refused(
                    f"there is a profile {profile!r} already; it was left alone", do="choose another name for this one"
                )
            fresh = folder / f".new-{profile}"
            private.folder(fresh)
            for name, data in files.items():
                private.write(fresh / name, data)
            os.rename(fresh, path)
            private.sync_folder(folder)
        return cls(folder, profile)

    # ---- reading ----

    @property
    def path(self) -> Path:
        """The profile's own folder, for what else is kept beside these files."""
        return self._path

    @property
    def profile(self) -> Profile:
        data = private.read(self._path / "profile.json")
        try:
            found = msgspec.json.decode(data or b"", type=Profile)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            raise corrupt(self._path / "profile.json") from None
        if not signed.is_key(found.tenant):
            raise corrupt(self._path / "profile.json")
        return found

    @property
    def tenant(self) -> bytes:
        """The root's public key: the one thing that is believed."""
        return self.profile.tenant

    @property
    def operator(self) -> KeyPair:
        return _pair(self._needed("operator", _Operator).seed, self._path / "operator")

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """The operator's chain, as it is presented; not verified here."""
        return self._needed("operator", _Operator).certificates

    @property
    def member(self) -> Member:
        """What the operator's chain says."""
        return identity.read(self.certificates)

    @property
    def issues(self) -> bool:
        """Whether the tenant's issuer key is here, so that certificates can be made and renewed."""
        return (self._path / "issuer").exists()

    @property
    def issuer(self) -> tuple[KeyPair, bytes]:
        """The tenant's issuer, and its certificate. Raises NoCredentials where it is not."""
        kept = self._needed("issuer", _Issuer)
        return _pair(kept.seed, self._path / "issuer"), kept.certificate

    @property
    def issued_by(self) -> identity.Certificate:
        """The issuer's own certificate. Raises NoCredentials where it is not."""
        return identity.read([self.issuer[1]]).certificate

    @property
    def root_state(self) -> str:
        """``plain`` (whoever can read this user's files is the tenant), ``sealed`` or ``away``."""
        if (self._path / "root").exists():
            return "plain"
        return "sealed" if (self._path / "root.sealed").exists() else "away"

    @property
    def naming(self) -> Naming:
        """The tenant's name keys, and what its hosts are called."""
        return Naming(self._path, self._locked)

    def grant_chains(self, *, now: int) -> tuple[bytes, ...]:
        """The chains to present: those given to this operator that have not expired."""
        kept = self._grants()
        chains = (kept.own, *kept.received) if kept.own else kept.received
        return tuple(chain for chain in chains if grants.read(chain).not_after > now)

    def hosts(self) -> tuple[KnownHost, ...]:
        """Every host whose record was verified here."""
        kept = self._file("hosts", _Hosts)
        return tuple(KnownHost(h.key, h.version, h.record, h.certificates) for h in kept.hosts) if kept else ()

    def revocations(self) -> Revocations:
        """What is revoked, as far as it is known here."""
        return identity.merged(self.lists())

    # ---- changing ----

    def save_profile(self, *, relays: tuple[str, ...] | None = None, default_host: bytes | None = None) -> Profile:
        """Change what is given and return the profile. Raises StorageFailed."""
        with self._locked():
            kept = self.profile
            changed = msgspec.structs.replace(
                kept,
                relays=kept.relays if relays is None else relays,
                default_host=kept.default_host if default_host is None else default_host,
            )
            private.write(self._path / "profile.json", msgspec.json.encode(changed))
        return changed

    def receive(self, chain: bytes, *, now: int) -> Grant:
        """Keep a grant that somebody gave to this operator. Raises what ``grants.verify`` raises, TooMany."""
        member = self.member
        grant = grants.verify(
            chain, tenant=self.tenant, now=now, holder=member.key, kind=member.kind,
            principal=member.certificate.on_behalf_of, revoked=self.revocations(),
        )  # fmt: skip
        with self._locked():
            kept = self._grants()
            living = tuple(c for c in kept.received if c != chain and grants.read(c).not_after > now)
            if len(living) >= GRANTS_MAX:
                raise TooMany(f"{GRANTS_MAX} grants are kept here; this one was not added", do="let some expire")
            self._write("grants", _Grants(FORMAT, kept.own, (*living, chain)))
        return grant

    def recertified(self, certificates: Sequence[bytes], *, now: int) -> None:
        """Replace the operator's chain by a newer one, made elsewhere. Raises what ``identity.verify`` raises."""
        member = identity.verify(certificates, tenant=self.tenant, now=now, revoked=self.revocations())
        with self._locked():
            kept = self._needed("operator", _Operator)
            if member.key != _pair(kept.seed, self._path / "operator").key:
                raise identity.BadCertificate("key")
            self._write("operator", _Operator(FORMAT, kept.seed, tuple(certificates)))

    def remember_host(self, record: bytes, certificates: Sequence[bytes], *, host: bytes, now: int) -> HostRecord:
        """Return what the host with key ``host`` says of itself, and never again believe an older version of it.

        Raises what ``identity.verify_host_record`` raises, TooMany: to forget a host would be to forget its version.
        """
        with self._locked():
            known = {each.key: each for each in self.hosts()}
            seen = known[host].version if host in known else 0
            found = identity.verify_host_record(
                record, certificates, host=host, tenant=self.tenant, now=now, seen=seen, revoked=self.revocations()
            )
            fresh = KnownHost(host, found.version, record, tuple(certificates))
            if known.get(host) != fresh:
                former = [known[host].says] if seen else []
                self.naming.met(found, *former)
                known[host] = fresh
                if len(known) > HOSTS_MAX:
                    raise TooMany(f"{HOSTS_MAX} hosts are known here; this one was not added", do="use another profile")
                self._write("hosts", _Hosts(FORMAT, tuple(_Host(*each) for each in known.values())))
        return found

    def learn_revocations(self, data: bytes, *, issuer: bytes = b"", now: int) -> Revocations:
        """Keep a newer list of its signer, and return what is revoked now.

        Raises what ``identity.verify_revocations`` raises; an older list than the one kept is RolledBack.
        """
        tenant = self.tenant
        with self._locked():
            kept = self._file("revocations", _Lists) or _Lists(FORMAT, ())
            by_signer = {each.signer: pair for each, pair in zip(self.lists(), kept.lists, strict=True)}
            signer = identity.read([issuer]).key if issuer else tenant
            seen = self._list_of(by_signer[signer], tenant).version if signer in by_signer else 0
            identity.verify_revocations(
                data, issuer=issuer, tenant=tenant, now=now, seen=seen, revoked=self.revocations()
            )  # fmt: skip
            by_signer[signer] = (issuer, data)
            self._write("revocations", _Lists(FORMAT, tuple(by_signer.values())))
        return self.revocations()

    def remove(self) -> None:
        """Remove the profile with its keys. The disk may keep traces of them."""
        with self._locked():
            shutil.rmtree(self._path)

    # ---- issuing ----

    def renewed(self, *, now: int, random: Random, root: KeyPair | None = None) -> tuple[str, ...]:
        """Renew what ends soon, as far as the keys for it are here, and return what was: issuer, grant, operator.

        Silent and safe to call at every start. The issuer needs the root: the plain one, or ``root`` as ``open_root``
        returns it. A crash half way leaves what is still valid, and the next call goes on.
        """
        if not self.issues:
            return ()
        done: list[str] = []
        with self._locked():
            issuer = self._needed("issuer", _Issuer)
            over = identity.read([issuer.certificate]).certificate
            signer = root or self._plain_root()
            if signer is not None and over.not_after - now < ISSUER_LEFT_S:
                issuer = self._reissued(signer, now, random)
                over = identity.read([issuer.certificate]).certificate
                done.append("issuer")
            if now >= over.not_after:
                return tuple(done)
            operator = self._needed("operator", _Operator)
            key = _pair(operator.seed, self._path / "operator").key
            kept = self._grants()
            if kept.own and grants.read(kept.own).issuer != (over.key, over.serial):
                own = _own_grant(issuer.seed, issuer.certificate, key, now, random)
                self._write("grants", _Grants(FORMAT, own, kept.received))
                done.append("grant")
            mine = identity.read(operator.certificates).certificate
            if mine.not_after - now < MEMBER_LEFT_S and over.not_after > mine.not_after and mine.issuer != mine.tenant:
                chain = identity.issue(
                    _pair(issuer.seed, self._path / "issuer"), (issuer.certificate,), kind=mine.kind, key=key,
                    serial=random(SERIAL_BYTES), now=now, name=mine.name, on_behalf_of=mine.on_behalf_of,
                )  # fmt: skip
                self._write("operator", _Operator(FORMAT, operator.seed, chain))
                done.append("operator")
        return tuple(done)

    def certify(
        self, key: bytes, *, kind: Kind, now: int, random: Random, name: str = "", on_behalf_of: bytes = b"",
        life_s: int | None = None,
    ) -> tuple[bytes, ...]:  # fmt: skip
        """Return a chain that makes ``key`` a member of the tenant. Raises NoCredentials without the issuer key here,
        BadCertificate for what its kind may not have."""
        issuer = self._needed("issuer", _Issuer)
        return identity.issue(
            _pair(issuer.seed, self._path / "issuer"), (issuer.certificate,), kind=kind, key=key,
            serial=random(SERIAL_BYTES), now=now, life_s=life_s, on_behalf_of=on_behalf_of,
            name=self.naming.sealed(name, key, random),
        )  # fmt: skip

    # ---- the root ----

    def seal_root(self, passphrase: str, *, random: Random, n: int = sealing.SCRYPT_N) -> None:
        """Leave the root here only under ``passphrase``. The plain one goes once the sealed one was opened again.

        Raises WeakPassphrase, NoCredentials. The disk may keep traces of the removed file; a new disk does not.
        """
        with self._locked():
            kept = self._file("root", _Root)
            if kept is None:
                raise NoCredentials("plain root key", do="it was sealed or exported before")
            sealed = sealing.seal_root(
                kept.seed, passphrase, tenant=self.tenant,
                salt=random(sealing.SALT_BYTES), nonce=random(sealing.NONCE_BYTES), n=n,
            )  # fmt: skip
            private.write(self._path / "root.sealed", sealed)
            if sealing.open_root(private.read(self._path / "root.sealed") or b"", passphrase, tenant=self.tenant) != (
                kept.seed
            ):
                raise corrupt(self._path / "root.sealed")
            private.remove(self._path / "root")

    def export_root(self, path: Path) -> None:
        """Move the root, plain or sealed as it is here, to ``path``, which must not exist. It stays here until it is there.

        Whoever reads a plain one is the tenant: seal it first unless ``path`` is a vault. Raises NoCredentials,
        StorageFailed.
        """
        with self._locked():
            name = "root" if self.root_state == "plain" else "root.sealed"
            data = private.read(self._path / name)
            if data is None:
                raise NoCredentials("root key", do="it was exported before")
            private.create(path, data)
            if _exported(path) != data:
                raise corrupt(path)
            for each in ("root", "root.sealed"):
                private.remove(self._path / each)

    def open_root(self, passphrase: str = "", *, path: Path | None = None) -> KeyPair:
        """Return the root for one use: the plain one, the one sealed under ``passphrase``, or an exported one at ``path``.

        Raises NoCredentials, CannotOpen; Refused if it is the root of another tenant.
        """
        if path is None and (plain := self._plain_root()) is not None:
            return plain
        found = path or self._path / "root.sealed"
        data = _exported(path) if path else private.read(found)
        if data is None:
            raise NoCredentials("root key", do="name the file that it was exported to")
        try:
            seed = signed.decoded(data, _Root, most=private.FILE_BYTES_MAX).seed
        except signed.Unsigned:
            seed = sealing.open_root(data, passphrase, tenant=self.tenant)
        root = _pair(seed, found)
        if root.key != self.tenant:
            raise Refused(f"{found} holds the root of another tenant; it was not used", do="choose the other profile")
        return root

    # ---- inside ----

    def _locked(self) -> Any:
        return private.locked(self.folder / ".lock")

    def _file(self, name: str, kind: type[F]) -> F | None:
        return storefiles.read(self._path / name, kind)

    def _needed(self, name: str, kind: type[F]) -> F:
        found = self._file(name, kind)
        if found is None:
            raise NoCredentials(f"{name} key", do="use the machine that has it, or another profile")
        return found

    def _write(self, name: str, content: File) -> None:
        storefiles.write(self._path / name, content)

    def _grants(self) -> _Grants:
        return self._file("grants", _Grants) or _Grants(FORMAT, b"", ())

    def _plain_root(self) -> KeyPair | None:
        kept = self._file("root", _Root)
        return _pair(kept.seed, self._path / "root") if kept else None

    def _reissued(self, root: KeyPair, now: int, random: Random) -> _Issuer:
        """A fresh key every time: what leaked of the old one ends with its certificate."""
        seed = random(SEED_BYTES)
        [certificate] = identity.issue(
            root, (), kind=Kind.ISSUER, key=KeyPair(seed).key, serial=random(SERIAL_BYTES), now=now
        )
        fresh = _Issuer(FORMAT, seed, certificate)
        self._write("issuer", fresh)
        return fresh

    def lists(self) -> list[RevocationList]:
        """Every revocation list kept here."""
        kept = self._file("revocations", _Lists)
        tenant = self.tenant
        return [self._list_of(pair, tenant) for pair in kept.lists] if kept else []

    def _list_of(self, pair: tuple[bytes, bytes], tenant: bytes) -> RevocationList:
        """A kept list holds for good, also after its signer expired: it is judged at its own time."""
        try:
            at = signed.peeked(pair[1], RevocationList, most=identity.REVOCATIONS_BYTES_MAX).at
            return identity.verify_revocations(pair[1], issuer=pair[0], tenant=tenant, now=at)
        except (signed.Unsigned, HoldError):
            raise corrupt(self._path / "revocations") from None


def _checked(profile: str) -> str:
    try:
        return checked_name(profile)
    except BadName:
        raise Refused(
            f"{profile!r} cannot name a profile; nothing was changed",
            do="use 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit",
        ) from None


def _exported(path: Path) -> bytes | None:
    """What lies on a medium of the user's choice, which may know no owners and modes."""
    try:
        with path.open("rb") as file:
            return file.read(EXPORT_BYTES_MAX)
    except OSError:
        return None


def _pair(seed: bytes, path: Path) -> KeyPair:
    try:
        return KeyPair(seed)
    except ValueError:
        raise corrupt(path) from None


def _own_grant(issuer: bytes, certificate: bytes, holder: bytes, now: int, random: Random) -> bytes:
    return grants.mint(
        KeyPair(issuer), issuer=certificate, holder=holder, capabilities=EVERYTHING, serial=random(SERIAL_BYTES),
        now=now, not_after=identity.read([certificate]).certificate.not_after,
    )  # fmt: skip
