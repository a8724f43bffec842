"""`nextbest training-data`: the command line's way to `analysis.training`; nothing is decided here."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import typer

from analysis.errors import AnalysisError
from analysis.log_source import Tenant, store_of
from analysis.training.store import audits, outcomes
from analysis.training.write import Report, Wanted, training_table
from pipeline.adapters.history import PublishedHistory
from pipeline.adapters.system_clock import SystemClock
from pipeline.cli.cluster import AsJson, Bootstrap, answering, err, fail, out
from pipeline.cli.dead_letter_text import parse_since
from pipeline.cli.options import settings_with
from pipeline.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False)

_LEFT_OUT = {
    "differs": "decided otherwise than audited", "not_kept": "policy or catalog not kept",
    "other_engine": "decided by another version of the engine", "closed": "subject erased, or no key",
}


@app.callback()
def training_data() -> None:
    """Training data: what decisions saw, and what came of it."""


@app.command()
def write(
    to: Annotated[Path, typer.Option("--out", metavar="FILE", help="The Parquet file to write.")],
    where: Annotated[
        str | None, typer.Option("--from", metavar="LOGS", help="The log store: a folder or s3:// (NEXTBEST_LOGS).")
    ] = None,
    placement: Annotated[str | None, typer.Option(help="Of this placement alone.")] = None,
    model: Annotated[str | None, typer.Option(help="Where this model ordered the placement.")] = None,
    since: Annotated[str | None, typer.Option(help="Since: 7d ago, or a time such as 2026-11-21T08:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to, not including; as --since.")] = None,
    tenant: Tenant = None,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Write a row for each item shown whose outcomes are final: the features as the decision saw them, its propensity,
    its rewards. Policy and catalog of that time are read off the cluster.
    """
    settings = settings_with(bootstrap=bootstrap, logs=where)
    report = Report()
    try:
        times = (_moment(since), _moment(until))
        table = _table(settings, tenant or settings.tenant, Wanted(placement, model), times, report)
        if not table.num_rows:
            raise AnalysisError(f"there is no row to write: {_said(report)}")
        _write(table, to)
    except AnalysisError as error:
        raise fail(f"Error: {error}") from error
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=2))
    else:
        out.print(f"{to}: {_said(report)}", markup=False, highlight=False, soft_wrap=True)
    for text in report.named:
        err.print(text, markup=False, highlight=False, soft_wrap=True)


def _table(
    settings: Settings, tenant: str, wanted: Wanted, times: tuple[int | None, int | None], report: Report
) -> pa.Table:
    if not settings.logs:
        raise AnalysisError("name the log store: --from LOGS (NEXTBEST_LOGS)")
    with answering(settings), store_of(settings) as store:
        history = PublishedHistory(settings)
        try:
            found = audits(store, tenant, *times, report)
            return training_table(
                found, history.live, outcomes(store, tenant, times[0]), wanted, os.urandom(16), report
            )
        finally:
            history.close()


def _moment(text: str | None) -> int | None:
    try:
        return None if text is None else parse_since(text, SystemClock().now_ms())
    except ValueError as error:
        raise AnalysisError(str(error)) from error


def _write(table: pa.Table, to: Path) -> None:
    """All of it or nothing, for its user alone: features may be personal."""
    part = to.with_name(f"{to.name}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            pq.write_table(table, file, compression="zstd")
        part.replace(to)
    except (OSError, pa.ArrowException) as error:
        part.unlink(missing_ok=True)
        raise AnalysisError(f"{to} cannot be written: {error}") from error


def _said(report: Report) -> str:
    parts = [f"{report.rows:,} rows"]
    counts: dict[str, Any] = {
        "items shown whose outcomes are not final yet": report.waiting,
        "final outcomes without their decision": report.without_decision, "others": report.not_wanted,
    } | {f"decisions left out ({_LEFT_OUT[why]})": count for why, count in report.left_out.items()}
    return "; ".join([*parts, *(f"{count:,} {what}" for what, count in counts.items() if count)])
