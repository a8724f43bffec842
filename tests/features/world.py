"""A policy with a feature of every kind over every window, and people whose events the engine takes as it takes any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from zoneinfo import ZoneInfo

from pipeline.core import learn
from pipeline.core.decide.live import Live
from pipeline.core.features.reading import Reader
from pipeline.core.model.records import FeedbackEvent, FeedbackKind
from pipeline.core.rules import facts
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import Person
from tests.core.build import agreed, made
from tests.support.feature_oracle import Oracle, Raw

ZONE: Final = "Australia/Adelaide"
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
START_MS: Final = 1_790_000_000_000
#: Items by the tags that they have.
ITEMS: Final = {"boots": ("shoes", "winter"), "tent": ("camping",), "stove": ("camping", "winter"), "map": ()}
CATEGORIES: Final = ("a", "b", "c", "d", "e")
_BETWEEN: Final = {"from": "2026-09-24T00:00:00Z", "until": "2026-10-04T00:00:00Z"}

FEATURES: Final[dict[str, Any]] = {
    "views_1h": {"count": {"event": "view"}, "window": "1h"},
    "views_7d": {"count": {"event": "view"}, "window": "7d"},
    "clicks_7d": {"count": {"event": "click"}, "window": "7d"},
    "views_30d": {"count": {"event": "view"}, "window": "30d"},
    "views_ever": {"count": {"event": "view"}},
    "views_fixed": {"count": {"event": "view"}, "window": _BETWEEN},
    "ctr_7d": {"ratio": ["clicks_7d", "views_7d"], "least": 2},
    "session_pages": {"count": {"event": "page"}, "window": "session"},
    "session_spent": {"sum": "event.value", "of": {"event": "conversion"}, "window": {"session": "2h"}},
    "spend_day": {"sum": "event.value", "of": {"event": "conversion"},
                  "window": {"calendar": "day", "zone": "subject"}},
    "spend_month": {"sum": "event.value", "of": {"event": "conversion"},
                    "window": {"calendar": "month", "zone": "subject"}},
    "spend_30d": {"sum": "event.value", "of": {"event": "conversion"}, "window": "30d"},
    "mean_7d": {"mean": "event.value", "of": {"event": "conversion"}, "window": "7d"},
    "mean_3h": {"mean": "event.value", "of": {"event": "conversion"}, "window": "3h"},
    "least_7d": {"min": "event.value", "of": {"event": "conversion"}, "window": "7d"},
    "most_ever": {"max": "event.value", "of": {"event": "conversion"}},
    "large": {"count": {"event": "conversion"}, "where": "event.properties.amount > 50.0", "window": "7d"},
    "last_category": {"last": "event.properties.category", "of": {"event": "page"}},
    "category_7d": {"last": "event.properties.category", "of": {"event": "page"}, "window": "7d"},
    "first_category": {"first": "event.properties.category", "of": {"event": "page"}},
    "first_seen": {"first": "event.at"},
    "last_seen": {"last": "event.at"},
    "categories_7d": {"distinct": "event.properties.category", "of": {"event": "page"}, "window": "7d"},
    "categories_day": {"distinct": "event.properties.category", "of": {"event": "page"}, "window": {"calendar": "day"}},
    "pace": {"rate": {"event": "page"}, "each": "1h", "window": "1d"},
    "since_order": {"recency": {"event": "conversion"}},
    "interest": {"decayed": 1.0, "of": {"event": "view"}, "half_life": "3d"},
    "top_tags": {"top": "event.tags", "most": 2, "of": {"event": ["view", "click"]}, "window": "7d"},
    "recent_items": {"recent": "event.item", "of": {"event": ["view", "click"]}, "keep": 3},
    "recent_7d": {"recent": "event.item", "of": {"event": ["view", "click"]}, "keep": 2, "window": "7d"},
    "item_views": {"count": {"event": "view"}, "window": "7d", "per": "item"},
    "tag_views": {"count": {"event": "view"}, "window": "2d", "per": "tag", "keys": 10},
    "tag_interest": {"decayed": "event.value", "of": {"event": "conversion"}, "half_life": "1d", "per": "tag"},
}
CONDITIONS: Final[dict[str, Callable[[Raw], bool | None]]] = {
    "large": lambda raw: None if "amount" not in raw.properties else raw.properties["amount"] > 50.0}


def shop(features: dict[str, Any] | None = None) -> Live:
    """A shop that has the features, and the items."""
    return made({"attributes": {"event": {"category": "string", "amount": "double"}},
                 "features": FEATURES if features is None else features},
                {name: {"tags": list(tags)} for name, tags in ITEMS.items()})


def somebody(name: str) -> Person:
    """Who agreed to be tracked, and lives where midnight is half an hour off."""
    return agreed(Person(profile_id=name, traits={"zone": Trait(ZONE, 1)}))


def heard(person: Person, raw: Raw, live: Live) -> Person:
    """The person after an event arrived; a repeat changes nothing."""
    if raw.event_id in person.event_ids:
        return person
    event = FeedbackEvent(raw.event_id, person.profile_id, FeedbackKind(raw.kind), raw.at_ms, raw.kind, raw.item, "d",
                          value=raw.value, properties=dict(raw.properties))
    learnt = learn.feedback(person, event, live, raw.received_ms)
    assert learnt is not None
    return learnt[0]


def reader(person: Person, live: Live, now_ms: int) -> Reader:
    """What reads the person's features at a moment."""
    return facts.reader(person, live.policy, now_ms)


def oracle(live: Live, events: tuple[Raw, ...]) -> Oracle:
    """The naive loop over the same features."""
    return Oracle(live.policy.features_by_id, events, CONDITIONS, ZoneInfo(ZONE))


def differences(person: Person, live: Live, events: tuple[Raw, ...], now_ms: int) -> list[str]:
    """Every value in which the engine and the naive loop differ, in words; and how many were compared is
    `compared(live)`."""
    reading, naive, found = reader(person, live, now_ms), oracle(live, events), []
    for feature in live.policy.features:
        for key in keys(feature.per):
            got, expected = reading.value(feature, key), naive.value(feature.id, now_ms, key)
            if not same(got, expected, feature.kind):
                found.append(f"{feature.id}[{key}] at {now_ms}: {got!r}, not {expected!r}")
    return found


def keys(per: str) -> tuple[str, ...]:
    """Of what a feature is read: of the subject, of each item, or of each tag."""
    tags = tuple(sorted({tag for found in ITEMS.values() for tag in found}))
    return {"subject": ("",), "item": tuple(ITEMS), "tag": tags}[per]


def compared(live: Live) -> int:
    """How many values one comparison is about."""
    return sum(len(keys(feature.per)) for feature in live.policy.features)


def same(got: Any, expected: Any, kind: str) -> bool:
    """Equal, to the last bit; what decays within a part in a thousand million, as is stated."""
    if kind == "decayed":
        return bool(abs(got - expected) <= 1e-9 * max(1.0, abs(expected)))
    return bool(got == expected and type(got) is type(expected))
