"""What the hub knows: peers, tenants, hosts, routes. Data and look-ups; the decisions are the hub's."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from holdfast.core.identity import NOTHING_REVOKED, Member, RevocationList
from holdfast.relay.limits import Bucket
from holdfast.relay.outbox import Outbox, Tally
from holdfast.wire.relay import Presence


class Now(NamedTuple):
    """One instant on two clocks: ``mono`` for how long, ``unix`` for until when."""

    mono: float
    unix: float


class Peer:
    """One connection. ``over`` says why the hub ended it; what is in ``outbox`` then is still sent."""

    __slots__ = (
        "address", "admitted_role", "deadline", "member", "nonce", "number", "outbox", "over", "resume_at", "routes",
        "spent", "tenant", "top", "watching",
    )  # fmt: skip

    def __init__(self, number: int, address: str, nonce: bytes, tally: Tally, *, deadline: float) -> None:
        self.number, self.address, self.nonce = number, address, nonce
        self.outbox = Outbox(tally)
        self.deadline: float | None = deadline  # mono; of the admission, or of a joiner's stay
        self.admitted_role = ""  # host, client or join; empty: not admitted
        self.member: Member | None = None
        self.tenant: Tenant | None = None  # a joiner's is that of its host
        self.routes: dict[int, Route] = {}
        self.top = 0  # the highest route number used on this connection
        self.watching = False
        self.spent = 0  # bytes of a joiner's allowance
        self.resume_at = 0.0  # mono; nothing is read from it before
        self.over = ""


class Route:
    """A way between a client's connection and a host's, each with its own number for it."""

    __slots__ = ("client", "client_number", "host", "host_number")

    def __init__(self, client: Peer, client_number: int, host: Peer, host_number: int) -> None:
        self.client, self.client_number = client, client_number
        self.host, self.host_number = host, host_number

    def other(self, peer: Peer) -> tuple[Peer, int]:
        """Return the end that is not ``peer``'s."""
        return (self.host, self.host_number) if peer is self.client else (self.client, self.client_number)

    def ends(self) -> Iterator[tuple[Peer, int]]:
        yield self.client, self.client_number
        yield self.host, self.host_number


class KnownHost:
    """A host of a tenant, connected or not."""

    __slots__ = ("chain", "joiners_until", "key", "peer", "record", "since", "tenant", "version", "witness")

    def __init__(self, tenant: "Tenant", key: bytes, *, since: float) -> None:
        self.tenant, self.key, self.since = tenant, key, since
        self.peer: Peer | None = None
        self.chain: tuple[bytes, ...] = ()
        self.record, self.version = b"", 0
        self.witness = NOTHING_WITNESSED
        self.joiners_until = 0.0  # mono

    @property
    def presence(self) -> Presence:
        return Presence(self.key, self.peer is not None, self.since, self.chain, self.record)


class KeptWitness(NamedTuple):
    """The sealed word of a host on where its journals stand: its number, when it came (Unix time), the blob."""

    number: int
    at: float
    blob: bytes


NOTHING_WITNESSED: Final = KeptWitness(0, 0.0, b"")


class KeptList(NamedTuple):
    """A verified revocation list as it came, with what it says."""

    data: bytes
    issuer: bytes
    says: RevocationList


class Tenant:
    """Everything of one root key. Two tenants share no look-up."""

    __slots__ = ("bucket", "hosts", "idle_since", "lists", "peers", "revoked", "root", "routes", "watchers")

    def __init__(self, root: bytes, bucket: Bucket) -> None:
        self.root, self.bucket = root, bucket
        self.peers: set[Peer] = set()  # members connected, hosts included
        self.idle_since = 0.0  # Unix time
        self.routes = 0
        self.lists: dict[bytes, KeptList] = {}  # by signer
        self.revoked = NOTHING_REVOKED
        self.hosts: dict[bytes, KnownHost] = {}
        self.watchers: set[Peer] = set()
