"""`nextbest features`: the command line's endpoint to features; nothing is decided here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from feature_batch import arriving, loading, sending, versions
from feature_batch.errors import FeatureBatchError
from feature_batch.preparing import Arrival
from feature_batch.progress import LoadProgress
from log_store import read
from pipeline.adapters import kafka
from pipeline.adapters.system_clock import SystemClock
from pipeline.cli.cluster import AsJson, Bootstrap, answering, err, fail, out, settings_for
from pipeline.cli.dead_letter_text import parse_since
from pipeline.cli.identity import Tenant, Who, located
from pipeline.cli.importing import applied, followed
from pipeline.core.decide.live import Live
from pipeline.core.features.shown import shown
from pipeline.core.keys import tenant_of
from pipeline.core.model.moments import moment
from pipeline.core.rules.rule import as_json, as_plain
from pipeline.core.subject import Person
from pipeline.policy.load import PolicyError, load
from pipeline.settings import Settings
from replay_log.errors import MappingError, ReplayError
from replay_log.mapping_file import load_mapping
from replay_log.reading import Log
from topics.catalog import CATALOG_ITEMS, FEATURE_LOADS, POLICY_RELEASES

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def features() -> None:
    """Features: what somebody's say now; computed from logs; loaded."""


@app.command()
def show(who: Who, tenant: Tenant = None, bootstrap: Bootstrap = None, as_json_: AsJson = False) -> None:
    """Show what somebody's features say now, read off the table; sensitive values stay hidden."""
    settings = settings_for(bootstrap)
    with answering(settings):
        key, chain, found = located(settings, who, tenant)
        live = followed(settings, (POLICY_RELEASES, CATALOG_ITEMS)).live(tenant_of(key))
    if live is None:
        raise fail(f"No policy is live for {tenant_of(key)}: publish one with `nextbest policy publish FOLDER`.")
    at = chain[-1]
    profile = found.get(at)
    if not isinstance(profile, Person):
        raise fail(f"Nothing is counted under {key}: no event of theirs was applied yet, or they were erased.")
    told = shown(profile, live.policy, SystemClock().now_ms())
    if as_json_:
        typer.echo(json.dumps({"profile": at, "release": live.release, "features": told}, default=as_plain, indent=2))
        return
    table = Table("Feature", "Kind", "Per", "Value", title=at)
    for name, one in told.items():
        table.add_row(name, one["kind"], one["per"], _value(one))
    out.print(table)


@app.command()
def compute(
    as_of: Annotated[str, typer.Option("--as-of", help="As of: 2026-11-21T08:00Z, or 2h (ago).")] = "0s",
    out_: Annotated[Path, typer.Option("--out", help="The folder that gets a folder for the version.")] = Path(
        "features"),
    from_: Annotated[str | None, typer.Option("--from", metavar="LOGS", help=(
        "The log store (default: NEXTBEST_LOGS); with --mapping a CSV, JSON-lines or Parquet file."))] = None,
    mapping: Annotated[Path | None, typer.Option("--mapping", help="The columns of a file; see replay-log.")] = None,
    policy: Annotated[Path | None, typer.Option("--policy", help="A policy folder; default: the live one.")] = None,
    max_bad: Annotated[int, typer.Option("--max-bad", min=0, help="Rows of a file that cannot be used.")] = 100,
    no_aliases: Annotated[bool, typer.Option("--no-aliases", help=(
        "Without the cluster: each identifier stands for itself."))] = False,
    tenant: Tenant = None, bootstrap: Bootstrap = None, as_json_: AsJson = False,
) -> None:
    """Compute every declared feature as of a moment, from logs, by the definitions that the stream counts by."""
    settings, now_ms = settings_for(bootstrap), SystemClock().now_ms()
    name = tenant or settings.tenant
    try:
        as_of_ms = parse_since(as_of, now_ms)
    except ValueError as error:
        raise fail(f"--as-of {as_of!r} is no time: give 2h, 7d, or 2026-11-21T08:00Z") from error
    with answering(settings):
        live = _definitions(settings, name, policy)
        try:
            arrivals = _arrivals(settings, name, as_of_ms, from_, mapping, max_bad, no_aliases)
            place, manifest = versions.write(arrivals, live, name, as_of_ms, now_ms, out_)
        except (MappingError, ReplayError) as error:
            raise fail(str(error)) from error
        except OSError as error:
            raise fail(f"{error.filename or out_}: {error.strerror or error}") from error
    if as_json_:
        typer.echo(json.dumps({"folder": str(place), **asdict(manifest)}, indent=2))
        return
    out.print(f"{place}: {len(manifest.features)} features of {manifest.profiles:,} profiles, from {manifest.events:,} "
              f"events ({manifest.repeated:,} repeats, {manifest.left_out:,} without consent)", highlight=False)
    if manifest.incomplete:
        began = "is empty" if manifest.log_from_ms is None else f"begins at {moment(manifest.log_from_ms).isoformat()}"
        out.print(f"The log {began}, later than these windows: {', '.join(manifest.incomplete)}", highlight=False)


