"""The file with which a broker starts quickly: made once, by one process, and used only where Java left one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.local import java_cache
from pipeline.runtime.errors import StartupError

PREFIX = "-XX:AOTCacheOutput="


class Training:
    """Stands for Java: leaves these bytes where it is told to, or nothing."""

    def __init__(self, leaves: bytes | None = b"classes") -> None:
        self.runs = 0
        self.leaves = leaves
        self.ended = threading.Event()

    def __call__(self, flags: Sequence[str]) -> None:
        self.runs += 1
        (flag,) = flags
        if self.leaves is not None:
            Path(flag.removeprefix(PREFIX)).write_bytes(self.leaves)
        self.ended.set()


def path_in(directory: Path) -> Path:
    return directory / "java-1.aot"


def test_the_first_start_waits_for_nothing_and_later_ones_have_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java_cache, "version", lambda _: "1")
    training = Training()
    assert java_cache.flags(tmp_path, training) == ()
    assert training.ended.wait(10)
    for thread in threading.enumerate():
        if thread.name == "java-cache":
            thread.join(10)
    assert java_cache.flags(tmp_path, training) == (f"-XX:AOTCache={path_in(tmp_path)}",)
    assert training.runs == 1


def test_where_java_leaves_nothing_it_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java_cache, "version", lambda _: "1")
    training = Training(leaves=None)
    java_cache.make(path_in(tmp_path), training)
    assert java_cache.flags(tmp_path, training) == ()
    assert training.runs == 1


def test_a_run_that_fails_leaves_nothing_and_is_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(flags: Sequence[str]) -> None:
        Path(flags[0].removeprefix(PREFIX)).write_bytes(b"half")
        raise StartupError("the broker did not answer within 90 s")

    java_cache.make(path_in(tmp_path), failing)
    assert "did not answer" in caplog.text
    assert not path_in(tmp_path).exists()
    java_cache.make(path_in(tmp_path), Training())
    assert path_in(tmp_path).read_bytes() == b"classes"


def test_two_processes_at_once_make_it_once(tmp_path: Path) -> None:
    second = Training()

    def first(flags: Sequence[str]) -> None:
        java_cache.make(path_in(tmp_path), second)
        Training()(flags)

    java_cache.make(path_in(tmp_path), first)
    assert second.runs == 0 and path_in(tmp_path).read_bytes() == b"classes"
