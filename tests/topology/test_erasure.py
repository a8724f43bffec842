"""Erasure through the pipeline: nothing opens any more, nothing comes back, and a new consent begins anew."""

from __future__ import annotations

import pytest

from pipeline.codecs import encrypted_values
from pipeline.codecs import envelope as envelopes
from pipeline.core.model.records import ErasureAction, ErasureReceipt, ErasureRequest
from pipeline.core.model.values import replaced
from pipeline.core.subject import Erased, Person
from pipeline.runtime.memory import CrashError, MemoryPipeline
from pipeline.topology import FLOWS
from tests.support import shop
from topics.catalog import (
    BY_NAME,
    DECISION_AUDIT,
    DECISION_REPLIES,
    DECISION_REQUESTS,
    DECISIONS,
    ERASURE_RECEIPTS,
    ERASURE_REQUESTS,
    FEEDBACK_EVENTS,
    IDENTITY_EVENTS,
)

ANN, PHONE, LAPTOP = "shop/ann", "shop/phone", "shop/laptop"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple:  # type: ignore[type-arg]
    return shop.publication(tmp_path_factory.mktemp("policy"))


@pytest.fixture
def pipeline(published) -> MemoryPipeline:  # type: ignore[no-untyped-def]
    """Ann agreed, her phone and her laptop became hers, and each has asked before and after."""
    pipeline = MemoryPipeline(FLOWS)
    for record in published:
        pipeline.send(BY_NAME[record.topic], record.key, record.value)
    for who in (ANN, PHONE, LAPTOP):
        pipeline.send(IDENTITY_EVENTS, who, shop.consent(who, 1))
        pipeline.send(DECISION_REQUESTS, who, shop.request(f"before-{who}", who))
    pipeline.run()
    pipeline.send(IDENTITY_EVENTS, LAPTOP, shop.alias(LAPTOP, PHONE, 2))
    pipeline.run()
    pipeline.send(IDENTITY_EVENTS, PHONE, shop.alias(PHONE, ANN, 3))
    pipeline.run()
    pipeline.send(DECISION_REQUESTS, PHONE, shop.request("after", PHONE))
    pipeline.run()
    return pipeline


def ask_for(pipeline: MemoryPipeline, subject: str, action: str = "erase", job: str = "job-1") -> list[ErasureReceipt]:
    request = ErasureRequest(job, subject, ErasureAction(action), pipeline.clock.at_ms, "ticket 17")
    pipeline.send(ERASURE_REQUESTS, subject, request)
    pipeline.run()
    return [receipt for receipt in pipeline.values(ERASURE_RECEIPTS) if receipt.job_id == job]


def opened(pipeline: MemoryPipeline) -> int:
    """How many decisions and audits can be read with the keys there are."""
    return sum(one.encrypted is None for topic in (DECISIONS, DECISION_AUDIT) for one in pipeline.values(topic))


def keys_of(pipeline: MemoryPipeline) -> set[bytes]:
    return set(pipeline.keyring().wrapped)


def reply_to(pipeline: MemoryPipeline, request_id: str, who: str):  # type: ignore[no-untyped-def]
    pipeline.send(DECISION_REQUESTS, who, shop.request(request_id, who))
    pipeline.run()
    return next(reply for reply in pipeline.values(DECISION_REPLIES) if reply.request_id == request_id)


@pytest.mark.parametrize("asked_about", [ANN, PHONE, LAPTOP])
def test_whichever_identifier_is_named_all_of_her_is_forgotten(pipeline: MemoryPipeline, asked_about: str) -> None:
    assert opened(pipeline) == 8 and keys_of(pipeline) == {ANN.encode(), PHONE.encode(), LAPTOP.encode()}
    receipts = ask_for(pipeline, asked_about)
    assert {receipt.profile_id for receipt in receipts} == {ANN, PHONE, LAPTOP}
    [whole] = [receipt for receipt in receipts if receipt.part_of is None]
    assert whole.profile_id == ANN and set(whole.identifiers) == {ANN, PHONE, LAPTOP} and whole.known
    assert {"decision.audit", "decisions", "profiles_by_id"} <= set(whole.unreadable)
    assert opened(pipeline) == 0 and keys_of(pipeline) == set()
    for who in (ANN, PHONE, LAPTOP):
        state = pipeline.state(who)
        assert isinstance(state, Erased)


