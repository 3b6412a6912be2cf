"""Keep the host's own keys, whose member it is, and what its tenant has revoked; sign its record. Source: docs/identity.md.

Not here: whether a certificate is good (core.identity), how relays are reached (relays).
"""

import logging
import os
import time
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from holdfast.core import identity
from holdfast.core.errors import Corrupt, HoldError, Refused
from holdfast.core.identity import Kind, RevocationList, Revocations
from holdfast.core.signed import SEED_BYTES, KeyPair
from holdfast.edge.files import make_folder, remove_durably, write_durably

log = logging.getLogger(__name__)

FORMAT: Final = 1
RECORD_S: Final = 7 * identity.DAY_S  # of a signed record
RESIGN_S: Final = 1200  # after which it is signed anew, sooner only if what it says changes
RENEW_LEFT_S: Final = 10 * identity.DAY_S  # certificates with less left should be renewed
FILE_BYTES_MAX: Final = 1 << 20
T = TypeVar("T")


class _Keys(msgspec.Struct, frozen=True, array_like=True):
    format: int
    seed: bytes
    channel: bytes  # X25519 private key of the secure channel

    def __repr__(self) -> str:
        return "<keys of the host>"


class _Membership(msgspec.Struct, frozen=True, array_like=True):
    format: int
    tenant: bytes
    certificates: tuple[bytes, ...]
    relays: tuple[str, ...]
    name: bytes
    version: int  # of the last record signed


class _Lists(msgspec.Struct, frozen=True, array_like=True):
    format: int
    lists: tuple[tuple[bytes, bytes], ...]  # the issuer's certificate or nothing, the signed list


