"""`nextbest off-policy`: the command line's way to `analysis.off_policy`; nothing is decided here."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Literal

import typer
from rich.table import Table

from analysis.errors import AnalysisError
from analysis.log_source import Files, Logs, Tenant, outcomes_from
from analysis.off_policy.estimators import NEEDS_MODEL, Declared, Estimate, How, Method, estimate
from analysis.off_policy.intervals import Bootstrap, EmpiricalBernstein
from analysis.off_policy.log import Floats, refusals
from analysis.off_policy.policies import Evaluated, evaluated
from analysis.off_policy.reward_models import Means, Model, Ridge, cross_fitted
from pipeline.cli.cluster import AsJson, fail, out
from pipeline.cli.cluster import Bootstrap as Cluster

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def off_policy() -> None:
    """Off-policy: what another policy would have earned, by the log of this one."""


@app.command("estimate")
def estimate_(
    policy: Annotated[
        str,
        typer.Option(metavar="uniform|best-fixed|item:ID|FILE", help="What to judge; FILE: JSON, item to probability."),
    ],
    source: Files = None,
    logs: Logs = None,
    tenant: Tenant = None,
    outcome: Annotated[str | None, typer.Option(help="Which outcome, where there are several.")] = None,
    placement: Annotated[str | None, typer.Option(help="Which placement, where there are several.")] = None,
    method: Annotated[list[Method] | None, typer.Option(help="Which estimators; default: all. Repeatable.")] = None,
    clip: Annotated[float | None, typer.Option(min=0.001, help="No weight counts for more; this biases.")] = None,
    tau: Annotated[float, typer.Option(min=0.001, help="Switch-DR trusts the model alone above this weight.")] = 10.0,
    model: Annotated[Literal["means", "ridge"], typer.Option(help="Reward model of DM, DR, switch-DR.")] = "means",
    folds: Annotated[int, typer.Option(min=2, max=20, help="Folds of the cross-fitting.")] = 3,
    interval: Annotated[
        Literal["bootstrap", "empirical-bernstein"], typer.Option(help="How intervals are made.")
    ] = "bootstrap",
    resamples: Annotated[int, typer.Option(min=100, max=100_000, help="Of the bootstrap.")] = 1000,
    reward_max: Annotated[float, typer.Option(min=0.001, help="Empirical Bernstein: no reward is above.")] = 1.0,
    alpha: Annotated[float, typer.Option(min=0.0001, max=0.5, help="1 - alpha is the interval's level.")] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Of folds and bootstrap; one seed, one result.")] = 0,
    bootstrap: Cluster = None,
    as_json: AsJson = False,
) -> None:
    """Estimate the mean reward that a policy would have had on the logged decisions."""
    methods = method or list(Method)
    how: How = Bootstrap(resamples, seed, alpha)
    if interval == "empirical-bernstein":
        how = EmpiricalBernstein(0.0, reward_max, alpha=alpha)
    try:
        found = evaluated(outcomes_from(source, logs, tenant, bootstrap), policy, outcome, placement)
        kind: Model = Means() if model == "means" else Ridge()
        table = _model(found, methods, kind, folds, seed)
        declared = Declared(clip, tau)
        made = [estimate(one, found.log, found.target, how, declared, table) for one in methods]
    except AnalysisError as error:
        raise fail(f"Error: {error}") from error
    if as_json:
        told = {"policy": policy, "notes": found.notes, "estimates": [asdict(one) for one in made]}
        typer.echo(json.dumps(told, indent=2))
    else:
        _show(made, found)
    if all(one.value is None for one in made):
        raise typer.Exit(1)


def _model(found: Evaluated, methods: list[Method], kind: Model, folds: int, seed: int) -> Floats | None:
    if not NEEDS_MODEL.intersection(methods):
        return None
    # A log that is refused fits no model: the estimates say why.
    return found.target if refusals(found.log, found.target) else cross_fitted(found.log, kind, folds, seed)


def _show(made: list[Estimate], found: Evaluated) -> None:
    table = Table("method", "estimate", "interval", "rows", "effective", "clipped")
    for one in made:
        table.add_row(
            one.method, "–" if one.value is None else f"{one.value:.6g}",
            "–" if one.low is None or one.high is None else f"{one.low:.6g} to {one.high:.6g}", f"{one.n:,}",
            "–" if one.ess is None else f"{one.ess:,.0f}", f"{one.clipped:,}",
        )
    out.print(table)
    for reason in dict.fromkeys(reason for one in made for reason in one.reasons):
        out.print(reason, markup=False, highlight=False, soft_wrap=True)
    for note in found.notes:
        out.print(note, markup=False, highlight=False, soft_wrap=True)
