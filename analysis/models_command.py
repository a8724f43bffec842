"""`nextbest models`: what the live ones learnt, and models learnt from training data; nothing is decided here."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from analysis.errors import AnalysisError
from analysis.off_policy.intervals import Bootstrap
from analysis.training.evaluation import Evaluation, evaluate
from analysis.training.learning import Kind, learn
from analysis.training.model_file import Trained, digest_of, read_model, write_json, written
from analysis.training.vectors import numbers, read_table, rows_of, scaled
from pipeline.cli.cluster import AsJson, fail, out
from pipeline.cli.models import show

app = typer.Typer(no_args_is_help=True, add_completion=False)
Source = Annotated[Path, typer.Option("--from", metavar="FILE", help="Training data (Parquet).")]


@app.callback()
def models() -> None:
    """Models: what they learnt; learn one from data, judge it."""


#: What those of the live release learnt, and which snapshot decides.
app.command()(show)


@app.command()
def train(
    source: Source,
    to: Annotated[Path, typer.Option("--out", metavar="FILE", help="The model to write (JSON).")],
    outcome: Annotated[str, typer.Option(help="Which outcome is the reward.")],
    kind: Annotated[Kind, typer.Option(help="linucb: sums to begin with; logistic: rewards from 0 to 1.")] = "linucb",
    placement: Annotated[str | None, typer.Option(help="Which placement, where there are several.")] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option(help="A fact, such as profile.orders; default: numbers and truths that every decision saw."),
    ] = None,
    ridge: Annotated[float, typer.Option(min=1e-6, max=1e6, help="Penalty of weights; of linucb its prior.")] = 1.0,
    held_out: Annotated[float, typer.Option(min=0, max=0.9, help="Share of rows, the newest, to leave out.")] = 0.3,
) -> None:
    """Learn weights by item from the older rows; the newer ones are for `models evaluate`."""
    try:
        table = read_table(source, outcome, placement)
        older = table.slice(0, round(table.num_rows * (1 - held_out)))
        if not older.num_rows:
            raise AnalysisError(f"{source} has no row to learn {outcome} from")
        until_ms = older["decided_ms"][-1].as_py()
        # Decisions of one moment are all older.
        older = table.slice(0, sum(one <= until_ms for one in table["decided_ms"].to_pylist()))
        features = scaled(older, numbers(older) if feature is None else feature)
        rows = rows_of(older, outcome, features)
        model = learn(rows, kind, outcome, older["placement"][0].as_py(), ridge)
        trained = Trained(int(rows.decided_ms[0]), int(until_ms), len(rows), digest_of(source))
        told = written(model, trained)
        write_json(to, told)
    except AnalysisError as error:
        raise fail(f"Error: {error}") from error
    out.print(
        f"{to}: {kind} {told['id'][:12]}, {len(rows):,} rows, {len(model.items)} items, features: "
        f"{', '.join(one.fact for one in features) or 'none'}", markup=False, highlight=False, soft_wrap=True)
    for note in rows.notes:
        out.print(note, markup=False, highlight=False, soft_wrap=True)


@app.command("evaluate")
def evaluate_(
    model: Annotated[Path, typer.Argument(help="A model that `models train` wrote.")],
    source: Source,
    to: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the evaluation (JSON).")] = None,
    epsilon: Annotated[float, typer.Option(min=0, max=1, help="Share of showings that explore.")] = 0.05,
    resamples: Annotated[int, typer.Option(min=100, max=100_000, help="Of the bootstrap.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="One seed, one result.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Estimate what a model would have earned after the time it learnt from. Status 1 where that cannot be said."""
    try:
        learnt, trained, name = read_model(model)
        table = read_table(source, learnt.outcome, learnt.placement)
        rows = rows_of(table, learnt.outcome, learnt.features)
        found = evaluate(learnt, rows.where(rows.decided_ms > trained.until_ms), epsilon, Bootstrap(resamples, seed))
        told = {"trained_by_sha256": trained.data_sha256} | _told(
            found, name, learnt.outcome, epsilon, digest_of(source))
        if to is not None:
            write_json(to, told)
    except AnalysisError as error:
        raise fail(f"Error: {error}") from error
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    else:
        _show(found)
    if found.verdict in ("no estimate", "too few data"):
        raise typer.Exit(1)


def _told(found: Evaluation, model: str, outcome: str, epsilon: float, sha256: str) -> dict[str, Any]:
    mean, low, high = found.logged
    return {
        "format": 1, "model": model, "outcome": outcome, "policy": {"greedy": True, "epsilon": epsilon},
        "data_sha256": sha256, "rows": found.rows, "logged": {"mean": mean, "low": low, "high": high},
        "estimates": [asdict(one) for one in found.estimates], "verdict": found.verdict, "notes": list(found.notes),
    }


def _show(found: Evaluation) -> None:
    table = Table("", "mean reward", "95 % interval", "effective rows")
    mean, low, high = found.logged
    table.add_row("logged", f"{mean:.6g}", f"{low:.6g} to {high:.6g}", f"{found.rows:,}")
    for one in found.estimates:
        table.add_row(
            one.method, "–" if one.value is None else f"{one.value:.6g}",
            "–" if one.low is None or one.high is None else f"{one.low:.6g} to {one.high:.6g}",
            "–" if one.ess is None else f"{one.ess:,.0f}")
    out.print(table)
    out.print(f"Beside the logged policy: {found.verdict}.", markup=False, highlight=False)
    reasons = [reason for one in found.estimates for reason in one.reasons]
    for text in dict.fromkeys([*reasons, *found.notes]):
        out.print(text, markup=False, highlight=False, soft_wrap=True)
