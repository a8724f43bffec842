"""Operations that an event and a decision take at worst: the sums over all that a release and its catalog ask.

Counted in the operations of `pipeline.core.rules.cel.cost`. Each rule has a bound of its own; these are those of all
together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.core.model.definitions import Experiment, Placement, Policy, Ranking, Variant
from pipeline.core.model.problems import Path, Problem
from pipeline.core.release import journeys
from pipeline.core.rules.cel.cost import DECISION_COST_MAX, EVENT_COST_MAX

if TYPE_CHECKING:
    from pipeline.core.decide.live import Candidate

#: For a rule that is asked, whatever it says.
_ASKED: Final = 5.0
#: For each moment that a signal keeps.
_MOMENT: Final = 0.5
#: How many of the costliest parts a finding names.
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Weight:
    """One item's share of a decision.

    `shared`: rules that do not look at the item, by identity; each is asked once for all items that have it.
    `binding`: filling its templates; `certain`: whether that cannot fail, so that it is done for what is shown alone.
    """

    item_id: str
    own: float
    shared: dict[int, float]
    binding: float
    certain: bool


def of_event(policy: Policy) -> float:
    """What one event makes a worker evaluate: every segment, lifecycle stage, journey and signal."""
    return sum(cost for _, cost in _of_subject(policy))


def too_much(policy: Policy) -> list[Problem]:
    """A problem where events, or decisions on a placement before they look at any item, may take too long."""
    parts = _of_subject(policy)
    total = sum(cost for _, cost in parts)
    if total > EVENT_COST_MAX:
        parts.sort(key=lambda one: -one[1])
        kinds = [f"{count:,} {name}" for name, count in (
            ("segments", len(policy.segments)), ("lifecycle stages", len(policy.lifecycle.stages)),
            ("journeys", len(policy.journeys)), ("signals", len(policy.signals)),
            ("features", len(policy.features))) if count]
        return [Problem(
            parts[0][0], f"{', '.join(kinds)} may take {total:,.0f} operations together for one event, more than "
            f"{EVENT_COST_MAX:,}; the costliest: "
            + ", ".join(f"{path[1] if path[0] != 'lifecycle' else 'stage'} {cost:,.0f}"
                        for path, cost in parts[:_NAMED]),
            "put fewer conditions over lists and fewer long patterns into them; what several ask, let one segment "
            "ask, and the others read it")]
    return [
        Problem(("placements", one.id), f"a decision here may take {cost:,.0f} operations before it looks at any item, "
                f"more than {DECISION_COST_MAX:,}, {total:,.0f} of them for segments",
                "shorten the placement's applicability, the targets of its experiments, or the segments")
        for one in policy.placements.values()
        if (cost := total + max((of_request(policy, one, name) for name in policy.channels), default=0.0)) > (
            DECISION_COST_MAX)
    ]


def of_request(policy: Policy, placement: Placement, channel: str) -> float:
    """What a decision on the placement evaluates once, whatever the items are."""
    there = _experiments(policy, placement, channel)
    rules = [placement.applicability, policy.channels[channel].do_not_contact, *(one.target for one in there)]
    formulas = [sum(number.cost for _, number in order.terms if not number.of_candidate)
                for order in _orders(placement, there)]
    return sum(_ASKED + rule.cost for rule in rules if rule is not None) + max(formulas)


def of_item(candidate: Candidate, orders: Iterable[Ranking]) -> Weight:
    """The share of one item that the placement lists, or that something leads to."""
    rules = [*(rule for _, _, rule in candidate.rules),
             *(variant.rule for variant in candidate.variants if variant.rule is not None)]
    own = sum(_ASKED + rule.cost for rule in rules if rule.of_candidate)
    own += max((sum(number.cost for _, number in order.mixed)
                + (0 if order.model is None else len(order.model.coefficients)) + order.learner_cost
                for order in orders), default=0.0)
    templates = [_filling(variant) for variant in candidate.variants]
    certain = all(template.certain for variant in candidate.variants for _, template in variant.templates)
    # Of variants that cannot fail, the first that fits is the only one that is filled.
    binding = max(templates) if certain else sum(templates)
    return Weight(candidate.item.id, own, {id(rule): _ASKED + rule.cost for rule in rules if not rule.of_candidate},
                  binding, certain)


def of_slot(
    policy: Policy, placement: Placement, channel: str, listed: Iterable[Candidate], others: Iterable[Candidate],
    again: Iterable[Candidate],
) -> tuple[float, list[Weight]]:
    """The cost of a decision on the placement, segments apart, and the share of each item.

    :param others: what the listed items and the fallback chain lead to.
    :param again: what is tried once more when nothing of the list is left: the fallback chain and what it leads to.
    """
    orders = _orders(placement, _experiments(policy, placement, channel))
    drawn = any(order.lottery or order.draw_ties or order.learner for order in orders)
    first, more = [of_item(one, orders) for one in listed], [of_item(one, ()) for one in (*others, *again)]
    # A draw looks at all that could be shown.
    certain = sorted((one.binding for one in first if one.certain and not drawn), reverse=True)
    full = [*more, *(one for one in first if drawn or not one.certain)]
    cost = of_request(policy, placement, channel)
    cost += sum(one.own for one in (*first, *more)) + sum(one.binding for one in full)
    cost += sum(certain[:placement.max_variants])
    shared: dict[int, float] = {}
    for one in (*first, *more):
        shared.update(one.shared)
    return cost + sum(shared.values()), [*first, *more]


def costliest(weights: Sequence[Weight], excess: float) -> list[tuple[str, float]]:
    """The items, the costliest first, that have to go for so many operations to be saved, and what each takes."""
    uses = Counter(key for one in weights for key in one.shared)
    shares: dict[str, float] = {}
    for one in weights:
        share = one.own + one.binding + sum(cost / uses[key] for key, cost in one.shared.items())
        shares[one.item_id] = shares.get(one.item_id, 0.0) + share
    found = []
    # Of equals the one with the last name goes, whatever order they came in.
    for name in sorted(shares, key=lambda name: (shares[name], name), reverse=True):
        if excess <= 0.0:
            break
        found.append((name, shares[name]))
        excess -= shares[name]
    return found


def said(placement: str, channel: str, cost: float, subject: float, weights: Sequence[Weight]) -> Problem:
    """What is wrong with a placement whose decisions may take too long."""
    named = ", ".join(f"{name} {share:,.0f}" for name, share in costliest(weights, cost)[:_NAMED])
    return Problem(
        ("placements", placement), f"a decision here on {channel} may take {cost:,.0f} operations, more than "
        f"{DECISION_COST_MAX:,}: {subject:,.0f} for segments, the rest for {len({one.item_id for one in weights}):,} "
        f"items and what is asked once; the costliest: {named}",
        "put fewer conditions over lists and fewer long patterns into the items' rules, what does not look at the item "
        "into a segment, or spread the items over more placements")


def _of_subject(policy: Policy) -> list[tuple[Path, float]]:
    parts: list[tuple[Path, float]] = [
        (("segments", one.id, "rule"), _ASKED + one.rule.cost) for one in policy.segments]
    parts += [(("lifecycle", "stages", index, "rule"), _ASKED + one.rule.cost)
              for index, one in enumerate(policy.lifecycle.stages)]
    parts += [(("journeys", one.id), sum(_ASKED + rule.cost for rule in journeys.rules_of(one)))
              for one in policy.journeys]
    parts += [(("features", one.id), _ASKED + _MOMENT * (one.tiles_max if one.tile_ms else 1)
               + (0.0 if one.where is None else one.where.cost)) for one in policy.features]
    parts += [(("signals", one.id), _ASKED + _MOMENT * len(one.keys) * one.up_to) for one in policy.signals]
    return parts


def _experiments(policy: Policy, placement: Placement, channel: str) -> list[Experiment]:
    return [one for one in policy.experiments
            if (not one.reach.placements or placement.id in one.reach.placements)
            and (not one.reach.channels or channel in one.reach.channels)]


def _orders(placement: Placement, experiments: Iterable[Experiment]) -> list[Ranking]:
    arms = [arm.ranking for one in experiments for arm in one.variations if arm.ranking is not None]
    return list({one.id: one for one in (placement.ranking, *arms)}.values())


def _filling(variant: Variant) -> float:
    return sum(template.cost for _, template in variant.templates)
