"""Sends dead letters back to where they came from, byte for byte, and marks them as replayed. Chooses none itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.adapters import kafka
from pipeline.adapters.dead_letters import REPLAYED_HEADER, Letter
from pipeline.settings import Settings
from topics.catalog import DEAD_LETTERS

#: On a replayed record: the id of the letter it was replayed from.
REPLAY_HEADER: Final = "nextbest-replay-of"

DELIVERY_S: Final = 30.0
_SETTINGS: Final[dict[str, Any]] = {"message.timeout.ms": int(DELIVERY_S * 1000)}


def open_producer(settings: Settings) -> Producer:
    """A producer that gives up on a record after `DELIVERY_S`."""
    return kafka.producer(settings, "replay", **_SETTINGS)


def replay(producer: Producer, letters: Sequence[Letter]) -> None:
    """Send the letters' records, in their order; once they are acknowledged, their marks. Blocks.

    A record goes where its key belongs; one without a key to any partition. Raises KafkaException where the broker
    does not take a record: nothing of this call is marked then, and a repeat sends all of it again.
    """
    _send_all(producer, [_record(letter) for letter in letters])
    _send_all(producer, [_mark(letter) for letter in letters])


def _record(letter: Letter) -> dict[str, Any]:
    record = letter.record
    headers = {**record.headers, REPLAY_HEADER: letter.id.encode()}
    return {"topic": record.topic, "key": record.key, "value": record.value, "headers": list(headers.items())}


def _mark(letter: Letter) -> dict[str, Any]:
    """Beside the letter, so that whoever reads one reads the other; without the key, which may say whose it is."""
    return {
        "topic": DEAD_LETTERS.name,
        "key": None,
        "value": None,
        "partition": letter.partition,
        "headers": [(REPLAYED_HEADER, letter.origin.encode())],
    }


def _send_all(producer: Producer, records: Sequence[dict[str, Any]]) -> None:
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    for record in records:
        while True:
            try:
                producer.produce(**record, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
    left = producer.flush(DELIVERY_S + 5)
    if failures:
        raise KafkaException(failures[0])
    if left:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{left} records were not acknowledged"))
