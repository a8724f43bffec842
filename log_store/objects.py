"""Files of a store: a local folder, or a bucket by fsspec. Whole objects only; nothing here knows what is in them.

Every `put` is atomic: an object is there with all its bytes or not at all. `put_if_absent` is what the whole store
rests on: of several writers of one name, one succeeds.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Protocol

import fsspec
from fsspec.implementations.local import LocalFileSystem

from log_store.errors import LogStoreError

#: Names of what a killed writer may leave behind; never read.
_UNFINISHED: Final = ".unfinished-"
#: Whose exceptions stand for a place that is away or refuses.
_VENDORS: Final = ("aiobotocore", "aiohttp", "botocore")
#: How often a conditional put is tried while another one of the same name is under way (S3 answers 409 then).
_CONFLICTS_MAX: Final = 5


class Objects(Protocol):
    """What the store needs of a place for files. Names are relative, with slashes. All block, and raise OSError."""

    def get(self, name: str) -> bytes:
        """The object's bytes. Raises FileNotFoundError."""

    def put(self, name: str, data: bytes) -> None:
        """Write or replace the object. Durable on return."""

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Write the object if there is none of this name; False where there is one. Durable on return."""

    def delete(self, name: str) -> None:
        """Remove the object; nothing happens where there is none."""

    def names(self, folder: str) -> list[str]:
        """Every object below a folder, sorted; empty where there is none."""


class FsspecObjects:
    """A file system of fsspec whose writes are atomic and can be conditional: S3-compatible buckets, memory."""

    def __init__(self, fs: Any, root: str) -> None:
        self._fs = fs
        self._root = root.rstrip("/")

    def get(self, name: str) -> bytes:
        with _said_as_os_error():
            data: bytes = self._fs.cat_file(self._at(name))
        return data

    def put(self, name: str, data: bytes) -> None:
        with _said_as_os_error():
            self._fs.pipe_file(self._at(name), data)

    def put_if_absent(self, name: str, data: bytes) -> bool:
        for attempt in range(1, _CONFLICTS_MAX + 1):
            try:
                with _said_as_os_error():
                    self._fs.pipe_file(self._at(name), data, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                status = _http_status(error)
                if status == HTTPStatus.PRECONDITION_FAILED:
                    return False  # as FileExistsError, from a store that does not name the condition
                if status != HTTPStatus.CONFLICT or attempt == _CONFLICTS_MAX:
                    raise
            else:
                return True
        raise AssertionError("the last attempt returns or raises")

    def delete(self, name: str) -> None:
        try:
            with _said_as_os_error():
                self._fs.rm_file(self._at(name))
        except FileNotFoundError:
            return

    def names(self, folder: str) -> list[str]:
        self._fs.invalidate_cache()
        try:
            with _said_as_os_error():
                found = self._fs.find(self._at(folder))
        except FileNotFoundError:
            return []
        start = len(self._fs._strip_protocol(self._root)) + 1
        return sorted(path[start:] for path in found)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"


class FolderObjects:
    """A local folder. A new object is linked to its name once its bytes are on the disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def get(self, name: str) -> bytes:
        return (self._root / name).read_bytes()

    def put(self, name: str, data: bytes) -> None:
        with self._written(name, data) as (unfinished, path):
            os.replace(unfinished, path)

    def put_if_absent(self, name: str, data: bytes) -> bool:
        with self._written(name, data) as (unfinished, path):
            try:
                os.link(unfinished, path)
            except FileExistsError:
                return False
        return True

    def delete(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)

    def names(self, folder: str) -> list[str]:
        start = self._root / folder
        found = []
        for where, _, files in os.walk(start):
            found += [
                (Path(where) / file).relative_to(self._root).as_posix()
                for file in files
                if not file.startswith(_UNFINISHED)
            ]
        return sorted(found)

    @contextmanager
    def _written(self, name: str, data: bytes) -> Iterator[tuple[Path, Path]]:
        path = self._root / name
        self._make(path.parent)
        unfinished = path.parent / f"{_UNFINISHED}{os.urandom(8).hex()}"
        try:
            with unfinished.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield unfinished, path
            _sync(path.parent)
        finally:
            unfinished.unlink(missing_ok=True)

    def _make(self, folder: Path) -> None:
        """The folder and those above it, each durable in the one above."""
        if folder.is_dir():
            return
        self._make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


@contextmanager
def _said_as_os_error() -> Iterator[None]:
    """Errors of the network and of credentials are OSErrors, as those of a disk are."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        # s3fs lets these through as they are; the packages are there only where s3fs is.
        if type(error).__module__.partition(".")[0] in _VENDORS:
            raise OSError(errno.EIO, str(error)) from error
        raise


def _http_status(error: OSError) -> int:
    """The status that an S3-compatible store answered with; 0: none is known."""
    response = getattr(error.__cause__, "response", None) or {}
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return int(status)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def objects_at(location: str) -> Objects:
    """The place that `NEXTBEST_LOGS` names: a folder, or a URL such as `s3://bucket/prefix`. Raises LogStoreError."""
    if "://" not in location:
        return FolderObjects(Path(location).absolute())
    try:
        fs, root = fsspec.core.url_to_fs(location)
    except (ImportError, ValueError) as error:
        raise LogStoreError(
            f"NEXTBEST_LOGS is {location}, and cannot be opened: {error}. Name a folder, or s3://bucket/prefix with "
            "s3fs installed"
        ) from error
    if isinstance(fs, LocalFileSystem):
        return FolderObjects(Path(root))
    if "s3" not in fs.protocol and "memory" not in fs.protocol:
        raise LogStoreError(
            f"NEXTBEST_LOGS is {location}: only folders and s3:// can refuse to replace an object, which exactly once "
            "rests on"
        )
    return FsspecObjects(fs, root)
