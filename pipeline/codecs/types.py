"""Which type of the core each schema subject carries: the one of its name."""

from __future__ import annotations

from typing import Final

from pipeline.core.model import records
from topics.catalog import TOPICS


def _type_of(subject: str) -> type:
    found: type = getattr(records, "".join(word.capitalize() for word in subject.split("_")))
    return found


VALUE_TYPES: Final[dict[str, type]] = {
    topic.schema: _type_of(topic.schema) for topic in TOPICS if topic.schema is not None
}
