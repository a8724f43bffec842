"""Where Faust's own watches meet lanes that it does not read: its recovery, and its search for stuck partitions."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.tables.recovery import ServiceStopped
from faust.types import TP

from pipeline.runtime import crash
from pipeline.runtime.faust_transport import LaneConsumer, LaneRecovery


@pytest.mark.parametrize(("timeout_s", "stops"), [(0.01, 1), (5.0, 0)])
def test_a_wait_that_runs_out_of_time_stops_the_worker(
    timeout_s: float, stops: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(crash, "stop", said.append)

    async def wait() -> None:
        app: Any = SimpleNamespace(conf=SimpleNamespace(stream_recovery_delay=0.0))
        tables: Any = SimpleNamespace()
        recovery = LaneRecovery(app, tables, loop=asyncio.get_running_loop())
        try:
            await recovery._wait(asyncio.sleep(0.1), timeout_s)
        except ServiceStopped:
            assert stops, "it did end in time"

    asyncio.run(wait())
    assert len(said) == stops


def test_faust_looks_for_stuck_partitions_only_among_those_it_reads() -> None:
    looked_at: list[TP] = []
    read, hot = TP("nextbest-profiles_by_id-changelog", 0), TP("decision.requests", 3)
    consumer: Any = SimpleNamespace(
        assignment=lambda: {hot, read},
        inputs=frozenset({hot.topic}),
        should_stop=False,
        verify_event_path=lambda _now_s, tp: looked_at.append(tp),
    )
    asyncio.run(LaneConsumer.verify_all_partitions_active(consumer))
    assert looked_at == [read]
