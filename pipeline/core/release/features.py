"""The features of a release: compiled, and bounded in what they may take together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pipeline.core.features.taking import EVENT_FACTS
from pipeline.core.hashing import digest
from pipeline.core.model.definitions import Attribute, Matcher
from pipeline.core.model.features import FEATURES_BYTES_MAX, HOUR_MS, Between, Feature, Pause, Window
from pipeline.core.model.moments import DAY_MS
from pipeline.core.model.problems import Path, Problem, Problems
from pipeline.core.model.windows import Calendar, Lifetime, Rolling, window_of
from pipeline.core.release.book import Body, RuleBook
from pipeline.core.rules.cel.build import ATTRIBUTE_TYPES
from pipeline.core.rules.facts import CONVERT

#: Windows up to this keep every moment; those up to the second hour tiles, longer ones day tiles.
EXACT_MS_MAX: Final = 6 * HOUR_MS
HOURS_MS_MAX: Final = 14 * DAY_MS
#: Of items and tags: each has tiles of its own, so there are fewer.
HOURS_OF_ONE_MS_MAX: Final = 2 * DAY_MS

_TYPES: Final[dict[str, str]] = {
    "count": "int", "sum": "double", "mean": "double", "min": "double", "max": "double", "distinct": "int",
    "rate": "double", "recency": "duration", "decayed": "double", "top": "list(string)", "recent": "list(string)",
    "ratio": "double",
}
_NUMBERS: Final = ("int", "double")
#: Types of values that can be loaded.
LOADED_TYPES: Final = ("bool", "int", "double", "string")
_KEPT: Final = ("bool", "int", "double", "string")
#: By kind: the types that its argument may have.
_ARGUMENTS: Final[dict[str, tuple[str, ...]]] = {
    "sum": _NUMBERS, "mean": _NUMBERS, "min": _NUMBERS, "max": _NUMBERS, "decayed": _NUMBERS,
    "last": (*_KEPT, "timestamp"), "first": (*_KEPT, "timestamp"), "distinct": _KEPT, "recent": ("string",),
    "top": ("string", "list(string)"),
}
#: Kinds that cannot look back over some windows, and of which per tag can be added up.
_NO_SESSION: Final = ("last", "first", "recency", "distinct", "recent", "top", "decayed")
_OF_TAGS: Final = ("count", "sum", "rate", "decayed", "ratio")
_CONTINUOUS: Final = ("recency", "decayed", "rate")


def event_types(data: Body, problems: Problems) -> dict[str, str]:
    """The types of what a feature may read of an event. Notes what is declared wrongly."""
    types = dict(EVENT_FACTS)
    for name, one in data["attributes"].get("event", {}).items():
        path: Path = ("attributes", "event", name)
        if one["type"] not in ATTRIBUTE_TYPES:
            problems.add(path, f"{one['type']!r} is no type", f"one of {', '.join(ATTRIBUTE_TYPES)}")
        elif one.get("default") is not None and CONVERT[one["type"]](one["default"]) is None:
            problems.add(path, f"the default {one['default']!r} is no {one['type']}")
        else:
            types[f"event.properties.{name}"] = one["type"]
    return types


def event_attributes(data: Body, types: Mapping[str, str]) -> dict[str, Attribute]:
    """The declared properties of events, by name."""
    found = {}
    for name, one in data["attributes"].get("event", {}).items():
        path = f"event.properties.{name}"
        if path in types:
            convert = CONVERT[one["type"]]
            default = one.get("default")
            found[name] = Attribute(path, one["type"], convert, None if default is None else convert(default))
    return found


def declared_types(declared: Mapping[str, Body], events: Mapping[str, str]) -> dict[str, str]:
    """Of every feature, by its path in rules."""
    return {_path(name, one): _type(one, events) for name, one in declared.items()}


def _path(name: str, one: Body) -> str:
    return f"features.{name}" if one.get("per", "subject") == "subject" else f"candidate.features.{name}"


def _type(one: Body, events: Mapping[str, str]) -> str:
    return _TYPES.get(one["kind"]) or events.get(one.get("argument", ""), "string")


def compiled(
    declared: Mapping[str, Body], events: Mapping[str, str], since: Mapping[str, int], problems: Problems
) -> tuple[Feature, ...]:
    """Every feature. Notes what is wrong: of one by itself, of ratios, and of all together."""
    book = RuleBook(events, problems)
    features = tuple(_feature(name, one, book, events, since) for name, one in declared.items())
    for feature in features:
        path: Path = ("features", feature.id)
        problems.found += [Problem(path, said, hint) for said, hint in _wrong(feature)]
        _check_parts(path, feature, {one.id: one for one in features}, problems)
    problems.found += too_large(tuple(one for one in features if not one.fresh_for_ms))
    return features


def loaded_attributes(features: Iterable[Feature]) -> dict[str, Attribute]:
    """What rules read of features that are computed in batch and loaded, by name."""
    return {one.id: Attribute(one.path, one.type, CONVERT[one.type], fresh_for_ms=one.fresh_for_ms)
            for one in features if one.fresh_for_ms and one.type in LOADED_TYPES}


def _feature(name: str, one: Body, book: RuleBook, events: Mapping[str, str], since: Mapping[str, int]) -> Feature:
    path: Path = ("features", name)
    argument = one.get("argument", "")
    if argument:
        book.problems.known((*path, one["kind"]), argument, events, "fact of an event")
    kept = {part: value for part, value in one.items()
            if part not in ("since_ms", "sensitivity", "least", "fresh_for_ms")}
    kept.update({"type": events.get(argument, "")})
    key = f"{name}#{digest('feature', json.dumps(kept, sort_keys=True))[:8]}"
    window, per = _window(one.get("window")), one.get("per", "subject")
    exact = "keep" in one and one["kind"] not in ("recent",)
    return Feature(
        name, one["kind"], _type(one, events), key,
        Matcher(**{part: frozenset(values) for part, values in one.get("matcher", {}).items()}), argument,
        events.get(argument, ""), float(one.get("constant", 1.0)), book.rule((*path, "where"), one.get("where")),
        window, per, 0 if exact else _tile_ms(window, per, one["kind"]), one.get("keep", 100),
        one.get("keys", 1 if per == "subject" else 50), one.get("most", 3), one.get("half_life_ms", 0),
        one.get("each_ms", HOUR_MS), tuple(one.get("parts", ())), float(one.get("least", 1.0)),
        one.get("sensitivity", ""), one.get("since_ms", since.get(key, 0)), one.get("fresh_for_ms", 0))


def _window(body: Mapping[str, Any] | None) -> Window:
    if body is None:
        return Lifetime()
    if body["kind"] == "pause":
        return Pause(body["gap_ms"])
    if body["kind"] == "between":
        return Between(body["from_ms"], body.get("until_ms"))
    window = window_of(body)
    if not isinstance(window, Rolling | Calendar | Lifetime):
        raise ValueError(f"a feature has no {window.kind} window")
    return window


def _tile_ms(window: Window, per: str, kind: str) -> int:
    if not isinstance(window, Rolling) or kind in ("distinct", "recent", "last", "recency"):
        return 0
    one = per != "subject" or kind == "top"
    if window.length_ms <= EXACT_MS_MAX and not one:
        return 0
    return HOUR_MS if window.length_ms <= (HOURS_OF_ONE_MS_MAX if one else HOURS_MS_MAX) else DAY_MS


def _wrong(feature: Feature) -> Iterable[tuple[str, str]]:
    """What is wrong with one feature by itself, and what to do."""
    kind, window = feature.kind, feature.window
    wanted = _ARGUMENTS.get(kind, ())
    if feature.argument_type and feature.argument_type not in wanted:
        yield f"{feature.argument} is a {feature.argument_type}, {kind} takes {' or '.join(wanted)}", ""
    if feature.argument_type == "timestamp" and feature.argument != "event.at":
        yield f"{kind} keeps no timestamp but event.at", "keep it as a string"
    if isinstance(window, Pause) and kind in _NO_SESSION:
        yield f"{kind} does not count by session", "choose 1h, {calendar: day}, or leave the window out"
    if kind == "decayed" and not isinstance(window, Lifetime):
        yield "what decays has a half_life and no window", "leave the window out"
    if kind == "first" and isinstance(window, Rolling):
        yield "first does not look back over a rolling window", "leave the window out, or use recent"
    if kind == "recent" and isinstance(window, Calendar):
        yield "recent does not look back over a calendar window", "choose 30d, or leave the window out"
    if kind == "rate" and isinstance(window, Lifetime):
        yield "a rate needs a window", "add window: 1d"
    if feature.fresh_for_ms and (feature.per != "subject" or feature.type not in LOADED_TYPES):
        yield (f"a {feature.type} per {feature.per} cannot be loaded: `fresh_for` is for a number, text or bool of a "
               "subject"), "leave `fresh_for` out, and the worker counts it"
    if feature.per == "tag" and kind not in _OF_TAGS:
        yield f"{kind} of several tags cannot be added up", f"per tag there are {', '.join(_OF_TAGS)}"


def _check_parts(path: Path, feature: Feature, known: Mapping[str, Feature], problems: Problems) -> None:
    for index, part in enumerate(feature.parts):
        if not problems.known((*path, "ratio", index), part, known, "feature"):
            continue
        one = known[part]
        if one.type not in _NUMBERS or one.kind == "ratio":
            problems.add((*path, "ratio", index), f"{part} is no number that can be divided", "name a count or a sum")
        elif bool(one.fresh_for_ms) != bool(feature.fresh_for_ms):
            problems.add((*path, "ratio", index), f"one of {part} and the ratio is loaded, the other counted",
                         "give both `fresh_for`, or neither")
        elif one.per != feature.per:
            problems.add((*path, "ratio", index), f"{part} is per {one.per}, the ratio per {feature.per}",
                         "give both the same `per`")
        elif one.sensitivity and not feature.sensitivity:
            problems.add((*path, "ratio", index), f"{part} is sensitive ({one.sensitivity}), what is made of it is too",
                         f"add sensitivity: {one.sensitivity}")


def bytes_max(features: Iterable[Feature]) -> int:
    """Bytes that the features of one subject take at most."""
    return sum(one.bytes_max for one in features)


def too_large(features: tuple[Feature, ...]) -> list[Problem]:
    """A problem where all features of a subject may take more bytes than they may."""
    total = bytes_max(features)
    if total <= FEATURES_BYTES_MAX:
        return []
    largest = sorted(features, key=lambda one: -one.bytes_max)[:3]
    return [Problem(
        ("features", largest[0].id), f"the features of one subject may take {total:,} bytes, more than "
        f"{FEATURES_BYTES_MAX:,}; the largest: "
        + ", ".join(f"{one.id} {one.bytes_max:,}" for one in largest),
        "shorten windows, or lower `keep` and `keys`")]


def continuous(feature: Feature) -> bool:
    """Whether its value changes all the time."""
    return feature.kind in _CONTINUOUS


def with_parts(read: Iterable[str], features: tuple[Feature, ...]) -> tuple[Feature, ...]:
    """The features among the paths, and what they are the ratio of."""
    paths = set(read)
    named = {part for one in features if one.path in paths for part in one.parts}
    return tuple(one for one in features if one.path in paths or one.id in named)