@app.command("load")
def load_version(
    folder: Annotated[Path, typer.Argument(help="The folder of a version, as `features compute` made it.")],
    policy: Annotated[Path | None, typer.Option("--policy", help=(
        "A policy folder that is to go live; default: the live one."))] = None,
    incomplete: Annotated[bool, typer.Option("--incomplete", help=(
        "Also features that look back further than the log reached."))] = False,
    again: Annotated[bool, typer.Option("--again", help="From the beginning, whatever was loaded before.")] = False,
    bootstrap: Bootstrap = None, as_json_: AsJson = False,
) -> None:
    """Load a version of values into the live profiles, beside the traffic; goes on where it ended before."""
    settings = settings_for(bootstrap)
    tenant = versions.read_manifest(folder).tenant
    with answering(settings):
        load = loading.opened(folder, _definitions(settings, tenant, policy), SystemClock().now_ms(), incomplete)
        topic_id = kafka.topic_ids(settings, [FEATURE_LOADS.name]).get(FEATURE_LOADS.name)
        if topic_id is None:
            raise fail(f"The cluster at {settings.bootstrap} lacks {FEATURE_LOADS.name}: run `nextbest topics apply`.")
        begun = sending.Checkpoint(load.id, topic_id) if again else sending.checkpoint_of(load, topic_id)
        with LoadProgress(err, SystemClock(), load.profiles, begun.sent) as progress:
            try:
                done, ends = sending.send(load, begun, kafka.producer(settings, "features"), progress.sent)
            except OSError as error:
                raise fail(f"{error.filename or folder}: {error.strerror or error}") from error
        are_applied = applied(settings, ends)
    if as_json_:
        typer.echo(json.dumps({
            "version": load.manifest.version, "features": [one.id for one in load.features], "left_out": load.left_out,
            "profiles": load.profiles, "sent": done.sent - begun.sent, "sent_before": begun.sent,
            "applied": are_applied}, indent=2))
        return
    before = f", {begun.sent:,} of them before" if begun.sent else ""
    out.print(f"{load.manifest.version}: {len(load.features)} features of {done.sent:,} profiles{before}",
              highlight=False)
    for name, why in load.left_out.items():
        out.print(f"Not loaded: {name}: {why}", highlight=False, markup=False)
    if not are_applied:
        out.print("The broker has everything; the workers apply it in what is left of their time.", highlight=False)


def _definitions(settings: Settings, tenant: str, policy: Path | None) -> Live:
    """The policy of a folder, or the live one."""
    if policy is not None:
        try:
            return load(policy).live(tenant)
        except (PolicyError, FileNotFoundError) as error:
            raise fail(f"{error}\nNothing was computed: correct the policy first.") from error
    live = followed(settings, (POLICY_RELEASES, CATALOG_ITEMS)).live(tenant)
    if live is None:
        raise fail(f"No policy is live for {tenant}: publish one, or name a folder with --policy.")
    return live


def _arrivals(
    settings: Settings, tenant: str, as_of_ms: int, from_: str | None, mapping: Path | None, max_bad: int,
    no_aliases: bool,
) -> Iterator[Arrival]:
    if mapping is not None:
        if from_ is None:
            raise FeatureBatchError("--mapping says what the columns of a file mean: name the file with --from FILE.")
        located = load_mapping(mapping)
        log = Log(Path(from_), located.mapping.format, located.mapping.csv)
        return arriving.of_log(log, located, settings, max_bad)
    placed = settings if from_ is None else settings.model_copy(update={"logs": from_})
    store = read.opened(placed)
    if store.closed:
        raise FeatureBatchError(f"{store.closed} Features need to know whose an event is.")
    return arriving.of_store(store, tenant, {} if no_aliases else arriving.aliases(settings), as_of_ms)


def _value(one: dict[str, Any]) -> str:
    if "hidden" in one:
        return f"hidden ({one['hidden']})"
    if "unknown" in one:
        return f"unknown ({one['unknown']})"
    if "values" in one:
        return ", ".join(f"{name}: {_short(value)}" for name, value in one["values"].items())
    return _short(one["value"])


def _short(value: Any) -> str:
    return value if isinstance(value, str) else as_json(value)
