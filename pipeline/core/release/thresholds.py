"""Conditions on signals that their own bounds decide: a count never passes its `up_to`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
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


def decided(texts: Mapping[str, Path], signals: Iterable[Signal]) -> list[Problem]:
    """A problem for every comparison of a count with a number that is the same for all it can be."""
    up_to = {one.path: one.up_to for one in signals if one.kind == "count"}
    found = []
    for text, path in texts.items():
        if not any(name in text for name in up_to):
            continue
        for node in _comparisons(parse(text)):
            problem = _decided(node, path, up_to)
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


def _decided(node: Call, path: Path, up_to: Mapping[str, int]) -> Problem | None:
    named = set(_names(node))
    if len(named) != 1 or not named <= up_to.keys():
        return None
    [name] = named
    outcomes = _plain(node, up_to[name]) or _worked_out(node, name, up_to[name])
    if len(outcomes) > 1:
        return None
    always = "always" if outcomes.pop() else "never"
    numbers = [part.value for part in node.args if isinstance(part, Literal) and isinstance(part.value, int | float)
               and isfinite(part.value)]
    past = bool(numbers) and numbers[0] >= up_to[name]
    hint = f"raise `up_to` past {int(numbers[0])}" if past else "compare with what it can be"
    return Problem(path, f"this is {always} so: {name} counts from 0 up to {up_to[name]} (`up_to`)", hint, node.at)


def _names(node: Node) -> Iterator[str]:
    if isinstance(node, Name):
        yield node.path
    elif isinstance(node, Call) and node.name == "daysSince":
        yield "now"
    for part in parts_of(node):
        yield from _names(part)


def _plain(node: Call, up_to: int) -> set[Any]:
    """The outcomes of a count compared with one number, which change at that number alone; none of anything else."""
    left, right = node.args
    turned = isinstance(left, Literal)
    number = left if isinstance(left, Literal) else right
    if node.name == "in" or not isinstance(number, Literal) or not isinstance(right if turned else left, Name):
        return set()
    if isinstance(number.value, bool) or not isinstance(number.value, int | float) or not isfinite(number.value):
        return set()
    compare, value = _COMPARE[node.name], number.value
    tried = {count for count in (0, up_to, *(int(value) + step for step in (-1, 0, 1))) if 0 <= count <= up_to}
    return {compare(value, count) if turned else compare(count, value) for count in tried}


def _worked_out(node: Call, name: str, up_to: int) -> set[Any]:
    """The outcomes for every count there is; one that cannot be computed is one of its own."""
    compare = Builder({name: "int"}).build(node).fn
    found: set[Any] = set()
    for count in range(up_to + 1):
        try:
            found.add(compare({name: count}, {}))
        except UNCOMPUTABLE:
            found.add(None)
        if len(found) > 1:
            break
    return found
