"""The store in an S3-compatible bucket (moto, in this process), also where it is away or refuses."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner

from log_store import read, upkeep
from log_store.command import app
from log_store.objects import FsspecObjects, Objects, objects_at
from tests.log_store.shelf import KEYS, NOON_MS, RECEIPTS, TOPIC, event, feed, place_in, receipt, sink_in
from topics.catalog import DAY_MS, HOUR_MS

LATER_MS = NOON_MS + 5 * DAY_MS


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server,
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    name = f"logs-{abs(hash(request.node.name))}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}/some/prefix"


def offsets(objects: Objects) -> list[int]:
    found = read.table(read.Store(objects, KEYS), TOPIC, ["_offset"]).read_all()
    return found.column("_offset").to_pylist()  # type: ignore[no-any-return]


def test_a_bucket_keeps_every_record_once_through_compaction_and_an_erasure(bucket: str) -> None:
    objects = objects_at(bucket)
    log = [event(n, f"shop/s{n % 2}") for n in range(12)]
    slow = sink_in(objects)
    slow.assigned(TOPIC, 0)
    for record in log[:6]:
        slow.take(record, 0, 0.0)
    feed(sink_in(objects), TOPIC, log[:9], 3)
    assert slow.flush(TOPIC, 0) == 9
    feed(sink_in(objects), RECEIPTS, [receipt(0, "shop/s1")], 1)
    for hours in (0, 2):
        upkeep.keep_up(place_in(objects), TOPIC, LATER_MS + hours * HOUR_MS, {"*": 400})
    feed(sink_in(objects), TOPIC, log, 3)
    assert offsets(objects) == list(range(12))
    rows = read.table(read.Store(objects, KEYS), TOPIC, ["subject"]).read_all().column("subject").to_pylist()
    assert rows == ["shop/s0", None] * 6
    assert len([name for name in objects.names(TOPIC) if name.endswith(".parquet")]) == 2


def test_of_two_writers_of_one_object_one_succeeds(bucket: str) -> None:
    one, other = objects_at(bucket), objects_at(bucket)
    assert one.put_if_absent("a/b", b"1") and not other.put_if_absent("a/b", b"2")
    assert other.get("a/b") == b"1" and one.names("a") == ["a/b"] and one.names("none") == []
    one.put("a/b", b"3")
    assert other.get("a/b") == b"3"
    one.delete("a/b")
    one.delete("a/b")
    assert other.names("a") == []
    with pytest.raises(FileNotFoundError):
        one.get("a/b")


class Answering:
    """A file system whose conditional writes are answered with these HTTP statuses, one after the other."""

    protocol = "s3"

    def __init__(self, *statuses: int) -> None:
        self.left = list(statuses)

    def pipe_file(self, path: str, data: bytes, mode: str) -> None:
        assert mode == "create"
        status = self.left.pop(0)
        if status != 200:
            cause = Exception("answer")
            cause.response = {"ResponseMetadata": {"HTTPStatusCode": status}}  # type: ignore[attr-defined]
            raise OSError(22, "refused") from cause


@pytest.mark.parametrize(("statuses", "written"), [((412,), False), ((409, 409, 200), True), ((409, 412), False)])
def test_a_store_that_does_not_name_the_condition_or_has_another_put_under_way_is_understood(
    statuses: tuple[int, ...], written: bool
) -> None:
    fs = Answering(*statuses)
    assert FsspecObjects(fs, "bucket").put_if_absent("a", b"") is written
    assert not fs.left


@pytest.mark.parametrize("statuses", [(403,), (409,) * 5, (501,)])
def test_a_refusal_of_the_store_is_neither_written_nor_there_already(statuses: tuple[int, ...]) -> None:
    with pytest.raises(OSError, match="refused"):
        FsspecObjects(Answering(*statuses), "bucket").put_if_absent("a", b"")


class Away:
    """A file system that cannot be reached, as botocore says it."""

    def __getattr__(self, name: str) -> Any:
        return self._fail

    def invalidate_cache(self) -> None: ...

    def _fail(self, *_: object, **__: object) -> None:
        from botocore.exceptions import EndpointConnectionError

        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1/bucket")


def test_a_bucket_that_is_away_is_an_os_error_whatever_is_asked() -> None:
    objects = FsspecObjects(Away(), "bucket")
    for asked in (
        lambda: objects.get("a"),
        lambda: objects.put("a", b""),
        lambda: objects.put_if_absent("a", b""),
        lambda: objects.delete("a"),
        lambda: objects.names("a"),
    ):
        with pytest.raises(OSError, match="Could not connect"):
            asked()


def test_a_bug_in_a_file_system_is_no_store_that_is_away() -> None:
    fs = SimpleNamespace(cat_file=lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        FsspecObjects(fs, "bucket").get("a")


def test_a_command_says_that_the_bucket_is_not_there(bucket: str) -> None:
    found = CliRunner().invoke(app, ["query", "SELECT 1", "--closed", "--logs", "s3://nobody-has-this/prefix"])
    assert found.exit_code == 0 and "is empty: no sink has written there yet" in found.stderr
