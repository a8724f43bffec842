"""Asks Google's CEL library about every rule that compiled here, when a policy is published."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.core.model.problems import Path, Problem
from pipeline.core.rules.cel.reference import Reference, Refused


def disagreements(texts: Mapping[str, Path], types: Mapping[str, str]) -> list[Problem]:
    """The rules that the library does not take. None are expected: each would be a defect of our compiler."""
    reference = Reference(types)
    found = []
    for text, path in texts.items():
        try:
            reference.check(text)
        except Refused as refused:
            found.append(Problem(path, f"the CEL library refuses this rule: {refused}"))
    return found
