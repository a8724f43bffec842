"""A few figures of a running part, from its own /metrics. Reads only; a part that does not answer has none."""

from __future__ import annotations

import urllib.request
from collections import Counter
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S: Final = 1.0

#: What is worth a look, by the metric's name, and how it is called.
WORTH_A_LOOK: Final = {
    "nextbest_partitions_owned": "partitions",
    "nextbest_records_total": "records",
    "nextbest_bridge_decisions_total": "decisions",
    "nextbest_bridge_events_total": "events",
}


def look(metrics_url: str) -> dict[str, int]:
    """The figures by what they are called, summed over labels; empty where the part does not answer."""
    try:
        with urllib.request.urlopen(metrics_url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - our own address
            text = answer.read().decode()
    except OSError:
        return {}
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in WORTH_A_LOOK:
                found[WORTH_A_LOOK[sample.name]] += int(sample.value)
    return dict(found)
