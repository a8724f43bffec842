"""Files that say one thing a line, as identity events: CSV or JSON lines, checked as a whole before anything is sent.

What a line means is the caller's; here is what is alike. Complaints never repeat a value: it may be personal.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.codecs import avro
from pipeline.codecs.errors import CodecError
from pipeline.core.model.records import IdentityEvent
from pipeline.ingest.json_text import TwiceError, once
from pipeline.ingest.refusal import FieldError, RefusedError
from pipeline.ports import Outbound
from topics.catalog import IDENTITY_EVENTS

#: Of errors, and of warnings, told one by one; the rest is counted.
TOLD_MAX: Final = 50

Row = dict[str, Any]
Rows = Iterator[tuple[int, Row]]


@dataclass(slots=True)
class Told:
    """Lines about lines, the first of them in full."""

    lines: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, line: str) -> None:
        """One more."""
        self.count += 1
        if self.count <= TOLD_MAX:
            self.lines.append(line)
        else:
            self.lines[TOLD_MAX:] = [f"and {self.count - TOLD_MAX} more"]


@dataclass(slots=True)
class Import:
    """What a file makes; where there are errors, nothing of it may be sent."""

    records: list[Outbound] = field(default_factory=list)
    errors: Told = field(default_factory=Told)
    warnings: Told = field(default_factory=Told)

    def take(self, rows: Rows, event_of: Callable[[int, Row, list[str]], IdentityEvent | None]) -> None:
        """Make every row an event, or None for a row that makes none. `event_of` gets the line's number and where to
        put its warnings, and raises RefusedError or ValueError for a row that cannot be used.
        """
        for number, row in rows:
            warnings: list[str] = []
            try:
                event = event_of(number, row, warnings)
                if event is not None:
                    self.records.append(Outbound(IDENTITY_EVENTS.name, event.subject.encode(),
                                                 avro.encode_checked(IDENTITY_EVENTS, event)))
            except RefusedError as problem:
                for one in problem.errors or (FieldError("", problem.detail),):
                    where = f"{one.pointer.lstrip('/')}: " if one.pointer else ""
                    self.errors.add(f"line {number}: {where}{one.message}")
            except CodecError as error:
                self.errors.add(f"line {number}: {error.detail}")
            except ValueError as error:
                self.errors.add(f"line {number}: {error}")
            for warning in warnings:
                self.warnings.add(f"line {number}: {warning}")


def no_policy(tenant: str, unchecked: str) -> str:
    """The warning of a file that no live policy checks. `unchecked`: what of it is not."""
    return f"the tenant {tenant} has no live policy: {unchecked} are not checked"


def json_rows(lines: Iterable[str], found: Import, shape: str, wrong: Callable[[Row], str] = lambda _: "") -> Rows:
    """The objects of JSON lines; `shape` is how one looks, `wrong` says what is wrong with one, "" for nothing."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=once)
        except TwiceError as error:
            found.errors.add(f"line {number}: {error}")
            continue
        except (ValueError, RecursionError) as error:
            found.errors.add(f"line {number}: is no JSON: {error}")
            continue
        if not isinstance(row, dict):
            found.errors.add(f"line {number}: is no JSON object: write {shape}")
        elif said := wrong(row):
            found.errors.add(f"line {number}: {said}")
        else:
            yield number, row


def csv_rows(lines: Iterable[str], found: Import, wrong: Callable[[list[str]], str]) -> Rows:
    """The rows of CSV by the columns that its first line names; `wrong` says what is wrong with those, "" for nothing.

    A file whose columns are wrong has no rows.
    """
    reader = csv.reader(lines, strict=True)
    columns: list[str] = []
    try:
        for cells in reader:
            number = reader.line_num
            if not columns:
                columns = [cell.strip() for cell in cells]
                repeated = len(set(columns)) < len(columns) or "" in columns
                if len(columns) == 1 and ";" in columns[0]:
                    found.errors.add(f"line {number}: the columns are separated by `;`: separate them by `,`")
                    return
                if said := wrong(columns) or ("every column has a name of its own" if repeated else ""):
                    found.errors.add(f"line {number}: {said}")
                    return
            elif len(cells) != len(columns):
                found.errors.add(f"line {number}: has {len(cells)} cells, the first line names {len(columns)}")
            elif any(cells):
                yield number, dict(zip(columns, cells, strict=True))
    except csv.Error as error:
        found.errors.add(f"line {reader.line_num}: is no CSV: {error}")
