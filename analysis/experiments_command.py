"""`nextbest experiments`: the command line's way to `analysis.experiments`; nothing is decided here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from rich.table import Table

from analysis.errors import AnalysisError
from analysis.experiments.assignment import assigned
from analysis.experiments.compare import Declared
from analysis.experiments.report import Report, read_experiment
from analysis.log_source import Files, Logs, Tenant, outcomes_from
from pipeline.cli.cluster import AsJson, Bootstrap, fail, out

_DAY_MS: Final = 86_400_000
app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def experiments() -> None:
    """Experiments: read what each variation did."""


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="The experiment, as the policy names it.")],
    source: Files = None,
    logs: Logs = None,
    tenant: Tenant = None,
    control: Annotated[str, typer.Option(help="The variation to compare with: control or holdout.")] = "control",
    outcome: Annotated[str | None, typer.Option(help="Which outcome, where there are several.")] = None,
    shares: Annotated[
        str | None, typer.Option(metavar="A=50,B=50", help="Declared shares of the variations; default: equal ones.")
    ] = None,
    window_days: Annotated[float, typer.Option(min=0.001, help="Counts so long from the first exposure.")] = 7,
    metric: Annotated[
        Literal["mean", "ratio"], typer.Option(help="Mean per subject, or the ratio of outcome to decisions.")
    ] = "mean",
    cuped: Annotated[bool, typer.Option("--cuped", help="Adjust by what each earned before.")] = False,
    winsorise: Annotated[float | None, typer.Option(metavar="Q", help="Cut outcomes at this quantile of all.")] = None,
    segment: Annotated[
        list[str] | None, typer.Option(help="channel, placement or context.KEY, as at the first exposure; repeatable.")
    ] = None,
    correction: Annotated[
        Literal["holm", "benjamini-yekutieli"], typer.Option(help="How segments are adjusted for being many.")
    ] = "holm",
    alpha: Annotated[float, typer.Option(min=0.0001, max=0.5, help="False alarms, over all looks together.")] = 0.05,
    tuned_at: Annotated[int, typer.Option(min=1, help="Subjects at which intervals are narrowest.")] = 10_000,
    file: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write one HTML file.")] = None,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Compare an experiment's variations: sample ratio, differences and lifts that hold at every look, segments."""
    try:
        how = Declared(metric, alpha, tuned_at, cuped, winsorise, correction)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    declared = _shares(shares)
    try:
        rows = outcomes_from(source, logs, tenant, bootstrap)
        found = assigned(rows, name, outcome, round(window_days * _DAY_MS), tuple(segment or ()))
        read = read_experiment(found, name, control, declared, window_days, how)
    except AnalysisError as error:
        raise fail(f"Error: {error}") from error
    if file is not None:
        _write(file, read)
    if as_json:
        typer.echo(json.dumps(read.as_json(), indent=2))
    else:
        _show(read)


def _shares(given: str | None) -> dict[str, float] | None:
    if given is None:
        return None
    found: dict[str, float] = {}
    for part in given.split(","):
        name, _, share = part.partition("=")
        try:
            found[name.strip()] = float(share)
        except ValueError as error:
            raise typer.BadParameter(f"--shares: {part!r} is no NAME=SHARE") from error
    if not all(0 < share < float("inf") for share in found.values()):
        raise typer.BadParameter("--shares: every share is above 0")
    return found


def _write(file: Path, read: Report) -> None:
    from analysis.experiments.page import page

    try:
        file.write_text(page(read), "utf-8")
    except OSError as error:
        raise fail(f"Error: {file} cannot be written: {error.strerror}") from error


def _show(read: Report) -> None:
    table = Table("variation", "subjects", "complete", "value", "difference", "lift", "verdict")
    values = {one.variation: one for one in read.comparisons}
    effects = [one.effect for one in read.comparisons if one.effect is not None]
    for name, count in read.subjects.items():
        one = values.get(name)
        now = None if one is None else one.effect
        value = now.treated if now is not None else effects[0].control if one is None and effects else None
        table.add_row(
            name, f"{count:,}", f"{read.complete[name]:,}", "–" if value is None else f"{value:.5g}",
            "–" if now is None else f"{now.difference:.4g} ({now.low:.4g} to {now.high:.4g})",
            "–" if now is None or now.lift is None else f"{now.lift:.1%}", "" if one is None else one.verdict,
        )
    out.print(table)
    for one in read.comparisons:
        for reason in one.reasons:
            out.print(f"{one.variation}: {reason}", markup=False, highlight=False, soft_wrap=True)
    for note in read.notes:
        out.print(note, markup=False, highlight=False, soft_wrap=True)
