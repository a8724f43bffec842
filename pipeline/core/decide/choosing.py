"""From those left standing to those shown: variants bound, limits of diversity kept, caps spent, lifetimes set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Final

from pipeline.core.decide import caps
from pipeline.core.decide.gates import DecisionContext, capped, held_back, stopped, unfit
from pipeline.core.decide.live import Candidate, candidate_for
from pipeline.core.decide.ranking import Score
from pipeline.core.hashing import fraction
from pipeline.core.model.definitions import Fallback, Item, Placement, Ranking, Variant
from pipeline.core.model.records import CandidateAudit, Chosen
from pipeline.core.model.values import Value, Working, replaced, value_field
from pipeline.core.model.words import Scalar
from pipeline.core.release import chains
from pipeline.core.rules.rule import encode_json
from pipeline.core.rules.templates import UnboundError, bind

_WEIGHT_MIN: Final = 1e-300
#: A place is held for no less than this, so that two requests at the end of a window do not get one place both.
_HOLD_MS_MIN: Final = 1_000


#: What orders a candidate, then the candidate and its score. The item's id makes every key different.
Standing = tuple[tuple[float, float, str], Candidate, Score]


def ranked(
    ctx: DecisionContext, placement: Placement, ranking: Ranking, left: list[tuple[Candidate, Score]]
) -> list[Standing]:
    """Best first. A lottery orders by ln(hash) / weight, which draws without replacement by weight.

    Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006. Seeded by the decision's id: of the
    subject and the request, so that subjects asked for under one request id draw independently.
    """
    drawn = ranking.lottery or ranking.draw_ties
    result: list[Standing] = []
    for candidate, score in left:
        item = candidate.item
        primary, tie = -score.value, float(-item.priority)
        if drawn:
            part = fraction("draw", ctx.decision_id, placement.id, item.id)
            if ranking.lottery:
                primary = -math.log(part or 2.0**-54) / max(score.value, _WEIGHT_MIN)
            else:
                tie = part
        result.append(((primary, tie, item.id), candidate, score))
    result.sort(key=itemgetter(0))
    return result


class _Binding(Value, frozen=True):
    """One item's variant and content; None where none fits and binds. `tried`, `clause`: as in `Bound`."""

    variant: Variant | None
    content: dict[str, Scalar]
    clause: str
    tried: dict[str, str]


class Shelf(Working):
    """One placement being filled: what it shows so far, by item and by what its diversity limits count."""

    ctx: DecisionContext
    placement: Placement
    chosen: list[Chosen] = value_field(default_factory=list)
    items: set[str] = value_field(default_factory=set)
    counts: dict[tuple[str, str], int] = value_field(default_factory=dict)
    #: What was worked out of items, by id: it is the same however often they are led to.
    bindings: dict[str, _Binding] = value_field(default_factory=dict)
    others: dict[str, tuple[Candidate | None, CandidateAudit | None]] = value_field(default_factory=dict)

    def put(self, one: Chosen, item: Item) -> None:
        """Show one more."""
        self.chosen.append(one)
        self.items.add(item.id)
        for limit in {limit.per: limit for limit in self.placement.diversity}.values():
            for value in _values(limit.per, item):
                self.counts[limit.per, value] = self.counts.get((limit.per, value), 0) + 1

    def too_much(self, item: Item, score: Score | None) -> CandidateAudit | None:
        """Whether this request shows the item already, or enough of its like are here."""
        value, terms = (0.0, {}) if score is None else (score.value, score.terms)
        if item.id in self.items or (not self.placement.repeats and item.id in self.ctx.shown):
            return CandidateAudit(item.id, self.placement.id, "already_chosen", "diversity", "", {}, value, terms)
        if not self.counts:
            return None
        for limit in self.placement.diversity:
            for like in _values(limit.per, item):
                count = self.counts.get((limit.per, like), 0)
                if (not limit.values or like in limit.values) and count >= limit.at_most:
                    return CandidateAudit(
                        item.id, self.placement.id, "too_similar", "diversity",
                        f"at most {limit.at_most} per {limit.per}", {limit.per: like, "chosen": str(count)}, value,
                        terms)
        return None


class Bound(Value, frozen=True):
    """A candidate with its content. `tried`: what was left behind on the way to it, and why (JSON by name)."""

    candidate: Candidate
    variant: Variant
    content: dict[str, Scalar]
    clause: str
    tried: dict[str, str]


