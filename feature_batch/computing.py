"""Values of every feature as of a moment, some profiles at a time: prepared rows in, Arrow tables out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import duckdb
import pyarrow as pa

from feature_batch.preparing import ADDED, KNOWN, Arrival, Prepared, declared, prepared, starts, table
from feature_batch.statements import statement
from pipeline.core.decide.live import Live

#: Profiles whose rows are in memory at once, and what DuckDB may take for them.
PROFILES_MAX: Final = 5_000
MEMORY_LIMIT: Final = "1GB"
_THREADS: Final = 2


@dataclass(slots=True)
class Tally:
    """What was read: events, repeats of them, those without consent, values that could not be worked out."""

    profiles: int = 0
    events: int = 0
    repeated: int = 0
    left_out: int = 0
    unknown: int = 0
    #: Values that are known, by feature.
    values: dict[str, int] = field(default_factory=dict)

    def add(self, part: Prepared) -> None:
        """Count one part."""
        self.profiles += len(part.known)
        self.events += part.events
        self.repeated += part.repeated
        self.left_out += part.left_out
        self.unknown += part.unknown


def computed(
    arrivals: Iterable[Arrival], live: Live, as_of_ms: int, tally: Tally, profiles_max: int = PROFILES_MAX
) -> Iterator[dict[str, pa.Table]]:
    """Tables by feature, each of `profile`, `key` and `value`, of at most so many profiles at a time.

    :param arrivals: by profile, and of each by the time they were received.
    :param as_of_ms: the moment that the values are of (epoch ms).
    :param tally: counts, in place, what was read.
    """
    for part in prepared(arrivals, live, as_of_ms, profiles_max):
        tally.add(part)
        if part.known:
            found = _values(part, live, as_of_ms)
            for name, one in found.items():
                known = len(one) - one.column("value").null_count
                tally.values[name] = tally.values.get(name, 0) + known
            yield found


def _values(part: Prepared, live: Live, as_of_ms: int) -> dict[str, pa.Table]:
    policy = live.policy
    numbers = {one.id: number for number, one in enumerate(declared(live))}
    with duckdb.connect(":memory:", config={"memory_limit": MEMORY_LIMIT, "threads": _THREADS}) as connection:
        connection.register("added", table(part.added, ADDED))
        connection.register("known", table(list(part.known), KNOWN))
        connection.register("starts", starts(live, part.zones, as_of_ms))
        return {one.id: connection.sql(statement(one, numbers, policy.features_by_id, as_of_ms)).to_arrow_table()
                for one in declared(live)}
