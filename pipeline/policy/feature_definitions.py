"""How a policy file writes features: what is counted, of which events, over which window, and for what."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from pipeline.core.sections.sessions import GAP_MS
from pipeline.policy.event_definitions import MatcherDefinition
from pipeline.policy.limit_definitions import WindowDefinition
from pipeline.policy.values import Definition, Doc, Moment, Name, Span

_KINDS: Final = ("count", "rate", "recency", "sum", "mean", "min", "max", "last", "first", "distinct", "recent", "top",
                 "decayed", "ratio")
#: Kinds that can keep single moments.
_MOMENTS: Final = ("count", "sum", "mean", "min", "max", "rate")
#: By field: the kinds that use it.
_USED_BY: Final[dict[str, tuple[str, ...]]] = {
    "half_life_ms": ("decayed",), "each_ms": ("rate",), "parts": ("ratio",), "least": ("ratio",), "most": ("top",),
}


class FeatureWindowDefinition(Definition):
    """`7d` (rolling), `ever`, `session`, `{session: 45m}`, `{calendar: month, zone: subject}`, or
    `{from: 2026-01-01T00:00:00Z, until: …}`."""

    counted: WindowDefinition | None = None
    gap_ms: Annotated[Span | None, Field(alias="session")] = None
    from_ms: Annotated[Moment | None, Field(alias="from")] = None
    until_ms: Annotated[Moment | None, Field(alias="until")] = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if value == "session":
            return {"session": "30m"}
        if value == "ever":
            return {"counted": "lifetime"}
        if isinstance(value, str):
            return {"counted": value}
        if isinstance(value, dict) and "calendar" in value:
            return {"counted": value}
        if isinstance(value, dict) and len({"session", "from"} & value.keys()) == 1 and value.keys() <= {
                "session", "from", "until"}:
            return value
        raise ValueError("write a window as 7d, ever, session, {session: 45m}, {calendar: day}, or {from: …, until: …}")

    @model_validator(mode="after")
    def _in_order(self) -> FeatureWindowDefinition:
        if self.from_ms is not None and self.until_ms is not None and self.until_ms <= self.from_ms:
            raise ValueError("`until` is not after `from`: nothing would ever count")
        if self.gap_ms is not None and (self.until_ms is not None or not 60_000 <= self.gap_ms <= 8 * GAP_MS):
            raise ValueError("the pause that ends a session is from 1m to 4h, and nothing stands beside it")
        return self

    def body(self) -> dict[str, Any]:
        """As a release's body has it; see `pipeline.core.release.features`."""
        if self.counted is not None:
            return self.counted.body()
        if self.gap_ms is not None:
            return {"kind": "pause", "gap_ms": self.gap_ms}
        until = {} if self.until_ms is None else {"until_ms": self.until_ms}
        return {"kind": "between", "from_ms": self.from_ms, **until}


class FeatureDefinition(Definition):
    """Exactly one kind. `count`, `rate` and `recency` say which events they are about; the others what of an event,
    and `of` which events."""

    count: MatcherDefinition | None = None
    rate: MatcherDefinition | None = None
    recency: MatcherDefinition | None = None
    sum: str | None = None
    mean: str | None = None
    min: str | None = None
    max: str | None = None
    last: str | None = None
    first: str | None = None
    distinct: str | None = None
    recent: str | None = None
    top: str | None = None
    decayed: float | int | str | None = None
    parts: Annotated[list[Name] | None, Field(alias="ratio", min_length=2, max_length=2)] = None
    of: MatcherDefinition | None = None
    where: str | None = None
    window: FeatureWindowDefinition | None = None
    per: Literal["item", "tag"] | None = None
    keep: Annotated[int | None, Field(ge=1, le=1_000)] = None
    keys: Annotated[int | None, Field(ge=1, le=200)] = None
    most: Annotated[int | None, Field(ge=1, le=20)] = None
    half_life_ms: Annotated[Span | None, Field(alias="half_life")] = None
    each_ms: Annotated[Span | None, Field(alias="each")] = None
    least: Annotated[float | int | None, Field(gt=0)] = None
    sensitivity: Name | None = None
    #: Computed in batch and loaded; used so long after the moment it is of.
    fresh_for_ms: Annotated[Span | None, Field(alias="fresh_for", gt=0)] = None
    #: From when on every event is known, although the feature is newer: history was filled in.
    since_ms: Annotated[Moment | None, Field(alias="since")] = None
    doc: Doc = ""

    @property
    def kind(self) -> str:
        """The one kind that it is."""
        return next(iter(self._given()))

    def _given(self) -> dict[str, Any]:
        """What is written of each kind, where something is."""
        said = {
            "count": self.count, "rate": self.rate, "recency": self.recency, "sum": self.sum, "mean": self.mean,
            "min": self.min, "max": self.max, "last": self.last, "first": self.first, "distinct": self.distinct,
            "recent": self.recent, "top": self.top, "decayed": self.decayed, "ratio": self.parts}
        return {name: value for name, value in said.items() if value is not None}

    @model_validator(mode="after")
    def _one_kind(self) -> FeatureDefinition:
        given = self._given()
        if len(given) != 1:
            raise ValueError(f"a feature is exactly one of {', '.join(_KINDS)}")
        [kind] = given
        wrong = self._not_beside(kind)
        if wrong:
            raise ValueError(wrong)
        for field, kinds in _USED_BY.items():
            if getattr(self, field) is not None and kind not in kinds:
                alias = FeatureDefinition.model_fields[field].alias or field
                raise ValueError(f"only {' and '.join(kinds)} has `{alias}`")
        return self

    def _not_beside(self, kind: str) -> str:
        """What does not go together; "": all of it does."""
        if kind in ("count", "rate", "recency") and self.of is not None:
            return f"{kind} names its events itself: leave `of` out"
        if kind == "ratio" and (self.of or self.where or self.window):
            return "a ratio is of two features: of, where and window are theirs"
        if kind == "decayed" and self.half_life_ms is None:
            return "what decays has a half_life, as half_life: 3d"
        if self.keys is not None and self.per is None:
            return "`keys` is how many items or tags are kept: say per which"
        if self.keep is not None and kind != "recent" and not (kind in _MOMENTS and self._exact()):
            return f"`keep` is how many events {', '.join(_MOMENTS)} over a rolling window or a session keep"
        return ""

    def _exact(self) -> bool:
        window = self.window
        return window is not None and (window.gap_ms is not None or (
            window.counted is not None and window.counted.rolling_ms is not None))

    def body(self) -> dict[str, Any]:
        """As a release's body has it; see `pipeline.core.release.features`."""
        kind = self.kind
        given = self._given()[kind]
        matcher = given if isinstance(given, MatcherDefinition) else self.of
        result: dict[str, Any] = {"kind": kind}
        if matcher is not None:
            result["matcher"] = matcher.model_dump(mode="json", exclude_defaults=True)
        if isinstance(given, str):
            result["argument"] = given
        elif isinstance(given, int | float):
            result["constant"] = float(given)
        if self.window is not None:
            result["window"] = self.window.body()
        plain = ("where", "per", "keep", "keys", "most", "half_life_ms", "each_ms", "parts", "least", "sensitivity",
                 "since_ms", "fresh_for_ms")
        return result | {name: value for name in plain if (value := getattr(self, name)) is not None}
