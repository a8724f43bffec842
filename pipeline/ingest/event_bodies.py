"""What `POST /v1/events` takes and gives: Segment's spec as far as it is used here. What else an event holds is let by.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)
from pydantic.alias_generators import to_camel

from pipeline.core.model.bounds import NAME_CHARS_MAX, TEXT_CHARS_MAX
from pipeline.core.model.records import COUNTED, Basis, OptIn
from pipeline.core.rules import readers
from pipeline.core.sections.memberships import ROLE_CHARS_MAX, ROLES_MAX
from pipeline.ingest.field_types import id_text as id_text
from pipeline.ingest.json_text import pointer_of
from pipeline.ingest.personal_texts import found_in

#: Segment's own limits on sizes; its limit on the events of a batch is 2,500.
BATCH_BYTES_MAX: Final = 512_000
EVENT_BYTES_MAX: Final = 32_768
BATCH_EVENTS_MAX: Final = 500
CATEGORIES_MAX: Final = 50
_TC_STRING_CHARS_MAX: Final = 20_000

_IP: Final = re.compile(r"\b\d{1,3}(\.\d{1,3}){3}\b|\b([0-9a-f]{1,4}:){4,}", re.IGNORECASE)


def _empty_is_none(value: Any) -> Any:
    return None if value == "" else value


def _no_object(value: Any) -> Any:
    """Absent, as clients write it: null, and PHP's empty array for an empty object."""
    return {} if value is None or value == [] else value


def _moment(value: Any) -> Any:
    return None if value is None or value == "" else readers.moment(value)


_Text = Annotated[str, Field(max_length=TEXT_CHARS_MAX, coerce_numbers_to_str=True)]
Id = Annotated[_Text | None, BeforeValidator(id_text), BeforeValidator(_empty_is_none)]
MessageId = Id
#: Longer ones are cut, with a warning.
_Name = Annotated[str, Field(max_length=EVENT_BYTES_MAX)] | None
Role = Annotated[str, Field(min_length=1, max_length=ROLE_CHARS_MAX)]
Moment = Annotated[datetime | None, BeforeValidator(_moment)]


#: Nothing that only looks like true or false is taken for it: consent hangs on it.
Truth = Annotated[bool, BeforeValidator(readers.boolean)]


