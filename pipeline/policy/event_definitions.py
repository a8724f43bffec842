"""How a policy file says which events something is about."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.policy.values import Definition, Kinds, Some, SomeTags


class MatcherDefinition(Definition):
    kinds: Annotated[Kinds, Field(alias="event")] = []
    names: Annotated[Some, Field(alias="name")] = []
    items: Annotated[Some, Field(alias="item")] = []
    tags: Annotated[SomeTags, Field(alias="tag")] = []
    placements: Annotated[Some, Field(alias="placement")] = []
    channels: Annotated[Some, Field(alias="channel")] = []
