"""Profiles that time alone changes: a membership that runs out does so without a new event.

The owner of a partition asks itself for another look, by an ordinary record on the profile's own partition: it is
delivered, applied once and explained like any other, and to look twice is harmless.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.codecs import avro
from pipeline.core.model.records import InboxRecord
from pipeline.ports import Clock, Outbound
from pipeline.runtime.takeover import TableStore
from topics.catalog import PROFILE_INBOX

#: Asked for at once, per partition.
DUE_MAX = 500

#: A look that was asked for may take so long before it is asked for again.
ASK_AGAIN_S = 60.0


class DueProfiles:
    """Remembers what was asked for, while it is still due."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked_s: dict[tuple[bytes, int], float] = {}

    def questions(self, stores: Mapping[int, TableStore]) -> list[Outbound]:
        """The records that ask for another look at what is due by now in these partitions."""
        now_ms, now_s = self._clock.now_ms(), self._clock.monotonic_s()
        asked_s: dict[tuple[bytes, int], float] = {}
        found: list[Outbound] = []
        for partition, store in stores.items():
            for key, due_ms in store.due(now_ms, DUE_MAX):
                before_s = self._asked_s.get((key, due_ms))
                if before_s is None or now_s - before_s > ASK_AGAIN_S:
                    found.append(_question(key.decode(), due_ms, partition))
                    before_s = now_s
                asked_s[(key, due_ms)] = before_s
        self._asked_s = asked_s
        return found


def _question(profile_id: str, due_ms: int, partition: int) -> Outbound:
    record = InboxRecord(f"due-{profile_id}-{due_ms}", profile_id, profile_id, due_ms=due_ms)
    return Outbound(PROFILE_INBOX.name, profile_id.encode(), avro.encode(PROFILE_INBOX, record), partition)
