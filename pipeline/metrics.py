"""Every metric of the worker, in one place: name, unit, labels. The bridge keeps its own beside its endpoints."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class WorkerMetrics:
    """The Metrics port on prometheus-client, one registry per worker."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._records = Counter(
            "nextbest_records_total",
            "Records by flow, fate and reason.",
            ["flow", "fate", "reason"],
            registry=self.registry,
        )
        self.batch_seconds = Histogram(
            "nextbest_batch_seconds",
            "Time to run one batch through the core, without waiting for the broker.",
            registry=self.registry,
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5),
        )
        self.in_flight = Gauge(
            "nextbest_records_in_flight", "Records whose effects are not complete yet.", registry=self.registry
        )
        self.partitions = Gauge(
            "nextbest_partitions_owned", "Partitions this worker decides for.", registry=self.registry
        )
        self.recovery_seconds = Gauge(
            "nextbest_recovery_seconds", "Time the last take-over took, recovery included.", registry=self.registry
        )
        self.recovered = Counter(
            "nextbest_recovered_records_total", "Changelog records read at take-overs.", registry=self.registry
        )
        self.standby = Counter(
            "nextbest_standby_records_total", "Changelog records read into copies of other workers' partitions.",
            registry=self.registry,
        )
        self.stale = Counter(
            "nextbest_stale_records_total",
            "Changelog records of an owner that had lost the partition, passed over.",
            registry=self.registry,
        )
        self._alarms = Gauge(
            "nextbest_flow_dead_letter_alarm",
            "1 while a flow has more dead letters than NEXTBEST_DEAD_LETTER_LIMIT allows, or is paused because of it.",
            ["flow"],
            registry=self.registry,
        )
        self._outcomes = Counter(
            "nextbest_outcomes_total",
            "Records of the topic outcomes by what they were matched by (none; final: a window's total), and why not.",
            ["matched_by", "reason"],
            registry=self.registry,
        )
        self._children: dict[tuple[str, str, str], Counter] = {}

    def alarm(self, flow: str, on: bool) -> None:
        """Whether the flow has too many dead letters."""
        self._alarms.labels(flow).set(on)

    def record(self, flow: str, fate: str, reason: str) -> None:
        """One record met its fate."""
        key = (flow, fate, reason)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._records.labels(flow, fate, reason)
        child.inc()

    def outcome(self, matched_by: str, reason: str) -> None:
        """One record of the topic `outcomes`."""
        self._outcomes.labels(matched_by, reason).inc()
