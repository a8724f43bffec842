"""Experiments and holdouts of a release."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.core.model.definitions import Experiment, Holdout, Ranking, Variation
from pipeline.core.release.book import CANDIDATE, Body, RuleBook


def experiment(
    book: RuleBook, name: str, one: Body, rankings: Mapping[str, Ranking], data: Body
) -> Experiment:
    """One experiment with its arms."""
    path = ("experiments", name)
    arms = []
    for arm, declared in one["variations"].items():
        order = declared.get("ranking")
        if order is not None:
            book.problems.known((*path, "variations", arm, "ranking"), order, rankings, "ranking")
        arms.append(Variation(arm, float(declared.get("weight", 1.0)), rankings.get(order or ""),
                              frozenset(declared.get("only", ())), frozenset(declared.get("without", ())),
                              dict(declared.get("variants", {}))))
    if not any(arm.weight > 0.0 for arm in arms):
        book.problems.add((*path, "variations"), "no variation has a weight above zero")
    low, high = one.get("slice", {}).get("begin", 0.0), one.get("slice", {}).get("end", 100.0)
    if not 0.0 <= low < high <= 100.0:
        book.problems.add((*path, "slice"), f"{low} to {high} is no part of 0 to 100", "write slice: {from: 0, to: 50}")
    begin, end = one.get("from_ms"), one.get("until_ms")
    if begin is not None and end is not None and begin >= end:
        book.problems.add((*path, "until_ms"), "it ends before it begins")
    return Experiment(
        name, one.get("layer", name), tuple(arms), book.reach(path, one, data),
        book.rule((*path, "target"), one.get("target"), CANDIDATE), (low / 100.0, high / 100.0), begin, end,
        one.get("sticky", True), one.get("salt", ""),
    )


def check_layers(book: RuleBook, experiments: tuple[Experiment, ...]) -> None:
    """Note experiments of one layer that want the same buckets at the same time."""
    for index, one in enumerate(experiments):
        for other in experiments[:index]:
            apart = one.slice[0] >= other.slice[1] or other.slice[0] >= one.slice[1]
            before = any(a.until_ms is not None and b.from_ms is not None and a.until_ms <= b.from_ms
                         for a, b in ((one, other), (other, one)))
            if one.layer == other.layer and not apart and not before:
                book.problems.add(("experiments", one.id, "slice"),
                                  f"shares buckets of the layer {one.layer!r} with {other.id!r}",
                                  "give each its own part, as {from: 0, to: 50} and {from: 50, to: 100}")


def holdout(book: RuleBook, name: str, one: Body, data: Body) -> Holdout:
    """One group that is kept out."""
    return Holdout(name, one["share"] / 100.0, book.reach(("holdouts", name), one, data), one.get("until_ms"),
                   one.get("salt", ""))
