"""Every metric of the worker, in one place: name, unit, labels. The bridge keeps its own beside its endpoints."""

from __future__ import annotations

import logging
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from pipeline.core.models.health import Earned, earned, fallen_from

log = logging.getLogger(__name__)

#: Models that a worker keeps figures of; past it the one that was heard of longest ago is forgotten.
MODELS_MAX: Final = 1_024


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
        self.models = ModelMetrics(self.registry)
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

    def learnt(self, tenant: str, model: str, snapshot: int, observations: int) -> None:
        """A model's writer counted an update, or cut a snapshot."""
        self.models.learnt(tenant, model, snapshot, observations)

    def earned(
        self, tenant: str, model: str, outcome: str, snapshot: int, reward: float, decided_ms: int
    ) -> None:
        """The window of one showing that the model chose was closed."""
        self.models.earned(tenant, model, outcome, snapshot, reward, decided_ms)


class ModelMetrics:
    """Figures of models: of their writers, and of what their snapshots earned with this worker's subjects."""

    def __init__(self, registry: CollectorRegistry) -> None:
        by_model, by_outcome = ["tenant", "model"], ["tenant", "model", "outcome"]
        self._of_writer = (
            Gauge("nextbest_model_snapshot", "Number of the newest snapshot, by the model's writer.", by_model,
                  registry=registry),
            Gauge("nextbest_model_observations", "Showings that the model's writer counted so far.", by_model,
                  registry=registry),
            Gauge("nextbest_model_update_timestamp_seconds",
                  "When the model's writer last counted an update or cut a snapshot.", by_model, registry=registry),
        )
        self._of_rewards = (
            Gauge("nextbest_model_deciding_snapshot", "The snapshot that chose the closed showing decided last.",
                  by_outcome, registry=registry),
            Gauge("nextbest_model_closed_showings", "Closed showings of this worker's subjects under that snapshot.",
                  by_outcome, registry=registry),
            Gauge("nextbest_model_mean_reward", "Their mean reward, in the outcome's unit.", by_outcome,
                  registry=registry),
            Gauge("nextbest_model_reward_alarm",
                  "1 while it is below an earlier snapshot's by more than three standard errors.", by_outcome,
                  registry=registry),
        )
        self._written: dict[tuple[str, ...], None] = {}
        self._earned: dict[tuple[str, ...], list[Earned]] = {}
        #: The snapshots that were warned of.
        self._warned: dict[tuple[str, ...], int] = {}

    def learnt(self, tenant: str, model: str, snapshot: int, observations: int) -> None:
        """A model's writer counted an update, or cut a snapshot."""
        name = (tenant, model)
        self._written.pop(name, None)
        self._written[name] = None
        number, count, at = self._of_writer
        number.labels(*name).set(snapshot)
        count.labels(*name).set(observations)
        at.labels(*name).set_to_current_time()
        if len(self._written) > MODELS_MAX:
            oldest = next(iter(self._written))
            del self._written[oldest]
            _forget(self._of_writer, oldest)

    def earned(
        self, tenant: str, model: str, outcome: str, snapshot: int, reward: float, decided_ms: int
    ) -> None:
        """The window of one showing that the model chose was closed. Warns once of each snapshot that fell."""
        name = (tenant, model, outcome)
        known = self._earned[name] = earned(self._earned.pop(name, ()), snapshot, reward, decided_ms)
        now, before = known[0], fallen_from(known)
        figures = (now.snapshot, now.showings, now.mean, before is not None)
        for gauge, figure in zip(self._of_rewards, figures, strict=True):
            gauge.labels(*name).set(figure)
        if before is not None and self._warned.get(name) != now.snapshot:
            self._warned[name] = now.snapshot
            log.warning(
                "model %s of %s earns less of %s: %.4g a showing under snapshot %d (%d closed showings here), %.4g "
                "under snapshot %d (%d); see `nextbest models show %s`, and `pin` in docs/models.md", model, tenant,
                outcome, now.mean, now.snapshot, now.showings, before.mean, before.snapshot, before.showings, model,
            )
        if len(self._earned) > MODELS_MAX:
            oldest = next(iter(self._earned))
            del self._earned[oldest]
            self._warned.pop(oldest, None)
            _forget(self._of_rewards, oldest)


def _forget(gauges: tuple[Gauge, ...], name: tuple[str, ...]) -> None:
    for gauge in gauges:
        gauge.remove(*name)
