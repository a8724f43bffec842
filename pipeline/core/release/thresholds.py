"""Conditions on signals that their own bounds decide: a count never passes its `up_to`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from pipeline.core.model.definitions import Signal
from pipeline.core.model.problems import Path, Problem
from pipeline.core.rules.cel.syntax import Call, ListOf, Literal, Name, Node, parse

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
        if node.name in _COMPARE:
            yield node
        for arg in node.args:
            yield from _comparisons(arg)


def _decided(node: Call, path: Path, up_to: Mapping[str, int]) -> Problem | None:
    left, right = node.args
    compare = _COMPARE[node.name]
    if isinstance(left, Name) and isinstance(right, Literal):
        name, number, turned = left.path, right.value, False
    elif isinstance(left, Literal) and isinstance(right, Name):
        name, number, turned = right.path, left.value, True
    else:
        return None
    if name not in up_to or isinstance(number, bool) or not isinstance(number, int | float):
        return None
    # A comparison with one number changes at that number alone.
    tried = {count for count in (0, up_to[name], *(int(number) + step for step in (-1, 0, 1)))
             if 0 <= count <= up_to[name]}
    outcomes = {compare(number, count) if turned else compare(count, number) for count in tried}
    if len(outcomes) > 1:
        return None
    always = "always" if outcomes.pop() else "never"
    hint = f"raise `up_to` past {int(number)}" if number >= up_to[name] else "compare with what it can be"
    return Problem(path, f"this is {always} so: {name} counts from 0 up to {up_to[name]} (`up_to`)", hint, node.at)
