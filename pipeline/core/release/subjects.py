"""Signals, segments and the lifecycle of a release."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pipeline.core.definitions import Lifecycle, LifecycleStage, Matcher, Segment, Signal
from pipeline.core.hashing import digest
from pipeline.core.release.book import MOMENTARY, Body, RuleBook
from pipeline.core.rules import Rule


def signal(name: str, one: Body) -> Signal:
    """One signal. Its behaviour is kept under keys made of what it counts, so that a changed one starts anew."""
    steps = [*one["steps"], *([one["without"]] if one.get("without") else [])]
    keys = tuple(f"{name}#{digest(json.dumps(step, sort_keys=True))[:8]}" for step in steps)
    without = _matcher(one["without"]) if one.get("without") else None
    return Signal(name, one["kind"], tuple(_matcher(step) for step in one["steps"]), one.get("within_ms"),
                  one.get("up_to", 100), without, f"signals.{name}", keys)


def _matcher(one: Body) -> Matcher:
    return Matcher(**{name: frozenset(values) for name, values in one.items()})


def segments(book: RuleBook, declared: Body) -> tuple[Segment, ...]:
    """In the order of what they read; a circle is a problem."""
    rules = {name: book.rule(("segments", name, "rule"), one["rule"], MOMENTARY) for name, one in declared.items()}
    for name, rule in rules.items():
        if rule is not None and not rule.reads.isdisjoint(("segments", "lifecycle")):
            book.problems.add(("segments", name, "rule"), "a segment reads other segments by name",
                              "write segment.<name>")
    ordered: dict[str, Segment] = {}
    for name in declared:
        _visit(name, rules, declared, book, ordered, [])
    return tuple(ordered.values())


def _visit(
    name: str, rules: Mapping[str, Rule | None], declared: Body, book: RuleBook, ordered: dict[str, Segment],
    above: list[str],
) -> None:
    rule = rules[name]
    if name in ordered or rule is None:
        return
    if name in above:
        circle = " → ".join([*above[above.index(name):], name])
        book.problems.add(("segments", name, "rule"), f"segments read each other in a circle: {circle}")
        return
    for path in sorted(rule.reads):
        if path.startswith("segment."):
            _visit(path.removeprefix("segment."), rules, declared, book, ordered, [*above, name])
    ordered[name] = Segment(name, f"segment.{name}", rule, declared[name].get("version", 1))


def lifecycle(book: RuleBook, one: Body) -> Lifecycle:
    """The ordered stages."""
    stages = []
    for index, stage in enumerate(one.get("stages", ())):
        path = ("lifecycle", "stages", index, "rule")
        rule = book.rule(path, stage["rule"], MOMENTARY)
        if rule is not None and "lifecycle" in rule.reads:
            book.problems.add(path, "a stage's rule may not read the lifecycle itself")
        elif rule is not None:
            stages.append(LifecycleStage(stage["name"], rule))
    names = [stage["name"] for stage in one.get("stages", ())]
    for index, name in enumerate(names):
        if name in names[:index]:
            book.problems.add(("lifecycle", "stages", index, "name"), f"there are two stages {name!r}")
    return Lifecycle(tuple(stages), one.get("forward_only", False))
