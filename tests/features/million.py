"""`python -m tests.features.million [EVENTS] [SEED]`: the engine beside a naive double loop over generated events.

People's events come out of order, twice and late; some of them become one person, and are two again. All is simulated.
Prints how many values were compared, and how many differ.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from pipeline.core.decide.live import Live
from pipeline.core.identity import merge, undo
from pipeline.core.subject import Person
from tests.features.world import (
    CATEGORIES,
    DAY_MS,
    HOUR_MS,
    ITEMS,
    START_MS,
    compared,
    differences,
    heard,
    shop,
    somebody,
)
from tests.support.feature_oracle import Raw

EVENTS_PER_PERSON: Final = 50
LOOKS_PER_PERSON: Final = 2
_KINDS: Final = ("view", "view", "view", "click", "page", "page", "conversion")


def main() -> int:
    """Compare, and say what came of it. Returns 1 where anything differs."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    chance, live, began = random.Random(seed), shop(), time.monotonic()
    sent = values = people = 0
    found: list[str] = []
    while sent < wanted:
        count, wrong, looks = person(chance, live, str(people))
        sent, people, found = sent + count, people + 1, found + wrong
        values += looks * compared(live)
    for one in found[:10]:
        print(one)
    print(f"{sent:,} events (simulated, seed {seed}) of {people:,} pairs of profiles, {len(live.policy.features)} "
          f"features; {values:,} values compared with the naive loop: {len(found)} differ "
          f"({time.monotonic() - began:.0f} s)")
    return 1 if found else 0


def person(chance: random.Random, live: Live, name: str) -> tuple[int, list[str], int]:
    """Two profiles that hear of events, become one for a while, and may be two again: how many events were sent, what
    differs from the naive loop, and how often was compared."""
    sent = [list(events(chance, f"{name}{part}", EVENTS_PER_PERSON // 2)) for part in "ab"]
    flow = sorted((raw for part in sent for raw in part), key=lambda raw: raw.received_ms)
    joins, parts = sorted(chance.sample(range(len(flow)), 2))
    own, other = somebody(f"shop/{name}a"), somebody(f"shop/{name}b")
    brought: Person | None = None
    undo_ms, ends_ms = live.policy.identity.undo_ms, 0
    mine: list[Raw] = []
    theirs: list[Raw] = []
    looks = sorted(chance.sample(range(len(flow)), LOOKS_PER_PERSON))
    found: list[str] = []
    for place, raw in enumerate(flow):
        now_ms = raw.received_ms
        if place == joins:
            brought, own, ends_ms = other, merge.merged(own, other, "joined", now_ms), now_ms + undo_ms
        # Past that time nobody asks an identifier back, and its part is kept together with the rest.
        if place == parts and chance.random() < 0.5 and brought is not None and now_ms < ends_ms:
            own, other, brought = undo.without(own, brought, now_ms, "b"), brought, None
        if brought is not None or raw.subject.endswith("a"):
            own = heard(own, raw, live)
            # A repeat of what the other had brought stays the other's, and goes back with it.
            if brought is None or raw.event_id not in {one.event_id for one in theirs}:
                mine = [*mine, raw]
        else:
            other, theirs = heard(other, raw, live), [*theirs, raw]
        if place in looks:
            now_ms += chance.randrange(3 * DAY_MS if place == looks[-1] else 1)
            whole = tuple(mine) if brought is None else (*mine, *theirs)
            found += differences(own, live, whole, now_ms)
    return len(flow), found, len(looks)


def events(chance: random.Random, subject: str, count: int) -> Iterator[Raw]:
    """Events in bursts, most heard of at once, some late, some from a clock that is ahead, some twice."""
    at_ms = START_MS + chance.randrange(DAY_MS)
    for number in range(count):
        at_ms += int(chance.choice((20_000, 300_000, HOUR_MS, 8 * HOUR_MS, 3 * DAY_MS)) * (1 + chance.random()))
        late_ms = chance.choice((0, 0, 0, 50, HOUR_MS, 2 * DAY_MS, -HOUR_MS))
        kind = chance.choice(_KINDS)
        properties: dict[str, Any] = {"category": chance.choice(CATEGORIES)} if chance.random() < 0.9 else {}
        if kind == "conversion" and chance.random() < 0.8:
            properties["amount"] = chance.choice((10.0, 50.0, 99.5))
        item = chance.choice(tuple(ITEMS))
        raw = Raw(f"{subject}-{number}", subject, kind, at_ms, at_ms + late_ms, item,
                  round(chance.uniform(1, 200), 2) if kind == "conversion" else None, properties, ITEMS[item])
        yield raw
        if chance.random() < 0.05:
            yield Raw(raw.event_id, subject, kind, at_ms, raw.received_ms + chance.randrange(DAY_MS), item, raw.value,
                      properties, raw.tags)


if __name__ == "__main__":
    raise SystemExit(main())
