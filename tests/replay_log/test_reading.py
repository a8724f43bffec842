"""The same log as CSV, JSON lines and Parquet gives the same rows, a block at a time; a broken file says where."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from replay_log import reading
from replay_log.errors import ReplayError
from replay_log.mapping import Consent, Csv, Mapping, Propensity, Source, Subject, Timestamp
from replay_log.reading import BadLine, Log
from replay_log.rows import Impression, read_impression

MAPPING = Mapping(
    subject=Subject(columns=["user", "device"]),
    item=Source(column="product", prefix="item-"),
    placement=Source(column="position", values={"1": "left", "2": "right"}),
    timestamp=Timestamp(column="at"),
    click="clicked", value="price", propensity=Propensity(column="chance"),
    traits={"country": Source(column="country"), "age": Source(column="age", type="integer")},
    consent=Consent(purpose="ads", column="allows"),
)
AT = datetime(2024, 2, 29, 23, 59, 59, 250_000, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    {"user": 7, "device": "a,\"b\"", "product": 14, "position": 1, "at": AT, "clicked": True, "price": 9.5,
     "chance": 0.25, "country": "日本", "age": 30, "allows": True, "unused": "x"},
    {"user": 8, "device": None, "product": 15, "position": 2, "at": AT, "clicked": False, "price": None,
     "chance": 1.0, "country": None, "age": None, "allows": None, "unused": "y"},
]


def as_csv(folder: Path) -> Path:
    pyarrow.csv.write_csv(pa.Table.from_pylist(ROWS), folder / "log.csv")
    return folder / "log.csv"


def as_jsonl(folder: Path) -> Path:
    lines = [json.dumps({**row, "at": AT.isoformat()}) + "\n" for row in ROWS]
    (folder / "log.jsonl").write_text("".join(lines))
    return folder / "log.jsonl"


def as_parquet(folder: Path) -> Path:
    pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS), folder / "log.parquet")
    return folder / "log.parquet"


def as_gzip(folder: Path) -> Path:
    with gzip.open(folder / "log.jsonl.gz", "wb") as out:
        out.write(as_jsonl(folder).read_bytes())
    return folder / "log.jsonl.gz"


def as_gzipped_csv(folder: Path) -> Path:
    with gzip.open(folder / "log.csv.gz", "wb") as out:
        out.write(as_csv(folder).read_bytes())
    return folder / "log.csv.gz"


def impressions(path: Path) -> list[Impression]:
    log = Log(path)
    columns = [column for _, column in MAPPING.columns()]
    found = []
    for number, row in log.rows(columns):
        assert isinstance(row, dict)
        found.append(read_impression(number, row, MAPPING, lambda who: (who, [])))
    return found


@pytest.mark.parametrize("write", [as_csv, as_jsonl, as_parquet, as_gzip, as_gzipped_csv])
def test_every_format_gives_the_same_impressions(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    at_ms = round(AT.timestamp() * 1_000)
    assert impressions(write(tmp_path)) == [
        Impression(1, '7|a,"b"', "item-14", "left", "web",
                   logged_at_ms=at_ms, clicked=True, value=9.5, propensity=0.25,
                   traits={"country": "日本", "age": 30}, consent=True),
        Impression(2, "8|", "item-15", "right", "web", logged_at_ms=at_ms, propensity=1.0),
    ]


@pytest.mark.parametrize("write", [as_csv, as_jsonl, as_parquet])
def test_columns_are_known_before_a_row_is_read(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    assert Log(write(tmp_path)).columns == list(ROWS[0])


@pytest.mark.parametrize("write", [as_csv, as_jsonl, as_parquet])
def test_skipped_rows_keep_their_numbers(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    assert [number for number, _ in Log(write(tmp_path)).rows(["user"], skip=1)] == [2]


@pytest.mark.parametrize("write", [as_csv, as_jsonl, as_parquet, as_gzip])
def test_the_number_of_rows_is_known_where_it_is_cheap(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    assert Log(write(tmp_path)).row_count() == (None if write is as_gzip else 2)


def test_only_mapped_columns_are_read(tmp_path: Path) -> None:
    for write in (as_csv, as_parquet):
        (_, row), *_ = Log(write(tmp_path)).rows(["user", "product"])
        assert isinstance(row, dict)
        assert sorted(row) == ["product", "user"]


def test_text_in_a_csv_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,zip\n007,1e5\n")
    assert list(Log(path).rows(["user", "zip"])) == [(1, {"user": "007", "zip": "1e5"})]


def test_other_delimiters_are_read(tmp_path: Path) -> None:
    (tmp_path / "log.tsv").write_text("a\tb\n1\t2,3\n")
    (tmp_path / "semi.csv").write_text("a;b\n1;2,3\n")
    for log in (Log(tmp_path / "log.tsv"), Log(tmp_path / "semi.csv", csv=Csv(delimiter=";"))):
        assert list(log.rows(["a", "b"])) == [(1, {"a": "1", "b": "2,3"})]


def test_lines_that_are_no_rows_are_told_and_passed_over(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("a,b\n1,2\n3\n4,5\n")
    (tmp_path / "log.jsonl").write_text('{"a": 1, "b": 2}\n[3]\n{"a": \n\n{"a": 4, "b": 5}\n')
    from_csv = [row for _, row in Log(tmp_path / "log.csv").rows(["a", "b"])]
    assert BadLine("line 3 has 1 values, the header 2") in from_csv
    assert [row["a"] for row in from_csv if isinstance(row, dict)] == ["1", "4"]
    from_jsonl = [row for _, row in Log(tmp_path / "log.jsonl").rows(["a", "b"])]
    assert from_jsonl[1] == BadLine("not a JSON object but list")
    assert isinstance(from_jsonl[2], BadLine)
    assert from_jsonl[2].problem.startswith("not JSON")
    assert from_jsonl[3] == {"a": 4, "b": 5}


def test_a_long_file_is_read_a_block_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_BLOCK_BYTES", 65_536)
    monkeypatch.setattr(reading, "_BLOCK_ROWS", 10)
    lines = [f"user-{n},{'x' * 50}\n" for n in range(200_000)]
    (tmp_path / "log.csv").write_text("user,text\n" + "".join(lines))
    size = (tmp_path / "log.csv").stat().st_size
    table = pa.table({"user": [f"user-{n}" for n in range(200_000)]})
    pyarrow.parquet.write_table(table, tmp_path / "log.parquet")
    del table
    for name in ("log.csv", "log.parquet"):
        before = pa.total_allocated_bytes()
        rows = Log(tmp_path / name).rows(["user"])
        assert next(rows) == (1, {"user": "user-0"})
        assert pa.total_allocated_bytes() - before < size / 2
        assert sum(1 for _ in rows) == 199_999


@pytest.mark.parametrize(("name", "content", "says"), [
    ("log.csv", "", "cannot be read as csv"),
    ("log.jsonl", "", "holds no columns; is it empty"),
    ("log.parquet", "PAR", "cannot be read as parquet"),
    ("log.csv", "a,a\n1,2\n", "the column `a` is there twice"),
    ("log.txt", "a\n", "say `format:` in the mapping"),
])
def test_a_file_that_is_no_log_says_why(tmp_path: Path, name: str, content: str, says: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ReplayError, match=says):
        Log(tmp_path / name)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    for name in ("log.csv", "log.jsonl", "log.parquet"):
        with pytest.raises(ReplayError, match=rf"{name}: there is no such file"):
            Log(tmp_path / name)


def test_a_file_that_breaks_off_says_after_which_row(tmp_path: Path) -> None:
    cut = tmp_path / "cut.jsonl.gz"
    lines = "".join(json.dumps({"user": n, "text": f"{n * 7919}"}) + "\n" for n in range(20_000))
    cut.write_bytes(gzip.compress(lines.encode())[:-5_000])
    with pytest.raises(ReplayError, match=r"cannot be read past row \d+"):
        list(Log(cut).rows(["user"]))
