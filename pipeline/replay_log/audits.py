"""Reads back from `decision.audit` what the caps refused: a reply names the winner only, the audit every candidate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaException, TopicPartition

from pipeline.adapters import kafka
from pipeline.codecs import avro
from pipeline.core.model import AuditRecord
from pipeline.replay_log.errors import ReplayError
from pipeline.replay_log.wire import end_of
from pipeline.settings import Settings
from topics.catalog import DECISION_AUDIT

#: The outcome of a candidate that a cap stopped.
CAPPED: Final = "capped"

_QUIET_POLLS_MAX: Final = 20
_BATCH: Final = 500


@dataclass(slots=True)
class Refusals:
    """Over the audited decisions of one run: how often a cap stopped a candidate."""

    decisions: int = 0
    decisions_capped: int = 0
    candidates_capped: int = 0

    def add(self, audit: AuditRecord) -> None:
        """Count one decision."""
        capped = sum(candidate.outcome == CAPPED for candidate in audit.candidates)
        self.decisions += 1
        self.decisions_capped += capped > 0
        self.candidates_capped += capped


def audit_ends(settings: Settings) -> dict[int, int]:
    """Partition -> the offset of the next audit record. Raises `ReplayError` where the cluster does not tell."""
    consumer = kafka.consumer(settings, None, "replay-log-audits")
    try:
        places = [TopicPartition(DECISION_AUDIT.name, partition) for partition in range(DECISION_AUDIT.partitions)]
        return {place.partition: end_of(settings, consumer, place) for place in places}
    finally:
        consumer.close()


def read_refusals(
    settings: Settings, run: str, starts: dict[int, int], tell: Callable[[int, int], None]
) -> Refusals:
    """Read the audit records written since `starts` and count those of this run; `tell(done, of)` as it goes.

    Raises `ReplayError` where the cluster stops answering.
    """
    ends = audit_ends(settings)
    left = {partition: end for partition, end in ends.items() if end > starts.get(partition, 0)}
    total = sum(end - starts.get(partition, 0) for partition, end in left.items())
    refusals, read, quiet = Refusals(), 0, 0
    consumer = kafka.consumer(settings, None, "replay-log-audits")
    try:
        consumer.assign([TopicPartition(DECISION_AUDIT.name, p, starts.get(p, 0)) for p in left])
        while left and quiet < _QUIET_POLLS_MAX:
            records = consumer.consume(_BATCH, timeout=0.5)
            quiet = 0 if records else quiet + 1
            for record in records:
                partition, offset, data = record.partition(), record.offset(), record.value()
                if record.error() is not None or partition is None or offset is None or partition not in left:
                    continue
                read += 1
                if offset < ends[partition] and data is not None:
                    audit: AuditRecord = avro.decode(DECISION_AUDIT, data)
                    if audit.request.request_id.startswith(f"{run}-"):
                        refusals.add(audit)
                if offset >= ends[partition] - 1:
                    del left[partition]
            tell(read, total)
    except KafkaException as error:
        raise ReplayError(f"{DECISION_AUDIT.name} cannot be read: {error.args[0].str()}") from error
    finally:
        consumer.close()
    return refusals
