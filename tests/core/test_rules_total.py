"""Rules are total: whatever the values are, a rule passes, does not pass, or is unknown with a reason."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.model.definitions import Variant
from pipeline.core.rules.cel import functions
from pipeline.core.rules.cel.cost import COST_MAX, LIST_ITEMS_MAX
from pipeline.core.rules.cel.reference import Reference, Refused
from pipeline.core.rules.cel.syntax import RuleError
from pipeline.core.rules.facts import CONVERT
from pipeline.core.rules.rule import Stop, compile_number, compile_rule, passes, stop_of
from pipeline.core.rules.templates import UnboundError, bind, compile_template

KINDS = ("string", "int", "double", "bool", "timestamp", "date", "duration", "list(string)")
TYPES = {
    **{f"profile.{kind.partition('(')[0]}{n}": kind for kind in KINDS for n in (1, 2)},
    "now": "timestamp", "zone": "string",
}
PATHS = {kind: [path for path in TYPES if TYPES[path] == kind and path.startswith("profile.")] for kind in KINDS}

_whole = [0, 1, -1, 2**31, 2**53, -(2**53), 2**53 + 1, 2**62, 2**63 - 1, -(2**63)]
_real = [0.0, -0.0, 0.5, 1e308, -1e308, 5e-324, 2.0**63, float("inf"), float("-inf"), float("nan")]
_text = [
    "", "a", "9" * 400, "1e999", "-", "\ud800", "＠", "\x00", "x" * 1_000_000, "1" * 1_000_000, "Europe/Berlin",
    "Nowhere/Land", "../etc/passwd", "+14:00", "999999999999999999m", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "2026-02-30T00:00:00Z", ",".join("x" * LIST_ITEMS_MAX), ",".join("x" * (LIST_ITEMS_MAX + 1)),
]
_moments = [
    datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 30, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
]
_spans = [timedelta(0), timedelta.max, timedelta.min, timedelta(microseconds=1), timedelta(days=-1)]
VALUES: dict[str, list[Any]] = {
    "string": _text, "int": _whole, "double": _real, "bool": [True, False], "timestamp": _moments, "duration": _spans,
    "date": [date.min, date.max, date(1970, 1, 1)],
    "list(string)": [(), ("a",), ("",) * LIST_ITEMS_MAX, ("\ud800", "b")],
}
_zones = ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati", "Nowhere/Land", "+01:00"]


def _every_call() -> list[tuple[str, str]]:
    """An expression for each overload of each function and operator there is, with its result's type."""
    found = []
    for table, method in ((functions._FUNCTIONS, False), (functions._METHODS, True)):
        for name, overloads in table.items():
            for kinds, overload in overloads.items():
                paths = [PATHS[kind][n % 2] for n, kind in enumerate(kinds)]
                if name == "matches":
                    paths[1] = "'a+b'"
                found.append((_call(name, paths, method), overload.result))
    found += [(f"size({PATHS['string'][0]})", "int"), (f"{PATHS['list(string)'][0]}[{PATHS['int'][0]}]", "string")]
    return found


def _call(name: str, args: list[str], method: bool) -> str:
    if method:
        return f"{args[0]}.{name}({', '.join(args[1:])})"
    if name.isidentifier():
        return f"{name}({', '.join(args)})"
    return f"{name[0]}{args[0]}" if len(args) == 1 else f"({args[0]} {name} {args[1]})"


CALLS = _every_call()


@st.composite
def facts_at_the_bounds(draw: st.DrawFn) -> dict[str, Any]:
    """A value at a bound for every attribute, some of them missing."""
    facts = {path: draw(st.sampled_from(VALUES[kind])) for path, kind in TYPES.items() if path.startswith("profile.")}
    for path in draw(st.lists(st.sampled_from(sorted(facts)), max_size=3)):
        facts.pop(path, None)
    return {**facts, "now": draw(st.sampled_from(_moments)), "zone": draw(st.sampled_from(_zones))}


@pytest.mark.parametrize(("text", "kind"), CALLS)
def test_every_function_is_total_at_every_bound(text: str, kind: str) -> None:
    rule = compile_rule(text if kind == "bool" else f"({text}) == ({text})", TYPES)
    named = [path for path in TYPES if path in text]
    pairs = [(one, two) for one in VALUES[TYPES[named[0]]] for two in VALUES[TYPES[named[-1]]]] if named else [(0, 0)]
    for zone in _zones if "zone" in rule.reads else _zones[:1]:
        for one, two in pairs:
            facts = {"now": _moments[3], "zone": zone, **({named[0]: one, named[-1]: two} if named else {})}
            stop = stop_of(rule, facts, {})
            assert stop is None or isinstance(stop, Stop)
            assert passes(rule, facts, {}) is (stop is None)


