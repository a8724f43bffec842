"""A catalog is rebuilt as it was at any offset, exactly; and where it cannot be, that is said."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.decide.live import Live
from pipeline.core.hashing import policy_digest
from pipeline.core.model.records import CatalogItem, Decision, PolicyRelease
from pipeline.core.release.history import History, NotKept
from pipeline.policy.directory import Directory
from topics.catalog import CATALOG_ITEMS, POLICY_RELEASES

from .test_directory import BODIES, RELEASES, body_of, publications

#: Topic, key, value, offset.
Published = tuple[str, str, CatalogItem | PolicyRelease | None, int]


def records(history: Iterable[Any]) -> list[Published]:
    """What was published, each topic with offsets of its own."""
    found: list[Published] = []
    ends = {CATALOG_ITEMS.name: 0, POLICY_RELEASES.name: 0}
    for one in history:
        topic = CATALOG_ITEMS.name
        value: CatalogItem | PolicyRelease | None
        if isinstance(one, str):
            topic, key, value = POLICY_RELEASES.name, one, PolicyRelease("shop", one, RELEASES[one], 1)
        elif one[0] == "@active":
            # Activated again, its signals count since another moment: in tests, since the release's own offset.
            since = {"seen": ends[POLICY_RELEASES.name] // 7}
            topic, key, value = POLICY_RELEASES.name, one[0], PolicyRelease("shop", one[1], "", 1, "", since)
        else:
            key, value = one[0], None if one[1] is None else CatalogItem("shop", *one)
        found.append((topic, f"shop/{key}", value, ends[topic]))
        ends[topic] += 1
    return found


def seen(live: Live, **other: Any) -> Decision:
    """What a decision by it names."""
    named: dict[str, Any] = {
        "release": live.release, "policy_digest": live.policy.digest, "catalog_version": live.catalog_version,
        "catalog_digest": live.catalog_digest}
    named |= other
    return Decision("d", "r", "shop/x", 1, "web", [], "", [], False, "", **named)


def lives(published: Iterable[Published]) -> list[Live]:
    """What was live at a worker, one after the other."""
    directory, found = Directory(), []
    for topic, key, value, offset in published:
        directory.apply(topic, key.encode(), value, offset)
        live = directory.live("shop")
        if live is not None:
            found.append(live)
    return found


def history_of(published: Iterable[Published], version: int) -> History:
    history = History()
    for topic, key, value, offset in published:
        if topic == POLICY_RELEASES.name:
            history.take_release(key, value)  # type: ignore[arg-type]
        elif offset <= version:
            history.take_item(key, value)  # type: ignore[arg-type]
    return history


@given(publications)
def test_whatever_was_live_is_rebuilt_from_the_topics_up_to_its_version(history: list[Any]) -> None:
    published = records(history)
    for live in lives(published):
        again = history_of(published, live.catalog_version).live(seen(live))
        assert (again.release, again.policy.digest, again.catalog_version, again.catalog_digest) == (
            live.release, live.policy.digest, live.catalog_version, live.catalog_digest)
        assert again.slots.keys() == live.slots.keys()
        assert {name: item.digest for name, item in again.items.items()} == {
            name: item.digest for name, item in live.items.items()}


@given(publications)
def test_one_history_serves_audits_in_the_order_of_their_versions(history: list[Any]) -> None:
    published = records(history)
    rebuilt, version = history_of(published, -1), -1
    for live in sorted(lives(published), key=lambda one: one.catalog_version):
        for topic, key, value, offset in published:
            if topic == CATALOG_ITEMS.name and version < offset <= live.catalog_version:
                rebuilt.take_item(key, value)  # type: ignore[arg-type]
        version = max(version, live.catalog_version)
        assert rebuilt.live(seen(live)).catalog_digest == live.catalog_digest


LAG = 30


def compacted(published: list[Published], times: list[int], now: int) -> list[Published]:
    """What Kafka may leave at the least: a record goes once one that supersedes it is older than the lag, and a
    tombstone goes after that, too."""
    left = []
    for index, (topic, key, value, offset) in enumerate(published):
        newer = [times[later] for later in range(index + 1, len(published))
                 if published[later][:2] == (topic, key) and times[later] <= now - LAG]
        if not newer and (value is not None or times[index] > now - LAG):
            left.append((topic, key, value, offset))
    return left


fitting_items = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([None, body_of("true"), body_of("false")]))
steps = st.lists(st.tuples(st.integers(0, 20), fitting_items), max_size=20)


@given(steps, st.integers(0, 60))
def test_what_was_live_less_than_the_lag_ago_survives_every_compaction(
    history: list[tuple[int, Any]], after: int
) -> None:
    published = records(["r1", ("@active", "r1"), *(one for _, one in history)])
    times = [0, 0]
    for gap, _ in history:
        times.append(times[-1] + gap)
    now = times[-1] + after
    left = compacted(published, times, now)
    for number in range(2, len(published) + 1):
        replaced_at = times[number] if number < len(published) else now
        if replaced_at > now - LAG:
            live = lives(published[:number])[-1]
            again = history_of(left, live.catalog_version).live(seen(live))
            assert again.items.keys() == live.items.keys()


def two_versions() -> tuple[list[Published], Live]:
    published = records(["r1", ("@active", "r1"), ("a", body_of("true")), ("a", body_of("false"))])
    return published, lives(published[:3])[-1]


def test_a_catalog_that_was_compacted_too_early_is_refused() -> None:
    published, live = two_versions()
    with pytest.raises(NotKept, match=r"saw [0-9a-f]{32}: versions were compacted too early .*nextbest topics plan"):
        history_of(published[:2] + published[3:], live.catalog_version).live(seen(live))


def test_a_release_that_is_gone_or_another_is_refused() -> None:
    published, live = two_versions()
    with pytest.raises(NotKept, match="is not in policy"):
        history_of(published, 0).live(seen(live, release="r9", policy_digest="0"))
    with pytest.raises(NotKept, match="is there with another content"):
        history_of(published, 0).live(seen(live, policy_digest="0"))
    assert history_of([*published, (POLICY_RELEASES.name, "shop/r1", None, 9)], 0).live(seen(live)).release == "r1"


def test_a_release_that_this_engine_does_not_understand_is_refused() -> None:
    published = records(["bad", ("@active", "bad")])
    live = two_versions()[1]
    with pytest.raises(NotKept, match="replay with the one that made the audit"):
        history_of(published, -1).live(seen(live, release="bad", policy_digest=policy_digest("{}", {"seen": 0})))


def test_another_tenants_records_are_nothing() -> None:
    published, live = two_versions()
    history = history_of(published, 0)
    history.take_item("other/a", CatalogItem("other", "a", BODIES[1] or ""))
    assert history.live(seen(live)).catalog_digest == live.catalog_digest
