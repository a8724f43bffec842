"""Syntax tree to a typed Python function: checks the types CEL checks, refuses what CEL refuses.

A function takes `(facts, item)`: two dicts from attribute path to value, `item` for paths under `candidate.`.
A missing attribute raises KeyError(path), a failed evaluation one of `UNCOMPUTABLE`; && and || absorb both as CEL does.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.core.rules.cel import functions as lib
from pipeline.core.rules.cel.functions import UNCOMPUTABLE, UNKNOWN, EvaluationError
from pipeline.core.rules.cel.syntax import MACROS, Call, ListOf, Literal, Name, Node, RuleError
from pipeline.core.rules.patterns import PatternError

Facts = Mapping[str, Any]
Fn = Callable[[Facts, Facts], Any]

#: Paths under this prefix are read from the second argument.
CANDIDATE: Final = "candidate."
#: Of these, what is the subject's as well: what somebody did about the item.
OF_BOTH: Final = "candidate.features."

#: Paths of counts; and what stands behind the path of one that is not known, for the least that it can be.
SIGNALS: Final = ("signals.", "features.")
AT_LEAST: Final = "@least"
#: Beside the path of what is unknown because what was loaded is too old.
STALE: Final = "@stale"

#: The types of declared attributes.
ATTRIBUTE_TYPES: Final = ("bool", "int", "double", "string", "timestamp", "date", "duration", "list(string)")

#: The namespaces of attributes that a policy declares.
DECLARED: Final = ("profile", "account", "features", "journey", "context", "candidate")

#: Text that is written out to be converted is converted at once, or is a mistake.
_CONVERSIONS: Final = ("timestamp", "date", "duration", "int", "double")
_CANNOT: Final = {
    "timestamp": "now or timestamp('2026-01-31T00:00:00Z')", "date": "today or date('2026-01-31')",
    "duration": "duration('24h')", "string": "'text'",
    "double": "a number with a point, as 100.0", "int": "a whole number, as 100", "bool": "true or false",
}


_INSTEAD: Final = {
    "and": "write a && b", "or": "write a || b", "not": "write !a", "if": "write condition ? this : that",
    "now": "write now, without parentheses",
}
_LISTED: Final = ", ".join(sorted(set(lib.names())))


@dataclass(frozen=True, slots=True)
class Built:
    """A typed function. `constant`: it reads nothing. `path`: the attribute it is, where it is nothing more."""

    type: str
    fn: Fn
    constant: bool = False
    path: str = ""


class Builder:
    """Compiles trees against declared attributes; `names` and `reads_now` tell what the last ones read."""

    def __init__(self, types: Mapping[str, str]) -> None:
        self._types = types
        self._locals: dict[str, str] = {}

    def build(self, node: Node) -> Built:
        """The typed function. Raises RuleError at the first thing that is wrong."""
        if isinstance(node, Literal):
            return _constant(_type_of(node.value), node.value)
        if isinstance(node, Name):
            return self._name(node)
        if isinstance(node, ListOf):
            return self._list(node)
        return self._call(node)

    def _name(self, node: Name) -> Built:
        path = node.path
        if path in self._locals:
            return Built(self._locals[path], lambda facts, item: facts[path], path=path)
        kind = self._types.get(path)
        if kind is None:
            raise RuleError(f"{path!r} is not declared", node.at, self._meant(path), path)
        if path.startswith(CANDIDATE):
            return Built(kind, lambda facts, item: item[path], path=path)
        return Built(kind, lambda facts, item: facts[path], path=path)

    def _meant(self, path: str) -> str:
        """What an undeclared name was probably meant to be, or how to make it known."""
        whole = [name for name in self._types if name.endswith(f".{path}")]
        if whole:
            return f"did you mean {whole[0]!r}?"
        close = nearest(path, (*self._types, *self._locals))
        space, dot, name = path.partition(".")
        if close or space not in DECLARED:
            return close or ("" if dot else f"text stands in quotes: '{path}'")
        return f"declare it: attributes: {{{space}: {{{name}: string}}}}"

    def _list(self, node: ListOf) -> Built:
        items = [self.build(item) for item in node.items]
        types = {item.type for item in items}
        if len(types) > 1:
            raise RuleError(f"a list holds one type, not {' and '.join(sorted(types))}", node.at)
        kind = f"list({types.pop() if types else '?'})"
        fns = [item.fn for item in items]
        if all(item.constant for item in items):
            return _constant(kind, tuple(fn({}, {}) for fn in fns))
        return Built(kind, lambda facts, item: tuple([fn(facts, item) for fn in fns]))

    def _call(self, node: Call) -> Built:
        name = node.name
        if name == "has" and not node.method:
            return self._has(node)
        if node.method and name in MACROS:
            return self._macro(node)
        args = [self.build(arg) for arg in node.args]
        types = tuple(arg.type for arg in args)
        if name in ("&&", "||"):
            return self._logic(node, args)
        if name == "?:":
            return self._choice(node, args)
        if name in ("==", "!="):
            return _equality(node, args)
        if name == "in":
            return _membership(node, args)
        if name == "matches" and len(args) == 2:
            _check_pattern(node, args[1])
        if node.method and types == ("timestamp", "string") and args[1].constant:
            _check_zone(node, args[1])
        found = lib.overload(name, types, node.method)
        if found is None:
            raise RuleError(_no_overload(node, types), node.mark, _advice(node, types))
        return _apply(node, found, args)

    def _has(self, node: Call) -> Built:
        if len(node.args) != 1 or not isinstance(node.args[0], Name):
            raise RuleError("has() takes one attribute, as has(profile.plan)", node.at)
        self._name(node.args[0])
        path = node.args[0].path
        if path.startswith(CANDIDATE):
            return Built("bool", lambda facts, item: path in item)
        return Built("bool", lambda facts, item: path in facts)

    def _logic(self, node: Call, args: list[Built]) -> Built:
        for arg, part in zip(args, node.args, strict=True):
            if arg.type != "bool":
                raise RuleError(f"{node.name} joins conditions, this is a {arg.type}", part.at, "compare it with ==")
        left, right = args[0].fn, args[1].fn
        return Built("bool", _and(left, right) if node.name == "&&" else _or(left, right))

    def _choice(self, node: Call, args: list[Built]) -> Built:
        if args[0].type != "bool":
            raise RuleError(f"what stands before ? must be a condition, this is a {args[0].type}", node.args[0].at)
        if args[1].type != args[2].type:
            raise RuleError(f"both sides of : must have one type, not {args[1].type} and {args[2].type}", node.mark)
        test, yes, no = (arg.fn for arg in args)
        return Built(args[1].type, lambda facts, item: yes(facts, item) if test(facts, item) else no(facts, item))

    def _macro(self, node: Call) -> Built:
        if len(node.args) != 3 or not isinstance(node.args[1], Name) or "." in node.args[1].path:
            raise RuleError(f"{node.name}() takes a name and a condition, as segments.{node.name}(s, s == 'vip')",
                            node.mark)
        source = self.build(node.args[0])
        if not source.type.startswith("list("):
            raise RuleError(f"{node.name}() works on lists, this is a {source.type}", node.args[0].at)
        name = node.args[1].path
        if name in self._types:
            raise RuleError(f"{name!r} is already taken", node.args[1].at, "choose another name")
        outer = self._locals
        self._locals = {**outer, name: source.type[5:-1]}
        body = self.build(node.args[2])
        self._locals = outer
        if node.name == "map":
            return Built(f"list({body.type})", _mapped(source.fn, name, body.fn))
        if body.type != "bool":
            raise RuleError(f"{node.name}() needs a condition, this is a {body.type}", node.args[2].at)
        if node.name == "filter":
            return Built(source.type, _filtered(source.fn, name, body.fn))
        return Built("bool", _quantifier(node.name, source.fn, name, body.fn))


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean …?` for a misspelt name, or nothing."""
    close = difflib.get_close_matches(word, list(known), 1, 0.6)
    return f"did you mean {close[0]!r}?" if close else ""


