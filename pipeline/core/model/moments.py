"""Moments, and what clocks in a zone show at them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
DAY_MS: Final = 86_400_000


def moment(at_ms: int) -> datetime:
    """Epoch milliseconds as a moment in UTC, exactly."""
    return EPOCH + timedelta(milliseconds=at_ms)


def millis(at: datetime) -> int:
    """A moment as epoch milliseconds (rounded down)."""
    return (at - EPOCH) // timedelta(milliseconds=1)


def local_time_ms(day: date, minute: int, zone: tzinfo, after_ms: int) -> int:
    """The next moment after `after_ms` at which clocks in the zone reach that minute of the day, from `day` on."""
    for ahead in range(3):
        here = datetime.combine(day + timedelta(days=ahead), time(minute // 60 % 24, minute % 60), zone)
        # Where clocks go back they may reach it twice; where they go forward, both readings are past the gap or before.
        for at_ms in sorted(millis(here.replace(fold=fold).astimezone(UTC)) for fold in (0, 1)):
            if at_ms > after_ms:
                return at_ms
    return after_ms + DAY_MS


def midnight(day: datetime, zone: tzinfo) -> int:
    """The first instant of a local day (naive): where a change of clocks skips midnight, the first one that exists."""
    return millis(day.replace(tzinfo=zone, fold=0).astimezone(UTC)) if zone is UTC else _first_instant(day, zone)


def _first_instant(day: datetime, zone: tzinfo) -> int:
    at = day.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) != day:
        # A gap: fold=0 took the offset before it, so this instant lies after the change, on the same local day.
        later = day.replace(tzinfo=zone, fold=1).astimezone(UTC)
        at = _change_between(later, at, day, zone)
    return millis(at)


def _change_between(low: datetime, high: datetime, day: datetime, zone: tzinfo) -> datetime:
    """The first second in (low, high] whose local date is the day's: found by halving."""
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        middle = middle.replace(microsecond=0)
        if middle.astimezone(zone).date() < day.date():
            low = middle
        else:
            high = middle
    return high
