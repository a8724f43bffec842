"""Whatever somebody publishes to `catalog.items` and `policy.releases`: what cannot be used is told, the previous
version stays live, and deciding never fails."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.agents import catalog
from pipeline.agents import policy as releases
from pipeline.core.decide.decision import decide
from pipeline.core.model.records import CatalogItem, PolicyRelease
from pipeline.core.release.versions import ACTIVE
from pipeline.flow import Accept, DeadLetter
from pipeline.policy.definitions import PolicyDefinition
from pipeline.policy.directory import Directory
from pipeline.policy.load import item_body, release_body
from tests.core.build import BASE, agreed, asked, joined
from tests.core.small_world import Context
from topics.catalog import CATALOG_ITEMS, POLICY_RELEASES

NOW_MS = 1_790_000_000_000
POLICY = joined(BASE, {
    "caps": {"c": {"count": "decision", "per": "tag", "limit": 2, "window": "1d", "weights": {"web": 1}},
             "s": {"count": "impression", "per": "item", "limit": 2, "window": {"calendar": "day"}}},
    "suppressions": {"r": {"when": "click", "per": "item", "within": "1d", "lasts": "1d"}},
    "signals": {"n": {"count": {"event": "click"}, "within": "1d"}},
    "segments": {"keen": {"rule": "signals.n >= 1"}},
    "rankings": {"value": {"formula": "candidate.value * features.propensity"},
                 "model": {"model": {"intercept": 0.5, "coefficients": {"profile.age": 0.1}}}},
    "placements": {"hero": {"ranking": "value"}, "tiles": {"ranking": "model", "diversity": [
        {"per": "tag", "at_most": 1}]}},
    "experiments": {"e": {"variations": {"v": {"weight": 1, "without": ["z"]}}}},
    "holdouts": {"h": {"share": 1.0}},
    "lifecycle": {"stages": [{"name": "young", "rule": "profile.age < 18"}]},
})
ITEM = {"kind": "offer", "priority": 3, "tags": ["t"], "campaign": "x", "attributes": {"value": 2.0},
        "eligibility": "profile.age > 3", "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2030-01-01T00:00:00Z",
        "inventory": 5, "instead": "b", "placements": ["hero", "tiles"], "channels": ["web"], "bypass": ["c"],
        "variants": {"default": {"content": {"t": "Hi {{ profile.name | 'you' }}", "n": 1}, "channels": ["web"]}}}
DEFINITION = PolicyDefinition.model_validate({**POLICY, "items": {"a": ITEM}})
RELEASE, BODY = release_body(DEFINITION), item_body(DEFINITION.items["a"])
WRONG: list[Any] = [None, "x", -1, 2**70, 1e308, True, [], {}, [1], {"a": 1}, [[]]]


def _mutated(whole: Any, *roots: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """The body with each of its parts from the roots on, however deep, replaced by each of the wrong values."""
    paths: list[tuple[Any, ...]] = [*roots]
    while paths:
        path = paths.pop()
        part = whole
        for step in path:
            part = part[step]
        if isinstance(part, dict):
            paths += [(*path, name) for name in part]
        elif isinstance(part, list):
            paths += [(*path, index) for index in range(len(part))]
        for wrong in WRONG:
            changed = copy.deepcopy(whole)
            if not path:
                changed = wrong
            else:
                at = changed
                for step in path[:-1]:
                    at = at[step]
                at[path[-1]] = wrong
            yield f"{path} = {wrong!r}", changed


def _live() -> Directory:
    directory = Directory()
    directory.apply(POLICY_RELEASES.name, b"shop/r1", PolicyRelease("shop", "r1", RELEASE, 1), 0)
    directory.apply(POLICY_RELEASES.name, f"shop/{ACTIVE}".encode(), PolicyRelease("shop", "r1", "", 1), 1)
    directory.apply(CATALOG_ITEMS.name, b"shop/a", CatalogItem("shop", "a", BODY), 2)
    assert directory.problems("shop") == {}
    return directory


def _decides(directory: Directory, said: str) -> None:
    live = directory.live("shop")
    assert live is not None, said
    for placement in live.policy.placements:
        for channel in live.policy.placements[placement].channels:
            result = decide(asked("r", placement, channel), agreed(), live, NOW_MS)
            assert result.error is None and result.decisions, said


def test_any_item_is_a_dead_letter_or_can_be_decided() -> None:
    directory = _live()
    refused = 0
    for said, body in _mutated(json.loads(BODY), ()):
        item = CatalogItem("shop", "a", json.dumps(body))
        outcome = catalog.handle(item, None, Context(NOW_MS, None))
        directory.apply(CATALOG_ITEMS.name, b"shop/a", item, 3)
        refused += isinstance(outcome, DeadLetter)
        assert isinstance(outcome, Accept | DeadLetter)
        _decides(directory, said)
    assert refused > 100


@pytest.mark.parametrize("section", json.loads(RELEASE))
def test_any_release_is_refused_or_can_be_decided_by(section: str) -> None:
    for said, body in _mutated(json.loads(RELEASE), (section,)):
        directory = _live()
        release = PolicyRelease("shop", "r2", json.dumps(body), 2)
        assert isinstance(releases.handle(release, None, Context(NOW_MS, None)), Accept | DeadLetter), said
        directory.apply(POLICY_RELEASES.name, b"shop/r2", release, 4)
        directory.apply(POLICY_RELEASES.name, f"shop/{ACTIVE}".encode(), PolicyRelease("shop", "r2", "", 2), 5)
        if directory.problems("shop"):
            assert directory.releases("shop")[0] in ("r1", "r2"), said
        _decides(directory, said)


@pytest.mark.parametrize(
    "body", ["[" * 100_000, '{"a":' * 100_000, "", "\x00", "nonsense", "[]", "1", "null", "true", '"x"'])
def test_a_body_that_is_none_leaves_the_previous_one_live(body: str) -> None:
    directory = _live()
    for handle, value in ((catalog.handle, CatalogItem("shop", "a", body)),):
        assert isinstance(handle(value, None, Context(NOW_MS, None)), DeadLetter)
    directory.apply(CATALOG_ITEMS.name, b"shop/a", CatalogItem("shop", "a", body), 3)
    directory.apply(POLICY_RELEASES.name, b"shop/r2", PolicyRelease("shop", "r2", body, 2), 4)
    directory.apply(POLICY_RELEASES.name, f"shop/{ACTIVE}".encode(), PolicyRelease("shop", "r2", "", 2), 5)
    if body:
        release = PolicyRelease("shop", "r2", body, 2)
        assert isinstance(releases.handle(release, None, Context(NOW_MS, None)), DeadLetter)
    assert directory.releases("shop")[0] == "r1" and "release r2" in directory.problems("shop")
    _decides(directory, body[:20])
