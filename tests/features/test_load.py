"""`nextbest features load`: a version's values reach the profiles, whatever ends in the midst; nothing is guessed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from feature_batch import command, loading, sending, versions
from feature_batch.errors import FeatureBatchError
from feature_batch.preparing import Arrival
from feature_batch.progress import LoadProgress
from pipeline.adapters import kafka
from pipeline.adapters.system_clock import SystemClock
from pipeline.codecs import avro
from pipeline.core.decide.live import Live
from pipeline.core.model.records import FeedbackEvent, FeedbackKind, IdentityEvent
from pipeline.core.subject import Person
from pipeline.runtime.memory import ManualClock, MemoryPipeline
from pipeline.topology import FLOWS
from tests.features.test_batch import grant
from tests.features.world import DAY_MS, HOUR_MS, START_MS, shop
from tests.support import shop as shops
from topics.catalog import BY_NAME, FEATURE_LOADS, IDENTITY_EVENTS

COUNTED: dict[str, Any] = {
    "orders": {"count": {"event": "conversion"}, "window": "7d", "fresh_for": "2d"},
    "spent": {"sum": "event.value", "of": {"event": "conversion"}, "fresh_for": "2d"},
    "last_item": {"last": "event.item", "of": {"event": "conversion"}, "fresh_for": "4d"},
    "views": {"count": {"event": "view"}},
}
LIVE = shop(COUNTED)
PEOPLE = [f"shop/p{number}" for number in range(5)]
AS_OF_MS = START_MS + 8 * DAY_MS
NOW_MS = AS_OF_MS + HOUR_MS


def version(folder: Path, live: Live = LIVE, made_ms: int = AS_OF_MS + 1, who: list[str] = PEOPLE) -> Path:
    """Person n ordered n times, each for ten and a half."""
    arrivals = []
    for number, name in enumerate(who):
        arrivals.append(grant(True, START_MS, name))
        arrivals += [Arrival(name, START_MS + 7 * DAY_MS + n, FeedbackEvent(
            f"{name}-{n}", name, FeedbackKind.CONVERSION, START_MS + 7 * DAY_MS + n, "conversion", "tent", "d",
            value=10.5)) for n in range(number)]
    return versions.write(arrivals, live, "shop", AS_OF_MS, made_ms, folder)[0]


class Said:
    """What the broker says of one record."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def topic(self) -> str:
        return FEATURE_LOADS.name

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset


class ProducerDouble:
    """Takes so many records; reports with the flush."""

    def __init__(self, takes: int = 1_000, full: int = 0) -> None:
        self.takes, self.full = takes, full
        self.taken: list[IdentityEvent] = []
        self._reports: list[Callable[[], None]] = []
        self.unanswered = 0

    def produce(self, topic: str, key: bytes, value: bytes, on_delivery: Callable[[Any, Any], None]) -> None:
        if self.full:
            self.full -= 1
            raise BufferError
        event: IdentityEvent = avro.decode(FEATURE_LOADS, value)
        assert (topic, key) == (FEATURE_LOADS.name, event.subject.encode())
        if len(self.taken) >= self.takes:
            self._reports.append(lambda: on_delivery("the disk is full", None))
            return
        self.taken.append(event)
        offset = len(self.taken) - 1
        self._reports.append(lambda: on_delivery(None, Said(offset)))

    def poll(self, _timeout_s: float) -> None:
        """Reports come with the flush."""

    def flush(self, _timeout_s: float) -> int:
        for report in self._reports:
            report()
        self._reports = []
        return self.unanswered


def subjects(producer: ProducerDouble) -> list[str]:
    return [event.subject for event in producer.taken]


def send(load: loading.Load, producer: ProducerDouble, topic_id: str = "t1", watch: Any = lambda sent: None) -> Any:
    return sending.send(load, sending.checkpoint_of(load, topic_id), producer, watch)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "PORTION", 2)


def test_every_profile_has_one_event_with_the_values_of_all_features(tmp_path: Path) -> None:
    load = loading.opened(version(tmp_path), LIVE, NOW_MS)
    assert (load.profiles, load.left_out) == (5, {})
    found = {event.subject: event for event in load.events()}
    assert list(found) == PEOPLE
    assert found["shop/p2"].traits == {"features.orders": 2, "features.spent": 21.0, "features.last_item": "tent"}
    assert found["shop/p0"].traits == {"features.orders": 0, "features.spent": 0.0, "features.last_item": None}
    assert {event.at_ms for event in found.values()} == {AS_OF_MS}
    assert len({event.event_id for event in found.values()}) == 5


def test_a_repeat_has_the_same_ids_and_a_version_made_anew_has_others(tmp_path: Path) -> None:
    place = version(tmp_path)
    once, twice = ([event.event_id for event in loading.opened(place, LIVE, NOW_MS).events()] for _ in range(2))
    anew = [event.event_id for event in loading.opened(version(tmp_path, made_ms=AS_OF_MS + 2), LIVE, NOW_MS).events()]
    fewer = shop({name: one for name, one in COUNTED.items() if name != "spent"})
    other = [event.event_id for event in loading.opened(place, fewer, NOW_MS).events()]
    assert once == twice and not set(once) & set(anew) and not set(anew) & set(other)


