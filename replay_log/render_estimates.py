"""Shows the estimates of a summary: what our choices, and a policy that learns, would have earned."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

Summary = dict[str, Any]

#: By reward: how it is called in a title, and what was earned.
_NAMES: Final = {
    "click": ("Click rate", "clicks"), "conversion": ("Conversion rate", "conversions"),
    "value": ("Value per row", "rows with a value"),
}


def verdict(reward: str, estimate: Summary) -> str:
    """What the estimate allows to say, in a sentence."""
    what = "value" if reward == "value" else _NAMES[reward][1]
    ours, logged = estimate["snips_interval"] or estimate["match_interval"], estimate["logged_interval"]
    if not estimate["matches"]:
        return "Not one decision chose the item that was logged: nothing can be said about our choices."
    if ours is not None and logged is not None and ours["low"] > logged["high"]:
        return f"Our choices would probably have earned more {what} than the logged policy did."
    if ours is not None and logged is not None and ours["high"] < logged["low"]:
        fewer = "less" if reward == "value" else "fewer"
        return f"Our choices would probably have earned {fewer} {what} than the logged policy did."
    return (
        f"{estimate['matches']:,} matches are too few to tell our {what} from the logged policy's"
        f"{': the intervals overlap' if ours is not None and logged is not None else ''}."
    )


def estimate_table(reward: str, estimate: Summary) -> Table:
    """The logged policy, and our choices by each estimator."""
    title, earned = _NAMES[reward]
    table = _table(f"{title}: the logged policy, and our choices as estimated from its log", title.lower())

    def rate(value: float | None) -> str:
        return _rate(reward, value)

    def interval(given: Summary | None) -> str:
        return "too few" if given is None else f"{rate(given['low'])} to {rate(given['high'])}"

    table.add_row(
        "logged policy (counted)", rate(estimate["logged_rate"]), interval(estimate["logged_interval"]),
        f"{estimate['logged_rewarded']:,} {earned} in {estimate['rows']:,} decided rows",
    )
    table.add_row(
        "ours, replay estimate", rate(estimate["match_rate"]),
        interval(estimate["match_interval"]) if estimate["matches"] else "-",
        f"{estimate['match_rewarded']:,} {earned} in {estimate['matches']:,} matches",
    )
    if estimate["ips"] is not None:
        table.add_row("ours, IPS estimate", rate(estimate["ips"]), interval(estimate["ips_interval"]),
                      "matches weighed by 1 / propensity")
    if estimate["snips"] is not None:
        table.add_row("ours, SNIPS estimate", rate(estimate["snips"]), interval(estimate["snips_interval"]),
                      f"worth {estimate['effective_matches']:,.0f} equal matches")
    return table


def learning_table(learning: Summary) -> Group:
    """What the learning policy would have earned, and whether the data are enough to say so."""
    table = _table(f"A policy that learns ({learning['policy']}), as estimated from the log", "click rate")
    judged = f"{learning['judged_by']:,} rows that it did not learn from"
    if learning["logged"] is not None:
        one = learning["logged"]
        table.add_row("logged policy (counted)", _rate("click", one["mean"]), _between(one["low"], one["high"]), judged)
    for one in learning["estimates"]:
        worth = "-" if one["ess"] is None else f"worth {one['ess']:,.0f} rows of its own"
        table.add_row(f"learning, {one['method']} estimate", _rate("click", one["value"]),
                      _between(one["low"], one["high"]), worth)
    said = learning["too_few"] or _told_apart(learning)
    return Group(table, Text(f"Learnt from {learning['learnt_from']:,} rows, judged by {judged}. {_sentence(said)}"))


def _told_apart(learning: Summary) -> str:
    ours = next((one for one in learning["estimates"] if one["method"] == "snips"), None)
    if ours is None or ours["low"] is None:
        return "nothing can be said of it"
    if ours["low"] > learning["logged"]["high"]:
        return "it would probably have earned more clicks than the logged policy did"
    if ours["high"] < learning["logged"]["low"]:
        return "it would probably have earned fewer clicks than the logged policy did"
    return "it cannot be told from the logged policy: the intervals overlap"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _between(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{_rate('click', low)} to {_rate('click', high)}"


def _rate(reward: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.4g}" if reward == "value" else f"{value * 100:.2f} %"


def _table(title: str, second: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("", second, "95 % interval", "from"):
        table.add_column(name, justify="left" if name in ("", "from") else "right")
    return table
