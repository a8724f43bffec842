"""Reads a log row by row: CSV, JSON lines or Parquet, plain or gzip, a block at a time and never the whole file.

Values come as the file has them (text, number, true/false, date, None); what they mean is `rows.py`'s concern.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from replay_log.errors import ReplayError
from replay_log.mapping import Csv

Format = Literal["csv", "jsonl", "parquet"]

_SUFFIXES: dict[str, Format] = {
    ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet",
}
_BLOCK_ROWS = 2_000
_BLOCK_BYTES = 1 << 20
#: How far into a JSON-lines file we look for the names of its columns.
_SAMPLE_LINES = 100


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is not a row at all."""

    problem: str


#: A row's number in the log (the first is 1, a header does not count) and its values, or what is wrong with it.
NumberedRow = tuple[int, dict[str, Any] | BadLine]


class Log:
    """One log file. `columns` is known at once; `rows` may be read more than once, each time from the start."""

    def __init__(self, path: Path, format: Format | None = None, csv: Csv | None = None) -> None:
        """Raises `ReplayError` where the file cannot be opened, is empty or is not of its format."""
        self.path = path
        self.format = format or _format_of(path)
        self._csv = csv or Csv()
        try:
            self.columns = self._read_columns()
        except FileNotFoundError as error:
            raise ReplayError(f"{path}: there is no such file") from error
        except (OSError, pa.ArrowInvalid, UnicodeError) as error:
            raise ReplayError(f"{path}: cannot be read as {self.format}: {error}") from error
        if not self.columns:
            raise ReplayError(f"{path}: holds no columns; is it empty?")
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1 and name})
        if twice:
            raise ReplayError(f"{path}: the column `{twice[0]}` is there twice; rename one")

    def rows(self, columns: list[str], skip: int = 0) -> Iterator[NumberedRow]:
        """The rows after the first `skip`, with (at least) the named columns.

        Raises `ReplayError` where the file breaks off or changes its shape in the middle.
        """
        names = sorted({name if name in self.columns else name.split(".", 1)[0] for name in columns})
        read = {"csv": self._csv_rows, "jsonl": self._jsonl_rows, "parquet": self._parquet_rows}[self.format]
        number = 0
        try:
            for number, row in enumerate(read(names), start=1):
                if number > skip:
                    yield number, row
        except (OSError, EOFError, pa.ArrowInvalid, UnicodeError) as error:
            raise ReplayError(f"{self.path}: cannot be read past row {number}: {error}") from error

    def row_count(self) -> int | None:
        """About how many rows the file has; None where only unpacking it would tell."""
        if self.format == "parquet":
            return int(pyarrow.parquet.ParquetFile(self.path).metadata.num_rows)
        if self.path.suffix == ".gz":
            return None
        with self.path.open("rb") as file:
            lines = sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK_BYTES), b""))
        return lines - (self.format == "csv")

    def _read_columns(self) -> list[str]:
        if self.format == "csv":
            with self._csv_reader(None, []) as reader:
                return list(reader.schema.names)
        if self.format == "parquet":
            return list(pyarrow.parquet.ParquetFile(self.path).schema_arrow.names)
        names: dict[str, None] = {}
        for _, row in zip(range(_SAMPLE_LINES), self._jsonl_rows([]), strict=False):
            names.update(dict.fromkeys(row if isinstance(row, dict) else ()))
        return list(names)

    def _csv_reader(self, names: list[str] | None, short: list[str]) -> pyarrow.csv.CSVStreamingReader:
        def note(row: pyarrow.csv.InvalidRow) -> str:
            short.append(f"line {row.number} has {row.actual_columns} values, the header {row.expected_columns}")
            return "skip"

        delimiter = "\t" if ".tsv" in self.path.suffixes and self._csv.delimiter == "," else self._csv.delimiter
        # Every column stays text: what 007 or 1e5 means is for the mapping to say, not for a guess at the first block.
        types = dict.fromkeys(self.columns, pa.string()) if names is not None else None
        return pyarrow.csv.open_csv(
            self.path,
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False, block_size=_BLOCK_BYTES, encoding=self._csv.encoding
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=types, include_columns=names, strings_can_be_null=True, null_values=[""],
                quoted_strings_can_be_null=True,
            ),
        )

    def _csv_rows(self, names: list[str]) -> Iterator[dict[str, Any] | BadLine]:
        short: list[str] = []
        with self._csv_reader(names, short) as reader:
            for batch in reader:
                # The reader drops malformed lines while it reads a block: they are told at the block's head.
                yield from (BadLine(problem) for problem in short)
                short.clear()
                yield from batch.to_pylist()
        yield from (BadLine(problem) for problem in short)

    def _jsonl_rows(self, names: list[str]) -> Iterator[dict[str, Any] | BadLine]:
        # Line by line and not with Arrow: it guesses types from the first block and gives up on the first surprise.
        with _open(self.path) as lines:
            for line in lines:
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except ValueError as error:
                    yield BadLine(f"not JSON: {error}")
                    continue
                yield row if isinstance(row, dict) else BadLine(f"not a JSON object but {type(row).__name__}")

    def _parquet_rows(self, names: list[str]) -> Iterator[dict[str, Any] | BadLine]:
        with pyarrow.parquet.ParquetFile(self.path) as file:
            for batch in file.iter_batches(batch_size=_BLOCK_ROWS, columns=names, use_threads=False):
                yield from batch.to_pylist()


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _format_of(path: Path) -> Format:
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    if suffixes and suffixes[-1] in _SUFFIXES:
        return _SUFFIXES[suffixes[-1]]
    raise ReplayError(f"{path}: neither .csv, .tsv, .jsonl nor .parquet; say `format:` in the mapping")
