"""`nextbest audit check`: recorded decisions made again from the topics alone."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from pipeline.adapters import audit_check
from pipeline.adapters.system_clock import SystemClock
from pipeline.cli.cluster import AsJson, Bootstrap, answering, err, fail, out, settings_for
from pipeline.cli.dead_letter_text import parse_since

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Audits: decide recorded decisions again.")

_TEXTS = {
    "same": "decided the same again", "differs": "decided otherwise", "not_kept": "policy or catalog not kept",
    "other_engine": "decided by another version of the engine", "encrypted": "subject erased, or another's key",
    "unreadable": "no audit",
}


@app.callback()
def audit() -> None:
    """Audits: decide recorded decisions again."""


@app.command()
def check(
    since: Annotated[
        str, typer.Option("--since", help="Since: 90s, 15m, 2h, 7d ago, or a time such as 2026-11-21T08:00Z.")
    ] = "1d",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Look at most at so many audits.")] = 20_000,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Decide again what was decided, by policy and catalog as they were; status 1 if any differs or is not kept."""
    settings = settings_for(bootstrap)
    try:
        since_ms = parse_since(since, SystemClock().now_ms())
    except ValueError as error:
        raise fail(str(error)) from error
    with answering(settings):
        found = audit_check.check(settings, since_ms, limit)
    if as_json:
        typer.echo(json.dumps({"counts": found.counts, "named": found.named}, indent=2))
    else:
        for kind, text in _TEXTS.items():
            if found.counts[kind] or kind == "same":
                out.print(f"{found.counts[kind]:>8} {text}", highlight=False)
        for text in found.named:
            err.print(text, markup=False, highlight=False, soft_wrap=True)
    if found.counts["differs"] or found.counts["not_kept"]:
        raise typer.Exit(1)
