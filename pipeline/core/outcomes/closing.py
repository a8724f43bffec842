"""What time does to exposures: windows close, and events that waited for their decisions are matched or told.

One look handles so many records; what is left is due at once again, so that one subject never holds up others.
"""

from __future__ import annotations

from typing import Final

from pipeline.core.consent import permission
from pipeline.core.decide.live import Live
from pipeline.core.model.definitions import Item
from pipeline.core.model.outcome_record import Unmatched
from pipeline.core.model.values import replaced
from pipeline.core.outcomes import rewarding, telling
from pipeline.core.outcomes.crediting import WAITING_MAX, credited, given_up, happened_of
from pipeline.core.outcomes.exposing import (
    EXPOSURES_MAX,
    SHOWN_MAX,
    VECTOR_BYTES_MAX,
    crowded,
    size,
    vector_bytes,
)
from pipeline.core.outcomes.rewarding import Told
from pipeline.core.sections.exposures import Exposures, Waiting
from pipeline.core.sections.section import changed
from pipeline.core.subject import OUTCOMES_TIMER, Person, timed

#: Records of one look; a window of one decision is closed whole, so there may be twice as many more as it showed items.
#: There is a record of the topic `outcomes` for each update of a model, so no model has more than 256 of one look.
RECORDS_MAX: Final = 256


def look(profile: Person, live: Live, now_ms: int) -> tuple[Person, tuple[Told, ...]]:
    """The profile as of now, and what is to be told; the profile itself where nothing is due.

    Without permission to track nothing is told, and what would have been is forgotten.
    """
    due = profile.timers.get(OUTCOMES_TIMER)
    if due is None or due > now_ms:
        return profile, ()
    told: list[Told] = []
    exposures, awaiting = _matched(profile, live, now_ms, told)
    exposures = _closed(profile, exposures, live, now_ms, told)
    after = changed(profile, exposures=exposures, awaiting=awaiting)
    return retimed(after, now_ms), tuple(told)


def retimed(profile: Person, now_ms: int) -> Person:
    """The profile with its timer as its exposures ask for: after a merge, or one undone, they are others'."""
    timers = timed(profile.timers, OUTCOMES_TIMER, due_ms(profile, now_ms))
    return profile if timers is profile.timers else changed(profile, timers=timers)


def due_ms(profile: Person, now_ms: int) -> int | None:
    """When exposures are to be looked at next (epoch ms), never now: what was asked for once is asked for again much
    later. None: never."""
    exposures, awaiting = profile.exposures, profile.awaiting
    if crowded(exposures) or len(awaiting) > WAITING_MAX or any(
            one.decision_id in exposures for one in awaiting.values()):
        return now_ms + 1
    dues = [closes for one in exposures.values() for closes in one.open.values()]
    dues += [one.until_ms for one in awaiting.values()]
    return max(min(dues), now_ms + 1) if dues else None


def _matched(profile: Person, live: Live, now_ms: int, told: list[Told]) -> tuple[Exposures, Waiting]:
    """Match what waited to decisions that are there by now; give up what waited long enough. Adds to `told`."""
    exposures, left = profile.exposures, dict(profile.awaiting)
    rules = {rule.name: rule for rule in live.policy.outcomes}
    for event_id, one in sorted(left.items(), key=lambda entry: (entry[1].until_ms, entry[0])):
        if len(told) >= RECORDS_MAX:
            break
        exposure = exposures.get(one.decision_id)
        over = one.until_ms <= now_ms
        if exposure is None and not over and len(left) <= WAITING_MAX:
            continue
        del left[event_id]
        if not permission.tracked(profile.consent, live.policy, "" if exposure is None else exposure.channel, now_ms):
            continue
        if exposure is None:
            reason = Unmatched.UNKNOWN_DECISION if over else Unmatched.CROWDED
            told += given_up(profile, event_id, one, reason, live)
            continue
        gone = {name: reward for name, reward in one.rewards.items() if name not in rules}
        if gone:
            told += given_up(profile, event_id, replaced(one, rewards=gone), Unmatched.CLOSED, live)
        item = live.items.get(one.item_id) or Item(one.item_id, "", 0, {}, ())
        for name in sorted(one.rewards.keys() - gone.keys()):
            exposures, records = credited(profile, exposures, rules[name], happened_of(event_id, one), item,
                                          one.rewards[name], live)
            told += records
    return exposures, left


def _closed(
    profile: Person, exposures: Exposures, live: Live, now_ms: int, told: list[Told]
) -> Exposures:
    """The exposures without the windows that are over, and without the oldest past the bounds. Adds to `told`."""
    left = dict(exposures)
    models = {rule.name: rule.attribution.model for rule in live.policy.outcomes}
    count, shown, vectors = len(left), size(left), vector_bytes(left)
    for decision_id, one in sorted(exposures.items(), key=lambda entry: (entry[1].at_ms, entry[0])):
        early = count > EXPOSURES_MAX or shown > SHOWN_MAX or vectors > VECTOR_BYTES_MAX
        allowed = permission.tracked(profile.consent, live.policy, one.channel, now_ms)
        still_open, uses = dict(one.open), one.models
        for name, closes_ms in sorted(one.open.items()):
            if len(told) >= RECORDS_MAX or (closes_ms > now_ms and not early):
                continue
            del still_open[name]
            uses = rewarding.without_vectors(uses, name)
            if allowed:
                reason = Unmatched.CROWDED if closes_ms > now_ms else ""
                told += telling.finals(profile.profile_id, decision_id, one, name, models.get(name, ""),
                                       min(closes_ms, now_ms), reason)
                told += rewarding.closed(profile.profile_id, one, name)
        if still_open:
            left[decision_id] = one if len(still_open) == len(one.open) else replaced(
                one, open=still_open, models=uses)
            vectors -= rewarding.bytes_of(one) - rewarding.bytes_of(left[decision_id])
        else:
            del left[decision_id]
            count, shown, vectors = count - 1, shown - len(one.shown), vectors - rewarding.bytes_of(one)
    return left
