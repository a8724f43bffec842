"""Signals, segments and the lifecycle of a release."""

from __future__ import annotations

import json
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from pipeline.core.hashing import digest
from pipeline.core.model.definitions import Lifecycle, LifecycleStage, Matcher, Segment, Signal
from pipeline.core.release.book import MOMENTARY, Body, RuleBook
from pipeline.core.rules.rule import Rule


def signal(name: str, one: Body, since: Mapping[str, int]) -> Signal:
    """One signal. Its behaviour is kept under keys made of what it counts, so that a changed one starts anew; `since`:
    when each key began to be counted, which a declared `since` overrules."""
    steps = [*one["steps"], *([one["without"]] if one.get("without") else [])]
    keys = tuple(f"{name}#{digest(json.dumps(step, sort_keys=True))[:8]}" for step in steps)
    without = matcher(one["without"]) if one.get("without") else None
    return Signal(name, one["kind"], tuple(matcher(step) for step in one["steps"]), one.get("within_ms"),
                  one.get("up_to", 100), without, f"signals.{name}", keys,
                  one.get("since_ms", max(since.get(key, 0) for key in keys)))


def matcher(one: Body) -> Matcher:
    """Which events are meant."""
    return Matcher(**{name: frozenset(values) for name, values in one.items()})


def segments(book: RuleBook, declared: Body, barred: tuple[str, ...] = MOMENTARY) -> tuple[Segment, ...]:
    """In the order of what they read; a circle is a problem. `barred`: what they may not read."""
    rules = {name: book.rule(("segments", name, "rule"), one["rule"], barred) for name, one in declared.items()}
    for name, rule in rules.items():
        if rule is not None and not rule.reads.isdisjoint(("segments", "lifecycle")):
            book.problems.add(("segments", name, "rule"), "a segment reads other segments by name",
                              "write segment.<name>")
    return tuple(
        Segment(name, f"segment.{name}", rule, declared[name].get("version", 1))
        for name in _ordered({name: _read(rule) for name, rule in rules.items() if rule is not None}, book)
        if (rule := rules[name]) is not None
    )


def _read(rule: Rule) -> list[str]:
    """The segments that a rule reads, by name."""
    return sorted(path.removeprefix("segment.") for path in rule.reads if path.startswith("segment."))


def _ordered(reads: Mapping[str, list[str]], book: RuleBook) -> list[str]:
    """The names, each after those that it reads; those of a circle, which is a problem, are left out."""
    left = dict(reads)
    while True:
        try:
            return [name for name in TopologicalSorter(left).static_order() if name in left]
        except CycleError as error:
            circle = error.args[1][::-1]
            first = circle.index(min(circle[1:], key=list(reads).index))
            circle = [*circle[first:-1], *circle[:first], circle[first]]
            said = f"segments read each other in a circle: {' → '.join(circle)}"
            book.problems.add(("segments", circle[0], "rule"), said)
            for name in circle[1:]:
                del left[name]


def lifecycle(book: RuleBook, one: Body, barred: tuple[str, ...] = MOMENTARY) -> Lifecycle:
    """The ordered stages. `barred`: what their rules may not read."""
    stages = []
    for index, stage in enumerate(one.get("stages", ())):
        path = ("lifecycle", "stages", index, "rule")
        rule = book.rule(path, stage["rule"], barred)
        if rule is not None and "lifecycle" in rule.reads:
            book.problems.add(path, "a stage's rule may not read the lifecycle itself")
        elif rule is not None:
            stages.append(LifecycleStage(stage["name"], rule))
    names = [stage["name"] for stage in one.get("stages", ())]
    for index, name in enumerate(names):
        if name in names[:index]:
            book.problems.add(("lifecycle", "stages", index, "name"), f"there are two stages {name!r}")
    return Lifecycle(tuple(stages), one.get("forward_only", False))
