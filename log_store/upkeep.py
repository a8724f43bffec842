"""Fewer files, and none for longer than its tenant keeps them: the next table of a topic, and what may be deleted.

A run writes the merged files, then the next table, which names them in the place of those that were merged: before it
nothing has changed, after it everything. What no table names any more is deleted after a grace, in a later run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from log_store import subject_keys
from log_store.batches import Place, day_of, file_path, parquet
from log_store.chain import Chain, File, Retired, Table, manifest_name, table_name
from log_store.columns import UNREADABLE, columns_of
from log_store.erasures import Erasures
from log_store.subject_keys import SubjectKey
from pipeline.access import OTHERS
from topics.catalog import BY_NAME, DAY_MS, DEAD_LETTERS, HOUR_MS, Topic

#: How long a reader may go on with what it has listed.
GRACE_MS: Final = HOUR_MS
#: What the files that become one have at most, together.
MERGED_BYTES_MAX: Final = 64 * 1_048_576
#: Files of a day that goes on are merged once there are so many of a partition that are smaller than this.
OPEN_FILES_MIN: Final = 32
OPEN_BYTES_MAX: Final = 8 * 1_048_576
_ROWS: Final = 10_000

_log = logging.getLogger("nextbest.log_store")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one run does at most; what is left is the next one's.

    :param bytes: of files that are merged, but always one group of them.
    :param deletes: objects.
    """

    bytes: int
    deletes: int


#: For whoever waits for the end of it.
ALL: Final = Bounds(1 << 62, 1 << 62)


@dataclass(frozen=True, slots=True)
class Done:
    """What a run did to a topic: `merged` and `expired` files that no reader sees any more, `deleted` objects.

    `replaced` False: another run was first, and nothing counts. `left`: more is to be done at once. `broken`: files
    that cannot be read; they stay as they are.
    """

    topic: str
    merged: int = 0
    expired: int = 0
    deleted: int = 0
    replaced: bool = True
    left: bool = False
    broken: tuple[str, ...] = ()


def keep_up(
    place: Place,
    topic: str,
    now_ms: int,
    kept_days: Mapping[str, int],
    compact: bool = True,
    expire: bool = True,
    bounds: Bounds = ALL,
) -> Done:
    """One run over a topic. Repeatable; several at once do no harm. Raises OSError.

    :param kept_days: by tenant, as the setting says.
    """
    erasures = Erasures(place.objects)
    chain = Chain(place.objects, topic).refresh()
    if any(one.erased for one in chain.linked()):
        # Whoever begins behind a manifest sees its erasures and finishes them; behind a table nobody would.
        erasures.reach()
    before = chain.summed()
    expired = [file for file in before.files if _is_over(BY_NAME[topic], file, kept_days, now_ms)] if expire else []
    gone = {file.path for file in expired}
    kept = [file for file in before.files if file.path not in gone]
    merging = _Merging(place, topic, before.number + 1, erasures.tags, bounds.bytes)
    files = merging.files(kept, day_of(now_ms)) if compact else kept
    deleted, undeleted = _delete(place, chain, before, now_ms, bounds.deletes)
    after = _next(chain, before, files, now_ms, undeleted)
    changed = files != list(before.files) or chain.linked() or len(after.retired) < len(before.retired)
    replaced = chain.replace(after) if changed else True
    done = Done(topic, deleted=deleted, replaced=replaced, broken=tuple(merging.broken))
    if not replaced:
        return done
    return replace(
        done,
        merged=len(kept) - len(files),
        expired=len(expired),
        left=merging.left or bool(undeleted),
    )


def kept_ms(topic: Topic, tenant: str, kept_days: Mapping[str, int], unreadable: bool = False) -> int:
    """How long a tenant's records of a topic are kept after the end of their day."""
    days = kept_days.get(tenant, kept_days.get(OTHERS))
    found = topic.kept_ms_max if days is None else days * DAY_MS
    return min(found, DEAD_LETTERS.retention_ms) if unreadable else found


def _is_over(topic: Topic, file: File, kept_days: Mapping[str, int], now_ms: int) -> bool:
    start = datetime.combine(date.fromisoformat(file.day), datetime.min.time(), UTC)
    end_ms = int(start.timestamp() * 1_000) + DAY_MS
    return end_ms + kept_ms(topic, file.tenant, kept_days, file.unreadable) <= now_ms


def _groups(files: Iterable[File], today: str) -> Iterator[list[File]]:
    """The files that may become one: of one tenant, day and partition, as many as one file holds."""
    found: dict[tuple[Any, ...], list[File]] = {}
    for file in files:
        key = (file.tenant, file.day, file.partition, file.unreadable)
        goes_on = file.day >= today
        found.setdefault((file.path,) if goes_on and file.bytes >= OPEN_BYTES_MAX else key, []).append(file)
    for group in found.values():
        if group[0].day >= today and len(group) < OPEN_FILES_MIN:
            yield from ([file] for file in group)
            continue
        part: list[File] = []
        for file in sorted(group, key=lambda one: one.first):
            if part and sum(one.bytes for one in part) + file.bytes > MERGED_BYTES_MAX:
                yield part
                part = []
            part.append(file)
        yield part


