"""Final outcomes of what models chose, read off the topic `outcomes`. Blocks; joins no group and changes nothing.

What belongs to somebody erased cannot be opened any more and is left out: what is said here is of those who are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pipeline.adapters.keys import Keys
from pipeline.adapters.reading import every
from pipeline.codecs.errors import CodecError
from pipeline.core.keys import tenant_of
from pipeline.core.model.records import Outcome
from pipeline.settings import Settings
from topics.catalog import OUTCOMES

#: Records that are known again where they come twice.
_RECENT_MAX: Final = 100_000


def finals(settings: Settings, tenant: str) -> Iterator[Outcome]:
    """The tenant's final outcomes of models' choices, each once. Raises KafkaException."""
    # What a crash had sent again lies right behind what was sent before it.
    recent: dict[str, None] = {}
    with Keys(settings) as keys:
        keys.refresh()
        for message in every(settings, OUTCOMES.name, "models"):
            try:
                one = keys.value(OUTCOMES, message.key(), message.value())
            except CodecError:
                continue
            if isinstance(one, Outcome) and one.final and one.model and one.encrypted is None and (
                    tenant_of(one.profile_id) == tenant) and one.outcome_id not in recent:
                recent[one.outcome_id] = None
                if len(recent) > _RECENT_MAX:
                    del recent[next(iter(recent))]
                yield one
