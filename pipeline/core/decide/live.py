"""What is live for one tenant: the compiled release and the catalog at a version, arranged for looking up.

Made once per release or catalog change; deciding only reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from functools import reduce
from operator import or_

from pipeline.core.decide import caps
from pipeline.core.decide.footprint import Footprint, of_candidates, reachable, read_of
from pipeline.core.decide.ranking import Score, of_item
from pipeline.core.hashing import catalog_digest
from pipeline.core.model.definitions import (
    Cap,
    CapUse,
    Experiment,
    Holdout,
    Item,
    Placement,
    Policy,
    Suppression,
    Variant,
)
from pipeline.core.model.problems import Problem
from pipeline.core.model.records import Account, DecisionRequest, ModelSnapshot
from pipeline.core.model.windows import Window
from pipeline.core.models.snapshots import Snapshot, opened, prior_of
from pipeline.core.release import work
from pipeline.core.release.catalog import item_reads
from pipeline.core.rules.cel.cost import DECISION_COST_MAX
from pipeline.core.rules.rule import Rule, about
from pipeline.core.subject import Person


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item on one placement and channel, with what is known beforehand: its variants there and what may stop it."""

    item: Item
    variants: tuple[Variant, ...]
    #: Stage, outcome and rule of the levels that have one.
    rules: tuple[tuple[str, str, Rule], ...]
    #: Whether it has a validity or an inventory.
    limited: bool
    #: Those of the caps that a decision takes a place of; those that may stop it, and their counters.
    spending: tuple[CapUse, ...]
    stopping: tuple[CapUse, ...]
    #: The caps over all members of an account.
    account_caps: tuple[CapUse, ...]
    #: Whether such a cap or a holdout may keep it out.
    watched: bool
    cap_keys: frozenset[str]
    #: What bounds how long it may be shown: its caps' shortest window, and those that go by the clock.
    lasts_ms: int | None
    by_clock: tuple[Window, ...]
    suppressions: tuple[tuple[Suppression, str], ...]
    experiments: tuple[Experiment, ...]
    holdouts: tuple[Holdout, ...]
    #: By ranking: the product of its terms that only read the item.
    terms: dict[str, Score]
    #: Whether its content is filled whatever is known, by whichever variant.
    certain: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """A placement on a channel: its candidates, the counters that may stop any of them, and the experiments that may
    keep some of them out.
    """

    candidates: tuple[Candidate, ...]
    cap_keys: frozenset[str]
    experiments: tuple[Experiment, ...]
    #: What a decision there can read of a profile.
    footprint: Footprint
    #: Operations that it may take at worst, segments apart, and the share of each item.
    cost: float
    weights: tuple[work.Weight, ...]


@dataclass(frozen=True, slots=True)
class Live:
    """One tenant's release and catalog. Immutable: a change makes a new one."""

    tenant: str
    release: str
    #: Offset of the last catalog record in it, and its content: `hashing.catalog_digest`.
    catalog_version: int
    catalog_digest: str
    policy: Policy
    items: dict[str, Item]
    #: (placement, channel) → candidates in the order of their ids, whatever order the catalog came in.
    slots: dict[tuple[str, str], Slot]
    caps: dict[str, Cap]
    suppressions: dict[str, Suppression]
    #: Counters that are full before anything is counted: of caps that have no room for one.
    barred: frozenset[str]
    #: Account key → what was last published of it. Shared between the tenant's arrangements and kept up to date.
    accounts: Mapping[str, Account] = field(default_factory=dict)
    #: Placements whose decisions would take too long with every item, and the items that are not live because of that.
    problems: tuple[Problem, ...] = ()
    left_out: frozenset[str] = frozenset()
    #: By name: the snapshot that decides of each model that learns; the prior where there is none yet. A model that is
    #: pinned to a snapshot which is not there has none, and decides nothing.
    models: Mapping[str, Snapshot] = field(default_factory=dict)
    #: By model, then item: the item's columns of the model's vectors, or the path of what is unknown.
    item_columns: Mapping[str, Mapping[str, tuple[float, ...] | str]] = field(default_factory=dict)


