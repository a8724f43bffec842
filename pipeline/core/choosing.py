"""From those left standing to those shown: variants bound, limits of diversity kept, caps spent, lifetimes set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from operator import itemgetter
from typing import Final

from pipeline.core import caps
from pipeline.core.definitions import Fallback, Item, Placement, Ranking, Variant
from pipeline.core.gates import Sitting, capped
from pipeline.core.hashing import fraction
from pipeline.core.live import Candidate, candidate_for
from pipeline.core.model import CandidateAudit, Chosen
from pipeline.core.ranking import Score
from pipeline.core.templates import UnboundError, bind
from pipeline.core.words import Scalar

_WEIGHT_MIN: Final = 1e-300


#: What orders a candidate, then the candidate and its score. The item's id makes every key different.
Standing = tuple[tuple[float, float, str], Candidate, Score]


def ranked(
    sitting: Sitting, placement: Placement, ranking: Ranking, left: list[tuple[Candidate, Score]]
) -> list[Standing]:
    """Best first. A lottery orders by ln(hash) / weight, which draws without replacement by weight."""
    drawn = ranking.lottery or ranking.draw_ties
    result: list[Standing] = []
    for candidate, score in left:
        item = candidate.item
        primary, tie = -score.value, float(-item.priority)
        if drawn:
            part = fraction("draw", sitting.request.request_id, placement.id, item.id)
            if ranking.lottery:
                primary = -math.log(part or 2.0**-54) / max(score.value, _WEIGHT_MIN)
            else:
                tie = part
        result.append(((primary, tie, item.id), candidate, score))
    result.sort(key=itemgetter(0))
    return result


def choose(
    sitting: Sitting, placement: Placement, ranking: Ranking, standing: list[Standing], variants: Mapping[str, str],
    tested: str | None,
) -> list[Chosen]:
    """Take from the top while there is room, each one's caps spent before the next is looked at."""
    wanted = min(placement.max_variants, sitting.request.max_variants)
    chosen: list[Chosen] = []
    counts: dict[tuple[str, str], int] = {}
    audits = sitting.audits
    for place, (_, own, score) in enumerate(standing):
        item = own.item
        if len(chosen) >= wanted:
            audits.append(CandidateAudit(item.id, placement.id, "outranked", "ranking", "", {}, score.value,
                                         score.terms))
            continue
        stop = _too_much(sitting, placement, item, score, counts) or capped(sitting, placement, own)
        if stop is not None:
            audits.append(stop)
            continue
        shown = _bound(sitting, placement, own, variants)
        if isinstance(shown, CandidateAudit):
            audits.append(shown)
            continue
        candidate, variant, content = shown
        propensity = _chance(sitting, placement, standing[place:], variants, counts) if ranking.lottery else 1.0
        ttl_s = _ttl_s(sitting, placement, candidate)
        chosen.append(Chosen(candidate.item.id, candidate.item.kind, placement.id, variant.id, candidate.item.priority,
                             ttl_s, tested, content, score.value, propensity))
        _spend(sitting, candidate, placement, ttl_s)
        for limit, value in _groups(placement, item):
            counts[limit, value] = counts.get((limit, value), 0) + 1
        audits.append(CandidateAudit(item.id, placement.id, "chosen", "ranking", "", {}, score.value, score.terms))
    return chosen


def _chance(
    sitting: Sitting, placement: Placement, rest: list[Standing], variants: Mapping[str, str],
    counts: Mapping[tuple[str, str], int],
) -> float:
    """The probability that the first of the rest was drawn: its weight among all that could be shown in its place."""
    weights = [
        max(score.value, 0.0) for _, own, score in rest
        if not _too_much(sitting, placement, own.item, score, counts) and not capped(sitting, placement, own)
        and not isinstance(_bound(sitting, placement, own, variants), CandidateAudit)
    ]
    total = sum(weights)
    return weights[0] / total if total > 0.0 else 1.0 / len(weights)


def _too_much(
    sitting: Sitting, placement: Placement, item: Item, score: Score, counts: Mapping[tuple[str, str], int]
) -> CandidateAudit | None:
    """Whether another placement of this request shows it, or enough of its like are here."""
    if not placement.repeats and item.id in sitting.shown:
        return CandidateAudit(item.id, placement.id, "already_chosen", "diversity", "", {}, score.value,
                              score.terms)
    if not counts:
        return None
    for limit in placement.diversity:
        for value in _values(limit.per, item):
            count = counts.get((limit.per, value), 0)
            if (not limit.values or value in limit.values) and count >= limit.at_most:
                text = f"at most {limit.at_most} per {limit.per}"
                return CandidateAudit(item.id, placement.id, "too_similar", "diversity", text,
                                      {limit.per: value, "chosen": str(count)}, score.value, score.terms)
    return None


def _groups(placement: Placement, item: Item) -> list[tuple[str, str]]:
    return [(limit.per, value) for limit in {limit.per: limit for limit in placement.diversity}.values()
            for value in _values(limit.per, item)]


