"""What Kafka's clients say again and again while no broker answers is said now and then."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from pipeline.adapters import kafka


def record(name: str, text: str, *args: Any) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "", 0, text, args, None)


@pytest.mark.parametrize(("name", "text", "complaint", "other"), [
    ("aiokafka", "Unable connect to node with id %s: %s", (1, OSError()), ("Unable to update metadata from %s", 1)),
    ("nextbest.kafka", "%s [%s] %s", ("FAIL", "producer-1", "no"), ("%s [%s] %s", "FAIL", "producer-2", "no")),
])
def test_a_repeated_complaint_is_logged_once_in_a_while(
    name: str, text: str, complaint: tuple[Any, ...], other: tuple[Any, ...]
) -> None:
    repeated = kafka._Unrepeated()
    assert [repeated.filter(record(name, text, *complaint)) for _ in range(3)] == [True, False, False]
    assert repeated.filter(record(name, *other)), "another one is not kept back"
    later = record(name, text, *complaint)
    later.created += kafka.REPEATED_LOG_S
    assert repeated.filter(later)


@pytest.mark.parametrize("name", ["aiokafka", "nextbest.kafka"])
def test_both_clients_are_kept_back(name: str) -> None:
    assert any(isinstance(one, kafka._Unrepeated) for one in logging.getLogger(name).filters)
