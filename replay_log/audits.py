"""Reads back from `decision.audit` what the caps refused: a reply names the winner only, the audit every candidate."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaException, Message, TopicPartition

from pipeline.adapters import kafka
from pipeline.adapters.keys import Keys
from pipeline.codecs.errors import CodecError
from pipeline.core.model.records import AuditRecord
from pipeline.settings import Settings
from replay_log.errors import ReplayError
from replay_log.wire import end_of
from topics.catalog import DECISION_AUDIT

#: The outcome of a candidate that a cap stopped.
CAPPED: Final = "capped"

#: Decisions that are looked at: an audit record is large, and the first ones tell enough of a long replay.
DECISIONS_MAX: Final = 20_000

#: Nobody waits for audit records: they come a moment after the answers.
BEHIND_S: Final = 0.5

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
    """Count this run's audit records since `starts`, up to `DECISIONS_MAX`; `tell(done, of)` as it goes.

    Raises `ReplayError` where the cluster stops answering, and for a record that cannot be read.
    """
    time.sleep(BEHIND_S)
    ends = audit_ends(settings)
    left = {partition: end for partition, end in ends.items() if end > starts.get(partition, 0)}
    total = min(DECISIONS_MAX, sum(end - starts.get(partition, 0) for partition, end in left.items()))
    refusals, quiet = Refusals(), 0
    consumer, keys = kafka.consumer(settings, None, "replay-log-audits"), Keys(settings)
    try:
        consumer.assign([TopicPartition(DECISION_AUDIT.name, p, starts.get(p, 0)) for p in left])
        while left and quiet < _QUIET_POLLS_MAX and refusals.decisions < DECISIONS_MAX:
            records = [record for record in consumer.consume(_BATCH, timeout=0.5) if record.error() is None]
            quiet = 0 if records else quiet + 1
            for record in records:
                _count(record, keys, run, refusals)
                partition, offset = record.partition(), record.offset()
                if partition is not None and offset is not None and offset + 1 >= ends[partition]:
                    left.pop(partition, None)
            tell(min(refusals.decisions, total), total)
    except KafkaException as error:
        raise ReplayError(f"{DECISION_AUDIT.name} cannot be read: {error.args[0].str()}") from error
    finally:
        consumer.close()
        keys.close()
    return refusals


def _count(record: Message, keys: Keys, run: str, refusals: Refusals) -> None:
    try:
        audit: AuditRecord = keys.value(DECISION_AUDIT, record.key(), record.value())
    except CodecError as error:
        raise ReplayError(
            f"{DECISION_AUDIT.name} cannot be read ({error}): is the worker of another version?"
        ) from error
    if audit.request.request_id.startswith(f"{run}-"):
        refusals.add(audit)
