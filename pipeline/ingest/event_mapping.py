"""Segment-shaped events to the core's events. No I/O: the time of receipt and the hashing come as arguments.

Raw identifiers are hashed and personal fields dropped here; nothing of either is in what comes out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pipeline.core.consent.answers import ANSWERS_MAX
from pipeline.core.hashing import digest
from pipeline.core.identity.identifiers import key_of
from pipeline.core.identity.identity_rules import DEFAULT, USER_ID
from pipeline.core.keys import is_account
from pipeline.core.model.bounds import CONSENTS_PER_EVENT_MAX, NAME_CHARS_MAX
from pipeline.core.model.definitions import Policy
from pipeline.core.model.records import (
    COUNTED,
    ConsentGrant,
    FeedbackEvent,
    FeedbackKind,
    Identifier,
    IdentityEvent,
    IdentityKind,
    Membership,
    Scalar,
)
from pipeline.core.model.values import replaced
from pipeline.core.rules.cel.functions import EvaluationError, zone
from pipeline.ingest.event_bodies import EventContext, GroupMembership, SegmentEvent
from pipeline.ingest.event_fields import ABOUT_IT, ITEM_IDS, Said, moment_ms, source_of
from pipeline.ingest.event_subjects import Hash, Subjects
from pipeline.ingest.field_types import id_of
from pipeline.ingest.group_mapping import account_event
from pipeline.ingest.personal_fields import kept
from pipeline.ingest.personal_texts import found_in
from pipeline.ingest.refusal import FieldError, RefusedError, invalid

#: Track names that are feedback on an item, lower-cased; the kinds' own names are among them.
FEEDBACK_NAMES: Final[Mapping[str, FeedbackKind]] = {
    **{kind.value: kind for kind in COUNTED},
    "impression": FeedbackKind.VIEW,
    "product viewed": FeedbackKind.VIEW,
    "promotion viewed": FeedbackKind.VIEW,
    "product clicked": FeedbackKind.CLICK,
    "promotion clicked": FeedbackKind.CLICK,
    "offer accepted": FeedbackKind.CONVERSION,
    "offer dismissed": FeedbackKind.DISMISSAL,
}

#: The track event by which Segment's consent management updates a profile.
CONSENT_UPDATED: Final = "segment consent preference updated"

#: Orders with a list of products, each of which is a conversion.
ORDERS: Final = frozenset(("order completed", "completed order"))
PRODUCTS_MAX: Final = 50

#: The types whose record goes to somebody else than the person whom userId or anonymousId names.
_OF_OTHERS: Final = frozenset(("alias", "unmerge", "logout", "reset"))

#: What is named as the source of a refusal by a browser's global privacy control.
GPC_SOURCE: Final = "gpc"


@dataclass(slots=True)
class Mapped:
    """The core's events, each under its subject's key, and what was left out on the way."""

    #: Two of a group: the account's, and the member's.
    events: Sequence[IdentityEvent | FeedbackEvent]
    warnings: list[str] = field(default_factory=list)


class EventMapper:
    """Maps the events of one tenant. `hash_of` raises IdentifierError for what is no identifier.

    `policy`: the live one, None where nothing is live. Consent for a purpose it does not have is kept, with a warning.
    """

    def __init__(
        self, tenant: str, hash_of: Hash, account_of: Callable[[str, str], Identifier], policy: Policy | None = None,
        refused: bool = False,
    ) -> None:
        """`account_of(id, pointer)`: an account by its hashes; raises RefusedError naming the field.

        :param refused: whether the browser's global privacy control refuses what the policy says that it does.
        """
        self._refused = () if policy is None or not refused else policy.gpc
        self._tenant = tenant
        self._subjects = Subjects(hash_of, DEFAULT if policy is None else policy.identity)
        self._account_of = account_of
        self._policy = policy

    def map(self, event: SegmentEvent, received_ms: int, made_up_id: str) -> Mapped:
        """One event. Raises RefusedError naming what is wrong with it."""
        mapped = self._mapped(event, received_ms, made_up_id)
        first = mapped.events[-1]
        if self._refused:
            who = self._person(event, []) if event.type in _OF_OTHERS else None
            subject, earlier = (self._key(who), who.earlier) if who is not None else (first.subject, first.earlier)
            if not is_account(subject):
                no = IdentityEvent(f"{first.event_id}/gpc", subject, IdentityKind.CONSENT, received_ms,
                                   consent=self._of_browser(received_ms), source=GPC_SOURCE, earlier=earlier)
                mapped.events = [no, *mapped.events]
        return mapped

    def noes(self, event: SegmentEvent, received_ms: int, made_up_id: str) -> Mapped:
        """Of what `clear_noes.refusing` left of an event that cannot be accepted: what is refused in it, of whom it can
        be told; nothing that permits. No event where nothing is."""
        id_ = event.message_id or made_up_id
        if len(id_) > NAME_CHARS_MAX or found_in(id_):
            id_ = digest("event", id_)
        try:
            at_ms = moment_ms(event, received_ms, [])
        except RefusedError:
            at_ms = received_ms
        warnings: list[str] = []
        said = Said(event, id_, at_ms, source_of(event.context, []), warnings)
        events: list[IdentityEvent | FeedbackEvent] = []
        who = self._person(event, warnings)
        if who is not None:
            grants = [*self._noes_of(said, "consent"), *self._of_browser(received_ms)]
            events += [one.identity(self._tenant, who, IdentityKind.CONSENT, consent=some)
                       for one, some in _apart(said, grants)]
        if event.type == "group" and event.group_id is not None:
            grants = self._noes_of(said, "accountConsent")
            try:
                account = self._account_of(event.group_id, "/groupId")
            except RefusedError:
                grants = []
            for one, some in _apart(replace(said, id=f"{id_}/account"), grants):
                of_account = account_event(one.id, self._tenant, account, {}, some, at_ms, said.source, [])
                events += [of_account] if of_account is not None else []
        return Mapped(events, warnings)

    def _noes_of(self, said: Said, part: Literal["consent", "accountConsent"]) -> list[ConsentGrant]:
        """As many as a profile keeps; those of the live policy's purposes first, as others bind nobody."""
        try:
            grants = [one for one in said.consent(self._policy, part) if not one.granted]
        except RefusedError:
            return []
        known = self._policy.purposes if self._policy is not None else {}
        return sorted(grants, key=lambda one: one.purpose not in known)[:ANSWERS_MAX]

    def _of_browser(self, received_ms: int) -> list[ConsentGrant]:
        return [ConsentGrant(name, False, received_ms, source=GPC_SOURCE) for name in self._refused]

    def _person(self, event: SegmentEvent, warnings: list[str]) -> Identifier | None:
        """Whom userId or anonymousId, or the traits of an identify, name; None where none of them does."""
        traits = dict(event.traits) if event.type == "identify" else None
        if event.user_id is None and event.anonymous_id is None and not traits:
            return None
        try:
            return self._subjects.of(event, warnings, traits)[0]
        except RefusedError:
            return None

    def _mapped(self, event: SegmentEvent, received_ms: int, made_up_id: str) -> Mapped:
        warnings: list[str] = []
        at_ms = moment_ms(event, received_ms, warnings)
        id_ = event.message_id or made_up_id
        if len(id_) > NAME_CHARS_MAX:
            id_ = digest("event", id_)
            warnings.append(f"messageId has over {NAME_CHARS_MAX} characters: its hash is the event's id")
        elif inside := found_in(id_):
            id_ = digest("event", id_)
            warnings.append(f"messageId holds {inside}: its hash is the event's id")
        said = Said(event, id_, at_ms, source_of(event.context, warnings), warnings)
        alone = {"alias": self._alias, "unmerge": self._unmerge, "logout": self._logout, "reset": self._logout,
                 "identify": self._identify}.get(event.type)
        if event.type == "group":
            return Mapped(self._group(said), warnings)
        if any(event.context.consents("accountConsent")):
            warnings.append("context.accountConsent is taken of group events only: nothing of it is applied")
        if alone is not None:
            return Mapped([*self._consent_beside(said), alone(said)], warnings)
        subject, _ = self._subjects.of(event, warnings)
        beside = self._consent_beside(said, subject)
        if event.type in ("page", "screen"):
            return Mapped([*beside, self._page(said, subject)], warnings)
        return Mapped([*beside, *self._track(said, subject)], warnings)

    def _consent_beside(self, said: Said, who: Identifier | None = None) -> list[IdentityEvent]:
        """What the person allows, where an event about something else says it too: consent platforms put it into every
        call. Before that event, which may be learnt or not by it."""
        event = said.event
        if not any(event.context.consents()) or event.type == "identify" or _updates_consent(event):
            return []
        grants = said.consent(self._policy)
        if not grants:
            return []
        if who is None and event.user_id is None and event.anonymous_id is None:
            said.warnings.append("context.consent is a person's, and neither userId nor anonymousId names one: nothing "
                                 "of it is applied")
            return []
        if who is None:
            who, _ = self._subjects.of(event, said.warnings)
        stated = replace(said, id=f"{said.id}/consent")
        return [stated.identity(self._tenant, who, IdentityKind.CONSENT, consent=grants)]

    # -- who ------------------------------------------------------------------------------------------------------

    def _key(self, known: Identifier) -> str:
        return key_of(self._tenant, known)

    def _alias(self, said: Said) -> IdentityEvent:
        event, need = said.event, "an alias needs both userId and previousId"
        winner = self._subjects.required(event.user_id, "/userId", USER_ID, need)
        given_up = self._subjects.required(event.previous_id, "/previousId", event.previous_id_type, need)
        if winner.hash == given_up.hash:
            raise invalid(FieldError("/previousId", "is the userId itself: name the identifier that is given up"))
        return said.identity(self._tenant, given_up, IdentityKind.ALIAS, alias_of=self._key(winner),
                             alias_earlier=winner.earlier)

    def _unmerge(self, said: Said) -> IdentityEvent:
        event = said.event
        need = "an unmerge names in previousId the identifier that leaves the profile it belongs to"
        leaving = self._subjects.required(event.previous_id, "/previousId", event.previous_id_type, need)
        return said.identity(self._tenant, leaving, IdentityKind.UNMERGE)

    def _logout(self, said: Said) -> IdentityEvent:
        subject, others = self._subjects.released(said.event, said.warnings)
        return said.identity(self._tenant, subject, IdentityKind.LOGOUT, identifiers=others)

    # -- what -----------------------------------------------------------------------------------------------------

    def _identify(self, said: Said) -> IdentityEvent:
        traits = dict(said.event.traits)
        subject, others = self._subjects.of(said.event, said.warnings, traits)
        account = _account(traits, said.event.context, said.warnings)
        membership = None if account is None else self._membership(self._account_of(*account))
        declared = None if self._policy is None else self._policy.traits
        known = kept(traits, "traits", said.warnings, of_a_person=True, declared=declared)
        if self._policy is not None:
            _warn_of_zone(known.get(self._policy.zone_trait), self._policy.zone_trait, said.warnings)
        return said.identity(
            self._tenant, subject, IdentityKind.IDENTIFY, traits=known,
            consent=said.consent(self._policy), identifiers=others, membership=membership,
        )

    def _group(self, said: Said) -> list[IdentityEvent | FeedbackEvent]:
        """What is said of the account, and that the person, where one is named, is a member of it or no longer."""
        event = said.event
        if event.group_id is None:
            raise invalid(FieldError("/groupId", "a group event names the account: whose traits are these?"))
        account = self._account_of(event.group_id, "/groupId")
        events: list[IdentityEvent | FeedbackEvent] = []
        of_account = said.consent(self._policy, "accountConsent")
        own = account_event(f"{said.id}/account", self._tenant, account, event.traits, of_account,
                            said.at_ms, said.source, said.warnings,
                            None if self._policy is None else self._policy.account)
        if own is not None:
            events.append(own)
        if event.user_id is not None or event.anonymous_id is not None:
            subject, _ = self._subjects.of(event, said.warnings)
            given = event.membership or GroupMembership()
            roles = [role for role in given.all_roles if not found_in(role)]
            if len(roles) < len(given.all_roles):
                said.warnings.append("a role was dropped: it holds an e-mail address or a phone number")
            membership = self._membership(account, roles, given.left, given.primary)
            # Consent platforms put the person's choice into every call: it is never the account's.
            events.append(said.identity(self._tenant, subject, IdentityKind.GROUP, membership=membership,
                                        consent=said.consent(self._policy)))
        elif event.membership is not None:
            raise invalid(FieldError("/membership", "whose is it? send userId or anonymousId with it"))
        elif any(event.context.consents()):
            said.warnings.append("context.consent is a person's, and none is named: what the account allows goes into "
                                 "context.accountConsent")
        if not events:
            raise invalid(FieldError("/traits", "nothing is said: send traits of the account, or who is its member"))
        return events

    def _membership(self, account: Identifier, *more: Any) -> Membership:
        return replaced(Membership(self._key(account), *more), earlier=account.earlier)

    def _page(self, said: Said, subject: Identifier) -> FeedbackEvent:
        properties = kept(said.event.properties, "properties", said.warnings)
        path, url = properties.get("path"), properties.get("url")
        if not isinstance(path, str):
            path = _path_of(url) if isinstance(url, str) else ""
        name = said.cut(path or said.event.name or "", "name")
        return said.feedback(self._tenant, subject, FeedbackKind.PAGE, name, properties)

    def _track(self, said: Said, who: Identifier) -> Sequence[IdentityEvent | FeedbackEvent]:
        name = said.cut((said.event.event or "").strip(), "event")
        if not name:
            raise invalid(FieldError("/event", "a track event needs a name"))
        lowered = name.lower()
        if _updates_consent(said.event):
            grants = said.consent(self._policy)
            if not grants and said.warnings:
                raise invalid(FieldError("/context/consent", said.warnings[-1]))
            return [said.identity(self._tenant, who, IdentityKind.CONSENT, consent=grants)]
        said_of = dict(said.event.properties)
        products = said_of.pop("products", None) if lowered in ORDERS else None
        properties = kept(said_of, "properties", said.warnings)
        if products is not None:
            return self._order(said, who, name, properties, products)
        kind = FEEDBACK_NAMES.get(lowered)
        if kind is None:
            return [said.feedback(self._tenant, who, FeedbackKind.TRACK, name, properties)]
        feedback = said.feedback(self._tenant, who, kind, kind.value, properties)
        if feedback.item_id is None and feedback.decision_id is None:
            said.warnings.append(f"properties names neither item_id nor decision_id: this {kind.value} is of no item")
        self._doubt_places(said, feedback)
        return [feedback]

    def _order(
        self, said: Said, who: Identifier, name: str, properties: dict[str, Scalar], products: Any
    ) -> list[IdentityEvent | FeedbackEvent]:
        """The order as behaviour under its own name, and a conversion of each of its products. Each has an id of its
        own, made of the order's: to send the order again counts nothing twice."""
        events: list[IdentityEvent | FeedbackEvent] = [
            said.feedback(self._tenant, who, FeedbackKind.TRACK, name, properties)]
        if not isinstance(products, list):
            said.warnings.append("properties.products was dropped: it is no list of products")
            return events
        if len(products) > PRODUCTS_MAX:
            said.warnings.append(f"properties.products has {len(products)} entries: the first {PRODUCTS_MAX} are kept")
        about = {key: value for key, value in properties.items() if key in ABOUT_IT}
        for place, product in enumerate(products[:PRODUCTS_MAX]):
            fields = kept(product, f"properties.products[{place}]", said.warnings) if isinstance(product, dict) else {}
            if not any(fields.get(key) is not None for key in ITEM_IDS):
                said.warnings.append(f"properties.products[{place}] was dropped: it names no item_id or product_id")
                continue
            if "value" not in fields and "price" in fields:
                worth = _worth(fields["price"], fields.get("quantity", 1))
                if worth is not None:
                    fields["value"] = worth
                elif fields["price"] is not None:
                    said.warnings.append(f"properties.products[{place}].value was left out: price times quantity is no "
                                         "number")
            one = replace(said, id=f"{said.id}/{place}")
            events.append(one.feedback(self._tenant, who, FeedbackKind.CONVERSION, FeedbackKind.CONVERSION.value,
                                       {**about, **fields}))
        return events

    def _doubt_places(self, said: Said, feedback: FeedbackEvent) -> None:
        """A placement or channel that the live policy does not have is probably misspelt."""
        if self._policy is None:
            return
        for what, name, known in (("placement", feedback.placement, self._policy.placements),
                                  ("channel", feedback.channel, self._policy.channels)):
            if name is not None and name not in known:
                said.warnings.append(f"properties.{what} is none of the live policy ({', '.join(sorted(known)[:20])}): "
                                     "the decision's own is taken, where it is remembered")


