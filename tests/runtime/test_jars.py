"""The broker's jars are the pinned ones, whatever the network, the disk or another start does."""

from __future__ import annotations

import hashlib
import multiprocessing
from pathlib import Path

import pytest

from pipeline.local import jars
from pipeline.local.jars import Jar, ensure
from pipeline.runtime.errors import StartupError

CONTENT = {"one": b"first jar", "two": b"second jar"}
JARS = tuple(Jar(f"org.example:{name}:1.0", hashlib.sha256(body).hexdigest()) for name, body in CONTENT.items())


class Repository:
    """Gives the jars' content, counts what was asked for."""

    def __init__(self, **wrong: bytes) -> None:
        self.content = CONTENT | wrong
        self.asked: list[str] = []

    def __call__(self, jar: Jar, scratch: Path) -> Path:
        self.asked.append(jar.coordinate)
        path = scratch / jar.name
        path.write_bytes(self.content[jar.coordinate.split(":")[1]])
        return path


def silent(line: str) -> None:
    assert line


def test_jars_are_fetched_once_and_then_the_network_is_not_asked(tmp_path: Path) -> None:
    repository = Repository()
    paths = ensure(tmp_path / "cache", silent, jars=JARS, fetch=repository)
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())
    assert ensure(tmp_path / "cache", silent, jars=JARS, fetch=repository) == paths
    assert len(repository.asked) == 2


@pytest.mark.parametrize("damage", [b"", b"first ja", b"first jar and more"])
def test_a_damaged_jar_alone_is_fetched_again(tmp_path: Path, damage: bytes) -> None:
    first, _ = ensure(tmp_path, silent, jars=JARS, fetch=Repository())
    first.write_bytes(damage)
    repository = Repository()
    ensure(tmp_path, silent, jars=JARS, fetch=repository)
    assert repository.asked == ["org.example:one:1.0"]
    assert first.read_bytes() == CONTENT["one"]


def test_a_jar_with_other_content_than_pinned_is_refused_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"two-1\.0\.jar arrived with sha256 \w+ instead of the pinned"):
        ensure(tmp_path, silent, jars=JARS, fetch=Repository(two=b"something else"))
    assert not (tmp_path / "two-1.0.jar").exists()


def test_what_a_killed_start_left_behind_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".fetch-dead"
    left.mkdir()
    (left / "half.jar").write_bytes(b"half")
    ensure(tmp_path, silent, jars=JARS, fetch=Repository())
    assert not left.exists()


def test_an_unwritable_cache_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StartupError, match=r"cannot keep the broker's jars in .*XDG_CACHE_HOME"):
        ensure(tmp_path / "file" / "cache", silent, jars=JARS, fetch=Repository())


def start_of_another_process(cache: Path, log: Path) -> None:
    def fetch(jar: Jar, scratch: Path) -> Path:
        with log.open("a") as lines:
            lines.write(f"{jar.coordinate}\n")
        return Repository()(jar, scratch)

    ensure(cache, silent, jars=JARS, fetch=fetch)


def test_two_starts_at_once_fetch_each_jar_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    starts = [
        spawn.Process(target=start_of_another_process, args=(tmp_path / "cache", tmp_path / "log")) for _ in range(2)
    ]
    for start in starts:
        start.start()
    for start in starts:
        start.join(60)
        assert start.exitcode == 0
    assert sorted((tmp_path / "log").read_text().split()) == [jar.coordinate for jar in JARS]


def test_the_lock_names_every_jar_with_a_hash_and_no_host() -> None:
    pinned = jars.pinned()
    assert {"org.apache.kafka:kafka_2.13:4.3.1", "org.slf4j:slf4j-simple:1.7.36"} < {jar.coordinate for jar in pinned}
    assert len({jar.name for jar in pinned}) == len(pinned) == 46
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in pinned)
    assert "//" not in jars.LOCK_FILE.read_text()


def test_a_corrupt_jar_in_the_real_cache_is_repaired_without_touching_the_others(tmp_path: Path) -> None:
    (jar,) = (jar for jar in jars.pinned() if jar.coordinate == jars.LOGGING)
    (path,) = ensure(tmp_path, silent, jars=[jar])
    path.write_bytes(path.read_bytes()[:100])
    ensure(tmp_path, silent, jars=[jar])
    assert jar.is_intact(tmp_path)
