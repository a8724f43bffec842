"""Adds up what a replay sent and got back. Counts only; decides nothing, prints nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pipeline.core.model.records import Chosen, DecisionReply
from replay_log.learning import Learning
from replay_log.rewards import Replayed
from replay_log.rows import Impression
from replay_log.statistics import Latencies

#: Bad rows that are told in full; the rest is only counted.
BAD_ROWS_TOLD = 10


@dataclass(slots=True)
class ItemCount:
    """One item: how often the log shows it and it was clicked, and how often we chose it."""

    impressions: int = 0
    clicks: int = 0
    chosen: int = 0


@dataclass(slots=True)
class Tally:
    """The running figures of one replay."""

    rows: int = 0
    bad_rows: int = 0
    bad_rows_told: list[str] = field(default_factory=list)
    subjects: int = 0
    events: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    answered: int = 0
    unanswered: int = 0
    resent: int = 0
    #: Rows that had to wait because as many requests as allowed were unanswered.
    held_back: int = 0
    fallbacks: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    items: dict[str, ItemCount] = field(default_factory=dict)
    #: What the connection complains about just now, in words.
    trouble: str | None = None
    latencies: Latencies = field(default_factory=Latencies)
    replayed: Replayed = field(default_factory=Replayed)
    learning: Learning = field(default_factory=Learning)

    def bad_row(self, number: int, problem: str) -> None:
        """A row that was not replayed."""
        self.bad_rows += 1
        if len(self.bad_rows_told) < BAD_ROWS_TOLD:
            self.bad_rows_told.append(f"row {number}: {problem}")

    def logged(self, impression: Impression) -> None:
        """A row whose request went out."""
        self.rows += 1
        self.requests += 1
        item = self.items.setdefault(impression.item_id, ItemCount())
        item.impressions += 1
        item.clicks += impression.clicked
        self.learning.add(impression)

    def answer(self, impression: Impression, reply: DecisionReply, latency_ms: float) -> bool:
        """A row whose reply came; True where we chose the item that was shown then.

        Only real decisions enter the estimate: a fallback says that nothing was decided.
        """
        self.answered += 1
        self.latencies.add(latency_ms)
        if reply.error is not None:
            self.errors[reply.error] += 1
            return False
        self.reasons[reply.reason] += 1
        chosen = chosen_for(impression.placement, reply)
        if chosen is not None:
            self.items.setdefault(chosen.item_id, ItemCount()).chosen += 1
        if reply.fallback or chosen is None or chosen.fallback:
            self.fallbacks += 1
            return False
        matched = chosen.item_id == impression.item_id
        self.replayed.add(matched, impression)
        return matched


def chosen_for(placement: str, reply: DecisionReply) -> Chosen | None:
    """The first decision for the placement."""
    return next((one for one in reply.decisions if one.placement == placement), None)
