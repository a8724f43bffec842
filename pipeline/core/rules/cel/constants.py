"""Parts of an expression that have no value whatever is known: the rule would be unknown for ever, without a word."""

from __future__ import annotations

import math
from typing import Any, Final

from pipeline.core.rules.cel import functions as lib
from pipeline.core.rules.cel.build import Builder
from pipeline.core.rules.cel.functions import UNCOMPUTABLE
from pipeline.core.rules.cel.syntax import MACROS, Call, ListOf, Literal, Node, RuleError, parts_of

#: What a part has that is no constant, or none that can be worked out.
_OPEN: Final = object()
#: Arguments that have to be no less than nought.
_PLACES: Final = ("[]", "substring")


def check_constants(tree: Node) -> None:
    """Raises RuleError at the first part of a well-typed expression that can never be computed."""
    _value(tree)


def check_finite(tree: Node) -> None:
    """Raises RuleError for a well-typed formula whose value is never a finite number, whatever it reads."""
    if _never_finite(tree):
        raise RuleError("this is never a finite number", tree.at, "divide by what is not nought")


def _value(node: Node) -> Any:
    """The value of a constant; `_OPEN` for anything else."""
    if isinstance(node, Literal):
        if isinstance(node.value, float) and not math.isfinite(node.value):
            raise RuleError("this number is larger than any there is", node.at, "the largest is 1.7e308")
        return node.value
    values = [_value(part) for part in parts_of(node)]
    if isinstance(node, ListOf):
        return _OPEN if any(value is _OPEN for value in values) else tuple(values)
    if not isinstance(node, Call) or node.name == "has" or (node.method and node.name in MACROS):
        return _OPEN
    _check_arguments(node, values)
    if any(value is _OPEN for value in values) or node.name == "daysSince":
        return _OPEN
    try:
        return Builder({}).build(node).fn({}, {})
    except UNCOMPUTABLE as error:
        raise RuleError(f"this can never be computed: {error}", node.at) from error


def _check_arguments(node: Call, values: list[Any]) -> None:
    """What an argument alone makes impossible, whatever the others are."""
    if node.name in ("/", "%") and type(values[-1]) is int and values[-1] == 0:
        raise RuleError("nothing can be divided by nought", node.args[-1].at)
    read = lib.WRITTEN.get(node.name, ())
    for argument, value, reader in zip(node.args, values, read, strict=False):
        if isinstance(value, str):
            try:
                reader(value)
            except UNCOMPUTABLE as error:
                raise RuleError(str(error), argument.at) from error
    if node.name in _PLACES:
        places = [(part, value) for part, value in zip(node.args[1:], values[1:], strict=True) if value is not _OPEN]
        for part, value in places:
            if value < 0:
                raise RuleError("there is no place before the first, which is 0", part.at)
        if len(places) == 2 and places[0][1] > places[1][1]:
            raise RuleError("this ends before it begins", places[1][0].at)


def _never_finite(node: Node) -> bool:
    if not isinstance(node, Call):
        return False
    value = _value(node)
    if value is not _OPEN:
        return isinstance(value, float) and not math.isfinite(value)
    if node.name == "/":
        divisor = _value(node.args[1])
        return (isinstance(divisor, float) and divisor == 0.0) or _never_finite(node.args[0])
    if node.name == "?:":
        return all(_never_finite(part) for part in node.args[1:])
    return node.name in ("+", "-", "*", "-_") and any(_never_finite(part) for part in node.args)
