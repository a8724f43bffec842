"""The routing table: every pair of what comes and what lies there has an entry, and each entry is handled."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from pipeline.agents import inbox
from pipeline.core.model import (
    DecisionRequest,
    ErasureAction,
    ErasureRequest,
    FeedbackEvent,
    FeedbackKind,
    Identifier,
    IdentityEvent,
    IdentityKind,
    InboxRecord,
    LinkKind,
    LinkStep,
    Settlement,
)
from pipeline.core.profile import Profile
from pipeline.core.routing import ROTATION_STEPS, ROUTES, Payload, Route, State, payload_of, state_of

KEY = "shop/ann"
IDENTITY = IdentityEvent("e", KEY, IdentityKind.TRAITS, 1)
ERASURE = ErasureRequest("j", KEY, ErasureAction.ERASE, 1)


def _step(kind: LinkKind) -> LinkStep:
    return LinkStep(kind, Identifier("device", "d"), "shop/d", 1)


#: By payload: the fields of a record that carries it.
CARRIED: dict[Payload, dict[str, Any]] = {
    Payload.TIMER: {"due_ms": 1},
    Payload.ERASURE_PART: {"erasure": ErasureRequest("j", KEY, ErasureAction.ERASE, 1, part_of="shop/bob")},
    Payload.ERASURE: {"erasure": ERASURE},
    Payload.ROTATION_STEP: {"link": _step(LinkKind.HAND_OVER), "merge": Profile()},
    Payload.LINK_STEP: {"link": _step(LinkKind.SPLIT), "merge": Profile()},
    Payload.OWN_IDENTITY: {"identity": IDENTITY},
    Payload.IDENTITY: {"identity": IDENTITY},
    Payload.FEEDBACK: {"feedback": FeedbackEvent("e", KEY, FeedbackKind.CLICK, 1)},
    Payload.REQUEST: {"request": DecisionRequest("r", KEY, "web", ["hero"])},
    Payload.GIVEN_PROFILE: {"merge": Profile()},
    Payload.SETTLEMENT: {"settled": Settlement("l", 1)},
    Payload.EMPTY: {},
}

LIES_THERE: dict[State, tuple[str, Profile | None]] = {
    State.NOTHING: (KEY, None),
    State.PERSON: (KEY, Profile(profile_id=KEY)),
    State.REDIRECT: (KEY, Profile(profile_id=KEY, alias_of="shop/bob")),
    State.ACCOUNT: ("shop/@acme", None),
    State.ERASED: (KEY, Profile(profile_id=KEY, suppressed=True, erased_at_ms=1)),
}


def test_every_pair_has_an_entry_and_every_entry_a_handler() -> None:
    assert {(payload, state) for payload, row in ROUTES.items() for state in row} == {*product(Payload, State)}
    assert {route for row in ROUTES.values() for route in row.values()} == {*Route} == inbox._HANDLERS.keys()


@pytest.mark.parametrize("payload", Payload)
def test_a_record_is_known_by_what_it_carries(payload: Payload) -> None:
    record = InboxRecord("e", KEY, KEY, **CARRIED[payload])
    assert payload_of(record, is_own=payload is Payload.OWN_IDENTITY) is payload


@pytest.mark.parametrize("kind", LinkKind)
def test_the_steps_of_a_rotation_are_no_others(kind: LinkKind) -> None:
    payload = payload_of(InboxRecord("e", KEY, KEY, link=_step(kind)), is_own=False)
    assert payload is (Payload.ROTATION_STEP if kind in ROTATION_STEPS else Payload.LINK_STEP)


@pytest.mark.parametrize("state", State)
def test_a_key_is_known_by_what_lies_there(state: State) -> None:
    assert state_of(*LIES_THERE[state]) is state


def test_nothing_of_a_person_is_handled_at_an_alias_or_an_account() -> None:
    of_a_person = {Route.LEARN_IDENTITY, Route.LEARN_FEEDBACK, Route.DECIDE, Route.MERGE}
    for row in ROUTES.values():
        assert row[State.REDIRECT] not in of_a_person and row[State.ACCOUNT] not in of_a_person
        assert row[State.ACCOUNT] is Route.SERVE_ACCOUNT or row[State.ACCOUNT] is row[State.PERSON]
