"""What becomes of a record: one table, from what it carries and what lies at its key, whichever topic it came by. Pure.

A reader can check it line by line; `tests/core/test_routing.py` has every pair. What a key's rotation asks for comes
before it (`pipeline.agents._rotation`): a record for a key that was taken over goes on to the one that took it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from pipeline.core.keys import is_account, is_model
from pipeline.core.model.records import IdentityEvent, IdentityKind, InboxRecord, LinkKind
from pipeline.core.subject import Account, Erased, ModelState, Person, Redirect, Subject

#: The steps by which a key's state moves to its successor, when the key of the hashes is changed.
ROTATION_STEPS: Final = (LinkKind.TAKE_OVER, LinkKind.FENCE, LinkKind.HAND_OVER)


class Kind(StrEnum):
    """What lies at a key: a kind of `pipeline.core.subject.Subject`, or nothing yet."""

    NOTHING = "nothing"
    PERSON = "person"
    #: An alias: what comes for it goes on to the profile it belongs to.
    REDIRECT = "redirect"
    ACCOUNT = "account"
    #: That somebody was erased, and when.
    ERASED = "erased"
    #: The statistics of a model that learns.
    MODEL = "model"


class Payload(StrEnum):
    """What a record carries."""

    #: Nothing but the word that time alone changes the state now.
    TIMER = "timer"
    #: An erasure of somebody whose identifier this key is; an erasure asked for.
    ERASURE_PART = "erasure_part"
    ERASURE = "erasure"
    ROTATION_STEP = "rotation_step"
    LINK_STEP = "link_step"
    #: An alias, a logout or an unmerge, at the key of the identifier that it is about.
    OWN_IDENTITY = "own_identity"
    #: An alias at the profile that it names.
    ALIAS = "alias"
    #: Traits, consent, identifiers, membership.
    IDENTITY = "identity"
    FEEDBACK = "feedback"
    REQUEST = "request"
    #: A whole profile, given up by an alias.
    GIVEN_PROFILE = "given_profile"
    #: The end of a lease of an account's places.
    SETTLEMENT = "settlement"
    EMPTY = "empty"


class Route(StrEnum):
    """What is done: see `pipeline.agents._router`, which has a handler for each."""

    LOOK_AGAIN = "look_again"
    END_UNDO = "end_undo"
    CUT_SNAPSHOT = "cut_snapshot"
    SETTLE = "settle"
    NOTHING_DUE = "nothing_due"
    ERASE = "erase"
    ROTATE = "rotate"
    STEP = "step"
    STEP_AT_REDIRECT = "step_at_redirect"
    REFUSE_STEP = "refuse_step"
    TAKE_OWN = "take_own"
    CLAIM_ALIAS = "claim_alias"
    LEARN_ACCOUNT = "learn_account"
    SERVE_ACCOUNT = "serve_account"
    SEND_ON = "send_on"
    SEND_REQUEST_ON = "send_request_on"
    FORWARD_GIVEN = "forward_given"
    LEARN_IDENTITY = "learn_identity"
    BEGIN_AGAIN = "begin_again"
    LEARN_FEEDBACK = "learn_feedback"
    DECIDE = "decide"
    ANSWER_UNREMEMBERED = "answer_unremembered"
    MERGE = "merge"
    FORGET_GIVEN = "forget_given"
    DROP_ERASED = "drop_erased"
    REFUSE = "refuse"


#: Of identity events, those that the identifier they are about takes itself.
_ABOUT_THE_KEY: Final = frozenset((IdentityKind.LOGOUT, IdentityKind.UNMERGE))


def payload_of(record: InboxRecord, is_own: bool) -> Payload:
    """`is_own`: of an alias: whether its own subject's key has still to take it."""
    if record.due_ms is not None:
        return Payload.TIMER
    if record.erasure is not None:
        return Payload.ERASURE_PART if record.erasure.part_of else Payload.ERASURE
    if record.identity is not None:
        return _identity_payload(record.identity, is_own)
    if record.link is not None or record.merge is not None:
        return _payload_between_keys(record)
    if record.request is not None:
        return Payload.REQUEST
    if record.feedback is not None:
        return Payload.FEEDBACK
    return Payload.EMPTY if record.settled is None else Payload.SETTLEMENT


