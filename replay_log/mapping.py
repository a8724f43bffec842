"""What a mapping can say: which column of a log means what.

Knows nothing of files (`mapping_file.py`), of the log's bytes (`reading.py`) or of what is made of a row (`rows.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pipeline.core.identity.identifiers import USER_ID, tenant_name, type_of


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Part):
    """Where a field's value comes from: a column, translated and prefixed where asked, or one text for every row."""

    column: str | None = Field(None, min_length=1)
    constant: str | None = None
    #: The column's text -> the pipeline's word; a text that is not listed makes the row a bad one.
    values: dict[str, str] = Field(default_factory=dict)
    prefix: str = ""
    type: Literal["text", "integer", "number", "boolean"] = "text"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.column is None) == (self.constant is None):
            raise ValueError("name exactly one of `column` and `constant`")
        return self


def _source(given: Any) -> Any:
    """A bare word is a column's name."""
    return {"column": given} if isinstance(given, str) else given


def _named_sources(given: Any) -> Any:
    """A list of columns names each field after its column."""
    if isinstance(given, list) and all(isinstance(name, str) for name in given):
        return {name: name for name in given}
    return given


def _texts(given: Any) -> Any:
    """YAML reads `1: left` as a number; the log's text is what counts."""
    if isinstance(given, dict) and isinstance(given.get("values"), dict):
        texts = {("true" if k else "false") if isinstance(k, bool) else str(k): v for k, v in given["values"].items()}
        return {**given, "values": texts}
    return given


AnySource = Annotated[Source, BeforeValidator(_source), BeforeValidator(_texts)]
NamedSources = Annotated[dict[str, AnySource], BeforeValidator(_named_sources)]


class Simulated(_Part):
    """For logs without a user id: splits those who share the same columns into `buckets` simulated subjects."""

    #: The bucket is a hash of this column, so it is the same in every run and every file format.
    by: str = Field(min_length=1)
    buckets: int = Field(ge=1, le=1_000_000)


class Subject(_Part):
    """Who saw it: an identifier type, and the columns that together are the identifier."""

    type: Annotated[str, AfterValidator(type_of)] = USER_ID
    columns: Annotated[list[str], BeforeValidator(lambda given: [given] if isinstance(given, str) else given)] = Field(
        min_length=1
    )
    simulated: Simulated | None = None


class Timestamp(_Part):
    """When it was: ISO 8601 text (without an offset: UTC), or a number of seconds or milliseconds since 1970."""

    column: str = Field(min_length=1)
    unit: Literal["iso", "s", "ms"] = "iso"


class Consent(_Part):
    """What each subject is taken to have allowed: by a column, the same for all, or simulated."""

    purpose: str = Field(min_length=1)
    column: str | None = Field(None, min_length=1)
    granted: bool | None = None
    #: Share of subjects that get no consent event at all; which ones is a hash of the subject.
    simulated_missing_share: float | None = Field(None, ge=0, le=1)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [self.column is not None, self.granted is not None, self.simulated_missing_share is not None]
        if sum(given) != 1:
            raise ValueError("name exactly one of `column`, `granted` and `simulated_missing_share`")
        return self


class Propensity(_Part):
    """How likely the logged policy was to show the item: by a column, or the same in every row."""

    column: str | None = Field(None, min_length=1)
    constant: float | None = Field(None, gt=0, le=1)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.column is None) == (self.constant is None):
            raise ValueError("name exactly one of `column` and `constant`")
        return self


def _propensity(given: Any) -> Any:
    """A bare word is a column's name, a bare number the probability."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        return {"constant": given}
    return _source(given)


class Csv(_Part):
    delimiter: str = Field(",", min_length=1, max_length=1)
    encoding: str = "utf8"


class Mapping(_Part):
    """One log's columns, as the pipeline's words. Fields left out are not sent."""

    format: Literal["csv", "jsonl", "parquet"] | None = Field(None, description="Default: by the file's name.")
    csv: Csv = Csv()
    tenant: Annotated[str, AfterValidator(tenant_name)] | None = Field(
        None, description="Default: the tenant of the settings."
    )
    subject: Subject
    item: AnySource = Field(description="The item that was shown.")
    placement: AnySource = Field(description="Where it was shown.")
    channel: AnySource = Source(constant="web")
    scenario: AnySource | None = None
    timestamp: Annotated[Timestamp, BeforeValidator(_source)] | None = None
    click: str | None = Field(None, min_length=1)
    conversion: str | None = Field(None, min_length=1)
    dismissal: str | None = Field(None, min_length=1)
    value: str | None = Field(None, min_length=1, description="What the conversion, else the click, was worth.")
    propensity: Annotated[Propensity, BeforeValidator(_propensity)] | None = Field(
        None, description="Probability with which the logged policy showed the item in this placement."
    )
    traits: NamedSources = Field(default_factory=dict)
    attributes: NamedSources = Field(default_factory=dict)
    consent: Consent | None = None
    require_consent: bool = True

    def columns(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Every column the mapping reads, with the place in the file that names it."""
        yield from ((("subject", "columns", index), name) for index, name in enumerate(self.subject.columns))
        if self.subject.simulated is not None:
            yield ("subject", "simulated", "by"), self.subject.simulated.by
        named: list[tuple[tuple[str | int, ...], Source | None]]
        single = {"item": self.item, "placement": self.placement, "channel": self.channel, "scenario": self.scenario}
        named = [((name,), source) for name, source in single.items()]
        named += [(("traits", name), source) for name, source in self.traits.items()]
        named += [(("attributes", name), source) for name, source in self.attributes.items()]
        yield from ((place, source.column) for place, source in named if source and source.column)
        if self.timestamp is not None:
            yield ("timestamp",), self.timestamp.column
        if self.propensity is not None and self.propensity.column is not None:
            yield ("propensity",), self.propensity.column
        for field in ("click", "conversion", "dismissal", "value"):
            if (column := getattr(self, field)) is not None:
                yield (field,), column
        if self.consent is not None and self.consent.column is not None:
            yield ("consent", "column"), self.consent.column
