"""What goes through the codec comes back as it was; anything else is refused with reason and advice."""

from __future__ import annotations

import io
import types
import typing
from enum import StrEnum
from typing import Any

import msgspec
import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codecs import avro, state
from pipeline.codecs.plain import Plain
from pipeline.codecs.registry import BY_ID, NEWEST, Schema
from pipeline.codecs.types import VALUE_TYPES
from pipeline.core.model import records
from pipeline.core.model.values import Value, replaced
from pipeline.core.sections.section import State
from pipeline.core.subject import Person
from pipeline.flow import Reason
from tests.support.golden import FEEDBACK, IDENTITY, PROFILE, REQUEST, STATES, TOPIC_OF, VALUES
from topics import catalog
from topics.catalog import CATALOG_ITEMS, DECISION_REQUESTS, IDENTITY_EVENTS, RECORD_LIMIT_BYTES, Topic

every_subject = pytest.mark.parametrize("subject", VALUES)

LONGS = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
SCALARS = st.none() | st.booleans() | LONGS | st.floats(allow_nan=False) | TEXT
INTS = {"priority", "ttl_s", "partition", "max_variants", "reply_partition", "trips"}


def values_of(hint: Any, name: str = "") -> st.SearchStrategy[Any]:
    """Any value of a field's type, such as the schema allows."""
    if hint in (State, Person):
        return st.sampled_from([PROFILE] if hint is Person else [*STATES.values()])
    if hint == records.Scalar:
        return SCALARS
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        arms = typing.get_args(hint)
        return st.one_of([st.none() if arm is types.NoneType else values_of(arm, name) for arm in arms])
    if (many := typing.get_origin(hint)) in (list, tuple):
        return st.lists(values_of(typing.get_args(hint)[0]), max_size=4).map(many)
    if typing.get_origin(hint) is dict:
        return st.dictionaries(TEXT, values_of(typing.get_args(hint)[1]), max_size=4)
    if isinstance(hint, type) and issubclass(hint, Value):
        hints = typing.get_type_hints(hint)
        return st.builds(hint, **{field: values_of(inner, field) for field, inner in hints.items()})
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return st.sampled_from(list(hint))
    simple = {str: TEXT, bool: st.booleans(), float: st.floats(allow_nan=False), bytes: st.binary(max_size=200)}
    return simple[hint] if hint in simple else st.integers(-(2**31), 2**31 - 1) if name in INTS else LONGS


