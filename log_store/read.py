"""The store as others read it: Arrow batches in the order of the topic, or SQL.

    with opened(settings) as store:
        for batch in table(store, "decisions", columns=["at_ms", "decisions"], tenant="shop", since=…, until=…):
            …

    connection(settings, "shop").sql("SELECT channel, count(*) FROM decisions GROUP BY ALL")

Both see what manifests name, as of the moment they are opened, and nothing of subjects that were erased by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq
from confluent_kafka import KafkaException

from log_store.batches import day_of
from log_store.chain import Chain, File
from log_store.columns import FRAME_DOCS, LOGGED, UNREADABLE, Columns, columns_of, sql_type
from log_store.consuming import place_of
from log_store.erasures import Erasures
from log_store.errors import LogStoreError
from log_store.objects import Objects
from log_store.opening import Opener, batch_opened
from pipeline.adapters.keys import Keys
from pipeline.codecs.encryption import KeyEncryption
from pipeline.codecs.keyring import Keyring
from pipeline.settings import Settings
from topics.catalog import BY_NAME

#: How much a query may take; past it DuckDB refuses the query.
MEMORY_LIMIT: Final = "1GB"
_THREADS: Final = 2
_ROWS: Final = 2_000


@dataclass(slots=True)
class Store:
    """A store to read. `ring` None: what the workers encrypted stays closed; `key_encryption` None: everything.

    `files_opened` counts data files that were opened.
    """

    objects: Objects
    key_encryption: KeyEncryption | None = None
    ring: Keyring | None = None
    #: Why something stays closed, for people; empty: nothing does.
    closed: str = ""
    files_opened: list[str] = field(default_factory=list)

    def read(self, path: str) -> bytes:
        """A data file's bytes. Raises OSError."""
        self.files_opened.append(path)
        return self.objects.get(path)


def opened(settings: Settings, open_personal: bool = True) -> Store:
    """The store that the settings name, with the keys of everybody who was not erased, read off the cluster.

    Without a cluster what the workers encrypted stays closed: `closed` says so. Raises LogStoreError, DecryptionError.
    """
    place = place_of(settings)
    if not open_personal:
        return Store(place.objects, closed="Personal columns are NULL: they were not asked for.")
    try:
        with Keys(settings) as keys:
            keys.refresh()
            return Store(place.objects, place.key_encryption, keys.ring)
    except KafkaException as error:
        encrypted = [name for name, topic in LOGGED.items() if topic.encrypted]
        return Store(
            place.objects,
            place.key_encryption,
            closed=f"Personal columns of {', '.join(encrypted)} are NULL: {settings.bootstrap} did not answer "
            f"({error.args[0].str()}), and their keys lie there.",
        )


def table(
    store: Store,
    topic: str,
    columns: Sequence[str] | None = None,
    tenant: str | None = None,
    since: int | None = None,
    until: int | None = None,
) -> pa.RecordBatchReader:
    """Records of a topic, opened, in the order of partition and offset.

    :param topic: the topic's name (`decision.audit`) or its view's (`audit`).
    :param columns: by name, personal ones and `tenant` included; None: every one.
    :param since: from this arrival (`received_ms`) on, epoch ms; only files of these days are read.
    :param until: up to, not including, this arrival.
    Raises LogStoreError for a topic or column that there is not, OSError.
    """
    one = columns_of(_topic(topic))
    schema = _opened_schema(one)
    wanted = list(schema.names if columns is None else columns)
    if missing := [name for name in wanted if name not in schema.names]:
        raise LogStoreError(f"{topic} has no column {', '.join(missing)}; there are {', '.join(schema.names)}")
    out = pa.schema([schema.field(name) for name in wanted])
    files = [
        file
        for file in Chain(store.objects, one.topic.name).refresh().summed().files
        if not file.unreadable
        and (tenant is None or file.tenant == tenant)
        and (since is None or file.day >= day_of(since))
        and (until is None or file.day <= day_of(until))
    ]
    opener = _opener(store, one, files)
    personal = bool({*wanted} & {*(part.name for part in one.personal), "_opened"})
    batches = (
        _finished(batch, one, schema, opener if personal else None, since, until).select(wanted)
        for batch in _in_order(store, one, files)
    )
    return pa.RecordBatchReader.from_batches(
        out, (pa.record_batch(b.columns, schema=out) for b in batches if b.num_rows)
    )


