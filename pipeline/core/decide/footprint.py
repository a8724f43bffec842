"""The part of a profile that a decision can read: what the audit holds of it, however much more is known.

A placement on a channel reaches so many facts, counters and experiments: those of the candidates listed there, of what
they name instead, and of the fallback chain. Worked out once per release and catalog.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.core.journeys import advance
from pipeline.core.model.definitions import Experiment, Item, Placement, Policy, Ranking
from pipeline.core.model.journeys import paths
from pipeline.core.model.records import Account
from pipeline.core.model.values import Value
from pipeline.core.release.catalog import item_reads
from pipeline.core.rules.rule import Rule
from pipeline.core.sections.section import whole
from pipeline.core.subject import Person

if TYPE_CHECKING:
    from pipeline.core.decide.live import Candidate



@dataclass(frozen=True, slots=True)
class Footprint:
    """Fact paths, counter keys, suppression keys and experiment names within reach; the purposes asked for; and which
    traits, behaviour keys, segments and journeys the facts come from. No segments: all of them."""

    facts: frozenset[str] = frozenset()
    counters: frozenset[str] = frozenset()
    suppressions: frozenset[str] = frozenset()
    experiments: frozenset[str] = frozenset()
    traits: frozenset[str] = frozenset()
    behaviour: frozenset[str] = frozenset()
    segments: frozenset[str] | None = frozenset()
    purposes: frozenset[str] = frozenset()
    #: Traits and behaviour keys that are also read where memberships are worked out anew.
    all_traits: frozenset[str] = frozenset()
    all_behaviour: frozenset[str] = frozenset()
    journeys: frozenset[str] = frozenset()
    #: Keys of features; and of those that segments and stages read besides.
    features: frozenset[str] = frozenset()
    all_features: frozenset[str] = frozenset()

    def __or__(self, other: Footprint) -> Footprint:
        own, others = self.segments, other.segments
        return Footprint(self.facts | other.facts, self.counters | other.counters,
                         self.suppressions | other.suppressions, self.experiments | other.experiments,
                         self.traits | other.traits,
                         self.behaviour | other.behaviour, None if own is None or others is None else own | others,
                         self.purposes | other.purposes, self.all_traits | other.all_traits,
                         self.all_behaviour | other.all_behaviour, self.journeys | other.journeys,
                         self.features | other.features, self.all_features | other.all_features)


def of_candidates(policy: Policy, placement: Placement, channel: str, reached: Iterable[Candidate]) -> Footprint:
    """The footprint of a placement on a channel; `reached`: every candidate that may come to be considered there."""
    facts = {*_of_rules(placement.applicability, policy.channels[channel].do_not_contact),
             *_of_ranking(placement.ranking)}
    counters: set[str] = set()
    suppressions: set[str] = set()
    experiments: dict[str, Experiment] = {}
    for candidate in reached:
        facts |= item_reads(candidate.item)
        counters.update(use.key for uses in (candidate.spending, candidate.stopping) for use in uses)
        suppressions.update(key for _, key in candidate.suppressions)
        experiments.update((one.id, one) for one in candidate.experiments)
    for one in experiments.values():
        facts.update(_of_rules(one.target))
        for arm in one.variations:
            if arm.ranking is not None:
                facts |= _of_ranking(arm.ranking)
    traits, behaviour, features = _traits(policy, facts), _behaviour(policy, facts), _features(policy, facts)
    return Footprint(frozenset(facts), frozenset(counters), frozenset(suppressions), frozenset(experiments),
                     traits, behaviour,
                     None if "segments" in facts else frozenset(
                         name for name, path in policy.segment_paths.items() if path in facts),
                     frozenset(placement.purposes or policy.channels[channel].purposes),
                     traits | _traits(policy, policy.segment_reads),
                     behaviour | _behaviour(policy, policy.segment_reads),
                     frozenset(one.id for one in policy.journeys if not facts.isdisjoint(paths(one.id))), features,
                     features | _features(policy, policy.segment_reads))


def _traits(policy: Policy, facts: Set[str]) -> frozenset[str]:
    zone = (policy.zone_trait,) if policy.zone_trait else ()
    return frozenset((*zone, *(name for name, one in policy.traits.items() if one.path in facts)))


def _behaviour(policy: Policy, facts: Set[str]) -> frozenset[str]:
    return frozenset(key for signal in policy.signals if signal.path in facts for key in signal.keys)


def _features(policy: Policy, facts: Set[str]) -> frozenset[str]:
    """The keys of those that the facts are, or are the ratio of."""
    read = {feature.id for feature in policy.features if feature.path in facts}
    read |= {part for feature in policy.features if feature.id in read for part in feature.parts}
    return frozenset(feature.key for feature in policy.features if feature.id in read)


def reachable(items: Mapping[str, Item], listed: Iterable[str], placement: Placement) -> Iterator[Item]:
    """The listed items, those of the fallback chain, and what any of them names instead; each once."""
    seen: set[str] = set()
    waiting = [*listed, *placement.chain]
    while waiting:
        name = waiting.pop()
        item = items.get(name)
        if item is None or name in seen:
            continue
        seen.add(name)
        yield item
        waiting.append(item.instead)


class View(Value, frozen=True):
    """What one decision can read of a profile: the footprint there, with the traits, behaviour keys, memberships and
    journeys (None: all) that are within reach at that moment."""

    footprint: Footprint
    channel: str
    traits: frozenset[str]
    behaviour: frozenset[str]
    segments: frozenset[str] | None
    journeys: frozenset[str] | None
    features: frozenset[str]


def read_of(
    profile: Person, policy: Policy, footprint: Footprint, channel: str, now_ms: int, account: Account | None
) -> Person:
    """The profile reduced to what a decision on the channel can read: `decide()` gives the same over it.

    Where memberships are worked out anew, what segments, stages and journeys read is part of it.
    """
    if policy.timed or advance.stale(profile, policy, now_ms, account):
        view = View(footprint, channel, footprint.all_traits, footprint.all_behaviour, None, None,
                    footprint.all_features)
    else:
        view = View(footprint, channel, footprint.traits, footprint.behaviour, footprint.segments,
                    footprint.journeys, footprint.features)
    # What is empty is so in what can be read of it.
    return Person(**{name: value if read is whole else read(value, view)
                      for name, read in _READ if (value := getattr(profile, name))})


_READ: Final = [(name, one.read) for name, one in sorted(Person.SECTIONS.items()) if one.read is not None]


def _of_rules(*rules: Rule | None) -> Iterator[str]:
    for rule in rules:
        if rule is not None:
            yield from rule.reads


def _of_ranking(ranking: Ranking) -> set[str]:
    facts = {name for _, number in ranking.terms for name in number.reads}
    if ranking.model is not None:
        facts.update(path for path, _ in ranking.model.coefficients)
    return facts | ranking.learner_reads

