"""`features.loads`: what was computed in batch reaches its profile where consent allows it, and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.codecs import avro
from pipeline.codecs.errors import CodecError
from pipeline.core.features.shown import shown
from pipeline.core.model.records import (
    ConsentGrant,
    ErasureAction,
    ErasureRequest,
    IdentityEvent,
    IdentityKind,
    Membership,
)
from pipeline.core.subject import Erased, Person
from pipeline.policy.load import load
from pipeline.runtime.memory import MemoryPipeline
from pipeline.topology import FLOWS, WORK
from tests.support import shop
from topics.catalog import (
    BY_NAME,
    DAY_MS,
    DECISION_REPLIES,
    DECISION_REQUESTS,
    ERASURE_REQUESTS,
    FEATURE_LOADS,
    IDENTITY_EVENTS,
    SEGMENT_CHANGES,
)

ANN, PHONE = "shop/ann", "shop/phone"
POLICY = shop.POLICY.replace("segments:", "segments:\n  loyal: {rule: features.orders_1y >= 3}") + """
features:
  orders_1y: {count: {event: conversion}, window: 365d, fresh_for: 2d}
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> MemoryPipeline:
    """A shop that loads a feature; somebody agreed to be tracked, and a device is theirs."""
    one = MemoryPipeline(FLOWS)
    for record in shop.publication(tmp_path / "policy", POLICY):
        one.send(BY_NAME[record.topic], record.key, record.value)
    for who in (ANN, PHONE):
        one.send(IDENTITY_EVENTS, who, shop.consent(who, 1))
    one.send(IDENTITY_EVENTS, PHONE, shop.alias(PHONE, ANN, 2))
    one.run()
    one.advance(DAY_MS)
    return one


def of(subject: str, orders: int | None, as_of_ms: int, version: str = "v1") -> IdentityEvent:
    return IdentityEvent(f"{version}/{subject}", subject, IdentityKind.LOAD, as_of_ms, {"features.orders_1y": orders})


def loads(pipeline: MemoryPipeline, *events: IdentityEvent) -> None:
    for event in events:
        pipeline.send(FEATURE_LOADS, event.subject, event)
        pipeline.run()


def value(pipeline: MemoryPipeline, tmp_path: Path, who: str = ANN) -> dict[str, Any]:
    person = pipeline.state(who)
    assert isinstance(person, Person)
    return shown(person, load(tmp_path / "policy").live("shop").policy, pipeline.clock.at_ms)["orders_1y"]


def test_a_value_reaches_the_profile_and_what_reads_it(pipeline: MemoryPipeline, tmp_path: Path) -> None:
    as_of_ms = pipeline.clock.at_ms - 1_000
    loads(pipeline, of(ANN, 3, as_of_ms))
    assert value(pipeline, tmp_path) == {
        "kind": "count", "type": "int", "per": "subject", "value": 3, "as_of_ms": as_of_ms}
    assert [(one.segment, one.entered) for one in pipeline.values(SEGMENT_CHANGES)] == [("loyal", True)]


def test_the_newest_moment_wins_in_whatever_order_versions_come(pipeline: MemoryPipeline, tmp_path: Path) -> None:
    now_ms = pipeline.clock.at_ms
    loads(pipeline, of(ANN, 5, now_ms - 1_000, "v2"), of(ANN, 3, now_ms - 2_000, "v1"))
    assert value(pipeline, tmp_path)["value"] == 5
    loads(pipeline, of(ANN, None, now_ms - 500, "v3"))
    assert value(pipeline, tmp_path)["unknown"] == "no_value"


def test_a_version_that_is_loaded_twice_changes_nothing_the_second_time(pipeline: MemoryPipeline) -> None:
    one = of(ANN, 3, pipeline.clock.at_ms - 1_000)
    loads(pipeline, one)
    before = pipeline.state(ANN)
    loads(pipeline, one)
    assert pipeline.state(ANN) == before
    assert pipeline.metrics.counts["loads", "drop", "duplicate_event"] == 1


def test_what_comes_for_an_alias_reaches_its_profile(pipeline: MemoryPipeline, tmp_path: Path) -> None:
    loads(pipeline, of(PHONE, 4, pipeline.clock.at_ms - 1))
    assert value(pipeline, tmp_path)["value"] == 4


