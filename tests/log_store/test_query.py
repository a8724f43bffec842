"""SQL over the store: what it sees, what it costs, and what it cannot reach."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from log_store import read
from log_store.columns import LOGGED
from log_store.errors import LogStoreError
from pipeline.core.model.values import replaced
from pipeline.settings import Settings
from tests.log_store.shelf import KEYS, NOON_MS, TOPIC, Memory, event, feed, sink_in
from topics.catalog import DAY_MS


@pytest.fixture
def store() -> read.Store:
    objects = Memory()
    log = [event(n, f"{('shop', 'club')[n % 2]}/s{n % 3}", day=n // 4) for n in range(20)]
    log[5] = replaced(log[5], value=b"{}")
    feed(sink_in(objects), TOPIC, log, 20)
    return read.Store(objects, KEYS)


def rows(store: read.Store, sql: str, tenant: str | None = None) -> list:  # type: ignore[type-arg]
    return read.connection(Settings(), tenant, store).execute(sql).fetchall()


def test_personal_columns_are_opened_and_typed(store: read.Store) -> None:
    found = rows(store, "SELECT subject, properties->>'n', at_ms FROM feedback_events ORDER BY _offset LIMIT 2")
    assert found == [("shop/s0", "0", 0), ("club/s1", "1", 1)]


def test_without_keys_personal_columns_are_null_and_the_others_are_there(store: read.Store) -> None:
    closed = read.Store(store.objects)
    found = rows(closed, "SELECT count(*), count(event_id), count(subject) FROM feedback_events WHERE NOT _opened")
    assert found == [(19, 19, 0)]


def test_a_query_for_one_day_and_tenant_opens_the_files_of_that_day_and_tenant_alone(store: read.Store) -> None:
    sql = "SELECT count(*), count(subject) FROM feedback_events WHERE day = DATE '2023-11-16' AND tenant = 'shop'"
    assert rows(store, sql) == [(2, 2)]
    assert {path.rpartition("/")[0] for path in store.files_opened} == {f"{TOPIC}/tenant=shop/day=2023-11-16"}
    store.files_opened.clear()
    since, until = NOON_MS + 2 * DAY_MS, NOON_MS + 3 * DAY_MS
    assert read.table(store, TOPIC, ["_offset"], "shop", since, until).read_all().num_rows == 2
    assert len(store.files_opened) <= 2


def test_a_connection_of_one_tenant_sees_no_other(store: read.Store) -> None:
    assert rows(store, "SELECT DISTINCT tenant FROM feedback_events", "shop") == [("shop",)]
    assert rows(store, "SELECT count(*) FROM unreadable", "shop") == [(0,)]


def test_a_record_that_cannot_be_read_stops_nothing_and_is_listed(store: read.Store) -> None:
    assert rows(store, "SELECT topic, _offset, reason FROM unreadable") == [(TOPIC, 5, "not_avro")]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "COPY (SELECT 1) TO '/tmp/leak.csv'",
        "SET memory_limit = '64GB'",
        "SET enable_external_access = true",
        "ATTACH '/tmp/leak.db'",
        "INSTALL httpfs",
        "SELECT * FROM store",
    ],
)
def test_sql_reaches_no_file_no_network_no_setting_and_nothing_of_the_process(store: read.Store, sql: str) -> None:
    with pytest.raises(duckdb.Error):
        rows(store, sql)


def test_the_documented_views_are_those_that_there_are(store: read.Store) -> None:
    connection = read.connection(Settings(), None, store)
    documented = {name: [(column, kind) for column, kind, _ in columns] for name, columns in read.views().items()}
    assert set(documented) == {*LOGGED, "unreadable"}
    for name, columns in documented.items():
        there = connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE {name})").fetchall()  # noqa: S608
        assert [(column, kind.replace('"', "")) for column, kind in there] == [
            (column, kind.replace('"', "")) for column, kind in columns
        ]
    assert all(doc for columns in read.views().values() for _, _, doc in columns)


def test_a_table_names_what_it_lacks(store: read.Store) -> None:
    with pytest.raises(LogStoreError, match="no column nonsense"):
        read.table(store, TOPIC, ["nonsense"])
    with pytest.raises(LogStoreError, match=r"profile\.inbox is not logged"):
        read.table(store, "profile.inbox")


def test_a_place_that_is_no_folder_and_no_bucket_is_refused(tmp_path: Path) -> None:
    from log_store.objects import objects_at

    with pytest.raises(LogStoreError, match="exactly once"):
        objects_at("http://example.org/logs")