class _Merging:
    """The merges of one run. `left`: some are not done, as they would be too many for one run."""

    def __init__(
        self, place: Place, topic: str, number: int, erased: Callable[[], Collection[str]], bytes_max: int
    ) -> None:
        self._place, self._topic, self._number, self._erased = place, topic, number, erased
        self._bytes_left = bytes_max
        self._begun = self.left = False
        self.broken: list[str] = []

    def files(self, files: list[File], today: str) -> list[File]:
        """These files, with those merged that may be. Raises OSError."""
        return [file for group in _groups(files, today) for file in self._of(group)]

    def _of(self, group: list[File]) -> list[File]:
        if len(group) == 1:
            return group
        size = sum(file.bytes for file in group)
        if self._begun and size > self._bytes_left:
            self.left = True
            return group
        self._begun = True
        self._bytes_left -= size
        try:
            return [_merged(self._place, self._topic, self._number, group, self._erased)]
        except _BrokenFileError as error:
            _log.error("%s cannot be read, and is left as it is: %s", error.file.path, error)
            self.broken.append(error.file.path)
            self._bytes_left += size
            return [error.file, *self._of([file for file in group if file is not error.file])]


class _BrokenFileError(Exception):
    """A data file that a manifest names is gone, or is no Parquet."""

    def __init__(self, file: File, why: str) -> None:
        super().__init__(why)
        self.file = file


def _merged(place: Place, topic: str, number: int, group: list[File], erased: Callable[[], Collection[str]]) -> File:
    """One file with the rows of several, in the order of their offsets, and one key file with the keys of the rows."""
    first = group[0]
    name = f"c{number:020}-{subject_keys.token(place.random_bytes)}"
    schema = UNREADABLE if first.unreadable else columns_of(BY_NAME[topic]).stored
    used: set[str] = set()
    data = parquet(_rows(place, group, schema, used), schema)
    key_file = f"{topic}/_keys/{name}"
    keys = _keys_of(place, topic, {one for file in group for one in file.keys}, used)
    if keys:
        subject_keys.write(place.objects, key_file, keys)
        subject_keys.destroy(place.objects, key_file, erased())  # as a sink does, for the same reason
    path = file_path(topic, first.tenant, first.day, name, first.unreadable)
    place.objects.put(path, data)
    return File(
        path=path,
        tenant=first.tenant,
        day=first.day,
        partition=first.partition,
        first=first.first,
        last=max(file.last for file in group),
        rows=sum(file.rows for file in group),
        bytes=len(data),
        keys=(key_file,) if keys else (),
        unreadable=first.unreadable,
    )


def _rows(place: Place, group: Iterable[File], schema: pa.Schema, used: set[str]) -> Iterator[pa.RecordBatch]:
    for file in group:
        for batch in _read(place, file):
            used.update(name for name in batch.column("_pseudonym").to_pylist() if name is not None)
            yield pa.record_batch(
                [
                    batch.column(part.name) if part.name in batch.schema.names else pa.nulls(batch.num_rows, part.type)
                    for part in schema
                ],
                schema=schema,
            )


def _read(place: Place, file: File) -> Iterator[pa.RecordBatch]:
    rows = 0
    try:
        for batch in pq.ParquetFile(pa.BufferReader(place.objects.get(file.path))).iter_batches(_ROWS):
            rows += batch.num_rows
            yield batch
    except FileNotFoundError as error:
        raise _BrokenFileError(file, "it is gone") from error
    except (pa.ArrowException, OSError) as error:
        # Reading is from memory by now, unless the place itself failed.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _BrokenFileError(file, str(error)) from error
    if rows != file.rows:
        raise _BrokenFileError(file, f"it has {rows} rows, and {file.rows} were written")


def _keys_of(place: Place, topic: str, names: Iterable[str], used: set[str]) -> list[SubjectKey]:
    there = place.objects.names(f"{topic}/_keys")
    return [
        key for name in sorted(names) for key in subject_keys.read(place.objects, name, there) if key.pseudonym in used
    ]


def _next(chain: Chain, before: Table, files: list[File], now_ms: int, undeleted: Collection[str]) -> Table:
    """The table that follows, and what it makes superfluous."""
    named = {file.path for file in files} | {key for file in files for key in file.keys}
    gone = [name for file in before.files for name in (file.path, *file.keys) if name not in named]
    gone += [manifest_name(chain.topic, one.partition, one.start) for one in chain.linked()]
    if before.number:
        gone.append(table_name(chain.topic, before.number))
    retired = [one for one in before.retired if one.at_ms + GRACE_MS > now_ms or one.path in undeleted]
    return Table(
        number=before.number + 1,
        covers=before.covers,
        files=tuple(files),
        lost=before.lost,
        erased=before.erased,
        retired=(*retired, *(Retired(path=name, at_ms=now_ms) for name in dict.fromkeys(gone))),
        newest_ms=before.newest_ms,
        topic_id=before.topic_id,
    )


def _delete(place: Place, chain: Chain, table: Table, now_ms: int, deletes_max: int) -> tuple[int, set[str]]:
    """Delete what is superfluous for longer than the grace, and what sinks and runs left behind that were killed.

    How many objects, and the retired names that are due and still there.
    """
    names = place.objects.names(chain.topic)
    due = {one.path for one in table.retired if one.at_ms + GRACE_MS <= now_ms}
    known = {file.path for file in table.files} | {key for file in table.files for key in file.keys}
    waiting = {one.path for one in table.retired} - due
    deleted, undeleted = 0, set()
    for name in names:
        room = name.split("/")[1]
        one = name.rpartition(".")[0] if room == "_keys" else name
        superfluous = one in due
        if room not in ("_log", "_table") and one not in known and one not in waiting:
            superfluous = superfluous or _left_behind(chain, table, one)
        if superfluous and deleted < deletes_max:
            place.objects.delete(name)
            deleted += 1
        elif superfluous:
            undeleted.add(one)
    return deleted, undeleted


def _left_behind(chain: Chain, table: Table, name: str) -> bool:
    """Whether nothing can name the file any more: the chain, or a table, is past the place where it would."""
    stem = name.rpartition("/")[2].partition(".")[0].split("-")
    if stem[0].startswith("c"):
        return int(stem[0][1:]) <= table.number
    return int(stem[1]) < chain.next(int(stem[0]))
