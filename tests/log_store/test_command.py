"""`nextbest logs` as somebody at a terminal meets it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from log_store import command, read, status, upkeep
from log_store.batches import Place
from log_store.chain import Chain, table_name
from log_store.errors import LogStoreError
from log_store.objects import FolderObjects
from log_store.sink import Sink
from pipeline.codecs.encryption import KeyEncryption
from pipeline.core.model.values import replaced
from pipeline.settings import Settings
from tests.log_store.shelf import KEYS, NOON_MS, TOPIC, Memory, event, feed, place_in, sink_in
from topics.catalog import DAY_MS


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of ten events, of which the sixth cannot be read, and no cluster."""
    monkeypatch.setenv("NEXTBEST_LOGS", str(tmp_path / "logs"))
    monkeypatch.setattr(command, "place_of", lambda settings: place_in(FolderObjects(Path(settings.logs))))
    monkeypatch.setattr(status, "_ends", lambda settings: None)
    monkeypatch.setattr(
        read,
        "opened",
        lambda settings, open_personal=True: (
            read.Store(FolderObjects(Path(settings.logs)), KEYS)
            if open_personal
            else read.Store(FolderObjects(Path(settings.logs)), closed="Personal columns are NULL")
        ),
    )
    log = [event(n, day=n // 5) for n in range(10)]
    log[5] = replaced(log[5], value=b"nonsense")
    feed(sink_in(FolderObjects(tmp_path / "logs")), TOPIC, log, 1)
    return tmp_path / "logs"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command.app, arguments)


def test_a_query_answers_in_every_format(logs: Path, tmp_path: Path) -> None:
    sql = "SELECT event_id, properties FROM feedback_events ORDER BY _offset LIMIT 2"
    assert run("query", sql, "--format", "csv").stdout == 'event_id,properties\ne0,"{""n"":0}"\ne1,"{""n"":1}"\n'
    lines = run("query", sql, "--format", "json").stdout.splitlines()
    assert json.loads(lines[1]) == {"event_id": "e1", "properties": '{"n":1}'}
    assert "e1" in run("query", sql).stdout
    assert run("query", sql, "--format", "parquet", "--out", str(tmp_path / "x")).exit_code == 0
    assert pq.read_table(tmp_path / "x").num_rows == 2
    assert run("query", sql, "--format", "parquet").exit_code == 2


def test_a_row_in_a_pipe_is_neither_cut_off_nor_folded(logs: Path) -> None:
    found = run("query", "SELECT repeat('x', 300) AS long, *, '[b]' AS mark FROM feedback_events LIMIT 1")
    assert "x" * 300 in found.stdout and "[b]" in found.stdout and "…" not in found.stdout


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DROP VIEW decisions", "read-only"),
        ("SELECT 1; SELECT 2", "read-only"),
        ("SELECT * FROM feedback_event", "feedback_events"),
    ],
)
def test_a_query_that_is_not_answered_says_why_in_a_sentence(logs: Path, sql: str, said: str) -> None:
    found = run("query", sql)
    assert (
        found.exit_code == 1 and said in (found.stderr + str(found.exception)) and "temp_directory" not in found.stderr
    )
    assert isinstance(found.exception, SystemExit | LogStoreError)


def test_a_query_that_takes_too_much_memory_says_what_to_do_in_terms_of_the_command(
    logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "MEMORY_LIMIT", "16MB")
    found = run("query", "SELECT sum(x) FROM (SELECT range x FROM range(4000000) ORDER BY hash(range))")
    assert found.exit_code == 1 and "fewer days" in found.stderr and "temp_directory" not in found.stderr


def test_a_file_that_cannot_be_written_is_not_blamed_on_the_store(logs: Path, tmp_path: Path) -> None:
    found = run("query", "SELECT 1", "--out", str(tmp_path / "none" / "x"))
    assert found.exit_code == 1 and "cannot be written" in found.stderr and "log store" not in found.stderr


def test_an_empty_store_and_a_closed_one_say_so(logs: Path, tmp_path: Path) -> None:
    assert "is empty" in run("query", "SELECT 1", "--logs", str(tmp_path / "nowhere")).stderr
    found = run("query", "SELECT count(subject) FROM feedback_events", "--closed")
    assert "NULL" in found.stderr and "0" in found.stdout


def test_what_could_not_be_read_is_shown_with_its_bytes(logs: Path) -> None:
    found = json.loads(run("show", f"{TOPIC}/0/5").stdout)
    assert (found["reason"], found["opened"], found["key"], found["value"]) == (
        "not_avro",
        True,
        "shop/ann",
        "nonsense",
    )
    for where in ("5", f"{TOPIC}/0/6", "profile.inbox/0/1", f"{TOPIC}/x/1"):
        assert isinstance(run("show", where).exception, LogStoreError)