def test_what_was_taken_is_not_sent_again(tmp_path: Path) -> None:
    load = loading.opened(version(tmp_path), LIVE, NOW_MS)
    first, seen = ProducerDouble(takes=3), list[int]()
    with pytest.raises(FeatureBatchError, match="the disk is full"):
        send(load, first, watch=seen.append)
    second = ProducerDouble(full=3)
    done, ends = send(load, second, watch=seen.append)
    # The second portion was taken in half: it is sent again as a whole.
    assert subjects(first) == PEOPLE[:3] and subjects(second) == PEOPLE[2:]
    assert (done.sent, done.is_done, seen) == (5, True, [2, 4, 5])
    assert ends == {(FEATURE_LOADS.name, 0): 3}
    third = ProducerDouble()
    assert send(load, third)[0] == done and third.taken == []


def test_an_answer_that_does_not_come_is_no_answer(tmp_path: Path) -> None:
    load, producer = loading.opened(version(tmp_path), LIVE, NOW_MS), ProducerDouble()
    producer.unanswered = 1
    with pytest.raises(FeatureBatchError, match="no answer"):
        send(load, producer)
    assert not sending.checkpoint_file(load.place).exists()


def test_another_load_or_another_topic_begins_anew(tmp_path: Path) -> None:
    place = version(tmp_path)
    load = loading.opened(place, LIVE, NOW_MS)
    send(load, ProducerDouble())
    elsewhere, anew = ProducerDouble(), ProducerDouble()
    send(load, elsewhere, topic_id="t2")
    send(loading.opened(version(tmp_path, made_ms=AS_OF_MS + 2), LIVE, NOW_MS), anew, topic_id="t2")
    assert subjects(elsewhere) == subjects(anew) == PEOPLE


def test_a_checkpoint_that_cannot_be_read_is_no_beginning(tmp_path: Path) -> None:
    load = loading.opened(version(tmp_path), LIVE, NOW_MS)
    for text in ("{", "[]", '{"load": "x"}'):
        sending.checkpoint_file(load.place).write_text(text)
        with pytest.raises(FeatureBatchError, match="Delete it"):
            sending.checkpoint_of(load, "t1")


def test_what_the_policy_does_not_load_so_is_left_out_with_the_reason(tmp_path: Path) -> None:
    place = version(tmp_path)
    changed = shop(COUNTED | {"orders": {"count": {"event": "conversion"}, "window": "6d", "fresh_for": "2d"},
                              "new": {"count": {"event": "view"}, "fresh_for": "2d"}})
    load = loading.opened(place, changed, NOW_MS)
    assert [one.id for one in load.features] == ["last_item", "spent"]
    assert "another definition" in load.left_out["orders"] and "not in the version" in load.left_out["new"]
    late = loading.opened(place, LIVE, AS_OF_MS + 2 * DAY_MS)
    assert [one.id for one in late.features] == ["last_item"] and "stale" in late.left_out["orders"]
    for live, now_ms, said in ((LIVE, AS_OF_MS + 4 * DAY_MS, "stale"), (LIVE, AS_OF_MS - 1, "to come"),
                               (shop({"views": COUNTED["views"]}), NOW_MS, "no feature with `fresh_for`")):
        with pytest.raises(FeatureBatchError, match=said):
            loading.opened(place, live, now_ms)


def test_what_the_log_did_not_cover_is_loaded_only_if_asked_for(tmp_path: Path) -> None:
    longer = shop(COUNTED | {"orders": {"count": {"event": "conversion"}, "window": "30d", "fresh_for": "2d"}})
    place = version(tmp_path, longer)
    assert "before the log began" in loading.opened(place, longer, NOW_MS).left_out["orders"]
    assert "orders" in [one.id for one in loading.opened(place, longer, NOW_MS, with_incomplete=True).features]


def _column(place: Path, **columns: Any) -> None:
    pq.write_table(pa.table(columns), place / "spent.parquet")


@pytest.mark.parametrize(("profiles", "values", "said"), [
    (["shop/p1", "shop/p1"], [1.0, 2.0], "more than once"),
    (["shop/p1", "other/p1"], [1.0, 2.0], "no profile of the tenant"),
    (["shop/p1", None], [1.0, 2.0], "no profile of the tenant"),
    (["shop/p1", "shop/p2"], [1.0, float("nan")], "not finite"),
    (["shop/p1"], [1], "should have"),
    (["shop/p1"], ["1"], "should have"),
])
def test_a_file_that_is_not_what_it_should_be_is_refused(
    tmp_path: Path, profiles: list[str | None], values: list[Any], said: str
) -> None:
    place = version(tmp_path)
    _column(place, profile=pa.array(profiles, pa.string()), key=[""] * len(values), value=values)
    with pytest.raises(FeatureBatchError, match=said):
        loading.opened(place, LIVE, NOW_MS)


