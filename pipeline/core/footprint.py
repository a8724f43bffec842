"""The part of a profile that a decision can read: what the audit holds of it, however much more is known.

A placement on a channel reaches so many facts, counters and experiments: those of the candidates listed there, of what
they name instead, and of the fallback chain. Worked out once per release and catalog.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from pipeline.core import accounts, segments
from pipeline.core.catalog import item_reads
from pipeline.core.definitions import Experiment, Item, Placement, Policy, Ranking
from pipeline.core.model import Account
from pipeline.core.profile import Merge, Profile, Rotation
from pipeline.core.rules import Rule

if TYPE_CHECKING:
    from pipeline.core.live import Candidate

_T = TypeVar("_T")
_NOT_NAMED: Final = Merge("", 0)


@dataclass(frozen=True, slots=True)
class Footprint:
    """Fact paths, counter keys, suppression keys and experiment names within reach; the purposes asked for; and which
    traits, behaviour keys and segments the facts come from. No segments: all of them."""

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

    def __or__(self, other: Footprint) -> Footprint:
        own, others = self.segments, other.segments
        return Footprint(self.facts | other.facts, self.counters | other.counters,
                         self.suppressions | other.suppressions, self.experiments | other.experiments,
                         self.traits | other.traits,
                         self.behaviour | other.behaviour, None if own is None or others is None else own | others,
                         self.purposes | other.purposes, self.all_traits | other.all_traits,
                         self.all_behaviour | other.all_behaviour)


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
    traits, behaviour = _traits(policy, facts), _behaviour(policy, facts)
    return Footprint(frozenset(facts), frozenset(counters), frozenset(suppressions), frozenset(experiments),
                     traits, behaviour,
                     None if "segments" in facts else frozenset(
                         name for name, path in policy.segment_paths.items() if path in facts),
                     frozenset(placement.purposes or policy.channels[channel].purposes),
                     traits | _traits(policy, policy.segment_reads),
                     behaviour | _behaviour(policy, policy.segment_reads))


def _traits(policy: Policy, facts: Set[str]) -> frozenset[str]:
    zone = (policy.zone_trait,) if policy.zone_trait else ()
    return frozenset((*zone, *(name for name, one in policy.traits.items() if one.path in facts)))


def _behaviour(policy: Policy, facts: Set[str]) -> frozenset[str]:
    return frozenset(key for signal in policy.signals if signal.path in facts for key in signal.keys)


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


def read_of(
    profile: Profile, policy: Policy, footprint: Footprint, channel: str, now_ms: int, account: Account | None
) -> Profile:
    """The profile reduced to what a decision on the channel can read: `decide()` gives the same over it.

    Where memberships are worked out anew, what segments and stages read is part of it.
    """
    traits, behaviour, members = footprint.traits, footprint.behaviour, profile.segments
    if policy.timed or segments.stale(profile, policy, now_ms, account):
        traits, behaviour = footprint.all_traits, footprint.all_behaviour
    elif footprint.segments is not None:
        members = _kept(members, footprint.segments)
    session = profile.sessions.get(channel)
    primary = accounts.primary(profile) if profile.accounts else ""
    return Profile(
        profile_id=profile.profile_id,
        traits=_kept(profile.traits, traits),
        consent={key: grant for key, grant in profile.consent.items() if grant.purpose in footprint.purposes},
        accounts={primary: profile.accounts[primary]} if primary else {},
        segments=members,
        segments_release=profile.segments_release,
        segments_due_ms=profile.segments_due_ms,
        segments_account=profile.segments_account,
        stages=profile.stages[-1:],
        behaviour=_kept(profile.behaviour, behaviour),
        heard_ms=profile.heard_ms,
        sessions={channel: session} if session is not None else {},
        counters=_kept(profile.counters, footprint.counters),
        suppressions=_kept(profile.suppressions, footprint.suppressions),
        assignments=_kept(profile.assignments, footprint.experiments),
        # How many merges there were, which decides how many timestamps a counter keeps; not whose.
        merged={str(number): _NOT_NAMED for number in range(len(profile.merged))} if profile.merged else {},
        rotation=None if profile.rotation is None else Rotation(first=profile.rotation.first),
    )


def _kept(parts: dict[str, _T], names: Set[str]) -> dict[str, _T]:
    """Those of these names; in their own order, so that the same profile always gives the same bytes."""
    return {name: part for name, part in parts.items() if name in names} if parts else parts


def _of_rules(*rules: Rule | None) -> Iterator[str]:
    for rule in rules:
        if rule is not None:
            yield from rule.reads


def _of_ranking(ranking: Ranking) -> set[str]:
    facts = {name for _, number in ranking.terms for name in number.reads}
    if ranking.model is not None:
        facts.update(path for path, _ in ranking.model.coefficients)
    return facts