def _type_of(value: object) -> str:
    if value is None:
        return "null"
    return {bool: "bool", int: "int", float: "double", str: "string"}[type(value)]


def _constant(kind: str, value: Any) -> Built:
    return Built(kind, lambda facts, item: value, constant=True)


def _and(left: Fn, right: Fn) -> Fn:
    def both(facts: Facts, item: Facts) -> Any:
        try:
            if not left(facts, item):
                return False
        except UNKNOWN:
            if _is(False, right, facts, item):
                return False
            raise
        return right(facts, item)

    return both


def _or(left: Fn, right: Fn) -> Fn:
    def either(facts: Facts, item: Facts) -> Any:
        try:
            if left(facts, item):
                return True
        except UNKNOWN:
            if _is(True, right, facts, item):
                return True
            raise
        return right(facts, item)

    return either


def _is(wanted: bool, fn: Fn, facts: Facts, item: Facts) -> bool:
    """Whether the other side settles it; of two unknowns the first one is told."""
    try:
        return fn(facts, item) is wanted
    except UNKNOWN:
        return False


def _apply(node: Call, found: lib.Overload, args: list[Built]) -> Built:
    impl, fns = found.impl, [arg.fn for arg in args]
    if found.reads_facts:
        first = fns[0] if fns else None
        if first is None:
            return Built(found.result, lambda facts, item: impl(facts))
        return Built(found.result, lambda facts, item: impl(facts, first(facts, item)))
    if all(arg.constant for arg in args):
        try:
            return _constant(found.result, impl(*(fn({}, {}) for fn in fns)))
        except UNCOMPUTABLE as error:
            if node.name in _CONVERSIONS and args[0].type == "string":
                raise RuleError(str(error), node.args[0].at) from error
            return Built(found.result, lambda facts, item: impl(*(fn(facts, item) for fn in fns)))
    if len(fns) == 1:
        only = fns[0]
        return Built(found.result, lambda facts, item: impl(only(facts, item)))
    if len(fns) == 2:
        return Built(found.result, _pair(impl, *args))
    return Built(found.result, lambda facts, item: impl(*[fn(facts, item) for fn in fns]))


