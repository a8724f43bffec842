"""A rule as the engine holds it: its clauses, what each reads, and the first one that stops a candidate.

Missing data is never silently true: a clause that cannot be evaluated is unknown, and an unknown rule does not pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from json.encoder import encode_basestring
from math import isfinite
from types import MappingProxyType
from typing import Any, Final

from pipeline.core.model.values import Value
from pipeline.core.rules.cel.build import AT_LEAST, CANDIDATE, OF_BOTH, STALE, Builder, Facts, Fn
from pipeline.core.rules.cel.constants import check_constants, check_finite
from pipeline.core.rules.cel.cost import COST_MAX, check_cost, cost_of
from pipeline.core.rules.cel.functions import UNCOMPUTABLE, UNKNOWN
from pipeline.core.rules.cel.syntax import Call, ListOf, Name, Node, RuleError, conjuncts, parse

#: JSON as text, without escaping what is not ASCII.
encode_json: Final = json.JSONEncoder(ensure_ascii=False).encode

#: Facts that change by themselves as time passes.
CLOCK_FACTS: Final = ("now", "today", "local.hour", "local.minute", "local.weekday", "local.date")


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition of a rule's outermost &&."""

    text: str
    fn: Fn
    reads: tuple[str, ...]
    #: Operations of one evaluation at worst.
    cost: float = 0.0
    #: Path → class of sensitivity, of what it reads and nobody may be shown.
    hidden: Mapping[str, str] = field(default_factory=dict)

    @property
    def only_of_candidate(self) -> bool:
        """Whether it reads the item and nothing else."""
        return bool(self.reads) and all(map(_of_item_alone, self.reads))


@dataclass(frozen=True, slots=True)
class Rule:
    """A compiled condition. `of_candidate`: its outcome depends on the item it is asked about."""

    text: str
    clauses: tuple[Clause, ...]
    reads: frozenset[str]
    of_candidate: bool
    of_time: bool

    @property
    def cost(self) -> float:
        """Operations of one evaluation at worst."""
        return sum(one.cost for one in self.clauses)


@dataclass(frozen=True, slots=True)
class Number:
    """A compiled number expression, for ranking."""

    text: str
    fn: Fn
    reads: tuple[str, ...]
    #: Whether it reads the item, and whether it reads nothing else.
    of_candidate: bool = False
    only_of_candidate: bool = False
    #: Operations of one evaluation at worst.
    cost: float = 0.0


class Stop(Value, frozen=True):
    """Why a rule did not pass: the clause; `unknown` names the attribute that was missing ("" where it was false)."""

    clause: str
    values: dict[str, str]
    unknown: str = ""


def _of_item_alone(path: str) -> bool:
    return path.startswith(CANDIDATE) and not path.startswith(OF_BOTH)


def compile_rule(text: str, types: Mapping[str, str], sensitive: Mapping[str, str] = MappingProxyType({})) -> Rule:
    """Compile a condition against declared attributes. Raises RuleError at the first thing that is wrong.

    :param sensitive: path → class of what may be read and not shown.
    """
    tree = parse(text)
    whole = Builder(types).build(tree)
    if whole.type != "bool":
        raise RuleError(f"a rule is a condition, this is a {whole.type}", 0, "compare it, as profile.age >= 18")
    parts = [(node, cost_of(node, types)) for node in conjuncts(tree)]
    if sum(1.0 + cost for _, cost in parts) > COST_MAX:
        check_cost(tree, types)
    check_constants(tree)
    clauses = tuple(
        Clause(text[node.at:node.end], Builder(types).build(node).fn, read, cost,
               {path: sensitive[path] for path in read if path in sensitive})
        for node, cost in parts for read in [tuple(dict.fromkeys(reads_of(node, types)))]
    )
    reads = frozenset(name for clause in clauses for name in clause.reads)
    return Rule(text, clauses, reads, any(name.startswith(CANDIDATE) for name in reads),
                not reads.isdisjoint(CLOCK_FACTS))


