"""When a window began and when it ends: rolling, calendar in UTC or the subject's zone, lifetime."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Final

from pipeline.core.model.definitions import Window

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 86_400_000
_QUARTER_MS: Final = 900_000


def moment(at_ms: int) -> datetime:
    """Epoch milliseconds as a moment in UTC, exactly."""
    return EPOCH + timedelta(milliseconds=at_ms)


def millis(at: datetime) -> int:
    """A moment as epoch milliseconds (rounded down)."""
    return (at - EPOCH) // timedelta(milliseconds=1)


def start_ms(window: Window, now_ms: int, zone: tzinfo, session_ms: int = 0) -> int:
    """The first millisecond that counts. A rolling window of a day ends exactly a day later. `session_ms`: when the
    session began."""
    if window.kind == "lifetime":
        return -(2**62)
    if window.kind == "session":
        return session_ms
    if window.kind == "rolling":
        return now_ms - window.length_ms + 1
    return bounds(window, now_ms, zone)[0]


def bounds(window: Window, now_ms: int, zone: tzinfo) -> tuple[int, int]:
    """A calendar window's first millisecond and the first one after it.

    Several units (every 2 weeks) are counted from 1 January 1970, weeks from their declared first day.
    """
    about = _bounds_about(window, now_ms // _QUARTER_MS, zone)
    return about if about[0] <= now_ms < about[1] else _bounds(window, now_ms, zone)


@lru_cache(maxsize=8_192)
def _bounds_about(window: Window, quarter: int, zone: tzinfo) -> tuple[int, int]:
    """The window at the start of a quarter of an hour: nearly always the one of every moment in it."""
    return _bounds(window, quarter * _QUARTER_MS, zone)


def _bounds(window: Window, now_ms: int, zone: tzinfo) -> tuple[int, int]:
    local = UTC if not window.local else zone
    if window.unit == "minute":
        length = window.count * _MINUTE_MS
        begin = now_ms // length * length
        return begin, begin + length
    here = moment(now_ms).astimezone(local)
    if window.unit == "hour":
        return _hours(window, here)
    first, after = _dates(window, here)
    return _midnight(first, local), _midnight(after, local)


def _hours(window: Window, here: datetime) -> tuple[int, int]:
    """Clock hours by the zone's present offset: the hour that a change of clocks repeats is two windows."""
    offset = here.utcoffset() or timedelta(0)
    naive = here.replace(tzinfo=None)
    begin = naive.replace(minute=0, second=0, microsecond=0)
    begin -= timedelta(hours=int((begin - datetime(1970, 1, 1)) / timedelta(hours=1)) % window.count)  # noqa: DTZ001
    begin_ms = millis(begin.replace(tzinfo=UTC) - offset)
    return begin_ms, begin_ms + window.count * 60 * _MINUTE_MS


def _dates(window: Window, here: datetime) -> tuple[datetime, datetime]:
    day = datetime(here.year, here.month, here.day)  # noqa: DTZ001
    count = window.count
    if window.unit == "month":
        months = (here.year * 12 + here.month - 1) // count * count if count > 1 else here.year * 12 + here.month - 1
        return _month(months), _month(months + count)
    days = (day - datetime(1970, 1, 1)).days  # noqa: DTZ001
    if window.unit == "week":
        # 1 January 1970 was a Thursday (ISO weekday 4).
        since = (days + 4 - window.week_start) % (7 * count)
        return day - timedelta(days=since), day + timedelta(days=7 * count - since)
    since = days % count
    return day - timedelta(days=since), day + timedelta(days=count - since)


def _month(months: int) -> datetime:
    return datetime(months // 12, months % 12 + 1, 1)  # noqa: DTZ001


def _midnight(day: datetime, zone: tzinfo) -> int:
    """The first instant of a local day: where a change of clocks skips midnight, the first one that exists."""
    return millis(day.replace(tzinfo=zone, fold=0).astimezone(UTC)) if zone is UTC else _first_instant(day, zone)


def local_time_ms(day: date, minute: int, zone: tzinfo, after_ms: int) -> int:
    """The next moment after `after_ms` at which clocks in the zone reach that minute of the day, from `day` on."""
    for ahead in range(3):
        here = datetime.combine(day + timedelta(days=ahead), time(minute // 60 % 24, minute % 60), zone)
        # Where clocks go back they may reach it twice; where they go forward, both readings are past the gap or before.
        for at_ms in sorted(millis(here.replace(fold=fold).astimezone(UTC)) for fold in (0, 1)):
            if at_ms > after_ms:
                return at_ms
    return after_ms + _DAY_MS


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
