"""Publishing replaces whatever is live: it reads the topics, makes nothing of them live, and says why it cannot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import typer

from pipeline.cli import policy as command
from pipeline.codecs import avro
from pipeline.core.model.records import PolicyRelease
from pipeline.policy.directory import Directory
from pipeline.policy.load import Checked, load
from pipeline.policy.publish import prepare
from pipeline.settings import Settings
from topics.catalog import BY_NAME, CATALOG_ITEMS, POLICY_RELEASES

from .test_directory import checked, follow, published
from .test_errors import GOOD

Records = Iterable[tuple[str, bytes, Any]]


class _Follower:
    """Reads what is given, then is caught up, or reads no more."""

    records: Records = ()
    ends = True

    def __init__(self, settings: Any, topics: Any, apply: Callable[..., None], loaded: Any = lambda: None) -> None:
        self.caught_up = threading.Event()
        self._apply, self._loaded = apply, loaded

    def start(self) -> None:
        for offset, (topic, key, value) in enumerate(self.records):
            self._apply(topic, key, value, offset)
        if self.ends:
            self._loaded()
            self.caught_up.set()

    def stop(self) -> None:
        pass


class _Producer:
    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, bytes | None]] = []

    def produce(self, topic: str, key: bytes, value: bytes | None, on_delivery: Any) -> None:
        self.sent.append((topic, key, value))

    def flush(self, timeout_s: float) -> int:
        return 0


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> _Producer:
    made = _Producer()
    monkeypatch.setattr(command, "Follower", _Follower)
    monkeypatch.setattr(command, "_ANSWER_S", 0.01)
    monkeypatch.setattr("pipeline.adapters.kafka.producer", lambda *_: made)
    return made


def _decoded(one: Checked) -> list[tuple[str, bytes, Any]]:
    return [(record.topic, record.key, None if record.value is None else avro.decode(BY_NAME[record.topic],
                                                                                     record.value))
            for record in published(one).records]


def test_a_release_that_no_decision_survives_is_replaced_without_being_tried(
        tmp_path: Path, producer: _Producer, monkeypatch: pytest.MonkeyPatch) -> None:
    one = checked(tmp_path)
    monkeypatch.setattr(_Follower, "records", _decoded(one))

    def never(*_: Any) -> Any:
        raise AssertionError("the live release is tried")

    monkeypatch.setattr("pipeline.policy.directory._activate", never)
    better = load_text(tmp_path, GOOD.replace("18", "21"))
    assert command.publish_checked(better, Settings(), "shop").release == better.release
    assert [key for _, key, _ in producer.sent] == [f"shop/{better.release}".encode(), b"shop/@active"]


@pytest.mark.parametrize("error", [MemoryError(), RecursionError(), ValueError("not understood"), AssertionError()])
def test_a_release_that_cannot_be_compiled_is_replaced(
        tmp_path: Path, producer: _Producer, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(_Follower, "records", _decoded(checked(tmp_path)))

    def fails(*_: Any) -> Any:
        raise error

    monkeypatch.setattr("pipeline.policy.directory.compile_release", fails)
    better = load_text(tmp_path, GOOD.replace("18", "21"))
    assert command.publish_checked(better, Settings(), "shop").release == better.release
    assert producer.sent


def test_what_was_made_live_stands_whatever_became_of_it(
        tmp_path: Path, producer: _Producer, monkeypatch: pytest.MonkeyPatch) -> None:
    """`nextbest up` publishes the example only where nobody has made anything live."""
    assert not command.published(Settings()).activated("shop")
    everything = _decoded(checked(tmp_path))
    monkeypatch.setattr(_Follower, "records", [one for one in everything if one[1] != b"shop/@active"])
    assert not command.published(Settings()).activated("shop")
    monkeypatch.setattr(_Follower, "records", [one for one in everything if one[1] == b"shop/@active"])
    there = command.published(Settings())
    assert there.activated("shop") and not there.activated("other")
    monkeypatch.setattr(_Follower, "ends", False)
    with pytest.raises(typer.Exit):
        command.published(Settings())


def test_signals_go_on_from_the_newest_release_that_could_be_live(tmp_path: Path) -> None:
    one = checked(tmp_path)
    [key] = [key for signal in one.policy.signals for key in signal.keys]
    loading, live = Directory(loading=True), Directory()
    for directory in (loading, live):
        follow(directory, published(one).records)
        for offset, (name, value) in enumerate((
                ("bad", PolicyRelease("shop", "bad", '{"nonsense": 1}', 5_000)),
                ("@active", PolicyRelease("shop", "bad", "", 5_000, "", {key: 5_000})))):
            directory.apply(POLICY_RELEASES.name, f"shop/{name}".encode(), value, 20 + offset)
    assert loading.counted("shop") == live.counted("shop") == {key: (1_000, 100)}
    again = prepare(one, "shop", {}, 9_000, "tester", loading.counted("shop"))
    assert avro.decode(POLICY_RELEASES, again.records[-1].value).signals_since == {key: 1_000}


def test_what_stops_answering_in_the_midst_is_told_from_what_never_did(
        tmp_path: Path, producer: _Producer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = checked(tmp_path)
    monkeypatch.setattr(_Follower, "ends", False)
    for records, said in (((), "did not answer within"), (_decoded(one), "3 records of catalog.items and policy.rel")):
        monkeypatch.setattr(_Follower, "records", records)
        with pytest.raises(typer.Exit):
            command.publish_checked(one, Settings(), "shop")
        told = capsys.readouterr().err
        assert said in told and ("is the broker running" in told) == (not records)
    assert not producer.sent


def test_as_long_as_records_come_it_waits(
        tmp_path: Path, producer: _Producer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalog of years takes longer to read than a broker may take to answer."""
    one = checked(tmp_path)
    records = _decoded(one)

    class Slow(_Follower):
        def start(self) -> None:
            feed = iter(enumerate(records))

            def wait(timeout: float | None = None) -> bool:
                found = next(feed, None)
                if found is not None:
                    self._apply(found[1][0], found[1][1], found[1][2], found[0])
                return found is None

            self.caught_up.wait = wait  # type: ignore[method-assign]

    monkeypatch.setattr(command, "Follower", Slow)
    assert command.publish_checked(one, Settings(), "shop").changed_items == 0
    assert {topic for topic, _, _ in producer.sent} == {POLICY_RELEASES.name}
    assert CATALOG_ITEMS.name in {topic for topic, _, _ in records}


def load_text(folder: Path, text: str) -> Checked:
    (folder / "policy.yaml").write_text(text, "utf-8")
    return load(folder)
