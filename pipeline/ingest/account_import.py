"""A file of accounts as the core's events: one account per line. Checked as a whole before anything is sent.

JSON lines: {"id": …, "traits": {…, "contract": {…}}, "consent": {"purpose" or "purpose/channel": true or false}}.
CSV: a column `id`; `contract.<part>`; `consent.<purpose>`; every other column is a trait. An empty cell says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from pipeline.core.identity.identifiers import TenantKeys
from pipeline.core.model.records import ConsentGrant, IdentityEvent
from pipeline.ingest.group_mapping import CONTRACT, account_event, account_of
from pipeline.ingest.line_file import Import, Row, csv_rows, json_rows
from pipeline.ingest.personal_texts import found_in

SOURCE: Final = "accounts import"
_WHOLE: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})\.[0-9]{1,15}")
_YES_NO: Final = {"true": True, "false": False, "yes": True, "no": False}
_SHAPE: Final = '{"id": …, "traits": {…}}'
_FIELDS: Final = frozenset(("id", "traits", "contract", "consent"))


def read(lines: Iterable[str], csv_format: bool, tenant_keys: TenantKeys, tenant: str, at_ms: int) -> Import:
    """The records of a file's lines; `at_ms` is when what they say was so."""
    found = Import()
    seen: dict[str, int] = {}

    def event_of(number: int, row: Row, warnings: list[str]) -> IdentityEvent:
        said = _row(row) if csv_format else row
        account = account_of(tenant_keys, tenant, _id_of(said), "/id")
        if (first := seen.setdefault(account.hash, number)) != number:
            raise ValueError(f"the account is in line {first} already: say everything about it in one line")
        event = account_event(f"import-{at_ms}-{number}", tenant, account, _traits_of(said), _consent_of(said, at_ms),
                              at_ms, SOURCE, warnings)
        if event is None:
            raise ValueError("nothing is said about the account: give it a trait, a contract or a consent")
        return event

    rows = csv_rows(lines, found, _wrong_columns) if csv_format else json_rows(lines, found, _SHAPE, _unknown)
    found.take(rows, event_of)
    if not found.records and not found.errors.count:
        found.errors.add("the file names no account")
    return found


def _unknown(row: Row) -> str:
    unknown = sorted(row.keys() - _FIELDS)
    return f"{unknown[0]!r} is not known here: traits go into \"traits\"" if unknown else ""


def _wrong_columns(columns: list[str]) -> str:
    if "id" not in columns:
        return "the first line names the columns, one of them `id`: the account's id in your own words"
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
        if inside := found_in(name):
            raise ValueError(f"a consent's name holds {inside}: name a purpose of the policy")
        purpose, _, channel = name.partition("/")
        granted = _YES_NO.get(answer.lower()) if isinstance(answer, str) else answer
        if not purpose or not isinstance(granted, bool):
            raise ValueError(f"consent.{name}: say true or false, yes or no")
        grants.append(ConsentGrant(purpose, granted, at_ms, channel or None, SOURCE))
    return grants
