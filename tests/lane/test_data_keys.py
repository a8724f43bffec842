"""What is known of a subject lies nowhere in the open, and every value carries the key that it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.codecs import envelope as envelopes
from pipeline.codecs.encryption import DecryptionError, KeyEncryption
from pipeline.codecs.envelope import Envelope
from pipeline.core.model.records import (
    ConsentGrant,
    DecisionRequest,
    FeedbackEvent,
    FeedbackKind,
    IdentityEvent,
    IdentityKind,
    Scalar,
    SegmentChange,
)
from pipeline.core.subject import Erased, Person
from pipeline.flow import Accept, Context, Emit, Flow, Lane, Outcome, Reason
from pipeline.runtime.data_keys import DataKeys
from pipeline.runtime.memory import MemoryPipeline, MemoryStore, counting_chance
from pipeline.topology import FLOWS
from tests.support import shop
from topics.catalog import (
    BY_NAME,
    DEAD_LETTERS,
    DECISION_AUDIT,
    DECISION_REQUESTS,
    DECISIONS,
    FEEDBACK_EVENTS,
    IDENTITY_EVENTS,
    PROFILES_BY_ID,
    SEGMENT_CHANGES,
)

ANN = "shop/ann"
SECRET = "Zanzibar"
CHANCE = counting_chance()


def told(path: Path) -> MemoryPipeline:
    """A pipeline that was told about Ann, and asked."""
    pipeline = MemoryPipeline(FLOWS)
    for record in shop.publication(path):
        pipeline.send(BY_NAME[record.topic], record.key, record.value)
    grants = [ConsentGrant("personalization", True, 1)]
    traits: dict[str, Scalar] = {"plan": SECRET, "age": 44}
    pipeline.send(IDENTITY_EVENTS, ANN, IdentityEvent("e1", ANN, IdentityKind.IDENTIFY, 1, traits, grants))
    pipeline.send(DECISION_REQUESTS, ANN, DecisionRequest("r1", ANN, "web", ["hero"], reply_partition=0))
    pipeline.send(DECISION_REQUESTS, ANN, b"broken " + SECRET.encode())
    pipeline.run()
    return pipeline


def test_nothing_personal_lies_in_the_open_and_everything_opens_with_the_key(tmp_path: Path) -> None:
    pipeline = told(tmp_path)
    outputs = [r for name, logs in pipeline.logs.items() for log in logs for r in log
               if name in ("decisions", "decision.audit", "segment.changes", "dead.letters")]
    assert len({r.topic for r in outputs}) >= 3
    for record in outputs:
        for said in (SECRET.encode(), ANN.encode(), b"ann"):
            assert said not in (record.key or b"") and said not in (record.value or b""), record.topic
    for log in pipeline.changelog:
        assert not any(SECRET.encode() in value for _, value in log)
    [audit] = pipeline.values(DECISION_AUDIT)
    [decision] = pipeline.values(DECISIONS)
    assert audit.profile_before.traits["plan"].value == SECRET
    assert audit.profile_id == decision.profile_id == ANN and audit.encrypted is decision.encrypted is None


def test_a_subject_has_one_pseudonym_on_all_topics_and_another_than_anybody_else(tmp_path: Path) -> None:
    pipeline = told(tmp_path)
    pipeline.send(DECISION_REQUESTS, "shop/bob", DecisionRequest("r2", "shop/bob", "web", ["hero"]))
    pipeline.run()
    names = {record.key for topic in (DECISIONS, DECISION_AUDIT, SEGMENT_CHANGES)
             for log in pipeline.logs.get(topic.name, []) for record in log}
    assert len(names) == 2 and all(name is not None and name.startswith(b"shop/") for name in names)


def test_a_key_is_made_once_and_lies_in_every_value_that_it_encrypts(tmp_path: Path) -> None:
    pipeline = told(tmp_path)
    keys = [envelopes.key_of(value) for log in pipeline.changelog for key, value in log if key == ANN.encode()]
    assert len(keys) == 2 and keys[0] is not None and keys[0] == keys[1]


def test_a_restarted_worker_goes_on_with_the_key_there_is(tmp_path: Path) -> None:
    pipeline = told(tmp_path)
    before = pipeline.keyring().wrapped
    pipeline.restart()
    pipeline.send(DECISION_REQUESTS, ANN, DecisionRequest("r2", ANN, "web", ["hero"]))
    pipeline.run()
    assert pipeline.keyring().wrapped == before
    assert [decision.request_id for decision in pipeline.values(DECISIONS)] == ["r1", "r2"]


def test_what_follows_from_an_unwritable_outcome_changes_no_key() -> None:
    """The dead letter is encrypted with what stays: a key that was made for nothing would be nowhere."""

    def erase(event: FeedbackEvent, state: Person | None, _ctx: Context) -> Outcome:
        gone = (Erased if event.item_id == "gone" else Person)(profile_id=event.subject)
        text = "\ud800" if event.item_id else "ok"
        change = SegmentChange(event.subject, "s", True, event.at_ms, text, "r1")
        return Accept(Reason.APPLIED, gone, (Emit(SEGMENT_CHANGES, event.subject, change),))

    flow = Flow("test", FEEDBACK_EVENTS, (SEGMENT_CHANGES,), erase, Lane.BATCH, key=lambda event: event.subject,
                table=PROFILES_BY_ID)
    pipeline = MemoryPipeline((flow,))
    for number, item in enumerate(("anew", "", "gone", "")):
        event = FeedbackEvent(f"e{number}", ANN, FeedbackKind.CLICK, 1, item_id=item)
        pipeline.send(FEEDBACK_EVENTS, ANN, event)
    pipeline.run()
    assert len(pipeline.keyring().wrapped) == 1
    assert [letter.encrypted for letter in pipeline.values(DEAD_LETTERS)] == [None, None]
    assert [change.encrypted for change in pipeline.values(SEGMENT_CHANGES)] == [None, None]


def keys_over(store: MemoryStore, secrets: str = "test") -> DataKeys:
    return DataKeys(KeyEncryption(secrets, CHANCE), store, 1)


def test_an_erased_value_opens_without_a_key_and_one_of_another_subject_does_not_open() -> None:
    store, owner = MemoryStore(), keys_over(MemoryStore())
    cipher = owner.after(b"t/a", None, True)
    assert cipher is not None and owner.after(b"t/a", cipher, True) is cipher
    assert owner.after(b"t/a", cipher, False) is None
    store.apply({b"t/a": owner.encrypted(Envelope(state=b"left"), None)}, 0)
    envelope, none = keys_over(store).load(b"t/a")
    assert (envelope.state, envelope.key, none) == (b"left", None, None)
    store.apply({b"t/b": owner.encrypted(Envelope(state=b"hers"), cipher)}, 1)
    with pytest.raises(DecryptionError, match="not this subject"):
        keys_over(store).load(b"t/b")
    store.apply({b"t/a": owner.encrypted(Envelope(state=b"hers"), cipher)}, 2)
    with pytest.raises(DecryptionError, match="NEXTBEST_PRIVACY_KEY"):
        keys_over(store, "another").load(b"t/a")


def test_a_key_made_anew_is_another_under_another_pseudonym() -> None:
    owner = keys_over(MemoryStore())
    first, second = owner.after(b"t/a", None, True), owner.after(b"t/a", None, True)
    assert first is not None and second is not None
    assert first.pseudonym != second.pseudonym and first.wrapped != second.wrapped


def test_an_earlier_installation_key_still_opens_and_a_foreign_one_says_what_is_missing() -> None:
    chance = counting_chance()
    old, both, new = KeyEncryption("old", chance), KeyEncryption("new, old", chance), KeyEncryption("new", chance)
    cipher = old.new_key(b"t/a", old.nonces(1))
    wrapped = cipher.wrapped or b""
    encrypted, term = cipher.encrypt(b"text", b"p"), old.of_term(old.nonces(1)).encrypt(b"text", b"p")
    assert both.unwrapped(b"t/a", wrapped).open(encrypted, b"p") == both.opened(term, b"p") == b"text"
    for failing in (lambda: new.unwrapped(b"t/a", wrapped), lambda: new.opened(term, b"p")):
        with pytest.raises(DecryptionError, match="NEXTBEST_PRIVACY_KEY"):
            failing()
    with pytest.raises(DecryptionError, match="not this subject"):
        old.unwrapped(b"t/b", wrapped)
    with pytest.raises(DecryptionError):
        cipher.open(encrypted, b"another purpose")
    with pytest.raises(DecryptionError, match="empty"):
        KeyEncryption(" , ", chance)


def test_no_nonce_comes_twice_within_a_term_or_in_two() -> None:
    key_encryption = KeyEncryption("test", counting_chance())
    terms = [key_encryption.nonces(epoch) for epoch in (1, 1, 2)]
    nonces = [term.next() for term in terms for _ in range(1_000)]
    assert len(set(nonces)) == len(nonces) and {len(nonce) for nonce in nonces} == {12}
