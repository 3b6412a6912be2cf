"""Whose keys, certificates and grants a world uses: one tenant for all worlds, so that each proof is checked once.

The cryptography is real. What is saved is doing the same of it again: keys come from fixed sequences, and functions
without state of their own (a signature, its check, an exchange of keys) remember their results over all worlds.
"""

import contextlib
import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from unittest import mock

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from holdfast.core import identity, signed
from holdfast.core.grants import Capability
from holdfast.core.identity import Kind
from holdfast.core.ids import session_id
from holdfast.core.signed import Form, KeyPair
from tests.core.tenants import NOW, Tenant, seed

SESSIONS = tuple(session_id(hashlib.sha256(b"session %d" % n).digest()[:16]) for n in range(4))
NOWHERE = session_id(hashlib.sha256(b"no session at all").digest()[:16])


class Pair(KeyPair):
    """A key pair that remembers what it signed: Ed25519 signs alike every time."""

    def __init__(self, word: str) -> None:
        super().__init__(seed(word))
        self._signed: dict[bytes, bytes] = {}

    def sign(self, message: bytes) -> bytes:
        found = self._signed.get(message)
        if found is None:
            found = self._signed[message] = super().sign(message)
        return found


class Exchange:
    """An X25519 key that remembers its exchanges; used where an ``X25519PrivateKey`` is."""

    def __init__(self, word: str) -> None:
        self._private = X25519PrivateKey.from_private_bytes(seed(word))
        self._public = self._private.public_key()
        self.raw = self._public.public_bytes_raw()
        self._known: dict[bytes, bytes] = {}

    def public_key(self) -> X25519PublicKey:
        return self._public

    def exchange(self, other: X25519PublicKey) -> bytes:
        raw = other.public_bytes_raw()
        found = self._known.get(raw)
        if found is None:
            found = self._known[raw] = self._private.exchange(other)
        return found


exchange = functools.lru_cache(maxsize=100_000)(Exchange)
"""The X25519 key of a word: a world takes its ephemeral keys in sequence, so no two handshakes of it share one."""


@functools.lru_cache(maxsize=400_000)
def _genuine(key: bytes, signature: bytes, message: bytes, form: Form = Form.PLAIN) -> bool:
    return _really(key, signature, message, form)


_really = signed.genuine


@contextlib.contextmanager
def remembered() -> Iterator[None]:
    """Let checks of signatures remember their verdicts: (key, signature, message) has one, for ever."""
    from holdfast.relay import admission as relay_admission
    from holdfast.wire import signing

    with contextlib.ExitStack() as stack:
        for module in (signed, relay_admission, signing):
            stack.enter_context(mock.patch.object(module, "genuine", _genuine))
        yield


@dataclass(frozen=True)
class Operator:
    """``until`` is when the first of what it needs ends; ``revoked_by`` are the world's lists that take it back."""

    name: str
    pair: Pair
    chain: tuple[bytes, ...]
    grants: tuple[bytes, ...]
    sessions: frozenset[str]  # empty: all
    capabilities: Capability
    until: int

    def may(self, capability: Capability, session: str) -> bool:
        return bool(capability & self.capabilities) and (not self.sessions or session in self.sessions)

    def may_see(self, session: str) -> bool:
        return self.may(Capability.OBSERVE, session)


class People:
    """The tenant, its hosts and its operators. The same for every world: nothing here changes."""

    def __init__(self) -> None:
        tenant = self.tenant = Tenant("simulated")
        tenant.root, tenant.issuer = Pair("simulated/root"), Pair("simulated/issuer")
        tenant.issuer_chain = identity.issue(
            tenant.root, (), kind=Kind.ISSUER, key=tenant.issuer.key, serial=tenant.serial(), now=NOW
        )
        self.root = tenant.root.key
        self.hosts = tuple(Pair(f"simulated/host {n}") for n in range(2))
        self.host_chains = tuple(tenant.issued(Kind.HOST, pair) for pair in self.hosts)
        everything = Capability.OBSERVE | Capability.PROPOSE | Capability.OPERATE
        self.alice = self._operator("alice", Kind.HUMAN, everything, life_s=3600)
        self.bob = self._operator("bob", Kind.HUMAN, everything, life_s=3600)
        self.bot = self._operator("bot", Kind.AI, everything, on_behalf_of=self.alice)
        self.ending = self._operator("ending", Kind.HUMAN, everything, grant_s=18)
        self.fading = self._operator("fading", Kind.HUMAN, everything, life_s=14)
        self.guest = self._operator("guest", Kind.GUEST, Capability.OBSERVE, sessions=(SESSIONS[0],))
        self.narrow = self._operator("narrow", Kind.HUMAN, everything, sessions=(SESSIONS[1],), life_s=3600)
        self.all = (self.alice, self.bob, self.bot, self.ending, self.fading, self.guest, self.narrow)
        self.by_key = {each.pair.key: each for each in self.all}

    def _operator(
        self, name: str, kind: Kind, capabilities: Capability, *, sessions: tuple[str, ...] = (), life_s: int = 3600,
        grant_s: int = 3600, on_behalf_of: Operator | None = None,
    ) -> Operator:  # fmt: skip
        from holdfast.core import grants

        pair, tenant = Pair(f"simulated/{name}"), self.tenant
        more: dict[str, object] = {"life_s": life_s + identity.SKEW_S}
        if on_behalf_of is not None:
            more["on_behalf_of"] = on_behalf_of.pair.key
        chain = tenant.issued(kind, pair, **more)
        until = NOW + grant_s
        if on_behalf_of is not None:
            given = grants.attenuate(
                on_behalf_of.grants[0], on_behalf_of.pair, holder=pair.key, serial=tenant.serial(), not_after=until
            )
        elif kind is Kind.GUEST:
            given = tenant.granted(pair, capabilities, sessions=sessions, not_after=until, depth=0)
        else:
            given = tenant.granted(pair, capabilities, sessions=sessions, not_after=until)
        return Operator(
            name, pair, chain, (given,), frozenset(sessions), capabilities, min(until, NOW + life_s)
        )  # fmt: skip

    @functools.lru_cache(maxsize=1000)  # noqa: B019 - one for the whole run
    def revocation(self, version: int, names: tuple[str, ...], *, grant_only: bool) -> bytes:
        """Return the issuer's list of that version, which takes back ``names``: their keys, or only their grants."""
        from holdfast.core import grants

        gone = [each for each in self.all if each.name in names]
        serials = [grants.read(each.grants[0]).serials[-1] for each in gone] if grant_only else []
        keys = [] if grant_only else [each.pair.key for each in gone]
        return identity.revoke(
            self.tenant.issuer, tenant=self.root, version=version, at=NOW, keys=keys, serials=serials
        )

    @functools.lru_cache(maxsize=10_000)  # noqa: B019
    def record(self, host: int, channel: int, version: int, now: int, relays: tuple[str, ...]) -> bytes:
        """Return the signed record of a host with its ``channel``-th channel key."""
        return identity.sign_host_record(
            self.hosts[host], tenant=self.root, channel=channel_key(host, channel).raw, version=version, now=now,
            relays=relays,
        )  # fmt: skip


def channel_key(host: int, channel: int) -> Exchange:
    return exchange(f"channel {channel} of host {host}")


@functools.lru_cache(maxsize=1)
def people() -> People:
    return People()
