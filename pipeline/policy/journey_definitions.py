"""How a journey is written: who enters, its stages and what leads on, how it ends, what became of earlier stages."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipeline.core.model.journeys import STAGES_MAX
from pipeline.policy.event_definitions import MatcherDefinition
from pipeline.policy.values import Definition, Doc, Name, Named, Span, span_ms

_AFTER: Final = re.compile(r"after\s+(\S+)", re.ASCII)
#: A shorter time-out would be no stage: the clock alone would carry people through.
_AFTER_MS_MIN: Final = 60_000


def _re_entry(value: object) -> object:
    """`never`, `always`, or `after 30d` → how long after its end the journey may be entered again; None: never."""
    if value == "always":
        return 0
    if value == "never":
        return None
    found = _AFTER.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is none of never, always, and after 30d")
    return span_ms(found[1])


class TriggerDefinition(MatcherDefinition):
    """An event, as signals match it; or `segment: NAME`; or `rule: CONDITION`."""

    segment: Named | None = None
    rule: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> TriggerDefinition:
        if len(self.ways()) != 1:
            raise ValueError(f"write one of {', '.join(self.known())} and an event (event, name, item, …)")
        return self

    @classmethod
    def known(cls) -> tuple[str, ...]:
        """The ways beside an event."""
        return "segment", "rule"

    def ways(self) -> list[str]:
        """Which ways are written."""
        event = ["event"] if any(getattr(self, name) for name in MatcherDefinition.model_fields) else []
        return event + [name for name in ("segment", "rule") if getattr(self, name) is not None]


class TransitionDefinition(TriggerDefinition):
    """What leads to another stage: as `TriggerDefinition`, or `after: 3d` in the stage."""

    after_ms: Annotated[Span | None, Field(alias="after")] = None

    @model_validator(mode="after")
    def _long_enough(self) -> TransitionDefinition:
        if self.after_ms is not None and self.after_ms < _AFTER_MS_MIN:
            raise ValueError("`after` is at least 1m")
        return self

    @classmethod
    def known(cls) -> tuple[str, ...]:
        """The ways beside an event."""
        return "segment", "rule", "after"

    def ways(self) -> list[str]:
        """Which ways are written."""
        return super().ways() + (["after"] if self.after_ms is not None else [])


class JourneyStageDefinition(Definition):
    next: dict[Name, TransitionDefinition] = {}
    goal: bool = False
    doc: Doc = ""


class JourneyDefinition(Definition):
    enter: TriggerDefinition
    stages: dict[Name, JourneyStageDefinition] = Field(min_length=1, max_length=STAGES_MAX)
    exit: TriggerDefinition | None = None
    timeout_ms: Annotated[Span | None, Field(alias="timeout")] = None
    re_entry_ms: Annotated[int | None, BeforeValidator(_re_entry), Field(alias="re_entry")] = None
    #: By the name of a stage that an earlier release had: the one its people go to.
    was: dict[Name, Named] = {}
    gone: Literal["ask", "leave"] = "ask"
    doc: Doc = ""


def body(one: JourneyDefinition, dump: Any) -> dict[str, Any]:
    """A journey as a release's body has it: canonical JSON sorts names, so what has an order is a list."""
    result: dict[str, Any] = {"enter": _trigger(one.enter, dump), "stages": [
        {"name": name, "goal": stage.goal,
         "next": [{"to": to, **_trigger(way, dump)} for to, way in stage.next.items()]}
        for name, stage in one.stages.items()]}
    if one.exit is not None:
        result["exit"] = _trigger(one.exit, dump)
    for name in ("timeout_ms", "re_entry_ms"):
        if getattr(one, name) is not None:
            result[name] = getattr(one, name)
    if one.was:
        result["was"] = dict(one.was)
    if one.gone == "leave":
        result["leaves"] = True
    return result


def _trigger(one: TriggerDefinition, dump: Any) -> dict[str, Any]:
    [kind] = one.ways()
    said = dump(one)
    return {"kind": kind, **({"matcher": said} if kind == "event" else said)}
