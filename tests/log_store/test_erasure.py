"""After an erasure nothing about the subject opens, whatever died meanwhile, and nothing about them comes back."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from log_store import batches, read, subject_keys, upkeep
from log_store.chain import Chain
from log_store.erasures import Erasures
from log_store.subject_keys import tag_of
from pipeline.codecs import avro
from pipeline.codecs.encryption import KeyEncryption
from pipeline.codecs.keyring import Keyring
from pipeline.core.model.records import ErasureAction, SegmentChange
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
from topics.catalog import DAY_MS, SEGMENT_CHANGES

ANN, BEN = "shop/ann", "shop/ben"


def subjects(objects: Memory) -> set[Any]:
    return set(read.table(read.Store(objects, KEYS), TOPIC, ["subject"]).read_all().column("subject").to_pylist())


def tags_held(objects: Memory) -> set[str]:
    """The tags of every key whose bytes lie anywhere, named by a manifest or not."""
    found = set()
    for name in objects.names(f"{TOPIC}/_keys"):
        data = objects.get(name)
        if data:
            found |= {key.tag for key in subject_keys.read(objects, name.rpartition(".")[0], [name])}
    return found


def log(count: int, start: int = 0) -> list[Record]:
    return [event(number, ANN if number % 2 else BEN) for number in range(start, start + count)]


def test_an_erasure_destroys_the_keys_of_files_that_were_written_before() -> None:
    objects = Memory()
    feed(sink_in(objects), TOPIC, log(6), 2)
    assert subjects(objects) == {ANN, BEN}
    feed(sink_in(objects), RECEIPTS, [receipt(0, ANN)], 1)
    assert subjects(objects) == {BEN, None}
    assert tags_held(objects) == {tag_of(BEN.encode())}


def test_a_late_record_of_an_erased_subject_is_kept_without_what_is_personal() -> None:
    objects = Memory()
    feed(sink_in(objects), RECEIPTS, [receipt(0, ANN)], 1)
    feed(sink_in(objects), TOPIC, log(6), 6)
    found = read.table(read.Store(objects, KEYS), TOPIC, ["event_id", "subject"]).read_all().to_pylist()
    assert [row["subject"] for row in found] == [BEN, None] * 3 and all(row["event_id"] for row in found)
    assert tags_held(objects) == {tag_of(BEN.encode())}


def test_an_export_erases_nobody() -> None:
    objects = Memory()
    feed(sink_in(objects), TOPIC, log(2), 2)
    feed(sink_in(objects), RECEIPTS, [receipt(0, ANN, ErasureAction.EXPORT)], 1)
    assert subjects(objects) == {ANN, BEN}


def test_an_erasure_that_comes_while_a_batch_is_sealed_reaches_that_batch() -> None:
    objects = Memory()
    erasures, asked = Erasures(objects), []

    def erased() -> frozenset[str]:
        # The receipt is committed, and its keys are destroyed everywhere, between the two questions.
        asked.append(erasures.tags())
        if len(asked) == 1:
            feed(sink_in(objects), RECEIPTS, [receipt(0, ANN)], 1)
        return asked[-1]

    assert batches.store(place_in(objects), Chain(objects, TOPIC).refresh(), log(4), erased)
    assert asked[0] == frozenset()
    assert tags_held(objects) == {tag_of(BEN.encode())}
    assert subjects(objects) == {BEN, None}


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(["events", "receipts", "compact"]), st.integers(0, 12)), max_size=7))
def test_an_erasure_is_complete_whatever_was_killed_in_the_midst_of_it(lives: list[tuple[str, int]]) -> None:
    objects = Memory()
    feed(sink_in(objects), TOPIC, log(8), 2)
    for number, (what, effects) in enumerate(lives):
        objects.arm(effects)
        try:
            if what == "compact":
                upkeep.keep_up(place_in(objects), TOPIC, NOON_MS + (3 + number) * DAY_MS, {"*": 400})
            elif what == "receipts":
                feed(sink_in(objects), RECEIPTS, [receipt(0, ANN)], 1)
            else:
                feed(sink_in(objects), TOPIC, log(8 + 4 * number), 3)
        except Killed:
            pass
        objects.arm(None)
    feed(sink_in(objects), RECEIPTS, [receipt(0, ANN)], 1)
    sink_in(objects).assigned(TOPIC, 0)
    assert tags_held(objects) <= {tag_of(BEN.encode())}
    assert subjects(objects) == {BEN, None}


@given(st.lists(st.integers(0, 1), min_size=1, max_size=8))
def test_two_who_take_keys_out_of_one_file_bring_none_back(order: list[int]) -> None:
    objects = Memory()
    feed(sink_in(objects), TOPIC, log(4), 4)
    (name,) = subject_keys.files(objects.names(f"{TOPIC}/_keys"))
    stale = dict(objects.held)
    tags = [tag_of(ANN.encode()), tag_of(BEN.encode())]
    for which in order:
        subject_keys.destroy(objects, name, [tags[which]])
    # Whoever was frozen since the beginning goes on with what they had read.
    frozen = Memory()
    frozen.held = stale
    subject_keys.destroy(frozen, name, [tags[1]])
    for written, data in frozen.held.items():
        if written not in stale:
            objects.put_if_absent(written, data)
    assert not tags_held(objects) & {tags[which] for which in order}


def test_what_the_worker_encrypted_opens_with_its_keys_and_with_none_once_they_are_destroyed() -> None:
    objects = Memory()
    cipher = KEYS.new_key(b"shop/ann", KEYS.nonces(1))
    value = SegmentChange(segment="s", entered=True, at_ms=1, release="r", profile_id=ANN, cause="c")
    topic = SEGMENT_CHANGES.name
    sink = sink_in(objects)
    sink.assigned(topic, 0)
    sink.take(Record(topic, 0, 0, NOON_MS, cipher.pseudonym, avro.encode(SEGMENT_CHANGES, value, cipher)), 0, 0.0)
    sink.flush(topic, 0)
    ring = Keyring(KEYS)
    ring.wrapped[b"shop/ann"] = cipher.wrapped or b""
    ring._not_indexed.add(b"shop/ann")

    def row(store: read.Store) -> list[Any]:
        found = read.table(store, "segments", ["segment", "profile_id", "_opened", "tenant"]).read_all().to_pylist()
        return [tuple(one.values()) for one in found]

    assert row(read.Store(objects, KEYS, ring)) == [("s", ANN, True, "shop")]
    assert row(read.Store(objects, KEYS, Keyring(KEYS))) == [("s", None, False, "shop")]
    assert row(read.Store(objects)) == [("s", None, False, "shop")]


def test_another_installations_key_opens_nothing() -> None:
    objects = Memory()
    feed(sink_in(objects), TOPIC, log(2), 2)
    other = read.Store(objects, KeyEncryption("another", os.urandom))
    assert read.table(other, TOPIC, ["subject"]).read_all().column("subject").to_pylist() == [None, None]
