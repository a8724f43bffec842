"""A comparison that a signal's own bound decides is a finding, not a segment that stays empty."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.model.problems import DefinitionError
from tests.core.build import made


def _problems(rule: str, up_to: int, where: str = "segments") -> list[str]:
    policy: dict[str, Any] = {"signals": {"n": {"count": {"event": "click"}, "within": "7d", "up_to": up_to}}}
    items = {"a": {"eligibility": rule}} if where == "items" else {}
    if where == "segments":
        policy["segments"] = {"s": {"rule": rule}}
    try:
        made(policy, items)
    except DefinitionError as error:
        return [one.message for one in error.problems]
    return []


@pytest.mark.parametrize("where", ["segments", "items"])
@pytest.mark.parametrize(("rule", "up_to", "said"), [
    ("signals.n >= 150", 100, "never"), ("signals.n <= 1", 1, "always"), ("150 <= signals.n", 100, "never"),
    ("signals.n >= 0", 100, "always"), ("profile.age > 3 && !(signals.n == 101)", 100, "never"),
    ("signals.n + 1 >= 150", 100, "never"), ("double(signals.n) > 10.0", 10, "never"),
    ("signals.n * 2 - 1 < 20", 10, "always"), ("signals.n in [11, 12]", 10, "never"),
    ("1.5 * double(signals.n) <= 15.0", 10, "always"), ("-signals.n > 0", 5, "never"),
    ("min(signals.n, 3) == 4", 10, "never"), ("signals.n / 20 > 0", 19, "never"),
])
def test_what_its_bound_decides_is_a_finding(rule: str, up_to: int, said: str, where: str) -> None:
    [message] = _problems(rule, up_to, where)
    assert message == f"this is {said} so: signals.n counts from 0 up to {up_to} (`up_to`)"


@pytest.mark.parametrize("rule", [
    "signals.n + 1 >= 100", "double(signals.n) > 9.0", "signals.n in [10, 11]", "signals.n + profile.age >= 150",
    "10 / signals.n > 0", "signals.n % 2 == 1", "daysSince(profile.since) > signals.n"])
def test_what_some_count_decides_otherwise_is_none(rule: str) -> None:
    assert _problems(rule, 100) == []


_OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq,
              "!=": operator.ne}


@given(st.sampled_from(sorted(_OPERATORS)), st.integers(-3, 14), st.integers(1, 10), st.booleans())
def test_it_is_one_exactly_where_all_counts_say_the_same(sign: str, number: int, up_to: int, turned: bool) -> None:
    compare = _OPERATORS[sign]
    outcomes = {compare(number, n) if turned else compare(n, number) for n in range(up_to + 1)}
    literal = str(number) if number >= 0 else f"({number})"
    rule = f"{literal} {sign} signals.n" if turned else f"signals.n {sign} {literal}"
    found = _problems(rule, up_to)
    if number >= 0:
        assert bool(found) == (len(outcomes) == 1)
