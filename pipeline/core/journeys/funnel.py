"""The funnel of one journey: who came to each stage, where they went on to, and how long they took. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil

from pipeline.core.journeys.advance import ENTER, RELEASED
from pipeline.core.model.records import JourneyChange

#: A move, and the pseudonym whose it is.
Told = tuple[bytes, JourneyChange]


@dataclass(slots=True)
class StageFlow:
    """What was moved into and out of one stage in the time looked at. Times are milliseconds."""

    stage: str
    entered: int = 0
    #: Stage → how many went on there; how they left the journey → how many did.
    went_on: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    in_now: int = 0
    #: Of those who entered the journey in that time, the share that has been in this stage; None: nobody entered.
    conversion: float | None = None
    #: Of those who went on by themselves: until the next stage.
    median_ms: int | None = None
    p90_ms: int | None = None


@dataclass(slots=True)
class Funnel:
    """`entries`: how often the journey was entered in the time looked at; `goals`: of these, how many reached it."""

    journey: str
    entries: int
    goals: int
    stages: tuple[StageFlow, ...]


def funnel(told: Iterable[Told], journey: str, order: Sequence[str], since_ms: int, until_ms: int) -> Funnel:
    """The funnel from `since_ms` on, up to before `until_ms`. A move that lies there twice counts once.

    :param told: every move that is kept, of any journey, each subject's in order.
    :param order: the stages as the policy has them; others follow by name.
    """
    moves = list({(who, _key(one)): (who, one) for who, one in told
                  if one.journey == journey and one.at_ms < until_ms}.values())
    flows: dict[str, StageFlow] = {name: StageFlow(name) for name in order}
    times: dict[str, list[int]] = {}
    last: dict[bytes, str] = {}
    for who, one in moves:
        last[who] = one.to
        if one.at_ms >= since_ms and one.was != one.to:
            _count(one, flows, times)
    for stage in last.values():
        if stage:
            _flow(flows, stage).in_now += 1
    entries, goals = _converted(moves, flows, since_ms)
    for name, taken in times.items():
        taken.sort()
        flows[name].median_ms, flows[name].p90_ms = _rank(taken, 0.5), _rank(taken, 0.9)
    known = [flows[name] for name in order]
    return Funnel(journey, entries, goals, (*known, *(flows[name] for name in sorted(flows) if name not in order)))


def _key(one: JourneyChange) -> tuple[str, str, str, int]:
    """What is the same in every copy of a move."""
    return one.was, one.to, one.how, one.at_ms


def _flow(flows: dict[str, StageFlow], stage: str) -> StageFlow:
    return flows.setdefault(stage, StageFlow(stage))


def _count(one: JourneyChange, flows: dict[str, StageFlow], times: dict[str, list[int]]) -> None:
    if one.to:
        _flow(flows, one.to).entered += 1
    if not one.was or one.how == ENTER:
        return
    if one.to:
        went_on = _flow(flows, one.was).went_on
        went_on[one.to] = went_on.get(one.to, 0) + 1
        if one.how != RELEASED:
            times.setdefault(one.was, []).append(one.at_ms - one.since_ms)
    else:
        dropped = _flow(flows, one.was).dropped
        dropped[one.how] = dropped.get(one.how, 0) + 1


def _converted(moves: Sequence[Told], flows: dict[str, StageFlow], since_ms: int) -> tuple[int, int]:
    """Each entry in the time looked at, and what it came to since."""
    reached: dict[tuple[bytes, int], set[str]] = {}
    goals = set()
    for who, one in moves:
        run = (who, one.at_ms if one.how == ENTER else one.started_ms)
        if one.how == ENTER and one.at_ms >= since_ms:
            reached[run] = {one.to}
        elif run in reached and one.to:
            reached[run].add(one.to)
        if one.goal and run in reached:
            goals.add(run)
    if reached:
        came = Counter(stage for stages in reached.values() for stage in stages)
        for flow in flows.values():
            flow.conversion = came[flow.stage] / len(reached)
    return len(reached), len(goals)


def _rank(ordered: Sequence[int], share: float) -> int:
    """The nearest rank: the smallest value that so large a share does not pass."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)]
