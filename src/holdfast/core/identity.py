"""Decide who somebody is: certificates under a tenant's root key, what hosts say of themselves, what was revoked.

Not here: what anybody may do (grants, admission), how signatures are made (signed), where keys lie (client.credentials).
``now`` and validity are Unix seconds; a thing is valid from ``not_before`` up to, not including, ``not_after``.
Source: docs/identity.md.
"""

import base64
import enum
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, NewType

from holdfast.core import signed
from holdfast.core.errors import HoldError
from holdfast.core.ids import RANDOM_BYTES, HostId
from holdfast.core.ids import host_id as host_id_of_bytes
from holdfast.core.signed import KEY_BYTES, SERIAL_BYTES, Body, KeyPair, Signer, Unsigned, is_key, is_span

OperatorId = NewType("OperatorId", str)
TenantId = NewType("TenantId", str)

FORMAT: Final = 1
HOUR_S: Final = 3600
DAY_S: Final = 24 * HOUR_S
ISSUER_S_MAX: Final = 90 * DAY_S
MEMBER_S: Final = DAY_S  # what a member gets unless more is asked for
MEMBER_S_MAX: Final = 30 * DAY_S
VOUCHED_S_MAX: Final = DAY_S  # what one operator may give to another without an issuer
RECORD_S_MAX: Final = 30 * DAY_S
SKEW_S: Final = 300  # how far before ``now`` validity begins, for clocks that are behind

CHAIN_MAX: Final = 3  # issuer, member, and one whom the member vouches for
CERTIFICATE_BYTES_MAX: Final = 1024
RECORD_BYTES_MAX: Final = 4096
REVOCATIONS_BYTES_MAX: Final = 256 * 1024
REVOKED_MAX: Final = 4096  # entries of one list
NAME_BYTES_MAX: Final = 256  # of a sealed name
RELAYS_MAX: Final = 8
URL_BYTES_MAX: Final = 255


# ---- names of keys ---------------------------------------------------------------------------------------------------


