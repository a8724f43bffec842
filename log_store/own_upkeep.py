"""The upkeep that a running sink does by itself, in small pieces between what it consumes.

Of a topic, by the sink that keeps its partition 0: by one at a time, without an agreement. Where two believe that they
do, one of the runs counts for nothing and does no harm.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

from log_store import upkeep
from log_store.batches import Place
from log_store.upkeep import Bounds, Done

_log = logging.getLogger("nextbest.log_store")
#: One piece: a few seconds of work, far within the time in which a consumer must poll again.
PIECE: Final = Bounds(bytes=upkeep.MERGED_BYTES_MAX, deletes=1_000)
#: The first run after a topic came to this sink; sinks that are started again and again do it, too.
FIRST_S: Final = 30.0
#: After a piece that took a second, so many seconds are for consuming alone.
_REST: Final = 4.0


class OwnUpkeep:
    """One sink's. Not for several threads.

    :param kept_days: by tenant, as the setting says.
    :param every_s: how often each topic has its turn; 0: never.
    :param clock_s: monotonic.
    """

    def __init__(
        self,
        place: Place,
        kept_days: Mapping[str, int],
        every_s: float,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place, self._kept_days, self._every_s, self._clock_s = place, kept_days, every_s, clock_s
        self._due_s: dict[str, float] = {}
        self._rests_until_s = 0.0

    def step(self, topics: Collection[str], now_ms: int) -> Done | None:
        """A piece of the upkeep of one of these topics, if one is due. An OSError is in the log; None then, too."""
        now_s = self._clock_s()
        for topic in topics:
            self._due_s.setdefault(topic, now_s + min(FIRST_S, self._every_s))
        # A topic that comes back later begins anew.
        self._due_s = {topic: due_s for topic, due_s in self._due_s.items() if topic in topics}
        topic = min(self._due_s, key=lambda one: self._due_s[one], default="")
        if not self._every_s or not topic or now_s < max(self._due_s[topic], self._rests_until_s):
            return None
        done = None
        try:
            done = upkeep.keep_up(self._place, topic, now_ms, self._kept_days, bounds=PIECE)
        except OSError as error:
            # What is read goes on; if the whole place is away, the next batch cannot be written, and says so.
            _log.error("%s: files were not merged and expired, which is tried again later: %s", topic, error)
        end_s = self._clock_s()
        again = done is not None and done.left and done.replaced
        self._due_s[topic] = end_s if again else end_s + self._every_s
        self._rests_until_s = end_s + _REST * (end_s - now_s)
        if done is not None and (done.merged or done.expired):
            _log.info("%s: %d files are merged away, %d expired", topic, done.merged, done.expired)
        return done
