"""Segment's events to ours: kinds, identifiers, times, consent, and what stays at the edge."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from pipeline.core.identity import identifiers
from pipeline.core.identity.accounts import account_key
from pipeline.core.model.definitions import Policy
from pipeline.core.model.records import (
    Basis,
    ConsentGrant,
    FeedbackEvent,
    FeedbackKind,
    IdentityEvent,
    IdentityKind,
    Membership,
    OptIn,
)
from pipeline.ingest.event_bodies import SegmentEvent
from pipeline.ingest.event_mapping import EventMapper, Mapped
from pipeline.ingest.group_mapping import account_of
from pipeline.ingest.refusal import RefusedError
from tests.core.build import made
from tests.core.test_tcf import EXAMPLE, TCF

NOW_MS = 1_700_000_000_000
KEY = (b"k",)


def mapped(policy: Policy | None = None, **event: Any) -> Mapped:
    body = {"type": "track", "userId": "ann", "event": "Song Played"} | event
    mapper = EventMapper("shop", partial(identifiers.identifier, KEY, "shop"), partial(account_of, KEY, "shop"), policy)
    return mapper.map(SegmentEvent.model_validate(body), NOW_MS, "made-up")


def feedback(**event: Any) -> FeedbackEvent:
    found = mapped(**event).events[0]
    assert isinstance(found, FeedbackEvent)
    return found


def identified(**event: Any) -> tuple[IdentityEvent, list[str]]:
    found = mapped(type="identify", **event)
    assert isinstance(found.events[0], IdentityEvent)
    return found.events[0], found.warnings


def hash_of(type_: str, value: str) -> str:
    return identifiers.identifier(KEY, "shop", type_, value).hash


@pytest.mark.parametrize(("name", "kind"), [
    ("view", FeedbackKind.VIEW), ("Impression", FeedbackKind.VIEW), ("Product Viewed", FeedbackKind.VIEW),
    ("CLICK", FeedbackKind.CLICK), ("Promotion Clicked", FeedbackKind.CLICK), ("conversion", FeedbackKind.CONVERSION),
    ("Dismissal", FeedbackKind.DISMISSAL), ("offer dismissed", FeedbackKind.DISMISSAL),
])
def test_a_track_event_of_a_known_name_is_feedback(name: str, kind: FeedbackKind) -> None:
    event = feedback(event=name, properties={
        "item_id": "i1", "decision_id": "d1", "placement": "hero", "channel": "web", "value": 3, "colour": "red",
    })
    assert (event.kind, event.name) == (kind, kind.value)
    assert (event.item_id, event.decision_id, event.placement, event.channel, event.value) == (
        "i1", "d1", "hero", "web", 3.0)
    assert event.properties == {"value": 3, "colour": "red"}


@pytest.mark.parametrize("name", ["Order Completed", "clicked around", "Views", "Product Added"])
def test_any_other_name_is_behaviour_under_that_name(name: str) -> None:
    event = feedback(event=name, properties={"product_id": "p1", "revenue": 9.5, "name": "Tent"})
    assert (event.kind, event.name, event.item_id, event.value) == (FeedbackKind.TRACK, name, "p1", 9.5)
    assert event.properties == {"revenue": 9.5, "name": "Tent"}


def test_feedback_on_nothing_is_taken_with_a_warning() -> None:
    assert mapped(event="click").warnings == [
        "properties names neither item_id nor decision_id: this click is of no item"
    ]


@pytest.mark.parametrize(("event", "name"), [
    ({"properties": {"path": "/tents", "url": "https://shop.example/other"}, "name": "Tents"}, "/tents"),
    ({"properties": {"url": "https://shop.example/tents?utm=1#top"}}, "/tents"),
    ({"name": "Tents"}, "Tents"),
    ({"properties": {"url": "http://[broken"}}, ""),
    ({}, ""),
])
def test_a_page_is_named_by_its_path(event: dict[str, Any], name: str) -> None:
    found = feedback(type="page", **event)
    assert (found.kind, found.name) == (FeedbackKind.PAGE, name)


# -- who ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ids", "subject"), [
    ({"userId": "ann", "anonymousId": "v1"}, ("user_id", "ann")),
    ({"userId": None, "anonymousId": "v1"}, ("anonymous_id", "v1")),
    ({"userId": "", "anonymousId": "v1"}, ("anonymous_id", "v1")),
    ({"userId": "null", "anonymousId": "v1"}, ("anonymous_id", "v1")),
    ({"userId": 17}, ("user_id", "17")),
])
def test_the_user_id_says_whose_event_it_is_and_else_the_anonymous_id(
    ids: dict[str, Any], subject: tuple[str, str]
) -> None:
    assert feedback(**ids).subject == f"shop/{hash_of(*subject)}"


def test_a_placeholder_beside_a_good_identifier_is_dropped_with_a_warning() -> None:
    [warning] = mapped(userId="undefined", anonymousId="v1").warnings
    assert warning.startswith("userId was dropped: this value stands for nobody")


def test_without_any_identifier_the_event_is_nobodys() -> None:
    with pytest.raises(RefusedError) as caught:
        mapped(userId=None)
    assert caught.value.errors[0].pointer == "/userId"


def test_identify_hashes_the_other_identifiers_and_takes_them_out_of_the_traits() -> None:
    event, warnings = identified(
        anonymousId="v1", traits={"email": "Ann@example.com", "phone": "+1 415 555 0100", "plan": "plus"},
        context={"device": {"id": "D-1", "advertisingId": "6D92078A"}},
    )
    assert {(one.type, one.hash) for one in event.identifiers} == {
        ("anonymous_id", hash_of("anonymous_id", "v1")), ("email", hash_of("email", "ann@example.com")),
        ("phone", hash_of("phone", "+14155550100")), ("device", hash_of("device", "6d92078a")),
    }
    assert event.traits == {"plan": "plus"}
    assert warnings == []


def test_an_identifier_that_is_none_is_dropped_without_being_repeated() -> None:
    event, warnings = identified(traits={"email": "ann at example", "phone": 17})
    assert (event.identifiers, event.traits) == ([], {})
    assert [warning.split(":")[0] for warning in warnings] == ["traits.email was dropped", "traits.phone was dropped"]
    assert "ann at example" not in str(warnings)


# -- what stays at the edge -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [
    "name", "firstName", "first_name", "last-name", "Last Name", "address", "birthday", "date_of_birth", "ip",
    "ipAddress", "username", "creditCard",
])
def test_personal_traits_are_dropped_and_named(name: str) -> None:
    event, warnings = identified(traits={name: "secret", "plan": "plus"})
    assert event.traits == {"plan": "plus"}
    assert warnings == [f"traits.{name} was dropped: personal data stays at the edge"]


@pytest.mark.parametrize("text", [
    "ann@example.com", "mail ann.b+c@mail.example.co.uk now", "https://shop.example/?u=ann%40example.com",
])
def test_an_email_address_in_any_text_is_dropped(text: str) -> None:
    found = mapped(properties={"note": text, "kept": "at @home.page"})
    assert isinstance(found.events[0], FeedbackEvent)
    assert found.events[0].properties == {"kept": "at @home.page"}
    [warning] = found.warnings
    assert warning.startswith("properties.note was dropped: it holds an e-mail address")


@pytest.mark.parametrize("value", [[1], {"a": 1}, float("nan"), float("inf"), 2**63, "x" * 1_025])
def test_values_that_no_rule_could_read_are_dropped_and_named(value: Any) -> None:
    event, [warning] = identified(traits={"odd": value, "plan": "plus"})
    assert event.traits == {"plan": "plus"}
    assert warning.startswith("traits.odd was dropped")


def test_fields_and_warnings_are_bounded() -> None:
    event, warnings = identified(traits={f"t{number}": number for number in range(300)})
    assert (len(event.traits), len(warnings)) == (200, 20)


ACME = account_key(KEY, "shop", "acme")


def test_the_account_is_the_company_and_else_the_group() -> None:
    assert identified(traits={"company": {"id": "acme", "name": "Acme"}})[0].membership == Membership(ACME)
    assert identified(context={"groupId": "acme"})[0].membership == Membership(ACME)
    assert identified()[0].membership is None


def test_a_group_is_said_of_the_account_and_of_its_member() -> None:
    found = mapped(type="group", messageId="m", groupId="acme", membership={"role": "admin", "primary": True},
                   traits={"plan": "pro", "name": "Acme", "contract": {"starts": "2026-01-31", "ends": "2027-01-31"}},
                   context={"accountConsent": {"categoryPreferences": {"contact/email": True}},
                            "consent": {"categoryPreferences": {"marketing": False}}})
    account, member = found.events
    assert isinstance(account, IdentityEvent) and isinstance(member, IdentityEvent)
    assert account.subject == ACME and account.event_id != member.event_id == "m"
    assert account.traits == {"plan": "pro", "name": "Acme", "contract_starts": "2026-01-31T00:00:00+00:00",
                              "contract_ends": "2027-01-31T00:00:00+00:00"}
    assert [(one.purpose, one.channel, one.granted) for one in account.consent] == [("contact", "email", True)]
    assert member.membership == Membership(ACME, ["admin"], False, True)
    assert not member.traits, "what a group says is said of the account"
    assert [(one.purpose, one.granted) for one in member.consent] == [("marketing", False)]


def test_a_persons_choice_in_a_group_is_never_the_accounts() -> None:
    """Consent platforms put it into every call that a site makes."""
    found = mapped(type="group", userId="u", groupId="acme", traits={"plan": "pro"},
                   context={"consent": {"categoryPreferences": {"contact": True}}})
    assert [bool(event.consent) for event in found.events if isinstance(event, IdentityEvent)] == [False, True]
    alone = mapped(type="group", userId=None, groupId="acme", traits={"plan": "pro"},
                   context={"consent": {"categoryPreferences": {"contact": True}}})
    assert [event.consent for event in alone.events if isinstance(event, IdentityEvent)] == [[]]
    assert "context.accountConsent" in alone.warnings[-1]


def test_an_account_s_key_is_no_person_s_and_no_other_tenant_s() -> None:
    assert ACME.startswith("shop/@") and account_key(KEY, "shop", " acme ") == ACME
    assert ACME[6:] != account_key(KEY, "club", "acme")[6:]
    assert ACME[6:] not in {hash_of(type_, "acme") for type_ in ("user_id", "external_id")}


@pytest.mark.parametrize(("event", "pointer"), [
    ({}, "/groupId"),
    ({"groupId": "null"}, "/groupId"),
    ({"groupId": "acme", "traits": {"contract": "gold"}}, "/traits/contract"),
    ({"groupId": "acme", "traits": {"contract": {"begins": "2026-01-01"}}}, "/traits/contract"),
    ({"groupId": "acme", "traits": {"contract": {"ends": "next year"}}}, "/traits/contract/ends"),
    ({"groupId": "acme", "traits": {"contract": {"starts": "2027-01-01", "ends": "2026-01-01"}}},
     "/traits/contract/ends"),
    ({"groupId": "acme", "userId": None, "membership": {"role": "admin"}}, "/membership"),
    ({"groupId": "acme", "userId": None}, "/traits"),
])
def test_a_group_that_says_nothing_usable_is_refused_by_field(event: dict[str, Any], pointer: str) -> None:
    with pytest.raises(RefusedError) as caught:
        mapped(type="group", **event)
    assert [error.pointer for error in caught.value.errors] == [pointer]


# -- when -----------------------------------------------------------------------------------------------------------


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat()


SKEW_MS = 3_600_000


@pytest.mark.parametrize(("times", "at_ms"), [
    ({}, NOW_MS),
    ({"timestamp": iso(NOW_MS - 5_000)}, NOW_MS - 5_000),
    # The sender's clock is an hour ahead, then an hour behind; the event lay a minute before it was sent.
    ({"timestamp": iso(NOW_MS + SKEW_MS - 60_000), "sentAt": iso(NOW_MS + SKEW_MS)}, NOW_MS - 60_000),
    ({"originalTimestamp": iso(NOW_MS - SKEW_MS - 60_000), "sentAt": iso(NOW_MS - SKEW_MS)}, NOW_MS - 60_000),
    # Corrected already, by whoever passed it on.
    ({"timestamp": iso(NOW_MS - 9_000), "originalTimestamp": iso(NOW_MS + SKEW_MS), "sentAt": iso(NOW_MS + SKEW_MS)},
     NOW_MS - 9_000),
    ({"sentAt": iso(NOW_MS - SKEW_MS)}, NOW_MS),
    ({"timestamp": iso(NOW_MS - 5_000).replace("+00:00", "")}, NOW_MS - 5_000),
])
def test_the_time_is_corrected_for_the_senders_clock(times: dict[str, str], at_ms: int) -> None:
    assert feedback(**times).at_ms == at_ms


def test_the_future_is_now_with_a_warning() -> None:
    found = mapped(timestamp=iso(NOW_MS + 1))
    assert found.events[0].at_ms == NOW_MS
    assert "lies in the future" in found.warnings[0]


# -- consent --------------------------------------------------------------------------------------------------------


def test_consent_is_by_purpose_and_channel() -> None:
    answers = {"marketing": True, "marketing/email": False}
    event, warnings = identified(context={"consent": {"categoryPreferences": answers}})
    assert [(one.purpose, one.channel, one.granted, one.at_ms) for one in event.consent] == [
        ("marketing", None, True, NOW_MS), ("marketing", "email", False, NOW_MS)]
    assert (event.kind, warnings) == (IdentityKind.IDENTIFY, [])


def test_segments_own_consent_event_updates_the_profile() -> None:
    event = mapped(
        event="Segment Consent Preference Updated", context={"consent": {"categoryPreferences": {"marketing": False}}}
    ).events[0]
    assert isinstance(event, IdentityEvent)
    assert (event.kind, [one.granted for one in event.consent]) == (IdentityKind.CONSENT, [False])


def test_consent_for_a_channel_that_the_policy_does_not_know_is_kept_with_a_warning() -> None:
    found = mapped(made().policy, type="identify",
                   context={"consent": {"categoryPreferences": {"marketing/Web": False}}})
    assert isinstance(found.events[0], IdentityEvent) and found.events[0].consent[0].channel == "Web"
    assert found.warnings == ["consent for marketing/Web: no channel of the live policy (email, web)"]


def test_a_zone_that_is_none_is_a_warning() -> None:
    [said] = mapped(made().policy, type="identify", traits={"zone": "Asia/Tokio"}).warnings
    assert said.startswith("traits.zone is no time zone") and "Tokio" not in said
    assert mapped(made().policy, type="identify", traits={"zone": "Asia/Tokyo"}).warnings == []


def test_consent_for_a_purpose_that_the_policy_does_not_know_is_kept_with_a_warning() -> None:
    consent = {"categoryPreferences": {"Marketing": True}}
    found = mapped(made().policy, type="identify", context={"consent": consent})
    assert isinstance(found.events[0], IdentityEvent)
    assert found.events[0].consent
    assert found.warnings == ["consent for Marketing: no purpose of the live policy (marketing, personalization)"]


def test_ids_and_source_come_along() -> None:
    assert feedback(messageId="m1", context={"library": {"name": "analytics.js"}}).source == "analytics.js"
    assert feedback().event_id == "made-up"
    assert feedback(context={"library": "odd", "device": "odd"}).source == ""


def consents(policy: Policy | None, **consent: Any) -> list[tuple[str, str | None, bool]]:
    event = mapped(policy, type="identify", context={"consent": consent}).events[0]
    assert isinstance(event, IdentityEvent)
    return [(one.purpose, one.channel, one.granted) for one in event.consent]


#: What each type of event needs besides; a new type has to say so here.
NEEDED: dict[str, dict[str, Any]] = {
    "identify": {}, "track": {}, "page": {}, "screen": {}, "alias": {"previousId": "v1"}, "group": {"groupId": "acme"},
    "logout": {"anonymousId": "v1"}, "reset": {"anonymousId": "v1"}, "unmerge": {"previousId": "v1"},
}


@pytest.mark.parametrize("type_", get_args(SegmentEvent.model_fields["type"].annotation))
@pytest.mark.parametrize("granted", [True, False])
def test_what_the_person_allows_is_taken_of_an_event_of_any_type(type_: str, granted: bool) -> None:
    consent = {"categoryPreferences": {"marketing": granted}}
    found = mapped(made().policy, type=type_, context={"consent": consent}, messageId="m1", **NEEDED[type_])
    [stating] = [event for event in found.events if isinstance(event, IdentityEvent) and event.consent]
    assert stating.subject == f"shop/{hash_of('user_id', 'ann')}"
    assert [(one.purpose, one.granted) for one in stating.consent] == [("marketing", granted)]
    assert found.warnings == []
    others = [event for event in found.events if event is not stating]
    assert len({event.event_id for event in found.events}) == len(found.events)
    # Before what may be learnt of the person or not by it.
    assert not others or type_ == "group" or found.events[0] is stating


@pytest.mark.parametrize("name", ["click", "Order Completed", "view", "Song Played"])
def test_what_the_person_allows_is_taken_of_a_track_event_of_any_name(name: str) -> None:
    found = mapped(event=name, context={"consent": {"categoryPreferences": {"marketing": False}}})
    assert isinstance(found.events[0], IdentityEvent) and found.events[0].kind is IdentityKind.CONSENT
    assert isinstance(found.events[1], FeedbackEvent)


def test_what_is_wrong_with_an_identifier_is_said_once() -> None:
    consent = {"categoryPreferences": {"marketing": False}}
    found = mapped(type="page", userId="undefined", anonymousId="v1", context={"consent": consent})
    assert [event.subject for event in found.events] == [f"shop/{hash_of('anonymous_id', 'v1')}"] * 2
    assert len(found.warnings) == 1 and found.warnings[0].startswith("userId was dropped")


def test_consent_of_whom_no_event_names_is_warned_of() -> None:
    found = mapped(type="unmerge", userId=None, previousId="v1",
                   context={"consent": {"categoryPreferences": {"marketing": False}}})
    assert [event.kind for event in found.events if isinstance(event, IdentityEvent)] == [IdentityKind.UNMERGE]
    assert "neither userId nor anonymousId names one" in found.warnings[0]


def test_what_an_account_allows_is_taken_of_group_events_only_and_warned_of_elsewhere() -> None:
    for type_, more in NEEDED.items():
        consent = {"accountConsent": {"categoryPreferences": {"contact": False}}}
        warnings = mapped(type=type_, context=consent, **more).warnings
        assert any("accountConsent" in one for one in warnings) is (type_ != "group"), type_


WRONG_BESIDE: tuple[dict[str, Any], ...] = (
    {"zz#": True}, {"a/b/c": True}, {"x" * 129: True}, {"marketing": None}, {"marketing": "yes"},
    {"marketing": {"granted": "no"}}, {"marketing": {"granted": True, "expiresAt": "soon"}}, {"/web": True},
    {"marketing/": True},
    {f"c{number}": True for number in range(60)},
)


@pytest.mark.parametrize("wrong", WRONG_BESIDE, ids=range(len(WRONG_BESIDE)))
@pytest.mark.parametrize("part", ["consent", "accountConsent"])
def test_a_no_binds_whatever_is_wrong_beside_it_and_a_yes_does_not(wrong: dict[str, Any], part: str) -> None:
    beside = {"personalization": False, "contact": True, **wrong}
    found = mapped(type="group", groupId="acme", context={part: {"categoryPreferences": beside}})
    [stating] = [event for event in found.events if isinstance(event, IdentityEvent) and event.consent]
    assert [(one.purpose, one.granted) for one in stating.consent] == [("personalization", False)]
    assert any(f"context.{part}.categoryPreferences" in one for one in found.warnings)
    assert any("where it refuses only" in one for one in found.warnings)
    with pytest.raises((RefusedError, ValidationError)):
        mapped(type="group", groupId="acme", context={part: {"categoryPreferences": {"contact": True, **wrong}}})


@pytest.mark.parametrize("wrong", [5, ["CP"], {"v": 2}, "C" * 20_001])
def test_a_tc_string_that_is_no_text_loses_nothing_beside_it(wrong: Any) -> None:
    policy = made({"consent": {"tcf": TCF}}).policy
    consent = {"tcString": wrong, "categoryPreferences": {"marketing": False}}
    found = mapped(policy, type="identify", context={"consent": consent})
    assert isinstance(found.events[0], IdentityEvent)
    assert [(one.purpose, one.granted) for one in found.events[0].consent] == [("marketing", False)]
    assert any("tcString says nothing here" in warning for warning in found.warnings)


def test_another_systems_categories_become_the_policys_purposes() -> None:
    categories = {"C0004": ["marketing", "personalization"], "Letters": "marketing/email", "C0002": "personalization"}
    policy = made({"consent": {"categories": categories}}).policy
    assert consents(policy, categoryPreferences={"C0004": True, "Letters": False}) == [
        ("marketing", None, True), ("personalization", None, True), ("marketing", "email", False)]
    # Of two categories behind one purpose both must be allowed; a purpose's own name still does.
    for order in ({"C0004": True, "C0002": False}, {"C0002": False, "C0004": True}):
        assert ("personalization", None, False) in consents(policy, categoryPreferences=order)
    assert consents(policy, categoryPreferences={"marketing/web": True}) == [("marketing", "web", True)]


def test_a_tc_string_speaks_through_the_policys_mapping() -> None:
    policy = made({"consent": {"tcf": TCF}}).policy
    assert consents(policy, tcString=EXAMPLE) == [("marketing", None, False), ("personalization", None, True)]


def test_what_is_said_beside_a_tc_string_that_cannot_be_used_is_applied() -> None:
    policy = made({"consent": {"tcf": TCF}}).policy
    for wrong, said, by in ((EXAMPLE[:20], "was cut off", policy), ("no string!", "is not base64url", policy),
                            (EXAMPLE, "no consent.tcf", made().policy)):
        consent = {"tcString": wrong, "categoryPreferences": {"marketing": False}}
        found = mapped(by, type="identify", context={"consent": consent})
        assert isinstance(found.events[0], IdentityEvent)
        assert [(one.purpose, one.granted) for one in found.events[0].consent] == [("marketing", False)]
        assert any(said in warning for warning in found.warnings)
        # An event that is about consent alone and says nothing is refused.
        alone = {"event": "Segment Consent Preference Updated", "context": {"consent": {"tcString": wrong}}}
        with pytest.raises(RefusedError) as refused:
            mapped(by, type="track", **alone)
        assert said in refused.value.errors[0].message


def test_a_statement_may_say_its_basis_its_end_how_it_was_given_and_where_the_evidence_is() -> None:
    said = {"granted": True, "basis": "legitimate_interest", "optIn": "confirmed", "expiresAt": "2030-01-01T00:00:00Z",
            "source": "crm", "proof": "form-7"}
    event = mapped(type="identify", context={"consent": {"categoryPreferences": {"marketing/email": said}}}).events[0]
    assert isinstance(event, IdentityEvent)
    assert event.consent == [ConsentGrant("marketing", True, NOW_MS, "email", "crm", 1_893_456_000_000,
                                          Basis.LEGITIMATE_INTEREST, OptIn.CONFIRMED, "form-7")]


@pytest.mark.parametrize("wrong", [
    {"granted": True, "proof": "ann@example.com"}, {"granted": True, "proof": "from 192.0.2.7"},
    {"granted": True, "basis": "whim"}, {"granted": True, "optin": "pending"}, {"basis": "consent"}, "yes, please",
])
def test_a_statement_that_cannot_be_one_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        mapped(type="identify", context={"consent": {"categoryPreferences": {"marketing": wrong}}})
    [error] = refused.value.errors()
    assert error["loc"][-1] == "marketing"
