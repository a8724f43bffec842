"""The routing table: every pair of what comes and what lies there has an entry, and each entry is handled."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from pipeline.agents import _router
from pipeline.core.model.records import (
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
from pipeline.core.routing import ROTATION_STEPS, ROUTES, Kind, Payload, Route, kind_of, payload_of
from pipeline.core.subject import Account, Erased, ModelState, Person, Redirect, Subject

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
    Payload.ROTATION_STEP: {"link": _step(LinkKind.HAND_OVER), "merge": Person()},
    Payload.LINK_STEP: {"link": _step(LinkKind.SPLIT), "merge": Person()},
    Payload.OWN_IDENTITY: {"identity": IdentityEvent("e", KEY, IdentityKind.ALIAS, 1)},
    Payload.ALIAS: {"identity": IdentityEvent("e", "shop/bob", IdentityKind.ALIAS, 1)},
    Payload.IDENTITY: {"identity": IDENTITY},
    Payload.FEEDBACK: {"feedback": FeedbackEvent("e", KEY, FeedbackKind.CLICK, 1)},
    Payload.REQUEST: {"request": DecisionRequest("r", KEY, "web", ["hero"])},
    Payload.GIVEN_PROFILE: {"merge": Person()},
    Payload.SETTLEMENT: {"settled": Settlement("l", 1)},
    Payload.EMPTY: {},
}

LIES_THERE: dict[Kind, tuple[str, Subject | None]] = {
    Kind.NOTHING: (KEY, None),
    Kind.PERSON: (KEY, Person(profile_id=KEY)),
    Kind.REDIRECT: (KEY, Redirect(profile_id=KEY, to="shop/bob")),
    Kind.ACCOUNT: ("shop/@acme", Account(profile_id="shop/@acme")),
    Kind.ERASED: (KEY, Erased(profile_id=KEY, at_ms=1)),
    Kind.MODEL: ("shop/%hero", ModelState(profile_id="shop/%hero")),
}


def test_every_pair_has_an_entry_and_every_entry_a_handler() -> None:
    assert {(payload, kind) for payload, row in ROUTES.items() for kind in row} == {*product(Payload, Kind)}
    assert {route for row in ROUTES.values() for route in row.values()} == {*Route} == _router._HANDLERS.keys()


@pytest.mark.parametrize("payload", Payload)
def test_a_record_is_known_by_what_it_carries(payload: Payload) -> None:
    record = InboxRecord("e", KEY, KEY, **CARRIED[payload])
    assert payload_of(record, is_own=payload is Payload.OWN_IDENTITY) is payload


@pytest.mark.parametrize("kind", LinkKind)
def test_the_steps_of_a_rotation_are_no_others(kind: LinkKind) -> None:
    payload = payload_of(InboxRecord("e", KEY, KEY, link=_step(kind)), is_own=False)
    assert payload is (Payload.ROTATION_STEP if kind in ROTATION_STEPS else Payload.LINK_STEP)


@pytest.mark.parametrize("kind", [IdentityKind.LOGOUT, IdentityKind.UNMERGE])
def test_what_an_identifier_takes_itself_it_takes_by_whatever_way_it_comes(kind: IdentityKind) -> None:
    record = InboxRecord("e", KEY, "shop/bob", identity=IdentityEvent("e", KEY, kind, 1))
    assert payload_of(record, is_own=False) is Payload.OWN_IDENTITY


def test_a_state_that_is_no_persons_is_nothing_that_could_be_merged() -> None:
    given = Redirect(profile_id="shop/bob", to="shop/eve")
    assert payload_of(InboxRecord("e", KEY, "shop/bob", merge=given), is_own=False) is Payload.EMPTY
    assert payload_of(InboxRecord("e", KEY, "shop/bob", merge=given, link=_step(LinkKind.SPLIT)),
                      is_own=False) is Payload.EMPTY


@pytest.mark.parametrize("kind", Kind)
def test_a_key_is_known_by_what_lies_there(kind: Kind) -> None:
    assert kind_of(*LIES_THERE[kind]) is kind


def test_an_account_is_known_by_its_key_before_anything_lies_there() -> None:
    assert kind_of("shop/@acme", None) is Kind.ACCOUNT


def test_a_model_is_known_by_its_key_and_only_time_comes_to_it() -> None:
    assert kind_of("shop/%hero", None) is Kind.MODEL
    assert {payload for payload, row in ROUTES.items() if row[Kind.MODEL] is not Route.REFUSE} == {Payload.TIMER}


def test_nothing_of_a_person_is_handled_at_an_alias_an_account_or_somebody_erased() -> None:
    of_a_person = {Route.LEARN_IDENTITY, Route.LEARN_FEEDBACK, Route.DECIDE, Route.MERGE, Route.STEP,
                   Route.LOOK_AGAIN, Route.CLAIM_ALIAS}
    for row in ROUTES.values():
        assert of_a_person.isdisjoint((row[Kind.REDIRECT], row[Kind.ACCOUNT], row[Kind.ERASED]))
        assert row[Kind.NOTHING] is row[Kind.PERSON] or row[Kind.NOTHING] is Route.NOTHING_DUE
