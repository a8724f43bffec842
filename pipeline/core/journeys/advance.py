"""How a subject moves through the journeys of a release: by events, segments, rules and time. Pure.

Journeys follow segments: first memberships are brought up to date, then every journey. All moves are made at the
broker's time of what made them, also those of a time-out that is noticed late, so that nobody goes through a stage in
no time because the installation was down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.core.model.definitions import Policy
from pipeline.core.model.journeys import Journey, JourneyStage, Trigger
from pipeline.core.model.records import Account, FeedbackEvent
from pipeline.core.model.values import Value, replaced
from pipeline.core.rules import facts as fact
from pipeline.core.rules import segments, signals
from pipeline.core.rules.rule import passes
from pipeline.core.sections.journeys import Position
from pipeline.core.sections.section import changed
from pipeline.core.subject import JOURNEYS_TIMER, Person, timed

#: An event that happened longer before it is taken up moves nobody: it is history that is filled in.
EVENT_AGE_MS_MAX: Final = 86_400_000
#: Nor does one that happened longer before the stage was entered: the clocks of producers differ by less.
CLOCKS_MS_MAX: Final = 300_000
#: How somebody moves other than by the trigger's kind.
ENTER: Final = "enter"
EXIT: Final = "exit"
TIMEOUT: Final = "timeout"
RELEASED: Final = "moved_by_release"

_NOTHING: Final[frozenset[str]] = frozenset()
_NO_ITEM: Final[dict[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of behaviour that may be learnt, with the tags of its item, and when (epoch ms), never ahead of now."""

    event: FeedbackEvent
    tags: tuple[str, ...]
    at_ms: int


class Move(Value, frozen=True):
    """A subject came from one stage of a journey to another; "" is outside of it.

    `how`: enter, event, after, segment, rule, exit, timeout or moved_by_release. `since_ms`: when the stage that was
    left was entered, `started_ms`: the journey; 0 where they were outside. `goal`: whether that reached the goal.
    """

    journey: str
    was: str
    to: str
    how: str
    since_ms: int
    started_ms: int
    goal: bool = False


Change = segments.Change | Move


def stale(profile: Person, policy: Policy, now_ms: int, account: Account | None = None) -> bool:
    """Whether time, a new release or a change of the account may have changed a membership or a journey."""
    due = profile.timers.get(JOURNEYS_TIMER)
    return (due is not None and now_ms >= due) or segments.stale(profile, policy, now_ms, account)


def refresh(
    profile: Person, policy: Policy, now_ms: int, touched: Set[str] | None = _NOTHING,
    facts: dict[str, Any] | None = None, account: Account | None = None, happened: Happened | None = None,
) -> tuple[Person, tuple[Change, ...]]:
    """The profile with its memberships and journeys as of now. `touched`: the paths that changed; None: look at all.

    `facts`, where given, are those of this profile at this moment; they are brought up to date in place.
    """
    after, changes = segments.refresh(profile, policy, now_ms, touched, facts, account)
    if not policy.journeys and not profile.journeys:
        return after, changes
    if not (changes or happened is not None or policy.timed or touched is None
            or not policy.journey_reads.isdisjoint(touched) or stale(profile, policy, now_ms, account)):
        return after, changes
    look = _Look(after, policy, now_ms, account, happened, facts)
    moves: list[Move] = []
    positions = {}
    for journey in policy.journeys:
        position = _advanced(journey, after.journeys.get(journey.id), look, moves)
        if position is not None:
            positions[journey.id] = position
    declared = {journey.id for journey in policy.journeys}
    moves += [Move(name, one.stage, "", RELEASED, one.since_ms, one.started_ms)
              for name, one in after.journeys.items() if name not in declared and one.stage]
    timers = timed(after.timers, JOURNEYS_TIMER, _due_ms(policy.journeys, positions, now_ms))
    if positions == after.journeys and timers == after.timers:
        return after, changes
    after = changed(after, journeys=positions, timers=timers)
    if facts is not None:
        fact.put_journeys(facts, after, policy)
    return after, (*changes, *moves)


@dataclass(slots=True)
class _Look:
    """What one look at somebody's journeys goes by; the facts are worked out when a rule asks first."""

    profile: Person
    policy: Policy
    now_ms: int
    account: Account | None
    happened: Happened | None
    facts: dict[str, Any] | None
    #: Whether the event has moved them in the journey that is looked at.
    spent: bool = field(default=False)

    def fires(self, trigger: Trigger, since_ms: int) -> bool:
        """Whether the condition holds for who is where they are since then."""
        match trigger.kind:
            case "event":
                return trigger.matcher is not None and self._heard(since_ms) and self.happened is not None and (
                    signals.matches(trigger.matcher, self.happened.event, self.happened.tags))
            case "segment":
                return trigger.segment in self.profile.segments
            case "after":
                return self.now_ms - since_ms >= trigger.after_ms
            case "rule":
                return trigger.rule is not None and passes(trigger.rule, self._known(), _NO_ITEM)

    def _heard(self, since_ms: int) -> bool:
        if self.happened is None or self.spent:
            return False
        at_ms = self.happened.at_ms
        return at_ms >= self.now_ms - EVENT_AGE_MS_MAX and at_ms >= since_ms - CLOCKS_MS_MAX

    def _known(self) -> dict[str, Any]:
        if self.facts is None:
            self.facts = fact.of_profile(self.profile, self.policy, self.now_ms, self.account)
        return self.facts


