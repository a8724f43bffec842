"""`nextbest topics plan|apply`: the declared topics against the running cluster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from pipeline.adapters.topic_admin import BROKER_DEFAULT, TopicsError, apply_plan, make_plan, open_transactions_ms
from pipeline.adapters.topic_plan import Action, Step
from pipeline.cli.cluster import AsJson, Bootstrap, Yes, answering, err, fail, out, settings_for
from topics.catalog import DAY_MS, MINUTE_MS

#: A minute: as our own broker has it.
OPEN_TRANSACTION_MS_MAX = 60_000

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Compare the declared topics with a cluster, and make them so."
)

_STYLE = {Action.CREATE: "green", Action.CHANGE: "yellow", Action.REFUSE: "red", Action.UNCHANGED: "dim"}


@app.command("plan")
def show_plan(bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """Show what apply would create and change, and what it refuses. Changes nothing; status 1 if it refuses."""
    settings = settings_for(bootstrap)
    with answering(settings):
        steps = make_plan(settings)
        open_ms = open_transactions_ms(settings)
    _print(steps, as_json)
    if open_ms is not None and open_ms > OPEN_TRANSACTION_MS_MAX:
        err.print(f"transaction.max.timeout.ms of this cluster is {open_ms}: for so long one open transaction on an "
                  "input topic keeps everything behind it from being read. Set it to "
                  f"{OPEN_TRANSACTION_MS_MAX} or less", markup=False)
    if any(step.action is Action.REFUSE for step in steps):
        raise typer.Exit(1)


@app.command()
def apply(
    bootstrap: Bootstrap = None,
    replication: Annotated[
        int, typer.Option("--replication-factor", min=-1, help="Copies of each new topic; -1: the cluster's default.")
    ] = BROKER_DEFAULT,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Create and change topics until they are as declared. Repeatable; asks where records would be deleted."""
    settings = settings_for(bootstrap)
    with answering(settings):
        steps = make_plan(settings)
        _print(steps, as_json)
        lost = [f"{step.topic.name}: {what}" for step in steps for what in step.loses]
        refused = any(step.action is Action.REFUSE for step in steps)
        if lost and not refused and not yes:
            err.print("This deletes:\n  " + "\n  ".join(lost), markup=False)
            typer.confirm("Apply?", abort=True, err=True)
        try:
            apply_plan(settings, steps, replication)
        except TopicsError as error:
            text = "Nothing is applied while a topic is refused." if refused else str(error)
            raise fail(text) from error
    if not as_json and any(step.action is not Action.UNCHANGED for step in steps):
        out.print(_summary(steps))


def _print(steps: Sequence[Step], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([_as_dict(step) for step in steps], indent=2))
        return
    width = max(len(step.topic.name) for step in steps)
    for step in steps:
        style = _STYLE[step.action]
        out.print(f"[{style}]{step.action:9}[/] {step.topic.name:{width}} {step.topic.partitions:3} partitions, "
                  f"{_kept(step)}", soft_wrap=True, highlight=False)
        for line in _differences(step):
            out.print(f"          {line}", soft_wrap=True, highlight=False)
    for step in steps:
        if step.advice:
            err.print(step.advice, style="red", markup=False, highlight=False, soft_wrap=True)
    if all(step.action is Action.UNCHANGED for step in steps):
        out.print(f"All {len(steps)} topics are as declared.")


def _kept(step: Step) -> str:
    """How long its records stay, as declared."""
    retention_ms = step.topic.config.get("retention.ms")
    if retention_ms is None:
        return "newest per key"
    days = int(retention_ms) / DAY_MS
    return f"{days:g} days" if days >= 1 else f"{int(retention_ms) // MINUTE_MS} minutes"


def _differences(step: Step) -> list[str]:
    if step.action is Action.CREATE:
        return [", ".join(f"{setting}={value}" for setting, value in step.topic.config.items())]
    lines = (f"{change.setting}: {change.now or 'not set'} → {change.wanted}" for change in step.changes)
    return [*lines, *(f"[red]deletes {what}[/]" for what in step.loses)]


def _summary(steps: Sequence[Step]) -> str:
    created, changed = (sum(step.action is action for step in steps) for action in (Action.CREATE, Action.CHANGE))
    return f"{created} created, {changed} changed."


def _as_dict(step: Step) -> dict[str, Any]:
    return {
        "topic": step.topic.name,
        "action": str(step.action),
        "partitions": step.topic.partitions,
        "config": dict(step.topic.config),
        "changes": [
            {"setting": change.setting, "now": change.now, "wanted": change.wanted, "deletes": change.loses}
            for change in step.changes
        ],
        "advice": step.advice,
    }
