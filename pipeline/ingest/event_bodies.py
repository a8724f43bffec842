"""What `POST /v1/events` takes and gives: Segment's spec as far as it is used here. What else an event holds is let by.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
)

from pipeline.core.model.bounds import NAME_CHARS_MAX, TEXT_CHARS_MAX
from pipeline.core.model.records import COUNTED
from pipeline.core.sections.memberships import ROLE_CHARS_MAX, ROLES_MAX
from pipeline.ingest.consent_bodies import Consent, ConsentField, Lenient, Truth
from pipeline.ingest.field_types import Moment, empty_is_none, id_text, no_object

#: Segment's own limits on sizes; its limit on the events of a batch is 2,500.
BATCH_BYTES_MAX: Final = 512_000
EVENT_BYTES_MAX: Final = 32_768
BATCH_EVENTS_MAX: Final = 500

_Text = Annotated[str, Field(max_length=TEXT_CHARS_MAX, coerce_numbers_to_str=True)]
Id = Annotated[_Text | None, BeforeValidator(id_text), BeforeValidator(empty_is_none)]
MessageId = Id
#: Longer ones are cut, with a warning.
_Name = Annotated[str, Field(max_length=EVENT_BYTES_MAX)] | None
Role = Annotated[str, Field(min_length=1, max_length=ROLE_CHARS_MAX)]


class EventContext(Lenient):
    """The parts of Segment's context that are used; everything else in it (ip, location, …) is dropped here."""

    consent: ConsentField = Field(None, description="What the person allows, in any event that names one.")
    consent_management: ConsentField = Field(
        None, description="The same as RudderStack has it: `allowedConsentIds` and `deniedConsentIds`.")
    account_consent: ConsentField = Field(None, description="group: what the account allows.")
    library: Any = Field(None, description="`name` is kept as the event's source.")
    device: Any = Field(None, description="`id` or `advertisingId` is hashed as an identifier of type device.")
    group_id: Id = Field(None, description="The account (B2B) of an identify.")
    _of_batch: EventContext | None = PrivateAttr(None)

    def consents(self, part: Literal["consent", "accountConsent"] = "consent") -> Iterator[tuple[str, Consent]]:
        """Every object that says what the person, or the account, allows, each by its name: those of the event, and
        those of its batch. All of them are said: none takes another's place."""
        for name, one in (("accountConsent", self.account_consent),) if part == "accountConsent" else (
                ("consent", self.consent), ("consentManagement", self.consent_management)):
            if one is not None:
                yield name, one
        if self._of_batch is not None:
            yield from self._of_batch.consents(part)

    def within(self, batch: EventContext) -> EventContext:
        """The context with what its batch's says for it."""
        own = {name: value for name, value in self if value is not None}
        found = batch.model_copy(update={"consent": None, "consent_management": None, "account_consent": None, **own})
        found._of_batch = batch
        return found


class GroupMembership(Lenient):
    """group: what the person is in the account; a member without roles where it is left out."""

    role: Role | None = Field(None, description="The one role; or several as `roles`.")
    roles: Annotated[list[Role], Field(max_length=ROLES_MAX - 1)] = Field(default_factory=list)
    primary: Truth = Field(False, description="Of several accounts, the one that counts from now on.")
    left: Truth = Field(False, description="No longer a member.")

    @property
    def all_roles(self) -> list[str]:
        return [self.role, *self.roles] if self.role else list(self.roles)


class SegmentEvent(Lenient):
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
    traits: Annotated[dict[str, Any], BeforeValidator(no_object)] = Field(
        default_factory=dict, description="identify: of the person. group: of the account, its `contract` among them."
    )
    properties: Annotated[dict[str, Any], BeforeValidator(no_object)] = Field(default_factory=dict)
    context: Annotated[EventContext, BeforeValidator(no_object)] = EventContext(
        consent=None, consent_management=None, account_consent=None, library=None, device=None, group_id=None)


class BatchHead(Lenient):
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
            changes["context"] = event.context.within(self.context)
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
    applied: list[str] | None = Field(
        None, description="Of an event that is not accepted: the purposes that it clearly refuses, and which now are.")


class EventsReply(BaseModel):
    """The broker has acknowledged every accepted event."""

    accepted: int
    rejected: int
    events: list[EventOutcome]
