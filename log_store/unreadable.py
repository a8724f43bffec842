"""Records that could not be read when they were logged, opened one by one for whoever looks for the reason."""

from __future__ import annotations

import base64
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from log_store import subject_keys
from log_store.batches import BY_STORE, purpose_of
from log_store.chain import Chain, File
from log_store.columns import LOGGED
from log_store.erasures import Erasures
from log_store.errors import LogStoreError
from log_store.read import Store
from pipeline.codecs.encryption import DecryptionError

_TOPICS: Final = {**LOGGED, **{topic.name: topic for topic in LOGGED.values()}}


def place_of(text: str) -> tuple[str, int, int]:
    """Topic, partition and offset of `feedback.events/3/17`. Raises LogStoreError."""
    topic, _, rest = text.partition("/")
    partition, _, offset = rest.partition("/")
    if topic not in _TOPICS or not partition.isdecimal() or not offset.isdecimal():
        raise LogStoreError(
            f"{text} names no record: write TOPIC/PARTITION/OFFSET, as {next(iter(LOGGED.values())).name}/3/17. "
            f"Logged are {', '.join(topic.name for topic in LOGGED.values())}"
        )
    return _TOPICS[topic].name, int(partition), int(offset)


def record(store: Store, topic: str, partition: int, offset: int) -> dict[str, Any]:
    """The record as JSON has it. Raises LogStoreError where it is not among the unreadable ones, OSError."""
    for file in Chain(store.objects, topic).refresh().summed().files:
        if file.unreadable and file.partition == partition and file.first <= offset <= file.last:
            rows = pq.read_table(pa.BufferReader(store.read(file.path)))
            for row in rows.filter(pc.equal(rows.column("_offset"), offset)).to_pylist():
                return _opened(store, topic, file, row)
    raise LogStoreError(
        f"{topic}/{partition}/{offset} is not among the records that could not be read; "
        "the view `unreadable` of `nextbest logs query` lists them"
    )


def _opened(store: Store, topic: str, file: File, row: dict[str, Any]) -> dict[str, Any]:
    found = {
        "topic": topic,
        "partition": row["_partition"],
        "offset": row["_offset"],
        "received_ms": row["received_ms"],
        "reason": row["reason"],
    }
    data = _bytes(store, topic, file, row)
    if data is None:
        return found | {"opened": False, "key": None, "value": None}
    key, value = msgspec.msgpack.decode(data)
    return found | {"opened": True, "key": _text(key), "value": _text(value)}


def _bytes(store: Store, topic: str, file: File, row: dict[str, Any]) -> bytes | None:
    """What was encrypted; None where the key is gone or another's."""
    if row["encrypted"] is None or store.key_encryption is None:
        return None
    purpose = purpose_of(topic, row["_partition"], row["_offset"])
    try:
        if row["_sealed"] != BY_STORE:
            return store.key_encryption.opened(row["encrypted"], purpose)
        erased = Erasures(store.objects).tags()
        there = store.objects.names(f"{topic}/_keys")
        for name in file.keys:
            for key in subject_keys.read(store.objects, name, there):
                if key.pseudonym == row["_pseudonym"] and key.tag not in erased:
                    return subject_keys.cipher_of(store.key_encryption, key).open(row["encrypted"], purpose)
    except DecryptionError:
        return None
    return None


def _text(data: bytes | None) -> str | None:
    """Printable text as it is, else base64 behind `base64:`."""
    if data is None:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    return text if text.isprintable() and text else f"base64:{base64.b64encode(data).decode()}"
