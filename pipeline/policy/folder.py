"""The YAML files of a policy folder, as people mount and link them: each real file once, hidden names left alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from pipeline.policy.yaml_source import Source
from pipeline.policy.yaml_text import FILE_BYTES_MAX

FILES_MAX: Final = 2_000
_ENDINGS: Final = (".yaml", ".yml")


def read(folder: Path) -> Source:
    """Every *.yaml and *.yml below the folder, in the order of their paths, links followed.

    Raises FileNotFoundError for none. Names that begin with a dot are left alone: a mounted ConfigMap has its files
    there once more, and editors, systems and CI keep theirs there.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: give the one that holds the policy's *.yaml files")
    files = _files(folder)
    if not files:
        raise FileNotFoundError(f"no policy files (*.yaml) in {folder}: give the folder that holds them")
    source = Source(folder=str(folder))
    if len(files) > FILES_MAX:
        source.missing(str(folder), f"has {len(files)} policy files, at most {FILES_MAX} are read")
        return source
    for path in files:
        try:
            content = content_of(path, FILE_BYTES_MAX)
        except OSError as error:
            source.missing(str(path), f"cannot be read: {error.strerror}")
            continue
        if content is None:
            source.missing(str(path), "cannot be read: it is no file, but a device, pipe or socket")
        else:
            source.add_file(str(path), content)
    return source


def content_of(path: Path, bytes_max: int) -> bytes | None:
    """No more of a file than shows that it is too large; None for what is no file, which may have no end.

    Raises OSError. What was opened is looked at once more, since a name can come to stand for something else.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        return None
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        return file.read(bytes_max + 1) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


def _files(folder: Path) -> list[Path]:
    found: dict[str, Path] = {}
    entered: set[str] = set()
    for at, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(at)
        if real in entered:
            # Linked from two places, or within itself.
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(at, name)
            if not name.startswith(".") and name.lower().endswith(_ENDINGS):
                found.setdefault(os.path.realpath(path), path)
    return sorted(found.values())
