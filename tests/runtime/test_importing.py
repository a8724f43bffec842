"""An import says that it is done once the broker has everything and the workers have applied it, or what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from confluent_kafka import TopicPartition

from pipeline.adapters import kafka
from pipeline.cli import importing
from pipeline.ingest.line_file import Import, Told
from pipeline.ports import Outbound
from pipeline.settings import Settings

TOPIC = "identity.events"
NOTHING_COMMITTED = -1001
RECORDS = [Outbound(TOPIC, key, b"value") for key in (b"0", b"1", b"0", b"0", b"1")]
ENDS = {0: 13, 1: 12}


class Delivered:
    """What the broker says of one record."""

    def __init__(self, partition: int, offset: int) -> None:
        self._place = partition, offset

    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]


class ClusterDouble:
    """Takes records, by their key's number as the partition, from offset 10 on; its workers commit as they are told."""

    def __init__(self) -> None:
        self.error: str | None = None
        self.unanswered = 0
        self.full = 0
        self.taken: list[bytes] = []
        self._reports: list[Callable[[], None]] = []
        #: What is committed by partition, from one question to the next; the last for ever.
        self.committing: list[dict[int, int]] = [ENDS]
        self.asked: list[Any] = []
        self.groups: list[str | None] = []
        self.closed = 0

    # -- as a producer --------------------------------------------------------------------------------------------

    def produce(self, topic: str, key: bytes, value: bytes, on_delivery: Callable[[Any, Any], None]) -> None:
        if self.full:
            self.full -= 1
            raise BufferError
        message = Delivered(int(key), 10 + Counter(self.taken)[key])
        self.taken.append(key)
        self._reports.append(lambda: on_delivery(self.error, message))

    def poll(self, _timeout_s: float) -> None:
        """Reports come with the flush."""

    def flush(self, _timeout_s: float) -> int:
        # The newest first: acknowledgements of several partitions come as they come.
        for report in reversed(self._reports[self.unanswered:]):
            report()
        return self.unanswered

    # -- as a consumer --------------------------------------------------------------------------------------------

    def committed(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        self.asked.append({place.partition for place in places})
        now = self.committing[min(len(self.asked), len(self.committing)) - 1]
        return [TopicPartition(TOPIC, one.partition, now.get(one.partition, NOTHING_COMMITTED)) for one in places]

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> ClusterDouble:
    double = ClusterDouble()

    def consumer(_settings: Settings, group: str | None, _name: str) -> ClusterDouble:
        double.groups.append(group)
        return double

    monkeypatch.setattr(kafka, "producer", lambda _settings, _name: double)
    monkeypatch.setattr(kafka, "consumer", consumer)
    monkeypatch.setattr(importing, "_LOOK_S", 0.001)
    return double


def test_it_waits_until_the_workers_have_committed_all_of_it(
    cluster: ClusterDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.full = 2
    cluster.committing = [{}, {0: 13}, {0: 12, 1: 12}, {0: 13, 1: 11}, ENDS]
    importing.send(Settings(app_id="shop"), RECORDS, "accounts")
    assert cluster.taken == [record.key for record in RECORDS]
    assert cluster.asked == [{0, 1}] * 5
    assert (cluster.groups, cluster.closed) == (["shop"], 1), "the workers' group is asked"
    assert "applied" not in capsys.readouterr().err


def test_workers_that_do_not_apply_it_are_waited_for_so_long_only(
    cluster: ClusterDouble, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importing, "APPLIED_S", 0.05)
    cluster.committing = [{0: 13, 1: 11}]
    importing.send(Settings(), RECORDS, "accounts")
    assert len(cluster.asked) > 1 and cluster.closed == 1
    assert "the broker has all accounts, the workers have not applied them yet" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "unanswered", "said"), [
    ("no such topic", 0, "5 of 5 accounts were not taken"), (None, 2, "2 of 5 accounts were not taken"),
])
def test_what_the_broker_does_not_take_is_told_and_waited_for_by_nobody(
    error: str | None, unanswered: int, said: str, cluster: ClusterDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.error, cluster.unanswered = error, unanswered
    with pytest.raises(typer.Exit) as exit_:
        importing.send(Settings(), RECORDS, "accounts")
    told = capsys.readouterr().err
    assert exit_.value.exit_code == 1 and said in told and (error or "no answer") in told
    assert cluster.groups == []


def test_an_import_of_nothing_asks_nobody(cluster: ClusterDouble) -> None:
    importing.send(Settings(), [], "accounts")
    assert cluster.groups == []


@pytest.mark.parametrize(("make", "said"), [
    (lambda _: None, "there is no such file"), (lambda path: path.mkdir(), "cannot be opened: Is a directory"),
    (lambda path: path.write_bytes(b"\xff\xfe"), "cannot be read as UTF-8 text"),
])
def test_a_file_that_cannot_be_read_is_told_by_its_trouble(
    make: Callable[[Path], object], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "a.csv")
    with pytest.raises(typer.Exit):
        importing.read(tmp_path / "a.csv", lambda lines: Import(errors=Told(list(lines))))
    told = " ".join(capsys.readouterr().err.split())
    assert said in told and "Errno" not in told
