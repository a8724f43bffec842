"""Opens what is encrypted in the files, for whoever has the right to it: rows of erased subjects open to nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import pyarrow as pa

from log_store import subject_keys
from log_store.batches import BY_STORE, BY_TOPIC, purpose_of
from log_store.chain import File
from log_store.columns import Columns
from log_store.objects import Objects
from log_store.subject_keys import SubjectKey
from pipeline.codecs.encryption import Cipher, DecryptionError, KeyEncryption
from pipeline.codecs.keyring import Keyring
from pipeline.codecs.personal import raised
from pipeline.codecs.registry import BY_ID, NEWEST

#: Keys that are kept at work; the others are unwrapped anew.
_CIPHERS_MAX: Final = 10_000


class Opener:
    """One topic's rows. `ring` None: what the workers encrypted stays closed; `key_encryption` None: everything."""

    def __init__(
        self,
        columns: Columns,
        objects: Objects,
        files: Iterable[File],
        key_encryption: KeyEncryption | None,
        ring: Keyring | None,
        erased: frozenset[str],
    ) -> None:
        self._columns, self._objects = columns, objects
        self._key_encryption, self._ring, self._erased = key_encryption, ring, erased
        self._files: dict[int, list[File]] = {}
        for file in files:
            self._files.setdefault(file.partition, []).append(file)
        self._names: list[str] | None = None
        self._read: set[str] = set()
        self._keys: dict[str, SubjectKey] = {}
        self._ciphers: OrderedDict[str, Cipher] = OrderedDict()
        schema = columns.topic.schema or ""
        self._newest = NEWEST[schema]
        self._purpose = schema.encode()
        self.type: Final = pa.struct([*columns.personal, pa.field("_opened", pa.bool_())])
        self._closed = {field.name: None for field in columns.personal} | {"_opened": False}

    def opened(
        self,
        pseudonyms: pa.Array,
        sealed: pa.Array,
        schemas: pa.Array,
        partitions: pa.Array,
        offsets: pa.Array,
        encrypted: pa.Array,
    ) -> pa.Array:
        """The personal columns of these rows as one struct column. Raises OSError."""
        rows = zip(
            pseudonyms.to_pylist(),
            sealed.to_pylist(),
            schemas.to_pylist(),
            partitions.to_pylist(),
            offsets.to_pylist(),
            encrypted.to_pylist(),
            strict=True,
        )
        return pa.array([self._row(*row) for row in rows], self.type)

    def _row(
        self,
        pseudonym: str | None,
        sealed: str | None,
        schema: int | None,
        partition: int,
        offset: int,
        encrypted: bytes | None,
    ) -> dict[str, Any]:
        if encrypted is None or pseudonym is None or schema not in BY_ID:
            return self._closed
        try:
            if sealed == BY_TOPIC:
                inside = None if self._ring is None else self._ring.opened(pseudonym.encode(), encrypted, self._purpose)
            else:
                inside = self._of_store(pseudonym, sealed, partition, offset, encrypted)
        except DecryptionError:
            return self._closed
        if inside is None:
            return self._closed
        found = raised(msgspec.msgpack.decode(inside), BY_ID[schema], self._newest)
        return self._columns.personal_values(found) | {"_opened": True}

    def _of_store(
        self, pseudonym: str, sealed: str | None, partition: int, offset: int, encrypted: bytes
    ) -> bytes | None:
        if sealed != BY_STORE or self._key_encryption is None:
            return None
        cipher = self._cipher(pseudonym, partition, offset)
        return (
            None if cipher is None else cipher.open(encrypted, purpose_of(self._columns.topic.name, partition, offset))
        )

    def _cipher(self, pseudonym: str, partition: int, offset: int) -> Cipher | None:
        if pseudonym in self._ciphers:
            self._ciphers.move_to_end(pseudonym)
            return self._ciphers[pseudonym]
        key = self._keys.get(pseudonym) or self._read_for(pseudonym, partition, offset)
        if key is None or self._key_encryption is None:
            return None
        cipher = self._ciphers[pseudonym] = subject_keys.cipher_of(self._key_encryption, key)
        if len(self._ciphers) > _CIPHERS_MAX:
            self._ciphers.popitem(last=False)
        return cipher

    def _read_for(self, pseudonym: str, partition: int, offset: int) -> SubjectKey | None:
        """The key, once the key files of the files that may hold the row are read."""
        wanted = {
            name for file in self._files.get(partition, ()) if file.first <= offset <= file.last for name in file.keys
        } - self._read
        if wanted and self._names is None:
            self._names = self._objects.names(f"{self._columns.topic.name}/_keys")
        for name in sorted(wanted):
            for key in subject_keys.read(self._objects, name, self._names or ()):
                if key.tag not in self._erased:
                    self._keys[key.pseudonym] = key
            self._read.add(name)
        return self._keys.get(pseudonym)


def batch_opened(opener: Opener, batch: pa.RecordBatch) -> Sequence[pa.Array]:
    """The personal columns of a batch of stored rows, one array each, and `_opened` at the end."""
    found = opener.opened(
        *(batch.column(name) for name in ("_pseudonym", "_sealed", "_schema", "_partition", "_offset", "encrypted"))
    )
    return [found.field(number) for number in range(opener.type.num_fields)]
