"""Conditions that the bounds of what they read decide: a count never passes its `up_to`, an hour never 23."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from pipeline.core.model.definitions import Signal
from pipeline.core.model.problems import Path, Problem
from pipeline.core.rules.cel.build import Builder
from pipeline.core.rules.cel.functions import UNCOMPUTABLE
from pipeline.core.rules.cel.syntax import Call, ListOf, Literal, Name, Node, parse, parts_of

_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}


@dataclass(frozen=True, slots=True)
class Range:
    """The whole numbers that a fact can be, and how to say that."""

    low: int
    high: int
    said: str
    counted: bool = True


_CLOCK: Final[Mapping[str, Range]] = {
    "local.hour": Range(0, 23, "goes from 0 to 23", False), "local.minute": Range(0, 59, "goes from 0 to 59", False),
    "local.weekday": Range(1, 7, "goes from 1, Monday, to 7, Sunday", False),
}


def decided(texts: Mapping[str, Path], signals: Iterable[Signal]) -> list[Problem]:
    """A problem for every comparison of a count with a number that is the same for all it can be."""
    ranges = {**_CLOCK, **{
        one.path: Range(0, one.up_to, f"counts from 0 up to {one.up_to} (`up_to`)")
        for one in signals if one.kind == "count"}}
    found = []
    for text, path in texts.items():
        if not any(name in text for name in ranges):
            continue
        for node in _comparisons(parse(text)):
            problem = _decided(node, path, ranges)
            if problem is not None:
                found.append(problem)
    return found


def _comparisons(node: Node) -> Iterator[Call]:
    if isinstance(node, ListOf):
        for item in node.items:
            yield from _comparisons(item)
    elif isinstance(node, Call):
        if node.name in _COMPARE or node.name == "in":
            yield node
        for arg in node.args:
            yield from _comparisons(arg)


def _decided(node: Call, path: Path, ranges: Mapping[str, Range]) -> Problem | None:
    named = set(_names(node))
    if len(named) != 1 or not named <= ranges.keys():
        return None
    [name] = named
    known = ranges[name]
    outcomes = _plain(node, known) or _worked_out(node, name, known)
    if len(outcomes) > 1:
        return None if known.counted else _never_among(node, path, name, known)
    always = "always" if outcomes.pop() else "never"
    numbers = [part.value for part in node.args if isinstance(part, Literal) and isinstance(part.value, int | float)
               and isfinite(part.value)]
    past = known.counted and bool(numbers) and numbers[0] >= known.high
    hint = f"raise `up_to` past {int(numbers[0])}" if past else "compare with what it can be"
    return Problem(path, f"this is {always} so: {name} {known.said}", hint, node.at)


def _never_among(node: Call, path: Path, name: str, known: Range) -> Problem | None:
    """A problem for an element of a list that the fact can never be, though it can be another."""
    left, right = node.args
    if node.name != "in" or not isinstance(left, Name) or not isinstance(right, ListOf):
        return None
    for part in right.items:
        if isinstance(part, Literal) and isinstance(part.value, int) and not known.low <= part.value <= known.high:
            return Problem(path, f"{name} is never {part.value}: it {known.said}", "take it out", part.at)
    return None


def _names(node: Node) -> Iterator[str]:
    if isinstance(node, Name):
        yield node.path
    elif isinstance(node, Call) and node.name == "daysSince":
        yield "now"
    for part in parts_of(node):
        yield from _names(part)


def _plain(node: Call, known: Range) -> set[Any]:
    """The outcomes of a count compared with one number, which change at that number alone; none of anything else."""
    left, right = node.args
    turned = isinstance(left, Literal)
    number = left if isinstance(left, Literal) else right
    if node.name == "in" or not isinstance(number, Literal) or not isinstance(right if turned else left, Name):
        return set()
    if isinstance(number.value, bool) or not isinstance(number.value, int | float) or not isfinite(number.value):
        return set()
    compare, value = _COMPARE[node.name], number.value
    tried = {count for count in (known.low, known.high, *(int(value) + step for step in (-1, 0, 1)))
             if known.low <= count <= known.high}
    return {compare(value, count) if turned else compare(count, value) for count in tried}


def _worked_out(node: Call, name: str, known: Range) -> set[Any]:
    """The outcomes for every count there is; one that cannot be computed is one of its own."""
    compare = Builder({name: "int"}).build(node).fn
    found: set[Any] = set()
    for count in range(known.low, known.high + 1):
        try:
            found.add(compare({name: count}, {}))
        except UNCOMPUTABLE:
            found.add(None)
        if len(found) > 1:
            break
    return found