class Identity:
    """The keys in ``folder``, made when they are first needed. Raises Corrupt for files that are none of ours."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys: _Keys | None = self._read("keys", _Keys)
        self._member: _Membership | None = self._read("membership", _Membership)
        self._signed: tuple[_Membership, int, bytes] | None = None  # what was signed last, when, and the record
        self._lists = self._kept_lists()
        self.revocations: Revocations = identity.merged(each for each, _ in self._lists.values())

    # ---- what it is ----

    @property
    def exists(self) -> bool:
        """Whether the host has keys."""
        return self._keys is not None

    @property
    def pair(self) -> KeyPair:
        """The host's Ed25519 key, made now if there is none yet."""
        if self._keys is None:
            keys = _Keys(FORMAT, os.urandom(SEED_BYTES), X25519PrivateKey.generate().private_bytes_raw())
            self._write("keys", keys)
            self._keys = keys
        return KeyPair(self._keys.seed)

    @property
    def channel(self) -> X25519PrivateKey:
        """The key of the secure channel."""
        self.pair  # noqa: B018 - makes the keys
        assert self._keys is not None
        return X25519PrivateKey.from_private_bytes(self._keys.channel)

    @property
    def tenant(self) -> bytes:
        """The root key of the tenant; empty until enrolled."""
        return self._member.tenant if self._member else b""

    @property
    def certificates(self) -> tuple[bytes, ...]:
        return self._member.certificates if self._member else ()

    @property
    def relays(self) -> tuple[str, ...]:
        return self._member.relays if self._member else ()

    @property
    def ends_at(self) -> int:
        """When the host's certificate ends, Unix seconds; 0 if it has none."""
        return identity.read(self.certificates).certificate.not_after if self.certificates else 0

    # ---- changing ----

    def enrol(
        self, *, tenant: bytes, certificates: tuple[bytes, ...], relays: tuple[str, ...], name: bytes, now: int
    ) -> None:
        """Become a member, or renew it. Raises what ``identity.verify`` raises, Refused for another tenant, StorageFailed."""
        if self.tenant not in (b"", tenant):
            raise Refused(
                "this host is a member of another tenant; nothing was changed",
                do="`hold host leave` gives that up first; sessions run on",
            )
        member = identity.verify(certificates, tenant=tenant, now=now, revoked=self.revocations)
        if member.kind is not Kind.HOST:
            raise identity.BadCertificate("kind")
        if member.key != self.pair.key:
            raise identity.BadCertificate("key")
        bad = [url for url in relays if not identity.is_relay_url(url)]
        if bad or len(relays) > identity.RELAYS_MAX:
            raise Refused(
                f"{bad[0] if bad else 'so many relays'!r} cannot be dialled; nothing was changed",
                do=f"give at most {identity.RELAYS_MAX} addresses like wss://relay.example",
            )
        version = self._member.version if self._member else 0
        self._keep(_Membership(FORMAT, tenant, certificates, relays, name, version))

    def leave(self) -> None:
        """Give the membership up; the keys stay. Raises StorageFailed."""
        remove_durably(self._folder / "membership")
        self._member = None

    def record(self, *, now: int) -> bytes:
        """Return the host's record, signed lately, with a version above every other one. Raises StorageFailed.

        Whoever asks the host and whoever asks its relays is told the same: a client never takes an older one for it.
        """
        assert self._member is not None and self._keys is not None
        if self._signed is not None and self._signed[0] == self._member and 0 <= now - self._signed[1] < RESIGN_S:
            return self._signed[2]
        member = msgspec.structs.replace(self._member, version=max(self._member.version + 1, now))
        self._keep(member)
        record = identity.sign_host_record(
            self.pair, tenant=member.tenant, channel=self.channel.public_key().public_bytes_raw(),
            version=member.version, now=now, life_s=RECORD_S, name=member.name, relays=member.relays,
        )  # fmt: skip
        self._signed = member, now, record
        return record

    def resign(self) -> None:
        """Sign the record anew when it is asked for next: a relay refused it."""
        self._signed = None

    def learn(self, data: bytes, *, issuer: bytes, now: int) -> bool:
        """Take note of a revocation list; tell whether it was news. Raises BadRecord, RolledBack, BadCertificate, ..."""
        if not self.tenant:
            raise Refused("this host is a member of no tenant; nothing was changed")
        found = identity.verify_revocations(
            data, issuer=issuer, tenant=self.tenant, now=now, revoked=self.revocations,
        )  # fmt: skip
        known = self._lists.get(found.signer)
        if known is not None and found.version <= known[0].version:
            if found.version < known[0].version:
                raise identity.RolledBack("revocation list", found.version, known[0].version)
            return False
        self._lists[found.signer] = (found, (issuer, data))
        self._write("revocations", _Lists(FORMAT, tuple(pair for _, pair in self._lists.values())))
        self.revocations = identity.merged(each for each, _ in self._lists.values())
        return True

    @property
    def lists(self) -> tuple[tuple[bytes, bytes], ...]:
        """Every list as it was signed: (certificate of the issuer or nothing, list)."""
        return tuple(pair for _, pair in self._lists.values())

    # ---- files ----

    def _keep(self, member: _Membership) -> None:
        self._write("membership", member)
        self._member = member

    def _kept_lists(self) -> dict[bytes, tuple[RevocationList, tuple[bytes, bytes]]]:
        kept = self._read("revocations", _Lists)
        found: dict[bytes, tuple[RevocationList, tuple[bytes, bytes]]] = {}
        for issuer, data in kept.lists if kept and self.tenant else ():
            try:
                at = identity.revoked_at(data)
                each = identity.verify_revocations(data, issuer=issuer, tenant=self.tenant, now=at)
            except HoldError as error:
                raise self._corrupt("revocations") from error
            found[each.signer] = (each, (issuer, data))
        return found

    def _read(self, name: str, kind: type[T]) -> T | None:
        path = self._folder / name
        try:
            found = os.lstat(path)
            if found.st_uid != os.getuid() or found.st_mode & 0o077 or found.st_size > FILE_BYTES_MAX:
                raise self._corrupt(name)
            return msgspec.msgpack.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise self._corrupt(name) from error

    def _write(self, name: str, content: msgspec.Struct) -> None:
        make_folder(self._folder)
        write_durably(self._folder / name, msgspec.msgpack.encode(content))

    def _corrupt(self, name: str) -> Corrupt:
        return Corrupt(
            f"{self._folder / name} is damaged or of a newer version; it was left as it is",
            do="restore it from a backup, or move it away to enrol this host anew",
        )


def now_s() -> int:
    """Unix time in whole seconds, as certificates have it."""
    return int(time.time())