def with_models(live: Live, records: Iterable[ModelSnapshot]) -> Live:
    """The arrangement with these snapshots, the last one of each model; one of another form, or that is not what it
    says it is, changes nothing."""
    models = dict(live.models)
    for record in records:
        learner = live.policy.models.get(record.model)
        found = None if learner is None else opened(learner, record)
        if found is not None:
            models[record.model] = found
    return replace(live, models=models)


def arrange(
    tenant: str, policy: Policy, items: Iterable[Item], catalog_version: int,
    accounts: Mapping[str, Account] | None = None,
) -> Live:
    """The release and items as deciding wants them.

    Where decisions on a placement may take too long, its costliest items are left out, the same whatever order they
    came in: a decision keeps to its time whoever publishes what.
    """
    ordered = sorted(items, key=lambda item: item.id)
    reads = policy.reads.union(*(item_reads(item) for item in ordered))
    policy = replace(policy, reads=reads, item_features=tuple(
        one for one in policy.features if one.per != "subject" and one.path in reads))
    limits = {cap.id: cap for cap in policy.caps}
    known = {item.id: item for item in ordered}
    slots = {
        (placement.id, channel): _slot(policy, known, placement, channel, listed=channel in placement.channels)
        for placement in policy.placements.values() for channel in sorted(policy.channels)
    }
    problems, left_out = _within_bounds(policy, known, slots)
    return Live(tenant, policy.release, catalog_version, catalog_digest(item.digest for item in ordered), policy,
                known, slots,
                limits, {one.id: one for one in policy.suppressions},
                frozenset(key for slot in slots.values() for key in slot.cap_keys
                          if _weighs_too_much(limits[key.partition("|")[0]])),
                {} if accounts is None else accounts, problems, left_out,
                {name: prior_of(learner) for name, learner in policy.models.items() if learner.pin is None},
                {name: {item.id: learner.item(item.facts) for item in known.values()}
                 for name, learner in policy.models.items()})


def _within_bounds(
    policy: Policy, known: dict[str, Item], slots: dict[tuple[str, str], Slot]
) -> tuple[tuple[Problem, ...], frozenset[str]]:
    """Take the costliest items out of `known`, and `slots` with them, until no decision may take too long."""
    subject, problems, left_out = work.of_event(policy), dict[str, Problem](), set[str]()
    while past := {name: slot for name, slot in slots.items() if subject + slot.cost > DECISION_COST_MAX}:
        gone: set[str] = set()
        for (placement, channel), slot in past.items():
            cost = subject + slot.cost
            problems.setdefault(placement, work.said(placement, channel, cost, subject, slot.weights))
            gone.update(name for name, _ in work.costliest(slot.weights, cost - DECISION_COST_MAX))
        if not gone:
            break
        left_out |= gone
        for name in gone:
            del known[name]
        for (placement, channel), slot in slots.items():
            if not gone.isdisjoint(one.item_id for one in slot.weights):
                declared = policy.placements[placement]
                slots[placement, channel] = _slot(policy, known, declared, channel, channel in declared.channels)
    return tuple(problems.values()), frozenset(left_out)


def read_by(
    profile: Person, request: DecisionRequest, live: Live, now_ms: int, account: Account | None
) -> Person:
    """The profile reduced to what the decision can read; see `footprint.read_of`."""
    channel = request.channel
    there = reduce(or_, [live.slots[name, channel].footprint for name in dict.fromkeys(request.placements)])
    return read_of(profile, live.policy, there, channel, now_ms, account)


def _weighs_too_much(cap: Cap) -> bool:
    return cap.weight_max > cap.limit


