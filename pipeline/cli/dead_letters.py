"""`nextbest dead-letters list|show|replay`: what could not be used, why, and back into the pipeline with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from pipeline.adapters import dead_letter_replay
from pipeline.adapters import dead_letters as letters
from pipeline.adapters.system_clock import SystemClock
from pipeline.cli.cluster import AsJson, Bootstrap, Yes, answering, err, fail, out, settings_for, when
from pipeline.cli.dead_letter_text import as_dict, describe, parse_since, printable
from pipeline.flow import Reason

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Records that could not be used: list, show and replay them."
)

_REPLAY_AT_ONCE = 200

Topic = Annotated[str | None, typer.Option("--topic", help="Only records of this topic.")]
Why = Annotated[str | None, typer.Option("--reason", help="Only this reason, such as not_avro or wrong_key.")]
Since = Annotated[
    str | None, typer.Option("--since", help="Only since: 90s, 15m, 2h, 7d ago, or a time such as 2026-11-21T08:00Z.")
]
LetterId = Annotated[str, typer.Argument(metavar="TOPIC:PARTITION:OFFSET", help="The id that list shows.")]


@app.command("list")
def list_letters(
    topic: Topic = None,
    reason: Why = None,
    since: Since = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Show at most this many, the newest.")] = 50,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """List the dead letters, each origin once, oldest first."""
    found = _find(bootstrap, _filter(topic, reason, since))
    shown = found.letters[-limit:]
    if as_json:
        typer.echo(json.dumps([as_dict(letter, with_value=False) for letter in shown], indent=2))
        return
    if not found.letters:
        out.print("No dead letters.")
        return
    table = Table(Column("Id", no_wrap=True), "Written", "Reason", "Detail", "Key", "Replayed")
    for letter in shown:
        row = [letter.id, f"{when(letter.written_at_ms)}Z", letter.record.reason, letter.record.detail]
        table.add_row(*map(escape, [*row, printable(letter.record.key, 40)]), str(letter.replays or ""))
    out.print(table)
    hidden = f", the newest {limit} shown" if len(shown) < len(found.letters) else ""
    unreadable = f" {found.unreadable} further records of the topic are no letters." if found.unreadable else ""
    out.print(f"Dead letters: {len(found.letters)}{hidden}.{unreadable}")


@app.command()
def show(letter_id: LetterId, bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """Show one dead letter: its bytes as hex and text, headers, reason, and what to do."""
    letter = _one(bootstrap, letter_id)
    if as_json:
        typer.echo(json.dumps(as_dict(letter, with_value=True), indent=2))
    else:
        out.print(describe(letter), markup=False, highlight=False, soft_wrap=True)


@app.command()
def replay(
    letter_id: Annotated[
        str | None, typer.Argument(metavar="[TOPIC:PARTITION:OFFSET]", help="One letter; or use the filters.")
    ] = None,
    topic: Topic = None,
    reason: Why = None,
    since: Since = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that were replayed before.")] = False,
    yes: Yes = False,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Send the original records back to their topics, unchanged but for a header that says so."""
    if letter_id is None and topic is None and reason is None and since is None:
        raise fail("Name one letter, or say which: --topic, --reason or --since.")
    wanted = _filter(topic, reason, since, letter_id)
    found = _find(bootstrap, wanted).letters
    whole = [letter for letter in found if not letter.record.cut_bytes]
    if found and not whole:
        raise fail(f"{found[0].id} was too large for a dead letter and is not whole: let its producer send it again.")
    cut, found = len(found) - len(whole), tuple(whole)
    chosen = [letter for letter in found if again or not letter.replays]
    before = len(found) - len(chosen)
    if before and letter_id is not None and not again:
        chosen, before = list(found), 0
        if not _sure(f"{letter_id} was replayed {found[0].replays} time(s) before. Replay it again?", yes=False):
            raise typer.Exit(1)
    elif chosen and not _sure(f"Replay {len(chosen)} record(s)?", yes):
        raise typer.Exit(1)
    if not chosen and not before:
        raise fail("No such dead letter; `nextbest dead-letters list` shows those there are.")
    sent = _send(bootstrap, chosen)
    if as_json:
        typer.echo(json.dumps({"replayed": sent, "replayed_before": before, "not_whole": cut}))
        return
    skipped = f" {before} were replayed before; --again sends them once more." if before else ""
    if cut:
        skipped += f" {cut} were too large for a dead letter and are not whole: their producers must send them again."
    out.print(f"{sent} replayed.{skipped} What still cannot be used comes back as a new dead letter.")


def _sure(question: str, yes: bool) -> bool:
    return yes or typer.confirm(question, err=True)


def _send(bootstrap: str | None, chosen: list[letters.Letter]) -> int:
    settings = settings_for(bootstrap)
    sent = 0
    with answering(settings), _progress("replaying") as progress:
        producer = dead_letter_replay.open_producer(settings)
        full = letters.with_values(settings, chosen, progress)
        while batch := list(islice(full, _REPLAY_AT_ONCE)):
            dead_letter_replay.replay(producer, batch)
            sent += len(batch)
    return sent


def _find(bootstrap: str | None, wanted: letters.Filter) -> letters.Found:
    settings = settings_for(bootstrap)
    with answering(settings), _progress("reading dead letters") as progress:
        return letters.find(settings, wanted, progress)


def _one(bootstrap: str | None, letter_id: str) -> letters.Letter:
    settings = settings_for(bootstrap)
    found = _find(bootstrap, _filter(None, None, None, letter_id)).letters
    if not found:
        raise fail(f"No dead letter {letter_id}; `nextbest dead-letters list` shows those there are.")
    with answering(settings), _progress("reading its bytes") as progress:
        return next(letters.with_values(settings, found[-1:], progress))


def _filter(topic: str | None, reason: str | None, since: str | None, letter_id: str | None = None) -> letters.Filter:
    """Raises Exit, having said what is wrong, for a filter that could match nothing."""
    if reason is not None and reason not in letters.ADVICE:
        raise fail(f"No record is dead-lettered as {reason!r}; the reasons are {', '.join(letters.ADVICE)}.")
    if letter_id is not None and letter_id.count(":") != 2:
        raise fail(f"{letter_id!r} is no letter's id; give TOPIC:PARTITION:OFFSET as list shows it.")
    try:
        since_ms = None if since is None else parse_since(since, SystemClock().now_ms())
    except ValueError as error:
        raise fail(str(error)) from error
    return letters.Filter(topic, None if reason is None else Reason(reason), since_ms, letter_id)


@contextmanager
def _progress(what: str) -> Iterator[Any]:
    """A bar on standard error, gone when done."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
