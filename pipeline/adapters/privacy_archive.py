"""Privacy jobs on a cluster: read off `erasure.requests` and `erasure.receipts`, with what the other topics hold.

Blocks. Holds nothing between two questions: every one reads the topics, as few partitions of them as it can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from pipeline.adapters import kafka
from pipeline.adapters.keys import key_encryption_of
from pipeline.adapters.privacy_search import Dossier, Verifier
from pipeline.adapters.reading import partitions, read, reader
from pipeline.codecs import avro
from pipeline.core.identity.privacy_jobs import Job, job_of, subjects_of
from pipeline.core.model.records import ErasureRequest
from pipeline.flow import Record
from pipeline.settings import Settings
from topics.catalog import ERASURE_RECEIPTS, ERASURE_REQUESTS, PROFILES_BY_ID, TOPICS
from topics.partitions import subject_partition

#: Gives every record of these topics, topic by topic in this order; of some partitions only, where they are named.
Source = Callable[[Sequence[str], Iterable[int] | None], Iterator[Record]]


class PrivacyArchive:
    """What is asked about jobs and subjects."""

    def __init__(self, source: Source, settings: Settings) -> None:
        self._source = source
        self._key_encryption = key_encryption_of(settings)
        self._changelog = PROFILES_BY_ID.changelog(settings.app_id)

    def job(self, job_id: str) -> Job | None:
        """The job; None where nobody asked for it. Raises KafkaException."""
        requests, receipts = self._evidence()
        return job_of(requests, receipts, job_id)

    def document(self, job: Job) -> dict[str, Any]:
        """Everything that can be read about the job's subject, as one JSON object. Raises KafkaException."""
        identifiers = frozenset(name.encode() for name in job.identifiers)
        dossier = Dossier(self._key_encryption, self._changelog, identifiers)
        for record in self._source(self._everywhere(), {subject_partition(name) for name in identifiers}):
            dossier.add(record)
        return {"subject": job.request.subject, **dossier.document()}

    def verifier(self, subjects: Iterable[str]) -> tuple[set[str], Verifier]:
        """Who has looked through every topic for these subjects, and under which identifiers. Raises KafkaException."""
        names = subjects_of(self._evidence()[1], subjects)
        verifier = Verifier(self._key_encryption, self._changelog, [name.encode() for name in names])
        for record in self._source(self._everywhere(), None):
            verifier.add(record)
        return names, verifier

    def _everywhere(self) -> list[str]:
        return [self._changelog, *(topic.name for topic in TOPICS if not topic.compacted)]

    def _evidence(self) -> tuple[list[ErasureRequest], list[Any]]:
        found: dict[str, list[Any]] = {ERASURE_REQUESTS.name: [], ERASURE_RECEIPTS.name: []}
        topics = {topic.name: topic for topic in (ERASURE_REQUESTS, ERASURE_RECEIPTS)}
        for record in self._source(list(topics), None):
            try:
                found[record.topic].append(avro.decode(topics[record.topic], record.value))
            except avro.CodecError:
                continue  # the worker has made a dead letter of it
        return found[ERASURE_REQUESTS.name], found[ERASURE_RECEIPTS.name]


def open_archive(settings: Settings) -> PrivacyArchive:
    """The archive of a cluster."""

    def source(topics: Sequence[str], wanted: Iterable[int] | None) -> Iterator[Record]:
        numbers = None if wanted is None else set(wanted)
        consumer = reader(settings, "privacy")
        try:
            for topic in topics:
                # Letters of keyless records lie on any partition, replies on their bridge's.
                places = partitions(consumer, [topic])
                starts = {place: 0 for place in places if numbers is None or place[1] in numbers}
                for message in read(consumer, starts):
                    key, value = message.key(), message.value()
                    yield Record(
                        topic, message.partition() or 0, message.offset() or 0, message.timestamp()[1],
                        key if isinstance(key, bytes) else None, value if isinstance(value, bytes) else None,
                    )
        finally:
            consumer.close()

    return PrivacyArchive(source, settings)


def submit(settings: Settings, request: ErasureRequest) -> None:
    """Ask for a job, and wait until the broker has it. Blocks. Raises KafkaException, and CodecError for what the
    worker would refuse."""
    producer = kafka.producer(settings, "privacy")
    failures: list[Any] = []
    producer.produce(
        ERASURE_REQUESTS.name, avro.encode_checked(ERASURE_REQUESTS, request), request.subject.encode(),
        on_delivery=lambda error, _message: failures.append(error) if error is not None else None,
    )
    if producer.flush(kafka.ADMIN_TIMEOUT_S) or failures:
        raise KafkaException(failures[0] if failures else KafkaError(KafkaError._TIMED_OUT, "it was not acknowledged"))