def choose(
    ctx: DecisionContext, placement: Placement, ranking: Ranking, standing: list[Standing], arms: Mapping[str, str],
) -> list[Chosen]:
    """Take from the top while there is room, each one's caps spent before the next is looked at.

    :param arms: the subject's arms in the placement's experiments, by experiment.
    """
    wanted = min(placement.max_variants, ctx.request.max_variants)
    shelf = Shelf(ctx, placement)
    audits = ctx.audits
    for place, (_, own, score) in enumerate(standing):
        item = own.item
        if item.id in shelf.items:
            # Shown in another one's stead, and its audit says so.
            continue
        if len(shelf.chosen) >= wanted:
            audits.append(CandidateAudit(item.id, placement.id, "outranked", "ranking", "", {}, score.value,
                                         score.terms))
            continue
        stop = shelf.too_much(item, score) or capped(ctx, placement, own)
        if stop is not None:
            audits.append(stop)
            continue
        bound = bound_for(shelf, own)
        if isinstance(bound, CandidateAudit):
            audits.append(bound)
            continue
        propensity = 1.0
        if ranking.lottery or ranking.draw_ties:
            propensity = _propensity(shelf, standing[place:], bound.candidate.item.id, ranking.lottery)
        put(shelf, own, score, bound, arms, propensity)
    return shelf.chosen


def put(
    shelf: Shelf, own: Candidate, score: Score, bound: Bound, arms: Mapping[str, str], propensity: float
) -> None:
    """Show what the candidate is bound to, and say so in the audit."""
    ctx, placement = shelf.ctx, shelf.placement
    shown = bound.candidate
    if shown is not own:
        ctx.expose(shown.experiments)
        ctx.audits.append(CandidateAudit(own.item.id, placement.id, "unbound", "binding", bound.clause,
                                         {**bound.tried, "instead": encode_json(shown.item.id)}, score.value,
                                         score.terms))
    shelf.put(_shown(ctx, placement, bound, arms, score.value, propensity), shown.item)
    ctx.audits.append(CandidateAudit(shown.item.id, placement.id, "chosen", "ranking", "", {}, score.value,
                                     score.terms))


