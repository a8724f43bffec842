"""What one record may hold: every text and every list of it, refused past its bound with the field's name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline.codecs import avro
from pipeline.codecs.checks import CHECKS
from pipeline.codecs.errors import CodecError
from pipeline.core.model.bounds import ID_CHARS_MAX
from pipeline.core.model.records import (
    ConsentGrant,
    DecisionRequest,
    ErasureRequest,
    FeedbackEvent,
    Identifier,
    IdentityEvent,
)
from pipeline.core.model.values import replaced
from tests.support.golden import FEEDBACK, IDENTITY, REQUEST
from topics.catalog import DECISION_REQUESTS, FEEDBACK_EVENTS, IDENTITY_EVENTS

_TOPICS: dict[type, Any] = {IdentityEvent: IDENTITY_EVENTS, FeedbackEvent: FEEDBACK_EVENTS,
                            DecisionRequest: DECISION_REQUESTS}
_INPUTS: list[Any] = [IDENTITY, FEEDBACK, REQUEST]
#: Fields that hold a member of an enumeration.
_ENUMS = {"kind", "action"}
_TEXTS = [(one, field.name) for one in _INPUTS for field in msgspec.structs.fields(one)
          if field.type in (str, str | None) and field.name not in _ENUMS]
_LISTS: list[tuple[Any, str, Any]] = [
    (IDENTITY, "traits", {f"t{n}": 1 for n in range(257)}),
    (IDENTITY, "consent", [ConsentGrant(f"p{n}", True, 1) for n in range(129)]),
    (IDENTITY, "identifiers", [Identifier("email", f"h{n}") for n in range(65)]),
    (FEEDBACK, "properties", {f"t{n}": 1 for n in range(257)}),
    (REQUEST, "attributes", {f"t{n}": 1 for n in range(257)}),
    (REQUEST, "placements", [f"p{n}" for n in range(51)]),
]


def _refused(value: Any) -> str:
    topic = _TOPICS[type(value)]
    with pytest.raises(CodecError) as caught:
        avro.decode(topic, avro.encode(topic, value))
    return caught.value.detail


@pytest.mark.parametrize(("value", "name"), _TEXTS, ids=[f"{type(one).__name__}.{name}" for one, name in _TEXTS])
def test_a_text_past_its_limit_is_refused(value: Any, name: str) -> None:
    """Every text of every input: a field that is added later is here by itself."""
    long = "x" * (ID_CHARS_MAX + 1)
    if name in ("subject", "alias_of"):
        long = f"default/{long}"
    assert name in _refused(replaced(value, **{name: long}))


@pytest.mark.parametrize(("value", "name", "many"), _LISTS, ids=[name for _, name, _ in _LISTS])
def test_more_parts_than_an_event_may_have_are_refused(value: Any, name: str, many: Any) -> None:
    assert name in _refused(replaced(value, **{name: many}))


def test_what_is_within_a_list_is_bounded_too() -> None:
    long = "x" * (ID_CHARS_MAX + 1)
    for grant in (ConsentGrant(long, True, 1), ConsentGrant("p", True, 1, long),
                  ConsentGrant("p", True, 1, source=long), ConsentGrant("p", True, 1, proof=long)):
        assert "consent." in _refused(replaced(IDENTITY, consent=[grant]))
    for one in (Identifier(long, "h"), Identifier("email", long)):
        assert "identifiers." in _refused(replaced(IDENTITY, identifiers=[one]))
    assert "traits" in _refused(replaced(IDENTITY, traits={long: 1}))
    assert "traits" in _refused(replaced(IDENTITY, traits={"t": "x" * 1_025}))
    assert "placements" in _refused(replaced(REQUEST, placements=[long]))


def test_every_input_is_checked() -> None:
    assert {IdentityEvent, FeedbackEvent, DecisionRequest, ErasureRequest} <= set(CHECKS)
