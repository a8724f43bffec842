"""What `POST /personalization/decide` takes and gives, as pydantic models: validation and OpenAPI from one source."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from pipeline.codecs import positions
from pipeline.core.model.bounds import NAME_CHARS_MAX, TEXT_CHARS_MAX
from pipeline.core.rules import readers
from pipeline.ingest.field_types import Id, Name, id_text, impersonal, no_object, unfit

#: The most a decision request may hold; generous for a page, small beside a record's limit.
BODY_BYTES_MAX: Final = 65_536
PLACEMENTS_MAX: Final = 20
VARIANTS_MAX: Final = 50
ATTRIBUTES_MAX: Final = 100


def token(value: str) -> str:
    """A token of an answer of /v1/events."""
    try:
        positions.read(value)
    except positions.PositionsError as error:
        raise ValueError(str(error)) from error
    return value


RequestId = Annotated[
    str, Field(min_length=1, max_length=NAME_CHARS_MAX, coerce_numbers_to_str=True), BeforeValidator(id_text),
    AfterValidator(impersonal)]


def _plain(attributes: dict[str, Any]) -> dict[str, Any]:
    for name, value in attributes.items():
        # Whether a list is taken hangs on what the live policy declares.
        why = None if isinstance(value, list) else unfit(value)
        if why is not None:
            raise ValueError(f"{name}: {why}")
    return attributes


Scalars = Annotated[
    dict[Name, Any],
    AfterValidator(_plain),
    BeforeValidator(no_object),
    Field(max_length=ATTRIBUTES_MAX),
    WithJsonSchema({
        "type": "object",
        "maxProperties": ATTRIBUTES_MAX,
        "additionalProperties": {
            "anyOf": [{"type": "string", "maxLength": TEXT_CHARS_MAX}, {"type": "number"}, {"type": "boolean"},
                      {"type": "null"},
                      {"type": "array", "items": {"type": "string", "minLength": 1, "pattern": "^[^,]*$"},
                       "description": "For an attribute that the live policy declares as list(string)."}],
        },
    }),
]


class Strict(BaseModel):
    """A body in which an unknown field is a misspelt one."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Subject(Strict):
    """Who the decision is for."""

    id: Id = Field(description="The identifier, raw: it is hashed here and goes no further.", examples=["user-17"])
    tenant_id: Annotated[Name, AfterValidator(impersonal)] | None = Field(
        None, description="The tenant; the installation's default one where left out.")
    type: Name = Field("user_id", description="What kind of identifier `id` is: user_id, anonymous_id, email, …")


class Situation(Strict):
    """Where and when it will be shown."""

    channel: Name = Field(description="A channel of the live policy.", examples=["web"])
    placement: Name | None = Field(None, description="A placement of the live policy.", examples=["home_hero"])
    placements: list[Name] | None = Field(
        None, min_length=1, max_length=PLACEMENTS_MAX, description="Several placements, decided together."
    )
    scenario: Annotated[str, AfterValidator(impersonal)] = Field(
        "", max_length=NAME_CHARS_MAX, description="The situation, in the policy's words.")
    attributes: Scalars = Field(
        default_factory=dict, description="Facts of this moment, read by rules as `context.<name>`; never stored."
    )

    @model_validator(mode="after")
    def _one_or_several(self) -> Situation:
        if (self.placement is None) == (self.placements is None):
            raise ValueError("name one `placement`, or several as `placements`")
        if self.placements is not None and len(set(self.placements)) < len(self.placements):
            raise ValueError("`placements` names one twice")
        return self

    @property
    def all_placements(self) -> list[str]:
        return self.placements if self.placements is not None else [self.placement or ""]


class Constraints(Strict):
    """What the caller asks of the answer."""

    max_variants: Annotated[int, BeforeValidator(readers.whole)] = Field(
        1, ge=1, le=VARIANTS_MAX, description="How many items each placement takes at most.")
    require_consent: Annotated[bool, BeforeValidator(readers.boolean)] = Field(
        True, description="Without a granted consent only the declared fallback is given.")


class DecideBody(Strict):
    """A decision request."""

    model_config = ConfigDict(json_schema_extra={"examples": [{
        "subject": {"id": "user-17"},
        "context": {"channel": "web", "placement": "home_hero", "attributes": {"page": "/"}},
        "constraints": {"max_variants": 1},
    }]})

    subject: Subject
    context: Situation
    constraints: Constraints = Constraints(max_variants=1, require_consent=True)
    request_id: RequestId | None = Field(
        None,
        description="Your id of this request: repeated within ten minutes it gets the same answer, and no cap is spent "
        "twice. The header Idempotency-Key says the same.",
    )
    after: Annotated[str, AfterValidator(token)] | None = Field(
        None,
        description="The `token` of an answer of /v1/events: the decision knows of those events of this subject, or is "
        "not made within the deadline.",
    )


class DecidedItem(BaseModel):
    """One item for one slot. Exactly one of the three ids is there, by the item's kind."""

    content_id: str | None = None
    offer_id: str | None = None
    action_id: str | None = None
    variant: str
    priority: int
    experiment: str | None = Field(description="Experiment and variation it was chosen under.")
    ttl: int = Field(description="Seconds it may be shown without asking again.")
    placement: str
    content: dict[str, str | int | float | bool | None] = Field(description="The variant's content, by field name.")
    fallback: bool = Field(description="The placement's declared fallback.")


class DecideReply(BaseModel):
    """The answer, always with something to show for each placement."""

    model_config = ConfigDict(json_schema_extra={"examples": [{
        "decision_id": "7d0b1e0c9f3a4b5c8d6e7f8091a2b3c4",
        "request_id": "b3f1c0de",
        "decisions": [{
            "offer_id": "spring-sale", "variant": "hero", "priority": 10, "experiment": None, "ttl": 300,
            "placement": "home_hero", "content": {"headline": "Spring is here"}, "fallback": False,
        }],
        "fallback": False,
        "reason": "decided",
        "release": "5f2d6a0b9c1e",
    }]})

    decisions: list[DecidedItem]
    decision_id: str | None = Field(description="Send it back with feedback; null where the bridge answered alone.")
    request_id: str
    fallback: bool = Field(description="Nothing but declared fallbacks.")
    reason: str = Field(
        description="`decided`, or why the fallback: no_consent, capped, no_candidate, …, and from the bridge alone "
        "deadline, circuit_open, pipeline_unavailable."
    )
    release: str = Field(description="The policy release it was decided under.")
    warnings: list[str] | None = Field(None, description="What of the request was left out, and why.")
