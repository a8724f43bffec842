"""Golden decisions: what must come out, written beside the policy and decided anew before every publish."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from pipeline.core.consent import answers
from pipeline.core.decide.decision import decide
from pipeline.core.decide.live import Live
from pipeline.core.journeys import advance
from pipeline.core.model.problems import Problem
from pipeline.core.model.records import Account, ConsentGrant, DecisionRequest, OptIn
from pipeline.core.sections.journeys import Position
from pipeline.core.sections.memberships import Member
from pipeline.core.sections.section import changed
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import Person
from pipeline.policy.definitions import GoldenDefinition

_ACCOUNT: Final = "golden/@account"


def check(cases: Mapping[str, GoldenDefinition], live: Live) -> list[Problem]:
    """What did not come out as written."""
    problems: list[Problem] = []
    for name, case in cases.items():
        there = _with_account(case, live)
        result = decide(_request(name, case), _profile(case, there), there, case.at_ms)
        chosen = [one.item_id for one in result.decisions]
        why = "; ".join(f"{audit.item_id}: {audit.outcome} {audit.clause}".strip() for audit in result.candidates)
        if chosen != case.expect:
            message = f"expected {', '.join(case.expect)} but decided {', '.join(chosen)}"
            problems.append(Problem(("golden", name, "expect"), message, why))
        elif case.reason is not None and result.reason != case.reason:
            message = f"expected {case.reason} but it is {result.reason}"
            problems.append(Problem(("golden", name, "reason"), message, why))
    return problems


def _request(name: str, case: GoldenDefinition) -> DecisionRequest:
    return DecisionRequest(f"golden-{name}", "golden/subject", case.channel, [case.placement], case.scenario,
                           case.max_variants, case.require_consent, dict(case.context))


def _with_account(case: GoldenDefinition, live: Live) -> Live:
    """As it would be with the account that the case names; its caps have room."""
    if case.account is None:
        return live
    grants = _grants(case.account_consent, case, live)
    return replace(live, accounts={_ACCOUNT: Account(_ACCOUNT, 1, case.at_ms, dict(case.account), grants)})


def _grants(names: list[str], case: GoldenDefinition, live: Live) -> list[ConsentGrant]:
    """Given that very moment, on the first basis the policy permits, and confirmed."""
    known = live.policy.purposes
    return [ConsentGrant(name, True, case.at_ms, basis=known[name].bases[0], opt_in=OptIn.CONFIRMED) for name in names]


def _profile(case: GoldenDefinition, live: Live) -> Person:
    known = live.policy.purposes
    grants = _grants(case.consent, case, live)
    profile = Person(
        profile_id="golden/subject", traits={name: Trait(value, 0) for name, value in case.traits.items()},
        consent=answers.recorded({}, grants, known, case.at_ms),
        accounts={} if case.account is None else {_ACCOUNT: Member(tuple(case.roles), case.at_ms)},
    )
    profile, _ = advance.refresh(profile, live.policy, case.at_ms, None, account=live.accounts.get(_ACCOUNT))
    return changed(profile, segments={**profile.segments, **dict.fromkeys(case.segments, case.at_ms)},
                   journeys={**profile.journeys, **_placed(case, live)})


def _placed(case: GoldenDefinition, live: Live) -> dict[str, Position]:
    places = {one.id: one.places for one in live.policy.journeys}
    return {name: Position(stage, case.at_ms, case.at_ms, places[name][stage], 1)
            for name, stage in case.journeys.items()}
