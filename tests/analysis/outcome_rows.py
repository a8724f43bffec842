"""Outcomes for tests, as a Parquet file of the columns that the topic has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

DAY_MS: Final = 86_400_000
START_MS: Final = 1_790_000_000_000
SCHEMA: Final = pa.schema([
    ("outcome_id", pa.string()), ("outcome", pa.string()), ("decision_id", pa.string()), ("profile_id", pa.string()),
    ("item_id", pa.string()), ("action", pa.string()), ("reward", pa.float64()), ("pscore", pa.float64()),
    ("position", pa.int32()), ("placement", pa.string()), ("channel", pa.string()), ("decided_ms", pa.int64()),
    ("at_ms", pa.int64()), ("final", pa.bool_()), ("release", pa.string()), ("experiments", pa.list_(pa.string())),
    ("context", pa.string()),
])


def row(number: int, subject: str | None, day: float, reward: float | None = 0.0, **other: Any) -> dict[str, Any]:
    """One final outcome, decided on a day after the start and final a day later."""
    decided_ms = START_MS + round(day * DAY_MS)
    return {
        "outcome_id": f"o{number}", "outcome": "order", "decision_id": f"d{number}", "profile_id": subject,
        "item_id": "a", "action": "a", "reward": reward, "pscore": 0.5, "position": 0, "placement": "banner",
        "channel": "web", "decided_ms": decided_ms, "at_ms": decided_ms + DAY_MS, "final": True, "release": "r1",
        "experiments": ["checkout:control"], "context": json.dumps({"country": "DE"}), **other,
    }


def write(file: Path, rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> Path:
    """Write the rows; returns the file."""
    pq.write_table(pa.Table.from_pylist(rows, schema), file)
    return file
