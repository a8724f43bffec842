"""Outcomes of a release: which events they are, and what is credited for them."""

from __future__ import annotations

from typing import get_args

from pipeline.core.model.outcome_rules import (
    OUTCOMES_MAX,
    REWARD_MAX,
    WAIT_MS,
    WAIT_MS_MAX,
    WINDOW_MS_MAX,
    WINDOW_MS_MIN,
    Attribution,
    Model,
    OutcomeRule,
    Reward,
    Step,
)
from pipeline.core.release.book import Body, RuleBook
from pipeline.core.release.subjects import matcher


def outcomes(book: RuleBook, declared: Body, data: Body) -> tuple[OutcomeRule, ...]:
    """Every outcome, by name; notes where there are too many."""
    for name in sorted(declared)[OUTCOMES_MAX:]:
        book.problems.add(("outcomes", name), f"a release has {OUTCOMES_MAX} outcomes at most, this has "
                          f"{len(declared)}", "each makes a record of every item shown: keep what is optimised for")
    return tuple(_outcome(book, name, one, data) for name, one in sorted(declared.items()))


def _outcome(book: RuleBook, name: str, one: Body, data: Body) -> OutcomeRule:
    path = ("outcomes", name)
    event: Body = one["event"]
    book.all_known((*path, "event"), event, "placements", data["placements"])
    book.all_known((*path, "event"), event, "channels", data["channels"])
    if not event:
        book.problems.add((*path, "event"), "every event would be this outcome", "name its `event` or `name`")
    window_ms, wait_ms = one["window_ms"], one.get("wait_ms", WAIT_MS)
    if not WINDOW_MS_MIN <= window_ms <= WINDOW_MS_MAX or not 0 < wait_ms <= WAIT_MS_MAX:
        book.problems.add(path, "the window is from 1s to 90d, and the wait up to 1d")
    given: Body = one.get("attribution", {})
    attribution = Attribution(given.get("model", "last"), given.get("half_life_ms", 0), given.get("first", 40.0) / 100,
                              given.get("last", 40.0) / 100, given.get("between", 20.0) / 100)
    worth: Body = one.get("reward", {})
    reward = Reward(float(worth.get("factor", 1.0)), worth.get("field"), worth.get("is_property", False))
    if not _usable(attribution, reward, one.get("credit", ("item",))):
        book.problems.add(path, "attribution, reward or credit is none that this engine understands")
    return OutcomeRule(name, matcher(event), window_ms, wait_ms, attribution, reward,
                       tuple(one.get("credit", ("item",))))


def _usable(attribution: Attribution, reward: Reward, credit: object) -> bool:
    """Whether crediting can work with it: a body may come from anybody. Raises TypeError where it is of other types."""
    shares = (attribution.first, attribution.last, attribution.between)
    return (
        attribution.model in get_args(Model) and isinstance(attribution.half_life_ms, int)
        and (attribution.model != "time_decay" or attribution.half_life_ms > 0)
        and all(0.0 <= share <= 1.0 for share in shares) and abs(reward.factor) <= REWARD_MAX
        and (reward.field is None or isinstance(reward.field, str))
        and isinstance(credit, list | tuple) and bool(credit) and all(step in get_args(Step) for step in credit)
    )
