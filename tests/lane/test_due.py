"""What is due is found by an index that moves with the value, survives a restart, and is asked for once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.adapters.rocksdb_store import RocksStore
from pipeline.codecs import avro
from pipeline.codecs import envelope as envelopes
from pipeline.codecs.envelope import EPOCH_KEY, Envelope
from pipeline.runtime.due import ASK_AGAIN_S, DueProfiles
from pipeline.runtime.memory import ManualClock, MemoryStore
from pipeline.runtime.takeover import TableStore
from topics.catalog import PROFILE_INBOX


def value(due_ms: int | None) -> bytes:
    return envelopes.encode(Envelope(epoch=1, due_ms=due_ms))


@pytest.fixture(params=["rocksdb", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TableStore:
    return RocksStore(tmp_path / "0") if request.param == "rocksdb" else MemoryStore()


def test_due_keys_come_earliest_first_and_no_sooner(store: TableStore) -> None:
    store.apply({b"t/b": value(20), b"t/a": value(10), b"t/c": value(None), b"t/d": value(30)}, 0)
    assert store.due(9, 10) == []
    assert store.due(20, 10) == [(b"t/a", 10), (b"t/b", 20)]
    assert store.due(99, 1) == [(b"t/a", 10)]
    store.close()


def test_the_index_moves_with_the_value(store: TableStore) -> None:
    store.apply({b"t/a": value(10), b"t/b": value(10)}, 0)
    store.apply({b"t/a": value(50), b"t/b": None}, 1)
    assert store.due(49, 10) == []
    assert store.due(50, 10) == [(b"t/a", 50)]
    store.apply({b"t/a": value(None)}, 2)
    assert store.due(99, 10) == []
    assert list(store.items()) == [(b"t/a", value(None))]
    store.close()


def test_recovery_fills_the_index_too(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "0")
    marker = envelopes.encode(Envelope(epoch=1))
    store.load([(EPOCH_KEY, marker, 0), (b"t/a", value(10), 1), (b"t/a", value(20), 2), (b"t/b", value(5), 3)])
    store.close()
    reopened = RocksStore(tmp_path / "0")
    assert reopened.due(99, 10) == [(b"t/b", 5), (b"t/a", 20)]
    reopened.close()


def entries(store: RocksStore) -> list[int]:
    """The times in the index, on disk, of one key's."""
    return [
        int.from_bytes(key[5:13], "big") for key in store._db.keys()
        if isinstance(key, bytes) and key.startswith(b"\x00due\x00")
    ]


def test_an_index_entry_that_its_key_has_left_is_deleted_when_it_comes_up_and_not_before(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "0")
    for offset, due_ms in enumerate([10, 20, 30, 20]):
        store.apply({b"t/a": value(due_ms)}, offset)
        store.write()
    assert entries(store) == [10, 20, 30]
    assert store.due(20, 10) == [(b"t/a", 20)]
    assert entries(store) == [20, 30]
    store.apply({b"t/a": value(10)}, 4)
    assert store.due(30, 10) == [(b"t/a", 10)]
    store.apply({b"t/a": value(30)}, 5)
    assert store.due(30, 10) == [(b"t/a", 30)]
    store.close()


def test_what_is_due_is_asked_for_once_and_again_after_a_while() -> None:
    clock = ManualClock(at_ms=1_000)
    store = MemoryStore()
    store.apply({b"t/a": value(1_000)}, 0)
    due = DueProfiles(clock)
    [question] = due.questions({3: store})
    record = avro.decode(PROFILE_INBOX, question.value)
    assert (question.topic, question.partition, record.profile_id, record.due_ms) == ("profile.inbox", 3, "t/a", 1_000)
    clock.at_ms += 1_000
    assert due.questions({3: store}) == []
    clock.at_ms += int(ASK_AGAIN_S * 1_000) + 1
    assert len(due.questions({3: store})) == 1
    store.apply({b"t/a": value(clock.at_ms)}, 1)
    assert len(due.questions({3: store})) == 1
