"""`nextbest models show`: the models of the live release, which snapshot decides, and what it learnt of each item."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer
from rich.table import Table

from pipeline.adapters import model_outcomes
from pipeline.cli.cluster import AsJson, Bootstrap, answering, fail, out, settings_for, when
from pipeline.cli.identity import Tenant
from pipeline.cli.importing import followed
from pipeline.core.decide.live import Live
from pipeline.core.model.outcome_record import Outcome
from pipeline.core.models.health import EXPLORED_BELOW, Readings
from pipeline.core.models.learner import Learner
from pipeline.core.models.told import by_item, by_snapshot
from topics.catalog import CATALOG_ITEMS, MODEL_SNAPSHOTS, POLICY_RELEASES


def show(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="One model; default: all of them.")] = None,
    tenant: Tenant = None, bootstrap: Bootstrap = None, as_json: AsJson = False,
) -> None:
    """Show the models of the live release: the snapshot that decides, and showings and mean reward by item; of one
    model also what was earned under each snapshot, how much it explores and how far its inputs drifted."""
    settings = settings_for(bootstrap)
    name = tenant or settings.tenant
    with answering(settings):
        live = followed(settings, (POLICY_RELEASES, CATALOG_ITEMS, MODEL_SNAPSHOTS)).live(name)
    declared = {} if live is None else live.policy.models
    if live is None or (model is not None and model not in declared):
        known = f"it has {', '.join(sorted(declared))}" if declared else "it has none"
        raise fail(f"There is no model {model or ''!r} in the live release of {name}: {known}."
                   if live is not None else f"{name} has no live release: publish one (nextbest policy publish).")
    told = [_told(live, declared[one]) for one in sorted(declared) if model in (None, one)]
    if model is not None:
        with answering(settings):
            told[0] |= _earned(declared[model], model_outcomes.finals(settings, name))
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    else:
        _print(told, items=model is not None)


def _told(live: Live, one: Learner) -> dict[str, Any]:
    snapshot = live.models.get(one.id)
    items = [] if snapshot is None else by_item(one, snapshot)
    return {
        "model": one.id, "kind": one.kind, "outcome": one.outcome,
        "snapshot": None if snapshot is None else snapshot.number,
        "at": f"{when(snapshot.at_ms)}Z" if snapshot is not None and snapshot.number else None,
        "pinned": one.pin, "frozen": one.frozen,
        "challenger": {"model": one.challenger, "share": one.challenger_share} if one.challenger else None,
        "items": [{"item": each.item_id, "showings": each.showings, "mean_reward": each.mean} for each in items],
    }


def _earned(one: Learner, outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """What came of its choices, in one pass over them."""
    readings = Readings(one)

    def read() -> Iterator[Outcome]:
        for each in outcomes:
            readings.add(each)
            yield each

    snapshots = [{"snapshot": each.snapshot, "showings": each.showings, "mean_reward": each.mean,
                  "standard_error": each.error, "mean_propensity": each.propensity}
                 for each in by_snapshot(one, read())]
    health = readings.health()
    return {"snapshots": snapshots, "health": {
        "showings": health.showings, "explored": health.explored,
        "drift": [{"input": each.name, "first": each.first, "last": each.last, "psi": each.psi}
                  for each in health.drifts]}}


def _print(told: list[dict[str, Any]], items: bool) -> None:
    table = Table("Model", "Kind", "Outcome", "Snapshot", "Cut", "Showings", "Mean reward", "State")
    for one in told:
        showings = sum(each["showings"] for each in one["items"])
        rewards = sum(each["showings"] * each["mean_reward"] for each in one["items"])
        table.add_row(one["model"], one["kind"], one["outcome"], _snapshot(one["snapshot"]), one["at"] or "",
                      f"{showings:,.0f}", f"{rewards / showings:.4g}" if showings else "", _state(one))
    out.print(table)
    if items:
        by = Table("Item", "Showings", "Mean reward")
        for each in told[0]["items"]:
            by.add_row(each["item"], f"{each['showings']:,.1f}", f"{each['mean_reward']:.4g}")
        out.print(by)
        earned = Table("Snapshot", "Closed showings", "Mean reward", "Standard error", "Mean propensity")
        for each in told[0]["snapshots"]:
            earned.add_row(_snapshot(each["snapshot"]), f"{each['showings']:,}", f"{each['mean_reward']:.4g}",
                           f"{each['standard_error']:.2g}", f"{each['mean_propensity']:.3f}")
        out.print(earned)
        _print_health(told[0]["health"])


def _print_health(health: dict[str, Any]) -> None:
    explored = health["explored"]
    out.print(f"Explored (propensity below {EXPLORED_BELOW}): "
              f"{'nothing closed yet' if explored is None else f'{explored:.1%}'}")
    drift = Table("Input", "First window", "Last window", "Drift (PSI)")
    for each in health["drift"]:
        drift.add_row(each["input"], f"{each['first']:,}", f"{each['last']:,}",
                      "too few" if each["psi"] is None else f"{each['psi']:.3f}")
    out.print(drift)


def _snapshot(number: int | None) -> str:
    return "not there" if number is None else "0 (the prior)" if number == 0 else f"{number:,}"


def _state(one: dict[str, Any]) -> str:
    rival = one["challenger"]
    said = [f"pinned to {one['pinned']}" if one["pinned"] is not None else "", "frozen" if one["frozen"] else "",
            f"{rival['model']} decides for {rival['share']:.0%}" if rival else ""]
    return ", ".join(filter(None, said)) or "learning"
