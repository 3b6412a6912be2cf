"""Write what one person hands to another as text: join codes for members, share links for guests, offers for who has a key.

Not here: who may make them (grants, identity), what a host does with a one-time secret. Codes and links hold a secret, so
neither is ever logged, and printing the objects shows none of it. Source: docs/identity.md, "Join codes", "Share links".
"""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from holdfast.core import grants, identity, signed
from holdfast.core.errors import HoldError
from holdfast.core.grants import Capability
from holdfast.core.identity import RELAYS_MAX, Expired, Kind, is_relay_url
from holdfast.core.ids import is_session_id
from holdfast.core.signed import KeyPair, Signer, is_key

SECRET_BYTES: Final = 16
CODE_CHARS_MAX: Final = 4096
URL_CHARS_MAX: Final = 16 * 1024
_PLAIN_BYTES_MAX: Final = 24 * 1024  # of a share link, unpacked
_CHECK_BYTES: Final = 5
_CODE_HEAD: Final = "HOLD1"
_SHARE_HEAD: Final = "1."
_OFFER_HEAD: Final = "HOLDGRANT1."
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUE: Final = {letter: value for value, letter in enumerate(_CROCKFORD)} | {"O": 0, "I": 1, "L": 1}


class BadJoinCode(HoldError):
    """Not a join code as it was given out. ``details["reason"]``: head, letter, short, checksum, content."""

    code = "bad-join-code"

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(
            f"this is not a join code: {why}; nothing was joined",
            do="copy the whole line again, from the HOLD1 at its beginning to its end",
            reason=reason,
        )


class BadShare(HoldError):
    """Not a share link as it was given out. ``details["reason"]``: head, damaged, content."""

    code = "bad-share"

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(
            f"this is not a share link: {why}; nothing was opened",
            do="copy the whole link again, with everything after the #",
            reason=reason,
        )


# ---- join codes ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JoinCode:
    """What one needs to become a member: where, whose tenant, which host lets one in, and the right to ask once.

    ``channel`` makes the first conversation safe: who joins knows no certificates yet, so the code itself says to whom to
    speak, and no relay on the way can stand in for that host. ``machine``: the joining machine's host becomes a member.
    """

    relays: tuple[str, ...]
    tenant: bytes  # root key
    host: bytes  # Ed25519 key of the host that takes the secret
    channel: bytes  # and the X25519 key of its secure channel
    secret: bytes = field(repr=False)
    not_after: int = 0
    machine: bool = False

    def text(self) -> str:
        """Return the code: one line of capitals and digits. Raises BadJoinCode if this cannot be one."""
        if not _code_is_sound(self):
            raise BadJoinCode("content", "what it would say makes no sense")
        plain = signed.encoded(
            _Code(self.relays, self.tenant, self.host, self.channel, self.secret, self.not_after, self.machine)
        )
        return _CODE_HEAD + _base32(plain + _check(plain))