def as_fastavro(value: Any) -> Any:
    """The value as fastavro takes it: dicts, and the state codec's bytes for a profile."""
    if isinstance(value, State):
        return state.encode(value)
    if isinstance(value, Value):
        return {name: as_fastavro(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {name: as_fastavro(item) for name, item in value.items()}
    return [as_fastavro(item) for item in value] if isinstance(value, list | tuple) else value


def fastavro_bytes(subject: str, value: Any) -> bytes:
    out = io.BytesIO()
    schemaless_writer(out, parse_schema(NEWEST[subject].definition), as_fastavro(value))
    return out.getvalue()


def header(schema: Schema) -> bytes:
    return b"\0" + schema.id.to_bytes(4, "big")


@every_subject
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_value_is_written_as_avro_says_and_read_back_equal_and_of_the_same_types(
    subject: str, data: st.DataObject
) -> None:
    value = data.draw(values_of(VALUE_TYPES[subject]))
    written = avro.encode(TOPIC_OF[subject], value)
    assert written == header(NEWEST[subject]) + fastavro_bytes(subject, value)
    schema: Any = parse_schema(NEWEST[subject].definition)
    read: Any = schemaless_reader(io.BytesIO(written[5:]), schema, None)
    # Without the checks, which most of these values would not pass.
    back = Plain(VALUE_TYPES[subject], schema).from_dict(read)
    assert back == value
    assert repr(back) == repr(value)


@every_subject
def test_a_value_comes_back_equal_and_of_the_same_types(subject: str) -> None:
    topic = TOPIC_OF[subject]
    back = avro.decode(topic, avro.encode(topic, VALUES[subject]))
    assert back == VALUES[subject]
    assert repr(back) == repr(VALUES[subject])


@pytest.mark.parametrize(
    "value", [None, True, False, 0, 1, 2**53 + 1, 2**63 - 1, -(2**63), 0.0, 1.0, -0.5, "", "1", "true"], ids=repr
)
def test_a_scalar_keeps_its_type(value: records.Scalar) -> None:
    event = replaced(IDENTITY, traits={"x": value})
    back = avro.decode(IDENTITY_EVENTS, avro.encode(IDENTITY_EVENTS, event)).traits["x"]
    assert (back, type(back)) == (value, type(value))


def test_a_member_of_a_text_enumeration_is_written_as_its_text() -> None:
    event = replaced(IDENTITY, traits={"x": Reason.INVALID})
    assert avro.decode(IDENTITY_EVENTS, avro.encode(IDENTITY_EVENTS, event)).traits == {"x": "invalid"}


@every_subject
def test_an_older_version_is_resolved_to_the_newest(subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    newest = NEWEST[subject].definition
    optional = [field["name"] for field in newest["fields"] if "default" in field]
    older = Schema(9_000 + NEWEST[subject].id, subject, 0, "older.avsc", "")
    definition = {**newest, "fields": [field for field in newest["fields"] if field["name"] not in optional]}
    older.__dict__["definition"] = definition
    monkeypatch.setitem(BY_ID, older.id, older)
    out = io.BytesIO()
    schemaless_writer(out, parse_schema(definition), as_fastavro(VALUES[subject]))
    if subject == "inbox_record":
        assert refused(header(older) + out.getvalue(), TOPIC_OF[subject]).reason is Reason.INVALID
        return
    value = avro.decode(TOPIC_OF[subject], header(older) + out.getvalue())
    for field in msgspec.structs.fields(VALUE_TYPES[subject]):
        if field.name not in optional:
            assert getattr(value, field.name) == getattr(VALUES[subject], field.name)
        elif field.default is not msgspec.NODEFAULT:
            assert getattr(value, field.name) == field.default
    error = refused(header(older) + out.getvalue()[:1], TOPIC_OF[subject])
    assert error.reason is Reason.TRUNCATED
    assert "older.avsc" in error.detail


def test_arrays_and_maps_in_several_blocks_with_their_sizes_are_read() -> None:
    plain = avro.encode(DECISION_REQUESTS, replaced(REQUEST, placements=["a", "b"], attributes={}))
    one_block = b"\x04\x02a\x02b\x00"
    assert plain.count(one_block) == 1
    two_blocks = b"\x01\x04\x02a" + b"\x02\x02b" + b"\x00"
    assert avro.decode(DECISION_REQUESTS, plain.replace(one_block, two_blocks)).placements == ["a", "b"]


def test_a_schema_that_lacks_a_field_of_its_type_is_refused() -> None:
    fields = [field for field in NEWEST["catalog_item"].definition["fields"] if field["name"] != "body"]
    with pytest.raises(TypeError, match="add a version"):
        Plain(records.CatalogItem, {**NEWEST["catalog_item"].definition, "fields": fields})


GOOD = avro.encode(IDENTITY_EVENTS, IDENTITY)
#: A union's branch that there is not, where the membership's is.
NO_BRANCH = GOOD.replace(b"\x02\x1adefault/@acme", b"\x08\x1adefault/@acme")


def refused(data: bytes | None, topic: Topic = IDENTITY_EVENTS) -> avro.CodecError:
    with pytest.raises(avro.CodecError) as caught:
        avro.decode(topic, data)
    return caught.value


@pytest.mark.parametrize(
    ("data", "reason", "said"),
    [
        (None, Reason.NULL_VALUE, "takes no tombstones"),
        (b"", Reason.NOT_AVRO, "empty"),
        (b'{"event_id": "1"}', Reason.NOT_AVRO, "looks like JSON"),
        (b"\x01" + GOOD[1:], Reason.NOT_AVRO, "0x01"),
        (GOOD[:3], Reason.TRUNCATED, "only 3 bytes"),
        (GOOD[:-1], Reason.TRUNCATED, "identity_event.v1.avsc"),
        (b"\0\x7f\xff\xff\xff" + GOOD[5:], Reason.UNKNOWN_SCHEMA, "schema id 101"),
        (avro.encode(DECISION_REQUESTS, REQUEST), Reason.WRONG_SCHEMA, "schema id 103 is decision_request"),
        (GOOD + b"\0", Reason.WRONG_TYPE, "left after the record"),
        (GOOD[:5] + b"\x01" + GOOD[6:], Reason.WRONG_TYPE, "event_id holds a negative length"),
        (GOOD[:6] + b"\xff" + GOOD[7:], Reason.WRONG_TYPE, "event_id holds text that is not UTF-8"),
        (GOOD.replace(b"consent", b"consenT", 1), Reason.INVALID, "kind is 'consenT'; use one of identify, traits"),
        (NO_BRANCH, Reason.WRONG_TYPE, "membership holds a value of none of its types"),
        (GOOD + bytes(RECORD_LIMIT_BYTES), Reason.TOO_LARGE, f"at most {RECORD_LIMIT_BYTES}"),
    ],
    ids=lambda value: value if isinstance(value, Reason) else None,
)
def test_bad_bytes_are_refused_with_reason_and_advice(data: bytes | None, reason: Reason, said: str) -> None:
    error = refused(data)
    assert error.reason is reason
    assert said in error.detail


def test_a_record_cut_anywhere_is_truncated() -> None:
    for size in range(1, len(GOOD)):
        assert refused(GOOD[:size]).reason is Reason.TRUNCATED


@every_subject
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_bytes_give_a_value_or_a_codec_error(subject: str, data: st.DataObject) -> None:
    topic = TOPIC_OF[subject]
    good = avro.encode(topic, VALUES[subject])
    spoilt = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        spoilt[data.draw(st.integers(5, len(good) - 1))] = data.draw(st.integers(0, 255))
    for attempt in (bytes(spoilt), good[:5] + data.draw(st.binary(max_size=60))):
        try:
            avro.decode(topic, attempt)
        except avro.CodecError as error:
            assert error.detail


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"event_id": ""}, "event_id is empty"),
        ({"subject": "no-tenant"}, "send tenant/hash"),
        ({"at_ms": -1}, "at_ms is -1"),
        ({"at_ms": 2**60}, "before the year 10000"),
        ({"traits": {"score": float("nan")}}, "traits['score'] is nan"),
        ({"kind": records.IdentityKind.ALIAS, "alias_of": None}, "alias_of is missing"),
        ({"consent": [records.ConsentGrant("", True, 1)]}, "consent.purpose is empty"),
        ({"consent": [records.ConsentGrant("p", True, 1, source="s" * 257)]}, "consent.source has 257 characters"),
        ({"consent": [records.ConsentGrant("p/web", True, 1)]}, "has a / or #: name one purpose, and one"),
        ({"consent": [records.ConsentGrant("p", True, 1, "#confirmed")]}, "has a / or #"),
        ({"consent": [records.ConsentGrant("p", True, 1, basis="whim")]},  # type: ignore[arg-type]
         "consent[0].basis is 'whim'; use one of consent, contract, legal_obligation, vital_interests, public_task"),
        ({"event_id": "e" * 257}, "event_id has 257 characters: send at most 256"),
        ({"subject": "default/" + "s" * 257}, "subject has 265 characters"),
        ({"membership": records.Membership("other/@acme")}, "send tenant/@hash of the subject's tenant"),
        ({"membership": records.Membership("default/acme")}, "send tenant/@hash"),
        ({"membership": records.Membership("default/@acme", ["r" * 65])}, "send at most 16, of 1 to 64 characters"),
        ({"earlier": ["default/hash"]}, "earlier: send at most 8 hashes, the subject's, without the tenant"),
        ({"earlier": [str(number) for number in range(9)]}, "earlier: send at most 8 hashes"),
        ({"alias_earlier": ["@acme"]}, "alias_earlier: send at most 8 hashes, the subject's"),
        ({"identifiers": [records.Identifier("email", "h", [""])]}, "identifiers.earlier: send at most 8 hashes"),
        ({"membership": records.Membership("default/@acme", earlier=["acme"])}, "the account's, each with its @"),
        ({"traits": {"t" * 257: 1}}, "traits has a name of 257 characters"),
        ({"traits": {"bio": "t" * 1_025}}, "traits['bio'] has 1025 characters: send at most 1024"),
    ],
)
def test_a_well_formed_event_that_would_do_harm_is_invalid(change: dict[str, Any], said: str) -> None:
    error = refused(avro.encode(IDENTITY_EVENTS, replaced(IDENTITY, **change)))
    assert error.reason is Reason.INVALID
    assert said in error.detail


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"request_id": ""}, "request_id is empty"),
        ({"placements": []}, "name 1 to"),
        ({"max_variants": 0}, "send 1 to"),
        ({"max_variants": 2**31}, "send 1 to"),
        ({"reply_partition": -1}, "send 0 to 15, or null"),
        ({"reply_partition": 16}, "send 0 to 15, or null"),
        ({"request_id": "r" * 257}, "request_id has 257 characters"),
        ({"earlier": ["@account"]}, "earlier: send at most 8 hashes"),
    ],
)
def test_a_request_that_could_not_be_answered_is_invalid(change: dict[str, Any], said: str) -> None:
    error = refused(avro.encode(DECISION_REQUESTS, replaced(REQUEST, **change)), DECISION_REQUESTS)
    assert error.reason is Reason.INVALID
    assert said in error.detail