def test_others_stay_as_they_are(pipeline: MemoryPipeline) -> None:
    pipeline.send(IDENTITY_EVENTS, "shop/bob", shop.consent("shop/bob", 1))
    reply_to(pipeline, "bob", "shop/bob")
    ask_for(pipeline, ANN)
    assert opened(pipeline) == 2 and keys_of(pipeline) == {b"shop/bob"}


def test_late_records_and_old_imports_do_not_bring_anybody_back(pipeline: MemoryPipeline) -> None:
    erased_ms = pipeline.clock.at_ms
    ask_for(pipeline, ANN)
    pipeline.advance(5_000)
    for who in (ANN, PHONE):
        pipeline.send(IDENTITY_EVENTS, who, shop.traits(who, erased_ms - 10, f"late-{who}", plan="pro"))
        pipeline.send(IDENTITY_EVENTS, who, shop.traits(who, erased_ms + 10, f"later-{who}", plan="pro"))
        pipeline.send(IDENTITY_EVENTS, who, shop.consent(who, erased_ms - 10, event_id=f"old-{who}"))
        pipeline.send(FEEDBACK_EVENTS, who, shop.click(who, "tips", erased_ms + 10, f"click-{who}"))
    # An old answer wrapped into a new event is an old answer.
    wrapped = replaced(shop.consent(ANN, erased_ms - 10, event_id="wrapped"), at_ms=erased_ms + 20)
    pipeline.send(IDENTITY_EVENTS, ANN, wrapped)
    reply = reply_to(pipeline, "again", PHONE)
    assert reply.fallback and reply.reason == "no_consent"
    assert keys_of(pipeline) == set() and opened(pipeline) == 0
    assert pipeline.metrics.counts[("identity", "drop", "erased")] == 7
    assert isinstance(pipeline.state(ANN), Erased)


def test_a_new_consent_begins_anew_and_only_there(pipeline: MemoryPipeline) -> None:
    erased_ms = pipeline.clock.at_ms
    ask_for(pipeline, ANN)
    pipeline.advance(5_000)
    pipeline.send(IDENTITY_EVENTS, PHONE, shop.consent(PHONE, erased_ms + 1_000, event_id="anew"))
    reply = reply_to(pipeline, "anew", PHONE)
    assert not reply.fallback and keys_of(pipeline) == {PHONE.encode()}
    assert opened(pipeline) == 2
    pipeline.send(IDENTITY_EVENTS, PHONE, shop.traits(PHONE, erased_ms - 1, "from-before", plan="pro"))
    pipeline.run()
    state = pipeline.state(PHONE)
    assert isinstance(state, Person) and state.traits == {} and state.merged == {}


def test_nothing_newly_joins_somebody_erased(pipeline: MemoryPipeline) -> None:
    ask_for(pipeline, ANN)
    pipeline.send(IDENTITY_EVENTS, "shop/tablet", shop.consent("shop/tablet", 1))
    reply_to(pipeline, "tablet", "shop/tablet")
    pipeline.send(IDENTITY_EVENTS, "shop/tv", shop.consent("shop/tv", 1))
    pipeline.send(IDENTITY_EVENTS, "shop/tv", shop.alias("shop/tv", "shop/tablet", 2))
    pipeline.run()
    assert keys_of(pipeline) == {b"shop/tablet", b"shop/tv"}
    pipeline.send(IDENTITY_EVENTS, "shop/tablet", shop.alias("shop/tablet", ANN, 4))
    pipeline.send(IDENTITY_EVENTS, ANN, shop.alias(ANN, "shop/tablet", 5))
    pipeline.run()
    assert keys_of(pipeline) == {b"shop/tablet", b"shop/tv"}
    assert isinstance(pipeline.state(ANN), Erased) and isinstance(pipeline.state("shop/tablet"), Person)