def connection(settings: Settings, tenant: str | None = None, store: Store | None = None) -> duckdb.DuckDBPyConnection:
    """SQL over the views (docs/logs.md), of one tenant or of all. It reaches no file, no network and no setting.

    Raises LogStoreError, OSError.
    """
    store = opened(settings) if store is None else store
    found = duckdb.connect(":memory:", config={"memory_limit": MEMORY_LIMIT, "threads": _THREADS, "temp_directory": ""})
    for name, topic in LOGGED.items():
        files = [
            file
            for file in Chain(store.objects, topic.name).refresh().summed().files
            if tenant is None or file.tenant == tenant
        ]
        _register(found, store, name, columns_of(topic), [file for file in files if not file.unreadable])
        _register_unreadable(found, store, name, [file for file in files if file.unreadable])
    found.execute(
        "CREATE VIEW unreadable AS "
        + " UNION ALL ".join(
            f"SELECT '{topic.name}' AS topic, tenant, day, _partition, _offset, received_ms, reason "  # noqa: S608
            f"FROM _unreadable_{name}"
            for name, topic in LOGGED.items()
        )
    )
    found.execute("SET python_enable_replacements=false; SET enable_external_access=false; SET lock_configuration=true")
    return found


def asked(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.RecordBatchReader:
    """The rows of one SELECT. Raises LogStoreError for anything else, duckdb.Error for what it does not do."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        raise LogStoreError("A query is one SELECT (or EXPLAIN): the store is read-only")
    return connection.sql(sql).to_arrow_reader(_ROWS)


def views() -> dict[str, list[tuple[str, str, str]]]:
    """Every view's columns: name, SQL type, what it means."""
    found = {}
    for name, topic in LOGGED.items():
        one = columns_of(topic)
        found[name] = [
            (part.name, sql_type(part.type), FRAME_DOCS.get(part.name) or one.docs.get(part.name, ""))
            for part in _opened_schema(one)
        ]
    frame = {
        name: (name, kind, FRAME_DOCS[name])
        for name, kind in (
            ("tenant", "VARCHAR"),
            ("day", "DATE"),
            ("_partition", "INTEGER"),
            ("_offset", "BIGINT"),
            ("received_ms", "BIGINT"),
        )
    }
    found["unreadable"] = [
        ("topic", "VARCHAR", "The topic."),
        *frame.values(),
        ("reason", "VARCHAR", "Why it could not be read."),
    ]
    return found


def _opened_schema(columns: Columns) -> pa.Schema:
    """The columns that a reader sees."""
    return pa.schema(
        [
            pa.field("tenant", pa.string()),
            pa.field("day", pa.date32()),
            pa.field("_partition", pa.int32()),
            pa.field("_offset", pa.int64()),
            pa.field("received_ms", pa.int64()),
            pa.field("_pseudonym", pa.string()),
            *columns.open,
            *columns.personal,
            pa.field("_opened", pa.bool_()),
        ]
    )


def _topic(name: str) -> Any:
    topic = LOGGED.get(name) or BY_NAME.get(name)
    if topic is None or topic.logged_as is None:
        known = ", ".join(f"{one.name} ({view})" for view, one in LOGGED.items())
        raise LogStoreError(f"{name} is not logged: there are {known}")
    return topic


def _opener(store: Store, columns: Columns, files: Iterable[File]) -> Opener:
    return Opener(columns, store.objects, files, store.key_encryption, store.ring, Erasures(store.objects).tags())


def _finished(
    batch: pa.RecordBatch,
    columns: Columns,
    schema: pa.Schema,
    opener: Opener | None,
    since: int | None,
    until: int | None,
) -> pa.RecordBatch:
    """The rows of the time, opened."""
    kept = pa.array([True] * batch.num_rows)
    if since is not None:
        kept = pc.and_(kept, pc.greater_equal(batch.column("received_ms"), since))
    if until is not None:
        kept = pc.and_(kept, pc.less(batch.column("received_ms"), until))
    batch = batch.filter(kept)
    names = [part.name for part in columns.personal] + ["_opened"]
    if opener is None:
        opened_: Sequence[pa.Array] = [pa.nulls(batch.num_rows, schema.field(name).type) for name in names]
    else:
        opened_ = batch_opened(opener, batch)
    found = dict(zip(names, opened_, strict=True))
    return pa.record_batch(
        [found.get(name) if name in found else batch.column(name) for name in schema.names], schema=schema
    )


def _in_order(store: Store, columns: Columns, files: Iterable[File]) -> Iterator[pa.RecordBatch]:
    """The stored rows, by partition and offset: files whose offsets lie between one another's are read side by side."""
    waiting = sorted(files, key=lambda file: (file.partition, file.first))
    while waiting:
        group, last = [waiting.pop(0)], 0
        last = group[0].last
        while waiting and waiting[0].partition == group[0].partition and waiting[0].first <= last:
            group.append(waiting.pop(0))
            last = max(last, group[-1].last)
        yield from _merged([_batches(store, columns, file) for file in group])


def _merged(sources: list[Iterator[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
    heads = [(next(source, None), source) for source in sources]
    live = [(head, source) for head, source in heads if head is not None]
    while live:
        bound = min(head.column("_offset")[-1].as_py() for head, _ in live)
        parts, left = [], []
        for head, source in live:
            count = pc.sum(pc.less_equal(head.column("_offset"), bound)).as_py()
            parts.append(head.slice(0, count))
            rest = head.slice(count) if count < head.num_rows else next(source, None)
            if rest is not None:
                left.append((rest, source))
        live = left
        both = pa.Table.from_batches(parts)
        yield from (both.sort_by("_offset") if len(parts) > 1 else both).combine_chunks().to_batches()


def _batches(store: Store, columns: Columns, file: File) -> Iterator[pa.RecordBatch]:
    source = pq.ParquetFile(pa.BufferReader(store.read(file.path)))
    schema = pa.schema([pa.field("tenant", pa.string()), pa.field("day", pa.date32()), *columns.stored])
    for batch in source.iter_batches(_ROWS):
        rows = batch.num_rows
        frame = {
            "tenant": pa.array([file.tenant] * rows, pa.string()),
            "day": pa.array([date.fromisoformat(file.day)] * rows, pa.date32()),
        }
        # A column that an older file does not have yet is null there.
        yield pa.record_batch(
            [
                frame[part.name]
                if part.name in frame
                else batch.column(part.name)
                if part.name in batch.schema.names
                else pa.nulls(rows, part.type)
                for part in schema
            ],
            schema=pa.schema([part.with_nullable(True) for part in schema]),
        )


class _Reading(fsspec.AbstractFileSystem):  # type: ignore[misc]  # a library without types
    """The data files as pyarrow opens them, each read whole."""

    protocol = "nextbest"
    cachable = False

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        import io

        return io.BytesIO(self._store.read(path))

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        return {"name": path, "type": "file", "size": None}


def _dataset(store: Store, files: Iterable[File], stored: pa.Schema) -> ds.Dataset:
    """Files with their tenant and day, so that only those are opened which a query can need."""
    schema = pa.schema(
        [pa.field("tenant", pa.string()), pa.field("day", pa.date32()), *(part.with_nullable(True) for part in stored)]
    )
    filesystem = pa.fs.PyFileSystem(pa.fs.FSSpecHandler(_Reading(store)))
    format_ = ds.ParquetFileFormat()
    fragments = [
        format_.make_fragment(
            file.path,
            filesystem,
            (ds.field("tenant") == pa.scalar(file.tenant))
            & (ds.field("day") == pa.scalar(date.fromisoformat(file.day))),
        )
        for file in files
    ]
    return ds.FileSystemDataset(fragments, schema, format_, filesystem)


def _register(found: duckdb.DuckDBPyConnection, store: Store, name: str, columns: Columns, files: list[File]) -> None:
    opener = _opener(store, columns, files)
    found.register(f"_stored_{name}", _dataset(store, files, columns.stored))
    frame = ["tenant", "day", "_partition", "_offset", "received_ms", "_pseudonym"]
    own = [f'"{part.name}"' for part in columns.open]
    create: Any = found.create_function  # whose types have no struct of Arrow for a result
    create(
        f"_open_{name}",
        opener.opened,
        ["VARCHAR", "VARCHAR", "INTEGER", "INTEGER", "BIGINT", "BLOB"],
        found.dtype(sql_type(opener.type)),
        type="arrow",
        null_handling="special",
    )
    personal = [f'_o."{part.name}" AS "{part.name}"' for part in opener.type]
    found.execute(
        f"CREATE VIEW {name} AS SELECT {', '.join([*frame, *own, *personal])} FROM (SELECT *, "  # noqa: S608 - names of ours
        f"_open_{name}(_pseudonym, _sealed, _schema, _partition, _offset, encrypted) AS _o FROM _stored_{name})"
    )


def _register_unreadable(found: duckdb.DuckDBPyConnection, store: Store, name: str, files: list[File]) -> None:
    found.register(f"_unreadable_{name}", _dataset(store, files, UNREADABLE))
