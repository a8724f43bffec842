"""Makes docs/topics.md from the declared topics, the flows and the schemas. Text in, text out; reads no cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from pipeline.codecs.checks import NAME_CHARS_MAX, TEXT_CHARS_MAX
from pipeline.codecs.plain import SCALAR
from pipeline.codecs.registry import NEWEST
from pipeline.topology import FLOWS
from topics.catalog import (
    CATALOG_ITEMS,
    DAY_MS,
    DECISION_REQUESTS,
    FEATURE_LOADS,
    FEEDBACK_EVENTS,
    HOUR_MS,
    IDENTITY_EVENTS,
    POLICY_RELEASES,
    TABLES,
    TOPICS,
    Topic,
)

HEAD: Final = '''\
# Topics

What goes in and out of the pipeline, as records of Kafka topics. This page is made from `topics/catalog.py`,
`pipeline/topology.py` and `schemas/` by `make docs`; change those, not this page.

`nextbest topics plan` shows what a cluster lacks, `nextbest topics apply` makes it so.

## Sending from any Kafka client

Three rules, whatever the language:

1. **Value**: Avro in Confluent wire format: one zero byte, the schema's id in four bytes (big-endian), then the record
   in Avro's binary encoding, without a file header. The ids are in `schemas/registry.json` and below.
2. **Key**: as each topic says below, as UTF-8. For events and requests it is the subject, the same text as in the
   value's `subject`.
3. **Partition**: by murmur2 of the key. Java clients do that anyway; clients built on librdkafka (Python, Go, C, .NET)
   need `partitioner=murmur2_random`. Another partitioner sends a subject's records where its profile is not.

Ids, keys and names have at most {names} characters, a trait's text {texts}. A value larger than its topic says below is
a dead letter.

Sending is at least once: keep the same `event_id` or `request_id` when you repeat a record, and it is applied once.
Records that cannot be used go to `dead.letters` with the reason: `nextbest dead-letters list`.

In Python, with nothing of Nextbest installed but the `schemas` folder at hand:

```python
import hmac
import io
import json
import time

from confluent_kafka import Producer
from fastavro import parse_schema, schemaless_writer

producer = Producer({"bootstrap.servers": "127.0.0.1:9092", "partitioner": "murmur2_random", "acks": "all"})


def subject(tenant, kind, value, tenant_key=b"nextbest-development-key"):
    """tenant/hash of an identifier: an e-mail address in lower case, a user_id as it is."""
    said = "\\x1f".join((tenant, kind, value))
    return tenant + "/" + hmac.digest(tenant_key, said.encode(), "sha256").hex()[:32]


def send(topic, key, schema_id, schema_file, record):
    out = io.BytesIO()
    out.write(b"\\0" + schema_id.to_bytes(4, "big"))
    with open(schema_file) as file:
        schemaless_writer(out, parse_schema(json.load(file)), record)
    producer.produce(topic, key=key, value=out.getvalue())


ada = subject("default", "email", "ada@example.org")
now_ms = int(time.time() * 1000)
```

Fields with a default may be left out of the record. Call `producer.flush()` before your program ends.
'''

#: Who besides the workers writes a topic.
WRITERS: Final = {
    IDENTITY_EVENTS.name: "your systems; the bridge for `POST /v1/events` (identify, alias)",
    FEEDBACK_EVENTS.name: "your systems; the bridge for `POST /v1/events` (track, page)",
    FEATURE_LOADS.name: "`nextbest features load`",
    DECISION_REQUESTS.name: "the bridge for `POST /personalization/decide`; your systems",
    CATALOG_ITEMS.name: "`nextbest policy publish`; catalog adapters",
    POLICY_RELEASES.name: "`nextbest policy publish`",
}

#: Python source of a record to send, by topic.
EXAMPLES: Final = {
    IDENTITY_EVENTS.name: '''{
    "event_id": "crm-4711",
    "subject": ada,
    "kind": "identify",
    "at_ms": now_ms,
    "traits": {"country": "DE", "loyalty_points": 120},
    "consent": [{"purpose": "personalization", "granted": True, "at_ms": now_ms}],
}''',
    FEEDBACK_EVENTS.name: '''{
    "event_id": "shop-0815",
    "subject": ada,
    "kind": "track",
    "at_ms": now_ms,
    "name": "Order Completed",
    "value": 59.9,
    "properties": {"currency": "EUR", "items": 3},
}''',
    DECISION_REQUESTS.name: '''{
    "request_id": "mail-2026-11-21-ada",
    "subject": ada,
    "channel": "email",
    "placements": ["newsletter-top"],
    "attributes": {"campaign": "november"},
}''',
    CATALOG_ITEMS.name: '''{
    "tenant": "default",
    "item_id": "spring-sale",
    "body": json.dumps({"kind": "offer"}),
}''',
}


def page() -> str:
    """The whole page."""
    head = HEAD.replace("{names}", f"{NAME_CHARS_MAX:,}").replace("{texts}", f"{TEXT_CHARS_MAX:,}")
    parts = [head, "## The topics\n", _overview(), *(_section(topic) for topic in TOPICS), _tables()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _overview() -> str:
    rows = [f"| [`{topic.name}`](#{_anchor(topic.name)}) | {topic.key} | {_writers(topic)} |" for topic in TOPICS]
    return "\n".join(["| topic | key | who writes |", "|---|---|---|", *rows])


def _section(topic: Topic) -> str:
    schema = NEWEST[topic.schema] if topic.schema else None
    readers = [f"`{flow.name}`" for flow in FLOWS if flow.reads is topic]
    lines = [
        f"## {topic.name}",
        "",
        topic.doc,
        "",
        f"- **Key**: {topic.key}",
        f"- **Written by**: {_writers(topic)}",
        *([f"- **Read by**: the workers (flow {', '.join(readers)})"] if readers else []),
        f"- **Partitions**: {topic.partitions}",
        f"- **Kept**: {_kept(topic)}",
        f"- **Largest value**: {topic.value_bytes_max // 1_024} KiB",
        *(["- **Time**: the broker's, when it appended the record"] if topic.log_append_time else []),
        *(["- **Null value**: removes what the key stood for"] if topic.compacted else []),
    ]
    if schema is not None:
        lines += [f"- **Schema**: `{schema.subject}`, id {schema.id}, `schemas/{schema.file}`", ""]
        lines += list(_fields(schema.definition))
        if topic.name in EXAMPLES:
            call = f'send("{topic.name}", {_key(topic)}, {schema.id}, "schemas/{schema.file}", {EXAMPLES[topic.name]})'
            lines += ["", "```python", call, "```"]
    return "\n".join(lines) + "\n"


def _key(topic: Topic) -> str:
    return '"default/spring-sale"' if topic is CATALOG_ITEMS else "ada"


def _fields(record: dict[str, Any], inside: bool = False) -> Iterator[str]:
    """A table of the record's fields, then one of each record inside it."""
    inner: list[dict[str, Any]] = []
    theirs: set[str] = set()
    yield "| field | type | default | personal | meaning |"
    yield "|---|---|---|---|---|"
    for field in record["fields"]:
        known = len(inner)
        kind = _type(field["type"], inner)
        if field.get("personal", inside):
            theirs |= {one["name"] for one in inner[known:]}
        default = f"`{json.dumps(field['default'])}`" if "default" in field else ""
        personal = "yes" if field.get("personal", inside) else ""
        yield f"| `{field['name']}` | {kind} | {default} | {personal} | {_cell(field['doc'])} |"
    for nested in inner:
        yield ""
        yield f"**{nested['name']}**: {nested['doc']}"
        yield ""
        yield from _fields(nested, nested["name"] in theirs)


