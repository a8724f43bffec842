"""Files of what people allow: what their lines make in each format, and what is said about each that cannot be used."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from pipeline.codecs import avro
from pipeline.core.identity import identifiers
from pipeline.core.model.records import Basis, ConsentGrant, IdentityEvent, IdentityKind, OptIn
from pipeline.ingest import consent_import
from pipeline.ingest.consent_import import ConsentImport, Format
from pipeline.ingest.line_file import TOLD_MAX
from tests.core.build import made
from tests.core.test_tcf import EXAMPLE, TCF, WRITTEN_MS
from topics.catalog import IDENTITY_EVENTS

KEY, NOW_MS, AT_MS = (b"k",), 1_700_000_000_000, 1_690_000_000_000
AT: Final = "2023-07-22T04:26:40Z"
POLICY: Final = made({"consent": {"categories": {"C4": ["marketing/email", "personalization"]}, "tcf": TCF}}).policy
CSV: Final = f"""id,type,purpose,channel,granted,basis,at,expires_at,source,proof,opt_in
ann@example.com,email,marketing,email,yes,consent,{AT},2024-07-22T04:26:40Z,crm,form-7,confirmed
u1,user_id,marketing,,false,legitimate_interest,2023-07-22T06:26:40+02:00,,,,
"""


def read(text: str, form: Format, csv: bool = False, policy: Any = POLICY, now_ms: int = NOW_MS) -> ConsentImport:
    return consent_import.read(text.splitlines(keepends=True), form, csv, KEY, "shop", policy, now_ms)


def events(found: ConsentImport) -> list[IdentityEvent]:
    assert found.errors.lines == []
    return [avro.decode(IDENTITY_EVENTS, record.value) for record in found.records]


def subject(type_: str, value: str) -> str:
    return identifiers.subject_key(KEY, "shop", type_, value)


def said(**changes: Any) -> str:
    row = {"id": "u1", "type": "user_id", "purpose": "marketing", "granted": True, "at": AT} | changes
    return json.dumps({name: value for name, value in row.items() if value is not ...}) + "\n"


def segment(categories: dict[str, Any], **changes: Any) -> str:
    row = {"type": "identify", "userId": "u1", "timestamp": AT, "traits": {"email": "ann@example.com"},
           "context": {"consent": {"categoryPreferences": categories}, "library": {"name": "cmp"}}}
    return json.dumps({name: value for name, value in (row | changes).items() if value is not ...}) + "\n"


def test_a_csv_file_makes_one_event_a_line_with_the_subject_hashed() -> None:
    found = read(CSV, Format.CSV)
    first, second = events(found)
    assert first.subject == subject("email", "ANN@example.com") == (found.records[0].key or b"").decode()
    assert first.kind is IdentityKind.CONSENT and first.at_ms == AT_MS
    assert (first.subject_type, second.subject_type) == ("email", "user_id")
    assert first.consent == [ConsentGrant("marketing", True, AT_MS, "email", "crm", AT_MS + 366 * 86_400_000,
                                          Basis.CONSENT, OptIn.CONFIRMED, "form-7")]
    assert second.consent == [ConsentGrant("marketing", False, AT_MS, None, consent_import.SOURCE, None,
                                           Basis.LEGITIMATE_INTEREST)]
    assert (found.granted, found.refused) == ({"marketing": 1}, {"marketing": 1})
    assert b"ann@" not in b"".join(record.value or b"" for record in found.records)


def test_json_lines_say_the_same_as_csv() -> None:
    rows = [dict(zip(CSV.splitlines()[0].split(","), line.split(","), strict=True)) for line in CSV.splitlines()[1:]]
    lines = "\n".join(json.dumps({name: cell for name, cell in row.items() if cell}) for row in rows)
    assert read(lines, Format.JSONL).records == read(CSV, Format.CSV).records


def test_segments_events_say_what_the_policy_maps_and_nothing_else_of_them_is_taken() -> None:
    lines = segment({"C4": True, "personalization": False}) + segment({}, type="track", context={}) \
        + segment({"C4": True}, type="group", groupId="acme", userId=...) \
        + segment({"marketing": True}, type=..., userId=..., anonymousId="a1", sentAt="2023-07-22T05:00:00Z")
    found = read(lines, Format.SEGMENT)
    first, second = events(found)
    assert first.kind is IdentityKind.CONSENT and not first.traits and not first.identifiers
    assert [(one.purpose, one.channel, one.granted, one.source) for one in first.consent] == [
        ("marketing", "email", True, "cmp"), ("personalization", None, False, "cmp")]
    assert second.subject == subject("anonymous_id", "a1") and second.subject_type == "anonymous_id"
    assert second.consent[0].at_ms == AT_MS, "no clock is corrected by when the file is read"
    assert found.silent == 2
    [warning] = found.warnings.lines
    assert warning.startswith("line 3: was left out: this group names no person by userId or anonymousId")


@pytest.mark.parametrize("csv", [True, False])
def test_tc_strings_say_what_the_policy_maps(csv: bool) -> None:
    text = f"id,type,tc_string,at\nu1,user_id,{EXAMPLE},\n" if csv else json.dumps(
        {"id": "u1", "type": "user_id", "tc_string": EXAMPLE})
    [event] = events(read(text, Format.TCF, csv))
    assert event.at_ms == WRITTEN_MS and {one.at_ms for one in event.consent} == {WRITTEN_MS}
    assert {one.purpose for one in event.consent} == {"personalization", "marketing"}
    assert event.subject == subject("user_id", "u1") and event.source == consent_import.SOURCE


@pytest.mark.parametrize(("text", "form", "csv"), [
    (CSV, Format.CSV, True), (segment({"C4": True, "marketing": False}), Format.SEGMENT, False),
    (f"id,type,tc_string\nu1,user_id,{EXAMPLE}\n", Format.TCF, True),
])
def test_an_id_follows_from_what_is_said_whenever_the_file_is_read(text: str, form: Format, csv: bool) -> None:
    again = read(text, form, csv, now_ms=NOW_MS + 1_000)
    assert read(text, form, csv).records == again.records
    assert len({event.event_id for event in events(again)}) == len(again.records)


def test_a_line_that_repeats_another_is_left_out_and_one_that_differs_is_not() -> None:
    found = read(said() * 2 + said(granted=False) + said(at="2023-07-22T04:26:41Z") + said(id="u2"), Format.JSONL)
    assert len({event.event_id for event in events(found)}) == 4 and found.repeated == 1


@pytest.mark.parametrize(("text", "form", "expected"), [
    ("", Format.JSONL, "the file names nobody"),
    ("x\n", Format.JSONL, "line 1: is no JSON"),
    ("[]\n", Format.TCF, 'line 1: is no JSON object: write {"id": …, "type": …, "tc_string": …}'),
    (said(at=...), Format.JSONL, "line 1: at: Field required: write when it was said, as 2026-01-31T08:00:00Z"),
    (said(granted="perhaps"), Format.JSONL, "line 1: granted: "),
    (said(basis="habit"), Format.JSONL, "line 1: basis: "),
    (said(opt_in="twice"), Format.JSONL, "line 1: opt_in: "),
    (said(grant=True), Format.JSONL, "line 1: grant: unknown field; did you mean granted?"),
    (said(type="mail"), Format.JSONL, "line 1: type: unknown identifier type"),
    (said(id="null"), Format.JSONL, "line 1: id: this value stands for nobody"),
    (said(id="\ud800"), Format.JSONL, "line 1: "),
    (said(purpose="marketng"), Format.JSONL,
     "line 1: purpose: is none of the live policy (marketing, personalization): correct it"),
    (said(purpose="marketing/email"), Format.JSONL, "line 1: purpose: holds / or #"),
    (said(channel="mail"), Format.JSONL, "line 1: channel: is none of the live policy (email, web)"),
    (said(at="2033-01-01T00:00:00Z"), Format.JSONL, "line 1: at lies in the future"),
    (said(at="1933-01-01T00:00:00Z"), Format.JSONL, "line 1: at lies before 1970"),
    (said(expires_at=AT), Format.JSONL, "line 1: expires_at does not lie after at"),
    (said(proof="from 10.0.0.17"), Format.JSONL, "line 1: proof: holds an"),
    ("id,type\n", Format.CSV, "line 1: the first line names the columns, granted among them: true or false"),
    (CSV.replace("proof", "prove"), Format.CSV, "line 1: prove is no column known here: they are granted, basis"),
    (CSV.replace(",crm", ""), Format.CSV, "line 2: has 10 cells, the first line names 11"),
    (CSV.replace("yes", ""), Format.CSV, "line 2: granted: Field required: write true or false"),
    (segment({"C4": True}, timestamp=...), Format.SEGMENT, "line 1: timestamp is missing: write when it was said"),
    (segment({"C4": True}, timestamp="2033-01-01T00:00:00Z"), Format.SEGMENT, "line 1: timestamp lies in the future"),
    (segment({"C4": True}, userId=...), Format.SEGMENT, "line 1: userId: send userId or anonymousId"),
    (segment({"C4": "maybe"}), Format.SEGMENT, "line 1: context/consent/categoryPreferences/C4: send true or false"),
    (segment({"a#b": True}), Format.SEGMENT, "line 1: context/consent/categoryPreferences/a#b: name a purpose"),
    ('{"id": "u1", "type": "user_id", "tc_string": "COvF"}', Format.TCF, "line 1: tc_string: "),
    ('{"id": "u1", "type": "user_id"}', Format.TCF, "line 1: tc_string: Field required: write the TC string"),
])
def test_what_cannot_be_used_is_said_by_line_with_what_to_do(text: str, form: Format, expected: str) -> None:
    found = read(text, form)
    assert found.errors.lines and found.errors.lines[0].startswith(expected), found.errors.lines


@pytest.mark.parametrize(("text", "form", "expected"), [
    (said(at="soon"), Format.JSONL, "at: is no moment: write it as 2026-01-31T08:00:00Z"),
    (CSV.replace(AT, "soon"), Format.CSV, "at: is no moment: write it as 2026-01-31T08:00:00Z"),
    (said(expires_at="2026"), Format.JSONL, "expires_at: is no moment: write it as 2026-01-31T08:00:00Z"),
    (said(granted="perhaps"), Format.JSONL, "granted: is neither true nor false: write one of them, or yes or no"),
    (said(id=True), Format.JSONL, "id: an id is a text or a whole number"),
    (said(granted=...), Format.JSONL, "granted: Field required: write true or false"),
    (segment({"C4": True}, timestamp="soon"), Format.SEGMENT,
     "timestamp: is no moment: write it as 2026-01-31T08:00:00Z"),
])
def test_what_to_write_is_said_once(text: str, form: Format, expected: str) -> None:
    assert read(text, form).errors.lines[0].partition(": ")[2] == expected


def test_epoch_milliseconds_mean_the_same_in_csv_and_in_json() -> None:
    [in_json] = events(read(said(at=AT_MS, expires_at=AT_MS + 1), Format.JSONL))
    [in_csv] = events(read(f"id,type,purpose,granted,at,expires_at\nu1,user_id,marketing,yes,{AT_MS},{AT_MS + 1}\n",
                           Format.CSV))
    assert [(one.at_ms, one.expires_at_ms) for one in in_csv.consent] == [(AT_MS, AT_MS + 1)]
    assert [(one.at_ms, one.expires_at_ms) for one in in_json.consent] == [(AT_MS, AT_MS + 1)]
    for digits in (AT_MS // 1_000, 20_230_722, 202_307_220_426, 20_230_722_042_640):
        found = read(f"id,type,purpose,granted,at\nu1,user_id,marketing,yes,{digits}\n", Format.CSV)
        assert found.errors.lines == ["line 2: at: is no moment: write it as 2026-01-31T08:00:00Z"], digits


@pytest.mark.parametrize("text", [
    said()[:-2] + ', "granted": false}\n',
    segment({"marketing": True}).replace('"marketing": true', '"marketing": false, "marketing": true'),
])
def test_a_line_that_says_a_thing_twice_says_nothing(text: str) -> None:
    found = read(text, Format.SEGMENT if "userId" in text else Format.JSONL)
    assert found.records == []
    assert found.errors.lines and "twice: nobody knows which is meant" in found.errors.lines[0]


def test_identifiers_are_read_by_the_policys_own_rules() -> None:
    policy = made({"identity": {"phone_region": "DE", "types": {"crm_id": {"blocked": ["till"]}}}}).policy
    found = read(said(id="030 1234567", type="phone") + said(id="TILL", type="crm_id"), Format.JSONL, policy=policy)
    assert found.records[0].key == subject("phone", "+49301234567").encode()
    [error] = found.errors.lines
    assert error.startswith("line 2: id: the policy blocks this value as a crm_id")


def test_every_error_is_counted_and_the_first_are_told() -> None:
    errors = read(said() + said(granted="perhaps") * 200, Format.JSONL).errors
    assert errors.count == 200 and len(errors.lines) == TOLD_MAX + 1 and errors.lines[-1] == "and 150 more"


def test_a_tc_string_of_tomorrow_is_refused_and_without_a_mapping_all_are() -> None:
    line = json.dumps({"id": "u1", "type": "user_id", "tc_string": EXAMPLE})
    [early] = read(line, Format.TCF, now_ms=WRITTEN_MS - 1).errors.lines
    assert early.startswith("line 1: tc_string: the moment it was written lies in the future")
    for policy in (None, made().policy):
        [error] = read(line * 2, Format.TCF, policy=policy).errors.lines
        assert "has no consent.tcf" in error


def test_where_nothing_is_live_names_are_taken_as_they_are_and_that_is_said() -> None:
    found = read(said(purpose="anything"), Format.JSONL, policy=None)
    assert events(found)[0].consent[0].purpose == "anything"
    [warning] = found.warnings.lines
    assert warning.startswith("the tenant shop has no live policy")