def _digest(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a public key has {KEY_BYTES} bytes, not {len(key)}")
    return hashlib.sha256(key).digest()


def host_id(key: bytes) -> HostId:
    """Return the id of the host with this public key: ``h-`` and 26 characters."""
    return host_id_of_bytes(_digest(key)[:RANDOM_BYTES])


def operator_id(key: bytes) -> OperatorId:
    """Return the id of the operator with this public key: ``o-`` and 26 characters."""
    return OperatorId("o" + host_id(key)[1:])


def tenant_id(root: bytes) -> TenantId:
    """Return the id of the tenant with this root key: ``t-`` and 26 characters."""
    return TenantId("t" + host_id(root)[1:])


def fingerprint(key: bytes) -> str:
    """Return what two people read to each other to compare a key: 8 groups of 4, 160 bits."""
    text = base64.b32encode(_digest(key)[:20]).decode().lower()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def is_relay_url(url: str) -> bool:
    """Tell whether ``url`` may name a relay: ws or wss, a host, no user, query or fragment, at most 255 printable bytes."""
    scheme, found, rest = url.partition("://")
    return (
        found != ""
        and scheme in ("ws", "wss")
        and len(url) <= URL_BYTES_MAX
        and all("!" <= letter <= "~" for letter in url)
        and not set('@?#\\"<>') & set(rest)
        and rest.partition("/")[0].strip(":") != ""
    )


# ---- errors ----------------------------------------------------------------------------------------------------------


class BadCertificate(HoldError):
    """A certificate or its chain proves nothing. ``details["reason"]`` is stable: the keys of ``WHY``."""

    code = "bad-certificate"
    WHY: Final[Mapping[str, str]] = {
        "malformed": "it is not the encoding of a certificate",
        "too-large": "it is larger than a certificate may be",
        "signature": "it was not signed by the key above it",
        "format": "its format is not known to this version",
        "chain": f"a chain is an issuer, a member, and at most one whom the member vouches for ({CHAIN_MAX} in all)",
        "tenant": "it belongs to another tenant",
        "issuer": "it names another issuer than the one above it",
        "kind": "whoever signed it may not sign one of this kind",
        "key": "its key is none, or is the key of somebody above it",
        "principal": "it does not say correctly on whose behalf its operator acts",
        "validity": "its end does not come after its beginning",
        "life": "it lives longer than its kind may",
        "outlives": "it is valid outside the time of the certificate above it",
        "not-yet-valid": "it is not valid yet",
    }

    def __init__(self, reason: str) -> None:
        do = "compare the clocks of both machines" if reason == "not-yet-valid" else "ask the tenant for a new one"
        super().__init__(f"the certificate was refused: {self.WHY[reason]}", do=do, reason=reason)


class Expired(HoldError):
    """It was good, and its time is over. ``details``: ``what``, ``not_after``."""

    code = "expired"

    def __init__(self, what: str, not_after: int) -> None:
        super().__init__(
            f"the {what} has expired; nothing was done with it",
            do="get a new one; it is renewed by itself where the tenant's issuer key is",
            what=what,
            not_after=not_after,
        )


class Revoked(HoldError):
    """The tenant has taken it back. ``details``: ``what``."""

    code = "revoked"

    def __init__(self, what: str) -> None:
        super().__init__(f"the {what} was revoked by its tenant", do="ask the tenant for a new one", what=what)


class BadRecord(HoldError):
    """A host record or revocation list proves nothing. ``details``: ``what``, ``reason`` (stable)."""

    code = "bad-record"

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(
            f"the {what} was refused ({reason}); what was known before still holds",
            do="if it goes on, whoever passes it along alters it: use another relay",
            what=what,
            reason=reason,
        )


class RolledBack(HoldError):
    """A relay, or whoever else passed it along, showed an older record than was seen before (I8)."""

    code = "rolled-back"

    def __init__(self, what: str, version: int, seen: int) -> None:
        super().__init__(
            f"the {what} is version {version}, but version {seen} was seen before; the older one was not used",
            do="use another relay; this one shows the past",
            what=what,
            version=version,
            seen=seen,
        )


# ---- certificates ----------------------------------------------------------------------------------------------------


class Kind(enum.StrEnum):
    """What a key is. Bound when its certificate is issued."""

    ISSUER = "issuer"
    HOST = "host"
    HUMAN = "human"
    AI = "ai"
    DEVICE = "device"
    SERVICE = "service"
    GUEST = "guest"


class Principal(enum.Enum):
    """Whether a certificate says on whose behalf its operator acts."""

    NEVER, MAY, MUST = range(3)


class Terms(NamedTuple):
    """``signers``: kinds that may sign one (None: the root itself)."""

    signers: frozenset[Kind | None]
    life_s_max: int
    principal: Principal


_ISSUED: Final = frozenset({Kind.ISSUER})
_VOUCHED: Final = frozenset({Kind.ISSUER, Kind.HUMAN})
TERMS: Final[Mapping[Kind, Terms]] = {
    Kind.ISSUER: Terms(frozenset({None}), ISSUER_S_MAX, Principal.NEVER),
    Kind.HOST: Terms(_ISSUED, MEMBER_S_MAX, Principal.NEVER),
    Kind.HUMAN: Terms(_ISSUED, MEMBER_S_MAX, Principal.NEVER),
    Kind.AI: Terms(_VOUCHED, MEMBER_S_MAX, Principal.MUST),
    Kind.DEVICE: Terms(_VOUCHED, MEMBER_S_MAX, Principal.MAY),
    Kind.SERVICE: Terms(_ISSUED, MEMBER_S_MAX, Principal.MAY),
    Kind.GUEST: Terms(_VOUCHED, MEMBER_S_MAX, Principal.NEVER),
}


class Certificate(Body, frozen=True):
    """``key`` is a ``kind`` of ``tenant``, says ``issuer``. ``name`` is sealed: relays see certificates."""

    format: int
    tenant: bytes  # the root's public key
    kind: Kind
    key: bytes
    name: bytes  # core.sealing.seal_name, or empty
    on_behalf_of: bytes  # the principal's public key, or empty
    not_before: int
    not_after: int
    serial: bytes
    issuer: bytes  # public key of the signer


class Member(NamedTuple):
    """Whom a verified chain proves: its certificates from the issuer's down."""

    certificates: tuple[Certificate, ...]

    @property
    def certificate(self) -> Certificate:
        return self.certificates[-1]

    @property
    def key(self) -> bytes:
        return self.certificate.key

    @property
    def kind(self) -> Kind:
        return self.certificate.kind


def issue(
    signer: Signer, above: Sequence[bytes], *, kind: Kind, key: bytes, serial: bytes, now: int,
    life_s: int | None = None, name: bytes = b"", on_behalf_of: bytes = b"",
) -> tuple[bytes, ...]:  # fmt: skip
    """Return the chain ``above`` with a certificate for ``key`` at its end, signed by ``signer``.

    ``above`` is empty when the root signs an issuer; an issuer gives its certificate, a human who vouches the own chain.
    It begins ``SKEW_S`` before ``now`` and lives ``life_s`` from there (default: the most an issuer may have, 24 h for
    all others), cut to the life of the certificate above it. Raises BadCertificate for what ``verify`` would refuse.
    """
    over = _peeked(above[-1]) if above else None
    begin, end = (over.not_before, over.not_after) if over else (0, signed.TIME_MAX)
    not_before = max(now - SKEW_S, begin)
    life = life_s if life_s is not None else ISSUER_S_MAX if kind is Kind.ISSUER else MEMBER_S
    certificate = Certificate(
        FORMAT, over.tenant if over else signer.key, kind, key, name, on_behalf_of,
        not_before, min(not_before + life, end), serial, signer.key,
    )  # fmt: skip
    if len(above) >= CHAIN_MAX:
        raise BadCertificate("chain")
    if (fault := _fault(certificate, over, certificate.tenant)) is not None:
        raise BadCertificate(fault)
    return (*above, signed.sign(signer, signed.CERTIFICATE, certificate))


def verify(chain: Sequence[bytes], *, tenant: bytes, now: int, revoked: "Revocations | None" = None) -> Member:
    """Return whom ``chain`` proves under the root key ``tenant``: issuer, member, and perhaps one vouched for.

    Raises BadCertificate, Expired, Revoked.
    """
    if not 2 <= len(chain) <= CHAIN_MAX:
        raise BadCertificate("chain")
    return Member(_descended(chain, tenant, now, revoked or NOTHING_REVOKED))


def verify_issuer(data: bytes, *, tenant: bytes, now: int, revoked: "Revocations | None" = None) -> Certificate:
    """Return the issuer that ``data``, one certificate signed by the root, proves. Raises as ``verify``."""
    return _descended([data], tenant, now, revoked or NOTHING_REVOKED)[0]


def read(chain: Sequence[bytes]) -> Member:
    """Return what a chain says without proving it: for those who made it or verified it. Raises BadCertificate."""
    if not 1 <= len(chain) <= CHAIN_MAX:
        raise BadCertificate("chain")
    return Member(tuple(_peeked(data) for data in chain))


def _peeked(data: bytes) -> Certificate:
    try:
        return signed.peeked(data, Certificate, most=CERTIFICATE_BYTES_MAX)
    except Unsigned as error:
        raise BadCertificate(error.reason) from None


def _descended(chain: Sequence[bytes], tenant: bytes, now: int, revoked: "Revocations") -> tuple[Certificate, ...]:
    found: list[Certificate] = []
    for data in chain:
        over = found[-1] if found else None
        # Only a person's key lies where SSH keeps it; root and issuers sign with their own code.
        ssh = over is not None and over.kind is Kind.HUMAN
        try:
            certificate = signed.opened(
                data, Certificate, key=over.key if over else tenant, domain=signed.CERTIFICATE,
                most=CERTIFICATE_BYTES_MAX, ssh=ssh,
            )  # fmt: skip
        except Unsigned as error:
            raise BadCertificate(error.reason) from None
        if (fault := _fault(certificate, over, tenant)) is not None:
            raise BadCertificate(fault)
        if now < certificate.not_before:
            raise BadCertificate("not-yet-valid")
        if now >= certificate.not_after:
            raise Expired(f"certificate of this {certificate.kind.value}", certificate.not_after)
        if revoked.names(certificate):
            raise Revoked(f"certificate of this {certificate.kind.value}")
        found.append(certificate)
    return tuple(found)


def _fault(it: Certificate, over: Certificate | None, tenant: bytes) -> str | None:
    """Return what is wrong with a certificate under the one ``over`` it (None: the root), whatever the time."""
    terms = TERMS[it.kind]
    above = {tenant, over.key, over.issuer} if over else {tenant}
    vouched = over is not None and over.kind is not Kind.ISSUER
    life_s = min(terms.life_s_max, VOUCHED_S_MAX) if vouched else terms.life_s_max
    checks = (
        ("format", it.format == FORMAT),
        ("malformed", len(it.serial) == SERIAL_BYTES and len(it.name) <= NAME_BYTES_MAX),
        ("tenant", it.tenant == tenant),
        ("issuer", it.issuer == (over.key if over else tenant)),
        ("kind", (over.kind if over else None) in terms.signers),
        ("key", is_key(it.key) and it.key not in above),
        ("principal", _principal_is_right(it, vouched)),
        ("validity", is_span(it.not_before, it.not_after)),
        ("life", it.not_after - it.not_before <= life_s),
        ("outlives", over is None or over.not_before <= it.not_before < it.not_after <= over.not_after),
    )
    return next((name for name, good in checks if not good), None)


def _principal_is_right(it: Certificate, vouched: bool) -> bool:
    rule = TERMS[it.kind].principal
    if vouched and rule is not Principal.NEVER:  # nobody can make operators that act for a third
        return it.on_behalf_of == it.issuer
    if not it.on_behalf_of:
        return rule is not Principal.MUST
    return rule is not Principal.NEVER and is_key(it.on_behalf_of) and it.on_behalf_of != it.key


# ---- revocation ------------------------------------------------------------------------------------------------------


class RevocationList(Body, frozen=True):
    """What one signer, the root or an issuer, has taken back. Both tuples are sorted and without repetition."""

    format: int
    tenant: bytes
    signer: bytes
    version: int  # rises with every list of this signer
    at: int
    keys: tuple[bytes, ...]
    serials: tuple[bytes, ...]  # of certificates and grants


@dataclass(frozen=True, slots=True)
class Revocations:
    """What is revoked, by everybody who may say so. Only ever refuses.

    An issuer's list reaches members and grants, and the issuer itself; another issuer falls to the root's list alone, so
    that one stolen issuer key cannot shut out the tenant.
    """

    issuers: frozenset[bytes] = frozenset()  # keys (32 bytes) and serials (16): what may bring down issuers
    members: frozenset[bytes] = frozenset()

    def names(self, certificate: Certificate) -> bool:
        """Tell whether ``certificate`` is revoked by its key, its serial, or the key on whose behalf it acts."""
        reach = self.issuers if certificate.kind is Kind.ISSUER else self.members
        return not reach.isdisjoint((certificate.key, certificate.serial, certificate.on_behalf_of))

    def name_member(self, *values: bytes) -> bool:
        """Tell whether one of ``values``, keys or serials of members or grants, is revoked."""
        return not self.members.isdisjoint(values)


NOTHING_REVOKED: Final = Revocations()


def revoke(
    signer: Signer, *, tenant: bytes, version: int, at: int, keys: Iterable[bytes] = (), serials: Iterable[bytes] = ()
) -> bytes:
    """Return a signed list; it replaces the signer's earlier ones, so it repeats what shall stay revoked.

    Raises BadRecord for what ``verify_revocations`` would refuse.
    """
    found = RevocationList(
        FORMAT, tenant, signer.key, version, at, tuple(sorted(set(keys))), tuple(sorted(set(serials)))
    )
    if (fault := _list_fault(found)) is not None:
        raise BadRecord("revocation list", fault)
    return signed.sign(signer, signed.REVOCATIONS, found)


def verify_revocations(
    data: bytes, *, issuer: bytes = b"", tenant: bytes, now: int, seen: int = 0, revoked: Revocations = NOTHING_REVOKED
) -> RevocationList:
    """Return the list, signed by the root, or by the issuer whose certificate ``issuer`` is.

    ``seen`` is the highest version of this signer met before. A kept list is verified again with its own ``at`` as
    ``now`` and without ``revoked``: what a signer took back stays so after the signer itself has gone. Raises BadRecord,
    RolledBack, and what ``verify_issuer`` raises.
    """
    over = verify_issuer(issuer, tenant=tenant, now=now, revoked=revoked) if issuer else None
    key = over.key if over else tenant
    try:
        found = signed.opened(data, RevocationList, key=key, domain=signed.REVOCATIONS, most=REVOCATIONS_BYTES_MAX)
    except Unsigned as error:
        raise BadRecord("revocation list", error.reason) from None
    fault = _list_fault(found) or ("tenant" if found.tenant != tenant else "signer" if found.signer != key else None)
    if fault is not None:
        raise BadRecord("revocation list", fault)
    if over is not None and not over.not_before <= found.at < over.not_after:
        raise BadRecord("revocation list", "outlives")
    if found.version < seen:
        raise RolledBack("revocation list", found.version, seen)
    return found


def revoked_at(data: bytes) -> int:
    """Return when a list says it was signed, unproven: the time at which a kept one is verified again. Raises BadRecord."""
    try:
        return signed.peeked(data, RevocationList, most=REVOCATIONS_BYTES_MAX).at
    except Unsigned as error:
        raise BadRecord("revocation list", error.reason) from None


def merged(lists: Iterable[RevocationList]) -> Revocations:
    """Return what verified lists revoke together."""
    issuers: set[bytes] = set()
    members: set[bytes] = set()
    for each in lists:
        members.update(each.keys, each.serials)
        if each.signer == each.tenant:
            issuers.update(each.keys, each.serials)
        elif each.signer in each.keys:
            issuers.add(each.signer)
    return Revocations(frozenset(issuers), frozenset(members))


def _list_fault(it: RevocationList) -> str | None:
    def tidy(values: tuple[bytes, ...], size: int) -> bool:
        return all(len(value) == size for value in values) and list(values) == sorted(set(values))

    checks = (
        ("format", it.format == FORMAT),
        ("malformed", it.version >= 1 and 0 <= it.at <= signed.TIME_MAX),
        ("too-many", len(it.keys) + len(it.serials) <= REVOKED_MAX),
        ("malformed", tidy(it.keys, KEY_BYTES) and tidy(it.serials, SERIAL_BYTES)),
        ("tenant", it.tenant not in it.keys),  # a root ends by being left, not by a list
    )
    return next((name for name, good in checks if not good), None)


# ---- what a host says of itself --------------------------------------------------------------------------------------


class HostRecord(Body, frozen=True):
    """How to reach a host, signed by itself. ``channel`` is the X25519 key of its secure channel (docs/wire.md)."""

    format: int
    tenant: bytes
    host: bytes
    channel: bytes
    version: int  # rises whenever anything here changes
    not_before: int
    not_after: int
    name: bytes  # sealed, or empty
    relays: tuple[str, ...]


def sign_host_record(
    host: KeyPair, *, tenant: bytes, channel: bytes, version: int, now: int, life_s: int = MEMBER_S,
    name: bytes = b"", relays: tuple[str, ...] = (),
) -> bytes:  # fmt: skip
    """Return the host's record, valid ``life_s`` from ``SKEW_S`` before ``now``. Raises BadRecord for a bad value."""
    begin = max(now - SKEW_S, 0)
    record = HostRecord(FORMAT, tenant, host.key, channel, version, begin, begin + life_s, name, relays)
    if (fault := _record_fault(record)) is not None:
        raise BadRecord("host record", fault)
    return signed.sign(host, signed.HOST_RECORD, record)


def verify_host_record(
    data: bytes, chain: Sequence[bytes], *, host: bytes, tenant: bytes, now: int, seen: int = 0,
    revoked: Revocations = NOTHING_REVOKED,
) -> HostRecord:  # fmt: skip
    """Return the record of the host with key ``host``, whose certificates are ``chain``.

    ``seen`` is the highest version of it met before: an older one is refused, since relays could show one whose channel
    key has leaked. Raises BadRecord, RolledBack, Expired, and what ``verify`` raises.
    """
    member = verify(chain, tenant=tenant, now=now, revoked=revoked)
    if member.kind is not Kind.HOST:
        raise BadCertificate("kind")
    if member.key != host:
        raise BadCertificate("key")
    try:
        record = signed.opened(data, HostRecord, key=host, domain=signed.HOST_RECORD, most=RECORD_BYTES_MAX)
    except Unsigned as error:
        raise BadRecord("host record", error.reason) from None
    fault = _record_fault(record) or ("tenant" if record.tenant != tenant else "host" if record.host != host else None)
    if fault is not None:
        raise BadRecord("host record", fault)
    if now < record.not_before:
        raise BadRecord("host record", "not-yet-valid")
    if now >= record.not_after:
        raise Expired("host record", record.not_after)
    if record.version < seen:
        raise RolledBack("host record", record.version, seen)
    return record


def _record_fault(it: HostRecord) -> str | None:
    checks = (
        ("format", it.format == FORMAT),
        ("malformed", it.version >= 1 and len(it.name) <= NAME_BYTES_MAX),
        ("key", len(it.channel) == KEY_BYTES and any(it.channel)),
        ("validity", is_span(it.not_before, it.not_after)),
        ("life", it.not_after - it.not_before <= RECORD_S_MAX),
        ("relays", len(it.relays) <= RELAYS_MAX and all(map(is_relay_url, it.relays))),
    )
    return next((name for name, good in checks if not good), None)
