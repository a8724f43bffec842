"""Every example of docs/rules.md has the value that stands beside it, in our compiler and in Google's library."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.rules.cel.build import Builder
from pipeline.core.rules.cel.cost import check_cost
from pipeline.core.rules.cel.functions import EvaluationError, overload
from pipeline.core.rules.cel.reference import Reference
from pipeline.core.rules.cel.syntax import parse

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text("utf-8")
EXAMPLES = [(text, json.loads(value)) for text, value in re.findall(r"^\| `(.+?)` \| `(.+?)` \|$", PAGE, re.M)]
REFERENCE = Reference({"now": "timestamp", "zone": "string"})


@pytest.mark.parametrize(("text", "value"), EXAMPLES, ids=[text for text, _ in EXAMPLES])
def test_an_example_has_its_value(text: str, value: Any) -> None:
    tree = parse(text)
    check_cost(tree)
    found = Builder({}).build(tree).fn({}, {})
    found = list(found) if isinstance(found, tuple) else found
    assert found == value and type(found) is type(value)
    assert REFERENCE.evaluate(text, {}) == value


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 25


@pytest.mark.parametrize(("name", "args"), [
    ("substring", ("abc", 2, 1)), ("substring", ("abc", -1)), ("substring", ("abc", 4)),
    ("replace", ("a" * 100, "a", "b" * 100)), ("split", ("," * 300, ",")), ("versionAtLeast", ("1.x", "1.0")),
    ("versionAtLeast", ("9" * 99, "1.0")), ("versionAtLeast", ("1.0.0-01", "1.0")),
    ("versionAtLeast", ("1.0.0-a..b", "1.0")), ("versionAtLeast", ("1.0.0+a..b", "1.0")),
    ("inNetwork", ("nowhere", "10.0.0.0/8")), ("inNetwork", ("10.0.0.1", "x"))])
def test_what_cannot_be_computed_is_unknown(name: str, args: tuple[Any, ...]) -> None:
    types = tuple("int" if isinstance(one, int) else "string" for one in args)
    found = overload(name, types, name in ("substring", "replace", "split"))
    assert found is not None
    with pytest.raises(EvaluationError):
        found.impl(*args)
