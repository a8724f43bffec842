"""What rules read: profile, context, segments, signals and time as one flat dict from path to value.

Only what is known is in it: a missing path is what makes a rule unknown. Of a count that began after the subject's
first events, the least that it can be is there instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from functools import partial
from typing import Any, Final

from pipeline.core.features.reading import Reader
from pipeline.core.model.definitions import Attribute, Item, Journey, Policy
from pipeline.core.model.moments import moment
from pipeline.core.model.records import Account
from pipeline.core.model.words import Scalar
from pipeline.core.rules import readers, signals
from pipeline.core.rules.cel.build import AT_LEAST, STALE
from pipeline.core.rules.cel.functions import EvaluationError, zone
from pipeline.core.sections import memberships
from pipeline.core.sections.journeys import Position
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import Person

#: Facts that every policy has without declaring them.
BUILT_IN: Final[dict[str, str]] = {
    "now": "timestamp", "today": "date", "zone": "string", "segments": "list(string)", "lifecycle": "string",
    "local.hour": "int", "local.minute": "int", "local.weekday": "int", "local.date": "string",
    "membership.role": "string", "membership.roles": "list(string)",
    "context.channel": "string", "context.placement": "string", "context.scenario": "string",
}
BUILT_IN_CANDIDATE: Final[dict[str, str]] = {
    "candidate.id": "string", "candidate.kind": "string", "candidate.priority": "int",
    "candidate.tags": "list(string)", "candidate.campaign": "string",
}

_LOCAL: Final = frozenset(("today", "local.hour", "local.minute", "local.weekday", "local.date"))



def _fits_as_it_is(type_: str) -> Callable[[Scalar], Any]:
    """The type's reader, not asked for what it would give back as it is: most of what comes."""
    read, native = readers.READERS[type_], {"string": str, "bool": bool, "double": float}.get(type_)
    if native is None:
        return partial(readers.fitting, read)
    return lambda value: value if type(value) is native else readers.fitting(read, value)


#: By attribute type: a stored scalar as the rules see it, or None where it does not fit (it is then unknown).
CONVERT: Final[dict[str, Callable[[Scalar], Any]]] = {type_: _fits_as_it_is(type_) for type_ in readers.READERS}


def zone_of(profile: Person, policy: Policy) -> tuple[str, tzinfo]:
    """The subject's zone by its declared trait; UTC where it is missing or no zone."""
    return _zone(profile, policy) or ("UTC", UTC)


def zone_is_unreadable(profile: Person, policy: Policy) -> bool:
    """Whether a zone is there that is none: nobody knows then what time it is for the subject."""
    return _zone(profile, policy) is None


def _zone(profile: Person, policy: Policy) -> tuple[str, tzinfo] | None:
    trait = profile.traits.get(policy.zone_trait) if policy.zone_trait else None
    if trait is None or trait.value is None:
        return "UTC", UTC
    if not isinstance(trait.value, str):
        return None
    try:
        return trait.value, zone(trait.value)
    except EvaluationError:
        return None


def of_profile(profile: Person, policy: Policy, now_ms: int, account: Account | None = None) -> dict[str, Any]:
    """The facts about a subject at a moment, context apart; `account`: of the primary membership."""
    facts = dict(policy.base_facts)
    # Whatever else is known of somebody, and whatever else is declared.
    declared, traits = policy.traits, profile.traits
    for name in traits if len(traits) < len(declared) else declared:
        if name in traits and name in declared:
            _put_trait(facts, declared[name], traits[name], now_ms)
    if profile.accounts:
        _add_account(facts, profile, policy, account)
    _add_memberships(facts, profile, policy)
    put_journeys(facts, profile, policy)
    _add_signals(facts, profile, policy, now_ms)
    if policy.features:
        _add_features(facts, profile, policy, now_ms)
    _add_time(facts, policy.reads, profile, policy, now_ms)
    return facts


def _put_trait(facts: dict[str, Any], attribute: Attribute, trait: Trait, now_ms: int) -> None:
    """What is too old is unknown, and said to be: a default does not stand for it."""
    if attribute.fresh_for_ms and now_ms - trait.at_ms >= attribute.fresh_for_ms:
        facts.pop(attribute.path, None)
        facts[attribute.path + STALE] = True
    else:
        _put(facts, attribute, trait.value)


def _put(facts: dict[str, Any], attribute: Attribute, given: Scalar) -> None:
    """A default stands for what is missing, not for what is there and cannot be read: that is unknown."""
    value = attribute.convert(given)
    if value is not None:
        facts[attribute.path] = value
    elif given is not None:
        facts.pop(attribute.path, None)


