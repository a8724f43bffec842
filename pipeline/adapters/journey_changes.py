"""Every move in a journey that is kept, read off `journey.changes`. Blocks; joins no group and changes nothing.

What is read here is open, so that moves of somebody erased count on without anybody knowing whose they were.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.adapters.reading import every
from pipeline.codecs import avro
from pipeline.codecs.errors import CodecError
from pipeline.core.journeys.funnel import Told
from pipeline.settings import Settings
from topics.catalog import JOURNEY_CHANGES


def moves(settings: Settings, tenant: str) -> Iterator[Told]:
    """The tenant's moves, each subject's in order, with the pseudonym whose they are. Raises KafkaException."""
    for message in every(settings, JOURNEY_CHANGES.name, "journeys"):
        try:
            one = avro.decode(JOURNEY_CHANGES, message.value())
        except CodecError:
            continue
        if one.tenant == tenant:
            yield message.key() or b"", one
