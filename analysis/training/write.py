"""Training data as one table: what each decision saw of an item, joined with what came of it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from analysis.errors import AnalysisError
from analysis.training.columns import Columns
from analysis.training.seen import LeftOut, Row, rows_of
from pipeline.core.decide.live import Live
from pipeline.core.hashing import digest
from pipeline.core.model.records import AuditRecord
from pipeline.core.release.history import NotKept

#: Items shown that one file holds.
ROWS_MAX: Final = 5_000_000
#: Decisions that are read for it.
AUDITS_MAX: Final = 10_000_000
#: Final outcomes that are read for it.
OUTCOMES_MAX: Final = 20_000_000

FEATURE: Final = "feature."
REWARD: Final = "reward."
_KEYS: Final = ("decision_id", "decided_ms", "placement", "position", "action")
#: The outcomes' columns that are needed, with their types.
OUTCOMES: Final = pa.schema([
    ("decision_id", pa.string()), ("decided_ms", pa.int64()), ("placement", pa.string()), ("position", pa.int64()),
    ("action", pa.string()), ("outcome", pa.string()), ("reward", pa.float64()),
    ("reason", pa.string()), ("model", pa.string()), ("snapshot", pa.int64()),
])


@dataclass(slots=True)
class Report:
    """What became of what was read, in items shown unless said otherwise."""

    rows: int = 0
    #: None of whose outcomes is final, or in the store, yet.
    waiting: int = 0
    #: Final outcomes of which no decision is there.
    without_decision: int = 0
    #: Another placement or model than was asked for.
    not_wanted: int = 0
    #: Decisions without rows, by why.
    left_out: Counter[LeftOut] = field(default_factory=Counter)
    #: The first that were left out, in words.
    named: list[str] = field(default_factory=list)

    def leave_out(self, why: LeftOut, text: str = "") -> None:
        """Count a decision without rows."""
        self.left_out[why] += 1
        if text and len(self.named) < _NAMED_MAX:
            self.named.append(text)


_NAMED_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows. `model`: the one that ordered the placement. None: all."""

    placement: str | None = None
    model: str | None = None


def training_table(
    audits: Iterable[AuditRecord], live_of: Callable[[AuditRecord], Live], outcomes: pa.Table, wanted: Wanted,
    salt: bytes, report: Report,
) -> pa.Table:
    """One row per item shown, in the order of decisions.

    `feature.PATH` as the decision saw it, null where it was not known; `reward.OUTCOME`, null while it is not final: a
    row comes once any outcome is. `crowded`: an outcome was closed before its time. `group` is the same for rows of one
    subject, and by `salt` names nobody. Raises AnalysisError past the bounds.

    :param live_of: the release and the catalog that an audit names; raises NotKept.
    :param outcomes: final outcomes, in the columns of `OUTCOMES`.
    """
    seen = _seen(audits, live_of, wanted, salt, report)
    return _joined(seen, outcomes.cast(OUTCOMES), wanted, report)


def _seen(
    audits: Iterable[AuditRecord], live_of: Callable[[AuditRecord], Live], wanted: Wanted, salt: bytes, report: Report
) -> pa.Table:
    columns, told, count = Columns(), set[tuple[str, int]](), 0
    for audit in audits:
        # Written twice after a crash; a request id that comes again much later is another decision.
        if (audit.decision_id, audit.at_ms) in told:
            continue
        told.add((audit.decision_id, audit.at_ms))
        if len(told) > AUDITS_MAX:
            raise AnalysisError(f"more than {AUDITS_MAX} decisions: write less time, with --since and --until")
        try:
            rows = rows_of(audit, live_of(audit))
        except NotKept as error:
            report.leave_out(LeftOut.NOT_KEPT, str(error))
            continue
        if isinstance(rows, LeftOut):
            report.leave_out(rows, f"{audit.decision_id}: {rows.value}")
            continue
        for row in rows:
            if wanted.placement not in (None, row.placement):
                report.not_wanted += 1
                continue
            count += 1
            if count > ROWS_MAX:
                raise AnalysisError(f"more than {ROWS_MAX} items were shown: name a placement, or less time")
            columns.add(_flat(row, salt))
    return columns.table()


def _flat(row: Row, salt: bytes) -> dict[str, Any]:
    frame = {name: getattr(row, name) for name in row.__slots__ if name not in ("profile_id", "features")}
    frame["group"] = digest("training", salt.hex(), row.profile_id)[:16]
    return frame | {FEATURE + name: value for name, value in row.features.items()}


def _joined(seen: pa.Table, outcomes: pa.Table, wanted: Wanted, report: Report) -> pa.Table:
    if not seen.num_rows:
        return seen
    finals = _finals(outcomes)
    seen = seen.append_column("row", pa.array(range(seen.num_rows), pa.int64()))
    keys = seen.select([*_KEYS, "row"])
    report.without_decision = finals.join(keys, [*_KEYS], join_type="left anti").num_rows
    names = sorted(pc.unique(finals["outcome"]).to_pylist())
    known = pa.nulls(seen.num_rows, pa.bool_()).fill_null(False)
    for name in names:
        part = finals.filter(pc.equal(finals["outcome"], name)).drop_columns(["outcome"])
        found = keys.join(part, [*_KEYS], join_type="left outer").sort_by("row")
        there = pc.is_valid(found["reward"])
        known = pc.or_(known, there)
        seen = seen.append_column(REWARD + name, found["reward"])
        for column in ("crowded", "model", "snapshot"):
            seen = _filled(seen, column, found[column])
    seen = seen.filter(known)
    report.waiting = keys.num_rows - seen.num_rows
    if wanted.model is not None and "model" in seen.column_names:
        before = seen.num_rows
        seen = seen.filter(pc.equal(seen["model"], wanted.model))
        report.not_wanted += before - seen.num_rows
    report.rows = seen.num_rows
    order = [(name, "ascending") for name in ("decided_ms", "decision_id", "placement", "position")]
    return seen.drop_columns(["row"]).sort_by(order)


def _filled(seen: pa.Table, name: str, given: pa.ChunkedArray) -> pa.Table:
    """The column with what it lacks taken from elsewhere; `crowded` is true where any outcome says so."""
    if name not in seen.column_names:
        return seen.append_column(name, given)
    both = pc.or_kleene(seen[name], given) if name == "crowded" else pc.coalesce(seen[name], given)
    return seen.set_column(seen.column_names.index(name), name, both)


def _finals(outcomes: pa.Table) -> pa.Table:
    """Each once: after a crash the topic may hold one twice."""
    crowded = pc.equal(outcomes["reason"], "crowded")
    grouped = outcomes.drop_columns(["reason"]).append_column("crowded", crowded).group_by(
        [*_KEYS, "outcome"]
    )
    found = grouped.aggregate([(name, "max") for name in ("reward", "crowded", "model", "snapshot")])
    return found.rename_columns([name.removesuffix("_max") for name in found.column_names])
