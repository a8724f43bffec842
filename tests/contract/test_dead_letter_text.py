"""Dead letters as an operator reads them."""

from __future__ import annotations

import json

import pytest

from pipeline.adapters.dead_letters import ADVICE, Filter, Letter
from pipeline.cli.dead_letter_text import as_dict, describe, hex_dump, parse_since, printable, schema_named
from pipeline.codecs import avro
from pipeline.codecs.errors import CodecError
from pipeline.core.model.records import DeadLetter
from pipeline.flow import Reason
from tests.support.golden import IDENTITY
from topics.catalog import IDENTITY_EVENTS

NOW_MS = 1_795_225_600_000
GOOD = avro.encode(IDENTITY_EVENTS, IDENTITY)


def letter(value: bytes | None = b'{"a": 1}', reason: str = "not_avro", at_ms: int = 5) -> Letter:
    record = DeadLetter(
        reason, "send Avro", "identity.events", 3, 12, at_ms, b"default/\xff", value, {"trace": b"00", "empty": None},
        "identity", "worker-1",
    )
    return Letter(record, NOW_MS, 1)


def test_every_reason_to_dead_letter_has_an_advice() -> None:
    first = list(Reason).index(Reason.NOT_AVRO)
    assert list(ADVICE) == list(Reason)[first:], "a new dead-letter reason needs a line of what to do about it"


def test_every_reason_the_codec_gives_has_an_advice() -> None:
    with pytest.raises(CodecError) as caught:
        avro.decode(IDENTITY_EVENTS, b"junk")
    assert caught.value.reason in ADVICE


def test_a_letter_is_known_by_where_its_record_came_from() -> None:
    assert letter().id == "identity.events:3:12"
    assert letter(at_ms=5).origin != letter(at_ms=6).origin, "a topic made anew uses its offsets again"


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (Filter(), True),
        (Filter(topic="identity.events", reason="not_avro", since_ms=NOW_MS, id="identity.events:3:12"), True),
        (Filter(topic="feedback.events"), False),
        (Filter(reason="invalid"), False),
        (Filter(since_ms=NOW_MS + 1), False),
        (Filter(id="identity.events:3:13"), False),
    ],
)
def test_a_filter_takes_what_matches_all_it_names(wanted: Filter, taken: bool) -> None:
    assert wanted.takes(letter()) is taken


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("90s", NOW_MS - 90_000),
        ("15m", NOW_MS - 900_000),
        ("2h", NOW_MS - 7_200_000),
        ("7d", NOW_MS - 604_800_000),
        ("999999d", 0),
        ("2026-11-21T08:00Z", 1_795_248_000_000),
        ("2026-11-21T08:00", 1_795_248_000_000),
        ("2026-11-21T09:00+01:00", 1_795_248_000_000),
    ],
)
def test_since_is_an_age_or_a_time(text: str, at_ms: int) -> None:
    assert parse_since(text, NOW_MS) == at_ms


@pytest.mark.parametrize("text", ["", "2", "h", "2y", "-1h", "yesterday"])
def test_a_since_that_is_no_time_says_what_to_give(text: str) -> None:
    with pytest.raises(ValueError, match="2h, 7d or 2026"):
        parse_since(text, NOW_MS)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, "(null)"),
        (b"", "(empty)"),
        (b"shop/1", "shop/1"),
        (b"a\x00\x1b[31m", "a..[31m"),
        ("Köln".encode(), "Köln"),
        (b"x" * 50, "x" * 9 + "…"),
    ],
)
def test_bytes_are_shown_as_one_harmless_line(data: bytes | None, text: str) -> None:
    assert printable(data, 10) == text


def test_a_hex_dump_shows_offset_hex_and_text_and_says_what_it_leaves_out() -> None:
    lines = hex_dump(b"0123456789abcdef\x00\xffz" + bytes(20), limit=32).splitlines()
    assert lines[0] == "00000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef"
    assert lines[1].startswith("00000010  00 ff 7a 00")
    assert lines[2] == "… 7 more bytes; --json prints all of them"


def test_the_schema_a_value_names_is_told() -> None:
    assert schema_named(GOOD) == "id 101, events/identity_event.v1.avsc"
    assert schema_named(b"\0\0\0\0\x01x") == "id 1, unknown here"
    assert schema_named(b"{}") == schema_named(None) == "none named"


def test_a_description_says_what_why_where_and_what_to_do() -> None:
    text = describe(letter())
    for part in ("identity.events:3:12", "not_avro", "send Avro", ADVICE["not_avro"], "trace: 00", "7b 22 61 22",
                 "empty: (null)", "never", "8 bytes", "worker-1"):
        assert part in text


@pytest.mark.parametrize("value", [None, b"", b"\x00\xff", GOOD])
def test_the_json_holds_the_original_bytes(value: bytes | None) -> None:
    told = json.loads(json.dumps(as_dict(letter(value), with_value=True)))
    assert (None if told["value_hex"] is None else bytes.fromhex(told["value_hex"])) == value
    assert bytes.fromhex(told["key_hex"]) == b"default/\xff"
    assert told["headers_hex"] == {"trace": "3030", "empty": None}
    assert "value_hex" not in as_dict(letter(value), with_value=False)
