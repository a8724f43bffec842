"""The rows of a file of consent: their fields, checked, and what to write where one is missing or wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_snake

from pipeline.core.identity import identifiers
from pipeline.core.model.bounds import NAME_CHARS_MAX
from pipeline.core.rules import readers
from pipeline.ingest.consent_bodies import Statement
from pipeline.ingest.field_types import Moment, id_text, impersonal
from pipeline.ingest.json_text import parse
from pipeline.ingest.line_file import Row, Rows
from pipeline.ingest.refusal import FieldError, RefusedError, invalid

#: What to write into a field that is missing or wrong.
WRITE: Final[Mapping[str, str]] = {
    "id": "the identifier's value",
    "type": f"what the identifier is: {', '.join(identifiers.TYPES)}",
    "purpose": "a purpose of the policy",
    "granted": "true or false",
    "at": "when it was said, as 2026-01-31T08:00:00Z",
    "timestamp": "when it was said, as 2026-01-31T08:00:00Z",
    "expires_at": "until when it holds, as 2027-01-31T08:00:00Z",
    "tc_string": "the TC string, unchanged and whole",
}

_CELLS: Final = {"at": "timestamp", "expires_at": "timestamp"}

_Model = TypeVar("_Model", bound=BaseModel)
_Id = Annotated[str, Field(coerce_numbers_to_str=True), BeforeValidator(id_text)]
_Channel = Annotated[
    Annotated[str, Field(max_length=NAME_CHARS_MAX), AfterValidator(impersonal)] | None,
    BeforeValidator(lambda value: value or None)]


class StatementRow(Statement):
    """One statement about one purpose."""

    id: _Id
    type: str
    granted: Annotated[bool, BeforeValidator(readers.written_boolean)]
    purpose: Annotated[str, AfterValidator(impersonal)] = Field(min_length=1, max_length=NAME_CHARS_MAX)
    channel: _Channel = None
    at: Annotated[datetime, BeforeValidator(readers.moment)]


class TcRow(BaseModel):
    """One TC string; `at`: when it was received, where that is not when it was written."""

    model_config = ConfigDict(extra="forbid")

    id: _Id
    type: str
    tc_string: str = Field(min_length=1)
    at: Moment = None


def parsed(model: type[_Model], row: Row) -> _Model:
    """The row as the model. Raises RefusedError that says what to write, by the names that stand in files."""
    try:
        return parse(model, json.dumps(row).encode())
    except RefusedError as problem:
        if not problem.errors:
            raise
        raise invalid(*map(_with_advice, problem.errors)) from problem


def _with_advice(error: FieldError) -> FieldError:
    pointer = error.pointer if error.pointer.startswith("/context/") else to_snake(error.pointer)
    advice = None if error.advises else WRITE.get(pointer.lstrip("/"))
    return FieldError(pointer, f"{error.message}: write {advice}" if advice else error.message)


def wrong_columns(model: type[BaseModel], columns: list[str]) -> str:
    """What is wrong with the columns of a CSV file of such rows, "" for nothing."""
    known = model.model_fields
    missing = [name for name, one in known.items() if one.is_required() and name not in columns]
    if missing:
        return f"the first line names the columns, {missing[0]} among them: {WRITE[missing[0]]}"
    unknown = [name for name in columns if name and name not in known]
    return f"{unknown[0][:NAME_CHARS_MAX]} is no column known here: they are {', '.join(known)}" if unknown else ""


def cells(rows: Rows) -> Rows:
    """The rows of CSV without the cells that say nothing; a moment as JSON has it, a text or a number."""
    for number, row in rows:
        yield number, {name: readers.written(_CELLS.get(name, "string"), cell.strip())
                       for name, cell in row.items() if cell.strip()}
