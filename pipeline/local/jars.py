"""The embedded broker's jars: pinned by hash, fetched once, kept in the user's cache, verified at each start.

`python -m pipeline.local.jars` resolves them anew and rewrites the pins (`make lock` does). Starts no Java.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.runtime.errors import StartupError

KAFKA: Final = "org.apache.kafka:kafka_2.13:4.3.1"
#: Kafka logs through slf4j and brings no binding to write anything; this one writes to standard error and starts fast.
LOGGING: Final = "org.slf4j:slf4j-simple:1.7.36"
LOCK_FILE: Final = Path(__file__).with_name("kafka_jars.lock")
DOWNLOADS_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar; `coordinate` is group:artifact:version, with :classifier where it has one."""

    coordinate: str
    sha256: str

    @property
    def name(self) -> str:
        return "-".join(self.coordinate.split(":")[1:]) + ".jar"

    def is_intact(self, directory: Path) -> bool:
        """Whether the file is there with the pinned content."""
        path = directory / self.name
        return path.is_file() and sha256(path) == self.sha256


Fetch = Callable[[Jar, Path], Path]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_directory() -> Path:
    """Where jars stay between runs, for all data directories: `$XDG_CACHE_HOME/nextbest`, or `~/.cache/nextbest`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nextbest"


def pinned(lock: Path = LOCK_FILE) -> tuple[Jar, ...]:
    """Every jar the broker needs."""
    lines = (line.split() for line in lock.read_text("utf-8").splitlines() if line and not line.startswith("#"))
    return tuple(Jar(coordinate, digest.removeprefix("sha256:")) for coordinate, digest in lines)


def ensure(
    directory: Path, say: Callable[[str], None], *, jars: Sequence[Jar] = (), fetch: Fetch | None = None
) -> list[Path]:
    """The paths of all pinned jars in `directory`, with what is missing or damaged fetched. Safe for concurrent starts.

    Blocks while another start fetches. Asks nothing of the network when all are there. Raises StartupError.
    """
    wanted = jars or pinned()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory / ".lock"):
            missing = [jar for jar in wanted if not jar.is_intact(directory)]
            if missing:
                say(f"Fetching the Kafka broker, {len(missing)} jars; only the first start does")
                _fetch_all(missing, directory, fetch or from_maven)
    except OSError as error:
        raise StartupError(
            f"cannot keep the broker's jars in {directory}: {error.strerror or error}; "
            "make room or make it writable, or name another folder by XDG_CACHE_HOME"
        ) from error
    return [directory / jar.name for jar in wanted]


def _fetch_all(jars: Sequence[Jar], directory: Path, fetch: Fetch) -> None:
    """Each jar appears under its name whole and verified, or not at all."""
    for left_by_a_crash in directory.glob(".fetch-*"):
        shutil.rmtree(left_by_a_crash)
    with (
        tempfile.TemporaryDirectory(prefix=".fetch-", dir=directory) as scratch,
        ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool,
    ):
        for jar, path in zip(jars, pool.map(lambda jar: fetch(jar, Path(scratch)), jars), strict=True):
            found = sha256(path)
            if found != jar.sha256:
                raise StartupError(
                    f"{jar.name} arrived with sha256 {found} instead of the pinned {jar.sha256}; "
                    "try again, and if it stays so, something between here and the Maven repository changes files"
                )
            path.replace(directory / jar.name)


def from_maven(jar: Jar, scratch: Path) -> Path:
    """Download one jar into `scratch`. Raises StartupError where the repository does not give it."""
    import requests
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    group, artifact, version, *classifier = jar.coordinate.split(":")
    repository = MavenContext(repo_cache=scratch, local_repos=[], remote_repos={"central": MAVEN_CENTRAL_URL})
    component = repository.project(group, artifact).at_version(version)
    try:
        return Path(component.artifact(*classifier).resolve())
    except (requests.RequestException, RuntimeError) as error:
        raise StartupError(
            f"cannot fetch {jar.name} from the Maven repository ({_first_line(error)}); the first start needs the "
            "network (HTTPS_PROXY is honoured). Without it: use a Kafka that runs already, by --bootstrap HOST:PORT"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; it ends with the process at the latest."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def resolve() -> tuple[Jar, ...]:
    """What the two coordinates need, as the Maven repository says today. Asks the network for everything."""
    import jgo

    scratch = Path(tempfile.mkdtemp(prefix="nextbest-jars-"))
    try:
        artifacts = [artifact for root in (KAFKA, LOGGING) for artifact in jgo.resolve(root)]
        found: dict[str, Jar] = {}
        for artifact in artifacts:
            parts = [artifact.groupId, artifact.artifactId, artifact.version, artifact.classifier]
            coordinate = ":".join(part for part in parts if part)
            if artifact.artifactId not in {name.split(":")[1] for name in found}:
                found[coordinate] = Jar(coordinate, sha256(from_maven(Jar(coordinate, ""), scratch)))
        return tuple(sorted(found.values(), key=lambda jar: jar.coordinate))
    finally:
        shutil.rmtree(scratch)


def main() -> None:
    header = f"# What {KAFKA} and {LOGGING} need to run. Written by `make lock`.\n"
    lines = "".join(f"{jar.coordinate} sha256:{jar.sha256}\n" for jar in resolve())
    LOCK_FILE.write_text(header + lines, "utf-8")


if __name__ == "__main__":
    main()
