"""Consent fails closed where times are of another precision, clocks are wrong, or a yes has run out."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core.consent import permission
from pipeline.core.consent.answers import SKEW_MS, as_received, recorded
from pipeline.core.consent.statements import of_tc_string
from pipeline.core.model.definitions import Purpose
from pipeline.core.model.records import ConsentGrant, OptIn
from pipeline.core.model.terms import Tcf
from tests.core.test_tcf import encode

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
TODAY_MS = 20_600 * DAY_MS
PURPOSE = Purpose("p")
CONFIRMED = Purpose("p", double_opt_in=frozenset({"web"}))


def tc_string(yes: bool, came_ms: int, day_ms: int = TODAY_MS) -> list[ConsentGrant]:
    """What a string of a day says, received at a time. Strings tell the day only, by its midnight."""
    said: dict[str, Any] = {"purposes": {1}, "consented": {8}} if yes else {}
    text = encode(disclosed={8}, at_ms=day_ms, **said)
    return of_tc_string(text, Tcf(8, {"p": (1,)}, 395 * DAY_MS), {"p": PURPOSE}, came_ms)


def category(yes: bool, at_ms: int, channel: str | None = None) -> list[ConsentGrant]:
    return [ConsentGrant("p", yes, at_ms, channel)]


def why(*said: list[ConsentGrant], at_ms: int = TODAY_MS + 20 * HOUR_MS, purpose: Purpose = PURPOSE) -> str:
    held: dict[str, ConsentGrant] = {}
    for grants in said:
        held = recorded(held, as_received(held, grants), {"p": purpose}, at_ms)
    return permission.found(held, purpose, "web", at_ms).why


def hour(number: float) -> int:
    return TODAY_MS + int(number * HOUR_MS)


def test_a_strings_no_ends_a_yes_of_the_same_day() -> None:
    assert why(category(True, hour(9)), tc_string(False, hour(10))) == "refused"


@pytest.mark.parametrize("week", [0, 7])
def test_of_two_strings_of_one_day_the_later_counts(week: int) -> None:
    said = tc_string(False, hour(9)), tc_string(True, hour(10))
    assert why(*said, at_ms=hour(20) + week * DAY_MS) == "granted"
    assert why(tc_string(True, hour(9)), tc_string(False, hour(10)), at_ms=hour(20) + week * DAY_MS) == "refused"


def test_a_strings_yes_is_as_late_as_the_event_that_brings_it() -> None:
    assert {one.at_ms for one in tc_string(True, hour(10))} == {hour(10)}
    assert {one.at_ms for one in tc_string(True, hour(30))} == {TODAY_MS + DAY_MS - 1}
    # A string with a time of its own keeps it.
    assert {one.at_ms for one in tc_string(True, hour(10), TODAY_MS + 700)} == {TODAY_MS + 700}


@given(no=st.integers(0, 24 * HOUR_MS - 1), came=st.integers(0, 10 * DAY_MS), order=st.booleans())
def test_a_string_never_lifts_an_exact_no_of_its_own_day(no: int, came: int, order: bool) -> None:
    said = [category(False, TODAY_MS + no), tc_string(True, TODAY_MS + came)]
    assert why(*(said if order else said[::-1]), at_ms=hour(24 * 11)) == "refused"


def test_a_string_of_a_later_day_lifts_it() -> None:
    assert why(category(False, hour(9)), tc_string(True, hour(26), TODAY_MS + DAY_MS), at_ms=hour(27)) == "granted"


def test_a_strings_no_also_ends_what_was_confirmed() -> None:
    said = [ConsentGrant("p", True, hour(9), opt_in=OptIn.CONFIRMED)]
    assert why(said, purpose=CONFIRMED) == "granted"
    assert why(said, tc_string(False, hour(10)), purpose=CONFIRMED) == "refused"
    assert why(tc_string(True, hour(10)), purpose=CONFIRMED) != "granted"


@pytest.mark.parametrize("back_ms", [1, 120_000, SKEW_MS])
@pytest.mark.parametrize("channel", [None, "web"])
def test_a_no_of_a_slow_clock_binds(back_ms: int, channel: str | None) -> None:
    assert why(category(True, hour(10)), category(False, hour(10) - back_ms)) == "refused"
    assert why(category(True, hour(10), channel), category(False, hour(10) - back_ms)) == "refused"


def test_an_old_no_of_an_import_does_not() -> None:
    assert why(category(True, hour(10)), category(False, hour(10) - SKEW_MS - 1)) == "granted"
    assert why(category(False, hour(9.5)), category(True, hour(10))) == "granted"


def test_a_yes_that_ran_out_counts_as_missing() -> None:
    lasting = Purpose("p", lasts_ms=730 * DAY_MS)
    own = category(True, TODAY_MS - 800 * DAY_MS, "web")
    assert why(own, category(True, TODAY_MS - 10 * DAY_MS), purpose=lasting) == "granted"
    assert why(own, purpose=lasting) == "expired"
    assert why(own, category(False, TODAY_MS - 810 * DAY_MS), purpose=lasting) == "refused"


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3 * 24)), min_size=1, max_size=5))
# Each no has its own later yes, the exact one and the string's; no yes is certainly later than both.
@example([(False, False, 48), (False, True, 49), (True, False, 49), (True, True, 50)])
def test_yes_needs_a_yes_that_no_doubt_is_about(said: list[tuple[bool, bool, int]]) -> None:
    """The rule as documented, as an oracle over everything that was said, in every order of arrival."""
    statements = [(by_string, yes, hour(at)) for by_string, yes, at in said]
    end_ms = hour(24 * 5)

    def beats(no: tuple[bool, bool, int], yes: tuple[bool, bool, int]) -> bool:
        """Whether a no is certainly earlier than a yes."""
        begins = yes[2] // DAY_MS * DAY_MS if yes[0] and not no[0] else yes[2]
        return no[2] < begins

    # Then the last word of all, whenever exactly it was, is a yes.
    possible = any(one[1] for one in statements) and all(
        any(yes[1] and beats(no, yes) for yes in statements) for no in statements if not no[1])
    for order in permutations(statements):
        outcome = why(*(tc_string(yes, at, at // DAY_MS * DAY_MS) if by_string else category(yes, at)
                        for by_string, yes, at in order), at_ms=end_ms)
        if outcome == "granted":
            assert possible, order
