"""Limits of codec, topics and producer fit together: nothing that may be written is refused by what comes after it."""

from __future__ import annotations

import pytest

from pipeline.adapters.kafka import BATCH_BYTES_MAX
from pipeline.adapters.topic_plan import declared
from pipeline.codecs import state
from pipeline.core.consent.answers import ANSWERS_MAX
from pipeline.core.learn import TRAITS_MAX
from pipeline.core.model.bounds import NAME_CHARS_MAX, TEXT_CHARS_MAX
from pipeline.core.model.records import Chosen, ConsentGrant, DecisionReply
from pipeline.core.model.values import packed
from pipeline.core.sections.counters import Counter
from pipeline.core.sections.retries import REQUESTS_MAX, Remembered
from pipeline.core.sections.seen import EVENTS_MAX, Seen
from pipeline.core.sections.timestamps import TIMESTAMPS_MAX
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import Person
from pipeline.flow import Lane
from pipeline.runtime import letters
from pipeline.runtime.lane import OUTBOX_BYTES_MAX
from pipeline.topology import FLOWS
from topics.catalog import (
    ACCOUNTS,
    AUDIT_BYTES_MAX,
    DEAD_LETTERS,
    DECISION_AUDIT,
    DECISION_BYTES_MAX,
    DECISION_REPLIES,
    DECISIONS,
    ENVELOPE_BYTES_MAX,
    FRAME_BYTES_MAX,
    INPUT_BYTES_MAX,
    LARGEST_RECORD_BYTES,
    PROFILE_BYTES_MAX,
    PROFILE_INBOX,
    RECORD_LIMIT_BYTES,
    SEGMENT_CHANGES,
    TOPICS,
    Topic,
)

every_topic = pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)

#: A name or key at its longest, in UTF-8.
NAME_BYTES_MAX = 4 * NAME_CHARS_MAX


@every_topic
def test_the_broker_takes_what_the_codec_writes_with_its_key_and_frame(topic: Topic) -> None:
    assert topic.max_record_bytes >= topic.value_bytes_max + FRAME_BYTES_MAX
    assert 4 * NAME_BYTES_MAX < FRAME_BYTES_MAX
    assert topic.config["max.message.bytes"] == str(topic.max_record_bytes)


def test_the_producer_can_send_what_any_topic_takes_and_any_topic_takes_a_whole_batch() -> None:
    taken = [int(topic.config["max.message.bytes"]) for topic in declared("shop")]
    assert max(taken) == LARGEST_RECORD_BYTES
    assert min(taken) > BATCH_BYTES_MAX


def test_an_input_too_large_to_be_processed_is_taken_by_its_topic_and_kept_whole_by_its_letter() -> None:
    for flow in FLOWS:
        if flow.lane is Lane.BATCH and flow.reads is not PROFILE_INBOX:
            assert flow.reads.value_bytes_max == RECORD_LIMIT_BYTES
            assert flow.reads.max_record_bytes == INPUT_BYTES_MAX > 8 * RECORD_LIMIT_BYTES
    assert letters.VALUE_BYTES_MAX >= max(INPUT_BYTES_MAX, *(flow.reads.value_bytes_max for flow in FLOWS))


def test_an_inbox_record_holds_a_whole_profile_or_the_largest_input() -> None:
    assert PROFILE_INBOX.value_bytes_max >= max(PROFILE_BYTES_MAX, RECORD_LIMIT_BYTES) + 3 * NAME_BYTES_MAX


def test_an_audit_record_holds_the_request_the_profile_and_what_was_chosen_and_why() -> None:
    why = 512 * 1_024
    assert DECISION_AUDIT.value_bytes_max == AUDIT_BYTES_MAX
    assert AUDIT_BYTES_MAX >= (
        RECORD_LIMIT_BYTES + PROFILE_BYTES_MAX + DECISION_BYTES_MAX + ACCOUNTS.value_bytes_max + why)


def test_an_envelope_holds_the_profile_a_full_outbox_and_one_more_records_outputs() -> None:
    decided = sum(topic.value_bytes_max for topic in (DECISION_AUDIT, DECISIONS, DECISION_REPLIES, SEGMENT_CHANGES))
    rejected = RECORD_LIMIT_BYTES + letters.HEADERS_BYTES_MAX + letters.KEY_BYTES_MAX + 4 * letters.DETAIL_CHARS_MAX
    one_record = max(decided, PROFILE_INBOX.value_bytes_max, rejected) + FRAME_BYTES_MAX
    assert ENVELOPE_BYTES_MAX >= PROFILE_BYTES_MAX + OUTBOX_BYTES_MAX + one_record
    (changelog,) = (topic for topic in declared("shop") if topic.name.endswith("-changelog"))
    assert int(changelog.config["max.message.bytes"]) >= ENVELOPE_BYTES_MAX + FRAME_BYTES_MAX


def test_a_letter_holds_the_most_that_is_kept_of_a_record() -> None:
    kept = letters.VALUE_BYTES_MAX + letters.HEADERS_BYTES_MAX + letters.KEY_BYTES_MAX + 4 * letters.DETAIL_CHARS_MAX
    assert DEAD_LETTERS.value_bytes_max >= kept + FRAME_BYTES_MAX
    assert letters.KEY_BYTES_MAX < FRAME_BYTES_MAX


def test_a_profile_full_of_everything_is_within_its_limit() -> None:
    timestamps = tuple(range(1_790_000_000_000, 1_790_000_000_000 + TIMESTAMPS_MAX))
    name = "n" * NAME_CHARS_MAX
    chosen = [Chosen(f"item-{n}", "offer", "hero", "large", 1, 300, content={"title": "t" * 200}) for n in range(10)]
    reply = DecisionReply(name, "d", chosen, False, "decided", "release")
    full = Person(
        profile_id=name,
        traits={f"{name}{n}": Trait("t" * TEXT_CHARS_MAX, timestamps[0]) for n in range(TRAITS_MAX)},
        consent={f"{name}{n}": ConsentGrant(name, True, 1, name, name, proof=name) for n in range(ANSWERS_MAX)},
        behaviour={f"signal-{n}": timestamps for n in range(50)},
        counters={f"cap-{n}/item-{n}": Counter(timestamps[:5], 10) for n in range(2_000)},
        requests={f"{name}{n}": Remembered("d", timestamps[0], reply=packed(reply)) for n in range(REQUESTS_MAX)},
        event_ids=Seen(bytes(14 * EVENTS_MAX)),
    )
    assert len(state.encode(full)) <= PROFILE_BYTES_MAX
