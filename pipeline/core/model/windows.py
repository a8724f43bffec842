"""The windows that a cap counts in: each kind says when it began, when it ends, and what it is called.

A kind is one class here, and how a policy file writes it (`pipeline.policy.limit_definitions.WindowDefinition`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, ClassVar, Final, Literal

from pipeline.core.model.moments import DAY_MS, midnight, millis, moment

Unit = Literal["minute", "hour", "day", "week", "month"]

#: A session without a pause ends after a day: whoever never pauses is no visitor, and what counts must have an end.
SESSION_MS_MAX: Final = DAY_MS

_MINUTE_MS: Final = 60_000
_QUARTER_MS: Final = 900_000
#: Never shorter than the calendar unit, changes of clocks and of zone included.
_UNIT_MS: Final = {
    "minute": _MINUTE_MS, "hour": 2 * 3_600_000, "day": 3 * DAY_MS, "week": 9 * DAY_MS, "month": 33 * DAY_MS,
}
_ALWAYS_MS: Final = 2**62


class Window(ABC):
    """How far back a cap looks. Times are epoch milliseconds; `session_ms`: when the session began; `pause_ms`: what
    ends one."""

    kind: ClassVar[str]
    #: Whether what was counted may ever stop counting; else the number is kept, without times.
    forgets: ClassVar[bool] = True
    #: Whether each channel has its own.
    by_channel: ClassVar[bool] = False
    #: Whether when it ends depends on where the clocks stand.
    by_clock: ClassVar[bool] = False
    #: Whether these are the subject's clocks.
    local: bool = False

    @abstractmethod
    def start_ms(self, now_ms: int, zone: tzinfo, session_ms: int = 0) -> int:
        """The first millisecond that counts."""

    @abstractmethod
    def end_ms(self, now_ms: int, zone: tzinfo, pause_ms: int) -> int | None:
        """When what is counted now stops counting, if nothing more happens; None: never."""

    def frees(self, times: Sequence[int], now_ms: int, zone: tzinfo) -> list[int]:
        """Of what counts now, when each stops counting, where it does so one after the other."""
        return []

    def all_free_ms(self, now_ms: int, pause_ms: int) -> int | None:
        """When all that counts now stops counting, where it does so at once, if nothing more happens."""
        return None

    @property
    @abstractmethod
    def look_back_ms(self) -> int:
        """No shorter than the window, wherever it stands."""

    @abstractmethod
    def phrase(self, scope: str) -> str:
        """As an explanation says it."""


@dataclass(frozen=True, slots=True)
class Rolling(Window):
    """The last so many milliseconds. A window of a day ends exactly a day later."""

    kind: ClassVar[str] = "rolling"
    length_ms: int

    def start_ms(self, now_ms: int, zone: tzinfo, session_ms: int = 0) -> int:
        return now_ms - self.length_ms + 1

    def end_ms(self, now_ms: int, zone: tzinfo, pause_ms: int) -> int | None:
        return now_ms + self.length_ms

    def frees(self, times: Sequence[int], now_ms: int, zone: tzinfo) -> list[int]:
        return [at + self.length_ms for at in times if at + self.length_ms > now_ms]

    @property
    def look_back_ms(self) -> int:
        return self.length_ms

    def phrase(self, scope: str) -> str:
        return f"in {span(self.length_ms)}"


@dataclass(frozen=True, slots=True)
class Calendar(Window):
    """So many calendar units, in UTC or the subject's zone."""

    kind: ClassVar[str] = "calendar"
    by_clock: ClassVar[bool] = True
    unit: Unit = "day"
    count: int = 1
    local: bool = False
    #: ISO weekday on which a calendar week starts (1 Monday … 7 Sunday).
    week_start: int = 1

    def start_ms(self, now_ms: int, zone: tzinfo, session_ms: int = 0) -> int:
        return bounds(self, now_ms, zone)[0]

    def end_ms(self, now_ms: int, zone: tzinfo, pause_ms: int) -> int | None:
        return bounds(self, now_ms, zone)[1]

    def frees(self, times: Sequence[int], now_ms: int, zone: tzinfo) -> list[int]:
        start, end = bounds(self, now_ms, zone)
        return [end for at in times if at >= start]

    @property
    def look_back_ms(self) -> int:
        return _UNIT_MS[self.unit] * self.count

    def phrase(self, scope: str) -> str:
        every = f"{self.count} {self.unit}s" if self.count > 1 else self.unit
        return f"per calendar {every} ({'subject zone' if self.local else 'UTC'})"


