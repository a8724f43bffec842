"""`nextbest consent import`: an endpoint for what people allow. What a file says is read by `pipeline.ingest`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from pipeline.adapters.system_clock import SystemClock
from pipeline.cli.cluster import Bootstrap, settings_for
from pipeline.cli.importing import Tenant, is_csv, out, read, send, tell, whose
from pipeline.ingest import consent_import
from pipeline.ingest.consent_import import ConsentImport, Format

app = typer.Typer(help="Consent: import a file of what people allow.", no_args_is_help=True)


@app.callback()
def consent() -> None:
    """Consent: import a file of what people allow."""


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="UTF-8, a subject a line; of TC strings: CSV (*.csv) or JSON lines.")],
    form: Annotated[Format, typer.Option("--format", help="segment: Segment's events with consent. csv, jsonl: "
                                                          "statements. tcf: TC strings of IAB's framework.")],
    tenant: Tenant = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the file by the live policy.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON.")] = False,
    bootstrap: Bootstrap = None,
) -> None:
    """Check every line, then send what people allow; with an error in any line, nothing is sent."""
    settings = settings_for(bootstrap)
    name, policy = whose(settings, tenant)
    keys, now_ms = settings.tenant_keys, SystemClock().now_ms()
    found = read(file, lambda lines: consent_import.read(lines, form, is_csv(file), keys, name, policy, now_ms))
    said = json.dumps(summary(found, name, dry_run))
    if as_json and found.errors.count:
        out.print_json(said)
    tell(file, found)
    if not dry_run:
        send(settings, found.records, "events")
    if as_json:
        out.print_json(said)
    else:
        out.print(_table(found))
        out.print(f"{len(found.records)} lines {'can be' if dry_run else 'were'} imported for {name}; skipped: "
                  f"{found.silent} that say nothing of a person's consent, {found.repeated} that repeat another")


def summary(found: ConsentImport, tenant: str, dry_run: bool) -> dict[str, Any]:
    """What a file says, or why it cannot be used."""
    usable = not found.errors.count
    return {
        "tenant": tenant, "dry_run": dry_run, "usable": usable, "lines": len(found.records) if usable else 0,
        "skipped": {"silent": found.silent, "repeated": found.repeated},
        "statements": {purpose: {"granted": found.granted[purpose], "refused": found.refused[purpose]}
                       for purpose in _purposes(found)},
        "errors": {"count": found.errors.count, "first": found.errors.lines},
        "warnings": {"count": found.warnings.count, "first": found.warnings.lines},
    }


def _purposes(found: ConsentImport) -> list[str]:
    return sorted({*found.granted, *found.refused})


def _table(found: ConsentImport) -> Table:
    table = Table()
    for column in ("purpose", "granted", "refused"):
        table.add_column(column)
    for purpose in _purposes(found):
        table.add_row(purpose, f"{found.granted[purpose]:,}", f"{found.refused[purpose]:,}")
    return table
