"""How a policy file writes how often: caps with their windows, suppressions, and what each is about; and which events
are meant."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline.core.model import windows
from pipeline.policy.values import WEEKDAYS, Counted, Definition, Doc, Outcome, Some, SomeTags, Span, span_ms


class WindowDefinition(Definition):
    """`7d` (rolling), `session`, `lifetime`, or calendar units: `{calendar: day, zone: subject}`."""

    rolling_ms: int | None = None
    session: bool = False
    lifetime: bool = False
    calendar: windows.Unit | None = None
    every: int = Field(1, ge=1, le=366)
    zone: Literal["utc", "subject"] = "utc"
    week_start: Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"] = "monday"

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if value in ("lifetime", "session"):
            return {value: True}
        if isinstance(value, str):
            length_ms = span_ms(value)
            if length_ms == 0:
                raise ValueError(f"{value!r} is no window: nothing ever counts in it")
            return {"rolling_ms": length_ms}
        if isinstance(value, dict) and "calendar" in value:
            more = sorted(set(value) - {"calendar", "every", "zone", "week_start"})
            if more:
                raise ValueError(f"a calendar window has no {more[0]!r}: write 7d, session, lifetime, or "
                                 "{calendar: day}")
            return value
        raise ValueError("write a window as 7d, session, lifetime, or {calendar: day}")

    def body(self) -> dict[str, Any]:
        """As a release's body has it; see `pipeline.core.model.windows`."""
        if self.rolling_ms is not None:
            return {"kind": windows.Rolling.kind, "length_ms": self.rolling_ms}
        if self.lifetime:
            return {"kind": windows.Lifetime.kind}
        if self.session:
            return {"kind": windows.Session.kind}
        return {"kind": windows.Calendar.kind, "unit": self.calendar, "count": self.every,
                "local": self.zone == "subject", "week_start": WEEKDAYS.index(self.week_start) + 1}


class ReachDefinition(Definition):
    items: Annotated[Some, Field(alias="item")] = []
    kinds: Annotated[Some, Field(alias="kind")] = []
    tags: Annotated[SomeTags, Field(alias="tag")] = []
    campaigns: Annotated[Some, Field(alias="campaign")] = []
    placements: Annotated[Some, Field(alias="placement")] = []
    channels: Annotated[Some, Field(alias="channel")] = []


class CapDefinition(Definition):
    counted: Annotated[Counted, Field(alias="count")]
    scope: Annotated[
        Literal["item", "tag", "campaign", "placement", "channel", "session", "all"], Field(alias="per")]
    limit: int = Field(ge=0, le=1_000_000_000)
    window: WindowDefinition
    reach: Annotated[ReachDefinition, Field(alias="for")] = ReachDefinition()
    weights: dict[str, Annotated[int, Field(ge=0)]] | None = None
    of: Literal["profile", "account"] = "profile"
    doc: Doc = ""

    @model_validator(mode="before")
    @classmethod
    def _of_the_session(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("per") == "session":
            return {"window": "session", **value}
        return value

    @model_validator(mode="after")
    def _one_window(self) -> CapDefinition:
        if self.scope == "session" and not self.window.session:
            raise ValueError("a cap per session has the session for its window: leave the window out")
        return self


class SuppressionDefinition(Definition):
    counted: Annotated[Outcome, Field(alias="when")]
    scope: Annotated[Literal["item", "tag", "campaign", "placement", "channel", "all"], Field(alias="per")]
    at_least: int = Field(1, ge=1, le=1_000)
    within_ms: Annotated[Span, Field(alias="within")]
    lasts_ms: Annotated[Span, Field(alias="lasts")]
    reach: Annotated[ReachDefinition, Field(alias="for")] = ReachDefinition()
    doc: Doc = ""
