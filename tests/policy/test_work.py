"""What all rules of a release may take together is bounded: for an event, and for a decision on each placement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.core.decide.decision import decide
from pipeline.core.model.problems import DefinitionError
from pipeline.core.model.records import CatalogItem, PolicyRelease
from pipeline.core.release import work
from pipeline.core.rules.cel.cost import DECISION_COST_MAX, EVENT_COST_MAX
from pipeline.core.sections.section import changed
from pipeline.core.sections.traits import Trait
from pipeline.policy.definitions import PolicyDefinition
from pipeline.policy.directory import Directory
from pipeline.policy.load import PolicyError, item_body, load, release_body
from tests.core.build import BASE, agreed, asked, joined, made
from topics.catalog import CATALOG_ITEMS, POLICY_RELEASES

from .test_errors import GOOD

_NUMBERS = str([str(number) for number in range(30)])
_WITH_LIST = GOOD.replace("zone: string}", "zone: string, li: list(string)}")


def heavy(number: int, attribute: str = "profile.interests") -> str:
    """A rule well within its own bound, another one for every number."""
    return f"{attribute}.exists(a, {_NUMBERS}.exists(b, a == b)) && profile.age > {number}"


def _segments(count: int) -> dict[str, Any]:
    return {"segments": {f"h{number}": {"rule": heavy(number)} for number in range(count)}}


def _items(count: int, **more: Any) -> dict[str, Any]:
    return {f"x{number:02}": {"eligibility": heavy(number), **more} for number in range(count)}


def _problems(policy: dict[str, Any]) -> list[str]:
    try:
        made(policy)
    except DefinitionError as error:
        return [str(one) for one in error.problems]
    return []


def _found(folder: Path, text: str) -> list[str]:
    (folder / "policy.yaml").write_text(text, "utf-8")
    try:
        load(folder)
    except PolicyError as error:
        return [str(one).removeprefix(f"{folder}/policy.yaml") for one in error.findings]
    return []


def _followed(policy: dict[str, Any], items: dict[str, Any], names: list[str] | None = None) -> Directory:
    """What a worker has of a publisher that checks nothing."""
    catalog = {name: {"kind": "offer", "variants": {"default": {}}, **one} for name, one in items.items()}
    definition = PolicyDefinition.model_validate({**joined(BASE, policy), "items": catalog})
    directory = Directory()
    for offset, (key, value) in enumerate((
            (b"shop/r1", PolicyRelease("shop", "r1", release_body(definition), 0)),
            (b"shop/@active", PolicyRelease("shop", "r1", "", 0)))):
        directory.apply(POLICY_RELEASES.name, key, value, offset)
    for offset, name in enumerate(names or list(catalog)):
        body = item_body(definition.items[name])
        directory.apply(CATALOG_ITEMS.name, f"shop/{name}".encode(), CatalogItem("shop", name, body), offset)
    return directory


def test_segments_that_take_too_long_together_are_a_finding_that_names_the_costliest(tmp_path: Path) -> None:
    written = "".join(f"  h{number}: {{rule: \"{heavy(number, 'profile.li')}\"}}\n" for number in range(20))
    [said] = _found(tmp_path, _WITH_LIST.replace("segments: {", "segments:\n" + written + "  ").replace("18}}", "18}"))
    assert said.startswith(":13:14: segments.h0.rule: 21 segments, 1 signals may take ")
    assert f"more than {EVENT_COST_MAX:,}; the costliest: h0 33,843, h1 33,843" in said


def test_each_of_them_alone_is_fine() -> None:
    assert _problems(_segments(1)) == [] == _problems(_segments(14))
    assert len(_problems(_segments(15))) == 1


def test_stages_and_signals_count_as_segments_do() -> None:
    stages = [{"name": f"s{number}", "rule": heavy(number)} for number in range(20)]
    [said] = _problems({"lifecycle": {"stages": stages}})
    assert "lifecycle.stages.0.rule: 20 lifecycle stages may take" in said
    signals = {f"n{number}": {"sequence": [{"event": "click", "name": f"{number}-{step}"} for step in range(3)],
                              "up_to": 1_000} for number in range(400)}
    assert "400 signals may take" in _problems({"signals": signals})[0]


@pytest.mark.parametrize("policy", [
    {"experiments": {f"e{number}": {"variations": {"a": {}}, "target": heavy(number), "layer": f"e{number}"}
                     for number in range(40)}},
    {**_segments(14), "placements": {"hero": {"applicability": " && ".join(heavy(number) for number in range(7))}},
     "channels": {"web": {"do_not_contact": " && ".join(heavy(number) for number in range(10, 17))}},
     "experiments": {"e": {"variations": {"a": {}}, "target": " && ".join(heavy(20 + n) for n in range(7))}}},
])
def test_what_a_decision_asks_before_any_item_is_bounded(policy: dict[str, Any]) -> None:
    found = _problems(policy)
    assert found and all("operations before it looks at any item" in one for one in found)


@pytest.mark.parametrize("more", [
    {}, {"suitability": "candidate.value > 1.0"},
    {"eligibility": "candidate.value > 1.0", "variants": {"default": {"rule": heavy(1) + " && candidate.value > 2.0"}}},
])
def test_items_that_take_too_long_together_are_a_finding_at_their_placement(tmp_path: Path, more: dict[str, Any]
                                                                             ) -> None:
    live = made(items=_items(40, **more))
    assert [one.path for one in live.problems] == [("placements", "hero"), ("placements", "tiles")]
    assert "may take 1,35" in live.problems[0].message and "40 items" in live.problems[0].message
    written = "".join(f"  x{number}: {{kind: offer, eligibility: \"{heavy(number, 'profile.li')}\", variants: "
                      "{default: {}}}\n" for number in range(40))
    [said] = _found(tmp_path, _WITH_LIST.replace("items: {", "items:\n" + written + "  ").replace("{}}}}", "{}}}"))
    assert said.startswith(":10:9: placements.hero: a decision here on web may take ") and "costliest: x" in said


def test_formulas_and_templates_count() -> None:
    text = " ".join("{{ profile.name.lowerAscii() }}" for _ in range(20))
    templates = {name: {"variants": {"default": {"content": {"t": text}}}} for name in map("t{}".format, range(60))}
    assert made(items=templates).problems
    ranked = {"rankings": {"r": {"formula": "double(size(profile.name.matches('(a|b){30}') ? candidate.id : ''))"}},
              "placements": {"hero": {"ranking": "r"}}}
    assert made(ranked, {f"i{number}": {} for number in range(400)}).problems
    assert not made(ranked, {f"i{number}": {} for number in range(4)}).problems


def test_a_template_that_cannot_fail_counts_for_what_is_shown_alone() -> None:
    """Two thousand offers with a salutation are no problem; of a draw, which looks at all of them, they are."""
    text = " ".join("{{ profile.name.lowerAscii() | 'friend' }}" for _ in range(2))
    offers = {f"o{number}": {"variants": {"default": {"content": {"t": text}}}} for number in range(600)}
    draw = {"rankings": {"r": {"lottery": True}}, "placements": {"hero": {"ranking": "r"}}}
    assert not made(items=offers).problems
    assert [one.path[1] for one in made(draw, offers).problems] == ["hero"]


def test_a_rule_that_does_not_look_at_the_item_counts_once() -> None:
    assert not made(items={f"x{number}": {"eligibility": heavy(1)} for number in range(100)}).problems
    assert made(items={f"x{number}": {"eligibility": heavy(1) + " && candidate.id != profile.name"}
                       for number in range(100)}).problems


def test_a_release_past_the_bound_is_not_activated_by_a_worker() -> None:
    directory = _followed({}, {"a": {}})
    body = release_body(PolicyDefinition.model_validate(joined(BASE, _segments(600))))
    directory.apply(POLICY_RELEASES.name, b"shop/r2", PolicyRelease("shop", "r2", body, 2), 2)
    directory.apply(POLICY_RELEASES.name, b"shop/@active", PolicyRelease("shop", "r2", "", 3), 3)
    assert directory.releases("shop")[0] == "r1"
    assert "for one event, more than" in directory.problems("shop")["release r2"]


def test_items_past_the_bound_are_not_live_and_told_in_whatever_order_they_come(
        caplog: pytest.LogCaptureFixture) -> None:
    items = {**_items(40), "small": {"eligibility": "profile.age > 3"}}
    lives = [_followed({}, items, names) for names in (list(items), [*items][::-1])]
    for directory in lives:
        caplog.clear()
        live = directory.live("shop")
        assert directory.live("shop") is live and len(caplog.messages) == 1, "said once"
        assert "items are not live, as decisions would take too long with them (x" in caplog.text
        assert live is not None and "small" in live.items and 25 < len(live.items) < 32
        assert all(slot.cost <= DECISION_COST_MAX for slot in live.slots.values())
        told = directory.problems("shop")
        assert "a decision here on" in told["placement hero"] and "not live" in told["item x39"]
        assert "x39" not in {one.item_id for one in decide(asked(), agreed(), live, 1_790_000_000_000).candidates}
    first, second = (directory.live("shop") for directory in lives)
    assert first is not None and second is not None and list(first.items) == list(second.items)


def test_what_a_chain_leads_to_counts_and_goes() -> None:
    chain = {"placements": {"hero": {"fallback": {"chain": [f"x{number:02}" for number in range(40)]}}}}
    live = made(chain, {name: {**one, "placements": ["tiles"], "channels": ["email"]}
                        for name, one in _items(40).items()})
    assert [one.path[1] for one in live.problems] == ["hero"] and 10 < len(live.items) < 32


def test_what_is_just_allowed_is_decided() -> None:
    """With values that make it work as hard as it may."""
    live = made(_segments(14), _items(15))
    assert not live.problems and work.of_event(live.policy) > 0.9 * EVENT_COST_MAX
    traits = {"interests": Trait(",".join("x" for _ in range(256)), 1), "age": Trait(99, 1)}
    result = decide(asked(), changed(agreed(), traits=traits), live, 1_790_000_000_000)
    assert result.error is None and len(result.candidates) == 15
