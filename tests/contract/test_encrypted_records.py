"""What is encrypted comes back as it was with its key, and tells nothing personal without it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fastavro import parse_schema
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codecs import avro
from pipeline.codecs.encryption import KeyEncryption
from pipeline.codecs.personal import PersonalFields, personal_fields
from pipeline.codecs.plain import Plain
from pipeline.codecs.registry import NEWEST, Schema
from pipeline.codecs.types import VALUE_TYPES
from pipeline.core.model.values import Value, replaced
from pipeline.runtime.memory import counting_chance
from tests.contract.test_avro_codec import values_of
from tests.support.golden import TOPIC_OF, VALUES
from topics.catalog import TOPICS

KEY_ENCRYPTION = KeyEncryption("test", counting_chance())
KEY = KEY_ENCRYPTION.new_key(b"shop/ann", KEY_ENCRYPTION.nonces(1))

every_encrypted_subject = pytest.mark.parametrize("subject", [topic.schema for topic in TOPICS if topic.encrypted])


@every_encrypted_subject
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_value_is_encrypted_and_opened_equal_and_of_the_same_types(subject: str, data: st.DataObject) -> None:
    value = replaced(data.draw(values_of(VALUE_TYPES[subject])), encrypted=None)
    written = avro.encode(TOPIC_OF[subject], value, KEY)
    parsed: Any = parse_schema(NEWEST[subject].definition)
    codec = avro._codec_of(TOPIC_OF[subject])
    # Without the checks, which most of these values would not pass.
    codec_check, codec.check = codec.check, None
    try:
        back = avro.decode(TOPIC_OF[subject], written, KEY.open)
    finally:
        codec.check = codec_check
    assert back == value and repr(back) == repr(value)
    assert Plain(VALUE_TYPES[subject], parsed).to_dict(back) == Plain(VALUE_TYPES[subject], parsed).to_dict(value)


@every_encrypted_subject
def test_without_the_key_what_is_open_can_be_read_and_what_is_personal_is_empty(subject: str) -> None:
    value = VALUES[subject]
    read = avro.decode(TOPIC_OF[subject], avro.encode(TOPIC_OF[subject], value, KEY))
    personal = personal_fields(NEWEST[subject].definition)
    assert read.encrypted is not None
    for field in msgspec.structs.fields(value):
        if field.name not in (*personal, "encrypted"):
            assert getattr(read, field.name) == getattr(value, field.name)
    emptied = {name: getattr(read, name) for name in personal if getattr(value, name)}
    assert emptied and not any(_says(getattr(read, name)) for name in emptied)


@every_encrypted_subject
def test_what_an_older_version_has_encrypted_is_raised_as_avro_raises_the_rest(subject: str) -> None:
    newest = NEWEST[subject]
    definition = {**newest.definition, "fields": [
        field for field in newest.definition["fields"] if not (field["personal"] and "default" in field)]}
    older = Schema(9_000 + newest.id, subject, 0, "older.avsc", "")
    older.__dict__["definition"] = definition
    parsed: Any = parse_schema(newest.definition)
    plain = Plain(VALUE_TYPES[subject], parsed)
    codec = PersonalFields(newest, plain)
    kept = [field["name"] for field in definition["fields"] if field["personal"]]
    written = codec.packed(VALUES[subject], kept)
    raised = plain.to_dict(VALUES[subject])
    codec.open(raised, written, older)
    defaults = {field["name"]: field["default"] for field in newest.definition["fields"]
                if field["personal"] and "default" in field}
    assert {name: raised[name] for name in defaults} == defaults
    value = plain.from_dict(raised)
    assert all(getattr(value, name) == getattr(VALUES[subject], name) for name in kept)


def _says(value: Any) -> bool:
    """Whether anything is in it: texts, numbers, entries."""
    if isinstance(value, Value):
        return any(_says(getattr(value, field.name)) for field in msgspec.structs.fields(value))
    return bool(value)
