"""Audits and final outcomes for training data, off the log store. Blocks; writes nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from analysis.log_source import finals
from analysis.training.seen import LeftOut
from analysis.training.write import OUTCOMES, OUTCOMES_MAX, Report
from log_store import read
from log_store.read import Store
from log_store.restoring import restorer
from pipeline.core.model.records import AuditRecord
from topics.catalog import DECISION_AUDIT


def audits(
    store: Store, tenant: str, since_ms: int | None, until_ms: int | None, report: Report
) -> Iterator[AuditRecord]:
    """A tenant's audits that arrived in [since, until), by partition and offset; what cannot be opened is counted."""
    restored = restorer(DECISION_AUDIT)
    for batch in read.table(store, DECISION_AUDIT.name, None, tenant, since_ms, until_ms):
        for row in batch.to_pylist():
            if row["_opened"]:
                yield restored(row)
            else:
                report.leave_out(LeftOut.CLOSED)


def outcomes(store: Store, tenant: str, since_ms: int | None) -> pa.Table:
    """A tenant's final outcomes that arrived since then, in the columns of `OUTCOMES`."""
    return finals(store, tenant, OUTCOMES.names, OUTCOMES_MAX, since_ms)[0]
