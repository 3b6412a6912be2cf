"""Every bound of a relay with its default, and the bucket that turns a rate into a delay. Source: docs/relay.md, "Limits"."""

from typing import Final

import msgspec

from holdfast.core.errors import HoldError
from holdfast.wire.relay import FRAME_BYTES_MAX, WITNESS_BYTES_MAX, Allowance

MIB: Final = 1 << 20


class BadLimit(HoldError):
    code = "bad-limit"

    def __init__(self, text: str, why: str) -> None:
        super().__init__(
            f"{text!r} is no limit of a relay: {why}; the relay was not started",
            do="write NAME=NUMBER; docs/relay.md lists every limit",
        )


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one relay gives to whom. Who reaches a bound is refused or slowed down; nobody else notices."""

    connections_max: int = 8192  # sockets, of every kind
    unadmitted_max: int = 256  # sockets that did not prove yet who they are; beyond it the oldest is put out
    address_connections_max: int = 256  # sockets of one address (a household or an office may be one address)
    address_unadmitted_max: int = 32  # of them, not admitted yet
    admission_s_max: float = 10.0  # from the first byte to the admission
    tenants_max: int = 1024  # with a connection or a known host
    tenant_connections_max: int = 1024
    tenant_hosts_max: int = 1024  # whose records are known
    hosts_max: int = 16384  # the same for all tenants
    revocations_bytes_max: int = 64 * MIB  # of lists kept, for all tenants
    tenant_routes_max: int = 4096
    routes_max: int = 64  # opened by one client's connection
    tenant_bytes_per_s: int = 32 * MIB  # what a tenant may send on average; beyond it reading is delayed
    tenant_burst_bytes: int = 64 * MIB  # and at once
    route_backlog_bytes_max: int = 4 * MIB  # sent on a route and not taken by its receiver; beyond it the route ends
    peer_backlog_bytes_max: int = 16 * MIB  # the same for all routes of one connection
    backlog_bytes_max: int = 512 * MIB  # and for all connections
    control_bytes_max: int = 2 * MIB  # answers and news not taken by their receiver; beyond it the connection ends
    silence_s_max: float = 40.0  # without an answer to a ping
    joiners_max: int = 64  # peers without a certificate, on this relay
    host_joiners_max: int = 8  # of them at one host
    join_s_max: float = 120.0  # life of such a connection
    join_bytes_max: int = MIB // 4  # it may send, and be sent
    host_kept_s_max: float = 30 * 86400.0  # a host not seen for this long is forgotten

    def allowance(self, *, host: bool) -> Allowance:
        """Return what an admitted peer is told."""
        return Allowance(
            frame_bytes_max=FRAME_BYTES_MAX,
            routes_max=self.tenant_routes_max if host else self.routes_max,
            backlog_bytes_max=self.route_backlog_bytes_max,
            bytes_per_s=self.tenant_bytes_per_s,
            silence_s_max=self.silence_s_max,
            witness_bytes_max=WITNESS_BYTES_MAX,
        )


def limits_from(settings: list[str]) -> Limits:
    """Return the defaults changed by ``settings``, each ``NAME=NUMBER``. Raises BadLimit."""
    changed: dict[str, float | int] = {}
    for text in settings:
        name, _, value = text.partition("=")
        kind = Limits.__annotations__.get(name)
        try:
            number = int(value) if kind is int else float(value)
        except ValueError:
            raise BadLimit(text, "its value is no number") from None
        if kind is None:
            raise BadLimit(text, "there is none of that name")
        if not number > 0:
            raise BadLimit(text, "it must be above zero")
        changed[name] = number
    return msgspec.structs.replace(Limits(), **changed)


class Bucket:
    """A rate with a burst. Who takes more than there is goes into debt and is told how long to wait."""

    __slots__ = ("_at", "_burst", "_level", "_rate")

    def __init__(self, rate: float, burst: float, *, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._level, self._at = burst, now

    def take(self, amount: float, *, now: float) -> float:
        """Take ``amount`` and return for how many seconds its taker should take nothing more."""
        self._level = min(self._burst, self._level + (now - self._at) * self._rate) - amount
        self._at = now
        return max(0.0, -self._level / self._rate)