def _identity_payload(event: IdentityEvent, is_own: bool) -> Payload:
    if event.kind is IdentityKind.ALIAS:
        return Payload.OWN_IDENTITY if is_own else Payload.ALIAS
    return Payload.OWN_IDENTITY if event.kind in _ABOUT_THE_KEY else Payload.IDENTITY


def _payload_between_keys(record: InboxRecord) -> Payload:
    """Of a step or a state that one key sends another."""
    link, given = record.link, record.merge
    if link is not None and link.kind in ROTATION_STEPS:
        return Payload.ROTATION_STEP
    if given is not None and not isinstance(given, Person):
        return Payload.EMPTY
    return Payload.GIVEN_PROFILE if link is None else Payload.LINK_STEP


def kind_of(key: str, state: Subject | None) -> Kind:
    """What lies at the key; accounts and models are known by their keys, also before anything lies there."""
    if is_account(key):
        return Kind.ACCOUNT
    if is_model(key):
        return Kind.MODEL
    if state is None:
        return Kind.NOTHING
    return _KINDS[type(state)]


_KINDS: Final[Mapping[type, Kind]] = {
    Person: Kind.PERSON, Redirect: Kind.REDIRECT, Account: Kind.ACCOUNT, Erased: Kind.ERASED,
    ModelState: Kind.MODEL,
}


def _row(
    nothing: Route, person: Route, redirect: Route, account: Route, erased: Route, model: Route = Route.REFUSE
) -> dict[Kind, Route]:
    return {Kind.NOTHING: nothing, Kind.PERSON: person, Kind.REDIRECT: redirect, Kind.ACCOUNT: account,
            Kind.ERASED: erased, Kind.MODEL: model}


_R: Final = Route

#: Payload → kind → route.
ROUTES: Final[Mapping[Payload, Mapping[Kind, Route]]] = {
    payload: _row(*routes) for payload, routes in {
        # At nothing yet, a person, a redirect, an account, somebody erased; at a model, which only time comes to.
        Payload.TIMER: (_R.NOTHING_DUE, _R.LOOK_AGAIN, _R.END_UNDO, _R.NOTHING_DUE, _R.SETTLE, _R.CUT_SNAPSHOT),
        Payload.ERASURE_PART: (_R.ERASE, _R.ERASE, _R.ERASE, _R.ERASE, _R.ERASE),
        Payload.ERASURE: (_R.ERASE, _R.ERASE, _R.SEND_ON, _R.ERASE, _R.ERASE),
        Payload.ROTATION_STEP: (_R.ROTATE, _R.ROTATE, _R.ROTATE, _R.ROTATE, _R.ROTATE),
        Payload.LINK_STEP: (_R.STEP, _R.STEP, _R.STEP_AT_REDIRECT, _R.SERVE_ACCOUNT, _R.REFUSE_STEP),
        Payload.OWN_IDENTITY: (_R.TAKE_OWN, _R.TAKE_OWN, _R.TAKE_OWN, _R.LEARN_ACCOUNT, _R.TAKE_OWN),
        Payload.ALIAS: (_R.CLAIM_ALIAS, _R.CLAIM_ALIAS, _R.SEND_ON, _R.LEARN_ACCOUNT, _R.DROP_ERASED),
        Payload.IDENTITY: (_R.LEARN_IDENTITY, _R.LEARN_IDENTITY, _R.SEND_ON, _R.LEARN_ACCOUNT, _R.BEGIN_AGAIN),
        Payload.FEEDBACK: (_R.LEARN_FEEDBACK, _R.LEARN_FEEDBACK, _R.SEND_ON, _R.SERVE_ACCOUNT, _R.DROP_ERASED),
        Payload.REQUEST: (_R.DECIDE, _R.DECIDE, _R.SEND_REQUEST_ON, _R.SERVE_ACCOUNT, _R.ANSWER_UNREMEMBERED),
        Payload.GIVEN_PROFILE: (_R.MERGE, _R.MERGE, _R.FORWARD_GIVEN, _R.SERVE_ACCOUNT, _R.FORGET_GIVEN),
        Payload.SETTLEMENT: (_R.REFUSE, _R.REFUSE, _R.REFUSE, _R.SERVE_ACCOUNT, _R.REFUSE),
        Payload.EMPTY: (_R.REFUSE, _R.REFUSE, _R.REFUSE, _R.REFUSE, _R.REFUSE),
    }.items()
}
