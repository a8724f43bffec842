"""Sends a load to `features.loads`, some profiles at a time, and writes down how far it got.

What was acknowledged is not sent again after an end in the midst. That saves time only: what is sent twice is applied
once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Message, Producer

from feature_batch.errors import FeatureBatchError
from feature_batch.loading import Load
from pipeline.codecs import avro
from pipeline.codecs.errors import CodecError
from pipeline.core.model.records import IdentityEvent
from topics.catalog import FEATURE_LOADS

#: Records that are acknowledged before the checkpoint is written and the next are sent.
PORTION: Final = 2_000
#: How long the broker may take to acknowledge a portion.
ANSWER_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a load is.

    :param load: `Load.id`. :param topic_id: which topic of that name took it: one made anew lacks it all.
    :param after: the last profile that was acknowledged. :param sent: how many were.
    """

    load: str
    topic_id: str
    after: str = ""
    sent: int = 0
    is_done: bool = False


#: Where a load's records went: (partition) → the offset behind the last one.
Ends = dict[tuple[str, int], int]


def checkpoint_file(place: Path) -> Path:
    """Beside the version's folder, not in it: the version stays as it was computed."""
    return place.parent / f"{place.name}.load.json"


def checkpoint_of(load: Load, topic_id: str) -> Checkpoint:
    """Where the load goes on: at its beginning, unless it is this very load to this very topic that was begun.

    Raises FeatureBatchError where there is a file that cannot be read.
    """
    file = checkpoint_file(load.place)
    anew = Checkpoint(load.id, topic_id)
    try:
        found = Checkpoint(**json.loads(file.read_text("utf-8")))
    except FileNotFoundError:
        return anew
    except (OSError, ValueError, TypeError) as error:
        raise FeatureBatchError(f"{file} cannot be read: {error}. Delete it to load from the beginning.") from error
    return found if (found.load, found.topic_id) == (load.id, topic_id) else anew


def send(
    load: Load, checkpoint: Checkpoint, producer: Producer, watch: Callable[[int], None] = lambda sent: None
) -> tuple[Checkpoint, Ends]:
    """Send what is left of a load; returns the last checkpoint, and where the records went. Blocks.

    :param watch: is told how many of the load's profiles are sent.
    Raises FeatureBatchError where the broker does not take it, or a value is none that may be sent; OSError where the
    checkpoint cannot be written.
    """
    ends: Ends = {}
    for portion in _portions(load.events(checkpoint.after)):
        _send(portion, producer, ends)
        checkpoint = replace(checkpoint, after=portion[-1].subject, sent=checkpoint.sent + len(portion))
        _save(load.place, checkpoint)
        watch(checkpoint.sent)
    checkpoint = replace(checkpoint, is_done=True)
    _save(load.place, checkpoint)
    return checkpoint, ends


def _portions(events: Iterator[IdentityEvent]) -> Iterator[list[IdentityEvent]]:
    while portion := list(islice(events, PORTION)):
        yield portion


def _send(portion: Iterable[IdentityEvent], producer: Producer, ends: Ends) -> None:
    """Returns when the broker has all of it."""
    failed: list[str] = []

    def delivered(error: Any, message: Message) -> None:
        if error:
            failed.append(str(error))
            return
        place = (message.topic() or "", message.partition() or 0)
        ends[place] = max(ends.get(place, 0), (message.offset() or 0) + 1)

    for event in portion:
        try:
            value = avro.encode_checked(FEATURE_LOADS, event)
        except CodecError as error:
            raise FeatureBatchError(f"The values of {event.subject} cannot be loaded: {error.detail}.") from error
        while True:
            try:
                producer.produce(FEATURE_LOADS.name, key=event.subject.encode(), value=value, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(ANSWER_S)
    if failed or left:
        why = failed[0] if failed else "no answer"
        raise FeatureBatchError(f"{len(failed) + left:,} records were not taken ({why}). Load the folder again: it "
                                "goes on behind what was taken.")


def _save(place: Path, checkpoint: Checkpoint) -> None:
    """Whole or as before."""
    file = checkpoint_file(place)
    half = file.with_name(f".{file.name}.half")
    half.write_text(json.dumps(asdict(checkpoint)), "utf-8")
    os.replace(half, file)
