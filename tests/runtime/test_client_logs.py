"""What Kafka's clients say again and again while no broker answers is said now and then."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest

from pipeline.adapters import kafka
from pipeline.runtime import faust_transport
from pipeline.settings import Settings


def record(name: str, text: str, *args: Any) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.ERROR, "", 0, text, args, None)
    made.created = 1_000.0
    return made


@pytest.mark.parametrize(("name", "complaint", "again", "other"), [
    ("aiokafka", ("Unable connect to node with id %s: %s", 1, OSError("one")),
     ("Unable connect to node with id %s: %s", 2, OSError("another")), ("Unable to update metadata from %s", 1)),
    ("nextbest.kafka", ("%s [%s] %s", "FAIL", "producer-1", "no (after 1ms)"),
     ("%s [%s] %s", "FAIL", "producer-1", "no (after 2ms)"), ("%s [%s] %s", "FAIL", "producer-2", "no (after 1ms)")),
])
def test_a_repeated_complaint_is_logged_once_in_a_while(
    name: str, complaint: tuple[Any, ...], again: tuple[Any, ...], other: tuple[Any, ...]
) -> None:
    repeated = kafka._Unrepeated()
    first = record(name, *complaint)
    assert repeated.filter(first) and not repeated.filter(first)
    assert repeated.filter(record(name, *other)), "another one is not kept back"
    passed = []
    for tick in range(1, 25):
        later = record(name, *again)
        later.created = first.created + tick
        if repeated.filter(later):
            passed.append(tick)
    assert passed == [10, 20], "one that never ends is said again and again"


def test_what_a_client_says_goes_the_same_way(caplog: pytest.LogCaptureFixture) -> None:
    # Commands that show how far they are silence it for their whole process.
    caplog.set_level(logging.ERROR, "nextbest.kafka")
    client = kafka.producer(Settings(bootstrap="127.0.0.1:1"), "unanswered")
    end_s = time.monotonic() + 10
    while not caplog.records and time.monotonic() < end_s:
        client.poll(0.05)
    for _ in range(10):
        client.poll(0.05)
    failures = [one for one in caplog.records if "FAIL" in one.getMessage()]
    assert [one.name for one in failures] == ["nextbest.kafka"], "it tries again every 50 ms at first"


@pytest.mark.parametrize("name", ["aiokafka", "aiokafka.consumer.group_coordinator", "nextbest.kafka"])
def test_whatever_a_client_logs_by_is_kept_from_repeating(name: str) -> None:
    assert faust_transport.log.name not in name, "it is imported for what it does to these"
    assert any(isinstance(one, kafka._Unrepeated) for one in logging.getLogger(name).filters)
