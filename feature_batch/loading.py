"""A version of computed values as records for `features.loads`: what of it the live policy loads, profile by profile.

Reads files, sends nothing. What does not have the type, the definition or the reach that the policy asks for is refused
or left out with its reason; no value is converted.
"""

# ruff: noqa: S608 - only numbers and names of this module stand in a statement.
from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from feature_batch.errors import FeatureBatchError
from feature_batch.versions import ARROW, Manifest, read_manifest
from pipeline.core.decide.live import Live
from pipeline.core.hashing import digest
from pipeline.core.model.bounds import TRAITS_PER_EVENT_MAX
from pipeline.core.model.features import Feature
from pipeline.core.model.records import IdentityEvent, IdentityKind

SOURCE: Final = "features load"
_MEMORY_LIMIT: Final = "512MB"
_ROWS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Load:
    """What is loaded of a version, checked.

    :param id: the same for the same files and features, so that a repeat is recognised by the events' ids.
    :param left_out: declared features with `fresh_for` that are not loaded, with the reason.
    :param profiles: how many have a value of at least one of the features, known or unknown.
    """

    place: Path
    manifest: Manifest
    features: tuple[Feature, ...]
    left_out: dict[str, str]
    id: str
    profiles: int

    def events(self, after: str = "") -> Iterator[IdentityEvent]:
        """One event for each profile behind `after`, in the order of profiles. An unknown value is null: what was
        loaded before is not in force any more. Raises FeatureBatchError where a file cannot be read.
        """
        as_of_ms = self.manifest.as_of_ms
        names = [one.path for one in self.features]
        with _reading(self.place, self.features) as connection:
            found = connection.sql("SELECT * FROM loaded WHERE profile > $1 ORDER BY profile", params=[after])
            for batch in found.to_arrow_reader(_ROWS):
                for profile, *values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    yield IdentityEvent(
                        digest("load", self.id, profile), profile, IdentityKind.LOAD, as_of_ms,
                        dict(zip(names, values, strict=True)), source=SOURCE)


def opened(place: Path, live: Live, now_ms: int, with_incomplete: bool = False) -> Load:
    """The version in a folder, checked against the policy that loads it.

    :param with_incomplete: load also what looks back further than the log that it was computed from.
    Raises FeatureBatchError where a file is not what its manifest says, or nothing of it can be loaded.
    """
    manifest = read_manifest(place)
    if manifest.as_of_ms > now_ms:
        raise FeatureBatchError(f"{place} is as of a moment to come: values are loaded once their moment has passed.")
    wanted, left_out = [], {}
    for one in live.policy.loaded_features:
        why = _why_not(one, manifest, now_ms, with_incomplete)
        if why:
            left_out[one.id] = why
        else:
            wanted.append(one)
    if not wanted:
        said = "; ".join(f"{name}: {why}" for name, why in left_out.items()) or (
            "the policy has no feature with `fresh_for`, and counts the others itself")
        raise FeatureBatchError(f"Nothing of {place} can be loaded: {said}.")
    if len(wanted) > TRAITS_PER_EVENT_MAX:
        raise FeatureBatchError(f"{len(wanted)} features are loaded at once: at most {TRAITS_PER_EVENT_MAX} can be.")
    for one in wanted:
        _check_columns(place, one)
    with _reading(place, wanted) as connection:
        for number, one in enumerate(wanted):
            _check_rows(connection, number, _file(place, one), one.type, manifest.tenant)
        [profiles] = connection.execute("SELECT count(*) FROM loaded").fetchone() or (0,)
    id_ = digest("load", manifest.version, str(manifest.made_ms), *sorted(one.key for one in wanted))
    return Load(place, manifest, tuple(wanted), left_out, id_, profiles)


def _why_not(feature: Feature, manifest: Manifest, now_ms: int, with_incomplete: bool) -> str:
    """Why a feature of the policy is not loaded from the version; "" where it is."""
    column = manifest.features.get(feature.id)
    if column is None:
        return "it is not in the version"
    if column.key != feature.key:
        return "it was computed by another definition: compute the version again"
    if now_ms - manifest.as_of_ms >= feature.fresh_for_ms:
        return "it is stale already, by its `fresh_for`"
    if not column.complete and not with_incomplete:
        return "its window reaches back to before the log began (--incomplete loads it all the same)"
    return ""


def _file(place: Path, feature: Feature) -> Path:
    return place / f"{feature.id}.parquet"


def _check_columns(place: Path, feature: Feature) -> None:
    file = _file(place, feature)
    expected = pa.schema([("profile", pa.string()), ("key", pa.string()), ("value", ARROW[feature.type])])
    try:
        schema = pq.read_schema(file).remove_metadata()
    except (OSError, pa.ArrowInvalid) as error:
        raise FeatureBatchError(f"{file} cannot be read: {error}. Compute the version again.") from error
    if schema != expected:
        has, wants = (", ".join(f"{one.name}: {one.type}" for one in each) for each in (schema, expected))
        raise FeatureBatchError(f"{file} has the columns {has}, and should have {wants}. Compute the version again.")


def _check_rows(connection: duckdb.DuckDBPyConnection, number: int, file: Path, type_: str, tenant: str) -> None:
    """One row for each profile, of the manifest's tenant, with a number that is one."""
    odd = "NOT isfinite(value)" if type_ == "double" else "false"
    rows, profiles, foreign, infinite = connection.execute(
        "SELECT count(*), count(DISTINCT profile), "
        "count(*) FILTER (profile IS NULL OR key IS DISTINCT FROM '' OR NOT starts_with(profile, ?)), "
        f"count(*) FILTER ({odd}) FROM p{number}", [f"{tenant}/"]).fetchone() or (0, 0, 0, 0)
    problems = {
        f"has rows of no profile of the tenant {tenant}": foreign,
        "has a profile more than once": rows - profiles,
        "has numbers that are not finite": infinite,
    }
    for problem, count in problems.items():
        if count:
            raise FeatureBatchError(f"{file} {problem} ({count:,} rows). Compute the version again.")


@contextmanager
def _reading(place: Path, features: Sequence[Feature]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the view `loaded`: `profile`, then a column for each feature, in their order."""
    columns = ", ".join(f"f{number}.value AS v{number}" for number in range(len(features)))
    joins = " FULL JOIN ".join(
        f"p{number} AS f{number}" + (" USING (profile)" if number else "") for number in range(len(features)))
    with tempfile.TemporaryDirectory(prefix="nextbest-features-") as folder:
        connection = duckdb.connect(":memory:", config={
            "memory_limit": _MEMORY_LIMIT, "threads": 2, "temp_directory": folder})
        try:
            for number, one in enumerate(features):
                connection.register(f"p{number}", ds.dataset(_file(place, one), format="parquet"))
            connection.execute(f"CREATE VIEW loaded AS SELECT profile, {columns} FROM {joins}")
            yield connection
        except duckdb.Error as error:
            raise FeatureBatchError(f"{place} cannot be read: {error}") from error
        finally:
            connection.close()
