"""How every process reaches the cluster: the one place for addresses, client names and delivery settings.

Makes clients and reads what the cluster says about itself; sends and reads no records.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AdminClient

from pipeline.settings import Settings
from topics.catalog import COMPRESSION, LARGEST_RECORD_BYTES

#: Seconds a question to the cluster may take before it counts as unreachable.
ADMIN_TIMEOUT_S: Final = 15.0

#: Longest wait between attempts to reach a broker that is away, so that its return is noticed at once.
RECONNECT_MS_MAX: Final = 500

#: Records that travel together count as one with the broker: less than any topic takes.
BATCH_BYTES_MAX: Final = 1_000_000

#: An unreachable broker makes librdkafka log every attempt; the same complaint is let through once per this long.
REPEATED_LOG_S: Final = 10.0


#: For producers of encrypted records, which do not get smaller.
UNCOMPRESSED: Final[dict[str, Any]] = {"compression.type": "none"}

#: A consumer with it is told where a partition ends.
TELL_THE_END: Final[dict[str, Any]] = {"enable.partition.eof": True}


class _Unrepeated(logging.Filter):
    """Lets one complaint of a kind and client through and drops its repeats for a while."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[object, ...], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        # librdkafka's lines come as (facility, client, text); aiokafka's with the text first.
        args = record.args
        kind = args[:2] if record.name == _logger.name and isinstance(args, tuple) else (record.msg,)
        if record.created - self._last.get(kind, 0.0) < REPEATED_LOG_S:
            return False
        self._last[kind] = record.created
        return True


_logger = logging.getLogger("nextbest.kafka")
_logger.addFilter(_Unrepeated())


def keep_from_repeating(library: str) -> None:
    """Of what a library logs, let each complaint through once in a while: for one that logs every attempt while no
    broker answers. Reaches the loggers that there are, so import the library first."""
    unrepeated = _Unrepeated()
    for name in [library, *(one for one in logging.root.manager.loggerDict if one.startswith(f"{library}."))]:
        # A filter is not asked about what the loggers below say.
        logging.getLogger(name).addFilter(unrepeated)


def client_config(settings: Settings, name: str = "") -> dict[str, Any]:
    """What every client of this installation needs; `name` tells its connections apart in the broker's log."""
    return {
        "bootstrap.servers": settings.bootstrap,
        "client.id": f"{settings.app_id}-{name}" if name else settings.app_id,
        "logger": _logger,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": RECONNECT_MS_MAX,
        "log.connection.close": False,
    }


def producer(settings: Settings, name: str = "producer", **overrides: Any) -> Producer:
    """Idempotent, acknowledged by all replicas, in order; keys go where Kafka's own clients put them (murmur2).

    `overrides` are librdkafka's settings, given as `**{"message.timeout.ms": …}`.
    """
    return Producer(
        client_config(settings, name)
        | {
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 0,
            # As the broker keeps it: nothing is packed anew there.
            "compression.type": COMPRESSION,
            "message.max.bytes": LARGEST_RECORD_BYTES,
            "batch.size": BATCH_BYTES_MAX,
        }
        | overrides
    )


def consumer(settings: Settings, group: str | None = None, name: str = "consumer", **overrides: Any) -> Consumer:
    """Reads from the beginning and commits nothing by itself. Without a group it can only be assigned partitions.

    `overrides` are librdkafka's settings, given as `**{"enable.partition.eof": …}`.
    """
    return Consumer(
        client_config(settings, name)
        | {
            # librdkafka wants a group's name even where no group is ever joined.
            "group.id": group or f"{settings.app_id}-unused",
            "allow.auto.create.topics": False,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 100,
            "fetch.error.backoff.ms": 100,
        }
        | overrides
    )


def admin(settings: Settings) -> AdminClient:
    """Asks and changes the cluster."""
    return AdminClient(client_config(settings, "admin"))


def topic_ids(settings: Settings, names: Iterable[str]) -> dict[str, str]:
    """Each existing topic's id: a topic deleted and created again has the same name and another id.

    Blocks. Raises KafkaException where the cluster does not answer; leaves out topics that do not exist.
    """
    wanted = list(names)
    if not wanted:
        return {}
    client = admin(settings)  # kept until the last answer: its end would cancel the others
    described = client.describe_topics(TopicCollection(wanted), request_timeout=ADMIN_TIMEOUT_S)
    found: dict[str, str] = {}
    for name, future in described.items():
        try:
            found[name] = str(future.result(ADMIN_TIMEOUT_S).topic_id)
        except KafkaException as error:
            if not _unknown_topic(error):
                raise
    return found


def _unknown_topic(error: KafkaException) -> bool:
    return bool(error.args[0].name() == "UNKNOWN_TOPIC_OR_PART")