class _Code(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    relays: tuple[str, ...]
    tenant: bytes
    host: bytes
    channel: bytes
    secret: bytes
    not_after: int
    machine: bool


def parse_join_code(text: str, *, now: int) -> JoinCode:
    """Return what ``text`` says. Case, blanks, hyphens and line breaks do not matter; O reads as 0, I and L as 1.

    A mistyped, missing or added letter is refused, not guessed at. Raises BadJoinCode, Expired.
    """
    if len(text) > CODE_CHARS_MAX:
        raise BadJoinCode("content", f"it is longer than {CODE_CHARS_MAX} characters")
    letters = "".join(text.upper().split()).replace("-", "")
    if not letters.startswith(_CODE_HEAD):
        raise BadJoinCode("head", f"it does not begin with {_CODE_HEAD}")
    data = _from_base32(letters[len(_CODE_HEAD) :])
    plain, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if not plain or check != _check(plain):
        raise BadJoinCode("checksum", "its checksum does not fit, so a letter is mistyped, missing or too many")
    try:
        it: _Code = signed.decoded(plain, _Code, most=CODE_CHARS_MAX)
    except signed.Unsigned:
        raise BadJoinCode("content", "a newer version may have made it") from None
    code = JoinCode(it.relays, it.tenant, it.host, it.channel, it.secret, it.not_after, it.machine)
    if not _code_is_sound(code):
        raise BadJoinCode("content", "what it says makes no sense")
    if now >= code.not_after:
        raise Expired("join code", code.not_after)
    return code


def _code_is_sound(it: JoinCode) -> bool:
    keys = is_key(it.tenant) and is_key(it.host) and len(it.secret) == SECRET_BYTES
    return (
        keys
        and len(it.channel) == signed.KEY_BYTES
        and any(it.channel)
        and 0 < it.not_after <= signed.TIME_MAX
        and _relays_are_sound(it.relays)
    )


def _relays_are_sound(relays: tuple[str, ...]) -> bool:
    return 1 <= len(relays) <= RELAYS_MAX and all(map(is_relay_url, relays))


def _check(plain: bytes) -> bytes:
    return hashlib.sha256(b"holdfast/join-code/1\0" + plain).digest()[:_CHECK_BYTES]


def _base32(data: bytes) -> str:
    bits = len(data) * 8
    count = -(-bits // 5)
    number = int.from_bytes(data, "big") << (count * 5 - bits)
    return "".join(_CROCKFORD[number >> 5 * at & 31] for at in reversed(range(count)))


def _from_base32(letters: str) -> bytes:
    number = 0
    for letter in letters:
        if letter not in _VALUE:
            raise BadJoinCode("letter", f"{letter!r} occurs in no code")
        number = number << 5 | _VALUE[letter]
    spare = len(letters) * 5 % 8
    if spare >= 5 or number & ((1 << spare) - 1):
        raise BadJoinCode("short", "its end is missing")
    return (number >> spare).to_bytes(len(letters) * 5 // 8, "big")


# ---- share links -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Share:
    """All that a guest needs, the key included: whoever holds the link is the guest."""

    relays: tuple[str, ...]
    tenant: bytes
    host: bytes  # Ed25519 key; its channel key comes from its host record
    session: str
    certificates: tuple[bytes, ...]  # the guest's chain: relays admit by it
    grant: bytes  # for hosts only
    seed: bytes = field(repr=False)

    def url(self) -> str:
        """Return the link, on the first relay; everything is in the fragment, which browsers send to nobody.

        Raises BadShare if this cannot be one.
        """
        if not _share_is_sound(self):
            raise BadShare("content", "what it would say makes no sense")
        plain = signed.encoded(
            _Share(self.relays, self.tenant, self.host, self.session, self.certificates, self.grant, self.seed)
        )
        scheme, _, rest = self.relays[0].partition("://")
        page = f"{'https' if scheme == 'wss' else 'http'}://{rest.partition('/')[0]}/s"
        packed = zlib.compress(plain, 9)  # keys and the issuer's certificate occur again and again: a third is saved
        return f"{page}#{_SHARE_HEAD}{base64.urlsafe_b64encode(packed).decode().rstrip('=')}"


class _Share(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    relays: tuple[str, ...]
    tenant: bytes
    host: bytes
    session: str
    certificates: tuple[bytes, ...]
    grant: bytes
    seed: bytes


def share(
    signer: Signer, certificates: Sequence[bytes], grant: bytes, *, relays: tuple[str, ...], host: bytes, session: str,
    seed: bytes, serials: tuple[bytes, bytes], now: int, not_after: int, propose: bool = False, name: bytes = b"",
    issued: Sequence[bytes] = (),
) -> Share:  # fmt: skip
    """Make a guest of ``session`` out of a fresh ``seed``: ``signer``, a human, vouches for it and passes on part of its
    own ``grant``. Needs nobody else. It ends at ``not_after``, or earlier with the signer's certificate; ``issued`` is a
    chain that an issuer made for this guest instead, which may live longer.

    Raises BadCertificate or BadGrant if the signer may not. ``serials`` are for the certificate and the grant.
    """
    guest = KeyPair(seed)
    chain = tuple(issued) or identity.issue(
        signer, certificates, kind=Kind.GUEST, key=guest.key, serial=serials[0], now=now,
        life_s=min(not_after - now + identity.SKEW_S, identity.VOUCHED_S_MAX), name=name,
    )  # fmt: skip
    until = min(not_after, identity.read(chain).certificate.not_after)
    given = grants.attenuate(
        grant, signer, holder=guest.key, serial=serials[1], sessions=(session,), not_after=until, depth=0,
        capabilities=Capability.PROPOSE if propose else Capability.OBSERVE,
    )  # fmt: skip
    return Share(relays, identity.read(chain).certificate.tenant, host, session, chain, given, seed)


def parse_share(url: str) -> Share:
    """Return what the link says. Its certificates and grant are not verified here: relay and host do.

    Raises BadShare, also when its key is not the one that its grant names.
    """
    if len(url) > URL_CHARS_MAX:
        raise BadShare("content", f"it is longer than {URL_CHARS_MAX} characters")
    fragment = url.strip().partition("#")[2]
    if not fragment.startswith(_SHARE_HEAD):
        raise BadShare("head", "what follows its # is missing, or from a newer version")
    try:
        it: Any = signed.decoded(_unpacked(fragment[len(_SHARE_HEAD) :]), _Share, most=_PLAIN_BYTES_MAX)
    except signed.Unsigned:
        raise BadShare("content", "a newer version may have made it") from None
    found = Share(it.relays, it.tenant, it.host, it.session, it.certificates, it.grant, it.seed)
    if not _share_is_sound(found):
        raise BadShare("content", "what it says makes no sense")
    return found


def _unpacked(text: str) -> bytes:
    """A few bytes may claim to unpack to gigabytes: no more than the bound is ever made of them."""
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        unpack = zlib.decompressobj()
        plain = unpack.decompress(packed, _PLAIN_BYTES_MAX)
    except (binascii.Error, ValueError, zlib.error):
        raise BadShare("damaged", "it is damaged") from None
    if not unpack.eof or unpack.unused_data:
        raise BadShare("damaged", "it is incomplete or too long")
    return plain


def _share_is_sound(it: Share) -> bool:
    if not (is_key(it.tenant) and is_key(it.host) and is_session_id(it.session) and _relays_are_sound(it.relays)):
        return False
    if len(it.seed) != signed.SEED_BYTES:
        return False
    key = KeyPair(it.seed).key
    try:
        named = identity.read(it.certificates), grants.read(it.grant)
    except HoldError:
        return False
    member, grant = named
    return (
        member.key == key == grant.holder
        and member.kind is Kind.GUEST
        and member.certificate.tenant == it.tenant
        and grant.sessions == {it.session}
    )


# ---- offers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Offer:
    """A grant for an operator whose key is known, and where it is good. No secret: it is of use to that key alone."""

    relays: tuple[str, ...]
    host: bytes  # Ed25519 key
    session: str
    grant: bytes

    def text(self) -> str:
        """Return it as one line."""
        packed = zlib.compress(signed.encoded(_Offer(self.relays, self.host, self.session, self.grant)), 9)
        return _OFFER_HEAD + base64.urlsafe_b64encode(packed).decode().rstrip("=")


class _Offer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    relays: tuple[str, ...]
    host: bytes
    session: str
    grant: bytes


def is_offer(text: str) -> bool:
    """Tell whether ``text`` begins as an offer does."""
    return text.strip().startswith(_OFFER_HEAD)


def parse_offer(text: str) -> Offer:
    """Return what an offer says; its grant is not verified here. Raises BadShare."""
    if len(text) > URL_CHARS_MAX or not is_offer(text):
        raise BadShare("head", "it does not begin as an offer does")
    try:
        it: Any = signed.decoded(_unpacked(text.strip()[len(_OFFER_HEAD) :]), _Offer, most=_PLAIN_BYTES_MAX)
        found = Offer(it.relays, it.host, it.session, it.grant)
        sound = is_key(it.host) and is_session_id(it.session) and _relays_are_sound(it.relays)
        sound = sound and grants.read(it.grant).sessions == {it.session}
    except (signed.Unsigned, HoldError):
        raise BadShare("content", "a newer version may have made it") from None
    if not sound:
        raise BadShare("content", "what it says makes no sense")
    return found
