"""What an erasure replaced leaves the files of the table too: that it is there is seen, and then that it is gone."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import pytest

from pipeline.adapters.privacy_search import Kind, Verifier
from pipeline.adapters.privacy_tables import look_into
from pipeline.adapters.rocksdb_store import RocksStore
from pipeline.codecs import encrypted_values, state
from pipeline.codecs.encryption import KeyEncryption
from pipeline.codecs.envelope import Envelope
from pipeline.core.identity import erasure
from pipeline.core.model.bounds import COMPACTED_MS
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import Person

from .test_lanes import World

KEY_ENCRYPTION = KeyEncryption("test", os.urandom)
NONCES = KEY_ENCRYPTION.nonces(1)
ANN = f"shop/{blake2b(b'ann', digest_size=16).hexdigest()}".encode()


def profile_of(key: bytes, text: str = "x" * 300) -> bytes:
    """Somebody's value as it lies in the table, with its key."""
    data = state.encode(Person(profile_id=key.decode(), traits={"name": Trait(text)}))
    return encrypted_values.encrypted(Envelope(1, state=data), KEY_ENCRYPTION.new_key(key, NONCES))


def erased(key: bytes) -> bytes:
    data = state.encode(erasure.erased(key.decode(), 5))
    return encrypted_values.encrypted(Envelope(1, state=data), KEY_ENCRYPTION.of_term(NONCES))


def somebody(number: int) -> bytes:
    return f"shop/{blake2b(str(number).encode(), digest_size=16).hexdigest()}".encode()


def left_of(path: Path, key: bytes = ANN) -> list[tuple[Kind, str]]:
    """What a verification finds in one copy, but that the subject was erased, with the kind of file."""
    verifier = Verifier(KEY_ENCRYPTION, "changelog", [key])
    look_into(path, [key.decode()], verifier)
    return [(place.kind, Path(place.topic).suffix) for place in verifier.done() if place.kind is not Kind.KEPT]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RocksStore]:
    found = RocksStore(tmp_path / "0")
    yield found
    found.close()


def crowded(store: RocksStore, count: int = 2_000) -> None:
    store.apply({somebody(number): profile_of(somebody(number)) for number in range(count)}, count)
    store.write()


def test_a_key_in_the_write_ahead_log_is_found_and_then_is_gone(store: RocksStore) -> None:
    crowded(store, 200)
    store.apply({ANN: profile_of(ANN)}, 1_000)
    store.write()
    assert left_of(store.path) == [(Kind.TRACE, "")], "the subject can be read: that is said once"
    store.apply({ANN: erased(ANN)}, 1_001)
    store.write()
    assert left_of(store.path) == [(Kind.EXPIRES, ".log")]
    assert store.compact(store.erased)
    store.compacted(store.erased)
    assert left_of(store.path) == []
    assert store.erased == {}


def test_a_key_in_tables_files_is_found_and_then_is_gone_everywhere(store: RocksStore) -> None:
    for round_ in range(3):
        crowded(store)
        store.apply({ANN: profile_of(ANN, f"round {round_} {'y' * 300}")}, 10_000 + round_)
        store.write()
        store._db.flush()
    store.apply({ANN: erased(ANN)}, 20_000)
    store.write()
    found = left_of(store.path)
    assert (Kind.EXPIRES, ".sst") in found and len(found) >= 3
    assert store.compact(store.erased)
    assert left_of(store.path) == []
    assert store.get(somebody(7)) is not None


@pytest.mark.parametrize("block", range(0, 40))
def test_no_border_of_the_log_hides_a_key(tmp_path: Path, block: int) -> None:
    store = RocksStore(tmp_path / "0")
    filler = 32_768 - 700 + block * 16
    nobody = KEY_ENCRYPTION.of_term(NONCES)
    store.apply({b"shop/filler": encrypted_values.encrypted(Envelope(1, state=b"z" * filler), nobody)}, 1)
    store.write()
    store.apply({ANN: profile_of(ANN)}, 2)
    store.write()
    store.apply({ANN: erased(ANN)}, 3)
    store.write()
    assert left_of(store.path) == [(Kind.EXPIRES, ".log")]
    store.close()


def test_what_was_not_compacted_before_a_stop_is_remembered(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "0")
    store.apply({ANN: profile_of(ANN)}, 1)
    store.write()
    store.apply({ANN: erased(ANN)}, 2)
    store.close()
    again = RocksStore(store.path)
    assert list(again.erased) == [ANN]
    assert again.compact(again.erased)
    again.compacted(again.erased)
    again.close()
    once_more = RocksStore(store.path)
    assert once_more.erased == {}
    assert left_of(store.path) == []
    once_more.close()


def test_who_is_erased_again_while_it_is_compacted_stays_to_be_done(store: RocksStore) -> None:
    for offset, value in enumerate((profile_of(ANN), erased(ANN))):
        store.apply({ANN: value}, offset)
        store.write()
    first = store.erased
    for offset, value in enumerate((profile_of(ANN), erased(ANN)), 2):
        store.apply({ANN: value}, offset)
        store.write()
    store.compacted(first)
    assert list(store.erased) == [ANN]


def test_nothing_is_compacted_for_whom_nothing_was_known(store: RocksStore) -> None:
    store.apply({ANN: erased(ANN)}, 1)
    store.write()
    store.apply({ANN: erased(ANN)}, 2)
    store.write()
    assert store.erased == {}


def test_a_store_that_closes_meanwhile_stops_compacting(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "0")
    for offset, value in enumerate((profile_of(ANN), erased(ANN))):
        store.apply({ANN: value}, offset)
        store.write()
    keys = {**store.erased, **{somebody(number): 0 for number in range(50_000)}}
    outcome: list[bool] = []
    thread = threading.Thread(target=lambda: outcome.append(store.compact(keys)))
    thread.start()
    store.close()
    thread.join(20)
    assert outcome == [False] or outcome == [True]
    again = RocksStore(tmp_path / "0")
    assert list(again.erased) == [ANN], "nobody said that it was done"
    again.close()


def test_the_time_given_is_that_of_a_worker_that_runs(store: RocksStore) -> None:
    store.apply({ANN: profile_of(ANN)}, 1)
    store.write()
    store.apply({ANN: erased(ANN)}, 2)
    store.write()
    verifier = Verifier(KEY_ENCRYPTION, "changelog", [ANN])
    look_into(store.path, [ANN.decode()], verifier)
    (place,) = [place for place in verifier.done() if place.kind is Kind.EXPIRES]
    written_ms = Path(place.topic).stat().st_mtime_ns // 1_000_000
    assert place.until_ms == written_ms + COMPACTED_MS


def test_a_worker_compacts_every_copy_it_has_and_goes_on_where_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    copies = [world.lanes.store(number) for number in range(3)]
    for copy in copies:
        copy.apply({ANN: profile_of(ANN)}, 1)
        copy.due(0, 1)
        copy.apply({ANN: erased(ANN)}, 2)
        copy.due(0, 1)

    def full(_keys: object) -> bool:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(copies[1], "compact", full)
        asyncio.run(world.lanes.copies.compact_erased())
    assert [list(copy.erased) for copy in copies] == [[], [ANN], []]
    assert "tried again" in caplog.text
    asyncio.run(world.lanes.copies.compact_erased())
    assert [left_of(copy.path) for copy in copies] == [[], [], []]
    world.lanes.close()