def test_a_job_asked_for_twice_and_somebody_unknown_get_receipts(pipeline: MemoryPipeline) -> None:
    ask_for(pipeline, ANN)
    again = [receipt for receipt in ask_for(pipeline, ANN, job="job-2") if receipt.part_of is None]
    [unknown] = ask_for(pipeline, "shop/nobody", job="job-3")
    assert [receipt.known for receipt in (*again, unknown)] == [False, False]
    assert isinstance(pipeline.state("shop/nobody"), Erased)


def test_what_waited_to_be_sent_is_gone_from_the_table_too(pipeline: MemoryPipeline) -> None:
    ask_for(pipeline, ANN)
    pipeline.advance(2_000)
    for log in pipeline.changelog:
        for key, value in dict(log).items():
            envelope, cipher = encrypted_values.opened(pipeline.key_encryption, key, value)
            assert cipher is None
            assert envelope.due_ms is None
            assert all(out.topic in ("erasure.receipts",) for p in envelope.outbox for out in p.outputs)


def test_an_export_names_every_identifier_and_changes_nothing(pipeline: MemoryPipeline) -> None:
    before = pipeline.state(ANN)
    receipt, *parts = ask_for(pipeline, LAPTOP, "export")
    assert receipt.profile_id == ANN and set(receipt.identifiers) == {ANN, PHONE, LAPTOP}
    assert [one.identifiers for one in parts] == [[one.profile_id] for one in parts]
    assert {one.profile_id for one in parts} == {PHONE, LAPTOP}
    assert pipeline.state(ANN) == before and opened(pipeline) == 8


def test_a_crash_anywhere_erases_all_the_same(pipeline: MemoryPipeline) -> None:
    start = pipeline.effects
    for at in range(60):
        pipeline.crash_after = pipeline.effects + at % 4
        try:
            if at == 0:
                ask_for(pipeline, LAPTOP)
            pipeline.run()
            break
        except CrashError:
            pipeline.restart()
    pipeline.crash_after = None
    pipeline.run()
    assert pipeline.effects > start + 8
    assert keys_of(pipeline) == set() and opened(pipeline) == 0
    assert {receipt.profile_id for receipt in pipeline.values(ERASURE_RECEIPTS)} == {ANN, PHONE, LAPTOP}


def test_somebody_erased_and_back_in_the_same_batch_has_a_new_key(pipeline: MemoryPipeline) -> None:
    at_ms, before = pipeline.clock.at_ms, pipeline.keyring().wrapped[ANN.encode()]
    pipeline.send(ERASURE_REQUESTS, ANN, ErasureRequest("job-1", ANN, ErasureAction.ERASE, at_ms))
    pipeline.send(IDENTITY_EVENTS, ANN, shop.consent(ANN, at_ms + 1_000, event_id="anew"))
    pipeline.run()
    reply_to(pipeline, "anew", ANN)
    assert keys_of(pipeline) == {ANN.encode()} and pipeline.keyring().wrapped[ANN.encode()] != before
    assert opened(pipeline) == 2


def test_every_value_of_one_life_carries_the_same_key_and_the_erased_one_none(pipeline: MemoryPipeline) -> None:
    ask_for(pipeline, ANN)
    for who in (ANN, PHONE, LAPTOP):
        keys = [envelopes.key_of(value) for log in pipeline.changelog for key, value in log if key == who.encode()]
        assert len(keys) > 2 and keys[0] is not None and keys[-1] is None
        assert keys == sorted(keys, key=lambda key: key is None) and len({*keys}) == 2
