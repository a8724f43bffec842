"""A file of accounts as the core's events: one account per line. Checked as a whole before anything is sent.

JSON lines: {"id": …, "traits": {…, "contract": {…}}, "consent": {"purpose" or "purpose/channel": true or false}}.
CSV: a column `id`; `contract.<part>`; `consent.<purpose>`; every other column is a trait. An empty cell says nothing.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.bridge.group_mapping import CONTRACT, account_event, account_key
from pipeline.bridge.problems import Problem
from pipeline.codecs import avro
from pipeline.codecs.errors import CodecError
from pipeline.core.model import ConsentGrant
from pipeline.ports import Outbound
from topics.catalog import IDENTITY_EVENTS

SOURCE: Final = "accounts import"
ERRORS_MAX: Final = 50
_WHOLE: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})\.[0-9]{1,15}")
_YES_NO: Final = {"true": True, "false": False, "yes": True, "no": False}
_FIELDS: Final = frozenset(("id", "traits", "contract", "consent"))


@dataclass(slots=True)
class Import:
    """What a file makes; where there are errors, nothing of it may be sent."""

    records: list[Outbound] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read(lines: Iterable[str], csv_format: bool, tenant_key: bytes, tenant: str, at_ms: int) -> Import:
    """The records of a file's lines; `at_ms` is when what they say was so."""
    result = Import()
    seen: dict[str, int] = {}
    for number, row in _csv(lines, result) if csv_format else _jsonl(lines, result):
        warnings: list[str] = []
        try:
            key = account_key(tenant_key, tenant, _id_of(row), "/id")
            if seen.setdefault(key, number) != number:
                raise ValueError(f"the account is in line {seen[key]} already: say everything about it in one line")
            event = account_event(f"import-{at_ms}-{number}", key, _traits_of(row), _consent_of(row, at_ms), at_ms,
                                  SOURCE, warnings)
            if event is None:
                raise ValueError("nothing is said about the account: give it a trait, a contract or a consent")
            result.records.append(Outbound(IDENTITY_EVENTS.name, key.encode(), avro.encode(IDENTITY_EVENTS, event)))
        except Problem as problem:
            result.errors += [f"line {number}: {one.pointer.lstrip('/')}: {one.message}" for one in problem.errors]
        except (ValueError, CodecError) as error:
            result.errors.append(f"line {number}: {error}")
        result.warnings += [f"line {number}: {one}" for one in warnings]
    if not result.records and not result.errors:
        result.errors.append("the file names no account")
    more = len(result.errors) - ERRORS_MAX
    if more > 0:
        result.errors[ERRORS_MAX:] = [f"and {more} more"]
    return result


def _jsonl(lines: Iterable[str], result: Import) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            result.errors.append(f"line {number}: is no JSON: {error}")
            continue
        if not isinstance(row, dict):
            result.errors.append(f"line {number}: is no JSON object: write {{\"id\": …, \"traits\": {{…}}}}")
        elif unknown := sorted(row.keys() - _FIELDS):
            result.errors.append(f"line {number}: {unknown[0]!r} is not known here: traits go into \"traits\"")
        else:
            yield number, row


def _csv(lines: Iterable[str], result: Import) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(lines, strict=True)
    columns: list[str] = []
    try:
        for cells in reader:
            number = reader.line_num
            if not columns:
                columns = [cell.strip() for cell in cells]
                wrong = _wrong_columns(columns)
                if wrong:
                    result.errors.append(f"line {number}: {wrong}")
                    return
            elif len(cells) != len(columns):
                result.errors.append(f"line {number}: has {len(cells)} cells, the first line names {len(columns)}")
            elif any(cells):
                yield number, _row(dict(zip(columns, cells, strict=True)))
    except csv.Error as error:
        result.errors.append(f"line {reader.line_num}: is no CSV: {error}")


def _wrong_columns(columns: list[str]) -> str:
    if "id" not in columns:
        return "the first line names the columns, one of them `id`: the account's id in your own words"
    if len(set(columns)) < len(columns) or "" in columns:
        return "every column has a name of its own"
    unknown = [name for name in columns
               if name.startswith("contract.") and name.removeprefix("contract.") not in CONTRACT]
    return f"{unknown[0]} is no part of a contract: it has {', '.join(CONTRACT)}" if unknown else ""


def _row(cells: dict[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {"id": cells["id"], "traits": {}, "contract": {}, "consent": {}}
    for name, cell in cells.items():
        if name == "id" or not cell.strip():
            continue
        space, _, rest = name.partition(".")
        if space == "contract" and rest in ("starts", "ends", "status", "currency"):
            row["contract"][rest] = cell.strip()
        elif space in ("contract", "consent") and rest:
            row[space][rest] = _value(cell.strip())
        else:
            row["traits"][name] = _value(cell.strip())
    return row


def _value(cell: str) -> str | int | float | bool:
    """A cell as what it looks like; numbers with leading zeros stay texts."""
    if cell.lower() in ("true", "false"):
        return cell.lower() == "true"
    if _WHOLE.fullmatch(cell):
        return int(cell)
    return float(cell) if _NUMBER.fullmatch(cell) else cell


def _id_of(row: dict[str, Any]) -> str:
    value = row.get("id")
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ValueError("id is missing: the account's id in your own words")
    return str(value)


def _traits_of(row: dict[str, Any]) -> dict[str, Any]:
    traits, contract = row.get("traits") or {}, row.get("contract") or {}
    if not isinstance(traits, dict) or not isinstance(contract, dict):
        raise ValueError("traits and contract are objects: {\"plan\": \"pro\"}")
    return {**traits, **({"contract": contract} if contract else {})}


def _consent_of(row: dict[str, Any], at_ms: int) -> list[ConsentGrant]:
    given = row.get("consent") or {}
    if not isinstance(given, dict):
        raise ValueError("consent is an object: {\"contact\": true}")
    grants = []
    for name, answer in given.items():
        purpose, _, channel = name.partition("/")
        granted = _YES_NO.get(answer.lower()) if isinstance(answer, str) else answer
        if not purpose or not isinstance(granted, bool):
            raise ValueError(f"consent.{name}: say true or false, yes or no")
        grants.append(ConsentGrant(purpose, granted, at_ms, channel or None, SOURCE))
    return grants
