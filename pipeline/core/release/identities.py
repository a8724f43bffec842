"""The rules about identifiers of a release."""

from __future__ import annotations

import phonenumbers

from pipeline.core.identity.identifiers import IdentifierError, normalised
from pipeline.core.identity.identity_rules import DEFAULT, LIMITS, SHARED, TYPES, IdentityRules, TypeRule, in_order
from pipeline.core.model.problems import Path, Problems
from pipeline.core.release.book import Body
from pipeline.core.rules.patterns import Pattern, PatternError, compiled

#: Identifiers of many shapes: a pattern that blocks them all blocks everybody.
_ORDINARY = ("ada", "17", "ada@example.com", "+4915123456789", "9b2f61c4-6f0e-4d5e-8a77-0d1e3c5b7a90", "a_B-3.x")


def identity(problems: Problems, one: Body) -> IdentityRules:
    """The rules; what is wrong is noted and left out."""
    for index, name in enumerate(one.get("priority", ())):
        problems.known(("identity", "priority", index), name, TYPES, "type of identifier")
        if name in one["priority"][:index]:
            problems.add(("identity", "priority", index), f"{name!r} is named twice")
    region = one.get("phone_region")
    if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
        problems.add(("identity", "phone_region"), f"there is no region {region!r}", "two letters, as DE or US")
        region = None
    declared: Body = one.get("types", {})
    for name in declared:
        problems.known(("identity", "types", name), name, TYPES, "type of identifier")
    order = in_order(name for name in one.get("priority", ()) if name in TYPES)
    types = {name: _type(problems, name, place, declared.get(name, {}), region) for place, name in enumerate(order)}
    return IdentityRules(
        types, region, one.get("max_links", DEFAULT.links_max), one.get("max_merges", DEFAULT.merges_max),
        one.get("undo_ms", DEFAULT.undo_ms),
    )


def _type(problems: Problems, name: str, place: int, one: Body, region: str | None) -> TypeRule:
    path = ("identity", "types", name)
    usual: tuple[int | None, int | None] = LIMITS[name]
    limit, window_ms = usual if "limit" not in one else (None if one["limit"] == "none" else one["limit"], None)
    window_ms = one.get("window_ms", window_ms)
    if limit is None and window_ms is not None:
        problems.add((*path, "window"), "a window without a limit counts nothing", "give a limit")
    return TypeRule(
        place, limit, window_ms, one.get("follows_latest_login", name in SHARED),
        frozenset(spelling for value in one.get("blocked", ()) for spelling in _spellings(name, value, region)),
        tuple(pattern for index, text in enumerate(one.get("blocked_patterns", ()))
              if (pattern := _pattern(problems, (*path, "blocked_patterns", index), text)) is not None),
    )


def _spellings(type_: str, value: str, region: str | None) -> set[str]:
    """What is compared: as written, and as an identifier of the type, if it is one."""
    found = {value.strip().lower()}
    try:
        found.add(normalised(type_, value, IdentityRules(phone_region=region)).lower())
    except IdentifierError:
        pass
    return found


def _pattern(problems: Problems, path: Path, text: str) -> Pattern | None:
    try:
        pattern = compiled(text, ignore_case=True)
    except PatternError as error:
        problems.add(path, str(error))
        return None
    if all(pattern.fullmatch(value) for value in _ORDINARY):
        problems.add(path, "this pattern blocks every identifier", "write what the whole of a blocked value looks like")
        return None
    return pattern
