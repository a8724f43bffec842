"""What merges and expires: how much at once, what it leaves alone, and that a running sink does it by itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from log_store import read, upkeep
from log_store.chain import Chain
from log_store.errors import LogStoreError
from log_store.own_upkeep import FIRST_S, OwnUpkeep
from log_store.subject_keys import tag_of
from pipeline import access
from pipeline.codecs import avro
from pipeline.core.model.records import DecisionRequest
from pipeline.flow import Record
from tests.log_store.shelf import (
    KEYS,
    NOON_MS,
    RECEIPTS,
    TOPIC,
    Killed,
    Memory,
    event,
    feed,
    place_in,
    receipt,
    sink_in,
)
from topics.catalog import DAY_MS, DECISION_REQUESTS, HOUR_MS, READINESS_PROBE

LATER_MS = NOON_MS + 5 * DAY_MS
KEPT = {"*": 400}


def filled(days: int = 1, batches: int = 4) -> Memory:
    """Two records a batch."""
    objects = Memory()
    feed(sink_in(objects), TOPIC, [event(n, day=n // (2 * batches)) for n in range(2 * batches * days)], 2)
    return objects


def files(objects: Memory) -> list[str]:
    return [file.path for file in Chain(objects, TOPIC).refresh().summed().files]


def offsets(objects: Memory) -> list[int]:
    found = read.table(read.Store(objects, KEYS), TOPIC, ["_offset"]).read_all()
    return found.column("_offset").to_pylist()  # type: ignore[no-any-return]


class Clock:
    """Monotonic seconds; each look takes some."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.look_s = 0.0

    def __call__(self) -> float:
        self.now_s += self.look_s
        return self.now_s


def test_a_run_merges_no_more_than_its_bound_and_says_that_something_is_left() -> None:
    objects = filled(days=3)
    found = []
    for _ in range(4):
        found.append(upkeep.keep_up(place_in(objects), TOPIC, LATER_MS, KEPT, bounds=upkeep.Bounds(1, 1_000)))
    assert [(done.merged, done.left) for done in found] == [(3, True), (3, True), (3, False), (0, False)]
    assert offsets(objects) == list(range(24))


def test_a_run_deletes_no_more_than_its_bound_and_the_next_ones_the_rest() -> None:
    objects = filled()
    upkeep.keep_up(place_in(objects), TOPIC, LATER_MS, KEPT)
    bounds, later_ms = upkeep.Bounds(1, 3), LATER_MS + 2 * HOUR_MS
    done = upkeep.keep_up(place_in(objects), TOPIC, later_ms, KEPT, bounds=bounds)
    assert (done.deleted, done.left) == (3, True)
    while done.left:
        done = upkeep.keep_up(place_in(objects), TOPIC, later_ms, KEPT, bounds=bounds)
    upkeep.keep_up(place_in(objects), TOPIC, later_ms + 2 * HOUR_MS, KEPT)
    assert sorted(name for name in objects.held if name.endswith(".parquet")) == files(objects)
    assert not objects.names(f"{TOPIC}/_log")
    assert offsets(objects) == list(range(8))


def test_a_day_that_goes_on_is_merged_once_many_small_files_are_there() -> None:
    objects = filled(batches=upkeep.OPEN_FILES_MIN - 1)
    assert upkeep.keep_up(place_in(objects), TOPIC, NOON_MS, KEPT).merged == 0
    feed(sink_in(objects), TOPIC, [event(n) for n in range(2 * upkeep.OPEN_FILES_MIN)], 2)
    assert upkeep.keep_up(place_in(objects), TOPIC, NOON_MS, KEPT).merged == upkeep.OPEN_FILES_MIN - 1
    assert offsets(objects) == list(range(2 * upkeep.OPEN_FILES_MIN))


@pytest.mark.parametrize("harm", [lambda data: data[:-9], lambda data: b"", None])
def test_a_file_that_cannot_be_read_stays_alone_and_the_others_are_merged(
    harm: Callable[[bytes], bytes] | None,
) -> None:
    objects = filled()
    path = files(objects)[1]
    data = objects.held.pop(path)
    if harm is not None:
        objects.held[path] = harm(data)
    done = upkeep.keep_up(place_in(objects), TOPIC, LATER_MS, KEPT)
    assert (done.merged, done.broken) == (2, (path,))
    assert path in files(objects) and len(files(objects)) == 2


def test_receipts_reach_every_key_before_a_table_covers_them() -> None:
    objects = filled()
    # The sink dies after the receipt's manifest, before any key is taken out.
    objects.arm(1)
    with pytest.raises(Killed):
        feed(sink_in(objects), RECEIPTS, [receipt(0, "shop/ann")], 1)
    objects.arm(None)
    running = sink_in(objects)
    running._reached = True  # it began before
    upkeep.keep_up(place_in(objects), RECEIPTS, LATER_MS, KEPT)
    running.assigned(RECEIPTS, 0)
    held = [objects.get(name) for name in objects.names(f"{TOPIC}/_keys")]
    assert held and not any(tag_of(b"shop/ann").encode() in data for data in held)


