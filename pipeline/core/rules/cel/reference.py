"""The same rule in Google's CEL library: the second opinion when a policy is published, the oracle of the tests.

Decides nothing in production. The library gets the text as it was written, so that it judges the grammar too. Declared
attributes become variables with dotted names, which types each of them; only what the library does not have (has() of a
variable, the facts that daysSince() reads) is replaced in its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from typing import Any, Final

from cel_expr_python import cel

from pipeline.core.rules.cel.functions import EXTENSIONS, EvaluationError, accepted, days_between, overload, zone
from pipeline.core.rules.cel.syntax import Call, Name, Node, parse, parts_of

_T: Final = cel.Type
_TYPES: Final = {
    "bool": _T.BOOL, "int": _T.INT, "double": _T.DOUBLE, "string": _T.STRING, "timestamp": _T.TIMESTAMP,
    "duration": _T.DURATION, "list(string)": _T.List(_T.STRING),
    # It has none: a day is its first moment to it. That a moment is no day is our compiler's to say.
    "date": _T.TIMESTAMP,
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


def _extensions() -> Iterator[Any]:
    """What we have and CEL's standard does not, so that the library can judge rules that use it."""
    for name, method in EXTENSIONS:
        overloads = []
        for types in accepted(name, method):
            found = overload(name, types, method)
            if found is not None and types != ("date",):
                overloads.append(cel.Overload(
                    f"{name}_{'_'.join(types)}", return_type=_TYPES[found.result],
                    parameters=[_TYPES[one] for one in types], is_member=method, impl=_listed(found.impl)))
        yield cel.FunctionDecl(name, overloads)


def _listed(impl: Any) -> Any:
    """The library's lists are Python's, and its days timestamps."""
    def call(*args: Any) -> Any:
        value = impl(*args)
        if isinstance(value, date):
            return datetime.combine(value, time(), UTC)
        return list(value) if isinstance(value, tuple) else value

    return call


class Reference:
    """The library's environment for one set of declared attributes."""

    def __init__(self, types: Mapping[str, str]) -> None:
        days = cel.Overload("days_since", return_type=_T.INT, parameters=[_T.TIMESTAMP, _T.TIMESTAMP, _T.STRING],
                            impl=_days_since)
        self._env = cel.NewEnv(
            variables={**{path: _TYPES[kind] for path, kind in types.items()}, _PRESENT: _T.List(_T.STRING)},
            functions=[cel.FunctionDecl("daysSince", [days]), _two("min", min), _two("max", max), *_extensions()],
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
            return self._env.compile(for_library(text))
        except RuntimeError as error:
            raise Refused(str(error)) from error


def for_library(text: str) -> str:
    """The rule's own text, with has() and daysSince() as the library can take them. Raises RuleError."""
    for at, end, instead in sorted(_replacements(parse(text)), reverse=True):
        text = f"{text[:at]}{instead}{text[end:]}"
    return text


def _replacements(node: Node) -> Iterator[tuple[int, int, str]]:
    """Where something else is to stand, from the inside out: begin, end, text."""
    if isinstance(node, Call) and not node.method:
        if node.name == "has" and len(node.args) == 1 and isinstance(node.args[0], Name):
            yield node.at, node.end, f"('{node.args[0].path}' in {_PRESENT})"
            return
        if node.name == "daysSince":
            yield node.end - 1, node.end, ", now, zone)"
    for part in parts_of(node):
        yield from _replacements(part)
