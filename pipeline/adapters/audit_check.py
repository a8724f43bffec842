"""Decides recorded decisions again, from their audits and the topics alone, and compares. Blocks; changes nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from pipeline.adapters import kafka
from pipeline.adapters.history import PublishedHistory
from pipeline.adapters.keys import Keys
from pipeline.adapters.reading import Place, partitions, read, reader
from pipeline.codecs.errors import CodecError
from pipeline.core.decide.decision import ENGINE
from pipeline.core.decide.replay import decided_again, differences
from pipeline.core.model.records import AuditRecord
from pipeline.core.release.history import NotKept
from pipeline.settings import Settings
from topics.catalog import DECISION_AUDIT

#: Decisions that are named where they differ or cannot be made again.
_NAMED_MAX: Final = 10


@dataclass(slots=True)
class Findings:
    """What became of the audits that were looked at."""

    #: `same`, `differs`, `not_kept` (policy or catalog), `other_engine`, `encrypted` (its subject's key is gone).
    counts: Counter[str] = field(default_factory=Counter)
    #: The first that differ or cannot be made again, and in what or why.
    named: list[str] = field(default_factory=list)

    def add(self, kind: str, text: str = "") -> None:
        """Count one audit; `text` names it."""
        self.counts[kind] += 1
        if text and len(self.named) < _NAMED_MAX:
            self.named.append(text)


def check(settings: Settings, since_ms: int, limit: int) -> Findings:
    """Decide again what was decided since then, at most so much.

    Raises KafkaException, and DecryptionError where the installation's key is not set.
    """
    findings = Findings()
    # By version, so that the catalog is read once.
    audits = sorted(_audits(settings, since_ms, limit, findings), key=lambda audit: audit.catalog_version)
    history = PublishedHistory(settings)
    try:
        for audit in audits:
            try:
                found = differences(audit, decided_again(audit, history.live(audit)))
            except NotKept as error:
                findings.add("not_kept", str(error))
                continue
            if found:
                findings.add("differs", f"{audit.decision_id} differs in {', '.join(found)}")
            else:
                findings.add("same")
    finally:
        history.close()
    return findings


def _audits(settings: Settings, since_ms: int, limit: int, findings: Findings) -> list[AuditRecord]:
    """Those that can be decided again; what cannot is counted."""
    found: dict[str, AuditRecord] = {}
    consumer = reader(settings, "audits")
    try:
        with Keys(settings) as keys:
            keys.refresh()
            for message in islice(read(consumer, _starts(consumer, since_ms)), limit):
                try:
                    audit: AuditRecord = keys.ring.value(DECISION_AUDIT, message.key(), message.value())
                except CodecError:
                    findings.add("unreadable")
                    continue
                if audit.encrypted is not None:
                    findings.add("encrypted")
                elif audit.engine != ENGINE:
                    findings.add("other_engine")
                else:
                    # After a crash it may lie there twice.
                    found[audit.decision_id] = audit
    finally:
        consumer.close()
    return list(found.values())


def _starts(consumer: Consumer, since_ms: int) -> dict[Place, int]:
    places = [TopicPartition(topic, number, since_ms) for topic, number in partitions(consumer, [DECISION_AUDIT.name])]
    found = consumer.offsets_for_times(places, timeout=kafka.ADMIN_TIMEOUT_S)
    return {(one.topic, one.partition): one.offset for one in found if one.offset != OFFSET_END}