def test_an_inbox_record_carries_exactly_one_payload() -> None:
    for inbox in (
        records.InboxRecord("e", "d/a", "d/b"),
        records.InboxRecord("e", "d/a", "d/b", identity=IDENTITY, request=REQUEST),
    ):
        assert refused(avro.encode(catalog.PROFILE_INBOX, inbox), catalog.PROFILE_INBOX).reason is Reason.INVALID


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"identity": replaced(IDENTITY, at_ms=-1)}, "at_ms is -1"),
        ({"feedback": replaced(FEEDBACK, value=float("inf"))}, "value is inf"),
        ({"request": replaced(REQUEST, reply_partition=2**20)}, "send 0 to 15"),
        ({"merge": PROFILE, "from_subject": "d/" + "b" * 600}, "from_subject has 602 characters"),
    ],
)
def test_an_inbox_record_is_judged_like_what_it_carries(payload: dict[str, Any], said: str) -> None:
    inbox = records.InboxRecord(**{"event_id": "e", "profile_id": "d/a", "from_subject": "d/b"} | payload)
    error = refused(avro.encode(catalog.PROFILE_INBOX, inbox), catalog.PROFILE_INBOX)
    assert error.reason is Reason.INVALID
    assert said in error.detail


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"traits": {"good": 1, "age": 2**63}}, "traits['age']: holds a number of more than 64 bits"),
        ({"traits": {"good": 1, "tags": ["a"]}}, "traits['tags']: is a list"),
        ({"traits": {"name": "\ud800"}}, "traits['name']: "),
        ({"consent": [records.ConsentGrant("p", True, "now")]}, "consent: "),  # type: ignore[arg-type]
        ({"consent": [None]}, "consent: "),
        ({"alias_of": 7}, "alias_of: "),
        ({"event_id": None}, "event_id: "),
    ],
)
def test_a_value_that_does_not_fit_its_schema_is_refused_naming_the_field(change: dict[str, Any], said: str) -> None:
    with pytest.raises(avro.CodecError) as caught:
        avro.encode(IDENTITY_EVENTS, replaced(IDENTITY, **change))
    assert caught.value.reason is Reason.WRONG_TYPE
    assert said in caught.value.detail


def test_too_large_a_value_is_refused_before_it_is_sent() -> None:
    with pytest.raises(avro.CodecError) as caught:
        avro.encode(CATALOG_ITEMS, records.CatalogItem("default", "x", "y" * CATALOG_ITEMS.max_record_bytes))
    assert caught.value.reason is Reason.TOO_LARGE


def test_a_value_of_another_topic_is_a_bug_not_bad_data() -> None:
    with pytest.raises(TypeError, match=r"identity\.events carries IdentityEvent"):
        avro.encode(IDENTITY_EVENTS, REQUEST)


def test_a_profile_inside_a_record_that_is_none_is_a_codec_error() -> None:
    inbox = records.InboxRecord("e", "d/a", "d/b", merge=Person(profile_id="d/b"))
    data = avro.encode(catalog.PROFILE_INBOX, inbox)
    start = data.index(state.encode(Person(profile_id="d/b")))
    error = refused(data[:start] + b"\xee" + data[start + 1 :], catalog.PROFILE_INBOX)
    assert error.reason is Reason.WRONG_TYPE
    assert "merge" in error.detail
