"""Up to when all that was reported is known, over several inputs."""

from __future__ import annotations

from pipeline.flow import EVERYTHING_KNOWN
from pipeline.runtime.reports import Reports
from pipeline.topology import BATCH_FLOWS
from topics.catalog import DECISION_REQUESTS, FEEDBACK_EVENTS


def test_what_is_known_is_what_the_input_furthest_behind_was_last_known_to() -> None:
    ends = {0: True, 1: True}
    reports = Reports(BATCH_FLOWS, lambda topic, partition: ends[partition])
    assert reports.known_ms((0, 1), 100) == EVERYTHING_KNOWN
    ends[1] = False
    assert reports.known_ms((0, 1), 200) == 100, "it was at its end then"
    assert reports.known_ms((0,), 300) == EVERYTHING_KNOWN
    reports.taken(FEEDBACK_EVENTS.name, 1, 150)
    reports.taken(FEEDBACK_EVENTS.name, 1, 140)
    reports.taken(DECISION_REQUESTS.name, 1, 400)
    assert reports.known_ms((0, 1), 400) == 150
    ends[0] = False
    assert reports.known_ms((0, 1), 500) == 150
    assert reports.known_ms((0,), 500) == 400
    assert Reports(BATCH_FLOWS, lambda topic, partition: False).known_ms((0,), 1) == 0, "nothing is known of it yet"
