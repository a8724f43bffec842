"""What several bodies and files have fields of: names, ids, texts and values that are kept as they are."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from pipeline.core.model.bounds import NAME_CHARS_MAX, TEXT_CHARS_MAX
from pipeline.core.rules import readers
from pipeline.ingest.personal_texts import found_in

INT_MAX: Final = 2**63 - 1
_NO_ID: Final = "an id is a text or a whole number"


def impersonal(value: str) -> str:
    """The text, if nothing in it is personal: it goes on in clear."""
    if inside := found_in(value):
        raise ValueError(f"holds {inside}: send a text without personal data")
    return value


def empty_is_none(value: Any) -> Any:
    """Absent, as forms write it."""
    return None if value == "" else value


def no_object(value: Any) -> Any:
    """Absent, as clients write it: null, and PHP's empty array for an empty object."""
    return {} if value is None or value == [] else value


def _moment(value: Any) -> Any:
    return None if value is None or value == "" else readers.moment(value)


#: A moment that may be left out.
Moment = Annotated[datetime | None, BeforeValidator(_moment)]


def id_text(value: Any) -> Any:
    """17.0 is 17; what else is no text or whole number is no id."""
    if isinstance(value, bool) or (isinstance(value, float) and not (value.is_integer() and abs(value) <= 2**53)):
        raise ValueError(_NO_ID)
    return str(int(value)) if isinstance(value, int | float) else value


def id_of(value: Any) -> str:
    """An id, where no model reads it. Raises ValueError that says what one is."""
    text = id_text(value)
    if not isinstance(text, str):
        raise ValueError(_NO_ID)
    return text


Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX)]
#: An id that may come as a number.
Id = Annotated[
    str, Field(min_length=1, max_length=1_024, coerce_numbers_to_str=True), BeforeValidator(id_text)]


def unfit(value: Any) -> str | None:
    """Why a value cannot be kept as a plain one, or None."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if -INT_MAX - 1 <= value <= INT_MAX else "a whole number must fit in 64 bits"
    if isinstance(value, float):
        return None if math.isfinite(value) else "a number must be finite"
    if isinstance(value, str):
        return None if len(value) <= TEXT_CHARS_MAX else f"a text has at most {TEXT_CHARS_MAX} characters"
    return "only texts, numbers, true, false and null are kept, no objects; lists where a list(string) is declared"
