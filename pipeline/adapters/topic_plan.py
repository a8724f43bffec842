"""What the declared topics and the running cluster differ in. Pure: compares and explains, asks and changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from topics.catalog import DECISION_REPLIES, SUBJECT_PARTITIONS, TABLES, TOPICS

#: Topics whose records name their partition themselves: more partitions move no key.
PLACED_BY_SENDER: Final = frozenset({DECISION_REPLIES.name})


class Action(StrEnum):
    """What `apply` does about a topic."""

    CREATE = "create"
    CHANGE = "change"
    UNCHANGED = "unchanged"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as declared, or as it is in the cluster; of the cluster's settings only the declared ones count."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that differs. `loses` says which records the change would delete; empty: none."""

    setting: str
    now: str
    wanted: str
    loses: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One topic's part of the plan. `advice` is set where it is refused."""

    topic: TopicState
    action: Action
    changes: tuple[Change, ...] = ()
    advice: str = ""

    @property
    def loses(self) -> tuple[str, ...]:
        """Which records applying this step would delete."""
        return tuple(change.loses for change in self.changes if change.loses)


def declared(app_id: str) -> tuple[TopicState, ...]:
    """Every topic of the catalog and every table's changelog, as they ought to be."""
    changelogs = (
        TopicState(table.changelog(app_id), SUBJECT_PARTITIONS, {"cleanup.policy": "compact"} | table.config)
        for table in TABLES
    )
    return (*(TopicState(topic.name, topic.partitions, topic.config) for topic in TOPICS), *changelogs)


def plan(wanted: Iterable[TopicState], found: Mapping[str, TopicState]) -> tuple[Step, ...]:
    """One step per declared topic, in the declared order; topics that are not declared are left alone."""
    return tuple(_step(topic, found.get(topic.name)) for topic in wanted)


def _step(wanted: TopicState, found: TopicState | None) -> Step:
    if found is None:
        return Step(wanted, Action.CREATE)
    changes = _config_changes(wanted, found)
    if found.partitions != wanted.partitions:
        moved = Change("partitions", str(found.partitions), str(wanted.partitions))
        changes = (moved, *changes)
        advice = _refusal(wanted, found)
        if advice:
            return Step(wanted, Action.REFUSE, changes, advice)
    return Step(wanted, Action.CHANGE if changes else Action.UNCHANGED, changes)


def _refusal(wanted: TopicState, found: TopicState) -> str:
    """Why the partitions must stay as they are, and what to do; empty where they may grow."""
    if wanted.name in PLACED_BY_SENDER and wanted.partitions > found.partitions:
        return ""
    if wanted.partitions < found.partitions:
        why = "Kafka cannot take partitions away"
    else:
        why = (
            "keys would move to other partitions: a subject's new records would be decided beside its old state, "
            "so caps would be exceeded"
        )
    return (
        f"{wanted.name} has {found.partitions} partitions, {wanted.partitions} are declared: {why}. "
        "If nobody needs its records yet (a client may have made it by itself), delete the topic and run "
        f"`nextbest topics apply`. If they are needed, declare {found.partitions} in topics/catalog.py, or move to new "
        "topics: stop the producers, let the workers finish, copy changelog and compacted topics key by key."
    )


def _config_changes(wanted: TopicState, found: TopicState) -> tuple[Change, ...]:
    changes = []
    for setting, value in wanted.config.items():
        now = found.config.get(setting, "")
        if now != value:
            changes.append(Change(setting, now, value, _loss(setting, now, value)))
    return tuple(changes)


def _loss(setting: str, now: str, wanted: str) -> str:
    """Which records the broker deletes once the setting has the wanted value."""
    if setting == "cleanup.policy" and "compact" in now and "compact" not in wanted:
        return "records older than the retention time, also those that are the only ones of their key"
    if setting == "cleanup.policy" and "compact" in wanted and "compact" not in now:
        return "all records of a key but the newest"
    if setting == "retention.ms" and now and (int(now) < 0 or 0 <= int(wanted) < int(now)):
        return f"records older than {int(wanted) / 86_400_000:g} days"
    if setting == "min.compaction.lag.ms" and now and int(wanted) < int(now):
        return f"superseded records older than {int(wanted) / 86_400_000:g} days"
    return ""
