"""How a policy file declares outcomes: which events, what they are worth, and which decisions are credited."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from pipeline.core.model.outcome_rules import REWARD_MAX, WAIT_MS, WAIT_MS_MAX, WINDOW_MS_MAX, WINDOW_MS_MIN
from pipeline.policy.event_definitions import MatcherDefinition
from pipeline.policy.values import Definition, Doc, Span, named, one_or_many

_MODELS: Final = ("last", "first", "linear", "time_decay", "position", "view_through")
_VALUE: Final = "event.value"
_PROPERTY: Final = "event.properties."


def _window(value: int) -> int:
    if not WINDOW_MS_MIN <= value <= WINDOW_MS_MAX:
        raise ValueError("the window of an outcome is from 1s to 90d")
    return value


def _wait(value: int) -> int:
    if value > WAIT_MS_MAX:
        raise ValueError("an outcome is waited for up to 1d")
    return value


class AttributionDefinition(Definition):
    """`last`, or with settings: `{time_decay: {half_life: 2d}}`, `{position: {first: 40, last: 40, between: 20}}`."""

    model: Literal["last", "first", "linear", "time_decay", "position", "view_through"] = "last"
    half_life_ms: Annotated[Span | None, Field(alias="half_life")] = None
    #: Percent.
    first: Annotated[float, Field(ge=0, le=100)] = 40.0
    last: Annotated[float, Field(ge=0, le=100)] = 40.0
    between: Annotated[float, Field(ge=0, le=100)] = 20.0

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"model": _model(value)}
        if not isinstance(value, dict) or len(value) != 1:
            raise ValueError(f"write one of {', '.join(_MODELS)}")
        ((name, settings),) = value.items()
        known = {"time_decay": {"half_life"}, "position": {"first", "last", "between"}}.get(_model(name), set())
        if not isinstance(settings, dict) or not settings.keys() <= known:
            said = f"has {', '.join(sorted(known))} and nothing else" if known else "has no settings"
            raise ValueError(f"{name} {said}")
        return {"model": name, **settings}

    @model_validator(mode="after")
    def _whole(self) -> AttributionDefinition:
        if self.model == "time_decay" and self.half_life_ms is None:
            raise ValueError("time_decay needs its half-life: write {time_decay: {half_life: 2d}}")
        if self.model == "position" and abs(self.first + self.last + self.between - 100.0) > 1e-6:
            raise ValueError("first, last and between are percent of the credit: together they are 100")
        if self.model == "position" and self.first + self.last <= 0.0:
            raise ValueError("with first and last both 0 nothing would be credited where there are two decisions")
        return self


def _model(value: object) -> str:
    if not isinstance(value, str) or value not in _MODELS:
        raise ValueError(f"{value!r} is no attribution: one of {', '.join(_MODELS)}")
    return value


class RewardDefinition(Definition):
    """A number, `event.value` or `event.properties.<name>`; with a factor: `{of: event.value, times: 0.2}`."""

    field: str | None = None
    is_property: bool = False
    factor: Annotated[float, Field(alias="times")] = 1.0

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, str):
            return _read(value)
        if isinstance(value, dict):
            if not {"of"} <= value.keys() <= {"of", "times"} or not isinstance(value["of"], str):
                raise ValueError("write a reward with a factor as {of: event.value, times: 0.2}")
            return {**_read(value["of"]), **({"times": value["times"]} if "times" in value else {})}
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"a reward is a number, {_VALUE} or {_PROPERTY}<name>")
        return {"times": float(value)}

    @field_validator("factor")
    @classmethod
    def _in_bounds(cls, value: float) -> float:
        # Of what is no number, nothing is true.
        if not abs(value) <= REWARD_MAX:
            raise ValueError("a reward, and a factor of one, is a number of at most 1e12 in either direction")
        return value


def _read(text: str) -> dict[str, Any]:
    if text == _VALUE:
        return {"field": "value"}
    if text.startswith(_PROPERTY) and len(text) > len(_PROPERTY):
        return {"field": named(text.removeprefix(_PROPERTY)), "is_property": True}
    raise ValueError(f"{text!r} is no reward: write a number, {_VALUE} or {_PROPERTY}<name>")


def _each_once(value: list[str]) -> list[str]:
    if len(set(value)) < len(value) or not value:
        raise ValueError("name each at most once, and at least one")
    return value


class OutcomeDefinition(Definition):
    event: MatcherDefinition
    window_ms: Annotated[Span, AfterValidator(_window), Field(alias="window")]
    wait_ms: Annotated[Span, AfterValidator(_wait), Field(alias="wait")] = WAIT_MS
    attribution: AttributionDefinition = AttributionDefinition.model_construct()
    reward: RewardDefinition = RewardDefinition.model_construct()
    credit: Annotated[list[Literal["item", "campaign", "tag", "placement"]], BeforeValidator(one_or_many),
                      AfterValidator(_each_once)] = ["item"]
    doc: Doc = ""
