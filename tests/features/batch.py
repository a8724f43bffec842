"""`python -m tests.features.batch [EVENTS] [SEED]`: stream, SQL and a naive loop over the same generated events.

People's events come out of order, twice and late; some of them become one person. All is simulated. Prints how many
values were compared as of one moment each, and how many differ.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from feature_batch.computing import Tally, computed
from feature_batch.preparing import Arrival
from pipeline.core.decide.live import Live
from pipeline.core.identity import merge
from pipeline.core.model.records import FeedbackEvent, FeedbackKind, IdentityEvent, IdentityKind
from pipeline.core.subject import Person
from tests.core.build import agreed
from tests.features.million import EVENTS_PER_PERSON, events
from tests.features.world import DAY_MS, ZONE, compared, heard, keys, oracle, reader, same, shop, somebody
from tests.support.feature_oracle import Raw

#: People whose values are compared at once.
_AT_ONCE: Final = 1_000


@dataclass(slots=True)
class People:
    """Some people at one moment: as the stream keeps them, and what arrived of each."""

    now_ms: int
    kept: dict[str, Person] = field(default_factory=dict)
    raw: dict[str, list[Raw]] = field(default_factory=dict)

    def arrivals(self) -> Iterator[Arrival]:
        """As a log has them, by profile and arrival: who they are and what they allow first."""
        for name in sorted(self.raw):
            consent = list(agreed(Person(profile_id=name)).consent.values())
            yield Arrival(name, 1, IdentityEvent(f"{name}-is", name, IdentityKind.CONSENT, 1, {"zone": ZONE}, consent))
            for raw in self.raw[name]:
                yield Arrival(name, raw.received_ms, FeedbackEvent(
                    raw.event_id, name, FeedbackKind(raw.kind), raw.at_ms, raw.kind, raw.item, "d", value=raw.value,
                    properties=dict(raw.properties)))


def main() -> int:
    """Compare, and say what came of it. Returns 1 where anything differs."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    chance, live, began = random.Random(seed), shop(), time.monotonic()
    sent = values = 0
    found: list[str] = []
    while sent < wanted:
        some = people(chance, live, f"{sent}-", min(_AT_ONCE, (wanted - sent) // EVENTS_PER_PERSON + 1))
        sent += sum(map(len, some.raw.values()))
        found += differences(some, live)
        values += len(some.raw) * compared(live)
    for one in found[:10]:
        print(one)
    print(f"{sent:,} events (simulated, seed {seed}), {len(live.policy.features)} features; {values:,} values of the "
          f"stream, of SQL and of the naive loop: {len(found)} differ ({time.monotonic() - began:.0f} s)")
    return 1 if found else 0


def people(chance: random.Random, live: Live, prefix: str, count: int, each: int = EVENTS_PER_PERSON) -> People:
    """So many people, of whom every second one is two profiles that became one, at a moment in the midst of it all."""
    flows: dict[str, list[Raw]] = {}
    for number in range(count):
        name = f"shop/{prefix}{number}"
        parts = "ab" if number % 2 else "a"
        sent = [raw for part in parts for raw in events(chance, f"{name}{part}", each // len(parts))]
        flows[name] = sorted(sent, key=lambda raw: raw.received_ms)
    arrived = sorted(raw.received_ms for flow in flows.values() for raw in flow)
    result = People(arrived[-1 - chance.randrange(max(1, len(arrived) // 8))] + chance.randrange(DAY_MS))
    for name, flow in flows.items():
        seen = [raw for raw in flow if raw.received_ms <= result.now_ms]
        joins = chance.randrange(len(seen) + 1)
        own, other, joined = somebody(name), somebody(f"{name}b"), False
        for place, raw in enumerate(seen):
            if place >= joins and not joined:
                own, joined = merge.merged(own, other, "joined", raw.received_ms), True
            if joined or raw.subject.endswith("a"):
                own = heard(own, raw, live)
            else:
                other = heard(other, raw, live)
        result.kept[name] = own if joined else merge.merged(own, other, "joined", result.now_ms)
        # The log goes on past the moment: what arrived later must not count.
        result.raw[name] = flow
    return result


def differences(some: People, live: Live, profiles_max: int = 300) -> list[str]:
    """Every value in which SQL differs from the stream, or the stream from the naive loop, in words."""
    batch: dict[tuple[str, str, str], Any] = {}
    for part in computed(some.arrivals(), live, some.now_ms, Tally(), profiles_max):
        for name, rows in part.items():
            for row in rows.to_pylist():
                batch[name, row["profile"], row["key"]] = row["value"]
    found = []
    for profile, person in some.kept.items():
        reading, naive = reader(person, live, some.now_ms), oracle(live, tuple(some.raw[profile]))
        for feature in live.policy.features:
            for key in keys(feature.per):
                stream, expected = reading.value(feature, key), naive.value(feature.id, some.now_ms, key)
                nothing = {"count": 0, "sum": 0.0, "decayed": 0.0}.get(feature.kind) if key else None
                sql = as_rules_see(feature.type, batch.get((feature.id, profile, key), nothing))
                if not same(stream, expected, feature.kind):
                    found.append(f"{feature.id}[{key}] of {profile}: stream {stream!r}, naive {expected!r}")
                if not same(sql, expected, feature.kind):
                    found.append(f"{feature.id}[{key}] of {profile}: SQL {sql!r}, naive {expected!r}")
    return found


def as_rules_see(type_: str, value: Any) -> Any:
    """A value of a column as the type of rules."""
    if value is None:
        return None
    if type_ == "duration":
        return timedelta(milliseconds=value)
    if type_ == "timestamp":
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=value)
    return tuple(value) if type_ == "list(string)" else value


if __name__ == "__main__":
    raise SystemExit(main())
