"""Which decisions an event is credited to, and why to none. Bad data is a reason, never an exception.

First the decision that the event names; it must be one of this subject, and not be made after the event. Where the
event names none: the decisions of its item within the window, or of what the item belongs to, as the policy says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from pipeline.core.decide.live import Live
from pipeline.core.model.definitions import Item, Policy
from pipeline.core.model.outcome_record import MatchedBy, Outcome, Unmatched
from pipeline.core.model.outcome_rules import REWARD_MAX, OutcomeRule, Reward, Step
from pipeline.core.model.records import FeedbackEvent, FeedbackKind
from pipeline.core.model.values import Value, replaced
from pipeline.core.outcomes import rewarding, telling
from pipeline.core.outcomes.attribution import TOUCHES_MAX, weights
from pipeline.core.outcomes.rewarding import Told
from pipeline.core.outcomes.telling import Happened
from pipeline.core.rules.signals import matches
from pipeline.core.sections.exposures import Awaiting, Exposure, Exposures, Shown, credit_key
from pipeline.core.sections.section import changed
from pipeline.core.subject import OUTCOMES_TIMER, Person, timed

#: Events that wait for their decisions, at most; past it, the one that waited longest is told as unmatched.
WAITING_MAX: Final = 32
#: An event may seem so much older than the decision that it names: clocks differ.
EARLY_MS: Final = 600_000


_MATCHED_BY: Final[dict[Step, MatchedBy]] = {
    "item": MatchedBy.ITEM, "campaign": MatchedBy.CAMPAIGN, "tag": MatchedBy.TAG, "placement": MatchedBy.PLACEMENT,
}


class _Touch(Value, frozen=True):
    """One item shown by one decision."""

    decision_id: str
    place: int
    at_ms: int


#: What an outcome is credited to and by what, or why to nothing.
_Found = tuple[tuple[_Touch, ...], MatchedBy] | Unmatched


def heard(
    profile: Person, event: FeedbackEvent, item: Item, live: Live, at_ms: int, now_ms: int
) -> tuple[Person, tuple[Told, ...]]:
    """The profile after an event that may be learnt, the records of what it is an outcome of, and what models learn of
    it.

    :param item: the event's item as the catalog has it.
    :param at_ms: when it happened, never ahead of now (epoch ms).
    """
    policy = live.policy
    if not policy.outcomes:
        return profile, ()
    exposures = _noticed(profile.exposures, event, policy, at_ms)
    happened = Happened(event.event_id, event.item_id or "", at_ms, event.decision_id or "", event.placement or "",
                        event.channel or "")
    told: list[Told] = []
    waits: dict[str, float] = {}
    for rule in policy.outcomes:
        if not matches(rule.matcher, event, item.tags):
            continue
        reward = worth(rule.reward, event)
        if reward is None:
            told.append(_nowhere(profile, rule, happened, 0.0, Unmatched.NO_VALUE, live))
        elif event.decision_id and event.decision_id not in exposures and not _is_fallback(policy, happened):
            waits[rule.name] = reward
        else:
            exposures, records = credited(profile, exposures, rule, happened, item, reward, live)
            told += records
    after = profile if exposures is profile.exposures else changed(profile, exposures=exposures)
    if waits:
        after, records = _waiting(after, happened, waits, live, now_ms)
        told += records
    return after, tuple(told)


def worth(reward: Reward, event: FeedbackEvent) -> float | None:
    """What an event is worth; None: it does not have the number, or one that is out of bounds."""
    if reward.field is None:
        return reward.factor
    said = event.properties.get(reward.field) if reward.is_property else event.value
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    amount = reward.factor * said
    return amount if math.isfinite(amount) and abs(amount) <= REWARD_MAX else None


def credited(
    profile: Person, exposures: Exposures, rule: OutcomeRule, happened: Happened, item: Item, reward: float, live: Live
) -> tuple[Exposures, list[Told]]:
    """The exposures with the event's credit, a record of each part of it and what its model learns of it;
    or a record of that it belongs nowhere."""
    found = (_named(exposures, rule, happened, live.policy) if happened.decision_id
             else _by_step(exposures, rule, happened, item, live.policy))
    if isinstance(found, Unmatched):
        return exposures, [_nowhere(profile, rule, happened, reward, found, live)]
    touches, matched_by = found
    shares = (1.0,) if happened.decision_id else weights(rule.attribution, [one.at_ms for one in touches])
    result = dict(exposures)
    told: list[Told] = []
    for touch, weight in zip(touches, shares, strict=True):
        if weight <= 0.0:
            continue
        exposure, key = result[touch.decision_id], credit_key(touch.place, rule.name)
        part = reward * weight
        told += rewarding.rewarded(profile.profile_id, exposure, touch.place, rule.name, part)
        credits = {**exposure.credits, key: exposure.credits.get(key, 0.0) + part}
        result[touch.decision_id] = replaced(exposure, credits=credits)
        told.append(telling.partial(profile.profile_id, touch.decision_id, exposure, touch.place, rule.name,
                                    rule.attribution.model, happened, matched_by, weight, part))
    return result, told


def _named(exposures: Exposures, rule: OutcomeRule, happened: Happened, policy: Policy) -> _Found:
    """The place in the decision that the event names."""
    exposure = exposures.get(happened.decision_id)
    if exposure is None:
        return Unmatched.FALLBACK if _is_fallback(policy, happened) else Unmatched.UNKNOWN_DECISION
    if happened.at_ms < exposure.at_ms - EARLY_MS:
        return Unmatched.BEFORE_DECISION
    if happened.at_ms - exposure.at_ms > rule.window_ms:
        return Unmatched.OUTSIDE_WINDOW
    if rule.name not in exposure.open:
        return Unmatched.CLOSED
    places = _places(exposure, happened.item_id, happened.placement)
    if not places:
        return Unmatched.FALLBACK if _is_fallback(policy, happened) else Unmatched.NOT_SHOWN
    if len(places) > 1 and not happened.item_id:
        return Unmatched.AMBIGUOUS
    return (_Touch(happened.decision_id, places[0], exposure.at_ms),), MatchedBy.DECISION


def _places(exposure: Exposure, item_id: str, placement: str) -> list[int]:
    """Where the decision showed the item ("": any), at that placement if it did so there."""
    places = [place for place, shown in enumerate(exposure.shown) if not item_id or shown.item_id == item_id]
    there = [place for place in places if exposure.shown[place].placement == placement]
    return there or places


def _is_fallback(policy: Policy, happened: Happened) -> bool:
    """Whether the item is what a placement shows when nothing else may be."""
    return any(one.fallback.item_id == happened.item_id for name, one in policy.placements.items()
               if not happened.placement or name == happened.placement)


def _by_step(exposures: Exposures, rule: OutcomeRule, happened: Happened, item: Item, policy: Policy) -> _Found:
    """The places of the first step that has any within the window."""
    reason = Unmatched.FALLBACK if _is_fallback(policy, happened) else Unmatched.NO_EXPOSURE
    for step in rule.credit:
        places = [_Touch(name, place, exposure.at_ms) for name, exposure in exposures.items()
                  if exposure.at_ms <= happened.at_ms
                  for place, shown in enumerate(exposure.shown) if _belongs(step, shown, happened, item)]
        within = [one for one in places if happened.at_ms - one.at_ms <= rule.window_ms]
        touches = [one for one in within if rule.name in exposures[one.decision_id].open]
        if touches:
            return _touches(exposures, rule, happened, touches, _MATCHED_BY[step])
        if places and reason is not Unmatched.CLOSED:
            reason = Unmatched.CLOSED if within else Unmatched.OUTSIDE_WINDOW
    return reason


def _belongs(step: Step, shown: Shown, happened: Happened, item: Item) -> bool:
    if step == "item":
        return shown.item_id == happened.item_id
    if step == "campaign":
        return bool(item.campaign) and shown.campaign == item.campaign
    if step == "tag":
        return not set(shown.tags).isdisjoint(item.tags)
    return bool(happened.placement) and shown.placement == happened.placement


def _touches(
    exposures: Exposures, rule: OutcomeRule, happened: Happened, touches: list[_Touch], matched_by: MatchedBy
) -> _Found:
    """The touches in the order of their decisions, no more than are credited at once."""
    def order(one: _Touch) -> tuple[int, bool, str, int]:
        there = exposures[one.decision_id].shown[one.place].placement == happened.placement
        return one.at_ms, there, one.decision_id, one.place

    if rule.attribution.model == "view_through":
        if any(_when(exposures, one, clicked=True) <= happened.at_ms for one in touches):
            return Unmatched.CLICKED
        touches = [one for one in touches if _when(exposures, one, clicked=False) <= happened.at_ms]
        if not touches:
            return Unmatched.NOT_VIEWED
    touches.sort(key=order)
    if len(touches) > TOUCHES_MAX:
        touches = [touches[0], *touches[1 - TOUCHES_MAX:]]
    return tuple(touches), matched_by


_NEVER: Final = 2**63


def _when(exposures: Exposures, touch: _Touch, clicked: bool) -> int:
    exposure = exposures[touch.decision_id]
    return (exposure.clicked if clicked else exposure.viewed).get(str(touch.place), _NEVER)


def _noticed(exposures: Exposures, event: FeedbackEvent, policy: Policy, at_ms: int) -> Exposures:
    """The exposures with a view or a click, where some outcome is attributed by that."""
    if event.kind not in (FeedbackKind.VIEW, FeedbackKind.CLICK) or not event.item_id:
        return exposures
    if all(rule.attribution.model != "view_through" for rule in policy.outcomes):
        return exposures
    name = event.decision_id or _last_of(exposures, event.item_id, at_ms)
    exposure = exposures.get(name)
    places = [] if exposure is None else _places(exposure, event.item_id, event.placement or "")
    if exposure is None or not places:
        return exposures
    place = str(places[0])
    if event.kind is FeedbackKind.VIEW:
        seen = replaced(exposure, viewed={**exposure.viewed, place: min(at_ms, exposure.viewed.get(place, at_ms))})
    else:
        seen = replaced(exposure, clicked={**exposure.clicked, place: min(at_ms, exposure.clicked.get(place, at_ms))})
    return {**exposures, name: seen}


def _last_of(exposures: Exposures, item_id: str, at_ms: int) -> str:
    """The last decision that showed the item by then; "": none did."""
    dated = [(one.at_ms, name) for name, one in exposures.items()
             if one.at_ms <= at_ms and any(shown.item_id == item_id for shown in one.shown)]
    return max(dated)[1] if dated else ""


def _waiting(
    profile: Person, happened: Happened, rewards: Mapping[str, float], live: Live, now_ms: int
) -> tuple[Person, list[Told]]:
    """The profile with one more event that waits for its decision; and a record of what does not wait any longer."""
    waits_ms = max(rule.wait_ms for rule in live.policy.outcomes if rule.name in rewards)
    one = Awaiting(happened.decision_id, happened.at_ms, now_ms + waits_ms, happened.item_id, happened.placement,
                   dict(rewards))
    awaiting = {**profile.awaiting, happened.event_id: one}
    told: list[Told] = []
    if len(awaiting) > WAITING_MAX:
        oldest = min(awaiting, key=lambda name: (awaiting[name].until_ms, name))
        told = given_up(profile, oldest, awaiting.pop(oldest), Unmatched.CROWDED, live)
    due_ms = min(one.until_ms for one in awaiting.values())
    due_ms = min(due_ms, profile.timers.get(OUTCOMES_TIMER, due_ms))
    return changed(profile, awaiting=awaiting, timers=timed(profile.timers, OUTCOMES_TIMER, due_ms)), told


def given_up(profile: Person, event_id: str, one: Awaiting, reason: Unmatched, live: Live) -> list[Told]:
    """The records of an event that waits for its decision no longer."""
    happened = happened_of(event_id, one)
    models = {rule.name: rule.attribution.model for rule in live.policy.outcomes}
    return [telling.unmatched(profile.profile_id, name, models.get(name, ""), happened, reward, reason, live.release)
            for name, reward in sorted(one.rewards.items())]


def happened_of(event_id: str, one: Awaiting) -> Happened:
    """An event that waited, as its records say."""
    return Happened(event_id, one.item_id, one.at_ms, one.decision_id, one.placement)


def _nowhere(
    profile: Person, rule: OutcomeRule, happened: Happened, reward: float, reason: Unmatched, live: Live
) -> Outcome:
    return telling.unmatched(profile.profile_id, rule.name, rule.attribution.model, happened, reward, reason,
                             live.release)
