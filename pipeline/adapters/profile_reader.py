"""Profiles as the cluster holds them, read from the changelog of their table. Joins no group, changes nothing.

Reads the partitions of the keys asked for to their end, once for each step of a chain of aliases.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from confluent_kafka import Consumer

from pipeline.adapters import reading
from pipeline.adapters.keys import key_encryption_of
from pipeline.codecs import encrypted_values, envelope, state
from pipeline.codecs.encryption import DecryptionError, KeyEncryption
from pipeline.core.subject import Subject, given_up, leads_to
from pipeline.settings import Settings
from topics.catalog import PROFILES_BY_ID, SUBJECT_PARTITIONS
from topics.partitions import subject_partition

#: A chain of aliases longer than this is not followed.
HOPS_MAX: Final = 20


def read(settings: Settings, keys: Iterable[str]) -> dict[str, Subject]:
    """The profiles of the keys that have one, and of everybody they are aliases of. Blocks.

    Raises KafkaException where the cluster does not answer, DecryptionError where the installation's key does not fit.
    """
    found: dict[str, Subject] = {}
    wanted = set(keys)
    for _ in range(HOPS_MAX):
        if not wanted:
            break
        new = _read(settings, {key.encode() for key in wanted})
        found |= new
        gifts = (given_up(one) for one in new.values())
        owners = {*map(leads_to, new.values()), *(gift.to for gift in gifts if gift is not None)}
        wanted = {key for key in owners if key is not None and key not in found}
    return found


def every(settings: Settings) -> Iterator[tuple[str, Subject]]:
    """Everything the table holds, a partition at a time. Blocks. Raises KafkaException as `read` does."""
    key_encryption, changelog = key_encryption_of(settings), PROFILES_BY_ID.changelog(settings.app_id)
    consumer = reading.reader(settings, "profiles")
    try:
        for partition in range(SUBJECT_PARTITIONS):
            yield from _held(key_encryption, _changes(consumer, (changelog, partition), None))
    finally:
        consumer.close()


def _read(settings: Settings, keys: set[bytes]) -> dict[str, Subject]:
    profiles: dict[str, Subject] = {}
    key_encryption, changelog = key_encryption_of(settings), PROFILES_BY_ID.changelog(settings.app_id)
    consumer = reading.reader(settings, "profiles")
    try:
        for partition in sorted({subject_partition(key) for key in keys}):
            profiles |= dict(_held(key_encryption, _changes(consumer, (changelog, partition), keys)))
    finally:
        consumer.close()
    return profiles


def _held(
    key_encryption: KeyEncryption, changes: Iterable[tuple[bytes, bytes | None, int]]
) -> Iterator[tuple[str, Subject]]:
    for key, value in envelope.recover(changes, -1, 0, None).writes.items():
        # What marks an owner's term, or a value that a lost owner hid, is no profile.
        held = _opened(key_encryption, key, value) if value and key != envelope.EPOCH_KEY else None
        if held is not None:
            yield key.decode(), state.decode(held)


def _changes(
    consumer: Consumer, place: reading.Place, keys: set[bytes] | None
) -> Iterator[tuple[bytes, bytes | None, int]]:
    """Those of the keys (None: all), and every owner's announcement."""
    for message in reading.read(consumer, {place: 0}):
        key = message.key()
        if isinstance(key, bytes) and (keys is None or key in keys or key == envelope.EPOCH_KEY):
            value = message.value()
            yield key, value if isinstance(value, bytes) else None, message.offset() or 0


def _opened(key_encryption: KeyEncryption, key: bytes, value: bytes) -> bytes | None:
    try:
        return encrypted_values.opened(key_encryption, key, value)[0].state
    except DecryptionError as error:
        raise DecryptionError(f"the profile {key.decode()} cannot be opened: {error}") from error
