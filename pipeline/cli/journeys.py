"""`nextbest journeys funnel|show`: what came of a journey, and where somebody is in theirs."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer
from rich.table import Table

from pipeline.adapters import journey_changes
from pipeline.adapters.system_clock import SystemClock
from pipeline.cli.cluster import AsJson, Bootstrap, answering, fail, out, settings_for, when
from pipeline.cli.dead_letter_text import parse_since
from pipeline.cli.identity import Tenant, Who, located
from pipeline.cli.importing import followed
from pipeline.core.journeys.funnel import Funnel, StageFlow, funnel
from pipeline.core.model import values
from pipeline.core.subject import Person
from pipeline.settings import Settings
from topics.catalog import CATALOG_ITEMS, JOURNEY_CHANGES, POLICY_RELEASES

app = typer.Typer(no_args_is_help=True, add_completion=False,
                  help="Journeys: what came of one, stage by stage; where somebody is.")

_KEPT_D = JOURNEY_CHANGES.retention_ms // 86_400_000


@app.command("funnel")
def show_funnel(
    journey: Annotated[str, typer.Argument(metavar="JOURNEY", help="The journey, as the policy names it.")],
    since: Annotated[str, typer.Option(
        "--since", help="Since: 2h, 7d ago, or a time such as 2026-11-21T08:00Z.")] = f"{_KEPT_D}d",
    until: Annotated[str | None, typer.Option("--until", help="Up to before that; default: now.")] = None,
    tenant: Tenant = None, bootstrap: Bootstrap = None, as_json: AsJson = False,
) -> None:
    """Say of each stage how many came, went on, dropped out and are in it, and how long they took."""
    settings, now_ms = settings_for(bootstrap), SystemClock().now_ms()
    try:
        since_ms = parse_since(since, now_ms)
        until_ms = now_ms + 1 if until is None else parse_since(until, now_ms)
    except ValueError as error:
        raise fail(str(error)) from error
    if until_ms <= since_ms:
        raise fail("--until is not after --since.")
    name = tenant or settings.tenant
    with answering(settings):
        order = _stages(settings, name, journey)
        found = funnel(journey_changes.moves(settings, name), journey, order or (), since_ms, until_ms)
    if order is None and not found.stages:
        raise fail(f"There is no journey {journey!r} in the live release of {name}, and nobody was in one in the last "
                   f"{_KEPT_D} days.")
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
    else:
        _tell(found)


@app.command()
def show(who: Who, tenant: Tenant = None, bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """Show where somebody is in their journeys, since when, and how the others ended."""
    settings = settings_for(bootstrap)
    with answering(settings):
        key, chain, found = located(settings, who, tenant)
    at = chain[-1]
    profile = found.get(at)
    if not isinstance(profile, Person):
        raise fail(f"Nothing is kept of journeys under {key}: no event of theirs was applied yet, or they were erased.")
    if as_json:
        typer.echo(json.dumps({"profile": at, "journeys": {
            name: values.asdict(one) for name, one in profile.journeys.items()}}, indent=2))
        return
    table = Table("Journey", "Stage", "Since", "Started", "Entries", "Ended", title=at)
    for name, one in sorted(profile.journeys.items()):
        table.add_row(name, one.stage or "(outside)", when(one.since_ms), when(one.started_ms), str(one.entries),
                      f"{one.ended} {when(one.ended_ms)}" if one.ended else "")
    out.print(table)


def _stages(settings: Settings, tenant: str, journey: str) -> tuple[str, ...] | None:
    """The stages in the live release's order; None where it has no such journey."""
    live = followed(settings, (POLICY_RELEASES, CATALOG_ITEMS)).live(tenant)
    return next((tuple(one.places) for one in (live.policy.journeys if live is not None else ())
                 if one.id == journey), None)


def _tell(found: Funnel) -> None:
    table = Table("Stage", "Entered", "Of entries", "Went on", "Dropped", "In it now", "Median", "p90")
    for one in found.stages:
        table.add_row(one.stage, f"{one.entered:,}", "" if one.conversion is None else f"{one.conversion:.1%}",
                      _counts(one.went_on), _counts(one.dropped), f"{one.in_now:,}", *_times(one))
    out.print(table)
    share = f", {found.goals / found.entries:.1%}" if found.entries else ""
    out.print(f"{found.entries:,} entries, {found.goals:,} of them reached the goal{share}", highlight=False)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _times(one: StageFlow) -> list[str]:
    return ["" if ms is None else str(timedelta(seconds=ms // 1_000)) for ms in (one.median_ms, one.p90_ms)]
