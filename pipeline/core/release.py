"""A release's canonical body to the compiled policy. Collects every problem; a policy either compiles whole or not.

The body is the JSON that `pipeline.policy` writes after checking its shape: this module checks what it means.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pipeline.core.cel.build import ATTRIBUTE_TYPES
from pipeline.core.cel.syntax import RuleError
from pipeline.core.definitions import (
    Attribute,
    Cap,
    Channel,
    Fallback,
    Matcher,
    Placement,
    Policy,
    Ranking,
    Reach,
    Segment,
    Signal,
    Window,
)
from pipeline.core.facts import BUILT_IN, BUILT_IN_CANDIDATE, CONVERT
from pipeline.core.hashing import digest
from pipeline.core.problems import DefinitionError, Path, Problem, Problems
from pipeline.core.profile import MOMENTS_MAX
from pipeline.core.rules import Number, Rule, compile_number, compile_rule

#: Namespaces whose values are stored as traits; the name of a trait outside `profile` carries its namespace.
_STORED: Final = ("profile", "account", "features", "journey")
#: What a segment may not read: it must not depend on one request.
_MOMENTARY: Final = ("context.", "candidate.")

Body = Mapping[str, Any]


class RuleBook:
    """Compiles rule texts against declared attributes; the same text is compiled once, so its outcome can be shared."""

    def __init__(self, types: Mapping[str, str], problems: Problems) -> None:
        self._types = types
        self._problems = problems
        self._rules: dict[str, Rule] = {}

    def rule(self, path: Path, text: str | None, barred: tuple[str, ...] = ()) -> Rule | None:
        """The compiled condition; None where there is none, or where it is wrong (noted)."""
        if text is None:
            return None
        if text not in self._rules:
            try:
                self._rules[text] = compile_rule(text, self._types)
            except RuleError as error:
                self._problems.rule(path, error)
                return None
        rule = self._rules[text]
        for name in sorted(rule.reads):
            if barred and name.startswith(barred):
                self._problems.add(path, f"{name!r} may not be read here", "only what is kept about the subject may be",
                                   text.find(name))
                return None
        return rule

    def number(self, path: Path, text: str) -> Number | None:
        """The compiled formula; None where it is wrong (noted)."""
        try:
            return compile_number(text, self._types)
        except RuleError as error:
            self._problems.rule(path, error)
            return None


def compile_release(body: str, release: str) -> Policy:
    """The compiled policy. Raises DefinitionError with every problem."""
    try:
        data = json.loads(body)
        return _Compiler(data, release).compile()
    except DefinitionError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = Problem((), f"not a release this engine understands: {type(error).__name__}: {error}")
        raise DefinitionError([problem]) from error


def attribute(path: str, declared: Body) -> Attribute:
    """One declared attribute."""
    convert = CONVERT[declared["type"]]
    default = declared.get("default")
    return Attribute(path, declared["type"], convert, None if default is None else convert(default))


class _Compiler:
    def __init__(self, data: Body, release: str) -> None:
        self._data = data
        self._release = release
        self._problems = Problems()
        self._types = self._declared_types()
        self._book = RuleBook(self._types, self._problems)
        self._purposes = frozenset(data["consent"]["purposes"])

    def compile(self) -> Policy:
        data, problems = self._data, self._problems
        attributes = {space: {name: attribute(f"{space}.{name}", one) for name, one in names.items()}
                      for space, names in data["attributes"].items()}
        traits = {name if space == "profile" else f"{space}.{name}": one
                  for space in _STORED for name, one in attributes.get(space, {}).items()}
        signals = tuple(self._signal(name, one) for name, one in data.get("signals", {}).items())
        segments = self._segments(data.get("segments", {}), signals)
        channels = {name: self._channel(name, one) for name, one in data["channels"].items()}
        rankings = {name: self._ranking(name, one) for name, one in data.get("rankings", {}).items()}
        placements = {name: self._placement(name, one, rankings) for name, one in data["placements"].items()}
        caps = tuple(self._cap(name, one) for name, one in data.get("caps", {}).items())
        self._check_names(traits)
        problems.stop()
        base: dict[str, Any] = {one.path: one.default for names in attributes.values() for one in names.values()
                                if one.default is not None and not one.path.startswith("candidate.")}
        base.update({segment.path: False for segment in segments})
        return Policy(
            release=self._release, types=self._types, traits=traits,
            context=attributes.get("context", {}), candidate=attributes.get("candidate", {}),
            base_facts=base, zone_trait=data.get("zone_attribute", ""),
            tracking_purpose=data["consent"].get("tracking", ""), purposes=self._purposes, channels=channels,
            placements=placements, signals=signals, segments=segments,
            segment_paths={segment.id: segment.path for segment in segments}, caps=caps,
            reads=self._reads(segments, placements), timed=any(segment.rule.of_time for segment in segments),
        )

    def _declared_types(self) -> dict[str, str]:
        types = {**BUILT_IN, **BUILT_IN_CANDIDATE}
        for space, names in self._data["attributes"].items():
            for name, one in names.items():
                path: Path = ("attributes", space, name)
                if f"{space}.{name}" in types:
                    self._problems.add(path, f"{space}.{name} is built in", "choose another name")
                elif one["type"] not in ATTRIBUTE_TYPES:
                    self._problems.add(path, f"{one['type']!r} is no type", f"one of {', '.join(ATTRIBUTE_TYPES)}")
                elif one.get("default") is not None and CONVERT[one["type"]](one["default"]) is None:
                    self._problems.add(path, f"the default {one['default']!r} is no {one['type']}")
                types[f"{space}.{name}"] = one["type"]
        self._problems.stop()
        for name, one in self._data.get("signals", {}).items():
            types[f"signals.{name}"] = {"count": "int", "sequence": "bool", "last": "timestamp"}[one["kind"]]
        for name in self._data.get("segments", {}):
            types[f"segment.{name}"] = "bool"
        return types

    def _check_names(self, traits: Mapping[str, Attribute]) -> None:
        zone = self._data.get("zone_attribute", "")
        if zone and self._problems.known(("zone_attribute",), zone, traits, "profile attribute") and (
                traits[zone].type != "string"):
            self._problems.add(("zone_attribute",), f"profile.{zone} must be a string as Europe/Berlin")
        tracking = self._data["consent"].get("tracking")
        if tracking:
            self._problems.known(("consent", "tracking"), tracking, self._purposes, "purpose")

    def _signal(self, name: str, one: Body) -> Signal:
        keys = tuple(f"{name}#{digest(json.dumps(step, sort_keys=True))[:8]}"
                     for step in [*one["steps"], *([one["without"]] if one.get("without") else [])])
        return Signal(
            name, one["kind"], tuple(_matcher(step) for step in one["steps"]), one.get("within_ms"),
            one.get("up_to", 100), _matcher(one["without"]) if one.get("without") else None, f"signals.{name}", keys,
        )

    def _segments(self, declared: Body, signals: Iterable[Signal]) -> tuple[Segment, ...]:
        """In the order of what they read; a circle is a problem."""
        windowed = {signal.path for signal in signals if signal.within_ms is not None}
        rules = {name: self._book.rule(("segments", name, "rule"), one["rule"], _MOMENTARY)
                 for name, one in declared.items()}
        ordered: dict[str, Segment] = {}
        visiting: list[str] = []

        def visit(name: str) -> None:
            rule = rules[name]
            if name in ordered or rule is None:
                return
            if name in visiting:
                circle = " → ".join([*visiting[visiting.index(name):], name])
                self._problems.add(("segments", name, "rule"), f"segments read each other in a circle: {circle}")
                return
            visiting.append(name)
            needed = [path.removeprefix("segment.") for path in sorted(rule.reads) if path.startswith("segment.")]
            if "segments" in rule.reads or "lifecycle" in rule.reads:
                self._problems.add(("segments", name, "rule"), "a segment reads other segments by name",
                                   "write segment.<name>")
            for other in needed:
                visit(other)
            visiting.pop()
            windows = frozenset(rule.reads & windowed)
            ordered[name] = Segment(name, f"segment.{name}", rule, windows, declared[name].get("version", 1))

        for name in declared:
            visit(name)
        return tuple(ordered.values())

    def _channel(self, name: str, one: Body) -> Channel:
        for index, purpose in enumerate(one.get("purposes", ())):
            self._problems.known(("channels", name, "purposes", index), purpose, self._purposes, "purpose")
        return Channel(name, tuple(one.get("purposes", ())))

    def _ranking(self, name: str, one: Body) -> Ranking:
        formula = one.get("formula")
        return Ranking(name, None if formula is None else self._book.number(("rankings", name, "formula"), formula))

    def _placement(self, name: str, one: Body, rankings: Mapping[str, Ranking]) -> Placement:
        path: Path = ("placements", name)
        for index, channel in enumerate(one["channels"]):
            self._problems.known((*path, "channels", index), channel, self._data["channels"], "channel")
        for index, purpose in enumerate(one.get("purposes", ())):
            self._problems.known((*path, "purposes", index), purpose, self._purposes, "purpose")
        ranking = one.get("ranking")
        if ranking is not None:
            self._problems.known((*path, "ranking"), ranking, rankings, "ranking")
        default = one["fallback"]
        return Placement(
            name, frozenset(one["channels"]), tuple(one.get("purposes", ())), one.get("max_variants", 1),
            one.get("ttl_ms", 300_000) // 1_000, rankings.get(ranking or "", Ranking("priority")),
            Fallback(default["item"], default.get("kind", "content"), default.get("variant", "fallback"),
                     default.get("content", {}), default.get("ttl_ms", 60_000) // 1_000),
            self._book.rule((*path, "applicability"), one.get("applicability"), ("candidate.",)),
        )

    def _cap(self, name: str, one: Body) -> Cap:
        path: Path = ("caps", name)
        window = one["window"]
        if one["limit"] > MOMENTS_MAX and window["kind"] != "lifetime":
            self._problems.add((*path, "limit"), f"a cap within a window counts to {MOMENTS_MAX} at most")
        reach = one.get("reach", {})
        for part, known in (("placements", self._data["placements"]), ("channels", self._data["channels"])):
            for index, value in enumerate(reach.get(part, ())):
                self._problems.known((*path, "reach", part, index), value, known, part[:-1])
        return Cap(name, one["counted"], one["scope"], Window(**window), one["limit"], _reach(reach), describe(one))

    def _reads(self, segments: Iterable[Segment], placements: Mapping[str, Placement]) -> frozenset[str]:
        rules = [segment.rule for segment in segments]
        rules += [placement.applicability for placement in placements.values() if placement.applicability]
        numbers = [p.ranking.number for p in placements.values() if p.ranking.number]
        return frozenset().union(*(rule.reads for rule in rules), *(number.reads for number in numbers))


def _reach(one: Body) -> Reach:
    return Reach(**{name: frozenset(values) for name, values in one.items()})


def _matcher(one: Body) -> Matcher:
    return Matcher(**{name: frozenset(values) for name, values in one.items()})


def describe(cap: Body) -> str:
    """A cap in words, for explanations: `at most 3 impressions per item in 7d`."""
    window = cap["window"]
    if window["kind"] == "rolling":
        when = f"in {span(window['length_ms'])}"
    elif window["kind"] == "lifetime":
        when = "ever"
    else:
        every = f"{window['count']} {window['unit']}s" if window.get("count", 1) > 1 else window["unit"]
        when = f"per calendar {every} ({'subject zone' if window.get('local') else 'UTC'})"
    return f"at most {cap['limit']} {cap['counted']} per {cap['scope']} {when}"


def span(length_ms: int) -> str:
    """A length of time as a marketer writes it."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        if length_ms % size == 0:
            return f"{length_ms // size}{unit}"
    return f"{length_ms}ms"
