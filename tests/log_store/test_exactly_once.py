"""Whatever dies, and whoever else writes: every offset is in the store exactly once."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from log_store import read, upkeep
from log_store.chain import Chain
from log_store.objects import FolderObjects, FsspecObjects, Objects
from tests.log_store.shelf import (
    KEYS,
    NOON_MS,
    TOPIC,
    Killed,
    Memory,
    event,
    feed,
    place_in,
    sink_in,
)
from topics.catalog import DAY_MS, HOUR_MS

LATER_MS = NOON_MS + 5 * DAY_MS
KEPT = {"*": 400}


def log(length: int) -> list:  # type: ignore[type-arg]
    return [event(n, f"{'shop' if n % 3 else 'club'}/s{n % 4}", day=n // 8) for n in range(length)]


def offsets(objects: Objects) -> list[int]:
    found = read.table(read.Store(objects, KEYS), TOPIC, ["_offset", "_opened"]).read_all()
    assert all(found.column("_opened").to_pylist())
    return found.column("_offset").to_pylist()  # type: ignore[no-any-return]


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 14), st.integers(1, 9), st.booleans()), max_size=8))
def test_a_kill_between_any_two_effects_gives_neither_gap_nor_double(lives: list[tuple[int, int, bool]]) -> None:
    objects, records = Memory(), log(30)
    for number, (effects, size, compacts) in enumerate(lives):
        objects.arm(effects)
        try:
            if compacts:
                upkeep.keep_up(place_in(objects), TOPIC, LATER_MS + number * 2 * HOUR_MS, KEPT)
            else:
                feed(sink_in(objects), TOPIC, records, size)
        except Killed:
            pass
        objects.arm(None)
        seen = offsets(objects)
        assert seen == list(range(len(seen)))
    feed(sink_in(objects), TOPIC, records, 7)
    assert offsets(objects) == list(range(30))


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 6)), max_size=20))
def test_sinks_that_race_for_one_partition_write_no_record_twice(steps: list[tuple[int, int]]) -> None:
    objects, records = Memory(), log(40)
    sinks = [sink_in(objects) for _ in range(3)]
    reached = [sink.assigned(TOPIC, 0) for sink in sinks]
    most = 0
    for which, count in steps:
        for record in records[reached[which] : reached[which] + count]:
            sinks[which].take(record, 0, 0.0)
        reached[which] = max(min(40, reached[which] + count), sinks[which].flush(TOPIC, 0))
        seen = offsets(objects)
        assert seen == list(range(len(seen))) and len(seen) >= most
        most = len(seen)
    feed(sink_in(objects), TOPIC, records, 40)
    assert offsets(objects) == list(range(40))


def test_a_sink_that_was_frozen_while_its_manifests_were_summed_up_and_deleted_writes_nothing_twice() -> None:
    objects, records = Memory(), log(30)
    frozen = sink_in(objects)
    frozen.assigned(TOPIC, 0)
    for record in records[:10]:
        frozen.take(record, 0, 0.0)
    feed(sink_in(objects), TOPIC, records[:25], 5)
    for hours in (0, 2, 4):
        upkeep.keep_up(place_in(objects), TOPIC, LATER_MS + hours * HOUR_MS, KEPT)
    frozen.flush(TOPIC, 0)
    for record in records[10:30]:
        frozen.take(record, 0, 0.0)
    frozen.flush(TOPIC, 0)
    assert offsets(objects) == list(range(25))
    feed(sink_in(objects), TOPIC, records, 30)
    assert offsets(objects) == list(range(30))


def test_a_compaction_leaves_fewer_files_and_deletes_the_others_after_the_grace() -> None:
    objects = Memory()
    feed(sink_in(objects), TOPIC, log(30), 2)
    before = len(Chain(objects, TOPIC).refresh().summed().files)
    done = upkeep.keep_up(place_in(objects), TOPIC, LATER_MS, KEPT)
    after = Chain(objects, TOPIC).refresh().summed().files
    assert len(after) < before and done.merged == before - len(after)
    assert offsets(objects) == list(range(30))
    upkeep.keep_up(place_in(objects), TOPIC, LATER_MS + 2 * HOUR_MS, KEPT)
    data = [name for name in objects.held if name.endswith(".parquet")]
    assert sorted(data) == sorted(file.path for file in after)
    assert offsets(objects) == list(range(30))


def test_what_a_killed_sink_left_behind_is_deleted_once_the_chain_is_past_it() -> None:
    objects = Memory()
    objects.arm(2)
    with pytest.raises(Killed):
        feed(sink_in(objects), TOPIC, log(6), 6)
    objects.arm(None)
    upkeep.keep_up(place_in(objects), TOPIC, LATER_MS, KEPT)
    left = set(objects.held)
    feed(sink_in(objects), TOPIC, log(6), 6)
    upkeep.keep_up(place_in(objects), TOPIC, LATER_MS, KEPT)
    assert left and not left & set(objects.held)
    assert offsets(objects) == list(range(6))


def test_each_tenant_keeps_its_days_as_long_as_the_setting_says() -> None:
    objects = Memory()
    feed(sink_in(objects), TOPIC, log(30), 5)
    upkeep.keep_up(place_in(objects), TOPIC, NOON_MS + 4 * DAY_MS, {"shop": 2, "*": 400})
    files = Chain(objects, TOPIC).refresh().summed().files
    days = {tenant: sorted({file.day for file in files if file.tenant == tenant}) for tenant in ("shop", "club")}
    assert days == {
        "shop": ["2023-11-16", "2023-11-17"],
        "club": ["2023-11-14", "2023-11-15", "2023-11-16", "2023-11-17"],
    }


def test_records_that_were_gone_before_they_were_read_are_said_and_kept_in_the_manifest() -> None:
    objects = Memory()
    sink = sink_in(objects)
    assert sink.assigned(TOPIC, 0) == 0
    sink.take(event(7), 5, 0.0)
    sink.flush(TOPIC, 0)
    (lost,) = Chain(objects, TOPIC).refresh().summed().lost
    assert (lost.first, lost.next, sink.lost) == (0, 5, 5)


def test_the_largest_partitions_are_written_once_too_much_waits_and_every_one_after_a_while() -> None:
    from log_store.sink import Sink

    sink = Sink(place_in(Memory()), 3_000, 60.0)
    for partition, count in ((0, 2), (1, 12)):
        sink.assigned(TOPIC, partition)
        for number in range(count):
            sink.take(event(number, partition=partition), 0, 10.0)
    assert sink.due(11.0) == [(TOPIC, 1)]
    assert sorted(sink.due(70.0)) == [(TOPIC, 0), (TOPIC, 1)]


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_of_two_writers_of_one_name_one_succeeds(kind: str, tmp_path: Path) -> None:
    objects: Objects = (
        FolderObjects(tmp_path) if kind == "folder" else FsspecObjects(fsspec.filesystem("memory"), f"/{tmp_path.name}")
    )
    assert objects.put_if_absent("a/b.json", b"1")
    assert not objects.put_if_absent("a/b.json", b"2")
    assert objects.get("a/b.json") == b"1"
    objects.put("a/b.json", b"3")
    assert objects.get("a/b.json") == b"3" and objects.names("a") == ["a/b.json"] and objects.names("none") == []
    objects.delete("a/b.json")
    objects.delete("a/b.json")
    assert objects.names("a") == []
    with pytest.raises(FileNotFoundError):
        objects.get("a/b.json")
