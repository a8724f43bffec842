"""`nextbest logs`: the command line's endpoint to the log store; nothing is decided here."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from prometheus_client import start_http_server
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Column, Table

from log_store import read, unreadable, upkeep
from log_store.columns import LOGGED
from log_store.consuming import Consuming, SinkMetrics, place_of
from log_store.read import Store
from log_store.status import Line, by_topic
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


_SOON: Final = "A running sink writes within NEXTBEST_LOGS_FLUSH_S (60 s, unless it is set)"
#: Characters of a line that goes to a file or another program.
_WIDTH_MAX: Final = 100_000


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
            _warn(store.closed)
        if not store.objects.names("."):
            _warn(f"The log store at {settings.logs} is empty: no sink has written there yet. {_SOON}")
        connection = read.connection(settings, tenant, store)
        with _refused():
            found = read.asked(connection, sql)
            _write(found, format_, to)


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
def show(
    where_it_is: Annotated[
        str, typer.Argument(metavar="TOPIC/PARTITION/OFFSET", help="As the view `unreadable` names it.")
    ],
    where: Logs = None,
) -> None:
    """One record that could not be read: why, its key and its value, opened (JSON; bytes as base64)."""
    settings = settings_with(logs=where)
    private(settings)
    with _mendable(settings):
        place = place_of(settings)
        found = unreadable.record(Store(place.objects, place.key_encryption), *unreadable.place_of(where_it_is))
    typer.echo(json.dumps(found, indent=2))


@app.command()
def status(
    by_partition: Annotated[bool, typer.Option("--partitions", help="A line per partition, not per topic.")] = False,
    where: Logs = None,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """How far the store is, by topic, and what it holds; status 1 where records were lost. JSON is by partition."""
    settings = settings_with(bootstrap=bootstrap, logs=where)
    with _mendable(settings):
        lines = status_of(place_of(settings).objects, settings)
    if as_json:
        typer.echo(json.dumps([asdict(line) for line in lines], indent=2))
    else:
        _print_status(lines if by_partition else by_topic(lines), by_partition)
        if any(line.lag is None for line in lines):
            _warn(f"The lag is not known: {settings.bootstrap} did not answer. Name your cluster with --bootstrap")
        elif any(line.lag for line in lines):
            _warn(f"A running sink has what lags after NEXTBEST_LOGS_FLUSH_S ({settings.logs_flush_s} s)")
    if any(line.lost for line in lines):
        err.print("Records were removed from their topics before they were logged.", style="red")
        raise typer.Exit(1)


def _print_status(lines: list[Line], by_partition: bool) -> None:
    own = ["partition", "next offset"] if by_partition else ["newest record (UTC)"]
    table = Table("topic", "lag", "lost", "files", "bytes", *own)
    for line in lines:
        newest = datetime.fromtimestamp(line.newest_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(
            line.topic,
            "unknown" if line.lag is None else f"{line.lag:,}",
            f"{line.lost:,}",
            f"{line.files:,}",
            f"{line.bytes:,}",
            *([str(line.partition), f"{line.next:,}"] if by_partition else [newest if line.newest_ms else ""]),
        )
    out.print(table)


def _warn(text: str) -> None:
    err.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _keep_up(where: str | None, compact: bool = True, expire: bool = True) -> None:
    settings = settings_with(logs=where)
    private(settings)
    with _mendable(settings):
        place, now_ms = place_of(settings), SystemClock().now_ms()
        kept_days = access.kept_days(settings.logs_retention)
        broken = False
        for topic in (*(topic.name for topic in LOGGED.values()), ERASURE_RECEIPTS.name):
            done = upkeep.keep_up(place, topic, now_ms, kept_days, compact, expire)
            parts = [f"{done.merged} files merged away"] if compact else []
            parts += [f"{done.expired} expired"] if expire else []
            said = ", ".join([*parts, f"{done.deleted} deleted"])
            out.print(f"{topic}: {said if done.replaced else 'another run was first'}", highlight=False)
            for path in done.broken:
                broken = True
                err.print(f"{path} cannot be read, and was left as it is", style="red", markup=False, soft_wrap=True)
    if broken:
        raise typer.Exit(1)


def _write(found: pa.RecordBatchReader, format_: Format, to: Path | None) -> None:
    """Rows as they come, never all of them at once, but for the table."""
    try:
        if format_ is Format.PARQUET and to is not None:
            with pq.ParquetWriter(to, found.schema) as writer:
                for batch in found:
                    writer.write_batch(batch)
        elif to is not None:
            with to.open("w", encoding="utf-8") as stream:
                stream.writelines(_lines(found, format_))
        else:
            sys.stdout.writelines(_lines(found, format_))
    except BrokenPipeError:
        # Whoever reads it, such as `head`, has enough.
        sys.stdout = None  # or Python writes to it once more at its end
    except OSError as error:
        if to is None or error.filename != str(to):
            raise
        raise fail(f"{to} cannot be written: {error.strerror}") from error


def _lines(found: Any, format_: Format) -> Iterator[str]:
    if format_ is Format.TABLE:
        yield _table(found)
        return
    if format_ is Format.CSV:
        yield _csv(found.schema.names)
    for batch in found:
        for row in batch.to_pylist():
            yield _csv(row.values()) if format_ is Format.CSV else json.dumps(row, default=_plain) + "\n"


def _table(found: pa.RecordBatchReader) -> str:
    """The rows below one another, or, where a terminal is too narrow for them, the columns of each row."""
    rows = [
        ["" if value is None else _text(value) for value in row.values()]
        for batch in found
        for row in batch.to_pylist()
    ]
    # What is no terminal has no width: nothing is cut off or folded there.
    console = Console(file=StringIO(), width=out.width if out.is_terminal else _WIDTH_MAX)
    table = Table(*found.schema.names)
    for row in rows:
        table.add_row(*map(escape, row))
    if Measurement.get(console, console.options.update(width=_WIDTH_MAX), table).maximum > console.width:
        table = Table(Column("column", no_wrap=True), Column("value", overflow="fold"))
        for row in rows:
            for name, value in zip(found.schema.names, row, strict=True):
                table.add_row(name, escape(value))
            table.add_section()
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def _csv(values: Any) -> str:
    line = StringIO()
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
def _refused() -> Iterator[None]:
    """What DuckDB does not do, in words that say what to do; a place that is away is not its fault."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise fail(
            f"The query takes more than {read.MEMORY_LIMIT} of memory: ask for fewer days, columns or groups, or "
            "export what it needs with --format parquet --out FILE"
        ) from error
    except duckdb.Error as error:
        raise fail(str(error)) from error


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
