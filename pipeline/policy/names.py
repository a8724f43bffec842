"""Names that only the folder as a whole can tell to be wrong: items that are nowhere, what golden decisions are about.

Publishing makes the catalog what the folder's items are, so an item that is named must be there. Tags and campaigns may
be waiting for their items: a name that no item has is only doubted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.core.model.problems import Path, Problem, Problems
from pipeline.policy.definitions import GoldenDefinition, PolicyDefinition
from pipeline.policy.limit_definitions import ReachDefinition


def unknown(definition: PolicyDefinition) -> list[Problem]:
    """Every item, variant and golden fact that is named and declared nowhere."""
    problems = Problems()
    if definition.items:
        for path, name in _named_items(definition):
            problems.known(path, name, definition.items, "item")
        _check_variants(definition, problems)
    for name, case in definition.golden.items():
        _check_golden(("golden", name), case, definition, problems)
    return problems.found


def doubtful(definition: PolicyDefinition) -> list[Problem]:
    """Tags and campaigns that something is about and no item has; placements that ask for nobody's consent; items that
    name themselves instead."""
    doubts = Problems()
    for name, placement in definition.placements.items():
        unasked = [one for one in placement.channels if one in definition.channels
                   and not (placement.purposes or definition.channels[one].purposes)]
        if unasked:
            doubts.add(("placements", name), f"on {', '.join(unasked)} it is decided without anybody's consent",
                       "name `purposes` here or at the channel, if that is not meant")
    for name, item in definition.items.items():
        if item.instead == name:
            doubts.add(("items", name, "instead"), "it names itself", "name another item, or leave it out")
    tags = {tag for item in definition.items.values() for tag in item.tags}
    campaigns = {item.campaign for item in definition.items.values() if item.campaign}
    for path, reach in _reaches(definition):
        for index, tag in enumerate(reach.tags):
            doubts.known((*path, "tag", index), tag, tags, "item with the tag")
        for index, campaign in enumerate(reach.campaigns):
            doubts.known((*path, "campaign", index), campaign, campaigns, "item of the campaign")
    if not definition.items:
        return [Problem(("items",), "there are no items: every placement shows its fallback", "is a file missing?")]
    return doubts.found


def _reaches(definition: PolicyDefinition) -> Iterator[tuple[Path, ReachDefinition]]:
    for section in PolicyDefinition.model_fields:
        declared = getattr(definition, section)
        for name, one in declared.items() if isinstance(declared, dict) else ():
            reach = getattr(one, "reach", None)
            if isinstance(reach, ReachDefinition):
                yield (section, name, "for"), reach


def _named_items(definition: PolicyDefinition) -> Iterator[tuple[Path, str]]:
    for path, reach in _reaches(definition):
        yield from _each((*path, "item"), reach.items)
    for name, placement in definition.placements.items():
        yield from _each(("placements", name, "fallback", "chain"), placement.fallback.chain)
    for name, item in definition.items.items():
        if item.instead:
            yield ("items", name, "instead"), item.instead
    for name, outcome in definition.outcomes.items():
        yield from _each(("outcomes", name, "event", "item"), outcome.event.items)
    for name, ranking in definition.rankings.items():
        for item_id in ranking.model.items if ranking.model is not None else ():
            yield ("rankings", name, "model", "items", item_id), item_id
    for name, experiment in definition.experiments.items():
        for arm, variation in experiment.variations.items():
            path = ("experiments", name, "variations", arm)
            yield from _each((*path, "only"), variation.only)
            yield from _each((*path, "without"), variation.without)
            for item_id in variation.variants:
                yield (*path, "variants", item_id), item_id


def _each(path: Path, names: Iterable[str]) -> Iterator[tuple[Path, str]]:
    for index, name in enumerate(names):
        yield (*path, index), name


def _check_variants(definition: PolicyDefinition, problems: Problems) -> None:
    for name, experiment in definition.experiments.items():
        for arm, variation in experiment.variations.items():
            for item_id, variant in variation.variants.items():
                if item_id in definition.items:
                    path = ("experiments", name, "variations", arm, "variants", item_id)
                    problems.known(path, variant, definition.items[item_id].variants, f"variant of {item_id}")


def _check_golden(path: Path, case: GoldenDefinition, definition: PolicyDefinition, problems: Problems) -> None:
    declared = definition.attributes
    traits = {*declared.profile, *(f"features.{name}" for name in declared.features),
              *(f"journey.{name}" for name in declared.journey)}
    problems.known((*path, "channel"), case.channel, definition.channels, "channel")
    placed = problems.known((*path, "placement"), case.placement, definition.placements, "placement")
    if placed and case.channel in definition.channels:
        problems.known((*path, "channel"), case.channel, definition.placements[case.placement].channels,
                       f"placement {case.placement} on the channel")
    for name in case.traits:
        problems.known((*path, "traits", name), name, traits, "attribute")
    for name in case.account or ():
        problems.known((*path, "account", name), name, declared.account, "account attribute")
    if case.account is None and (case.roles or case.account_consent):
        problems.add((*path, "account"), "roles and account_consent are those of an account", "add account: {}")
    for index, name in enumerate(case.account_consent):
        problems.known((*path, "account_consent", index), name, definition.consent.purposes, "purpose")
    for name in case.context:
        problems.known((*path, "context", name), name, declared.context, "context attribute")
    for index, name in enumerate(case.consent):
        problems.known((*path, "consent", index), name, definition.consent.purposes, "purpose")
    for name, stage in case.journeys.items():
        if problems.known((*path, "journeys", name), name, definition.journeys, "journey"):
            problems.known((*path, "journeys", name), stage, definition.journeys[name].stages, f"stage of {name}")
    for index, name in enumerate(case.segments):
        problems.known((*path, "segments", index), name, definition.segments, "segment")
