"""Every metric of the bridge, in one place: name, unit, labels. One registry per process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

#: The target is 50 ms at the 99th percentile; the deadline 150 ms by default.
_BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0)


#: Tenants with a label of their own; all further ones share one. No tenant's name begins with a sign.
TENANTS_SHOWN_MAX = 50
OTHER_TENANTS = "_other"


class BridgeMetrics:
    """Counts; never blocks, never raises. Label values come from closed sets, so the number of series is bounded."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._http = Counter(
            "nextbest_bridge_http_requests", "HTTP requests by endpoint and status.", ["endpoint", "status"],
            registry=self.registry,
        )
        self._decisions = Counter(
            "nextbest_bridge_decisions", "Answers to decision requests by reason, and whether they were fallbacks.",
            ["reason", "fallback"], registry=self.registry,
        )
        self._decide_seconds = Histogram(
            "nextbest_bridge_decide_seconds", "Time from a decision request's arrival to its answer.",
            buckets=_BUCKETS, registry=self.registry,
        )
        self.in_flight = Gauge(
            "nextbest_bridge_in_flight_requests", "Callers waiting for a decision.", registry=self.registry
        )
        self._events = Counter(
            "nextbest_bridge_events", "Events by type and what became of them.", ["type", "outcome"],
            registry=self.registry,
        )
        self._tenants = Counter(
            "nextbest_bridge_tenant_requests", "Decisions and events by tenant and what became of them.",
            ["tenant", "kind", "outcome"], registry=self.registry,
        )
        self._tenants_shown: set[str] = set()
        self._open_circuits = Gauge(
            "nextbest_bridge_open_circuits_partitions", "Partitions of the requests that are not asked just now.",
            registry=self.registry,
        )
        self.replies = Counter(
            "nextbest_bridge_replies", "Replies read, by whether anybody here waited for them.", ["wanted"],
            registry=self.registry,
        )
        self.undelivered = Counter(
            "nextbest_bridge_undelivered_records", "Records that the broker did not take.", registry=self.registry
        )
        self.open_circuits_shown = 0

    def answered(self, reason: str, fallback: bool, seconds: float) -> None:
        """One decision request was answered."""
        self._decisions.labels(reason.partition(":")[0], "true" if fallback else "false").inc()
        self._decide_seconds.observe(seconds)

    def event(self, type_: str, outcome: str) -> None:
        """One event was accepted, rejected or not taken by the broker."""
        self._events.labels(type_, outcome).inc()

    def of_tenant(self, tenant: str, kind: str, outcome: str, number: int = 1) -> None:
        """So many decisions or events of a tenant met an outcome. The first tenants have a label of their own."""
        if tenant not in self._tenants_shown and tenant != OTHER_TENANTS:
            if len(self._tenants_shown) >= TENANTS_SHOWN_MAX:
                tenant = OTHER_TENANTS
            else:
                self._tenants_shown.add(tenant)
        self._tenants.labels(tenant, kind, outcome).inc(number)

    def http(self, endpoint: str, status: int) -> None:
        """One HTTP request was answered."""
        self._http.labels(endpoint, str(status)).inc()

    def show_open_circuits(self, partitions: int) -> None:
        """How many partitions' circuits are not closed."""
        self.open_circuits_shown = partitions
        self._open_circuits.set(partitions)

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)
