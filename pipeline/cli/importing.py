"""What importing commands share: read a file, tell what is wrong with it, send it until the broker has all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer
from confluent_kafka import Message, TopicPartition
from rich.console import Console
from rich.progress import Progress

from pipeline.adapters import kafka
from pipeline.adapters.follower import Follower
from pipeline.cli.cluster import fail
from pipeline.core.identity.identifiers import IdentifierError, tenant_name
from pipeline.core.model.definitions import Policy
from pipeline.ingest.line_file import Import
from pipeline.policy.directory import Directory
from pipeline.ports import Outbound
from pipeline.settings import Settings
from topics.catalog import POLICY_RELEASES, Topic

_ANSWER_S = 15.0
#: How long the workers are waited for once the broker has everything; and how often they are asked.
APPLIED_S = 10.0
_LOOK_S = 0.1
_Found = TypeVar("_Found", bound=Import)

Tenant = Annotated[str | None, typer.Option(help="The tenant they belong to; default: the configured one.")]
out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def is_csv(file: Path) -> bool:
    """Whether a file says by its name that it is CSV."""
    return file.suffix.lower() == ".csv"


def whose(settings: Settings, tenant: str | None) -> tuple[str, Policy | None]:
    """The tenant, and its live policy if it has one. Exits with 1 for what is no tenant's name."""
    try:
        name = tenant_name(tenant or settings.tenant)
    except IdentifierError as error:
        stop(f"--tenant: {error}")
    live = followed(settings, (POLICY_RELEASES,)).live(name)
    return name, live.policy if live else None


def read(file: Path, read_lines: Callable[[Iterable[str]], _Found]) -> _Found:
    """What the file's lines make. Exits with 1 where it cannot be read as text."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return read_lines(lines)
    except FileNotFoundError:
        stop(f"{file}: there is no such file")
    except OSError as error:
        stop(f"{file} cannot be opened: {error.strerror}")
    except UnicodeDecodeError as error:
        stop(f"{file} cannot be read as UTF-8 text: {error}")


def tell(file: Path, found: Import) -> None:
    """Tell what is wrong with the file. Exits with 1 where that keeps it from being imported."""
    for line in (*found.warnings.lines, *found.errors.lines):
        err.print(line, markup=False)
    if found.errors.count:
        stop(f"{file}: nothing was imported")


def send(settings: Settings, records: list[Outbound], what: str) -> None:
    """Send the records, wait until the broker has acknowledged each, and for a while until the workers have applied
    them, so that the next command sees them. Exits with 1 where the broker does not take them."""
    producer = kafka.producer(settings, what)
    failed: list[str] = []
    ends: dict[tuple[str, int], int] = {}
    with Progress(console=err, transient=True) as progress:
        bar = progress.add_task(what, total=len(records))

        def delivered(error: object, message: Message) -> None:
            if error:
                failed.append(str(error))
            else:
                place = (message.topic() or "", message.partition() or 0)
                ends[place] = max(ends.get(place, 0), (message.offset() or 0) + 1)
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
    if not applied(settings, ends):
        err.print(f"the broker has all {what}, the workers have not applied them yet: are they running?", markup=False)


def applied(settings: Settings, ends: Mapping[tuple[str, int], int]) -> bool:
    """Whether the workers have committed up to these offsets (by topic and partition). Waits a while at most."""
    if not ends:
        return True
    consumer = kafka.consumer(settings, settings.app_id, "import")
    try:
        end_s = time.monotonic() + APPLIED_S
        while True:
            places = consumer.committed([TopicPartition(*place) for place in ends], timeout=_ANSWER_S)
            if all(place.offset >= ends[place.topic, place.partition] for place in places):
                return True
            if time.monotonic() > end_s:
                return False
            time.sleep(_LOOK_S)
    finally:
        consumer.close()


def followed(settings: Settings, topics: tuple[Topic, ...]) -> Directory:
    """What was published on compacted topics, read to their end. Exits with 1 where the broker does not answer."""
    directory = Directory(loading=True)
    follower = Follower(settings, topics, directory.apply, directory.loaded)
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