def test_a_file_that_is_away_or_junk_is_refused(tmp_path: Path) -> None:
    place = version(tmp_path)
    (place / "spent.parquet").write_bytes(b"junk")
    with pytest.raises(FeatureBatchError, match="cannot be read"):
        loading.opened(place, LIVE, NOW_MS)
    (place / "spent.parquet").unlink()
    with pytest.raises(FeatureBatchError, match="cannot be read"):
        loading.opened(place, LIVE, NOW_MS)


def test_a_text_that_may_not_be_kept_is_told_before_anything_of_its_portion_counts(tmp_path: Path) -> None:
    place = version(tmp_path)
    pq.write_table(pa.table({"profile": PEOPLE[:1], "key": [""], "value": ["x" * 2_000]}), place / "last_item.parquet")
    load = loading.opened(place, LIVE, NOW_MS)
    with pytest.raises(FeatureBatchError, match="send at most"):
        send(load, ProducerDouble())
    assert not sending.checkpoint_file(place).exists()


def test_a_profile_that_one_file_lacks_is_unknown_there(tmp_path: Path) -> None:
    place = version(tmp_path)
    _column(place, profile=["shop/p1", "shop/p9"], key=["", ""], value=[1.0, 2.0])
    found = {event.subject: event.traits for event in loading.opened(place, LIVE, NOW_MS).events()}
    assert found["shop/p9"] == {"features.orders": None, "features.spent": 2.0, "features.last_item": None}
    assert found["shop/p2"]["features.spent"] is None and len(found) == 6


def test_loaded_is_what_was_computed(tmp_path: Path) -> None:
    pipeline = MemoryPipeline(FLOWS)
    pipeline.clock.at_ms = NOW_MS
    text = shops.POLICY + "features:\n  orders: {count: {event: conversion}, window: 7d, fresh_for: 2d}\n"
    for record in shops.publication(tmp_path / "policy", text):
        pipeline.send(BY_NAME[record.topic], record.key, record.value)
    for who in PEOPLE:
        pipeline.send(IDENTITY_EVENTS, who, shops.consent(who, START_MS))
    pipeline.run()
    producer = ProducerDouble()
    send(loading.opened(version(tmp_path), LIVE, NOW_MS), producer)
    for event in producer.taken:
        pipeline.send(FEATURE_LOADS, event.subject, event)
    pipeline.run()
    for number, who in enumerate(PEOPLE):
        person = pipeline.state(who)
        assert isinstance(person, Person)
        assert (person.traits["features.orders"].value, person.traits["features.orders"].at_ms) == (number, AS_OF_MS)


def test_a_load_is_shown_line_by_line_where_there_is_no_terminal() -> None:
    clock, console = ManualClock(), Console(record=True, width=200, force_terminal=False)
    with LoadProgress(console, clock, 100, 0) as progress:
        progress.sent(10)
        clock.at_ms += 10_000
        progress.sent(50)
        progress.sent(60)
    assert console.export_text() == "loading: 50 of 100 profiles\n"


def test_the_command_tells_what_it_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, producer = version(tmp_path), ProducerDouble()
    ends_seen: list[Any] = []
    monkeypatch.setattr(command, "_definitions", lambda settings, tenant, policy: LIVE)
    monkeypatch.setattr(SystemClock, "now_ms", lambda self: NOW_MS)
    monkeypatch.setattr(kafka, "topic_ids", lambda settings, names: dict.fromkeys(names, "t1"))
    monkeypatch.setattr(kafka, "producer", lambda settings, name: producer)

    def applied(settings: Any, ends: dict[tuple[str, int], int]) -> bool:
        ends_seen.append(dict(ends))
        return len(ends_seen) == 1

    monkeypatch.setattr(command, "applied", applied)
    runner = CliRunner()
    told = json.loads(runner.invoke(command.app, ["load", str(place), "--json"]).stdout)
    assert (told["profiles"], told["sent"], told["sent_before"], told["applied"]) == (5, 5, 0, True)
    assert told["features"] == ["last_item", "orders", "spent"] and subjects(producer) == PEOPLE
    assert ends_seen == [{(FEATURE_LOADS.name, 0): 5}]
    result = runner.invoke(command.app, ["load", str(place)])
    assert "5 profiles, 5 of them before" in result.stdout and subjects(producer) == PEOPLE
    assert "what is left of their time" in result.stdout
    runner.invoke(command.app, ["load", str(place), "--again"])
    assert subjects(producer) == PEOPLE * 2
    monkeypatch.setattr(kafka, "topic_ids", lambda settings, names: {})
    result = runner.invoke(command.app, ["load", str(place)])
    assert result.exit_code == 1 and "nextbest topics apply" in result.stderr


def test_a_checkpoint_is_written_whole(tmp_path: Path) -> None:
    load = loading.opened(version(tmp_path), LIVE, NOW_MS)
    done, _ = send(load, ProducerDouble())
    assert json.loads(sending.checkpoint_file(load.place).read_text()) == dataclasses.asdict(done)
    assert sorted(one.name for one in tmp_path.iterdir()) == [load.place.name, f"{load.place.name}.load.json"]