def _apart(said: Said, grants: list[ConsentGrant]) -> Iterator[tuple[Said, list[ConsentGrant]]]:
    """Statements in as many events as they need, each with an id of its own: what it says is part of it, so that the
    event itself, sent again once it is corrected, is another."""
    for start in range(0, len(grants), CONSENTS_PER_EVENT_MAX):
        some = grants[start : start + CONSENTS_PER_EVENT_MAX]
        content = "".join(sorted(f"{one.purpose}/{one.channel}/{one.basis}/" for one in some))
        yield replace(said, id=f"{said.id}/no/{digest('noes', content)[:16]}"), some


def _updates_consent(event: SegmentEvent) -> bool:
    return event.type == "track" and (event.event or "").strip().lower() == CONSENT_UPDATED


def _account(traits: dict[str, Any], context: EventContext, warnings: list[str]) -> tuple[str, str] | None:
    """The id of the account (B2B) the person belongs to, and where it stands: `traits.company.id` or `context.groupId`.
    """
    company = traits.get("company")
    if isinstance(company, dict):
        del traits["company"]
        given = company.get("id")
        if given is None or given == "":
            warnings.append("traits.company was dropped: it has no id to know the account by")
        else:
            try:
                return id_of(given), "/traits/company/id"
            except ValueError as error:
                warnings.append(f"traits.company.id was dropped: {error}")
    return None if context.group_id is None else (context.group_id, "/context/groupId")


def _path_of(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def _worth(price: Scalar, quantity: Scalar) -> float | None:
    """None where that is no number there can be."""
    numbers = [one for one in (price, quantity) if isinstance(one, int | float) and not isinstance(one, bool)]
    worth = float(numbers[0] * numbers[1]) if len(numbers) == 2 else math.nan
    return worth if math.isfinite(worth) else None


def _warn_of_zone(given: Scalar, trait: str, warnings: list[str]) -> None:
    """Quiet hours keep whoever's time nobody knows."""
    if given is None:
        return
    try:
        zone(str(given))
    except EvaluationError:
        warnings.append(f"traits.{trait} is no time zone as Europe/Berlin or +01:00: quiet hours, and rules that read "
                        "the local time, stop what they are asked about")
