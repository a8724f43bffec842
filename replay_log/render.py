"""Shows a summary to a person: Rich tables, which become plain lines where the output is no terminal."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from replay_log.render_estimates import estimate_table, learning_table, verdict

Summary = dict[str, Any]

_PLAIN_WIDTH: Final = 110

_METHOD = (
    "An estimate, not a measurement: rows count only where our item is the one that was logged (Li et al. 2011), "
    "weighed by the logged policy's propensity (IPS, SNIPS); intervals by resampling subjects. Fallbacks are left out."
)


def wide_enough(console: Console) -> Console:
    """The console, or one for the same file that has room for the tables where there is no terminal to fit in."""
    return console if console.is_terminal else Console(file=console.file, width=_PLAIN_WIDTH)


def render(console: Console, summary: Summary) -> None:
    """Print the whole summary."""
    _head(console, summary)
    console.print(_traffic(summary))
    console.print(_decisions(summary))
    if summary["items"]["top"]:
        console.print(_items(summary))
    estimates = {reward: one for reward, one in summary["estimates"].items() if one["rows"]}
    for reward, one in estimates.items():
        console.print(estimate_table(reward, one))
        console.print(Text(verdict(reward, one)))
    if estimates:
        console.print(Text(_METHOD, style="dim"))
    if summary["estimates_left_out"]:
        console.print(Text(f"{_count(summary['estimates_left_out'])} rows beyond what is kept are in no estimate."))
    if summary["learning"] is not None:
        console.print(learning_table(summary["learning"]))
    _bad_rows(console, summary["rows"])
    _stopped(console, summary)


def _head(console: Console, summary: Summary) -> None:
    console.print()
    state = "stopped early" if summary["stopped"] else "done"
    console.print(Text(f"Replay of {summary['log']} {state} (run {summary['run']})", style="bold"))
    if summary["credit"]:
        console.print(Text(summary["credit"]))
    for note in summary["simulated"]:
        console.print(Text(f"Simulated: {note}"))


def _traffic(summary: Summary) -> Table:
    table = _table("Traffic")
    requests, load, latency = summary["requests"], summary["load"], summary["latency_ms"]
    rows = summary["rows"]
    table.add_row("rows replayed", _count(rows["replayed"]) + (f", {_count(rows['bad'])} bad" if rows["bad"] else ""))
    table.add_row("subjects", _count(summary["subjects"]))
    table.add_row("events sent", ", ".join(f"{name} {_count(n)}" for name, n in summary["events_sent"].items()) or "0")
    table.add_row("decision requests", f"{_count(requests['sent'])}, {_count(requests['answered'])} answered")
    if requests["unanswered"] or requests["resent"]:
        lost, again = _count(requests["unanswered"]), _count(requests["resent"])
        table.add_row("trouble", f"{lost} unanswered, {again} sent again")
    rate = f"{load['rows_per_s']:,.0f} rows/s" if load["rows_per_s"] is not None else "-"
    how = f"{load['pace']}, at most {load['window']} unanswered"
    table.add_row("load", f"{rate} over {load['elapsed_s']:,.1f} s ({how})")
    table.add_row("latency, topic to topic", "   ".join(f"{name} {_ms(ms)}" for name, ms in latency.items()))
    return table


def _decisions(summary: Summary) -> Table:
    decisions, answered = summary["decisions"], summary["requests"]["answered"]
    table = _table("Decisions by reason")
    for reason, count in decisions["by_reason"].items():
        table.add_row(reason, f"{_count(count)} ({_percent(count / answered)})")
    for error, count in decisions["errors"].items():
        table.add_row(f"error: {error}", _count(count))
    table.add_row("fallbacks in all", _percent(decisions["fallback_share"]))
    table.add_row("refused: no consent", _count(decisions["consent_refusals"]))
    caps = decisions["cap_refusals"]
    table.add_row("refused: caps left nothing", _count(caps["answers"]))
    if caps["candidates"] is not None:
        table.add_row(
            "candidates that a cap stopped",
            f"{_count(caps['candidates'])}, in {_count(caps['decisions_with_a_capped_candidate'])} "
            f"of {_count(caps['audited_decisions'])} decisions",
        )
    return table


def _items(summary: Summary) -> Table:
    top = summary["items"]["top"]
    table = Table(title=f"Clicks by item in the log (top {len(top)} of {_count(summary['items']['logged'])})",
                  title_justify="left", title_style="bold")
    table.add_column("item")
    for name in ("impressions", "clicks", "CTR", "95 % interval", "chosen by us"):
        table.add_column(name, justify="right")
    for item in top:
        table.add_row(
            item["item"], _count(item["impressions"]), _count(item["clicks"]), _percent(item["ctr"]),
            f"{_percent(item['ctr_low'])} to {_percent(item['ctr_high'])}", _count(item["chosen_by_us"]),
        )
    return table


def _bad_rows(console: Console, rows: Summary) -> None:
    if rows["bad"]:
        console.print(Text(f"{_count(rows['bad'])} rows could not be used, the first of them:", style="yellow"))
        for told in rows["bad_told"]:
            console.print(Text(f"  {told}"))


def _stopped(console: Console, summary: Summary) -> None:
    if summary["stopped"] is None:
        return
    after = summary["stopped"]["resume_after"]
    if summary["stopped"]["problem"]:
        console.print(Text(f"Broke off: {summary['stopped']['problem']}", style="red"))
    console.print(Text(f"To go on where this ended: add --skip {after} --run {summary['run']}"))


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
    table.add_column("what")
    table.add_column("figure")
    return table


def _count(number: int) -> str:
    return f"{number:,}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:.2f} %"


def _ms(ms: float | None) -> str:
    return "-" if ms is None else f"{ms:,.1f} ms"
