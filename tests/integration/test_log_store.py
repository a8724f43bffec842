"""The log store on a real broker: sinks that are killed in the midst, and what is in the files afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from log_store import read
from log_store.chain import Chain
from log_store.objects import FolderObjects
from pipeline.adapters import kafka
from pipeline.codecs import avro
from pipeline.core.model.records import ErasureAction, ErasureReceipt, FeedbackEvent, FeedbackKind
from pipeline.settings import Settings
from tests.support.broker import fresh_topics
from tests.support.stack import wait_until
from topics.catalog import ERASURE_RECEIPTS, FEEDBACK_EVENTS

pytestmark = pytest.mark.broker

EVENTS = 6_000


def sink(settings: Settings, log: Path, *options: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "NEXTBEST_BOOTSTRAP": settings.bootstrap,
        "NEXTBEST_APP_ID": settings.app_id,
        "NEXTBEST_LOGS": settings.logs,
        "NEXTBEST_LOGS_FLUSH_S": "1",
        "NEXTBEST_LOGS_FLUSH_BYTES": "65536",
    }
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli.main", "logs", "sink", *options],
            env=environment,
            stdout=out,
            stderr=out,
        )


def rows(objects: FolderObjects) -> int:
    files = Chain(objects, FEEDBACK_EVENTS.name).refresh().summed().files
    return sum(file.rows for file in files)


def grown(objects: FolderObjects, before: int) -> bool:
    return rows(objects) > before


def test_sinks_that_are_killed_in_the_midst_leave_every_record_once(bootstrap: str, tmp_path: Path) -> None:
    settings = Settings(bootstrap=bootstrap, app_id="logs", logs=str(tmp_path / "store"))
    fresh_topics(settings)
    objects, producer = FolderObjects(tmp_path / "store"), kafka.producer(settings)

    def send(start: int, count: int) -> None:
        for number in range(start, start + count):
            subject = f"shop/s{number % 50}"
            value = FeedbackEvent(event_id=f"e{number}", subject=subject, kind=FeedbackKind.VIEW, at_ms=number)
            producer.produce(FEEDBACK_EVENTS.name, avro.encode(FEEDBACK_EVENTS, value), subject.encode())
        assert producer.flush(30) == 0

    log = tmp_path / "sink.log"
    # Only the first one is a member of the group: another member waits until the broker has given up the dead one.
    for turn, options in enumerate(((), ("--once",), ("--once",))):
        send(turn * EVENTS // 3, EVENTS // 3)
        before, running = rows(objects), sink(settings, log, *options)
        try:
            wait_until(partial(grown, objects, before), what="a first file")
        except AssertionError:
            pytest.fail(log.read_text()[-3_000:])
        finally:
            running.kill()
            running.wait()
    receipt = ErasureReceipt(
        job_id="job",
        subject="shop/s7",
        action=ErasureAction.ERASE,
        profile_id="shop/s7",
        identifiers=[],
        at_ms=1,
        known=True,
        unreadable=[],
        part_of=None,
    )
    producer.produce(ERASURE_RECEIPTS.name, avro.encode(ERASURE_RECEIPTS, receipt), b"shop/s7")
    assert producer.flush(30) == 0
    last = sink(settings, log, "--once")
    assert last.wait(90) == 0, log.read_text()[-3_000:]
    store = read.opened(settings)
    found = (
        read.table(store, "feedback_events", ["event_id", "subject", "_partition", "_offset"]).read_all().to_pylist()
    )
    assert not store.closed
    assert Counter(row["event_id"] for row in found) == Counter(f"e{number}" for number in range(EVENTS))
    assert len({(row["_partition"], row["_offset"]) for row in found}) == EVENTS
    erased = [row for row in found if row["subject"] is None]
    assert {int(row["event_id"][1:]) % 50 for row in erased} == {7} and len(erased) == EVENTS // 50
