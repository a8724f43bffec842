"""Features as a release declares them, compiled: a plain and complete description that stream and batch both read."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Final, Literal

from pipeline.core.model.matcher import Matcher
from pipeline.core.model.moments import DAY_MS
from pipeline.core.model.windows import Calendar, Lifetime, Rolling
from pipeline.core.rules.rule import Rule

Kind = Literal["count", "sum", "mean", "min", "max", "last", "first", "distinct", "rate", "recency", "decayed", "top",
               "recent", "ratio"]
Per = Literal["subject", "item", "tag"]

HOUR_MS: Final = 3_600_000
#: Bytes that the features of one subject may take together; `policy check` refuses a release that may need more.
FEATURES_BYTES_MAX: Final = 131_072
#: Bytes of one text that a feature keeps, in UTF-8; an event with a longer one is not counted.
TEXT_BYTES_MAX: Final = 128
#: A number that is further from nought is not counted.
NUMBER_MAX: Final = 1e9
#: Sums are kept in whole millionths, so that they do not depend on the order of the events.
MILLIONTHS: Final = 1_000_000
#: `distinct` is exact up to so many values, and an estimate past it, from so many registers of so many moments.
DISTINCT_EXACT_MAX: Final = 128
REGISTERS: Final = 128
MOMENTS_PER_REGISTER_MAX: Final = 8
#: `top` is exact up to so many values.
TOP_VALUES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Pause:
    """The window of a session: the events that are counted, back to the last pause of so long between two of them."""

    gap_ms: int
    kind: Literal["pause"] = "pause"


@dataclass(frozen=True, slots=True)
class Between:
    """A fixed window: from a moment on, and before another (epoch ms; None: without end)."""

    from_ms: int
    until_ms: int | None
    kind: Literal["between"] = "between"


Window = Rolling | Calendar | Pause | Between | Lifetime


class Layout(IntEnum):
    """How a feature is kept: aggregates by the start of their tile; single moments; values by when they came last, for
    counting and for listing; counts by value; a decayed sum; nothing at all."""

    CELLS = 0
    MOMENTS = 1
    DISTINCT = 2
    RECENT = 3
    TOP = 4
    DECAYED = 5
    NONE = 6


@dataclass(frozen=True)
class Feature:
    """One declared feature. Lengths of time in milliseconds; what a kind does not use has its default."""

    id: str
    kind: Kind
    #: The type that rules see: a number of events is an int, a list of names a list(string).
    type: str
    #: Where the subject's features keep it: changes with the definition, so that a changed one starts anew.
    key: str
    matcher: Matcher = field(default_factory=Matcher)
    #: The fact of the event that is summed, listed, …; "": `constant` of each event.
    argument: str = ""
    argument_type: str = ""
    constant: float = 1.0
    where: Rule | None = None
    window: Window = field(default_factory=Lifetime)
    per: Per = "subject"
    #: The grain of the window: 0, where single moments are kept.
    tile_ms: int = 0
    #: Moments or values kept at most, and items or tags.
    keep: int = 100
    keys_max: int = 1
    #: top only.
    most: int = 3
    half_life_ms: int = 0
    #: rate only: events per so long.
    each_ms: int = HOUR_MS
    #: ratio only: the ids of what is divided, and by what; unknown while that is less than `least`.
    parts: tuple[str, ...] = ()
    least: float = 1.0
    #: "": may be shown. Else rules may read it, and nobody sees its value.
    sensitivity: str = ""
    #: Since when all of it is counted (epoch ms).
    since_ms: int = 0
    #: Computed in batch and loaded, and used so long after the moment it is of; 0: counted by the worker.
    fresh_for_ms: int = 0

    @cached_property
    def path(self) -> str:
        """Its name in rules."""
        return f"features.{self.id}" if self.per == "subject" else f"candidate.features.{self.id}"

    @cached_property
    def layout(self) -> Layout:
        """How it is kept."""
        fixed = {"ratio": Layout.NONE, "distinct": Layout.DISTINCT, "recent": Layout.RECENT, "top": Layout.TOP,
                 "decayed": Layout.DECAYED}
        if self.kind in fixed:
            return fixed[self.kind]
        exact = isinstance(self.window, Pause) or (isinstance(self.window, Rolling) and not self.tile_ms)
        return Layout.MOMENTS if exact and self.kind not in ("last", "first", "recency") else Layout.CELLS

    @cached_property
    def tiles_max(self) -> int:
        """How many tiles its window has at most."""
        if isinstance(self.window, Rolling) and self.tile_ms:
            return self.window.length_ms // self.tile_ms + 2
        return 2 if isinstance(self.window, Calendar) else 1

    @property
    def bytes_max(self) -> int:
        """Bytes that one subject's value takes at most, what merges brought apart."""
        number = {"count": 9, "rate": 9, "sum": 19, "mean": 19, "min": 9, "max": 9, "recency": 11}.get(
            self.kind, TEXT_BYTES_MAX + 12)
        body = {
            Layout.CELLS: self.tiles_max * (9 + number), Layout.MOMENTS: 12 + self.keep * 20,
            Layout.DISTINCT: 6 + max(DISTINCT_EXACT_MAX * 18, REGISTERS * (3 + MOMENTS_PER_REGISTER_MAX * 11)),
            Layout.RECENT: 3 + self.keep * (TEXT_BYTES_MAX + 22), Layout.DECAYED: 19, Layout.NONE: 0,
            Layout.TOP: 3 + TOP_VALUES_MAX * (TEXT_BYTES_MAX + 5 + self.tiles_max * 14),
        }[self.layout]
        if self.layout is Layout.NONE:
            return 0
        names = 2 if self.per == "subject" else TEXT_BYTES_MAX + 2
        return len(self.key.encode()) + 45 + self.keys_max * (names + 19 + body)

    @property
    def rounding(self) -> str:
        """How far its value may be from the exact one, in words."""
        if self.layout is Layout.DISTINCT:
            return f"exact up to {DISTINCT_EXACT_MAX} values, past it an estimate (standard error 9.2 %)"
        if self.layout is Layout.MOMENTS:
            return f"exact, unknown past {self.keep} events"
        said = "exact"
        if self.tile_ms and self.layout in (Layout.CELLS, Layout.TOP) and self.kind not in ("last", "recency"):
            said = f"back to the start of a {'day' if self.tile_ms == DAY_MS else 'hour'} (UTC)"
        return said if self.layout is not Layout.TOP else f"{said}; an estimate past {TOP_VALUES_MAX} values"
