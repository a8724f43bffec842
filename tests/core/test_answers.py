"""The laws of recording consent: order and repetition change nothing, and no merge permits what was refused."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.consent import answers, permission
from pipeline.core.model.definitions import Purpose
from pipeline.core.model.records import Basis, ConsentGrant, OptIn

NOW_MS = 10
CHANNELS = (None, "web", "email")
POLICIES = [
    Purpose("p", bases, lasts, frozenset(confirmed))
    for bases in ((Basis.CONSENT,), (Basis.CONSENT, Basis.LEGITIMATE_INTEREST), (Basis.CONTRACT, Basis.PUBLIC_TASK))
    for lasts, confirmed in itertools.product((None, 4), ((), ("email",)))
]

GRANTS = st.builds(
    ConsentGrant, st.just("p"), st.booleans(), st.integers(0, 8), st.sampled_from(CHANNELS),
    st.sampled_from(("a", "b")), st.none() | st.integers(0, 20), st.sampled_from(Basis), st.sampled_from(OptIn),
    st.sampled_from(("", "x")),
)
SAID = st.lists(GRANTS, max_size=8)


def kept(said: list[ConsentGrant]) -> dict[str, ConsentGrant]:
    return answers.recorded({}, said, {}, NOW_MS)


def permits(held: answers.Answers) -> set[tuple[int, str]]:
    return {(number, channel) for number, purpose in enumerate(POLICIES) for channel in ("web", "email")
            if permission.given(held, purpose, channel, NOW_MS)}


@given(SAID.flatmap(lambda said: st.tuples(st.just(said), st.permutations(said))))
def test_statements_may_come_in_any_order_and_twice(both: tuple[list[ConsentGrant], list[ConsentGrant]]) -> None:
    # A confirmation is judged when it comes: without the confirmed ones order is nothing.
    said, shuffled = ([one for one in some if one.opt_in is not OptIn.CONFIRMED] for some in both)
    assert kept(said) == kept(shuffled) == kept(said + shuffled)


@given(SAID, SAID, SAID)
def test_a_merge_is_the_same_from_either_side_in_any_grouping_and_repeated(
    a: list[ConsentGrant], b: list[ConsentGrant], c: list[ConsentGrant]
) -> None:
    one, two, three = kept(a), kept(b), kept(c)
    both = answers.merged(one, two)
    assert both == answers.merged(two, one)
    assert answers.merged(both, three) == answers.merged(one, answers.merged(two, three))
    assert answers.merged(both, one) == both == answers.merged(both, both)


@given(SAID, SAID)
def test_a_merge_permits_nothing_that_neither_side_permitted(a: list[ConsentGrant], b: list[ConsentGrant]) -> None:
    one, two = (kept([grant for grant in said if grant.expires_at_ms is None]) for said in (a, b))
    # Where there is another basis, one side's later yes may lift the other side's no to that; so may a yes that has run
    # out since (below).
    more = permits(answers.merged(one, two)) - permits(one) - permits(two)
    assert not [number for number, _ in more
                if POLICIES[number].bases == (Basis.CONSENT,) and POLICIES[number].lasts_ms is None]


def test_a_channels_no_that_a_later_yes_lifted_does_not_come_back_when_that_runs_out() -> None:
    lifted = kept([ConsentGrant("p", True, 6, "web", expires_at_ms=8)])
    held = kept([ConsentGrant("p", False, 5, "web"), ConsentGrant("p", True, 7)])
    assert (0, "web") not in permits(lifted) | permits(held)
    assert (0, "web") in permits(answers.merged(lifted, held)), "as if one person had said all three"


@given(SAID, SAID)
def test_a_merge_is_as_if_one_person_had_said_everything(a: list[ConsentGrant], b: list[ConsentGrant]) -> None:
    one, two = ([grant for grant in said if grant.opt_in is not OptIn.CONFIRMED] for said in (a, b))
    assert answers.merged(kept(one), kept(two)) == kept([*one, *two])


@given(SAID, st.sampled_from(CHANNELS))
def test_whatever_was_said_before_a_newer_no_is_a_no(said: list[ConsentGrant], channel: str | None) -> None:
    refused = kept([*said, ConsentGrant("p", False, NOW_MS, channel)])
    asked = ("web", "email") if channel is None else (channel,)
    for purpose in POLICIES:
        if Basis.CONTRACT not in purpose.bases:
            assert not any(permission.given(refused, purpose, name, NOW_MS) for name in asked)


@given(SAID, GRANTS)
def test_only_a_yes_permits_more(said: list[ConsentGrant], one: ConsentGrant) -> None:
    before, after = kept(said), kept([*said, one])
    if not one.granted or one.opt_in is OptIn.PENDING:
        assert permits(after) <= permits(before)


def test_a_yes_that_was_no_later_than_a_no_does_not_lift_it_by_running_out() -> None:
    purpose = Purpose("p", (Basis.CONSENT, Basis.LEGITIMATE_INTEREST), 4)
    interest = ConsentGrant("p", True, 1, basis=Basis.LEGITIMATE_INTEREST, expires_at_ms=20)
    said = kept([interest, ConsentGrant("p", False, 1), ConsentGrant("p", True, 1, "web")])
    assert permission.found(said, purpose, "web", NOW_MS).why == "refused"


def test_a_statement_from_the_future_counts_as_said_now() -> None:
    ahead = answers.recorded({}, [ConsentGrant("p", True, 99)], {}, NOW_MS)
    assert ahead["p"].at_ms == NOW_MS
    assert not answers.recorded(ahead, [ConsentGrant("p", False, NOW_MS + 1)], {}, NOW_MS + 1)["p"].granted


def test_what_is_forgotten_never_permits() -> None:
    objection = ConsentGrant("p", False, 0, basis=Basis.LEGITIMATE_INTEREST)
    many = [ConsentGrant("p", True, 1, f"c{number}", basis=Basis.LEGITIMATE_INTEREST) for number in range(300)]
    purpose = Purpose("p", (Basis.LEGITIMATE_INTEREST,))
    held = answers.recorded({}, [objection, *many], {"p": purpose}, NOW_MS)
    assert len(held) == answers.ANSWERS_MAX
    assert not any(permission.given(held, purpose, f"c{number}", NOW_MS) for number in range(300))
