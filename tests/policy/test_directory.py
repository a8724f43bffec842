"""The directory follows two topics: what is bad keeps what was live, and order between the topics is nothing."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.codecs import avro
from pipeline.core.decide.decision import decide
from pipeline.core.model.records import CatalogItem, PolicyRelease
from pipeline.core.model.values import replaced
from pipeline.core.release import compile_release
from pipeline.core.subject import Person
from pipeline.policy.definitions import PolicyDefinition
from pipeline.policy.directory import ACTIVATIONS_KEPT, Directory
from pipeline.policy.load import Checked, canonical, load, release_body
from pipeline.policy.publish import Publication, prepare
from pipeline.ports import Outbound
from tests.core.build import agreed, asked
from topics.catalog import BY_NAME, CATALOG_ITEMS, POLICY_RELEASES

from .test_errors import GOOD

SIGNALS = 'signals: {views: {count: {event: page, name: /x}, within: 7d}}'


def checked(tmp_path: Path, text: str = GOOD) -> Checked:
    (tmp_path / "policy.yaml").write_text(text, "utf-8")
    return load(tmp_path)


def published(one: Checked, present: dict[str, str] | None = None) -> Publication:
    return prepare(one, "shop", present or {}, 1_000, "tester")


def follow(directory: Directory, records: tuple[Outbound, ...], first: int = 0) -> None:
    for offset, record in enumerate(records, first):
        value = None if record.value is None else avro.decode(BY_NAME[record.topic], record.value)
        directory.apply(record.topic, record.key, value, offset)


def test_what_is_published_is_live(tmp_path: Path) -> None:
    directory = Directory()
    one = checked(tmp_path)
    assert directory.live("shop") is None
    follow(directory, published(one).records)
    live = directory.live("shop")
    assert live is not None and live.release == one.release
    assert list(live.items) == ["a"] and live.catalog_version == 1
    assert directory.live("other") is None
    assert directory.live("shop") is live, "made once"


def test_in_any_order_of_the_records_the_same_is_live(tmp_path: Path) -> None:
    records = published(checked(tmp_path)).records
    for order in itertools.permutations(records):
        directory = Directory()
        follow(directory, order)
        live = directory.live("shop")
        assert live is not None and list(live.items) == ["a"]


def test_an_item_that_left_the_folder_is_tombstoned(tmp_path: Path) -> None:
    directory = Directory()
    follow(directory, published(checked(tmp_path)).records)
    text = GOOD.replace("items: {a:", "items: {b:")
    second = published(checked(tmp_path, text), directory.items("shop"))
    assert (second.changed_items, second.removed_items) == (1, 1)
    follow(directory, second.records, 10)
    live = directory.live("shop")
    assert live is not None and list(live.items) == ["b"]
    again = published(checked(tmp_path, text), directory.items("shop"))
    assert (again.changed_items, again.removed_items) == (0, 0), "what did not change is not sent again"


def test_a_bad_item_keeps_its_previous_version_and_is_told(tmp_path: Path) -> None:
    directory = Directory()
    follow(directory, published(checked(tmp_path)).records)
    bad = canonical({"kind": "offer", "variants": {"default": {}}, "eligibility": "profile.nothing == 1"})
    directory.apply(CATALOG_ITEMS.name, b"shop/a", CatalogItem("shop", "a", bad), 7)
    live = directory.live("shop")
    assert live is not None and live.items["a"].eligibility is not None
    assert "profile.nothing" in directory.problems("shop")["item a"]


def test_a_bad_release_keeps_the_one_before(tmp_path: Path) -> None:
    directory = Directory()
    one = checked(tmp_path)
    follow(directory, published(one).records)
    for name, value in (("bad", PolicyRelease("shop", "bad", '{"nonsense": 1}', 2)),
                        ("@active", PolicyRelease("shop", "bad", "", 3))):
        directory.apply(POLICY_RELEASES.name, f"shop/{name}".encode(), value, 20)
    live = directory.live("shop")
    assert live is not None and live.release == one.release
    assert "not a release this engine understands" in directory.problems("shop")["release bad"]


def test_an_item_may_come_before_the_release_that_declares_what_it_reads(tmp_path: Path) -> None:
    directory = Directory()
    follow(directory, published(checked(tmp_path)).records)
    newer = checked(tmp_path, GOOD.replace("{plan: string", "{tier: string, plan: string").replace(
        "segment.adults", "profile.tier == 'x'"))
    records = published(newer, directory.items("shop")).records
    follow(directory, (records[1], records[0], records[2]), 30)
    live = directory.live("shop")
    assert live is not None and live.items["a"].eligibility is not None
    assert live.items["a"].eligibility.text == "profile.tier == 'x'"
    assert directory.problems("shop") == {}


def test_taking_the_activation_back_leaves_nothing_live(tmp_path: Path) -> None:
    directory = Directory()
    follow(directory, published(checked(tmp_path)).records)
    directory.apply(POLICY_RELEASES.name, b"shop/@active", None, 9)
    assert directory.live("shop") is None


def test_of_activations_the_newest_are_kept(tmp_path: Path) -> None:
    """What was activated too long ago does not become live when its body comes at last."""
    body, activation = [one for one in published(checked(tmp_path)).records if one.topic == POLICY_RELEASES.name]
    release = avro.decode(POLICY_RELEASES, activation.value).release
    for others, live in ((ACTIVATIONS_KEPT - 1, release), (ACTIVATIONS_KEPT, None)):
        directory = Directory()
        follow(directory, (activation,))
        for number in range(others):
            other = replaced(avro.decode(POLICY_RELEASES, activation.value), release=f"never-{number}")
            directory.apply(activation.topic, activation.key, other, 1 + number)
        follow(directory, (body,), 1 + others)
        found = directory.live("shop")
        assert (found.release if found else None) == live


def test_rolling_back_is_an_activation(tmp_path: Path) -> None:
    directory = Directory()
    one = checked(tmp_path)
    two = checked(tmp_path, GOOD.replace("limit: 1", "limit: 2"))
    follow(directory, published(one).records)
    follow(directory, published(two, directory.items("shop")).records, 10)
    assert directory.releases("shop") == (two.release, (one.release, two.release))
    directory.apply(POLICY_RELEASES.name, b"shop/@active", PolicyRelease("shop", one.release, "", 5), 20)
    live = directory.live("shop")
    assert live is not None and live.release == one.release


def test_the_fallback_is_known_without_the_pipeline(tmp_path: Path) -> None:
    directory = Directory()
    assert directory.fallback("shop", "hero") == []
    follow(directory, published(checked(tmp_path)).records)
    (shown,) = directory.fallback("shop", "hero")
    assert (shown.item_id, shown.placement, shown.fallback) == ("welcome", "hero", True)
    assert directory.fallback("shop", "nowhere") == []


def test_a_release_decides_after_the_way_through_the_topics_as_before(tmp_path: Path) -> None:
    one = checked(tmp_path, GOOD.replace("segment.adults", '"true"'))
    directory = Directory()
    follow(directory, published(one).records)
    live = directory.live("shop")
    assert live is not None
    subject: Person = agreed()
    assert decide(asked(), subject, live, 5).decisions == decide(asked(), subject, one.live("shop"), 5).decisions


def test_defaults_left_out_of_a_body_mean_what_the_definitions_say(tmp_path: Path) -> None:
    """Every section with its least: compiled with the defaults written out, it is the same policy."""
    definition = PolicyDefinition.model_validate({
        "consent": {"purposes": {"p": ""}}, "channels": {"web": {"quiet_hours": {"from": "21:00", "to": "07:00"}}},
        "placements": {"hero": {"channels": "web", "fallback": {"item": "x"},
                                "diversity": [{"per": "tag", "at_most": 1}]}},
        "caps": {"c": {"count": "decision", "per": "all", "limit": 1, "window": {"calendar": "day"}}},
        "suppressions": {"r": {"when": "click", "per": "tag", "within": "1d", "lasts": "1d"}},
        "rankings": {"r": {}, "m": {"model": {}}}, "experiments": {"e": {"variations": {"a": {}}}},
        "holdouts": {"h": {"share": 1}}, "segments": {"s": {"rule": "true"}},
        "lifecycle": {"stages": [{"name": "a", "rule": "true"}]}, "signals": {"s": {"count": {}}},
    })
    policy = compile_release(release_body(definition), "r")
    hero, web, experiment = policy.placements["hero"], policy.channels["web"], policy.experiments[0]
    declared = definition.placements["hero"]
    assert (hero.max_variants, hero.ttl_s, hero.repeats) == (declared.max_variants, declared.ttl_ms // 1_000, False)
    assert hero.fallback.ttl_s == declared.fallback.ttl_ms // 1_000
    assert (hero.fallback.kind, hero.fallback.variant) == (declared.fallback.kind, declared.fallback.variant)
    assert (web.escape, web.defers, web.quiet_days) == ("html", False, frozenset(range(1, 8)))
    assert policy.suppressions[0].at_least == definition.suppressions["r"].at_least
    assert experiment.slice == (0.0, 1.0) and experiment.sticky is definition.experiments["e"].sticky
    assert experiment.variations[0].weight == definition.experiments["e"].variations["a"].weight
    assert policy.signals[0].up_to == definition.signals["s"].up_to
    assert policy.lifecycle.forward_only is definition.lifecycle.forward_only
    assert not policy.placements["hero"].ranking.lottery


@pytest.mark.parametrize("body", ["", "[]", "{}", "null", '{"attributes": 3}'])
def test_what_is_no_release_is_refused(body: str) -> None:
    with pytest.raises(ValueError, match="not a release this engine understands"):
        compile_release(body, "r")


def test_a_signal_counts_since_it_was_published_first_and_a_changed_one_anew(tmp_path: Path) -> None:
    directory = Directory()
    none = GOOD.replace(SIGNALS, "")
    text = GOOD.replace(
        SIGNALS, "signals: {seen: {count: {event: view}, within: 7d, up_to: 5}, bought: {count: {event: conversion}}}")

    def publish(text: str, at_ms: int) -> dict[str, int]:
        known = directory.counted("shop")
        follow(directory, prepare(checked(tmp_path, text), "shop", {}, at_ms, "tests", known).records, at_ms)
        live = directory.live("shop")
        assert live is not None
        return {signal.id: signal.since_ms for signal in live.policy.signals}

    assert publish(none, 10) == {}
    assert publish(text, 20) == {"seen": 20, "bought": 20}
    assert publish(text.replace("limit: 1", "limit: 2"), 30) == {"seen": 20, "bought": 20}
    assert publish(text.replace("within: 7d", "within: 9d"), 40) == {"seen": 20, "bought": 20}, "as much is counted"
    assert publish(text.replace("up_to: 5", "up_to: 4"), 43) == {"seen": 20, "bought": 20}
    assert publish(text.replace("up_to: 5", "up_to: 6"), 46) == {"seen": 46, "bought": 20}, "so many were not kept"
    assert publish(text.replace("event: view", "event: click"), 50) == {"seen": 50, "bought": 20}
    assert publish(none, 60) == {}
    assert publish(text, 70) == {"seen": 70, "bought": 70}, "in between, nobody counted"
    declared = text.replace("within: 7d", "within: 7d, since: 1970-01-01T00:00:00.005Z")
    assert publish(declared, 80) == {"seen": 5, "bought": 70}


def test_a_release_that_is_activated_again_counts_as_its_activation_says(tmp_path: Path) -> None:
    directory = Directory()
    one = checked(tmp_path, GOOD.replace(SIGNALS, "signals: {seen: {count: {event: view}}}"))
    follow(directory, published(one).records)
    (key,) = directory.counted("shop")
    directory.apply(POLICY_RELEASES.name, b"shop/@active", PolicyRelease("shop", one.release, "", 5, "", {key: 7}), 20)
    assert directory.counted("shop") == {key: (7, 100)}
    directory.apply(POLICY_RELEASES.name, b"shop/@active", PolicyRelease("shop", one.release, "", 5), 21)
    assert directory.counted("shop") == {key: (0, 100)}, "an older publisher says nothing of it"


def body_of(rule: str) -> str:
    return canonical({"kind": "offer", "variants": {"default": {}}, "eligibility": rule})


def release_with(attribute: str) -> str:
    definition = {"attributes": {"profile": {attribute: "int"}}, "consent": {"purposes": {"p": ""}},
                  "channels": {"web": {}}, "placements": {"hero": {"channels": "web", "fallback": {"item": "x"}}}}
    return release_body(PolicyDefinition.model_validate(definition))


#: Two releases, one that is none, and items that fit one of them, both or neither.
RELEASES = {"r1": release_with("one"), "r2": release_with("two"), "bad": "{}"}
BODIES = [None, *(body_of(rule) for rule in ("true", "profile.one > 1", "profile.two > 2", "profile.three > 3"))]
published_items = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(BODIES))
published_releases = st.sampled_from(list(RELEASES))
activated = st.tuples(st.just("@active"), published_releases)
publications = st.lists(st.one_of(published_items, activated, published_releases), max_size=25)


def applied(directory: Directory, history: list[Any]) -> Directory:
    for offset, one in enumerate(history):
        if isinstance(one, str):
            value: Any = PolicyRelease("shop", one, RELEASES[one], 1)
            directory.apply(POLICY_RELEASES.name, f"shop/{one}".encode(), value, offset)
        elif one[0] == "@active":
            directory.apply(POLICY_RELEASES.name, b"shop/@active", PolicyRelease("shop", one[1], "", 1), offset)
        else:
            value = None if one[1] is None else CatalogItem("shop", *one)
            directory.apply(CATALOG_ITEMS.name, f"shop/{one[0]}".encode(), value, offset)
    return directory


@given(publications)
@example([("@active", "r1"), ("@active", "r2"), ("@active", "bad"), "r1", ("@active", "r2"), ("@active", "bad")])
def test_whoever_starts_now_has_live_what_everybody_else_has(history: list[Any]) -> None:
    follows, starts = applied(Directory(), history), applied(Directory(loading=True), history)
    assert starts.live("shop") is None, "nothing is compiled before everything is read"
    starts.loaded()
    one, other = follows.live("shop"), starts.live("shop")
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert (one.release, one.catalog_version, one.catalog_digest) == (
            other.release, other.catalog_version, other.catalog_digest)
        assert one.items.keys() == other.items.keys()
    assert follows.problems("shop") == starts.problems("shop")


def test_versions_that_fit_no_release_are_passed_over_until_none_of_the_last_four_does(tmp_path: Path) -> None:
    directory = Directory()
    follow(directory, published(checked(tmp_path)).records)
    for number in range(4):
        live = directory.live("shop")
        assert live is not None and "a" in live.items, number
        bad = body_of(f"profile.nothing == {number}")
        directory.apply(CATALOG_ITEMS.name, b"shop/a", CatalogItem("shop", "a", bad), 10 + number)
    live = directory.live("shop")
    assert live is not None and "a" not in live.items


def test_to_take_an_item_back_takes_all_its_versions_back(tmp_path: Path) -> None:
    directory = Directory()
    follow(directory, published(checked(tmp_path)).records)
    for offset, value in enumerate((None, CatalogItem("shop", "a", body_of("profile.nothing == 1"))), 10):
        directory.apply(CATALOG_ITEMS.name, b"shop/a", value, offset)
    live = directory.live("shop")
    assert live is not None and live.items == {}
