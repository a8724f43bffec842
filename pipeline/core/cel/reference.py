"""The same rule in Google's CEL library: the second opinion when a policy is published, the oracle of the tests.

Decides nothing in production. Declared attributes become variables with dotted names, which types each of them; what
the library does not have (has() of a variable, daysSince, min, max) is written in terms of what it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from cel_expr_python import cel

from pipeline.core.cel.functions import EvaluationError, days_between, zone
from pipeline.core.cel.syntax import Call, ListOf, Literal, Name, Node, parse

_T: Final = cel.Type
_TYPES: Final = {
    "bool": _T.BOOL, "int": _T.INT, "double": _T.DOUBLE, "string": _T.STRING, "timestamp": _T.TIMESTAMP,
    "duration": _T.DURATION, "list(string)": _T.List(_T.STRING),
}
_PRESENT: Final = "present_attributes"


class Refused(ValueError):
    """The library does not take the rule."""


def _days_since(at: datetime, now: datetime, name: str) -> int:
    return days_between(at, now, zone(name))


def _two(name: str, impl: Any) -> Any:
    overloads = [cel.Overload(f"{name}_{kind}", return_type=type_, parameters=[type_, type_], impl=impl)
                 for kind, type_ in (("int", _T.INT), ("double", _T.DOUBLE))]
    return cel.FunctionDecl(name, overloads)


class Reference:
    """The library's environment for one set of declared attributes."""

    def __init__(self, types: Mapping[str, str]) -> None:
        days = cel.Overload("days_since", return_type=_T.INT, parameters=[_T.TIMESTAMP, _T.TIMESTAMP, _T.STRING],
                            impl=_days_since)
        self._env = cel.NewEnv(
            variables={**{path: _TYPES[kind] for path, kind in types.items()}, _PRESENT: _T.List(_T.STRING)},
            functions=[cel.FunctionDecl("daysSince", [days]), _two("min", min), _two("max", max)],
        )

    def check(self, text: str) -> None:
        """Raises Refused with the library's words where it does not compile."""
        self._compiled(text)

    def evaluate(self, text: str, facts: Mapping[str, Any]) -> Any:
        """The rule's value. Raises EvaluationError where it has none: unknown data or a failed operation."""
        result = self._compiled(text).eval(data={**facts, _PRESENT: sorted(facts)})
        if result.type() == _T.ERROR:
            raise EvaluationError(str(result.value()))
        return result.plain_value()

    def _compiled(self, text: str) -> Any:
        try:
            return self._env.compile(rendered(parse(text)))
        except RuntimeError as error:
            raise Refused(str(error)) from error


def rendered(node: Node) -> str:
    """The tree as text for the library, every operation in parentheses."""
    if isinstance(node, Literal):
        return _literal(node.value)
    if isinstance(node, Name):
        return node.path
    if isinstance(node, ListOf):
        return f"[{', '.join(rendered(item) for item in node.items)}]"
    return _call(node)


def _call(node: Call) -> str:
    if node.name == "has" and isinstance(node.args[0], Name):
        return f"('{node.args[0].path}' in {_PRESENT})"
    args = [rendered(arg) for arg in node.args]
    if node.method:
        return f"{args[0]}.{node.name}({', '.join(args[1:])})"
    if node.name == "daysSince":
        return f"daysSince({args[0]}, now, zone)"
    if node.name == "?:":
        return f"({args[0]} ? {args[1]} : {args[2]})"
    if node.name == "[]":
        return f"{args[0]}[{args[1]}]"
    if node.name == "-_":
        return f"(-({args[0]}))"
    if node.name == "!":
        return f"(!({args[0]}))"
    if node.name.isidentifier() and node.name != "in":
        return f"{node.name}({', '.join(args)})"
    return f"({args[0]} {node.name} {args[1]})"


def _literal(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        plain = (c if c.isascii() and (c.isalnum() or c == " ") else f"\\U{ord(c):08x}" for c in value)
        return f"'{''.join(plain)}'"
    return repr(value)
