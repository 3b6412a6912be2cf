"""A tenant to test with: keys from words, serials that count, everything at one instant. No randomness, no clock."""

import hashlib
import itertools
from dataclasses import dataclass, field

from holdfast.core import grants, identity
from holdfast.core.grants import EVERYTHING, Capability
from holdfast.core.identity import DAY_S, Kind
from holdfast.core.ids import session_id
from holdfast.core.signed import KeyPair

NOW = 1_800_000_000
S1, S2, S3 = (session_id(bytes([n]) * 16) for n in (1, 2, 3))


def seed(word: str) -> bytes:
    return hashlib.sha256(word.encode()).digest()


def pair(word: str) -> KeyPair:
    return KeyPair(seed(word))


@dataclass
class Tenant:
    """``word`` makes two tenants differ in every key."""

    word: str = "acme"
    root: KeyPair = field(init=False)
    issuer: KeyPair = field(init=False)
    alice: KeyPair = field(init=False)
    bot: KeyPair = field(init=False)
    host: KeyPair = field(init=False)

    def __post_init__(self) -> None:
        for name in ("root", "issuer", "alice", "bot", "host"):
            setattr(self, name, pair(f"{self.word}/{name}"))
        self._serials = itertools.count(1)
        self.issuer_chain = identity.issue(
            self.root, (), kind=Kind.ISSUER, key=self.issuer.key, serial=self.serial(), now=NOW
        )
        self.alice_chain = self.issued(Kind.HUMAN, self.alice)
        self.bot_chain = self.issued(Kind.AI, self.bot, on_behalf_of=self.alice.key)
        self.host_chain = self.issued(Kind.HOST, self.host)

    @property
    def key(self) -> bytes:
        return self.root.key

    @property
    def issuer_certificate(self) -> bytes:
        return self.issuer_chain[0]

    def serial(self) -> bytes:
        return hashlib.sha256(f"{self.word}/{next(self._serials)}".encode()).digest()[:16]

    def issued(self, kind: Kind, who: KeyPair, **more: object) -> tuple[bytes, ...]:
        given = {"serial": self.serial(), "now": NOW} | more
        return identity.issue(self.issuer, self.issuer_chain, kind=kind, key=who.key, **given)  # type: ignore[arg-type]

    def granted(self, who: KeyPair, capabilities: Capability = EVERYTHING, **more: object) -> bytes:
        given = {"serial": self.serial(), "now": NOW, "not_after": NOW + 7 * DAY_S} | more
        return grants.mint(
            self.issuer, issuer=self.issuer_certificate, holder=who.key, capabilities=capabilities,
            **given,  # type: ignore[arg-type]
        )  # fmt: skip
