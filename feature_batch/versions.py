"""Computed values as files: one folder for each version, a Parquet file for each feature, and a manifest that says what
they are. A version is there whole or not at all: it gets its name when it is complete.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from feature_batch.computing import Tally, computed
from feature_batch.errors import FeatureBatchError
from feature_batch.preparing import Arrival, declared, reaches_back_to
from pipeline.core.decide.live import Live
from pipeline.core.hashing import digest

MANIFEST: Final = "manifest.json"
#: The type of a column of values, by the type that rules see.
ARROW: Final[dict[str, pa.DataType]] = {
    "int": pa.int64(), "double": pa.float64(), "string": pa.string(), "bool": pa.bool_(),
    "list(string)": pa.list_(pa.string()), "duration": pa.duration("ms"), "timestamp": pa.timestamp("ms", tz="UTC"),
}


@dataclass(frozen=True, slots=True)
class Column:
    """What a file of values is: the feature's definition by its key, and whether the log reached back far enough."""

    key: str
    kind: str
    type: str
    per: str
    sensitivity: str
    complete: bool
    values: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version. Times in epoch milliseconds. `log_from_ms`: the earliest arrival that was read; None: none was."""

    version: str
    tenant: str
    release: str
    as_of_ms: int
    made_ms: int
    log_from_ms: int | None
    profiles: int
    events: int
    repeated: int
    left_out: int
    unknown: int
    features: dict[str, Column] = field(default_factory=dict)

    @property
    def incomplete(self) -> list[str]:
        """Features whose window reaches back to before the log began."""
        return [name for name, one in self.features.items() if not one.complete]


def version_of(live: Live, as_of_ms: int) -> str:
    """The moment and a digest of the definitions: the same questions of the same moment have the same name."""
    at = datetime.fromtimestamp(as_of_ms / 1_000, UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{at}-{digest('features', *sorted(one.key for one in declared(live)))[:12]}"


def write(
    arrivals: Iterable[Arrival], live: Live, tenant: str, as_of_ms: int, made_ms: int, out: Path
) -> tuple[Path, Manifest]:
    """Compute every feature and write the version's folder below `out`; one of that name is replaced.

    :param arrivals: see `computed`. Raises FeatureBatchError for a policy without features, OSError.
    """
    if not declared(live):
        raise FeatureBatchError("The policy declares no features: add a section `features:`, see docs/features.md.")
    version = version_of(live, as_of_ms)
    half = out / f".{version}.half"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    tally, seen = Tally(), _Seen()
    try:
        _write_values(half, computed(seen.watching(arrivals), live, as_of_ms, tally), live)
        manifest = _manifest(version, live, tenant, as_of_ms, made_ms, seen.first_ms, tally)
        (half / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2), "utf-8")
        place = out / version
        if place.exists():
            shutil.rmtree(place)
        half.rename(place)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
    return place, manifest


def read_manifest(place: Path) -> Manifest:
    """The manifest of a version's folder. Raises FeatureBatchError where there is none that can be read."""
    try:
        said: dict[str, Any] = json.loads((place / MANIFEST).read_text("utf-8"))
        features = {name: Column(**one) for name, one in said.pop("features").items()}
        return Manifest(**said, features=features)
    except FileNotFoundError as error:
        raise FeatureBatchError(f"{place} is no version of features: it has no {MANIFEST}. `nextbest features compute` "
                                "makes one, and names its folder.") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FeatureBatchError(f"{place / MANIFEST} cannot be read: {error}. Compute the version again.") from error


class _Seen:
    """The earliest arrival of those that pass."""

    def __init__(self) -> None:
        self.first_ms: int | None = None

    def watching(self, arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        for one in arrivals:
            self.first_ms = one.received_ms if self.first_ms is None else min(self.first_ms, one.received_ms)
            yield one


def _write_values(folder: Path, parts: Iterable[dict[str, pa.Table]], live: Live) -> None:
    schemas = {one.id: pa.schema([("profile", pa.string()), ("key", pa.string()), ("value", ARROW[one.type])])
               for one in declared(live)}
    writers = {name: pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd")
               for name, schema in schemas.items()}
    try:
        for part in parts:
            for name, rows in part.items():
                writers[name].write_table(rows.cast(schemas[name]))
    finally:
        for writer in writers.values():
            writer.close()


def _manifest(
    version: str, live: Live, tenant: str, as_of_ms: int, made_ms: int, first_ms: int | None, tally: Tally
) -> Manifest:
    reach = reaches_back_to(live, as_of_ms)
    columns = {}
    for one in declared(live):
        back_ms = reach[one.id]
        # What looks back for ever is as complete as the log: whoever computes it knows whether that is all.
        complete = back_ms is None or (first_ms is not None and first_ms <= back_ms)
        columns[one.id] = Column(one.key, one.kind, one.type, one.per, one.sensitivity, complete,
                                 tally.values.get(one.id, 0))
    return Manifest(version, tenant, live.release, as_of_ms, made_ms, first_ms, tally.profiles, tally.events,
                    tally.repeated, tally.left_out, tally.unknown, columns)
