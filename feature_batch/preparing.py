"""What each event adds to each feature, as rows for SQL: by the same compiled conditions that the stream asks.

Conditions, arguments and consent are not translated to SQL: a second implementation of the language of rules would be a
second truth. What is SQL: deduplicated rows, windows, tiles and aggregates (`feature_batch.statements`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, Final, NamedTuple

import pyarrow as pa

from pipeline.core import learn
from pipeline.core.consent import permission
from pipeline.core.decide.live import Live
from pipeline.core.features import taking, windows
from pipeline.core.model.features import Between, Feature, Layout, Pause
from pipeline.core.model.records import FeedbackEvent, IdentityEvent
from pipeline.core.model.windows import Calendar, Rolling
from pipeline.core.rules import facts
from pipeline.core.rules.signals import matches
from pipeline.core.subject import Person

#: One row for each event and feature that it counts for, and item or tag. `period_ms`: when its calendar period began.
ADDED: Final = pa.schema([
    pa.field("feature", pa.int32()), pa.field("profile", pa.string()), pa.field("key", pa.string()),
    pa.field("at_ms", pa.int64()), pa.field("period_ms", pa.int64()), pa.field("whole", pa.int64()),
    pa.field("number", pa.float64()), pa.field("text", pa.string()), pa.field("rank", pa.string()),
])
#: Every profile that anything is known of, with what its windows begin at: see `starts`.
KNOWN: Final = pa.schema([pa.field("profile", pa.string()), pa.field("zone", pa.string())])
STARTS: Final = pa.schema([
    pa.field("feature", pa.int32()), pa.field("zone", pa.string()), pa.field("start_ms", pa.int64()),
    pa.field("length_ms", pa.int64())])


def declared(live: Live) -> tuple[Feature, ...]:
    """Every feature of the release: those that the worker counts, and those that are loaded."""
    return (*live.policy.features, *live.policy.loaded_features)


class Arrival(NamedTuple):
    """One event as it arrived, and whose it is as of the computation: the profile that an alias belongs to."""

    profile: str
    received_ms: int
    event: FeedbackEvent | IdentityEvent


@dataclass(slots=True)
class Prepared:
    """The rows of some profiles. `left_out`: events without consent; `unknown`: values that could not be worked out."""

    added: list[tuple[Any, ...]] = field(default_factory=list)
    known: list[tuple[str, str]] = field(default_factory=list)
    zones: dict[str, Any] = field(default_factory=dict)
    events: int = 0
    repeated: int = 0
    left_out: int = 0
    unknown: int = 0


def prepared(arrivals: Iterable[Arrival], live: Live, as_of_ms: int, profiles_max: int) -> Iterator[Prepared]:
    """The rows of at most so many profiles at a time.

    :param arrivals: by profile, and of each by the time they were received.
    :param as_of_ms: what was received later is not looked at (epoch ms).
    """
    features = [(number, one) for number, one in enumerate(declared(live)) if one.layout is not Layout.NONE]
    result, current = Prepared(), ""
    person, ids = Person(profile_id=""), set[str]()
    for arrival in arrivals:
        if arrival.received_ms > as_of_ms:
            continue
        if arrival.profile != current:
            _close(result, person, live)
            if len(result.known) >= profiles_max:
                yield result
                result = Prepared()
            current, person, ids = arrival.profile, Person(profile_id=arrival.profile), set()
        event = arrival.event
        if isinstance(event, IdentityEvent):
            person, _ = learn.told(person, event, live.policy, arrival.received_ms)
            continue
        result.events += 1
        if event.event_id in ids:
            result.repeated += 1
        elif not permission.tracked(person.consent, live.policy, event.channel or "", arrival.received_ms):
            result.left_out += 1
        else:
            ids.add(event.event_id)
            _add(result, features, event, person, live, arrival.received_ms)
    _close(result, person, live)
    yield result


def _close(result: Prepared, person: Person, live: Live) -> None:
    if person.profile_id:
        name, zone = facts.zone_of(person, live.policy)
        result.known.append((person.profile_id, name))
        result.zones[name] = zone


def _add(
    result: Prepared, features: list[tuple[int, Feature]], event: FeedbackEvent, person: Person, live: Live,
    received_ms: int,
) -> None:
    item = live.items.get(event.item_id or "")
    tags = item.tags if item is not None else ()
    at_ms = min(event.at_ms, received_ms)
    zone = facts.zone_of(person, live.policy)[1]
    said: dict[str, Any] | None = None
    for number, feature in features:
        if not matches(feature.matcher, event, tags) or not windows.holds(feature, at_ms):
            continue
        said = taking.event_facts(live.policy, event, tags, at_ms) if said is None else said
        found, unknown = taking.added(feature, said)
        result.unknown += unknown
        period = windows.tile_ms(feature, at_ms, zone) if isinstance(feature.window, Calendar) else 0
        for key, value in found:
            result.added.append((number, person.profile_id, key, at_ms, period, *_columns(feature, value)))


def _columns(feature: Feature, value: Any) -> tuple[int | None, float | None, str | None, str | None]:
    """A kept value by the column of its kind: `whole`, `number`, `text`, and `rank` that settles what is as old."""
    kind = feature.kind
    if kind in ("sum", "mean"):
        return value, None, None, None
    if kind in ("min", "max", "decayed"):
        return None, value, None, None
    if kind == "distinct":
        return None, None, format(value, "x"), None
    if kind in ("last", "first"):
        return None, None, None if feature.argument == "event.at" else json.dumps(value), repr(value)
    if kind == "recent":
        return None, None, value[0], None
    return None, None, value if kind == "top" else None, None


def starts(live: Live, zones: dict[str, Any], as_of_ms: int) -> pa.Table:
    """Where the window of each feature begins, by zone, and how long a rate's has been."""
    rows = [(number, name, windows.start_ms(one, as_of_ms, zone), _length_ms(one, as_of_ms, zone))
            for name, zone in zones.items() for number, one in enumerate(declared(live))
            if one.layout is not Layout.NONE]
    return table(rows, STARTS)


def _length_ms(feature: Feature, as_of_ms: int, zone: Any) -> int:
    if feature.kind != "rate":
        return 1
    return windows.length_ms(feature, windows.start_ms(feature, as_of_ms, zone), as_of_ms)


def table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    """Rows as an Arrow table."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.table([pa.array(column, part.type) for column, part in zip(columns, schema, strict=True)], schema=schema)


def reaches_back_to(live: Live, as_of_ms: int) -> dict[str, int | None]:
    """The earliest moment that counts for each feature, in UTC; None: everything that ever happened."""
    found: dict[str, int | None] = {}
    for one in declared(live):
        rolling = isinstance(one.window, Rolling | Calendar | Pause | Between) or one.kind == "decayed"
        if one.layout is not Layout.NONE:
            found[one.id] = windows.start_ms(one, as_of_ms, UTC) if rolling else None
    for one in declared(live):
        parts = [found[part] for part in one.parts]
        if parts:
            known = [part for part in parts if part is not None]
            found[one.id] = min(known) if len(known) == len(parts) else None
    return found
