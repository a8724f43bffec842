"""Whatever an endpoint or an import accepts, the pipeline can decode: nothing accepted becomes a dead letter."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.codecs import avro
from pipeline.codecs.errors import CodecError
from pipeline.core.identity.identifiers import identifier
from pipeline.core.model.records import FeedbackEvent, IdentityEvent, IdentityKind
from pipeline.ingest import account_import, consent_import, json_text
from pipeline.ingest.consent_import import Format
from pipeline.ingest.event_bodies import SegmentEvent
from pipeline.ingest.event_mapping import EventMapper
from pipeline.ingest.group_mapping import account_of
from pipeline.ingest.line_file import Import
from pipeline.ingest.refusal import RefusedError
from replay_log.events import Run
from replay_log.rows import Impression
from replay_log.session import _check
from topics.catalog import FEEDBACK_EVENTS, IDENTITY_EVENTS

ROOT = Path(__file__).parents[2]
KEYS, NOW_MS = (b"k",), 1_700_000_000_000
MAPPER = EventMapper("shop", partial(identifier, KEYS, "shop"), partial(account_of, KEYS, "shop"))

_name = st.one_of(st.text(max_size=12), st.text("a/#@. ", max_size=6), st.sampled_from(
    ["con#tact", "a/b/c", "contact/email", "/", "p" * 200, "", "value", "price", "item_id", "contract", "company"]))
_number = st.one_of(st.integers(), st.sampled_from([2**63 - 1, 2**63, -(2**63), 2**64, 10**30]), st.floats(),
                    st.sampled_from([1e308, -1e308, 1e999, -1e999, 17.0, 1e16]))
_plain = st.one_of(st.none(), st.booleans(), _number, _name, st.sampled_from(["x" * 2_000, "x" * 300]))
_value = st.one_of(_plain, st.lists(_plain, max_size=3), st.dictionaries(_name, _plain, max_size=3))
_fields = st.dictionaries(_name, _value, max_size=4)
_time = st.one_of(_plain, st.sampled_from(
    ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31", "2023-01-01T00:00:00Z", 1_600_000_000_000]))
_answers = st.dictionaries(_name, st.one_of(st.booleans(), st.fixed_dictionaries(
    {"granted": st.booleans()}, optional={"expiresAt": _time, "source": _name, "proof": _name})), max_size=3)
_consent: st.SearchStrategy[dict[str, Any]] = st.builds(dict, categoryPreferences=_answers)
_products = st.lists(st.dictionaries(st.sampled_from(["item_id", "price", "quantity", "value"]), _plain), max_size=3)


def decodes(found: Import) -> None:
    for record in found.records if not found.errors.count else []:
        avro.decode(IDENTITY_EVENTS, record.value)


@given(st.builds(dict, id=_plain, traits=_fields, contract=st.dictionaries(st.sampled_from(
    ["starts", "ends", "status", "value"]), _plain), consent=st.dictionaries(_name, _plain, max_size=3)))
@example({"id": "acme-x", "traits": {"plan": "pro"}, "consent": {"con#tact": True}})
@example({"id": "acme-x", "consent": {"a/b/c": True}})
@example({"id": "acme-x", "consent": {"p" * 200: True}})
def test_of_a_file_of_accounts(row: dict[str, Any]) -> None:
    decodes(account_import.read([json.dumps(row)], False, KEYS, "shop", None, NOW_MS))


@given(st.dictionaries(st.one_of(st.sampled_from(["consent.contact", "contract.value", "plan"]), _name),
                       st.one_of(_name, st.sampled_from(["yes", "1e999", "9" * 30, "17.0"])), max_size=4))
def test_of_a_csv_file_of_accounts(cells: dict[str, str]) -> None:
    def quoted(texts: Any) -> str:
        return ",".join('"' + text.replace('"', '""') + '"' for text in texts) + "\n"

    decodes(account_import.read(
        [quoted(["id", *cells]), quoted(["acme", *cells.values()])], True, KEYS, "shop", None, NOW_MS))


@given(st.fixed_dictionaries({"id": _plain, "type": st.just("user_id"), "purpose": _name, "granted": st.booleans(),
                              "at": _time}, optional={"channel": _name, "source": _name, "expires_at": _time}))
def test_of_a_file_of_consent(row: dict[str, Any]) -> None:
    decodes(consent_import.read([json.dumps(row)], Format.JSONL, False, KEYS, "shop", None, NOW_MS))


@given(st.fixed_dictionaries({"userId": _plain, "timestamp": _time}, optional={"context": st.builds(
    dict, consent=_consent)}))
def test_of_a_file_of_segment_s_consent(row: dict[str, Any]) -> None:
    decodes(consent_import.read([json.dumps(row)], Format.SEGMENT, False, KEYS, "shop", None, NOW_MS))


@given(st.fixed_dictionaries(
    {"type": st.sampled_from(["identify", "track", "page", "group"]),
     "userId": st.one_of(st.just("user-17"), _plain), "event": st.sampled_from(
         ["click", "Order Completed", "Segment Consent Preference Updated", "x" * 300])},
    optional={"messageId": _plain, "timestamp": _time, "originalTimestamp": _time, "sentAt": _time, "groupId": _plain,
              "traits": _fields, "name": _name, "properties": st.one_of(_fields, st.builds(
                  dict, products=_products), st.dictionaries(st.sampled_from(
                      ["value", "revenue", "item_id", "decision_id", "placement", "channel"]), _plain)),
              "context": st.builds(dict, consent=_consent, accountConsent=_consent)}))
def test_of_an_event(body: dict[str, Any]) -> None:
    try:
        events = MAPPER.map(json_text.parse(SegmentEvent, json.dumps(body).encode()), NOW_MS, "made-up").events
    except RefusedError:
        return
    for event in events:
        topic = FEEDBACK_EVENTS if isinstance(event, FeedbackEvent) else IDENTITY_EVENTS
        try:
            data = avro.encode_checked(topic, event)
        except CodecError:
            continue
        avro.decode(topic, data)


@given(st.builds(IdentityEvent, _name, st.just("shop/a"), st.just(IdentityKind.TRAITS),
                 st.one_of(st.integers(), st.just(NOW_MS)), traits=st.dictionaries(_name, _plain)))
def test_of_any_record_that_is_checked(event: IdentityEvent) -> None:
    try:
        data = avro.encode_checked(IDENTITY_EVENTS, event)
    except CodecError as refused:
        with pytest.raises(CodecError) as error:
            avro.decode(IDENTITY_EVENTS, avro.encode(IDENTITY_EVENTS, event))
        assert error.value.detail == refused.detail, "the sender is told what the dead letter would say"
    else:
        avro.decode(IDENTITY_EVENTS, data)


def test_no_sender_of_ours_goes_round_the_checks() -> None:
    folders = ("pipeline/bridge", "pipeline/cli", "pipeline/ingest", "pipeline/identity_tools", "replay_log")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    files.append(ROOT / "pipeline/adapters/privacy_archive.py")
    unchecked = [line.strip() for file in files for line in file.read_text().splitlines() if "avro.encode(" in line]
    assert [line for line in unchecked if "blake2b" not in line] == [], "use avro.encode_checked"


@pytest.mark.parametrize(("row", "said"), [
    ({"id": "a", "consent": {"con#tact": True}}, "consent/con#tact"),
    ({"id": "a", "consent": {"a/b/c": True}}, "consent/a~1b~1c"),
    ({"id": "a", "consent": {"p" * 200: True}}, "at most 128 characters"),
])
def test_an_import_names_the_line_and_the_field(row: dict[str, Any], said: str) -> None:
    found = account_import.read([json.dumps(row)], False, KEYS, "shop", None, NOW_MS)
    [line] = found.errors.lines
    assert line.startswith("line 1: ") and "consent" in line and said in line


@pytest.mark.parametrize(("more", "said"), [
    ({"traits": {"score": float("inf")}}, "score"), ({"traits": {"score": 10**30}}, "64 bits"),
    ({"placement": "p" * 300}, "at most 256"), ({"scenario": "s" * 300}, "scenario"),
    ({"item_id": "i" * 300}, "item_id"),
    ({"attributes": {"n": float("nan")}}, "attributes"),
])
def test_a_replay_refuses_a_row_of_which_a_record_could_not_be_decoded(more: dict[str, Any], said: str) -> None:
    plain: dict[str, Any] = {"row": 7, "subject": "shop/a", "item_id": "i", "placement": "p", "channel": "web"}
    _check(Run("r"), Impression(**plain))
    with pytest.raises(CodecError, match=said):
        _check(Run("r"), Impression(**{**plain, **more}))
