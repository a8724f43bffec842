"""What importing commands share: read a file, tell what is wrong with it, send it until the broker has all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress

from pipeline.adapters import kafka
from pipeline.adapters.follower import Follower
from pipeline.bridge.line_file import Import
from pipeline.cli.cluster import fail
from pipeline.policy.directory import Directory
from pipeline.ports import Outbound
from pipeline.settings import Settings
from topics.catalog import Topic

_ANSWER_S = 15.0
_Found = TypeVar("_Found", bound=Import)

Tenant = Annotated[str | None, typer.Option(help="The tenant they belong to; default: the configured one.")]
out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def is_csv(file: Path) -> bool:
    """Whether a file says by its name that it is CSV."""
    return file.suffix.lower() == ".csv"


def read(file: Path, read_lines: Callable[[Iterable[str]], _Found]) -> _Found:
    """What the file's lines make. Exits with 1 where it cannot be read as text."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return read_lines(lines)
    except (OSError, UnicodeDecodeError) as error:
        stop(f"{file} cannot be read as UTF-8 text: {error}")


def tell(file: Path, found: Import) -> None:
    """Tell what is wrong with the file. Exits with 1 where that keeps it from being imported."""
    for line in (*found.warnings.lines, *found.errors.lines):
        err.print(line, markup=False)
    if found.errors.count:
        stop(f"{file}: nothing was imported")


def send(settings: Settings, records: list[Outbound], what: str) -> None:
    """Send the records, and wait until the broker has acknowledged each. Exits with 1 where it does not."""
    producer = kafka.producer(settings, what)
    failed: list[str] = []
    with Progress(console=err, transient=True) as progress:
        bar = progress.add_task(what, total=len(records))

        def delivered(error: object, _message: object) -> None:
            if error:
                failed.append(str(error))
            progress.advance(bar)

        for record in records:
            while True:
                try:
                    producer.produce(record.topic, key=record.key, value=record.value, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        left = producer.flush(_ANSWER_S)
    if failed or left:
        stop(f"{len(failed) + left} of {len(records)} {what} were not taken by {settings.bootstrap} "
             f"({failed[0] if failed else 'no answer'}): import the file again, what was taken does not change by it")


def followed(settings: Settings, topics: tuple[Topic, ...]) -> Directory:
    """What was published on compacted topics, read to their end. Exits with 1 where the broker does not answer."""
    directory = Directory()
    follower = Follower(settings, topics, directory.apply)
    follower.start()
    caught_up = follower.caught_up.wait(_ANSWER_S)
    follower.stop()
    if not caught_up:
        stop(f"{settings.bootstrap} did not answer within {_ANSWER_S:.0f} s: is the broker running, and were the "
             "topics made (nextbest topics apply)?")
    return directory


def stop(said: str) -> NoReturn:
    """Say why, and exit with 1."""
    raise fail(said)
