"""The section `identity`: which identifiers there are, how strong, how many of each, and what stands for nobody."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.core.identity.identity_rules import LINKS_MAX, MERGES_MAX
from pipeline.policy.values import Definition, Doc, Names, Span, Texts


class IdentifierDefinition(Definition):
    """One type. What is left out is as the engine has it."""

    limit: Annotated[int, Field(ge=1, le=LINKS_MAX)] | Literal["none"] | None = None
    window_ms: Annotated[Span | None, Field(alias="window")] = None
    follows_latest_login: bool | None = None
    blocked: Names = []
    blocked_patterns: Texts = []
    doc: Doc = ""


class IdentityDefinition(Definition):
    priority: Names = []
    types: dict[str, IdentifierDefinition] = {}
    phone_region: str | None = None
    max_links: int | None = Field(None, ge=1, le=LINKS_MAX)
    max_merges: int | None = Field(None, ge=0, le=MERGES_MAX)
    undo_ms: Annotated[Span | None, Field(alias="undo")] = None
