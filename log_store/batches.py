"""One batch of a partition as files and one manifest: the only place that writes what the sink read.

In this order: key file, a look at who was erased meanwhile, data files, manifest. Before the manifest nothing of it
exists for a reader; what a killed sink leaves behind is deleted by the sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from log_store import subject_keys
from log_store.chain import Chain, File, Lost, Manifest
from log_store.columns import UNREADABLE, Columns, columns_of
from log_store.objects import Objects
from log_store.subject_keys import Sealing
from pipeline.codecs import avro
from pipeline.codecs.encryption import KeyEncryption, RandomBytes
from pipeline.codecs.personal import ENCRYPTED
from pipeline.codecs.registry import NEWEST
from pipeline.core.identity.identifiers import IdentifierError, tenant_name
from pipeline.flow import Record
from topics.catalog import BY_NAME, DECISION_REQUESTS, READINESS_PROBE, Topic

#: Who encrypted a row: the worker on the topic, this store with a key of its own, or it with the installation's.
BY_TOPIC: Final = "topic"
BY_STORE: Final = "store"
BY_INSTALLATION: Final = "installation"

#: The tenant of records whose key names none.
NO_TENANT: Final = "-"
_ROWS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Place:
    """What a batch needs of the installation."""

    objects: Objects
    key_encryption: KeyEncryption
    random_bytes: RandomBytes


def store(
    place: Place,
    chain: Chain,
    records: Sequence[Record],
    erased: Callable[[], Collection[str]],
    lost: Lost | None = None,
) -> bool:
    """Write a batch and commit it; False where another sink was first: nothing of it counts then.

    :param records: of one partition, in the order of their offsets, from the chain's next on; at least one.
    :param erased: asks the store for the tags of subjects whose personal fields are kept no more.
    Raises OSError.
    """
    topic = columns_of(BY_NAME[chain.topic])
    partition, start = records[0].partition, chain.next(records[0].partition)
    sealing = Sealing(place.key_encryption, erased())
    name = f"{partition:05}-{start:020}-{subject_keys.token(place.random_bytes)}"
    files = _Files(topic.topic.name, name)
    for record in records:
        if not _is_probe(record):
            files.add(*_row(topic, record, sealing), record)
    keys = sealing.keys()
    key_file = f"{topic.topic.name}/_keys/{name}"
    if keys:
        subject_keys.write(place.objects, key_file, keys)
        # Whoever commits an erasure takes its keys out of every key file there is then. One that was written later
        # knows of it: asked for again after it was written, and before it counts.
        subject_keys.destroy(place.objects, key_file, erased())
    return chain.commit(
        Manifest(
            partition=partition,
            start=start,
            next=records[-1].offset + 1,
            files=tuple(files.written(place.objects, (key_file,) if keys else ())),
            lost=lost,
            newest_ms=max(record.at_ms for record in records),
        )
    )


def day_of(at_ms: int) -> str:
    """The UTC day of a moment; what is no moment is the first day of all."""
    try:
        return datetime.fromtimestamp(at_ms / 1_000, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return "1970-01-01"


def purpose_of(topic: str, partition: int, offset: int) -> bytes:
    """Bound into what is encrypted: one row's bytes open as no other's."""
    return f"log {topic}/{partition}/{offset}".encode()


def parquet(batches: Iterable[pa.RecordBatch | pa.Table], schema: pa.Schema) -> bytes:
    """A file of these rows."""
    out = BytesIO()
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write(batch)
    return out.getvalue()


def file_path(topic: str, tenant: str, day: str, name: str, unreadable: bool = False) -> str:
    """Where a data file lies."""
    room = "_unreadable/" if unreadable else ""
    return f"{topic}/{room}tenant={tenant}/day={day}/{name}.parquet"


class _Files:
    """The files of a batch as they grow: one per tenant and day, and one of what cannot be read."""

    def __init__(self, topic: str, name: str) -> None:
        self._topic, self._name = topic, name
        self._open: dict[tuple[str, str, bool], _Growing] = {}

    def add(self, tenant: str, row: dict[str, Any], schema: pa.Schema, record: Record) -> None:
        key = (tenant, day_of(record.at_ms), schema is UNREADABLE)
        if key not in self._open:
            self._open[key] = _Growing(schema)
        self._open[key].add(row)

    def written(self, objects: Objects, keys: tuple[str, ...]) -> Iterator[File]:
        for (tenant, day, unreadable), growing in self._open.items():
            path, data = file_path(self._topic, tenant, day, self._name, unreadable), growing.done()
            objects.put(path, data)
            yield File(
                path=path,
                tenant=tenant,
                day=day,
                partition=growing.partition,
                first=growing.first,
                last=growing.last,
                rows=growing.rows,
                bytes=len(data),
                keys=keys,
                unreadable=unreadable,
            )


class _Growing:
    """One file: rows as they come, packed every few thousand."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._out = BytesIO()
        self._writer = pq.ParquetWriter(self._out, schema, compression="zstd")
        self._waiting: list[dict[str, Any]] = []
        self.partition = self.first = self.last = self.rows = 0

    def add(self, row: dict[str, Any]) -> None:
        if not self.rows:
            self.partition, self.first = row["_partition"], row["_offset"]
        self.last = row["_offset"]
        self.rows += 1
        self._waiting.append(row)
        if len(self._waiting) >= _ROWS:
            self._pack()

    def done(self) -> bytes:
        self._pack()
        self._writer.close()
        return self._out.getvalue()

    def _pack(self) -> None:
        if self._waiting:
            self._writer.write(pa.RecordBatch.from_pylist(self._waiting, self._schema))
            self._waiting = []


