"""What an event says about consent: Segment's consent object and RudderStack's, read as one, and what in either is a
clear no whatever is wrong beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from pipeline.core.model.bounds import NAME_CHARS_MAX
from pipeline.core.model.records import Basis, OptIn
from pipeline.core.rules import readers
from pipeline.ingest.field_types import Moment, empty_is_none, no_object
from pipeline.ingest.json_text import either, pointer_of
from pipeline.ingest.personal_texts import found_in

CATEGORIES_MAX: Final = 50
_TC_STRING_CHARS_MAX: Final = 20_000

_IP: Final = re.compile(r"\b\d{1,3}(\.\d{1,3}){3}\b|\b([0-9a-f]{1,4}:){4,}", re.IGNORECASE)

#: Nothing that only looks like true or false is taken for it: consent hangs on it.
Truth = Annotated[bool, BeforeValidator(readers.boolean)]


class Lenient(BaseModel):
    """A body in which what is not known here is let by."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class Statement(Lenient):
    """More than a yes or no: on which legal basis, until when, how it was given, and where the evidence is."""

    model_config = ConfigDict(extra="forbid")

    granted: Truth
    basis: Basis = Basis.CONSENT
    opt_in: OptIn = OptIn.SINGLE
    expires_at: Moment = None
    source: str | None = Field(None, max_length=64)
    proof: str = Field("", max_length=200, description="A form's version, a record's id, the hash of an address.")

    @field_validator("proof", "source")
    @classmethod
    def _no_personal_data(cls, value: str | None) -> str | None:
        text = value or ""
        inside = found_in(text) or ("an IP address" if _IP.search(text) else "")
        if inside:
            raise ValueError(f"holds {inside}: send a record's id or a hash instead")
        return value


def _stated(value: Any) -> Any:
    """One problem, of the category itself, where a value is neither: not one for each of what it might have been."""
    if isinstance(value, dict):
        try:
            return Statement.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
    if not isinstance(value, bool):
        raise ValueError("send true or false, without quotes, or an object with `granted` that says more")
    return value


Stated = Annotated[bool | Statement, BeforeValidator(_stated)]


class NoesOnly(dict[str, Any]):
    """Categories of which some could not be read: of the others, those that refuse. `wrong`: the first that is not one,
    and why."""

    wrong = "", ""


def noes_of(categories: Any) -> dict[str, bool | Statement]:
    """The clear noes among categories as they were sent: false, or an object with `granted` false, without those of
    its fields that are wrong. What is wrong beside one takes nothing of it away."""
    found: dict[str, bool | Statement] = {}
    for category, stated in categories.items() if isinstance(categories, Mapping) else ():
        if not 0 < len(category) <= NAME_CHARS_MAX or not category.isprintable():
            continue
        if stated is False:
            found[category] = False
        elif isinstance(stated, Mapping) and stated.get("granted") is False:
            found[category] = _without_wrong(stated)
    return found


def _without_wrong(stated: Mapping[str, Any]) -> Statement:
    right: dict[str, Any] = {"granted": False}
    for name, value in stated.items():
        try:
            right |= Statement.model_validate({"granted": False, name: value}).model_dump(exclude_unset=True)
        except ValidationError:
            continue
    return Statement.model_validate(right)


def _noes(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """A clear no binds whatever else is wrong beside it; without one, what is wrong is refused."""
    try:
        return read(value)
    except ValidationError as error:
        found = NoesOnly(noes_of(value))
        if not 0 < len(found) <= CATEGORIES_MAX:
            raise
        first = error.errors()[0]
        kept = " (its no is applied)" if first["loc"] and first["loc"][0] in found else ""
        found.wrong = pointer_of(first["loc"][:1]), first["msg"].removeprefix("Value error, ") + kept
        return found


class NoText(str):
    """Stands for what is no text that could be read; says why."""

    __slots__ = ()


def _no_text(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    try:
        return read(value)
    except ValidationError as error:
        return NoText(error.errors()[0]["msg"])


#: What is read of a consent object, by its name without case, dashes and underscores.
_READ: Final = {name.lower(): name for name in (
    "categoryPreferences", "tcString", "allowedConsentIds", "deniedConsentIds")}
READ: Final = ", ".join(_READ.values())


def by_name(value: Mapping[str, Any]) -> dict[str, Any]:
    """What is read of a consent object, by its documented names, in whatever case they were sent; of two spellings of
    one name a no of either stands."""
    found: dict[str, Any] = {}
    for name, one in value.items():
        known = _READ.get(re.sub("[_-]", "", name).lower())
        if known is not None:
            found[known] = either(found[known], one) if known in found else one
    return found


def clear_noes(value: Any) -> Consent | None:
    """Of a consent object as it was sent, whatever is wrong in it, what clearly refuses; None where it is no object.
    Its TC string stays whole: what it permits is for the caller to leave out."""
    if not isinstance(value, Mapping):
        return None
    said = by_name(value)
    noes = noes_of(said.get("categoryPreferences"))
    denied = said.get("deniedConsentIds")
    noes |= noes_of(dict.fromkeys(filter(None, map(_consent_id, denied if isinstance(denied, list) else ())), False))
    text = said.get("tcString")
    usable = isinstance(text, str) and 0 < len(text) <= _TC_STRING_CHARS_MAX
    return Consent.model_construct(category_preferences=noes, tc_string=text if usable else None)


def _consent_id(value: Any) -> str:
    """A consent id as a category's name, "" for what is none: some platforms number them."""
    return str(value) if isinstance(value, str) or type(value) is int else ""


class Consent(Lenient):
    """Segment's consent object: a category is what the policy's `consent.categories` maps, a purpose, or
    `purpose/channel`. `tcString`: what IAB's framework says, mapped by `consent.tcf`. As RudderStack has it,
    `allowedConsentIds` and `deniedConsentIds` are lists of such categories.
    """

    category_preferences: Annotated[
        dict[Annotated[str, Field(max_length=NAME_CHARS_MAX)], Stated], Field(max_length=CATEGORIES_MAX),
        WrapValidator(_noes), BeforeValidator(no_object)] = Field(
        default_factory=dict, examples=[{"personalization": True, "personalization/email": False}]
    )
    tc_string: Annotated[
        Annotated[str, Field(max_length=_TC_STRING_CHARS_MAX)] | None, WrapValidator(_no_text),
        BeforeValidator(empty_is_none)] = None
    _silent: bool = PrivateAttr(False)

    @property
    def silent(self) -> bool:
        """Whether something was sent, and nothing of it is what is read here."""
        return self._silent

    @model_validator(mode="before")
    @classmethod
    def _as_categories(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        said = by_name(value)
        of_lists: dict[str, bool] = {}
        for name, granted in (("allowedConsentIds", True), ("deniedConsentIds", False)):
            ids = no_object(said.pop(name, None)) or []
            if not isinstance(ids, list) or not all(map(_consent_id, ids)):
                raise ValueError(f"{name}: send a list of the ids of categories, as texts")
            of_lists |= dict.fromkeys(map(_consent_id, ids), granted)
        if of_lists:
            categories = no_object(said.get("categoryPreferences"))
            if isinstance(categories, dict):
                said["categoryPreferences"] = either(of_lists, categories)
        return said


def _heard(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """The consent; it is noted where nothing of what was sent is read."""
    found = read(None if value == [] else value)
    if isinstance(found, Consent) and isinstance(value, dict) and value and not by_name(value):
        found._silent = True
    return found


ConsentField = Annotated[Consent | None, WrapValidator(_heard)]
