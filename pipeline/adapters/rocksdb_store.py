"""One partition of one table in RocksDB (rocksdict): bytes to bytes, with the changelog offset and epoch it reached.

The offset is written in the same batch as the values, so the store is always exactly a prefix of the changelog.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rocksdict import AccessType, DBCompressionType, Options, Rdict, WriteBatch, WriteOptions

from pipeline.codecs.envelope import EPOCH_KEY, STALE_MARK, epoch_of, head_of, recover

_OFFSET_KEY = b"\x00offset"
#: Index entries: this, the due time in eight bytes, the key.
_DUE = b"\x00due\x00"
WRITE_BUFFER_BYTES = 16 * 1024 * 1024


def _due_key(due_ms: int, key: bytes) -> bytes:
    return _DUE + due_ms.to_bytes(8, "big") + key


class RocksStore:
    """The StateStore port; also what recovery fills and what a plan iterates."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(WRITE_BUFFER_BYTES)
        options.set_max_write_buffer_number(3)
        # Sealed values do not get smaller.
        options.set_compression_type(DBCompressionType.none())
        options.set_max_open_files(64)
        self.path = path
        self._db = Rdict(str(path), options, access_type=AccessType.read_write())
        # What a crash of the machine loses here is read again from the changelog: no fsync per batch.
        self._write_options = WriteOptions()
        offset = self._db.get(_OFFSET_KEY)
        self.offset = int.from_bytes(offset, "big") if offset is not None else -1
        marker = self._db.get(EPOCH_KEY)
        self.epoch = epoch_of(marker) if marker is not None else 0
        #: Keys whose newest changelog record is a lost owner's.
        self.stale = set(self._marks())

    def get(self, key: bytes) -> bytes | None:
        """The stored value; a disk read at most."""
        value: bytes | None = self._db.get(key)
        return value

    def apply(self, writes: Mapping[bytes, bytes | None], offset: int | None) -> None:
        """Write all or nothing, with the changelog offset they reach."""
        batch = WriteBatch(raw_mode=True)
        for key, value in writes.items():
            self._index(batch, key, value)
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        marks = {key[len(STALE_MARK) :] for key in writes if key.startswith(STALE_MARK)}
        for key in (self.stale & writes.keys()) - marks:
            batch.delete(STALE_MARK + key)
        if offset is not None and offset > self.offset:
            batch.put(_OFFSET_KEY, offset.to_bytes(8, "big"))
        self._db.write(batch, self._write_options)
        self.stale = (self.stale - writes.keys()) | marks
        if offset is not None and offset > self.offset:
            self.offset = offset

    def load(self, changes: Iterable[tuple[bytes, bytes | None, int]]) -> int:
        """Apply changelog records (key, value, offset) in order, passing over those of an owner that had lost the
        partition; returns how many were passed over."""
        found = recover(changes, self.offset, self.epoch, self.get(EPOCH_KEY))
        self.epoch = found.epoch
        self.apply(found.writes, found.offset)
        return found.stale

    def _index(self, batch: WriteBatch, key: bytes, value: bytes | None) -> None:
        """Move the key's entry in the index of what is due, in the same batch."""
        if key.startswith(b"\x00"):
            return
        stored = self.get(key)
        before = None if stored is None else head_of(stored)[1]
        after = None if value is None else head_of(value)[1]
        if before != after:
            if before is not None:
                batch.delete(_due_key(before, key))
            if after is not None:
                batch.put(_due_key(after, key), b"")

    def due(self, now_ms: int, limit: int) -> list[tuple[bytes, int]]:
        """Keys whose state time alone changes by now, earliest first, with that time (epoch ms)."""
        found: list[tuple[bytes, int]] = []
        for entry in self._db.keys(from_key=_DUE):
            if not (isinstance(entry, bytes) and entry.startswith(_DUE)) or len(found) >= limit:
                break
            due_ms = int.from_bytes(entry[len(_DUE) : len(_DUE) + 8], "big")
            if due_ms > now_ms:
                break
            found.append((entry[len(_DUE) + 8 :], due_ms))
        return found

    def _marks(self) -> Iterator[bytes]:
        for key in self._db.keys(from_key=STALE_MARK):
            if not (isinstance(key, bytes) and key.startswith(STALE_MARK)):
                return
            yield key[len(STALE_MARK) :]

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key and value of this partition, in key order."""
        for key, value in self._db.items():
            if isinstance(key, bytes) and not key.startswith(b"\x00"):
                yield key, value

    def close(self) -> None:
        """Release the files; the store may be opened again."""
        self._db.close()

    def destroy(self) -> None:
        """Close and delete: the next owner starts from the changelog's beginning."""
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)