@settings(max_examples=400, deadline=None)
@given(calls=st.lists(st.sampled_from(CALLS), min_size=1, max_size=4), facts=facts_at_the_bounds())
def test_rules_rankings_and_templates_never_raise(calls: list[tuple[str, str]], facts: dict[str, Any]) -> None:
    for text, kind in calls:
        if kind == "bool":
            stop_of(compile_rule(f"!({text}) || ({text})", TYPES), facts, {})
        if kind in ("int", "double"):
            compile_number(text, TYPES)
        if kind in ("int", "double", "bool", "string"):
            template = compile_template(f"{{{{ {text} }}}}", TYPES)
            assert template is not None
            variant = Variant("v", content={"t": ""}, templates=(("t", template),))
            for escape in ("html", "url", "json", "none"):
                try:
                    bind(variant, facts, {}, escape)
                except UnboundError as unbound:
                    assert unbound.missing


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [*_text, *_whole, *_real, True, False, 10**400], ids=lambda value: repr(value)[:40])
def test_every_stored_value_is_read_or_unknown(kind: str, value: Any) -> None:
    CONVERT[kind](value)


def test_a_list_past_its_bound_is_unknown() -> None:
    assert len(CONVERT["list(string)"](",".join("x" * LIST_ITEMS_MAX))) == LIST_ITEMS_MAX
    assert CONVERT["list(string)"](",".join("x" * (LIST_ITEMS_MAX + 1))) is None


# -- what a policy may write ---------------------------------------------------------------------------------------

LISTS = {"profile.a": "list(string)", "profile.b": "list(string)", "profile.c": "list(string)", "profile.n": "int"}


def test_conditions_over_lists_within_one_another_are_bounded() -> None:
    compile_rule("profile.a.exists(x, profile.b.exists(y, x == y))", LISTS)
    with pytest.raises(RuleError, match=f"more than {COST_MAX:,}") as told:
        compile_rule("profile.n > 1 && profile.a.all(x, profile.b.all(y, profile.c.all(z, x == y && y == z)))", LISTS)
    assert told.value.at == len("profile.n > 1 && profile.a.")


@pytest.mark.parametrize("operator", ["&&", "||"])
def test_a_long_row_of_conditions_is_accepted_by_both(operator: str) -> None:
    text = f" {operator} ".join(f"profile.n == {n}" for n in range(150))
    rule = compile_rule(text, LISTS)
    Reference(LISTS).check(text)
    assert (stop_of(rule, {"profile.n": 149}, {}) is None) is (operator == "||")


def test_a_long_row_of_sums_is_a_finding() -> None:
    with pytest.raises(RuleError, match="operations within one another"):
        compile_rule(" + ".join(["1"] * 900) + " == 900", LISTS)


@pytest.mark.parametrize(
    "text",
    [
        "true ? false ? true : false : true", "profile.n == １２", "'\\x4' == 'a'", "'\\ud800' == 'a'",
        "'\\U00110000' == 'a'",
        "'\\q' == 'a'", "now.getHours('Europe/Berln') == 1", "duration('999999999999999999m') > duration('1h')",
        "timestamp('0000-01-01T00:00:00Z') < now",
    ],
)
def test_what_is_no_cel_is_a_finding_with_its_place(text: str) -> None:
    with pytest.raises(RuleError) as told:
        compile_rule(text, TYPES | LISTS)
    assert 0 <= told.value.at <= len(text)


@pytest.mark.parametrize(
    "text",
    ["true ? (false ? true : false) : true", "true ? false : true ? false : true", "'\\x41' == 'A'"],
)
def test_what_is_cel_is_taken_by_both(text: str) -> None:
    compile_rule(text, LISTS)
    Reference(LISTS).check(text)


def test_the_library_meets_the_rule_as_it_was_written() -> None:
    with pytest.raises(Refused):
        Reference(LISTS).check("profile.n == 'a'")


def test_fixed_offsets_are_zones() -> None:
    at = datetime(2026, 3, 2, 10, tzinfo=UTC)
    assert at.astimezone(functions.zone("-03:30")) == at.astimezone(timezone(-timedelta(hours=3, minutes=30)))
    for name in ("+24:00", "+1:00", "+01:60", "01:00", "+01:00:00"):
        with pytest.raises(functions.EvaluationError):
            functions.zone(name)


def test_a_condition_over_a_list_stops_where_it_is_settled() -> None:
    seen: list[str] = []

    class Text(str):
        def __eq__(self, other: object) -> bool:
            seen.append(str(self))
            return str(self) == other

        __hash__ = str.__hash__

    many = tuple(Text(letter) for letter in "abcd")
    assert passes(compile_rule("profile.a.exists(x, x == 'b')", LISTS), {"profile.a": many}, {})
    assert not passes(compile_rule("profile.a.all(x, x == 'a')", LISTS), {"profile.a": many}, {})
    assert seen == ["a", "b", "a", "b"]
