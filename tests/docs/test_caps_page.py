"""The caps that the page shows can be published, and every word of the policy's is on it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import yaml

from pipeline.core.model.definitions import Scope
from tests.core.build import made

PAGE = (Path(__file__).parents[2] / "docs" / "caps.md").read_text("utf-8")


def _example() -> dict[str, Any]:
    found = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert found
    loaded: dict[str, Any] = yaml.safe_load(found.group(1))
    return loaded


def test_the_caps_it_shows_can_be_published() -> None:
    placements = {"home.hero": {"channels": ["web"], "fallback": {"item": "x"}}}
    items = {"a": {"tags": ["sale"]}}
    live = made({**_example(), "placements": placements, "channels": {"app": {}}}, items)
    assert set(live.caps) == set(_example()["caps"])


def test_every_scope_is_on_it() -> None:
    assert [scope for scope in get_args(Scope) if f"`{scope}`" not in PAGE] == []
