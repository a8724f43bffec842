"""The limit on dead letters, flow by flow: past it a flow is paused, with an alarm, and goes on by itself later.

More of them than bad data explains come from a bad deploy, of a producer or of ours: it must not divert everything it
sends. The flow's records stay in their topic meanwhile, unread, in order; all other flows go on. Decision requests
are never paused, as nobody waits for them later: past the limit they are an alarm only.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from pipeline.ports import Clock

log = logging.getLogger(__name__)

WINDOW_S: Final = 60.0

#: How long a flow is paused first, and at most: each pause that follows within an hour is twice as long.
PAUSE_S_FIRST: Final = 60.0
PAUSE_S_MAX: Final = 900.0
FORGIVEN_S: Final = 3_600.0


@dataclass(slots=True)
class _Flow:
    since_s: float
    letters: int = 0
    pause_s: float = 0.0
    paused_until_s: float | None = None
    alarmed: bool = False


class LetterLimit:
    """What has been dead-lettered of each input topic within the last minute, and which of them are paused."""

    def __init__(self, limit: int, clock: Clock, never_pause: Collection[str]) -> None:
        """`limit`: letters per minute and topic. `never_pause`: topics that only alarm."""
        self._limit = limit
        self._clock = clock
        self._never_pause = never_pause
        self._flows: dict[str, _Flow] = {}

    def add(self, topic: str, letters: int) -> None:
        """So many more were written. The topic is paused from now on where they are too many."""
        if not letters:
            return
        now_s = self._clock.monotonic_s()
        flow = self._flows.setdefault(topic, _Flow(now_s))
        if now_s - flow.since_s > WINDOW_S:
            if now_s - flow.since_s > FORGIVEN_S:
                flow.pause_s = 0.0
            flow.since_s, flow.letters, flow.alarmed = now_s, 0, False
        flow.letters += letters
        if flow.letters > self._limit and not flow.alarmed:
            flow.alarmed = True
            self._alarm(topic, flow, now_s)

    def _alarm(self, topic: str, flow: _Flow, now_s: float) -> None:
        what = (
            f"{flow.letters} dead letters of {topic} within a minute (NEXTBEST_DEAD_LETTER_LIMIT is {self._limit}); "
            "see `nextbest dead-letters list`"
        )
        if topic in self._never_pause:
            log.critical("%s. It goes on, as nobody waits for a decision later", what)
            return
        flow.pause_s = min(max(PAUSE_S_FIRST, 2 * flow.pause_s), PAUSE_S_MAX)
        flow.paused_until_s = now_s + flow.pause_s
        log.critical(
            "%s. The topic is not read for %.0f s; everything else goes on. Mend its producer, or raise the limit and "
            "restart this worker, which goes on at once", what, flow.pause_s,
        )

    def paused(self, topic: str) -> bool:
        """Whether the topic is not to be read now."""
        flow = self._flows.get(topic)
        return flow is not None and flow.paused_until_s is not None

    def alarmed(self, topic: str) -> bool:
        """Whether too many came within the present minute, or the topic is paused."""
        flow = self._flows.get(topic)
        return flow is not None and (flow.alarmed or flow.paused_until_s is not None)

    def resumed(self) -> list[str]:
        """The topics that were paused long enough: they are read from now on."""
        now_s = self._clock.monotonic_s()
        found = []
        for topic, flow in self._flows.items():
            if flow.alarmed and flow.paused_until_s is None and now_s - flow.since_s > WINDOW_S:
                flow.alarmed = False
            if flow.paused_until_s is not None and now_s >= flow.paused_until_s:
                flow.paused_until_s, flow.since_s, flow.letters, flow.alarmed = None, now_s, 0, False
                log.warning("reading %s again", topic)
                found.append(topic)
        return found
