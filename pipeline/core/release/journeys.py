"""Journeys of a release: compiled, and what is wrong with the way their stages lead to each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.core.model.journeys import JOURNEYS_MAX, STAGES_MAX, Journey, JourneyStage, Transition, Trigger, paths
from pipeline.core.model.problems import Path, Problems
from pipeline.core.release.book import MOMENTARY, Body, RuleBook
from pipeline.core.release.subjects import matcher
from pipeline.core.rules.rule import Rule


def barred(declared: Iterable[str]) -> tuple[str, ...]:
    """What segments, stages and journeys may not read: the moment, and journeys, which follow them."""
    return (*MOMENTARY, *(path for name in declared for path in paths(name)))


def compiled(book: RuleBook, data: Body) -> tuple[Journey, ...]:
    """The journeys, by name; what is wrong is noted at the path an author wrote."""
    declared = data.get("journeys", {})
    if len(declared) > JOURNEYS_MAX:
        book.problems.add(("journeys",), f"there are {len(declared)} journeys, at most {JOURNEYS_MAX} can be")
    reader = _Reader(book, barred(declared), data.get("segments", {}))
    return tuple(reader.journey(name, one) for name, one in sorted(declared.items()))


def rules_of(journey: Journey) -> Iterator[Rule]:
    """Every condition of a journey."""
    for one in _triggers(journey):
        if one.rule is not None:
            yield one.rule


def reads(journeys: Iterable[Journey]) -> frozenset[str]:
    """What their conditions read, the paths of their segments included."""
    found: set[str] = set()
    for journey in journeys:
        for one in _triggers(journey):
            found.update(one.rule.reads if one.rule is not None else ())
            found.update((f"segment.{one.segment}",) if one.segment else ())
    return frozenset(found)


def _triggers(journey: Journey) -> Iterator[Trigger]:
    yield journey.enter
    if journey.exit is not None:
        yield journey.exit
    for stage in journey.stages:
        for one in stage.transitions:
            yield one.trigger


class _Reader:
    """Compiles one journey after another."""

    def __init__(self, book: RuleBook, barred: tuple[str, ...], segments: Mapping[str, Any]) -> None:
        self._book, self._barred, self._segments = book, barred, segments

    def journey(self, name: str, one: Body) -> Journey:
        """The journey of that name."""
        path: Path = ("journeys", name)
        stages = tuple(
            JourneyStage(stage["name"], tuple(
                Transition(way["to"], self._trigger((*path, "stages", stage["name"], "next", way["to"]), way))
                for way in stage["next"]), stage["goal"])
            for stage in one["stages"])
        journey = Journey(
            name, self._trigger((*path, "enter"), one["enter"]), stages,
            self._trigger((*path, "exit"), one["exit"]) if "exit" in one else None, one.get("timeout_ms"),
            one.get("re_entry_ms"), dict(one.get("was", {})), one.get("leaves", False),
            {stage.name: place for place, stage in enumerate(stages)})
        _check(journey, path, self._book.problems)
        return journey

    def _trigger(self, path: Path, one: Body) -> Trigger:
        match one["kind"]:
            case "event":
                return Trigger("event", matcher=matcher(one["matcher"]))
            case "segment":
                self._book.problems.known((*path, "segment"), one["segment"], self._segments, "segment")
                return Trigger("segment", segment=one["segment"])
            case "rule":
                return Trigger("rule", rule=self._book.rule((*path, "rule"), one["rule"], self._barred))
            case "after":
                return Trigger("after", after_ms=int(one["after_ms"]))
        raise ValueError(f"{one['kind']!r} moves nobody")


def _check(journey: Journey, path: Path, problems: Problems) -> None:
    if not 0 < len(journey.stages) <= STAGES_MAX or len(journey.places) != len(journey.stages):
        problems.add((*path, "stages"), f"a journey has from 1 to {STAGES_MAX} stages, each named once")
        return
    known = [
        problems.known((*path, "stages", stage.name, "next", one.to), one.to, journey.places, f"stage of {journey.id}")
        for stage in journey.stages for one in stage.transitions]
    for old, new in journey.was.items():
        problems.known((*path, "was", old), new, journey.places, f"stage of {journey.id}")
        if old in journey.places:
            problems.add((*path, "was", old), f"{old!r} is a stage still: whoever is in it stays in it",
                         "leave this line out, or rename the stage")
    if journey.re_entry_ms == 0 and journey.enter.kind == "rule":
        problems.add((*path, "re_entry"), "a rule that holds would let them in again at once",
                     "write `after 30d`, or enter by an event or a segment")
    if all(known):
        _check_ways(journey, path, problems)


def _check_ways(journey: Journey, path: Path, problems: Problems) -> None:
    reached = _reached(journey)
    ends = journey.timeout_ms is not None or journey.exit is not None
    for stage in journey.stages:
        at: Path = (*path, "stages", stage.name)
        if stage.name not in reached:
            problems.add(at, f"nothing leads to {stage.name!r} from {journey.stages[0].name!r}, where everybody begins",
                         "name it in another stage's `next`")
        if stage.goal and stage.transitions:
            problems.add((*at, "next"), f"{stage.name!r} is a goal, where the journey ends", "leave `next` out")
        if not (stage.goal or stage.transitions or ends):
            problems.add(at, f"nothing leads out of {stage.name!r}, and it is no goal",
                         "write `goal: true`, `next`, or a `timeout` or `exit` of the journey")
        for one in stage.transitions:
            if one.to == stage.name:
                problems.add((*at, "next", one.to), f"{stage.name!r} leads to itself")
    for circle in _circles(journey):
        problems.add((*path, "stages", circle[0]), "one condition leads round in a circle, in no time: "
                     + " → ".join((*circle, circle[0])), "let something else lead back")


def _reached(journey: Journey) -> set[str]:
    reached, waiting = set[str](), [journey.stages[0].name]
    while waiting:
        stage = journey.stage(waiting.pop())
        if stage is not None and stage.name not in reached:
            reached.add(stage.name)
            waiting += [one.to for one in stage.transitions]
    return reached


def _circles(journey: Journey) -> Iterator[tuple[str, ...]]:
    """Circles of stages that lead on by one and the same segment or rule: who is in one stage is in all."""
    by_condition: dict[str, dict[str, str]] = {}
    for stage in journey.stages:
        for one in stage.transitions:
            condition = one.trigger.segment or (one.trigger.rule.text if one.trigger.rule is not None else "")
            if condition and one.to != stage.name:
                by_condition.setdefault(condition, {}).setdefault(stage.name, one.to)
    for ways in by_condition.values():
        left = set(ways)
        while left:
            walk = [min(left, key=journey.places.__getitem__)]
            while (to := ways.get(walk[-1], "")) in left and to not in walk:
                walk.append(to)
            if to in walk:
                yield tuple(walk[walk.index(to):])
            left.difference_update(walk)