def _pair(impl: Callable[[Any, Any], Any], left: Built, right: Built) -> Fn:
    """Both sides' values in one call; an attribute beside a constant, as in most clauses, takes no calls of its own."""
    one, two, path = left.fn, right.fn, left.path
    if not right.constant:
        return lambda facts, item: impl(one(facts, item), two(facts, item))
    value = two({}, {})
    if not path:
        return lambda facts, item: impl(one(facts, item), value)
    if path.startswith(CANDIDATE):
        return lambda facts, item: impl(item[path], value)
    if path.startswith(SIGNALS) and left.type == "int":
        return _counted(impl, path, value)
    return lambda facts, item: impl(facts[path], value)


def _counted(impl: Callable[[Any, Any], Any], path: str, value: int) -> Fn:
    """A count beside a constant. Where the count is not known, but the least that it can be, that may settle it."""
    grows = impl not in (operator.eq, operator.ne)

    def compared(facts: Facts, item: Facts) -> Any:
        try:
            return impl(facts[path], value)
        except KeyError:
            least = facts.get(path + AT_LEAST)
            if least is None or type(at_least := impl(least, value)) is not bool:
                raise
            if at_least is not impl(math.inf, value) or not (grows or least > value):
                raise
            return at_least

    return compared


def _equality(node: Call, args: list[Built]) -> Built:
    left, right = args
    if left.type != right.type and "?" not in left.type + right.type:
        raise RuleError(_no_overload(node, (left.type, right.type)), node.mark, _advice(node, (left.type, right.type)))
    return Built("bool", _pair(operator.eq if node.name == "==" else operator.ne, left, right))


