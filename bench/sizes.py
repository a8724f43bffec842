"""`python -m bench.sizes`: bytes that a decision writes, in memory, as somebody is decided for again and again.

With the example policy; every subject also clicks, views or converts in between. No broker: sizes are the same there.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from bench.inputs import Subjects
from bench.parts import ROOT
from pipeline.core.model.records import FeedbackEvent, FeedbackKind
from pipeline.policy.load import load
from pipeline.policy.publish import prepare
from pipeline.runtime.memory import MemoryPipeline
from pipeline.settings import Settings
from pipeline.topology import FLOWS
from topics.catalog import (
    BY_NAME,
    DECISION_AUDIT,
    DECISION_REPLIES,
    DECISION_REQUESTS,
    DECISIONS,
    FEEDBACK_EVENTS,
    IDENTITY_EVENTS,
)

RESULTS: Final = ROOT / "bench" / "results" / "sizes.json"
SUBJECTS: Final = 40
DECISIONS_EACH: Final = 70
#: A decision every 21 s and an event with every third of them: the pace of `make soak`.
PAUSE_MS: Final = 21_000
EVENTS_SHARE: Final = 22 / 70
SHOWN: Final = (1, 2, 8, 21, 34, 70)
OUTPUTS: Final = {"audit": DECISION_AUDIT, "decision": DECISIONS, "reply": DECISION_REPLIES}


@dataclass(frozen=True, slots=True)
class Sizes:
    """Mean bytes of one decision; `number`: the how many-th of its subject."""

    number: int
    changelog: float
    changelog_records: float
    audit: float
    decision: float
    reply: float


class Counted:
    """A pipeline in memory, and what it has written so far."""

    def __init__(self) -> None:
        self.pipeline = MemoryPipeline(FLOWS)

    def bytes(self) -> dict[str, int]:
        """So far."""
        logs = self.pipeline.logs
        found = {name: sum(len(record.value or b"") for log in logs.get(topic.name, ()) for record in log)
                 for name, topic in OUTPUTS.items()}
        written = [value for log in self.pipeline.changelog for _, value in log]
        return found | {"changelog": sum(map(len, written)), "changelog_records": len(written)}


def measure() -> list[Sizes]:
    """Every subject in turn, decision by decision."""
    counted, settings, chance = Counted(), Settings(), random.Random(1)
    pipeline, subjects = counted.pipeline, Subjects(settings, "sizes", SUBJECTS)
    for out in prepare(load(ROOT / "policy"), settings.tenant, {}, pipeline.clock.at_ms, "bench").records:
        pipeline.send(BY_NAME[out.topic], out.key, out.value, out.partition)
    for known in subjects.known(pipeline.clock.at_ms):
        pipeline.send(IDENTITY_EVENTS, known.key, known.value)
    pipeline.run()
    found = []
    for number in range(1, DECISIONS_EACH + 1):
        before, first = counted.bytes(), (number - 1) * SUBJECTS
        for _, request in subjects.requests(f"round-{number}", range(first, first + SUBJECTS), 0):
            pipeline.send(DECISION_REQUESTS, request.key, request.value)
        pipeline.run()
        after = counted.bytes()
        found.append(Sizes(number, **{name: round((after[name] - before[name]) / SUBJECTS, 1) for name in after}))
        for one in range(SUBJECTS):
            if chance.random() < EVENTS_SHARE:
                kind = chance.choice((FeedbackKind.VIEW, FeedbackKind.CLICK, FeedbackKind.CONVERSION))
                event = FeedbackEvent(f"e{number}-{one}", subjects.key(one), kind, pipeline.clock.at_ms, kind.value,
                                      chance.choice(("boots_sale", "tent_guide")), placement="home.hero", channel="web")
                pipeline.send(FEEDBACK_EVENTS, event.subject, event)
        pipeline.run()
        pipeline.clock.at_ms += PAUSE_MS
    return found


def main(results: Annotated[bool, typer.Option(help=f"Write {RESULTS.relative_to(ROOT)}.")] = True) -> None:
    """Bytes per decision."""
    found = measure()
    if results:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n", "utf-8")
    table = Table("the subject's decision", "changelog", "in records", "audit", "decision", "reply", "all")
    for one in found:
        if one.number in SHOWN:
            parts = (one.changelog, one.audit, one.decision, one.reply)
            table.add_row(str(one.number), f"{one.changelog:,.0f}", f"{one.changelog_records:.1f}",
                          *(f"{part:,.0f}" for part in parts[1:]), f"{sum(parts):,.0f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
