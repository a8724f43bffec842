"""Events in the order that batch reads them, by profile and arrival: from the log store, or from a log of other hands.

They are sorted by DuckDB: what does not fit into its memory goes to a folder of its own, which is gone afterwards.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec
import pyarrow as pa

from feature_batch.errors import FeatureBatchError
from feature_batch.preparing import Arrival
from log_store.read import Store, table
from pipeline.adapters import profile_reader
from pipeline.core.identity.identifiers import IdentifierError, subject_key
from pipeline.core.model.records import FeedbackEvent, IdentityEvent, IdentityKind
from pipeline.core.subject import leads_to
from pipeline.settings import Settings
from replay_log.errors import RowError
from replay_log.events import Run, feedback_events, identity_events
from replay_log.mapping_file import Located
from replay_log.reading import BadLine, Log
from replay_log.rows import read_impression

_MEMORY_LIMIT: Final = "512MB"
_ROWS: Final = 5_000
#: A chain of aliases longer than this is not followed.
_HOPS_MAX: Final = 20
_SORTED: Final = pa.schema([
    pa.field("profile", pa.string()), pa.field("received_ms", pa.int64()), pa.field("place", pa.int64()),
    pa.field("is_identity", pa.bool_()), pa.field("event", pa.binary())])
_DECODE: Final[dict[bool, Any]] = {
    True: msgspec.msgpack.Decoder(IdentityEvent), False: msgspec.msgpack.Decoder(FeedbackEvent)}
#: What of a record is read; more than features need is not decrypted.
_COLUMNS: Final = {
    "identity_events": ("received_ms", "_opened", "event_id", "subject", "kind", "at_ms", "traits", "consent"),
    "feedback_events": ("received_ms", "_opened", "event_id", "subject", "kind", "at_ms", "name", "item_id",
                        "placement", "channel", "value", "properties"),
}
_JSON: Final = ("traits", "properties")


def aliases(settings: Settings) -> dict[str, str]:
    """Alias → the profile that it belongs to now, as the cluster has it. Blocks. Raises KafkaException."""
    leads = {key: to for key, state in profile_reader.every(settings) if (to := leads_to(state)) is not None}
    found = {}
    for key in leads:
        at, hops = key, 0
        while at in leads and hops < _HOPS_MAX:
            at, hops = leads[at], hops + 1
        found[key] = at
    return found


def of_store(store: Store, tenant: str, profiles: dict[str, str], as_of_ms: int) -> Iterator[Arrival]:
    """What the log store holds of a tenant up to a moment. Rows that do not open are nobody's: they are left out.

    :param profiles: see `aliases`.
    Raises LogStoreError, OSError.
    """
    def rows() -> Iterator[Arrival]:
        # Consent first: of two that arrive in one millisecond the events may rely on it.
        for topic, columns in _COLUMNS.items():
            for batch in table(store, topic, columns, tenant, until=as_of_ms + 1):
                for row in batch.to_pylist():
                    if row.pop("_opened"):
                        received_ms, subject = row.pop("received_ms"), row["subject"]
                        yield Arrival(profiles.get(subject, subject), received_ms, _event(topic, row))

    yield from in_order(rows())


def of_log(log: Log, located: Located, settings: Settings, bad_max: int) -> Iterator[Arrival]:
    """A log of impressions, by a mapping as `replay-log` has it: each row arrived when it was logged.

    :param bad_max: rows that cannot be used at most.
    Raises FeatureBatchError where the mapping has no time, and past so many bad rows.
    """
    mapping = located.mapping
    if mapping.timestamp is None:
        raise FeatureBatchError(f"{located.path}: a feature needs to know when: add `timestamp: COLUMN`.")
    located.check_columns(log.columns, log.path)
    tenant = mapping.tenant or settings.tenant
    run = Run(log.path.stem, None if mapping.consent is None else mapping.consent.purpose)

    def key_of(who: str) -> tuple[str, list[str]]:
        return subject_key(settings.tenant_keys, tenant, mapping.subject.type, who), []

    def rows() -> Iterator[Arrival]:
        bad: list[str] = []
        for number, row in log.rows(sorted({column.split(".", 1)[0] for _, column in mapping.columns()})):
            try:
                if isinstance(row, BadLine):
                    raise RowError("", row.problem)
                one = read_impression(number, row, mapping, key_of)
            except (RowError, IdentifierError) as error:
                bad.append(f"row {number}: {error}")
                if len(bad) > bad_max:
                    raise FeatureBatchError(f"{log.path}: more than {bad_max} rows cannot be used; the first: "
                                            + "; ".join(bad[:3])) from error
                continue
            at_ms = one.logged_at_ms
            if at_ms is None:
                continue
            made: list[FeedbackEvent | IdentityEvent] = [
                *identity_events(run, one, at_ms), *feedback_events(run, one, at_ms, None)]
            for event in made:
                yield Arrival(one.subject, at_ms, event)

    yield from in_order(rows())


def in_order(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
    """Sorted by profile and arrival; what arrives together stays in its order."""
    with _sorting() as connection:
        connection.execute("CREATE TABLE arrived (profile VARCHAR, received_ms BIGINT, place BIGINT, "
                           "is_identity BOOLEAN, event BLOB)")
        for batch in _batches(arrivals):
            connection.register("batch", batch)
            connection.execute("INSERT INTO arrived SELECT * FROM batch")
            connection.unregister("batch")
        found = connection.sql("SELECT profile, received_ms, is_identity, event FROM arrived "
                               "ORDER BY profile, received_ms, place").to_arrow_reader(_ROWS)
        for batch in found:
            for row in batch.to_pylist():
                yield Arrival(row["profile"], row["received_ms"], _DECODE[row["is_identity"]].decode(row["event"]))


@contextmanager
def _sorting() -> Iterator[duckdb.DuckDBPyConnection]:
    with tempfile.TemporaryDirectory(prefix="nextbest-features-") as folder:
        connection = duckdb.connect(str(Path(folder) / "arrived.duckdb"), config={
            "memory_limit": _MEMORY_LIMIT, "threads": 2, "temp_directory": folder})
        try:
            yield connection
        finally:
            connection.close()


def _batches(arrivals: Iterable[Arrival]) -> Iterator[pa.RecordBatch]:
    rows: list[tuple[object, ...]] = []
    for place, one in enumerate(arrivals):
        rows.append((one.profile, one.received_ms, place, isinstance(one.event, IdentityEvent),
                     msgspec.msgpack.encode(one.event)))
        if len(rows) >= _ROWS:
            yield _batch(rows)
            rows = []
    if rows:
        yield _batch(rows)


def _batch(rows: list[tuple[object, ...]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    return pa.record_batch([pa.array(column, part.type) for column, part in zip(columns, _SORTED, strict=True)],
                           schema=_SORTED)


def _event(topic: str, row: dict[str, object]) -> FeedbackEvent | IdentityEvent:
    for name in _JSON:
        text = row.get(name)
        if isinstance(text, str):
            row[name] = msgspec.json.decode(text)
    known = {name: value for name, value in row.items() if value is not None}
    if topic == "feedback_events":
        return msgspec.convert(known, FeedbackEvent)
    return msgspec.convert({"kind": IdentityKind.TRAITS} | known, IdentityEvent)
