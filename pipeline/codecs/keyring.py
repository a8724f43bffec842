"""The subjects' keys as a reader has them: whoever may read a table's changelog and has the installation's key.

Fed with changelog records in their order, whose values carry the keys; opens what is encrypted on the topics, by the
pseudonym that is the record's key. A subject whose key is destroyed is unknown to it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from pipeline.codecs import avro
from pipeline.codecs import envelope as envelopes
from pipeline.codecs.encryption import BY_SUBJECT, Cipher, DecryptionError, KeyEncryption
from topics.catalog import Topic


class Keyring:
    """Keys by subject and by pseudonym."""

    def __init__(self, key_encryption: KeyEncryption) -> None:
        self._key_encryption = key_encryption
        #: Subject → its wrapped key, not opened before it is needed.
        self.wrapped: dict[bytes, bytes] = {}
        self._by_pseudonym: dict[bytes, tuple[bytes, Cipher]] = {}
        self._pseudonyms: dict[bytes, bytes] = {}
        self._not_indexed: set[bytes] = set()
        self._epochs: dict[int, int] = {}

    def follow(self, partition: int, key: bytes, value: bytes | None) -> bool:
        """One changelog record, in the log's order; False where a lost owner wrote it late, as recovery sees it too."""
        if value is not None:
            epoch = envelopes.epoch_of(value)
            if epoch < self._epochs.get(partition, 0):
                return False
            self._epochs[partition] = epoch
        self.learn(key, value)
        return True

    def learn(self, subject: bytes, value: bytes | None) -> None:
        """The newest value of a table's key: the key it carries replaces the one known before."""
        wrapped = None if value is None or subject.startswith(b"\x00") else envelopes.key_of(value)
        if wrapped == self.wrapped.get(subject):
            return
        self._by_pseudonym.pop(self._pseudonyms.pop(subject, b""), None)
        if wrapped is None:
            del self.wrapped[subject]
            self._not_indexed.discard(subject)
        else:
            self.wrapped[subject] = wrapped
            self._not_indexed.add(subject)

    def knows(self, pseudonym: bytes) -> bool:
        """Whether records under this key can be opened. Raises DecryptionError."""
        for subject in self._not_indexed:
            cipher = self._key_encryption.unwrapped(subject, self.wrapped[subject])
            self._by_pseudonym[cipher.pseudonym] = (subject, cipher)
            self._pseudonyms[subject] = cipher.pseudonym
        self._not_indexed.clear()
        return pseudonym in self._by_pseudonym

    def subject_of(self, pseudonym: bytes) -> bytes | None:
        """Whose pseudonym it is."""
        return self._by_pseudonym[pseudonym][0] if self.knows(pseudonym) else None

    def opened(self, pseudonym: bytes, encrypted: bytes, purpose: bytes) -> bytes:
        """What is encrypted in a record with this key. Raises DecryptionError."""
        if encrypted[0] != BY_SUBJECT:
            return self._key_encryption.opened(encrypted, purpose)
        if not self.knows(pseudonym):
            raise DecryptionError("encrypted with a key that is destroyed, or not known here yet")
        return self._by_pseudonym[pseudonym][1].open(encrypted, purpose)

    def value(self, topic: Topic, key: bytes | None, data: bytes | None) -> Any:
        """A record's value, opened; what cannot be opened stays encrypted. Raises CodecError."""
        try:
            return avro.decode(topic, data, partial(self.opened, key or b""))
        except DecryptionError:
            return avro.decode(topic, data)
