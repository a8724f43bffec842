"""The local store: what is on disk is a prefix of the changelog, and what was applied is there at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.rocksdb_store import COLLECTED_BYTES_MAX, RocksStore
from pipeline.codecs import envelope as envelopes
from pipeline.codecs.envelope import EPOCH_KEY, Envelope
from pipeline.runtime.memory import MemoryStore


def value(number: int, due_ms: int | None = None, size: int = 8) -> bytes:
    return envelopes.encode(Envelope(epoch=1, due_ms=due_ms, state=number.to_bytes(size, "big")))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RocksStore]:
    found = RocksStore(tmp_path / "0")
    yield found
    found.close()


def killed(store: RocksStore) -> RocksStore:
    """What another process finds where this one was killed: the files as they are now."""
    copy = store.path.with_name(f"{store.path.name}x")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(store.path, copy)
    return RocksStore(copy)


def test_a_kill_loses_what_was_collected_and_the_offset_says_so(store: RocksStore) -> None:
    store.apply({b"t/a": value(1), b"t/b": value(1)}, 1)
    store.due(0, 10)
    store.apply({b"t/a": value(2), b"t/b": None, b"t/c": value(2)}, 4)
    assert (store.get(b"t/a"), store.get(b"t/b"), store.get(b"t/c")) == (value(2), None, value(2))
    left = killed(store)
    assert (left.offset, dict(left.items())) == (1, {b"t/a": value(1), b"t/b": value(1)})
    left.close()
    store.due(0, 10)
    left = killed(store)
    assert (left.offset, dict(left.items())) == (4, {b"t/a": value(2), b"t/c": value(2)})
    left.close()


def test_no_more_is_collected_than_the_limit(store: RocksStore) -> None:
    many = COLLECTED_BYTES_MAX // 100_000 + 1
    for offset in range(many):
        store.apply({b"t/%d" % offset: value(offset, size=100_000)}, offset)
    left = killed(store)
    assert left.offset == many - 1
    left.close()


def test_a_mark_that_is_taken_back_before_it_is_written_does_not_come_back(store: RocksStore) -> None:
    late = envelopes.encode(Envelope(epoch=1))
    store.load([(EPOCH_KEY, envelopes.encode(Envelope(epoch=2)), 0), (b"t/a", late, 1)])
    assert store.stale == {b"t/a"}
    store.apply({b"t/a": envelopes.encode(Envelope(epoch=2))}, 2)
    assert store.stale == set()
    store.write()
    left = killed(store)
    assert (left.stale, left.offset) == (set(), 2)
    left.close()


writes = st.dictionaries(
    st.sampled_from([b"t/a", b"t/b", b"t/c"]),
    st.none() | st.builds(value, st.integers(0, 99), st.none() | st.integers(0, 20)),
    max_size=3,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(writes | st.just("write") | st.just("kill") | st.integers(0, 20), max_size=25))
def test_it_holds_what_a_dictionary_holds(tmp_path_factory: pytest.TempPathFactory, acts: list[object]) -> None:
    store, model = RocksStore(tmp_path_factory.mktemp("store") / "0"), MemoryStore()
    log: list[dict[bytes, bytes | None]] = []
    for act in acts:
        if isinstance(act, dict):
            log.append(act)
            store.apply(act, len(log) - 1)
            model.apply(act, len(log) - 1)
        elif act == "write":
            store.write()
        elif act == "kill":
            left = killed(store)
            store.close()
            store = left
            # As a take-over does: what it lacks is read from the changelog.
            for offset in range(store.offset + 1, len(log)):
                store.apply(log[offset], offset)
        else:
            assert isinstance(act, int)
            assert sorted(store.due(act, 10)) == sorted(model.due(act, 10))
        assert all(store.get(key) == model.get(key) for key in (b"t/a", b"t/b", b"t/c"))
    assert (dict(store.items()), store.offset) == (dict(model.items()), len(log) - 1)
    store.close()


def test_what_is_older_than_the_copy_replaces_nothing(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "0")
    store.load([(b"t/a", envelopes.encode(Envelope(epoch=1, due_ms=9)), 5)])
    store.load([(b"t/a", envelopes.encode(Envelope(epoch=1, due_ms=1)), 4)])
    assert store.get(b"t/a") == envelopes.encode(Envelope(epoch=1, due_ms=9))
    store.close()
