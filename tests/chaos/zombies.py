"""Whether a frozen worker wrote or answered after its partitions had gone to others, and whether they had."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos.batches import Batch, batches
from tests.chaos.faults import Done
from tests.chaos.logs import OUTPUTS, Announcement, Logs
from tests.chaos.plan import FREEZE
from topics.catalog import PROFILE_INBOX, PROFILES_BY_ID, SEGMENT_CHANGES, SUBJECT_PARTITIONS

#: What was written so long after one owner's announcement and before the next one's was written by that owner.
APART_MS: Final = 1_000.0


@dataclass(frozen=True, slots=True)
class Zombie:
    """One frozen worker after it came back."""

    worker: str
    frozen_s: float
    partitions: list[int]
    #: Of these, how many had another owner before it came back.
    moved: int
    #: When it announced itself again, seconds after it came back; None where it never did (it stopped).
    again_s: float | None
    #: Records that it produced between its return and its next announcement.
    produced: int
    #: Changelog records of its lost terms that arrived after the next owner's announcement.
    wrote_late: int


def zombies(done: Sequence[Done], logs: Logs, data: Path, app_id: str) -> Iterator[Zombie]:
    """What became of every frozen worker; `data`: the broker's directory."""
    changelog = list(batches(data, PROFILES_BY_ID.changelog(app_id), SUBJECT_PARTITIONS))
    outputs = {topic: list(batches(data, topic.name, topic.partitions))
               for topic in (*OUTPUTS, PROFILE_INBOX, SEGMENT_CHANGES)}
    written = [*changelog, *(batch for some in outputs.values() for batch in some)]
    producers = _producers(changelog, logs.announcements)
    lingering = [batch for topic, some in outputs.items() if not topic.awaited for batch in some]
    for worker, more in _lingering(lingering, logs.announcements).items():
        producers[worker] |= more
    for fault in done:
        if fault.kind == FREEZE:
            yield _zombie(fault, logs, written, producers[fault.worker])


def _zombie(fault: Done, logs: Logs, written: list[Batch], producers: set[int]) -> Zombie:
    worker = fault.worker
    moved = {a.partition for a in logs.announcements if a.worker != worker and fault.at_ms < a.at_ms < fault.until_ms}
    own = [a.at_ms for a in logs.announcements if a.worker == worker and a.at_ms >= fault.until_ms]
    again_ms = min(own, default=None)
    end_ms = float("inf") if again_ms is None else again_ms
    # By the producer's clock, but for the inbox, whose records bear the time at which the broker took them.
    produced = sum(
        batch.last - batch.first + 1 for batch in written
        if batch.producer in producers and fault.until_ms <= batch.latest_ms < end_ms
    )
    terms = {(a.partition, a.epoch) for a in logs.announcements if a.worker == worker}
    late = [one for one in logs.late if (one.partition, one.epoch) in terms]
    return Zombie(
        worker, (fault.until_ms - fault.at_ms) / 1000, fault.partitions, len(moved & set(fault.partitions)),
        None if again_ms is None else (again_ms - fault.until_ms) / 1000, produced, len(late),
    )


def _producers(changelog: list[Batch], announcements: Sequence[Announcement]) -> dict[str, set[int]]:
    """Each worker's producer ids: those under which its announcements were written."""
    at: dict[int, list[Batch]] = defaultdict(list)
    for batch in changelog:
        at[batch.partition].append(batch)
    found: dict[str, set[int]] = defaultdict(set)
    for one in announcements:
        for batch in at[one.partition]:
            if batch.first <= one.offset <= batch.last:
                found[one.worker].add(batch.producer)
    return found


def _lingering(written: list[Batch], announcements: Sequence[Announcement]) -> dict[str, set[int]]:
    """The ids of each worker's other producer: what was written to a partition well within a term of its own."""
    found: dict[str, set[int]] = defaultdict(set)
    for partition in range(SUBJECT_PARTITIONS):
        terms = sorted((one.at_ms, one.worker) for one in announcements if one.partition == partition)
        ends = [at_ms for at_ms, _ in terms[1:]] + [float("inf")]
        for (from_ms, worker), until_ms in zip(terms, ends, strict=True):
            found[worker] |= {
                batch.producer for batch in written
                if batch.partition == partition and from_ms + APART_MS < batch.latest_ms < until_ms - APART_MS
            }
    return found


def judge_zombies(found: Sequence[Zombie], logs: Logs) -> Iterator[str]:
    """What is wrong with them."""
    for zombie in found:
        if zombie.moved < len(zombie.partitions):
            yield f"{zombie.worker} was frozen for {zombie.frozen_s:.0f} s and nobody took its partitions over"
        elif zombie.produced:
            yield f"{zombie.worker} came back and produced {zombie.produced} records for partitions it had lost"
        if zombie.wrote_late:
            yield f"{zombie.worker} wrote {zombie.wrote_late} changelog records after the next owner's announcement"
    others = len(logs.late) - sum(zombie.wrote_late for zombie in found)
    if others:
        yield f"{others} changelog records of lost terms came after the next owner's announcement"