def compile_number(text: str, types: Mapping[str, str]) -> Number:
    """Compile a number expression (int or double). Raises RuleError."""
    tree = parse(text)
    whole = Builder(types).build(tree)
    if whole.type not in ("int", "double"):
        raise RuleError(f"a formula is a number, this is a {whole.type}", 0)
    cost = check_cost(tree, types)
    check_constants(tree)
    check_finite(tree)
    reads = tuple(dict.fromkeys(reads_of(tree, types)))
    of_candidate = [name.startswith(CANDIDATE) for name in reads]
    return Number(text, whole.fn, reads, any(of_candidate), all(map(_of_item_alone, reads)), cost)


def stop_of(rule: Rule, facts: Facts, item: Facts) -> Stop | None:
    """None where the rule passes; else its first false clause, or, where none is false, the first unknown one."""
    unknown: Stop | None = None
    for clause in rule.clauses:
        try:
            if not clause.fn(facts, item):
                return Stop(clause.text, seen(clause, facts, item))
        except KeyError as missing:
            unknown = unknown or Stop(clause.text, seen(clause, facts, item), why_missing(str(missing.args[0]), facts))
        except UNCOMPUTABLE as failed:
            unknown = unknown or Stop(clause.text, seen(clause, facts, item), _said(clause, failed))
        except Exception as defect:
            defect.add_note(f"clause {clause.text!r}")
            raise
    return unknown


def why_missing(name: str, facts: Facts) -> str:
    """The name of what is unknown; `stale:<name>` where it was loaded and is too old by now."""
    return f"stale:{name}" if name + STALE in facts else name


def about(rule: Rule, item: Facts) -> Rule:
    """The rule as it is left for one item: without the clauses that only read the item and hold for it."""
    left = tuple(one for one in rule.clauses if not (one.only_of_candidate and _holds(one, item)))
    if len(left) == len(rule.clauses):
        return rule
    of_candidate = any(name.startswith(CANDIDATE) for one in left for name in one.reads)
    return replace(rule, clauses=left, of_candidate=of_candidate)


def _holds(clause: Clause, item: Facts) -> bool:
    try:
        return bool(clause.fn({}, item))
    except UNKNOWN:
        return False


def passes(rule: Rule, facts: Facts, item: Facts) -> bool:
    """Whether every clause is true; unknown is not true."""
    try:
        for clause in rule.clauses:
            if not clause.fn(facts, item):
                return False
    except UNKNOWN:
        return False
    except Exception as defect:
        defect.add_note(f"rule {rule.text!r}")
        raise
    return True


def _said(clause: Clause, failed: Exception) -> str:
    """Why it could not be worked out; without the words of an error that may quote what nobody may see."""
    return "what is hidden cannot be worked out" if clause.hidden else str(failed)


def seen(clause: Clause, facts: Facts, item: Facts) -> dict[str, str]:
    """The values a clause saw, as JSON by name; what was missing is left out, but for the least of a count. Of what is
    sensitive, its class instead."""
    values = {}
    for name in clause.reads:
        if name in clause.hidden:
            values[name] = as_json(f"hidden ({clause.hidden[name]})")
            continue
        source = item if name.startswith(CANDIDATE) else facts
        if name in source:
            values[name] = as_json(source[name])
        elif name + AT_LEAST in source:
            values[name] = as_json(f"at least {source[name + AT_LEAST]}")
    return values


def as_json(value: Any) -> str:
    """A fact as JSON text; timestamps in RFC 3339, durations in seconds."""
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is int or (kind is float and isfinite(value)):
        return repr(value)
    if isinstance(value, date):
        return f'"{value.isoformat()}"'
    if isinstance(value, timedelta):
        return f'"{value.total_seconds():g}s"'
    return encode_json(value)


def as_plain(value: Any) -> Any:
    """A fact that JSON has no type for, as rules write it: a timestamp in RFC 3339, a duration in seconds (`90s`)."""
    return json.loads(as_json(value))


def reads_of(node: Node, types: Mapping[str, str]) -> Iterator[str]:
    """The declared attributes an expression reads."""
    if isinstance(node, Name):
        if node.path in types:
            yield node.path
    elif isinstance(node, ListOf):
        for item in node.items:
            yield from reads_of(item, types)
    elif isinstance(node, Call):
        if node.name == "daysSince":
            yield from ("now", "zone")
        for arg in node.args:
            yield from reads_of(arg, types)