def test_what_could_not_be_read_does_not_open_without_its_key(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Place(FolderObjects(logs), KeyEncryption("another", os.urandom), os.urandom)
    monkeypatch.setattr(command, "place_of", lambda settings: other)
    found = json.loads(run("show", f"{TOPIC}/0/5").stdout)
    assert (found["opened"], found["value"]) == (False, None)


def test_status_is_by_topic_or_by_partition_and_fails_where_records_were_lost(logs: Path) -> None:
    found = run("status")
    assert found.exit_code == 0 and "2023-11-15" in found.stdout and "lag is not known" in found.stderr
    assert "partition" in run("status", "--partitions").stdout
    lines = json.loads(run("status", "--json").stdout)
    assert [(one["next"], one["files"], one["lag"]) for one in lines if one["topic"] == TOPIC] == [(10, 10, None)]
    sink = sink_in(FolderObjects(logs))
    sink.assigned(TOPIC, 0)
    sink.take(event(20), 15, 0.0)
    sink.flush(TOPIC, 0)
    found = run("status")
    assert found.exit_code == 1 and "before they were logged" in found.stderr


def test_compact_and_expire_say_what_they_did_and_what_is_broken(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_LOGS_RETENTION", "*=36500")
    (logs / Chain(FolderObjects(logs), TOPIC).refresh().summed().files[0].path).write_bytes(b"")
    found = run("compact")
    # A day: the broken one and one of four, one of what cannot be read, one of four.
    assert f"{TOPIC}: 6 files merged away, 0 deleted" in found.stdout
    assert found.exit_code == 1 and "cannot be read" in found.stderr
    monkeypatch.setenv("NEXTBEST_LOGS_RETENTION", "*=1")
    assert f"{TOPIC}: 4 expired, 0 deleted" in run("expire").stdout
    assert run("query", "SELECT count(*) AS n FROM feedback_events", "--format", "csv").stdout == "n\n0\n"


def test_every_view_is_listed_with_what_its_columns_mean() -> None:
    found = json.loads(run("views", "--json").stdout)
    assert found == {
        name: [{"name": one, "type": kind, "doc": doc} for one, kind, doc in columns]
        for name, columns in read.views().items()
    }
    assert "outcomes" in run("views").stdout


def test_a_damaged_table_is_named_and_nothing_is_guessed(logs: Path) -> None:
    upkeep.keep_up(place_in(FolderObjects(logs)), TOPIC, NOON_MS + 5 * DAY_MS, {"*": 400})
    (logs / table_name(TOPIC, 1)).write_bytes(b"{")
    found = run("query", "SELECT 1")
    assert isinstance(found.exception, LogStoreError) and table_name(TOPIC, 1) in str(found.exception)


def test_a_place_that_is_full_is_a_sentence(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    found = run("compact")
    assert found.exit_code == 1 and "No space left on device" in found.stderr and "start it again" in found.stderr


def test_a_full_disk_leaves_no_half_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = FolderObjects(tmp_path)
    objects.put("a/b", b"before")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        for write in (objects.put, objects.put_if_absent):
            with pytest.raises(OSError, match="No space"):
                write("a/c", b"x" * 100)
        with pytest.raises(OSError, match="No space"):
            objects.put("a/b", b"after")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert objects.get("a/b") == b"before" and objects.put_if_absent("a/c", b"y")


class Full(Memory):
    """A place that has room for so many effects more; then it refuses, until it is given more."""

    def _effect(self) -> None:
        if self.left is not None:
            if self.left == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.left -= 1


@given(st.lists(st.integers(0, 9), max_size=6))
def test_a_place_that_is_full_now_and_then_gets_every_record_once(rooms: list[int]) -> None:
    objects, records = Full(), [event(n) for n in range(12)]
    sink: Sink = sink_in(objects)
    for room in rooms:
        objects.arm(room)
        try:
            feed(sink, TOPIC, records, 3)
        except OSError:
            sink = sink_in(objects)
        objects.arm(None)
    feed(sink, TOPIC, records, 3)
    found = read.table(read.Store(objects, KEYS), TOPIC, ["_offset"]).read_all().column("_offset").to_pylist()
    assert found == list(range(12))


def test_no_place_is_said_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEXTBEST_LOGS", raising=False)
    for arguments in (("query", "SELECT 1"), ("status",), ("compact",), ("expire",)):
        found = run(*arguments)
        assert isinstance(found.exception, LogStoreError) and "NEXTBEST_LOGS is not set" in str(found.exception)
    assert Settings().logs_upkeep_s == 3_600
