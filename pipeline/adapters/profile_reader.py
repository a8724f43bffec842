"""Profiles as the cluster holds them, read from the changelog of their table. Joins no group, changes nothing.

Reads the partitions of the keys asked for to their end, once for each step of a chain of aliases.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from pipeline.adapters import kafka
from pipeline.codecs import envelope, state
from pipeline.core.profile import Profile
from pipeline.settings import Settings
from topics.catalog import PROFILES_BY_ID
from topics.partitions import subject_partition

_SILENCE_S: Final = 15.0
_WAIT_S: Final = 0.1
_BATCH: Final = 5_000
#: A chain of aliases longer than this is not followed.
HOPS_MAX: Final = 20


def read(settings: Settings, keys: Iterable[str]) -> dict[str, Profile]:
    """The profiles of the keys that have one, and of everybody they are aliases of. Blocks.

    Raises KafkaException where the cluster does not answer.
    """
    found: dict[str, Profile] = {}
    wanted = set(keys)
    for _ in range(HOPS_MAX):
        if not wanted:
            break
        new = _read(settings, {key.encode() for key in wanted})
        found |= new
        owners = {one.alias_of for one in new.values()} | {one.given.to for one in new.values() if one.given}
        wanted = {key for key in owners if key is not None and key not in found}
    return found


def _read(settings: Settings, keys: set[bytes]) -> dict[str, Profile]:
    profiles: dict[str, Profile] = {}
    for partition in sorted({subject_partition(key) for key in keys}):
        wanted = {*keys, envelope.EPOCH_KEY}
        changes = (change for change in _changes(settings, partition) if change[0] in wanted)
        for key, value in envelope.recover(changes, -1, 0, None).writes.items():
            held = envelope.decode(value).state if key in keys and value is not None else None
            if held is not None:
                profiles[key.decode()] = state.decode(held)
    return profiles


def _changes(settings: Settings, partition: int) -> Iterator[tuple[bytes, bytes | None, int]]:
    consumer = kafka.consumer(settings, name="profiles", **kafka.TELL_THE_END)
    try:
        topic = PROFILES_BY_ID.changelog(settings.app_id)
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
        silent = 0
        while True:
            # It waits for a whole batch, or this long.
            messages = consumer.consume(_BATCH, _WAIT_S)
            silent = 0 if messages else silent + 1
            if silent * _WAIT_S > _SILENCE_S:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"no answer for {_SILENCE_S:g} s"))
            for message in messages:
                error = message.error()
                if error is None:
                    yield message.key() or b"", message.value(), message.offset() or 0
                elif error.code() == KafkaError._PARTITION_EOF:
                    return
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()
