"""This machine's copies of the profile table, looked through for somebody. Reads only; a worker may have them open."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rocksdict import AccessType, Options, Rdict

from pipeline.adapters.privacy_search import Verifier
from pipeline.settings import Settings
from topics.catalog import PROFILES_BY_ID


def tables_of(settings: Settings) -> list[Path]:
    """The copies under the data directory, those of several workers included."""
    folders = [settings.data_dir, *settings.data_dir.glob("*")]
    parts = [folder / "state" / PROFILES_BY_ID.name for folder in folders]
    return sorted(path for part in parts if part.is_dir() for path in part.iterdir() if (path / "CURRENT").is_file())


def look_into(path: Path, names: Iterable[str], verifier: Verifier) -> None:
    """One partition's copy, as it was written last."""
    table = Rdict(str(path), Options(raw_mode=True), access_type=AccessType.read_only())
    try:
        for name in names:
            value = table.get(name.encode())
            if isinstance(value, bytes):
                verifier.table_value(str(path), name.encode(), value)
    finally:
        table.close()