def _type(schema: Any, inner: list[dict[str, Any]]) -> str:
    """A type in words; records spelt out in it are added to `inner`."""
    if schema == SCALAR:
        return "scalar: null, boolean, long, double or string"
    if isinstance(schema, list):
        return " or ".join(_type(branch, inner) for branch in schema if branch != "null") + (
            ", or null" if "null" in schema else ""
        )
    if isinstance(schema, str):
        return schema.rsplit(".", 1)[-1]
    if schema["type"] == "record":
        inner.append(schema)
        return str(schema["name"])
    if schema["type"] == "array":
        return f"list of {_type(schema['items'], inner)}"
    return f"map of {_type(schema['values'], inner)}"


def _writers(topic: Topic) -> str:
    flows = [f"`{flow.name}`" for flow in FLOWS if topic in flow.writes]
    workers = [f"the workers (flow {', '.join(flows)})"] if flows else []
    return "; ".join([*([WRITERS[topic.name]] if topic.name in WRITERS else []), *workers])


def _kept(topic: Topic) -> str:
    if topic.compacted:
        newest = "the newest record of each key, for ever (compacted)"
        if topic.superseded_ms is None:
            return newest
        return f"{newest}; what it supersedes, for {topic.superseded_ms // DAY_MS} days at least"
    hours = topic.retention_ms / HOUR_MS
    return f"{topic.retention_ms // DAY_MS} days" if hours >= 48 else f"{hours * 60:g} minutes" if hours < 1 else (
        f"{hours:g} hours"
    )


def _tables() -> str:
    lines = [
        "## Tables",
        "",
        "State of the workers. Its changelogs belong to them alone: read them at your own risk, never write them.",
        "",
        "| changelog | key | what |",
        "|---|---|---|",
        *(f"| `{table.changelog('<app id>')}` | {table.key} | {_cell(table.doc)} |" for table in TABLES),
    ]
    return "\n".join(lines)


def _anchor(name: str) -> str:
    return name.replace(".", "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
