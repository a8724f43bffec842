"""`nextbest features compute`: what logs hold becomes a version of values, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from feature_batch import arriving, versions
from feature_batch.command import app
from feature_batch.errors import FeatureBatchError
from log_store import read
from pipeline.codecs import avro
from pipeline.core.model.records import ConsentGrant, FeedbackEvent, FeedbackKind, IdentityEvent, IdentityKind
from pipeline.flow import Record
from tests.features.world import DAY_MS, HOUR_MS, START_MS, shop
from tests.log_store.shelf import KEYS, Memory, feed, sink_in
from tests.support.shop import POLICY
from topics.catalog import FEEDBACK_EVENTS, IDENTITY_EVENTS, Topic

COUNTED: dict[str, Any] = {
    "views": {"count": {"event": "view"}, "window": "7d"},
    "views_ever": {"count": {"event": "view"}},
    "item_views": {"count": {"event": "view"}, "per": "item"},
    "last_seen": {"last": "event.at", "of": {"event": "view"}},
}
ANN, PHONE = "shop/ann", "shop/phone"
MAPPING = """
subject: {type: user_id, columns: visitor}
item: product
placement: {constant: hero}
timestamp: {column: at, unit: ms}
consent: {purpose: personalization, column: agreed}
"""


def record(topic: Topic, offset: int, at_ms: int, event: Any) -> Record:
    return Record(topic.name, 0, offset, at_ms, event.subject.encode(), avro.encode(topic, event))


@pytest.fixture
def store() -> read.Store:
    """Somebody agreed, and looked at two items under a device and under a name; once it was heard of late."""
    objects = Memory()
    said = [IdentityEvent(f"c-{who}", who, IdentityKind.CONSENT, START_MS,
                          consent=[ConsentGrant("personalization", True, START_MS)]) for who in (ANN, PHONE)]
    looked = [
        (START_MS + 1, FeedbackEvent("1", ANN, FeedbackKind.VIEW, START_MS + 1, "view", "tent", "d")),
        (START_MS + 2, FeedbackEvent("2", PHONE, FeedbackKind.VIEW, START_MS + 2, "view", "boots", "d")),
        (START_MS + 3, FeedbackEvent("1", ANN, FeedbackKind.VIEW, START_MS + 1, "view", "tent", "d")),
        (START_MS + DAY_MS, FeedbackEvent("3", ANN, FeedbackKind.VIEW, START_MS + 4, "view", "tent", "d")),
    ]
    feed(sink_in(objects), IDENTITY_EVENTS.name,
         [record(IDENTITY_EVENTS, n, START_MS, one) for n, one in enumerate(said)], len(said))
    feed(sink_in(objects), FEEDBACK_EVENTS.name,
         [record(FEEDBACK_EVENTS, n, at_ms, one) for n, (at_ms, one) in enumerate(looked)], len(looked))
    return read.Store(objects, KEYS)


def values(place: Path, name: str) -> dict[tuple[str, str], Any]:
    return {(row["profile"], row["key"]): row["value"] for row in pq.read_table(place / f"{name}.parquet").to_pylist()}


def test_a_version_is_of_profiles_as_of_a_moment(store: read.Store, tmp_path: Path) -> None:
    as_of_ms = START_MS + HOUR_MS
    arrivals = arriving.of_store(store, "shop", {PHONE: ANN}, as_of_ms)
    place, manifest = versions.write(arrivals, shop(COUNTED), "shop", as_of_ms, as_of_ms + 5, tmp_path)
    assert values(place, "views") == {(ANN, ""): 2}
    assert values(place, "item_views") == {(ANN, "boots"): 1, (ANN, "tent"): 1}
    assert values(place, "last_seen")[ANN, ""].timestamp() * 1_000 == START_MS + 2
    assert (manifest.events, manifest.repeated, manifest.profiles) == (3, 1, 1)
    assert versions.read_manifest(place) == manifest and place.name == manifest.version


def test_windows_that_the_log_does_not_cover_are_told(store: read.Store, tmp_path: Path) -> None:
    live = shop(COUNTED)
    for as_of_ms, missing in ((START_MS + HOUR_MS, ["views"]), (START_MS + 9 * DAY_MS, [])):
        arrivals = arriving.of_store(store, "shop", {}, as_of_ms)
        assert versions.write(arrivals, live, "shop", as_of_ms, 1, tmp_path)[1].incomplete == missing


def test_what_ends_in_the_midst_leaves_no_version(store: read.Store, tmp_path: Path) -> None:
    def broken() -> Any:
        yield from arriving.of_store(store, "shop", {}, START_MS + HOUR_MS)
        raise OSError("the bucket is away")

    with pytest.raises(OSError, match="away"):
        versions.write(broken(), shop(COUNTED), "shop", START_MS + HOUR_MS, 1, tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FeatureBatchError, match=r"no manifest\.json"):
        versions.read_manifest(tmp_path)


def test_a_file_of_other_hands_is_read_by_its_mapping(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "policy.yaml").write_text(
        POLICY + "features:\n  views: {count: {event: view}, window: 7d}\n", "utf-8")
    (tmp_path / "map.yaml").write_text(MAPPING, "utf-8")
    (tmp_path / "log.csv").write_text(
        "visitor,product,at,agreed\n" + "".join(
            f"{who},tent,{START_MS + n},{agreed}\n" for n, (who, agreed) in enumerate(
                [("bob", "yes"), ("ann", "yes"), ("bob", "yes"), ("eve", "no")])), "utf-8")
    result = CliRunner().invoke(app, [
        "compute", "--from", str(tmp_path / "log.csv"), "--mapping", str(tmp_path / "map.yaml"),
        "--policy", str(tmp_path / "policy"), "--as-of", "2026-09-21T20:00Z", "--out", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["events"], told["left_out"], told["profiles"]) == (4, 1, 3)
    assert sorted(values(Path(told["folder"]), "views").values()) == [0, 1, 2]


def test_a_mapping_without_a_time_is_refused(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text("subject: {columns: visitor}\nitem: product\nplacement: {constant: hero}\n")
    (tmp_path / "log.csv").write_text("visitor,product\nann,tent\n")
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "policy.yaml").write_text(POLICY + "features:\n  views: {count: {event: view}}\n", "utf-8")
    with pytest.raises(FeatureBatchError, match="timestamp"):
        CliRunner().invoke(app, [
            "compute", "--from", str(tmp_path / "log.csv"), "--mapping", str(tmp_path / "map.yaml"), "--policy",
            str(tmp_path / "policy"), "--out", str(tmp_path / "out")], catch_exceptions=False)
