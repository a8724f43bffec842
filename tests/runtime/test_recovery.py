"""Where Faust's recovery meets lanes that it does not read."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.tables.recovery import ServiceStopped

from pipeline.runtime import crash
from pipeline.runtime.faust_transport import LaneRecovery


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
