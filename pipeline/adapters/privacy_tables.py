"""This machine's copies of the profile table, looked through for somebody: the values that hold, and the files, which
keep what was replaced until they are compacted. Reads only; a worker may have them open.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from rocksdict import AccessType, Options, Rdict

from pipeline.adapters.privacy_search import Verifier
from pipeline.codecs.encryption import WRAPPED_BYTES
from pipeline.settings import Settings
from topics.catalog import PROFILES_BY_ID

_TAIL_BYTES: Final = 12
#: From a key's end to the end of the wrapped key in its value: lengths, sequence number and the value's first fields.
_REACH_BYTES: Final = 64 + WRAPPED_BYTES
#: Of RocksDB's log (https://github.com/facebook/rocksdb/wiki/Write-Ahead-Log-File-Format).
_BLOCK_BYTES: Final = 32_768
_HEAD_BYTES: Final = 7


def tables_of(settings: Settings) -> list[Path]:
    """The copies under the data directory, those of several workers included."""
    folders = [settings.data_dir, *settings.data_dir.glob("*")]
    parts = [folder / "state" / PROFILES_BY_ID.name for folder in folders]
    return sorted(path for part in parts if part.is_dir() for path in part.iterdir() if (path / "CURRENT").is_file())


def look_into(path: Path, names: Iterable[str], verifier: Verifier) -> None:
    """One partition's copy: as it was written last, and what its files still hold."""
    table = Rdict(str(path), Options(raw_mode=True), access_type=AccessType.read_only())
    try:
        for name in names:
            value = table.get(name.encode())
            if isinstance(value, bytes):
                verifier.table_value(str(path), name.encode(), value)
    finally:
        table.close()
    for file in sorted(path.iterdir()):
        if file.suffix in (".sst", ".log"):
            _look_into_file(file, [name.encode() for name in names], verifier)


def _look_into_file(file: Path, keys: Iterable[bytes], verifier: Verifier) -> None:
    """A file's values stand beside their keys, of which a table's file has at least the end."""
    try:
        data, at_ms = file.read_bytes(), file.stat().st_mtime_ns // 1_000_000
    except FileNotFoundError:
        return  # compacted meanwhile
    if file.suffix == ".log":
        data = b"".join(_unframed(data))
    for key in keys:
        # Two keys begin alike for a few of their 32 digits at most, so the last ones are always written out.
        for found in re.finditer(re.escape(key[-_TAIL_BYTES:]), data):
            if verifier.file_piece(str(file), key, data[found.end() : found.end() + _REACH_BYTES], at_ms):
                break


def _unframed(log: bytes) -> Iterator[bytes]:
    """The records of a write-ahead log, without the heads that it puts into each of its blocks."""
    at = 0
    while at + _HEAD_BYTES <= len(log):
        left = _BLOCK_BYTES - at % _BLOCK_BYTES
        if left < _HEAD_BYTES:
            at += left
            continue
        length = int.from_bytes(log[at + 4 : at + 6], "little")
        yield log[at + _HEAD_BYTES : at + _HEAD_BYTES + length]
        at += _HEAD_BYTES + length