def _advanced(journey: Journey, position: Position | None, look: _Look, moves: list[Move]) -> Position | None:
    """Where they are in the journey now. Each stage is entered at most once, so there is an end to it."""
    look.spent = False
    position = _fitted(journey, position, look.now_ms, moves)
    seen = {position.stage} if position is not None else set()
    while (step := _step(journey, position, look)) is not None:
        to, how = step
        if to in seen:
            break
        seen.add(to)
        # What time does is overdue: it does not take the event's place.
        look.spent = look.spent or how not in ("after", TIMEOUT)
        position = _moved(journey, position or Position(), to, how, look.now_ms, moves)
        if position.ended:
            break
    return position


def _step(journey: Journey, position: Position | None, look: _Look) -> tuple[str, str] | None:
    """The next move, to where and how; None: they stay."""
    if position is None or position.ended:
        return (journey.stages[0].name, ENTER) if _enters(journey, position, look) else None
    if journey.timeout_ms is not None and look.now_ms - position.started_ms >= journey.timeout_ms:
        return "", TIMEOUT
    if journey.exit is not None and look.fires(journey.exit, position.started_ms):
        return "", EXIT
    stage = journey.stage(position.stage)
    for one in stage.transitions if stage is not None else ():
        if look.fires(one.trigger, position.since_ms):
            return one.to, one.trigger.kind
    return None


def _enters(journey: Journey, position: Position | None, look: _Look) -> bool:
    """Whether they enter. Again: once the pause is over; by a segment, if they entered it after the journey ended.

    Nobody enters whom the exit would lead out at once.
    """
    if journey.exit is not None and journey.exit.kind != "event" and look.fires(journey.exit, look.now_ms):
        return False
    if position is None:
        return look.fires(journey.enter, 0)
    if journey.re_entry_ms is None or look.now_ms - position.ended_ms < journey.re_entry_ms:
        return False
    if journey.enter.kind == "segment" and look.profile.segments.get(journey.enter.segment, 0) <= position.ended_ms:
        return False
    return look.fires(journey.enter, position.ended_ms)


def _moved(journey: Journey, position: Position, to: str, how: str, now_ms: int, moves: list[Move]) -> Position:
    stage = journey.stage(to)
    goal = stage is not None and stage.goal
    moves.append(Move(journey.id, position.stage, to, how, position.since_ms if position.stage else 0,
                      position.started_ms if position.stage else 0, goal))
    if stage is None:
        ended = "timeout" if how == TIMEOUT else "exit" if how == EXIT else "gone"
        return replaced(position, stage="", since_ms=now_ms, ended=ended, ended_ms=now_ms)
    enters = how == ENTER
    return Position(to, now_ms, now_ms if enters else position.started_ms, journey.places[to],
                    position.entries + 1 if enters else position.entries, "goal" if goal else "",
                    now_ms if goal else 0)


def _fitted(journey: Journey, position: Position | None, now_ms: int, moves: list[Move]) -> Position | None:
    """The position as the present definition has it: the stage stays, is called otherwise, or is gone."""
    if position is None or not position.stage:
        return position
    stage = journey.stage(position.stage)
    if stage is None:
        to = journey.was.get(position.stage, "")
        after = _moved(journey, position, to, RELEASED, now_ms, moves)
        # Who reached the goal has reached it, whatever becomes of the stage.
        return replaced(after, ended="goal", ended_ms=position.ended_ms) if position.ended == "goal" else after
    place = journey.places[position.stage]
    if stage.goal and not position.ended:
        moves.append(Move(journey.id, stage.name, stage.name, RELEASED, position.since_ms, position.started_ms, True))
        return replaced(position, place=place, ended="goal", ended_ms=now_ms)
    return position if place == position.place else replaced(position, place=place)


def _due_ms(journeys: Iterable[Journey], positions: dict[str, Position], now_ms: int) -> int | None:
    """When time alone moves somebody next."""
    return min((due for journey in journeys if (position := positions.get(journey.id)) is not None
                for due in _dues(journey, position) if due > now_ms), default=None)


def _dues(journey: Journey, position: Position) -> Iterator[int]:
    if position.ended:
        if journey.re_entry_ms is not None and journey.enter.kind != "event":
            yield position.ended_ms + journey.re_entry_ms
        return
    if journey.timeout_ms is not None:
        yield position.started_ms + journey.timeout_ms
    stage: JourneyStage | None = journey.stage(position.stage)
    for one in stage.transitions if stage is not None else ():
        if one.trigger.kind == "after":
            yield position.since_ms + one.trigger.after_ms