def _add_memberships(facts: dict[str, Any], profile: Person, policy: Policy) -> None:
    paths = policy.segment_paths
    for segment in profile.segments:
        path = paths.get(segment)
        if path is not None:
            facts[path] = True
    if "segments" in policy.reads:
        facts["segments"] = tuple(sorted(profile.segments))
    if profile.stages:
        facts["lifecycle"] = profile.stages[-1].name


def put_journeys(facts: dict[str, Any], profile: Person, policy: Policy) -> None:
    """Bring the facts of every journey that some rule reads up to date, in place."""
    for one in policy.journeys:
        told = _of_journey(one, profile.journeys.get(one.id))
        for path, value in told.items():
            if path not in policy.reads:
                continue
            if value is None:
                facts.pop(path, None)
            else:
                facts[path] = value


def _of_journey(journey: Journey, position: Position | None) -> dict[str, Any]:
    """The facts of one journey by path; None: unknown, as they are not in it."""
    name = f"journey.{journey.id}."
    there = position if position is not None and position.stage in journey.places else None
    progress = None
    if there is not None:
        goal = journey.goal_place
        progress = min(1.0, journey.places[there.stage] / goal) if goal else 1.0
    return {
        f"{name}stage": None if there is None else there.stage,
        f"{name}since": None if there is None else moment(there.since_ms),
        f"{name}started": None if there is None else moment(there.started_ms),
        f"{name}progress": progress,
        f"{name}reached_goal": position is not None and position.ended == "goal",
    }


def _add_signals(facts: dict[str, Any], profile: Person, policy: Policy, now_ms: int) -> None:
    reads = policy.reads
    for signal in policy.signals:
        if signal.path in reads:
            value = signals.value(signal, profile, now_ms)
            if value is not None:
                facts[signal.path] = value
            elif signal.kind == "count":
                facts[signal.path + AT_LEAST] = signals.least(signal, profile, now_ms)


def reader(profile: Person, policy: Policy, now_ms: int) -> Reader:
    """What reads the subject's features at a moment."""
    return Reader(policy.features_by_id, profile.features, profile.heard_ms, now_ms, zone_of(profile, policy)[1])


def _add_features(facts: dict[str, Any], profile: Person, policy: Policy, now_ms: int) -> None:
    reading: Reader | None = None
    for feature in policy.features:
        if feature.per == "subject" and feature.path in policy.reads:
            reading = reading or reader(profile, policy, now_ms)
            value = reading.value(feature)
            if value is not None:
                facts[feature.path] = value
            elif feature.kind == "count":
                facts[feature.path + AT_LEAST] = reading.least(feature)


def of_item(reading: Reader, policy: Policy, item: Item) -> dict[str, Any]:
    """The facts of an item, with what the subject did about it and about its tags."""
    facts = dict(item.facts)
    for feature in policy.item_features:
        value = reading.value(feature, item.id) if feature.per == "item" else reading.of_tags(feature, item.tags)
        if value is not None:
            facts[feature.path] = value
    return facts


def _add_account(facts: dict[str, Any], profile: Person, policy: Policy, account: Account | None) -> None:
    roles = memberships.roles(profile.accounts)
    if roles is not None:
        facts["membership.roles"] = roles
        if roles:
            facts["membership.role"] = roles[0]
    for name, attribute in policy.account.items() if account is not None else ():
        if account is not None:
            _put(facts, attribute, account.traits.get(name))


def _add_time(facts: dict[str, Any], reads: frozenset[str], profile: Person, policy: Policy, now_ms: int) -> None:
    now = moment(now_ms)
    if "now" in reads:
        facts["now"] = now
    if "zone" not in reads and _LOCAL.isdisjoint(reads):
        return
    found = _zone(profile, policy)
    if found is None:
        return
    facts["zone"] = found[0]
    if _LOCAL.isdisjoint(reads):
        return
    here = now.astimezone(found[1])
    facts["today"] = here.date()
    facts["local.hour"], facts["local.minute"] = here.hour, here.minute
    facts["local.weekday"], facts["local.date"] = here.isoweekday(), here.date().isoformat()


def add_context(
    facts: dict[str, Any], policy: Policy, attributes: Mapping[str, Scalar], channel: str, scenario: str
) -> None:
    """Adds the facts of this request; the placement is added as each one is decided."""
    for name, given in attributes.items():
        attribute = policy.context.get(name)
        if attribute is not None:
            _put(facts, attribute, given)
    facts["context.channel"] = channel
    facts["context.scenario"] = scenario
