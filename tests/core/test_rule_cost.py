"""A rule's cost counts the work of what it calls: whatever passes the check does no more than the check allows.

The work is counted apart from the estimate: what every call of a function read and made on the largest values there
are, which shares nothing with the estimate but what a character weighs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.core.model.bounds import TEXT_CHARS_MAX
from pipeline.core.model.problems import DefinitionError
from pipeline.core.rules.cel import functions
from pipeline.core.rules.cel.cost import COST_MAX, LIST_ITEMS_MAX, cost_of
from pipeline.core.rules.cel.syntax import RuleError, parse
from pipeline.core.rules.rule import compile_number, compile_rule, passes
from pipeline.core.rules.templates import compile_template

from .build import made

TYPES = {"context.tags": "list(string)", "context.more": "list(string)", "context.page": "string",
         "context.name": "string", "profile.n": "int"}


@pytest.mark.parametrize("text", [
    "context.tags.all(a, context.tags.all(b, context.page.matches('x*y*')))",
    "size(context.tags.map(a, context.tags.map(b, context.page + context.page))) > 0",
    "context.tags.all(a, context.tags.all(b, context.page.contains(context.name)))",
    "context.tags.all(a, context.tags.all(b, context.page.replace('a', 'b') == a))",
    "context.tags.all(a, context.tags.all(b, versionAtLeast(a, b)))",
    "context.tags.all(a, context.page.split(',').all(b, context.more.exists(c, c == b)))",
    "context.tags.all(a, context.page.matches('(a|b)*a(a|b){200}'))",
    "context.tags.all(a, context.tags.all(b, context.page.lowerAscii() == a))",
])
def test_what_would_take_long_is_a_finding_with_its_place(text: str) -> None:
    with pytest.raises(RuleError, match=f"more than {COST_MAX:,}") as told:
        compile_rule(text, TYPES)
    assert text[told.value.at:].startswith(("all", "map"))


def test_without_a_list_the_place_is_the_costliest_call() -> None:
    text = "profile.n > 1 && (context.page + context.page + context.page).matches('(a|b)*a(a|b){400}')"
    with pytest.raises(RuleError, match="operations") as told:
        compile_rule(text, TYPES)
    assert text[told.value.at:].startswith("matches")
    with pytest.raises(RuleError, match="operations"):
        compile_template("{{ size(context.tags.map(a, context.more.map(b, context.page + a))) }}", TYPES)
    gap = "{{ size(context.tags.map(a, context.more.map(b, b))) }}"
    assert compile_template(f"{gap} {gap}", TYPES)
    with pytest.raises(RuleError, match="all up to here may take"):
        compile_template(gap * 4, TYPES)
    with pytest.raises(RuleError, match="operations"):
        compile_number("size(context.tags.map(a, context.more.map(b, context.page + a)))", TYPES)


@pytest.mark.parametrize("text", [
    "context.tags.exists(a, context.more.exists(b, a == b))",
    "context.tags.exists(a, a.matches('^/(shop|store|de|en)/[a-z]+/[0-9]{1,8}$'))",
    "context.page.matches('^/(shop|store|de|en)/[a-z]+/[0-9]{1,8}$') && context.name.lowerAscii() == 'x'",
    "context.tags.exists(a, context.page.contains(a) && context.name.startsWith(a))",
    "context.tags.exists(a, a.trim().lowerAscii() in ['a', 'b', 'c'])",
    "context.tags.exists(a, versionAtLeast(a, '1.2.3'))",
    "context.page.split(',').exists(x, x.trim() == 'a') || 'b' in context.tags",
])
def test_ordinary_rules_are_far_from_the_bound(text: str) -> None:
    compile_rule(text, TYPES)


@pytest.mark.parametrize("item", [
    {"attributes": {"category": "x" * (TEXT_CHARS_MAX + 1)}}, {"tags": ["x" * 600, "y" * 600]},
    {"tags": [f"{number}" for number in range(LIST_ITEMS_MAX + 1)]}, {"campaign": "x" * (TEXT_CHARS_MAX + 1)}])
def test_no_item_has_more_than_the_cost_counts_with(item: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match="at most"):
        made({}, {"a": item})


def test_no_function_takes_more_than_linear_time_to_refuse() -> None:
    """Of all functions of one text, with what nearly fits: each takes well under a millisecond, where it took 70."""
    nearly = ("1" * 1_023 + "x", "1." * 512, "." * 1_024, "+" * 1_024, "1e" * 512, " " * 1_023 + "x", "-1h" * 300)
    for table in (functions._FUNCTIONS, functions._METHODS):
        for name, overloads in table.items():
            for kinds, overload in overloads.items():
                if set(kinds) == {"string"}:
                    for text in nearly:
                        took = min(_timed(overload.impl, [text] * len(kinds)) for _ in range(3))
                        assert took < 0.02, (name, text[:9])


def _timed(impl: Callable[..., Any], args: list[Any]) -> float:
    began = time.thread_time()
    try:
        impl(*args)
    except ValueError:
        pass
    return time.thread_time() - began


# -- the work that is done -----------------------------------------------------------------------------------------

_texts = st.recursive(
    st.sampled_from(["context.page", "context.name", "a", "b", "'x'", "'abc'"]),
    lambda text: st.one_of(
        st.tuples(text, text).map(lambda two: f"({two[0]} + {two[1]})"),
        text.map(lambda one: f"{one}.lowerAscii()"), text.map(lambda one: f"{one}.trim()"),
        st.tuples(text, text).map(lambda two: f"{two[0]}.replace('a', {two[1]})"),
        text.map(lambda one: f"{one}.split(',')[0]"), text.map(lambda one: f"({one} == 'x' ? {one} : context.page)")),
    max_leaves=4)
_conditions = st.recursive(
    st.one_of(
        st.tuples(_texts, _texts).map(lambda two: f"{two[0]} == {two[1]}"),
        st.tuples(_texts, _texts).map(lambda two: f"{two[0]}.contains({two[1]})"),
        st.tuples(_texts, st.sampled_from(["x*y*", "(a|b){9}c", "^v"])).map(
            lambda two: f"{two[0]}.matches('{two[1]}')"),
        _texts.map(lambda one: f"{one} in context.more"), _texts.map(lambda one: f"size({one}.split('a')) > 3")),
    lambda below: st.one_of(
        st.tuples(below, below).map(lambda two: f"({two[0]} && {two[1]})"),
        st.tuples(st.sampled_from("ab"), st.sampled_from(["context.tags", "context.more", "context.page.split(',')"]),
                  st.sampled_from(["all", "exists", "exists_one"]), below).map(
            lambda parts: f"{parts[1]}.{parts[2]}({parts[0]}, {parts[3]})"),
        st.tuples(st.sampled_from("ab"), _texts).map(
            lambda parts: f"size(context.tags.map({parts[0]}, {parts[1]})) > 0")),
    max_leaves=3)


class _Meter:
    """Counts what the functions read and make: a character made as it weighs in CEL, one that is read a hundredth."""

    def __init__(self) -> None:
        self.work = 0.0

    def wrapped(self, found: functions.Overload, name: str) -> functions.Overload:
        def impl(*args: Any) -> Any:
            result = found.impl(*args)
            self.work += 1 + 0.1 * (len(result) if isinstance(result, str) else 0)
            if name in ("matches", "lowerAscii", "upperAscii"):
                self.work += 0.1 * len(args[0])
            return result

        return functions.Overload(found.result, impl, found.reads_facts)



@settings(max_examples=300, deadline=None)
@given(_conditions, st.sampled_from(["even", "one", "short"]))
def test_what_passes_does_no_more_work_than_it_may(text: str, spread: str) -> None:
    text = f"context.tags.all(a, context.more.all(b, {text}))" if " a" in text or "(a" in text else (
        f"['{'a' * 9}'].all(a, ['b'].all(b, {text}))")
    meter, found = _Meter(), functions.overload
    patched = pytest.MonkeyPatch()
    try:
        patched.setattr(functions, "overload", lambda name, types, method: (
            None if (one := found(name, types, method)) is None else meter.wrapped(one, name)))
        rule = compile_rule(text, TYPES)
    except RuleError as error:
        assume("operations" in error.message)
        return
    finally:
        patched.undo()
    meter.work = 0.0
    many = {"even": ("abc",) * LIST_ITEMS_MAX, "one": ("a" * (TEXT_CHARS_MAX - 255), *("",) * 255), "short": ("ab",)}
    facts = {"context.tags": many[spread], "context.more": many[spread], "context.page": "a" * TEXT_CHARS_MAX,
             "context.name": "b," * (TEXT_CHARS_MAX // 2), "profile.n": 1}
    passes(rule, facts, {})
    assert meter.work <= cost_of(parse(text), TYPES) <= COST_MAX
