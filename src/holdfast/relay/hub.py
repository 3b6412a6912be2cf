"""Decide who is admitted, who reaches whom, and who pays when it is too much. Sans-I/O, time is an argument.

Not here: sockets (server), what is kept over a restart (clerk), whether a certificate is good (admission). A method
returns the peers that have something to be sent, or that are over; the server sends what their outboxes hold.

Slow receivers: one host connection carries the routes of many clients, so reading from it must never wait for one of
them. What a receiver does not take waits here, up to a bound per route; beyond it that route ends, ``slow``, and its two
ends make a new one. Nobody else's route notices.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from holdfast.core import identity
from holdfast.core.errors import BadMessage, HoldError, HostUnreachable, Refused, Timeout, TooMany, WrongVersion
from holdfast.core.identity import BadRecord, Expired, Member, Revocations, Revoked, RolledBack
from holdfast.relay.admission import member_of
from holdfast.relay.limits import Bucket, Limits
from holdfast.relay.outbox import Tally
from holdfast.relay.rooms import NOTHING_WITNESSED, KeptList, KeptWitness, KnownHost, Now, Peer, Route, Tenant
from holdfast.wire import relay as wire
from holdfast.wire.messages import Done, Message, Ping, Pong

MESSAGE_COST: Final = (
    1024  # bytes that any frame counts for in a tenant's rate on top of its own: what it costs the relay
)
SWEEP_S: Final = 60.0  # between looks for hosts that were not seen for long
LISTS_MAX: Final = 8  # signers of one tenant whose revocation lists are kept
HOST, REVOCATIONS = "host", "revocations"
Unsaved = tuple[str, bytes, bytes]
"""What changed and is not written down: HOST or REVOCATIONS, the tenant's root, the host's or the signer's key."""

Touched = dict[Peer, None]
"""Peers in the order in which they were touched, each once."""


