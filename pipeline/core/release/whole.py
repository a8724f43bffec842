"""The whole release: attributes first, then everything that reads them, then what they say together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from pipeline.core.hashing import policy_digest
from pipeline.core.identity.identity_rules import DEFAULT as DEFAULT_IDENTITY
from pipeline.core.model.definitions import Attribute, Placement, Policy, Ranking, Segment, Signal
from pipeline.core.model.features import Feature
from pipeline.core.model.journeys import FACTS, paths
from pipeline.core.model.problems import DefinitionError, Path, Problem, Problems
from pipeline.core.models.trained import OpenSession
from pipeline.core.release import (
    consents,
    features,
    identities,
    journeys,
    learners,
    limits,
    offers,
    outcomes,
    subjects,
    thresholds,
    trained,
    trials,
    work,
)
from pipeline.core.release.book import Body, RuleBook
from pipeline.core.rules.cel.build import ATTRIBUTE_TYPES
from pipeline.core.rules.facts import BUILT_IN, BUILT_IN_CANDIDATE, CONVERT
from pipeline.core.rules.formats import LOCALE

#: Namespaces whose values are stored as traits; the name of a trait outside `profile` carries its namespace.
_STORED: Final = ("profile", "features", "journey")
_SIGNAL_TYPES: Final = {"count": "int", "sequence": "bool", "last": "timestamp"}


def compile_release(
    body: str, release: str, since: Mapping[str, int] = MappingProxyType({}), open_session: OpenSession | None = None
) -> Policy:
    """The compiled policy. Raises DefinitionError with every problem.

    :param since: when each behaviour key began to be counted (epoch ms); one that is missing always was.
    :param open_session: what runs models that were trained elsewhere. None: their files are not opened, and the policy
        is good for checking, not for deciding by such a model.
    """
    try:
        policy = _compiled(json.loads(body), release, since, open_session)
        return replace(policy, digest=policy_digest(body, since))
    except DefinitionError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        problem = Problem((), f"not a release this engine understands: {type(error).__name__}: {error}")
        raise DefinitionError([problem]) from error


def _compiled(
    data: Body, release: str, since: Mapping[str, int], open_session: OpenSession | None
) -> Policy:
    problems = Problems()
    types, unusable = _declared_types(data, problems)
    events = features.event_types(data, problems)
    declared = data.get("features", {})
    types |= features.declared_types(declared, events)
    every = features.compiled(declared, events, since, problems)
    counted = tuple(one for one in every if not one.fresh_for_ms)
    sensitive = _sensitive(data["attributes"], every)
    book = RuleBook(types, problems, sensitive)
    attributes = {space: {name: _attribute(f"{space}.{name}", one) for name, one in names.items()
                          if f"{space}.{name}" not in unusable}
                  for space, names in data["attributes"].items() if space != "event"}
    attributes["features"] = attributes.get("features", {}) | features.loaded_attributes(every)
    signals = tuple(subjects.signal(name, one, since) for name, one in data.get("signals", {}).items())
    barred = journeys.barred(data.get("journeys", {}))
    groups = subjects.segments(book, data.get("segments", {}), barred)
    lifecycle = subjects.lifecycle(book, data.get("lifecycle", {}), barred)
    ways = journeys.compiled(book, data)
    subject_reads = frozenset(book.reads)
    by_time = features.with_parts(subject_reads, counted)
    learning, from_files = trained.from_files(data.get("models", {}))
    models = learners.learners(problems, learning, types, data.get("outcomes", {}))
    ready = trained.trained(problems, from_files, types, book.shows, open_session)
    rankings: dict[str, Ranking] = {name: offers.ranking(book, name, one, types, models, ready)
                                    for name, one in data.get("rankings", {}).items()}
    placements: dict[str, Placement] = {name: offers.placement(book, name, one, rankings, types, data)
                                        for name, one in data["placements"].items()}
    trialled = tuple(trials.experiment(book, name, one, rankings, data)
                     for name, one in sorted(data.get("experiments", {}).items()))
    trials.check_layers(book, trialled)
    policy = Policy(
        release=release, types=types, traits=_traits(attributes),
        account=attributes.get("account", {}), context=attributes.get("context", {}),
        candidate=attributes.get("candidate", {}), base_facts=_base_facts(attributes, groups),
        locale=data.get("locale", LOCALE),
        zone_trait=data.get("zone_attribute", ""), tracking_purpose=data["consent"].get("tracking", ""),
        purposes=consents.purposes(book, data), categories=consents.categories(book, data),
        tcf=consents.tcf(book, data), gpc=consents.gpc(book, data),
        channels={name: limits.channel(book, name, one, data) for name, one in data["channels"].items()},
        placements=placements, signals=signals, segments=groups,
        segment_paths={segment.id: segment.path for segment in groups},
        caps=tuple(limits.cap(book, name, one, data) for name, one in sorted(data.get("caps", {}).items())),
        suppressions=tuple(limits.suppression(book, name, one, data)
                           for name, one in sorted(data.get("suppressions", {}).items())),
        experiments=trialled,
        holdouts=tuple(trials.holdout(book, name, one, data)
                       for name, one in sorted(data.get("holdouts", {}).items())),
        identity=identities.identity(problems, data["identity"]) if "identity" in data else DEFAULT_IDENTITY,
        outcomes=outcomes.outcomes(book, data.get("outcomes", {}), data),
        lifecycle=lifecycle, reads=frozenset(book.reads), texts=book.texts,
        timed=any(map(features.continuous, by_time)) or any(
            rule.of_time for rule in (*(one.rule for one in groups), *(one.rule for one in lifecycle.stages),
                                      *(rule for one in ways for rule in journeys.rules_of(one)))),
        journeys=ways, journey_reads=journeys.reads(ways),
        segment_reads=subject_reads, windowed=_windowed(signals, subject_reads),
        features=counted, event=features.event_attributes(data, events),
        loaded_features=tuple(one for one in every if one.fresh_for_ms),
        features_by_id={one.id: one for one in every}, windowed_features=by_time, sensitive=sensitive,
        item_features=tuple(one for one in counted if one.per != "subject" and one.path in book.reads),
        models=models, trained={name: one for name, one in ready.items() if one is not None},
        account_segments=any(name.startswith(("account.", "membership.")) for name in subject_reads),
    )
    _check_names(data, policy, problems)
    problems.found += thresholds.decided(book.texts, signals)
    problems.found += work.too_much(policy)
    # What reads an attribute that is wrong itself would be reported twice.
    problems.found = [one for one in problems.found if not any(f"'{path}'" in one.message for path in unusable)]
    problems.stop(policy)
    return policy


def _declared_types(data: Body, problems: Problems) -> tuple[dict[str, str], set[str]]:
    """The types of everything that rules may read, and the declared attributes that cannot be used (noted)."""
    unusable: set[str] = set()
    types = {**BUILT_IN, **BUILT_IN_CANDIDATE}
    for space, names in data["attributes"].items():
        for name, one in names.items() if space != "event" else ():
            path: Path = ("attributes", space, name)
            if space == "features" and name in data.get("features", {}):
                problems.add(path, f"features.{name} is declared twice: loaded from outside, and counted from events",
                             "rename one of them")
            elif f"{space}.{name}" in types:
                problems.add(path, f"{space}.{name} is built in", "choose another name")
            elif one["type"] not in ATTRIBUTE_TYPES:
                problems.add(path, f"{one['type']!r} is no type", f"one of {', '.join(ATTRIBUTE_TYPES)}")
            elif one.get("fresh_for_ms") and space not in _STORED:
                problems.add(path, f"{space} has no `fresh_for`: its values are not stored with a time", "leave it out")
            elif one.get("default") is not None and CONVERT[one["type"]](one["default"]) is None:
                problems.add(path, f"the default {one['default']!r} is no {one['type']}")
            else:
                types[f"{space}.{name}"] = one["type"]
                continue
            unusable.add(f"{space}.{name}")
    for name, one in data.get("signals", {}).items():
        types[f"signals.{name}"] = _SIGNAL_TYPES[one["kind"]]
    for name in data.get("segments", {}):
        types[f"segment.{name}"] = "bool"
    for name in data.get("journeys", {}):
        if f"journey.{name}" in types:
            problems.add(("journeys", name), f"the attribute journey.{name} has this name too", "choose another name")
        types.update(zip(paths(name), FACTS.values(), strict=True))
    return types, unusable


def _attribute(path: str, declared: Body) -> Attribute:
    convert = CONVERT[declared["type"]]
    default = declared.get("default")
    return Attribute(path, declared["type"], convert, None if default is None else convert(default),
                     declared.get("fresh_for_ms", 0))


def _traits(attributes: Mapping[str, Mapping[str, Attribute]]) -> dict[str, Attribute]:
    return {name if space == "profile" else f"{space}.{name}": one
            for space in _STORED for name, one in attributes.get(space, {}).items()}


def _base_facts(attributes: Mapping[str, Mapping[str, Attribute]], groups: tuple[Segment, ...]) -> dict[str, Any]:
    base: dict[str, Any] = {one.path: one.default for names in attributes.values() for one in names.values()
                            if one.default is not None and not one.path.startswith("candidate.")}
    base.update({segment.path: False for segment in groups})
    return base


def _sensitive(attributes: Mapping[str, Any], counted: Iterable[Feature]) -> dict[str, str]:
    """Path → class, of the attributes and features that nobody may be shown."""
    found = {f"{space}.{name}": one["sensitivity"] for space, names in attributes.items()
             for name, one in names.items() if one.get("sensitivity")}
    return found | {one.path: one.sensitivity for one in counted if one.sensitivity}


def _windowed(signals: tuple[Signal, ...], reads: frozenset[str]) -> tuple[Signal, ...]:
    return tuple(one for one in signals if one.kind == "count" and one.within_ms is not None and one.path in reads)


def _check_names(data: Body, policy: Policy, problems: Problems) -> None:
    tracking = data["consent"].get("tracking")
    if tracking:
        problems.known(("consent", "tracking"), tracking, policy.purposes, "purpose")
    zone = data.get("zone_attribute", "")
    if zone in data["attributes"].get("profile", {}) and zone not in policy.traits:
        return  # It is declared, but wrong, which is said already.
    if zone and problems.known(("zone_attribute",), zone, policy.traits, "profile attribute") and (
            policy.traits[zone].type != "string"):
        problems.add(("zone_attribute",), f"profile.{zone} must be a string as Europe/Berlin")
