"""A file of accounts as the core's events: one account per line. Checked as a whole before anything is sent.

JSON lines: {"id": …, "traits": {…, "contract": {…}}, "consent": {"purpose" or "purpose/channel": true or false}}.
CSV: a column `id`; `contract.<part>`; `consent.<purpose>`; every other column is a trait. An empty cell says nothing.
Types, purposes and channels are those of the live policy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pipeline.core.identity.identifiers import TenantKeys
from pipeline.core.model.definitions import Attribute, Policy
from pipeline.core.model.records import ConsentGrant, IdentityEvent, Scalar
from pipeline.core.rules import readers
from pipeline.ingest.event_bodies import SegmentEvent
from pipeline.ingest.event_fields import Said
from pipeline.ingest.field_types import id_of
from pipeline.ingest.group_mapping import CONTRACT, account_event, account_of
from pipeline.ingest.json_text import parse, pointer_of
from pipeline.ingest.line_file import Import, Row, csv_rows, json_rows, no_policy
from pipeline.ingest.personal_texts import found_in
from pipeline.ingest.refusal import FieldError, RefusedError, invalid

SOURCE: Final = "accounts import"
_WHOLE: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})\.[0-9]{1,15}")
_CONTRACT_TYPES: Final = {"starts": "timestamp", "ends": "timestamp", "status": "string", "currency": "string"}
_CONSENT: Final = "/context/accountConsent/categoryPreferences"
_SHAPE: Final = '{"id": …, "traits": {…}}'
_FIELDS: Final = frozenset(("id", "traits", "contract", "consent"))


def read(
    lines: Iterable[str], csv_format: bool, tenant_keys: TenantKeys, tenant: str, policy: Policy | None, at_ms: int,
) -> Import:
    """The records of a file's lines. `policy`: the tenant's live one; None where nothing is live. `at_ms` is when what
    they say was so."""
    found = Import()
    if policy is None:
        found.warnings.add(no_policy(tenant, "names of purposes and channels, and the types of traits,"))
    declared = policy.account if policy else {}
    seen: dict[str, int] = {}

    def event_of(number: int, row: Row, warnings: list[str]) -> IdentityEvent:
        said = _row(row, declared) if csv_format else row
        account = account_of(tenant_keys, tenant, _id_of(said), "/id")
        if (first := seen.setdefault(account.hash, number)) != number:
            raise ValueError(f"the account is in line {first} already: say everything about it in one line")
        consent = _consent_of(said, policy, at_ms, warnings)
        event = account_event(f"import-{at_ms}-{number}", tenant, account, _traits_of(said), consent, at_ms, SOURCE,
                              warnings, declared)
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


def _row(cells: dict[str, str], declared: Mapping[str, Attribute]) -> dict[str, Any]:
    row: dict[str, Any] = {"id": cells["id"], "traits": {}, "contract": {}, "consent": {}}
    for name, cell in cells.items():
        if name == "id" or not cell.strip():
            continue
        space, _, rest = name.partition(".")
        if space == "consent" and rest:
            row["consent"][rest] = cell.strip()
        elif space == "contract" and rest:
            row["contract"][rest] = _value(cell.strip(), declared.get(f"contract_{rest}"), _CONTRACT_TYPES.get(rest))
        else:
            row["traits"][name] = _value(cell.strip(), declared.get(name))
    return row


def _value(cell: str, attribute: Attribute | None, type_: str | None = None) -> Scalar:
    """A cell as its declared type has it; of none, as what it looks like: numbers with leading zeros stay texts."""
    if attribute is not None or type_ is not None:
        return readers.written(attribute.type if attribute is not None else type_ or "", cell)
    if cell.lower() in ("true", "false"):
        return cell.lower() == "true"
    if _WHOLE.fullmatch(cell):
        return int(cell)
    return float(cell) if _NUMBER.fullmatch(cell) else cell


def _id_of(row: dict[str, Any]) -> str:
    value = row.get("id")
    if value is None or value == "":
        raise ValueError("id is missing: the account's id in your own words")
    try:
        return id_of(value)
    except ValueError as error:
        raise invalid(FieldError("/id", str(error))) from None


def _traits_of(row: dict[str, Any]) -> dict[str, Any]:
    traits, contract = row.get("traits") or {}, row.get("contract") or {}
    if not isinstance(traits, dict) or not isinstance(contract, dict):
        raise ValueError("traits and contract are objects: {\"plan\": \"pro\"}")
    return {**traits, **({"contract": contract} if contract else {})}


def _consent_of(
    row: dict[str, Any], policy: Policy | None, at_ms: int, warnings: list[str]
) -> list[ConsentGrant]:
    """What the account allows: read as `context.accountConsent` of a `group` event is."""
    given = row.get("consent") or {}
    if not isinstance(given, dict):
        raise ValueError("consent is an object: {\"contact\": true}")
    answers = {}
    for name, answer in given.items():
        if inside := found_in(name):
            raise ValueError(f"a consent's name holds {inside}: name a purpose of the policy")
        try:
            answers[name] = answer if isinstance(answer, dict) else readers.written_boolean(answer)
        except readers.Unreadable as error:
            raise invalid(FieldError(f"/consent{pointer_of([name])}", str(error))) from None
    context = {"accountConsent": {"categoryPreferences": answers}}
    try:
        event = parse(SegmentEvent, json.dumps({"type": "group", "context": context}).encode())
        return Said(event, "", at_ms, SOURCE, warnings).consent(policy, "accountConsent")
    except RefusedError as refused:
        raise invalid(*(FieldError(one.pointer.replace(_CONSENT, "/consent", 1), one.message)
                        for one in refused.errors)) from refused
