"""What becomes of a record of `profile.inbox`: one table, from what it carries and what lies at its key. Pure.

A reader can check it line by line; `tests/core/test_routing.py` has every pair. What a key's rotation asks for comes
before it (`pipeline.agents._rotation`): a record for a key that was taken over goes on to the one that took it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from pipeline.core.keys import is_account
from pipeline.core.model import InboxRecord, LinkKind
from pipeline.core.profile import Profile

#: The steps by which a key's state moves to its successor, when the key of the hashes is changed.
ROTATION_STEPS: Final = (LinkKind.TAKE_OVER, LinkKind.FENCE, LinkKind.HAND_OVER)


class State(StrEnum):
    """What lies at a key."""

    NOTHING = "nothing"
    PERSON = "person"
    #: An alias: what comes for it goes on to the profile it belongs to.
    REDIRECT = "redirect"
    ACCOUNT = "account"
    #: That somebody was erased, and when.
    ERASED = "erased"


class Payload(StrEnum):
    """What an inbox record carries."""

    #: Nothing but the word that time alone changes the state now.
    TIMER = "timer"
    #: An erasure of somebody whose identifier this key is; an erasure asked for.
    ERASURE_PART = "erasure_part"
    ERASURE = "erasure"
    ROTATION_STEP = "rotation_step"
    LINK_STEP = "link_step"
    #: An identity event that its own subject's key has still to take; one that was sent on by an alias.
    OWN_IDENTITY = "own_identity"
    IDENTITY = "identity"
    FEEDBACK = "feedback"
    REQUEST = "request"
    #: A whole profile, given up by an alias.
    GIVEN_PROFILE = "given_profile"
    #: The end of a lease of an account's places.
    SETTLEMENT = "settlement"
    EMPTY = "empty"


class Route(StrEnum):
    """What is done: see `pipeline.agents.inbox`, which has a handler for each."""

    LOOK_AGAIN = "look_again"
    ERASE = "erase"
    ROTATE = "rotate"
    STEP = "step"
    TAKE_OWN = "take_own"
    SERVE_ACCOUNT = "serve_account"
    SEND_ON = "send_on"
    SEND_REQUEST_ON = "send_request_on"
    FORWARD_GIVEN = "forward_given"
    LEARN_IDENTITY = "learn_identity"
    LEARN_FEEDBACK = "learn_feedback"
    DECIDE = "decide"
    MERGE = "merge"
    REFUSE = "refuse"


def payload_of(record: InboxRecord, is_own: bool) -> Payload:
    """`is_own`: of an identity event: whether it is one that its own subject's key has still to take."""
    link, erasure = record.link, record.erasure
    for present, payload in (
        (record.due_ms is not None, Payload.TIMER),
        (erasure is not None and bool(erasure.part_of), Payload.ERASURE_PART),
        (link is not None and link.kind in ROTATION_STEPS, Payload.ROTATION_STEP),
        (erasure is not None, Payload.ERASURE),
        (record.identity is not None, Payload.OWN_IDENTITY if is_own else Payload.IDENTITY),
        (link is not None, Payload.LINK_STEP),
        (record.request is not None, Payload.REQUEST),
        (record.merge is not None, Payload.GIVEN_PROFILE),
        (record.feedback is not None, Payload.FEEDBACK),
        (record.settled is not None, Payload.SETTLEMENT),
    ):
        if present:
            return payload
    return Payload.EMPTY


def state_of(key: str, state: Profile | None) -> State:
    """What lies at the key; an account is known by its key, also before anything lies there."""
    if is_account(key):
        return State.ACCOUNT
    if state is None:
        return State.NOTHING
    if state.alias_of is not None:
        return State.REDIRECT
    return State.ERASED if state.suppressed else State.PERSON


def _row(at_profile: Route, redirect: Route, account: Route) -> dict[State, Route]:
    """Whoever was erased is a profile: what may be learnt again is for the handler to say, with the event's time."""
    return {State.NOTHING: at_profile, State.PERSON: at_profile, State.ERASED: at_profile, State.REDIRECT: redirect,
            State.ACCOUNT: account}


_SERVE: Final = Route.SERVE_ACCOUNT

#: Payload → state → route.
ROUTES: Final[Mapping[Payload, Mapping[State, Route]]] = {
    # Whatever lies there.
    Payload.TIMER: _row(Route.LOOK_AGAIN, Route.LOOK_AGAIN, Route.LOOK_AGAIN),
    Payload.ERASURE_PART: _row(Route.ERASE, Route.ERASE, Route.ERASE),
    Payload.ROTATION_STEP: _row(Route.ROTATE, Route.ROTATE, Route.ROTATE),
    Payload.OWN_IDENTITY: _row(Route.TAKE_OWN, Route.TAKE_OWN, Route.TAKE_OWN),
    # At a profile; at an alias; at an account.
    Payload.ERASURE: _row(Route.ERASE, Route.SEND_ON, Route.ERASE),
    Payload.LINK_STEP: _row(Route.STEP, Route.STEP, _SERVE),
    Payload.IDENTITY: _row(Route.LEARN_IDENTITY, Route.SEND_ON, _SERVE),
    Payload.FEEDBACK: _row(Route.LEARN_FEEDBACK, Route.SEND_ON, _SERVE),
    Payload.REQUEST: _row(Route.DECIDE, Route.SEND_REQUEST_ON, _SERVE),
    Payload.GIVEN_PROFILE: _row(Route.MERGE, Route.FORWARD_GIVEN, _SERVE),
    Payload.SETTLEMENT: _row(Route.REFUSE, Route.SEND_ON, _SERVE),
    Payload.EMPTY: _row(Route.REFUSE, Route.SEND_ON, _SERVE),
}
