"""The examples of docs/topics.md run as they stand, and what they send is what the pipeline reads."""

from __future__ import annotations

import re
from typing import Any

import confluent_kafka
import pytest

from docs.generate import ROOT
from pipeline.codecs import avro
from pipeline.core.identity import identifiers
from pipeline.settings import Settings
from topics.catalog import BY_NAME, CATALOG_ITEMS, DECISION_REQUESTS, FEEDBACK_EVENTS, IDENTITY_EVENTS, TOPICS

PAGE = (ROOT / "docs/topics.md").read_text("utf-8")


class Recorder:
    """Stands in for confluent-kafka's producer."""

    sent: list[tuple[str, str, bytes]]

    def __init__(self, config: dict[str, Any]) -> None:
        assert config["partitioner"] == "murmur2_random"
        Recorder.sent = []

    def produce(self, topic: str, *, key: str, value: bytes) -> None:
        Recorder.sent.append((topic, key, value))


def test_every_example_sends_a_record_that_decodes_under_its_own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confluent_kafka, "Producer", Recorder)
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec("\n".join(blocks), {})  # noqa: S102 - the page's own examples
    topics = [IDENTITY_EVENTS, FEEDBACK_EVENTS, DECISION_REQUESTS, CATALOG_ITEMS]
    assert [name for name, _, _ in Recorder.sent] == [topic.name for topic in topics]
    for name, key, value in Recorder.sent:
        record = avro.decode(BY_NAME[name], value)
        assert key == getattr(record, "subject", None) or key == f"{record.tenant}/{record.item_id}"


def test_the_examples_subject_is_the_one_the_bridge_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confluent_kafka, "Producer", Recorder)
    names: dict[str, Any] = {}
    (first, *_) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(first, names)  # noqa: S102 - the page's own example
    tenant_key = Settings.model_fields["tenant_key"].default.get_secret_value().encode()
    assert names["ada"] == identifiers.subject_key((tenant_key,), "default", "email", "Ada@Example.org")


def test_every_topic_has_its_section() -> None:
    assert re.findall(r"^## (\S+\.?\S+)$", PAGE, re.MULTILINE)[:-1] == [topic.name for topic in TOPICS]
