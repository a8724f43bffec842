"""A signal counts from its publication on: what may have happened before is unknown, never nought."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.identity.merge import merged
from pipeline.core.model.definitions import Matcher, Signal
from pipeline.core.rules import signals
from pipeline.core.rules.cel.build import AT_LEAST
from pipeline.core.rules.rule import compile_rule, stop_of
from pipeline.core.sections.section import changed
from pipeline.core.subject import Person

NOW = 100_000
WITHIN = 1_000
COUNT = Signal("n", "count", (Matcher(),), WITHIN, 5, path="signals.n", keys=("n#1",))
SEQUENCE = Signal("s", "sequence", (Matcher(), Matcher()), path="signals.s", keys=("s#1", "s#2"))


def rule(text: str, profile: Person, signal: Signal = COUNT, now_ms: int = NOW) -> bool | None:
    """What the rule says of the profile; None: unknown."""
    known: dict[str, Any] = {}
    value = signals.value(signal, profile, now_ms)
    if value is not None:
        known[signal.path] = value
    elif signal.kind == "count":
        known[signal.path + AT_LEAST] = signals.least(signal, profile, now_ms)
    stop = stop_of(compile_rule(text, {signal.path: "int"}), known, {})
    return True if stop is None else None if stop.unknown else False


@pytest.mark.parametrize(("since_ms", "heard_ms", "count"), [
    (0, 50, 0),  # it always counted
    (NOW - 10, 0, 0),  # nobody ever told us anything of this subject
    (NOW - 10, NOW - 5, 0),  # they came after it
    (NOW - 10, NOW - 10, 0),
    (NOW - 10, NOW - 11, None),  # what they did before was not counted
    (NOW - WITHIN, 50, 0),  # its window has passed
    (NOW - WITHIN + 1, 50, None),
])
def test_a_count_is_known_once_nothing_can_be_missing(since_ms: int, heard_ms: int, count: int | None) -> None:
    assert signals.value(replace(COUNT, since_ms=since_ms), Person(heard_ms=heard_ms), NOW) == count


@pytest.mark.parametrize(("text", "outcome"), [
    ("signals.n == 0", False), ("signals.n != 0", True), ("signals.n >= 2", True), ("signals.n > 1", True),
    ("signals.n < 2", False), ("signals.n <= 1", False), ("signals.n >= 3", None), ("signals.n == 2", None),
    ("signals.n != 2", None), ("signals.n == 3", None), ("signals.n < 3", None), ("signals.n == 1", False),
    ("signals.n + 1 > 0", None), ("!has(signals.n)", True),
])
def test_what_was_counted_so_far_settles_what_it_can(text: str, outcome: bool | None) -> None:
    profile = Person(heard_ms=1, behaviour={"n#1": (NOW - 3, NOW - 2)})
    assert rule(text, profile, replace(COUNT, since_ms=NOW - 10)) is outcome


@given(seen=st.integers(0, 8), missed=st.integers(0, 8), against=st.integers(-1, 7),
       how=st.sampled_from(["<", "<=", "==", "!=", ">=", ">"]))
def test_no_comparison_says_anything_but_what_the_whole_history_says(
    seen: int, missed: int, against: int, how: str
) -> None:
    since_ms = NOW - 10
    late = tuple(range(NOW - 9, NOW - 9 + seen))
    early = tuple(range(NOW - 20, NOW - 20 + missed))
    text = f"signals.n {how} {against}"
    whole = rule(text, Person(heard_ms=1, behaviour={"n#1": (early + late)[-5:]}))
    partly = rule(text, Person(heard_ms=1, behaviour={"n#1": late[-5:]}), replace(COUNT, since_ms=since_ms))
    assert partly in (whole, None)
    if seen >= 5:
        assert partly is whole, "past what it counts up to, nothing more can be missing"


def test_a_sequence_that_happened_is_known_one_that_may_have_is_not() -> None:
    late = replace(SEQUENCE, since_ms=NOW - 10)
    happened: dict[str, tuple[int, ...]] = {"s#1": (NOW - 5,), "s#2": (NOW - 4,)}
    assert signals.value(late, Person(heard_ms=1), NOW) is None
    assert signals.value(late, Person(heard_ms=1, behaviour=happened), NOW) is True
    undone = replace(late, without=Matcher(), keys=(*late.keys, "s#3"))
    assert signals.value(undone, Person(heard_ms=1, behaviour=happened), NOW) is None, "what undoes it may be missing"
    assert signals.value(undone, Person(heard_ms=NOW, behaviour=happened), NOW) is True


def test_time_alone_makes_a_count_known_and_it_is_looked_at_again_then() -> None:
    late = replace(COUNT, since_ms=NOW - 10)
    heard = Person(heard_ms=1, behaviour={"n#1": (NOW - 5,)})
    assert signals.due_ms([late], heard, NOW) == NOW - 10 + WITHIN
    assert signals.due_ms([late], changed(heard, heard_ms=NOW), NOW) == NOW - 5 + WITHIN
    assert signals.due_ms([late], changed(heard, behaviour={}), NOW + WITHIN) is None


@pytest.mark.parametrize(("own", "given_up", "both"), [(0, 0, 0), (5, 0, 5), (0, 7, 7), (5, 7, 5), (7, 5, 5)])
def test_two_profiles_that_become_one_were_heard_of_when_the_first_was(own: int, given_up: int, both: int) -> None:
    one, other = Person(profile_id="shop/a", heard_ms=own), Person(profile_id="shop/b", heard_ms=given_up)
    assert merged(one, other).heard_ms == both


