"""The Quix Streams app's own topics: ours of the same making, under other names. Known to both environments."""

from __future__ import annotations

from typing import Final

from bench.cluster import renamed
from topics.catalog import DECISION_AUDIT, DECISION_REPLIES, DECISION_REQUESTS, DECISIONS, SEGMENT_CHANGES, Topic

GROUP: Final = "bench-quix"
ASKED: Final = renamed(DECISION_REQUESTS, "bench.quix.requests")
#: By the name of our topic.
OUTPUTS: Final[dict[str, Topic]] = {
    topic.name: renamed(topic, f"bench.quix.{topic.name}")
    for topic in (DECISIONS, DECISION_AUDIT, DECISION_REPLIES, SEGMENT_CHANGES)
}

#: Under which the state is kept.
STATE: Final = "profile"
#: As Quix Streams names it.
CHANGELOG: Final = f"changelog__{GROUP}--{ASKED.name}--default"


def subject_of(key: bytes) -> bytes:
    """Whose value it is: a key of the changelog is the record's key, a bar, and the state's name."""
    return key.rpartition(b"|")[0]
