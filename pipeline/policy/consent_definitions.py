"""The shape of the policy's consent section: purposes, and what makes each of them lawful."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from pipeline.core.model.words import Basis
from pipeline.policy.values import Definition, Doc, Name, Named, Names, Some, Span, one_or_many


def _bases(value: object) -> object:
    named = one_or_many(value)
    if not isinstance(named, list) or not named:
        raise ValueError(f"name at least one legal basis (GDPR article 6): {', '.join(Basis)}")
    for basis in named:
        if basis not in list(Basis):
            raise ValueError(f"{basis!r} is no legal basis of GDPR article 6: one of {', '.join(Basis)}")
    return named


Bases = Annotated[list[str], BeforeValidator(_bases)]


class PurposeDefinition(Definition):
    """`lasts`: how long a statement permits anything that does not say so itself."""

    doc: Doc = ""
    bases: Bases = [Basis.CONSENT.value]
    lasts_ms: Annotated[Span | None, Field(alias="lasts")] = None
    double_opt_in: Names = []
    confirm_within_ms: Annotated[Span | None, Field(alias="confirm_within")] = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """`marketing: Send letters` is short for `marketing: {doc: Send letters}`: by consent alone."""
        return {"doc": value} if isinstance(value, str) else value


#: Purposes of the framework; 1 to 11 are defined so far.
TcfPurpose = Annotated[int, Field(ge=1, le=11)]


class TcfDefinition(Definition):
    """IAB's framework: our vendor number, the framework's purposes behind each of ours, how long a string counts."""

    vendor: int = Field(ge=1, le=65_535)
    purposes: dict[Name, Annotated[list[TcfPurpose], Field(min_length=1)]] = Field(min_length=1)
    lasts_ms: Annotated[Span | None, Field(alias="lasts")] = None


class ConsentDefinition(Definition):
    purposes: dict[Name, PurposeDefinition]
    tracking: Named | None = None
    categories: dict[Named, Some] = {}
    tcf: TcfDefinition | None = None
    #: The purposes that a browser's global privacy control refuses.
    gpc: Names = []