class Hub:
    """One relay. ``names`` are the host names it is dialled by; ``served`` are root keys, None: any tenant."""

    def __init__(self, *, names: Iterable[str], served: Iterable[bytes] | None, limits: Limits) -> None:
        self.names = tuple(dict.fromkeys(map(wire.dialled_name, names)))
        self.served = None if served is None else frozenset(served)
        self.limits = limits
        self.tally = Tally()
        self.peers: dict[int, Peer] = {}
        self.tenants: dict[bytes, Tenant] = {}
        self.unsaved: dict[Unsaved, None] = {}
        self.draining_until: float | None = None  # mono
        self.counts: Counter[tuple[str, str]] = Counter()  # (what, which) since the start
        self.frames, self.bytes = 0, 0  # routed since the start
        self.joining = 0
        self._hosts_by_key: dict[bytes, list[KnownHost]] = {}  # for joiners, who know no tenant
        self._numbers = 0
        self._sweep_at = 0.0  # mono

    # ---- coming and going ----

    def connect(self, address: str, nonce: bytes, *, now: Now) -> Peer:
        """Begin a conversation with a peer at ``address``: it is told the challenge ``nonce`` (32 random bytes)."""
        self._numbers += 1
        deadline = now.mono + self.limits.admission_s_max
        peer = Peer(self._numbers, address, nonce, self.tally, deadline=deadline)
        self.peers[peer.number] = peer
        self._say(peer, wire.Challenge(nonce, wire.VERSIONS))
        return peer

    def receive(self, peer: Peer, frame: bytes | str, *, now: Now) -> Iterable[Peer]:
        """Take one frame of ``peer``. The caller reads nothing more from it before ``peer.resume_at``."""
        if peer.over:
            return ()
        try:
            said = wire.said_to_relay(frame)
            if not peer.admitted_role:
                return self._within(self._admit(peer, said, now), now)
            cost = len(frame) + MESSAGE_COST
            if peer.tenant is not None:
                peer.resume_at = now.mono + peer.tenant.bucket.take(cost, now=now.mono)
            if peer.admitted_role == "join":
                self._spend(peer, cost)
            if isinstance(said, wire.Routed):
                return self._forward(peer, said)
            return self._within(self._serve(peer, said, now), now)
        except (BadMessage, wire.Spent) as error:
            self.counts["refused", error.code] += 1
            return self._end(peer, error, now)

    def leave(self, peer: Peer, *, now: Now) -> Iterable[Peer]:
        """Note that the connection of ``peer`` is gone. Harmless when said twice."""
        peer.over = peer.over or "gone"
        touched = self._forget(peer, now)
        peer.outbox.clear()
        return self._within(touched, now)

    def wake(self, *, now: Now) -> Iterable[Peer]:
        """End what is over by time alone: admissions, joiners' stays, certificates, hosts not seen for long.

        To be called about once a second.
        """
        touched: Touched = {}
        for peer in list(self.peers.values()):
            if peer.deadline is not None and now.mono >= peer.deadline:
                error: HoldError = Timeout("the time for this connection is over; nothing was changed", do="dial again")
            elif peer.member is not None and now.unix >= peer.member.certificate.not_after:
                error = Expired(f"certificate of this {peer.member.kind.value}", peer.member.certificate.not_after)
            else:
                continue
            self.counts["refused", error.code] += 1
            touched |= self._end(peer, error, now)
        if now.mono >= self._sweep_at:
            self._sweep_at = now.mono + SWEEP_S
            self._sweep(now)
        return self._within(touched, now)

    def drain(self, grace_s: float, *, now: Now) -> Iterable[Peer]:
        """Announce that the relay closes in ``grace_s`` seconds; admit and open nothing from now on."""
        self.draining_until = now.mono + grace_s
        told = [peer for peer in self.peers.values() if peer.admitted_role]
        for peer in told:
            self._say(peer, wire.Draining(grace_s))
        return told

    def _sweep(self, now: Now) -> None:
        for tenant in list(self.tenants.values()):
            for host in list(tenant.hosts.values()):
                if host.peer is None and now.unix >= host.since + self.limits.host_kept_s_max:
                    self._drop_host(host)
            self._drop_if_empty(tenant)

    # ---- from the directory, at the start ----

    def restore_host(
        self, root: bytes, key: bytes, chain: tuple[bytes, ...], record: bytes, version: int, *, since: float, now: Now,
        witness: KeptWitness = NOTHING_WITNESSED,
    ) -> None:  # fmt: skip
        """Take a known host, unreachable ``since`` then. What it says of itself was checked when it was written down."""
        host = self._know_host(self._tenant(root, now), key, since)
        host.chain, host.record, host.version, host.witness = chain, record, version, witness
        host.tenant.idle_since = max(host.tenant.idle_since, since)

    def restore_list(self, root: bytes, kept: KeptList, *, now: Now) -> None:
        """Take a known revocation list."""
        tenant = self._tenant(root, now)
        tenant.lists[kept.says.signer] = kept
        tenant.revoked = identity.merged(each.says for each in tenant.lists.values())

    # ---- admission ----

    def _admit(self, peer: Peer, said: wire.ToRelay | wire.Routed, now: Now) -> Touched:
        if not isinstance(said, wire.Admit):
            raise BadMessage("a conversation with a relay begins with the answer to its challenge")
        try:
            if said.version not in wire.VERSIONS:
                raise WrongVersion(said.version, wire.PROTOCOL)
            if self.draining_until is not None:
                raise wire.RelayDraining
            if said.role == "join":
                self._admit_joiner(peer, now)
            else:
                member = member_of(said, peer.nonce, self.names, self._revoked, now=int(now.unix))
                self._admit_member(peer, said.role, member, now)
        except HoldError as error:
            self.counts["refused", error.code] += 1
            return self._end(peer, error, now)
        peer.admitted_role = said.role
        self.counts["admitted", said.role] += 1
        self._say(peer, wire.Admitted(self.names[0], self.limits.allowance(host=said.role == "host")))
        touched: Touched = {peer: None}
        if peer.tenant is not None and peer.member is not None:
            for kept in peer.tenant.lists.values():
                self._say(peer, wire.Revoked(kept.data, kept.issuer))
            if said.role == "host":
                touched |= self._host_came(peer, peer.tenant, peer.member, said.chain, now)
        return touched

    def _revoked(self, root: bytes) -> Revocations:
        tenant = self.tenants.get(root)
        return identity.NOTHING_REVOKED if tenant is None else tenant.revoked

    def _admit_joiner(self, peer: Peer, now: Now) -> None:
        if self.joining >= self.limits.joiners_max:
            raise wire.RelayBusy("it has as many joiners as it takes")
        self.joining += 1
        peer.deadline = now.mono + self.limits.join_s_max

    def _admit_member(self, peer: Peer, role: str, member: Member, now: Now) -> None:
        root = member.certificate.tenant
        if self.served is not None and root not in self.served:
            raise wire.TenantNotServed
        tenant = self._tenant(root, now)
        if len(tenant.peers) >= self.limits.tenant_connections_max:
            raise wire.RelayBusy("your tenant has as many connections as one may have")
        if role == "host" and member.key not in tenant.hosts and len(tenant.hosts) >= self.limits.tenant_hosts_max:
            raise wire.RelayBusy("your tenant has as many hosts as one may have")
        if role == "host" and member.key not in tenant.hosts and self.hosts_known >= self.limits.hosts_max:
            raise wire.RelayBusy("it knows as many hosts as it can")
        peer.member, peer.tenant, peer.deadline = member, tenant, None
        tenant.peers.add(peer)

    # ---- tenants ----

    def _tenant(self, root: bytes, now: Now) -> Tenant:
        tenant = self.tenants.get(root)
        if tenant is None:
            if len(self.tenants) >= self.limits.tenants_max:
                self._drop_the_idlest()
            bucket = Bucket(self.limits.tenant_bytes_per_s, self.limits.tenant_burst_bytes, now=now.mono)
            tenant = self.tenants[root] = Tenant(root, bucket)
        return tenant

    def _drop_the_idlest(self) -> None:
        """Make room for a tenant: an open relay must not be filled for good by tenants made up for it."""
        idle = [tenant for tenant in self.tenants.values() if not tenant.peers]
        if not idle:
            raise wire.RelayBusy("it serves as many tenants as it can")
        gone = min(idle, key=lambda tenant: tenant.idle_since)
        for host in list(gone.hosts.values()):
            self._drop_host(host)
        self.unsaved |= {(REVOCATIONS, gone.root, signer): None for signer in gone.lists}
        del self.tenants[gone.root]

    def _drop_if_empty(self, tenant: Tenant) -> None:
        if not (tenant.peers or tenant.hosts or tenant.lists):
            self.tenants.pop(tenant.root, None)

    def _revoke(self, peer: Peer, said: wire.Revoke, now: Now) -> Touched:
        tenant = peer.tenant
        assert tenant is not None
        says = identity.verify_revocations(
            said.revocations, issuer=said.issuer, tenant=tenant.root, now=int(now.unix), revoked=tenant.revoked
        )
        known = tenant.lists.get(says.signer)
        if known is not None and says.version <= known.says.version:
            if says != known.says:
                raise RolledBack("revocation list", says.version, known.says.version)
            self._say(peer, Done(said.ref))
            return {}
        if known is None and len(tenant.lists) >= LISTS_MAX and says.signer != tenant.root:
            raise TooMany(f"your tenant has lists of {LISTS_MAX} signers here", do="revoke with the root key")
        kept = sum(len(each.data) for tenant in self.tenants.values() for each in tenant.lists.values())
        if kept + len(said.revocations) > self.limits.revocations_bytes_max:
            raise TooMany("the relay keeps as many revocation lists as it can", do="hand it to the hosts themselves")
        tenant.lists[says.signer] = KeptList(said.revocations, said.issuer, says)
        tenant.revoked = identity.merged(each.says for each in tenant.lists.values())
        self.unsaved[REVOCATIONS, tenant.root, says.signer] = None
        self._say(peer, Done(said.ref))
        frame = wire.control(wire.Revoked(said.revocations, said.issuer))
        touched: Touched = {}
        for each in list(tenant.peers):
            each.outbox.say(frame)
            touched[each] = None
            fallen = (
                next((it for it in each.member.certificates if tenant.revoked.names(it)), None) if each.member else None
            )
            if fallen is not None:
                self.counts["refused", Revoked.code] += 1
                touched |= self._end(each, Revoked(f"certificate of this {fallen.kind.value}"), now)
        return touched

    # ---- hosts ----

    @property
    def hosts_known(self) -> int:
        """How many hosts are known, connected or not."""
        return sum(map(len, self._hosts_by_key.values()))

    def _know_host(self, tenant: Tenant, key: bytes, since: float) -> KnownHost:
        host = tenant.hosts.get(key)
        if host is None:
            host = tenant.hosts[key] = KnownHost(tenant, key, since=since)
            self._hosts_by_key.setdefault(key, []).append(host)
        return host

    def _drop_host(self, host: KnownHost) -> None:
        del host.tenant.hosts[host.key]
        others = self._hosts_by_key[host.key]
        others.remove(host)
        if not others:
            del self._hosts_by_key[host.key]
        self.unsaved[HOST, host.tenant.root, host.key] = None

    def _host_came(self, peer: Peer, tenant: Tenant, member: Member, chain: tuple[bytes, ...], now: Now) -> Touched:
        host = self._know_host(tenant, member.key, now.unix)
        former, host.peer = host.peer, peer  # first: so that the end of the former is not taken for the host's absence
        touched = self._end(former, wire.Superseded(), now) if former is not None else {}
        host.since, host.joiners_until, host.chain = now.unix, 0.0, chain
        return touched | self._changed(host)

    def _host_went(self, host: KnownHost, now: Now) -> Touched:
        host.peer, host.since, host.joiners_until = None, now.unix, 0.0
        return self._changed(host)

    def _changed(self, host: KnownHost) -> Touched:
        self.unsaved[HOST, host.tenant.root, host.key] = None
        watchers = host.tenant.watchers
        if watchers:
            frame = wire.control(wire.Changed(host.presence))
            for watcher in watchers:
                watcher.outbox.say(frame)
        return dict.fromkeys(watchers)

    def _own_host(self, peer: Peer) -> KnownHost:
        assert peer.tenant is not None and peer.member is not None
        return peer.tenant.hosts[peer.member.key]

    def _publish(self, peer: Peer, said: wire.Publish, now: Now) -> Touched:
        host = self._own_host(peer)
        root, at = host.tenant.root, int(now.unix)
        record = identity.verify_host_record(
            said.record, said.chain, host=host.key, tenant=root, now=at, seen=host.version, revoked=host.tenant.revoked
        )
        if record.version == host.version and said.record != host.record:
            raise BadRecord("host record", "version")  # one version says one thing
        peer.member = identity.verify(said.chain, tenant=root, now=at, revoked=host.tenant.revoked)
        self._say(peer, Done(said.ref))
        if (host.chain, host.record) == (said.chain, said.record):
            return {}
        host.chain, host.record, host.version = said.chain, said.record, record.version
        return self._changed(host)

    def _witness(self, peer: Peer, said: wire.Witness, now: Now) -> Touched:
        host = self._own_host(peer)
        known = host.witness
        if said.number < known.number or (said.number == known.number and said.blob != known.blob):
            raise RolledBack("record of where this host's journals stand", said.number, known.number)
        if said.number > known.number:
            host.witness = KeptWitness(said.number, now.unix, said.blob)
            self.unsaved[HOST, host.tenant.root, host.key] = None
        self._say(peer, Done(said.ref))
        return {}

    def _witnessed(self, peer: Peer, said: wire.GetWitness, now: Now) -> None:
        tenant = peer.tenant
        assert tenant is not None
        host = tenant.hosts.get(said.host)
        found = host.witness if host is not None else NOTHING_WITNESSED
        frame = wire.control(wire.WitnessIs(said.ref, *found))
        peer.outbox.say(frame)
        peer.resume_at = now.mono + tenant.bucket.take(len(frame), now=now.mono)

    # ---- requests ----

    def _serve(self, peer: Peer, said: wire.ToRelay, now: Now) -> Touched:
        if (verb := type(said)) in _ROLES and peer.admitted_role not in _ROLES[verb]:
            ref = said.route if isinstance(said, wire.OpenRoute) else getattr(said, "ref", 0)
            error = Refused(f"this is not for one who came as {peer.admitted_role}; nothing was changed")
            self._say(peer, wire.failed(ref, error))
            return {peer: None}
        return self._do(peer, said, now) | {peer: None}

    def _within(self, touched: Touched, now: Now) -> Touched:
        """End who lets answers and news pile up."""
        for each in list(touched):
            if each.outbox.control_waiting > self.limits.control_bytes_max and not each.over:
                each.outbox.clear()
                self.counts["refused", "unread"] += 1
                touched |= self._end(each, TooMany("answers were not read", do="read them, or ask for less"), now)
        return touched

    def _do(self, peer: Peer, said: wire.ToRelay, now: Now) -> Touched:
        match said:
            case wire.Closed():
                return self._close(peer, said.route)
            case wire.OpenRoute():
                return self._try(peer, said.route, lambda: self._open(peer, said, now))
            case wire.Publish():
                return self._try(peer, said.ref, lambda: self._publish(peer, said, now))
            case wire.Revoke():
                return self._try(peer, said.ref, lambda: self._revoke(peer, said, now))
            case wire.Joiners():
                self._own_host(peer).joiners_until = now.mono + said.for_s
                self._say(peer, Done(said.ref))
            case wire.ListHosts():
                self._list(peer, said, now)
            case wire.Witness():
                return self._try(peer, said.ref, lambda: self._witness(peer, said, now))
            case wire.GetWitness():
                self._witnessed(peer, said, now)
            case Ping():
                self._say(peer, Pong(said.mark))
            case Pong():
                pass
            case wire.Admit():
                raise BadMessage("admission is over")
        return {}

    def _try(self, peer: Peer, ref: int, act: Callable[[], Touched]) -> Touched:
        try:
            return act()
        except BadMessage:
            raise
        except HoldError as error:
            self._say(peer, wire.failed(ref, error))
            return {}

    def _list(self, peer: Peer, said: wire.ListHosts, now: Now) -> None:
        tenant = peer.tenant
        assert tenant is not None
        if said.watch and not peer.watching:
            peer.watching = True
            tenant.watchers.add(peer)
        for page in wire.pages(said.ref, [host.presence for host in tenant.hosts.values()]):
            frame = wire.control(page)
            peer.outbox.say(frame)
            peer.resume_at = now.mono + tenant.bucket.take(len(frame), now=now.mono)  # answers are traffic too

    # ---- routes ----

    def _open(self, peer: Peer, said: wire.OpenRoute, now: Now) -> Touched:
        if said.route <= peer.top:
            raise BadMessage(f"route {said.route} is not above those used before")
        peer.top = said.route
        if self.draining_until is not None:
            raise wire.RelayDraining
        host = self._reach(peer, said.host, now)
        tenant = host.tenant
        if host.peer is None:
            raise HostUnreachable("this relay", f"not seen since {host.since:.0f}")
        if tenant.routes >= self.limits.tenant_routes_max:
            raise TooMany("your tenant has as many routes as one may have", do="close some")
        if len(peer.routes) >= (1 if peer.admitted_role == "join" else self.limits.routes_max):
            raise TooMany("this connection has as many routes as one may have", do="close some")
        host.peer.top += 1
        route = Route(peer, said.route, host.peer, host.peer.top)
        for end, number in route.ends():
            end.routes[number] = route
        tenant.routes += 1
        self.counts["opened", peer.admitted_role] += 1
        incoming = wire.Incoming(host.peer.top, "join" if peer.admitted_role == "join" else "member")
        self._say(host.peer, incoming)
        return {host.peer: None}

    def _reach(self, peer: Peer, key: bytes, now: Now) -> KnownHost:
        """Return the host ``peer`` may open a route to. Raises NoSuchHost, the same for unknown and forbidden."""
        if peer.admitted_role != "join":
            assert peer.tenant is not None
            host = peer.tenant.hosts.get(key)
        else:
            taking = (each for each in self._hosts_by_key.get(key, ()) if each.peer and now.mono < each.joiners_until)
            host = next(taking, None)
            if host is not None and host.peer is not None:
                joined = sum(route.client.admitted_role == "join" for route in host.peer.routes.values())
                if joined >= self.limits.host_joiners_max:
                    raise TooMany("this host has as many joiners as it takes at once", do="try again in a moment")
                peer.tenant = host.tenant  # its traffic counts for that tenant
        if host is None:
            raise wire.NoSuchHost
        return host

    def _forward(self, peer: Peer, said: wire.Routed) -> Iterable[Peer]:
        route = peer.routes.get(said.route)
        if route is None:
            if said.route > peer.top:
                raise BadMessage(f"route {said.route} was never opened")
            return ()  # it was closed while this was under way
        other, number = route.other(peer)
        size = len(said.data) + wire.HEAD
        if other.admitted_role == "join" and other.spent + size > self.limits.join_bytes_max:
            return self._cut(route, "spent")
        waiting = other.outbox.waiting_on(number) + size
        if waiting > self.limits.route_backlog_bytes_max or self.tally.waiting + size > self.limits.backlog_bytes_max:
            return self._cut(route, "slow")
        touched: Touched = {other: None}
        if other.outbox.waiting + size > self.limits.peer_backlog_bytes_max:
            fullest = other.outbox.fullest()
            if waiting >= other.outbox.waiting_on(fullest):
                return self._cut(route, "slow")
            touched |= self._cut_at(other, fullest)
        if other.admitted_role == "join":
            other.spent += size
        other.outbox.put(number, wire.routed(number, said.data))
        self.frames += 1
        self.bytes += size
        return touched

    def _spend(self, joiner: Peer, cost: int) -> None:
        joiner.spent += cost
        if joiner.spent > self.limits.join_bytes_max:
            raise wire.Spent

    def _close(self, peer: Peer, number: int) -> Touched:
        route = peer.routes.get(number)
        if route is None:
            if number > peer.top:
                raise BadMessage(f"route {number} was never opened")
            return {}
        other, its_number = route.other(peer)
        self._unlink(route)
        self.counts["closed", "asked"] += 1
        peer.outbox.drop(number)
        other.outbox.finish(its_number, wire.control(wire.Closed(its_number, "asked")))
        return {other: None}

    def _cut(self, route: Route, why: wire.Why) -> Touched:
        """End a route from here, with what waits on it."""
        self._unlink(route)
        self.counts["closed", why] += 1
        for end, number in route.ends():
            end.outbox.drop(number)
            self._say(end, wire.Closed(number, why))
        return {route.client: None, route.host: None}

    def _cut_at(self, peer: Peer, number: int) -> Touched:
        """End the route of that number, or what is left of it after its sender closed it."""
        route = peer.routes.get(number)
        if route is not None:
            return self._cut(route, "slow")
        peer.outbox.drop(number)
        self._say(peer, wire.Closed(number, "slow"))
        return {}

    def _unlink(self, route: Route) -> None:
        for end, number in route.ends():
            end.routes.pop(number, None)
        host_tenant = route.host.tenant
        assert host_tenant is not None
        host_tenant.routes -= 1

    # ---- endings ----

    def _end(self, peer: Peer, error: HoldError, now: Now) -> Touched:
        """End a connection from here, saying why; the server sends that and closes."""
        if peer.over:
            return {}
        peer.over = error.code
        self._say(peer, wire.failed(0, error))
        return {peer: None, **self._forget(peer, now)}

    def _forget(self, peer: Peer, now: Now) -> Touched:
        touched: Touched = {}
        if self.peers.pop(peer.number, None) is None:
            return touched
        for route in list(peer.routes.values()):
            other, number = route.other(peer)
            self._unlink(route)
            self.counts["closed", "gone"] += 1
            other.outbox.finish(number, wire.control(wire.Closed(number, "gone")))
            touched[other] = None
        if peer.admitted_role == "join":
            self.joining -= 1
        tenant, member = peer.tenant, peer.member
        if tenant is None or member is None:
            return touched
        tenant.peers.discard(peer)
        tenant.watchers.discard(peer)
        tenant.idle_since = now.unix
        host = tenant.hosts.get(member.key)
        if host is not None and host.peer is peer:
            touched |= self._host_went(host, now)
        self._drop_if_empty(tenant)
        return touched

    def _say(self, peer: Peer, message: Message) -> None:
        peer.outbox.say(wire.control(message))


_ROLES: Final[Mapping[type, frozenset[str]]] = {
    wire.OpenRoute: frozenset({"client", "join"}),
    wire.ListHosts: frozenset({"client"}),
    wire.Publish: frozenset({"host"}),
    wire.Witness: frozenset({"host"}),
    wire.GetWitness: frozenset({"client"}),
    wire.Joiners: frozenset({"host"}),
    wire.Revoke: frozenset({"host", "client"}),
}
"""Who may say what needs a role; everybody else who is admitted may say the rest."""
