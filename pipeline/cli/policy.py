"""`nextbest policy check|publish`: two endpoints to `pipeline.policy`; nothing is decided here."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pipeline.adapters import kafka
from pipeline.adapters.follower import Follower
from pipeline.adapters.system_clock import SystemClock
from pipeline.cli.cluster import Bootstrap, settings_for
from pipeline.core.journeys.succession import displaced
from pipeline.core.model.definitions import Policy
from pipeline.core.model.features import FEATURES_BYTES_MAX
from pipeline.core.release.features import bytes_max
from pipeline.policy.directory import Directory
from pipeline.policy.load import Checked, PolicyError, load
from pipeline.policy.publish import Publication, prepare
from pipeline.settings import Settings
from topics.catalog import CATALOG_ITEMS, POLICY_RELEASES

app = typer.Typer(help="Check and publish the policy: segments, caps, placements, catalog.", no_args_is_help=True)

_ANSWER_S = 15.0
_Folder = Annotated[Path, typer.Argument(help="The folder with the policy's YAML files.")]
_Tenant = Annotated[str | None, typer.Option(help="The tenant it is for; default: the configured one.")]
_out = Console(soft_wrap=True, highlight=False)
_err = Console(stderr=True, soft_wrap=True, highlight=False)


@app.command()
def check(
    folder: _Folder = Path("policy"), tenant: _Tenant = None,
    bootstrap: Annotated[str | None, typer.Option(
        "--bootstrap", metavar="HOST:PORT", help="Also compare with what is live there.")] = None,
) -> None:
    """Compile everything and run the golden decisions; say every problem with its file, line and column.

    With a cluster: also which stages of journeys disappear, and what becomes of the people in them.
    """
    checked = _load(folder)
    if bootstrap is not None:
        settings = settings_for(bootstrap)
        _tell_displaced(published(settings).newest(tenant or settings.tenant), checked.policy)
    _out.print(f"{folder} is fine: release {checked.release}, {len(checked.policy.placements)} placements, "
               f"{len(checked.policy.segments)} segments, {len(checked.policy.caps)} caps, {len(checked.items)} items, "
               f"{checked.golden} golden decisions")
    for feature in checked.policy.features:
        _out.print(f"  features.{feature.id}: {feature.rounding}, at most {feature.bytes_max:,} bytes per subject",
                   markup=False)
    if checked.policy.features:
        _out.print(f"  all features of a subject: at most {bytes_max(checked.policy.features):,} bytes of "
                   f"{FEATURES_BYTES_MAX:,}", markup=False)
    for name, one in sorted(checked.policy.models.items()):
        _out.print(f"model {name}: {one.kind}, {one.columns} columns, at most {one.items_max:,} items and "
                   f"{one.bytes_max:,} bytes in its state and in each snapshot")
    for name, trained in sorted(checked.policy.trained.items()):
        _out.print(f"model {name}: ONNX, {trained.size_bytes:,} bytes, sha256 {trained.digest[:16]}, a candidate takes "
                   f"{trained.row_us:,.1f} microseconds here and counts for {trained.operations:,.0f} operations")


@app.command()
def publish(
    folder: _Folder = Path("policy"),
    tenant: _Tenant = None,
    bootstrap: Bootstrap = None,
    yes: Annotated[bool, typer.Option("--yes", help="Also where it removes a large part of the catalog, or people "
                                      "would leave a journey without the policy saying so.")] = False,
) -> None:
    """Check, then make it live: the release, the catalog's changes, and the activation."""
    checked = _load(folder)
    settings = settings_for(bootstrap)
    done = publish_checked(checked, settings, tenant or settings.tenant, yes)
    _out.print(f"release {done.release} is live for {tenant or settings.tenant}: "
               f"{done.changed_items} items changed, {done.removed_items} removed")


def publish_checked(checked: Checked, settings: Settings, tenant: str, sweeping: bool = True) -> Publication:
    """Send what makes a checked policy live and wait for the broker. Exits with 1 where it does not answer.

    :param sweeping: whether it may remove a large part of the catalog, and stages without saying what becomes of the
        people in them.
    """
    directory = published(settings)
    undeclared = _tell_displaced(directory.newest(tenant), checked.policy)
    if undeclared and not sweeping:
        _err.print(f"[red]not published[/]: the policy does not say what becomes of the people in {undeclared} stages. "
                   "Write `was: {old: new}` or `gone: leave` in the journey; if they are to leave, --yes does it too")
        raise typer.Exit(1)
    publication = prepare(checked, tenant, directory.items(tenant), SystemClock().now_ms(), getpass.getuser(),
                          directory.counted(tenant))
    if publication.sweeping and not sweeping:
        _err.print(f"[red]not published[/]: it would remove {publication.removed_items} of "
                   f"{len(directory.items(tenant))} items of {tenant}. Is a file missing? If it is meant, add --yes")
        raise typer.Exit(1)
    failed: list[str] = []
    producer = kafka.producer(settings, "policy")
    for record in publication.records:
        producer.produce(record.topic, key=record.key, value=record.value,
                         on_delivery=lambda error, _: failed.append(str(error)) if error else None)
    left = producer.flush(_ANSWER_S)
    if failed or left:
        _err.print(f"[red]not published[/]: {failed[0] if failed else f'{left} records without an answer'}; "
                   "publish again, nothing is half live: the activation comes last")
        raise typer.Exit(1)
    return publication


def _tell_displaced(live: Policy | None, new: Policy) -> int:
    """Say which stages of journeys disappear, and what becomes of the people in them. How many the new release does
    not speak of."""
    found = displaced(live, new) if live is not None else ()
    for one in found:
        fate = f"go to {one.to}" if one.to else "leave the journey"
        said = "" if one.declared else ", which the policy does not say"
        _err.print(f"journeys.{one.journey}: the stage {one.stage} disappears; whoever is in it will {fate}{said}",
                   markup=False)
    return sum(not one.declared for one in found)


def published(settings: Settings) -> Directory:
    """What the topics hold, nothing of it made live here: whatever is live, another release can replace it.

    Waits as long as records keep coming. Exits with 1 where none do.
    """
    directory, read = Directory(loading=True), [0]

    def take(*record: Any) -> None:
        directory.apply(*record)
        read[0] += 1

    follower = Follower(settings, (CATALOG_ITEMS, POLICY_RELEASES), take)
    follower.start()
    before = -1
    while not (caught_up := follower.caught_up.wait(_ANSWER_S)) and read[0] > before:
        before = read[0]
    follower.stop()
    if caught_up:
        return directory
    if read[0]:
        _err.print(f"[red]{settings.bootstrap} stopped answering[/]: {read[0]:,} records of {CATALOG_ITEMS.name} and "
                   f"{POLICY_RELEASES.name} were read, then none for {_ANSWER_S:.0f} s; try again when it is well")
    else:
        _err.print(f"[red]{settings.bootstrap} did not answer within {_ANSWER_S:.0f} s[/]: is the broker running, "
                   "and were the topics made (nextbest topics apply)?")
    raise typer.Exit(1)


def _load(folder: Path) -> Checked:
    try:
        checked = load(folder)
        for doubt in checked.doubts:
            _err.print(f"{doubt} (published nevertheless)", markup=False)
        return checked
    except FileNotFoundError as error:
        _err.print(f"[red]{error}[/]", markup=True)
    except PolicyError as error:
        for finding in error.findings:
            _err.print(str(finding), markup=False)
        _err.print(f"{len(error.findings)} problems in {folder}; nothing was published")
    raise typer.Exit(1)