def _membership(node: Call, args: list[Built]) -> Built:
    value, many = args
    if not many.type.startswith("list("):
        raise RuleError(f"in looks into a list, this is a {many.type}", node.args[1].at, "write ['a', 'b']")
    if many.type not in ("list(?)", f"list({value.type})"):
        raise RuleError(f"the list holds {many.type[5:-1]}, not {value.type}", node.mark)
    a, b = value.fn, many.fn
    if many.constant and value.type in ("string", "int"):
        known = _constant(many.type, frozenset(b({}, {})))
        return Built("bool", _pair(_is_among, value, known))
    if value.type == "double":
        return Built("bool", lambda facts, item: lib.contains_number(b(facts, item), a(facts, item)))
    return Built("bool", lambda facts, item: a(facts, item) in b(facts, item))


def _is_among(value: Any, known: Any) -> bool:
    return value in known


def _quantifier(kind: str, source: Fn, name: str, body: Fn) -> Fn:
    def settled(facts: Facts, item: Facts, settles: bool) -> bool:
        """Whether one element's condition is `settles`, which ends the search; else the first failure is raised."""
        scope, failure = dict(facts), None
        for value in source(facts, item):
            scope[name] = value
            try:
                if body(scope, item) is settles:
                    return True
            except UNKNOWN as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return False

    def exactly_one(facts: Facts, item: Facts) -> bool:
        scope, true = dict(facts), 0
        for value in source(facts, item):
            scope[name] = value
            true += bool(body(scope, item))
        return true == 1

    if kind == "exists":
        return lambda facts, item: settled(facts, item, True)
    if kind == "all":
        return lambda facts, item: not settled(facts, item, False)
    return exactly_one


def _filtered(source: Fn, name: str, body: Fn) -> Fn:
    def filtered(facts: Facts, item: Facts) -> tuple[Any, ...]:
        scope, kept = dict(facts), []
        for value in source(facts, item):
            scope[name] = value
            if body(scope, item):
                kept.append(value)
        return tuple(kept)

    return filtered


def _mapped(source: Fn, name: str, body: Fn) -> Fn:
    def mapped(facts: Facts, item: Facts) -> tuple[Any, ...]:
        scope, made = dict(facts), []
        for value in source(facts, item):
            scope[name] = value
            made.append(body(scope, item))
        return tuple(made)

    return mapped


def _check_pattern(node: Call, pattern: Built) -> None:
    if not pattern.constant:
        raise RuleError("the pattern of matches() must be written out, as 'a+b'", node.mark)
    if pattern.type == "string":
        try:
            lib.matches("", pattern.fn({}, {}))
        except PatternError as error:
            raise RuleError(str(error), node.args[1].at) from error


def _check_zone(node: Call, name: Built) -> None:
    try:
        lib.zone(name.fn({}, {}))
    except EvaluationError as error:
        raise RuleError(str(error), node.args[1].at) from error


def _no_overload(node: Call, types: tuple[str, ...]) -> str:
    if len(types) == 2 and not node.method and not node.name.isidentifier():
        return f"{node.name} cannot take {types[0]} and {types[1]}"
    if lib.known(node.name) and not node.name.isidentifier():
        return f"{node.name.removesuffix('_')} cannot take {' and '.join(types)}"
    if lib.known(node.name):
        return f"{node.name}() cannot take {', '.join(types) or 'nothing'}"
    return f"there is no function {node.name!r}"


def _advice(node: Call, types: tuple[str, ...]) -> str:
    if not lib.known(node.name) and node.name not in ("==", "!="):
        return _INSTEAD.get(node.name.lower()) or nearest(node.name, lib.names()) or f"there are: {_LISTED}"
    if set(types) == {"int", "double"}:
        return "write whole numbers with a point beside decimals (100.0), or convert with double(…)"
    if "null" in types:
        return "use has(…) to ask whether an attribute is there"
    if len(types) == 2 and types[0] != types[1] and types[0] in _CANNOT:
        return f"beside a {types[0]} write {_CANNOT[types[0]]}"
    takes = [", ".join(one[1:] if node.method else one) for one in lib.accepted(node.name, node.method)]
    return f"it takes {' or '.join(takes)}" if node.name.isidentifier() and any(takes) else ""