def _shown(
    ctx: DecisionContext, placement: Placement, bound: Bound, arms: Mapping[str, str], score: float, propensity: float
) -> Chosen:
    """The candidate as it is answered, its caps spent."""
    candidate = bound.candidate
    item = candidate.item
    named = dict(arms)
    for one in candidate.experiments:
        if (arm := ctx.arm(one)) is not None:
            named[one.id] = arm.id
    end_ms = _end_ms(ctx, placement, candidate)
    _spend(ctx, candidate, placement, end_ms)
    tested = ",".join(sorted(f"{name}:{arm}" for name, arm in named.items())) if named else None
    return Chosen(item.id, item.kind, placement.id, bound.variant.id, item.priority,
                  max(0, (end_ms - ctx.now_ms) // 1_000), tested, bound.content, score, propensity)


def _propensity(shelf: Shelf, rest: list[Standing], item_id: str, lottery: bool) -> float:
    """The probability that the item was drawn for this place, given what was drawn before.

    In a lottery its weight among all that could be shown, else its share of those that tie for the place. What several
    candidates lead to, by `instead`, has the sum of their weights.
    """
    best = rest[0][2].value
    total = own = 0.0
    zeros = own_zeros = 0
    for _, candidate, score in rest:
        if not lottery and score.value != best:
            break
        if shelf.too_much(candidate.item, score) or capped(shelf.ctx, shelf.placement, candidate):
            continue
        bound = bound_for(shelf, candidate)
        if isinstance(bound, CandidateAudit):
            continue
        weight = max(score.value, 0.0) if lottery else 1.0
        total += weight
        zeros += 1
        if bound.candidate.item.id == item_id:
            own += weight
            own_zeros += 1
    return own / total if total > 0.0 else own_zeros / zeros


def _values(per: str, item: Item) -> tuple[str, ...]:
    if per == "tag":
        return item.tags
    if per == "campaign":
        return (item.campaign,) if item.campaign else ()
    if per == "kind":
        return (item.kind,)
    value = item.facts.get(per)
    return () if value is None else (str(value),)


def bound_for(shelf: Shelf, candidate: Candidate) -> Bound | CandidateAudit:
    """The first variant that fits and binds; else what the item names instead; else why none did."""
    ctx, placement = shelf.ctx, shelf.placement
    tried: dict[str, str] = {}
    clause = ""
    current: Candidate | None = candidate
    onward: Iterator[Item] | None = None
    while current is not None:
        binding = _binding(shelf, current)
        tried.update(binding.tried)
        clause = clause or binding.clause
        if binding.variant is not None:
            return Bound(current, binding.variant, binding.content, clause, tried)
        current = None
        if onward is None:
            onward = chains.reached(ctx.live.items, candidate.item)
        other = next(onward, None)
        if other is not None:
            current, stop = _other(shelf, other)
            if current is not None:
                stop = shelf.too_much(other, None) or stop or held_back(ctx, placement, current)
            if stop is not None:
                tried[other.id] = encode_json(stop.outcome)
                current = None
    return CandidateAudit(candidate.item.id, placement.id, "unbound", "binding", clause, tried)


def _binding(shelf: Shelf, candidate: Candidate) -> _Binding:
    """The item's own variants, each tried once while the placement is filled."""
    name = candidate.item.id
    if name not in shelf.bindings:
        shelf.bindings[name] = _bind(shelf.ctx, candidate)
    return shelf.bindings[name]


def _bind(ctx: DecisionContext, candidate: Candidate) -> _Binding:
    item = candidate.item
    tried: dict[str, str] = {}
    clause = ""
    for variant in _variants(ctx, candidate):
        if variant.rule is not None and ctx.judge(variant.rule, item) is not None:
            tried[f"{item.id}/{variant.id}"] = '"not for this subject"'
            clause = clause or variant.rule.text
            continue
        try:
            content = bind(variant, ctx.facts, ctx.of(item), ctx.channel.escape, ctx.live.policy.locale)
        except UnboundError as error:
            tried[f"{item.id}/{variant.id}"] = encode_json(f"unknown {error.missing}")
            clause = clause or f"{variant.id}.{error.field}"
            continue
        return _Binding(variant, content, clause, tried)
    return _Binding(None, {}, clause, tried)


def _other(shelf: Shelf, item: Item) -> tuple[Candidate | None, CandidateAudit | None]:
    """An item as a candidate in another one's stead, and what makes it unfit; each worked out once."""
    if item.id not in shelf.others:
        ctx, placement = shelf.ctx, shelf.placement
        candidate = candidate_for(ctx.live.policy, item, placement, ctx.channel.id)
        shelf.others[item.id] = candidate, None if candidate is None else unfit(ctx, placement, candidate)
    return shelf.others[item.id]


def _variants(ctx: DecisionContext, candidate: Candidate) -> Iterable[Variant]:
    """The variants to try: the one that the subject's arms ask for, where they ask for one."""
    for experiment in candidate.experiments:
        arm = ctx.arm(experiment)
        picked = arm and arm.variants.get(candidate.item.id)
        if picked:
            only = [one for one in candidate.variants if one.id == picked]
            if only:
                return only
    return candidate.variants


def _end_ms(ctx: DecisionContext, placement: Placement, candidate: Candidate) -> int:
    """The first of: the placement's own ttl, the item's end, the end of a cap's window, of an experiment."""
    now_ms = ctx.now_ms
    end_ms = now_ms + placement.ttl_s * 1_000
    if candidate.item.valid_until_ms is not None:
        end_ms = min(end_ms, candidate.item.valid_until_ms)
    if candidate.lasts_ms is not None:
        end_ms = min(end_ms, now_ms + candidate.lasts_ms)
    for window in candidate.by_clock:
        window_end_ms = ctx.end_ms(window)
        end_ms = end_ms if window_end_ms is None else min(end_ms, window_end_ms)
    for experiment in candidate.experiments:
        if experiment.until_ms is not None and ctx.arms.get(experiment.id) is not None:
            end_ms = min(end_ms, experiment.until_ms)
    return end_ms


def _spend(ctx: DecisionContext, candidate: Candidate, placement: Placement, end_ms: int) -> None:
    """Count what a decision counts, hold what it reserves: no less than a second, however soon it ends."""
    ctx.shown.add(candidate.item.id)
    if ctx.account_key:
        for use in candidate.account_caps:
            places = ctx.bypassed if use.bypass else ctx.borrowed
            places[use.key] = places.get(use.key, 0) + use.weight
    holder = caps.holder(ctx.decision_id, candidate.item.id, placement.id, ctx.channel.id, ctx.now_ms)
    ctx.spend(candidate.spending, holder, max(end_ms, ctx.now_ms + _HOLD_MS_MIN))


def default(placement: Placement) -> Chosen:
    """The placement's declared fallback."""
    declared: Fallback = placement.fallback
    return Chosen(declared.item_id, declared.kind, placement.id, declared.variant, 0, declared.ttl_s,
                  content=declared.content, fallback=True)


def fallen_back(ctx: DecisionContext, placement: Placement) -> Chosen:
    """The first item of the fallback chain that no gate stops and that binds; else the declared fallback."""
    shelf = Shelf(ctx, placement)
    for name in placement.chain:
        item = ctx.live.items.get(name)
        candidate = None if item is None else candidate_for(ctx.live.policy, item, placement, ctx.channel.id)
        if candidate is None:
            continue
        stop = shelf.too_much(candidate.item, None) or stopped(ctx, placement, candidate)
        bound = stop or bound_for(shelf, candidate)
        if isinstance(bound, CandidateAudit):
            ctx.audits.append(bound)
            continue
        ctx.expose(bound.candidate.experiments)
        shown = _shown(ctx, placement, bound, {}, 0.0, 1.0)
        ctx.audits.append(CandidateAudit(shown.item_id, placement.id, "chosen", "ranking", "fallback chain", {}))
        return replaced(shown, ttl_s=min(shown.ttl_s, placement.fallback.ttl_s), fallback=True)
    return default(placement)