def _values(per: str, item: Item) -> tuple[str, ...]:
    if per == "tag":
        return item.tags
    if per == "campaign":
        return (item.campaign,) if item.campaign else ()
    if per == "kind":
        return (item.kind,)
    value = item.facts.get(per)
    return () if value is None else (str(value),)


def _bound(
    sitting: Sitting, placement: Placement, candidate: Candidate, variants: Mapping[str, str]
) -> tuple[Candidate, Variant, dict[str, Scalar]] | CandidateAudit:
    """The first variant that fits and binds; else what the item names instead; else why none did."""
    tried: set[str] = set()
    values: dict[str, str] = {}
    clause = ""
    current: Candidate | None = candidate
    while current is not None and current.item.id not in tried:
        item = current.item
        tried.add(item.id)
        picked = variants.get(item.id)
        ordered = [one for one in current.variants if one.id == picked] or current.variants
        for variant in ordered:
            if variant.rule is not None and sitting.judge(variant.rule, item) is not None:
                values[f"{item.id}/{variant.id}"] = '"not for this subject"'
                clause = clause or variant.rule.text
                continue
            try:
                return current, variant, bind(variant, sitting.facts, item.facts, sitting.channel.escape)
            except UnboundError as error:
                values[f"{item.id}/{variant.id}"] = f'"unknown {error.missing}"'
                clause = clause or f"{variant.id}.{error.field}"
        current = _instead(sitting, placement, item)
    return CandidateAudit(candidate.item.id, placement.id, "unbound", "binding", clause, values)


def _instead(sitting: Sitting, placement: Placement, item: Item) -> Candidate | None:
    """The item shown in this one's stead, where its own rules and caps let it."""
    other = sitting.live.items.get(item.instead)
    if other is None:
        return None
    candidate = candidate_for(sitting.live.policy, other, placement, sitting.channel.id)
    if candidate is None or other.id in sitting.shown or capped(sitting, placement, candidate) is not None:
        return None
    return candidate if all(sitting.judge(rule, other) is None for _, _, rule in candidate.rules) else None


def _ttl_s(sitting: Sitting, placement: Placement, candidate: Candidate) -> int:
    """Seconds until the first of: the placement's own, the item's end, the end of a cap's window, of an experiment."""
    now_ms = sitting.now_ms
    end_ms = now_ms + placement.ttl_s * 1_000
    if candidate.item.valid_until_ms is not None:
        end_ms = min(end_ms, candidate.item.valid_until_ms)
    if candidate.rolling_ms is not None:
        end_ms = min(end_ms, now_ms + candidate.rolling_ms)
    for window in candidate.calendars:
        end_ms = min(end_ms, sitting.bounds(window)[1])
    for experiment in candidate.experiments:
        if experiment.until_ms is not None and sitting.arms.get(experiment.id) is not None:
            end_ms = min(end_ms, experiment.until_ms)
    return max(0, (end_ms - now_ms) // 1_000)


def _spend(sitting: Sitting, candidate: Candidate, placement: Placement, ttl_s: int) -> None:
    """Count what a decision counts, hold what it reserves."""
    sitting.shown.add(candidate.item.id)
    if sitting.account_key:
        for use in candidate.account_caps:
            places = sitting.bypassed if use.bypass else sitting.borrowed
            places[use.key] = places.get(use.key, 0) + use.weight
    holder = caps.holder(sitting.decision_id, candidate.item.id, placement.id)
    sitting.spend(candidate.spending, holder, sitting.now_ms + ttl_s * 1_000)


def default(placement: Placement) -> Chosen:
    """The placement's declared fallback."""
    declared: Fallback = placement.fallback
    return Chosen(declared.item_id, declared.kind, placement.id, declared.variant, 0, declared.ttl_s,
                  content=declared.content, fallback=True)


def fallen_back(sitting: Sitting, placement: Placement) -> Chosen:
    """The first item of the fallback chain whose own rules let it and that binds; else the declared fallback."""
    for name in placement.chain:
        item = sitting.live.items.get(name)
        candidate = None if item is None else candidate_for(sitting.live.policy, item, placement, sitting.channel.id)
        if candidate is None or not _in_force(candidate.item, sitting.now_ms):
            continue
        if any(sitting.judge(rule, candidate.item) is not None for _, _, rule in candidate.rules):
            continue
        for variant in candidate.variants:
            try:
                content = bind(variant, sitting.facts, candidate.item.facts, sitting.channel.escape)
            except UnboundError:
                continue
            return Chosen(candidate.item.id, candidate.item.kind, placement.id, variant.id, candidate.item.priority,
                          placement.fallback.ttl_s, content=content, fallback=True)
    return default(placement)


def _in_force(item: Item, now_ms: int) -> bool:
    return (
        (item.valid_from_ms is None or now_ms >= item.valid_from_ms)
        and (item.valid_until_ms is None or now_ms < item.valid_until_ms)
        and (item.inventory is None or item.inventory > 0)
    )
