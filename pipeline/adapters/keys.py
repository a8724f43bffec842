"""The subjects' keys as any reader with the right to them has them: read off the changelog, and on when one is missing.

The right is twofold: to read the profile table's changelog, in whose values the keys lie, and the installation's key.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from confluent_kafka import Consumer

from pipeline.adapters.reading import Place, partitions, read, reader
from pipeline.codecs.encryption import KeyEncryption
from pipeline.codecs.keyring import Keyring
from pipeline.settings import Settings
from topics.catalog import PROFILES_BY_ID, Topic

#: A key that is missing is looked for again after this long at the earliest: it may be destroyed.
AGAIN_S: Final = 1.0


def key_encryption_of(settings: Settings) -> KeyEncryption:
    """The installation's keys. Raises DecryptionError where the setting is empty."""
    return KeyEncryption(settings.privacy_key.get_secret_value(), os.urandom)


class Keys:
    """A keyring that reads on. Closed at the end; not for several threads."""

    def __init__(
        self, settings: Settings, changelog: str | None = None,
        subject_of: Callable[[bytes], bytes] = lambda key: key,
    ) -> None:
        """`changelog` None: the profile table's. `subject_of`: whose value lies there under a key."""
        self.ring = Keyring(key_encryption_of(settings))
        self._changelog = changelog or PROFILES_BY_ID.changelog(settings.app_id)
        self._subject_of = subject_of
        self._consumer: Consumer = reader(settings, "keys")
        self._reached: dict[Place, int] = {}
        self._again_s = 0.0

    def __enter__(self) -> Keys:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the connection."""
        self._consumer.close()

    def refresh(self) -> None:
        """Learn every key there is by now, and which are destroyed. Blocks. Raises KafkaException."""
        starts = {place: self._reached.get(place, 0) for place in partitions(self._consumer, [self._changelog])}
        for message in read(self._consumer, starts):
            number, key = message.partition() or 0, message.key()
            if isinstance(key, bytes):
                value = message.value()
                self.ring.follow(number, self._subject_of(key), value if isinstance(value, bytes) else None)
            self._reached[self._changelog, number] = (message.offset() or 0) + 1

    def value(self, topic: Topic, key: bytes | None, data: bytes | None) -> Any:
        """A record's value, opened if its key is there by now; encrypted otherwise. Blocks where it is not known yet.

        Raises CodecError, KafkaException.
        """
        found = self.ring.value(topic, key, data)
        if getattr(found, "encrypted", None) is not None and key and time.monotonic() > self._again_s:
            self.refresh()
            self._again_s = time.monotonic() + AGAIN_S
            found = self.ring.value(topic, key, data)
        return found
