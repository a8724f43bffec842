"""What one event says whatever its kind: when, from where, consent, and the item it is about. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pipeline.core.consent.statements import of_category, of_tc_string
from pipeline.core.consent.tcf import TcfError
from pipeline.core.identity.identifiers import key_of
from pipeline.core.model.bounds import EVENT_NAME_CHARS_MAX, ID_CHARS_MAX, NAME_CHARS_MAX
from pipeline.core.model.definitions import Policy
from pipeline.core.model.moments import millis
from pipeline.core.model.records import (
    ConsentGrant,
    FeedbackEvent,
    FeedbackKind,
    Identifier,
    IdentityEvent,
    IdentityKind,
    Scalar,
)
from pipeline.ingest.consent_bodies import READ, Consent, NoesOnly, NoText, Statement
from pipeline.ingest.event_bodies import EventContext, SegmentEvent
from pipeline.ingest.field_types import id_of
from pipeline.ingest.json_text import pointer_of
from pipeline.ingest.personal_texts import found_in, masked
from pipeline.ingest.refusal import FieldError, invalid

#: Where an item's id may stand, the first that is there.
ITEM_IDS: Final = ("item_id", "offer_id", "content_id", "action_id", "product_id", "promotion_id")
#: What else is said about an item's showing.
ABOUT_IT: Final = ("decision_id", "placement", "channel")
#: What it is worth, the first that is there.
WORTH: Final = ("value", "revenue")
_SOURCE_CHARS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Said:
    """What every kind of event has in common."""

    event: SegmentEvent
    id: str
    at_ms: int
    source: str
    warnings: list[str]

    def cut(self, text: str, field: str) -> str:
        """A name without what is personal, as long as one may be, with a warning where it was not so."""
        if inside := found_in(text):
            self.warnings.append(f"{field} held {inside}, which is left out: personal data stays at the edge")
            text = masked(text)
        if len(text) > EVENT_NAME_CHARS_MAX:
            self.warnings.append(f"{field} has {len(text)} characters: the first {EVENT_NAME_CHARS_MAX} are kept")
        return text[:EVENT_NAME_CHARS_MAX]

    def consent(
        self, policy: Policy | None, part: Literal["consent", "accountConsent"] = "consent"
    ) -> list[ConsentGrant]:
        """The statements made with this event, by the policy's mapping; kept without one too, under their own names.

        Where several categories or objects speak of one purpose, all of them must allow it. A TC string that cannot be
        used is a warning: what else the event says is applied. Beside a category that is wrong, only what refuses is.
        Raises RefusedError where nothing does.
        """
        wrong: list[FieldError] = []
        grants: dict[tuple[str, str | None], ConsentGrant] = {}
        of_strings: list[ConsentGrant] = []
        for name, said in self.event.context.consents(part):
            if said.silent:
                self.warnings.append(f"context.{name} says nothing here: what is read of it is {READ}")
            self._categories(said, name, policy, grants, wrong)
            of_strings += self._of_tc_string(said.tc_string, policy, name)
        stated = [*grants.values(), *of_strings]
        return self._noes_beside(wrong, stated) if wrong else stated

    def _categories(
        self, said: Consent, name: str, policy: Policy | None, grants: dict[tuple[str, str | None], ConsentGrant],
        wrong: list[FieldError],
    ) -> None:
        """Add what the categories of one object say, and what is wrong with them."""
        pointer = ("context", name, "categoryPreferences")
        if isinstance(said.category_preferences, NoesOnly):
            at, why = said.category_preferences.wrong
            wrong.append(FieldError(pointer_of(pointer) + at, why))
        for category, stated in said.category_preferences.items():
            if inside := found_in(category):
                self.warnings.append(f"a consent category was dropped: its name holds {inside}")
                continue
            for purpose, channel in of_category(category, policy.categories if policy else {}):
                if not purpose or "#" in category or channel == "" or "/" in (channel or ""):
                    wrong.append(FieldError(pointer_of((*pointer, category)), "name a purpose, or a purpose/channel"))
                    continue
                self._doubt(purpose, channel, policy)
                before = grants.get((purpose, channel))
                if before is None or before.granted:
                    grants[purpose, channel] = self._grant(purpose, channel, stated)

    def _doubt(self, purpose: str, channel: str | None, policy: Policy | None) -> None:
        """A purpose or channel that the live policy does not have is probably misspelt."""
        if policy is not None and purpose not in policy.purposes:
            known = ", ".join(sorted(policy.purposes)) or "none"
            name = purpose[:NAME_CHARS_MAX]
            self.warnings.append(f"consent for {name}: no purpose of the live policy ({known})")
        elif policy is not None and channel is not None and channel not in policy.channels:
            known, name = ", ".join(sorted(policy.channels)), channel[:NAME_CHARS_MAX]
            self.warnings.append(f"consent for {purpose}/{name}: no channel of the live policy ({known})")

    def _noes_beside(self, wrong: list[FieldError], grants: list[ConsentGrant]) -> list[ConsentGrant]:
        """Of statements beside which something is wrong, those that refuse: a clear no is not lost with it. Raises
        RefusedError where none refuses."""
        noes = [one for one in grants if not one.granted]
        if not noes:
            raise invalid(*wrong)
        self.warnings.extend(f"{one.pointer[1:].replace('/', '.')} is wrong: {one.message}" for one in wrong)
        self.warnings.append("consent is taken where it refuses only, as something beside it is wrong: correct it, and "
                             "send all of it under a new messageId")
        return noes

    def _grant(self, purpose: str, channel: str | None, stated: bool | Statement) -> ConsentGrant:
        if isinstance(stated, bool):
            return ConsentGrant(purpose, stated, self.at_ms, channel, self.source)
        ends_ms = None if stated.expires_at is None else epoch_ms(stated.expires_at)
        return ConsentGrant(purpose, stated.granted, self.at_ms, channel, stated.source or self.source, ends_ms,
                            stated.basis, stated.opt_in, stated.proof)

    def _of_tc_string(self, text: str | None, policy: Policy | None, part: str) -> list[ConsentGrant]:
        if text is None:
            return []
        try:
            if isinstance(text, NoText):
                raise TcfError(text)
            if policy is None or policy.tcf is None:
                raise TcfError("the live policy has no consent.tcf to say what TC strings mean")
            return of_tc_string(text, policy.tcf, policy.purposes, self.at_ms)
        except TcfError as error:
            self.warnings.append(f"context.{part}.tcString says nothing here: {error}")
            return []

    def identity(self, tenant: str, who: Identifier, kind: IdentityKind, **more: Any) -> IdentityEvent:
        """An identity event with what every one has."""
        return IdentityEvent(self.id, key_of(tenant, who), kind, self.at_ms, source=self.source, subject_type=who.type,
                             earlier=who.earlier, **more)

    def feedback(
        self, tenant: str, who: Identifier, kind: FeedbackKind, name: str, properties: dict[str, Scalar]
    ) -> FeedbackEvent:
        """The event with what it says about an item moved from its properties to its own fields."""
        rest = dict(properties)
        named = [key for key in ITEM_IDS if rest.get(key) not in (None, "")]
        self._synonyms_agree(rest, named)
        item_id = self._id(rest, named[0]) if named else None
        decision_id, placement, channel = (self._id(rest, key) for key in ABOUT_IT)
        worth = [key for key in WORTH if rest.get(key) is not None]
        self._synonyms_agree(rest, worth)
        value = rest[worth[0]] if worth else None
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        if number is None and value is not None:
            self.warnings.append(f"properties.{worth[0]} is kept as a property only: it is not a number")
        return FeedbackEvent(
            self.id, key_of(tenant, who), kind, self.at_ms, name, item_id, decision_id, placement, channel, number,
            rest, self.source, who.earlier,
        )

    def _synonyms_agree(self, properties: dict[str, Scalar], named: list[str]) -> None:
        """Of properties that say the same thing the first is taken; a warning where another says something else."""
        for other in named[1:]:
            if properties[other] != properties[named[0]]:
                self.warnings.append(f"properties.{other} differs from properties.{named[0]}, which is taken: send one "
                                     "of them, or both the same")

    def _id(self, properties: dict[str, Scalar], name: str) -> str | None:
        """Take an id out of the properties; what is none stays there, with a warning."""
        value = properties.get(name)
        if value is None or value == "":
            properties.pop(name, None)
            return None
        try:
            text = id_of(value)
            if len(text) > ID_CHARS_MAX:
                raise ValueError(f"an id has at most {ID_CHARS_MAX} characters")
        except ValueError as error:
            self.warnings.append(f"properties.{name} is kept as a property only: {error}")
            return None
        del properties[name]
        return text


def moment_ms(event: SegmentEvent, received_ms: int, warnings: list[str]) -> int:
    """When it happened by our clock, corrected for the sender's as Segment does.

    An event that has both `timestamp` and `originalTimestamp` was corrected before it came here.
    """
    happened = event.timestamp or event.original_timestamp
    if happened is None:
        return received_ms
    at_ms = epoch_ms(happened)
    corrected = event.timestamp is not None and event.original_timestamp is not None
    if event.sent_at is not None and not corrected:
        at_ms = received_ms - (epoch_ms(event.sent_at) - at_ms)
    if at_ms < 0:
        raise invalid(FieldError("/timestamp", "lies before 1970: send when it happened, or leave it out"))
    if at_ms > received_ms:
        warnings.append("timestamp lies in the future and is taken as now: is the sender's clock right?")
        return received_ms
    return at_ms


def epoch_ms(moment: datetime) -> int:
    """A moment as epoch milliseconds, exactly; one without a zone is in UTC."""
    return millis(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))


def source_of(context: EventContext, warnings: list[str]) -> str:
    """The library that sent it, "" where none is named."""
    library = context.library
    name = library.get("name") if isinstance(library, dict) else None
    if not isinstance(name, str):
        return ""
    if inside := found_in(name):
        warnings.append(f"context.library.name was dropped: it holds {inside}")
        return ""
    return name[:_SOURCE_CHARS_MAX]
