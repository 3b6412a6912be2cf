"""The relay's figures for Prometheus, read from the hub when asked: nothing on the path of a payload. No figure names
a tenant, host or address."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from holdfast.relay.clerk import Clerk
from holdfast.relay.gate import Gate
from holdfast.relay.hub import Hub
from holdfast.wire.relay import ROLES


class Figures(Collector):
    """What a relay counts. Source: docs/relay.md, "Metrics"."""

    def __init__(self, hub: Hub, gate: Gate, clerk: Clerk) -> None:
        self._hub, self._gate, self._clerk = hub, gate, clerk
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        hub = self._hub
        connections = GaugeMetricFamily("holdfast_relay_connections", "Admitted connections.", labels=["role"])
        roles = [peer.admitted_role for peer in hub.peers.values()]
        for role in ROLES:
            connections.add_metric([role], roles.count(role))
        yield connections
        tenants = list(hub.tenants.values())
        for name, text, value in (
            ("sockets", "Open sockets of every kind.", self._gate.inside),
            ("unadmitted", "Sockets that did not prove yet who they are.", self._gate.unadmitted),
            ("tenants", "Tenants with a connection, a known host or a revocation list.", len(tenants)),
            ("hosts_known", "Known hosts, connected or not.", hub.hosts_known),
            ("routes", "Open routes.", sum(tenant.routes for tenant in tenants)),
            ("backlog_bytes", "Payload that receivers have not taken yet.", hub.tally.waiting),
            ("draining", "1 while the relay is about to close.", hub.draining_until is not None),
        ):
            yield GaugeMetricFamily(f"holdfast_relay_{name}", text, value=float(value))
        for name, text, value in (
            ("frames", "Payloads routed.", hub.frames),
            ("bytes", "Bytes of payloads routed.", hub.bytes),
            ("sockets_refused", "Sockets refused before anything was read.", self._gate.refused),
            ("sockets_put_out", "Unadmitted sockets closed to make room.", self._gate.put_out),
            ("directory_failures", "Times the directory could not be used.", self._clerk.failures),
        ):
            yield CounterMetricFamily(f"holdfast_relay_{name}", text, value=float(value))
        for what, label, text in (
            ("admitted", "role", "Admissions."),
            ("refused", "code", "Connections refused or ended by the relay."),
            ("opened", "role", "Routes opened."),
            ("closed", "why", "Routes closed."),
        ):
            family = CounterMetricFamily(f"holdfast_relay_{what}", text, labels=[label])
            for (counted, which), value in sorted(hub.counts.items()):
                if counted == what:
                    family.add_metric([which], value)
            yield family
