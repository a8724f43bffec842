"""Where events lie, as text: who sends events gets it as a token, and a decide request that names it is decided after
them.

`topic:partition:offset`, separated by commas; the last one of each partition stands for those before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from topics.catalog import FEEDBACK_EVENTS, IDENTITY_EVENTS, SUBJECT_PARTITIONS

#: The header of a record of `decision.requests` with such a text.
HEADER: Final = "after"

#: Both topics' partitions, each once, fit easily.
CHARS_MAX: Final = 2_048

_TOPICS: Final = (IDENTITY_EVENTS.name, FEEDBACK_EVENTS.name)
_DIGITS_MAX: Final = 18

#: Topic and partition → the offset of its last event.
Positions = Mapping[tuple[str, int], int]


class PositionsError(ValueError):
    """The text is no token; the message says what is wrong."""


def write(places: Iterable[tuple[str, int, int]]) -> str:
    """The token of events by topic, partition and offset; "" of none."""
    last: dict[tuple[str, int], int] = {}
    for topic, partition, offset in places:
        last[topic, partition] = max(offset, last.get((topic, partition), 0))
    return ",".join(f"{topic}:{partition}:{offset}" for (topic, partition), offset in sorted(last.items()))


def read(text: str) -> Positions:
    """What a token says. Raises PositionsError for what is none."""
    if len(text) > CHARS_MAX:
        raise PositionsError(f"has more than {CHARS_MAX} characters: send the token of an answer of /v1/events")
    found: dict[tuple[str, int], int] = {}
    for part in text.split(","):
        topic, _, place = part.partition(":")
        partition, _, offset = place.partition(":")
        if topic not in _TOPICS or not _is_number(partition) or not _is_number(offset):
            raise PositionsError("is not a token of /v1/events: send `topic:partition:offset`, several with commas")
        if int(partition) >= SUBJECT_PARTITIONS:
            raise PositionsError(f"names a partition past {SUBJECT_PARTITIONS - 1}")
        at = (topic, int(partition))
        found[at] = max(int(offset), found.get(at, 0))
    return found


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX
