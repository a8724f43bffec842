"""One partition of one table in RocksDB (rocksdict): bytes to bytes, with the changelog offset and epoch it reached.

Changes are collected and written together, each key once, with the offset they reach in the same batch: what lies on
disk is always exactly a prefix of the changelog. A crash loses what was collected, and it is read again from there.

RocksDB keeps what was replaced in its files until it compacts them. Where a subject's wrapped key was replaced by none,
that is remembered on disk until `compact` has brought it about.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from pipeline.codecs.envelope import (
    EPOCH_KEY,
    STALE_MARK,
    beside_key,
    due_and_keyed,
    due_of,
    epoch_of,
    key_of,
    recover,
)

_OFFSET_KEY = b"\x00offset"
#: Index entries: this, the due time in eight bytes, the key.
_DUE = b"\x00due\x00"
#: Before a key: its value had a subject's key once, which still lies in the files.
_ERASED = b"\x00erased/"

#: Of one process, shared by all its partitions: what is written and not in a file yet, and blocks that were read.
WRITE_BUFFERS_BYTES = 128 * 1024 * 1024
BLOCK_CACHE_BYTES = 64 * 1024 * 1024
_WRITE_BUFFERS = WriteBufferManager(WRITE_BUFFERS_BYTES, False)
_BLOCK_CACHE = Cache(BLOCK_CACHE_BYTES)

#: Of one partition, at most.
WRITE_BUFFER_BYTES = 16 * 1024 * 1024

#: Collected at most before it is written: bounds the memory, how long a write takes, and what a crash has read again.
COLLECTED_BYTES_MAX = 2 * 1024 * 1024


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
        options.set_write_buffer_manager(_WRITE_BUFFERS)
        blocks = BlockBasedOptions()
        blocks.set_block_cache(_BLOCK_CACHE)
        options.set_block_based_table_factory(blocks)
        # Encrypted values do not get smaller.
        options.set_compression_type(DBCompressionType.none())
        options.set_max_open_files(64)
        self.path = path
        self._db = Rdict(str(path), options, access_type=AccessType.read_write())
        self._write_options = WriteOptions()
        offset = self._db.get(_OFFSET_KEY)
        self.offset = int.from_bytes(offset, "big") if offset is not None else -1
        marker = self._db.get(EPOCH_KEY)
        self.epoch = epoch_of(marker) if marker is not None else 0
        #: Not on disk yet: the newest value of a key, None where it is to be deleted.
        self._collected: dict[bytes, bytes | None] = {}
        self._collected_bytes = 0
        #: Keys whose newest changelog record is a lost owner's.
        self.stale = set(self._marked(STALE_MARK))
        #: Keys that were erased, numbered: one that is erased again while it is compacted stays to be done.
        self._erased = dict.fromkeys(self._marked(_ERASED), 0)
        self._erasures = 0
        #: One compacts, or the files are closed.
        self._files = threading.Lock()
        #: What is collected is changed by one at a time: take-overs and standbys read on threads of their own.
        self._lock = threading.RLock()
        self._closed = False

    def get(self, key: bytes) -> bytes | None:
        """The value as of the last `apply`; a disk read at most."""
        value: bytes | None = self._collected[key] if key in self._collected else self._db.get(key)
        return value

    def apply(self, writes: Mapping[bytes, bytes | None], offset: int | None) -> None:
        """Take changes, with the changelog offset they reach: all or nothing.

        They are on disk when enough are collected, at the next `due`, which an owner asks every second, and at `close`.
        """
        with self._lock:
            self._apply(writes, offset)

    def _apply(self, writes: Mapping[bytes, bytes | None], offset: int | None) -> None:
        marks = {key[len(STALE_MARK) :] for key in writes if key.startswith(STALE_MARK)}
        self._collected.update(writes)
        for key in (self.stale & writes.keys()) - marks:
            self._collected[STALE_MARK + key] = None
        self.stale = (self.stale - writes.keys()) | marks
        if offset is not None and offset > self.offset:
            self.offset = offset
        self._collected_bytes += sum(len(value) for value in writes.values() if value is not None)
        if self._collected_bytes > COLLECTED_BYTES_MAX:
            self.write()

    def write(self) -> None:
        """Bring the disk up to date, without fsync: what a crash of the machine loses is read again as well."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        if not self._collected:
            return
        batch = WriteBatch(raw_mode=True)
        for key, value in self._collected.items():
            keyed = False
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
            if key.startswith(b"\x00"):
                continue
            if value is not None:
                due_ms, keyed = due_and_keyed(value)
                if due_ms is not None:
                    batch.put(_due_key(due_ms, key), b"")
            if not keyed and self._had_a_key(key):
                batch.put(_ERASED + key, b"")
                self._erasures += 1
                self._erased[key] = self._erasures
        if self.offset >= 0:
            batch.put(_OFFSET_KEY, self.offset.to_bytes(8, "big"))
        self._db.write(batch, self._write_options)
        self._collected.clear()
        self._collected_bytes = 0

    def _had_a_key(self, key: bytes) -> bool:
        before = self._db.get(key)
        return isinstance(before, bytes) and key_of(before) is not None

    @property
    def erased(self) -> dict[bytes, int]:
        """The erased keys whose replaced values may still lie in the files; to compact, and then to say `compacted`."""
        with self._lock:
            return dict(self._erased)

    def compact(self, keys: Iterable[bytes]) -> bool:
        """Remove from the files what was replaced of these keys. Takes its time: for a thread of its own. False where
        the store was closed meanwhile."""
        with self._files:
            try:
                for key in sorted(keys):
                    if not self._closed:
                        self._db.compact_range(key, key + b"\x00")
                        self._db.compact_range(beside_key(key, ""), beside_key(key, "\xff"))
            except Exception:
                if not self._closed:
                    raise
            return not self._closed

    def compacted(self, keys: Mapping[bytes, int]) -> None:
        """Of these nothing is left to compact, but of what was erased again since."""
        with self._lock:
            done = [key for key, number in keys.items() if self._erased.get(key) == number]
            batch = WriteBatch(raw_mode=True)
            for key in done:
                batch.delete(_ERASED + key)
                del self._erased[key]
            self._db.write(batch, self._write_options)

    def load(self, changes: Iterable[tuple[bytes, bytes | None, int]]) -> int:
        """Apply changelog records (key, value, offset) in order, passing over those of an owner that had lost the
        partition; returns how many were passed over."""
        with self._lock:
            # A take-over given up may still be reading while another one, or a standby's reader, has begun: what one
            # of them has loaded, the others pass over.
            found = recover(changes, self.offset, self.epoch, self.get(EPOCH_KEY))
            self.epoch = found.epoch
            self.apply(found.writes, found.offset)
            return found.stale

    def due(self, now_ms: int, limit: int) -> list[tuple[bytes, int]]:
        """Keys whose state time alone changes by now, earliest first, with that time (epoch ms).

        An entry of the index that its key has since left is found here and deleted: to look for it with every change
        would be a read for each.
        """
        self.write()
        found: list[tuple[bytes, int]] = []
        left = WriteBatch(raw_mode=True)
        for entry in self._db.keys(from_key=_DUE):
            if not (isinstance(entry, bytes) and entry.startswith(_DUE)) or len(found) >= limit:
                break
            due_ms, key = int.from_bytes(entry[len(_DUE) : len(_DUE) + 8], "big"), entry[len(_DUE) + 8 :]
            if due_ms > now_ms:
                break
            value = self.get(key)
            if value is not None and due_of(value) == due_ms:
                found.append((key, due_ms))
            else:
                left.delete(entry)
        if len(left):
            self._db.write(left, self._write_options)
        return found

    def _marked(self, mark: bytes) -> Iterator[bytes]:
        for key in self._db.keys(from_key=mark):
            if not (isinstance(key, bytes) and key.startswith(mark)):
                return
            yield key[len(mark) :]

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key and value of this partition, in key order."""
        self.write()
        for key, value in self._db.items():
            if isinstance(key, bytes) and not key.startswith(b"\x00"):
                yield key, value

    def close(self) -> None:
        """Write what is collected and release the files; the store may be opened again."""
        self.write()
        self._close()

    def destroy(self) -> None:
        """Close and delete: the next owner starts from the changelog's beginning."""
        self._close()
        shutil.rmtree(self.path, ignore_errors=True)

    def _close(self) -> None:
        self._closed = True
        with self._files:
            self._db.close()
