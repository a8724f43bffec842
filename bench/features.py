"""`python -m bench.features`: bytes that a subject's features take, and processor time of an event and a reading.

Simulated events, in memory. The features are the same ten definitions, each again under another name.
"""

from __future__ import annotations

import json
import random
import time
from datetime import UTC
from statistics import mean, median
from typing import Any, Final

from bench.parts import ROOT
from pipeline.core.decide.live import Live, arrange
from pipeline.core.features.taking import taken
from pipeline.core.model.records import FeedbackEvent, FeedbackKind
from pipeline.core.release import compile_release
from pipeline.core.release.features import bytes_max
from pipeline.core.rules import facts
from pipeline.core.subject import Person
from pipeline.policy.definitions import PolicyDefinition
from pipeline.policy.load import release_body, release_id

SUBJECTS: Final = 5
EVENTS_EACH: Final = 500
#: Three events a day.
PAUSE_MS: Final = 8 * 3_600_000
START_MS: Final = 1_790_000_000_000
COUNTS: Final = (10, 50, 200)
_VIEWS: Final = {"event": "view"}
_ORDERS: Final = {"event": "conversion"}
KINDS: Final[tuple[dict[str, Any], ...]] = (
    {"count": _VIEWS, "window": "30d"}, {"count": _VIEWS}, {"sum": "event.value", "of": _ORDERS},
    {"mean": "event.value", "of": _ORDERS, "window": "14d", "keep": 20}, {"last": "event.item", "of": _VIEWS},
    {"recency": _ORDERS}, {"decayed": 1.0, "of": _VIEWS, "half_life": "3d"},
    {"sum": "event.value", "of": _ORDERS, "window": {"calendar": "month"}}, {"first": "event.at"},
    {"count": _VIEWS, "window": "1h", "keep": 20},
)


def shop(count: int) -> Live:
    """A release with so many features."""
    definition = PolicyDefinition.model_validate({
        "consent": {"purposes": {"personalization": ""}}, "channels": {"web": {"purposes": ["personalization"]}},
        "placements": {"hero": {"channels": ["web"], "fallback": {"item": "welcome"}}},
        "features": {f"f{number}": KINDS[number % len(KINDS)] for number in range(count)}})
    body = release_body(definition)
    return arrange("shop", compile_release(body, release_id(body)), (), 1)


def measured(count: int) -> dict[str, float]:
    """Bytes of a subject, at most and in the mean; microseconds of an event and of reading all features."""
    live, chance = shop(count), random.Random(1)
    sizes, events_us, reads_us = [], [], []
    for subject in range(SUBJECTS):
        kept: dict[str, bytes] = {}
        for number in range(EVENTS_EACH):
            at_ms = START_MS + number * PAUSE_MS + chance.randrange(PAUSE_MS)
            kind = chance.choice((FeedbackKind.VIEW, FeedbackKind.VIEW, FeedbackKind.CLICK, FeedbackKind.CONVERSION))
            event = FeedbackEvent(f"e{number}", "shop/a", kind, at_ms, kind.value, f"item-{chance.randrange(50)}",
                                  value=chance.uniform(1, 99) if kind is FeedbackKind.CONVERSION else None)
            began = time.thread_time()
            kept, _ = taken(live.policy, kept, event, (), at_ms, at_ms, UTC)
            events_us.append((time.thread_time() - began) * 1e6)
        reader = facts.reader(Person(profile_id=f"shop/{subject}", features=kept), live.policy, at_ms)
        began = time.thread_time()
        for feature in live.policy.features:
            reader.value(feature)
        reads_us.append((time.thread_time() - began) * 1e6)
        sizes.append(sum(len(name) + len(data) + 4 for name, data in kept.items()))
    return {"features": count, "bytes": round(mean(sizes)), "bytes_stated": bytes_max(live.policy.features),
            "event_us_p50": round(median(events_us), 1), "read_all_us_p50": round(median(reads_us), 1)}


def main() -> None:
    """Measure, print, and keep the figures."""
    rows = [measured(count) for count in COUNTS]
    for row in rows:
        print(json.dumps(row))
    (ROOT / "bench" / "results" / "features.json").write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