def _slot(policy: Policy, items: Mapping[str, Item], placement: Placement, channel: str, listed: bool) -> Slot:
    """`listed`: whether the placement is declared for the channel; only its fallback chain is shown elsewhere."""
    candidates = tuple(
        candidate for item in (items.values() if listed else ())
        if (candidate := candidate_for(policy, item, placement, channel, listed=True)) is not None
    )
    candidates = _sharing(candidates)
    there = {one.item.id: one for one in candidates}
    reached = {item.id: one for item in reachable(items, there, placement)
               if (one := there.get(item.id) or candidate_for(policy, item, placement, channel)) is not None}
    again = [one for item in reachable(items, (), placement) if (one := reached.get(item.id)) is not None]
    cost, weights = work.of_slot(policy, placement, channel, candidates,
                                 [one for name, one in reached.items() if name not in there], again)
    tested = {one.id: one for candidate in candidates for one in candidate.experiments
              if any(arm.only or arm.without for arm in one.variations)}
    return Slot(candidates, frozenset().union(*(one.cap_keys for one in candidates)), tuple(tested.values()),
                of_candidates(policy, placement, channel, reached.values()), cost, tuple(weights))


def _sharing(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """The candidates with rules and experiments of their own only where they differ: what is one is asked once."""
    rules: dict[tuple[int, ...], Rule] = {}
    groups: dict[tuple[str, ...], tuple[Experiment, ...]] = {}
    result = []
    for one in candidates:
        levels = []
        for stage, outcome, rule in one.rules:
            left = about(rule, one.item.facts)
            if left.clauses:
                levels.append((stage, outcome, rules.setdefault(tuple(map(id, left.clauses)), left)))
        tested = groups.setdefault(tuple(test.id for test in one.experiments), one.experiments)
        result.append(replace(one, rules=tuple(levels), experiments=tested))
    return tuple(result)


def _length_ms(window: Window, policy: Policy, channel: str) -> int | None:
    """How long after now a window may end at the earliest, where that depends on nothing else."""
    return None if window.by_clock else window.end_ms(0, UTC, policy.channels[channel].session_ms)


def candidate_for(
    policy: Policy, item: Item, placement: Placement, channel: str, listed: bool = False
) -> Candidate | None:
    """The item as a candidate there; None where it has no variant. `listed`: only where the item asks to be shown."""
    if listed and ((item.placements and placement.id not in item.placements)
                   or (item.channels and channel not in item.channels)):
        return None
    variants = tuple(
        variant for variant in item.variants
        if (not variant.placements or placement.id in variant.placements)
        and (not variant.channels or channel in variant.channels)
    )
    if not variants:
        return None
    everything = caps.uses(policy.caps, item, placement.id, channel)
    uses = tuple(use for use in everything if not use.cap.of_account)
    account_caps = tuple(use for use in everything if use.cap.of_account)
    holdouts = tuple(one for one in policy.holdouts if caps.reaches(one.reach, item, placement.id, channel))
    windows = dict.fromkeys(use.cap.window for use in everything)
    tested = tuple(one for one in policy.experiments if caps.reaches(one.reach, item, placement.id, channel))
    orders = [placement.ranking, *(arm.ranking for one in tested for arm in one.variations if arm.ranking is not None)]
    levels = (
        ("eligibility", "not_eligible", item.eligibility), ("applicability", "not_applicable", item.applicability),
        ("suitability", "not_suitable", item.suitability),
    )
    return Candidate(
        item, variants, tuple((stage, outcome, rule) for stage, outcome, rule in levels if rule is not None),
        any(limit is not None for limit in (item.valid_from_ms, item.valid_until_ms, item.inventory)),
        tuple(use for use in uses if use.cap.counted == "decision" or use.cap.reserves),
        tuple(use for use in uses if not use.bypass),
        account_caps, bool(account_caps or holdouts), frozenset(use.key for use in uses if not use.bypass),
        min((length for one in windows if (length := _length_ms(one, policy, channel)) is not None), default=None),
        tuple(one for one in windows if one.by_clock),
        tuple((one, key) for one in policy.suppressions if caps.reaches(one.reach, item, placement.id, channel)
              for key in caps.keys(one, item, placement.id, channel)),
        tested, holdouts,
        {order.id: of_item(order, item) for order in orders},
        all(one.rule is None and all(template.certain for _, template in one.templates) for one in variants),
    )