class _Lenient(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class Statement(_Lenient):
    """More than a yes or no: on which legal basis, until when, how it was given, and where the evidence is."""

    model_config = ConfigDict(extra="forbid")

    granted: Truth
    basis: Basis = Basis.CONSENT
    opt_in: OptIn = OptIn.SINGLE
    expires_at: Moment = None
    source: str | None = Field(None, max_length=64)
    proof: str = Field("", max_length=200, description="A form's version, a record's id, the hash of an address.")

    @field_validator("proof", "source")
    @classmethod
    def _no_personal_data(cls, value: str | None) -> str | None:
        text = value or ""
        inside = found_in(text) or ("an e-mail address" if re.search(r"\S@\S", text) else "")
        inside = inside or ("an IP address" if _IP.search(text) else "")
        if inside:
            raise ValueError(f"holds {inside}: send a record's id or a hash instead")
        return value


def _stated(value: Any) -> Any:
    """One problem, of the category itself, where a value is neither: not one for each of what it might have been."""
    if isinstance(value, dict):
        try:
            return Statement.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
    if not isinstance(value, bool):
        raise ValueError("send true or false, without quotes, or an object with `granted` that says more")
    return value


Stated = Annotated[bool | Statement, BeforeValidator(_stated)]


class NoesOnly(dict[str, Any]):
    """Categories of which some could not be read: of the others, those that refuse. `wrong`: the first that is not one,
    and why."""

    wrong = "", ""


def _noes(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """A clear no binds whatever else is wrong beside it; without one, what is wrong is refused."""
    try:
        return read(value)
    except ValidationError as error:
        found = NoesOnly()
        for category, stated in value.items() if isinstance(value, dict) else ():
            try:
                found.update({name: one for name, one in read({category: stated}).items() if not _granted(one)})
            except ValidationError:
                continue
        if not 0 < len(found) <= CATEGORIES_MAX:
            raise
        first = error.errors()[0]
        found.wrong = pointer_of(first["loc"][:1]), first["msg"].removeprefix("Value error, ")
        return found


def _granted(stated: bool | Statement) -> bool:
    return stated if isinstance(stated, bool) else stated.granted


class NoText(str):
    """Stands for what is no text that could be read; says why."""

    __slots__ = ()


def _no_text(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    try:
        return read(value)
    except ValidationError as error:
        return NoText(error.errors()[0]["msg"])


class Consent(_Lenient):
    """Segment's consent object: a category is what the policy's `consent.categories` maps, a purpose, or
    `purpose/channel`. `tcString`: what IAB's framework says, mapped by `consent.tcf`.
    """

    category_preferences: Annotated[
        dict[Annotated[str, Field(max_length=NAME_CHARS_MAX)], Stated], Field(max_length=CATEGORIES_MAX),
        WrapValidator(_noes), BeforeValidator(_no_object)] = Field(
        default_factory=dict, examples=[{"personalization": True, "personalization/email": False}]
    )
    tc_string: Annotated[
        Annotated[str, Field(max_length=_TC_STRING_CHARS_MAX)] | None, WrapValidator(_no_text),
        BeforeValidator(_empty_is_none)] = None


_Consent = Annotated[Consent | None, BeforeValidator(lambda value: None if value == [] else value)]


class EventContext(_Lenient):
    """The parts of Segment's context that are used; everything else in it (ip, location, …) is dropped here."""

    consent: _Consent = Field(None, description="What the person allows, in any event that names one.")
    account_consent: _Consent = Field(None, description="group: what the account allows.")
    library: Any = Field(None, description="`name` is kept as the event's source.")
    device: Any = Field(None, description="`id` or `advertisingId` is hashed as an identifier of type device.")
    group_id: Id = Field(None, description="The account (B2B) of an identify.")


class GroupMembership(_Lenient):
    """group: what the person is in the account; a member without roles where it is left out."""

    role: Role | None = Field(None, description="The one role; or several as `roles`.")
    roles: Annotated[list[Role], Field(max_length=ROLES_MAX - 1)] = []
    primary: Truth = Field(False, description="Of several accounts, the one that counts from now on.")
    left: Truth = Field(False, description="No longer a member.")

    @property
    def all_roles(self) -> list[str]:
        return [self.role, *self.roles] if self.role else list(self.roles)


class SegmentEvent(_Lenient):
    """One event. `userId` or `anonymousId` says whose it is; with several identifiers, the strongest by the policy's
    priority does, and an identify joins the others to it. logout (or reset) lets the anonymousId and the device go."""

    model_config = ConfigDict(json_schema_extra={"examples": [
        {"type": "identify", "messageId": "m-1", "userId": "user-17",
         "traits": {"plan": "pro", "email": "ada@example.com"},
         "context": {"consent": {"categoryPreferences": {"personalization": True}}}},
        {"type": "track", "messageId": "m-2", "userId": "user-17", "event": "click",
         "properties": {"item_id": "spring-sale", "placement": "home_hero", "channel": "web"}},
        {"type": "group", "messageId": "m-3", "userId": "user-17", "groupId": "acme",
         "traits": {"plan": "enterprise", "employees": 250, "contract": {"ends": "2027-01-31"}},
         "membership": {"role": "admin", "primary": True},
         "context": {"accountConsent": {"categoryPreferences": {"contact": True}}}},
    ]})

    type: Literal["identify", "track", "page", "screen", "alias", "group", "logout", "reset", "unmerge"]
    message_id: MessageId = Field(
        None, description="Your id of this event: a repeat is not counted again. Made up if missing."
    )
    user_id: Id = None
    anonymous_id: Id = None
    previous_id: Id = Field(
        None, description="alias: the identifier given up; unmerge: the one that leaves the profile it belongs to."
    )
    previous_id_type: str = Field(
        "anonymous_id", max_length=NAME_CHARS_MAX, description="alias, unmerge: the type of previousId."
    )
    group_id: Id = Field(None, description="group: the account, by your own id; hashed here.")
    membership: GroupMembership | None = Field(None, description="group: the person's part in the account.")
    event: _Name = Field(
        None,
        description=f"track: {', '.join(f'`{kind}`' for kind in COUNTED)} or a synonym is feedback on an item; "
        "anything else is behaviour under its own name.",
    )
    name: _Name = Field(None, description="page, screen: its name.")
    timestamp: Moment = None
    original_timestamp: Moment = None
    sent_at: Moment = None
    traits: Annotated[dict[str, Any], BeforeValidator(_no_object)] = Field(
        default_factory=dict, description="identify: of the person. group: of the account, its `contract` among them."
    )
    properties: Annotated[dict[str, Any], BeforeValidator(_no_object)] = Field(default_factory=dict)
    context: Annotated[EventContext, BeforeValidator(_no_object)] = EventContext(
        consent=None, account_consent=None, library=None, device=None, group_id=None)


class BatchHead(_Lenient):
    """What holds for every event of a batch that says nothing else."""

    sent_at: Moment = None
    context: EventContext | None = None
    write_key: str = Field("", max_length=NAME_CHARS_MAX, description="The API key, where no header can carry it.")

    @field_validator("write_key", "context", mode="before")
    @classmethod
    def _absent(cls, value: Any, info: ValidationInfo) -> Any:
        return ("" if info.field_name == "write_key" else None) if value is None or value == [] else value

    def completed(self, event: SegmentEvent) -> SegmentEvent:
        """The event with what the batch says for it."""
        changes: dict[str, Any] = {}
        if event.sent_at is None and self.sent_at is not None:
            changes["sent_at"] = self.sent_at
        if self.context is not None:
            own = {name: value for name, value in event.context if value is not None}
            changes["context"] = self.context.model_copy(update=own)
        return event.model_copy(update=changes) if changes else event


class Batch(BatchHead):
    """Several events."""

    batch: Annotated[list[SegmentEvent], Field(min_length=1, max_length=BATCH_EVENTS_MAX)]


class EventOutcome(BaseModel):
    """What became of one event, in the order sent."""

    message_id: str | None
    status: Literal["accepted", "rejected", "not_taken", "not_in_force"] = Field(
        description="accepted: the broker has it, and its consent binds every later decision. rejected: correct it. "
        "not_taken: send it again. not_in_force: the broker has it, its consent is not confirmed; send it again."
    )
    errors: list[dict[str, str]] | None = Field(None, description="rejected: what is wrong, by JSON pointer.")
    warnings: list[str] | None = Field(None, description="What was left out of the event, and why.")


class EventsReply(BaseModel):
    """The broker has acknowledged every accepted event."""

    accepted: int
    rejected: int
    events: list[EventOutcome]
