"""Compiled rules agree with Google's library: on value, on unknown, on failure, over generated rules and facts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.rules.cel.build import Builder
from pipeline.core.rules.cel.functions import EvaluationError
from pipeline.core.rules.cel.reference import Reference, for_library
from pipeline.core.rules.cel.syntax import parse

TYPES = {
    "profile.plan": "string", "profile.name": "string", "profile.age": "int", "profile.orders": "int",
    "profile.spent": "double", "profile.rate": "double", "profile.member": "bool", "segment.vip": "bool",
    "profile.at": "timestamp", "now": "timestamp", "zone": "string", "profile.gap": "duration",
    "segments": "list(string)", "candidate.value": "double", "candidate.tags": "list(string)",
}
REFERENCE = Reference(TYPES)

_texts = st.sampled_from(["", "a", "pro", "plus", "Ünïcode", "it's", "x.y", "/tents/2", "\\d", "😀"])
_ints = st.one_of(st.integers(-5, 5), st.sampled_from([2**63 - 1, -(2**63), 2**62, 2**53 + 1, 86_400]))
_reals = st.one_of(st.sampled_from([0.0, -0.0, 0.5, -1.5, 1e10, 1e300, -1e300, 3.0]), st.integers(-4, 4).map(float))
_moments = st.integers(1_704_067_200, 1_830_000_000).map(lambda s: datetime.fromtimestamp(s, UTC))
_zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])
_values = {
    "string": _texts, "int": _ints, "double": _reals, "bool": st.booleans(), "timestamp": _moments,
    "duration": st.integers(-200_000, 200_000).map(lambda s: timedelta(seconds=s)),
    "list(string)": st.lists(_texts, max_size=3).map(tuple),
}


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_LITERALS = {
    "string": _texts.map(_quoted), "int": _ints.map(str), "double": _reals.map(repr),
    "bool": st.sampled_from(["true", "false"]),
    "timestamp": _moments.map(lambda at: f"timestamp('{at.strftime('%Y-%m-%dT%H:%M:%SZ')}')"),
    "duration": st.sampled_from(["duration('24h')", "duration('90m')", "duration('1h30m')", "duration('-5s')"]),
    "list(string)": st.lists(_texts.map(_quoted), min_size=1, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
}
_PATHS = {kind: [path for path, own in TYPES.items() if own == kind] for kind in set(TYPES.values())}
_COMPARED = ("string", "int", "double", "timestamp", "duration", "bool")


@st.composite
def expressions(draw: st.DrawFn, kind: str, depth: int) -> str:
    """A well-typed expression of a type."""
    if depth == 0:
        return draw(st.one_of(st.sampled_from(_PATHS[kind]), _LITERALS[kind]))
    return str(draw(st.sampled_from(_GROW[kind]))(draw, depth - 1))


def _sub(draw: st.DrawFn, kind: str, depth: int) -> str:
    return draw(expressions(kind, draw(st.integers(0, depth))))


def _relation(draw: st.DrawFn, depth: int) -> str:
    kind = draw(st.sampled_from(_COMPARED))
    operators = ("==", "!=") if kind == "bool" else ("==", "!=", "<", "<=", ">", ">=")
    return f"({_sub(draw, kind, depth)} {draw(st.sampled_from(operators))} {_sub(draw, kind, depth)})"


def _infix(operators: tuple[str, ...], left: str, right: str) -> Any:
    return lambda draw, depth: (
        f"({_sub(draw, left, depth)} {draw(st.sampled_from(operators))} {_sub(draw, right, depth)})")


def _choice(kind: str) -> Any:
    return lambda draw, depth: (
        f"({_sub(draw, 'bool', depth)} ? {_sub(draw, kind, depth)} : {_sub(draw, kind, depth)})")


def _made(template: str, *kinds: str) -> Any:
    return lambda draw, depth: template.format(*(_sub(draw, kind, depth) for kind in kinds))


def _leaf(kind: str) -> Any:
    return lambda draw, depth: draw(expressions(kind, 0))


_GROW: dict[str, list[Any]] = {
    "bool": [
        _relation, _relation, _infix(("&&", "||"), "bool", "bool"), _infix(("&&", "||"), "bool", "bool"),
        _made("(!{})", "bool"), _choice("bool"), _made("({} in {})", "string", "list(string)"),
        _made("{}.contains({})", "string", "string"), _made("{}.startsWith({})", "string", "string"),
        _made("{}.endsWith({})", "string", "string"),
        _made("{}.exists(s, s == {})", "list(string)", "string"), _made("{}.all(s, s != {})", "list(string)", "string"),
        _made("{}.exists_one(s, s == {})", "list(string)", "string"),
        lambda draw, depth: f"has({draw(st.sampled_from(sorted(TYPES)))})",
        lambda draw, depth: f"({_sub(draw, 'int', depth)} in [1, 2, -3])",
        lambda draw, depth: f"({_sub(draw, 'double', depth)} in [0.0, 0.5])",
        lambda draw, depth: f"{_sub(draw, 'string', depth)}.matches('^p[a-z]+$')",
    ],
    "int": [
        _infix(("+", "-", "*", "/", "%"), "int", "int"), _made("(-({}))", "int"), _choice("int"),
        _made("size({})", "string"), _made("size({})", "list(string)"), _made("int({})", "double"),
        _made("{}.getDayOfWeek()", "timestamp"), _made("{}.getHours('Europe/Berlin')", "timestamp"),
        _made("{}.getFullYear()", "timestamp"), _made("{}.getDayOfYear(zone)", "timestamp"),
        _made("{}.getHours()", "duration"), _made("{}.getMinutes()", "duration"), _made("int({})", "timestamp"),
        _made("daysSince({})", "timestamp"), _made("min({}, {})", "int", "int"), _leaf("int"),
    ],
    "double": [
        _infix(("+", "-", "*", "/"), "double", "double"), _made("(-({}))", "double"), _choice("double"),
        _made("double({})", "int"), _leaf("double"), _made("abs({})", "double"), _made("floor({})", "double"),
        _made("round({})", "double"), _made("ceil({})", "double"),
    ],
    "string": [_infix(("+",), "string", "string"), _choice("string"), _made("string({})", "int"), _leaf("string"),
               _made("{}.lowerAscii()", "string"), _made("{}.upperAscii()", "string"), _made("{}.trim()", "string"),
               _made("{}.substring(1)", "string"), _made("{}.replace('p', {})", "string", "string"),
               _made("string({})", "timestamp")],
    "timestamp": [_infix(("+", "-"), "timestamp", "duration"), _leaf("timestamp")],
    "duration": [_infix(("-",), "timestamp", "timestamp"), _infix(("+", "-"), "duration", "duration"),
                 _leaf("duration")],
    "list(string)": [_leaf("list(string)"), _made("{}.filter(s, s != {})", "list(string)", "string"),
                     _made("{}.map(s, s + {})", "list(string)", "string"), _made("{}.split('.')", "string")],
}


@st.composite
def known_facts(draw: st.DrawFn) -> dict[str, Any]:
    """Some attributes known, some not."""
    facts = {path: draw(_values[kind]) for path, kind in TYPES.items()
             if path not in ("zone", "now") and draw(st.booleans())}
    return {**facts, "zone": draw(_zones), "now": draw(_moments)}


def _ours(text: str, facts: dict[str, Any]) -> Any:
    fn = Builder(TYPES).build(parse(text)).fn
    item = {path: value for path, value in facts.items() if path.startswith("candidate.")}
    try:
        value = fn({path: one for path, one in facts.items() if path not in item}, item)
    except (KeyError, EvaluationError):
        return "no value"
    return list(value) if isinstance(value, tuple) else value


def _theirs(text: str, facts: dict[str, Any]) -> Any:
    try:
        return REFERENCE.evaluate(text, {path: list(one) if isinstance(one, tuple) else one
                                         for path, one in facts.items()})
    except EvaluationError:
        return "no value"


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float) and ours != ours:
        return isinstance(theirs, float) and theirs != theirs
    return type(ours) is type(theirs) and bool(ours == theirs)


@settings(max_examples=1_500, deadline=None)
@given(text=expressions("bool", 3), facts=known_facts())
def test_conditions_agree_with_the_library(text: str, facts: dict[str, Any]) -> None:
    assert _same(_ours(text, facts), _theirs(text, facts)), (text, for_library(text))


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(["int", "double", "string", "timestamp", "duration"]), data=st.data(), facts=known_facts())
def test_values_agree_with_the_library(kind: str, data: st.DataObject, facts: dict[str, Any]) -> None:
    text = data.draw(expressions(kind, 3))
    assert _same(_ours(text, facts), _theirs(text, facts)), text


@pytest.mark.parametrize("text", [
    "1 == 1.0", "profile.age > 'a'", "profile.plan + 1", "!profile.age", "profile.plan && true",
    "profile.plan in 'abc'", "size(1)", "profile.plan.startsWith(1)", "-profile.plan",
    "duration('1h') > 1", "profile.unheard_of == 1", "unheard_of(1)", "profile.age.startsWith('a')",
])
def test_what_the_library_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="INVALID_ARGUMENT"):
        REFERENCE.check(text)
    with pytest.raises(ValueError):
        Builder(TYPES).build(parse(text))
