"""Outcomes as columns: what is read, what is left out and said, what is refused."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.errors import AnalysisError
from analysis.outcomes import read_outcomes
from tests.analysis.outcome_rows import SCHEMA, row, write


def test_final_outcomes_are_read_and_partial_ones_are_not(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", [row(1, "ann", 0, 2.0), row(2, "ann", 0, 1.0, final=False)])
    read = read_outcomes(file)
    assert list(read.reward) == [2.0]
    assert list(read.experiments) == [("checkout:control",)]
    assert read.notes == ()


def test_a_folder_of_days_is_read_as_one(tmp_path: Path) -> None:
    for day in ("2026-11-01", "2026-11-02"):
        (tmp_path / day).mkdir()
        write(tmp_path / day / "part.parquet", [row(int(day[-1]), day, 0)])
    assert sorted(read_outcomes(tmp_path).profile_id) == ["2026-11-01", "2026-11-02"]


def test_a_view_of_duckdb_gives_the_same_as_its_files(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", [row(1, "ann", 0, 2.0), row(2, "ben", 1, final=False)])
    connection = duckdb.connect()
    connection.from_parquet(str(file)).create_view("outcomes")
    assert list(read_outcomes(connection).profile_id) == list(read_outcomes(file).profile_id) == ["ann"]


def test_records_that_came_twice_count_once(tmp_path: Path) -> None:
    read = read_outcomes(write(tmp_path / "a.parquet", [row(1, "ann", 0, 2.0), row(1, "ann", 0, 2.0)]))
    assert list(read.reward) == [2.0]
    assert read.notes == ("1 records came twice and are counted once",)


def test_erased_subjects_and_missing_rewards_are_left_out_and_said(tmp_path: Path) -> None:
    rows = [
        row(1, None, 0), row(2, "ann", 0, None), row(3, "ann", 0, float("nan")), row(4, "ann", 0),
        row(5, "ann", 0, outcome_id=None), row(6, "ben", 0, outcome_id=None),
    ]
    read = read_outcomes(write(tmp_path / "a.parquet", rows))
    assert list(read.profile_id) == ["ann"]
    assert read.notes[0].startswith("5 records left out")


def test_what_lacks_a_column_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"final": [True]}), tmp_path / "a.parquet")
    with pytest.raises(AnalysisError, match="lacks the columns outcome_id"):
        read_outcomes(tmp_path / "a.parquet")


def test_a_column_of_another_type_is_refused_and_not_guessed(tmp_path: Path) -> None:
    other = SCHEMA.set(SCHEMA.get_field_index("reward"), pa.field("reward", pa.string()))
    file = write(tmp_path / "a.parquet", [row(1, "ann", 0) | {"reward": "1"}], other)
    with pytest.raises(AnalysisError, match="the column reward is string, and must be a number"):
        read_outcomes(file)


def test_what_is_not_there_or_no_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="no such file"):
        read_outcomes(tmp_path / "none")
    (tmp_path / "a.parquet").write_text("text")
    with pytest.raises(AnalysisError, match="cannot be read as Parquet"):
        read_outcomes(tmp_path / "a.parquet")
