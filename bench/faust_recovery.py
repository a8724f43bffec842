"""Faust's own recovery of the same changelog: `python -m bench.faust_recovery BOOTSTRAP APP_ID DATA_DIR RESULT`.

A plain Faust app with the profile table on RocksDB, as its documentation has it. Writes how long it took from the
assignment of its partitions until the table was there, as JSON, and ends.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import faust

from topics.catalog import DECISION_REQUESTS, PROFILES_BY_ID, SUBJECT_PARTITIONS


def main(bootstrap: str, app_id: str, data_dir: str, result: str) -> None:
    """Never returns."""
    app = faust.App(
        app_id, broker=f"kafka://{bootstrap}", datadir=data_dir, store="rocksdb://?driver=rocksdict",
        topic_partitions=SUBJECT_PARTITIONS, topic_allow_declare=False, topic_disable_leader=True, web_enabled=False,
        autodiscover=False, recovery_consistency_check=False,
    )
    table = app.Table(PROFILES_BY_ID.name, key_type=bytes, value_type=bytes, partitions=SUBJECT_PARTITIONS)
    asked = app.topic(DECISION_REQUESTS.name, key_type=bytes, value_type=bytes, value_serializer="raw")
    began: list[float] = []

    @app.on_partitions_assigned.connect(weak=False)
    async def assigned(*_: Any, **__: Any) -> None:
        began.append(time.monotonic())

    @table.on_recover
    async def recovered() -> None:
        Path(result).write_text(json.dumps({"seconds": time.monotonic() - began[0]}), "utf-8")
        # The measurement is over; what Faust would do at an orderly end is none of it.
        os._exit(0)

    @app.agent(asked)
    async def agent(stream: Any) -> None:
        async for _ in stream:
            raise RuntimeError("recovery comes before the first record")

    faust.Worker(app, loglevel="WARNING").execute_from_commandline()


if __name__ == "__main__":
    main(*sys.argv[1:5])
