"""What a decision showed, kept until the last of its outcomes' windows is closed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pipeline.core.consent import permission
from pipeline.core.decide.decision import DecisionResult
from pipeline.core.decide.live import Live
from pipeline.core.model.definitions import Item
from pipeline.core.model.records import Chosen, DecisionRequest
from pipeline.core.outcomes import rewarding
from pipeline.core.rules.rule import as_json
from pipeline.core.sections.exposures import Exposure, Exposures, Shown
from pipeline.core.sections.section import changed
from pipeline.core.subject import OUTCOMES_TIMER, Person, timed

#: Decisions and items shown that are kept of a subject. Past any of these bounds the next look closes the oldest before
#: its time.
EXPOSURES_MAX: Final = 64
SHOWN_MAX: Final = 512
#: Bytes that their models' vectors take, before compression.
VECTOR_BYTES_MAX: Final = 262_144
#: Past this no more are kept, until that look.
EXPOSURES_FULL: Final = 2 * EXPOSURES_MAX
SHOWN_FULL: Final = 2 * SHOWN_MAX
VECTOR_BYTES_FULL: Final = 2 * VECTOR_BYTES_MAX
#: Items that are kept of one decision, the first ones.
SHOWN_PER_DECISION_MAX: Final = 128
CONTEXT_BYTES_MAX: Final = 2_048


def exposed(profile: Person, request: DecisionRequest, result: DecisionResult, live: Live, now_ms: int) -> Person:
    """The profile with what a decision showed; as it was where no outcome is declared, nothing but fallback content
    was shown, or nothing may be learnt of the subject."""
    policy = live.policy
    if not policy.outcomes or all(one.fallback for one in result.decisions):
        return profile
    if not permission.tracked(profile.consent, policy, request.channel, now_ms):
        return profile
    kept = profile.exposures
    shown = _shown(result.decisions, live.items)
    if result.decision_id in kept or len(kept) >= EXPOSURES_FULL or size(kept) + len(shown) > SHOWN_FULL:
        return profile
    closes = {rule.name: now_ms + rule.window_ms + rule.wait_ms for rule in policy.outcomes}
    one = Exposure(now_ms, request.channel, request.scenario, live.release, shown, context_of(result.facts),
                   result.models, closes)
    kept = {**kept, result.decision_id: one}
    if vector_bytes(kept) > VECTOR_BYTES_FULL:
        return profile
    at_once = crowded(kept) or any(waits.decision_id == result.decision_id for waits in profile.awaiting.values())
    due_ms = now_ms if at_once else min(closes.values())
    due_ms = min(due_ms, profile.timers.get(OUTCOMES_TIMER, due_ms))
    return changed(profile, exposures=kept, timers=timed(profile.timers, OUTCOMES_TIMER, due_ms))


def size(exposures: Exposures) -> int:
    """How many items shown are kept."""
    return sum(len(one.shown) for one in exposures.values())


def vector_bytes(exposures: Exposures) -> int:
    """How many bytes their models' vectors take."""
    return sum(rewarding.bytes_of(one) for one in exposures.values() if one.models)


def crowded(exposures: Exposures) -> bool:
    """Whether the oldest are to be closed before their time."""
    return (len(exposures) > EXPOSURES_MAX or size(exposures) > SHOWN_MAX
            or vector_bytes(exposures) > VECTOR_BYTES_MAX)


def _shown(decisions: list[Chosen], items: Mapping[str, Item]) -> tuple[Shown, ...]:
    places: dict[str, int] = {}
    shown = []
    for one in decisions:
        place = places.get(one.placement, 0)
        places[one.placement] = place + 1
        if one.fallback:
            continue
        item = items[one.item_id]
        shown.append(Shown(one.item_id, one.placement, place, one.propensity, item.campaign, item.tags, one.variant,
                           one.experiment or ""))
    return tuple(shown[:SHOWN_PER_DECISION_MAX])


def context_of(facts: Mapping[str, Any]) -> bytes:
    """The facts as JSON, by name, in that order; those that would not fit any more are left out whole."""
    parts: list[str] = []
    room = CONTEXT_BYTES_MAX - 2
    for name in sorted(facts):
        part = f"{as_json(name)}:{as_json(facts[name])}"
        length = len(part.encode()) + 1
        if length <= room:
            parts.append(part)
            room -= length
    return f"{{{','.join(parts)}}}".encode()
