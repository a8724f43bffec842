"""The plan for the cluster's topics: what is created, changed, refused, and what a change would delete."""

from __future__ import annotations

import pytest

from pipeline.adapters.topic_plan import Action, Change, Step, TopicState, declared, plan
from topics.catalog import DECISION_REPLIES, LATE_AUDIT_MS, SUBJECT_PARTITIONS, TABLES, TOPICS

EVENTS = TopicState("identity.events", 8, {"cleanup.policy": "delete", "retention.ms": "604800000"})


def step(wanted: TopicState, found: TopicState | None) -> Step:
    (only,) = plan([wanted], {} if found is None else {found.name: found})
    return only


def with_config(**settings: str) -> TopicState:
    dotted = {name.replace("_", "."): value for name, value in settings.items()}
    return TopicState(EVENTS.name, EVENTS.partitions, {**EVENTS.config, **dotted})


def test_every_topic_and_changelog_is_declared_once_with_its_partitions() -> None:
    states = declared("shop")
    names = [topic.name for topic in states]
    assert names == [topic.name for topic in TOPICS] + [f"shop-{table.name}-changelog" for table in TABLES]
    changelog = states[-1]
    assert changelog.partitions == SUBJECT_PARTITIONS
    assert changelog.config["cleanup.policy"] == "compact"
    assert changelog.config["min.compaction.lag.ms"] == "3600000"


def test_versions_of_policy_and_catalog_outlast_every_audit_that_names_them() -> None:
    config = {topic.name: topic.config for topic in declared("shop")}
    audit = config["decision.audit"]
    oldest_ms = int(audit["retention.ms"]) + int(audit["segment.ms"])
    for name in ("catalog.items", "policy.releases"):
        assert config[name]["cleanup.policy"] == "compact"
        assert int(config[name]["min.compaction.lag.ms"]) - oldest_ms == LATE_AUDIT_MS > 0
        assert config[name]["message.timestamp.type"] == "LogAppendTime", "no producer's clock ends it"


def test_a_missing_topic_is_created() -> None:
    assert step(EVENTS, None) == Step(EVENTS, Action.CREATE)


def test_a_topic_as_declared_is_left_alone_whatever_else_it_is_set_to() -> None:
    assert step(EVENTS, with_config(segment_bytes="1048576")).action is Action.UNCHANGED


def test_topics_that_are_not_declared_are_left_alone() -> None:
    assert plan([], {"theirs": TopicState("theirs", 3)}) == ()


def test_a_setting_that_differs_is_changed() -> None:
    changed = step(EVENTS, with_config(retention_ms="1000"))
    assert changed.action is Action.CHANGE
    assert changed.changes == (Change("retention.ms", "1000", "604800000"),)
    assert changed.loses == ()


@pytest.mark.parametrize(("found", "wanted"), [(1, 8), (8, 9), (9, 8), (8, 1)])
def test_partitions_of_a_keyed_topic_change_in_neither_direction(found: int, wanted: int) -> None:
    refused = step(TopicState("identity.events", wanted), TopicState("identity.events", found))
    assert refused.action is Action.REFUSE
    assert f"has {found} partitions, {wanted} are declared" in refused.advice
    assert "nextbest topics apply" in refused.advice
    assert f"declare {found} in topics/catalog.py" in refused.advice


def test_a_changelog_too_keeps_its_partitions() -> None:
    changelog = declared("shop")[-1]
    assert step(changelog, TopicState(changelog.name, changelog.partitions + 1)).action is Action.REFUSE


def test_replies_may_get_more_partitions_but_not_fewer() -> None:
    def replies(partitions: int) -> TopicState:
        return TopicState(DECISION_REPLIES.name, partitions)

    assert step(replies(32), replies(16)).action is Action.CHANGE
    assert step(replies(16), replies(32)).action is Action.REFUSE


@pytest.mark.parametrize(
    ("wanted", "found", "loses"),
    [
        ({"retention_ms": "86400000"}, {}, "records older than 1 days"),
        ({"retention_ms": "86400000"}, {"retention_ms": "-1"}, "records older than 1 days"),
        ({"retention_ms": "-1"}, {}, ""),
        ({"retention_ms": "604800001"}, {}, ""),
        ({"min_compaction_lag_ms": "86400000"}, {"min_compaction_lag_ms": "86400001"}, "superseded records"),
        ({"min_compaction_lag_ms": "86400000"}, {"min_compaction_lag_ms": "0"}, ""),
        ({"cleanup_policy": "compact"}, {}, "all records of a key but the newest"),
        ({}, {"cleanup_policy": "compact"}, "records older than the retention time"),
        ({}, {"cleanup_policy": "compact,delete"}, "records older than the retention time"),
    ],
)
def test_a_change_that_deletes_records_says_which(wanted: dict[str, str], found: dict[str, str], loses: str) -> None:
    changed = step(with_config(**wanted), with_config(**found))
    assert changed.action is Action.CHANGE
    assert [lost.startswith(loses) for lost in changed.loses] == ([True] if loses else [])