@dataclass(frozen=True, slots=True)
class Session(Window):
    """The session on the channel."""

    kind: ClassVar[str] = "session"
    by_channel: ClassVar[bool] = True

    def start_ms(self, now_ms: int, zone: tzinfo, session_ms: int = 0) -> int:
        return session_ms

    def end_ms(self, now_ms: int, zone: tzinfo, pause_ms: int) -> int | None:
        return now_ms + pause_ms

    def all_free_ms(self, now_ms: int, pause_ms: int) -> int | None:
        return now_ms + pause_ms

    @property
    def look_back_ms(self) -> int:
        return SESSION_MS_MAX

    def phrase(self, scope: str) -> str:
        return "" if scope == "session" else "in a session"


@dataclass(frozen=True, slots=True)
class Lifetime(Window):
    """All time."""

    kind: ClassVar[str] = "lifetime"
    forgets: ClassVar[bool] = False

    def start_ms(self, now_ms: int, zone: tzinfo, session_ms: int = 0) -> int:
        return -_ALWAYS_MS

    def end_ms(self, now_ms: int, zone: tzinfo, pause_ms: int) -> int | None:
        return None

    @property
    def look_back_ms(self) -> int:
        return _ALWAYS_MS

    def phrase(self, scope: str) -> str:
        return "ever"


KINDS: Final[dict[str, type[Window]]] = {one.kind: one for one in (Rolling, Calendar, Session, Lifetime)}


def window_of(body: Mapping[str, Any]) -> Window:
    """The window that a release's body says: its kind, and the fields of that kind."""
    fields = dict(body)
    return KINDS[fields.pop("kind")](**fields)


def span(length_ms: int) -> str:
    """A length of time as a marketer writes it."""
    for unit, size in (("d", DAY_MS), ("h", 3_600_000), ("m", _MINUTE_MS), ("s", 1_000)):
        if length_ms % size == 0:
            return f"{length_ms // size}{unit}"
    return f"{length_ms}ms"


def bounds(window: Calendar, now_ms: int, zone: tzinfo) -> tuple[int, int]:
    """A calendar window's first millisecond and the first one after it.

    Several units (every 2 weeks) are counted from 1 January 1970, weeks from their declared first day.
    """
    about = _bounds_about(window, now_ms // _QUARTER_MS, zone)
    return about if about[0] <= now_ms < about[1] else _bounds(window, now_ms, zone)


@lru_cache(maxsize=8_192)
def _bounds_about(window: Calendar, quarter: int, zone: tzinfo) -> tuple[int, int]:
    """The window at the start of a quarter of an hour: nearly always the one of every moment in it."""
    return _bounds(window, quarter * _QUARTER_MS, zone)


def _bounds(window: Calendar, now_ms: int, zone: tzinfo) -> tuple[int, int]:
    local = UTC if not window.local else zone
    if window.unit == "minute":
        length = window.count * _MINUTE_MS
        begin = now_ms // length * length
        return begin, begin + length
    here = moment(now_ms).astimezone(local)
    if window.unit == "hour":
        return _hours(window, here)
    first, after = _dates(window, here)
    return midnight(first, local), midnight(after, local)


def _hours(window: Calendar, here: datetime) -> tuple[int, int]:
    """Clock hours by the zone's present offset: the hour that a change of clocks repeats is two windows."""
    offset = here.utcoffset() or timedelta(0)
    naive = here.replace(tzinfo=None)
    begin = naive.replace(minute=0, second=0, microsecond=0)
    begin -= timedelta(hours=int((begin - datetime(1970, 1, 1)) / timedelta(hours=1)) % window.count)  # noqa: DTZ001
    begin_ms = millis(begin.replace(tzinfo=UTC) - offset)
    return begin_ms, begin_ms + window.count * 60 * _MINUTE_MS


def _dates(window: Calendar, here: datetime) -> tuple[datetime, datetime]:
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
