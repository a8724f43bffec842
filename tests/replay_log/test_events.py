"""What one impression becomes on the topics: the right kinds, ids that never change, nothing that was not logged."""

from __future__ import annotations

from dataclasses import replace

from pipeline.core.model.records import FeedbackKind
from replay_log.events import Run, decision_request, feedback_events, identity_events
from replay_log.rows import Impression

RUN = Run("r1", purpose="ads")
BARE = Impression(7, "t/s", "i1", "home", "app", scenario="sale")
FULL = replace(
    BARE, clicked=True, converted=True, dismissed=True, value=9.5, logged_at_ms=1_574_553_634_762,
    traits={"age": 30}, attributes={"page": "/"}, consent=False,
)


def test_a_row_that_says_nothing_about_its_subject_sends_no_identity() -> None:
    assert identity_events(RUN, BARE, 5) == []


def test_traits_and_consent_are_events_of_their_own() -> None:
    traits, consent = identity_events(RUN, FULL, 5)
    assert (traits.event_id, traits.kind, traits.traits, traits.at_ms) == ("r1-7-traits", "traits", {"age": 30}, 5)
    (grant,) = consent.consent
    assert (consent.event_id, grant.purpose, grant.granted, grant.at_ms) == ("r1-7-consent", "ads", False, 5)


def test_consent_without_a_purpose_in_the_mapping_is_not_sent() -> None:
    assert [event.kind for event in identity_events(Run("r1"), FULL, 5)] == ["traits"]


def test_the_request_asks_for_the_logged_place() -> None:
    request = decision_request(RUN, FULL, 3)
    assert (request.request_id, request.subject, request.reply_partition) == ("r1-7-decide", "t/s", 3)
    assert (request.channel, request.placements, request.scenario) == ("app", ["home"], "sale")
    assert (request.attributes, request.require_consent, request.deadline_ms) == ({"page": "/"}, True, None)
    assert decision_request(Run("r1", require_consent=False), FULL, 3).require_consent is False


def test_a_request_says_in_its_digest_what_it_asks() -> None:
    same = decision_request(RUN, FULL, 3).digest
    assert decision_request(RUN, replace(FULL, row=8), 9).digest == same
    for other in (replace(FULL, placement="x"), replace(FULL, subject="t/x"), replace(FULL, attributes={"page": "/x"})):
        assert decision_request(RUN, other, 3).digest != same


def test_only_what_was_logged_becomes_feedback() -> None:
    (view,) = feedback_events(RUN, BARE, 5, None)
    assert (view.event_id, view.kind, view.item_id) == ("r1-7-view", "view", "i1")
    assert (view.placement, view.channel) == ("home", "app")
    assert (view.value, view.properties, view.decision_id) == (None, {}, None)


def test_the_value_goes_with_the_conversion_or_else_the_click() -> None:
    events = feedback_events(RUN, FULL, 5, "d1")
    assert [event.kind for event in events] == [
        FeedbackKind.VIEW, FeedbackKind.CLICK, FeedbackKind.CONVERSION, FeedbackKind.DISMISSAL,
    ]
    assert [event.value for event in events] == [None, None, 9.5, None]
    assert [event.value for event in feedback_events(RUN, replace(FULL, converted=False), 5, None)] == [None, 9.5, None]
    assert {event.decision_id for event in events} == {"d1"}


def test_events_carry_the_replays_time_and_the_logged_one_beside_it() -> None:
    (view, *_) = feedback_events(RUN, FULL, 5, None)
    assert view.at_ms == 5
    assert view.properties == {"logged_at": "2019-11-24T00:00:34.762000+00:00"}
    assert view.source == "replay-log/r1"
