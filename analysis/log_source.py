"""Where final outcomes are read from: Parquet files, or a tenant's part of the log store. Blocks; writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import pyarrow as pa
import pyarrow.compute as pc
import typer

from analysis.errors import AnalysisError
from analysis.outcomes import COLUMNS, ROWS_MAX, Outcomes, outcomes_of, read_outcomes
from log_store import read
from log_store.errors import LogStoreError
from log_store.read import Store
from pipeline.cli.cluster import err
from pipeline.cli.options import private, settings_with
from pipeline.settings import Settings

Files = Annotated[
    Path | None,
    typer.Option("--from", metavar="PATH", help="Outcomes: a Parquet file, or a folder of them.", show_default=False),
]
Logs = Annotated[
    str | None, typer.Option("--logs", metavar="PLACE", help="The log store instead: a folder or s3://bucket/prefix.")
]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Whose log store; default: NEXTBEST_TENANT.")]

_KEPT: Final = ("final", "_opened")


def outcomes_from(files: Path | None, logs: str | None, tenant: str | None, bootstrap: str | None = None) -> Outcomes:
    """The final outcomes of `--from`, or else of the log store: `--logs`, or the setting NEXTBEST_LOGS.

    Raises AnalysisError where both or neither is named, or they cannot be read.
    """
    if files is not None:
        if logs is not None:
            raise AnalysisError("--from and --logs exclude each other: outcomes are in files, or in the log store")
        return read_outcomes(files)
    settings = settings_with(logs=logs, bootstrap=bootstrap)
    if not settings.logs:
        raise AnalysisError("name where outcomes are: --from PATH, or --logs PLACE (NEXTBEST_LOGS)")
    with store_of(settings) as store:
        return outcomes_in(store, tenant or settings.tenant)


@contextmanager
def store_of(settings: Settings) -> Iterator[Store]:
    """The log store, opened with the installation's keys. What stays closed is said on standard error.

    Raises AnalysisError for all that goes wrong with it within the block.
    """
    private(settings)
    try:
        store = read.opened(settings)
        if store.closed:
            err.print(store.closed, style="yellow", markup=False, highlight=False, soft_wrap=True)
        yield store
    except (LogStoreError, OSError, pa.ArrowException) as error:
        raise AnalysisError(f"the log store at {settings.logs} cannot be read: {error}") from error


def outcomes_in(store: Store, tenant: str) -> Outcomes:
    """A tenant's final outcomes. What could not be opened is left out, and the notes say how many."""
    table, closed = finals(store, tenant, list(COLUMNS), ROWS_MAX)
    notes = (f"{closed} outcomes left out: of erased subjects, or their keys are not there",) if closed else ()
    return outcomes_of(table, notes)


def finals(
    store: Store, tenant: str, columns: Sequence[str], rows_max: int, since_ms: int | None = None
) -> tuple[pa.Table, int]:
    """A tenant's final outcomes, in these columns, and how many could not be opened. Raises AnalysisError past the
    bound.
    """
    wanted = list(dict.fromkeys([*columns, *_KEPT]))
    reader = read.table(store, "outcomes", wanted, tenant, since_ms)
    parts: list[pa.RecordBatch] = []
    rows = closed = 0
    for batch in reader:
        final = batch.filter(batch.column("final"))
        opened = final.filter(pc.fill_null(final.column("_opened"), False))
        closed += final.num_rows - opened.num_rows
        rows += opened.num_rows
        if rows > rows_max:
            raise AnalysisError(f"{tenant} has more than {rows_max} final outcomes: keep, or ask for, fewer days")
        parts.append(opened)
    return pa.Table.from_batches(parts, reader.schema).select(list(columns)), closed
