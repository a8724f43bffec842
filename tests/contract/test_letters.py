"""A dead letter fits its topic, whatever the record holds, and says what of it is missing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codecs import avro
from pipeline.core.model.records import DeadLetter
from pipeline.flow import Fate, Reason, Record
from pipeline.runtime.fates import dead_letter
from pipeline.runtime.letters import HEADERS_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX
from pipeline.runtime.memory import MemoryPipeline
from pipeline.topology import FLOWS
from topics.catalog import DEAD_LETTERS, FEEDBACK_EVENTS, LARGEST_RECORD_BYTES

(FLOW,) = (flow for flow in FLOWS if flow.reads is FEEDBACK_EVENTS)


def letter(record: Record, detail: str = "send Avro") -> DeadLetter:
    sent = dead_letter(FLOW, record, Reason.NOT_AVRO, detail, "worker-1")
    assert sent.topic == DEAD_LETTERS.name
    assert len(sent.key) + len(sent.value or b"") < DEAD_LETTERS.max_record_bytes <= LARGEST_RECORD_BYTES
    return avro.decode(DEAD_LETTERS, sent.value)  # type: ignore[no-any-return]


def record(value: bytes | None = b"{}", key: bytes | None = b"shop/1", **more: bytes | None) -> Record:
    return Record("feedback.events", 3, 12, 5, key, value, tuple(more.items()))


def test_what_fits_is_kept_byte_for_byte() -> None:
    value = bytes(range(256)) * (VALUE_BYTES_MAX // 256)
    kept = letter(record(value, a=b"1", b=None))
    assert (kept.value, kept.key, kept.headers, kept.cut_bytes) == (value, b"shop/1", {"a": b"1", "b": None}, 0)
    assert kept.detail == "send Avro"


@pytest.mark.parametrize("size", [VALUE_BYTES_MAX + 1, 40_000_000])
def test_a_value_too_large_is_cut_and_the_letter_says_so(size: int) -> None:
    kept = letter(record(b"x" * size))
    assert kept.value == b"x" * VALUE_BYTES_MAX
    assert kept.cut_bytes == size - VALUE_BYTES_MAX
    assert kept.detail == f"send Avro; the value has {size} bytes, of which the first {VALUE_BYTES_MAX} are kept"


def test_a_key_too_large_is_cut_and_the_letter_goes_under_what_is_left() -> None:
    kept = letter(record(None, b"k" * 5_000_000))
    assert kept.key == b"k" * KEY_BYTES_MAX
    assert kept.cut_bytes == 5_000_000 - KEY_BYTES_MAX
    assert "the key has 5000000 bytes" in kept.detail


def test_headers_that_do_not_fit_are_left_out_whole() -> None:
    kept = letter(record(b"{}", first=b"1", large=b"2" * HEADERS_BYTES_MAX, last=b"3"))
    assert kept.headers == {"first": b"1", "last": b"3"}
    assert kept.cut_bytes == HEADERS_BYTES_MAX + len("large")
    assert f"1 headers of {kept.cut_bytes} bytes in all are left out" in kept.detail


@pytest.mark.parametrize("detail", ["said \ud800", "x" * 100_000], ids=["no UTF-8", "long"])
def test_a_detail_is_made_to_fit(detail: str) -> None:
    assert letter(record(), detail).detail[:4] == detail[:4]


@settings(max_examples=40, deadline=None)
@given(*[st.integers(0, 2) for _ in range(4)], st.text())
def test_everything_at_its_largest_at_once_fits(value: int, key: int, header: int, more: int, detail: str) -> None:
    headers = {f"h{number}": b"h" * (header * 400_000) for number in range(more * 3)}
    letter(record(b"v" * (value * 5_000_000), b"k" * (key * 20_000), **headers), detail * 1_000)


def test_a_record_of_twenty_megabytes_does_not_stop_the_pipeline() -> None:
    pipeline = MemoryPipeline(FLOWS)
    pipeline.send(FEEDBACK_EVENTS, "shop/a", bytes(20_000_000))
    pipeline.send(FEEDBACK_EVENTS, "shop/a", b"junk")
    pipeline.run()
    large, junk = pipeline.values(DEAD_LETTERS)
    assert (large.reason, large.cut_bytes) == (Reason.TOO_LARGE, 20_000_000 - VALUE_BYTES_MAX)
    assert junk.reason == Reason.NOT_AVRO
    assert pipeline.metrics.counts[("feedback", Fate.DEAD_LETTER, Reason.TOO_LARGE)] == 1