def _row(columns: Columns, record: Record, sealing: Sealing) -> tuple[str, dict[str, Any], pa.Schema]:
    """The tenant, the row and its schema."""
    tenant, key = _tenant_of(record.key), record.key or b""
    frame: dict[str, Any] = {
        "_partition": record.partition,
        "_offset": record.offset,
        "received_ms": record.at_ms,
        "_schema": None,
        "_pseudonym": None,
        "_sealed": None,
        ENCRYPTED: None,
    }
    reason = "invalid" if record.unreadable else ""
    try:
        plain, written = avro.fields(columns.topic, record.value)
    except avro.CodecError as error:
        reason, plain = error.reason.value, {}
    if not reason and not tenant:
        reason = "no_tenant"
    if not reason and not columns.topic.encrypted and plain.get("subject", key.decode()) != key.decode():
        reason = "misaddressed"
    if reason:
        data = msgspec.msgpack.encode([record.key, record.value])
        return (
            tenant or NO_TENANT,
            frame | _sealed(columns.topic, record, tenant, key, data, sealing) | {"reason": reason},
            UNREADABLE,
        )
    row = frame | columns.open_values(plain)
    if plain.get(ENCRYPTED) is not None:
        row |= {"_schema": written.id, "_pseudonym": key.decode(), "_sealed": BY_TOPIC, ENCRYPTED: plain[ENCRYPTED]}
    elif columns.personal:
        data = msgspec.msgpack.encode({field.name: plain[field.name] for field in columns.personal})
        row |= _sealed(columns.topic, record, tenant, key, data, sealing)
    return tenant, row, columns.stored


def _sealed(topic: Topic, record: Record, tenant: str, key: bytes, data: bytes, sealing: Sealing) -> dict[str, Any]:
    """The columns of what this store encrypts; nothing of somebody who was erased."""
    purpose = purpose_of(topic.name, record.partition, record.offset)
    schema = None if topic.schema is None else NEWEST[topic.schema].id
    if not tenant:
        return {"_schema": schema, "_sealed": BY_INSTALLATION, ENCRYPTED: sealing.seal_for_nobody(data, purpose)}
    found = sealing.seal(tenant, key, data, purpose)
    if found is None:
        return {}
    return {"_schema": schema, "_pseudonym": found[0], "_sealed": BY_STORE, ENCRYPTED: found[1]}


def _is_probe(record: Record) -> bool:
    """Whether the bridge asks by it if the workers move: nobody's request, several a second."""
    return record.topic == DECISION_REQUESTS.name and (record.key or b"").startswith(READINESS_PROBE.encode())


def _tenant_of(key: bytes | None) -> str:
    """The tenant that a record's key names; empty: none."""
    try:
        tenant, slash, rest = (key or b"").decode().partition("/")
        return tenant_name(tenant) if slash and rest else ""
    except (UnicodeDecodeError, IdentifierError):
        return ""