@pytest.mark.parametrize("by_way_of", [ANN, PHONE])
def test_who_does_not_allow_to_be_tracked_gets_no_value(pipeline: MemoryPipeline, by_way_of: str) -> None:
    pipeline.send(IDENTITY_EVENTS, ANN, shop.consent(ANN, pipeline.clock.at_ms, False))
    pipeline.run()
    loads(pipeline, of(by_way_of, 4, pipeline.clock.at_ms))
    person = pipeline.state(ANN)
    assert isinstance(person, Person) and person.traits == {}


def test_of_who_is_not_known_no_profile_is_made(pipeline: MemoryPipeline) -> None:
    loads(pipeline, of("shop/nobody", 4, pipeline.clock.at_ms))
    assert pipeline.state("shop/nobody") is None
    assert pipeline.metrics.counts["loads", "drop", "no_consent"] == 1


def test_without_a_policy_nothing_is_allowed() -> None:
    bare = MemoryPipeline(FLOWS)
    bare.send(IDENTITY_EVENTS, ANN, shop.consent(ANN, 1))
    bare.run()
    loads(bare, of(ANN, 4, bare.clock.at_ms))
    person = bare.state(ANN)
    assert isinstance(person, Person) and person.traits == {}


@pytest.mark.parametrize("by_way_of", [ANN, PHONE])
def test_somebody_erased_is_not_brought_back(pipeline: MemoryPipeline, by_way_of: str) -> None:
    at_ms = pipeline.clock.at_ms
    pipeline.send(ERASURE_REQUESTS, ANN, ErasureRequest("job", ANN, ErasureAction.ERASE, at_ms, "ticket"))
    pipeline.run()
    for number, as_of_ms in enumerate((at_ms - 1, at_ms + 1_000)):
        loads(pipeline, of(by_way_of, 4, as_of_ms, f"v{number}"))
    assert isinstance(pipeline.state(ANN), Erased) and pipeline.keyring().wrapped == {}


def test_what_was_computed_before_an_erasure_does_not_reach_who_came_back(pipeline: MemoryPipeline) -> None:
    at_ms = pipeline.clock.at_ms
    pipeline.send(ERASURE_REQUESTS, ANN, ErasureRequest("job", ANN, ErasureAction.ERASE, at_ms, "ticket"))
    pipeline.run()
    pipeline.advance(DAY_MS)
    pipeline.send(IDENTITY_EVENTS, ANN, shop.consent(ANN, pipeline.clock.at_ms))
    pipeline.run()
    loads(pipeline, of(ANN, 4, at_ms - 1))
    person = pipeline.state(ANN)
    assert isinstance(person, Person) and person.traits == {}


@pytest.mark.parametrize(("more", "said"), [
    ({"traits": {"plan": "pro"}}, "no feature's"),
    ({"traits": {}}, "no feature's"),
    ({"consent": [ConsentGrant("personalization", True, 1)]}, "nothing but values"),
    ({"membership": Membership("shop/@acme")}, "nothing but values"),
])
def test_a_load_says_nothing_but_values_of_features(more: dict[str, Any], said: str) -> None:
    event = IdentityEvent("e", ANN, IdentityKind.LOAD, 1, **({"traits": {"features.x": 1}} | more))
    with pytest.raises(CodecError, match=said):
        avro.encode_checked(FEATURE_LOADS, event)


def test_no_other_event_comes_by_this_way(pipeline: MemoryPipeline) -> None:
    loads(pipeline, shop.consent(PHONE, pipeline.clock.at_ms, False), of("shop/@acme", 1, 1))
    assert pipeline.metrics.counts["loads", "dead-letter", "invalid"] == 2
    pipeline.send(DECISION_REQUESTS, ANN, shop.request("r", ANN))
    pipeline.run()
    assert [one.reason for one in pipeline.values(DECISION_REPLIES)] == ["decided"]


def test_loads_have_the_smallest_share_and_nobody_waits_for_them() -> None:
    flow = next(one for one in FLOWS if one.name == "loads")
    weight, is_bulk = WORK[flow.work]
    assert is_bulk and weight < min(one for work, (one, _) in WORK.items() if work is not flow.work)
