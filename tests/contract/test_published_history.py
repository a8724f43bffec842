"""The catalog is read as far as each audit asks, each record once, over the gaps that compaction leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters import history
from pipeline.adapters.history import PublishedHistory
from pipeline.codecs import avro
from pipeline.core.model.records import CatalogItem
from pipeline.core.release.history import NotKept
from pipeline.settings import Settings
from topics.catalog import CATALOG_ITEMS


class Message:
    """What librdkafka gives; a tombstone's length is 0, as with the real one."""

    def __init__(self, offset: int, key: bytes | None, value: bytes | None) -> None:
        self._fields: dict[str, Any] = {
            "offset": offset, "key": key, "value": value, "topic": CATALOG_ITEMS.name, "partition": 0,
            "timestamp": (1, 1), "headers": None}

    def __getattr__(self, name: str) -> Callable[[], Any]:
        return lambda: self._fields[name]

    def __len__(self) -> int:
        return len(self._fields["value"] or b"")


class Log:
    """The topic's records by offset, its end, and how many were read."""

    def __init__(self, records: Mapping[int, Message], end: int) -> None:
        self.records, self.end, self.read = dict(records), end, 0

    def get_watermark_offsets(self, place: object, timeout: float) -> tuple[int, int]:
        return 0, self.end

    def from_(self, starts: Mapping[Any, int]) -> Iterator[Message]:
        (start,), end = starts.values(), self.end
        for offset in sorted(self.records):
            if start <= offset < end:
                self.read += 1
                yield self.records[offset]


class Taken:
    """Stands in for the history: what it has taken is what is live."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def has_release(self, seen: object) -> bool:
        return True

    def lacks_snapshots(self, seen: object) -> list[tuple[str, int]]:
        return []

    def take_item(self, key: str, value: CatalogItem | None) -> None:
        self.keys.append(key if value is None or value.body == "{}" else "?")

    def start_over(self) -> None:
        self.keys.clear()

    def live(self, seen: object) -> list[str]:
        return list(self.keys)


def message(offset: int) -> Message:
    value = None if offset % 3 == 0 else avro.encode(CATALOG_ITEMS, CatalogItem("shop", str(offset), "{}"))
    return Message(offset, b"shop/%d" % offset, value)


def opened(log: Log, patch: pytest.MonkeyPatch) -> PublishedHistory:
    patch.setattr(history, "reader", lambda settings, name: log)
    patch.setattr(history, "read", lambda consumer, starts: log.from_(starts))
    found = PublishedHistory(Settings())
    found._history = Taken()  # type: ignore[assignment]
    return found


def asked(found: PublishedHistory, version: int) -> Any:
    return found.live(SimpleNamespace(catalog_version=version, decision_id="d"))  # type: ignore[arg-type]


@given(st.sets(st.integers(0, 20)), st.lists(st.integers(-1, 20), min_size=1), st.lists(st.integers(0, 20)))
def test_each_audit_has_what_was_there_up_to_its_version(
    offsets: set[int], versions: list[int], later: list[int]
) -> None:
    log = Log({offset: message(offset) for offset in offsets}, 21)
    with pytest.MonkeyPatch.context() as patch:
        found = opened(log, patch)
        for version in versions:
            assert asked(found, version) == [f"shop/{one}" for one in sorted(offsets) if one <= version]
        for offset in later:
            log.records[21 + offset], log.end = message(21 + offset), max(log.end, 22 + offset)
        for version in (20, log.end - 1):
            assert asked(found, version) == [f"shop/{one}" for one in sorted(log.records) if one <= version]


def test_in_the_order_of_their_versions_audits_have_each_record_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log({offset: message(offset) for offset in range(0, 100, 2)}, 100)
    found = opened(log, monkeypatch)
    for version in range(100):
        asked(found, version)
    assert log.read == 50


def test_what_workers_pass_over_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log({0: Message(0, b"shop/a", b"not avro"), 1: Message(1, None, message(1).value()), 2: message(2)}, 3)
    assert asked(opened(log, monkeypatch), 2) == ["shop/2"]


def test_a_version_past_the_end_is_refused_and_is_there_once_the_topic_is(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log({0: message(0)}, 1)
    found = opened(log, monkeypatch)
    with pytest.raises(NotKept, match=r"up to offset 1, which ends at 1: the topic was deleted and made anew"):
        asked(found, 1)
    log.records[1], log.end = message(1), 2
    assert asked(found, 1) == ["shop/0", "shop/1"]
