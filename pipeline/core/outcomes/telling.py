"""The records of the topic `outcomes`: a part of an event's credit, a window's total, an event that belongs nowhere."""

from __future__ import annotations

from pipeline.core.hashing import digest
from pipeline.core.model.outcome_record import MatchedBy, Outcome, Unmatched
from pipeline.core.model.values import Value, replaced
from pipeline.core.model.words import ModelUse
from pipeline.core.sections.exposures import Exposure, credit_key

_NO_MODEL = ModelUse("", 0)


class Happened(Value, frozen=True):
    """An event that is an outcome, as far as its records say."""

    event_id: str
    item_id: str
    at_ms: int
    decision_id: str = ""
    placement: str = ""
    channel: str = ""


def partial(
    profile_id: str, decision_id: str, exposure: Exposure, place: int, name: str, attribution: str,
    happened: Happened, matched_by: MatchedBy, weight: float, reward: float,
) -> Outcome:
    """One event's credit for one item shown. `reward`: this part of it."""
    one = _of_place(profile_id, decision_id, exposure, place, name, attribution)
    shown = exposure.shown[place]
    named = digest("outcome", happened.event_id, decision_id, shown.placement, str(place), shown.item_id, name)
    return replaced(one, outcome_id=named, at_ms=happened.at_ms, event_id=happened.event_id, reward=reward,
                    weight=weight, matched_by=matched_by)


def finals(
    profile_id: str, decision_id: str, exposure: Exposure, name: str, attribution: str, closed_ms: int, reason: str
) -> list[Outcome]:
    """What an outcome brought each item shown, once its window is closed: 0 where nothing came."""
    made = []
    for place, shown in enumerate(exposure.shown):
        one = _of_place(profile_id, decision_id, exposure, place, name, attribution)
        named = digest("outcome", "final", decision_id, str(exposure.at_ms), shown.placement, str(place),
                       shown.item_id, name)
        made.append(replaced(one, outcome_id=named, at_ms=closed_ms, final=True, weight=1.0, reason=reason,
                             reward=exposure.credits.get(credit_key(place, name), 0.0)))
    return made


def _of_place(
    profile_id: str, decision_id: str, exposure: Exposure, place: int, name: str, attribution: str
) -> Outcome:
    shown = exposure.shown[place]
    model = exposure.models.get(shown.placement, _NO_MODEL)
    return Outcome(
        "", name, profile_id, exposure.at_ms, shown.item_id, shown.item_id, 0.0, MatchedBy.DECISION, False,
        attribution, exposure.release, decision_id=decision_id, context=exposure.context.decode(),
        pscore=shown.propensity, position=shown.position, placement=shown.placement, channel=exposure.channel,
        scenario=exposure.scenario, campaign=shown.campaign, variant=shown.variant, decided_ms=exposure.at_ms,
        experiments=shown.experiment.split(",") if shown.experiment else [], model=model.model,
        snapshot=model.snapshot,
    )


def unmatched(
    profile_id: str, name: str, attribution: str, happened: Happened, reward: float, reason: Unmatched, release: str
) -> Outcome:
    """An event that is credited to no decision. `release`: under which it was not."""
    named = digest("outcome", happened.event_id, "", "", "", happened.item_id, name)
    return Outcome(
        named, name, profile_id, happened.at_ms, happened.item_id, "", reward, MatchedBy.NONE, False, attribution,
        release, event_id=happened.event_id, decision_id=happened.decision_id, placement=happened.placement,
        channel=happened.channel, reason=reason,
    )
