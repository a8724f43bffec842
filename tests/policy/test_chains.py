"""`instead` leads no further than its bound, whichever way the items came: refused by the checks, cut by deciding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.core.decide.decision import decide
from pipeline.core.model.definitions import Variant
from pipeline.core.model.records import CatalogItem, PolicyRelease
from pipeline.core.model.words import Scalar
from pipeline.core.release.chains import INSTEAD_MAX
from pipeline.core.rules.templates import bind
from pipeline.policy.definitions import PolicyDefinition
from pipeline.policy.directory import Directory
from pipeline.policy.load import PolicyError, item_body, load, release_body
from tests.core.build import BASE, agreed, asked, made
from topics.catalog import CATALOG_ITEMS, POLICY_RELEASES

from .test_errors import GOOD

_WITHOUT_ITEMS = "".join(line for line in GOOD.splitlines(keepends=True) if not line.startswith("items:"))
UNBINDABLE = {"default": {"content": {"t": "{{ profile.name }}"}}}


def _written(leads: dict[str, str]) -> str:
    items = "".join(f"  {name}: {{kind: offer, variants: {{default: {{}}}}{f', instead: {to}' if to else ''}}}\n"
                    for name, to in leads.items())
    return f"{_WITHOUT_ITEMS}items:\n{items}"


def _row(length: int) -> dict[str, str]:
    """Items one after the other, of which the first reaches `length`."""
    return {f"x{number}": f"x{number + 1}" if number < length else "" for number in range(length + 1)}


def _ring(items: int) -> dict[str, str]:
    return {f"x{number}": f"x{(number + 1) % items}" for number in range(items)}


def _findings(folder: Path, leads: dict[str, str]) -> list[str]:
    (folder / "policy.yaml").write_text(_written(leads), "utf-8")
    try:
        load(folder)
    except PolicyError as error:
        return [str(one).removeprefix(f"{folder}/policy.yaml") for one in error.findings]
    return []


@pytest.mark.parametrize("leads", [_row(INSTEAD_MAX), _ring(INSTEAD_MAX + 1), _ring(1), _row(0)])
def test_a_chain_within_the_bound_is_fine(tmp_path: Path, leads: dict[str, str]) -> None:
    assert _findings(tmp_path, leads) == []


@pytest.mark.parametrize("leads", [
    _row(INSTEAD_MAX + 1), _ring(INSTEAD_MAX + 2), _ring(120), _ring(600), _row(600)])
def test_a_chain_past_the_bound_is_one_finding_where_it_begins(tmp_path: Path, leads: dict[str, str]) -> None:
    [said] = _findings(tmp_path, leads)
    assert said.startswith(":15:") and f"items.x0.instead: leads from item to item through more than {INSTEAD_MAX}" in (
        said)


def test_each_chain_past_the_bound_is_said(tmp_path: Path) -> None:
    leads = {**_row(9), "y": "x0", "z": "x2", **{f"r{number}": f"r{(number + 1) % 8}" for number in range(8)}}
    found = _findings(tmp_path, leads)
    assert sorted(one.partition(" items.")[2].partition(".")[0] for one in found) == ["r0", "y", "z"]


def _followed(leads: dict[str, str]) -> Directory:
    """What a worker has whose catalog came item by item, past every check of a folder."""
    items = {name: {"kind": "offer", "variants": UNBINDABLE, **({"instead": to} if to else {})}
             for name, to in leads.items()}
    definition = PolicyDefinition.model_validate({**BASE, "items": items})
    directory = Directory()
    directory.apply(POLICY_RELEASES.name, b"shop/r1", PolicyRelease("shop", "r1", release_body(definition), 0), 0)
    directory.apply(POLICY_RELEASES.name, b"shop/@active", PolicyRelease("shop", "r1", "", 0), 1)
    for offset, (name, item) in enumerate(definition.items.items()):
        directory.apply(CATALOG_ITEMS.name, f"shop/{name}".encode(), CatalogItem("shop", name, item_body(item)), offset)
    return directory


def test_a_catalog_that_came_item_by_item_is_told_of_and_followed_to_the_bound() -> None:
    leads = _row(INSTEAD_MAX + 3)
    directory = _followed(leads)
    assert "through more than" in directory.problems("shop")["item x0"]
    live = directory.live("shop")
    assert live is not None
    result = decide(asked(), agreed(), live, 1_790_000_000_000)
    tried = {one.item_id: set(one.values) for one in result.candidates if one.outcome == "unbound"}
    assert tried["x0"] == {f"x{number}/default" for number in range(INSTEAD_MAX + 1)}


@pytest.mark.parametrize("ranking", [{"lottery": True}, {"ties": "draw"}, {}])
def test_the_work_of_a_decision_grows_with_its_items_alone(monkeypatch: pytest.MonkeyPatch, ranking: Any) -> None:
    bound: list[str] = []

    def counted(variant: Variant, *more: Any) -> dict[str, Scalar]:
        bound.append(variant.id)
        return bind(variant, *more)

    monkeypatch.setattr("pipeline.core.decide.choosing.bind", counted)
    policy: Any = {"rankings": {"r": {"formula": "candidate.value", **ranking}},
                   "placements": {"tiles": {"ranking": "r"}}}
    work = {}
    for count in (30, 60):
        items: Any = {f"x{number}": {"variants": UNBINDABLE, "instead": f"x{(number + 1) % count}"}
                      for number in range(count)}
        items["shown"] = {"placements": ["tiles"]}
        bound.clear()
        decide(asked(placements="tiles", max_variants=3), agreed(), made(policy, items), 1_790_000_000_000)
        work[count] = len(bound)
    assert work[60] <= 61 and work[30] <= 31
