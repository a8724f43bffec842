"""Counters of caps, and the suppressions that outcomes brought."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from pipeline.core.model.values import Value, value_field
from pipeline.core.sections.mappings import combined, only
from pipeline.core.sections.section import Section
from pipeline.core.sections.timestamps import TIMESTAMPS_MAX, minus, newest

if TYPE_CHECKING:
    from pipeline.core.decide.footprint import View
    from pipeline.core.identity.merge import Merging
    from pipeline.core.identity.undo import Undoing


class Counter(Value, frozen=True, omit_defaults=True):
    """What one cap has counted for one thing: the newest timestamps, never more than its limit needs."""

    #: Ascending, epoch ms.
    times: tuple[int, ...] = ()
    #: Counted over the whole life; windows read `times`.
    total: int = 0
    #: Reservations by decisions whose event has not come yet, by `caps.holder` → given back at (epoch ms); some that
    #: were given back are kept for late events.
    held: dict[str, int] = value_field(default_factory=dict)


def merged(a: Mapping[str, Counter], b: Mapping[str, Counter]) -> dict[str, Counter]:
    """Both sides' counters added up."""
    return combined(a, b, lambda own, other: Counter(
        newest(own.times, other.times), own.total + other.total, {**own.held, **other.held}))


def _merge(own: dict[str, Counter], given: dict[str, Counter], _: Merging) -> dict[str, Counter]:
    return merged(own, given)


def _subtract(
    own: dict[str, Counter], given: dict[str, Counter], _: dict[str, Counter], __: Undoing
) -> dict[str, Counter]:
    left = {key: _less(counter, given[key]) if key in given else counter for key, counter in own.items()}
    return {key: one for key, one in left.items() if key not in given or one.total or one.held or one.times}


def _less(mine: Counter, other: Counter) -> Counter:
    # Where timestamps were forgotten, those that are left may be too few: then none goes.
    full = len(mine.times) >= TIMESTAMPS_MAX
    return Counter(mine.times if full else minus(mine.times, other.times), max(0, mine.total - other.total),
                   {name: until for name, until in mine.held.items() if name not in other.held})


def _read(own: dict[str, Counter], view: View) -> dict[str, Counter]:
    return only(own, view.footprint.counters)


def _merge_suppressions(own: dict[str, int], given: dict[str, int], _: Merging) -> dict[str, int]:
    return combined(own, given, max)


def _read_suppressions(own: dict[str, int], view: View) -> dict[str, int]:
    return only(own, view.footprint.suppressions)


COUNTERS: Final[Section[dict[str, Counter]]] = Section({}, _merge, subtract=_subtract, read=_read, counts=True)
#: Suppression key → until (epoch ms).
SUPPRESSIONS: Final[Section[dict[str, int]]] = Section(
    {}, _merge_suppressions, read=_read_suppressions, counts=True)