def test_a_sink_keeps_up_the_topics_whose_first_partition_it_has_and_rests_between() -> None:
    objects, clock = filled(days=3), Clock()
    own = OwnUpkeep(place_in(objects), KEPT, 3_600, clock)
    assert own.step([TOPIC, RECEIPTS], LATER_MS) is None
    clock.now_s = FIRST_S
    clock.look_s = 1.0
    done = own.step([TOPIC, RECEIPTS], LATER_MS)
    assert done is not None and done.merged
    clock.look_s = 0.0
    # It took a second, so four are for consuming.
    clock.now_s += 3.9
    assert own.step([TOPIC, RECEIPTS], LATER_MS) is None
    clock.now_s += 0.2
    assert own.step([TOPIC, RECEIPTS], LATER_MS) is not None
    assert own.step([], LATER_MS) is None
    clock.now_s += 4_000
    assert own.step([], LATER_MS) is None


def test_a_sink_whose_upkeep_is_turned_off_does_none() -> None:
    clock = Clock()
    own = OwnUpkeep(place_in(filled()), KEPT, 0, clock)
    for _ in range(3):
        clock.now_s += 10_000
        assert own.step([TOPIC], LATER_MS) is None


def test_upkeep_that_fails_stops_no_sink_and_is_tried_again() -> None:
    class Refusing(Memory):
        refuses = True

        def delete(self, name: str) -> None:
            if self.refuses:
                raise PermissionError(name)
            super().delete(name)

    objects, clock = Refusing(), Clock()
    feed(sink_in(objects), TOPIC, [event(n) for n in range(8)], 2)
    upkeep.keep_up(place_in(objects), TOPIC, LATER_MS, KEPT)
    own = OwnUpkeep(place_in(objects), KEPT, 60, clock)
    later_ms = LATER_MS + 2 * HOUR_MS
    own.step([TOPIC], later_ms)
    clock.now_s += 60
    assert own.step([TOPIC], later_ms) is None
    objects.refuses = False
    assert own.step([TOPIC], later_ms) is None
    clock.now_s += 60
    done = own.step([TOPIC], later_ms)
    assert done is not None and done.deleted


def test_the_sink_with_the_first_partition_of_a_topic_keeps_it_up() -> None:
    sink = sink_in(Memory())
    sink.assigned(TOPIC, 1)
    assert sink.first_kept() == []
    sink.assigned(TOPIC, 0)
    assert sink.first_kept() == [TOPIC]
    sink.revoked(TOPIC, 0)
    assert sink.first_kept() == []


@pytest.mark.parametrize("compacted", [False, True])
def test_a_topic_that_was_made_anew_is_refused_also_where_it_is_longer_than_the_old_one(compacted: bool) -> None:
    objects = Memory()
    old = sink_in(objects)
    old.assigned(TOPIC, 0, "one")
    for number in range(4):
        old.take(event(number), 0, 0.0)
    old.flush(TOPIC, 0)
    if compacted:
        upkeep.keep_up(place_in(objects), TOPIC, LATER_MS, KEPT)
        upkeep.keep_up(place_in(objects), TOPIC, LATER_MS + 2 * HOUR_MS, KEPT)
    assert sink_in(objects).assigned(TOPIC, 0, "one") == 4
    with pytest.raises(LogStoreError, match="made anew"):
        sink_in(objects).assigned(TOPIC, 0, "another")


def test_probes_of_the_bridge_are_no_rows_and_no_gap() -> None:
    objects = Memory()
    sink, topic = sink_in(objects), DECISION_REQUESTS.name
    sink.assigned(topic, 0)
    for offset, key in enumerate((f"{READINESS_PROBE}3", "shop/ann", f"{READINESS_PROBE}3")):
        value = DecisionRequest(request_id="r", subject=key, channel="web", placements=["p"], deadline_ms=0)
        sink.take(Record(topic, 0, offset, NOON_MS, key.encode(), avro.encode(DECISION_REQUESTS, value)), 0, 0.0)
    assert sink.flush(topic, 0) == 3
    rows = read.table(read.Store(objects, KEYS), topic, ["_offset"]).read_all().column("_offset").to_pylist()
    assert rows == [1]
    assert not [name for name in objects.held if "_unreadable" in name]


@pytest.mark.parametrize(
    ("setting", "found"),
    [("", {}), ("*=90", {"*": 90}), ("shop=400, *=90", {"shop": 400, "*": 90}), ("shop=1", {"shop": 1})],
)
def test_the_days_that_a_tenant_keeps_are_read_off_the_setting(setting: str, found: dict[str, int]) -> None:
    assert access.kept_days(setting) == found


@pytest.mark.parametrize(
    "setting",
    [
        "shop",
        "shop=",
        "shop=x",
        "shop=-1",
        "shop=0",
        "shop=1.5",
        "=4",
        "shop=1,shop=2",
        "shop=1,,*=2",
        "a/b=3",
        "shop=1,",
    ],
)
def test_a_retention_that_says_nothing_certain_is_refused(setting: str) -> None:
    with pytest.raises(access.RetentionError):
        access.kept_days(setting)
