"""Development keys protect nothing beyond this machine, and what is kept is its user's alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pipeline.cli.options import private
from pipeline.runtime.errors import StartupError
from pipeline.settings import Settings

OWN = {"tenant_key": "a-key-of-our-own", "privacy_key": "another"}


@pytest.fixture(autouse=True)
def the_mask_stays() -> object:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize("bootstrap", ["127.0.0.1:9092", "localhost:1", "127.1.2.3", "[::1]:9092"])
def test_with_a_broker_of_this_machine_the_development_keys_do(bootstrap: str, tmp_path: Path) -> None:
    private(Settings(bootstrap=bootstrap, data_dir=tmp_path))


@pytest.mark.parametrize("bootstrap", [
    "broker:9092", "127.0.0.1:9092,kafka.example:9092", "10.0.0.1", "localhost.example"])
@pytest.mark.parametrize(("keys", "named"), [
    ({}, "NEXTBEST_TENANT_KEY and NEXTBEST_PRIVACY_KEY hold"), ({"tenant_key": "own"}, "NEXTBEST_PRIVACY_KEY hold"),
    (OWN | {"tenant_key": "own,nextbest-development-key"}, "NEXTBEST_TENANT_KEY hold")])
def test_with_another_machines_broker_they_are_refused_unless_told(
    bootstrap: str, keys: dict[str, str], named: str, tmp_path: Path
) -> None:
    with pytest.raises(StartupError, match=named):
        private(Settings(bootstrap=bootstrap, data_dir=tmp_path, **keys))  # type: ignore[arg-type]
    private(Settings(bootstrap=bootstrap, data_dir=tmp_path, development=True, **keys))  # type: ignore[arg-type]
    private(Settings(bootstrap=bootstrap, data_dir=tmp_path, **OWN))  # type: ignore[arg-type]


def test_what_is_kept_can_be_read_by_nobody_else(tmp_path: Path) -> None:
    private(Settings(data_dir=tmp_path))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_text("x")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path, tmp_path / "deep", tmp_path / "deep" / "file")]
    assert modes == [0o700, 0o700, 0o600]
