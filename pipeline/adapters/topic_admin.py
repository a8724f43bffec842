"""Reads the cluster's topics and carries a plan out. Decides nothing: the plan says what to do."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public names, only not re-exported for types
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from pipeline.adapters import kafka
from pipeline.adapters.topic_plan import Action, Step, TopicState, declared, plan
from pipeline.settings import Settings

#: The cluster's own default.replication.factor.
BROKER_DEFAULT: Final = -1

#: How long a change may take to be seen by every broker.
VISIBLE_S: Final = 20.0
_LOOK_AGAIN_S: Final = 0.1


class TopicsError(RuntimeError):
    """The cluster's topics are not as declared and cannot be made so without a decision; the text says which."""


def make_plan(settings: Settings) -> tuple[Step, ...]:
    """What `apply_plan` would do now. Blocks. Raises KafkaException where the cluster does not answer."""
    wanted = declared(settings.app_id)
    return plan(wanted, read_topics(kafka.admin(settings), [topic.name for topic in wanted]))


def open_transactions_ms(settings: Settings) -> int | None:
    """How long a transaction may stay open on the cluster, and keep everybody from reading on; None where it does not
    say. Blocks. Raises KafkaException where the cluster does not answer."""
    client = kafka.admin(settings)
    brokers = client.list_topics(timeout=kafka.ADMIN_TIMEOUT_S).brokers
    if not brokers:
        return None
    resource = ConfigResource(ResourceType.BROKER, str(min(brokers)))
    asked = client.describe_configs([resource], request_timeout=kafka.ADMIN_TIMEOUT_S)
    entry = asked[resource].result(kafka.ADMIN_TIMEOUT_S).get("transaction.max.timeout.ms")
    return int(entry.value) if entry is not None and entry.value is not None else None


def read_topics(client: AdminClient, names: Iterable[str]) -> dict[str, TopicState]:
    """Those of the topics that exist. Blocks. Raises KafkaException where the cluster does not answer."""
    known = client.list_topics(timeout=kafka.ADMIN_TIMEOUT_S).topics
    partitions = {name: len(known[name].partitions) for name in names if name in known}
    if not partitions:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in partitions]
    asked = client.describe_configs(resources, request_timeout=kafka.ADMIN_TIMEOUT_S)
    configs = {resource.name: future.result(kafka.ADMIN_TIMEOUT_S) for resource, future in asked.items()}
    return {
        name: TopicState(name, count, {key: str(entry.value) for key, entry in configs[name].items()})
        for name, count in partitions.items()
    }


def apply_plan(settings: Settings, steps: Sequence[Step], replication: int = BROKER_DEFAULT) -> None:
    """Create and change what the steps say, and wait until the cluster shows it. Repeatable.

    Raises TopicsError, before anything is done, where a step is refused, and where the cluster does not follow;
    KafkaException where it does not answer or forbids the change.
    """
    refused = [step.advice for step in steps if step.action is Action.REFUSE]
    if refused:
        raise TopicsError("\n".join(refused))
    client = kafka.admin(settings)
    _create(client, [step for step in steps if step.action is Action.CREATE], replication)
    for step in steps:
        if step.action is Action.CHANGE:
            _change(client, step)
    _wait_until_visible(client, [step.topic for step in steps])


def ensure_topics(settings: Settings) -> None:
    """Make the cluster's topics as declared; what already is, stays. Blocks. Repeatable.

    Raises TopicsError where that would delete records or move keys, KafkaException where the cluster does not answer.
    """
    steps = make_plan(settings)
    lost = [f"{step.topic.name} would lose {what}" for step in steps for what in step.loses]
    if lost:
        raise TopicsError("\n".join([*lost, "look with `nextbest topics plan`, then run `nextbest topics apply`"]))
    apply_plan(settings, steps)


def _create(client: AdminClient, steps: Sequence[Step], replication: int) -> None:
    if not steps:
        return
    topics = [
        NewTopic(
            step.topic.name,
            num_partitions=step.topic.partitions,
            replication_factor=replication,
            config=dict(step.topic.config),
        )
        for step in steps
    ]
    for future in client.create_topics(topics, request_timeout=kafka.ADMIN_TIMEOUT_S).values():
        try:
            future.result(kafka.ADMIN_TIMEOUT_S)
        except KafkaException as error:
            # Another process of ours was faster; whether it made the topic as declared is seen at the end.
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise


def _change(client: AdminClient, step: Step) -> None:
    topic = step.topic
    entries = []
    for change in step.changes:
        if change.setting == "partitions":
            grown = client.create_partitions([NewPartitions(topic.name, topic.partitions)])
            grown[topic.name].result(kafka.ADMIN_TIMEOUT_S)
        else:
            entries.append(
                ConfigEntry(change.setting, change.wanted, incremental_operation=AlterConfigOpType.SET)
            )
    if entries:
        resource = ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries)
        for future in client.incremental_alter_configs([resource]).values():
            future.result(kafka.ADMIN_TIMEOUT_S)


def _wait_until_visible(client: AdminClient, topics: Sequence[TopicState]) -> None:
    deadline = time.monotonic() + VISIBLE_S
    while True:
        try:
            found = read_topics(client, [topic.name for topic in topics])
            waiting = [step for step in plan(topics, found) if step.action is not Action.UNCHANGED]
            if not waiting:
                return
            why = ", ".join(f"{step.topic.name} ({step.action})" for step in waiting)
        except KafkaException as error:
            # A topic just made is known to one broker before the other.
            why = str(error)
        if time.monotonic() > deadline:
            raise TopicsError(f"after {VISIBLE_S:g} s the cluster still does not show the change: {why}")
        time.sleep(_LOOK_AGAIN_S)
