"""The schemas are a contract: what was released never changes, and versions read each other both ways."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest
from fastavro import parse_schema

from pipeline.codecs import avro
from pipeline.codecs.personal import personal_fields
from pipeline.codecs.registry import BY_ID, NEWEST, SCHEMAS, SCHEMAS_DIR, Schema
from pipeline.codecs.types import VALUE_TYPES
from tests.support.avro_compat import problems
from tests.support.golden import TOPIC_OF, fingerprint, plain
from topics.catalog import DAY_MS, TOPICS

every_schema = pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: f"{schema.subject}.v{schema.version}")


def records(node: Any) -> Iterator[dict[str, Any]]:
    """Every record type spelt out in a schema, outermost first."""
    if isinstance(node, list):
        for branch in node:
            yield from records(branch)
    elif isinstance(node, dict):
        if node.get("type") == "record":
            yield node
            for field in node["fields"]:
                yield from records(field["type"])
        else:
            for part in ("items", "values", "type"):
                yield from records(node.get(part))


def contains(newer: Any, older: Any) -> bool:
    """Everything the older value says is said the same way by the newer one, which may say more."""
    if isinstance(older, dict):
        return isinstance(newer, dict) and all(key in newer and contains(newer[key], older[key]) for key in older)
    if isinstance(older, list):
        return isinstance(newer, list) and len(newer) == len(older) and all(map(contains, newer, older))
    return bool(newer == older)


@every_schema
def test_a_released_schema_never_changes(schema: Schema) -> None:
    assert fingerprint(schema.path) == schema.sha256, (
        f"{schema.file} is released: records in Kafka carry its id {schema.id}. Leave it as it is, and add "
        f"{schema.subject}.v{schema.version + 1}.avsc with a new id to schemas/registry.json"
    )


def test_ids_subjects_and_files_are_used_once() -> None:
    assert len(BY_ID) == len(SCHEMAS)
    assert len({(schema.subject, schema.version) for schema in SCHEMAS}) == len(SCHEMAS)
    assert len({schema.file for schema in SCHEMAS}) == len(SCHEMAS)


def test_versions_of_a_subject_count_from_one_without_gap() -> None:
    for subject in NEWEST:
        versions = sorted(schema.version for schema in SCHEMAS if schema.subject == subject)
        assert versions == list(range(1, len(versions) + 1))


def test_every_schema_file_is_registered() -> None:
    files = {path.relative_to(SCHEMAS_DIR).as_posix() for path in SCHEMAS_DIR.rglob("*.avsc")}
    assert files == {schema.file for schema in SCHEMAS}


def test_every_topic_has_a_schema_and_a_type_and_every_schema_a_topic() -> None:
    assert {topic.schema for topic in TOPICS} == set(NEWEST) == set(VALUE_TYPES)


@every_schema
def test_a_schema_is_valid_avro_and_explains_every_field(schema: Schema) -> None:
    parse_schema(schema.definition)
    for record in records(schema.definition):
        assert record["doc"]
        for field in record["fields"]:
            assert len(field.get("doc", "")) >= 8, f"{record['name']}.{field['name']} has no doc"


@every_schema
def test_a_schema_says_of_every_field_whether_it_is_personal(schema: Schema) -> None:
    undecided = [field["name"] for field in schema.definition["fields"] if not isinstance(field.get("personal"), bool)]
    assert undecided == [], f"{schema.file}: is it personal? Say so, and see docs/privacy.md"


def test_personal_fields_are_encrypted_or_gone_within_days() -> None:
    kept = {topic.name: topic for topic in TOPICS if personal_fields(NEWEST[topic.schema or ""].definition)}
    # Proof of what was erased outlives it: hashes of identifiers, nothing else.
    open_ = {name for name, topic in kept.items() if not topic.encrypted} - {"erasure.requests", "erasure.receipts"}
    assert open_ == {
        "identity.events", "feedback.events", "features.loads", "decision.requests", "profile.inbox",
        "decision.replies",
    }
    for name in open_:
        assert not kept[name].compacted and kept[name].retention_ms <= 7 * DAY_MS, name


@every_schema
def test_a_golden_sample_decodes_with_the_newest_schema(schema: Schema) -> None:
    value = avro.decode(TOPIC_OF[schema.subject], schema.sample.read_bytes())
    written = json.loads(schema.sample.with_suffix(".json").read_text("utf-8"))
    assert contains(plain(value), written)


@every_schema
def test_a_golden_sample_carries_its_schemas_id(schema: Schema) -> None:
    assert schema.sample.read_bytes()[:5] == b"\0" + schema.id.to_bytes(4, "big")


@pytest.mark.parametrize("subject", NEWEST)
def test_versions_read_each_other_both_ways(subject: str) -> None:
    versions = [schema for schema in SCHEMAS if schema.subject == subject]
    for reader, writer in permutations(versions, 2):
        assert problems(reader.definition, writer.definition) == []


def test_a_record_used_in_several_schemas_is_the_same_in_their_newest_versions() -> None:
    seen: dict[str, dict[str, Any]] = {}
    for schema in NEWEST.values():
        for record in records(schema.definition):
            flat = {**record, "fields": [(field["name"], field["doc"]) for field in record["fields"]]}
            assert seen.setdefault(record["name"], flat) == flat


RECORD = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}


def with_fields(*fields: dict[str, Any]) -> dict[str, Any]:
    return {**RECORD, "fields": list(fields)}


@pytest.mark.parametrize(
    ("reader", "writer", "said"),
    [
        (with_fields({"name": "a", "type": "int"}, {"name": "b", "type": "int"}), RECORD, "without a default"),
        (with_fields({"name": "a", "type": "string"}), RECORD, "cannot be read as string"),
        (RECORD, with_fields({"name": "a", "type": "long"}), "cannot be read as int"),
        (RECORD, with_fields({"name": "a", "type": ["null", "int"]}), "null cannot be read"),
        (with_fields({"name": "a", "type": ["null", "string"]}), RECORD, "none of the reader's types"),
        ({"type": "array", "items": RECORD}, {"type": "array", "items": with_fields()}, "without a default"),
    ],
)
def test_an_incompatible_change_is_seen(reader: Any, writer: Any, said: str) -> None:
    (found,) = problems(reader, writer)
    assert said in found


@pytest.mark.parametrize(
    ("reader", "writer"),
    [
        (with_fields({"name": "a", "type": "int"}, {"name": "b", "type": "int", "default": 0}), RECORD),
        (with_fields({"name": "a", "type": "double"}), RECORD),
        (with_fields({"name": "a", "type": ["null", "int"]}), RECORD),
        (with_fields(), RECORD),
    ],
)
def test_a_compatible_change_is_let_through(reader: Any, writer: Any) -> None:
    assert problems(reader, writer) == []
