"""A file of consent through the whole pipeline in memory: decisions obey it, and to import it again changes nothing."""

from __future__ import annotations

from pathlib import Path

from pipeline.codecs import avro
from pipeline.core.identity.identifiers import subject_key
from pipeline.core.model.records import IdentityEvent
from pipeline.core.model.values import replaced
from pipeline.ingest import consent_import
from pipeline.ingest.consent_import import Format
from pipeline.runtime.memory import MemoryPipeline
from pipeline.topology import FLOWS
from tests.support import shop
from topics.catalog import BY_NAME, DECISION_REPLIES, DECISION_REQUESTS, IDENTITY_EVENTS, SEGMENT_CHANGES

KEY = (b"k",)
FILE = """id,type,purpose,granted,at
ann,user_id,personalization,yes,2020-01-01
ben,user_id,personalization,yes,2020-01-01
ben,user_id,personalization,no,2020-01-02
"""


def test_decisions_obey_an_imported_file_and_importing_it_again_changes_nothing(tmp_path: Path) -> None:
    pipeline = MemoryPipeline(FLOWS)
    for record in shop.publication(tmp_path):
        pipeline.send(BY_NAME[record.topic], record.key, record.value)
    subjects = [subject_key(KEY, "shop", "user_id", name) for name in ("ann", "ben", "cid")]

    def imports() -> list[object]:
        live = pipeline.directory.live("shop")
        found = consent_import.read(FILE.splitlines(keepends=True), Format.CSV, True, KEY, "shop",
                                    live.policy if live else None, pipeline.clock.at_ms)
        assert len(found.records) == 3, found.errors
        for record in found.records:
            pipeline.send(IDENTITY_EVENTS, record.key, record.value)
        pipeline.run()
        return [pipeline.state(subject) for subject in subjects]

    once = imports()
    for number, subject in enumerate(subjects):
        pipeline.send(DECISION_REQUESTS, subject, shop.request(f"r{number}", subject))
    pipeline.run()
    reasons = {reply.request_id: reply.reason for reply in pipeline.values(DECISION_REPLIES)}
    assert reasons == {"r0": "decided", "r1": "no_consent", "r2": "no_consent"}
    assert once[0] != once[1] and once[2] is None

    before, changes = [pipeline.state(subject) for subject in subjects], pipeline.values(SEGMENT_CHANGES)
    pipeline.clock.at_ms += 60_000
    assert imports() == before
    assert pipeline.values(SEGMENT_CHANGES) == changes


def test_importing_again_does_not_undo_what_was_said_since(tmp_path: Path) -> None:
    pipeline = MemoryPipeline(FLOWS)
    subject = subject_key(KEY, "shop", "user_id", "ann")
    [record, *_] = consent_import.read(FILE.splitlines(keepends=True), Format.CSV, True, KEY, "shop", None,
                                       pipeline.clock.at_ms).records
    event: IdentityEvent = avro.decode(IDENTITY_EVENTS, record.value)
    pipeline.send(IDENTITY_EVENTS, subject, event)
    pipeline.send(IDENTITY_EVENTS, subject, shop.consent(subject, pipeline.clock.at_ms, False))
    pipeline.run()
    answers = pipeline.state(subject).consent
    assert answers and not any(one.granted for one in answers.values())
    pipeline.send(IDENTITY_EVENTS, subject, replaced(event, event_id="after the id of the first was forgotten"))
    pipeline.run()
    assert pipeline.state(subject).consent == answers
