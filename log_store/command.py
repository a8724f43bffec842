"""`nextbest logs`: the command line's endpoint to the log store; nothing is decided here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from prometheus_client import start_http_server
from rich.table import Table

from log_store import read, upkeep
from log_store.columns import LOGGED
from log_store.consuming import Consuming, SinkMetrics, place_of
from log_store.errors import LogStoreError
from log_store.status import status as status_of
from pipeline import access
from pipeline.adapters.system_clock import SystemClock
from pipeline.cli.cluster import AsJson, Bootstrap, answering, err, fail, out, reachable
from pipeline.cli.options import log_to_standard_error, private, settings_with
from pipeline.cli.stopping import until_told_to_stop
from pipeline.settings import Settings
from topics.catalog import ERASURE_RECEIPTS

app = typer.Typer(no_args_is_help=True, add_completion=False)

Logs = Annotated[
    str | None, typer.Option("--logs", metavar="PLACE", help="A folder or s3://bucket/prefix (NEXTBEST_LOGS).")
]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Of this tenant alone.")]


class Format(StrEnum):
    """How rows are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


@app.callback()
def logs() -> None:
    """The log store: topics as Parquet, and SQL over them."""


@app.command()
def sink(
    once: Annotated[bool, typer.Option("--once", help="Up to the present end of the topics, then stop.")] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of /metrics; 0: none.")] = 0,
    where: Logs = None,
    bootstrap: Bootstrap = None,
) -> None:
    """Write what the topics carry to the store, exactly once. Several share the partitions."""
    settings = settings_with(bootstrap=bootstrap, logs=where)
    private(settings)
    log_to_standard_error(settings)
    with _mendable(settings):
        reachable(settings)
        metrics = SinkMetrics()
        consuming = Consuming(settings, metrics)
        if port:
            start_http_server(port, settings.worker_host, metrics.registry)
        try:
            if once:
                consuming.run_once()
            else:
                with until_told_to_stop():
                    consuming.run()
        finally:
            consuming.close()


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over the views; `nextbest logs views` lists them.")],
    format_: Annotated[Format, typer.Option("--format", help="How rows are written.")] = Format.TABLE,
    to: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write there; parquet needs it.")] = None,
    tenant: Tenant = None,
    closed: Annotated[bool, typer.Option("--closed", help="Open nothing: personal columns are NULL.")] = False,
    where: Logs = None,
    bootstrap: Bootstrap = None,
) -> None:
    """Ask the store, read-only. The SQL reaches no file and no network."""
    if format_ is Format.PARQUET and to is None:
        raise typer.BadParameter("parquet is no text: name a file with --out")
    settings = settings_with(bootstrap=bootstrap, logs=where)
    private(settings)
    with _mendable(settings):
        store = read.opened(settings, not closed)
        if store.closed:
            err.print(store.closed, style="yellow", markup=False, highlight=False, soft_wrap=True)
        connection = read.connection(settings, tenant, store)
        try:
            statements = connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type not in (
                duckdb.StatementType.SELECT,
                duckdb.StatementType.EXPLAIN,
            ):
                raise LogStoreError("A query is one SELECT (or EXPLAIN): the store is read-only")
            found = connection.execute(statements[0]).to_arrow_reader(2_000)
            _write(found, format_, to)
        except duckdb.Error as error:
            raise fail(str(error)) from error


@app.command()
def views(as_json: AsJson = False) -> None:
    """The views of `logs query`: columns, types, meaning."""
    found = read.views()
    if as_json:
        typer.echo(
            json.dumps(
                {
                    name: [{"name": one, "type": kind, "doc": doc} for one, kind, doc in columns]
                    for name, columns in found.items()
                },
                indent=2,
            )
        )
        return
    for name, columns in found.items():
        table = Table("column", "type", "meaning", title=name, title_justify="left")
        for column in columns:
            table.add_row(*column)
        out.print(table)


@app.command()
def compact(where: Logs = None) -> None:
    """Merge the small files of closed days; delete what is superfluous for an hour."""
    _keep_up(where, expire=False)


@app.command()
def expire(where: Logs = None) -> None:
    """Delete the days that their tenants keep no longer (NEXTBEST_LOGS_RETENTION)."""
    _keep_up(where, compact=False)


@app.command()
def status(where: Logs = None, bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """How far the store is, by topic and partition, and what it holds; status 1 where records were lost."""
    settings = settings_with(bootstrap=bootstrap, logs=where)
    with _mendable(settings):
        lines = status_of(place_of(settings).objects, settings)
    if as_json:
        typer.echo(json.dumps([asdict(line) for line in lines], indent=2))
    else:
        table = Table("topic", "partition", "next offset", "lag", "lost", "files", "bytes")
        for line in lines:
            lag = "unknown" if line.lag is None else f"{line.lag:,}"
            table.add_row(
                line.topic,
                str(line.partition),
                f"{line.next:,}",
                lag,
                f"{line.lost:,}",
                f"{line.files:,}",
                f"{line.bytes:,}",
            )
        out.print(table)
    if any(line.lost for line in lines):
        err.print("Records were removed from their topics before they were logged.", style="red")
        raise typer.Exit(1)


def _keep_up(where: str | None, compact: bool = True, expire: bool = True) -> None:
    settings = settings_with(logs=where)
    private(settings)
    with _mendable(settings):
        place, now_ms = place_of(settings), SystemClock().now_ms()
        kept_days = access.kept_days(settings.logs_retention)
        for topic in (*(topic.name for topic in LOGGED.values()), ERASURE_RECEIPTS.name):
            done = upkeep.keep_up(place, topic, now_ms, kept_days, compact, expire)
            said = (
                "another run was first"
                if not done.replaced
                else (f"{done.merged} files merged away, {done.expired} expired, {done.deleted} deleted")
            )
            out.print(f"{topic}: {said}", highlight=False)


def _write(found: Any, format_: Format, to: Path | None) -> None:
    """Rows as they come, never all of them at once, but for the table."""
    if format_ is Format.PARQUET and to is not None:
        with pq.ParquetWriter(to, found.schema) as writer:
            for batch in found:
                writer.write_batch(batch)
        return
    stream = to.open("w", encoding="utf-8") if to is not None else sys.stdout
    try:
        for line in _lines(found, format_):
            stream.write(line)
    finally:
        if to is not None:
            stream.close()


def _lines(found: Any, format_: Format) -> Iterator[str]:
    if format_ is Format.TABLE:
        table = Table(*found.schema.names)
        for batch in found:
            for row in batch.to_pylist():
                table.add_row(*("" if value is None else str(value) for value in row.values()))
        with out.capture() as captured:
            out.print(table)
        yield captured.get()
        return
    if format_ is Format.CSV:
        yield _csv(found.schema.names)
    for batch in found:
        for row in batch.to_pylist():
            yield _csv(row.values()) if format_ is Format.CSV else json.dumps(row, default=_plain) + "\n"


def _csv(values: Any) -> str:
    import csv
    import io

    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(
        [
            ""
            if value is None
            else json.dumps(value, default=_plain)
            if isinstance(value, dict | list)
            else _text(value)
            for value in values
        ]
    )
    return line.getvalue()


def _text(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> str:
    return _text(value)


@contextmanager
def _mendable(settings: Settings) -> Iterator[None]:
    """What an operator can mend is a sentence."""
    try:
        with answering(settings):
            yield
    except (OSError, pa.ArrowException) as error:
        raise fail(
            f"The log store at {settings.logs} did not do it: {error}. Nothing is lost: start it again once the "
            "place can be written and read"
        ) from error
